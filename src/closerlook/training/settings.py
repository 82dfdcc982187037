"""What a training run is asked for, and the agents it starts with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from gymnasium.spaces import Discrete

from closerlook.agents.agent import ActionTransform, Agent, Bootstrap, Regime, ValueTarget, moments_state
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.normalization import RunningMoments, Scaling
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, MLPValue
from closerlook.algorithms.natural import NaturalSettings
from closerlook.algorithms.ppo import PPOSettings
from closerlook.algorithms.presets import PresetName, find_preset
from closerlook.algorithms.rules import ALGORITHMS, UpdateSettings
from closerlook.algorithms.trpo import TRPOSettings
from closerlook.algorithms.vanilla import VanillaSettings
from closerlook.arguments import Algorithm, environment_id, with_plain_values
from closerlook.nn.networks import MLP, Initialization
from closerlook.randomness import derive_seed, generator
from closerlook.simulation.engine import make_engine
from closerlook.training.checks import Baseline, require_sensible

CHECKPOINTS = (0, 150, 300, 450)
"""Iterations at which agents are saved where nothing else is asked; a shorter run saves those it reaches."""


_SINCE = {"first_seed": 0, "action_transform": "none"}
"""Settings that came after runs had been stored, and what they were until then."""


@dataclass(frozen=True)
class TrainSettings:
    """All that decides the result of a training run; the defaults are Table 1's column for PPO on Hopper.

    A preset is another set of defaults: see `of_preset`.

    See Also
    --------
    closerlook.train : train with them.

    Examples
    --------
    >>> import closerlook as cl
    >>> settings = cl.TrainSettings(environment="Walker2d-v5", seeds=2, steps=20_480, ppo=cl.PPOSettings(clip=0.1))
    >>> settings.n_steps, settings.update.clip
    (2048, 0.1)
    """

    environment: Annotated[str, tyro.conf.arg(name="env")] = "Hopper-v5"
    """Gymnasium id, module:Id, or a short name: hopper, walker2d, humanoid ..."""
    algorithm: Annotated[Algorithm, tyro.conf.arg(name="algo")] = "ppo"
    """Algorithm; the settings of its update are those below its name."""
    seeds: int = 10
    """Agents trained together, each independent of the others."""
    steps: int = 1_000_000
    """Environment steps of each agent; whole batches, the rest is left out."""
    seed: int = 0
    """Root seed of the run: agent k is the same whatever the number of agents."""
    first_seed: int = 0
    """Number of the first agent: 10 trains agents 10, 11, ..., none of which a run from 0 of ten seeds has."""
    checkpoints: tuple[int, ...] = CHECKPOINTS
    """Iterations at which agents are saved, 0 before any update; the last is added. A shorter run leaves out those of
    the default that it does not reach."""
    n_envs: int = 1
    """Streams of a batch, each an environment of its own, reset at the start of every iteration."""
    n_steps: int = 2048
    """Steps of a stream."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden units of each layer, of policy and critic alike."""
    initialization: Initialization = "orthogonal"
    """How initial weights are drawn."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation."""
    normalize_observations: bool = True
    """Standardize observations by their running moments."""
    observation_clip: float | None = 10.0
    """Bound on standardized observations; none: free."""
    normalize_rewards: bool = True
    """Divide rewards by the running deviation of the discounted return."""
    reward_clip: float | None = 10.0
    """Bound on scaled rewards; none: free."""
    action_transform: ActionTransform = "none"
    """What the environment is given. none: the action as it was drawn. clip: clipped to the action space, so that costs
    of control are charged on what acts. squash, rescale: see `closerlook.Agent`."""
    bootstrap: Bootstrap = "correct"
    """correct: terminated is not truncated. paper: time limits count as terminations, as in the released code."""
    baseline: Baseline = "value"
    """value: a critic. none: no critic, discounted returns in place of advantages."""
    value_target: ValueTarget = "gae"
    """What the critic regresses on. gae: V_old + A. returns: discounted returns."""
    environment_arguments: Annotated[Mapping[str, Any], tyro.conf.arg(name="env-arguments")] = field(
        default_factory=dict
    )
    """Arguments of the environment's constructor."""
    ppo: PPOSettings = field(default_factory=PPOSettings)
    """Settings of PPO's update."""
    trpo: TRPOSettings = field(default_factory=TRPOSettings)
    """Settings of TRPO's update."""
    natural: NaturalSettings = field(default_factory=NaturalSettings)
    """Settings of the natural gradient's update."""
    vanilla: VanillaSettings = field(default_factory=VanillaSettings)
    """Settings of the plain gradient's update."""

    @classmethod
    def of_preset(
        cls, name: PresetName, environment: str = "Hopper-v5", algorithm: Algorithm = "ppo", **changes: Any
    ) -> "TrainSettings":
        """Return the settings of a preset.

        Parameters
        ----------
        name : {"paper", "paper-v2", "ppo-m"}
            ``paper``: Table 1's column for the task and the algorithm. ``paper-v2``: the same as the released code and
            the engine of its day ran it, time limits as terminations and Humanoid charged for clipped controls.
            ``ppo-m``: PPO without reward normalization,
            annealing, value clipping, orthogonal initial weights, and the clipping of observations and rewards.
        environment : str
            Gymnasium id, or a short name.
        algorithm : str
            Algorithm.
        **changes
            Other fields of `TrainSettings`; they win over the preset.

        Raises
        ------
        InputError
            Where there is no such preset, or it says nothing of the environment or the algorithm.
        """
        preset = find_preset(name, environment_id(environment), algorithm)
        update = ALGORITHMS[algorithm](**preset.update)
        return cls(environment=environment, algorithm=algorithm, **{**preset.training, algorithm: update, **changes})

    @property
    def spec(self) -> EnvironmentSpec:
        """The environment by name."""
        return EnvironmentSpec(environment_id(self.environment), dict(self.environment_arguments))

    @property
    def regime(self) -> Regime:
        """How a batch is gathered."""
        return Regime(self.n_envs, self.n_steps, reset_each_iteration=True)

    @property
    def numbers(self) -> range:
        """Of the agents: those that folders, logs and datasets call them by."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def iterations(self) -> int:
        """Updates of the whole run."""
        return self.steps // self.regime.batch_pairs

    def resolved(self) -> "TrainSettings":
        """Return these settings checked, and the schedule as long as the run.

        Raises
        ------
        InputError
            Where a setting means nothing.
        """
        settings = with_plain_values(self)
        require_sensible(settings)
        last = settings.iterations
        # the last iteration is always kept; default checkpoints beyond it are left out
        kept = tuple(sorted({it for it in settings.checkpoints if it <= last} | {last}))
        settings = replace(settings, environment=settings.spec.id, checkpoints=kept)
        if settings.algorithm == "ppo":
            settings = replace(settings, ppo=replace(settings.ppo, total_iterations=last))
        return settings

    @property
    def update(self) -> UpdateSettings:
        """Settings of the chosen algorithm's update."""
        return getattr(self, self.algorithm)  # type: ignore[no-any-return]

    def to_json(self) -> dict[str, Any]:
        """Return every setting that counts as a JSON value, those of the update as ``ppo.<name>``.

        Settings that came after runs had been stored stand there only where they say something.
        """
        names = [entry.name for entry in fields(self) if entry.name not in ALGORITHMS]
        flat = {name: getattr(self, name) for name in names}
        flat = {name: value for name, value in flat.items() if name not in _SINCE or value != _SINCE[name]}
        return flat | {f"{self.algorithm}.{name}": value for name, value in asdict(self.update).items()}


