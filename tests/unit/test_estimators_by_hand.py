"""Estimators against slow, obvious twins, and cases that are known on paper: no coverage, only right numbers."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from closerlook.statistics.estimates import (
    Interval,
    exact_share,
    freedom_of_sum,
    log_jackknife,
    mean_pairwise_cosine,
    mean_share,
    off_diagonal_means,
    plain_jackknife,
    ratio_of_means,
    skewed_jackknife,
    without_bias,
)
from closerlook.statistics.lambda_sweep import best_lambda, compare, gain_of_best, noise_of_square
from closerlook.statistics.mean_returns import gain_freedom, influences, mean_returns, paired_gains, pairing_gain
from closerlook.statistics.noise import (
    NoiseScale,
    Squares,
    between_share,
    effective_sample_fraction,
    pair_variance,
    pairs_for_pairwise_cosine,
    pairs_for_true_cosine,
    pairwise_cosine_at,
    true_cosine_at,
)
from closerlook.statistics.ratios import COSINES, SIZES, ratio
from closerlook.statistics.surfaces import best_point
from closerlook.statistics.tails import effective_rank, generalized_pareto_shape, pareto_k
from closerlook.statistics.value_errors import (
    calibration,
    explained_variance,
    mean_over_streams,
    mean_squared_error,
    median_interval,
    split_error,
)
from closerlook.statistics.variance_reduction import reduce_variance


@pytest.fixture
def draws() -> np.random.Generator:
    return np.random.default_rng(20)


def without_each(values: np.ndarray, statistic) -> np.ndarray:
    """Compute a statistic again without each unit in turn."""
    return np.array([statistic(np.delete(values, at, axis=0)) for at in range(len(values))])


def ends_of(interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def test_the_jackknife_of_a_mean_is_students_t(draws):
    x = draws.lognormal(size=9)
    low, high = stats.t.interval(0.95, 8, x.mean(), stats.sem(x))
    found = plain_jackknife(x.mean(), without_each(x, np.mean))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_jackknife_of_a_logarithm_is_that_of_the_numbers_own(draws):
    """A geometric mean: its logarithm is a mean of logarithms, whose interval is Student's t."""
    x = draws.lognormal(size=7)
    low, high = stats.t.interval(0.95, 6, np.log(x).mean(), stats.sem(np.log(x)))
    found = log_jackknife(stats.gmean(x), without_each(x, stats.gmean))
    assert (found.low, found.high) == pytest.approx((np.exp(low), np.exp(high)))


def test_two_samples_have_welchs_degrees_of_freedom(draws):
    """Of a difference of means: the jackknife's variances are s^2 / n."""
    x, y = draws.standard_normal(5), 3 * draws.standard_normal(12)
    known = stats.ttest_ind(x, y, equal_var=False)
    variances = [stats.sem(x) ** 2, stats.sem(y) ** 2]
    assert freedom_of_sum(variances, [4, 11]) == pytest.approx(known.df)
    interval = known.confidence_interval()
    found = plain_jackknife(x.mean() - y.mean(), without_each(x, np.mean), without_each(-y, np.mean))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_the_bias_of_a_variance_by_n_is_taken_off_to_the_last_digit(draws):
    """Quenouille: sum (x - mean)^2 / n becomes the same over n - 1."""
    x = draws.standard_normal(6)
    assert without_bias(x.var(), without_each(x, np.var)) == pytest.approx(x.var(ddof=1))
    y = draws.standard_normal(9)
    both = without_bias(x.var() + y.var(), without_each(x, np.var) + y.var(), x.var() + without_each(y, np.var))
    assert both == pytest.approx(x.var(ddof=1) + y.var(ddof=1))


def test_means_off_the_diagonal_are_those_of_all_pairs(draws):
    table = draws.standard_normal((6, 6))

    def mean_of(some):
        return np.mean([table[i, j] for i in some for j in some if i != j])

    expected = [mean_of(range(6)), *(mean_of([i for i in range(6) if i != k]) for k in range(6))]
    np.testing.assert_allclose(off_diagonal_means(table), expected)


