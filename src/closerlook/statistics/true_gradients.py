"""How near gradient estimates come to a true gradient that was itself only sampled, and never contains the estimate.

The true gradient of an estimate is the sum of a target over all other streams of the pool. It is noisy, so that even a
perfect estimate has a cosine below 1 with it; the noise-corrected cosine divides by the length of the exact gradient,
whose square is estimated from products of different blocks of streams, instead of the length of the noisy one. Where
that length is not known to be positive, it has no value, and its interval is all that cosines may be.

====== ===============================================================
symbol meaning
====== ===============================================================
n      estimates, from disjoint sets of streams
D      policy parameters, flattened
K      equal groups of streams
X_i    the target's sum over the streams of estimate i
S      the target's sum over the pool
====== ===============================================================
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from closerlook.statistics.estimates import NOTHING, Interval, has_interval, jackknife_reach, off_diagonal_means
from closerlook.statistics.ratios import COSINES, blank, is_positive, ratio


@dataclass(frozen=True)
class Shares:
    """A target's sum over a pool of streams, divided among the estimates.

    Parameters
    ----------
    own : ndarray, (n, D)
        Over the streams of each estimate.
    pairs : ndarray, (n,)
        Pairs of those streams.
    rest : ndarray, (D,)
        Over the streams of no estimate.
    rest_pairs : float
        Their pairs.
    rest_squares, rest_pairs_squares : float
        Over the independent blocks the rest is made of: the sum of the squared norms of their sums, and the sum of
        their squared numbers of pairs.
    """

    own: np.ndarray
    pairs: np.ndarray
    rest: np.ndarray
    rest_pairs: float
    rest_squares: float
    rest_pairs_squares: float

    @cached_property
    def pool(self) -> np.ndarray:
        """Over the whole pool, (D,)."""
        return np.asarray(self.own.sum(axis=0) + self.rest)

    @cached_property
    def products(self) -> np.ndarray:
        """Products of the estimates' sums with one another, (n, n)."""
        return np.asarray(self.own @ self.own.T)


@dataclass(frozen=True)
class TrueCosine:
    """Mean cosine of estimates to the true gradient of each.

    Parameters
    ----------
    plain : Interval
        To the true gradient as sampled, which is noisy.
    corrected : Interval
        To the exact gradient: unclipped, so that its mean is right; see `has_signal` for where it has no value.
    """

    plain: Interval
    corrected: Interval


def has_signal(sums: np.ndarray) -> bool:
    """Whether an exact gradient is known to have a length, from its sums over equal groups (K, D)."""
    # |G|^2 = mean over j != k of g_j . g_k, its jackknife over groups above zero
    return is_positive([off_diagonal_means(sums @ sums.T)])


def true_cosine(estimates: np.ndarray, shares: Shares, *, known: bool = True) -> TrueCosine:
    """Compare estimates with the sum of a target over everybody else's streams.

    Intervals are from a jackknife that deletes an estimate together with its streams, from every true gradient too. The
    true gradient's squared length is estimated anew each time: its noise along the gradient is in numerator and
    denominator alike, and cancels.

    Parameters
    ----------
    estimates : ndarray, (n, D)
        None of them zero.
    shares : Shares
        Of the target.
    known : bool
        Whether the target's exact length is known to be positive, see `has_signal`; else it has no corrected cosine.

    References
    ----------
    Ilyas et al., 2020, Figures 2 and 10, whose true gradient is one more estimate, from many pairs.
    """
    if len(estimates) == 0:
        return TrueCosine(NOTHING, NOTHING)
    # everything below is made of inner products: no vector of D numbers is formed for a replicate
    table = _products(estimates, shares)
    plain, plain_without = _plain(table)
    noisy = jackknife(plain, plain_without)
    return TrueCosine(noisy, jackknife(*_corrected(table)) if known else blank(COSINES))


