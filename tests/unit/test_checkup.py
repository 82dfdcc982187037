"""The checkup's parts: limits, checks as functions of numbers, the cause among them, plans, and what is shown."""

import json
import re

import numpy as np
import pytest

import closerlook as cl
from closerlook.agents.agent import Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.checkups import data, learning, outcome
from closerlook.checkups.answer import DIAGNOSES, LAYERS, Checkup, Finding
from closerlook.checkups.case import Case, gravest
from closerlook.checkups.fits import fitted_values
from closerlook.checkups.limits import load_limits, own_limits
from closerlook.checkups.numbers import (
    deviations_without_each,
    episode_numbers,
    exactly,
    mean_of,
    means_without_each,
    stream_numbers,
)
from closerlook.checkups.plan import LOOKS, Plan, Pool, Trial, make_plan, next_look
from closerlook.checkups.pools import Pools
from closerlook.checkups.run import judge
from closerlook.checkups.text import written
from closerlook.cli import main
from closerlook.cli.checkup import Checkup as Command
from closerlook.errors import InputError
from closerlook.monitor.checks import Check
from closerlook.pages.checkup import checkup_page, place
from closerlook.statistics.estimates import Interval, log_jackknife, plain_jackknife
from small_agents import categorical_agent, gaussian_agent

PPO = {
    "gamma": 0.99,
    "horizon_steps": 100.0,
    "n_steps": 2048.0,
    "batch_pairs": 2048.0,
    "learning_rate": 3e-4,
    "epochs": 10.0,
    "value_coefficient": 0.5,
    "entropy_coefficient": 0.0,
    "updates_steps": 320.0,
    "update_reach": 0.096,
    "clip": 0.2,
}
HEALTHY = {
    "return_effect": (10.0, 8.0, 12.0),
    "sampled_return": (200.0, 180.0, 220.0),
    "random_return": (20.0, 15.0, 25.0),
    "mode_return": (300.0, 280.0, 320.0),
    "noise_cost": (0.3, 0.2, 0.4),
    "episode_length": (200.0, 180.0, 220.0),
    "distinct_returns": 12,
    "input_spread_high": 1.2,
    "input_spread_low": 0.4,
    "saturated_units": 0.0,
    "return_variance_top_share": 0.01,
    "critic_loss_top_share": 0.02,
    "entropy_share": (0.6, 0.5, 0.7),
    "mode_action_share": 0.6,
    "returns_rms": 60.0,
    "values_rms": 55.0,
    "returns_to_values": (1.1, 0.9, 1.3),
    "critic_explained": (0.6, 0.5, 0.7),
    "critic_skill": (0.5, 0.4, 0.6),
    "fitted_explained": (0.7, 0.6, 0.8),
    "heldout_kl": (0.01, 0.008, 0.012),
    "best_multiple": 1.0,
    "best_gain": (0.01, 0.005, 0.015),
    "heldout_gain": (0.01, 0.005, 0.015),
    "updates_failed": 0.0,
    "clip_fraction": (0.1, 0.05, 0.15),
    "kl_at_quarter": 0.0007,
    "kl_at_half": 0.0025,
    "policy_norm_share": 0.05,
    "gradient_scale": 0.1,
    "policy_gradient_to_epsilon": (40.0, 30.0, 50.0),
    "batch_true_cosine": (0.3, 0.2, 0.4),
    "noise_scale_pairs": (20_000.0, 15_000.0, 30_000.0),
    "direction": (0.8, 0.6, 0.95),
    "policy_constant_units": 0.0,
    "critic_constant_units": 0.0,
    "policy_feature_rank": 30.0,
}


def case(settings=None, without=(), **numbers):
    """A healthy agent but for some numbers."""
    known = {name: value for name, value in {**HEALTHY, **numbers}.items() if name not in without}
    intervals = {
        name: Interval(*value) if isinstance(value, tuple) else exactly(value) for name, value in known.items()
    }
    return Case(
        intervals,
        own_limits(),
        {**PPO, **(settings or {})},
        "stable-baselines3",
        ("same", ("drawn actions earn what was recorded",)),
        features=("0", "1"),
        spreads=(0.4, known.get("input_spread_high", 1.2)),
    )


def checked(one: Case) -> Checkup:
    return Checkup("agent.zip", "CartPole-v1", judge(one))


