"""Mean episode returns of policies from streams, and what they differ by, with intervals.

A stream's episodes are of random number: the mean return is a ratio, total return over total episodes. It is biased
by the order of 1 over the streams, upward where longer episodes earn more: by some 10% for a single stream of a few
episodes, by 1% for ten. The stream is the unit; of one or two, the episodes are, `FEWEST_EPISODES` of them at least, as
episodes that all lasted to the limit vary too little to tell how the others do. With two streams Student's t over them
would be four times as wide. Where streams may begin no episode, only those that do say how much streams vary.

====== ==========================================
symbol meaning
====== ==========================================
P      policies
S      streams of each; equal streams may share draws
E      episodes of a policy
====== ==========================================
"""

from dataclasses import dataclass

import numpy as np

from closerlook.statistics.estimates import FEWEST
from closerlook.statistics.student import t_quantile

FEWEST_EPISODES = 10
"""Of one or two streams, for an interval."""


@dataclass(frozen=True)
class Means:
    """A number for each policy with the ends of its 95% interval; (P,) each, NaN where not known.

    Parameters
    ----------
    value : ndarray, (P,)
        The estimates.
    low, high : ndarray, (P,)
        Lower and upper ends of their intervals.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, where: np.ndarray | slice | int) -> "Means":
        """Take some of the policies."""
        return Means(self.value[where], self.low[where], self.high[where])


def mean_returns(returns: np.ndarray, episodes: np.ndarray, squares: np.ndarray, *, confidence: float = 0.95) -> Means:
    """Return each policy's mean episode return, total return over total episodes, with Student's t.

    Parameters
    ----------
    returns, episodes : ndarray, (P, S)
        Sum of the returns of a stream's episodes, and their number.
    squares : ndarray, (P, S)
        Sum of their squares: where there are one or two streams, episodes are the unit.
    confidence : float
        Of the interval.

    References
    ----------
    Cochran, 1977, "Sampling Techniques", section 6.3, for the ratio's variance.
    """
    if returns.shape[1] >= FEWEST:
        # ratio estimator R = sum_s G_s / sum_s n_s; its linearization gives sd(influence) / sqrt(S)
        deviation, streams = influences(returns, episodes).std(axis=1, ddof=1), returns.shape[1]
        return _interval(_ratio(returns, episodes), deviation, streams, confidence, _telling(episodes, FEWEST) - 1)
    # episodes as units: s^2 = (sum G^2 - n mean^2) / (n - 1)
    mean, count = _ratio(returns, episodes), episodes.sum(axis=1)
    known = np.where(count >= FEWEST_EPISODES, count - 1, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum(squares.sum(axis=1) - count * mean**2, 0.0) / known
    return _interval(mean, np.sqrt(variance), count, confidence, count - 1)


def _telling(episodes: np.ndarray, fewest: int) -> np.ndarray:
    """Return how many streams of each policy began an episode, (P,) float64; NaN where too few for an interval did."""
    # a stream in which no episode began tells nothing of how streams vary
    streams = (episodes > 0).sum(axis=1)
    return np.where(streams >= fewest, streams, np.nan)


def influences(returns: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """Return what each stream adds to its policy's mean return: (P, S), of mean 0 along S.

    The ratio's deviation from its mean is, to first order, the mean of these; those of two policies on streams of the
    same draws are paired.

    Parameters
    ----------
    returns, episodes : ndarray, (P, S)
        Sum of the returns of a stream's episodes, and their number.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        # Cochran: R - E R = mean_s (G_s - R n_s) / mean(n) to first order
        mean_count = episodes.mean(axis=1, keepdims=True)
        usual = np.where(mean_count > 0, mean_count, np.nan)
        return np.asarray((returns - _ratio(returns, episodes)[:, None] * episodes) / usual)


def paired_gains(
    returns: np.ndarray, episodes: np.ndarray, base: int, *, paired: bool = True, confidence: float = 0.95
) -> Means:
    """Return how much each policy's mean return is above that of one of them, with Student's t over streams.

    Parameters
    ----------
    returns, episodes : ndarray, (P, S)
        As for `mean_returns`.
    base : int
        The policy the others are compared with.
    paired : bool
        Whether equal streams of two policies share their draws: differences are taken stream by stream then. Else the
        two are independent, with Welch's degrees of freedom.
    confidence : float
        Of the interval.

    Returns
    -------
    Means
        Zero for the base itself; without an interval for a single stream.

    Notes
    -----
    Estimates the difference of two expected episode returns, with the bias of two ratio estimators, of order 1 / S.

    References
    ----------
    Cochran, 1977, "Sampling Techniques", section 6.3; Welch, 1947, "The generalization of 'Student's' problem".
    """
    mean, streams = _ratio(returns, episodes), returns.shape[1]
    gain = mean - mean[base]
    if streams < 2:
        return Means(gain, np.full(len(gain), np.nan), np.full(len(gain), np.nan))
    influence, freedom = influences(returns, episodes), _freedom_of_both(episodes, base)
    # Var(d) of paired streams: noise that both policies share cancels in influence - influence of the base
    if paired:
        return _interval(gain, (influence - influence[base]).std(axis=1, ddof=1), streams, confidence, freedom)
    # independent: variances add up
    own = influence.var(axis=1, ddof=1)
    found = _interval(gain, np.sqrt(own + own[base]), streams, confidence, _welch(own, base, freedom))
    low, high = found.low.copy(), found.high.copy()
    low[base] = high[base] = 0.0
    return Means(gain, low, high)


