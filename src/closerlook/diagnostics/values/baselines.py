"""What baselines and lambda do to gradient estimates, from one pool.

====== ==========================================
symbol meaning
====== ==========================================
n      estimates of one size
K      groups of streams
D      policy parameters, flattened
====== ==========================================
"""

from collections.abc import Sequence

import numpy as np

from closerlook.diagnostics.common.layout import Findings, interval, intervals
from closerlook.diagnostics.values.options import BATCHES
from closerlook.measurements.pooled import Answers, Pooled, Target
from closerlook.measurements.value_sums import ValueStatistics
from closerlook.measurements.weightings import Weighting
from closerlook.statistics.blocks import Sums
from closerlook.statistics.estimates import NOTHING, Interval, agreement
from closerlook.statistics.lambda_sweep import Comparison, best_lambda, compare, gain_of_best
from closerlook.statistics.pool import Size
from closerlook.statistics.variance_reduction import reduce_variance


def compare_baselines(
    pooled: Pooled, statistics: ValueStatistics, names: Sequence[str], *, normalize: bool
) -> Findings:
    """Return how estimates agree with each baseline, and how much each varies.

    Parameters
    ----------
    pooled : Pooled
        Of the answers' ``streams``.
    statistics : ValueStatistics
        What was asked.
    names : sequence of str
        Of baselines.
    normalize : bool
        Whether the agent's own estimates standardize advantages.
    """
    sizes = pooled.pool.sizes
    own = [_own(pooled, statistics, name, size, normalize=normalize) for name in names for size in sizes]
    complete = [_complete(pooled, statistics, name, size, normalize) for name in names for size in sizes]
    shape = (len(names), len(sizes))
    found = intervals("baseline_pairwise_cosine", own, shape) | intervals(
        "monte_carlo_pairwise_cosine", complete, shape
    )
    return found | _variances(pooled, statistics, names, normalize)


def _standardized(name: str, normalize: bool) -> bool:
    """Whether a baseline's advantages are standardized: as the two names without a value mean, else as the agent's."""
    return {"zero": False, "mean": True}.get(name, normalize)


def _own(pooled: Pooled, statistics: ValueStatistics, name: str, size: Size, *, normalize: bool) -> Interval:
    # "mean" is "zero" standardized: the same weights, their mean taken off within each estimate
    place = _place(statistics.own, "zero" if name == "mean" else name)
    if place is None:
        return NOTHING
    return agreement(pooled.estimates(size, place, normalize=_standardized(name, normalize))).cosine


def _complete(pooled: Pooled, statistics: ValueStatistics, name: str, size: Size, normalize: bool) -> Interval:
    target = _complete_target(pooled, statistics, name, normalize)
    return NOTHING if target is None or size.is_prefix else agreement(pooled.means(size, target)).cosine


def _complete_target(pooled: Pooled, statistics: ValueStatistics, name: str, normalize: bool) -> Target | None:
    """Return the gradient by Monte Carlo returns less a baseline, centered where advantages are standardized.

    A constant error of the baseline then costs nothing, as it costs the agent nothing. The optimal baseline is optimal
    as it is.
    """
    place = _place(statistics.fine, "zero" if name == "mean" else name, complete=True)
    if place is None:
        return None
    # (G_t - b(s_t)) grad log pi, centered where the agent's advantages are: a constant costs it nothing then
    return pooled.by_weights(place, centered=name != "optimal" and _standardized(name, normalize))


def _place(weightings: Sequence[Weighting], baseline: str, *, complete: bool = False) -> int | None:
    for place, weighting in enumerate(weightings):
        if weighting.baseline == baseline and weighting.complete == complete:
            return place
    return None


def _variances(pooled: Pooled, statistics: ValueStatistics, names: Sequence[str], normalize: bool) -> Findings:
    means = {}
    for name in names:
        target = _complete_target(pooled, statistics, name, normalize)
        if target is not None:
            # means over groups of streams: the trace of their covariance is that of estimates of a group's pairs
            sums, pairs = pooled.groups(target)
            means[name] = sums / pairs[:, None]
    reduction = reduce_variance(means, "mean", "critic", "fitted")
    ratios = [reduction.ratios.get(name, NOTHING) for name in names]
    return {
        **intervals("variance_ratio", ratios),
        **interval("delivered_reduction", reduction.delivered),
        **interval("excess_variance", reduction.excess),
    }


