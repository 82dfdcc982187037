"""A checkup of what else could have been chosen: lambda, seeds, a fresh network; and of what is odd to look at."""

import csv
import gzip
import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from test_checkup import a_stream_answer, case, checked
from test_trial import Convolved, normal

import closerlook as cl
from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.checkups import learning, outcome
from closerlook.checkups.answer import Checkup
from closerlook.checkups.case import Case
from closerlook.checkups.choices import LAMBDAS, lambda_numbers, returns_of_seeds, seed_numbers
from closerlook.checkups.numbers import exactly, input_shares, stream_numbers
from closerlook.checkups.plan import Trial
from closerlook.checkups.pools import Pools
from closerlook.checkups.sampling import sample_streams
from closerlook.cli import main
from closerlook.execution.threads import single_thread
from closerlook.measurements.stream_sums import StreamRange
from closerlook.simulation.records import Sampling
from environments import QuadraticCritic, endless_quadratic_agent, quadratic_value
from small_agents import gaussian_agent

ATLAS = Path(__file__).parents[2] / "atlas"


@pytest.mark.parametrize(
    ("gain", "level"),
    [
        ((3.0, 2.5, 3.6), "problem"),
        ((2.2, 1.9, 2.5), "watch"),
        ((1.2, 1.1, 1.3), "watch"),
        ((1.2, 0.9, 1.5), "ok"),
        ((1.0, 1.0, 1.0), "ok"),
    ],
)
def test_another_lambda_is_advised_where_it_is_surely_better(gain, level):
    one = case({"gae_lambda": 0.0}, lambda_gain=gain, best_lambda=0.95)
    found = learning.check_lambda(one)
    assert found.level == level
    if level != "ok":
        assert found.settings["gae_lambda"]["to"] == 0.95
    assert (checked(one).cause is not None) == (level == "problem")


def test_lambda_is_not_judged_where_noise_hides_it_or_nothing_has_one():
    assert learning.check_lambda(case()).level == "unknown"
    assert learning.check_lambda(Case(**{**vars(case()), "has_critic": False})).level == "unknown"


@single_thread()
def streams_of(agent: Agent, count: int) -> dict[str, np.ndarray]:
    sampling = Sampling(64, continuation_steps=44)
    return sample_streams(agent, agent.environment, sampling, StreamRange(0, "checkup", 0, count))


def test_advantages_of_the_agents_own_lambda_are_its_own():
    value = quadratic_value(endless_quadratic_agent())
    agent = endless_quadratic_agent(QuadraticCritic(value, share=0.5), gae_lambda=0.9)
    answer = streams_of(agent, 16)
    assert answer["lambda_gradients"].shape == (16, len(LAMBDAS), 10)
    same = answer["lambda_gradients"][:, LAMBDAS.index(0.9)]
    np.testing.assert_allclose(same, answer["gradients"], rtol=1e-3, atol=1e-3 * np.abs(same).max())
    assert "lambda_gradients" not in streams_of(endless_quadratic_agent(), 16)


def test_the_gain_of_another_lambda_is_that_of_its_cosine():
    """The made case: one half along the gradient, and as much again across it: a cosine of 1 / sqrt(5), of 1 by others.

    Where the agent's own is among the best, there is nothing to gain.
    """
    draws, streams, pairs = np.random.default_rng(0), 64, 64
    along, across = np.eye(12)[:2]
    noise = lambda: 0.05 * draws.standard_normal((streams, 12))  # noqa: E731
    others = [along + noise() for _ in LAMBDAS]
    answer = {"rewards": np.zeros((streams, pairs)), "true_gradients": pairs * (along + noise())}
    answer["lambda_gradients"] = pairs * np.stack(others, axis=1)
    off = {**answer, "gradients": pairs * (0.5 * along + across + noise())}
    found = lambda_numbers(off, 0.3, 100_000, 0.999)
    assert found["lambda_gain"].low < np.sqrt(5) < found["lambda_gain"].high
    assert found["lambda_gain"].low > 2
    assert found["best_lambda"].value in LAMBDAS
    one = case({"gae_lambda": 0.3}, **{name: (own.value, own.low, own.high) for name, own in found.items()})
    assert checked(one).cause.diagnosis == "lambda_off"
    fine = lambda_numbers({**answer, "gradients": pairs * (along + noise())}, 0.3, 100_000, 0.999)
    assert fine["lambda_gain"].value == pytest.approx(1.0, abs=0.02)
    lost = lambda_numbers({**answer, "gradients": 100 * pairs * noise()}, 0.3, 100_000, 0.999)
    assert np.isnan(lost["lambda_gain"].value)