def gain_freedom(returns: np.ndarray, episodes: np.ndarray, base: int, *, paired: bool = True) -> np.ndarray:
    """Return the degrees of freedom of the intervals of `paired_gains`, which see: (P,).

    Parameters
    ----------
    returns, episodes : ndarray, (P, S)
        Sum of the returns of a stream's episodes, and their number.
    base : int
        The policy the others are compared with.
    paired : bool
        Whether equal streams of two policies share their draws.
    """
    # streams that tell, less one, of the policy or the base that has fewer
    freedom = _freedom_of_both(episodes, base)
    if paired or returns.shape[1] < 2:
        return freedom
    return _welch(influences(returns, episodes).var(axis=1, ddof=1), base, freedom)


def _freedom_of_both(episodes: np.ndarray, base: int) -> np.ndarray:
    """Return the lower degrees of freedom of each policy and the base, NaN where too few streams tell: (P,)."""
    telling = _telling(episodes, min(FEWEST, episodes.shape[1]))
    return np.asarray(np.minimum(telling, telling[base]) - 1)


def _welch(variances: np.ndarray, base: int, freedom: np.ndarray) -> np.ndarray:
    """Return Welch's degrees of freedom of each policy's difference to the base, from those of either: (P,)."""
    # nu = (v_1 + v_2)^2 / (v_1^2 / nu_1 + v_2^2 / nu_2), both with the lower nu
    both = variances + variances[base]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(both > 0, freedom * both**2 / (variances**2 + variances[base] ** 2), freedom)


def pairing_gain(returns: np.ndarray, episodes: np.ndarray, base: int, *, confidence: float = 0.95) -> Means:
    """Return how many times fewer pairs a difference takes on common random numbers than on independent ones.

    The ratio of the variances of the difference to the base: the sum of the two policies' own, over that of the paired
    differences; delete-one-stream jackknife of its logarithm, Student's t.

    Parameters
    ----------
    returns, episodes : ndarray, (P, S)
        As for `mean_returns`, on common random numbers.
    base : int
        The policy the others are compared with; its own ratio is NaN.
    confidence : float
        Of the interval.

    References
    ----------
    Glasserman, 2004, "Monte Carlo Methods in Financial Engineering", on common random numbers.
    """
    policies, streams = returns.shape
    nothing = np.full(policies, np.nan)
    if streams <= FEWEST:
        return Means(nothing, nothing, nothing)
    # (Var x + Var y) / Var(x - y) = 1 / (1 - rho) for equal variances
    influence = influences(returns, episodes)
    value = _variance_ratio(influence, base)
    chosen = ~np.eye(streams, dtype=bool)
    logs = np.log([_variance_ratio(influence[:, keep], base) for keep in chosen])
    error = np.sqrt((streams - 1) / streams * np.square(logs - logs.mean(axis=0)).sum(axis=0))
    factor = np.exp(t_quantile((1 + confidence) / 2, streams - 1) * error)
    return Means(value, value / factor, value * factor)


def _variance_ratio(influence: np.ndarray, base: int) -> np.ndarray:
    own = influence.var(axis=1, ddof=1)
    together = (influence - influence[base]).var(axis=1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(together > 0, (own + own[base]) / np.where(together > 0, together, 1.0), np.nan)


def lower_tail(values: np.ndarray, share: float = 0.05) -> float:
    """Return the mean of the lowest part of some numbers (E,); NaN of none.

    The mean over the quantile function up to `share` (the conditional value at risk): the last number that belongs to
    it only in part counts in part.

    Parameters
    ----------
    values : ndarray, (E,)
        Returns of episodes.
    share : float
        Which part of them, from the lowest on.

    References
    ----------
    Acerbi and Tasche, 2002, "On the coherence of expected shortfall".
    """
    if values.size == 0:
        return np.nan
    # CVaR_a = 1/(a n) (sum of the floor(a n) lowest + (a n - floor(a n)) x_next)
    ordered = np.sort(values)
    weights = np.clip(share * len(ordered) - np.arange(len(ordered)), 0.0, 1.0)
    return float(weights @ ordered / weights.sum())


def _ratio(returns: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    # total return over total episodes, so that long and short episodes count alike
    count = episodes.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(returns.sum(axis=1) / np.where(count > 0, count, np.nan))


def _interval(
    value: np.ndarray, deviation: np.ndarray, units: float | np.ndarray, confidence: float, freedom: np.ndarray
) -> Means:
    """Return mean and t interval from the deviation of so many units; (P,) each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        # t_{nu}(level) s / sqrt(n)
        reach = t_quantile((1 + confidence) / 2, np.maximum(freedom, 1)) * deviation / np.sqrt(units)
    return Means(value, value - reach, value + reach)
