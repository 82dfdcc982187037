"""Environments whose steps move a clock that tests read, named as ``ticking_environments:make_...``."""

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit

STEP = 0.001
"""Seconds of a step."""


class Clock:
    """Seconds that only steps of these environments take."""

    now = 0.0

    def __call__(self) -> float:
        return Clock.now


class Ticking(gymnasium.Env):
    """Every step takes `STEP` and ends the episode with one probability, or after much the same time each."""

    observation_space = Box(-1.0, 1.0, (2,))
    action_space = Box(-5.0, 5.0, (1,))

    def __init__(self, hazard: float = 0.02, lengths: tuple[int, int] | None = None) -> None:
        self.hazard, self.lengths = hazard, lengths

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = math.inf if self.lengths is None else int(self.np_random.integers(*self.lengths))
        return self.np_random.uniform(-1, 1, 2), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        Clock.now += STEP
        self.left -= 1
        ends = self.left <= 0 if self.lengths else bool(self.np_random.uniform() < self.hazard)
        return self.np_random.uniform(-1, 1, 2), -float(np.square(action).sum()), ends, False, {}


def make_ticking(**arguments: Any) -> gymnasium.Env:
    return Ticking(**arguments)


def make_even() -> gymnasium.Env:
    return Ticking(lengths=(8, 15))


def make_limited(**arguments: Any) -> gymnasium.Env:
    return TimeLimit(Ticking(**arguments), 40)
