"""How well predicted values fit their targets: relative errors, explained variance, calibration, bias and noise.

Streams are the unit of every interval: values and targets of neighboring pairs are nearly the same.

====== ==========================================
symbol meaning
====== ==========================================
S      streams
T      pairs of a stream
M, K   restarted states, copies of each
B      bins of the calibration curve
====== ==========================================
"""

from dataclasses import dataclass

import numpy as np

from closerlook.statistics.estimates import (
    FEWEST,
    NOTHING,
    Interval,
    log_jackknife,
    plain_jackknife,
    skewed_jackknife,
)
from closerlook.statistics.student import t_quantile

NEAR_ZERO = 0.01
"""Targets smaller than this part of their root mean square count as this much in the divisor of a relative error."""
BINS = 10


def near_zero(targets: np.ndarray) -> float:
    """Return the size below which targets (S, T) count as this size in divisors: 1% of their root mean square."""
    # 1% of sqrt(E y^2)
    return float(NEAR_ZERO * np.sqrt(np.square(targets, dtype=np.float64).mean()))


def relative_errors(values: np.ndarray, targets: np.ndarray, least: float) -> np.ndarray:
    """Return ``|V - y| / max(|y|, least)`` of each pair, float64; NaN where all targets are zero.

    Parameters
    ----------
    values, targets : ndarray, (S, T)
        Predictions, and what they are judged by.
    least : float
        See `near_zero`.

    References
    ----------
    Ilyas et al., 2020, Figures 3, 11 and 12, which divide by the target as it is, however small.
    """
    # MRE = mean |V(s) - y| / |y|, here with max(|y|, least) in the divisor
    wide = targets.astype(np.float64)
    return _over_targets(np.abs(values - wide), wide, least)


def _over_targets(errors: np.ndarray, targets: np.ndarray, least: float) -> np.ndarray:
    divisors = np.maximum(np.abs(targets), least)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(divisors > 0, errors / divisors, np.nan)


def released_errors(
    values: np.ndarray, targets: np.ndarray, old_values: np.ndarray, clip: float | None, least: float
) -> np.ndarray:
    """Return the error to ``V_old + A`` as the released code has it: squared, the worse of clipped and not, over |y|.

    Parameters
    ----------
    values, targets, old_values : ndarray, (S, T)
        The critic after its update, its targets, and the critic before.
    clip : float or None
        The bound of the value loss on how far values may move, where it has one.
    least : float
        See `near_zero`; the released code divides by the target as it is.

    References
    ----------
    Released code, steps.py, ``value_loss_gae`` with ``re=True``.
    """
    wide = targets.astype(np.float64)
    # value_loss_gae: max((V - y)^2, (clip(V, V_old - c, V_old + c) - y)^2) / |y|
    squares = np.square(values - wide)
    if clip is not None:
        held = old_values + np.clip(values - old_values, -clip, clip)
        squares = np.maximum(squares, np.square(held - wide))
    return _over_targets(squares, wide, least)


