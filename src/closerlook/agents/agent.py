"""An agent: everything that decides what its next training batch and update would be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution

from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.modules import fixed, inputs_of_first_layer, take_over, trainable
from closerlook.agents.normalization import RunningMoments, Scaling
from closerlook.agents.origin import Origin
from closerlook.agents.policies import ModulePolicy, ModuleValue, Policy, Value
from closerlook.arguments import require_choices, require_fractions
from closerlook.errors import InputError

ActionTransform = Literal["none", "clip", "squash", "rescale"]
"""What happens to an action on its way to the environment: nothing; clipping to the bounds of the action space;
tanh and rescaling to them; or rescaling alone, of actions that the policy itself squashes to (-1, 1)."""

Bootstrap = Literal["correct", "paper"]
"""``correct``: a truncation or a cut is bootstrapped by the value of the state that would have followed.
``paper``: as the released code does it: time limits count as terminations, the last value of a stream stands in for
the value of what follows it, returns stop there with zero, and terminal steps are left out of the value loss."""

ValueTarget = Literal["gae", "returns"]
"""What a critic regresses on: ``V_old + A`` with generalized advantage estimates, or discounted returns."""

State = Mapping[str, Tensor]
"""Everything training changes, by dotted name: ``policy.*``, ``value.*``, ``observations.{count,mean,squares}``,
``returns.{count,mean,squares}`` (moments of the discounted return that scales rewards), ``optimizer.*``."""


CHOICES: dict[str, tuple[str, ...]] = {
    "action_transform": get_args(ActionTransform),
    "bootstrap": get_args(Bootstrap),
    "value_target": get_args(ValueTarget),
}
"""Fields of an agent that are one of a few."""
ASSUMABLE = (
    "gamma",
    "gae_lambda",
    "normalize_advantages",
    "bootstrap",
    "value_target",
    "reward_scaling",
    "action_transform",
    "regime",
)
"""What torch modules do not say of their agent; what is not given is as in the paper."""
_SCALED = {"observation": "observations", "reward": "returns"}


@dataclass(frozen=True)
class Regime:
    """How a training batch is gathered.

    Parameters
    ----------
    n_envs : int
        Environments stepped side by side; a batch is one stream of each.
    n_steps : int
        Pairs of one stream.
    reset_each_iteration : bool
        Whether each stream begins with a reset (the paper) or goes on where the last one stopped.

    See Also
    --------
    closerlook.Agent : whose regime it is.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.Regime(n_envs=4, n_steps=256, reset_each_iteration=False).batch_pairs
    1024
    """

    n_envs: int = 1
    n_steps: int = 2048
    reset_each_iteration: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no number of environments or steps.

        Raises
        ------
        InputError
            Where it is not a whole number from 1 on.
        """
        for name in ("n_envs", "n_steps"):
            number = getattr(self, name)
            if not isinstance(number, int | np.integer) or number < 1:
                raise InputError(
                    f"{name} of the regime must be a whole number of at least 1 (got {number})", "give 1 or more"
                )

    @property
    def batch_pairs(self) -> int:
        """State-action pairs of one batch."""
        return self.n_envs * self.n_steps


