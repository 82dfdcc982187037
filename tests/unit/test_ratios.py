"""Ratios to a signal that is estimated itself: by a slow twin, by hand, and intervals that cover all repeats."""

import numpy as np
import pytest

from closerlook.statistics.ratios import ANYTHING, COSINES, SIZES, is_positive, ratio
from closerlook.statistics.true_gradients import cosine_between

REPEATS, GROUPS, SIZE = 400, 64, 20


def means(draws: np.random.Generator, *centers: float, noise=(1.0, 1.0), count=GROUPS) -> list[np.ndarray]:
    """Replicates of two means of `count` numbers: of all, then without each."""
    samples = [center + scale * draws.standard_normal(count) for center, scale in zip(centers, noise, strict=True)]
    return [np.array([one.mean(), *((one.sum() - one) / (count - 1))]) for one in samples]


def test_the_interval_holds_all_ratios_that_are_compatible():
    """Slowly: every ratio on a grid is tested by its own t test."""
    above, below = means(np.random.default_rng(0), 1.0, 2.0, count=12)
    found = ratio([above], [below], ANYTHING)
    grid, inside = np.linspace(-2, 4, 6001), []
    for one in grid:
        replicates = above - one * below
        error = np.sqrt(11 / 12 * np.square(replicates[1:] - replicates[1:].mean()).sum())
        inside.append(abs(replicates[0]) <= 2.20098516 * error)
    assert (found.low, found.high) == pytest.approx((grid[inside].min(), grid[inside].max()), abs=2e-3)
    assert found.low < found.value < found.high


def test_a_denominator_that_may_be_nil_leaves_the_whole_range():
    above, below = means(np.random.default_rng(1), 1.0, 0.1)
    for whole in (COSINES, SIZES, ANYTHING):
        found = ratio([above], [below], whole)
        assert np.isnan(found.value)
        assert (found.low, found.high) == whole
    assert np.isnan(ratio([above], [-np.abs(below)], COSINES).value)
    assert np.isnan(ratio([above], [np.append(below[:-1], np.nan)], COSINES).value)
    assert np.isnan(ratio([np.append(above[:-1], np.inf)], [below + 9], COSINES).value)
    assert np.isnan(ratio([above[:3]], [below[:3] + 9], COSINES).value)


def test_ends_stay_in_the_range_but_hold_the_value():
    above, below = means(np.random.default_rng(2), 1.0, 1.0)
    found = ratio([above], [below], (-0.5, 1.05))
    assert found.high == found.value > 1.05
    assert 0.5 < found.low < 1.05


def test_two_samples_add_their_variances():
    draws = np.random.default_rng(3)
    above, below = means(draws, 1.0, 3.0)
    others = means(draws, 0.0, 0.0)
    both = ratio([above, above[0] + others[0] - others[0][0]], [below, np.full(GROUPS + 1, below[0])], ANYTHING)
    alone = ratio([above], [below], ANYTHING)
    assert both.high - both.low > alone.high - alone.low
    assert both.value == pytest.approx(alone.value)


@pytest.mark.parametrize("signal", [0.0, 0.15, 0.5])
def test_what_is_called_positive_is(signal):
    """Where there is none a fortieth is called so; where there is much, all."""
    draws = np.random.default_rng(4)
    called = np.mean([is_positive(means(draws, signal, 0.0)[:1]) for _ in range(2000)])
    assert called < 0.035 if signal == 0 else called > (0.1 if signal < 0.2 else 0.95)


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("cosine", [0.5, 0.99, 1.0])
def test_cosines_between_gradients_cover_from_much_signal_to_none(cosine, noise):
    """All repeats count, blank ones too; noise is shared in part, as by targets of the same pairs."""
    draws, found = np.random.default_rng(int(100 * cosine)), []
    for _ in range(REPEATS):
        shared, own = draws.standard_normal((2, GROUPS, SIZE))
        left, right = noise * shared, noise * (0.8 * shared + 0.6 * own)
        left[:, 0] += 1.0
        right[:, :2] += cosine, np.sqrt(1 - cosine**2)
        found.append(cosine_between(left, right))
    assert np.mean([one.low <= cosine <= one.high for one in found]) >= 0.925
    values = np.array([one.value for one in found])
    known = values[np.isfinite(values)]
    if noise <= 1.0:
        assert len(known) > 0.99 * REPEATS
        error = known.std() / np.sqrt(REPEATS)
        assert known.mean() == pytest.approx(cosine, abs=4 * error)
        assert np.median([one.high - one.low for one in found]) < 6 * known.std()
    if noise == 10.0:
        assert len(known) < 0.1 * REPEATS