def test_the_interval_of_a_mean_share_is_that_of_its_log_odds(draws):
    x = draws.uniform(0.1, 0.9, 8)
    logits = without_each(x, lambda some: np.log(some.mean() / (1 - some.mean())))
    reach = stats.t.ppf(0.975, 7) * np.sqrt(7 / 8 * np.square(logits - logits.mean()).sum())
    middle = np.log(x.mean() / (1 - x.mean()))
    found = mean_share(x)
    assert found.value == pytest.approx(x.mean())
    assert (found.low, found.high) == pytest.approx(
        tuple(1 / (1 + np.exp(-end)) for end in (middle - reach, middle + reach))
    )


def test_the_mean_of_shares_of_so_many_counts_them(draws):
    x, sizes = draws.uniform(0.1, 0.9, 8), draws.integers(1, 20, 8)
    rows = np.stack([x, sizes], axis=1)

    def odds(some):
        share = np.sum(some[:, 0] * some[:, 1]) / some[:, 1].sum()
        return np.log(share / (1 - share))

    logits = without_each(rows, odds)
    reach = stats.t.ppf(0.975, 7) * np.sqrt(7 / 8 * np.square(logits - logits.mean()).sum())
    found = mean_share(x, sizes)
    assert found.value == pytest.approx(np.average(x, weights=sizes))
    assert (found.low, found.high) == pytest.approx(
        tuple(1 / (1 + np.exp(-end)) for end in (odds(rows) - reach, odds(rows) + reach))
    )
    alike = mean_share(x, np.full(8, 3))
    assert (alike.low, alike.high) == pytest.approx((mean_share(x).low, mean_share(x).high))


@pytest.mark.parametrize("events", [0, 1, 5, 8])
def test_shares_of_whole_events_have_the_exact_binomial_interval(events):
    known = stats.binomtest(events, 8).proportion_ci(0.95, method="exact")
    found = exact_share(events, 8)
    assert (found.value, found.low, found.high) == pytest.approx((events / 8, known.low, known.high))


def test_a_ratio_of_means_by_leaving_each_unit_out(draws):
    over, under = draws.standard_normal(7) + 3, draws.uniform(1, 2, 7)
    rows = np.stack([over, under], axis=1)
    without = without_each(rows, lambda some: some[:, 0].sum() / some[:, 1].sum())
    expected = plain_jackknife(over.sum() / under.sum(), without)
    assert ratio_of_means(over, under) == expected


def test_mean_pairwise_cosines_by_loops(draws):
    """The interval is that of log(1 - c), each estimate left out of all its pairs."""
    rows = draws.standard_normal((6, 4)) + 1
    unit = [row / np.sqrt(row @ row) for row in rows]
    table = np.array([[one @ other for other in unit] for one in unit])

    def mean_of(some):
        return np.mean([unit[i] @ unit[j] for i, j in combinations(some, 2)])

    value = mean_of(range(6))
    logs = np.log([1 - mean_of([i for i in range(6) if i != k]) for k in range(6)])
    reach = stats.t.ppf(0.975, 5) * np.sqrt(5 / 6 * np.square(logs - logs.mean()).sum())
    found = mean_pairwise_cosine(table)
    assert found.value == pytest.approx(value)
    ends = sorted(1 - (1 - value) * np.exp(sign * reach) for sign in (1, -1))
    assert (found.low, found.high) == pytest.approx(tuple(ends))


def compared(draws, *, bias=0.3, count=8):
    """Groups' means by an estimator that shares noise with the true gradient's, and leans another way."""
    true = 2 * np.eye(3)[0] + 0.5 * draws.standard_normal((count, 3))
    means = true + bias * np.eye(3)[1] + 0.3 * draws.standard_normal((count, 3))
    return means, true, compare(means, true, 64.0)


