"""Wrappers of other libraries that change what a step does: how often an action is taken, what it earns, what it is."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space

from closerlook.errors import InputError

AnyEnv = gymnasium.Env[Any, Any]
Answer = tuple[Any, Any, bool, bool, dict[str, Any]]
HINT = "give an environment that does the same: --env package.module:function"
_MOST = 100
"""Frames and repetitions that a wrapper may be told: a file may say any number."""
LONGEST = 10**9
"""Steps that one may be told to count."""


class FrameSkip(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes each action several times, and adds up what it earns (the zoo's ``FrameSkip``).

    Parameters
    ----------
    env : gymnasium.Env
        Without a time limit.
    skip : int
        How many times, K.
    """

    def __init__(self, env: AnyEnv, skip: int = 4) -> None:
        super().__init__(env)
        self._skip, self._inside, self._limit = whole(skip, "skip"), 0, 0

    def lift(self, limit: int | None) -> int | None:
        """Return the time limit of an environment under this wrapper in steps of its own.

        Parameters
        ----------
        limit : int or None
            L, in steps of the environment; the action that reaches it is taken no further times.
        """
        if limit is None:
            return None
        self._limit = limit
        return -(-limit // self._skip)  # ceil(L / K): the last action may be taken fewer times

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._inside = 0
        return self.env.reset(**options)

    def step(self, action: Any) -> Answer:
        """Take an action K times, or to the end of the episode."""
        total = 0.0
        for _ in range(self._skip):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            self._inside += 1
            if terminated or truncated or self._inside == self._limit:
                break
        return observation, total, terminated, truncated, info


class DelayedReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Gives what several steps earned with the last of them, or of the episode (the zoo's ``DelayedRewardWrapper``).

    Parameters
    ----------
    env : gymnasium.Env
        Without a time limit.
    delay : int
        How many steps.
    """

    def __init__(self, env: AnyEnv, delay: int = 10) -> None:
        super().__init__(env)
        self._delay, self._steps, self._owed, self._limit = whole(delay, "delay", LONGEST), 0, 0.0, 0

    def lift(self, limit: int | None) -> int | None:
        """Return the time limit of an environment under this wrapper, at which all is given: the same."""
        self._limit = limit or 0
        return limit

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, to which nothing is owed."""
        self._steps, self._owed = 0, 0.0
        return self.env.reset(**options)

    def step(self, action: Any) -> Answer:
        """Take a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps, self._owed = self._steps + 1, self._owed + float(reward)
        given = 0.0
        if self._steps % self._delay == 0 or terminated or truncated or self._steps == self._limit:
            given, self._owed = self._owed, 0.0
        return observation, given, terminated, truncated, info


class ActionSmoothing(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes an exponential moving average of actions, zero before the first (the zoo's ``ActionSmoothingWrapper``).

    Parameters
    ----------
    env : gymnasium.Env
        With a Box of actions.
    smoothing_coef : float
        Weight of earlier actions, c.
    """

    def __init__(self, env: AnyEnv, smoothing_coef: float = 0.0) -> None:
        super().__init__(env)
        self._zero = np.zeros_like(box_of(env.action_space, "ActionSmoothingWrapper").low)
        self._weight, self._smooth = float(smoothing_coef), self._zero
        if not 0.0 <= self._weight <= 1.0:
            raise ValueError(f"smoothing_coef must be from 0 to 1 (got {smoothing_coef!r:.20})")

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._smooth = self._zero
        return self.env.reset(**options)

    def step(self, action: Any) -> Answer:
        """Take a step with the average."""
        # s_t = c s_{t-1} + (1 - c) a_t
        self._smooth = (self._weight * self._smooth + (1.0 - self._weight) * action).astype(self._zero.dtype)
        return self.env.step(self._smooth)


class TruncatedOnSuccess(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Truncates after successes in a row, and shifts rewards (the zoo's ``TruncatedOnSuccessWrapper``).

    Parameters
    ----------
    env : gymnasium.Env
        Whose steps tell ``is_success``.
    reward_offset : float
        Added to each reward.
    n_successes : int
        How many in a row.
    """

    def __init__(self, env: AnyEnv, reward_offset: float = 0.0, n_successes: int = 1) -> None:
        super().__init__(env)
        self._offset, self._needed, self._row = float(reward_offset), whole(n_successes, "n_successes", LONGEST), 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._row = 0
        return self.env.reset(**options)

    def step(self, action: Any) -> Answer:
        """Take a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._row = self._row + 1 if info.get("is_success", False) else 0
        return observation, float(reward) + self._offset, terminated, truncated or self._row >= self._needed, info


def whole(number: object, name: str, most: int = _MOST) -> int:
    """Return an argument that counts something.

    Parameters
    ----------
    number : object
        The argument.
    name : str
        Its name.
    most : int
        The largest that is taken.

    Raises
    ------
    ValueError
        Where it is no whole number, or out of bounds.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most:,} (got {number!r:.20})")
    return number


def box_of(space: Space[Any], name: str) -> Box:
    """Return a space that is a box.

    Parameters
    ----------
    space : gymnasium.Space
        Of observations or actions.
    name : str
        The wrapper's that asks.

    Raises
    ------
    InputError
        Where it is none.
    """
    if not isinstance(space, Box):
        raise InputError(f"{name} is only known on boxes, not on a {type(space).__name__}", HINT)
    return space