def test_a_healthy_agent_is_called_healthy():
    found = checked(case())
    assert found.cause is None
    assert found.level == "ok"
    assert found["healthy"].level == "ok"


SICK = {
    "broken_inputs": {"input_spread_high": 5e5},
    "broken_steps": {"return_variance_top_share": 0.8},
    "exploration_collapsed": {"entropy_share": (1e-4, 1e-5, 2e-4)},
    "critic_scale": {"returns_rms": 5e5, "values_rms": 50.0, "returns_to_values": (1e4, 9e3, 1.1e4)},
    "critic_useless": {"values_rms": 0.2, "returns_to_values": (300.0, 200.0, 400.0)},
    "value_takes_the_step": {"policy_gradient_to_epsilon": (0.01, 0.005, 0.02)},
    "update_too_long": {"heldout_kl": (3.0, 2.0, 4.0)},
    "update_too_short": {"heldout_kl": (1e-8, 1e-9, 1e-7), "best_multiple": 16.0},
    "no_signal": {"distinct_returns": 1},
    "batch_too_small": {"batch_true_cosine": (0.005, 0.001, 0.01), "noise_scale_pairs": (8e7, 2e7, 2e9)},
    "wrong_direction": {"direction": (-0.5, -0.7, -0.3)},
    "network_worn_out": {"policy_constant_units": 0.95},
    "not_learned": {"return_effect": (0.0, -0.1, 0.1)},
}


@pytest.mark.parametrize("diagnosis", SICK)
def test_one_number_that_is_off_is_named(diagnosis):
    found = checked(case(**SICK[diagnosis]))
    assert found.cause.diagnosis == diagnosis
    follows = {"critic_scale": {"critic_useless"}}.get(diagnosis, set())
    assert {check.diagnosis for check in found.consequences} == follows


SET_WRONG = {
    "horizon_too_short": ({"gamma": 0.5, "horizon_steps": 2.0}, {"gamma": 0.99}),
    "batch_too_short": ({"n_steps": 32.0, "batch_pairs": 32.0}, {"n_steps": 256}),
    "update_too_long": ({"learning_rate": 0.03, "update_reach": 9.6}, {"learning_rate": 0.003}),
    "clip_too_tight": ({"clip": 0.001}, {"clip_range": 0.2}),
}


@pytest.mark.parametrize("diagnosis", SET_WRONG)
def test_a_wrong_setting_is_named_with_a_better_one_in_the_librarys_words(diagnosis):
    settings, better = SET_WRONG[diagnosis]
    found = checked(case(settings, best_multiple=4.0))
    assert found.cause.diagnosis == diagnosis
    assert {name: change["to"] for name, change in found.cause.settings.items()} == better
    assert all(change["effect"] for change in found.cause.settings.values())


def test_a_setting_explains_the_state_that_it_leads_to():
    collapsed = {"entropy_share": (1e-4, 1e-5, 2e-4)}
    assert checked(case(**collapsed)).cause.diagnosis == "exploration_collapsed"
    found = checked(case({"update_reach": 9.6}, **collapsed))
    assert found.cause.diagnosis == "update_too_long"
    assert [check.diagnosis for check in found.consequences] == ["exploration_collapsed"]


def test_that_nothing_was_learned_is_to_be_explained():
    found = checked(case(return_effect=(0.0, -0.1, 0.1), direction=(-0.5, -0.7, -0.3)))
    assert found.cause.diagnosis == "wrong_direction"
    assert [check.diagnosis for check in found.consequences] == ["not_learned"]


def test_worse_than_random_says_so():
    found = checked(case(return_effect=(-2.0, -2.5, -1.5)))
    assert found.cause.diagnosis == "not_learned"
    assert "surely less" in found.cause.statement
    assert "sign" in found.cause.advice


def test_an_agent_that_solves_its_task_may_have_weak_gradients():
    weak = {"batch_true_cosine": (0.005, 0.001, 0.01), "noise_scale_pairs": (8e7, 2e7, 2e9)}
    solved = Case(**{**vars(case(**weak)), "solved_at": 150.0})
    assert checked(solved).cause is None
    assert "Weak gradients" in checked(solved)["solved"].statement


