"""What verdicts say of numbers that are made up: each level is reached, and rests on the right ones."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from closerlook.diagnostics.common.verdict import bounds
from closerlook.diagnostics.landscape import landscape
from closerlook.diagnostics.landscape.verdicts import verdicts as landscape_verdicts
from closerlook.diagnostics.trust_region import trust_region
from closerlook.diagnostics.trust_region.verdicts import verdicts as trust_verdicts
from closerlook.diagnostics.values.verdicts import verdicts as value_verdicts
from closerlook.results.reading import read_dataset
from environments import linear_quadratic_agent

DATA = Path(__file__).parents[2] / "docs" / "data"
LINE = {"pairs": 128, "line_pairs": 512, "grid": 3, "heldout_pairs": 128, "range": (0, 2), "workers": 1}
UPDATES = {"repeats": 4, "pairs": 128, "return_pairs": 128, "multiples": (0.5, 2.0), "workers": 1}


@pytest.fixture(scope="module")
def plane() -> xr.Dataset:
    return landscape(linear_quadratic_agent(normalize_advantages=True), algorithm="ppo", **LINE)


@pytest.fixture(scope="module", params=["ppo", "trpo"])
def updates(request) -> xr.Dataset:
    return trust_region(linear_quadratic_agent(normalize_advantages=True), algorithm=request.param, **UPDATES)


def of(found: list[dict], area: str) -> dict:
    (one,) = [verdict for verdict in found if verdict["area"] == area]
    return one


def with_interval(dataset: xr.Dataset, name: str, value: float, low: float, high: float, **where) -> xr.Dataset:
    """Return a dataset with other numbers in one place of a variable and its interval."""
    changed = dataset.copy(deep=True)
    for end, number in (("", value), ("_low", low), ("_high", high)):
        changed[f"{name}{end}"].loc[where] = number
    return changed


@pytest.mark.parametrize(
    ("interval", "level", "words"),
    [
        ((5.0, 1.0, 9.0), "ok", "+5 (+1 to +9)"),
        ((-5.0, -9.0, -1.0), "problem", "while the surrogate predicts"),
        ((1.0, -3.0, 5.0), "not_enough_data", "gain from a loss"),
    ],
)
def test_a_step_is_judged_by_the_reward_it_brings(plane, interval, level, words):
    verdict = of(landscape_verdicts(with_interval(plane, "full_update_realized_improvement", *interval)), "step")
    assert verdict["level"] == level
    assert words in verdict["statement"]
    assert verdict["evidence"]["full_update_realized_improvement"] == interval[0]


def test_what_is_not_decided_is_still_bounded(plane, updates):
    statements = [
        of(landscape_verdicts(with_interval(plane, "full_update_realized_improvement", 1.0, -3.0, 5.0)), "step")[
            "statement"
        ],
        of(trust_verdicts(averaged(updates, "true_improvement", 1.0, -3.0, 5.0)), "improvement")["statement"],
    ]
    assert all("at least -3, at most +5" in words for words in statements)
    assert bounds(np.nan, 2.0) == "at most +2"
    assert bounds(np.nan, np.inf) == "nothing is known of it"


@pytest.mark.parametrize(("gain", "low", "high"), [(-38.0, -64.0, -12.0), (38.0, 12.0, 64.0)])
def test_a_level_needs_enough_data_whatever_the_sign(plane, updates, gain, low, high):
    few = with_interval(plane, "full_update_realized_improvement", gain, low, high).assign_attrs(
        line_pairs_per_point=256
    )
    verdict = of(landscape_verdicts(few), "step")
    assert (verdict["level"], "from 4 streams" in verdict["statement"]) == ("not_enough_data", True)
    assert "512 --line-pairs" in verdict["advice"]
    assert of(landscape_verdicts(few.assign_attrs(line_pairs_per_point=512)), "step")["level"] != "not_enough_data"
    three = averaged(updates, "true_improvement", gain, low, high).isel(repeat=slice(3))
    verdict = of(trust_verdicts(three), "improvement")
    assert (verdict["level"], "3 updates are too few" in verdict["statement"]) == ("not_enough_data", True)


def test_a_promise_beyond_the_return_is_said_to_be_none(updates):
    wild = averaged(updates, "surrogate_improvement", 22_700.0, 20_000.0, 25_000.0)
    wild["true_reward_before"][:] = 2533.0
    assert "no step keeps it" in of(trust_verdicts(wild), "improvement")["statement"]
    wild["true_reward_before"][:] = 1e6
    assert "no step keeps it" not in of(trust_verdicts(wild), "improvement")["statement"]


def test_long_episodes_are_no_problem_but_too_few_pairs(updates):
    """Where none began in the pairs sampled, nothing was given up."""
    long = updates.copy(deep=True).assign_attrs(time_limit=500)
    long["true_improvement"][1], long["return_episodes"][1] = np.nan, 0
    verdict = of(trust_verdicts(long), "true reward")
    assert (verdict["level"], "given up" in verdict["statement"]) == ("not_enough_data", False)
    assert "5,000 --return-pairs" in verdict["advice"]


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("action_std_share", 4e-4, "watch"),  # a deviation of 8e-4 in a range of 2
        ("action_std_share", 0.011, None),
        ("entropy_share", 0.04, "watch"),
        ("entropy_share", 0.06, None),
    ],
)
def test_exploration_that_is_as_good_as_gone_is_named(updates, name, value, level):
    changed = updates.copy(deep=True)
    changed[name] = value
    found = {verdict["area"]: verdict["level"] for verdict in trust_verdicts(changed)}
    assert found.get("exploration") == level


def test_true_rewards_that_are_not_known_are_named(updates):
    lost = updates.copy(deep=True)
    lost["true_improvement"][1] = np.nan
    assert "of 1 of 4 updates is not known" in of(trust_verdicts(lost), "true reward")["statement"]
    areas = {verdict["area"] for verdict in trust_verdicts(lost.assign_attrs(return_pairs=0))}
    assert "true reward" not in areas | {verdict["area"] for verdict in trust_verdicts(updates)}


def test_a_step_that_changes_no_return_is_a_problem_that_more_pairs_do_not_mend(plane, updates):
    still = of(landscape_verdicts(with_interval(plane, "full_update_realized_improvement", 0.0, 0.0, 0.0)), "step")
    assert (still["level"], "changes no return" in still["statement"]) == ("problem", True)
    still = of(trust_verdicts(averaged(updates, "true_improvement", 0.0, 0.0, 0.0)), "improvement")
    assert (still["level"], "pairs" in still["advice"]) == ("problem", False)


def test_numbers_that_are_not_finite_are_said_in_words(plane, updates):
    lost = with_interval(plane, "full_update_realized_improvement", -5.0, -9.0, -1.0)
    lost["full_update_predicted_improvement"][:] = np.inf
    statements = [of(landscape_verdicts(lost), "step")["statement"]]
    assert "predicts too large for a number" in statements[0]
    changed = updates.copy(deep=True)
    for name in ("max_ratio", "max_kl_batch", "max_kl_heldout", "surrogate_improvement"):
        changed[name][1] = np.inf
        changed = averaged(changed, name, np.nan, np.nan, np.nan)
    changed = averaged(changed, "surrogate_improvement_heldout", np.nan, np.nan, np.nan)
    said = {one["area"]: one["statement"] for one in trust_verdicts(changed)}
    assert "predicts too large for a number on its batch, not known on other pairs" in said["improvement"]
    bounded = said.get("trust region", said.get("clipping"))
    assert "too large for a number" in bounded
    assert not [words for words in (*statements, *said.values()) if "nan" in words.split() or "inf" in words]


def test_only_of_steps_is_said_what_is_of_steps(plane):
    areas = {verdict["area"] for verdict in landscape_verdicts(plane.assign_attrs(axes="random, step"))}
    assert areas == {"agreement"} < {verdict["area"] for verdict in landscape_verdicts(plane)}


def test_points_that_are_gone_do_not_make_a_peak_certain(plane):
    longer = plane.assign_coords(line=2 * plane["line"])
    gone = longer["line"] > 3
    partly = with_interval(longer, "best_step", 1.0, 0.0, float(longer["line"].where(~gone).max()))
    partly["line_reward"] = partly["line_reward"].where(~gone)
    verdict = of(landscape_verdicts(partly), "step length")
    assert (verdict["level"], "too few pairs to say where" in verdict["statement"]) == ("not_enough_data", True)


def test_more_pairs_are_advised_only_where_the_batch_was_learnt(plane):
    lost = with_interval(plane, "full_update_realized_improvement", -5.0, -9.0, -1.0)
    name = "heldout_improvement_ratio"
    learnt, found = (with_interval(lost, name, *ends) for ends in ((0.1, 0.0, 0.6), (0.9, 0.8, 1.0)))
    assert "from more pairs" in of(landscape_verdicts(learnt), "step")["advice"]
    assert "would not help" in of(landscape_verdicts(found), "step")["advice"]


@pytest.mark.parametrize(
    ("interval", "level", "words"),
    [
        ((0.8, 0.7, 0.9), "ok", "80% is found again on others (70 to 90%)"),
        ((0.2, 0.1, 0.3), "ok", "keep as little"),
        ((-0.02, -0.09, 0.05), "ok", "falls by 2%"),
        ((-0.3, -0.4, -0.2), "watch", "Chance alone"),
        ((-0.3, -0.5, -0.05), "not_enough_data", "At most -5% is. Too few pairs to say whether it falls there"),
        ((0.2, np.nan, np.nan), "not_enough_data", "(no interval from so few)"),
    ],
)
def test_a_rise_that_is_not_found_again_is_overfitting(plane, updates, interval, level, words):
    of_a_step = landscape_verdicts(with_interval(plane, "heldout_improvement_ratio", *interval))
    of_updates = trust_verdicts(with_interval(updates, "mean_heldout_improvement_ratio", *interval))
    for verdict in (of(of_a_step, "overfitting"), of(of_updates, "overfitting")):
        assert verdict["level"] == level
        assert words in verdict["statement"]


@pytest.mark.parametrize(
    ("interval", "level", "words"),
    [
        ((0.25, 0.0, 0.5), "watch", "too long"),
        ((0.5, 0.0, 0.75), "ok", "goes beyond it"),
        ((1.5, 1.25, 1.75), "ok", "is short"),
        ((2.0, 2.0, 2.0), "ok", "still rises at 2 times"),
        ((1.0, 0.0, 2.0), "not_enough_data", "too few"),
        ((1.0, 0.5, 1.5), "ok", "peaks at 1 times"),
    ],
)
def test_the_length_of_a_step_is_judged_by_where_the_reward_may_peak(plane, interval, level, words):
    verdict = of(landscape_verdicts(with_interval(plane, "best_step", *interval)), "step length")
    assert verdict["level"] == level
    assert words in verdict["statement"]


@pytest.mark.parametrize(
    ("interval", "along", "gain", "level", "words"),
    [
        ((0.9, 0.8, 1.0), (0.9, 0.8, 1.0), 1.0, "ok", "point the same way"),
        ((0.5, 0.2, 0.8), (0.9, 0.8, 1.0), 1.0, "ok", "0.50 (0.20 to 0.80)"),
        ((0.4, -0.1, 0.9), (0.9, 0.8, 1.0), 1.0, "not_enough_data", "too few pairs to say whether they agree"),
        ((-0.5, -0.8, -0.2), (0.9, 0.8, 1.0), 1.0, "ok", "away from the agent"),
        ((-0.5, -0.8, -0.2), (-0.9, -1.0, -0.8), 1.0, "ok", "Not lower than"),
        ((-0.8, -0.9, -0.7), (0.9, 0.8, 1.0), 1.0, "watch", "Lower than"),
        ((-0.5, -0.8, -0.2), (-0.9, -1.0, -0.8), -1.0, "problem", "the reward falls"),
        ((np.nan, np.nan, np.nan), (0.9, 0.8, 1.0), 1.0, "not_enough_data", "noise hides how the reward varies"),
    ],
)
def test_planes_are_judged_by_their_correlation_and_that_of_the_line(plane, interval, along, gain, level, words):
    changed = with_interval(plane, "correlation", *interval, region="plane", pairs_of="batch")
    changed = with_interval(changed, "correlation", *along, region="line", pairs_of="batch")
    changed = with_interval(changed, "full_update_realized_improvement", gain, gain - 0.5, gain + 0.5)
    verdict = of(landscape_verdicts(changed), "agreement")
    assert verdict["level"] == level
    assert words in verdict["statement"]


def averaged(dataset: xr.Dataset, name: str, value: float, low: float, high: float) -> xr.Dataset:
    return with_interval(dataset, "average", value, low, high, quantity=name)


@pytest.mark.parametrize(
    ("interval", "level"),
    [((3.0, 1.0, 5.0), "ok"), ((-3.0, -5.0, -1.0), "problem"), ((1.0, -1.0, 3.0), "not_enough_data")],
)
def test_updates_are_judged_by_the_reward_they_bring(updates, interval, level):
    verdict = of(trust_verdicts(averaged(updates, "true_improvement", *interval)), "improvement")
    assert verdict["level"] == level
    assert verdict["evidence"]["true_improvement"] == interval[0]


def test_a_fall_of_the_clipped_surrogate_by_chance_is_no_overfitting(updates):
    """PPO's of the atlas at iteration 150: half of its rise is lost on other pairs, less than chance would take."""
    numbers = {"surrogate_rise": 0.022, "surrogate_rise_heldout": -0.011, "clip_null_heldout": -0.014}
    fallen = updates
    for name, value in numbers.items():
        fallen = averaged(fallen, name, value, value - 0.001, value + 0.001)
    fallen = with_interval(fallen, "mean_heldout_improvement_ratio", 0.02, -0.01, 0.05)
    verdict = of(trust_verdicts(fallen), "overfitting")
    assert verdict["level"] == "ok"
    clips = np.isfinite(updates["clip_epsilon"])
    assert ("it changes by -0.011 there, where chance alone gives -0.014" in verdict["statement"]) == clips


