"""Bias and variance by lambda, and variance by baseline, against numbers that are known."""

import numpy as np
import pytest

from closerlook.statistics.estimates import plain_jackknife
from closerlook.statistics.lambda_sweep import Comparison, best_lambda, compare, gain_of_best, noise_of_square
from closerlook.statistics.variance_reduction import _traces, reduce_variance

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
    assert 0.925 <= covered([one.relative_bias() for one in found], bias) <= 1.0
    assert 0.925 <= covered([one.relative_variance(200) for one in found], 0.09 * SIZE * PAIRS / 200) <= 0.99
    cosine = BIASED @ TRUTH / np.sqrt(BIASED @ BIASED + 0.09 * SIZE * PAIRS / 200)
    assert 0.925 <= covered([one.cosine(200) for one in found], cosine) <= 0.99


@pytest.mark.parametrize("directions", [1, 4, 60])
@pytest.mark.parametrize("bias", [0.0, 0.05, 0.3])
def test_a_small_bias_is_covered_though_its_square_is_no_normal_number(directions, bias):
    """A length of 1, noise in few directions or many; a jackknife of the square would cover four in five at most."""
    found, plain = [], []
    for seed in range(REPEATS):
        draws = np.random.default_rng(seed)
        truth = TRUTH + 0.05 * draws.standard_normal((GROUPS, SIZE))
        noise = np.zeros((GROUPS, SIZE))
        noise[:, :directions] = draws.standard_normal((GROUPS, directions)) / np.sqrt(directions)
        means = truth + 0.5 * noise
        means[:, 0] += bias
        one = compare(means, truth, PAIRS)
        found.append(one.relative_bias())
        plain.append(plain_jackknife(float(one.squared_bias[0]), one.squared_bias[1:]))
    assert 0.925 <= covered(found, bias**2) <= 0.99
    assert np.mean([one.value for one in found]) == pytest.approx(bias**2, abs=0.01)
    if bias == 0:
        assert np.mean([one.low > 0 for one in found]) < 0.075
    if bias == 0 and directions == 1:
        assert covered(plain, 0.0) < 0.92


@pytest.mark.parametrize("size", [2, 200])
def test_the_noise_of_a_square_is_its_variance_where_all_is_noise(size):
    found, squares = [], []
    for seed in range(REPEATS):
        rows = np.random.default_rng(seed).standard_normal((12, size)) @ np.diag(np.linspace(0.1, 1, size))
        found.append(noise_of_square(rows @ rows.T))
        squares.append(np.mean([rows[i] @ rows[j] for i in range(12) for j in range(i)]))
    exact = 2 * (np.linspace(0.1, 1, size) ** 4).sum() / (12 * 11)
    assert np.mean(found) == pytest.approx(exact, rel=0.15)
    assert np.var(squares) == pytest.approx(exact, rel=0.25)
    assert np.isnan(noise_of_square(np.zeros((2, 2))))


def test_a_length_that_noise_may_hide_leaves_everything_open():
    """Noise of ten times the truth's length: no ratio to that length is told."""
    draws = np.random.default_rng(2)
    means, truth = (TRUTH + 30 * draws.standard_normal((GROUPS, SIZE)) for _ in range(2))
    one = compare(means, truth, PAIRS)
    for found, whole in (
        (one.relative_bias(), (0, np.inf)),
        (one.relative_variance(9), (0, np.inf)),
        (one.cosine(9), (-1, 1)),
    ):
        assert np.isnan(found.value)
        assert (found.low, found.high) == whole


def test_variances_are_not_too_large_for_a_noisy_length():
    """The mean of one over a noisy length is not one over its mean."""
    found, naive, draws = [], [], np.random.default_rng(1)
    for _ in range(4 * REPEATS):  # the bias of 6% is then told to within 0.8%
        truth = TRUTH * (1.2 + 0.9 * draws.standard_normal((GROUPS, 1)))
        one = compare(truth, truth, PAIRS)
        found.append(one.relative_variance(PAIRS).value)
        naive.append(one.variance[0] / PAIRS / one.true_gradient[0])
    exact = 0.9**2 / 1.44
    assert np.mean(naive) > 1.025 * exact
    assert np.mean(found) == pytest.approx(exact, rel=0.02)


def test_replicates_leave_one_group_out():
    means, truth = sample(0)
    found = compare(means, truth, PAIRS)
    without = compare(np.delete(means, 3, axis=0), np.delete(truth, 3, axis=0), PAIRS)
    for name in ("signal", "product", "true_gradient", "variance"):
        assert getattr(found, name)[1 + 3] == pytest.approx(getattr(without, name)[0])


def test_the_best_changes_with_the_pairs():
    """Few pairs: the quiet, biased one. Many: the noisy one without bias."""
    draws = np.random.default_rng(5)
    quiet = BIASED + 0.05 * draws.standard_normal((GROUPS, SIZE))
    noisy, truth = (TRUTH + 0.5 * draws.standard_normal((GROUPS, SIZE)) for _ in range(2))
    both = [compare(quiet, truth, PAIRS), compare(noisy, truth, PAIRS)]
    few, many = best_lambda(both, PAIRS), best_lambda(both, 1000 * PAIRS)
    assert (few.place, many.place) == (0, 1)
    assert few.among == (0,)
    halves = in_halves([quiet, noisy], truth)
    assert gain_of_best(halves, 1, PAIRS).low > 1
    assert gain_of_best(halves, 1, 1000 * PAIRS).value == 1.0