@pytest.mark.parametrize(("high", "said"), [(240.0, True), (241.0, False), (np.inf, False), (np.nan, False)])
def test_of_a_batch_that_is_ample_half_would_do(high, said):
    """1,024 of 2,048 pairs have a cosine of 0.9 to the exact gradient where the noise scale is 240.2 pairs."""
    ample = {"batch_true_cosine": (0.97, 0.96, 0.98), "batch_pairs": 2048.0, "noise_scale_pairs": (150.0, 100.0, high)}
    found = learning.check_gradient(case(**ample))
    assert found.level == "ok"
    assert ("half a batch's is at least 0.90" in found.statement) is said


def test_a_batch_that_was_recomputed_decides_exactly():
    wrong = Check("advantages", "problem", "wrong_sign", "the advantages have the wrong sign", "take r + gamma V' - V")
    given = Case(**{**vars(case()), "lint": (wrong,)})
    found = checked(given)
    assert found.cause.diagnosis == "wrong_advantages"
    assert "wrong sign" in found.cause.statement
    fine = Case(**{**vars(case()), "lint": (Check("advantages", "ok", "healthy", "fine"),)})
    assert checked(fine)["wrong_advantages"].level == "ok"


def test_an_interval_that_reaches_over_a_limit_leaves_it_open_and_says_what_would_settle_it():
    one = Case(**{**vars(case(heldout_kl=(0.4, 0.1, 0.7))), "spent": {"updates": 1000.0}})
    found = learning.check_too_long(one)
    assert found.level == "not_enough_data"
    assert found.pairs_to_settle == pytest.approx(9000.0)  # a reach of 0.3 to a gap of 0.1
    assert checked(one).cause is None


def test_nobody_is_called_healthy_whose_open_number_is_that_of_a_problem():
    found = checked(case(heldout_kl=(2.5, 0.15, 43.0)))
    assert found.cause is None
    assert found["healthy"].level == "unknown"
    assert "update_too_long" in found["healthy"].statement


@pytest.mark.parametrize(
    ("check", "number"),
    [
        (outcome.check_learned, "return_effect"),
        (data.check_inputs, "input_spread_high"),
        (data.check_steps, "return_variance_top_share"),
        (data.check_collapsed, "entropy_share"),
        (learning.check_critic_useless, "returns_to_values"),
        (learning.check_too_long, "heldout_kl"),
        (learning.check_network, "policy_constant_units"),
    ],
)
def test_what_is_not_known_is_not_judged(check, number):
    found = check(case(without=(number,)))
    assert found.level == "unknown"
    assert found.statement.startswith("Not judged: ")


def test_every_diagnosis_is_judged_once():
    assert sorted(check.diagnosis for check in judge(case())) == sorted(sum(DIAGNOSES.values(), ()))
    layers = [LAYERS.index(check.layer) for check in judge(case())]
    assert layers == sorted(layers)


def test_levels_by_weight():
    assert gravest("ok", "watch", "problem") == "problem"
    assert gravest("ok", "watch", "not_enough_data") == "not_enough_data"
    assert gravest("ok") == "ok"


# limits


def test_every_limit_is_in_order_and_says_where_it_comes_from():
    for name, limit in own_limits().items():
        assert limit.source, name
        assert limit.problem[0] <= limit.watch[0], name
        assert limit.problem[1] >= limit.watch[1], name


@pytest.mark.parametrize(
    ("interval", "level"),
    [
        ((0.05, 0.04, 0.06), "ok"),
        ((0.2, 0.15, 0.25), "watch"),
        ((0.2, 0.05, 0.3), "watch"),
        ((0.9, 0.6, 1.2), "problem"),
        ((0.4, 0.05, 0.6), "not_enough_data"),
        ((0.4, 0.2, 0.6), "not_enough_data"),
        ((0.01, np.nan, np.nan), "not_enough_data"),
        ((np.nan, np.nan, np.nan), "unknown"),
    ],
)
def test_a_problem_is_one_with_its_whole_interval(interval, level):
    assert own_limits()["heldout_kl"].level(Interval(*interval)) == level


