"""How a population of seeds did: means, interquartile means and performance profiles, with intervals.

====== ==================================
symbol meaning
====== ==================================
n      seeds
T      thresholds
====== ==================================
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from closerlook.statistics.estimates import NOTHING, Interval, skewed_jackknife

FEWEST = 8
"""Seeds from which on the middle half, and shares of seeds, tell anything: of fewer, four would be too few to vary."""
TRIMMED = 0.25
"""Part of the seeds that an interquartile mean leaves out at either end."""


def interquartile_mean(values: np.ndarray) -> Interval:
    """Return the mean of the middle half of seeds, with a 95% interval; NaN ones count as none.

    Parameters
    ----------
    values : ndarray, (n,)
        A number for each seed.

    Returns
    -------
    Interval
        The value from one seed on, the interval from `FEWEST` on, but none where the middle half stays the same
        whichever seed is left out, as where it is at the most that can be earned: how far others would take it is not
        shown.

    Notes
    -----
    Estimates the mean of the population's middle half. The interval is a delete-one jackknife for skewed numbers. Of
    1,500 simulated populations it held the truth in 93.5% to 97% (normal, exponential, lognormal and Student's t of 2,
    8 to 24 seeds), where Tukey and McLaughlin's (1963) did in 90% to 96%; of two separate halves, where the middle
    jumps from one to the other, in 84% (9 seeds) to 97%.
    """
    known = values[np.isfinite(values)]
    n = len(known)
    if not n:
        return NOTHING
    if n < FEWEST:
        return Interval(_middle(known), np.nan, np.nan)
    # without seed i: the middle half of the others
    without = np.array([_middle(np.delete(known, seed)) for seed in range(n)])
    if np.ptp(without) == 0:
        return Interval(_middle(known), np.nan, np.nan)
    return skewed_jackknife(_middle(known), without)


def _middle(values: np.ndarray) -> float:
    """Return the mean of what is left where a quarter, rounded down, is left out at either end."""
    cut = int(TRIMMED * len(values))
    return float(np.sort(values)[cut : len(values) - cut].mean())


@dataclass(frozen=True)
class Profile:
    """A performance profile: which part of seeds reaches at least so much.

    Parameters
    ----------
    thresholds : ndarray, (T,)
        So much.
    share, low, high : ndarray, (T,)
        Part of the seeds, with its 95% interval at each threshold.
    """

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def performance_profile(values: np.ndarray, thresholds: np.ndarray) -> Profile:
    """Return the part of seeds that reaches each threshold, with exact intervals.

    Parameters
    ----------
    values : ndarray, (n,)
        A number for each seed; NaN ones count as none.
    thresholds : ndarray, (T,)
        What is to be reached.

    Returns
    -------
    Profile
        Intervals of Clopper and Pearson (1934), at each threshold by itself; NaN with fewer than `FEWEST` seeds.
    """
    known, thresholds = values[np.isfinite(values)], np.asarray(thresholds, np.float64)
    n = len(known)
    reached = (known[:, None] >= thresholds).sum(axis=0)
    if n < FEWEST:
        nothing = np.full(len(thresholds), np.nan)
        return Profile(thresholds, reached / n if n else nothing, nothing, nothing)
    # low solves P(X >= k) = 2.5%, high P(X <= k) = 2.5%, for X binomial of n: quantiles of beta distributions
    low = np.where(reached > 0, special.betaincinv(np.maximum(reached, 1), n - reached + 1, 0.025), 0.0)
    high = np.where(reached < n, special.betaincinv(reached + 1, np.maximum(n - reached, 1), 0.975), 1.0)
    return Profile(thresholds, reached / n, low, high)
