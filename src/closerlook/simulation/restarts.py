"""Going back to states of a rollout, and on from each many times: what a state is worth, apart from luck.

A state is reached by replay: its episode is reset with the seed it was reset with, and its actions are played back.
Then copies of the environment go on from it with fresh actions.

====== ====================================
symbol meaning
====== ====================================
M      states
K      copies of each
H      steps that each copy goes on, at most
====== ====================================
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError, NonFiniteError
from closerlook.nn.networks import TILE
from closerlook.randomness import derive_seed
from closerlook.simulation.acting import ActionNoise, ObservationFilter, make_transform
from closerlook.simulation.engine import LANES, lend_engine
from closerlook.simulation.gymnasium_engine import is_gymnasiums_own
from closerlook.simulation.lanes import BoolArray, Engine, FloatArray, IntArray
from closerlook.simulation.metering import Asked, asked_steps, count, short, simulating
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.replays import play

LIKELY_TO_DIFFER = 20
"""Steps within which copies of a state show whether their steps are random."""


@dataclass(frozen=True)
class Origin:
    """The rollout that states are of, as it was asked for.

    Parameters
    ----------
    sampled : Rollout
        Of a population of one.
    seed, purpose : int, str
        What its draws were named by.
    streams : sequence of int
        Keys of its streams.
    """

    sampled: Rollout
    seed: int
    purpose: str
    streams: Sequence[int]


@dataclass(frozen=True)
class State:
    """The state that an action was taken in.

    Parameters
    ----------
    stream : int
        Index into the rollout's streams.
    time : int
        Step of the stream, of an episode that began in it.
    """

    stream: int
    time: int


@dataclass(frozen=True)
class Restarts:
    """What came after the states.

    Parameters
    ----------
    observations : ndarray, (M, obs), float32
        The states, as the policy saw them.
    rewards : ndarray, (M, K, H), float64
        True rewards from each state on, zero after the end.
    length : ndarray, (M, K), int64
        How many there are: less than H after a termination, or where the environment cannot go on.
    terminated : ndarray, (M, K), bool
        Whether a copy ended by termination.
    """

    observations: NDArray[np.float32]
    rewards: FloatArray
    length: IntArray
    terminated: BoolArray


def require_restarts(environment: EnvironmentSpec) -> None:
    """Save and restore the first state of an environment, before much is sampled that would be of no use without.

    Where copies of it never differ under equal actions, and it is none of Gymnasium's own, a warning says so: either
    its steps are not random, or what they draw from was not found.

    Raises
    ------
    InputError
        Where it cannot be copied.
    """
    with lend_engine(environment, 1) as engine:
        engine.reset(np.array([0]), [0])
        saved = engine.save(0)
        # two copies with other generators, equal actions: copies that never differ hide the environment's own noise
        first, second = (_go_on_from(engine, saved, seed) for seed in (0, 1))
    if first == second and not is_gymnasiums_own(environment):
        what = f"copies of environment {environment.id!r} never differ under equal actions"
        hint = "right where its steps are not random; else their noise is missing from restarts: draw it from np_random"
        warnings.warn(f"{what}: {hint}", stacklevel=2)


def _go_on_from(engine: Engine, saved: Any, seed: int) -> list[Any]:
    """Return what a copy of a state comes to by some actions, as far as it takes them."""
    # equal actions from the same state: only the environment's own draws may differ
    engine.restore(0, saved, seed)
    return play(engine, 0, seed=0, steps=LIKELY_TO_DIFFER)


def restart(
    agents: Agent, environment: EnvironmentSpec, origin: Origin, states: Sequence[State], *, copies: int, steps: int
) -> Restarts:
    """Go on from states, each as often as there are copies.

    A time limit does not stop a copy. Its actions are keyed by the origin's names, the state and the copy, so nothing
    depends on which other states are asked.

    Parameters
    ----------
    agents : Agent
        A population of one: that of the origin.
    environment : EnvironmentSpec
        Where it acted.
    origin : Origin
        Where the states are from.
    states : sequence of State, M
        Which ones.
    copies, steps : int
        K and H.

    Raises
    ------
    InputError
        Where the environment does not come to the same state again, or cannot be copied.
    NonFiniteError
        At the first NaN or infinity.
    """
    steps, wanted = short(steps), steps
    # as many states at a time as fill the lanes with their copies
    together = max(1, LANES // copies)
    groups = [states[first : first + together] for first in range(0, len(states), together)]
    with lend_engine(environment, together * copies) as engine:
        copier = _Copier(agents, engine, origin, environment.id, (together, copies, steps))
        copied = Asked(Sampling(1, 0, wanted), origin.purpose, copies, len(states), together, None)
        # an episode is as long past, when met at some step, as it goes on; and no longer than its stream
        longest = min(asked_steps(origin.sampled.n_steps), engine.time_limit or math.inf)
        half = Sampling(1, 0, max(1, int(longest / 2)))
        replayed = Asked(half, origin.purpose, 1, len(states), 1, None, alone=True)
        with simulating(copied, replayed):
            parts = [copier.go_on(group) for group in groups]
    return Restarts(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class _Copier:
    """Restarts some states at a time on the lanes of one engine: those of a state lie together."""

    def __init__(self, agents: Agent, engine: Engine, origin: Origin, name: str, shape: tuple[int, int, int]) -> None:
        self._engine, self._origin, self._name = engine, origin, name
        together, self._copies, self._steps = shape
        self._filter = ObservationFilter.of(agents, running=False)
        self._actor = agents.policy.actor(agents.policy_parameters)
        self._transform = make_transform(agents.action_transform, engine.action_space)
        lanes, rows = together * self._copies, -(-self._copies // TILE) * TILE
        self._noise = ActionNoise(agents.policy.noise, lanes)
        copy = np.arange(lanes) % self._copies
        self._rows = np.arange(lanes) // self._copies * rows + copy  # each copy at its own place of a tile
        self._inputs = np.zeros((1, together * rows, engine.observation_size), np.float32)
        size, kind = agents.policy.noise.size, agents.policy.noise.kind
        self._noise_rows = np.zeros((1, together * rows, size), np.int64 if kind == "seed" else np.float64)

    def go_on(self, states: Sequence[State]) -> tuple[NDArray[Any], ...]:
        """Replay and go on: the fields of `Restarts` for these states."""
        lanes = len(states) * self._copies
        observations = np.zeros((lanes, self._engine.observation_size))
        for number, state in enumerate(states):
            first = number * self._copies
            observations[first : first + self._copies] = self._replay(state, first)
            self._copy(state, first)
        inputs = self._filter.all_rows(observations[None])[0, :: self._copies]
        self._inputs[:] = inputs[0]  # rows of tiles that no copy has: the policy has an answer to that
        rewards, length = np.zeros((lanes, self._steps)), np.zeros(lanes, np.int64)
        terminated, active = np.zeros(lanes, np.bool_), np.arange(lanes)
        for step in range(self._steps):
            result = self._engine.step(active, self._transform(self._act(active, observations)))
            count(result)
            self._check(states, active, step, result.rewards, result.observations)
            observations[active] = result.observations
            rewards[active, step] = result.rewards
            length[active] += 1
            terminated[active] = result.terminated
            active = active[~(result.terminated | result.truncated)]
            if not active.size:
                break
        shape = (len(states), self._copies)
        return inputs, rewards.reshape(*shape, -1), length.reshape(shape), terminated.reshape(shape)

    def _replay(self, state: State, lane: int) -> FloatArray:
        """Bring a lane to a state; return its observation."""
        origin, where = self._origin, np.array([lane])
        own = origin.sampled.episodes
        mine = own.stream == state.stream
        # the episode that the step belongs to: the last one that began before it
        at = int(np.searchsorted(own.start[mine], state.time, side="right")) - 1
        start, episode = int(own.start[mine][at]), int(own.number[mine][at])
        if start < 0:
            raise ValueError(f"the episode of step {state.time} began before its stream")
        key = origin.streams[state.stream]
        seed = derive_seed(origin.seed, origin.purpose, stream=key, episode=episode, kind="reset")
        observation = self._engine.reset(where, [seed])[0]
        # the same seed and the same actions lead to the same state, or the environment is not repeatable
        for action in origin.sampled.actions[0, state.stream, start : state.time]:
            result = self._engine.step(where, self._transform(action[None]))
            count(result)
            observation = result.observations[0]
        seen = origin.sampled.observations[0, state.stream, state.time]
        if not np.array_equal(self._filter.one_row(0, observation), seen):
            what = f"{self._name} does not come to the same state when an episode is played back"
            raise InputError(what, "leave restarts out (--restarts 0), or let its randomness come from reset(seed=...)")
        return np.asarray(observation)

    def _copy(self, state: State, first: int) -> None:
        """Put the copies of a state on their lanes, each with noise of its own."""
        origin = self._origin
        saved, purpose = self._engine.save(first), f"{origin.purpose}, again"
        # one number for each state: stream and step
        name = origin.streams[state.stream] * origin.sampled.n_steps + state.time
        for copy in range(self._copies):
            seed = derive_seed(origin.seed, purpose, stream=name, episode=copy, kind="reset")
            self._engine.restore(first + copy, saved, seed)
            self._noise.begin(first + copy, origin.seed, purpose, name, copy)

    def _act(self, active: IntArray, observations: FloatArray) -> NDArray[Any]:
        self._inputs[0, self._rows[active]] = self._filter.all_rows(observations[None, active])[0]
        self._noise_rows[0, self._rows[active]] = self._noise.draw(active, active)
        actions = self._actor(self._inputs, self._noise_rows)[0][self._rows[active]]
        kind = np.float32 if np.issubdtype(actions.dtype, np.floating) else np.int64
        return np.asarray(actions.astype(kind, copy=False))

    def _check(self, states: Sequence[State], active: IntArray, step: int, *values: FloatArray) -> None:
        """Stop at a NaN or an infinity."""
        for what, numbers in zip(("reward", "observation"), values, strict=True):
            bad = ~np.isfinite(numbers.reshape(len(active), -1)).all(axis=1)
            if bad.any():
                state = states[int(active[bad][0]) // self._copies]
                where = f"{step} steps after step {state.time} of stream {self._origin.streams[state.stream]}"
                raise NonFiniteError(f"not every {what} is finite in {self._name}", f"look {where}")
