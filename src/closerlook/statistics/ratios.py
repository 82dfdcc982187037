"""Ratios to a signal that is estimated itself, and when nothing can be said of them.

A cosine, a relative bias or a gain divides by a length that noise may hide. Where the data do not say that the signal
is positive there is no number, and the interval is all that the ratio may be: none is shown because it came out well.

====== =====================================================
symbol meaning
====== =====================================================
K      independent units of a sample
R      replicates: 1 + K, the first from all units, then without each
====== =====================================================
"""

from collections.abc import Sequence

import numpy as np

from closerlook.statistics.estimates import FEWEST, Interval, freedom_of_sum, without_bias
from closerlook.statistics.student import t_quantile

Replicates = Sequence[np.ndarray]
"""One number: for each independent sample (R,), from everything and without each of the sample's units in turn."""
Range = tuple[float, float]

COSINES: Range = (-1.0, 1.0)
SIZES: Range = (0.0, np.inf)
ANYTHING: Range = (-np.inf, np.inf)


def blank(whole: Range) -> Interval:
    """Return what is known of a ratio to a signal that may be none: its range, and no value."""
    return Interval(np.nan, *whole)


def is_positive(signal: Replicates, *, confidence: float = 0.95) -> bool:
    """Whether a signal is known to be positive: its jackknife interval, Student's t, lies above zero.

    Parameters
    ----------
    signal : sequence of ndarray, (R,) each
        Any function of a squared length that is positive where that is. Where a replicate is not a number, or a sample
        has fewer than three units, nothing is known.
    confidence : float
        Of the two-sided interval.
    """
    if not _is_known(signal):
        return False
    # known to be positive: the debiased estimate is more than t standard errors above zero
    variance, freedom = _variance(signal)
    return bool(_debiased(signal) > t_quantile((1 + confidence) / 2, freedom) * np.sqrt(variance))


def ratio(above: Replicates, below: Replicates, whole: Range, *, confidence: float = 0.95) -> Interval:
    """Return the ratio of two estimates with its interval: Fieller's, on a jackknife, both less their bias.

    The ratios r for which ``above - r below`` is within Student's t times its standard error of zero, a quadratic in r.
    Noise that the two share cancels in that difference: a cosine near 1 has a narrow interval though its lengths are
    noisy. The jackknife's estimate of bias, of order 1 / K, is taken off both first: off square roots of lengths, above
    all.

    Parameters
    ----------
    above, below : sequence of ndarray, (R,) each
        Replicates of numerator and denominator on the same samples.
    whole : (float, float)
        All that the ratio may be.
    confidence : float
        Of the interval.

    Returns
    -------
    Interval
        Without a value, and the whole range, unless the denominator is known to be positive. The value may leave the
        range, so that its mean is right; the ends do only to hold the value.

    References
    ----------
    Fieller, 1954, "Some problems in interval estimation". Quenouille, 1956, "Notes on bias in estimation".
    """
    if not (_is_known(above) and is_positive(below, confidence=confidence)):
        return blank(whole)
    # x and y less their jackknife bias; the ratio's own bias is taken off as a ratio's, not as x and y's
    top, bottom = _debiased(above), _debiased(below)
    value = _debiased([one / other for one, other in zip(above, below, strict=True)])
    # degrees of freedom of x - r y at the estimated r, the combination that the interval is about
    freedom = _variance([one - value * other for one, other in zip(above, below, strict=True)])[1]
    squared = float(t_quantile((1 + confidence) / 2, freedom)) ** 2
    # (top - r bottom)^2 <= t^2 (Var top - 2 r Cov + r^2 Var bottom), as a r^2 - 2 b r + c <= 0
    # Cov(x, y) = (Var(x + y) - Var(x - y)) / 4
    both = [_variance([one + sign * other for one, other in zip(above, below, strict=True)])[0] for sign in (1, -1)]
    a = bottom**2 - squared * _variance(below)[0]
    b = top * bottom - squared * (both[0] - both[1]) / 4
    c = top**2 - squared * _variance(above)[0]
    # the denominator's own interval reaches zero: the set of ratios is unbounded
    if not a > 0:
        return blank(whole)
    # r = (b +- sqrt(b^2 - a c)) / a
    root = np.sqrt(max(b**2 - a * c, 0.0))
    low, high = max((b - root) / a, whole[0]), min((b + root) / a, whole[1])
    return Interval(value, float(min(low, value)), float(max(high, value)))


def _is_known(number: Replicates) -> bool:
    return min(map(len, number)) > FEWEST and bool(np.isfinite(np.concatenate(number)).all())


def _debiased(number: Replicates) -> float:
    return without_bias(float(number[0][0]), *(one[1:] for one in number))


def _variance(number: Replicates) -> tuple[float, float]:
    """Return the jackknife's variance, and its degrees of freedom."""
    # (K - 1)/K sum (x_k - mean)^2 = (K - 1) var of the K = R - 1 replicates, var with divisor K
    parts = [float((len(one) - 2) * np.var(one[1:])) for one in number]
    return sum(parts), freedom_of_sum(parts, [len(one) - 2 for one in number])
