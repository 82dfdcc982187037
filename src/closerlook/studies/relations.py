"""Do agents that have more of one thing have more of another? Rank correlations over seeds."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from closerlook.statistics.estimates import Interval

FEWEST_SEEDS = 5
"""With fewer the error of the transformed correlation, which has n - 3 below the line, is hardly known."""


def rank_relation(first: np.ndarray, second: np.ndarray) -> Interval:
    """Return Spearman's correlation over seeds, the mean over iterations, with its interval.

    Parameters
    ----------
    first, second : ndarray, (I, n)
        Two quantities of the same n seeds, at each of I iterations.

    Returns
    -------
    Interval
        95%, within -1 and 1; none with fewer than `FEWEST_SEEDS`.

    Notes
    -----
    Fisher's z with the error of Bonett and Wright; of a mean over iterations, which depend on one another, that of one
    of them, which is not below: there it is too wide. Of simulated studies of 5 to 10 seeds at one iteration it holds
    the population's correlation in 92% to 99%; a jackknife over five seeds did in as little as 54%.

    References
    ----------
    Bonett and Wright, 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations".
    """
    value = _mean_rank(first, second)
    if first.shape[1] < FEWEST_SEEDS:
        return Interval(value, np.nan, np.nan)
    middle, error = _transformed(value, first.shape[1])
    reach = stats.norm.ppf(0.975) * error
    return Interval(value, min(value, float(np.tanh(middle - reach))), max(value, float(np.tanh(middle + reach))))


def relation_chance(first: np.ndarray, second: np.ndarray, bound: float) -> float:
    """Return the two-sided p of a mean rank correlation against a bound, by the same z; NaN with too few seeds.

    Parameters
    ----------
    first, second : ndarray, (I, n)
        As in `rank_relation`.
    bound : float
        A correlation.
    """
    if first.shape[1] < FEWEST_SEEDS:
        return np.nan
    middle, error = _transformed(_mean_rank(first, second), first.shape[1])
    at, _ = _transformed(bound, first.shape[1])
    return float(2 * stats.norm.sf(abs(middle - at) / error))


def _transformed(value: float, n: int) -> tuple[float, float]:
    """Return Fisher's z of a rank correlation of n seeds, and its standard error."""
    # of n ranks r = 1 - 6 sum d^2 / (n (n^2 - 1)): below 1 it is at most 1 - 12 / (n (n^2 - 1)), and 1 stands for what
    # is half way there, whose z is finite
    held = float(np.clip(value, -1 + 6 / (n * (n**2 - 1)), 1 - 6 / (n * (n**2 - 1))))
    # z = artanh r, Var z = (1 + r^2 / 2) / (n - 3)
    return float(np.arctanh(held)), float(np.sqrt((1 + held**2 / 2) / (n - 3)))


def common(first: Sequence[dict[int, float]], second: Sequence[dict[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Lay out what both have for the same seeds at every iteration, (I, n) each.

    Parameters
    ----------
    first, second : sequence of dict of int to float
        For each iteration, a number by seed.
    """
    # seeds that both have at every iteration: others would change who is compared from one to the next
    seeds = sorted(set.intersection(*(set(row) for row in (*first, *second))))
    left, right = (np.array([[row[seed] for seed in seeds] for row in rows]) for rows in (first, second))
    return left, right


def _mean_rank(first: np.ndarray, second: np.ndarray) -> float:
    each = [stats.spearmanr(one, two).statistic for one, two in zip(first, second, strict=True)]
    return float(np.mean(each))