def cosine_to_sampled(estimates: np.ndarray, shares: Shares, groups: np.ndarray, pairs: np.ndarray) -> TrueCosine:
    """Compare estimates with the sum of a target over streams that none of them has seen.

    Estimates and true gradient are independent, so that intervals are from two jackknives whose variances are added:
    one deletes an estimate, the other a group of the true gradient's streams. What both see, the true gradient's noise
    along an estimate's own, counts twice: intervals are a little wide where it is large.

    Parameters
    ----------
    estimates : ndarray, (n, D)
        None of them zero.
    shares : Shares
        Of the target, all of it in the rest.
    groups : ndarray, (K, D)
        The target's sums over equal groups of these streams.
    pairs : ndarray, (K,)
        Their pairs.

    Notes
    -----
    ``plain`` estimates the mean cosine to the true gradient as sampled; ``corrected`` that to the exact one, with a
    bias of order 1 / K.
    """
    n, count = len(estimates), len(groups)
    if n == 0:
        return TrueCosine(NOTHING, NOTHING)
    unit = estimates / np.linalg.norm(estimates, axis=1, keepdims=True)
    square = float(shares.rest @ shares.rest)
    length = squared_length(square, shares.rest_squares, shares.rest_pairs, shares.rest_pairs_squares)
    # u_i . S with u_i = g_i / |g_i|; S, over streams that no estimate has seen, is the same for all
    along = unit @ shares.rest
    by_estimate = (along.sum() - along) / (n - 1) if n > 1 else np.full(n, np.nan)
    plain_without, without = _without_groups(unit.mean(axis=0), groups, pairs) if count > 1 else ([np.nan],) * 2
    with np.errstate(divide="ignore", invalid="ignore"):
        # plain: mean(u_i . S) / |S|; corrected: mean(u_i . S) / (N |G|), |G|^2 from products of different blocks
        long, exact = np.sqrt(square), shares.rest_pairs * np.sqrt(length)
        plain = jackknife(float(along.mean() / long), by_estimate / long, np.asarray(plain_without))
        if not has_signal(groups):
            return TrueCosine(plain, blank(COSINES))
        return TrueCosine(plain, jackknife(float(along.mean() / exact), by_estimate / exact, np.asarray(without)))


