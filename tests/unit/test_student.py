"""Student's t distribution."""

import numpy as np
import pytest
from scipy import stats

from closerlook.statistics.student import t_probability, t_quantile

FREEDOM = np.array([-1.0, 0.0, 1.0, 2.0, 3.7, 30.0, 1e9, np.inf, np.nan])


@pytest.mark.parametrize("level", [1e-300, 0.025, 0.5, 0.9, 0.975, 1.0])
def test_quantiles_are_those_of_scipy_to_the_last_bit(level):
    np.testing.assert_array_equal(t_quantile(level, FREEDOM), stats.t.ppf(level, FREEDOM))


@pytest.mark.parametrize("number", [-np.inf, -40.0, -1.3, 0.0, 2.5, np.inf, np.nan])
def test_probabilities_are_those_of_scipy_to_the_last_bit(number):
    np.testing.assert_array_equal(t_probability(number, FREEDOM), stats.t.cdf(number, FREEDOM))


def test_quantiles_of_one_and_two_degrees_of_freedom_are_those_in_closed_form():
    assert t_quantile(0.9, 1) == pytest.approx(np.tan(np.pi * 0.4), rel=1e-12)
    assert t_quantile(0.9, 2) == pytest.approx(0.8 / np.sqrt(2 * 0.9 * 0.1), rel=1e-12)