def test_seeds_that_end_differently_ask_for_more_of_them():
    ends = (1000.0, 2000.0, 3000.0)
    spread = seed_numbers(ends, 0.0)["seed_spread"]
    assert spread == exactly(0.5)  # a deviation of 1,000 over a mean of 2,000
    found = outcome.check_more_seeds(Case(**{**vars(case(seed_spread=0.5)), "seed_returns": ends}))
    assert (found.level, "25 seeds" in found.advice) == ("watch", True)  # (0.5 / 0.1)^2
    many = outcome.check_more_seeds(Case(**{**vars(case(seed_spread=0.5)), "seed_returns": np.tile(ends, 10)}))
    assert many.level == "ok"
    alike = outcome.check_more_seeds(Case(**{**vars(case(seed_spread=0.02)), "seed_returns": (99.0, 100.0, 101.0)}))
    assert alike.level == "ok"
    assert outcome.check_more_seeds(case()).level == "unknown"
    assert seed_numbers((1.0, 2.0), 5.0) == {}  # no more than random actions: nothing was learned that could differ


def test_how_seeds_end_is_read_from_the_log_of_a_run(tmp_path):
    text = gzip.decompress((ATLAS / "hopper-ppo/training.csv.gz").read_bytes()).decode()
    rows = list(csv.DictReader(text.splitlines()))
    last = max(int(row["iteration"]) for row in rows)
    times = last + 1
    late = [row for row in rows if int(row["iteration"]) > last - round(0.1 * times)]
    by_hand = [
        np.mean([float(row["mean_reward"]) for row in late if row["agent_seed"] == seed])
        for seed in sorted({row["agent_seed"] for row in rows}, key=int)
    ]
    assert returns_of_seeds("atlas/hopper-ppo") == pytest.approx(by_hand)
    assert returns_of_seeds(tmp_path) == ()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "training.csv").write_text("a,b\n1,2\n")
    assert returns_of_seeds(tmp_path) == ()  # a log that cannot be read is no reason not to check up


@pytest.mark.usefixtures("idle")
def test_the_command_judges_the_seeds_of_the_run(tmp_path, capsys):
    command = ["checkup", "atlas/hopper-ppo", "--agent-seed", "0", "--iteration", "0", "--minutes", "0.02", "--json"]
    assert main([*command, "--workers", "1", "--out", str(tmp_path)]) == 0
    (found,) = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["diagnosis"] == "more_seeds"]
    assert found["level"] in {"ok", "watch"}
    assert found["statement"].startswith("10 seeds end at ")


def test_one_inputs_share_is_named():
    """Weights of 1 on two inputs, of which one varies a hundred times as much: 10,000 parts of 10,001."""
    agent = gaussian_agent(2, 1)
    first = next(name for name in agent.policy_parameters if agent.policy_parameters[name].ndim == 2)
    even = agent.with_state({"policy": {first: torch.ones_like(agent.policy_parameters[first])}})
    shares = input_shares(even, np.array([0.01, 1.0]))
    np.testing.assert_allclose(shares, [1e-4 / 1.0001, 1 / 1.0001], rtol=1e-6)
    one = Case(**{**vars(case(input_top_share=float(shares.max()))), "shares": shares})
    found = checked(one)["broken_inputs"]
    assert (found.level, "input 1 is 100.0% of what the first layer sees" in found.statement) == ("watch", True)
    assert checked(case(input_top_share=0.8))["broken_inputs"].level == "ok"


