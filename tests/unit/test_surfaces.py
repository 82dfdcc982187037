"""How surfaces agree: noise taken off without bias, intervals that cover, sets that hold the best point."""

import numpy as np
import pytest
from scipy import linalg, stats

from closerlook.statistics.mean_returns import Means
from closerlook.statistics.surfaces import (
    best_point,
    correlation,
    noise_fraction,
    rank_correlation,
    sign_agreement,
    squared_length,
    stream_surfaces,
)

POINTS, STREAMS, REPEATS = 25, 12, 500
TRUTH = np.linspace(-1, 1, POINTS) ** 3
RISE = TRUTH + 0.4 * np.cos(7 * np.arange(POINTS))


def draw(rng, noise=1.5, shared=0.0, truth=TRUTH):
    """Surfaces of independent streams around a truth, a share of their noise the same at all points."""
    common, own = rng.standard_normal((STREAMS, 1)), rng.standard_normal((STREAMS, len(truth)))
    return truth + noise * (shared * common + np.sqrt(1 - shared**2) * own)


def test_stream_surfaces_average_to_the_ratio_of_sums():
    rng = np.random.default_rng(0)
    episodes = rng.integers(1, 9, (4, 6)).astype(float)
    returns = rng.standard_normal((4, 6)) * episodes
    mean = stream_surfaces(returns, episodes).mean(axis=0)
    np.testing.assert_allclose(mean, returns.sum(axis=1) / episodes.sum(axis=1))


def test_a_squared_length_is_without_bias():
    rng = np.random.default_rng(1)
    found = [squared_length(draw(rng, truth=np.array([0.3, -0.4]))) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.25, abs=4 * np.std(found) / np.sqrt(4000))


def test_a_squared_length_is_that_of_products_of_different_streams():
    rows = np.random.default_rng(2).standard_normal((5, 3))
    products = [rows[i] @ rows[j] for i in range(5) for j in range(5) if i != j]
    assert squared_length(rows) == pytest.approx(np.mean(products))


@pytest.mark.parametrize("shared", [0.0, 0.95])
def test_correlations_cover_what_there_would_be_without_noise(shared):
    exact, rng = np.corrcoef(TRUTH, RISE)[0, 1], np.random.default_rng(3)
    found = [correlation(draw(rng, 1.0, shared), RISE) for _ in range(REPEATS)]
    covered = np.mean([one.low <= exact <= one.high for one in found])
    assert 0.92 <= covered <= 0.99
    values = np.array([one.value for one in found])
    assert np.isfinite(values).mean() > 0.6
    assert np.nanmedian(values) == pytest.approx(exact, abs=0.05)
    assert np.median([one.high - one.low for one in found]) < 1.0


@pytest.mark.parametrize(("streams", "noise"), [(4, 0.7), (12, 1.0), (32, 2.0)])
def test_correlations_with_another_noisy_surface_cover(streams, noise):
    """Of a surface that is one draw of streams, too, its expectation is meant: taken as known it covers far less."""
    exact, rng = np.corrcoef(TRUTH, RISE)[0, 1], np.random.default_rng(13)
    hits, trusting = [], []
    for _ in range(REPEATS):
        surfaces, others = draw(rng, 1.0), RISE + noise * rng.standard_normal((streams, POINTS))
        found, taken = correlation(surfaces, others), correlation(surfaces, others.mean(axis=0))
        hits.append(found.low <= exact <= found.high)
        trusting.append(taken.low <= exact <= taken.high)
    assert 0.92 <= np.mean(hits) <= 0.995
    assert np.mean(trusting) < 0.88


def test_half_samples_of_two_samples_are_those_of_a_loop():
    """Halves of 8 streams and of 5 others by the columns of one matrix of signs, each with its complement."""
    rng = np.random.default_rng(14)
    surfaces, others = RISE + rng.standard_normal((8, POINTS)), RISE + 0.5 * rng.standard_normal((5, POINTS))

    def plain(rows: np.ndarray, known: np.ndarray) -> float:
        return float(stats.spearmanr(rows.mean(axis=0), known.mean(axis=0)).statistic)

    halves = []
    for row in linalg.hadamard(16)[1:]:
        for sign in (1, -1):
            mine, theirs = row[1:9] == sign, row[9:14] == sign
            halves.append(plain(surfaces[mine] if mine.any() else surfaces, others[theirs] if theirs.any() else others))
    value = plain(surfaces, others)
    reach = stats.t.ppf(0.975, 4) * np.sqrt(np.mean(np.square(np.array(halves) - value)))
    found = rank_correlation(surfaces, others)
    assert found.value == pytest.approx(value)
    assert found.low == pytest.approx(max(min(value - reach, np.quantile(halves, 0.025)), -1))
    assert found.high == pytest.approx(min(max(value + reach, np.quantile(halves, 0.975)), 1))


