"""What one agent's pool says: every number of the dataset, by the schema's names, without the agent axis."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from closerlook.diagnostics.common.layout import Findings, interval, intervals
from closerlook.diagnostics.gradients.alternatives import Alternative
from closerlook.measurements.pooled import Pooled, Target
from closerlook.statistics.estimates import Interval, agreement
from closerlook.statistics.noise import (
    NoiseScale,
    between_share,
    effective_sample_fraction,
    noise_scale,
    pairs_for_pairwise_cosine,
    pairs_for_true_cosine,
    pairwise_cosine_at,
    together,
    true_cosine_at,
)
from closerlook.statistics.pool import Size
from closerlook.statistics.true_gradients import TrueCosine, cosine_between, has_signal, true_cosine

HALF, NINE_TENTHS = 0.5, 0.9
"""Cosines that the pairs needed for are told."""


def gradient_findings(
    pooled: Pooled, others: Sequence[Alternative], layers: Mapping[str, slice], *, normalize: bool
) -> Findings:
    """Work out everything about one agent.

    Parameters
    ----------
    pooled : Pooled
        Its sums.
    others : sequence of Alternative
        Estimates of the same pairs made otherwise.
    layers : mapping of str to slice
        Where each layer of the policy lies in the flat gradient.
    normalize : bool
        Whether its own estimates standardize advantages.
    """
    own, true_gradients = pooled.surrogate(), pooled.true_gradients()
    estimated = pooled.by_weights(0, centered=normalize)  # with the noise that a mean left in advantages makes
    noise = noise_scale(*pooled.groups(estimated))
    found = _of_the_pool(pooled)
    found |= _of_estimates(pooled, own, true_gradients, normalize=normalize)
    found |= _of_alternatives(pooled, others, true_gradients)
    found |= _of_true_gradients(pooled, [own, *true_gradients])
    found |= _of_noise(noise, pooled, found)
    return found | _of_layers(pooled, estimated, layers, noise)


def true_gradient_pairs(true_gradients: Sequence[str]) -> list[tuple[str, str]]:
    """List the gradients whose cosine to one another is measured."""
    return list(combinations(["surrogate", *true_gradients], 2))


def _of_the_pool(pooled: Pooled) -> Findings:
    return {
        "pairs": np.array(pooled.pool.pairs),
        "streams": np.array(pooled.pool.streams),
        "trajectories": np.array(int(pooled.of_streams("trajectories").sum())),
    }


def _of_estimates(pooled: Pooled, own: Target, true_gradients: Sequence[Target], *, normalize: bool) -> Findings:
    """Return how the agent's own estimates agree, with one another and with the true gradients."""
    rows, targets = [], _signals(pooled, [own, *true_gradients])
    for size in pooled.pool.sizes:
        estimates = pooled.estimates(size, 0, normalize=normalize)
        agreed = agreement(estimates)
        cosines = _to_targets(pooled, size, estimates, targets)
        rows.append((agreed, cosines))
    found = intervals("pairwise_cosine", [agreed.cosine for agreed, _ in rows])
    found |= intervals("true_cosine", [cosines[0].plain for _, cosines in rows])
    found |= intervals("true_cosine_corrected", [cosines[0].corrected for _, cosines in rows])
    shape = (len(true_gradients), len(rows))
    of_true_gradients = [[cosines[1 + k] for _, cosines in rows] for k in range(len(true_gradients))]
    found |= intervals("cosine_to_true_gradient", [one.plain for row in of_true_gradients for one in row], shape)
    found |= intervals(
        "cosine_to_true_gradient_corrected", [one.corrected for row in of_true_gradients for one in row], shape
    )
    return found | {
        "estimates": np.array([size.count for size in pooled.pool.sizes]),
        "gradient_norm": np.array([agreed.norm for agreed, _ in rows]),
        "zero_gradients": np.array([agreed.zeros for agreed, _ in rows]),
    }


def _signals(pooled: Pooled, targets: Iterable[Target]) -> list[tuple[Target, bool]]:
    """Say of each target whether its length is known to be positive."""
    # a cosine to a gradient whose length may be nil has no value, whatever the estimates
    return [(target, has_signal(pooled.groups(target)[0])) for target in targets]


def _to_targets(
    pooled: Pooled, size: Size, estimates: np.ndarray, targets: Iterable[tuple[Target, bool]]
) -> list[TrueCosine]:
    """Compare the estimates of one size that have a direction with each target."""
    # an estimate that is exactly zero has no cosine; its streams stay in the true gradient
    directed = np.asarray(estimates.any(axis=1))
    some = estimates[directed]
    return [true_cosine(some, pooled.shares(size, target, directed), known=known) for target, known in targets]


