"""Statistics of gradient estimates against slow, obvious twins."""

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from closerlook.statistics.estimates import (
    agreement,
    cosine_matrix,
    gradient_estimate,
    mean_interval,
    mean_pairwise_cosine,
    mean_share,
    plain_jackknife,
    skewed_jackknife,
)
from closerlook.statistics.variance_reduction import reduce_variance


def slow_mean(estimates) -> float:
    pairs = itertools.combinations(estimates, 2)
    return float(np.mean([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in pairs]))


def slow_interval(estimates) -> tuple[float, float]:
    n = len(estimates)
    without = [np.log(1 - slow_mean([e for j, e in enumerate(estimates) if j != i])) for i in range(n)]
    variance = (n - 1) / n * sum((m - np.mean(without)) ** 2 for m in without)
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(variance)
    center = np.log(1 - slow_mean(estimates))
    return max(-1, 1 - np.exp(center + half)), 1 - np.exp(center - half)


@pytest.mark.parametrize("count", [3, 4, 10])
def test_mean_and_interval_agree_with_loops(count):
    estimates = np.random.default_rng(count).standard_normal((count, 7)) + 0.3
    found = mean_pairwise_cosine(cosine_matrix(estimates))
    assert found.value == pytest.approx(slow_mean(estimates), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(slow_interval(estimates), abs=1e-12)


def test_cosines_by_hand():
    cosines = cosine_matrix(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]))
    np.testing.assert_allclose(cosines, [[1, 0, 0.5**0.5], [0, 1, 0.5**0.5], [0.5**0.5, 0.5**0.5, 1]], atol=1e-15)
    assert mean_pairwise_cosine(cosines).value == pytest.approx(2 * 0.5**0.5 / 3)


def test_estimates_that_are_all_the_same():
    found = mean_pairwise_cosine(cosine_matrix(np.tile([[0.3, -0.7, 0.1]], (6, 1))))
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1), abs=1e-9)


def test_the_interval_stays_within_the_range_of_a_cosine():
    found = mean_pairwise_cosine(cosine_matrix(np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.1]])))
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_too_few_estimates_are_nan_not_zero():
    assert np.isnan(mean_pairwise_cosine(np.ones((1, 1))).value)
    two = mean_pairwise_cosine(cosine_matrix(np.array([[1.0, 0.0], [1.0, 1.0]])))
    assert two.value == pytest.approx(0.5**0.5)
    assert np.isnan([two.low, two.high]).all()


def test_zero_gradients_are_left_out_and_counted():
    estimates = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    found = agreement(estimates)
    assert found.zeros == 2
    assert found.cosine.value == pytest.approx(0.5**0.5)
    assert found.norm == pytest.approx((1 + 2**0.5) / 4)
    nothing = agreement(np.zeros((5, 3)))
    assert (nothing.zeros, nothing.norm) == (5, 0.0)
    assert np.isnan(nothing.cosine.value)


def sums(scores, advantages):
    weights = np.stack([advantages, np.ones_like(advantages)])
    return weights @ scores, np.array([len(advantages), advantages.sum(), np.square(advantages).sum()])


@pytest.mark.parametrize("normalize", [True, False])
def test_estimate_agrees_with_torch(normalize):
    generator = np.random.default_rng(4)
    scores, advantages = generator.standard_normal((50, 6)), 3 + 2 * generator.standard_normal(50)
    weights = torch.from_numpy(advantages)
    if normalize:
        weights = (weights - weights.mean()) / (weights.std() + 1e-8)
    slow = (weights[:, None] * torch.from_numpy(scores)).mean(0).numpy()
    fast = gradient_estimate(*sums(scores, advantages), normalize=normalize)
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -7e4])
def test_equal_advantages_give_exactly_zero(value):
    scores = np.random.default_rng(5).standard_normal((50, 6))
    totals, moments = sums(scores, np.full(50, value))
    assert not gradient_estimate(totals.astype(np.float32).astype(float), moments, normalize=True).any()


def test_small_differences_between_advantages_still_count():
    generator = np.random.default_rng(6)
    scores, advantages = generator.standard_normal((50, 6)), 1.0 + 1e-4 * generator.standard_normal(50)
    assert gradient_estimate(*sums(scores, advantages), normalize=True).any()


SKEWED = {
    "squares": lambda rng, shape: rng.chisquare(1, shape),
    "squares less their noise": lambda rng, shape: rng.chisquare(1, shape) - 0.3,
    "lognormal": lambda rng, shape: rng.lognormal(0.0, 0.7, shape),
    "gains with rare losses": lambda rng, shape: 1 - rng.lognormal(0.0, 0.7, shape),
}


def without_each(numbers):
    return np.array([np.delete(numbers, at).mean() for at in range(len(numbers))])


@pytest.mark.parametrize("kind", SKEWED)
@pytest.mark.parametrize(("count", "least"), [(3, 0.86), (8, 0.915), (32, 0.915)])
def test_means_of_skewed_numbers_are_covered_by_intervals_that_say_something(kind, count, least):
    draw, rng = SKEWED[kind], np.random.default_rng(11)
    truth = draw(rng, 10**6).mean()
    rows = draw(rng, (1000, count))
    found, plain = ([mean_interval(row, skewed=skewed) for row in rows] for skewed in (True, False))
    assert least <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.98
    # where nearly all of three is one, their standard error is their mean: 2 sinh(t) of it is 8.6 times plain t's 2 t
    wider = [(one.high - one.low) / (other.high - other.low) for one, other in zip(found, plain, strict=True)]
    assert max(wider) <= 9
    assert np.median(wider) <= 4


