"""Usual mistakes in computing advantages, each as the recursion that would then hold.

====== ==================================
symbol meaning
====== ==================================
T, N   steps, environments
====== ==================================
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from closerlook.monitor.batch import Batch
from closerlook.statistics.recursions import (
    FloatArray,
    Recursion,
    Residuals,
    backward_sums,
    following_rows,
    residuals,
)

Mask = NDArray[np.bool_]

EXPLANATIONS = {
    "truncation_as_termination": (
        "nothing is taken to follow where an episode was truncated, as if it had terminated",
        "add gamma times the value of the state that would have followed, or say truncation='terminate' if it is meant",
    ),
    "termination_ignored": (
        "values and advantages run on over ends of episodes",
        "multiply the next value and the next advantage by 1 - done",
    ),
    "termination_bootstrapped": (
        "the next value is counted after a termination, where nothing follows",
        "multiply the next value by 1 - terminated",
    ),
    "truncation_ignored": (
        "advantages run on over truncations into the next episode",
        "end the sum of advantages where an episode was truncated",
    ),
    "next_episode_at_truncation": (
        "a truncation is bootstrapped by the value of the next episode's first state",
        "take the value of the final observation, which info['final_obs'] or 'terminal_observation' holds",
    ),
    "own_value_at_truncation": (
        "a truncation is bootstrapped by V(s_t) in place of V(s_t+1)",
        "evaluate the critic at the final observation of the episode",
    ),
    "cut_as_termination": (
        "nothing is taken to follow the last step of the batch, though its episode goes on",
        "bootstrap from the critic at the observation after the last step",
    ),
    "own_value_at_cut": (
        "the last step of the batch is bootstrapped by V(s_t) in place of V(s_t+1)",
        "evaluate the critic at the observation after the last step",
    ),
    "wrong_sign": ("the advantages have the wrong sign", "take r + gamma V(s') - V(s)"),
    "flags_shifted": (
        "the flags of ends are those of a neighboring step",
        "check whether done[t] says that step t ended an episode or that it begins one",
    ),
    "rewards_shifted": (
        "the rewards are those of a neighboring step",
        "store the reward that env.step returned for the action of the same row",
    ),
    "values_shifted": ("the values are those of a neighboring step", "store V(s_t) in the row of s_t"),
    "advantages_shifted": ("the advantages are those of a neighboring step", "check the loop that fills them"),
    "environments_interleaved": (
        "rows of different environments are mixed up",
        "compute advantages on (steps, environments) and flatten all arrays in the same order afterwards",
    ),
    "returns_in_place_of_advantages": ("the values are not subtracted", "subtract V(s_t), or store them as returns"),
    "values_in_other_units": (
        "the values stored are in other units than those that the advantages were computed from",
        "bring values back to the units of the rewards before advantages are computed",
    ),
    "rewards_in_other_units": (
        "the rewards stored are in other units than those that the advantages were computed from",
        "store scaled rewards as rewards, the environment's as raw_rewards",
    ),
    "other_discount": (
        "another gamma or lambda was used than the batch says",
        "pass the same gamma and gae_lambda to both",
    ),
    "half_precision": (
        "advantages or what they were computed from are stored in half precision",
        "store rewards, values and advantages in single precision",
    ),
    "unexplained": ("no usual mistake explains it", "recompute advantages from rewards, values and flags"),
}
"""What each mistake does, and what to do about it."""


@dataclass(frozen=True)
class Given:
    """What advantages are recomputed from, (T, N) float64.

    Parameters
    ----------
    rewards, values, advantages : ndarray
        As stored.
    following : ndarray
        The critic at the next state of the stream, whatever ended in between; NaN where it is not known.
    done : ndarray, bool
        Whether the episode ended.
    terminated, truncated : ndarray, bool
        How, as far as it is known: an end of unknown kind is in neither.
    boundary : ndarray
        The critic at the state that followed each truncated step; NaN where it is not known.
    last_known : bool
        Whether it is known what ended with the last steps.
    gamma, gae_lambda : float
        Discount factor, and lambda.
    truncation : str
        What the trainer does at truncations, see `closerlook.monitor.batch.Batch`.
    """

    rewards: FloatArray
    values: FloatArray
    advantages: FloatArray
    following: FloatArray
    done: Mask
    terminated: Mask
    truncated: Mask
    boundary: FloatArray
    last_known: bool
    gamma: float
    gae_lambda: float
    truncation: str

    @classmethod
    def of(cls, batch: Batch) -> "Given":
        """Take it from a batch that has it."""
        wide = {name: np.asarray(getattr(batch, name), np.float64) for name in ("rewards", "values", "advantages")}
        nothing = np.full(batch.rewards.shape, np.nan)
        none = np.zeros(batch.rewards.shape, dtype=bool)
        ends = batch.ends
        assert ends is not None
        assert batch.gamma is not None
        assert batch.gae_lambda is not None
        last = np.nan if batch.last_values is None else batch.last_values.astype(np.float64)
        kind_known = batch.truncated is not None and batch.terminated is not None
        # where a trainer does not tell ends apart it takes all of them for the same: terminations
        alike = ends if batch.truncation != "bootstrap" else none
        return cls(
            **wide,
            following=following_rows(wide["values"], last),
            done=ends,
            terminated=batch.terminated if kind_known and batch.terminated is not None else alike,
            truncated=batch.truncated if kind_known and batch.truncated is not None else none,
            boundary=nothing if batch.truncation_values is None else batch.truncation_values.astype(np.float64),
            last_known=batch.done is not None,
            gamma=batch.gamma,
            gae_lambda=batch.gae_lambda,
            truncation=batch.truncation,
        )

    @cached_property
    def bootstrap(self) -> FloatArray:
        """What should stand for the value of what follows each step; NaN where it is not known."""
        at_truncation = self.boundary if self.truncation == "bootstrap" else np.zeros_like(self.boundary)
        # the next row belongs to another episode after an end: what follows is known from the flags alone
        found = np.where(self.done, np.nan, self.following)
        found = np.where(self.terminated, 0.0, np.where(self.truncated, at_truncation, found))
        # episode_starts say of a step whether it begins an episode, so not whether the last one ended
        if not self.last_known:
            found[-1] = np.nan
        return np.asarray(found)

    @cached_property
    def right(self) -> Recursion:
        """The recursion as it should be."""
        return self.with_ends(self.bootstrap, self.done)

    def discounted_returns(self, *, bootstrapped: bool) -> FloatArray:
        """Return discounted returns, which go on by the critic at truncations and cuts, or stop; NaN: not known."""
        # G_t = r_t + gamma G_{t+1}, stopped at every end and at the cut, where gamma b_t stands for what follows
        right, ends = self.right, np.array(self.done)
        ends[-1] = True
        tail = np.where(ends, right.gamma * right.following, 0.0) if bootstrapped else 0.0
        return backward_sums(right.rewards + tail, np.where(ends, 0.0, right.gamma))

    def with_ends(self, bootstrap: FloatArray, ends: Mask) -> Recursion:
        """Return the recursion with another bootstrap and other ends of the trace.

        Parameters
        ----------
        bootstrap : ndarray, (T, N)
            What stands for the value of what follows each step.
        ends : ndarray, (T, N), bool
            Where the trace ends.
        """
        decay = self.gamma * self.gae_lambda
        return Recursion(self.rewards, self.values, bootstrap, np.where(ends, 0.0, 1.0), self.gamma, decay)


@dataclass(frozen=True)
class Suspect:
    """A mistake that would explain stored advantages.

    Parameters
    ----------
    name : str
        See `EXPLANATIONS`.
    recursion : Recursion
        What would then hold.
    advantages : ndarray, (T, N)
        For which advantages.
    outside : tuple of int
        Rows of which nothing is said, at the ends of the batch.
    """

    name: str
    recursion: Recursion
    advantages: FloatArray
    outside: tuple[int, ...] = ()

    def residuals(self, tolerance: float) -> Residuals:
        """Compare."""
        found = residuals(self.advantages, self.recursion, tolerance)
        for row in self.outside:
            if -len(found.sizes) <= row < len(found.sizes):
                found.sizes[row] = np.nan
        return found


def suspects(given: Given) -> Iterator[Suspect]:
    """List the mistakes, those that change few steps first."""
    yield from _at_ends(given)
    yield from _at_the_cut(given)
    # V(s) - (r + gamma V(s')) satisfies the recursion with its sign changed
    yield Suspect("wrong_sign", given.right, -given.advantages)
    for shift in (1, -1):
        yield from _shifted(given, shift)
    # A + V, stored as advantages, less V is A
    yield Suspect("returns_in_place_of_advantages", given.right, given.advantages - given.values)
    if min(given.rewards.shape) > 1:
        yield from _interleaved(given)


def _at_ends(given: Given) -> Iterator[Suspect]:
    own, after = given.advantages, given.following
    cut, all_ends = given.truncated, given.done
    stays = given.bootstrap
    # each usual mistake is another b_t, or a trace that goes on where it should end: (b, ends)
    kinds = {
        "truncation_as_termination": (np.where(cut, 0.0, stays), all_ends),
        "own_value_at_truncation": (np.where(cut, given.values, stays), all_ends),
        "next_episode_at_truncation": (np.where(cut, after, stays), all_ends),
        "truncation_ignored": (np.where(cut, after, stays), all_ends & ~cut),
    }
    if cut.any():
        for name, (bootstrap, ends) in kinds.items():
            yield Suspect(name, given.with_ends(bootstrap, ends), own)
    # advantages that run on over every end, over terminations alone, or whose next value is counted after a termination
    nowhere = np.zeros_like(all_ends)
    if all_ends.any():
        yield Suspect("termination_ignored", given.with_ends(after, nowhere), own)
        kept = all_ends & ~given.terminated
        yield Suspect("termination_ignored", given.with_ends(np.where(given.terminated, after, stays), kept), own)
        yield Suspect("termination_bootstrapped", given.with_ends(np.where(~cut, after, stays), all_ends), own)
        yield Suspect("termination_bootstrapped", given.with_ends(after, all_ends), own)


def _at_the_cut(given: Given) -> Iterator[Suspect]:
    goes_on = ~given.done[-1]
    for name, stand_in in (
        ("cut_as_termination", np.zeros_like(given.values[-1])),
        ("own_value_at_cut", given.values[-1]),
    ):
        bootstrap = given.bootstrap.copy()
        bootstrap[-1] = np.where(goes_on, stand_in, bootstrap[-1])
        if goes_on.any():
            yield Suspect(name, given.with_ends(bootstrap, given.done), given.advantages)


def _shifted(given: Given, shift: int) -> Iterator[Suspect]:
    """Let one array be that of a neighboring step; what came in from the other end of the batch says nothing."""

    def moved(array: NDArray[Any]) -> NDArray[Any]:
        return np.roll(array, shift, axis=0)

    own, outside = given.advantages, ((0,) if shift == 1 else (-1,))
    yield Suspect("rewards_shifted", replace(given.right, rewards=moved(given.rewards)), own, outside)
    # the flag of the last step is often kept apart from the others, and in its place
    edges = (0, 1) if shift == 1 else (-1, -2)
    ends = moved(given.done)
    bootstrap = np.where(ends, np.where(moved(given.truncated), np.nan, 0.0), given.following)
    yield Suspect("flags_shifted", given.with_ends(bootstrap, ends), own, edges)
    if given.truncated.any() and given.truncation == "bootstrap":
        rolled = np.where(moved(given.truncated), moved(given.boundary), np.where(ends, 0.0, given.following))
        yield Suspect("flags_shifted", given.with_ends(rolled, ends), own, edges)
    # the values of a neighboring step stand in V_t and, one later, in b_t
    values = moved(given.values)
    bootstrap = np.where(given.done, given.bootstrap, following_rows(values, np.nan))
    yield Suspect("values_shifted", replace(given.right, values=values, following=bootstrap), own, (*outside, -1, -2))
    yield Suspect("advantages_shifted", given.right, moved(own), (*outside, -1, -2))


def _interleaved(given: Given) -> Iterator[Suspect]:
    steps, environments = given.rewards.shape

    def unchanged_order(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(steps, environments)

    def other_order(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(environments, steps).T

    def back(array: NDArray[Any]) -> NDArray[Any]:
        return array.T.reshape(steps, environments)

    # one long row of all environments, (t, 1) after (t, 0), or environment 1 after the end of environment 0
    for flatten, unflatten in ((_by_step, unchanged_order), (_by_environment, other_order)):
        values, ends, own = (flatten(array)[:, None] for array in (given.values, given.done, given.advantages))
        rewards = flatten(given.rewards)[:, None]
        bootstrap = np.where(ends, flatten(given.bootstrap)[:, None], following_rows(values, np.nan))
        line = Recursion(
            rewards, values, bootstrap, np.where(ends, 0.0, 1.0), given.gamma, given.gamma * given.gae_lambda
        )
        after = unflatten(np.concatenate([own[1:], [[0.0]]])[:, 0])
        deltas = unflatten(line.deltas[:, 0])
        # the successor's advantage enters by way of the rewards, so that time need not be the first axis
        carried = line.trace_decay * (1.0 - given.done) * after
        rewards_now = deltas + given.values + carried
        zero = np.zeros_like(given.values)
        yield Suspect(
            "environments_interleaved",
            Recursion(rewards_now, given.values, zero, zero, given.gamma, 0.0),
            given.advantages,
        )
    # arrays of shape (N, T) read as (T, N), or the reverse: each of them by itself
    for turn in (other_order, back):
        yield Suspect("environments_interleaved", given.right, turn(given.advantages))
        yield Suspect("environments_interleaved", replace(given.right, rewards=turn(given.rewards)), given.advantages)
        values, ends = turn(given.values), turn(given.done)
        following = np.where(given.done, given.bootstrap, following_rows(values, np.nan))
        mixed = replace(given.right, values=values, following=following)
        yield Suspect("environments_interleaved", mixed, given.advantages)
        yield Suspect(
            "environments_interleaved", given.with_ends(np.where(ends, 0.0, given.following), ends), given.advantages
        )


def _by_step(array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(-1)


def _by_environment(array: NDArray[Any]) -> NDArray[Any]:
    return array.T.reshape(-1)
