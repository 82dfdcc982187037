"""The policy's side of a step: standardized observations, keyed noise, actions as the environment takes them.

====== ===================================
symbol meaning
====== ===================================
P      policies
L      lanes of each policy
n      all lanes, P L, policy by policy
====== ===================================
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray

from closerlook.agents.agent import ActionTransform, Agent, moments
from closerlook.agents.normalization import RunningMoments, Scaling
from closerlook.agents.policies import CategoricalMLP, GaussianMLP
from closerlook.agents.trial import example_of
from closerlook.errors import InputError
from closerlook.nn.distributions import (
    AnyDistribution,
    Categorical,
    DiagonalGaussian,
    IndependentBernoulli,
    MultiCategorical,
    Noise,
    SquashedGaussian,
)
from closerlook.randomness import generator, rekey
from closerlook.simulation.lanes import BoolArray, FloatArray, IntArray

NOISE_CHUNK = 64
"""Steps whose noise is drawn at a time. It shapes speed only: draws follow one another in a generator either way."""

_DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, int]], NDArray[Any]]] = {
    "normal": lambda source, shape: source.standard_normal(shape),
    "uniform": lambda source, shape: source.random(shape),
    "seed": lambda source, shape: source.integers(2**63, size=shape),
}


class ObservationFilter:
    """Standardizes observations by each policy's moments, frozen or running.

    Moments that have seen nothing leave observations as they are: before its first update an agent has no scale.

    Parameters
    ----------
    scaling : Scaling or None
        How; None: not at all.
    statistics : RunningMoments or None
        The moments, with the population axis P.
    running : bool
        Whether `push` updates them (a copy of them).
    """

    def __init__(self, scaling: Scaling | None, statistics: RunningMoments | None, *, running: bool) -> None:
        self._scaling = scaling if statistics is not None else None
        self._running = running and self._scaling is not None
        self._moments = statistics.copy() if statistics is not None else None
        self._prepared = False

    @staticmethod
    def of(agents: Agent, *, running: bool) -> "ObservationFilter":
        """Return the filter of a population.

        Parameters
        ----------
        agents : Agent
            A population.
        running : bool
            Whether moments go on being updated.
        """
        scaled = agents.observation_scaling is not None
        statistics = moments(agents, "observations") if scaled else None
        return ObservationFilter(agents.observation_scaling, statistics, running=running)

    @property
    def updated_moments(self) -> RunningMoments | None:
        """The moments so far, where they are running."""
        return self._moments if self._running else None

    def push(self, observations: FloatArray, where: BoolArray) -> None:
        """Take in observations (P, L, obs) of the lanes `where` (P, L); without running moments, nothing.

        Parameters
        ----------
        observations : ndarray, (P, L, obs)
            What lanes gave.
        where : ndarray, (P, L), bool
            Which of them count.
        """
        if self._running and self._moments is not None and where.any():
            self._moments.push_rows(observations, where)
            self._prepared = False

    def all_rows(self, observations: FloatArray) -> NDArray[np.float32]:
        """Turn observations (P, L, obs) into policy inputs."""
        if self._scaling is None:
            with np.errstate(over="ignore"):  # beyond single precision is infinite, which the lockstep finds
                return observations.astype(np.float32)
        self._prepare()
        standard = np.subtract(observations, self._mean[:, None])
        standard /= self._divisor[:, None]
        return self._scaling.bounded(standard).astype(np.float32)

    def one_row(self, policy: int, observation: FloatArray) -> NDArray[np.float32]:
        """Turn one observation (obs,) of one policy into its input.

        Parameters
        ----------
        policy : int
            Place in the population.
        observation : ndarray, (obs,)
            As the environment gave it.
        """
        if self._scaling is None:
            return observation.astype(np.float32)
        self._prepare()
        standard = (observation - self._mean[policy]) / self._divisor[policy]
        return self._scaling.bounded(standard).astype(np.float32)

    def _prepare(self) -> None:
        """Find mean and divisor, if moments have changed since the last time."""
        if self._prepared or self._scaling is None or self._moments is None:
            return
        # an agent that has seen nothing standardizes by nothing
        seen = self._moments.count[:, None] > 0
        self._mean = self._moments.mean
        self._divisor = np.where(seen, self._scaling.divisor(self._moments.variance), 1.0)
        self._prepared = True


class ActionNoise:
    """The noise of every lane's current episode, drawn in chunks from that episode's own generator.

    Parameters
    ----------
    noise : Noise
        Kind and size of what one action needs.
    lanes : int
        n.
    """

    def __init__(self, noise: Noise, lanes: int) -> None:
        self._draw = _DRAWS[noise.kind]
        self._shape = (NOISE_CHUNK, noise.size)
        self._generators = [generator(0, "") for _ in range(lanes)]
        dtype = np.int64 if noise.kind == "seed" else np.float64
        self._drawn = np.zeros((lanes, *self._shape), dtype)
        self._next = np.zeros(lanes, np.int64)

    def begin(self, lane: int, seed: int, purpose: str, stream: int, episode: int) -> None:
        """Begin an episode on a lane.

        Parameters
        ----------
        lane : int
            Where.
        seed : int
            Root seed of the agent.
        purpose : str
            What is sampled for.
        stream, episode : int
            Numbers that name the draws.
        """
        rekey(self._generators[lane], seed, purpose, stream=stream, episode=episode, kind="action")
        self._next[lane] = NOISE_CHUNK

    def draw(self, lanes: IntArray, where: slice | NDArray[Any]) -> NDArray[Any]:
        """Return the next noise of the given lanes, (len(lanes), size); `where` is a cheaper index of the same.

        Parameters
        ----------
        lanes : ndarray, (L,), int64
            Which lanes act.
        where : slice or ndarray
            The same, as the cheapest index.
        """
        steps = self._next[where]
        # noise is drawn some steps at a time: drawing costs more per call than per number
        if steps.max() == NOISE_CHUNK:
            for lane in lanes[steps == NOISE_CHUNK].tolist():
                self._drawn[lane] = self._draw(self._generators[lane], self._shape)
                self._next[lane] = 0
            steps = self._next[where]
        chosen = self._drawn[lanes, steps]
        self._next[where] += 1
        return chosen


def make_transform(transform: ActionTransform, space: gymnasium.spaces.Space[Any]) -> Callable[[Any], NDArray[Any]]:
    """Return what happens to actions (n, A) on their way to the environment; choices of a Discrete pass as they are.

    They come out in the type of the space. Clipped and squashed ones lie within its own bounds, which a narrower type
    might not hold; those of whole numbers are rounded.

    Parameters
    ----------
    transform : {"none", "clip", "squash", "rescale"}
        What the agent does.
    space : gymnasium.Space
        Of actions.

    Raises
    ------
    InputError
        Where actions are to be squashed or rescaled to bounds that are infinite, or real ones given as they are to a
        space of whole numbers.
    """
    if not isinstance(space, Box):
        return lambda actions: actions
    low, high, dtype = np.ravel(space.low), np.ravel(space.high), space.dtype
    whole = dtype.kind != "f"
    if transform == "none":
        if whole:
            what = f"the environment takes whole numbers ({dtype}) as actions, and the policy's are real numbers"
            raise InputError(what, 'give action_transform="clip", which rounds and clips them, or "squash"')
        return lambda actions: actions.astype(dtype, copy=False)
    into = partial(_round_within if whole else _clip_within, low=low, high=high)
    if transform == "clip":
        return into
    wide = np.result_type(dtype, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        # half the width of the box, in a type that holds the difference of its bounds
        half = (high.astype(wide) - low.astype(wide)) / 2
    if not np.isfinite(half).all():
        raise InputError(
            "actions are to be squashed or rescaled, but the action space has no finite bounds", "use clip or none"
        )
    if transform == "rescale":
        return lambda actions: into(low + half * (actions.astype(wide, copy=False) + wide.type(1)))
    # a = low + (high - low) / 2 (tanh u + 1), which rounding may take beyond the box
    return lambda actions: into(low + half * (np.tanh(actions.astype(wide, copy=False)) + wide.type(1)))


def _clip_within(actions: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """Clip actions (n, A) to bounds (A,) in the type of the bounds."""
    with np.errstate(over="ignore"):  # what a narrow type cannot hold is infinite in it, and clipped
        return np.asarray(np.clip(actions.astype(low.dtype, copy=False), low, high))


def _round_within(actions: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """Round actions (n, A) to whole numbers within bounds (A,); compared as real numbers, so that none wraps."""
    # compared in double precision: a wide number in a narrow type would wrap around
    rounded = np.rint(actions.astype(np.float64))
    within = (rounded > low) & (rounded < high)
    return np.where(within, np.where(within, rounded, 0).astype(low.dtype), np.where(rounded > low, high, low))


def check_spaces(agents: Agent, name: str, observation_size: int, space: gymnasium.spaces.Space[Any]) -> None:
    """Check that a population fits an environment.

    Parameters
    ----------
    agents : Agent
        A population.
    name : str
        Of the environment, for messages.
    observation_size : int
        Numbers of an observation.
    space : gymnasium.Space
        Of actions.

    Raises
    ------
    InputError
        Where observation sizes differ, or the policy's actions are not of the environment's kind or size.
    """
    expected = agents.policy.observation_size
    if expected != observation_size:
        raise InputError(
            f"the agent's policy takes observations of {expected} numbers, {name} gives {observation_size}",
            "measure it on the environment it was made for",
        )
    check_actions(agents, name, *actions_offered(space))


def actions_offered(space: gymnasium.spaces.Space[Any]) -> tuple[str, int | tuple[int, ...]]:
    """Return the kind of a space's actions, and their number, size, or numbers where there are several choices."""
    if isinstance(space, Discrete):
        return "discrete", int(space.n)
    if isinstance(space, MultiDiscrete):
        return "several discrete", tuple(np.ravel(space.nvec).tolist())
    if isinstance(space, MultiBinary):
        return "binary", int(np.prod(space.shape))
    return "continuous", int(np.prod(space.shape or (), dtype=int))


