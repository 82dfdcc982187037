"""Array statistics of one batch: against slow twins and numbers known on paper; intervals cover."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from closerlook.statistics.batch_counts import beyond, clip_share, episode_parts, top_share, trajectory_numbers
from closerlook.statistics.noise import noise_scale
from closerlook.statistics.splits import (
    group_units,
    split_explained_variance,
    split_noise_scale,
    split_true_cosine,
)
from closerlook.statistics.tails import effective_fraction, effective_rank, generalized_pareto_shape, pareto_k
from closerlook.statistics.value_errors import explained_variance


def test_the_share_of_the_largest_parts():
    assert top_share(np.ones(1000)) == pytest.approx(0.001)
    assert top_share(np.array([1.0, 2.0, 7.0])) == pytest.approx(0.7)
    spike = np.full(2000, 0.0)
    spike[[3, 9]] = 1.0
    assert top_share(spike) == 1.0
    assert np.isnan(top_share(np.zeros(5)))


def test_episodes_are_cut_where_they_end():
    rewards = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, 5.0]])
    ends = np.array([[0, 0], [1, 0], [0, 0], [0, 1]], dtype=bool)
    parts = episode_parts(rewards, ends, np.array([True, False]))
    assert parts.environment.tolist() == [0, 0, 1]
    assert parts.start.tolist() == [0, 2, 0]
    assert parts.length.tolist() == [2, 2, 4]
    assert parts.whole.tolist() == [True, False, False]
    assert parts.ended.tolist() == [True, False, True]
    assert parts.total.tolist() == [3.0, 7.0, 20.0]
    assert parts.varies.tolist() == [True, True, False]
    assert trajectory_numbers(ends).T.tolist() == [[0, 0, 1, 1], [2, 2, 2, 2]]


def test_values_at_bounds():
    rows = np.array([[1.0, -10.0], [0.5, 10.0], [-1.0, 3.0], [0.0, 10.0]])
    found = beyond(rows, np.array([-1.0, -20.0]), np.array([1.0, 3.0]))
    assert found.mean(axis=0).tolist() == [0.5, 0.75]
    assert beyond(rows, np.array([-1.0]), np.array([1.0])).shape == rows.shape
    assert clip_share(rows).tolist() == [0.0, 0.75]
    assert clip_share(rows[:2, :1]).tolist() == [0.0]


def test_effective_pairs_and_rank():
    assert effective_fraction(np.ones(7)) == pytest.approx(1.0)
    assert effective_fraction(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)
    draws = np.random.default_rng(0)
    assert effective_rank(draws.normal(size=(200, 3)) @ draws.normal(size=(3, 20))) == 3
    assert effective_rank(np.zeros((4, 3))) == 0


def test_a_tail_that_begins_flat_has_no_shape():
    """Thirteen of 65 ratios are the tail, so that its first quartile is the third: no shape where that is a tie."""
    for ties in range(6):
        ratios = np.concatenate([np.ones(52 + ties), 1 + 0.003 * np.arange(1, 14 - ties)])
        assert np.isfinite(pareto_k(ratios)) == (ties < 3), ties


@pytest.mark.parametrize("shape", [-0.2, 0.2, 0.5, 0.9, 1.5])
def test_the_shape_of_a_tail_is_found(shape):
    """From many draws of the law itself, less the prior's pull; from ratios whose tail it is."""
    draws = np.random.default_rng(1)
    found = np.mean(
        [generalized_pareto_shape(np.sort(stats.genpareto.rvs(shape, size=2000, random_state=draws))) for _ in range(8)]
    )
    assert found == pytest.approx(shape, abs=0.06)


def test_tails_of_ratios():
    draws = np.random.default_rng(2)
    light, heavy = draws.uniform(0.9, 1.1, 5000), draws.pareto(1.0, 5000) + 1
    assert pareto_k(light) < 0.3
    assert pareto_k(heavy) == pytest.approx(1.0, abs=0.25)
    assert np.isnan(pareto_k(np.ones(5000)))
    assert np.isnan(pareto_k(light[:10]))


def test_units_are_grouped_whole_and_evenly():
    groups = group_units(np.full(40, 5), 8)
    assert np.bincount(groups).tolist() == [5] * 8
    assert group_units(np.array([3, 4]), 8).tolist() == [0, 1]
    uneven = group_units(np.array([100, 1, 1, 1, 1, 100]), 3)
    assert (np.diff(uneven) >= 0).all()
    assert uneven[0] != uneven[-1]


def noisy_groups(draws, signal, pairs):
    """Sums of groups of pairs whose gradients are a signal and unit noise in each of D directions."""
    noise = draws.normal(size=(len(pairs), len(signal))) * np.sqrt(pairs)[:, None]
    return pairs[:, None] * signal + noise


def test_equal_groups_give_the_usual_noise_scale():
    draws = np.random.default_rng(3)
    sums, pairs = noisy_groups(draws, np.full(50, 0.05), np.full(12, 100.0)), np.full(12, 100.0)
    one, two = noise_scale(sums, pairs), split_noise_scale(sums, pairs)
    assert two.squared_norm == pytest.approx(one.squared_norm)
    assert two.variance == pytest.approx(one.variance)
    assert (two.pairs.value, two.pairs.low, two.pairs.high) == pytest.approx(
        (one.pairs.value, one.pairs.low, one.pairs.high)
    )


