"""Cosines to a truth that is sampled as well: the slow twin deletes streams and starts again."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats

from closerlook.measurements.stream_sums import squared_streams
from closerlook.statistics.blocks import block_streams
from closerlook.statistics.estimates import Interval
from closerlook.statistics.noise import (
    Squares,
    between_share,
    effective_sample_fraction,
    noise_scale,
    pair_variance,
    pairs_for_pairwise_cosine,
    pairs_for_true_cosine,
    pairwise_cosine_at,
    together,
    true_cosine_at,
)
from closerlook.statistics.true_gradients import (
    Shares,
    TrueCosine,
    cosine_between,
    cosine_to_sampled,
    has_signal,
    jackknife,
    true_cosine,
)

PAIRS = 7.0
"""Of a stream."""


def some_slow(*values: tuple, fast: Callable[..., bool]) -> list[object]:
    """Combine values in all ways; those that are not fast are tested by the slow tests."""
    return [pytest.param(*one, marks=[] if fast(*one) else pytest.mark.slow) for one in product(*values)]


def streams(draws, count, size, noise):
    """Sums over streams: a gradient (1, 0, ...) and noise in every direction."""
    sums = noise * draws.standard_normal((count, size))
    sums[:, 0] += 1.0
    return PAIRS * sums


def shared(sums: np.ndarray, n: int, each: int) -> tuple[np.ndarray, Shares]:
    """Divide streams' sums among n estimates, and leave the rest stream by stream."""
    own, rest = sums[: n * each].reshape(n, each, -1).sum(axis=1), sums[n * each :]
    pairs = np.full(n, each * PAIRS)
    squares = float(np.square(rest).sum())
    return own / pairs[:, None], Shares(own, pairs, rest.sum(axis=0), PAIRS * len(rest), squares, PAIRS**2 * len(rest))


def by_hand(sums: np.ndarray, estimates: np.ndarray, each: int) -> tuple[float, float]:
    """Both cosines from streams and estimates, in plain loops; estimate i owns `each` streams from i * each on."""
    n = len(estimates)
    blocks = [sums[i * each : (i + 1) * each].sum(axis=0) for i in range(n)] + list(sums[n * each :])
    counts = [each * PAIRS] * n + [PAIRS] * (len(sums) - n * each)
    products = pairs = 0.0
    for i, left in enumerate(blocks):
        for j, right in enumerate(blocks):
            if i != j:
                products += left @ right
                pairs += counts[i] * counts[j]
    length = np.sqrt(products / pairs)
    plain, corrected = [], []
    for i, estimate in enumerate(estimates):
        unit = estimate / np.sqrt(estimate @ estimate)
        truth = np.sum([block for j, block in enumerate(blocks) if j != i], axis=0)
        count = sum(count for j, count in enumerate(counts) if j != i)
        plain.append(unit @ truth / np.sqrt(truth @ truth))
        corrected.append(unit @ truth / count / length)
    return float(np.mean(plain)), float(np.mean(corrected))


@pytest.mark.parametrize("rest", [0, 9])
@pytest.mark.parametrize("each", [1, 3])
def test_cosines_and_replicates_equal_loops_over_streams(rest, each):
    draws, n = np.random.default_rng(2), 6
    sums = streams(draws, n * each + rest, 5, 0.4)
    estimates, shares = shared(sums, n, each)
    estimates = estimates + 0.1 * draws.standard_normal(estimates.shape)  # of another weighting than the target
    found = true_cosine(estimates, shares)
    assert (found.plain.value, found.corrected.value) == pytest.approx(by_hand(sums, estimates, each))
    replicates = []
    for j in range(n):
        without = np.delete(sums, range(j * each, (j + 1) * each), axis=0)
        replicates.append(by_hand(without, np.delete(estimates, j, axis=0), each))
    plain, corrected = np.array(replicates).T
    for interval, without in ((found.plain, plain), (found.corrected, corrected)):
        expected = jackknife(interval.value, without)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_is_the_jackknifes():
    without = np.array([0.2, 0.3, 0.25, 0.35])
    logs = np.log(1 - without)
    reach = 3.182446305 * np.sqrt(3 / 4 * ((logs - logs.mean()) ** 2).sum())
    found = jackknife(0.28, without)
    assert (found.low, found.high) == pytest.approx((1 - 0.72 * np.exp(reach), 1 - 0.72 * np.exp(-reach)))
    above = np.array([0.9, 1.1, 1.0])
    reach = 4.30265273 * np.sqrt(2 / 3 * 0.02)
    assert jackknife(1.0, above).high == pytest.approx(1.0 + reach)


