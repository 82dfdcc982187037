"""Where the closed loop writes: arrays of scored steps, and rows of boundaries and episodes."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from closerlook.agents.normalization import RunningMoments
from closerlook.simulation.lanes import BoolArray, FloatArray, IntArray
from closerlook.simulation.records import Boundaries, Episodes, Rollout


class _Boundary(NamedTuple):
    policy: int
    stream: int
    time: int
    observation: NDArray[np.float32]
    rewards: FloatArray
    terminated: bool


class _Episode(NamedTuple):
    policy: int
    stream: int
    start: int
    number: int
    length: int
    episode_return: float
    finished: bool
    return_beyond: float


class Recorder:
    """Collects a rollout of P policies, S streams and T steps, in whatever order it comes.

    Parameters
    ----------
    shape : tuple of int
        (P, S, T).
    observation_size : int
        Components of an observation.
    continuation_steps : int
        H.
    keep_transitions : bool
        Whether scored steps are kept; without them there are only episodes, in little memory.
    """

    def __init__(
        self, shape: tuple[int, int, int], observation_size: int, continuation_steps: int, *, keep_transitions: bool
    ) -> None:
        self._shape, self._continuation_steps, self._keeps = shape, continuation_steps, keep_transitions
        cells = int(np.prod(shape)) if keep_transitions else 0
        self._observations = np.empty((cells, observation_size), np.float32)
        self._actions: NDArray[Any] | None = None
        self._rewards = np.empty(cells)
        self._terminated, self._truncated = np.zeros(cells, np.bool_), np.zeros(cells, np.bool_)
        self._boundaries: list[_Boundary] = []
        self._episodes: list[_Episode] = []
        self._earlier: list[_Episode] = []

    def cell(self, policy: int, stream: int) -> int:
        """Return the row of a stream's first step; its further steps follow.

        Parameters
        ----------
        policy : int
            Place in the population.
        stream : int
            Place among the streams.
        """
        return (policy * self._shape[1] + stream) * self._shape[2]

    def acted(self, cells: IntArray, observations: NDArray[np.float32], actions: NDArray[Any]) -> None:
        """Write what policies saw and drew.

        Parameters
        ----------
        cells : ndarray, (L,), int64
            Rows of the steps, see `cell`.
        observations : ndarray, (L, obs), float32
            Policy inputs.
        actions : ndarray, (L, A) or (L,)
            As drawn.
        """
        if not self._keeps:
            return
        if self._actions is None:
            self._actions = np.empty((len(self._rewards), *actions.shape[1:]), actions.dtype)
        self._observations[cells] = observations
        self._actions[cells] = actions

    def stepped(self, cells: IntArray, rewards: FloatArray, terminated: BoolArray, truncated: BoolArray) -> None:
        """Write what environments answered.

        Parameters
        ----------
        cells : ndarray, (L,), int64
            Rows of the steps, see `cell`.
        rewards : ndarray, (L,)
            True ones.
        terminated, truncated : ndarray, (L,), bool
            How episodes ended, where they did.
        """
        if not self._keeps:
            return
        self._rewards[cells] = rewards
        self._terminated[cells] = terminated
        self._truncated[cells] = truncated

    def boundary(self, *row: Any) -> None:
        """Add a boundary: policy, stream, time, observation, the rewards past it, whether they end terminated."""
        self._boundaries.append(_Boundary(*row))

    def episode(self, *row: Any) -> None:
        """Add an episode: policy, stream, start, number, length, return, finished, return past the cut."""
        self._episodes.append(_Episode(*row))

    def earlier_episode(self, *row: Any) -> None:
        """Add an episode that ended before the first scored step, in the same columns."""
        self._earlier.append(_Episode(*row))

    def rollout(self, moments: RunningMoments | None) -> Rollout:
        """Return everything, rows in the order of policy, stream and time."""
        assert self._actions is not None
        return Rollout(
            observations=self._observations.reshape(*self._shape, -1),
            actions=self._actions.reshape(*self._shape, *self._actions.shape[1:]),
            rewards=self._rewards.reshape(self._shape),
            terminated=self._terminated.reshape(self._shape),
            truncated=self._truncated.reshape(self._shape),
            boundaries=self._ordered_boundaries(),
            episodes=self.episodes(),
            earlier_episodes=_in_order(self._earlier),
            observation_moments=moments,
        )

    def episodes(self) -> Episodes:
        """Return the episodes alone, in the order of policy, stream and start."""
        return _in_order(self._episodes)

    def _ordered_boundaries(self) -> Boundaries:
        rows = sorted(self._boundaries, key=lambda row: row[:3])
        rewards = np.zeros((len(rows), self._continuation_steps))
        for place, row in zip(rewards, rows, strict=True):
            place[: len(row.rewards)] = row.rewards
        observations = np.zeros((len(rows), self._observations.shape[1]), np.float32)
        if rows:
            np.stack([row.observation for row in rows], out=observations)
        return Boundaries(
            policy=np.array([row.policy for row in rows], np.int64),
            stream=np.array([row.stream for row in rows], np.int64),
            time=np.array([row.time for row in rows], np.int64),
            observations=observations,
            continuation_rewards=rewards,
            continuation_length=np.array([len(row.rewards) for row in rows], np.int64),
            continuation_terminated=np.array([row.terminated for row in rows], np.bool_),
        )


def _in_order(episodes: list[_Episode]) -> Episodes:
    rows = sorted(episodes)
    return Episodes(
        policy=np.array([row.policy for row in rows], np.int64),
        stream=np.array([row.stream for row in rows], np.int64),
        start=np.array([row.start for row in rows], np.int64),
        number=np.array([row.number for row in rows], np.int64),
        length=np.array([row.length for row in rows], np.int64),
        episode_return=np.array([row.episode_return for row in rows], np.float64),
        finished=np.array([row.finished for row in rows], np.bool_),
        return_beyond=np.array([row.return_beyond for row in rows], np.float64),
    )