def test_a_users_limits_take_the_place_of_some(tmp_path):
    file = tmp_path / "limits.yaml"
    file.write_text("version: 1\nlimits:\n  heldout_kl: {problem: [null, 0.05], watch: [null, 0.04]}\n")
    limits = load_limits(file)
    assert limits["heldout_kl"].problem == (-np.inf, 0.05)
    assert limits["heldout_kl"].usual == own_limits()["heldout_kl"].usual
    assert limits["clip"] == own_limits()["clip"]
    assert learning.check_too_long(Case(**{**vars(case()), "limits": limits})).level == "ok"
    long = Case(**{**vars(case(heldout_kl=(0.07, 0.06, 0.08))), "limits": limits})
    assert learning.check_too_long(long).level == "problem"


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "version: 2\nlimits: {}",
        "version: 1\nlimits: {no_such_number: {watch: [0, 1]}}",
        "version: 1\nlimits: {heldout_kl: 3}",
        "version: 1\nlimits: {heldout_kl: {watch: [1, 0]}}",
        "version: 1\nlimits: {heldout_kl: {watch: [true, 2]}}",
        "version: 1\nlimits: {heldout_kl: {watch: [.nan, 2]}}",
        "version: 1\nlimits: {heldout_kl: {shape: [0, 1]}}",
        "a: [",
        "!!python/object/apply:os.system ['true']",
    ],
)
def test_a_file_that_holds_no_limits_gets_one_line(tmp_path, text):
    file = tmp_path / "limits.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        load_limits(file)
    assert "\n" not in str(raised.value)
    assert "limits.yaml" in str(raised.value)


# numbers


def test_a_fitted_value_finds_what_can_be_predicted_and_nothing_where_nothing_is():
    draws = np.random.default_rng(0)
    inputs = draws.standard_normal((16, 32, 3))
    returns = inputs @ [1.0, -2.0, 0.5] + 10.0
    fitted = fitted_values(inputs, returns)
    assert 1 - np.var(fitted - returns) / np.var(returns) > 0.95
    noise = draws.standard_normal((16, 32))
    assert 1 - np.var(fitted_values(inputs, noise) - noise) / np.var(noise) < 0.05


def test_effects_of_returns_by_hand():
    sampled, random = np.array([10.0, 12.0, 14.0]), np.array([1.0, 2.0, 3.0])
    episodes = {
        kind: [{"returns": own, "lengths": own, "finished": np.ones(3, bool)}]
        for kind, own in (("sampled", sampled), ("mode", sampled + 5), ("random", random))
    }
    found = episode_numbers(episodes, 14, 0.95)
    assert found["return_effect"].value == pytest.approx(10.0)  # (12 - 2) / 1
    assert found["noise_cost"].value == pytest.approx(5 / 15)
    assert found["share_to_limit"].value == pytest.approx(1 / 3)
    assert found["distinct_returns"].value == 3
    same = {kind: [{**answers[0], "returns": np.full(3, -200.0)}] for kind, answers in episodes.items()}
    assert episode_numbers(same, None, 0.95)["return_effect"] == exactly(0.0)


def test_deviations_without_each_are_numpys():
    values = np.random.default_rng(0).normal(5.0, 2.0, 9)
    expected = [np.delete(values, own).std(ddof=1) for own in range(9)]
    np.testing.assert_allclose(deviations_without_each(values), expected)


@pytest.mark.parametrize("effect", [0.0, 10.0])
def test_the_interval_of_an_effect_covers_as_its_unit_is_drawn_too(effect):
    draws = np.random.default_rng(3)
    own = [(draws.normal(effect, 1.0, 16), draws.normal(0.0, 1.0, 16)) for _ in range(400)]
    found = [
        episode_numbers({"sampled": [answer(one)], "random": [answer(other)]}, None, 0.95)["return_effect"]
        for one, other in own
    ]
    # s is too small on average, by 1 + 3 / (4 * 15 - 1) (Hedges, 1981): the interval is of its expectation
    truth = effect * (1 + 3 / (4 * 15 - 1))
    assert 0.92 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99
    # where the difference of means is surely above 0, so is the effect, however little is known of its unit
    both = [
        (mean_difference.low > 0, one.low > 0)
        for one, mean_difference in zip(found, (difference(*pair) for pair in own), strict=True)
    ]
    assert all(effect_known == mean_known for mean_known, effect_known in both)


def effect_of(sampled, random):
    return episode_numbers({"sampled": [answer(sampled)], "random": [answer(random)]}, None, 0.95)["return_effect"]


