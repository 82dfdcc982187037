"""An agent that acts otherwise: by the likeliest action, or at random."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space

from closerlook.agents.agent import Agent
from closerlook.agents.policies import Actor, Policy
from closerlook.nn.distributions import Distribution, IndependentBernoulli, Noise
from closerlook.nn.networks import TILE, Parameters


@dataclass(frozen=True)
class ModePolicy:
    """Takes the likeliest action of another policy; of a continuous one, the mean."""

    inner: Policy

    @property
    def observation_size(self) -> int | None:
        """Components of a policy input."""
        return self.inner.observation_size

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map parameter names, in order, to shapes."""
        return self.inner.parameter_shapes

    @property
    def noise(self) -> Noise:
        """The inner policy's, which is not looked at."""
        return self.inner.noise

    def distribution(self, parameters: Parameters, observations: torch.Tensor) -> Distribution:
        """Build the inner policy's action distributions.

        Parameters
        ----------
        parameters : mapping of str to Tensor, (...) or (P, ...)
            The policy's, stacked for a population.
        observations : Tensor, (N, obs) or (P, N, obs)
            Policy inputs.
        """
        return self.inner.distribution(parameters, observations)

    def actor(self, parameters: Parameters) -> Actor:
        """Prepare stacked parameters for acting, tile by tile."""

        def act(observations: np.ndarray, _noise: np.ndarray) -> np.ndarray:
            rows = observations.shape[1]
            padded = np.pad(observations, ((0, 0), (0, -rows % TILE), (0, 0)))
            with torch.no_grad():
                tiles = [
                    self.inner.distribution(parameters, torch.from_numpy(padded[:, at : at + TILE])).mode()
                    for at in range(0, padded.shape[1], TILE)
                ]
            return torch.cat(tiles, dim=1)[:, :rows].numpy()

        return act


@dataclass(frozen=True)
class RandomPolicy:
    """Draws actions uniformly from their space; where it has no bounds, from standard normal distributions.

    Parameters
    ----------
    observation_size : int
        Components of the observations it does not look at.
    space : Space
        Of actions.
    """

    observation_size: int
    space: Space[Any]

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    @property
    def noise(self) -> Noise:
        """One number for each component."""
        size = 1 if isinstance(self.space, Discrete) else int(np.prod(self.space.shape or (1,)))
        bounded = not isinstance(self.space, Box) or self.space.is_bounded()
        return Noise("uniform" if bounded else "normal", size)

    def distribution(self, _parameters: Parameters, observations: torch.Tensor) -> Distribution:
        """Answer something of the right kind: nothing is measured of it."""
        return IndependentBernoulli(torch.zeros(*observations.shape[:-1], self.noise.size))

    def actor(self, _parameters: Parameters) -> Actor:
        """Prepare for acting."""
        space = self.space

        def act(_observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
            if isinstance(space, Discrete):
                return np.asarray(noise[..., 0] * int(space.n), dtype=np.int64)
            if isinstance(space, MultiDiscrete):
                return np.asarray(noise * space.nvec.reshape(-1), dtype=np.int64)
            if isinstance(space, MultiBinary):
                return (noise < 0.5).astype(np.int64)
            assert isinstance(space, Box)
            if not space.is_bounded():
                return noise.astype(np.float32)
            low, high = space.low.reshape(-1), space.high.reshape(-1)
            return np.asarray(low + noise * (high - low), dtype=np.float32)

        return act


def by_mode(agent: Agent) -> Agent:
    """Return an agent that takes its likeliest actions."""
    # the likeliest action for whatever noise
    return replace(agent, policy=ModePolicy(agent.policy))