@dataclass(frozen=True)
class Agent:
    """A policy, a critic or none, and everything else that shapes a training batch.

    Parameters
    ----------
    policy : Policy
        Architecture of the policy; its parameters are ``state["policy.*"]``.
    value : Value or None
        Architecture of the critic; its parameters are ``state["value.*"]``.
    state : mapping of str to Tensor
        Everything training changes (see `State`). With `population` set, every tensor has a leading axis P.
    gamma, gae_lambda : float
        Discount factor, and the lambda of generalized advantage estimation.
    observation_scaling : Scaling or None
        How observations are standardized before the networks see them; None: not at all.
    reward_scaling : Scaling or None
        How rewards are divided by the standard deviation of the discounted return before the critic and the
        advantages see them; None: not at all. True reward is never scaled.
    action_transform : {"none", "clip", "squash", "rescale"}
        What happens to an action on its way to the environment.
    normalize_advantages : bool
        Whether the agent's algorithm standardizes advantages within a batch.
    bootstrap : {"correct", "paper"}
        What its advantages take to follow a truncation or a cut.
    value_target : {"gae", "returns"}
        What its critic regresses on.
    algorithm : str or None
        ``"ppo"``, ``"trpo"`` ..., None where unknown.
    algorithm_settings : mapping
        The algorithm's settings, as JSON values.
    regime : Regime
        How its training gathers a batch.
    environment : EnvironmentSpec or None
        What it was trained on.
    iteration : int or None
        Updates made so far.
    agent_seed : int or None
        Which of a run's agents this is.
    population : int or None
        P where the state is stacked, else None.
    factory : str or None
        ``package.module:function`` that builds this agent again, where its networks are code of the user's.
    origin : Origin or None
        Where it comes from, where another library trained it.
    unsaid : tuple of str
        Fields that whoever made it of torch modules left out.

    See Also
    --------
    closerlook.load : an agent from a file or a run.
    closerlook.from_sb3 : an agent of a live model.

    Examples
    --------
    >>> import torch
    >>> from torch.distributions import Independent, Normal
    >>> import closerlook as cl
    >>> def around(mean):
    ...     return Independent(Normal(mean, 0.6), 1)
    >>> agent = cl.Agent.from_torch(torch.nn.Linear(3, 1), distribution=around, gamma=0.9)
    >>> agent.gamma, agent.normalize_advantages
    (0.9, True)
    """

    policy: Policy
    value: Value | None
    state: State = field(repr=False)
    gamma: float = 0.99
    gae_lambda: float = 0.95
    observation_scaling: Scaling | None = None
    reward_scaling: Scaling | None = None
    action_transform: ActionTransform = "none"
    normalize_advantages: bool = True
    bootstrap: Bootstrap = "correct"
    value_target: ValueTarget = "gae"
    algorithm: str | None = None
    algorithm_settings: Mapping[str, Any] = field(default_factory=dict)
    regime: Regime = Regime()
    environment: EnvironmentSpec | None = None
    iteration: int | None = None
    agent_seed: int | None = None
    population: int | None = None
    factory: str | None = None
    origin: Origin | None = field(default=None, compare=False, repr=False)
    unsaid: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing, and scales without the moments they are taken from.

        Raises
        ------
        InputError
            Where there are such.
        """
        require_choices(self, CHOICES, " of the agent")
        require_fractions(self, ("gamma", "gae_lambda"), " of the agent")
        for name in ("gamma", "gae_lambda"):
            if type(getattr(self, name)) is not int:  # NumPy's numbers could not be saved
                object.__setattr__(self, name, float(getattr(self, name)))
        environment: object = self.environment
        if not isinstance(environment, EnvironmentSpec | None):
            what = f"environment of the agent is a {type(environment).__name__}"
            raise InputError(what, "name it by closerlook.EnvironmentSpec")
        for scaled, moments_of in _SCALED.items():
            if self.state and getattr(self, f"{scaled}_scaling") and f"{moments_of}.count" not in self.state:
                what = f"{scaled}s of the agent are scaled, and its state has no moments of {moments_of}"
                whence = f"{moments_of}.count, .mean, .squares; of torch modules {scaled}_var"
                raise InputError(what, f"give them ({whence}), or leave {scaled}_scaling out")

    @property
    def policy_parameters(self) -> dict[str, Tensor]:
        """The policy's parameters, in its own order."""
        return {name: self.state[f"policy.{name}"] for name in self.policy.parameter_shapes}

    @property
    def value_parameters(self) -> dict[str, Tensor]:
        """The critic's parameters, in its own order; empty where there is none."""
        names = self.value.parameter_shapes if self.value is not None else ()
        return {name: self.state[f"value.{name}"] for name in names}

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the part of the state under a prefix, the prefix and its dot removed."""
        start = f"{prefix}."
        return {name[len(start) :]: tensor for name, tensor in self.state.items() if name.startswith(start)}

    def with_state(self, changes: Mapping[str, Mapping[str, Tensor]], **fields: Any) -> "Agent":
        """Return this agent with parts of its state replaced: ``{"policy": {...}, "optimizer": {...}}``.

        Parameters
        ----------
        changes : mapping of str to mapping of str to Tensor
            By part (``"policy"``, ``"optimizer.policy"`` ...), tensors by their own names.
        **fields
            Other fields to replace.
        """
        state = dict(self.state)
        for prefix, part in changes.items():
            state.update({f"{prefix}.{name}": tensor for name, tensor in part.items()})
        return replace(self, state=state, **fields)

    @staticmethod
    def stack(agents: Sequence["Agent"]) -> "Agent":
        """Stack single agents of one architecture and one set of settings into a population [P].

        Raises
        ------
        InputError
            Where their modules differ in what is not stacked: frozen parameters and buffers.
        """
        first = agents[0]
        _require_same_fixed(agents)
        state = {name: torch.stack([agent.state[name] for agent in agents]) for name in first.state}
        seed = first.agent_seed if len(agents) == 1 else None
        return replace(first, state=state, population=len(agents), agent_seed=seed)

    def unstack(self) -> list["Agent"]:
        """Split a population into single agents; a single agent gives a list of itself."""
        if self.population is None:
            return [self]
        return [
            replace(self, state={name: tensor[i].clone() for name, tensor in self.state.items()}, population=None)
            for i in range(self.population)
        ]

    @staticmethod
    def from_torch(
        policy: torch.nn.Module,
        value: torch.nn.Module | None = None,
        *,
        distribution: Callable[[Any], TorchDistribution],
        observation_size: int | None = None,
        observation_mean: Any = None,
        observation_var: Any = None,
        observation_scaling: Scaling | None = None,
        reward_var: float | None = None,
        **fields: Any,
    ) -> "Agent":
        """Make an agent of any torch modules.

        Parameters
        ----------
        policy : torch.nn.Module
            Maps observations [N, obs] to what `distribution` takes.
        value : torch.nn.Module or None
            Maps observations [N, obs] to values [N] or [N, 1].
        distribution : callable
            Maps the policy's output to a `torch.distributions` distribution with the rows first.
        observation_size : int, optional
            Components of an observation; where it is not given, the environment says.
        observation_mean, observation_var : array_like, (obs,), optional
            Statistics to standardize observations with, frozen; give both or neither.
        observation_scaling : Scaling, optional
            Epsilon and clip of that standardization; default `Scaling()`.
        reward_var : float, optional
            Variance of the discounted return, by whose root training divided rewards; epsilon and clip of that are the
            field `reward_scaling`, default `Scaling()`.
        **fields
            Other fields of `Agent`: gamma, gae_lambda, action_transform, regime, algorithm ...; see
            `closerlook.algorithms.rules.assumptions` for what is taken where they are left out.

        Raises
        ------
        InputError
            Where only one of mean and variance is given, statistics are not finite, the policy has no parameters that
            can be trained, a module cannot be taken over (see `closerlook.agents.modules`), or another field means
            nothing.

        Warns
        -----
        UserWarning
            Of frozen parameters, which are left out, and of layers that evaluation mode changes.
        """
        if (observation_mean is None) != (observation_var is None):
            raise InputError("only one of observation_mean and observation_var is given", "give both or neither")
        policy, value = take_over(policy, "policy"), None if value is None else take_over(value, "critic")
        if not trainable(policy):
            kind = "frozen, with requires_grad=False" if any(True for _ in policy.parameters()) else "none"
            what = f"the policy has no parameters that can be trained (they are {kind}), so it has no gradient"
            raise InputError(what, "give one that has")
        # statistics of observations say how many numbers one has, where nothing else does
        size = _given_size(observation_size, observation_mean)
        state = {f"policy.{name}": p.detach().clone() for name, p in trainable(policy).items()}
        if value is not None:
            state |= {f"value.{name}": p.detach().clone() for name, p in trainable(value).items()}
        if observation_mean is not None:
            state |= _frozen_moments("observation", observation_mean, observation_var, observation_size)
            observation_scaling = observation_scaling or Scaling()
        elif observation_scaling is not None:
            what = "observation_scaling is given without the statistics to scale by"
            raise InputError(what, "give observation_mean and observation_var, or leave it out")
        # what is left out is taken from the paper and told: see `closerlook.algorithms.rules.assumptions`
        unsaid = tuple(name for name in ASSUMABLE if name not in fields)
        if reward_var is not None:
            state |= _frozen_moments("reward", 0.0, reward_var, 1)
            fields = {"reward_scaling": Scaling(), **fields}
            unsaid = tuple(name for name in unsaid if name != "reward_scaling")
        return Agent(
            policy=ModulePolicy(policy, distribution, size or inputs_of_first_layer(policy), size is not None),
            value=ModuleValue(value) if value is not None else None,
            state=state,
            observation_scaling=observation_scaling,
            unsaid=unsaid,
            **fields,
        )


def moments(agent: Agent, name: Literal["observations", "returns"]) -> RunningMoments:
    """Return running moments from a population's state, as NumPy arrays with the population axis.

    Parameters
    ----------
    agent : Agent
        A population.
    name : {"observations", "returns"}
        Of what.
    """
    part = agent.part(name)
    return RunningMoments(*(part[field].detach().numpy().astype(np.float64) for field in ("count", "mean", "squares")))


def moments_state(values: RunningMoments) -> dict[str, Tensor]:
    """Return running moments as a part of a population's state: the inverse of `moments`."""
    return {name: torch.from_numpy(np.array(getattr(values, name))) for name in ("count", "mean", "squares")}