def test_effects_below_zero_and_of_odd_units():
    draws = np.random.default_rng(4)
    below = effect_of(draws.normal(-10.0, 1.0, 16), draws.normal(0.0, 1.0, 16))
    assert below.low < below.value < below.high < 0
    # random actions earn once, or never: the unit is one episode's, and the difference alone is known
    once = effect_of(np.ones(64), (np.arange(64) == 63).astype(float))
    assert once.value == pytest.approx(7.875)
    assert 7.4 < once.low < once.value < once.high < 8.4
    # where random ones all earn the same, the agent's own deviation is the unit
    own = draws.normal(10.0, 1.0, 16)
    found = effect_of(own, np.zeros(16))
    by_hand = log_jackknife(own.mean() / own.std(ddof=1), means_without_each(own) / deviations_without_each(own))
    assert (found.value, found.low, found.high) == pytest.approx((by_hand.value, by_hand.low, by_hand.high))
    never = effect_of((np.arange(64) < 63).astype(float), np.zeros(64))
    assert 7.4 < never.low < never.value < never.high < 8.4


def difference(one, other):
    values = [means_without_each(side) for side in (one, other)]
    return plain_jackknife(float(one.mean() - other.mean()), *values)


def answer(returns):
    return {"returns": returns, "lengths": returns, "finished": np.ones(len(returns), bool)}


def a_stream_answer(draws, scale=1.0, critic=1.0, streams=16, steps=64):
    """Returns that inputs tell, and a critic that knows a part of them."""
    inputs = draws.standard_normal((streams, steps, 2))
    returns = scale * (5 + inputs[..., 0])
    zeros = np.zeros((streams, steps))
    return {
        "rewards": zeros + 1.0,
        "returns": returns,
        "values": critic * returns,
        "advantages": returns,
        "terminated": zeros.astype(bool),
        "truncated": zeros.astype(bool),
        "input_means": inputs.mean(1),
        "input_squares": np.square(inputs).mean(1),
        "clipped": np.zeros(streams),
        "thin_inputs": inputs[:, ::4],
        "thin_returns": returns[:, ::4],
        "entropy": np.full(streams, 0.5),
        "choices": np.full((streams, 2), 0.5),
        "std": np.full((streams, 1), np.nan),
        "outside": np.full((streams, 1), np.nan),
        **{name: np.array([0.0]) for name in ("saturated_units", "policy_constant_units", "critic_constant_units")},
        "policy_feature_rank": np.array([2.0]),
    }


def test_a_critic_against_a_constant_and_a_fit_by_hand():
    agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    answer = a_stream_answer(np.random.default_rng(1), critic=0.5)
    found = stream_numbers(agent, [answer], 512, 0.95)
    returns = answer["returns"]
    slow = 1 - np.mean((returns - 0.5 * returns) ** 2) / np.var(returns)
    assert found["critic_skill"].value == pytest.approx(slow)
    assert found["returns_to_values"].value == pytest.approx(2.0)
    assert found["critic_explained"].value == pytest.approx(0.75)
    assert found["fitted_explained"].value > 0.9
    assert found["input_spread_high"].value == pytest.approx(1.0, abs=0.1)


def test_intervals_hold_together():
    """Of 100 checkups of pure chance with many intervals each, hardly one has an interval that misses."""
    draws = np.random.default_rng(2)
    confidence = make_plan(
        10, 1, Trial(1e-4, 1.0, 512), time_limit=200, continuation=459, limits=own_limits()
    ).confidence
    missed = 0
    for _ in range(100):
        intervals = [mean_of(draws.standard_normal(8), confidence) for _ in range(18 * LOOKS)]
        missed += any(not one.low <= 0 <= one.high for one in intervals)
    assert missed <= 12  # 5% of 100 are 5; three standard errors above


# plans


def test_minutes_become_pairs_once():
    trial = Trial(1e-4, 2.0, 4096)
    plan = make_plan(10, 2, trial, time_limit=500, continuation=459, limits=own_limits())
    assert plan.pairs == pytest.approx(10 * 60 * 2 * 0.7 / 1e-4, rel=0.01)
    assert set(plan.pools) == {"episodes", "streams", "updates"}
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert [plan.pools["streams"].at(look) for look in range(3)] == [16, 32, 64]


def test_a_slow_environment_is_judged_by_what_fits():
    plan = make_plan(10, 2, Trial(1.0, None, 4096), time_limit=1000, continuation=459, limits=own_limits())
    assert "streams" not in plan.pools or plan.pools["streams"].continuation == 0
    assert "hours" in plan.reasons["episodes"]
    assert "minutes" in plan.reasons["updates"]


