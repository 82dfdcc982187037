"""Running moments of observations and of discounted returns: what a normalizing agent carries beside its networks.

All arrays have a leading population axis P: each policy keeps its own statistics.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

EpsilonOn = Literal["std", "variance"]


@dataclass(frozen=True)
class Scaling:
    """How a value is standardized from its moments.

    Parameters
    ----------
    epsilon : float
        Keeps the divisor positive.
    epsilon_on : {"std", "variance"}
        ``std + epsilon`` (the paper's released code, 1e-8) or ``sqrt(variance + epsilon)`` (Stable-Baselines3).
    clip : float or None
        Bound on the magnitude of the result; None leaves it free.

    See Also
    --------
    closerlook.Agent : scales observations and rewards so.

    Examples
    --------
    >>> import numpy as np
    >>> import closerlook as cl
    >>> cl.Scaling(epsilon=0.0, clip=10.0).divisor(np.array([4.0]))
    array([2.])
    """

    epsilon: float = 1e-8
    epsilon_on: EpsilonOn = "std"
    clip: float | None = None

    def divisor(self, variance: np.ndarray) -> np.ndarray:
        """Return what to divide by, the shape of `variance`."""
        # sd + epsilon, or sqrt(variance + epsilon)
        if self.epsilon_on == "std":
            return np.asarray(np.sqrt(variance) + self.epsilon)
        return np.asarray(np.sqrt(variance + self.epsilon))

    def bounded(self, values: np.ndarray) -> np.ndarray:
        """Clip values to ``[-clip, clip]``, if there is a bound."""
        if self.clip is None:
            return values
        return np.asarray(np.minimum(np.maximum(values, -self.clip), self.clip))


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
        """Return moments that have seen nothing.

        Parameters
        ----------
        policies : int
            P.
        size : int
            K, the components.
        """
        return cls(np.zeros(policies), np.zeros((policies, size)), np.zeros((policies, size)))

    @property
    def variance(self) -> np.ndarray:
        """Sample variance (divisor n - 1), and the squared mean after a single vector, as in the released code."""
        divisor = np.maximum(self.count - 1, 1)[:, None]
        return np.where(self.count[:, None] > 1, self.squares / divisor, self.mean**2)

    def push(self, values: np.ndarray, where: np.ndarray | None = None) -> None:
        """Take in one vector for each policy, values (P, K); only of the policies `where` (P,) is True.

        Parameters
        ----------
        values : ndarray, (P, K)
            One vector for each policy.
        where : ndarray, (P,), bool, optional
            Which policies take theirs in; default all.
        """
        if where is not None and not where.all():
            self._push_some(values, where)
            return
        # Welford: mean += (x - mean) / n;  squares += (x - mean_old) (x - mean_new)
        self.count = self.count + 1
        change = values - self.mean
        self.mean = self.mean + change / self.count[:, None]
        self.squares = self.squares + change * (values - self.mean)

    def push_rows(self, values: np.ndarray, where: np.ndarray) -> None:
        """Take in several vectors for each policy at once.

        Parameters
        ----------
        values : ndarray, (P, S, K)
            Vectors.
        where : ndarray, (P, S), bool
            Which of them count.

        References
        ----------
        Chan, Golub and LeVeque, 1983, "Algorithms for Computing the Sample Variance". A single vector is pushed by
        Welford's formula, as the released code does it.
        """
        if values.shape[1] == 1:
            self.push(values[:, 0], where[:, 0])
            return
        new = where.sum(axis=1).astype(np.float64)
        weights = where[..., None].astype(np.float64)
        mean = (values * weights).sum(axis=1) / np.maximum(new, 1.0)[:, None]
        squares = (np.square(values - mean[:, None]) * weights).sum(axis=1)
        change = np.where(new[:, None] > 0, mean - self.mean, 0.0)
        total = np.maximum(self.count + new, 1.0)
        self.squares = self.squares + squares + np.square(change) * (self.count * new / total)[:, None]
        self.mean = self.mean + change * (new / total)[:, None]
        self.count = self.count + new

    def copy(self) -> "RunningMoments":
        """Return moments that go their own way from here."""
        return RunningMoments(self.count.copy(), self.mean.copy(), self.squares.copy())

    def _push_some(self, values: np.ndarray, where: np.ndarray) -> None:
        some = RunningMoments(self.count[where], self.mean[where], self.squares[where])
        some.push(values[where])
        for name in ("count", "mean", "squares"):
            array = getattr(self, name).copy()
            array[where] = getattr(some, name)
            setattr(self, name, array)
