"""What work takes is told from a trial of it, by clocks that only the tests move; no result depends on the trial."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from rich.console import Console

import closerlook as cl
import closerlook.diagnostics.runner as runner
import closerlook.simulation.metering as metering
import closerlook.training.run as training_run
from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.ppo import PPOSettings
from closerlook.cli.console import Bar, Terminal, time_left
from closerlook.diagnostics.foretelling import TINY, Foretelling, affine, makespan
from closerlook.diagnostics.pace import spread_of
from closerlook.execution import Job, Silence, Whole
from closerlook.simulation.metering import Asked, Measured, Meter, Pace, metered
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from closerlook.training import TrainSettings, train
from closerlook.training.foretelling import foretell
from closerlook.training.settings import initial_agents
from ticking_environments import STEP, Clock

FACTOR = 1.5
SETTINGS = TrainSettings(
    environment="ticking_environments:make_ticking", seeds=1, steps=512, n_envs=2, n_steps=128, hidden=(4,), gamma=0.9,
    ppo=PPOSettings(policy_epochs=1, value_epochs=1, minibatches=4),
)  # fmt: skip


def agent_of(gamma: float, env: str = "ticking_environments:make_ticking") -> Agent:
    settings = replace(SETTINGS, gamma=gamma, environment=env).resolved()
    return replace(initial_agents(settings, range(1))[0])


@pytest.fixture(autouse=True)
def nothing_is_tiny(monkeypatch):
    monkeypatch.setattr("closerlook.diagnostics.foretelling.TINY", 0)
    monkeypatch.setattr("closerlook.training.foretelling.TINY", 0)


class Told(Silence):
    """Asks what the work takes, and reads the clock as it begins; what it was told later comes after."""

    def __init__(self):
        self.all_told, self.all_begun, self.tried = [], [], 0.0

    def foretell(self, total_pairs, trial):
        before = Clock.now
        self.all_told.append(trial())
        self.tried += Clock.now - before
        self.all_begun.append(Clock.now)

    @property
    def told(self):
        return self.all_told[0]

    @property
    def begun(self):
        return self.all_begun[0]


SMALL = {"pairs": 8192, "estimates": 4}
CASES = {
    "gradients": SMALL,
    "gradients, true": SMALL | {"true_gradients": ("discounted_return", "episode_return")},
    "gradients, updates": SMALL | {"updates": True},
    "values": SMALL | {"fit_pairs": 2048, "restarts": 4, "restart_copies": 4, "updates": 2},
    "landscape": {"pairs": 256, "line_pairs": 1024, "heldout_pairs": 512, "grid": 3},
    "trust-region": {"repeats": 3, "pairs": 512, "return_pairs": 1024},
}
LESS = {"values": {"pairs": 2048, "fit_pairs": 512, "updates": 1}}
"""What is enough where times are not in question."""


ENVIRONMENTS = ("make_ticking", "make_limited", "make_even")
EVERY = [(case, gamma, env) for case in CASES for gamma in (0.9, 0.999) for env in ENVIRONMENTS]
FAST = [("gradients", 0.9, "make_ticking"), ("gradients, updates", 0.9, "make_ticking")]
FAST += [(case, 0.999, "make_limited") for case in ("gradients, true", "values", "trust-region")]
FAST += [("values", 0.999, "make_even")]


@pytest.mark.parametrize(
    ("case", "gamma", "env"), [pytest.param(*one, marks=[] if one in FAST else pytest.mark.slow) for one in EVERY]
)
def test_a_measurement_takes_what_was_foretold(case, gamma, env, monkeypatch):
    monkeypatch.setattr(runner, "Foretelling", partial(Foretelling, clock=Clock()))
    heard = Told()
    cl.run(case.split(",")[0], agent_of(gamma, f"ticking_environments:{env}"), workers=1, progress=heard, **CASES[case])
    taken = Clock.now - heard.begun
    assert taken / FACTOR < heard.told < taken * FACTOR


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case == "values" else pytest.mark.slow) for case in CASES]
)
def test_no_result_depends_on_the_trial(case, tmp_path):
    """Nor is anything of it left in the folder."""
    agent, name, asked = agent_of(0.9), case.split(",")[0], CASES[case] | LESS.get(case, {})
    before = torch.random.get_rng_state()
    whole = cl.run(name, agent, workers=1, out=tmp_path / "silent", **asked)
    heard = Told()
    tried = cl.run(name, agent, workers=1, out=tmp_path / "tried", progress=heard, **asked)
    assert heard.told > 0
    assert tried.identical(whole)
    assert torch.equal(torch.random.get_rng_state(), before)
    left = [{str(path.relative_to(tmp_path / of)) for path in (tmp_path / of).rglob("*")} for of in ("silent", "tried")]
    assert left[0] == left[1]
    assert not {name for name in left[0] if name.startswith("shards")}
    again = Told()
    cl.run(name, agent, workers=1, out=tmp_path / "tried", progress=again, **asked)
    assert again.all_told == []  # all is stored, so that nothing is tried


def test_a_trial_that_fails_tells_nothing(monkeypatch):
    """What fails in it fails again, and is told, where it is meant."""

    def fail(*_, **__):
        raise RuntimeError("out of order")

    heard = Told()
    monkeypatch.setattr("closerlook.diagnostics.foretelling.find_pace", fail)
    cl.run("gradients", agent_of(0.9), workers=1, progress=heard, **SMALL)
    assert heard.told is None


def test_nothing_tiny_is_tried(monkeypatch):
    monkeypatch.setattr("closerlook.diagnostics.foretelling.TINY", TINY)
    heard = Told()
    cl.run("gradients", agent_of(0.9), workers=1, progress=heard, **SMALL)
    assert (heard.told, heard.tried) == (None, 0.0)


def test_a_stage_that_could_not_be_listed_is_told_before_it_begins(monkeypatch):
    """The direction of a gradient takes a whole pool; until that is there, the rest is told by its pairs."""
    monkeypatch.setattr(runner, "Foretelling", partial(Foretelling, clock=Clock()))
    heard = Told()
    options = {**CASES["landscape"], "axes": ("gradient", "random"), "gradient_pairs": 4096}
    cl.run("landscape", agent_of(0.9), workers=1, progress=heard, **options)
    assert len(heard.all_told) == 2
    for told, begun in zip(heard.all_told, heard.all_begun, strict=True):
        taken = Clock.now - begun
        assert taken / FACTOR < told < taken * FACTOR


@pytest.mark.parametrize("seeds", [1, 3])
def test_training_takes_what_was_foretold(seeds, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "foretell", lambda plan, agents: foretell(plan, agents, Clock()))
    heard = Told()
    train(replace(SETTINGS, seeds=seeds), out=tmp_path, workers=1, progress=heard)
    assert heard.told == pytest.approx(Clock.now - heard.begun, rel=0.01) == pytest.approx(seeds * 512 * STEP)


@pytest.mark.parametrize(("cores", "agents_in_turn"), [(1, 3), (2, 2), (8, 2)])
def test_training_waits_for_the_worker_that_has_most(cores, agents_in_turn, tmp_path, monkeypatch):
    told = []

    def tell(plan, agents):
        told.append(foretell(plan, agents, Clock()))
        raise KeyboardInterrupt

    monkeypatch.setattr(training_run, "foretell", tell)
    monkeypatch.setattr("closerlook.training.foretelling.hands", lambda workers: min(workers, cores))
    with pytest.raises(KeyboardInterrupt):
        train(replace(SETTINGS, seeds=3), out=tmp_path, workers=2, progress=Told())
    assert told == [pytest.approx(agents_in_turn * 512 * STEP)]


def test_no_agent_depends_on_the_trial(tmp_path):
    runs = [train(SETTINGS, out=tmp_path / of, workers=1, progress=p) for of, p in (("a", None), ("b", Told()))]
    for name, tensor in runs[0].agents[0].state.items():
        assert torch.equal(tensor, runs[1].agents[0].state[name])


def simulate_lane(asked: Asked, length: Callable[[], float]) -> int:
    """Step one lane through one stream, the obvious way."""
    own, limit = asked.sampling, asked.time_limit or math.inf
    taken = elapsed = 0
    left = length()
    for step in range(own.n_steps):
        taken, elapsed, left = taken + 1, elapsed + 1, left - 1
        if left > 0 and (elapsed == limit or step == own.n_steps - 1):
            further, finish = (
                own.continuation_steps,
                own.finish_episodes and elapsed < limit and step == own.n_steps - 1,
            )
            patience = limit - elapsed if limit < math.inf else own.longest_finish
            taken += int(min(left, max(further, patience if finish else 0)))
        if left <= 0 or elapsed == limit:
            elapsed, left = 0, length()
    return taken


SAMPLINGS = [Sampling(50), Sampling(200, 0, 300), Sampling(150, 0, 20, True, 400)]


@pytest.mark.parametrize("hazard", [0.0, 0.002, 0.05])
@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_steps_of_a_stream_are_those_of_many_simulated_ones(sampling, limit, hazard):
    asked = Asked(sampling, "test", 1, 1, 1, limit)
    draws = np.random.default_rng(0)
    mean = np.mean([simulate_lane(asked, lambda: draws.geometric(hazard) if hazard else math.inf) for _ in range(400)])
    assert asked.steps(hazard)[1] == pytest.approx(mean, rel=0.2)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_episodes_of_much_the_same_length_are_met_half_over(sampling):
    """By the law of those that end at any step they would go on for twice as long."""
    asked, draws, lengths = Asked(sampling, "test", 1, 1, 1, None), np.random.default_rng(0), range(30, 51)
    mean = np.mean([simulate_lane(asked, lambda: draws.choice(lengths)) for _ in range(400)])
    spread = float(np.var(lengths) / np.mean(lengths) ** 2)
    assert asked.steps(1 / np.mean(lengths), spread)[1] == pytest.approx(mean, rel=0.04)
    assert spread_of([40] * 4) == 0.5  # of few episodes it is not known
    assert spread_of([]) == 1.0


def test_the_lengths_of_episodes_are_counted_on_every_lane():
    meter = Meter(Clock())
    with metered(meter):
        spec = EnvironmentSpec("ticking_environments:make_even")
        rollout(agent_of(0.9), spec, Sampling(150), seeds=[0], purpose="test", streams=range(8), lanes=8)
    assert 8 * 150 // 15 <= len(meter.lengths) <= 8 * 150 // 8
    assert {*meter.lengths} <= {*range(8, 15)}
    assert np.std(meter.lengths) > 1


def test_lanes_share_the_steps_of_the_lockstep():
    asked = Asked(Sampling(10, continuation_steps=5), "test", 2, 8, 4, None)
    assert asked.steps(0.0) == (2 * 15, 2 * 8 * 15)
    assert asked.times(3, 64) == replace(asked, streams=24, lanes=24)
    assert asked.times(3, 16).lanes == 8
    assert replace(asked, alone=True).times(3, 64).lanes == 1


def test_a_rollout_is_cut_short_while_a_meter_is_on_and_only_then():
    agent, long = agent_of(0.9), Sampling(40, burn_in=50, continuation_steps=1000, finish_episodes=True)
    spec = EnvironmentSpec("ticking_environments:make_ticking", {"hazard": 0.0})
    how = {"seeds": [0], "purpose": "test", "streams": range(2), "lanes": 2}
    meter = Meter(Clock(), longest=4)
    with metered(meter):
        short = rollout(agent, spec, long, **how)
    assert short.rewards.shape == (1, 2, 4)
    assert short.boundaries.continuation_rewards.shape == (2, metering.SHORT)
    (measured,) = meter.rollouts
    assert measured.asked == Asked(long, "test", 1, 2, 2, None)
    assert (measured.scored, meter.share) == (4, 0.1)
    assert measured.seconds == pytest.approx(measured.steps * STEP)
    assert 2 * (4 + metering.SHORT) <= measured.steps <= 2 * (4 + 2 * metering.SHORT)
    whole = rollout(agent, spec, replace(long, finish_episodes=False), **how)
    assert whole.boundaries.continuation_rewards.shape == (2, 1000)


def measured(rounds, steps, of_round=3e-3, of_step=1e-3):
    return Measured(Asked(Sampling(10), "test", 1, 1, 1, None), 10, rounds, steps, rounds * of_round + steps * of_step)


def test_the_pace_is_found_on_few_lanes_and_on_many():
    pace = Pace.of(measured(100, 400), measured(50, 3200), 0.01)
    assert (pace.of_round, pace.of_step) == pytest.approx((3e-3, 1e-3))
    asked = Asked(Sampling(10), "test", 1, 64, 64, None)
    assert pace.seconds(asked) == pytest.approx(10 * 3e-3 + 640 * 1e-3)
    for few, many in [((100, 100), (100, 100)), ((100, 400, -2e-3), (50, 3200, -2e-3))]:
        pace = Pace.of(measured(*few), measured(*many), 0.01)  # nothing tells them apart, or nothing that makes sense
        assert pace.of_round == 0
        assert pace.of_step > 0


def test_jobs_are_taken_by_whoever_is_free():
    assert makespan([3.0, 1.0, 1.0, 1.0], 2) == 3.0
    assert makespan([1.0, 1.0, 3.0], 2) == 4.0
    assert makespan([], 2) == 0.0
    assert makespan([1.0] * 10_000, 4) == 2500.0


def test_what_does_not_grow_is_told_from_what_does():
    assert affine((100, 3.0), (300, 5.0)) == pytest.approx((2.0, 0.01))
    assert affine((100, 1.0), (300, 6.0)) == pytest.approx((0.0, 0.02))  # nothing is gained by less
    assert affine((100, 5.0), (300, 4.0)) == pytest.approx((4.0, 0.0))
    assert affine((100, 5.0), (100, 4.0)) == pytest.approx((0.0, 0.04))


def test_the_time_left_goes_over_to_what_was_taken():
    assert time_left(0.0, 5.0, 60.0) == 55.0
    assert time_left(0.0, 99.0, 60.0) == 0.0
    assert time_left(0.5, 50.0, 10.0) == pytest.approx(50.0)
    assert 54.0 < time_left(0.1, 12.0, 60.0) < 108.0
    assert time_left(1.0, 50.0, 10.0) == 0.0


def test_the_time_of_the_trial_is_announced():
    shown = Terminal(as_json=False)
    shown.notes = Console(file=io.StringIO(), width=200)
    bar = Bar(shown, "Hopper-v5", 2, too_long="give fewer pairs")
    whole = Whole(bar, 1000.0, "gradients", lambda: 3600.0)
    whole.start(1000.0, "a stage")
    whole.end()
    bar.skip(500.0)
    bar.start(1000.0, "gradients")
    bar.finish()
    bar.outlook(250.0, 1000.0)
    said = shown.notes.file.getvalue()
    assert "gradients: 1,000 pairs of Hopper-v5 on 2 workers, about 60 min" in said
    assert "500 pairs of Hopper-v5 on 2 workers, about 30 min" in said
    assert "first analysis: 250 pairs, about 15 min; all pairs: 1,000 pairs, about 60 min" in said
    bar.foretell(1000.0, lambda: 1e6)
    with pytest.raises(cl.errors.InputError, match=r"take about 11\.6 days; give fewer pairs"):
        bar.start(1000.0, "gradients")
    bar.foretell(1000.0, lambda: 40.0)
    bar.start(1000.0, "gradients")
    bar.advance(500.0)
    bar.foretell(500.0, lambda: None)
    bar.foretell(500.0, lambda: 600.0)
    assert "what is left takes about 10 min" in shown.notes.file.getvalue()
    bar.finish()
    bar.foretell(1000.0, lambda: None)
    assert bar.seconds_of(32_000.0) == pytest.approx(7 + 1)  # by the usual rate


def test_how_a_job_is_made_smaller_does_not_travel():
    from closerlook.execution.processes import _pack  # noqa: PLC0415

    job = Job("a job", "key", print, {})
    assert _pack(replace(job, smaller=lambda *_: job)) == _pack(job)