def test_halls_ends_are_those_of_its_equation():
    """The ends of the corrected t, by solving its transformation by bisection rather than by its inverse."""
    numbers = np.random.default_rng(12).chisquare(1, 20) - 1.5
    n, mean, critical = len(numbers), numbers.mean(), stats.t.ppf(0.975, 19)
    skewness, error = stats.skew(numbers, bias=False), numbers.std(ddof=1) / np.sqrt(n)

    def transformed(value):
        t = (mean - value) / error
        c = skewness / np.sqrt(n)
        return t + c * t**2 / 3 + c**2 * t**3 / 27 + c / 6

    ends = [optimize.brentq(lambda v, s=sign: transformed(v) - s * critical, -50, 50) for sign in (1, -1)]
    plain = [mean - critical * error, mean + critical * error]
    found = skewed_jackknife(mean, without_each(numbers))
    assert [found.low, found.high] == pytest.approx([min(ends[0], plain[0]), max(ends[1], plain[1])])


def test_skewed_intervals_of_positive_numbers_hold_the_plain_ones_and_those_of_the_logarithm():
    numbers = np.array([1.0, 2.0, 3.0])  # of no skewness: Hall's t is plain t
    value, without = numbers.mean(), without_each(numbers)
    found, plain = skewed_jackknife(value, without), plain_jackknife(value, without)
    of_logarithm = stats.t.ppf(0.975, 2) * stats.sem(numbers) / value
    assert found.low == pytest.approx(plain.low) != value * np.exp(-of_logarithm)
    assert found.high == pytest.approx(value * np.exp(of_logarithm)) != plain.high
    # where one number is all of them their standard error is their mean
    assert mean_interval(np.array([1e-9, 2e-9, 3.0]), skewed=True).high == pytest.approx(np.exp(stats.t.ppf(0.975, 2)))
    # a logarithm says nothing of numbers of both signs, though no mean of two of them is negative
    signed = mean_interval(np.array([3.36, -2.91, 18.06]), skewed=True)
    assert -25 < signed.low < -20
    assert 33 < signed.high < 80
    # nor of a number that is no mean, and not positive though those behind it are
    none = skewed_jackknife(0.0, np.array([-1.0, -2.0, -1.5]))
    assert none.low < 0.0 < none.high < np.inf
    same = skewed_jackknife(2.0, np.full(5, 2.0))
    assert (same.low, same.high) == (2.0, 2.0)


def test_no_interval_reaches_below_what_a_quantity_can_be():
    numbers = np.array([0.1, 0.2, 0.1, 9.0])
    free, bound = (mean_interval(numbers, skewed=True, **more) for more in ({}, {"least": 0.0}))
    assert free.low < 0.0
    assert (bound.value, bound.low, bound.high) == (free.value, 0.0, free.high)
    rows = np.random.default_rng(0).standard_t(2.0, (5, 3)) ** 3
    found = reduce_variance(
        {"mean": rows, "critic": rows[::-1] * [1.0, 5.0, 0.2], "fitted": rows * 0.5}, "mean", "critic", "fitted"
    )
    assert all(one.low >= 0.0 for one in (*found.ratios.values(), found.excess))


@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (5.0, 0.3), (0.2, 4.0)])
def test_mean_shares_are_covered_also_near_the_ends(count, a, b):
    rng = np.random.default_rng(14)
    found = [mean_share(np.round(row * 64) / 64) for row in rng.beta(a, b, (1000, count))]
    truth = np.mean(np.round(rng.beta(a, b, 10**6) * 64) / 64)
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.925
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found)


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize(("values", "chances"), [((1.0, 0.5), (0.1, 0.9)), ((1.0, 0.5, 0.0), (0.6, 0.3, 0.1))])
def test_mean_shares_of_few_values_are_covered(count, values, chances):
    rng = np.random.default_rng(15)
    found = [mean_share(row) for row in rng.choice(values, (1000, count), p=chances)]
    assert np.mean([one.low <= np.dot(values, chances) <= one.high for one in found]) >= 0.95


def test_shares_at_an_end_vary_as_whole_events_may():
    none = mean_share(np.zeros(8))
    events = stats.binomtest(0, 8).proportion_ci(0.95, method="exact")
    assert (none.value, none.low, none.high) == (0.0, 0.0, pytest.approx(events.high))
    every = mean_share(np.ones(8))
    assert (every.value, every.low, every.high) == (1.0, pytest.approx(1 - events.high), 1.0)
    halved = mean_share(np.full(8, 0.5))
    assert (halved.low, halved.high) == pytest.approx((0.5 * every.low, 0.5 * every.low + 1 - every.low))
    assert np.isnan(mean_share(np.array([0.5, 0.6])).low)
    assert np.isnan(mean_share(np.full(3, np.nan)).value)