def test_bounds_are_judged_on_other_states_and_clipping_by_its_share(updates):
    found = trust_verdicts(updates)
    if np.isfinite(updates["clip_epsilon"]):
        assert of(trust_verdicts(averaged(updates, "clip_fraction", 0.9, 0.85, 0.95)), "clipping")["level"] == "watch"
        assert of(trust_verdicts(averaged(updates, "clip_fraction", 0.2, 0.1, 0.4)), "clipping")["level"] == "ok"
        assert not [one for one in found if one["area"] in ("trust region", "line search", "natural gradient")]
        return
    bound = float(updates["kl_bound"])
    beyond = averaged(updates, "mean_kl_heldout", 1.5 * bound, 1.3 * bound, 1.7 * bound)
    assert of(trust_verdicts(beyond), "trust region")["level"] == "watch"
    within = averaged(updates, "mean_kl_heldout", 1.3 * bound, 1.1 * bound, 1.7 * bound)
    assert of(trust_verdicts(within), "trust region")["level"] == "ok"
    assert not [one for one in found if one["area"] == "clipping"]
    poor = averaged(updates, "natural_efficiency", 0.4, 0.3, 0.5)
    assert of(trust_verdicts(poor), "natural gradient")["level"] == "watch"
    failing = updates.copy(deep=True)
    failing["step_fraction"][:] = 0.0
    failing["line_search_failed"][:] = 1.0
    assert of(trust_verdicts(failing), "line search")["level"] == "watch"
    assert "none in 100%" in of(trust_verdicts(failing), "line search")["statement"]