def in_halves(estimators, truth):
    return [[compare(rows[at::2], truth[at::2], PAIRS) for rows in estimators] for at in range(2)]


def gains(noise: float, means: list[np.ndarray], repeats: int) -> list:
    """Gains over the first of estimators with some noise of their own, some shared with each other and the truth."""
    found = []
    for seed in range(repeats):
        draws = np.random.default_rng(seed)
        shared = 0.3 * draws.standard_normal((GROUPS, SIZE))
        truth = draw(draws, TRUTH, 0.3, shared)
        estimators = [draw(draws, mean, noise, shared) for mean in means]
        found.append(gain_of_best(in_halves(estimators, truth), 0, PAIRS))
    return found


def test_nothing_is_gained_where_all_are_equal():
    """Nine equal estimators: the best of them looks better by far more on what it was chosen on."""
    found = gains(0.3, [TRUTH] * 9, 400)
    values = np.array([one.value for one in found])
    assert np.isfinite(values).all()
    assert np.log(values).mean() == pytest.approx(0.0, abs=0.01)
    assert np.mean([one.low > 1 or one.high < 1 for one in found]) < 0.08
    assert np.mean([one.low > 1 for one in found]) < 0.05
    naive = []
    for seed in range(50):
        draws = np.random.default_rng(seed)
        shared = 0.3 * draws.standard_normal((GROUPS, SIZE))
        truth = draw(draws, TRUTH, 0.3, shared)
        scores = [compare(draw(draws, TRUTH, 0.3, shared), truth, PAIRS).cosine(PAIRS).value for _ in range(9)]
        naive.append(np.log(max(scores) / scores[0]))
    assert np.mean(naive) > 0.05


def test_a_gain_is_covered_where_estimators_differ():
    """The second has the truth's direction, the first half of it aside; both the same noise, 0.18 a component."""
    aside = np.eye(SIZE)[0] - TRUTH[0] * TRUTH
    first = 0.5 * TRUTH + 0.5 * aside / np.linalg.norm(aside)
    found = gains(0.3, [first, TRUTH], REPEATS)
    noise = 0.18 * SIZE
    exact = np.sqrt((0.5 + noise) / (1.0 + noise)) / 0.5
    assert 0.92 <= covered(found, exact) <= 0.99


def test_nothing_is_best_where_nothing_points_along():
    draws = np.random.default_rng(6)
    away = -TRUTH + 0.01 * draws.standard_normal((GROUPS, SIZE))
    assert best_lambda([compare(away, away * 0 + TRUTH, PAIRS)], PAIRS).place is None
    assert np.isnan(gain_of_best(in_halves([away, away], away * 0 + TRUTH), 1, PAIRS).value)


def half(*cosines: float) -> list[Comparison]:
    """Estimators that one half of the groups finds to point along the truth so much, in each of its replicates."""
    ones, none = np.ones(4), np.zeros(4)
    return [Comparison(ones, np.full(4, cosine), ones, none, 0.0, 0.0) for cosine in cosines]


def test_a_gain_is_known_though_one_half_finds_that_the_chosen_points_away():
    """Each half chooses another; the second finds that the first's choice points away."""
    assert gain_of_best([half(1.0, 2.0, 0.5), half(1.0, -0.5, 1.5)], 0, PAIRS).value == pytest.approx((0.5 - 0.5) / 2)
    found = gain_of_best([half(1.0, 2.0, 1.5), half(0.5, 0.3, 1.5)], 0, PAIRS)
    assert (found.value, found.low, found.high) == pytest.approx((1.2, 1.2, 1.2))
    assert np.isnan(gain_of_best([half(1.0, 2.0, 1.5), half(-1.0, 0.3, 1.5)], 0, PAIRS).value)
    assert gain_of_best([half(1.0, 0.5, 0.5), half(-1.0, -2.0, -1.5)], 0, PAIRS).value == 1.0


def test_agents_of_weak_signal_stay_and_gain_nothing():
    """Five equal estimators, the signal of a half 0.4 of its noise: were halves judged alone, three in four had none.

    What is left of a quotient of such sums has no mean; that it is not above 1 more often than below can be told.
    """
    draws = np.random.default_rng(0).normal(0.4, 1.0, (2000, 2, 5))
    found = [gain_of_best([half(*one) for one in halves], 0, PAIRS).value for halves in draws]
    known = np.array(found)[np.isfinite(found)]
    assert len(known) / len(found) > 0.68
    assert np.mean(known > 1) < 0.35
    assert np.median(known) <= 1.0
    stronger = np.random.default_rng(1).normal(4.0, 1.0, (2000, 2, 5))
    gains = [gain_of_best([half(*one) for one in halves], 0, PAIRS).value for halves in stronger]
    assert np.isfinite(gains).all()
    assert 0.95 < np.median(gains) <= np.mean(gains) < 1.1


@pytest.mark.parametrize("groups", range(7))
def test_few_groups_leave_out_what_cannot_be_told_without_warnings(groups):
    first, second, truth = np.random.default_rng(groups).standard_normal((3, groups, 5))
    both = [compare(first, truth, PAIRS), compare(second, truth, PAIRS)]
    best_lambda(both, PAIRS)
    for found in (both[0].relative_bias(), both[0].relative_variance(PAIRS), both[0].cosine(PAIRS)):
        assert np.isfinite(found.value) or found.low in (0, -1)
        assert groups >= 3 or np.isnan(found.value)
    gain_of_best(in_halves([first, second], truth), 0, PAIRS)


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