def _of_alternatives(pooled: Pooled, others: Sequence[Alternative], true_gradients: Sequence[Target]) -> Findings:
    """Return the same of estimates made otherwise: (alternative, size), and (alternative, true gradient, size)."""
    places = {weighting: place for place, weighting in enumerate(pooled.statistics.weightings)}
    agreed: list[Interval] = []
    cosines: list[list[TrueCosine]] = []
    known = _signals(pooled, true_gradients)
    for other in others:
        place = places[other.weighting]
        targets = [*_signals(pooled, [pooled.surrogate(place)]), *known]
        for size in pooled.pool.sizes:
            estimates = pooled.estimates(size, place, normalize=other.normalize)
            agreed.append(agreement(estimates).cosine)
            cosines.append(_to_targets(pooled, size, estimates, targets))
    shape = (len(others), len(pooled.pool.sizes))
    found = intervals("alternative_pairwise_cosine", agreed, shape)
    found |= intervals("alternative_true_cosine_corrected", [row[0].corrected for row in cosines], shape)
    to_true_gradients = intervals(
        "alternative_cosine_to_true_gradient_corrected",
        [one.corrected for row in cosines for one in row[1:]],
        (*shape, len(true_gradients)),
    )
    return found | {name: np.moveaxis(array, 2, 1) for name, array in to_true_gradients.items()}


def _of_true_gradients(pooled: Pooled, targets: Sequence[Target]) -> Findings:
    sums = {target.name: pooled.groups(target)[0] for target in targets}
    names = true_gradient_pairs([target.name for target in targets[1:]])
    found = intervals(
        "cosine_between_true_gradients", [cosine_between(sums[left], sums[right]) for left, right in names]
    )
    true_gradients = pooled.statistics.true_gradients
    incomplete = pooled.of_streams("incomplete").sum(axis=0) if true_gradients else np.zeros(0)
    return found | {"incomplete_returns": incomplete.astype(np.int64)}


def _of_noise(noise: NoiseScale, pooled: Pooled, found: Findings) -> Findings:
    """Return signal and noise, what they predict, and the pairs they ask for."""
    used = np.array([size.used for size in pooled.pool.sizes])
    whole = np.array([not size.is_prefix for size in pooled.pool.sizes])
    predicted = {
        "predicted_pairwise_cosine": np.where(whole, pairwise_cosine_at(used, noise.pairs.value), np.nan),
        "predicted_true_cosine": np.where(whole, true_cosine_at(used, noise.pairs.value), np.nan),
    }
    # B in trajectories: B over the mean pairs of a trajectory
    per_trajectory = found["pairs"] / found["trajectories"]
    trajectories = Interval(*(float(end / per_trajectory) for end in _ends(noise.pairs)))
    result = {
        "squared_gradient_norm": np.array(noise.squared_norm),
        "gradient_variance": np.array(noise.variance),
        **interval("noise_scale_pairs", noise.pairs),
        **interval("noise_scale_trajectories", trajectories),
        **predicted,
    }
    for cosine, word in ((HALF, "half"), (NINE_TENTHS, "nine_tenths")):
        result |= interval(f"pairs_for_pairwise_cosine_{word}", pairs_for_pairwise_cosine(cosine, noise.pairs))
        result |= interval(f"pairs_for_true_cosine_{word}", pairs_for_true_cosine(cosine, noise.pairs))
    return result


def _of_layers(pooled: Pooled, estimated: Target, layers: Mapping[str, slice], noise: NoiseScale) -> Findings:
    """Return where the noise comes from: which layers, and whether from between or within trajectories."""
    squares = pooled.squares(estimated, list(layers.values()))
    everything = together(squares)
    sums, pairs = pooled.groups(estimated)
    scales = [noise_scale(sums[:, part], pairs) for part in layers.values()]
    # tr S of a layer over tr S of all: the traces of diagonal blocks add up
    variance = np.array([scale.variance for scale in scales])
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = variance / noise.variance
    return {
        **interval("effective_sample_fraction", effective_sample_fraction(pooled.pair_variance(estimated), noise)),
        "between_trajectory_share": np.array(between_share(everything)),
        "layer_noise_fraction": shares,
        **intervals("layer_noise_scale_pairs", [scale.pairs for scale in scales]),
        "layer_between_trajectory_share": np.array([between_share(one) for one in squares]),
    }


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high
