"""Code of the user's that goes wrong: environments named ``misbehaving:Raises`` ..., agents ``misbehaving:raises``."""

import os
import sys
from typing import Any, NoReturn

import numpy as np
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from small_agents import gaussian_agent
from tiny_environments import Corridor


class Raises(Corridor):
    """Fails in the second step."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.t == 1:
            raise KeyError("the joint\nis stuck")
        return super().step(action)


class RaisesAtReset(Corridor):
    """Fails in a reset."""

    def reset(self, **_: Any) -> NoReturn:
        raise ZeroDivisionError


class OldStep(Corridor):
    """Steps as Gym did before Gymnasium."""

    def step(self, action: np.ndarray) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, info


class OldReset(Corridor):
    """Resets as Gym did before Gymnasium."""

    def reset(self, **options: Any) -> Any:
        return super().reset(**options)[0]


class OtherSize(Corridor):
    """Observes another size than it says."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        _, *rest = super().step(action)
        return np.zeros(3), *rest


class OtherSizeAtReset(Corridor):
    """Begins with one number in place of two."""

    def reset(self, **options: Any) -> tuple[np.ndarray, dict]:
        super().reset(**options)
        return np.zeros(1), {}


class RaisesPastItsLimit(Corridor):
    """Ends by itself after two steps, and will not go on."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.t == 2:
            raise AssertionError("the episode is over")
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, self.t == 2, info


class Interrupted(Corridor):
    """Is where Ctrl-C finds the program."""

    def step(self, action: np.ndarray) -> NoReturn:
        raise KeyboardInterrupt


class Leaves(Corridor):
    """Ends the program, as if all were well."""

    def step(self, action: np.ndarray) -> NoReturn:
        sys.exit(0)


class Talks(Corridor):
    """Prints, past Python too."""

    def __init__(self, length: int = 5) -> None:
        super().__init__(length)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict]:
        print("a word")  # noqa: T201 - what users do
        os.write(1, b"a native word\n")
        return super().reset(**options)


def leaves() -> NoReturn:
    sys.exit(0)


def squashed() -> Agent:
    """Return an agent whose distribution has no entropy, and no divergence, that torch knows."""
    return Agent.from_torch(
        torch.nn.Linear(2, 1),
        torch.nn.Linear(2, 1),
        distribution=lambda mean: TransformedDistribution(Independent(Normal(mean, 0.5), 1), [TanhTransform()]),
        environment=EnvironmentSpec("tiny_environments:Corridor", {"length": 5}),
        regime=Regime(n_envs=1, n_steps=64),
        algorithm="ppo",
        algorithm_settings={"minibatches": 2, "policy_epochs": 2},
    )


def needs_arguments(path: str) -> str:
    return path


def raises() -> NoReturn:
    raise OSError("no weights here")


def corridor() -> Agent:
    spec = EnvironmentSpec("tiny_environments:Corridor", {"length": 5})
    return gaussian_agent(2, 1, environment=spec, regime=Regime(n_envs=1, n_steps=256))


def _network_agent(policy: torch.nn.Module, value: torch.nn.Module) -> Agent:
    return Agent.from_torch(
        policy,
        value,
        distribution=lambda mean: Independent(Normal(mean, 1.0), 1),
        observation_size=2,
        environment=EnvironmentSpec("tiny_environments:Corridor", {"length": 5}),
    )


def two_values() -> Agent:
    return _network_agent(torch.nn.Linear(2, 1), torch.nn.Linear(2, 2))


def other_critic() -> Agent:
    return _network_agent(torch.nn.Linear(2, 1), torch.nn.Linear(3, 1))


def other_policy() -> Agent:
    return _network_agent(torch.nn.Linear(3, 1), torch.nn.Linear(2, 1))