def test_too_few_estimates_have_no_interval_and_none_have_nothing():
    estimates, shares = shared(streams(np.random.default_rng(0), 2, 4, 0.1), 2, 1)
    found = true_cosine(estimates, shares)
    assert found.plain.value > 0.9
    assert np.isnan([found.plain.low, found.corrected.low, found.corrected.high]).all()
    nothing = true_cosine(np.zeros((0, 4)), Shares(np.zeros((0, 4)), np.zeros(0), np.ones(4), 1.0, 4.0, 1.0))
    assert isinstance(nothing, TrueCosine)
    assert np.isnan(nothing.plain.value)


def test_without_a_signal_the_corrected_cosine_is_blank_not_clipped():
    blank = 0
    for seed in range(20):
        sums = np.random.default_rng(seed).standard_normal((12, 300))
        found = true_cosine(*shared(sums, 12, 1), known=has_signal(sums))
        assert np.isfinite(found.plain.value)
        blank += (found.corrected.low, found.corrected.high) == (-1, 1) and np.isnan(found.corrected.value)
    assert blank >= 19


@pytest.mark.parametrize("cosine", [0.01, 0.05])
def test_blank_cosines_and_others_together_cover(cosine):
    """From no signal to some: the value is blank where it is not known, not where it came out badly."""
    size, repeats = 100, 400
    noise, draws = np.sqrt((1 / cosine**2 - 1) / size), np.random.default_rng(9)
    exact, found = exact_cosine(size, noise, 1), []
    for _ in range(repeats):
        sums = streams(draws, 100, size, noise)
        found.append(true_cosine(*shared(sums, 20, 1), known=has_signal(sums)).corrected)
    assert np.mean([one.low <= exact <= one.high for one in found]) >= 0.925
    assert np.mean([np.isnan(one.value) for one in found]) > 0.2


def whole(sums: np.ndarray) -> tuple[Shares, np.ndarray, np.ndarray]:
    """A truth from streams that belong to no estimate, and its groups: one stream each."""
    count, pairs = len(sums), np.full(len(sums), PAIRS)
    nobody = np.zeros((0, sums.shape[1])), np.zeros(0)
    return Shares(*nobody, sums.sum(0), PAIRS * count, float(np.square(sums).sum()), PAIRS**2 * count), sums, pairs


def test_cosines_to_a_truth_apart_equal_loops():
    """The slow twin leaves out a step, or a group, and starts again."""
    draws = np.random.default_rng(3)
    steps, sums = draws.standard_normal((5, 4)) + 1.0, streams(draws, 7, 4, 0.3)

    def cosines(steps, sums):
        truth, products = sums.sum(0), 0.0
        for i, left in enumerate(sums):
            products += sum(left @ right for j, right in enumerate(sums) if i != j)
        length = np.sqrt(products / (len(sums) * (len(sums) - 1)))
        along = np.mean([step @ truth / np.sqrt(step @ step) for step in steps])
        return along / np.sqrt(truth @ truth), along / len(sums) / length

    found, value = cosine_to_sampled(steps, *whole(sums)), cosines(steps, sums)
    by_step = np.array([cosines(np.delete(steps, i, axis=0), sums) for i in range(5)]).T
    by_group = np.array([cosines(steps, np.delete(sums, k, axis=0)) for k in range(7)]).T
    for interval, middle, left, right in zip((found.plain, found.corrected), value, by_step, by_group, strict=True):
        assert interval.value == pytest.approx(middle)
        logs = [np.log(1 - replicates) for replicates in (left, right)]
        variances = [np.square(one - one.mean()).sum() * (len(one) - 1) / len(one) for one in logs]
        freedom = sum(variances) ** 2 / (variances[0] ** 2 / 4 + variances[1] ** 2 / 6)
        reach = stats.t.ppf(0.975, freedom) * np.sqrt(sum(variances))
        expected = [1 - (1 - middle) * np.exp(sign * reach) for sign in (1, -1)]
        assert (interval.low, interval.high) == pytest.approx(expected)
    assert np.isnan(cosine_to_sampled(steps[:2], *whole(sums)).plain.low)
    assert np.isnan(cosine_to_sampled(steps, *whole(sums[:2])).plain.low)
    assert np.isnan(cosine_to_sampled(steps[:0], *whole(sums)).plain.value)


