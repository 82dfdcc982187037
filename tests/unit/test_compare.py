"""Comparisons of two agents, and estimators beside known answers."""

import json
from dataclasses import replace

import numpy as np
import pytest

import closerlook as cl
from closerlook.checkups import exact_chain, selfcheck
from closerlook.checkups.case import Case
from closerlook.checkups.compare import Comparison, Difference, difference_of, differences
from closerlook.checkups.numbers import exactly
from closerlook.checkups.plan import Trial
from closerlook.checkups.pools import Pools
from closerlook.cli import main
from closerlook.cli.compare import _table
from closerlook.errors import InputError
from closerlook.execution import Silence
from closerlook.results.ownership import owned
from closerlook.statistics.estimates import Interval


def case(settings=None, **numbers):
    known = {name: Interval(*own) if isinstance(own, tuple) else exactly(own) for name, own in numbers.items()}
    return Case(known, {}, settings or {})


@pytest.fixture
def _a_fast_machine(monkeypatch):
    monkeypatch.setattr(Pools, "trial", lambda self, _: Trial(1e-4, None, self.update_pairs, 5.0))


def test_a_difference_of_intervals_by_hand():
    found = difference_of(Interval(5.0, 2.0, 6.0), Interval(1.0, 0.0, 5.0))
    assert found == Interval(4.0, 4.0 - 5.0, 4.0 + np.sqrt(2.0))


def test_what_is_known_to_differ():
    """A number that was sampled without an interval is never known to differ."""
    left = case({"batch_pairs": 2048.0}, heldout_kl=(0.1, 0.09, 0.11), direction=(0.5, 0.1, 0.9), returns_rms=3.0)
    right = case({"batch_pairs": 64.0}, heldout_kl=(0.01, 0.009, 0.011), direction=(0.4, 0.1, 0.7), returns_rms=4.0)
    found = {one.number: one for one in differences([left], [right])}
    assert {name for name, one in found.items() if one.known} == {"heldout_kl", "batch_pairs"}
    assert found["batch_pairs"].low == found["batch_pairs"].high == 1984


def test_returns_of_the_same_resets_are_compared_in_pairs():
    draws = np.random.default_rng(0)
    luck = 100 * draws.standard_normal(30)
    returns = [{"sampled": luck + 1 + 0.1 * draws.standard_normal(30)}, {"sampled": luck}]
    sides = [case(sampled_return=(float(one["sampled"].mean()), -50.0, 50.0)) for one in returns]
    (found,) = differences([sides[0]], [sides[1]], returns)
    assert found.paired
    assert found.known
    assert found.difference == pytest.approx(1.0, abs=0.1)
    (apart,) = differences([sides[0]], [sides[1]])
    assert not apart.paired
    assert not apart.known


def test_means_of_episodes_differ_as_seldom_as_all_numbers_together():
    draws = np.random.default_rng(4)
    missed = 0
    for _ in range(500):
        episodes = [{name: draws.standard_normal(16) for name in ("sampled", "mode", "lengths")} for _ in range(2)]
        sides = [
            case(
                sampled_return=interval(one["sampled"]),
                mode_return=interval(one["mode"]),
                episode_length=interval(one["lengths"]),
            )
            for one in episodes
        ]
        found = differences([sides[0]], [sides[1]], episodes, paired=False)
        assert not any(one.paired for one in found)
        missed += any(one.known for one in found)
    assert missed <= 40  # 5% are 25; three standard errors above


def interval(values):
    """The usual one of a mean, which holds by itself."""
    half = 2.131 * values.std(ddof=1) / 4
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def test_what_is_not_known_is_a_dash():
    numbers = Difference("noise_scale_pairs", np.nan, 3.0, np.nan, np.nan, np.nan, False, False)
    no_ends = Difference("returns_rms", 4.0, 3.0, 1.0, np.nan, np.nan, False, False)
    known = Difference("heldout_kl", 2.0, 1.0, 1.0, 0.5, 1.5, True, False)
    table = _table(Comparison("a", "b", "C", (numbers, no_ends, known)))
    cells = [list(column.cells) for column in table.columns]
    assert cells[1:4] == [["-", "4", "2"], ["3", "3", "1"], ["-", "1", "1 (0.5 to 1.5)"]]


def test_populations_are_compared_with_agents_as_units():
    draws = np.random.default_rng(1)
    sides = [[case(heldout_kl=value) for value in draws.normal(mean, 1.0, 8)] for mean in (5.0, 0.0)]
    (found,) = differences(*sides)
    values = [np.array([one["heldout_kl"].value for one in side]) for side in sides]
    assert found.difference == pytest.approx(values[0].mean() - values[1].mean())
    assert found.known
    error = np.sqrt(sum(own.var(ddof=1) / 8 for own in values))
    assert 1.9 * error < (found.high - found.low) / 2 < 3 * error


def test_intervals_of_equal_populations_hold_zero():
    draws = np.random.default_rng(2)
    missed = 0
    for _ in range(400):
        sides = [[case(heldout_kl=value) for value in draws.normal(0.0, 1.0, 5)] for _ in range(2)]
        missed += differences(*sides)[0].known
    assert missed <= 33  # 5% are 20; three standard errors above