def test_means_of_groups_are_compared_by_products_of_different_ones(draws):
    means, true, found = compared(draws)

    def products(left, right, some):
        return np.mean([left[j] @ right[k] for j in some for k in some if j != k])

    parts = [range(8), *([j for j in range(8) if j != k] for k in range(8))]
    signal = np.array([products(means, means, some) for some in parts])
    lengths = np.array([products(true, true, some) for some in parts])
    product = np.array([products(means, true, some) for some in parts])
    squares = np.array([np.mean([means[j] @ means[j] for j in some]) for some in parts])
    np.testing.assert_allclose(found.signal, signal)
    np.testing.assert_allclose(found.product, product)
    np.testing.assert_allclose(found.true_gradient, lengths)
    np.testing.assert_allclose(found.variance, 64 * (squares - signal))
    # the bias: what is left of an estimate once the true gradient of its own group is taken off
    np.testing.assert_allclose(found.squared_bias, [products(means - true, means - true, some) for some in parts])
    middle = (means - true).mean(axis=0)
    assert found.bias_square == pytest.approx(middle @ middle)
    length = signal + (squares - signal) * 64 / 256
    for one, other in (
        (found.cosine(256.0), ratio([product], [np.sqrt(lengths * length)], COSINES)),
        (found.relative_variance(256.0), ratio([(squares - signal) * 64 / 256], [lengths], SIZES)),
    ):
        assert ends_of(one) == pytest.approx(ends_of(other))


def test_the_noise_of_a_squared_mean_is_that_of_its_covariance(draws):
    """Of mean_{j != k} x_j . x_k, x normal about zero: 2 tr(C^2) / (K (K - 1)), found without bias."""
    deviations, count = np.array([1.0, 0.5]), 6
    found = [noise_of_square(x @ x.T) for x in deviations * draws.standard_normal((4000, count, 2))]
    assert np.mean(found) == pytest.approx(2 * np.sum(deviations**4) / (count * (count - 1)), rel=0.1)


@pytest.mark.parametrize("bias", [0.05, 0.3, 1.0])
def test_the_ends_of_a_relative_bias_solve_their_equation(draws, bias):
    """(value - b)^2 = t^2 (noise + growth b): variance without a bias, and what grows with it."""
    *_, found = compared(draws, bias=bias)
    relative = found.squared_bias / found.true_gradient
    value = without_bias(relative[0], relative[1:])
    jackknifed = 7 / 8 * np.square(relative[1:] - relative[1:].mean()).sum()
    growth = jackknifed / (found.bias_square / found.true_gradient[0])
    noise, squared = found.bias_noise / found.true_gradient[0] ** 2, stats.t.ppf(0.975, 7) ** 2
    low, high = np.sort(np.roots([1.0, -(2 * value + squared * growth), value**2 - squared * noise]).real)
    one = found.relative_bias()
    assert ends_of(one) == pytest.approx((value, min(max(low, 0.0), value), high))  # no bias is below 0


def test_lambdas_that_are_not_clearly_worse_are_those_whose_ratio_reaches_one(draws):
    true = 2 * np.eye(3)[0] + 0.1 * draws.standard_normal((8, 3))
    biases = (0.0, 0.05, 0.8, 3.0)
    found = [compare(true + bias * np.eye(3)[1] + 0.2 * draws.standard_normal((8, 3)), true, 64.0) for bias in biases]
    scores = [one.product / np.sqrt(one.signal + one.variance / 640) for one in found]
    best = int(np.argmax([score[0] for score in scores]))
    reaching = [
        at == best or log_jackknife(score[0] / scores[best][0], score[1:] / scores[best][1:]).high >= 1
        for at, score in enumerate(scores)
    ]
    chosen = best_lambda(found, 640.0)
    assert (chosen.place, chosen.among) == (best, tuple(np.flatnonzero(reaching)))
    assert 1 < len(chosen.among) < 4


def test_a_gain_is_measured_by_the_half_that_did_not_choose(draws):
    """Halves that choose differently: each choice's score in the other half, over the agent's own in both."""

    def half(*cosines):
        rows = 40.0 + 0.1 * draws.standard_normal((8, 1))
        along, across = np.eye(3)[:2]
        return [compare(rows * (c * along + np.sqrt(1 - c**2) * across), rows * along, 64.0) for c in cosines]

    halves = [half(0.9, 0.8, 0.5), half(0.7, 0.9, 0.5)]
    scores = [[float(one.product[0] / np.sqrt(one.signal[0])) for one in one_half] for one_half in halves]
    gain = (scores[0][1] + scores[1][0]) / (scores[0][2] + scores[1][2])
    assert gain_of_best(halves, 2, 1e9).value == pytest.approx(gain, rel=1e-3)
    assert gain == pytest.approx((0.8 + 0.7) / (0.5 + 0.5), rel=1e-3)