@pytest.mark.parametrize(
    ("own", "cosine", "batches"),
    some_slow(
        [0.1, 3.0],
        [0.05, 0.3, 0.9],
        [1, 10, 100],
        fast=lambda _, cosine, batches: (cosine, batches) in {(0.05, 100), (0.3, 10), (0.9, 1)},
    ),
)
def test_intervals_of_updates_cover_with_the_noise_of_the_true_gradient(own, cosine, batches):
    """Ten steps about a direction of their own, a truth of 98 streams whose noise scale is so many of them."""
    size, repeats = 100, 500
    draws = np.random.default_rng(batches + int(100 * cosine))
    middle = np.zeros(size)
    middle[:2] = cosine, np.sqrt(1 - cosine**2)
    middle *= np.sqrt(1 + own)  # so that the steps' own noise leaves the mean cosine where it is

    def steps(count):
        return middle + np.sqrt(own / size) * draws.standard_normal((count, size))

    many = steps(20_000)
    exact = (many[:, 0] / np.linalg.norm(many, axis=1)).mean()
    found, conditional = [], []
    for _ in range(repeats):
        ten, truth = steps(10), whole(streams(draws, 98, size, np.sqrt(batches / size)))
        found.append(cosine_to_sampled(ten, *truth).corrected)
        alone = truth[0]
        shares = Shares(np.zeros((10, size)), np.zeros(10), *(getattr(alone, name) for name in REST))
        conditional.append(true_cosine(ten, shares).corrected)
    known = [one for one in found if np.isfinite(one.low)]
    assert len(known) >= 0.98 * repeats
    assert 0.92 <= np.mean([one.low <= exact <= one.high for one in known]) <= 0.99
    values = np.array([one.value for one in known if np.isfinite(one.value)])
    # four standard errors, and more where a noisy truth makes cosines near 1 skewed
    spread = np.subtract(*np.quantile(values, [0.84, 0.16])) / 2
    assert np.median([one.high - one.low for one in known]) < 7 * spread
    if batches > 1 and own < 1:  # a truth that is taken as exact
        assert np.mean([one.low <= exact <= one.high for one in conditional]) < 0.7


REST = ("rest", "rest_pairs", "rest_squares", "rest_pairs_squares")


def exact_cosine(size: int, noise: float, each: int) -> float:
    """Return the mean cosine of an estimate from so many streams to the exact gradient, from many."""
    draws = np.random.default_rng(11)
    estimates = noise / np.sqrt(each) * draws.standard_normal((20_000, size))
    estimates[:, 0] += 1.0
    return float((estimates[:, 0] / np.linalg.norm(estimates, axis=1)).mean())


@pytest.mark.parametrize(
    ("shape", "cosine"),
    some_slow(
        [(10, 2, 600), (40, 1, 300), (100, 1, 300)],
        [0.05, 0.3, 0.9],
        fast=lambda shape, cosine: (shape[0], cosine) in {(10, 0.05), (10, 0.9), (40, 0.3)},
    ),
)
def test_the_corrected_interval_covers_the_cosine_to_the_exact_gradient(shape, cosine):
    (n, each, rest), size, repeats = shape, 100, 500
    noise = np.sqrt(each / size * (1 / cosine**2 - 1))
    draws = np.random.default_rng(int(1000 * cosine) + n)
    found = [true_cosine(*shared(streams(draws, n * each + rest, size, noise), n, each)) for _ in range(repeats)]
    exact = exact_cosine(size, noise, each)
    known = [one.corrected for one in found if np.isfinite(one.corrected.low)]
    assert len(known) >= 0.99 * repeats
    covered = np.mean([one.low <= exact <= one.high for one in known])
    assert 0.92 <= covered <= 0.99
    # not wide for being safe: about four standard errors, up to 1.5 for Student's t and what varies
    spread = np.std([one.value for one in known])
    assert np.median([one.high - one.low for one in known]) < 6 * spread
    if cosine > 0.1:
        assert np.mean([one.value for one in known]) == pytest.approx(exact, abs=0.01)
        assert np.mean([one.plain.value for one in found]) < exact


