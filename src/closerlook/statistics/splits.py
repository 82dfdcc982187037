"""What one batch says of itself when it is split into groups of environments or trajectories, never of transitions.

====== ===============================================================
symbol meaning
====== ===============================================================
K      groups
n_k    pairs of group k
D      policy parameters, flattened
B      simple noise scale, in pairs
====== ===============================================================
"""

import numpy as np
from numpy.typing import NDArray

from closerlook.statistics.estimates import FEWEST, NOTHING, Interval, log_jackknife
from closerlook.statistics.noise import NoiseScale
from closerlook.statistics.student import t_quantile

LEAST = -0.999
"""Of signal to variance of a group."""
FEWEST_GROUPS = 4
"""Groups below which no interval is given."""
HALVINGS = 128
"""Ways in which groups are halved."""


def group_units(sizes: np.ndarray, most: int) -> NDArray[np.int64]:
    """Put units (environments, trajectories) of so many pairs into at most so many groups of about equal pairs.

    Neighbors stay together, and no unit is divided.

    Parameters
    ----------
    sizes : ndarray, (units,)
        Pairs of each.
    most : int
        Groups at most.

    Returns
    -------
    ndarray, (units,)
        The group of each unit, from 0 on without gaps.
    """
    # a unit goes where its middle lies among all pairs, so that groups hold about equally many
    middle = np.cumsum(sizes) - 0.5 * np.asarray(sizes)
    places = np.floor(middle / max(float(np.sum(sizes)), 1.0) * min(most, len(sizes))).astype(np.int64)
    return np.asarray(np.unique(places, return_inverse=True)[1])


def split_noise_scale(sums: np.ndarray, pairs: np.ndarray, *, confidence: float = 0.95) -> NoiseScale:
    """Estimate the noise scale from groups that differ in pairs; for equal ones it is `noise_scale`.

    With ``s_k`` the gradient's sum over the n_k pairs of group k, ``|G|^2`` is estimated by
    ``sum_{j != k} s_j . s_k / sum_{j != k} n_j n_k``, the trace of a pair's covariance by
    ``sum_k (|s_k|^2 - n_k^2 |G|^2) / sum_k n_k``, and ``B`` is their ratio. The interval is that of ``log(1 + n / B)``,
    n being the mean pairs of a group, jackknifed over groups with Student's t.

    Parameters
    ----------
    sums : ndarray, (K, D)
        s_k.
    pairs : ndarray, (K,)
        n_k.
    confidence : float
        Of the interval.

    References
    ----------
    McCandlish et al., 2018, "An Empirical Model of Large-Batch Training", appendix A.1, for groups of two sizes.
    """
    count = len(sums)
    if count < FEWEST:
        return NoiseScale(np.nan, np.nan, NOTHING)
    # s_j . s_k for all groups, in float64
    gram, wide = sums.astype(np.float64) @ sums.astype(np.float64).T, np.asarray(pairs, dtype=np.float64)
    own, mean = np.diag(gram), float(wide.mean())
    # the four sums that |G|^2 and tr S are functions of: sum_jk s_j . s_k, sum_k |s_k|^2, sum n_k, sum n_k^2
    whole = gram.sum(), own.sum(), wide.sum(), np.square(wide).sum()
    signal, variance = _signal_and_variance(*whole)
    without = _signal_and_variance(
        whole[0] - 2 * gram.sum(axis=1) + own, whole[1] - own, whole[2] - wide, whole[3] - np.square(wide)
    )
    found = NoiseScale(float(signal), float(variance), NOTHING)
    if not (variance > 0 and np.all(without[1] > 0)) or count < FEWEST_GROUPS:
        return found
    # log(1 + n / B) = log(1 + n |G|^2 / tr S), n the mean pairs of a group
    logs = np.log1p(np.maximum(mean * without[0] / without[1], LEAST))
    reach = t_quantile((1 + confidence) / 2, count - 1) * np.sqrt(
        (count - 1) / count * np.square(logs - logs.mean()).sum()
    )
    middle = np.log1p(max(mean * float(signal / variance), LEAST))
    low, high = (_scale(np.expm1(end), mean) for end in (middle + reach, middle - reach))
    value = float(variance / signal) if signal > 0 else np.nan
    return NoiseScale(found.squared_norm, found.variance, Interval(value, low, high))


