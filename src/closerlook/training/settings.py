"""What a training run is asked for, and the agents it starts with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Discrete

from closerlook.agents.agent import Agent, Regime, moments_state
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.normalization import RunningMoments, Scaling
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, MLPValue
from closerlook.algorithms.batch import Bootstrap
from closerlook.algorithms.ppo import PPOSettings
from closerlook.algorithms.presets import TASKS, paper_ppo
from closerlook.errors import InputError
from closerlook.estimation.networks import MLP, Initialization
from closerlook.randomness import derive_seed, generator
from closerlook.simulation.engine import make_engine

ALGORITHMS = ("ppo",)


@dataclass(frozen=True)
class TrainSettings:
    """All that decides the result of a training run; the defaults are Table 1's column for PPO on Hopper."""

    env: str = "Hopper-v5"
    """Gymnasium id, module:Id, or a task of the paper: hopper, walker2d, humanoid."""
    algo: str = "ppo"
    """Algorithm: ppo."""
    seeds: int = 10
    """Agents trained together, each independent of the others."""
    steps: int = 1_000_000
    """Environment steps of each agent; whole batches, the rest is left out."""
    seed: int = 0
    """Root seed of the run: agent k is the same whatever the number of agents."""
    preset: Literal["paper"] | None = None
    """paper: Table 1 for the task, wherever a setting is at its default."""
    checkpoints: tuple[int, ...] = (0, 150, 300, 450)
    """Iterations at which agents are saved, 0 before any update; those past the end are left out, the last is added."""
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
    """Lambda of generalised advantage estimation."""
    normalize_observations: bool = True
    """Standardise observations by their running moments."""
    observation_clip: float | None = 10.0
    """Bound on standardised observations; none: free."""
    normalize_rewards: bool = True
    """Divide rewards by the running deviation of the discounted return."""
    reward_clip: float | None = 10.0
    """Bound on scaled rewards; none: free."""
    bootstrap: Bootstrap = "correct"
    """correct: terminated is not truncated. paper: time limits count as terminations, as in the released code."""
    env_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment's constructor."""
    ppo: PPOSettings = field(default_factory=PPOSettings)
    """Settings of the update."""

    @property
    def environment(self) -> EnvironmentSpec:
        """The environment by name."""
        return EnvironmentSpec(TASKS.get(self.env.lower(), self.env), dict(self.env_arguments))

    @property
    def regime(self) -> Regime:
        """How a batch is gathered."""
        return Regime(self.n_envs, self.n_steps, reset_each_iteration=True)

    @property
    def iterations(self) -> int:
        """Updates of the whole run."""
        return self.steps // self.regime.batch_pairs

    def resolved(self) -> "TrainSettings":
        """Return these settings checked, the preset filled in and the schedule as long as the run.

        Raises
        ------
        InputError
            Where a setting means nothing.
        """
        _check(self)
        ppo = self.ppo
        if self.preset is not None:
            ppo = _filled(ppo, paper_ppo(self.environment.id))
        ppo = replace(ppo, total_iterations=self.iterations)
        kept = tuple(sorted({it for it in self.checkpoints if it <= self.iterations} | {self.iterations}))
        return replace(self, env=self.environment.id, ppo=ppo, checkpoints=kept)

    def to_json(self) -> dict[str, Any]:
        """Return every setting as a JSON value, those of the update as ``ppo.<name>``."""
        flat = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != self.algo}
        return flat | {f"{self.algo}.{name}": value for name, value in asdict(self.ppo).items()}


def _filled(ppo: PPOSettings, preset: Mapping[str, float | None]) -> PPOSettings:
    default = PPOSettings()
    untouched = {name: value for name, value in preset.items() if getattr(ppo, name) == getattr(default, name)}
    return replace(ppo, **untouched)  # type: ignore[arg-type]


def _check(settings: TrainSettings) -> None:
    if settings.algo not in ALGORITHMS:
        raise InputError(f"there is no algorithm {settings.algo!r}", f"choose from {', '.join(ALGORITHMS)}")
    if settings.preset not in {None, "paper"}:
        raise InputError(f"there is no preset {settings.preset!r}", "choose paper, or none")
    for name in ("seeds", "n_envs", "n_steps"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name} is {getattr(settings, name)}", "give 1 or more")
    for name in ("gamma", "gae_lambda"):
        if not 0.0 <= getattr(settings, name) <= 1.0:
            raise InputError(f"{name} is {getattr(settings, name)}", "give a number from 0 to 1")
    if settings.iterations < 1:
        raise InputError(
            f"{settings.steps} steps are less than one batch of {settings.regime.batch_pairs}", "give more --steps"
        )
    if any(iteration < 0 for iteration in settings.checkpoints):
        raise InputError("a checkpoint has a negative iteration", "count iterations from 0")


def agent_seed(settings: TrainSettings, number: int) -> int:
    """Return the root seed of one agent of the run."""
    return derive_seed(settings.seed, "agent", stream=number)


def initial_agents(settings: TrainSettings, numbers: Sequence[int]) -> list[Agent]:
    """Draw agents as they are before any training.

    Parameters
    ----------
    settings : TrainSettings
        Resolved settings.
    numbers : sequence of int
        Which agents of the run.

    Returns
    -------
    list of Agent
        Each drawn from its own seed.

    Raises
    ------
    InputError
        Where the environment cannot be built.
    """
    engine = make_engine(settings.environment, 1)
    inputs, space = engine.observation_size, engine.action_space
    engine.close()
    discrete = isinstance(space, Discrete)
    outputs = int(space.n) if isinstance(space, Discrete) else int(np.prod(space.shape or (1,)))
    network = MLP((inputs, *settings.hidden, outputs))
    policy = CategoricalMLP(network) if discrete else GaussianMLP(network)
    value = MLPValue(MLP((inputs, *settings.hidden, 1)))
    return [_initial_agent(settings, policy, value, number) for number in numbers]


def _initial_agent(
    settings: TrainSettings, policy: GaussianMLP | CategoricalMLP, value: MLPValue, number: int
) -> Agent:
    seed = agent_seed(settings, number)
    parts = {
        "policy": policy.initialize(generator(seed, "initial policy"), settings.initialization),
        "value": value.initialize(generator(seed, "initial value"), settings.initialization),
    }
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
        algorithm=settings.algo,
        algorithm_settings=asdict(settings.ppo),
        regime=settings.regime,
        environment=settings.environment,
        iteration=0,
        agent_seed=number,
    )
    return with_optimizers(agent.with_state(parts))


def with_optimizers(agent: Agent) -> Agent:
    """Return a single agent with Adam's moments at zero, so that its state has the same names before and after."""
    changes: dict[str, dict[str, torch.Tensor]] = {}
    for part in ("policy", "value"):
        parameters = agent.part(part).items()
        changes[f"optimizer.{part}"] = {"step": torch.tensor(0)} | {
            f"{kind}.{name}": torch.zeros_like(tensor)
            for kind in ("exp_avg", "exp_avg_sq")
            for name, tensor in parameters
        }
    return agent.with_state(changes)