def test_unequal_groups_by_the_definition():
    """Sums over pairs of groups, one after the other."""
    draws = np.random.default_rng(4)
    pairs = np.array([10.0, 30.0, 5.0, 80.0, 20.0])
    sums = noisy_groups(draws, np.full(6, 0.3), pairs)
    top = sum(sums[j] @ sums[k] for j in range(5) for k in range(5) if j != k)
    bottom = sum(pairs[j] * pairs[k] for j in range(5) for k in range(5) if j != k)
    found = split_noise_scale(sums, pairs)
    assert found.squared_norm == pytest.approx(top / bottom)
    assert found.variance == pytest.approx(
        sum(sums[k] @ sums[k] - pairs[k] ** 2 * top / bottom for k in range(5)) / pairs.sum()
    )
    assert np.isnan(split_noise_scale(sums[:2], pairs[:2]).pairs.value)
    assert np.isnan(split_noise_scale(sums[:3], pairs[:3]).pairs.low)


@pytest.mark.parametrize("strength", [0.003, 0.03, 0.1])
def test_the_noise_scale_of_unequal_groups_covers(strength):
    """A true scale of ``D / |G|^2``, at low signal too."""
    draws, dimension, covered, runs = np.random.default_rng(5), 40, 0, 400
    signal = np.full(dimension, strength)
    exact = dimension / (signal @ signal)
    for _ in range(runs):
        pairs = draws.integers(20, 200, size=12).astype(float)
        interval = split_noise_scale(noisy_groups(draws, signal, pairs), pairs).pairs
        covered += interval.low <= exact <= interval.high
    assert 0.91 <= covered / runs <= 0.99


def uneven_noise(dimension, along):
    """A direction, and deviations of a pair's noise along it and across it, of variance ``dimension`` in all."""
    direction = np.zeros(dimension)
    direction[0] = 1.0
    deviations = np.full(dimension, np.sqrt(dimension * (1 - along) / (dimension - 1)))
    deviations[0] = np.sqrt(dimension * along)
    return direction, deviations


def test_the_true_cosine_by_the_definition():
    """Over all ways to halve six groups, one after the other."""
    draws = np.random.default_rng(8)
    sums = noisy_groups(draws, np.full(6, 0.3), np.full(6, 10.0))

    def halved(own):
        found = []
        for first in combinations(range(len(own)), len(own) // 2):
            a = sum(own[k] for k in first)
            b = sum(own[k] for k in range(len(own)) if k not in first)
            found.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        return np.mean(found)

    c = halved(sums)
    assert split_true_cosine(sums).value == pytest.approx(np.sqrt(2 * c / (1 + c)), abs=0.02)
    assert split_true_cosine(-3 * sums).value == pytest.approx(split_true_cosine(sums).value)
    assert np.isnan(split_true_cosine(sums[:3]).value)
    assert np.isnan(split_true_cosine(np.zeros((5, 6))).high)
    opposed = np.outer([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], np.ones(6))
    assert split_true_cosine(opposed).value == 0.0
    equal = split_true_cosine(np.ones((6, 4)))
    assert equal.value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("strength", "along", "least"),
    [(0.05, 0.02, 0.93), (0.05, 0.95, 0.93), (0.3, 0.02, 0.93), (0.3, 0.5, 0.83), (1.0, 0.5, 0.92), (3.0, 0.95, 0.92)],
)
def test_the_true_cosine_covers_wherever_the_noise_lies(strength, along, least):
    """Against the mean cosine of 20,000 estimates, at low signal too; worst where most noise is in one direction.

    The scale's prediction covers 0% of the last one.
    """
    draws, runs, covered = np.random.default_rng(9), 300, 0
    direction, deviations = uneven_noise(40, along)

    def estimates(count, pairs):
        return strength * direction + draws.normal(size=(count, 40)) * deviations / np.sqrt(pairs)

    many = estimates(20_000, 12 * 100)
    exact = np.mean(many @ direction / np.linalg.norm(many, axis=1))
    for _ in range(runs):
        interval = split_true_cosine(100 * estimates(12, 100))
        covered += interval.low <= exact <= interval.high
    assert covered / runs >= least


def test_explained_variance_is_the_pooled_one():
    draws = np.random.default_rng(6)
    values, noise = draws.normal(size=(2, 8, 50))
    targets = values + 0.5 * noise
    groups = np.repeat(np.arange(8), 50)
    found = split_explained_variance(values.ravel(), targets.ravel(), groups)
    twin = explained_variance(values, targets)
    assert found.value == pytest.approx(1 - np.var(targets - values) / np.var(targets))
    assert (found.low, found.high) == pytest.approx((twin.low, twin.high))
    some = targets.ravel().copy()
    some[:7] = np.nan
    assert split_explained_variance(values.ravel(), some, groups).value == pytest.approx(
        1 - np.var(some[7:] - values.ravel()[7:]) / np.var(some[7:])
    )
    assert np.isnan(split_explained_variance(values.ravel(), np.ones(400), groups).value)
    assert np.isnan(split_explained_variance(values[:3].ravel(), targets[:3].ravel(), groups[:150]).low)


def test_the_interval_of_explained_variance_covers_with_unequal_groups():
    draws, covered, runs = np.random.default_rng(7), 0, 400
    for _ in range(runs):
        groups = np.repeat(np.arange(16), draws.integers(10, 60, size=16))
        # pairs of a group share part of their error: the group is the unit
        values = draws.normal(size=len(groups))
        errors = 0.5 * draws.normal(size=16)[groups] + 0.5 * draws.normal(size=len(groups))
        interval = split_explained_variance(values, values + errors, groups)
        covered += interval.low <= 1 - 0.5 / 1.5 <= interval.high
    assert 0.9 <= covered / runs <= 0.99
