"""Bias and variance of gradients by the lambda of generalized advantage estimation, and which lambda serves best.

Every estimate is compared with one true gradient, the gradient of Monte Carlo returns (lambda 1). With ``L`` the
squared length of an estimate's exact mean, ``P`` its product with the true gradient, ``L_1`` that of the true gradient
and ``V / N`` the trace of its covariance at N pairs, its squared bias is ``L - 2 P + L_1`` and its cosine to the true
gradient about ``P / sqrt(L_1 (L + V / N))``. All of them are from products of different groups of streams, so that
noise which estimate and true gradient share makes nothing look alike.

====== =====================================================
symbol meaning
====== =====================================================
K      equal groups of streams
D      policy parameters, flattened
b      pairs of a group
R      replicates: 1 + K, the first from all groups, then without each
====== =====================================================

What is gained by the best is another question than which is best: the largest of several noisy numbers is too large. So
the best is chosen on one half of the groups and its gain measured on the other, and the other way round.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from closerlook.statistics.estimates import (
    FEWEST,
    NOTHING,
    Interval,
    log_jackknife,
    off_diagonal_means,
    without_bias,
)
from closerlook.statistics.ratios import ANYTHING, COSINES, SIZES, blank, is_positive, ratio
from closerlook.statistics.student import t_quantile


@dataclass(frozen=True)
class Comparison:
    """One estimator against the true gradient: from all groups, and without each. All arrays are (R,).

    Parameters
    ----------
    signal : ndarray
        ``L``, squared length of the estimator's mean.
    product : ndarray
        ``P``, its product with the true gradient.
    true_gradient : ndarray
        ``L_1``, squared length of the true gradient.
    variance : ndarray
        ``V``, trace of the covariance of an estimate times its pairs.
    bias_square : float
        Squared length of the mean difference to the true gradient, noise and all.
    bias_noise : float
        Variance that `squared_bias` would have without any bias, see `noise_of_square`.
    """

    signal: np.ndarray
    product: np.ndarray
    true_gradient: np.ndarray
    variance: np.ndarray
    bias_square: float
    bias_noise: float

    @property
    def squared_bias(self) -> np.ndarray:
        """``L - 2 P + L_1``: unbiased, so that it may come out negative."""
        return np.asarray(self.signal - 2 * self.product + self.true_gradient)

    def squared_length(self, pairs: float) -> np.ndarray:
        """Return the expected squared length of an estimate of so many pairs; NaN where it is not positive."""
        found = self.signal + self.variance / pairs
        return np.where(found > 0, found, np.nan)

    def cosine(self, pairs: float) -> Interval:
        """Return the cosine to the true gradient at so many pairs; no value where a length may be nil.

        Notes
        -----
        Estimates E cos(g, y) for noise in many directions, with a bias of order 1 / K taken off; Fieller's interval.
        """
        # cos = P / sqrt(L_1 (L + V / N)): E|g|^2 of an estimate of N pairs is the signal L and the noise V / N
        with np.errstate(invalid="ignore"):
            return ratio([self.product], [np.sqrt(self.true_gradient) * np.sqrt(self.squared_length(pairs))], COSINES)

    def relative_variance(self, pairs: float) -> Interval:
        """Return ``V / (N L_1)`` of an estimate of so many pairs; no value where ``L_1`` may be nil.

        Notes
        -----
        A ratio of two unbiased estimates, its bias of order 1 / K taken off; Fieller's interval.
        """
        return ratio([self.variance / pairs], [self.true_gradient], SIZES)

    def relative_bias(self, *, confidence: float = 0.95) -> Interval:
        """Return the squared bias over ``L_1``; no value where that may be nil.

        Where the bias is near zero its square is a weighted chi-square, of which a jackknife knows nothing: it finds
        little variance where the square comes out small. So the interval is that of all biases b from which the square
        is within Student's t times the standard deviation that it would have: its variance is taken to be
        ``noise + growth b``, what noise alone gives, and an increase that is the jackknife's where the bias is plain to
        see. Near zero this is a one-sided bound, its lower end zero.

        References
        ----------
        Wilson, 1927, "Probable inference, the law of succession, and statistical inference", on intervals by the
        variance at the value in question. Serfling, 1980, "Approximation theorems of mathematical statistics", section
        5.5.2, on degenerate U-statistics.
        """
        if not is_positive([self.true_gradient]):
            return blank(SIZES)
        relative = self.squared_bias / self.true_gradient
        value, count = without_bias(float(relative[0]), relative[1:]), len(relative) - 1
        # in units of L_1: variance of the square without any bias, and how the jackknife's variance grows with the bias
        square, noise = self.bias_square / self.true_gradient[0], self.bias_noise / self.true_gradient[0] ** 2
        growth = (count - 1) * float(np.var(relative[1:])) / square if square > 0 else 0.0
        quantile = float(t_quantile((1 + confidence) / 2, count - 1))
        # (value - b)^2 <= t^2 (noise + growth b), solved for b
        # b = value + t^2 growth / 2 +- t sqrt(noise + growth value + t^2 growth^2 / 4)
        middle = value + quantile**2 * growth / 2
        room = quantile * np.sqrt(max(noise + growth * value + quantile**2 * growth**2 / 4, 0.0))
        return Interval(value, min(max(middle - room, 0.0), value), max(middle + room, value))


def compare(means: np.ndarray, true_gradient: np.ndarray, pairs: float) -> Comparison:
    """Compare an estimator with the true gradient.

    Parameters
    ----------
    means, true_gradient : ndarray, (K, D)
        Both gradients' means over each of the same groups.
    pairs : float
        Of each group.

    Notes
    -----
    ``L``, ``P``, ``L_1`` and ``V`` are unbiased: products of different groups, whose noise is independent.
    """
    # Gram matrices of the groups: off their diagonals, E m_j . m_k = L, E m_j . y_k = P, E y_j . y_k = L_1
    own, cross, other = means @ means.T, means @ true_gradient.T, true_gradient @ true_gradient.T
    signal = off_diagonal_means(own)
    # tr Cov of a group's mean = mean |m_k|^2 - L; times the pairs of a group it is V
    counts = np.array([len(means), *[len(means) - 1] * len(means)])
    squares = np.concatenate([[np.trace(own)], np.trace(own) - np.diag(own)])
    with np.errstate(divide="ignore", invalid="ignore"):  # too few groups to leave one out
        variance = (squares / counts - signal) * pairs
    # (m_j - y_j) . (m_k - y_k), opened: noise that estimate and truth share in a group is on the diagonal only
    difference = own - cross - cross.T + other
    square, noise = float(np.mean(difference)) if len(means) else np.nan, noise_of_square(difference)
    return Comparison(signal, off_diagonal_means(cross), off_diagonal_means(other), variance, square, noise)


def noise_of_square(table: np.ndarray) -> float:
    """Return the variance that the mean product of different groups would have if all were noise about zero.

    It is ``2 tr(C^2) / (K (K - 1))``, with C the covariance of a group; the trace is estimated without bias for normal
    noise, which many directions need: the plain one, of the sample covariance, is too large by ``tr(C)^2 / (K - 1)``.

    Parameters
    ----------
    table : ndarray, (K, K)
        Products of the groups with one another. NaN for fewer than three.

    References
    ----------
    Serfling, 1980, "Approximation theorems of mathematical statistics", section 5.2.1, for the variance of a
    U-statistic.
    """
    count = len(table)
    if count < FEWEST:
        return np.nan
    # double centering turns products about zero into products about the mean: (x_j - m) . (x_k - m)
    centered = table - table.mean(axis=0) - table.mean(axis=1)[:, None] + table.mean()
    # of the sample covariance S of normal noise, n = K - 1: E tr(S^2) = (1 + 1/n) tr(C^2) + tr(C)^2 / n and
    # E tr(S)^2 = tr(C)^2 + 2 tr(C^2) / n, solved for tr(C^2)
    trace, square = np.trace(centered) / (count - 1), np.square(centered).sum() / (count - 1) ** 2
    unbiased = (count - 1) ** 2 / ((count - 2) * (count + 1)) * (square - trace**2 / (count - 1))
    return float(2 * max(unbiased, 0.0) / (count * (count - 1)))


@dataclass(frozen=True)
class Best:
    """Which of several estimators comes nearest to the true gradient at one number of pairs.

    Parameters
    ----------
    place : int or None
        Of the best; None where there is no telling: no product with the true gradient is positive.
    among : tuple of int
        Those that may as well be it: not clearly worse, one by one.
    """

    place: int | None
    among: tuple[int, ...]


def best_lambda(comparisons: Sequence[Comparison], pairs: float) -> Best:
    """Find the estimator with the largest cosine to the true gradient at so many pairs.

    The true gradient's length is the same for all and plays no part. An estimator is clearly worse where the 95%
    interval of the ratio of its cosine to the best one's, jackknifed, lies below 1.

    Parameters
    ----------
    comparisons : sequence of Comparison
        To choose from.
    pairs : float
        Of an estimate.
    """
    # the truth's length is common to all estimators: the largest P / sqrt(L + V / N) is the largest cosine
    scores = _scores(comparisons, pairs)
    place = _largest(scores)
    if place is None or not scores[place][0] > 0:
        return Best(None, ())
    among = tuple(at for at, score in enumerate(scores) if not _ratio(score, scores[place]).high < 1)
    return Best(place, among)


def gain_of_best(
    halves: Sequence[Sequence[Comparison]], own: int, pairs: float, *, confidence: float = 0.95
) -> Interval:
    """Return the cosine to the true gradient of the best estimator over that of the agent's own.

    None is judged by those that chose it.

    Of two halves of the groups each chooses the best for the other, which measures it: the sum of what both halves
    find of the chosen, over the sum of what they find of the agent's own. It is a ratio of sums, since one half by
    itself may find that a good estimator points away; were such agents left out, the lucky ones would remain. Where
    all estimators are equally good both sums are the same on average, and where both halves choose the agent's own it
    is 1 exactly. It is what half the groups find, so that it may fall short of the true best's. The jackknife leaves
    out each group where it measures; the choices stay.

    Parameters
    ----------
    halves : two sequences of Comparison
        The same estimators, on each half of the groups.
    own : int
        Place of the agent's own among them.
    pairs : float
        Of an estimate.
    confidence : float
        Of the interval, from 0 to 1.

    Returns
    -------
    Interval
        No value where the agent's own is not known to point along the true gradient.
    """
    first, second = (_scores(half, pairs) for half in halves)
    chosen = [_largest(scores) for scores in (first, second)]
    if chosen[0] is None or chosen[1] is None:
        return NOTHING
    if chosen[0] == chosen[1] == own:
        return Interval(1.0, 1.0, 1.0)
    # first half judged by the choice of the second, and the other way round
    above, below = _sums(first[chosen[1]], second[chosen[0]]), _sums(first[own], second[own])
    return ratio([above], [below], ANYTHING, confidence=confidence)


def _sums(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the sum of what two halves find (R,): of all groups, without each of the first's, of the second's."""
    # replicates of a sum over two halves: a group of either is left out, the other half stays whole
    return np.concatenate([first[:1] + second[0], first[1:] + second[0], first[0] + second[1:]])


def _scores(comparisons: Sequence[Comparison], pairs: float) -> list[np.ndarray]:
    """Return each cosine but for the length of the true gradient, which is the same for all: (R,)."""
    # P / sqrt(L + V / N): sqrt(L_1) is common to all and left out
    return [one.product / np.sqrt(one.squared_length(pairs)) for one in comparisons]


def _largest(scores: Sequence[np.ndarray]) -> int | None:
    firsts = np.array([score[0] for score in scores])
    return int(np.nanargmax(firsts)) if np.isfinite(firsts).any() else None


def _ratio(above: np.ndarray, below: np.ndarray) -> Interval:
    if above is below:
        return Interval(1.0, 1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((above > 0) & (below > 0), above / below, np.nan)
    return log_jackknife(float(ratio[0]), ratio[1:])