def episodes_of(draws, streams=7):
    """Returns and numbers of episodes of three policies, on streams that share draws."""
    episodes = draws.integers(1, 6, (3, streams)).astype(float)
    shared = draws.standard_normal(streams)
    returns = episodes * (10 + np.arange(3)[:, None] + shared) + draws.standard_normal((3, streams))
    return returns, episodes


def linearized(returns, episodes):
    """What a stream adds to the ratio, by finite differences of its weight: (R with w_s = 1 + h) - (R with 1 - h)."""
    h, rows = 1e-5, []
    for own, count in zip(returns, episodes, strict=True):
        weights = np.ones(len(own)) + h * np.eye(len(own)), np.ones(len(own)) - h * np.eye(len(own))
        up, down = ((w @ own) / (w @ count) for w in weights)
        rows.append((up - down) / (2 * h) * len(own))
    return np.array(rows)


def test_gains_of_paired_streams_have_the_deviation_of_their_differences(draws):
    returns, episodes = episodes_of(draws)
    mean, influence = returns.sum(axis=1) / episodes.sum(axis=1), linearized(returns, episodes)
    np.testing.assert_allclose(influences(returns, episodes), influence, atol=1e-6)
    found = paired_gains(returns, episodes, 0)
    for policy in (1, 2):
        difference = influence[policy] - influence[0]
        low, high = stats.t.interval(0.95, 6, mean[policy] - mean[0], stats.sem(difference))
        assert (found.low[policy], found.high[policy]) == pytest.approx((low, high), rel=1e-5)
    whole = mean_returns(returns, episodes, returns**2)
    low, high = stats.t.interval(0.95, 6, mean, stats.sem(influence, axis=1))
    np.testing.assert_allclose((whole.low, whole.high), (low, high), rtol=1e-5)


def test_gains_of_independent_streams_have_welchs_interval(draws):
    """Each stream of one episode: the difference of two means, as textbooks have it."""
    returns, episodes = draws.standard_normal((3, 9)) * [[1.0], [3.0], [0.5]] + 5, np.ones((3, 9))
    found, freedom = paired_gains(returns, episodes, 0, paired=False), gain_freedom(returns, episodes, 0, paired=False)
    for policy in (1, 2):
        known = stats.ttest_ind(returns[policy], returns[0], equal_var=False)
        interval = known.confidence_interval()
        assert freedom[policy] == pytest.approx(known.df)
        assert (found.low[policy], found.high[policy]) == pytest.approx((interval.low, interval.high))
    assert (found.low[0], found.high[0]) == (0.0, 0.0)


def test_pairs_that_common_draws_save_by_leaving_each_stream_out(draws):
    returns, episodes = episodes_of(draws)
    influence = influences(returns, episodes)

    def saved(rows):
        return (rows[:, 1].var(ddof=1) + rows[:, 0].var(ddof=1)) / (rows[:, 1] - rows[:, 0]).var(ddof=1)

    expected = log_jackknife(saved(influence.T), without_each(influence.T, saved))
    found = pairing_gain(returns, episodes, 0)
    assert (found.value[1], found.low[1], found.high[1]) == pytest.approx(ends_of(expected))
    assert np.isnan(found.value[0])


def test_episodes_are_the_units_of_two_streams(draws):
    earned = draws.standard_normal(14) + 3
    split = earned[:9], earned[9:]
    returns, squares, episodes = (
        np.array([[part(one) for one in split]]) for part in (np.sum, lambda one: np.square(one).sum(), len)
    )
    found = mean_returns(returns, episodes.astype(float), squares)
    low, high = stats.t.interval(0.95, 13, earned.mean(), stats.sem(earned))
    assert (found.value[0], found.low[0], found.high[0]) == pytest.approx((earned.mean(), low, high))