def test_cosine_between_true_gradients_leaves_out_what_groups_share():
    """Two targets at 60 degrees whose noise is the same within a group, and cancels in the cosine."""
    draws, groups, size = np.random.default_rng(5), 60, 50
    covered, plain = [], []
    for _ in range(300):
        noise = 0.5 * draws.standard_normal((groups, size))
        left, right = noise.copy(), noise.copy()
        left[:, 0] += 1.0
        right[:, 0] += 0.5
        right[:, 1] += np.sqrt(0.75)
        found = cosine_between(left, right)
        covered.append(found.low <= 0.5 <= found.high)
        plain.append(found.value)
    assert np.mean(plain) == pytest.approx(0.5, abs=0.01)
    assert 0.92 <= np.mean(covered) <= 0.99


def test_cosine_between_true_gradients_equals_loops_over_groups():
    draws = np.random.default_rng(5)
    left, right = draws.standard_normal((2, 9, 4)) + 2.0

    def by_hand(left, right):
        table = [[a @ b for b in right] for a in left]
        product = sum(table[i][j] for i in range(len(left)) for j in range(len(right)) if i != j)
        lengths = [
            sum(rows[i] @ rows[j] for i in range(len(rows)) for j in range(len(rows)) if i != j)
            for rows in (left, right)
        ]
        return product / np.sqrt(lengths[0] * lengths[1])

    whole = by_hand(left, right)
    without = [by_hand(np.delete(left, k, axis=0), np.delete(right, k, axis=0)) for k in range(9)]
    assert cosine_between(left, right).value == pytest.approx(9 * whole - 8 * np.mean(without))