def _without_groups(mean: np.ndarray, groups: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean cosine, plain and corrected, without each group (K,), from the mean unit estimate (D,)."""
    # S without group k: u . (S - X_k), |S - X_k|^2 = |S|^2 - 2 X_k . S + |X_k|^2
    own, pool, along = np.square(groups).sum(axis=1), groups.sum(axis=0), groups @ mean
    along = along.sum() - along
    squares = pool @ pool - 2 * groups @ pool + own
    left, left_squares = pairs.sum() - pairs, np.square(pairs).sum() - pairs**2
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = squared_length(squares, own.sum() - own, left, left_squares)
        return along / np.sqrt(np.maximum(squares, 0.0)), along / (left * np.sqrt(lengths))


@dataclass(frozen=True)
class _Table:
    """Products of unit estimates u_i, sums X_i and the pool's sum S: all that cosines and replicates are made of."""

    pairs: np.ndarray
    u_x: np.ndarray
    u_s: np.ndarray
    x_x: np.ndarray
    x_s: np.ndarray
    s_s: float
    blocks_squares: float
    all_pairs: float
    pairs_squares: float


def _products(estimates: np.ndarray, shares: Shares) -> _Table:
    unit = estimates / np.linalg.norm(estimates, axis=1, keepdims=True)
    pool, x_x = shares.pool, shares.products
    return _Table(
        pairs=shares.pairs,
        u_x=unit @ shares.own.T,
        u_s=unit @ pool,
        x_x=x_x,
        x_s=shares.own @ pool,
        s_s=float(pool @ pool),
        blocks_squares=float(np.trace(x_x)) + shares.rest_squares,
        all_pairs=float(shares.pairs.sum()) + shares.rest_pairs,
        pairs_squares=float(np.square(shares.pairs).sum()) + shares.rest_pairs_squares,
    )


def _plain(table: _Table) -> tuple[float, np.ndarray]:
    """Return the mean cosine to the others' sum, and what it is without each estimate and its streams, (n,)."""
    # cos_i = u_i . (S - X_i) / |S - X_i|: the streams of estimate i are not in its own true gradient
    own = np.diag(table.x_x)
    along = table.u_s - np.diag(table.u_x)
    squares = table.s_s - 2 * table.x_s + own
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (along / np.sqrt(squares)).mean()
        # of i, without j: u_i . (S - X_i - X_j) / |S - X_i - X_j|, the square opened into inner products:
        # |S - X_i - X_j|^2 = |S - X_i|^2 - 2 X_j . S + |X_j|^2 + 2 X_i . X_j
        without = squares[:, None] - 2 * table.x_s[None, :] + own[None, :] + 2 * table.x_x  # of i, without j
        replicates = (along[:, None] - table.u_x) / np.sqrt(np.maximum(without, 0.0))
    return float(value), _mean_of_others(replicates)


def _corrected(table: _Table) -> tuple[float, np.ndarray]:
    """Do the same with the sums' exact length in place of their own."""
    # cos_i = u_i . (S - X_i) / ((N - n_i) |G|): per pair, and with the exact length
    own, pairs = np.diag(table.x_x), table.pairs
    along = table.u_s - np.diag(table.u_x)
    left = table.all_pairs - pairs
    with np.errstate(divide="ignore", invalid="ignore"):
        length = squared_length(table.s_s, table.blocks_squares, table.all_pairs, table.pairs_squares)
        value = (along / left).mean() / np.sqrt(length)
        replicates = (along[:, None] - table.u_x) / (left[:, None] - pairs[None, :])
        lengths = squared_length(
            table.s_s - 2 * table.x_s + own, table.blocks_squares - own, left, table.pairs_squares - pairs**2
        )
        return float(value), _mean_of_others(replicates) / np.sqrt(lengths)


def _mean_of_others(replicates: np.ndarray) -> np.ndarray:
    """Average the rows i of a table (n, n) over all but i = j, for each column j."""
    n = len(replicates)
    if n < 2:
        return np.full(n, np.nan)
    # replicate j is the mean over i != j of the cosines whose true gradients lost streams i and j
    others = np.where(np.eye(n, dtype=bool), 0.0, replicates)
    return np.asarray(others.sum(axis=0) / (n - 1))


Real = np.ndarray | float
"""A number, or one for each replicate."""


def squared_length(square: Real, squares: Real, pairs: Real, pairs_squares: Real) -> np.ndarray:
    """Return ``|G|^2`` from products of different blocks only; NaN where it is not positive.

    Parameters
    ----------
    square : ndarray or float
        Squared norm of the sum over all blocks.
    squares : ndarray or float
        Sum of the blocks' squared norms.
    pairs, pairs_squares : ndarray or float
        Number of all pairs, and sum of the blocks' squared numbers of pairs.
    """
    # sum_{j != k} X_j . X_k = |S|^2 - sum_k |X_k|^2, over sum_{j != k} n_j n_k = N^2 - sum_k n_k^2
    found = np.asarray((square - squares) / (pairs**2 - pairs_squares))
    return np.where(found > 0, found, np.nan)


def jackknife(value: float, *samples: np.ndarray, confidence: float = 0.95) -> Interval:
    """Return an estimate with the interval of its delete-one replicates, Student's t.

    Where value and replicates lie below 1 the scale is ``log(1 - c)``, on which cosines near 1 are not skewed; else it
    is plain. An end is NaN where there are fewer than three replicates, or one of them is not a number. Parameters as
    for `closerlook.statistics.estimates.plain_jackknife`.

    Parameters
    ----------
    value : float
        From everything.
    *samples : ndarray, (n,)
        The replicates without each unit of a sample; of several independent samples, whose variances add up.
    confidence : float
        Of the interval.

    References
    ----------
    Arvesen, 1969, "Jackknifing U-statistics".
    """
    if not has_interval(value, samples):
        return Interval(value, np.nan, np.nan)
    if max(value, *(without.max() for without in samples)) < 1.0:
        # log(1 - c) +- reach, mapped back: 1 - (1 - c) exp(+-reach)
        factor = np.exp(jackknife_reach([np.log(1.0 - without) for without in samples], confidence))
        return Interval(value, max(-1.0, 1 - (1 - value) * factor), 1 - (1 - value) / factor)
    room = jackknife_reach(samples, confidence)
    return Interval(value, max(-1.0, value - room), value + room)


def cosine_between(left: np.ndarray, right: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Return the cosine between two exact gradients, from the sums of two targets over the same groups.

    Only products of different groups count, so that noise that the two share within a group does not make them alike.
    Noise along a gradient is in product and lengths alike, and cancels but for a bias of order 1 / K, upwards, which is
    taken off.

    Parameters
    ----------
    left, right : ndarray, (K, D)
        Sums over equal groups of streams.
    confidence : float
        Of the interval.

    Returns
    -------
    Interval
        Unclipped; see `closerlook.statistics.ratios.ratio` for its interval, and where it has no value.

    Notes
    -----
    Estimates the cosine of two expectations; its bias of order 1 / K is taken off.

    References
    ----------
    Fieller, 1954, "Some problems in interval estimation".
    """
    # cos = <G_l, G_r> / sqrt(|G_l|^2 |G_r|^2), each product over pairs of different groups
    product, *lengths = (off_diagonal_means(table) for table in (left @ right.T, left @ left.T, right @ right.T))
    with np.errstate(invalid="ignore"):
        return ratio([product], [np.sqrt(lengths[0]) * np.sqrt(lengths[1])], COSINES, confidence=confidence)
