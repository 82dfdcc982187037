"""Small agents for tests of the simulation."""

import numpy as np
import torch

from closerlook.agents.agent import Agent, moments_state
from closerlook.agents.normalization import RunningMoments, Scaling
from closerlook.agents.policies import CategoricalMLP, GaussianMLP
from closerlook.nn.networks import MLP
from closerlook.randomness import generator


def gaussian_agent(observations: int, actions: int, *, seed: int = 0, hidden: int = 16, **fields: object) -> Agent:
    """A Gaussian agent with lively outputs, its log standard deviation set by the seed."""
    policy = GaussianMLP(MLP((observations, hidden, hidden, actions)))
    parameters = policy.initialize(generator(seed, "test"), "xavier")
    parameters["log_std"] = torch.full((actions,), -0.5 - 0.1 * seed)
    return Agent(policy, None, {f"policy.{name}": value for name, value in parameters.items()}, **fields)


def categorical_agent(observations: int, actions: int, *, seed: int = 0) -> Agent:
    """A categorical agent."""
    policy = CategoricalMLP(MLP((observations, 8, actions)))
    parameters = policy.initialize(generator(seed, "test"), "xavier")
    return Agent(policy, None, {f"policy.{name}": value for name, value in parameters.items()})


def with_moments(agent: Agent, mean: np.ndarray, variance: np.ndarray, *, count: float = 100.0) -> Agent:
    """Give a single agent observation statistics and a scaling that clips at 10; count 0: nothing seen yet."""
    values = RunningMoments(np.array(count), np.asarray(mean, float), np.asarray(variance, float) * max(count - 1, 0))
    fields = {"observation_scaling": Scaling(clip=10.0)}
    return agent.with_state({"observations": moments_state(values)}, **fields)
