"""Settings for the best step, the reach of the quadratic model, the share of losses: by hand and by definition."""

import numpy as np
import pytest
from scipy import stats

from closerlook.diagnostics.trust_region.step_settings import fraction_worse, model_reach, step_settings
from closerlook.measurements.policy_change import CHANGES

MULTIPLES = np.array([0.5, 1.0, 2.0, 4.0])


def found(*, ppo: bool) -> dict[str, np.ndarray]:
    change = np.full((3, 2, len(CHANGES), 4), np.nan)
    change[:, 0, CHANGES.index("mean_kl")] = 0.02 * MULTIPLES**2
    best = {"best_multiple": np.array(0.5), "best_multiple_low": np.array(0.0), "best_multiple_high": np.array(2.0)}
    return best | {
        "policy_learning_rate": np.array(3e-4 if ppo else np.nan),
        "clip_epsilon": np.array(0.2 if ppo else np.nan),
        "kl_bound": np.array(np.nan if ppo else 0.04),
        "multiple_change": change,
        "quadratic_kl": np.full(3, 0.02),
    }


def test_settings_go_with_the_length_and_bounds_with_its_square():
    settings = step_settings(found(ppo=True), MULTIPLES)
    ends = ("", "_low", "_high")
    assert [float(settings[f"suggested_learning_rate{end}"]) for end in ends] == pytest.approx([1.5e-4, 0, 6e-4])
    assert [float(settings[f"suggested_clip_epsilon{end}"]) for end in ends] == pytest.approx([0.1, 0, 0.4])
    assert np.isnan([settings[f"suggested_max_kl{end}"] for end in ends]).all()
    settings = step_settings(found(ppo=False), MULTIPLES)
    assert [float(settings[f"suggested_max_kl{end}"]) for end in ends] == pytest.approx([0.01, 0, 0.16])
    assert np.isnan([settings[f"suggested_learning_rate{end}"] for end in ends]).all()


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        (1.0 + 0 * MULTIPLES, np.inf),
        (np.array([1.0, 1.0, 1.25**2, 9.0]), 2**0.5),  # halfway between 1 and 2 on logarithmic scales
        (np.array([1.0, 1.0, 1.25**-2, 1.0]), 2**0.5),
        (np.array([1.0, 1.0, 1.0, 1.25]), 4.0),
        (np.array([1.3, 1.0, 1.0, 1.0]), 0.5),
    ],
)
def test_the_model_reaches_to_where_it_is_off_by_a_quarter(growth, expected):
    exact = np.array([[1.0], [3.0]]) * 0.01 * MULTIPLES**2 * growth
    assert model_reach(MULTIPLES, exact, np.array([0.01, 0.03])) == pytest.approx(expected)


def test_updates_that_are_not_known_are_left_out_of_the_models_reach():
    exact = np.stack([0.01 * MULTIPLES**2 * np.array([1, 1, 1.25**2, 9.0]), np.full(4, np.nan)])
    assert model_reach(MULTIPLES, exact, np.array([0.01, 5.0])) == pytest.approx(2**0.5)
    assert np.isnan(model_reach(MULTIPLES, exact[1:], np.array([0.01])))


def test_the_model_does_not_reach_to_where_a_divergence_is_infinite():
    exact = 0.01 * MULTIPLES**2 * np.ones((4, 1))
    exact[2, 3] = np.inf
    assert model_reach(MULTIPLES, exact, np.full(4, 0.01)) == 4.0


def test_the_interval_of_a_share_leaves_a_fortieth_on_either_side():
    share = fraction_worse(np.array([-1.0, 2.0, -3.0, 0.0, 1.0, 5.0]))
    assert share.value == pytest.approx(2 / 6)
    assert stats.binom.sf(1, 6, share.low) == pytest.approx(0.025)
    assert stats.binom.cdf(2, 6, share.high) == pytest.approx(0.025)
    none = fraction_worse(np.array([1.0, 2.0]))
    assert (none.value, none.low) == (0.0, 0.0)
    for unknown in ([np.nan], [1.0, -1.0, np.nan], []):
        assert np.isnan(fraction_worse(np.array(unknown)).value)
