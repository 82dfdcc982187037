"""Commands that are interrupted, from their first moment to their last, and streams that take nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from closerlook.cli import main
from closerlook.results.store import RunFolder
from killing import left_of, running, slowly, wait_for

TESTS = Path(__file__).parents[1]
COMMAND = ["-m", "closerlook", "train", "--env", "training_environments:make_target", "--seeds", "2", "--n-steps", "64"]
COMMAND += [
    "--steps",
    "2e5",
    "--hidden",
    "8",
    "--ppo.minibatches",
    "2",
    "--ppo.policy-epochs",
    "1",
    "--checkpoints",
    "0",
]
COMMAND += ["--ppo.value-epochs", "1", "--out", "run", "--workers", "2"]
QUICK = [*COMMAND[2:-1], "1", "--steps", "128"]
HOW = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands find the environments of the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))


def answers(folder: Path) -> int:
    return len(list(folder.glob("run/jobs/*.npz")))


def catches(process: subprocess.Popen, number: int) -> bool:
    """Whether a process handles a signal by now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_command_says_how_to_go_on_and_loses_nothing(
    tmp_path: Path, searched: None, number: signal.Signals
) -> None:
    with running(COMMAND, cwd=tmp_path, **HOW) as process:
        wait_for(lambda: answers(tmp_path) >= 4 or process.poll() is not None)
        os.killpg(process.pid, number)
        output, errors = process.communicate(timeout=slowly(20))
        assert (process.returncode, output) == (130, "")
        assert errors.count("interrupted: what is finished is in run, and the same command goes on from there\n") == 1
        assert "Traceback" not in errors
        wait_for(lambda: not left_of(process.pid), seconds=2.0)
    assert RunFolder(tmp_path / "run").read_json("run.json")["finished"] is False  # type: ignore[index]
    assert list(tmp_path.glob("run/**/.*")) == []
    assert (tmp_path / "run" / "training.csv").read_text().startswith("iteration,")


def test_a_second_interrupt_ends_a_command_at_once(tmp_path: Path, searched: None) -> None:
    with running([*COMMAND[:-1], "1"], cwd=tmp_path, **HOW) as process:
        wait_for(lambda: answers(tmp_path) >= 2 or process.poll() is not None)
        for _ in range(20):
            process.send_signal(signal.SIGINT)
            time.sleep(0.005)
        output, errors = process.communicate(timeout=slowly(20))
        assert (process.returncode, output) == (130, "")
        assert "interrupted: " in errors or "ended at once: the same command goes on" in errors
        assert "Traceback" not in errors
        wait_for(lambda: not left_of(process.pid), seconds=2.0)


@pytest.mark.skipif(sys.platform != "linux", reason="whether a process handles a signal is read in /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15, 0.4, 1.0])
def test_an_interrupt_while_the_program_is_loaded_leaves_no_traceback(
    tmp_path: Path, searched: None, seconds: float
) -> None:
    with running(COMMAND, cwd=tmp_path, **HOW) as process:
        wait_for(lambda: catches(process, signal.SIGTERM))
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=slowly(20))
        assert (process.returncode, output) == (130, "")
        assert errors.startswith("interrupted")
        assert "Traceback" not in errors


HALF_MADE = """
class Half:
    def __init__(self):
        kill()
        self.made = True
    def __del__(self):
        self.made
def make():
    Half()
"""


@pytest.mark.parametrize(
    ("library", "source"),
    [
        pytest.param("tyro", "kill()", id="imported"),
        pytest.param("tyro", "try:\n    kill()\nexcept BaseException:\n    pass", id="imported and swallowed"),
        pytest.param("tyro", "exec('kill()')", id="imported, in a string"),
        pytest.param("interrupted", "def make():\n    exec('kill()')", id="called, in a string"),
        pytest.param("interrupted", HALF_MADE, id="in what is half made"),
    ],
)
def test_an_interrupt_inside_a_library_ends_the_command_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, source: str
) -> None:
    first = "import os, signal\ndef kill():\n    os.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / f"{library}.py").write_text(first + source)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with running([*COMMAND, "--env", "interrupted:make"], cwd=tmp_path, **HOW) as process:
        output, errors = process.communicate(timeout=slowly(20))
    assert (process.returncode, output) == (130, "")
    assert errors.startswith("interrupted")
    assert "Traceback" not in errors


@pytest.mark.parametrize("handler", ["_interrupt", "_end_at_once"])
def test_an_interrupt_as_soon_as_it_is_heard_leaves_no_traceback(tmp_path: Path, handler: str) -> None:
    program = f"""
import os, signal, sys
import closerlook.__main__ as program
hear = program._hear
def hear_and_be_interrupted(handler):
    hear(handler)
    if handler is program.{handler}:
        os.kill(os.getpid(), signal.SIGINT)
program._hear = hear_and_be_interrupted
sys.argv[1:] = ["--version"]
sys.exit(program.main())
"""
    with running(["-c", program], cwd=tmp_path, **HOW) as process:
        _, errors = process.communicate(timeout=slowly(20))
    assert process.returncode == 130
    assert errors.startswith(("interrupted", "ended at once"))
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform != "linux", reason="whether a process handles a signal is read in /proc")
def test_where_interrupts_are_ignored_they_stay_so(tmp_path: Path) -> None:
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = ["-c", ignoring, sys.executable, "-m", "closerlook", "gradients", "--help"]
    with running(command, cwd=tmp_path, **HOW) as process:
        wait_for(lambda: catches(process, signal.SIGTERM))
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_stderr_does_not_end_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert main([*QUICK, "--out", str(tmp_path / "run")]) == 0
    with Path("/dev/full").open("w") as full:
        bad = subprocess.run([sys.executable, "-m", "closerlook", "nope"], stderr=full, check=False)
        assert bad.returncode == 2