def test_noise_along_the_surface_itself_leaves_no_bias():
    """Streams that differ in the height of the same relief correlate with it perfectly, however few they are."""
    rng, found = np.random.default_rng(9), []
    for _ in range(REPEATS):
        heights = 1 + 0.5 * rng.standard_normal((STREAMS, 1))
        found.append(correlation(heights * TRUTH + 0.05 * rng.standard_normal((STREAMS, POINTS)), TRUTH))
    assert np.mean([one.value for one in found]) == pytest.approx(1.0, abs=0.002)


def test_ranks_are_spearmans_as_measured():
    surfaces = draw(np.random.default_rng(4))
    expected = stats.spearmanr(surfaces.mean(axis=0), RISE).statistic
    found = rank_correlation(surfaces, RISE)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("noise", [0.5, 3.0])
@pytest.mark.parametrize("paired", [False, True])
def test_rank_correlations_cover_their_mean_where_ranks_hardly_move(noise, paired):
    """Seven points, whose ranks a jackknife moves not at all or too far; it covered 60% to 78%."""
    rng, rise = np.random.default_rng(41), np.linspace(0, 1, 7) ** 2
    found = []
    for _ in range(300):
        known = rise + noise * rng.standard_normal((40, 7)) if paired else rise
        found.append(rank_correlation(rise + noise * rng.standard_normal((24, 7)), known))
    mean = np.mean([one.value for one in found])
    assert np.mean([one.low <= mean <= one.high for one in found]) >= 0.925
    assert all(-1 <= one.low <= one.value <= one.high <= 1 for one in found)
    assert np.mean([one.high - one.low for one in found]) < (1 if noise < 1 else 1.6)


def test_flat_surfaces_and_few_streams_have_no_correlation():
    surfaces = draw(np.random.default_rng(5))
    for found in (
        correlation(surfaces, np.ones(POINTS)),
        correlation(surfaces[:2], RISE),
        rank_correlation(surfaces, np.zeros(POINTS)),
        rank_correlation(np.ones((5, POINTS)), RISE),
    ):
        assert np.isnan(found.value)


def draw_episodes(rng, truth, noise=3.0):
    """Streams of a random number of episodes each, longer where they return less: means are ratios of sums."""
    episodes = rng.integers(5, 16, (len(truth), STREAMS)).astype(float)
    level = 0.1 * (10 - episodes)
    return (truth[:, None] + level) * episodes + noise * np.sqrt(episodes) * rng.standard_normal(
        episodes.shape
    ), episodes


def test_surfaces_of_ratios_cover_as_well():
    """Correlation and best point from streams whose episodes are of random number, against the ratio's expectation."""
    rng, peak = np.random.default_rng(10), -((np.linspace(0, 3, POINTS) - 1.2) ** 2)
    exact, hits, best = np.corrcoef(TRUTH, RISE)[0, 1], [], []
    for _ in range(REPEATS):
        found = correlation(stream_surfaces(*draw_episodes(rng, TRUTH)), RISE)
        hits.append(found.low <= exact <= found.high)
        _, candidates = best_point(stream_surfaces(*draw_episodes(rng, peak)), paired=False)
        best.append(candidates[int(peak.argmax())])
    assert 0.92 <= np.mean(hits) <= 0.99
    assert np.mean(best) >= 0.95


@pytest.mark.parametrize("shared", [0.0, 0.95])
def test_sign_agreement_covers(shared):
    rng, hits = np.random.default_rng(6), 0
    known = np.where(TRUTH == 0, 0.0, RISE)
    exact = np.mean((np.sign(TRUTH) == np.sign(RISE))[TRUTH != 0])
    for _ in range(REPEATS):
        surfaces = draw(rng, noise=0.6, shared=shared)
        mean = surfaces.mean(axis=0)
        reach = stats.t.ppf(0.975, STREAMS - 1) * surfaces.std(axis=0, ddof=1) / np.sqrt(STREAMS)
        found = sign_agreement(Means(mean, mean - reach, mean + reach), known)
        hits += int(found.low - 1e-9 <= exact <= found.high + 1e-9)
    assert hits / REPEATS >= 0.92


