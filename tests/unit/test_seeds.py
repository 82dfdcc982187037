"""Interquartile means and performance profiles of seeds: twins, closed forms, coverage."""

import numpy as np
import pytest
from scipy import stats

from closerlook.statistics.estimates import skewed_jackknife
from closerlook.statistics.seeds import FEWEST, interquartile_mean, performance_profile

MIDDLE = {
    # of the population's middle half, by numerical integration of x f(x) between its quartiles, over one half
    "normal": (lambda rng, n: rng.normal(3.0, 2.0, n), stats.norm(3.0, 2.0)),
    "exponential": (lambda rng, n: rng.exponential(1.0, n), stats.expon()),
    "t of 2": (lambda rng, n: rng.standard_t(2.0, n), stats.t(2.0)),
}


def middle_mean(distribution) -> float:
    low, high = distribution.ppf(0.25), distribution.ppf(0.75)
    return 2.0 * distribution.expect(lambda x: x, lb=low, ub=high)


def test_the_mean_of_the_middle_half_is_a_loop_over_it():
    rng = np.random.default_rng(0)
    for n in (1, 4, 7, 8, 10, 13):
        values = rng.normal(size=n)
        kept = sorted(values)[n // 4 : n - n // 4]
        assert interquartile_mean(values).value == pytest.approx(sum(kept) / len(kept))
        assert interquartile_mean(values).value == pytest.approx(stats.trim_mean(values, 0.25))


def test_its_interval_leaves_out_each_seed_once():
    values = np.random.default_rng(1).exponential(size=12)
    found = interquartile_mean(values)
    kept = [np.array([value for at, value in enumerate(values) if at != seed]) for seed in range(12)]
    peer = skewed_jackknife(stats.trim_mean(values, 0.25), np.array([stats.trim_mean(one, 0.25) for one in kept]))
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    assert found.low < found.value < found.high


@pytest.mark.parametrize("n", [8, 10, 24])
@pytest.mark.parametrize("kind", MIDDLE)
def test_its_interval_covers(kind, n):
    draw, distribution = MIDDLE[kind]
    rng, truth = np.random.default_rng(2), middle_mean(distribution)
    found = [interquartile_mean(draw(rng, n)) for _ in range(600)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.925 <= covered <= 0.99, covered


def test_few_seeds_have_no_interval_and_unknown_ones_count_as_none():
    few = interquartile_mean(np.arange(FEWEST - 1.0))
    assert few.value == 3.0
    assert np.isnan(few.low)
    assert np.isnan(few.high)
    capped = interquartile_mean(np.array([50.0, *[500.0] * 7]))
    assert capped.value == 500.0
    assert np.isnan([capped.low, capped.high]).all()  # how far seeds that fail would take it is not shown
    assert interquartile_mean(np.array([1.0, np.nan])).value == 1.0
    assert np.isnan(interquartile_mean(np.array([np.nan])).value)


def test_a_profile_counts_seeds_and_has_exact_intervals():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, np.nan])
    found = performance_profile(values, np.array([0.0, 5.0, 9.0, 10.0]))
    assert found.share.tolist() == [1.0, 5 / 9, 1 / 9, 0.0]
    for share, low, high in zip(found.share, found.low, found.high, strict=True):
        peer = stats.binomtest(round(9 * share), 9).proportion_ci(0.95, method="exact")
        assert (low, high) == pytest.approx((peer.low, peer.high))
    assert np.isnan(performance_profile(values[:7], np.array([2.0])).low).all()


def test_intervals_of_a_profile_cover():
    rng, threshold = np.random.default_rng(3), 0.3
    truth = stats.norm.sf(threshold)
    covered = [
        (found.low <= truth <= found.high).item()
        for found in (performance_profile(rng.normal(size=10), np.array([threshold])) for _ in range(1000))
    ]
    assert np.mean(covered) >= 0.95
