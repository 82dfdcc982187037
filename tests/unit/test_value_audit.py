"""Numbers of updated critics: means over updates that share their pairs, with intervals that cover."""

import numpy as np
import pytest
from scipy import stats

from closerlook.diagnostics.values.audit import mean_of_intervals
from closerlook.statistics.estimates import Interval
from closerlook.statistics.value_errors import explained_variance, mean_over_streams

REPEATS = 1000


def draw(draws: np.random.Generator, updates: int, pairs: float, between: float) -> list[Interval]:
    """Logarithms around 0, with noise that updates share and noise of each."""
    shared, reach = draws.normal(0, pairs), stats.norm.ppf(0.975) * pairs
    logs = shared + draws.normal(0, between, updates)
    return [Interval(*np.exp([log, log - reach, log + reach])) for log in logs]


@pytest.mark.parametrize(
    ("updates", "pairs", "between"), [(2, 0.01, 0.1), (3, 0.01, 0.1), (8, 0.01, 0.1), (8, 0.05, 0.05)]
)
@pytest.mark.parametrize("scale", ["logarithm", "unexplained"])
def test_means_over_few_updates_are_covered(updates, pairs, between, scale):
    rng, hits = np.random.default_rng(0), []
    for _ in range(REPEATS):
        found = draw(rng, updates, pairs, between)
        if scale == "unexplained":
            found = [Interval(1 - one.value, 1 - one.high, 1 - one.low) for one in found]
        truth = np.exp(between**2 / 2) if scale == "logarithm" else 1 - np.exp(between**2 / 2)
        mean = mean_of_intervals(found, scale)
        hits.append(mean.low <= truth <= mean.high)
    assert 0.93 <= np.mean(hits) <= 0.99


def test_the_ends_stay_possible():
    rng = np.random.default_rng(1)
    targets = rng.standard_normal((5, 20))
    critics = [targets + scale * rng.standard_normal((5, 20)) for scale in (0.1, 0.3, 0.6)]
    explained = mean_of_intervals([explained_variance(values, targets) for values in critics], "unexplained")
    assert explained.low < explained.value < explained.high < 1
    errors = mean_of_intervals([mean_over_streams(np.abs(values - targets)) for values in critics], "logarithm")
    assert 0 < errors.low < errors.value < errors.high


def test_updates_that_agree_have_the_interval_of_one():
    one = Interval(0.5, 0.4, 0.7)
    for scale in ("plain", "logarithm", "unexplained"):
        found = mean_of_intervals([one] * 4, scale)
        assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.4, 0.7))


def test_one_update_has_no_interval_and_no_logarithm_is_taken_of_what_is_not_positive():
    alone = mean_of_intervals([Interval(0.5, 0.4, 0.6)], "logarithm")
    assert alone.value == 0.5
    assert np.isnan([alone.low, alone.high]).all()
    both = [Interval(0.0, -0.1, 0.1), Interval(0.2, 0.1, 0.3)]
    assert mean_of_intervals(both, "logarithm") == mean_of_intervals(both)
    assert np.isnan(mean_of_intervals([]).value)
