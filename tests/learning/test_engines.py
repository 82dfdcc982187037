"""One study and one training by every executor: the same bytes; and each, killed midway, goes on by another.

A command beside three workers that come at different times, a Ray cluster of two nodes, and SLURM by way of submitit on
this machine are executors like this process and its own. Ray is not installed by `make test`: `make test-slow-engines`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import xarray as xr

from killing import errors_of, left_of, running, wait_for
from ray_cluster import Handle, cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]
TESTS = Path(__file__).parents[1]
TARGET = "training_environments:make_target"
STUDY = f"""
title: A small study
tasks: ["{TARGET}"]
algorithms: [ppo]
train: {{n_steps: 128, hidden: [8], gamma: 0.9, ppo: {{policy_epochs: 1, value_epochs: 1, minibatches: 1}}}}
measure:
  pool: {{diagnostic: gradients, options: {{estimates: 2, sizes: [128]}}}}
draw: pairwise_cosine
scales:
  smoke: {{seeds: 2, iterations: [0, 2], train: {{steps: 256}}, measure: {{pool: {{options: {{pairs: PAIRS}}}}}}}}
"""
TRAIN = ["train", "--env", TARGET, "--seeds", "3", "--steps", "5120", "--n-steps", "128", "--hidden", "8"]
TRAIN += ["--gamma", "0.9", "--checkpoints", "0", "20"]
ORDER = ["serial", "processes", "workers", "ray", "slurm"]


def given(*command: str) -> AbstractContextManager[subprocess.Popen]:
    search = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return running(["-m", "closerlook", *command], env=os.environ | {"PYTHONPATH": search}, **options)


@pytest.fixture(scope="module")
def ray() -> Iterator[Handle]:
    pytest.importorskip("ray")
    with cluster() as handle:
        yield handle


def options_of(engine: str, ray: Handle | None) -> list[str]:
    return {
        "serial": ["--executor", "serial"],
        "processes": ["--workers", "2"],
        "workers": ["--workers", "1"],
        "ray": ["--executor", "ray", "--address", ray.address if ray else "", "--workers", "2"],
        "slurm": ["--executor", "slurm", "--slurm", "cluster=local", "--workers", "2"],
    }[engine]


def work(
    command: Sequence[str], folder: Path, engine: str, ray: Handle | None, until: Callable[[], object] | None = None
) -> str:
    """Give a command, with workers beside it where that is the executor; kill it once something holds."""
    with ExitStack() as stack:
        process = stack.enter_context(given(*command, "--out", str(folder), *options_of(engine, ray)))
        for moment in range(3 if engine == "workers" else 0):
            stack.enter_context(given("worker", str(folder), "--workers", "1", "--wait", "300"))
            time.sleep(moment)
        if until is not None:
            wait_for(lambda: until() or process.poll() is not None)
            assert process.poll() is None, "it was done before it could be killed"
            process.send_signal(signal.SIGKILL)
        errors = errors_of(process)
        assert process.returncode == (0 if until is None else -signal.SIGKILL), errors
        assert "Traceback" not in errors
        wait_for(lambda: not left_of(process.pid))
        return errors


def results(folder: Path) -> dict[str, object]:
    """Return datasets, and logs of training without the seconds that it took."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".nc":
            found[name] = xr.load_dataset(path)
        elif path.name == "training.csv":
            rows = [line.split(",") for line in path.read_text().splitlines()]
            kept = [at for at, column in enumerate(rows[0]) if not column.startswith("seconds_")]
            found[name] = [[row[at] for at in kept] for row in rows]
        elif path.suffix == ".safetensors":
            found[name] = path.read_bytes()
    return found


def require_same(folder: Path, expected: dict[str, object]) -> None:
    found = results(folder)
    assert found.keys() == expected.keys()
    for name, one in found.items():
        if isinstance(one, xr.Dataset):
            xr.testing.assert_identical(one, expected[name])
        else:
            assert one == expected[name], name
    # workers that were killed with their leases leave those where the command had ended
    assert [file for file in folder.rglob("open/*") if file.suffix != ".worker"] == []
    assert not list(folder.rglob("*.tmp"))


def study_of(folder: Path, pairs: int) -> list[str]:
    file = folder / "small.yaml"
    file.write_text(STUDY.replace("PAIRS", str(pairs)))
    return ["study", str(file), "--scale", "smoke", "--tasks", TARGET]


@pytest.fixture(scope="module", params=["study", "training"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict]:
    """A command, and what this process alone comes to."""
    home = tmp_path_factory.mktemp(request.param)
    command = study_of(home, 131072) if request.param == "study" else TRAIN
    work(command, home / "serial", "serial", None)
    expected = results(home / "serial")
    assert len(expected) >= 3
    return command, expected


@pytest.mark.parametrize("engine", ["slurm", "ray", "workers", "processes"])
def test_every_executor_gives_the_same(
    engine: str, asked: tuple[list[str], dict], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command, expected = asked
    ray = request.getfixturevalue("ray") if engine == "ray" else None
    said = work(command, tmp_path / "run", engine, ray)
    assert engine == "processes" or "works along, with 1 process" in said
    require_same(tmp_path / "run", expected)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict, int]:
    """A command, what comes of it where nobody is killed, and in how many answers."""
    home = tmp_path_factory.mktemp("whole")
    command = study_of(home, 131072)
    work(command, home / "run", "processes", None)
    return command, results(home / "run"), len(answers_in(home / "run"))


def answers_in(folder: Path) -> dict[Path, tuple[int, int]]:
    files = folder.glob("measured/*/jobs/*.npz")
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize(("first", "second"), list(zip(ORDER, [*ORDER[1:], ORDER[0]], strict=True)))
def test_what_one_began_another_ends(
    first: str, second: str, whole: tuple[list[str], dict, int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command, expected, count = whole
    ray = request.getfixturevalue("ray") if "ray" in {first, second} else None
    folder = tmp_path / "run"
    work(command, folder, first, ray, until=lambda: len(answers_in(folder)) >= 4)
    before = answers_in(folder)
    assert 4 <= len(before) < count
    work(command, folder, second, ray)
    require_same(folder, expected)
    after = answers_in(folder)
    assert len(after) == count
    assert before.items() <= after.items()  # what was finished was not done again
