"""Signal and noise of a policy gradient: what decides how estimates of any number of pairs would agree.

With the exact gradient G and the covariance S / N of an estimate of N pairs (N whole streams), the simple noise scale
``B = tr S / |G|^2`` is the number of pairs at which noise and signal are equal: the mean pairwise cosine of estimates
is about ``1 / (1 + B / N)``, the mean cosine to the exact gradient about ``1 / sqrt(1 + B / N)``, where noise is spread
over many directions.

====== ===============================================================
symbol meaning
====== ===============================================================
K      equal groups of streams
D      policy parameters, flattened
b      pairs of a group
B      simple noise scale, in pairs
====== ===============================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from closerlook.statistics.estimates import NOTHING, Interval, plain_jackknife
from closerlook.statistics.student import t_quantile

Real = np.ndarray | float
"""A number, or one for each replicate."""


@dataclass(frozen=True)
class NoiseScale:
    """Signal, noise and their ratio.

    Parameters
    ----------
    squared_norm : float
        ``|G|^2``, unbiased; it may come out negative where noise hides it.
    variance : float
        ``tr S``: the trace of an estimate's covariance times its pairs.
    pairs : Interval
        ``B``. NaN where ``|G|^2`` is not estimated to be positive; its upper end is infinite where the data are
        compatible with no signal at all.
    variance_without : ndarray, (K,)
        ``tr S`` without each group.
    """

    squared_norm: float
    variance: float
    pairs: Interval
    variance_without: np.ndarray = field(default_factory=lambda: np.empty(0))


def noise_scale(sums: np.ndarray, pairs: np.ndarray, *, confidence: float = 0.95) -> NoiseScale:
    """Estimate the noise scale from independent groups.

    The interval is that of ``log(1 + b / B)``, jackknifed over groups with Student's t: near 0 it is linear in
    ``|G|^2``, which may be negative, and far from it logarithmic.

    Parameters
    ----------
    sums : ndarray, (K, D)
        The gradient's sum over the pairs of each group.
    pairs : ndarray, (K,)
        Pairs of each, all equal.
    confidence : float
        Of the interval.

    Raises
    ------
    ValueError
        Where groups differ in pairs.

    References
    ----------
    McCandlish et al., 2018, "An Empirical Model of Large-Batch Training", eq. 2.9 and appendix A.1.
    """
    if np.ptp(pairs) > 0:
        raise ValueError("groups differ in pairs")
    count, group = len(sums), float(pairs[0])
    if count < 3:
        return NoiseScale(np.nan, np.nan, NOTHING)
    # with groups k of b pairs each: |G|^2 = sum_{j != k} g_j . g_k / (K (K - 1)), unbiased, as noise of two groups is
    # independent
    means = sums / group
    gram = means @ means.T
    signal, variance = _signal_and_variance(gram.sum(), float(np.trace(gram)), count)
    own = np.diag(gram)
    # the same without each group, from the Gram matrix alone: row and column k go, the diagonal entry once
    without = _signal_and_variance(gram.sum() - 2 * gram.sum(axis=1) + own, np.trace(gram) - own, count - 1)
    scale = NoiseScale(float(signal), float(variance) * group, NOTHING, np.asarray(without[1]) * group)
    if variance <= 0:
        return scale
    quantile = t_quantile((1 + confidence) / 2, count - 1)
    # B = tr S / |G|^2 with tr S = b tr(Cov g); the scale of the interval is log(1 + b / B) = log(1 + |G|^2 / tr Cov g)
    logs = np.log1p(np.maximum(without[0] / without[1], _LEAST))
    reach = quantile * np.sqrt((count - 1) / count * np.square(logs - logs.mean()).sum())
    middle = np.log1p(max(float(signal / variance), _LEAST))
    # large signal is small B: the ends change places
    low, high = (_pairs(np.expm1(end), group) for end in (middle + reach, middle - reach))
    value = _pairs(float(signal / variance), group) if signal > 0 else np.nan
    return replace(scale, pairs=Interval(value, low, high))


_LEAST = -0.999
"""Of signal to variance of a group: it cannot be below -1 / (K - 1)."""


def _signal_and_variance(total: Real, squares: Real, count: int) -> tuple[Real, Real]:
    """Return |G|^2 and the trace of a group's covariance, from the sum and the trace of the groups' Gram matrix."""
    # E|g_k|^2 = |G|^2 + tr Cov g, so that the trace is the mean square less the signal
    signal = (total - squares) / (count * (count - 1))
    return signal, squares / count - signal


def _pairs(ratio: float, group: float) -> float:
    return float(group / ratio) if ratio > 0 else np.inf


def pairwise_cosine_at(pairs: np.ndarray, scale: float) -> np.ndarray:
    """Predict the mean pairwise cosine of estimates of so many pairs: ``1 / (1 + B / N)``.

    Parameters
    ----------
    pairs : ndarray
        N, of any shape.
    scale : float
        B, in pairs.
    """
    # cos(g_1, g_2) = |G|^2 / (|G|^2 + tr S / N), the noise of the two being independent
    return np.asarray(1.0 / (1.0 + scale / np.asarray(pairs, dtype=np.float64)))


def true_cosine_at(pairs: np.ndarray, scale: float) -> np.ndarray:
    """Predict the mean cosine of estimates to the exact gradient: ``1 / sqrt(1 + B / N)``.

    Parameters
    ----------
    pairs : ndarray
        N, of any shape.
    scale : float
        B, in pairs.
    """
    # cos(g, G) = |G| / sqrt(|G|^2 + tr S / N) where noise is spread over many directions
    return np.asarray(np.sqrt(pairwise_cosine_at(pairs, scale)))


def pairs_for_pairwise_cosine(cosine: float, scale: Interval) -> Interval:
    """Return the pairs at which the pairwise cosine is predicted to reach a value: ``B c / (1 - c)``.

    Parameters
    ----------
    cosine : float
        c, above 0 and below 1.
    scale : Interval
        B, in pairs, with its interval.

    References
    ----------
    McCandlish et al., 2018, eq. 2.9: what follows from the noise scale, where noise is spread over many directions.
    """
    # 1 / (1 + B / N) = c solved for N
    return _times(scale, cosine / (1 - cosine))


def pairs_for_true_cosine(cosine: float, scale: Interval) -> Interval:
    """Return the pairs at which the cosine to the exact gradient is predicted to: ``B c^2 / (1 - c^2)``.

    Parameters
    ----------
    cosine : float
        c, above 0 and below 1.
    scale : Interval
        B, in pairs, with its interval.

    References
    ----------
    McCandlish et al., 2018, eq. 2.9: what follows from the noise scale, where noise is spread over many directions.
    """
    # 1 / sqrt(1 + B / N) = c solved for N
    return _times(scale, cosine**2 / (1 - cosine**2))


def _times(scale: Interval, factor: float) -> Interval:
    return Interval(scale.value * factor, scale.low * factor, scale.high * factor)


@dataclass(frozen=True)
class Squares:
    """Sums of squared scores over some streams, their advantages less a constant.

    Parameters
    ----------
    single : float
        ``sum |A g|^2`` over pairs.
    trajectory : float
        ``sum |s|^2 / n`` over trajectories of n pairs, ``s`` their sum of ``A g``.
    total : float
        ``|sum A g|^2`` over all pairs.
    pairs, trajectories, squared_lengths : float
        How many there are, and the sum of the trajectories' squared numbers of pairs.
    """

    single: float
    trajectory: float
    total: float
    pairs: float
    trajectories: float
    squared_lengths: float


def together(parts: Sequence[Squares]) -> Squares:
    """Add up the squares of several layers of the same streams."""
    first = parts[0]
    return Squares(
        single=sum(part.single for part in parts),
        trajectory=sum(part.trajectory for part in parts),
        total=sum(part.total for part in parts),
        pairs=first.pairs,
        trajectories=first.trajectories,
        squared_lengths=first.squared_lengths,
    )


def between_share(squares: Squares) -> float:
    """Return the share of single pairs' variance that lies between trajectories; NaN where it is not known.

    One-way analysis of variance with unequal groups: unbiased components, so that the share may come out slightly
    negative where pairs of a trajectory are as different as any.

    References
    ----------
    Searle, Casella and McCulloch, 1992, "Variance Components", section 3.6.
    """
    between_freedom, within_freedom = squares.trajectories - 1, squares.pairs - squares.trajectories
    if between_freedom < 1 or within_freedom < 1:
        return np.nan
    # mean squares of a one-way layout, trajectories i of n_i pairs, vector-valued:
    # MSB = (sum_i |s_i|^2 / n_i - |s|^2 / N) / (a - 1),  MSW = (sum |x|^2 - sum_i |s_i|^2 / n_i) / (N - a)
    between = (squares.trajectory - squares.total / squares.pairs) / between_freedom
    within = (squares.single - squares.trajectory) / within_freedom
    # E MSB = sigma_w^2 + n_0 sigma_b^2 with n_0 = (N - sum n_i^2 / N) / (a - 1), which is n for equal groups
    length = (squares.pairs - squares.squared_lengths / squares.pairs) / between_freedom
    component = (between - within) / length
    whole = component + within
    return float(component / whole) if whole > 0 else np.nan


def pair_variance(single: np.ndarray, sums: np.ndarray, pairs: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the trace of the covariance of what single pairs contribute, and the same without each block.

    Parameters
    ----------
    single : ndarray, (B,)
        ``sum |A g|^2`` over the pairs of each block of streams.
    sums : ndarray, (B, D)
        ``sum A g``.
    pairs : ndarray, (B,)
        Pairs of each.

    Notes
    -----
    Estimates ``tr Cov(A grad log pi)`` over pairs, too low by a part of 1 over their number.
    """
    # tr Cov x = E|x|^2 - |E x|^2 over pairs x = A grad log pi
    total, count = sums.sum(axis=0), pairs.sum()
    # |sum of the others|^2 = |total|^2 - 2 total . own + |own|^2
    others = total @ total - 2 * sums @ total + np.square(sums).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (single.sum() - single) / (count - pairs) - others / (count - pairs) ** 2
    return float(single.sum() / count - total @ total / count**2), without