def test_short_episodes_are_planned_as_short_ones():
    plans = [
        make_plan(10, 1, Trial(1e-4, None, 512, length), time_limit=500, continuation=100, limits=own_limits())
        for length in (20.0, 400.0, None)
    ]
    assert [plan.pools["episodes"].pairs for plan in plans] == [240.0, 1500, 1500]
    assert [plan.pools["streams"].burn_in for plan in plans] == [80, 500, 500]


def test_looks_go_on_where_a_verdict_is_open_while_the_budget_lasts():
    plan = Plan(1000.0, {"episodes": Pool(4, 10.0), "streams": Pool(4, 20.0)}, {}, 0.99)
    assert next_look(plan, {}, set(), {}) == {"episodes": 0, "streams": 0}
    spent = {"episodes": 40.0, "streams": 80.0}
    assert next_look(plan, {"episodes": 0, "streams": 0}, {"streams"}, spent) == {"streams": 1}
    assert next_look(plan, {"episodes": 0, "streams": 0}, set(), spent) == {}
    assert next_look(plan, {"episodes": 0, "streams": 0}, {"streams"}, {"streams": 600.0}) == {}
    assert next_look(plan, {"episodes": 0, "streams": LOOKS - 1}, {"streams"}, {"streams": 1.0}) == {}


# what is shown


@pytest.mark.parametrize("width", [80, 120])
def test_the_answer_fits_its_columns(width):
    long = checked(case(**SICK["critic_scale"], heldout_kl=(0.4, 0.1, 0.7)))
    for line in written(long, width).splitlines():
        assert len(line) <= width
    assert repr(long) == written(long, 80)
    assert "CAUSE  critic_scale" in repr(long)
    assert "usual range" in repr(long)


