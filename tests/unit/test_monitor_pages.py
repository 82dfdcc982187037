"""How often a monitor alarms in healthy training, and whether batches agree with full measurements."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

import agreement
import alarms
from cleanrl_style import Args
from measured import replaced

import closerlook as cl
from closerlook.agents.agent import Regime
from closerlook.monitor.levels import LIMITS
from closerlook.monitor.training_monitor import WATCHED

QUIET = {name: [None] * 30 for name in WATCHED}


def training(returns, **columns):
    """Numbers of a training of thirty updates that are all missing but some."""
    return {**QUIET, alarms.RETURN: list(returns), **columns}


def test_the_tables_are_those_of_the_data():
    page = alarms.PAGE.read_text()
    assert replaced(page, "alarms", alarms.tables(alarms.load())) == page, "run docs/alarms.py"
    assert replaced(page, "agreement", agreement.laid_out(agreement.load())) == page, "run docs/agreement.py"


def test_rises_are_counted_and_falls_are_not():
    limit = LIMITS["mean_kl"]
    well, odd, bad = 0.0, limit.watch, limit.problem
    column = [well] * 4 + [odd] * 3 + [bad] * 2 + [odd] * 4 + [well] * 3 + [bad] * 3 + [well] * 11
    found = alarms.rises_of(training(range(30), mean_kl=column))["mean_kl"]
    # two in a row raise a level or lower it: watch, problem, down to watch, ok, problem at once
    assert (found.watch, found.problem) == (1, 2)
    assert found.standing == 9 + 3
    assert alarms.rises_of(training(range(30)))["mean_kl"].standing == 0


def test_an_agent_has_learned_where_its_return_surely_rose():
    draws = np.random.default_rng(0).normal(size=30)
    assert alarms.learned(training(np.arange(30) + draws))[2]
    assert not alarms.learned(training(draws))[2]
    assert not alarms.learned(training([None] * 30))[2]
    assert not alarms.learned(training(-np.arange(30) + draws))[2]


def test_who_did_not_learn_is_named_and_left_out():
    alarming = {"mean_kl": [1.0] * 30}
    stored = {"CartPole-v1-0": training(range(30)), "CartPole-v1-1": training(range(30, 0, -1), **alarming)}
    text = alarms.tables(stored)
    assert "| 1 of 2 | 30 |" in text
    assert "`mean_kl` (0)" in text.split("Never beyond their limits")[1]
    stored["CartPole-v1-1"] = training(range(30), **alarming)
    assert "| `mean_kl` | 0.15, 0.5 | 0.0 (0.0 to 123.0) | 33.3 (0.8 to 185.7) | - | - |" in alarms.tables(stored)


def test_rates_have_exact_intervals():
    """The ends are the means of Poisson laws for which as few, or as many, have a chance of 2.5%."""
    value, low, high = (float(part.strip("(to)")) for part in alarms.rate(4, 1000).replace("to", "").split())
    assert value == 4.0
    assert stats.poisson.sf(3, low) == pytest.approx(0.025, abs=2e-3)
    assert stats.poisson.cdf(4, high) == pytest.approx(0.025, abs=2e-3)


@pytest.mark.parametrize(
    "task",
    [
        alarms.Zoo(
            *("CartPole-v1", 1, 3, 1e5, 2),
            normalize=True,
            linear={"learning_rate": 0.001},
            settings={"n_steps": 32, "batch_size": 32, "n_epochs": 1},
        ),
        alarms.Ours("hopper", "ppo", updates=3),
    ],
    ids=["zoo", "ours"],
)
def test_a_training_is_watched_at_every_update(task):
    numbers = task.measure(0)
    assert set(numbers) == {alarms.RETURN, *WATCHED}
    assert {len(column) for column in numbers.values()} == {3}
    assert None not in numbers["mean_kl"]
    assert numbers["faults"] == [0.0] * 3
    assert any(value is not None for value in numbers[alarms.RETURN])
    json.dumps(numbers)


def test_what_is_missing_is_measured_and_what_is_named_again():
    everything = [run for run, *_ in alarms.missing({}, [])]
    assert len(everything) == sum(task.seeds for task in alarms.TASKS.values())
    assert [run for run, *_ in alarms.missing({everything[0]: {}}, [])] == everything[1:]
    assert [run for run, *_ in alarms.missing({everything[0]: {}}, everything[:1])] == everything[:1]


SHORT = Regime(n_envs=1, n_steps=256)
SCRIPT = Args(num_envs=4, num_steps=128, update_epochs=1)


@pytest.mark.parametrize(
    ("checkpoints", "pairs"),
    [
        (lambda: agreement.of_atlas([(150, 0)]), 10 * SHORT.batch_pairs),
        pytest.param(lambda: agreement.of_script([1], SCRIPT), 5_120, marks=pytest.mark.slow),
    ],
    ids=["ours", "script"],
)
def test_a_checkpoint_is_measured_both_ways(checkpoints, pairs, monkeypatch):
    load = cl.load
    monkeypatch.setattr(cl, "load", lambda *name, **which: replace(load(*name, **which), regime=SHORT))
    (checkpoint,) = checkpoints()
    assert checkpoint.numbers["faults"] == 0
    assert checkpoint.numbers["mean_kl"] > 0
    full = agreement.measure(checkpoint.agent, agreement.Sizes(gradients=pairs, values=pairs, repeats=3))
    rows = agreement.beside(checkpoint.numbers, full)
    assert agreement.beside(checkpoint.numbers, {row["estimate"]: row["full"] for row in rows}) == rows
    assert [row["estimate"] for row in rows] == list(agreement.ESTIMATES)
    for row in rows:
        assert len(row["full"]) == 3
        assert len(row["batch"]) == (1 if row["estimate"] in agreement.OF_UPDATES else 3)
        assert isinstance(agreement.agrees(row), bool)
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.parametrize("share", [True, False])
def test_one_more_update_lies_in_its_range(share):
    draws = np.random.default_rng(0)
    law = stats.beta(20, 80) if share else stats.lognorm(0.4)
    values = law.rvs(size=(2000, 13), random_state=draws)
    ranges = np.array([agreement.one_more(row[:12], share=share) for row in values])
    held = (ranges[:, 1] <= values[:, 12]) & (values[:, 12] <= ranges[:, 2])
    assert held.mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("batch", "full", "agree"),
    [
        ([1.0, 0.5, 2.0], [1.5, 1.4, 1.6], True),
        ([1.0, 0.5, 2.0], [2.5, 1.9, 3.0], False),
        ([1.0, 0.5, "no end"], [2.5, 1.9, 3.0], True),
        ([None, None, None], [2.5, 1.9, 3.0], False),
        ([1.0, 0.5, 2.0], [None, 1.9, "no end"], True),
        ([1.0, 0.5, 2.0], [None, 2.1, "no end"], False),
        ([1.0], [0.8, 0.5, 1.1], True),
        ([None], [0.8, 0.5, 1.1], False),
    ],
)
def test_a_batch_agrees_where_its_interval_holds_the_full_value(batch, full, agree):
    assert agreement.agrees({"batch": batch, "full": full}) is agree