def effective_sample_fraction(of_pairs: tuple[float, np.ndarray], noise: NoiseScale) -> Interval:
    """Return the share of pairs that independent pairs would take for the same noise; NaN where it is not known.

    The trace of single pairs' covariance, over that of an estimate of N pairs times N: 1 where pairs are independent,
    small where those of a trajectory push the same way.

    The interval is that of its logarithm, jackknifed over the streams of the one and over the groups of the other, with
    Student's t. Both come from one pool: taken as independent, the variances add up to no less than they are, since
    streams with large contributions make both large.

    Parameters
    ----------
    of_pairs : (float, ndarray (B,))
        See `pair_variance`.
    noise : NoiseScale
        Of the same pool.

    Notes
    -----
    Estimates the trace of a pair's covariance over that of a mean of N pairs times N, with a bias of order 1 / K.
    """
    # tr Cov x over N tr Cov(mean of N pairs): 1 for independent pairs, below it where pairs of a stream are alike
    value, without = of_pairs
    known = value > 0 and noise.variance > 0
    if not known:
        return NOTHING
    samples = (without, noise.variance_without)
    if not all((sample > 0).all() for sample in samples):
        return Interval(value / noise.variance, np.nan, np.nan)
    log = plain_jackknife(float(np.log(value / noise.variance)), *(np.log(sample) for sample in samples))
    return Interval(value / noise.variance, float(np.exp(log.low)), float(np.exp(log.high)))