@pytest.mark.usefixtures("_a_fast_machine")
def test_an_agent_does_not_differ_from_itself_and_does_from_another(tmp_path, capsys):
    agent = exact_chain.chain_agent()
    same = cl.compare(agent, agent, minutes=0.01, workers=1)
    assert same.known == ()
    assert {one.number for one in same.differences if one.paired} == {"sampled_return", "mode_return"}
    apart = cl.compare(agent, replace(agent, agent_seed=1), minutes=0.01, workers=1)
    assert not any(one.paired for one in apart.differences)
    far = agent.with_state({"value": {name: 100 * own for name, own in agent.value_parameters.items()}})
    assert "noise_scale_pairs" in cl.compare(agent, far, minutes=0.01, workers=1).known
    name = "closerlook.checkups.exact_chain:chain_agent"
    options = ["--minutes", "0.01", "--workers", "1", "--json", "--out", str(tmp_path)]
    assert main(["compare", name, name, *options]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["known"] == []
    # a line for each agent and none for each of its pools, nor an empty one where nobody sees a bar
    lines = shown.err[: shown.err.index("number")].splitlines()
    assert [line.split(":")[0] for line in lines if "pairs of" in line] == ["agent 1 of 2", "agent 2 of 2"]
    assert all(lines[:2])
    assert {"number", "left", "right", "difference", "low", "high", "known", "paired"} == set(found["differences"][0])
    with pytest.raises(InputError, match="no agent"):
        cl.compare([], agent)
    with owned(tmp_path):  # by another command
        assert main(["compare", name, name, *options]) == 2
    assert "is in use by" in capsys.readouterr().err


class Heard(Silence):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []
        self.done: list[list[float]] = []
        self.stored = self.ended = 0

    def start(self, total_pairs: float, label: str) -> None:
        self.begun.append((label, total_pairs))
        self.done.append([])

    def skip(self, pairs: float) -> None:
        self.stored += pairs

    def advance(self, pairs: float) -> None:
        self.done[-1].append(pairs)

    def finish(self) -> None:
        self.ended += 1


@pytest.fixture
def pools(monkeypatch):
    """List the pools of every agent, where episodes are foretold to be far longer than they are."""
    monkeypatch.setattr(Pools, "trial", lambda self, _: Trial(1e-4, None, self.update_pairs, 100.0))
    found, extend = [], Pools.extend

    def noted(self, *what):
        found.extend([self] if self not in found else [])
        extend(self, *what)

    monkeypatch.setattr(Pools, "extend", noted)
    return found


def test_progress_is_that_of_the_whole_plan(pools):
    """Pairs are counted as the plan counts them in the end: episodes as long as they were, not as they might be."""
    heard, agent = Heard(), cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    cl.compare(agent, agent, minutes=0.2, workers=1, progress=heard)
    assert [label for label, _ in heard.begun] == ["agent 1 of 2", "agent 2 of 2"]
    assert heard.ended == 2
    for own, done, (_, announced) in zip(pools, heard.done, heard.begun, strict=True):
        assert sum(done) == pytest.approx(sum(own.spent.values()), abs=10)
        assert sum(done) <= announced


@pytest.mark.usefixtures("pools")
def test_a_checkup_that_goes_on_announces_what_is_left(tmp_path):
    agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    first, again, rest = Heard(), Heard(), Heard()
    cl.checkup(agent, minutes=0.1, workers=1, out=tmp_path, progress=first)
    cl.checkup(agent, minutes=0.1, workers=1, out=tmp_path, progress=again)
    assert (len(first.begun), first.ended, first.stored) == (1, 1, 0)
    assert (again.begun, again.ended) == ([], 0)
    gone = sorted((tmp_path / "jobs").glob("*.npz"))[0]
    gone.unlink()
    cl.checkup(agent, minutes=0.1, workers=1, out=tmp_path, progress=rest)
    assert len(rest.begun) == 1
    assert rest.stored > 0
    assert rest.stored + sum(rest.done[0]) == pytest.approx(sum(first.done[0]), abs=20)


# estimators beside known answers


def test_the_chain_ends_and_its_values_are_those_of_its_own_recursion():
    known = exact_chain.values(0.8)
    chances = exact_chain.policy()
    for state in range(exact_chain.STATES):
        ahead = exact_chain.REWARDS[:, state] + 0.8 * exact_chain.MOVES[:, state] @ known
        assert known[state] == pytest.approx(chances[state] @ ahead)
    assert (exact_chain.MOVES.sum(-1) < 1).all()


CASES = {
    "mean_pairwise_cosine": (selfcheck.statistics_cases, lambda *a, **k: Interval(0.5, 0.45, 0.55)),
    "split_explained_variance": (selfcheck.statistics_cases, lambda *a, **k: Interval(0.2, 0.1, 0.3)),
    "pareto_k": (selfcheck.statistics_cases, lambda ratios: 0.9),
    "gae": (selfcheck.recursion_cases, lambda rewards, values, following, ends, **k: rewards - values),
    "discounted_sums": (selfcheck.recursion_cases, lambda rewards, ends, gamma: rewards),
}


@pytest.mark.parametrize("broken", CASES)
def test_an_estimator_that_is_broken_does_not_pass(broken, monkeypatch):
    cases, wrong = CASES[broken]
    assert all(one.passed for one in cases())
    monkeypatch.setattr(selfcheck, broken, wrong)
    assert not all(one.passed for one in cases())


def test_a_wrong_critic_or_a_wrong_sign_is_seen_on_the_chain(monkeypatch):
    right = selfcheck.sample_streams

    def flipped(*arguments):
        found = right(*arguments)
        return {**found, "gradients": -found["gradients"], "values": found["values"] + 1.0}

    monkeypatch.setattr(selfcheck, "sample_streams", flipped)
    failed = {one.estimator for one in selfcheck.chain_cases() if not one.passed}
    assert failed == {"critic that is right: mean error", "policy gradient with advantages, along the exact one"}


def test_the_command_shows_a_table_and_its_code(monkeypatch, capsys):
    monkeypatch.setattr(selfcheck, "CASES", (selfcheck.recursion_cases,))
    assert main(["selfcheck", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    monkeypatch.setattr(selfcheck, "gae", CASES["gae"][1])
    assert main(["selfcheck", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["passed"] is False
