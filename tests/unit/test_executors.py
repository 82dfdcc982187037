"""Who answers jobs, by name: what is asked of Ray and SLURM, what is refused, and that nothing depends on it."""

import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import fake_slurm
from closerlook.cli import main
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import (
    Executor,
    Job,
    Silence,
    content_key,
    crew_of,
    crews,
    engines,
    executing,
    hands,
    run_jobs,
)
from closerlook.execution.crews import Crew, Request
from closerlook.execution.engines import active
from closerlook.execution.slurm_workers import minutes_of, options_of
from closerlook.results.open_jobs import OpenJobs, read_crew
from closerlook.results.ownership import owned
from closerlook.results.store import RunFolder
from killing import wait_for
from small_jobs import draw, fail

HERE = {"cluster": "local"}
GRADIENTS = ["gradients", "nowhere", "--out"]


class Noting(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def jobs_of(count: int) -> list[Job]:
    return [Job(f"draw {n}", content_key("draw", n), draw, {"seed": 2 * n + 1}, pairs=10.0) for n in range(count)]


def spelled(answers: list[dict]) -> list[dict]:
    return [{name: array.tobytes() for name, array in answer.items()} for answer in answers]


@contextmanager
def brought(run: Path, workers: int = 1, **slurm: str):
    with owned(run), executing(Executor("slurm", slurm=HERE | slurm), workers, run):
        yield RunFolder(run).jobs()


@pytest.mark.parametrize(
    ("executor", "workers", "said"),
    [
        (Executor("threads"), None, "there is no executor 'threads'; choose from serial, processes, ray, slurm"),
        (Executor("slurm", address="auto"), 1, "an address was given, which is of a Ray cluster"),
        (Executor("processes", slurm=HERE), 1, "options of SLURM were given without it"),
        (Executor("serial"), 2, "executor serial is one process \\(workers 2\\)"),
        (Executor("slurm"), None, "it is not said how many workers to bring; give --workers"),
        (Executor("slurm"), 0, "workers must be at least 1"),
        (Executor("slurm"), 10**7, "workers must be at most 100000"),
        (Executor("processes"), 10**5, "workers must be at most"),
    ],
)
def test_what_means_nothing_is_refused(executor: Executor, workers: int | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said), executing(executor, workers, tmp_path):
        raise AssertionError


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name: str, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    assert main([*GRADIENTS, str(tmp_path), "--executor", name, "--workers", "2"]) == 2
    assert f"pip install 'closerlook[{name}]'" in capsys.readouterr().err


def test_without_a_folder_nobody_is_brought() -> None:
    with pytest.raises(InputError, match="executor slurm needs a folder"), executing("slurm", 1, None):
        raise AssertionError


@pytest.mark.parametrize("text", ["partition", "=cpu", "partition="])
def test_an_option_of_slurm_has_name_and_value(text: str, capsys, tmp_path) -> None:
    assert main([*GRADIENTS, str(tmp_path), "--executor", "slurm", "--workers", "1", "--slurm", text]) == 2
    assert "--slurm takes NAME=VALUE" in capsys.readouterr().err


def test_who_answers_holds_within_the_block_alone(tmp_path: Path) -> None:
    with executing(Executor("slurm", slurm=HERE), 5000, tmp_path):
        assert crew_of(None) == crew_of(3) == hands(5000) == 5000
        assert active().crew is not None
        with executing(None, 1, None):
            assert crew_of(1) == 5000
    with executing("serial", None, None):
        assert crew_of(None) == 1
    assert active().crew is None
    assert crew_of(3) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90:30", 91), ("4:00:00", 240), ("0:00:10", 1), ("1-0", 1440), ("1-2:30", 1590), ("2-1:1:1", 2942)],
)
def test_times_are_those_of_slurm(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "1.5"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a time of SLURM's"):
        minutes_of(text)


def test_options_go_to_submitit_or_on_to_sbatch() -> None:
    options, processes = options_of({"partition": "cpu", "time": "2:00:00", "cpus-per-task": "4", "reservation": "x"})
    assert processes == options["cpus_per_task"] == 4
    assert (options["timeout_min"], options["slurm_partition"]) == (120, "cpu")
    assert options["slurm_additional_parameters"] == {"requeue": True, "reservation": "x"}


@pytest.mark.parametrize(("name", "said"), [("nodes", "each worker is one task"), ("cpus-per-task", "whole number")])
def test_options_that_would_break_it_are_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        options_of({name: "many"})


def test_workers_that_are_brought_answer_the_same_and_leave_nothing_but_their_logs(tmp_path: Path) -> None:
    progress, jobs = Noting(), jobs_of(6)
    with brought(tmp_path) as cache:
        answers = run_jobs(jobs[:4], cache=cache, progress=progress)
        wait_for(lambda: read_crew(tmp_path).get("states") == {"RUNNING": 1} or run_jobs(jobs[4:5], cache=cache))
        answers += run_jobs(jobs[4:], cache=cache, progress=progress)
    assert spelled(answers) == spelled(run_jobs(jobs, workers=1))
    assert len([note for note in progress.notes if note.startswith("1 workers submitted")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs", "slurm"]
    assert {path.suffix for path in (tmp_path / "slurm").iterdir()} == {".out", ".err"}
    assert "closerlook: joined the command" in next((tmp_path / "slurm").glob("*.err")).read_text()


def test_nobody_is_brought_where_all_is_stored(tmp_path: Path) -> None:
    run_jobs(jobs_of(2), workers=1, cache=RunFolder(tmp_path).jobs())
    with brought(tmp_path) as cache:
        assert len(run_jobs(jobs_of(2), cache=cache)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]


def test_what_a_job_raises_is_raised_here_and_not_tried_again_and_again(tmp_path: Path) -> None:
    bad = Job("bad", content_key("bad"), fail, {"message": "reward is NaN"})
    progress = Noting()
    with brought(tmp_path) as cache, pytest.raises(NonFiniteError, match="reward is NaN"):
        run_jobs([bad], cache=cache, progress=progress)
    assert len([note for note in progress.notes if "bad failed elsewhere and is run here" in note]) == 1


def test_workers_that_cannot_start_end_the_command_in_one_line(tmp_path: Path) -> None:
    said = r"no SLURM worker is left: 2 FINISHED; see .*slurm"
    with pytest.raises(InputError, match=said) as raised, brought(tmp_path, 2, python="/bin/false") as cache:
        run_jobs(jobs_of(2), cache=cache)
    assert "give the same command again, or with --executor processes" in str(raised.value)
    assert len(run_jobs(jobs_of(2), workers=1, cache=RunFolder(tmp_path).jobs())) == 2


def test_a_module_that_no_machine_has_is_named(tmp_path: Path, monkeypatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.py").write_text("def answer():\n    return {}\n")
    monkeypatch.syspath_prepend(str(home))
    import mine  # noqa: PLC0415

    (home / "mine.py").unlink()
    said = "no SLURM worker is left: own cannot be loaded here \\(ModuleNotFoundError: No module named 'mine'\\)"
    with pytest.raises(InputError, match=said), brought(tmp_path / "run") as cache:
        run_jobs([Job("own", content_key("own"), mine.answer, {})], cache=cache)


FULL = """
import errno, os, pathlib
before = pathlib.Path.write_bytes
def write_bytes(path, content):
    if ".npz" in path.name:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return before(path, content)
pathlib.Path.write_bytes = write_bytes
"""


def test_a_full_disk_where_workers_are_is_named_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "sitecustomize.py").write_text(FULL)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/full:$PYTHONPATH exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    said = r"no SLURM worker is left: the disk is full, .*could not be written"
    with pytest.raises(InputError, match=said), brought(tmp_path / "run", python=str(python)) as cache:
        run_jobs(jobs_of(3), cache=cache)
    again = run_jobs(jobs_of(3), workers=1, cache=RunFolder(tmp_path / "run").jobs())
    assert spelled(again) == spelled(run_jobs(jobs_of(3), workers=1))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch) -> Path:
    """A SLURM that is this machine."""
    fake_slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "bin" / "state"


def states(slurm: Path) -> list[str]:
    return [file.read_text() for file in sorted(slurm.glob("*.state"))]


def test_an_array_is_submitted_preempted_requeued_and_cancelled(slurm: Path, tmp_path: Path) -> None:
    run, progress = tmp_path / "run", Noting()
    asked = Executor("slurm", slurm={"partition": "cpu", "time": "1:00:00", "reservation": "mine"})
    with owned(run), executing(asked, 2, run):
        cache = RunFolder(run).jobs()
        answers = run_jobs(jobs_of(3), cache=cache, progress=progress)
        first = (slurm / "4711_0.pid").read_text()
        (task,) = fake_slurm.children_of(int(first))
        os.kill(task, signal.SIGUSR2)  # preempted: it asks to be begun anew
        wait_for(lambda: (slurm / "4711_0.pid").read_text() != first)
        wait_for(lambda: len(OpenJobs(run).look().workers) == 2)
        answers += run_jobs(jobs_of(6)[3:], cache=cache, progress=progress)
        assert states(slurm) == ["RUNNING", "RUNNING"]
    wait_for(lambda: states(slurm) == ["CANCELLED by 0"] * 2)
    assert spelled(answers) == spelled(run_jobs(jobs_of(6), workers=1))
    script = (slurm / "script").read_text()
    for flag in ("array=0-1%2", "partition=cpu", "time=60", "cpus-per-task=1", "reservation=mine", "requeue"):
        assert f"#SBATCH --{flag}\n" in script
    assert any("2 workers submitted, job 4711" in note for note in progress.notes)


def test_what_sbatch_says_is_said(slurm: Path, tmp_path: Path) -> None:
    said, asked = (
        r"SLURM takes no workers \(sbatch: error: invalid partition",
        {"cluster": "slurm", "partition": "nowhere"},
    )
    with (
        pytest.raises(InputError, match=said),
        brought(tmp_path / "run", **asked) as cache,
    ):
        run_jobs(jobs_of(1), cache=cache)


def test_without_slurm_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"SLURM takes no workers .*srun"), brought(tmp_path, cluster="slurm") as cache:
        run_jobs(jobs_of(1), cache=cache)


def test_a_crew_that_is_killed_ends_the_command_in_one_line(tmp_path: Path) -> None:
    crew = Crew(Request("slurm", str(tmp_path), 1, None, {**HERE, "python": "/bin/sleep 60 #"}))
    crew.look(lambda _: None)
    assert crew._process is not None
    crew._process.kill()
    crew._process.wait()
    with pytest.raises(InputError, match="what brings slurm workers has ended"):
        crew.look(lambda _: None)
    crew.end()


def test_a_crew_that_does_not_end_is_ended(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(crews, "PATIENCE", 0.2)
    crew = Crew(Request("slurm", str(tmp_path), 1, None, HERE))
    crew.look(lambda _: None)
    process = crew._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    crew.end()
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - begun < 10


def test_beside_others_a_command_with_one_worker_looks_after_them(tmp_path: Path) -> None:
    own = [Job(f"own {n}", content_key("own", n), os_pid, {"number": n}) for n in range(4)]
    OpenJobs(tmp_path).path.mkdir(parents=True)
    worker = OpenJobs(tmp_path).enter("0123456789abcdef", 1)
    answers = run_jobs(own, workers=1, cache=RunFolder(tmp_path).jobs())
    worker.release()
    assert int(answers[0]["pid"]) != os.getpid()
    with executing("serial", None, None):
        worker = OpenJobs(tmp_path).enter("0123456789abcdef", 1)
        again = [Job("own", content_key("again"), os_pid, {"number": 0})]
        assert int(run_jobs(again, cache=RunFolder(tmp_path).jobs())[0]["pid"]) == os.getpid()
        worker.release()


def os_pid(number: int) -> dict:
    return {"pid": np.array(os.getpid()), "number": np.array(number)}