def test_the_quadratic_model_is_judged_by_its_ratio(updates):
    for factor, level in ((1.0, "ok"), (0.4, "watch"), (2.5, "watch")):
        changed = updates.copy(deep=True)
        changed["quadratic_kl"] = factor * changed["mean_kl_batch"]
        verdict = of(trust_verdicts(changed), "quadratic model")
        assert (verdict["level"], verdict["evidence"]["ratio"]) == (level, pytest.approx(factor))


@pytest.mark.parametrize(
    ("interval", "level", "words"),
    [
        ((0.5, 0.0, 0.5), "watch", "Shorter steps pay"),
        ((2.0, 2.0, 2.0), "ok", "Longer steps pay"),
        ((1.0, 0.5, 2.0), "ok", ""),
        ((1.0, 0.0, 2.0), "not_enough_data", "would tell"),
    ],
)
def test_a_length_is_advised_as_a_setting(updates, interval, level, words):
    verdict = of(trust_verdicts(with_interval(updates, "best_multiple", *interval)), "step length")
    assert verdict["level"] == level
    assert words in verdict["advice"]
    if "Longer" in words:
        trpo = np.isfinite(updates["kl_bound"])
        expected = (
            f"max_kl of about {4 * float(updates['kl_bound']):.2g}" if trpo else "policy_learning_rate of about 0.0009"
        )
        assert expected in verdict["advice"]