def test_the_page_is_offline_and_escapes_what_it_is_told(tmp_path):
    found = Checkup("<script>alert(1)</script>.zip", "A&B", judge(case(**SICK["critic_scale"])), notices=("<b>x</b>",))
    page = found.to_html(tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "<b>x</b>" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "Cause: critic scale" in page
    assert found._repr_html_().count('class="strip"') == page.count('class="strip"') > 10


@pytest.mark.parametrize(
    ("value", "usual", "where"),
    [
        (0.5, (0.0, 1.0), 50.0),
        (0.0, (0.0, 1.0), 30.0),
        (2.0, (0.0, 1.0), 84.0),
        (-1.0, (0.0, 1.0), 16.0),
        (np.inf, (0.0, 1.0), 98.0),
        (0.1, (0.01, 1.0), 50.0),
        (0.0, (0.01, 1.0), 2.0),
        (0.8, (0.8, None), 30.0),
        (-np.inf, (0.8, None), 2.0),
        (3.0, (None, None), 50.0),
    ],
)
def test_places_of_numbers_in_a_picture(value, usual, where):
    assert place(value, usual) == pytest.approx(where)


def test_the_json_is_that_of_the_interface():
    found = checked(case(**SICK["critic_scale"])).to_json()
    assert {"level", "cause", "consequences", "checks", "unknown", "agent", "environment", "minutes", "pairs"} <= set(
        found
    )
    names = {"diagnosis", "layer", "level", "statement", "evidence", "usual", "advice", "settings"}
    assert names <= set(found["cause"])
    assert {"from", "to", "effect"} == set(next(iter(found["cause"]["settings"].values())))
    assert json.loads(json.dumps(found)) == found
    assert checkup_page(found)


# whole


@pytest.fixture
def _a_fast_machine(monkeypatch):
    """A trial that does not read the clock, so that plans are the same however busy the machine is."""
    monkeypatch.setattr(Pools, "trial", lambda self, _: Trial(1e-4, None, self.update_pairs, 20.0))


@pytest.mark.usefixtures("_a_fast_machine")
def test_a_checkup_from_the_command_line(tmp_path, capsys):
    arguments = ["checkup", "atlas/hopper-ppo", "--iteration", "0", "--agent-seed", "0", "--workers", "1"]
    arguments += ["--minutes", "0.05", "--json", "--html", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["environment"] == "Hopper-v5"
    assert {check["diagnosis"] for check in found["checks"]} == set(sum(DIAGNOSES.values(), ()))
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["kind"] == "checkup"
    assert record["plan"]["pools"]
    first = (tmp_path / "out/checkup.json").read_bytes()
    assert main(arguments) == 0  # the plan that is there is gone by, and its answers are taken
    assert (tmp_path / "out/checkup.json").read_bytes() == first
    assert "closerlook checkup" in (tmp_path / "out/checkup.html").read_text()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--minutes", "0"], "minutes must be more than 0"),
        (["--limits", "no_such.yaml"], "no_such.yaml cannot be read"),
        (["--batch", "no_such.npz"], "no_such.npz"),
        (["--fail-on", "never"], "never"),
        (["--expect-return", "nan"], "expected return"),
    ],
)
def test_bad_input_gets_one_line(tmp_path, capsys, more, says):
    options = ["--iteration", "0", "--agent-seed", "0", "--workers", "1", "--minutes", "0.01", "--out", str(tmp_path)]
    assert main(["checkup", "atlas/hopper-ppo", *options, *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert says in said[-1]


def test_the_level_that_was_asked_for_is_an_exit_code():
    sick, fine = checked(case(**SICK["critic_scale"])), checked(case())
    for level, found, code in (("problem", sick, 3), ("watch", sick, 3), ("problem", fine, 0), (None, sick, 0)):
        assert Command(agent="x", fail_on=level)._code(found) == code
    interrupted = Checkup("x", "y", (Finding("healthy", "end", "ok", ""),), interrupted=True)
    assert Command(agent="x", fail_on="problem")._code(interrupted) == 130


ODD = {
    "tiny_environments:Corridor": gaussian_agent(2, 1, gamma=0.9, regime=Regime(1, 64)),
    "odd_environments:choices": categorical_agent(3, 3),
}
"""One that never ends, and one of choices; both without a critic."""


@pytest.mark.usefixtures("_a_fast_machine")
@pytest.mark.parametrize("where", ODD)
def test_odd_environments_get_a_sensible_answer(where):
    found = cl.checkup(ODD[where], where, minutes=0.05, workers=1)
    assert {check.diagnosis for check in found.checks} == set(sum(DIAGNOSES.values(), ()))
    assert found["not_learned"].level != "unknown"
    assert found["broken_inputs"].level in {"ok", "watch", "problem"}
    assert "no critic" in found["critic_useless"].statement
    assert all(check.statement for check in found.checks)


@pytest.mark.usefixtures("_a_fast_machine")
def test_ctrl_c_gives_the_answer_so_far(monkeypatch):
    right = Pools.extend

    def interrupted(self, name, plan, look):
        if name == "streams":
            raise KeyboardInterrupt
        right(self, name, plan, look)

    monkeypatch.setattr(Pools, "extend", interrupted)
    found = cl.checkup(ODD["odd_environments:choices"], "odd_environments:choices", minutes=0.1, workers=1)
    assert found.interrupted
    assert found["not_learned"].level != "unknown"
    assert "interrupted" in found["broken_inputs"].statement
    assert "Interrupted" in str(found)


@pytest.mark.usefixtures("_a_fast_machine")
def test_what_is_not_finite_is_the_cause():
    where = EnvironmentSpec("tiny_environments:Corridor", {"length": 9, "bad_step": 5})
    found = cl.checkup(ODD["tiny_environments:Corridor"], where, minutes=0.1, workers=1)
    assert found.cause.diagnosis == "broken_steps"
    assert "reward" in found.cause.statement


def test_means_without_each_are_those_of_loops_and_their_interval_is_students_t():
    values = np.array([1.0, 2.0, 6.0, 5.5])
    assert means_without_each(values).tolist() == [np.delete(values, k).mean() for k in range(4)]
    found = mean_of(values, 0.95)
    reach = 3.182446305284263 * values.std(ddof=1) / 2  # t of three degrees of freedom
    ends = (values.mean(), values.mean() - reach, values.mean() + reach)
    assert (found.value, found.low, found.high) == pytest.approx(ends)


@pytest.mark.parametrize(("before", "advised"), [(0.1, 0.01), (0.0, None), (-0.1, None)])
def test_a_bonus_is_lowered_only_where_there_is_one(before, advised):
    """A negative coefficient already lowers entropy: a smaller one would keep it up."""
    wide = {"entropy_share": (0.9999, 0.9998, 1.0), "noise_cost": (0.9, 0.8, 1.0)}
    found = data.check_wide(case({"entropy_coefficient": before}, **wide))
    assert found.level in {"problem", "watch"}
    changed = found.settings.get("ent_coef")
    assert (changed["to"] if changed else None) == (advised if advised is None else pytest.approx(advised))