def test_a_critic_whose_features_tell_nothing_is_worn_out_where_fresh_ones_tell():
    agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    draws = np.random.default_rng(1)
    answer = a_stream_answer(draws)
    dull = {**answer, "thin_features": draws.standard_normal((16, 16, 4))}
    sharp = {**answer, "thin_features": np.tanh(answer["thin_inputs"])}
    worn, fine = (stream_numbers(agent, [one], 512, 0.95) for one in (dull, sharp))
    assert worn["critic_features_explained"].high < 0.2 < 0.8 < fine["critic_features_explained"].low
    names = ("critic_features_explained", "fitted_explained")
    for found, cause in ((worn, "network_worn_out"), (fine, None)):
        one = case(**{name: (found[name].value, found[name].low, found[name].high) for name in names})
        assert getattr(checked(one).cause, "diagnosis", None) == cause


class Slow(gymnasium.Env[np.ndarray, np.ndarray]):
    """A step takes 0.05 s."""

    observation_space = Box(-1, 1, (2,), np.float64)
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return self.np_random.uniform(-1, 1, 2), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        time.sleep(0.05)
        self.t += 1
        return self.np_random.uniform(-1, 1, 2), float(action[0]), self.t == 5, False, {}


@pytest.fixture
def idle(monkeypatch):
    """A trial that does not read the clock: the plan is that of an idle machine."""
    monkeypatch.setattr(Pools, "trial", lambda self, _: Trial(2e-4, None, self.update_pairs, 10.0))


def require_reasons(found: Checkup) -> None:
    """What was not judged says why; of the conclusion it says how much that is."""
    open_ones = [one for one in found.checks if one.level == "unknown" and one.diagnosis != "healthy"]
    assert all(one.statement.startswith("Not judged: ") for one in open_ones)


def require_sensible(found: Checkup) -> None:
    """Every diagnosis has an answer, those that were not judged say why, and a notebook shows it."""
    assert len(found.checks) > 20
    require_reasons(found)
    assert not [one for one in found.checks if " nan" in one.statement]
    assert "not judged" in repr(found).lower()
    assert found._repr_html_().count('class="strip"') > 0


@pytest.mark.usefixtures("idle")
def test_observations_in_a_dictionary_are_checked_up():
    agent = gaussian_agent(3, 1, regime=Regime(1, 32), algorithm="ppo")
    found = cl.checkup(agent, "odd_environments:Parts", minutes=0.1, workers=1)
    require_sensible(found)
    assert found["broken_inputs"].level in {"ok", "watch"}
    assert found["solved"].level == "unknown"


@pytest.mark.usefixtures("idle")
def test_images_are_checked_up():
    agent = Agent.from_torch(Convolved(), distribution=normal, regime=Regime(1, 32))
    found = cl.checkup(agent, EnvironmentSpec("choosy_environments:Pixels"), minutes=0.04, workers=1)
    require_sensible(found)
    assert found["broken_inputs"].level in {"ok", "watch"}
    assert "not known" in found["network_worn_out"].statement  # its activations are functions, no modules to listen to


def test_an_environment_that_takes_its_time_gets_what_fits():
    """Three seconds are sixty steps: what does not fit is not judged, and says how long it would take."""
    begun = time.monotonic()
    agent = gaussian_agent(2, 1, regime=Regime(1, 2048), algorithm="ppo")
    found = cl.checkup(agent, "test_checkup_choices:Slow", minutes=0.05, workers=1)
    assert time.monotonic() - begun < 30
    require_reasons(found)
    (late,) = [one for one in found.checks if one.diagnosis == "update_too_long"]
    assert (late.level, "minutes" in late.statement) == ("unknown", True)
    assert found._repr_html_()