def _require_same_fixed(agents: Sequence[Agent]) -> None:
    for part in ("policy", "value"):
        modules = [getattr(getattr(agent, part), "module", None) for agent in agents]
        # one module runs for the whole population: what is not in the state has to be the same in all
        known = [fixed(module) for module in modules if module is not None]
        for other in known[1:]:
            differs = [
                name for name, tensor in known[0].items() if name not in other or not torch.equal(tensor, other[name])
            ]
            if differs:
                what = f"{differs[0]} of the agents' modules is frozen or a buffer, and differs between them"
                raise InputError(what, "give agents that share it, or give them one by one")


def _given_size(size: object, mean: Any) -> int | None:
    """Return how many components an observation has, where the user says so, by number or by statistics."""
    if size is None:
        return None if mean is None else int(np.asarray(mean).size)
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(
            f"observation_size must be a whole number of at least 1 (got {size!r})", "leave it out, or give 1 or more"
        )
    return int(size)


def _frozen_moments(scaled: str, mean: Any, variance: Any, asked: int | None) -> dict[str, Tensor]:
    """Express a given mean and variance as moments of very many numbers, so that nothing moves them."""
    # so many observations that no further one would move the moments
    count = 2.0**40
    mean, variance = (np.asarray(x, dtype=np.float64).reshape(-1) for x in (mean, variance))
    size = mean.size if asked is None else asked
    if mean.shape != (size,) or variance.shape != (size,):
        what = f"{scaled}_mean and {scaled}_var have {mean.size} and {variance.size} components, the agent has {size}"
        raise InputError(what, "give one number for each component")
    if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance >= 0).all()):
        raise InputError(f"{scaled}_mean or {scaled}_var is not finite, or a variance is negative", "check them")
    name = _SCALED[scaled]
    return {
        f"{name}.count": torch.tensor(count, dtype=torch.float64),
        f"{name}.mean": torch.from_numpy(mean.copy()),
        f"{name}.squares": torch.from_numpy(variance * (count - 1)),
    }
