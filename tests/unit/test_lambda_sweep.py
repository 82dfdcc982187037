"""Bias and variance by lambda, and variance by baseline, against numbers that are known."""

import numpy as np
import pytest

from closerlook.estimation.lambda_sweep import compare, find_best, interval_of
from closerlook.estimation.variance_reduction import _traces, reduce_variance

REPEATS, GROUPS, SIZE, PAIRS = 500, 40, 60, 100.0
TRUTH = np.full(SIZE, 1.0 / np.sqrt(SIZE))
BIASED = 0.5 * TRUTH + 0.3 * np.eye(SIZE)[0] - 0.3 * TRUTH[0] * TRUTH
"""Short by a half, and aside by about 0.3."""


def draw(draws: np.random.Generator, mean: np.ndarray, deviation: float, shared: np.ndarray) -> np.ndarray:
    return mean + deviation * draws.standard_normal((GROUPS, SIZE)) + shared


def sample(seed: int):
    """Groups of the truth and of a biased, quieter estimate that share half of the noise."""
    draws = np.random.default_rng(seed)
    shared = 0.3 * draws.standard_normal((GROUPS, SIZE))
    return draw(draws, BIASED, 0.0, shared), draw(draws, TRUTH, 0.5, shared)


def covered(intervals, truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in intervals]))


def test_bias_and_variance_are_recovered_though_noise_is_shared():
    found = [compare(*sample(seed), PAIRS) for seed in range(REPEATS)]
    bias = float(np.square(BIASED - TRUTH).sum())
    assert np.mean([one.squared_bias[0] for one in found]) == pytest.approx(bias, rel=0.05)
    assert np.mean([one.variance[0] for one in found]) == pytest.approx(0.09 * SIZE * PAIRS, rel=0.02)
    assert np.mean([one.product[0] for one in found]) == pytest.approx(BIASED @ TRUTH, rel=0.05)
    assert 0.92 <= covered([interval_of(one.squared_bias) for one in found], bias) <= 0.99
    cosine = BIASED @ TRUTH / np.sqrt(BIASED @ BIASED + 0.09 * SIZE * PAIRS / 200)
    assert 0.92 <= covered([interval_of(one.cosine(200)) for one in found], cosine) <= 0.99


def test_replicates_leave_one_group_out():
    means, truth = sample(0)
    found = compare(means, truth, PAIRS)
    without = compare(np.delete(means, 3, axis=0), np.delete(truth, 3, axis=0), PAIRS)
    for name in ("signal", "product", "truth", "variance"):
        assert getattr(found, name)[1 + 3] == pytest.approx(getattr(without, name)[0])


def test_the_best_changes_with_the_pairs():
    """Few pairs: the quiet, biased one. Many: the noisy one without bias."""
    draws = np.random.default_rng(5)
    quiet = BIASED + 0.05 * draws.standard_normal((GROUPS, SIZE))
    noisy, truth = (TRUTH + 0.5 * draws.standard_normal((GROUPS, SIZE)) for _ in range(2))
    both = [compare(quiet, truth, PAIRS), compare(noisy, truth, PAIRS)]
    few, many = find_best(both, both[1], PAIRS), find_best(both, both[1], 1000 * PAIRS)
    assert (few.place, many.place) == (0, 1)
    assert few.among == (0,)
    assert few.gain.low > 1
    assert many.gain.value == 1.0


def test_nothing_is_best_where_nothing_points_along():
    draws = np.random.default_rng(6)
    away = -TRUTH + 0.01 * draws.standard_normal((GROUPS, SIZE))
    found = find_best([compare(away, away * 0 + TRUTH, PAIRS)], compare(away, away * 0 + TRUTH, PAIRS), PAIRS)
    assert found.place is None
    assert np.isnan(found.gain.value)


def test_variance_reduction_is_recovered_and_covered():
    ratios, delivered, excess = [], [], []
    for seed in range(REPEATS):
        draws = np.random.default_rng(seed)
        shared = draws.standard_normal((GROUPS, SIZE))
        means = {
            "mean": TRUTH + 3.0 * shared,
            "critic": TRUTH + 2.0 * shared + 0.5 * draws.standard_normal((GROUPS, SIZE)),
            "fitted": TRUTH + shared,
        }
        found = reduce_variance(means, "mean", "critic", "fitted")
        ratios.append(found.ratios["critic"])
        delivered.append(found.delivered)
        excess.append(found.excess)
    assert 0.92 <= covered(ratios, 4.25 / 9) <= 0.99
    assert 0.92 <= covered(delivered, (9 - 4.25) / 8) <= 0.99
    assert 0.92 <= covered(excess, 4.25) <= 0.99
    assert found.ratios["mean"].value == 1.0


def test_variances_without_a_group_are_those_of_the_others():
    rows = np.random.default_rng(0).standard_normal((9, 4))
    found = _traces(rows)
    assert found[0] == pytest.approx(np.trace(np.cov(rows.T)))
    assert found[1 + 4] == pytest.approx(np.trace(np.cov(np.delete(rows, 4, axis=0).T)))


def test_variance_reduction_without_a_best_is_not_known():
    means = {"mean": np.random.default_rng(0).standard_normal((5, 3))}
    found = reduce_variance(means, "mean", "critic", "fitted")
    assert np.isnan(found.delivered.value)
    assert np.isnan(found.excess.value)
