"""Whatever code of the user's does: one line that names it, exit code 2, and no traceback."""

import numpy as np
import pytest

from closerlook.agents.environment import EnvironmentSpec
from closerlook.cli import main
from closerlook.errors import InputError, users_code
from closerlook.simulation.engine import make_engine
from closerlook.simulation.rollout import Sampling, rollout
from small_agents import gaussian_agent

ENVIRONMENTS = {
    "Raises": r"(KeyError: 'the joint\nis stuck', misbehaving.py line 20); mend its step(), which returns",
    "RaisesAtReset": "(ZeroDivisionError, misbehaving.py line 28); mend its reset(), which returns (observation, info)",
    "OldStep": "(TypeError: step gave a tuple of 4, not a tuple of 5); mend its step()",
    "OldReset": "(TypeError: reset gave a ndarray, not a tuple of 2); mend its reset()",
    "OtherSize": "(ValueError: could not broadcast input array from shape (3,) into shape (2,)); mend its step()",
    "OtherSizeAtReset": "(ValueError: cannot reshape array of size 1 into shape (2,)",
}
AGENTS = {
    "raises": "the function misbehaving:raises failed (OSError: no weights here, misbehaving.py line",
    "needs_arguments": "the function misbehaving:needs_arguments failed (TypeError: needs_arguments() missing",
    "two_values": "the agent's critic answers observations [8, 2] with [8, 2]; return one value for each",
    "other_critic": "the agent's critic failed (RuntimeError: mat1 and mat2 shapes cannot be multiplied",
    "other_policy": "the agent's policy failed (RuntimeError: mat1 and mat2 shapes cannot be multiplied",
}


def measure(agent, folder, *more):
    return main(["gradients", agent, "--pairs", "20480", "--sizes", "256", "--out", str(folder), *more])


def only_line(capsys):
    shown = capsys.readouterr()
    lines = shown.err.strip().splitlines()
    assert "Traceback" not in shown.err
    assert [line for line in lines if line.startswith("closerlook: ")] == lines[-1:]
    return lines[-1]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_that_goes_wrong_is_named(name, tmp_path, capsys):
    options = ["--env", f"misbehaving:{name}", "--workers", "1"]
    assert measure("misbehaving:corridor", tmp_path, *options) == 2
    assert f"closerlook: environment 'misbehaving:{name}' failed {ENVIRONMENTS[name]}" in only_line(capsys)


def test_in_training_and_in_a_worker_it_is_the_same(tmp_path, capsys):
    options = ["--env", "misbehaving:Raises", "--n-steps", "64", "--ppo.minibatches", "2"]
    assert main(["train", *options, "--seeds", "2", "--steps", "64", "--workers", "2", "--out", str(tmp_path)]) == 2
    assert only_line(capsys).startswith("closerlook: environment 'misbehaving:Raises' failed (KeyError")


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that_goes_wrong_is_named(name, tmp_path, capsys):
    assert measure(f"misbehaving:{name}", tmp_path, "--workers", "1") == 2
    assert AGENTS[name] in only_line(capsys)


def test_an_interruption_is_no_failure_of_the_environment():
    with pytest.raises(KeyboardInterrupt):
        rollout(
            gaussian_agent(2, 1), EnvironmentSpec("misbehaving:Interrupted"), Sampling(2),
            seeds=[0], purpose="test", streams=[0],
        )  # fmt: skip


@pytest.mark.parametrize("module", ["raising_module", "unreadable_module"])
def test_a_module_that_cannot_be_imported_is_named(module, tmp_path, monkeypatch, capsys):
    (tmp_path / "raising_module.py").write_text("1 / 0")
    (tmp_path / "unreadable_module.py").write_text("def (")
    monkeypatch.syspath_prepend(tmp_path)
    assert measure(f"{module}:agent", tmp_path / "out") == 2
    assert f"{module} cannot be imported" in only_line(capsys)
    assert main(["train", "--env", f"{module}:Id", "--out", str(tmp_path / "out")]) == 2
    assert f"the module of environment '{module}:Id' cannot be imported" in only_line(capsys)


def test_a_step_that_fails_past_its_own_limit_is_told_so():
    engine = make_engine(EnvironmentSpec("misbehaving:RaisesPastItsLimit"), 1)
    lane, action = np.array([0]), np.zeros((1, 1))
    for _ in range(2):  # a reset begins anew
        engine.reset(lane, [0])
        engine.step(lane, action)
        assert engine.step(lane, action).truncated[0]
    with pytest.raises(InputError, match=r"the episode is over.*go on past its own limit.*max_episode_steps"):
        engine.step(lane, action)
    engine.close()


def test_a_clear_answer_is_left_as_it_is_and_the_cause_is_kept():
    clear = InputError("it is dark", "light a lamp")
    with pytest.raises(InputError) as caught, users_code("x", "y"):
        raise clear
    assert caught.value is clear
    with (
        pytest.raises(InputError, match=r"x failed \(KeyError: 1, test_users_code.py line \d+\); y") as caught,
        users_code("x", "y"),
    ):
        raise KeyError(1)
    assert isinstance(caught.value.__cause__, KeyError)
