"""Environments as people write them: odd answers, generators, seeds, wrappers and spaces; ``odd_environments:...``."""

import random
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.wrappers import FlattenObservation, NormalizeObservation, NormalizeReward, TransformObservation


class Plain(gymnasium.Env):
    """Noise from ``np_random``, ten steps; subclasses answer or draw otherwise."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space: Space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.draw(), {}

    def draw(self) -> Any:
        return self.np_random.standard_normal(3)

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        sight = self.draw()
        return sight, float(np.sum(action)) + float(np.sum(sight)), self.t == 10, False, {}


class Answers(Plain):
    """Puts something in the place of one field of its answers."""

    def __init__(self, field: int, what: Any, *, at_reset: bool = False) -> None:
        self.field, self.what, self.at_reset = field, what, at_reset

    def reset(self, *, seed=None, options=None):
        first = super().reset(seed=seed)
        return (self.what, first[1]) if self.at_reset else first

    def step(self, action):
        answer = list(super().step(action))
        answer[self.field] = self.what
        return tuple(answer)


class OwnGenerator(Plain):
    """Draws from a generator of its own, seeded in its reset."""

    make: Any = staticmethod(np.random.default_rng)

    def reset(self, *, seed=None, options=None):
        self.source = self.make(seed)
        return super().reset(seed=seed)

    def draw(self):
        return self.source.standard_normal(3)


class PhiloxOwn(OwnGenerator):
    make = staticmethod(lambda seed: np.random.Generator(np.random.Philox(seed)))


class Legacy(OwnGenerator):
    """As Gym's were: seeds of 32 bits."""

    make = staticmethod(np.random.RandomState)


class Bits(OwnGenerator):
    """A whole class for it, within a list, without ``__dict__``."""

    class Held:
        __slots__ = ("source",)

        def __init__(self, seed) -> None:
            self.source = random.Random(seed)

        def standard_normal(self, size):
            return np.array([self.source.gauss(0.0, 1.0) for _ in range(size)])

    def reset(self, *, seed=None, options=None):
        self.held = {"all": [self.Held(seed)]}
        return Plain.reset(self, seed=seed)

    def draw(self):
        return self.held["all"][0].standard_normal(3)


class Torch(OwnGenerator):
    """Draws with torch."""

    make = staticmethod(lambda seed: torch.Generator().manual_seed(seed))

    def draw(self):
        return torch.randn(3, generator=self.source).numpy()


class SameTwice(OwnGenerator):
    """Holds ``np_random`` under another name."""

    def reset(self, *, seed=None, options=None):
        gymnasium.Env.reset(self, seed=seed)
        self.source, self.t = self.np_random, 0
        return self.draw(), {}


class InAFunction(OwnGenerator):
    """A function of it holds the generator, and functions are not copied."""

    def reset(self, *, seed=None, options=None):
        source = np.random.default_rng(seed)
        self.call = lambda: source.standard_normal(3)
        return Plain.reset(self, seed=seed)

    def draw(self):
        return self.call()


class ItsMethod(InAFunction):
    """A method of the generator, bound."""

    def reset(self, *, seed=None, options=None):
        self.method = np.random.default_rng(seed).standard_normal
        return Plain.reset(self, seed=seed)

    def draw(self):
        return self.method(3)


class Hidden(Plain):
    """A linear congruential generator of its own making: nothing to find."""

    def reset(self, *, seed=None, options=None):
        self.state = int(seed) % 2**31
        return super().reset(seed=seed)

    def draw(self):
        self.state = (1103515245 * self.state + 12345) % 2**31
        return np.full(3, self.state / 2**31)


class Global(Plain):
    """Draws from NumPy's global generator."""

    def draw(self):
        return np.random.standard_normal(3)  # noqa: NPY002


class Narrow(Plain):
    """Takes seeds of 31 bits, as C libraries do."""

    def reset(self, *, seed=None, options=None):
        if not 0 <= seed < 2**31:
            raise OverflowError("Python int too large to convert to C int")
        return super().reset(seed=seed)


class NarrowByAssertion(Narrow):
    def reset(self, *, seed=None, options=None):
        assert seed < 2**32, "seed must be below 2**32"
        return Plain.reset(self, seed=seed)


class Scaled(gymnasium.Wrapper):
    """Divides rewards by their largest so far, over all episodes: a wrapper nobody knows."""

    largest = 1.0

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        self.largest = max(self.largest, abs(reward))
        return observation, reward / self.largest, *rest


class Curriculum(Plain):
    """Starts further out with every episode."""

    episodes = 0

    def reset(self, *, seed=None, options=None):
        self.episodes += 1
        first, info = super().reset(seed=seed)
        return first + self.episodes, info


class Counts(gymnasium.ObservationWrapper):
    """Observes the steps it has seen, over all episodes."""

    seen = 0

    def observation(self, observation):
        self.seen += 1
        return observation + 0.01 * self.seen


def scaled() -> gymnasium.Env:
    return Scaled(Plain())


def counts() -> gymnasium.Env:
    return Counts(Plain())


def normalized_observations(*, frozen: bool = False) -> gymnasium.Env:
    env = NormalizeObservation(Plain())
    env.update_running_mean = not frozen
    return TransformObservation(env, lambda seen: np.clip(seen, -10, 10), env.observation_space)


def normalized_rewards(*, frozen: bool = False) -> gymnasium.Env:
    env = NormalizeReward(Plain())
    env.update_running_mean = not frozen
    return env


def boxed(low: Any, high: Any, dtype: str, shape: tuple[int, ...] = (1,)) -> gymnasium.Env:
    env = Plain()
    env.action_space = Box(np.array(low, dtype), np.array(high, dtype), tuple(shape), np.dtype(dtype).type)
    return env


def choices(n: int = 3, start: int = 0) -> gymnasium.Env:
    env = Plain()
    env.action_space = Discrete(n, start=start)
    return env


def several_choices() -> gymnasium.Env:
    env = Plain()
    env.action_space = MultiDiscrete([3, 2])
    return env


def switches() -> gymnasium.Env:
    env = Plain()
    env.action_space = MultiBinary(3)
    return env


class Parts(Plain):
    """Observations in a dictionary."""

    observation_space = Dict({"a": Box(-9, 9, (3,))})

    def draw(self) -> Any:
        return {"a": self.np_random.uniform(-1, 1, 3).astype(np.float32)}

    def step(self, action):
        self.t += 1
        seen = self.draw()
        return seen, float(seen["a"][0]), False, self.t >= 10, {}


def grid() -> gymnasium.Env:
    return FlattenObservation(gymnasium.make("FrozenLake-v1"))


class Endless(Plain):
    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, False, info


class Short(Plain):
    """Ends with its first step."""

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, True, False, info


class FailsLater(Plain):
    def step(self, action):
        if self.t == 7:
            raise KeyError("joint_3")
        return super().step(action)


class Free(Plain):
    """Unbounded either way."""

    action_space = Box(-np.inf, np.inf, (1,), np.float32)


class ComplexSight(Plain):
    def draw(self):
        return super().draw() + 1j
