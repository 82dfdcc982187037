"""What is counted in a training batch: shares of few steps, episodes, values at bounds.

====== ==================================
symbol meaning
====== ==================================
T, N   steps, environments
E      episodes, or parts of them
D      dimensions
====== ==================================
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP = 0.001
"""The share of steps whose part in a sum is looked at."""


def top_share(parts: np.ndarray, top: float = TOP) -> float:
    """Return the share of a sum of non-negative parts that comes from the largest of them; NaN where all are zero.

    Parameters
    ----------
    parts : ndarray
        What is added up; of any shape.
    top : float
        Which share of the parts, at least one of them.
    """
    # the largest first; what is not finite is counted elsewhere
    flat = np.sort(np.ravel(parts))[::-1]
    flat = flat[np.isfinite(flat)]
    total = float(flat.sum())
    count = max(1, round(top * flat.size))
    return float(flat[:count].sum() / total) if flat.size and total > 0 else np.nan


@dataclass(frozen=True)
class EpisodeParts:
    """Episodes of a batch, and parts of those that began before it or go on after it; ordered by environment, time.

    Parameters
    ----------
    environment, start, length : ndarray, (E,), int64
        Which environment, first step, steps within the batch.
    whole : ndarray, (E,), bool
        Whether it began and ended within the batch.
    ended : ndarray, (E,), bool
        Whether it ended within the batch.
    total : ndarray, (E,), float64
        Sum of its rewards within the batch.
    varies : ndarray, (E,), bool
        Whether its rewards differ from one another.
    """

    environment: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    whole: NDArray[np.bool_]
    ended: NDArray[np.bool_]
    total: NDArray[np.float64]
    varies: NDArray[np.bool_]


def episode_parts(rewards: np.ndarray, ends: np.ndarray, begins: np.ndarray) -> EpisodeParts:
    """Cut a batch into episodes.

    Parameters
    ----------
    rewards : ndarray, (T, N)
        Rewards.
    ends : ndarray, (T, N), bool
        Whether the episode ended with the step.
    begins : ndarray, (N,), bool
        Whether the first step of each environment begins an episode.
    """
    steps, environments = rewards.shape
    rows = []
    for i in range(environments):
        # a part runs from after one end to the next end, or to the end of the batch
        edges = np.flatnonzero(ends[:, i]) + 1
        starts = np.concatenate([[0], edges[edges < steps]])
        stops = np.append(starts[1:], steps)
        for start, stop in zip(starts, stops, strict=True):
            own = rewards[start:stop, i]
            ended = bool(ends[stop - 1, i])
            whole = ended and (start > 0 or bool(begins[i]))
            rows.append((i, start, stop - start, whole, ended, float(own.sum()), bool(np.ptp(own) > 0)))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return EpisodeParts(*columns)


def trajectory_numbers(ends: np.ndarray) -> NDArray[np.int64]:
    """Give the episodes and parts of a batch numbers, environment after environment: (T, N)."""
    # 1 at every first step, added up along time, environment after environment
    begun = np.zeros(ends.shape, dtype=np.int64)
    begun[1:] = ends[:-1]
    begun[0] = 1
    return np.asarray(np.cumsum(begun.T.reshape(-1)).reshape(ends.shape[::-1]).T - 1)


def beyond(numbers: np.ndarray, low: np.ndarray, high: np.ndarray) -> NDArray[np.bool_]:
    """Return which numbers of rows (B, D) are at or beyond bounds: (B, D).

    Parameters
    ----------
    numbers : ndarray, (B, D)
        Rows, for example actions.
    low, high : ndarray, (D,) or (1,)
        Bounds of each dimension, or of all; infinite where there is none.
    """
    return np.asarray((numbers <= low) | (numbers >= high))


def clip_share(numbers: np.ndarray) -> NDArray[np.float64]:
    """Return the share of rows (B, D) at the one bound that all numbers are clipped to, by dimension: (D,).

    A bound shows as the largest size, met more than once; zero where no size is.
    """
    sizes = np.abs(numbers)
    largest = sizes.max(initial=0.0)
    at_bound = sizes == largest
    if largest == 0 or at_bound.sum() < 2:
        return np.zeros(numbers.shape[1])
    return np.asarray(at_bound.mean(axis=0))