@pytest.mark.parametrize("cosine", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("groups", [10, 64])
def test_the_noise_scale_is_recovered_and_its_interval_covers(groups, cosine):
    size, repeats = 100, 500
    noise = np.sqrt((1 / cosine - 1) / size)
    exact = PAIRS * (1 / cosine - 1)
    draws = np.random.default_rng(groups)
    found = [noise_scale(streams(draws, groups, size, noise), np.full(groups, PAIRS)) for _ in range(repeats)]
    covered = np.mean([one.pairs.low <= exact <= one.pairs.high for one in found])
    assert 0.92 <= covered <= 0.99
    assert np.mean([one.squared_norm for one in found]) == pytest.approx(1.0, rel=0.06)
    assert np.mean([one.variance for one in found]) == pytest.approx(exact, rel=0.02)
    if cosine > 0.1 or groups > 10:
        assert np.median([one.pairs.high / one.pairs.low for one in found]) < 2.0


def test_half_streams_as_units_would_not_cover():
    """Halves of a stream share a part of their noise: they are no independent groups."""
    size, count, repeats = 50, 60, 300
    draws, whole, half = np.random.default_rng(12), [], []
    for _ in range(repeats):
        common = np.repeat(streams(draws, count, size, 0.2), 2, axis=0)
        halves = (common + PAIRS * 0.1 * draws.standard_normal(common.shape)) / 2
        whole.append(noise_scale(halves.reshape(count, 2, size).sum(axis=1), np.full(count, PAIRS)).pairs)
        half.append(noise_scale(halves, np.full(2 * count, PAIRS / 2)).pairs)
    exact = PAIRS * size * (0.2**2 + 0.1**2 / 2)
    assert 0.92 <= np.mean([one.low <= exact <= one.high for one in whole]) <= 0.99
    assert np.mean([one.low <= exact <= one.high for one in half]) < 0.9


def test_a_noise_scale_without_signal_is_open_ended():
    open_ended = 0
    for seed in range(40):
        sums = np.random.default_rng(seed).standard_normal((20, 50))
        found = noise_scale(sums, np.full(20, 1.0)).pairs
        open_ended += np.isinf(found.high)
        assert np.isnan(found.value) or found.value > 0
    assert open_ended > 30


def test_noise_scale_by_hand():
    sums = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    # means of 2 pairs: (1, 0), (0, 1), (1, 1); products of different ones 0, 1, 1; squares 1, 1, 2
    found = noise_scale(sums, np.full(3, 2.0))
    assert found.squared_norm == pytest.approx(2 / 3)
    assert found.variance == pytest.approx(2 * (4 / 3 - 2 / 3))
    assert found.pairs.value == pytest.approx(2.0)
    with pytest.raises(ValueError, match="differ in pairs"):
        noise_scale(sums, np.array([1.0, 2.0, 2.0]))


def test_predictions_and_the_pairs_they_ask_for_are_inverse():
    scale = Interval(100.0, 50.0, np.inf)
    for cosine in (0.5, 0.9):
        needed, of_true_gradient = pairs_for_pairwise_cosine(cosine, scale), pairs_for_true_cosine(cosine, scale)
        assert pairwise_cosine_at(needed.value, 100.0) == pytest.approx(cosine)
        assert true_cosine_at(of_true_gradient.value, 100.0) == pytest.approx(cosine)
        assert needed.high == of_true_gradient.high == np.inf
        assert needed.low == needed.value / 2


def test_variance_between_and_within_trajectories_is_told_apart():
    """Trajectories of unequal length whose pairs share a draw: the share is known."""
    draws, shares = np.random.default_rng(8), []
    lengths = np.array([3, 10, 5, 7, 15] * 40)
    for _ in range(40):
        common = draws.standard_normal((len(lengths), 20))
        pairs = np.repeat(common, lengths, axis=0) + np.sqrt(3.0) * draws.standard_normal((lengths.sum(), 20))
        starts = np.cumsum([0, *lengths[:-1]])
        sums = np.add.reduceat(pairs, starts)
        squares = Squares(
            single=float(np.square(pairs).sum()),
            trajectory=float((np.square(sums).sum(axis=1) / lengths).sum()),
            total=float(np.square(pairs.sum(axis=0)).sum()),
            pairs=float(lengths.sum()),
            trajectories=float(len(lengths)),
            squared_lengths=float(np.square(lengths).sum()),
        )
        shares.append(between_share(squares))
    assert np.mean(shares) == pytest.approx(0.25, abs=0.01)
    both = together([squares, squares])
    assert (both.single, both.total, both.pairs) == (2 * squares.single, 2 * squares.total, squares.pairs)
    assert np.isnan(between_share(Squares(1.0, 1.0, 1.0, 5.0, 1.0, 25.0)))


@pytest.mark.parametrize("noise", [1.0, 5.0])
def test_the_effective_sample_fraction_is_known_as_well_as_its_interval_says(noise):
    """Streams of two trajectories of eight pairs that share a draw: the fraction is (1 + v) / (8 + v), v the noise."""
    draws, found = np.random.default_rng(9), []
    exact = (1 + noise) / (8 + noise)
    for _ in range(400):
        common = np.repeat(draws.standard_normal((48, 2, 12)), 8, axis=1)
        pairs = 0.3 + common + np.sqrt(noise) * draws.standard_normal(common.shape)
        sums, counts = pairs.sum(axis=1), np.full(48, 16.0)
        of_pairs = pair_variance(np.square(pairs).sum((1, 2)), sums, counts)
        everything = pairs.reshape(-1, 12)
        assert of_pairs[0] == pytest.approx(everything.var(axis=0).sum())
        assert of_pairs[1][7] == pytest.approx(np.delete(pairs, 7, axis=0).reshape(-1, 12).var(axis=0).sum())
        found.append(effective_sample_fraction(of_pairs, noise_scale(sums, counts)))
    assert np.mean([one.value for one in found]) == pytest.approx(exact, rel=0.03)
    assert 0.93 <= np.mean([one.low <= exact <= one.high for one in found]) <= 0.995


def test_the_effective_sample_fraction_of_too_few_has_no_interval():
    few = pair_variance(np.array([4.0, 5.0]), np.array([[1.0], [-1.0]]), np.array([4.0, 4.0]))
    groups = np.random.default_rng(0).standard_normal((8, 1))
    one = effective_sample_fraction(few, noise_scale(groups, np.full(8, 4.0)))
    assert np.isfinite(one.value)
    assert np.isnan([one.low, one.high]).all()
    assert np.isnan(effective_sample_fraction(few, noise_scale(groups[:2], np.full(2, 4.0))).value)


@pytest.mark.parametrize(
    ("n_steps", "known", "streams"),
    [(2048, True, 32), (2048, False, 4), (64, True, 1024), (100, True, 1024), (1_000_000, True, 4), (64, False, 128)],
)
def test_squares_are_added_up_over_pairs_not_streams(n_steps, known, streams):
    """And over whole blocks of the pool, however long its streams."""
    found = squared_streams(n_steps, known=known)
    assert found == streams
    assert found % block_streams(found - 1) == 0