def sweep_lambdas(
    answers: Answers, statistics: ValueStatistics, lambdas: Sequence[float], own: float, batch_pairs: int
) -> Findings:
    """Return bias and variance by lambda, and which lambda serves best.

    Parameters
    ----------
    answers : sequence of mappings
        With ``sweep.*``.
    statistics : ValueStatistics
        What was asked; without a sweep everything is NaN.
    lambdas : sequence of float
        As in the question.
    own : float
        The agent's.
    batch_pairs : int
        Pairs of its training batch.
    """
    count = len(lambdas)
    if not statistics.sweep:
        return _no_sweep(count)
    groups = _Groups([Sums.from_arrays(answer, "sweep") for answer in answers], statistics.sweep_block)
    compared = _compare(groups, count)
    comparisons = compared[0]
    found = intervals("lambda_squared_bias", [one.relative_bias() for one in comparisons])
    found |= intervals("lambda_variance", [one.relative_variance(batch_pairs) for one in comparisons])
    # of one training batch, and of ten
    cosines = [one.cosine(times * batch_pairs) for times in BATCHES for one in comparisons]
    found |= intervals("lambda_cosine", cosines, (len(BATCHES), count))
    return found | _best(compared, list(lambdas), own, batch_pairs)


def _compare(groups: "_Groups", count: int) -> list[list[Comparison]]:
    """Compare each lambda's estimates with the true gradient: on all groups, on the even ones and on the odd ones."""
    true_gradient = groups(count)
    # all groups, then the even and the odd ones: halves that choose the best lambda for one another
    parts = (slice(None), slice(0, None, 2), slice(1, None, 2))
    found: list[list[Comparison]] = [[] for _ in parts]
    for at in range(count):
        means = groups(at)
        for part, own in zip(parts, found, strict=True):
            own.append(compare(means[part], true_gradient[part], groups.pairs))
    return found


def _no_sweep(count: int) -> Findings:
    found = intervals("lambda_squared_bias", [NOTHING] * count) | intervals("lambda_variance", [NOTHING] * count)
    found |= intervals("lambda_cosine", [NOTHING] * count * len(BATCHES), (len(BATCHES), count))
    found |= intervals("lambda_gain", [NOTHING] * len(BATCHES))
    return found | intervals("best_lambda", [NOTHING] * len(BATCHES))


def _best(compared: Sequence[Sequence[Comparison]], lambdas: list[float], own: float, batch_pairs: int) -> Findings:
    chosen = [best_lambda(compared[0], times * batch_pairs) for times in BATCHES]
    gains = [gain_of_best(compared[1:], lambdas.index(own), times * batch_pairs) for times in BATCHES]
    best = [
        NOTHING if one.place is None else Interval(lambdas[one.place], lambdas[min(one.among)], lambdas[max(one.among)])
        for one in chosen
    ]
    return intervals("best_lambda", best) | intervals("lambda_gain", gains)


class _Groups:
    """Equal groups of streams: by the place of a weighting, the mean over each, less the weighting's mean."""

    def __init__(self, parts: Sequence[Sums], block: int) -> None:
        self._parts = parts
        self._moments = np.sum([part.moments.sum(axis=0) for part in parts], axis=0)
        streams = sum(int(part.streams.sum()) for part in parts)
        self._block = max(block, *(int(part.streams.max()) for part in parts))
        self._count = streams // self._block
        self.pairs = float(self._moments[0] / streams * self._block)

    def __call__(self, place: int) -> np.ndarray:
        # advantages less their mean in the pool: sum (A - m) g = sum A g - m sum g
        mean = self._moments[1 + 2 * place] / self._moments[0]
        found = np.zeros((self._count, self._parts[0].scores.shape[2]))
        for part in self._parts:
            for at, first in enumerate(part.first // self._block):
                if first < self._count:
                    found[first] += part.scores[at, place].astype(np.float64) - mean * part.scores[at, -1]
        return found / self.pairs
