"""Environments whose observations not every vector is, named in tests as ``choosy_environments:...``."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Masked(gymnasium.Env[np.ndarray, int]):
    """Five actions, two of them forbidden in each state: two numbers are observed, then which are open."""

    observation_space = Box(-10, 10, (7,), np.float32)
    action_space = Discrete(5)

    def _observe(self) -> np.ndarray:
        self.open = np.ones(5)
        self.open[self.np_random.choice(5, 2, replace=False)] = 0
        return np.concatenate([self.np_random.standard_normal(2), self.open]).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.open[action] == 1, "a forbidden action"
        self.t += 1
        return self._observe(), float(action), False, self.t >= 20, {}


class Rooms(gymnasium.Env[np.ndarray, int]):
    """Rooms 3 to 6, as a number: there is no room 0, and none between two."""

    observation_space = Box(3, 6, (1,), np.float32)
    action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.room, self.t = 3, 0
        return np.array([self.room], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.t += 1
        self.room = min(max(self.room + 2 * action - 1, 3), 6)
        return np.array([self.room], np.float32), float(self.room), False, self.t >= 10, {}


class Pixels(gymnasium.Env[np.ndarray, np.ndarray]):
    """Images of one channel, 6 by 6; one component of action."""

    observation_space = Box(0, 1, (1, 6, 6), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return self.np_random.random((1, 6, 6)).astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.t += 1
        return self.np_random.random((1, 6, 6)).astype(np.float32), float(action[0]), self.t >= 8, False, {}


class Unrepeatable(Pixels):
    """Draws on a generator that no seed sets."""

    observation_space = Box(0, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.t, self.own = 0, np.random.default_rng()
        return self.own.random(2).astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.t += 1
        return self.own.random(2).astype(np.float32), float(action[0]), self.t >= 8, False, {}
