"""Running moments of observations and of discounted returns: what a normalising agent carries beside its networks.

All arrays have a leading population axis P: each policy keeps its own statistics.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

EpsilonOn = Literal["std", "variance"]


@dataclass(frozen=True)
class Scaling:
    """How a value is standardised from its moments.

    Parameters
    ----------
    epsilon : float
        Keeps the divisor positive.
    epsilon_on : {"std", "variance"}
        ``std + epsilon`` (the paper's released code, 1e-8) or ``sqrt(variance + epsilon)`` (Stable-Baselines3).
    clip : float or None
        Bound on the magnitude of the result; None leaves it free.
    """

    epsilon: float = 1e-8
    epsilon_on: EpsilonOn = "std"
    clip: float | None = None

    def divisor(self, variance: np.ndarray) -> np.ndarray:
        """Return what to divide by, the shape of `variance`."""
        if self.epsilon_on == "std":
            return np.asarray(np.sqrt(variance) + self.epsilon)
        return np.asarray(np.sqrt(variance + self.epsilon))

    def bounded(self, values: np.ndarray) -> np.ndarray:
        """Clip values to ``[-clip, clip]``, if there is a bound."""
        return values if self.clip is None else np.clip(values, -self.clip, self.clip)


@dataclass
class RunningMoments:
    """Count, mean and sum of squared deviations of a stream of vectors (Welford; Chan et al. for batches).

    Parameters
    ----------
    count : ndarray, (P,)
        How many vectors each policy has seen.
    mean, squares : ndarray, (P, K), float64
        Mean, and sum of squared deviations from it.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, policies: int, size: int) -> "RunningMoments":
        """Return moments that have seen nothing."""
        return cls(np.zeros(policies), np.zeros((policies, size)), np.zeros((policies, size)))

    @property
    def variance(self) -> np.ndarray:
        """Sample variance (divisor n - 1), and the squared mean after a single vector, as in the released code."""
        divisor = np.maximum(self.count - 1, 1)[:, None]
        return np.where(self.count[:, None] > 1, self.squares / divisor, self.mean**2)

    def push(self, values: np.ndarray) -> None:
        """Take in one vector for each policy, values (P, K)."""
        self.count = self.count + 1
        change = values - self.mean
        self.mean = self.mean + change / self.count[:, None]
        self.squares = self.squares + change * (values - self.mean)
