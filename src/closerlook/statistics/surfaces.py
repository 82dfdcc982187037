"""How two surfaces over the same points agree: one that is known, and one that is a mean over noisy streams.

====== ==========================================================
symbol meaning
====== ==========================================================
P      points
S      streams of each point; those of equal number may share draws
====== ==========================================================
"""

from collections.abc import Callable

import numpy as np

from closerlook.statistics.estimates import FEWEST, NOTHING, Interval, plain_jackknife
from closerlook.statistics.mean_returns import Means, influences
from closerlook.statistics.ratios import COSINES, ratio
from closerlook.statistics.student import t_quantile

MOST_GROUPS = 64
"""Groups of streams that a jackknife leaves out in turn, at most."""


def stream_surfaces(returns: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """Return one surface for each stream, whose mean is that of mean returns: (S, P).

    Mean plus influence (see `closerlook.statistics.mean_returns.influences`): independent from stream to stream.

    Parameters
    ----------
    returns, episodes : ndarray, (P, S)
        Sum of the returns of a stream's episodes, and their number.
    """
    # pseudo-values: R + influence of the stream, whose mean over streams is R
    mean = returns.sum(axis=1, keepdims=True) / episodes.sum(axis=1, keepdims=True)
    return np.asarray((mean + influences(returns, episodes)).T)


def squared_length(surfaces: np.ndarray) -> float:
    """Return the squared length of the mean of independent surfaces (S, P), products of different streams only.

    Of a mean over noise alone it is zero on average, where the plain square is the noise's variance; so it may be
    negative.

    Notes
    -----
    Unbiased for the squared length of the expectation.
    """
    # sum_{s != s'} x_s . x_s' / (S (S - 1)) = (|sum x|^2 - sum |x_s|^2) / (S (S - 1))
    count = len(surfaces)
    total = surfaces.sum(axis=0)
    return float((total @ total - np.square(surfaces).sum()) / (count * (count - 1)))


def correlation(surfaces: np.ndarray, known: np.ndarray) -> Interval:
    """Return the correlation over points of a surface with the expectation of noisy ones, noise taken off.

    Their centered product, linear in the noise, over the known one's length and the root of the unbiased squared length
    of the other. A plain correlation is smaller the noisier the surfaces; this one errs the other way, by noise along
    the surface itself, which product and length share: that bias is taken off.

    Parameters
    ----------
    surfaces : ndarray, (S, P)
        Independent from stream to stream, see `stream_surfaces`.
    known : ndarray, (P,) or (K, P)
        Without noise; or independent surfaces, also of the others, whose expectation is meant: its length is unbiased
        then too.

    Returns
    -------
    Interval
        See `closerlook.statistics.ratios.ratio`, on a delete-one-group jackknife, in both samples where there are two.
        NaN where the known one is flat; without a value where a surface is not known to be more than noise.

    References
    ----------
    Spearman, 1904, "The proof and measurement of association between two things", on the correction for attenuation.
    Quenouille, 1956, "Notes on bias in estimation", on the jackknife's.
    """
    # centered over points: what is left is relief
    samples = [one - one.mean(axis=1, keepdims=True) for one in (surfaces, np.atleast_2d(known))]
    if len(surfaces) < FEWEST or not samples[1].any():
        return NOTHING

    def product(rows: np.ndarray, others: np.ndarray) -> float:
        return float(others.mean(axis=0) @ rows.mean(axis=0))

    def lengths(rows: np.ndarray, others: np.ndarray) -> float:
        mean = others.mean(axis=0)
        squares = squared_length(rows), float(mean @ mean) if len(others) == 1 else squared_length(others)
        return float(np.sqrt(squares[0]) * np.sqrt(squares[1])) if min(squares) > 0 else np.nan

    return ratio(_replicates(product, *samples), _replicates(lengths, *samples), COSINES)


def rank_correlation(surfaces: np.ndarray, known: np.ndarray) -> Interval:
    """Return Spearman's correlation over points of a surface with the mean of noisy ones, as measured.

    Noise makes it smaller; its interval says how it varies, not what it would be without noise. Ranks move in jumps, so
    that leaving out one group moves none, or too many: in place of a jackknife stand balanced half samples, which vary
    about the whole as that does about the truth. The interval is Student's t times their root mean square
    distance from the value, and holds the middle 95% of them.

    Parameters
    ----------
    surfaces : ndarray, (S, P)
        Independent from stream to stream, see `stream_surfaces`.
    known : ndarray, (P,) or (K, P)
        Without noise; or independent surfaces, whose mean is meant.

    References
    ----------
    McCarthy, 1969, "Pseudo-replication: half samples".
    """
    samples = (surfaces, np.atleast_2d(known))
    if len(surfaces) < FEWEST or np.ptp(samples[1].mean(axis=0)) == 0:
        return NOTHING
    # rho = Pearson's correlation of ranks, ties at their mean rank
    value = float(_spearman(*(one.mean(axis=0)[None] for one in samples))[0])
    halves = _spearman(*_half_means(*samples))
    if not (np.isfinite(value) and np.isfinite(halves).all()):
        return Interval(value, np.nan, np.nan)
    units = min(min(len(one), MOST_GROUPS) for one in samples if len(one) > 1)
    # a balanced half sample varies about the whole with the variance that the whole has about the truth
    reach = t_quantile(0.975, units - 1) * np.sqrt(np.square(halves - value).mean())
    inner = np.quantile(halves, [0.025, 0.975])
    return Interval(value, float(max(min(value - reach, inner[0]), -1)), float(min(max(value + reach, inner[1]), 1)))


def _half_means(*samples: np.ndarray) -> list[np.ndarray]:
    """Return means over halves of the groups of streams of each sample (S, P), by signs that are orthogonal: (H, P).

    Every two groups, of one sample or two, are together in half of the halves. A sample of one is known without noise.
    """
    counts = [min(len(one), MOST_GROUPS) if len(one) > 1 else 0 for one in samples]
    from scipy.linalg import hadamard  # noqa: PLC0415 - takes a while

    # rows of a Hadamard matrix are orthogonal: each group is in half of the halves, each two of them in a quarter
    signs = hadamard(1 << sum(counts).bit_length())[1:] > 0
    signs, place, found = np.concatenate([signs, ~signs]), 1, []
    for sample, count in zip(samples, counts, strict=True):
        if count:
            group = np.arange(len(sample)) * count // len(sample)
            chosen = signs[:, place : place + count][:, group]
            streams, place = chosen.sum(axis=1, keepdims=True), place + count
            sums = chosen @ sample
            found.append(np.where(streams > 0, sums / np.maximum(streams, 1), sample.mean(axis=0)))
        else:
            found.append(sample)
    return found


def _spearman(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the rank correlation of each row (H, P) with the same of others, or with the only one: (H,)."""
    from scipy.stats import rankdata  # noqa: PLC0415 - takes a second

    ranks = [rankdata(one, axis=1) for one in (rows, others)]
    own, other = (one - one.mean(axis=1, keepdims=True) for one in ranks)
    lengths = np.sqrt(np.square(own).sum(axis=1) * np.square(other).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 0, (own * other).sum(axis=1) / lengths, np.nan)


def sign_agreement(gains: Means, known: np.ndarray | Means) -> Interval:
    """Return the share of points at which a known and a measured gain have the same sign.

    Points where either is zero do not count. The interval takes a point whose own interval holds zero for either sign:
    its lower end counts the points that agree for certain, its upper end all but those that disagree for certain. It
    is wider than one that trusted points to err independently, which with common random numbers they do not.

    Parameters
    ----------
    gains : Means, (P,)
        Measured, with intervals.
    known : ndarray or Means, (P,)
        Without noise, or measured too.

    Notes
    -----
    Estimates the fraction of points at which both expectations have the same sign; noise draws it towards one half.
    """
    both = [gains, known if isinstance(known, Means) else Means(known, known, known)]
    counted = np.all([np.isfinite(one.value) & (one.value != 0) for one in both], axis=0)
    if not counted.any():
        return NOTHING
    mine, other = (one.at(counted) for one in both)
    # lower end: agree and both are certain of their sign; upper end: all but those that certainly disagree
    alike = np.sign(mine.value) == np.sign(other.value)
    sure = np.all([(one.low > 0) | (one.high < 0) for one in (mine, other)], axis=0)
    return Interval(float(alike.mean()), float((alike & sure).mean()), float(1 - (~alike & sure).mean()))


def best_point(surfaces: np.ndarray, *, paired: bool = True, confidence: float = 0.95) -> tuple[int, np.ndarray]:
    """Return the point whose mean is highest, and which points may be the best.

    A point may be the best unless some other is significantly above it, by one-sided t tests at ``(1 - confidence)``
    over the number of others (Bonferroni): the best one is among them with that confidence at least.

    Parameters
    ----------
    surfaces : ndarray, (S, P)
        Independent from stream to stream, see `stream_surfaces`.
    paired : bool
        Whether points of the same stream share draws.
    confidence : float
        That the best is among those returned.

    Returns
    -------
    best : int
        Of the measured means.
    candidates : ndarray, (P,), bool
        All where there are fewer than 3 streams.

    References
    ----------
    Hsu, 1981, "Simultaneous confidence intervals for all distances from the 'best'".
    """
    count, points = surfaces.shape
    mean = surfaces.mean(axis=0)
    best = int(np.argmax(mean))
    if count < FEWEST or points < 2:
        return best, np.ones(points, np.bool_)
    if paired:
        # standard deviation of x_i - x_j, stream by stream where draws are shared, else sqrt(v_i + v_j)
        deviations = np.array([(surfaces - surfaces[:, [at]]).std(axis=0, ddof=1) for at in range(points)])
    else:
        own = surfaces.var(axis=0, ddof=1)
        deviations = np.sqrt(own + own[:, None])
    # Bonferroni over the P - 1 others; i may be best unless some j has mean_j - mean_i > t s_ij / sqrt(S)
    level = 1 - (1 - confidence) / (points - 1)
    reach = t_quantile(level, count - 1) * deviations / np.sqrt(count)
    return best, np.asarray((mean - mean[:, None] <= reach).all(axis=1))


def noise_fraction(surfaces: np.ndarray, streams: float) -> Interval:
    """Return how much of a surface measured from so many independent streams a point would be noise.

    Variance over points of the noise, over that and the variance of the expectation: 0.5 where noise and relief are
    alike. Streams are taken as independent from point to point, as in Figure 5 of the paper, whether they were or not.

    Parameters
    ----------
    surfaces : ndarray, (S, P)
        Independent from stream to stream, see `stream_surfaces`.
    streams : float
        Of each point.

    Notes
    -----
    A ratio of two unbiased variances, with a bias of order 1 / S. The interval is a delete-one-group jackknife of
    log(1 + S q), where q is the variance of the expectation over that of one stream's noise: near 0 it is linear in
    what may come out negative, and far from it logarithmic, as that of the noise scale. Of simulated planes with relief
    from none to 0.6 of one stream's noise it held the truth in 94% to 99.7%.

    References
    ----------
    McCandlish et al., 2018, "An Empirical Model of Large-Batch Training", appendix A.1, for the analogous ratio.
    """
    count = len(surfaces)
    if count < FEWEST or not np.isfinite(surfaces).all():
        return NOTHING
    if not (surfaces.var(axis=0, ddof=1) > 0).any():
        return Interval(0.0, 0.0, 0.0)  # each stream shows the same

    def height(rows: np.ndarray) -> float:
        points = rows.shape[1]
        # variance over points of the expectation, unbiased, over that of one stream's noise once it is centered
        relief = squared_length(rows - rows.mean(axis=1, keepdims=True)) / points
        noise = rows.var(axis=0, ddof=1).mean() * (points - 1) / points
        return float(np.log1p(max(count * relief / noise, -0.999))) if noise > 0 else np.inf

    # noise / b of b streams over noise / b + relief is 1 / (1 + b q), with q = (e^height - 1) / S
    found = _jackknife(height, surfaces)
    value, low, high = (
        1 / (1 + streams * max(np.expm1(end), 0.0) / count) for end in (found.value, found.high, found.low)
    )
    return Interval(float(value), float(low), float(high))


def _jackknife(statistic: Callable[..., float], *samples: np.ndarray) -> Interval:
    """Return a statistic of independent samples of surfaces (S, P), with a delete-one-group jackknife of each."""
    replicates = _replicates(statistic, *samples)
    return plain_jackknife(float(replicates[0][0]), *(one[1:] for one in replicates))


def _replicates(statistic: Callable[..., float], *samples: np.ndarray) -> list[np.ndarray]:
    """Return a statistic of all surfaces (S, P), then without each group of those of a sample; for each that is noisy.

    A sample of one is known without noise.
    """
    value, replicates = statistic(*samples), []
    for place, sample in enumerate(samples):
        if len(sample) > 1:
            # at most 64 groups of neighboring streams: a jackknife over more costs time and gains little
            groups = np.arange(len(sample)) * min(len(sample), MOST_GROUPS) // len(sample)
            kept = [sample[groups != group] for group in range(groups[-1] + 1)]
            without = [statistic(*samples[:place], some, *samples[place + 1 :]) for some in kept]
            replicates.append(np.array([value, *without]))
    return replicates
