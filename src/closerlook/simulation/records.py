"""What the closed loop is asked for and what it gives: settings, trajectories, boundaries, episodes.

====== =====================================================================
symbol meaning
====== =====================================================================
P      policies of the population
S      streams of each policy
T      scored steps of each stream
K      boundaries: truncated steps, and streams cut before their episode ended
H      steps simulated on past a boundary, at most
====== =====================================================================
"""

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from closerlook.agents.normalization import RunningMoments
from closerlook.simulation.lanes import BoolArray, FloatArray, IntArray

FEW_EPISODES = 10
"""Episodes as long as the time limit that scored steps should have room for, if those that begin there are counted."""


@dataclass(frozen=True)
class Sampling:
    """How each stream is sampled.

    Parameters
    ----------
    n_steps : int
        Scored steps of a stream, T.
    burn_in : int
        Upper bound of the unscored start, drawn uniformly from 0 to `burn_in` for each stream; 0: a stream starts
        at a reset.
    continuation_steps : int
        How long to simulate on, unscored, past a time limit and past the cut at the end of a stream, so that returns
        there are known: H. It stops early at a termination.
    finish_episodes : bool
        Whether each stream finishes its last episode, unscored, so that its return is known.
    longest_finish : int
        Unscored steps after which an episode counts as unfinished all the same, where the environment has no time
        limit: it may never end.
    """

    n_steps: int
    burn_in: int = 0
    continuation_steps: int = 0
    finish_episodes: bool = False
    longest_finish: int = 10_000

    def begins_few(self, streams: int, time_limit: int | None) -> bool:
        """Say whether so few episodes may begin in the scored steps of streams that their returns are not known.

        What begins there is less than `FEW_EPISODES` where episodes last to the time limit, or none where they have no
        limit. Decided before anything is sampled: what came out must not choose which episodes count.

        Parameters
        ----------
        streams : int
            How many there are.
        time_limit : int or None
            Steps after which an episode is truncated; None: never.
        """
        # streams that start at a reset begin an episode each
        if self.burn_in == 0:
            return False
        return time_limit is None or streams * self.n_steps < FEW_EPISODES * time_limit


@dataclass(frozen=True)
class Boundaries:
    """Where something would have followed.

    One row for each truncated step, and for each stream whose last step ended no episode (a cut); ordered by policy,
    stream, time.

    Parameters
    ----------
    policy, stream, time : ndarray, (K,), int64
        Indices into the rollout's first three axes.
    observations : ndarray, (K, obs), float32
        The state the episode would have gone on from, as the policy would see it.
    continuation_rewards : ndarray, (K, H), float64
        True rewards of the steps simulated on, zero after them.
    continuation_length : ndarray, (K,), int64
        How many there are: less than H after a termination, or where the environment cannot go on.
    continuation_terminated : ndarray, (K,), bool
        Whether the continuation ended by termination.
    """

    policy: IntArray
    stream: IntArray
    time: IntArray
    observations: NDArray[np.float32]
    continuation_rewards: FloatArray
    continuation_length: IntArray
    continuation_terminated: BoolArray


@dataclass(frozen=True)
class Episodes:
    """Every episode that has a scored step; ordered by policy, stream, start. E rows.

    Parameters
    ----------
    policy, stream : ndarray, (E,), int64
        Indices into the rollout's first two axes.
    start : ndarray, (E,), int64
        Time index of the episode's first step; negative where it began in the burn-in.
    number : ndarray, (E,), int64
        Which episode of its stream, counted from 0, those of the burn-in among them: it names the draws.
    length : ndarray, (E,), int64
        All its steps, those of the burn-in and of the unscored finish included.
    episode_return : ndarray, (E,), float64
        The undiscounted sum of its true rewards, over the same steps.
    finished : ndarray, (E,), bool
        Whether it came to its end (termination or truncation); otherwise length and return are those so far, the
        unscored steps of a finish that was given up included.
    return_beyond : ndarray, (E,), float64
        The part of the return that was earned in the unscored finish, past the cut at the end of the stream.
    """

    policy: IntArray
    stream: IntArray
    start: IntArray
    number: IntArray
    length: IntArray
    episode_return: FloatArray
    finished: BoolArray
    return_beyond: FloatArray


@dataclass(frozen=True)
class Rollout:
    """What P policies did on S streams of T steps each.

    Parameters
    ----------
    observations : ndarray, (P, S, T, obs), float32
        As the policy saw them: standardized and clipped.
    actions : ndarray, (P, S, T, A) float32 or (P, S, T) int64
        As the policy drew them, before any transform.
    rewards : ndarray, (P, S, T), float64
        True rewards.
    terminated, truncated : ndarray, (P, S, T), bool
        Whether the episode ended with this step, and how; never both: a termination on the last step before the time
        limit is a termination.
    boundaries : Boundaries
        What lies past truncations and cuts.
    episodes : Episodes
        Lengths and returns.
    earlier_episodes : Episodes
        Those of the burn-in: they ended before the first scored step.
    observation_moments : RunningMoments or None
        The moments after the rollout, where they were updated.
    """

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    boundaries: Boundaries
    episodes: Episodes
    earlier_episodes: Episodes
    observation_moments: RunningMoments | None = None

    def of_policy(self, policy: int) -> "Rollout":
        """Return what one policy did, as a population of one."""
        at, own, earlier = self.boundaries, self.episodes, self.earlier_episodes
        where, which = at.policy == policy, own.policy == policy
        alone = slice(policy, policy + 1)
        return Rollout(
            observations=self.observations[alone],
            actions=self.actions[alone],
            rewards=self.rewards[alone],
            terminated=self.terminated[alone],
            truncated=self.truncated[alone],
            boundaries=_only(at, where),
            episodes=_only(own, which),
            earlier_episodes=_only(earlier, earlier.policy == policy),
        )

    @property
    def n_policies(self) -> int:
        """P."""
        return int(self.rewards.shape[0])

    @property
    def n_streams(self) -> int:
        """S."""
        return int(self.rewards.shape[1])

    @property
    def n_steps(self) -> int:
        """T."""
        return int(self.rewards.shape[2])

    @property
    def pairs(self) -> int:
        """State-action pairs: P S T."""
        return int(self.rewards.size)


_Rows = TypeVar("_Rows", Boundaries, Episodes)


def _only(rows: _Rows, where: BoolArray) -> _Rows:
    """Take some rows, all of one policy, which becomes the first."""
    parts = {field.name: getattr(rows, field.name)[where] for field in fields(rows)}
    return replace(rows, **{**parts, "policy": np.zeros_like(parts["policy"])})
