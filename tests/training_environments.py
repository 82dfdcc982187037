"""Small environments for the tests of training, named as ``training_environments:make_...``."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Target(gymnasium.Env):
    """Go where the observation says: reward is minus the squared distance of the action; 10 steps, then truncated."""

    observation_space = Box(-1.0, 1.0, (2,))
    action_space = Box(-5.0, 5.0, (2,))
    spoilt_from: float = np.inf

    def __init__(self) -> None:
        self.steps_made = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.target, self.time = self.np_random.uniform(-1, 1, 2), 0
        return self.target, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = 2.0 - float(np.square(action - self.target).sum())
        self.time += 1
        self.target = self.np_random.uniform(-1, 1, 2)
        if self.target[0] > self.spoilt_from:
            reward = np.nan
        return self.target, reward, self.time % 7 == 0 and bool(self.target[1] > 0), self.time >= 10, {}


class Spoilt(Target):
    """The same, with a reward that is not a number about once in 1000 steps."""

    spoilt_from = 1 - 2 / 1000


class Bits(Target):
    """The same with two actions: 1 where the first component of the observation is positive."""

    action_space = Discrete(2)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        wanted = int(self.target[0] > 0)
        observation, _, terminated, truncated, info = super().step(np.zeros(2))
        return observation, float(action == wanted), terminated, truncated, info


class Flat(Target):
    """The same, with a reward that never changes."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 1.0, terminated, truncated, info


class Narrow(Target):
    """Actions within 0.1, and a charge for the square of what is given, whatever acts."""

    action_space = Box(-0.1, 0.1, (2,))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, -10.0 * float(np.square(action).sum()), terminated, truncated, info


make_target, make_spoilt, make_bits, make_flat, make_narrow = Target, Spoilt, Bits, Flat, Narrow