def test_pairs_for_a_cosine_give_that_cosine():
    scale = Interval(3000.0, 1000.0, np.inf)
    for pairs_for, cosine_at in (
        (pairs_for_pairwise_cosine, lambda pairs: 1 / (1 + 3000.0 / pairs)),
        (pairs_for_true_cosine, lambda pairs: 1 / np.sqrt(1 + 3000.0 / pairs)),
    ):
        pairs = pairs_for(0.3, scale)
        assert cosine_at(pairs.value) == pytest.approx(0.3)
        assert (pairs.low / pairs.value, pairs.high) == (pytest.approx(1 / 3), np.inf)
    assert float(true_cosine_at(np.array(1000), 3000.0)) == pytest.approx(0.5)
    assert float(pairwise_cosine_at(np.array(1000), 3000.0)) == pytest.approx(0.25)


def test_the_share_between_trajectories_is_that_of_an_analysis_of_variance(draws):
    """One-way layout of vectors, groups of unequal length, sums of squares about means taken one by one."""
    groups = [draws.standard_normal((n, 3)) + 2 * draws.standard_normal(3) for n in (2, 5, 9, 4)]
    everything = np.concatenate(groups)
    lengths, pairs = np.array([len(own) for own in groups]), len(everything)
    between = sum(len(own) * np.square(own.mean(0) - everything.mean(0)).sum() for own in groups) / (len(groups) - 1)
    within = sum(np.square(own - own.mean(0)).sum() for own in groups) / (pairs - len(groups))
    usual = (pairs - (lengths**2).sum() / pairs) / (len(groups) - 1)
    component = (between - within) / usual
    squares = Squares(
        single=np.square(everything).sum(),
        trajectory=sum(np.square(own.sum(0)).sum() / len(own) for own in groups),
        total=np.square(everything.sum(0)).sum(),
        pairs=pairs,
        trajectories=len(groups),
        squared_lengths=(lengths**2).sum(),
    )
    assert between_share(squares) == pytest.approx(component / (component + within))


def test_the_variance_of_single_pairs_and_without_each_block(draws):
    blocks = [draws.standard_normal((n, 3)) + 1 for n in (3, 6, 4, 5)]
    single, sums = np.array([np.square(own).sum() for own in blocks]), np.array([own.sum(0) for own in blocks])
    value, without = pair_variance(single, sums, np.array([len(own) for own in blocks]))

    def spread(some):
        rows = np.concatenate(some)
        return np.square(rows - rows.mean(0)).sum() / len(rows)

    assert value == pytest.approx(spread(blocks))
    np.testing.assert_allclose(without, [spread(blocks[:at] + blocks[at + 1 :]) for at in range(4)])


def test_the_effective_fraction_is_a_ratio_of_two_variances(draws):
    own, noise = draws.uniform(3, 4, 6), draws.uniform(7, 8, 9)
    scale = NoiseScale(1.0, 7.5, Interval(1.0, 0.5, 2.0), noise)
    logs = plain_jackknife(np.log(3.5 / 7.5), np.log(own), np.log(noise))
    found = effective_sample_fraction((3.5, own), scale)
    assert ends_of(found) == pytest.approx((3.5 / 7.5, np.exp(logs.low), np.exp(logs.high)))


def test_a_ratio_less_its_bias_with_the_ends_of_fiellers_equation(draws):
    """(x - r y)^2 = t^2 Var(x - r y) at both ends, the variance jackknifed for that very r."""
    rows = np.stack([draws.standard_normal(12) + 4, 0.3 * draws.standard_normal(12) + 2], axis=1)
    above, below = (np.array([part.mean(), *without_each(part, np.mean)]) for part in rows.T)
    found = ratio([above], [below], (-np.inf, np.inf))
    plain = above / below
    assert found.value == pytest.approx(without_bias(plain[0], plain[1:]))

    def beyond(r):
        deviation = stats.sem(rows[:, 0] - r * rows[:, 1])
        return abs(rows[:, 0].mean() - r * rows[:, 1].mean()) - stats.t.ppf(0.975, 11) * deviation

    assert beyond(found.value) < 0
    assert [beyond(end) for end in (found.low, found.high)] == pytest.approx([0, 0], abs=1e-9)
    far = ratio([above], [below - 1.9], (-1.0, 5.0))  # a denominator that may be nil
    assert np.isnan(far.value)
    assert (far.low, far.high) == (-1.0, 5.0)