def test_sign_agreement_by_hand():
    gains = Means(np.array([0.0, 1.0, 2.0, -1.0, 3.0]), np.array([0, 0.5, -1, -2, 1]), np.array([0, 1.5, 5, -0.5, 5]))
    found = sign_agreement(gains, np.array([0.0, 1.0, 1.0, 1.0, np.nan]))
    assert (found.value, found.low, found.high) == pytest.approx((2 / 3, 1 / 3, 2 / 3))
    assert np.isnan(sign_agreement(gains, np.zeros(5)).value)
    known = np.array([0.0, 1.0, 1.0, 1.0, np.nan])
    unsure = sign_agreement(gains, Means(known, known - np.array([0, 3, 0, 0, 0]), known + 1))
    assert (unsure.value, unsure.low, unsure.high) == pytest.approx((2 / 3, 0, 2 / 3))


@pytest.mark.parametrize(("shared", "paired"), [(0.0, False), (0.0, True), (0.95, True)])
def test_the_best_point_is_among_the_candidates(shared, paired):
    truth, rng, hits, sizes = -((np.linspace(0, 3, 14) - 1.2) ** 2), np.random.default_rng(7), 0, []
    for _ in range(REPEATS):
        _, candidates = best_point(draw(rng, shared=shared, truth=truth), paired=paired)
        hits += int(candidates[int(truth.argmax())])
        sizes.append(candidates.sum())
    assert hits / REPEATS >= 0.95
    assert np.mean(sizes) < 11
    if shared:
        assert np.mean(sizes) < 7


def test_noise_is_counted_once_on_a_plane_of_few_points():
    """Centered over three points, a third of the noise's variance is gone."""
    rng, truth = np.random.default_rng(16), np.array([-3.0, 0.0, 3.0])
    found = [noise_fraction(draw(rng, 1.0, truth=truth), STREAMS).value for _ in range(2000)]
    noise = 2 / 3 / STREAMS
    assert np.mean(found) == pytest.approx(noise / (noise + truth.var()), abs=0.0005)


def test_the_share_of_noise_is_that_of_its_variance():
    rng, noise = np.random.default_rng(8), 2.25 / 4 * (POINTS - 1) / POINTS
    exact = noise / (noise + TRUTH.var())
    found = [noise_fraction(draw(rng, shared=0.7), 4) for _ in range(REPEATS)]
    assert np.mean([one.value for one in found]) == pytest.approx(exact, abs=0.02)
    assert 0.9 <= np.mean([one.low <= exact <= one.high for one in found]) <= 0.99
    assert noise_fraction(draw(rng, truth=np.zeros(POINTS)), 4).value > 0.6


def test_the_share_of_noise_of_what_is_not_known_or_not_noisy():
    rng = np.random.default_rng(3)
    surfaces = draw(rng)
    surfaces[0, 0] = np.nan
    assert np.isnan(noise_fraction(surfaces, 4).value)
    alike = noise_fraction(np.tile(TRUTH, (STREAMS, 1)), 4)
    assert (alike.value, alike.low, alike.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    assert noise_fraction(np.tile([1.0, 2.0], (STREAMS, 1)), 4).value == 0.0


@pytest.mark.parametrize("streams", [4, 500])
@pytest.mark.parametrize("relief", [0.0, 0.05, 0.3])
def test_the_share_of_noise_covers_where_there_is_hardly_anything_else(relief, streams):
    rng = np.random.default_rng(9)
    truth = relief * (TRUTH - TRUTH.mean()) / TRUTH.std()
    found = [noise_fraction(draw(rng, truth=truth), streams) for _ in range(300)]
    # the noise of one stream has deviation 1.5, see `draw`
    noise = 2.25 / streams * (POINTS - 1) / POINTS
    exact = noise / (noise + truth.var())
    assert np.mean([one.low <= exact * (1 + 1e-9) and exact <= one.high * (1 + 1e-9) for one in found]) >= 0.92
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found)
    assert np.mean([one.high - one.low < 1e-9 for one in found]) <= 0.02
