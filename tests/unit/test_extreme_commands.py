"""Extreme command lines end at once, with one line that says what is wrong and what to do about it."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from closerlook.cli import main

AGENT = "environments:linear_quadratic_agent"
HUGE = ["1e30", "-1e30", "1e400", "nan", "inf", "0x10", "1.5", "", "²", "--", "1e11"]
MEASURING = {
    "gradients": [
        "--pairs",
        "--estimates",
        "--sizes",
        "--lambdas",
        "--update-sizes",
        "--precision",
        "--precision-size",
    ],
    "values": ["--pairs", "--fit-pairs", "--updates", "--restarts", "--restart-copies", "--lambdas"],
    "landscape": ["--pairs", "--line-pairs", "--heldout-pairs", "--grid", "--step-pairs"],
    "trust-region": ["--repeats", "--pairs", "--return-pairs", "--multiples", "--step-pairs"],
}
BELOW = {"--lambdas": "-0.5", "--multiples": "0", "--precision": "0"}
TRAINING = [
    (["--hidden", "1000000", "1000000"], "weights"),
    (["--n-envs", "1e9"], "n_envs must be at most"),
    (["--steps", "1e11", "--n-steps", "1"], "iterations must be at most"),
    (["--seeds", "1e6"], "seeds must be at most"),
    (["--n-envs", "1e5", "--n-steps", "1e5"], "n_envs times n_steps is too large"),
    (["--ppo.policy-learning-rate", "inf"], "policy_learning_rate must be zero or a positive number (got inf"),
    (["--ppo.policy-learning-rate", "nan"], "policy_learning_rate must be zero or a positive number (got nan"),
    (["--ppo.policy-learning-rate", "-1e-3"], "policy_learning_rate must be zero or a positive number (got -0.001"),
    (["--ppo.clip", "0"], "clip must be a positive number (got 0"),
    (["--seed", "1e30"], "seed"),
    (["--seed", str(2**64)], "seed"),
    (["--seed", str(-(2**63) - 1)], "seed"),
    (["--gamma", "2"], "gamma must be from 0 to 1 (got 2"),
    (["--workers", "1e30"], "workers"),
    (["--workers", "0"], "workers"),
]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that has to be refused; return its one line."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr().err
    assert code == 2, (arguments, said)
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("closerlook: ")]
    assert len(lines) == 1, said
    assert ";" in lines[0], lines
    return lines[0]


@pytest.mark.parametrize("command", MEASURING)
def test_numbers_out_of_bounds_are_refused(command, capsys, tmp_path):
    start = [command, AGENT, "--workers", "1", "--out", str(tmp_path / "out")]
    for flag in MEASURING[command]:
        said = refused([*start, f"{flag}={BELOW.get(flag, '-1')}"], capsys)
        assert flag.removeprefix("--") in said or "step" in said, said
    for seed in ("1e30", str(2**64), str(-(2**63) - 1)):
        assert "seed" in refused([*start, f"--seed={seed}"], capsys)
    assert "workers" in refused([command, AGENT, "--workers", "1e30", "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


def test_what_is_far_too_long_is_refused_before_jobs_are_listed(capsys, tmp_path):
    start = [AGENT, "--workers", "1", "--out", str(tmp_path / "out")]
    assert "--allow-long" in refused(["gradients", *start, "--pairs", "1e10"], capsys)
    assert "--allow-long" in refused(["gradients", *start, "--pairs", "1e11"], capsys)
    assert "--allow-long" in refused(["landscape", *start, "--pairs", "1e9"], capsys)
    assert "--allow-long" in refused(["trust-region", *start, "--pairs", "1e9"], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("options", "words"), TRAINING, ids=[" ".join(options) for options, _ in TRAINING])
def test_training_that_no_machine_could_hold_is_refused(options, words, capsys, tmp_path):
    said = refused(["train", "--env", "Pendulum-v1", "--out", str(tmp_path / "out"), *options], capsys)
    assert words in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("command", [*MEASURING, "train"])
def test_no_value_ends_in_a_traceback_or_takes_the_machine(command, value, tmp_path):
    """Each in a process of its own, of 8 GB and 60 s of processor time."""
    flags = MEASURING.get(command, ["--steps", "--seeds", "--n-envs", "--n-steps", "--hidden", "--gamma"])
    agent = [] if command == "train" else [AGENT]
    for flag in flags:
        ran = subprocess.run(
            [sys.executable, "-m", "closerlook", command, *agent, f"{flag}={value}", "--out", str(tmp_path / "out")],
            preexec_fn=_limit,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode in {0, 2}, (flag, ran.stderr[-2000:])
        assert "Traceback" not in ran.stderr


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