@pytest.mark.parametrize("excess", [0.3, 0.9])
@pytest.mark.parametrize(
    ("beside_a_constant", "level"),
    [((0.3, 0.1, 0.6), "ok"), ((1.4, 1.2, 1.7), "problem"), ((0.9, 0.7, 1.2), "not_enough_data")],
)
def test_a_fitted_value_that_is_underfitted_is_no_measure_of_the_critic(excess, beside_a_constant, level):
    """Of what such a value takes off, the critic takes off 295%: a constant baseline judges it, whatever the sign."""
    (name, *_) = sorted(DATA.glob("values-hopper-ppo*.nc"))
    one = read_dataset(name).isel(agent=[0])
    one = with_interval(one, "delivered_reduction", 2.95, 2.0, 4.0)
    one = with_interval(one, "excess_variance", excess, excess - 0.1, excess + 0.05)
    one = with_interval(one, "variance_ratio", *beside_a_constant, baseline="critic")
    verdict = value_verdicts(one)[0]
    assert (verdict["level"], "%" in verdict["statement"]) == (level, False)
    assert "fitted to too few pairs" in verdict["statement"]
    assert verdict["advice"] == "Give more --fit-pairs."


@pytest.mark.parametrize(("possible", "told"), [(0.6, "would take off 40%"), (1.3, None), (np.nan, None)])
def test_without_a_critic_only_a_reduction_is_promised(possible, told):
    (name, *_) = sorted(DATA.glob("values-hopper-ppo*.nc"))
    one = read_dataset(name).isel(agent=[0]).assign_attrs(baseline="none")
    one["explained_variance"] = one["explained_variance"].where(one["target"] != "returns")
    one["variance_ratio"].loc[{"baseline": "fitted"}] = possible
    statement = value_verdicts(one)[0]["statement"]
    assert (told or "advantages.") in statement
    assert ("take off" in statement) == (told is not None)