def check_actions(agents: Agent, name: str, offered_kind: str, offered_size: int | tuple[int, ...]) -> None:
    """Check that a population's actions are of an environment's kind and size.

    Parameters
    ----------
    agents : Agent
        A population.
    name : str
        Of the environment, for messages.
    offered_kind : str
        Kind of actions that it takes.
    offered_size : int or tuple of int
        Components, or possibilities of each choice.

    Raises
    ------
    InputError
        Where they are not.
    """
    kind, size = _actions_of(agents, bits=offered_kind == "binary")
    if kind != offered_kind or (size is not None and size != offered_size):
        chosen = f"{kind} actions" + (f" of size {size}" if size is not None else "")
        raise InputError(
            f"the policy chooses {chosen}, {name} takes {offered_kind} actions of size {offered_size}",
            "measure the agent on the environment it was made for",
        )


_KINDS: dict[type[Any], Callable[[Any], tuple[str, int | tuple[int, ...]]]] = {
    DiagonalGaussian: lambda probe: ("continuous", int(probe.mean.shape[-1])),
    SquashedGaussian: lambda probe: ("continuous", int(probe.inner.mean.shape[-1])),
    Categorical: lambda probe: ("discrete", int(probe.logits.shape[-1])),
    MultiCategorical: lambda probe: ("several discrete", probe.sizes),
    IndependentBernoulli: lambda probe: ("binary", int(probe.logits.shape[-1])),
}
"""The kind and size of actions of each distribution that is known."""