@pytest.mark.parametrize("paired", [True, False])
def test_points_that_may_be_best_are_those_that_no_other_surely_beats(draws, paired):
    counts = []
    for _ in range(20):
        spread = np.array([0.3, 2.0, 0.3, 1.0, 0.3])  # of points: the noise of either counts
        surfaces = draws.standard_normal((10, 1)) + spread * draws.standard_normal((10, 5))
        surfaces += draws.uniform(0, 1.5, 5)
        mean, variance = surfaces.mean(axis=0), surfaces.var(axis=0, ddof=1)

        def beaten(i, j, surfaces=surfaces, mean=mean, variance=variance):
            together = (surfaces[:, j] - surfaces[:, i]).var(ddof=1) if paired else variance[i] + variance[j]
            return mean[j] - mean[i] > stats.t.ppf(1 - 0.05 / 4, 9) * np.sqrt(together / 10)

        expected = [not any(beaten(i, j) for j in range(5) if j != i) for i in range(5)]
        best, maybe = best_point(surfaces, paired=paired)
        assert best == mean.argmax()
        assert maybe.tolist() == expected
        counts.append(sum(expected))
    assert len(set(counts)) > 2


@pytest.mark.parametrize(("count", "tail"), [(100, 20), (10_000, 300)])
def test_a_tail_is_of_a_fifth_or_of_three_roots(draws, count, tail):
    """Vehtari et al., appendix G: min(S / 5, 3 sqrt(S)) largest, above the next one."""
    ratios = draws.pareto(2.0, count) + 1
    ordered = np.sort(ratios)
    assert pareto_k(ratios) == generalized_pareto_shape(ordered[-tail:] - ordered[-tail - 1])


@pytest.mark.parametrize("size", [12, 200])
def test_the_shape_of_a_tail_step_by_step(draws, size):
    """Zhang and Stephens' estimate as their paper writes it, theta by theta, then the weak prior around a half."""
    x = np.sort(stats.genpareto(0.7).rvs(size, random_state=draws))
    count, quartile = 30 + int(np.sqrt(size)), x[int(size / 4 + 0.5) - 1]
    thetas = [1 / x[-1] + (1 - np.sqrt(count / (j - 0.5))) / (3 * quartile) for j in range(1, count + 1)]

    def likelihood(theta):
        k = -np.mean(np.log(1 - theta * x))
        return size * (np.log(theta / k) + k - 1)

    logs = [likelihood(theta) for theta in thetas]
    weights = [1 / sum(np.exp(other - own) for other in logs) for own in logs]
    theta = sum(weight * one for weight, one in zip(weights, thetas, strict=True))
    k = np.mean(np.log(1 - theta * x))
    assert generalized_pareto_shape(x) == pytest.approx((size * k + 10 * 0.5) / (size + 10))
    assert size == 12 or abs(k - 0.7) < 0.2


def test_the_rank_of_features_counts_singular_values_not_their_squares():
    assert [effective_rank(np.diag([10.0, 1.0, small])) for small in (0.0, 0.05, 1.0)] == [2, 2, 3]
    assert effective_rank(np.zeros((3, 2))) == 0


def test_bias_and_noise_of_values_by_groups_of_states(draws):
    """Per state: the squared miss of the mean of K returns, less its noise s^2 / K; groups are left out in turn."""
    values, returns = draws.standard_normal(9), 3 * draws.standard_normal((9, 4))
    groups = np.array([0, 0, 1, 2, 2, 2, 3, 4, 4])
    noise = [np.sum((own - own.mean()) ** 2) / 3 for own in returns]
    bias = [(value - own.mean()) ** 2 - s / 4 for value, own, s in zip(values, returns, noise, strict=True)]
    found = split_error(values, returns, groups)
    for one, numbers in ((found.bias, np.array(bias)), (found.noise, np.array(noise))):
        without = [numbers[groups != name].mean() for name in range(5)]
        least = -np.inf if one is found.bias else 0.0
        assert ends_of(one) == pytest.approx(ends_of(skewed_jackknife(numbers.mean(), np.array(without), least=least)))
    assert mean_squared_error(values, returns[:, 0], groups).value == pytest.approx(
        np.mean((values - returns[:, 0]) ** 2)
    )