def mean_over_streams(numbers: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Return the mean of (S, T) with Student's t over streams; NaN where a number is.

    Where all streams' means are positive, as those of errors are, the scale is logarithmic: they are skewed.

    Parameters
    ----------
    numbers : ndarray, (S, T)
        For example relative errors.
    confidence : float
        Of the interval.

    Notes
    -----
    Estimates the mean over pairs of the policy, without bias.
    """
    # streams are independent, pairs of one are not: each stream is one number
    means = numbers.mean(axis=1)
    value, count = float(means.mean()), len(means)
    if count < FEWEST:
        return Interval(value, np.nan, np.nan)
    without = (means.sum() - means) / (count - 1)
    scale = log_jackknife if (means > 0).all() else plain_jackknife
    return scale(value, without, confidence=confidence)


def median_interval(numbers: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Return the median of (S, T), with an interval that takes streams as units.

    The share of a stream's numbers below the median varies between streams; Student's t over the streams says which
    shares of the whole are compatible with a half, and the interval is between the quantiles of those.

    Parameters
    ----------
    numbers : ndarray, (S, T)
        For example relative errors.
    confidence : float
        Of the interval.

    References
    ----------
    Woodruff, 1952, "Confidence Intervals for Medians and Other Position Measures".
    """
    value = float(np.median(numbers))
    if len(numbers) < FEWEST or not np.isfinite(value):
        return Interval(value, np.nan, np.nan)
    # F_s, the fraction of stream s at or below the median, ties half: its standard error over streams is that of F
    below = (numbers < value).mean(axis=1) + 0.5 * (numbers == value).mean(axis=1)
    reach = t_quantile((1 + confidence) / 2, len(numbers) - 1) * below.std(ddof=1) / np.sqrt(len(numbers))
    # Woodruff: [Q(1/2 - t se(F)), Q(1/2 + t se(F))]
    low, high = np.quantile(numbers, [max(0.0, 0.5 - reach), min(1.0, 0.5 + reach)])
    return Interval(value, float(low), float(high))


def explained_variance(values: np.ndarray, targets: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Return ``1 - Var[y - V] / Var[y]`` over all pairs, with a jackknife over streams of the ratio's logarithm.

    1: exact. 0: no better than a constant. Below 0: worse. NaN where targets are all equal.

    Parameters
    ----------
    values, targets : ndarray, (S, T)
        Predictions and targets.
    confidence : float
        Of the interval.

    Notes
    -----
    Estimates the explained variance over pairs of the policy, with a bias of order 1 / S.
    """
    wide = targets.astype(np.float64)
    # per stream: sums of (y - V), (y - V)^2 and of y, y^2
    sums = np.stack([_moments(wide - values), _moments(wide)])
    return ratio_of_variances(sums, wide.shape[1], confidence=confidence, explained=True)


def unexplained_ratio(values: np.ndarray, others: np.ndarray, targets: np.ndarray) -> Interval:
    """Return ``Var[y - W] / Var[y - V]`` over all pairs, with a jackknife over streams of its logarithm.

    Above 1: V leaves less of the targets unexplained than W does. Both are judged on the same pairs, whose noise takes
    part in both, so that the ratio is known better than either.

    Parameters
    ----------
    values, others, targets : ndarray, (S, T)
        Predictions V and W, and targets y.

    Notes
    -----
    Estimates the ratio over pairs of the policy, with a bias of order 1 / S.
    """
    wide = targets.astype(np.float64)
    sums = np.stack([_moments(wide - others), _moments(wide - values)])
    return ratio_of_variances(sums, wide.shape[1], confidence=0.95, explained=False)


def _moments(numbers: np.ndarray) -> np.ndarray:
    """Return the sums of numbers and of their squares for each stream: (S, 2)."""
    return np.stack([numbers.sum(axis=1), np.square(numbers).sum(axis=1)], axis=1)


def ratio_of_variances(sums: np.ndarray, pairs: int, *, confidence: float, explained: bool) -> Interval:
    """Return the ratio of two variances from each stream's sums (2, S, 2), or 1 less it.

    Parameters
    ----------
    sums : ndarray, (2, S, 2)
        For numerator and denominator, each stream's sum and sum of squares.
    pairs : int
        Of each stream.
    confidence : float
        Of the interval.
    explained : bool
        Whether 1 less the ratio is wanted.

    Notes
    -----
    A ratio of two variances with divisor n, with a bias of order 1 / S.
    """
    count = sums.shape[1]

    def ratio(totals: np.ndarray, streams: int) -> np.ndarray:
        n = pairs * streams
        # Var = E x^2 - (E x)^2 over all pairs of the streams that are left
        variances = totals[..., 1] / n - np.square(totals[..., 0] / n)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(variances[1] > 0, variances[0] / variances[1], np.nan))

    totals = sums.sum(axis=1)
    without = ratio(totals[:, None] - sums, count - 1) if count >= FEWEST else np.full(count, np.nan)
    found = log_jackknife(float(ratio(totals, count)), without, confidence=confidence)
    return Interval(1 - found.value, 1 - found.high, 1 - found.low) if explained else found


@dataclass(frozen=True)
class Calibration:
    """Mean targets where the critic says about the same.

    Parameters
    ----------
    predicted : ndarray, (B,)
        Mean prediction of each bin; bins hold equally many pairs, by rising prediction.
    targets : list of Interval, B
        Mean target of each.
    """

    predicted: np.ndarray
    targets: list[Interval]


def calibration(values: np.ndarray, targets: np.ndarray, bins: int = BINS) -> Calibration:
    """Compare predictions (S, T) with the mean target of the pairs that get about that prediction.

    The intervals jackknife each bin's ratio of sums over streams, as a stream's share of a bin varies.

    Parameters
    ----------
    values, targets : ndarray, (S, T)
        Predictions and targets.
    bins : int
        B.

    Notes
    -----
    Each bin's mean target is a ratio of sums, with a bias of order 1 / S; Student's t on a delete-one-stream jackknife.
    """
    # bins by predicted value, of equally many pairs; the target's mean in each is a ratio of sums over streams
    edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    places = np.searchsorted(edges, values, side="right")
    counts, predicted, wanted = (np.zeros((bins, len(values))) for _ in range(3))
    for stream, own in enumerate(places):
        counts[:, stream] = np.bincount(own, minlength=bins)
        predicted[:, stream] = np.bincount(own, values[stream], bins)
        wanted[:, stream] = np.bincount(own, targets[stream], bins)
    # mean target of a bin: sum over streams of its targets, over the number of its pairs
    with np.errstate(divide="ignore", invalid="ignore"):
        means = predicted.sum(axis=1) / counts.sum(axis=1)
        found = wanted.sum(axis=1) / counts.sum(axis=1)
        without = (wanted.sum(axis=1, keepdims=True) - wanted) / (counts.sum(axis=1, keepdims=True) - counts)
    return Calibration(means, [plain_jackknife(float(v), w) for v, w in zip(found, without, strict=True)])


@dataclass(frozen=True)
class Split:
    """A critic's squared error to returns, taken apart at states that were returned to many times.

    Parameters
    ----------
    bias : Interval
        ``E (V(s) - v(s))^2``, v being the exact value: unbiased, so that it may come out slightly negative.
    noise : Interval
        ``E Var(G | s)``: what no critic can predict.
    """

    bias: Interval
    noise: Interval


def split_error(values: np.ndarray, returns: np.ndarray, groups: np.ndarray) -> Split:
    """Take the error of values apart into bias and noise.

    Parameters
    ----------
    values : ndarray, (M,)
        Predictions at M states.
    returns : ndarray, (M, K)
        Returns of K independent rollouts from each.
    groups : ndarray, (M,)
        The stream each state is of: states of one stream are not independent.

    Notes
    -----
    Both parts are unbiased. Their intervals are made for skewed means, see
    `closerlook.statistics.estimates.skewed_jackknife`.
    """
    # E (V - mean of K returns)^2 = (V - v)^2 + Var(G | s) / K: the noise of the mean is taken off, without bias
    variances = returns.var(axis=1, ddof=1)
    biases = np.square(values - returns.mean(axis=1)) - variances / returns.shape[1]
    # what had noise taken off may come out negative
    return Split(_grouped_mean(biases, groups, least=-np.inf), _grouped_mean(variances, groups))


def mean_squared_error(values: np.ndarray, returns: np.ndarray, groups: np.ndarray) -> Interval:
    """Return the mean squared difference of values (M,) from returns (M,), jackknifed over the groups (M,) of states.

    With returns that are independent of those that `split_error` was given it checks the sum of bias and noise.

    Parameters
    ----------
    values, returns : ndarray, (M,)
        Predictions at M states, and one return from each.
    groups : ndarray, (M,)
        The stream each state is of: states of one stream are not independent.

    Notes
    -----
    Unbiased for ``E (V - v)^2 + E Var(G | s)``. The interval is made for skewed means.
    """
    # E (V - G)^2 with one G from each state, which nothing else was computed from
    return _grouped_mean(np.square(values - returns), groups)


def floor_of_returns(returns: np.ndarray, groups: np.ndarray, least: float) -> Interval:
    """Return the mean relative error of an exact critic: each return judged by the mean of the others of its state.

    The mean of K - 1 others is noisy itself: its difference from a return has ``K / (K - 1)`` times the variance that
    the exact value's would have. Differences are shrunk by the root of that: exact for normal noise that is small
    against the return. Where a return is near zero its error is about the value over it, whatever the others are, and
    shrunk for nothing: 3% too low with 16 copies, 13% with 4, of returns of which 30% end somewhere short of the rest.

    Parameters
    ----------
    returns : ndarray, (M, K)
        Returns of K independent rollouts from each of M states.
    groups : ndarray, (M,)
        The stream each state is of.
    least : float
        See `near_zero`; of the targets whose floor this is, so that both divide alike.

    Notes
    -----
    Estimates ``E |G - v(s)| / |G|``; its bias is described above. The interval is made for skewed means.
    """
    copies = returns.shape[1]
    # Var(G_k - mean of the K - 1 others) = Var(G | s) K / (K - 1): shrunk by sqrt((K - 1) / K) to that of G_k - v(s)
    others = (returns.sum(axis=1, keepdims=True) - returns) / (copies - 1)
    errors = relative_errors(others, returns, least) * np.sqrt((copies - 1) / copies)
    return _grouped_mean(errors.mean(axis=1), groups)


def _grouped_mean(numbers: np.ndarray, groups: np.ndarray, *, least: float = 0.0) -> Interval:
    """Return the mean of numbers with a jackknife over their groups, made for skewed numbers.

    Squares, variances and errors of few states are skewed, whether they are positive or had noise taken off.
    """
    names = np.unique(groups)
    if not len(names):
        return NOTHING
    # a ratio of sums over groups, since groups differ in states; replicates leave out one group's sum and count
    sums = np.array([[numbers[groups == name].sum(), (groups == name).sum()] for name in names])
    total = sums.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (total[0] - sums[:, 0]) / (total[1] - sums[:, 1])
    return skewed_jackknife(float(total[0] / total[1]), without, least=least)