def _actions_of(agents: Agent, *, bits: bool) -> tuple[str, int | tuple[int, ...] | None]:
    """Return the kind of a population's actions, and their size (or number) where the distribution tells.

    Zeros and ones of torch's distributions are real numbers to it; here they are binary where `bits` are wanted.
    """
    policy = agents.policy
    if isinstance(policy, GaussianMLP | CategoricalMLP):
        return "continuous" if isinstance(policy, GaussianMLP) else "discrete", policy.network.sizes[-1]
    first = {name: parameter[0] for name, parameter in agents.policy_parameters.items()}
    with torch.no_grad():
        probe = policy.distribution(first, example_of(policy))
        known = _KINDS.get(type(probe))
        if known is not None:
            return known(probe)
        action = probe.sample(torch.zeros(1, 1, dtype=torch.int64))
        binary = bits and isinstance(probe, AnyDistribution) and _draws_bits(probe.inner)
    if not action.is_floating_point():
        return ("several discrete" if action.ndim > 1 else "discrete"), None
    return ("binary" if binary else "continuous"), int(action.shape[-1]) if action.ndim == 2 else None


def _draws_bits(distribution: torch.distributions.Distribution) -> bool:
    support: Any = distribution.support
    while isinstance(support, torch.distributions.constraints.independent):
        support = support.base_constraint
    return support is torch.distributions.constraints.boolean
