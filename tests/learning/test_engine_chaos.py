"""Measurements whose processes are killed, stopped, and on odd machines at random moments: the same to the last byte.

Sixty kills: of the command, of workers, of their processes, of Ray's workers and nodes, of SLURM's tasks; and workers
that are stopped until others have taken their jobs, and wake. Half of the workers have a clock an hour off, or a disk
that fails at every tenth write with ENOSPC or EIO.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import pytest
import xarray as xr

from closerlook.results.answers import JobFiles
from killing import errors_of, left_of, running, wait_for, workers_of
from odd_machine.sitecustomize import odd
from ray_cluster import Handle, cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]
TESTS = Path(__file__).parents[1]
TARGET = ["--env", "training_environments:make_target"]
TRAIN = ["train", *TARGET, "--steps", "1024", "--seeds", "1", "--n-steps", "128", "--hidden", "8", "--gamma", "0.9"]
ASKED = ["--agent-seed", "0", "--pairs", "524288", "--sizes", "128", "1024"]
HURRY = {"beat": 0.2, "silence": 2.0}
ODD = [{}, {"clock": 3600.0}, {"clock": -3600.0}, {"error": "ENOSPC", "often": 10}, {"error": "EIO", "often": 10}]
KILLS = {"workers": 30, "ray": 20, "slurm": 10}


def given(*command: str, **machine: float | str) -> AbstractContextManager[subprocess.Popen]:
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    variables = odd(**HURRY, **machine)
    variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], str(TESTS)])
    return running(["-m", "closerlook", *command], env=os.environ | variables, **options)


class Measuring:
    """One measurement, given again and again until it is done, beside workers of some kind.

    Parameters
    ----------
    folder : Path
        Of the results; the agent is beside it.
    draw : Random
        Decides who is killed, and when.
    ray : Handle or None
        The cluster.
    """

    def __init__(self, folder: Path, draw: random.Random, ray: Handle | None, stack: ExitStack) -> None:
        self.folder, self.draw, self.ray, self._stack = folder, draw, ray, stack
        self.workers: list[subprocess.Popen] = []

    def command(self, engine: str) -> AbstractContextManager[subprocess.Popen]:
        options = {"workers": ["--workers", "1"], "whole": ["--workers", "2"]}.get(engine, ["--workers", "2"])
        if engine == "ray":
            options += ["--executor", "ray", "--address", self.ray.address]
        elif engine == "slurm":
            options += ["--executor", "slurm", "--slurm", "cluster=local"]
        agent = str(self.folder.parent / "agent")
        return given("gradients", agent, *TARGET, *ASKED, *options, "--out", str(self.folder))

    def hire(self) -> None:
        """Have two workers, on machines that are odd or not."""
        self.workers = [one for one in self.workers if one.poll() is None]
        while len(self.workers) < 2:
            worker = given("worker", str(self.folder), "--workers", "1", "--wait", "300", **self.draw.choice(ODD))
            self.workers.append(self._stack.enter_context(worker))

    def disturb(self, engine: str, process: subprocess.Popen) -> str:
        """Kill or stop one of the processes, a while after the first answers: which, or none if all was done."""
        stored = len(list(self.folder.glob("jobs/*.npz")))
        wait_for(lambda: len(list(self.folder.glob("jobs/*.npz"))) > stored or process.poll() is not None)
        time.sleep(self.draw.uniform(0.0, 2.0))
        if process.poll() is not None:
            return ""
        kinds = {
            "workers": ["driver", "worker", "process", "stop"],
            "ray": ["driver", "ray worker", "ray node"],
            "slurm": ["driver", "task", "recruiter"],
        }
        whom = self.draw.choice(kinds[engine])
        return whom if self._strike(whom, process) else ""

    def _strike(self, whom: str, process: subprocess.Popen) -> bool:
        if whom == "driver":
            process.kill()
            return True
        if whom == "ray node":
            self.ray.kill_a_node()
            return True
        if whom == "stop":
            worker = self.draw.choice(self.workers)
            worker.send_signal(signal.SIGSTOP)
            time.sleep(self.draw.uniform(0.0, 2 * HURRY["silence"]))
            worker.send_signal(signal.SIGCONT)
            return True
        victims = self._victims(whom, process)
        for one in victims[:1]:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        return bool(victims)

    def _victims(self, whom: str, process: subprocess.Popen) -> list[int]:
        alive = [one for one in self.workers if one.poll() is None]
        if whom == "ray worker":
            return self.ray.workers()
        if whom == "worker":
            return [one.pid for one in alive]
        if whom == "process":
            return [child for one in alive for child in workers_of(one.pid)]
        return named("submitit.core._submit" if whom == "task" else "closerlook.execution.recruiting", self.folder)


def named(module: str, folder: Path) -> list[int]:
    """Return processes of a module; where they name a folder, that one."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = file.read_bytes()
            if module.encode() in command and (b"submitit" not in command or str(folder).encode() in command):
                found.append(int(file.parent.name))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The measurement as it is where nothing happens, beside its agent."""
    home = tmp_path_factory.mktemp("whole")
    measuring = Measuring(home / "run", random.Random(0), None, ExitStack())
    for command in (given(*TRAIN, "--out", str(home / "agent")), measuring.command("whole")):
        with command as process:
            errors = errors_of(process)
            assert process.returncode == 0, errors
    return home / "run"


@pytest.fixture(scope="module")
def ray() -> Iterator[Handle]:
    pytest.importorskip("ray")
    variables = odd(**HURRY)
    variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], str(TESTS)])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with cluster() as handle:
            yield handle


def require_same(folder: Path, whole: Path) -> None:
    xr.testing.assert_identical(xr.load_dataset(folder / "gradients.nc"), xr.load_dataset(whole / "gradients.nc"))
    names = sorted(path.name for path in (whole / "jobs").iterdir())
    assert sorted(path.name for path in (folder / "jobs").iterdir()) == names
    for name in names:
        assert (folder / "jobs" / name).read_bytes() == (whole / "jobs" / name).read_bytes()
        assert JobFiles(folder / "jobs").load(Path(name).stem) is not None
    assert not (folder / ".owner").exists()


def one_run(engine: str, measuring: Measuring, kills: int) -> list[str]:
    """Give the command until it is done; something is struck each time, and many times in one."""
    done: list[str] = []
    while True:
        with measuring.command(engine) as process:
            wait_for(lambda: (measuring.folder / ".owner").exists() or process.poll() is not None)
            if engine == "workers":
                measuring.hire()
            while process.poll() is None and len(done) < kills and (whom := measuring.disturb(engine, process)):
                done.append(whom)
                if engine == "workers":
                    measuring.hire()
            errors = errors_of(process)
            assert "Traceback" not in errors, errors
            wait_for(lambda: not left_of(process.pid))
            if process.returncode == 0:
                return done
            ended = process.returncode
            assert ended == -signal.SIGKILL or (ended == 2 and engine != "workers" and "worker" in errors), errors


@pytest.mark.parametrize("engine", KILLS)
def test_kills_and_odd_machines_change_nothing(
    engine: str, whole: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ray = request.getfixturevalue("ray") if engine == "ray" else None
    draw, struck, runs = random.Random(engine), list[str](), 0
    (tmp_path / "agent").symlink_to(whole.parent / "agent")
    while len(struck) < KILLS[engine]:
        runs += 1
        folder = tmp_path / f"run{runs}"
        with ExitStack() as stack:
            struck += one_run(engine, Measuring(folder, draw, ray, stack), min(6, KILLS[engine] - len(struck)))
        require_same(folder, whole)
    counts = Counter(struck)
    print(f"{engine}: {len(struck)} in {runs} runs: {dict(counts)}")  # noqa: T201 - seen with -s
    assert len(counts) >= 3