def _signal_and_variance(
    total: np.ndarray, squares: np.ndarray, pairs: np.ndarray, squared_pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return |G|^2 and a pair's variance, from sums over groups of products, squares, pairs and squared pairs."""
    # |G|^2 = sum_{j != k} s_j . s_k / sum_{j != k} n_j n_k, with sum_{j != k} n_j n_k = (sum n)^2 - sum n^2
    # E|s_k|^2 = n_k^2 |G|^2 + n_k tr S, added up over the groups and solved for tr S
    signal = (total - squares) / (np.square(pairs) - squared_pairs)
    return signal, (squares - squared_pairs * signal) / pairs


def _scale(ratio: float, group: float) -> float:
    # n / (n |G|^2 / tr S) = B, infinite where no signal is left
    return float(group / ratio) if ratio > 0 else np.inf


def split_true_cosine(sums: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Estimate the mean cosine of the whole batch's gradient to the exact one, from gradients of its halves.

    With ``c`` the mean cosine of the gradients of two halves, over many ways to halve the groups, it is
    ``sqrt(2 c / (1 + c))``: the validity of a whole test whose halves correlate by c. Noise along the gradient, which
    does not turn it, is no part of that, whereas the noise scale counts all noise. Where most of the noise lies in one
    direction, and is about as large as the gradient, 95% intervals hold the truth in 80% to 90%.

    Parameters
    ----------
    sums : ndarray, (K, D)
        s_k, of groups of about equally many pairs.
    confidence : float
        Of the interval.

    Returns
    -------
    Interval
        That of ``log(1 - c)``, jackknifed over groups with Student's t; 0 where halves do not point the same way, and
        NaN, without ends, below `FEWEST_GROUPS` or where a half has no gradient.

    References
    ----------
    Spearman, 1910, "Correlation calculated from faulty data"; Brown, 1910, "Some experimental results in the
    correlation of mental abilities".
    """
    count = len(sums)
    if count < FEWEST_GROUPS:
        return NOTHING
    wide = sums.astype(np.float64)
    products, first = wide @ wide.T, _halves(count)
    kept = ~np.eye(count, dtype=bool)
    whole = _cosine_of_halves(products, first, ~first)
    without = np.array([_cosine_of_halves(products, first & own, ~first & own) for own in kept])
    found = log_jackknife(1 - whole, 1 - without, confidence=confidence)
    return Interval(*(_of_the_whole(1 - apart) for apart in (found.value, found.high, found.low)))


def _halves(count: int) -> NDArray[np.bool_]:
    """Return which of so many groups are in the first half, (HALVINGS, count), the same whatever is divided."""
    draws = np.random.default_rng(count)
    return np.asarray(draws.permuted(np.tile(np.arange(count), (HALVINGS, 1)), axis=1) < count // 2)


def _cosine_of_halves(products: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    # mean over divisions of (a . b) / (|a| |b|), a and b the sums of the groups in either half
    a, b = first.astype(np.float64), second.astype(np.float64)
    across, one, other = (((left @ products) * right).sum(axis=1) for left, right in ((a, b), (a, a), (b, b)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean(across / np.sqrt(one * other)))


def _of_the_whole(half: float) -> float:
    # Spearman-Brown: halves that correlate by c make a whole of reliability 2 c / (1 + c), of which the root is taken
    return float(np.sqrt(2 * max(half, 0.0) / (1 + max(half, 0.0)))) if not np.isnan(half) else np.nan


def split_explained_variance(
    values: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, confidence: float = 0.95
) -> Interval:
    """Return ``1 - Var[y - V] / Var[y]`` from pooled sums, with a jackknife of the ratio's logarithm over groups.

    Parameters
    ----------
    values, targets : ndarray, (n,)
        V and y; pairs whose target is NaN are left out.
    groups : ndarray, (n,), int
        The group of each pair.
    confidence : float
        Of the interval.

    Returns
    -------
    Interval
        NaN where targets are all equal; without ends where there are fewer than `FEWEST_GROUPS`.

    Notes
    -----
    Estimates the explained variance in the batch's population, with a bias of order 1 / groups.
    """
    known = np.isfinite(targets) & np.isfinite(values)
    y, own = targets[known].astype(np.float64), groups[known]
    errors = y - values[known]
    # targets less their mean: the variance below is a difference of squares, which a large mean would cancel
    columns = (np.ones_like(y), errors, np.square(errors), y - y.mean() if y.size else y)
    sums = (
        np.stack([np.bincount(own, column) for column in (*columns, np.square(columns[3]))])
        if y.size
        else np.zeros((5, 0))
    )
    sums = sums[:, sums[0] > 0]
    whole = sums.sum(axis=1)
    without = _variance_ratio(whole[:, None] - sums) if sums.shape[1] >= FEWEST_GROUPS else np.empty(0)
    found = log_jackknife(float(_variance_ratio(whole)), without, confidence=confidence)
    return Interval(1 - found.value, 1 - found.high, 1 - found.low)


def _variance_ratio(sums: np.ndarray) -> np.ndarray:
    """Return Var[y - V] / Var[y] from counts and sums of errors, their squares, targets, their squares."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # Var x = sum x^2 / n - (sum x / n)^2, for the errors and for the targets
        n = sums[0]
        unexplained, total = (sums[i + 1] / n - np.square(sums[i] / n) for i in (1, 3))
        return np.asarray(np.where(total > 0, unexplained / total, np.nan))
