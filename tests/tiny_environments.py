"""Environments whose trajectories can be worked out by hand, named in tests as ``tiny_environments:...``."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from gymnasium.wrappers import ClipAction, OrderEnforcing, TimeLimit


class Corridor(gymnasium.Env[np.ndarray, np.ndarray]):
    """Step t (from 1) earns t; observed are t and a number drawn at the reset; it ends at `length`, or never."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, length: int | None = None, *, truncates: bool = False, bad_step: int | None = None) -> None:
        self.length, self.truncates, self.bad_step = length, truncates, bad_step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t, self.mark = 0, self.np_random.uniform()
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action.shape == (1,)
        assert action.dtype == np.float32
        self.t += 1
        over = self.length is not None and self.t == self.length
        reward = np.nan if self.t == self.bad_step else float(self.t)
        return self._observation(), reward, over and not self.truncates, over and self.truncates, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.t, self.mark])


class BadSight(Corridor):
    """Observes an infinity at the bad step."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        _, _, terminated, truncated, _ = super().step(action)
        sight = np.array([np.inf if self.t == self.bad_step else self.t, self.mark])
        return sight, 1.0, terminated, truncated, {}


class Drift(gymnasium.Env[np.ndarray, np.ndarray]):
    """A random walk (2, 2) pushed by an action (1, 2); ends far out; earns what was pushed. Chaotic enough to tell."""

    observation_space = Box(-np.inf, np.inf, (2, 2), np.float32)
    action_space = Box(np.array([[-2.0, -0.5]]), np.array([[1.0, 0.5]]), (1, 2), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=(2, 2))
        return self.x.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action.shape == (1, 2)
        assert action.dtype == np.float64
        self.x = self.x + 0.3 * action + 0.3 * np.sin(7 * self.x[::-1]) + 0.1 * self.np_random.normal(size=(2, 2))
        return self.x.astype(np.float32), float(action[0, 0]), bool(abs(self.x).max() > 3), False, {}


class Chooser(gymnasium.Env[np.ndarray, np.int64]):
    """Earns the number chosen, 5, 6 or 7."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Discrete(3, start=5)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        return np.zeros(1, np.float32), float(action), False, False, {}


class Odd(Chooser):
    """Spaces that are not supported."""

    def __init__(self, which: str) -> None:
        if which == "observations":
            self.observation_space = Dict({"x": Box(-1, 1, (1,))})
        else:
            self.action_space = MultiBinary(3)


def limited_corridor(limit: int, length: int | None = None) -> gymnasium.Env:
    """A corridor inside a time limit."""
    return TimeLimit(Corridor(length), limit)


def not_an_environment() -> int:
    return 3


gymnasium.register("TinyCorridor-v0", entry_point="tiny_environments:Corridor", max_episode_steps=4)


def clipped_after_the_limit() -> gymnasium.Env:
    """Return a wrapper over an environment that was made with a time limit, as users write them."""
    return ClipAction(TimeLimit(OrderEnforcing(TimeLimit(Corridor(), 9)), 7))


class Twice(gymnasium.Wrapper):
    """Steps twice a step."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        first = self.env.step(action)
        return first if first[2] or first[3] else self.env.step(action)


def repeated_within_a_limit() -> gymnasium.Env:
    """Return an environment whose limit counts steps that are not those of the whole."""
    return ClipAction(Twice(TimeLimit(Corridor(), 8)))


class Blind(Corridor):
    """Observes nothing."""

    observation_space = Box(-1.0, 1.0, (0,), np.float32)


class Helpless(Corridor):
    """Has nothing to choose."""

    action_space = Box(-1.0, 1.0, (0,), np.float32)
