"""Errors of values: by hand, and intervals that cover where neighboring pairs are alike."""

import numpy as np
import pytest

from closerlook.statistics.value_errors import (
    calibration,
    explained_variance,
    floor_of_returns,
    mean_over_streams,
    median_interval,
    near_zero,
    relative_errors,
    released_errors,
    split_error,
)

REPEATS = 500


def test_relative_errors_by_hand():
    targets = np.array([[10.0, -2.0, 0.001, 0.0]])
    values = np.array([[11.0, -1.0, 0.051, 0.05]])
    least = near_zero(targets)
    assert least == pytest.approx(0.01 * np.sqrt((100 + 4 + 1e-6) / 4))
    found = relative_errors(values, targets, least)[0]
    assert found == pytest.approx([0.1, 0.5, 0.05 / least, 0.05 / least])


def test_errors_as_released_take_the_worse_of_clipped_and_unclipped():
    targets, old = np.array([[2.0, 2.0]]), np.array([[1.0, 1.0]])
    values = np.array([[2.0, 1.1]])  # the first may only move to 1.2
    assert released_errors(values, targets, old, 0.2, 0.0)[0] == pytest.approx([0.8**2 / 2, 0.9**2 / 2])
    assert released_errors(values, targets, old, None, 0.0)[0] == pytest.approx([0.0, 0.9**2 / 2])


def test_zero_targets_have_no_relative_error():
    zeros = np.zeros((3, 4))
    assert np.isnan(mean_over_streams(relative_errors(zeros, zeros, near_zero(zeros))).value)


def test_explained_variance_of_what_is_exact_constant_and_worse():
    targets = np.random.default_rng(0).standard_normal((5, 40))
    assert explained_variance(targets, targets).value == pytest.approx(1.0)
    assert explained_variance(np.full_like(targets, 7.0), targets).value == pytest.approx(0.0)
    assert explained_variance(-targets, targets).value == pytest.approx(-3.0)
    assert explained_variance(targets + 5.0, targets).value == pytest.approx(1.0)
    assert np.isnan(explained_variance(targets, np.ones_like(targets)).value)


def alike(draws: np.random.Generator, streams: int, pairs: int) -> np.ndarray:
    """Numbers of variance 1 whose neighbors in a stream are 0.9 alike, and whose streams differ."""
    numbers = np.empty((streams, pairs))
    state = draws.standard_normal(streams)
    for t in range(pairs):
        state = 0.9 * state + np.sqrt(1 - 0.81) * draws.standard_normal(streams)
        numbers[:, t] = state
    return numbers


def covered(intervals, truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in intervals]))


def test_intervals_cover_where_neighbors_are_alike():
    """Mean and median of a skewed error, and explained variance, 16 streams of 60 pairs."""
    draws = np.random.default_rng(1)
    means, medians, explained = [], [], []
    for _ in range(REPEATS):
        noise, signal = alike(draws, 16, 60), alike(draws, 16, 60)
        means.append(mean_over_streams(noise**2))
        medians.append(median_interval(noise**2))
        explained.append(explained_variance(signal, signal + 0.5 * noise))
    assert 0.92 <= covered(means, 1.0) <= 0.99
    assert 0.92 <= covered(medians, 0.4549) <= 0.99  # of chi squared with one degree of freedom
    assert 0.92 <= covered(explained, 0.8) <= 0.99
    pairs_alone = np.mean([1.96 * np.sqrt(2.0 / 960) for _ in means])
    assert np.mean([(one.high - one.low) / 2 for one in means]) > 1.5 * pairs_alone


def test_calibration_tells_values_that_are_too_bold():
    draws = np.random.default_rng(2)
    truth = draws.standard_normal((30, 200))
    found = calibration(2 * truth, truth + 0.3 * draws.standard_normal(truth.shape), bins=5)
    targets = np.array([one.value for one in found.targets])
    assert targets == pytest.approx(found.predicted / 2, abs=0.05)
    assert np.all(np.diff(found.predicted) > 0)


def test_intervals_of_calibration_cover_what_the_pairs_of_each_bin_should_have():
    """Targets are half the values and noise: a bin's pairs should have half their mean value, 30 streams of 60."""
    draws, hits, widths = np.random.default_rng(3), [], []
    for _ in range(REPEATS):
        values = alike(draws, 30, 60)
        found = calibration(values, values / 2 + 0.5 * alike(draws, 30, 60), bins=5)
        wanted = found.predicted / 2
        hits.append([one.low <= mean <= one.high for one, mean in zip(found.targets, wanted, strict=True)])
        widths.append([one.high - one.low for one in found.targets])
    assert ((np.mean(hits, axis=0) >= 0.92) & (np.mean(hits, axis=0) <= 0.99)).all()
    pairs_alone = 2 * 1.96 * 0.5 / np.sqrt(30 * 60 / 5)
    assert np.mean(widths) > 1.5 * pairs_alone


def test_bias_and_noise_are_told_apart_and_covered():
    """40 states of 20 streams, 8 copies each: bias 0.5, noise variance 4."""
    draws = np.random.default_rng(3)
    groups = np.repeat(np.arange(20), 2)
    found = []
    for _ in range(REPEATS):
        exact = 10 + draws.standard_normal(40)
        returns = exact[:, None] + 2 * draws.standard_normal((40, 8))
        found.append(split_error(exact + 0.5, returns, groups))
    assert np.mean([one.bias.value for one in found]) == pytest.approx(0.25, abs=0.03)
    assert np.mean([one.noise.value for one in found]) == pytest.approx(4.0, abs=0.05)
    assert 0.92 <= covered([one.bias for one in found], 0.25) <= 0.99
    assert 0.92 <= covered([one.noise for one in found], 4.0) <= 0.99


@pytest.mark.parametrize("copies", [2, 3, 16])
def test_the_floor_is_that_of_an_exact_critic_whatever_the_copies(copies):
    """Returns 100 + 2 z: the exact value errs by 2 |z| in about 100."""
    draws = np.random.default_rng(4)
    returns = 100 + 2 * draws.standard_normal((60_000 // copies, copies))
    floor = floor_of_returns(returns, np.arange(len(returns)), 0.0)
    exact = 0.02 * np.sqrt(2 / np.pi)
    assert floor.value == pytest.approx(exact, rel=0.02)
    assert floor.low < exact * 1.01
    assert floor.high > exact * 0.99


def test_the_floor_divides_as_it_is_told():
    returns = np.array([[1.0, -1.0]])
    assert floor_of_returns(returns, np.zeros(1), 4.0).value == pytest.approx(2 * np.sqrt(0.5) / 4)