def test_a_calibration_curve_by_leaving_each_stream_out(draws):
    values, targets = draws.standard_normal((6, 40)), draws.standard_normal((6, 40)) + 2
    found = calibration(values, targets, bins=4)
    edges = np.quantile(values, [0.25, 0.5, 0.75])
    for place in range(4):
        inside = np.searchsorted(edges, values, side="right") == place

        def mean_of(streams, inside=inside):
            return targets[streams][inside[streams]].mean()

        without = np.array([mean_of([one for one in range(6) if one != stream]) for stream in range(6)])
        assert found.predicted[place] == pytest.approx(values[inside].mean())
        assert ends_of(found.targets[place]) == pytest.approx(ends_of(plain_jackknife(mean_of(range(6)), without)))


def test_means_over_streams_by_leaving_each_out(draws):
    numbers = draws.uniform(1, 3, (7, 5))
    without = without_each(numbers, np.mean)
    assert ends_of(mean_over_streams(numbers)) == pytest.approx(ends_of(log_jackknife(numbers.mean(), without)))
    signed = numbers - 2
    low, high = stats.t.interval(0.95, 6, signed.mean(), stats.sem(signed.mean(axis=1)))
    assert ends_of(mean_over_streams(signed)) == pytest.approx((signed.mean(), low, high))


def test_a_median_has_woodruffs_interval_with_ties_as_halves(draws):
    """Some streams have many numbers that are the median itself: quantiles at a half, t errors of the share around."""
    numbers = draws.standard_normal((8, 30)) + draws.standard_normal((8, 1))
    for stream, ties in enumerate((0, 2, 4, 6, 8, 10, 12, 14)):
        numbers[stream, :ties] = 0.0
    numbers -= np.median(numbers)
    assert (numbers == 0).sum() > 50
    shares = [np.mean(own < 0) + np.mean(own == 0) / 2 for own in numbers]
    reach = stats.t.ppf(0.975, 7) * stats.sem(shares)
    known = (0.0, *np.quantile(numbers, [0.5 - reach, 0.5 + reach]))
    assert ends_of(median_interval(numbers)) == pytest.approx(known)
    assert known[1] < 0 < known[2]


def test_explained_variance_by_leaving_each_stream_out(draws):
    targets = draws.standard_normal((6, 20)) + 3
    values = targets + 0.5 * draws.standard_normal((6, 20)) + 1

    def unexplained(some):
        return np.var(targets[some] - values[some]) / np.var(targets[some])

    without = np.array([unexplained([one for one in range(6) if one != stream]) for stream in range(6)])
    odd = log_jackknife(unexplained(range(6)), without)
    assert ends_of(explained_variance(values, targets)) == pytest.approx((1 - odd.value, 1 - odd.high, 1 - odd.low))


def test_what_baselines_take_off_by_traces_of_covariances(draws):
    shared = draws.standard_normal((12, 3))
    means = {"mean": 3 * shared, "critic": 2 * shared + draws.standard_normal((12, 3)), "fitted": shared}
    means = {name: rows + 0.1 * draws.standard_normal((12, 3)) for name, rows in means.items()}

    def trace(rows):
        return np.trace(np.cov(rows.T))

    traces = {name: np.array([trace(rows), *without_each(rows, trace)]) for name, rows in means.items()}
    found = reduce_variance(means, "mean", "critic", "fitted")
    for one, parts in ((found.ratios["critic"], ("critic", "mean")), (found.excess, ("critic", "fitted"))):
        shares = traces[parts[0]] / traces[parts[1]]
        assert ends_of(one) == pytest.approx(ends_of(skewed_jackknife(shares[0], shares[1:], least=0.0)))
    saved = [traces["mean"] - traces[name] for name in ("critic", "fitted")]
    known = ratio([saved[0]], [saved[1]], (-np.inf, np.inf))
    assert ends_of(found.delivered) == pytest.approx(ends_of(known))
    assert 0 < found.delivered.value < 1
