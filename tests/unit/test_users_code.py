"""Whatever code of the user's does: one line that names it, exit code 2, and no traceback."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import closerlook
from closerlook.agents.environment import EnvironmentSpec
from closerlook.cli import main
from closerlook.errors import InputError, users_code
from closerlook.simulation.engine import make_engine
from closerlook.simulation.rollout import Sampling, rollout
from misbehaving import squashed
from small_agents import gaussian_agent

FEW = ["--sizes", "256", "--pairs", "512", "--estimates", "2"]
TOLD = {"gradient_quality": "mean_update_norm", "trust_region": "max_ratio"}
TESTS = Path(__file__).parents[1]

ENVIRONMENTS = {
    "Raises": r"(KeyError: 'the joint\nis stuck', misbehaving.py line 23); fix its step(), which returns",
    "RaisesAtReset": "(ZeroDivisionError, misbehaving.py line 31); fix its reset(), which returns (observation, info)",
    "Leaves": "(SystemExit: 0, misbehaving.py line",
}
ANSWERS = {
    "OldStep": "step() of environment 'misbehaving:OldStep' gave 4 things; return (observation, reward, terminated,",
    "OldReset": "reset() of environment 'misbehaving:OldReset' gave a ndarray; return (observation, info)",
    "OtherSize": "step() of environment 'misbehaving:OtherSize' gave an observation of shape (3,); it has to be 2",
    "OtherSizeAtReset": "reset() of environment 'misbehaving:OtherSizeAtReset' gave an observation of shape (1,); it",
}
AGENTS = {
    "raises": "the function misbehaving:raises failed (OSError: no weights here, misbehaving.py line",
    "leaves": "the function misbehaving:leaves failed (SystemExit: 0, misbehaving.py line",
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


@pytest.mark.parametrize("name", [*ENVIRONMENTS, *ANSWERS])
def test_an_environment_that_goes_wrong_is_named(name, tmp_path, capsys):
    options = ["--env", f"misbehaving:{name}", "--workers", "1"]
    assert measure("misbehaving:corridor", tmp_path, *options) == 2
    told = ANSWERS.get(name, f"environment 'misbehaving:{name}' failed {ENVIRONMENTS.get(name)}")
    assert f"closerlook: {told}" in only_line(capsys)


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


LITTLE = {
    "gradient_quality": {"pairs": 128, "sizes": [32], "estimates": 2, "updates": True},
    "trust_region": {"repeats": 1, "pairs": 64, "return_pairs": 0},
}


@pytest.mark.parametrize("diagnostic", LITTLE)
def test_a_distribution_of_which_torch_knows_little_is_measured(diagnostic):
    dataset = getattr(closerlook, diagnostic)(squashed(), **LITTLE[diagnostic], workers=1)
    assert np.isfinite(dataset[TOLD[diagnostic]].values).all()


def test_an_entropy_that_is_not_known_cannot_be_rewarded():
    settings = {**squashed().algorithm_settings, "entropy_coefficient": 0.01}
    with pytest.raises(InputError, match=r"entropy_coefficient is 0\.01, and torch knows no entropy of the policy"):
        closerlook.trust_region(replace(squashed(), algorithm_settings=settings), **LITTLE["trust_region"], workers=1)


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """A command in an environment that prints, and what it printed itself."""
    options = ["--env", "misbehaving:Talks", *FEW, "--out", str(tmp_path_factory.mktemp("talking")), "--workers", "1"]
    command = [sys.executable, "-m", "closerlook", "gradients", "misbehaving:corridor", *options, "--json"]
    return command, subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True)


def test_json_is_alone_on_stdout_whatever_environments_print(talking):
    _, done = talking
    assert json.loads(done.stdout)["pairs"] == 512
    assert done.stdout.count("\n") == 1
    assert "a native word" in done.stderr


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")


def require_full_is_told(command):
    full = subprocess.run(
        f"{shlex.join(command)} >/dev/full", shell=True, cwd=TESTS, capture_output=True, text=True, check=False
    )
    assert full.returncode == 2
    assert "closerlook: the result cannot be written to stdout (No space left on device); send it" in full.stderr
    assert "Traceback" not in full.stderr
    assert "Exception" not in full.stderr


@FULL
def test_a_stdout_that_is_full_is_no_traceback(talking):
    """What was measured before is printed again."""
    require_full_is_told(talking[0])


@FULL
@pytest.mark.slow
@pytest.mark.parametrize("asked", [[], ["--json"]])
def test_a_stdout_that_is_full_is_no_traceback_of_a_measurement(asked, tmp_path):
    options = [*FEW, "--out", str(tmp_path), "--workers", "1", *asked]
    require_full_is_told([sys.executable, "-m", "closerlook", "gradients", "misbehaving:corridor", *options])


def test_a_stdout_that_is_closed_is_no_failure_of_workers(tmp_path):
    options = ["--env", "misbehaving:Talks", *FEW, "--out", str(tmp_path), "--workers", "2"]
    command = shlex.join([sys.executable, "-m", "closerlook", "gradients", "misbehaving:corridor", *options])
    closed = subprocess.run(f"{command} >&-", shell=True, cwd=TESTS, capture_output=True, text=True, check=False)
    assert closed.returncode == 0, closed.stderr
    assert "Error" not in closed.stderr