def agent_seed(settings: TrainSettings, number: int) -> int:
    """Return the root seed of one agent of the run.

    Parameters
    ----------
    settings : TrainSettings
        With the root seed of the run.
    number : int
        Of the agent within the run.
    """
    return derive_seed(settings.seed, "agent", stream=number)


def initial_agents(settings: TrainSettings, numbers: Sequence[int]) -> list[Agent]:
    """Draw agents as they are before any training.

    Parameters
    ----------
    settings : TrainSettings
        Resolved settings.
    numbers : sequence of int
        Their numbers, see `TrainSettings.numbers`.

    Returns
    -------
    list of Agent
        Each drawn from its own seed.

    Raises
    ------
    InputError
        Where the environment cannot be built.
    """
    engine = make_engine(settings.spec, 1)
    inputs, space = engine.observation_size, engine.action_space
    engine.close()
    discrete = isinstance(space, Discrete)
    outputs = int(space.n) if isinstance(space, Discrete) else int(np.prod(space.shape or (1,)))
    network = MLP((inputs, *settings.hidden, outputs))
    policy = CategoricalMLP(network) if discrete else GaussianMLP(network)
    value = MLPValue(MLP((inputs, *settings.hidden, 1))) if settings.baseline == "value" else None
    return [_initial_agent(settings, policy, value, number) for number in numbers]


def _initial_agent(
    settings: TrainSettings, policy: GaussianMLP | CategoricalMLP, value: MLPValue | None, number: int
) -> Agent:
    seed = agent_seed(settings, number)
    parts = {"policy": policy.initialize(generator(seed, "initial policy"), settings.initialization)}
    if value is not None:
        parts["value"] = value.initialize(generator(seed, "initial value"), settings.initialization)
    # moments that have seen nothing, so that the state has the same names throughout
    for part, size, used in (
        ("observations", policy.network.sizes[0], settings.normalize_observations),
        ("returns", 1, settings.normalize_rewards),
    ):
        if used:
            parts[part] = {name: tensor[0] for name, tensor in moments_state(RunningMoments.empty(1, size)).items()}
    agent = Agent(
        policy=policy,
        value=value,
        state={},
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        observation_scaling=Scaling(clip=settings.observation_clip) if settings.normalize_observations else None,
        reward_scaling=Scaling(clip=settings.reward_clip) if settings.normalize_rewards else None,
        action_transform=settings.action_transform,
        bootstrap=settings.bootstrap,
        value_target=settings.value_target,
        algorithm=settings.algorithm,
        algorithm_settings=asdict(settings.update),
        regime=settings.regime,
        environment=settings.spec,
        iteration=0,
        agent_seed=number,
    )
    return with_optimizers(agent.with_state(parts), _optimized(settings))


def _optimized(settings: TrainSettings) -> list[str]:
    """Name the networks that Adam moves; the steps of the others have no state."""
    by_adam = settings.algorithm == "ppo" or (settings.algorithm == "vanilla" and settings.vanilla.optimizer == "adam")
    return ["policy"] * by_adam + ["value"] * (settings.baseline == "value")


def with_optimizers(agent: Agent, networks: Sequence[str] = ("policy", "value")) -> Agent:
    """Return a single agent with Adam's moments at zero, so that its state has the same names before and after.

    Parameters
    ----------
    agent : Agent
        A single one.
    networks : sequence of str
        Parts of its state that are optimized.
    """
    changes: dict[str, dict[str, torch.Tensor]] = {}
    for part in networks:
        parameters = agent.part(part).items()
        changes[f"optimizer.{part}"] = {"step": torch.tensor(0)} | {
            f"{kind}.{name}": torch.zeros_like(tensor)
            for kind in ("exp_avg", "exp_avg_sq")
            for name, tensor in parameters
        }
    return agent.with_state(changes)
