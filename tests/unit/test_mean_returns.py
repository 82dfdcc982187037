"""Mean returns are ratios over streams; their intervals cover, paired differences too; tails are those of the list."""

import numpy as np
import pytest

from closerlook.statistics.mean_returns import (
    influences,
    lower_tail,
    mean_returns,
    paired_gains,
    pairing_gain,
)

REPEATS = 500
COVERED = (0.92, 0.99)


def draw_streams(rng, policies: int, streams: int, shared: float = 0.0):
    """Streams of a random number of episodes with returns around 10 + policy, a share of the noise common to all."""
    episodes = np.broadcast_to(rng.integers(3, 12, streams), (policies, streams)).astype(float)
    common, own = rng.standard_normal(streams), rng.standard_normal((policies, streams))
    level = 10 + np.arange(policies)[:, None] + 2 * (shared * common + np.sqrt(1 - shared**2) * own)
    noise = rng.standard_normal((policies, streams)) * np.sqrt(episodes)
    return episodes * level + noise, episodes


def test_a_mean_is_total_return_over_total_episodes():
    returns, episodes = np.array([[6.0, 10.0, 2.0]]), np.array([[2.0, 3.0, 1.0]])
    found = mean_returns(returns, episodes, returns**2)
    assert found.value == pytest.approx([3.0])
    assert influences(returns, episodes)[0] == pytest.approx([0.0, 0.5, -0.5])


@pytest.mark.parametrize("first", [0, 1, 3])
def test_with_one_stream_or_two_their_episodes_are_the_unit(first):
    values = np.array([1.0, 2.0, 4.0, 9.0, 1.0, 3.0, 5.0, 6.0, 2.0, 7.0])
    streams = [values[:first], values[first:]] if first else [values]
    found = mean_returns(*(np.array([[np.sum(one**power) for one in streams]]) for power in (1, 0, 2)))
    reach = 2.262157163 * values.std(ddof=1) / np.sqrt(10)
    assert [*found.value, *found.low, *found.high] == pytest.approx([4.0, 4.0 - reach, 4.0 + reach])


@pytest.mark.parametrize("streams", [6, 20])
def test_intervals_of_means_cover(streams):
    rng, hits = np.random.default_rng(streams), 0
    for _ in range(REPEATS):
        returns, episodes = draw_streams(rng, 1, streams)
        found = mean_returns(returns, episodes, returns**2)
        hits += int(found.low[0] <= 10.0 <= found.high[0])
    assert COVERED[0] <= hits / REPEATS <= COVERED[1]


@pytest.mark.parametrize(("shared", "paired"), [(0.0, False), (0.9, True), (0.9, False)])
def test_intervals_of_differences_cover_and_pairing_narrows_them(shared, paired):
    rng, hits, widths = np.random.default_rng(3), 0, []
    for _ in range(REPEATS):
        found = paired_gains(*draw_streams(rng, 2, 10, shared), 0, paired=paired)
        hits += int(found.low[1] <= 1.0 <= found.high[1])
        widths.append(found.high[1] - found.low[1])
    exact = 2 * 2.26 * 2 * np.sqrt(2 * (1 - shared**2) / 10)  # without the noise of episodes, which adds about a fifth
    if shared and not paired:
        assert hits >= 0.995 * REPEATS  # far too wide: what pairing is for
    else:
        assert COVERED[0] <= hits / REPEATS <= COVERED[1]
        assert np.median(widths) < 1.5 * exact


def test_what_pairing_saves_is_the_ratio_of_variances():
    rng, hits = np.random.default_rng(5), 0
    exact = (4 + 0.16) / (4 * (1 - 0.81) + 0.16)  # levels of variance 4, and noise of 1 / episodes
    for _ in range(REPEATS):
        found = pairing_gain(*draw_streams(rng, 2, 40, 0.9), 0)
        hits += int(found.low[1] <= exact <= found.high[1])
    assert np.isnan(found.value[0])
    assert 0.90 <= hits / REPEATS <= COVERED[1]


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("length", [50, 100])
def test_of_one_or_two_streams_the_episodes_cover(streams, length):
    """Streams that end with the first episode to pass 2,048 steps; longer episodes earn more."""
    rng, hits = np.random.default_rng(length + streams), 0
    long_run = np.minimum(1000, 1 + rng.gamma(4, length / 4, 1_000_000)).mean()
    for _ in range(REPEATS):
        sums = np.zeros((3, 1, streams))
        for stream in range(streams):
            taken = 0.0
            while taken < 2048:
                steps = min(1000.0, 1 + rng.gamma(4, length / 4))
                earned = steps + 0.3 * length * rng.standard_normal()
                sums[:, 0, stream] += [earned, 1.0, earned**2]
                taken += steps
        found = mean_returns(*sums)
        hits += int(found.low[0] <= long_run <= found.high[0])
    assert COVERED[0] <= hits / REPEATS <= COVERED[1]


def test_a_few_long_episodes_have_no_interval():
    """Those that lasted to the limit vary too little: with exponential lengths of 1,500 steps four in five cover."""
    found = mean_returns(np.array([[3000.0]]), np.array([[3.0]]), np.array([[3e6]]))
    assert (found.value[0], np.isnan(found.low[0])) == (1000.0, True)


def test_streams_that_begin_no_episode_do_not_say_how_streams_vary():
    returns = np.array([[900.0, 0, 0, 0, 0], [300, 200, 0, 0, 0], [300, 200, 100, 0, 0], [300, 200, 100, 400, 300]])
    episodes = np.array([[1.0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    found = mean_returns(returns, episodes, returns**2)
    assert np.isfinite(found.low).tolist() == [False, False, True, True]
    three = influences(returns, episodes)[2].std(ddof=1) / np.sqrt(5)
    assert found.high[2] - found.value[2] == pytest.approx(4.30265273 * three)
    gains = paired_gains(returns, episodes, 3)
    assert np.isfinite(gains.low).tolist() == [False, False, True, True]
    assert np.isnan(paired_gains(returns, episodes, 0).low[1:]).all()


def test_differences_of_two_streams_cover():
    rng, hits = np.random.default_rng(11), 0
    for _ in range(REPEATS):
        found = paired_gains(*draw_streams(rng, 2, 2, 0.9), 0)
        hits += int(found.low[1] <= 1.0 <= found.high[1])
    assert COVERED[0] <= hits / REPEATS <= COVERED[1]


def test_a_difference_to_itself_is_zero_and_of_one_stream_has_no_interval():
    returns, episodes = draw_streams(np.random.default_rng(0), 3, 1)
    found = paired_gains(returns, episodes, 1)
    assert found.value[1] == 0.0
    assert np.isnan(found.low).all()
    assert np.isnan(mean_returns(returns, np.minimum(episodes, 2), returns**2).low).all()


def test_a_policy_without_episodes_is_not_known():
    returns, episodes = np.array([[1.0, 2.0, 3.0], [np.nan] * 3]), np.array([[1.0, 1.0, 1.0], [np.nan] * 3])
    found = paired_gains(returns, episodes, 0)
    assert np.isfinite(found.value[0])
    assert np.isnan(found.value[1])
    assert np.isnan(mean_returns(returns, 0 * episodes, returns).value).all()


def test_the_lower_tail_counts_the_last_number_in_part():
    assert lower_tail(np.arange(100.0)) == pytest.approx(2.0)
    assert lower_tail(np.array([1.0, 3.0]), 0.75) == pytest.approx((1.0 + 0.5 * 3.0) / 1.5)
    assert lower_tail(np.array([7.0, 8.0])) == 7.0
    assert np.isnan(lower_tail(np.empty(0)))
