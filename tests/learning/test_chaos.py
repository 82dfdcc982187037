"""Commands whose processes are killed at random moments end as if they had not been, to the last byte of every file.

Sixty kills over the five commands that write, each with a pool of worker processes: of the driver, whose workers have
to end by themselves, or of a worker, whose driver has to say so and end.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from killing import errors_of, left_of, running, slowly, wait_for, workers_of

TESTS = Path(__file__).parents[1]
KILLS = 12
"""Of each command."""
SMALL = ["--seeds", "2", "--n-steps", "128", "--hidden", "8", "--gamma", "0.9", "--ppo.policy-epochs", "2"]
SMALL += ["--ppo.value-epochs", "2", "--ppo.minibatches", "4", "--checkpoints", "0", "7", "33"]
TRAIN = ["train", "--env", "training_environments:make_target", "--steps", "20480", *SMALL]
AGENT = ["AGENT", "--env", "training_environments:make_target", "--iteration", "33", "--agent-seed", "0"]
COMMANDS = {
    "train": TRAIN,
    "gradients": ["gradients", *AGENT, "--pairs", "65536", "--sizes", "128", "1024", "--updates"],
    "values": ["values", *AGENT, "--pairs", "16384", "--fit-pairs", "16384", "--sizes", "512", "--restarts", "16"],
    "landscape": [
        "landscape",
        *AGENT,
        "--pairs",
        "2048",
        "--line-pairs",
        "8192",
        "--heldout-pairs",
        "2048",
        "--grid",
        "4",
    ],
    "trust-region": ["trust-region", *AGENT, "--repeats", "6", "--pairs", "2048", "--return-pairs", "16384"],
}
SECONDS = ("log.seconds_sampling", "log.seconds_update")


@dataclass(frozen=True)
class Command:
    """One command, given again and again."""

    arguments: list[str]

    def given(self, folder: Path) -> AbstractContextManager[subprocess.Popen]:
        """Give it, its results going to a folder."""
        search = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        command = ["-m", "closerlook", *self.arguments, "--workers", "2", "--out", str(folder)]
        environment = os.environ | {"PYTHONPATH": search}
        return running(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, folder: Path) -> None:
        """Have it done."""
        with self.given(folder) as process:
            errors = errors_of(process)
            assert process.returncode == 0, errors

    def kill_once(self, folder: Path, draw: random.Random) -> str:
        """Give it, and kill one of its processes a while after it took its folder: which, or none if it was done."""
        with self.given(folder) as process:
            wait_for(lambda: (folder / ".owner").exists() or process.poll() is not None)
            moment = time.monotonic() + slowly(draw.uniform(0.0, 4.0))
            whom = draw.choice(["driver", "driver", "worker"])
            while process.poll() is None and time.monotonic() < moment:
                time.sleep(0.01)
            victims = [process.pid] if whom == "driver" else workers_of(process.pid)
            if process.poll() is None and victims:
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(victims), signal.SIGKILL)
            errors = errors_of(process)
            wait_for(lambda: not left_of(process.pid), seconds=2.0)
            if process.returncode == 0:
                return ""
            assert process.returncode == (-signal.SIGKILL if whom == "driver" else 2), errors
            assert whom == "driver" or "was killed by SIGKILL while it ran" in errors.splitlines()[-1]
            assert "Traceback" not in errors
            return whom


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file, but for the seconds that anything took."""
    readers: dict[str, Callable[[Path], bytes]] = {"run.json": without_seconds, "training.csv": without_columns}
    return {
        str(path.relative_to(folder)): readers.get(path.name, answer_of if path.suffix == ".npz" else Path.read_bytes)(
            path
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def without_seconds(path: Path) -> bytes:
    record = json.loads(path.read_text().replace(str(path.parent), ""))  # the command tells its folder
    del record["wall_seconds"], record["date"]
    return repr(record).encode()


def without_columns(path: Path) -> bytes:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    kept = [at for at, name in enumerate(rows[0]) if not name.startswith("seconds_")]
    return repr([[row[at] for at in kept] for row in rows]).encode()


def answer_of(path: Path) -> bytes:
    """Return an answer's bytes; of training's, which hold seconds, those of the other arrays."""
    with np.load(path) as arrays:
        if not set(SECONDS) & set(arrays.files):
            return path.read_bytes()
        return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(set(arrays.files) - set(SECONDS)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agent") / "run"
    Command(TRAIN).finish(folder)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize("name", COMMANDS)
def test_kills_change_nothing(name: str, trained: Path, tmp_path: Path) -> None:
    command = Command([str(trained) if argument == "AGENT" else argument for argument in COMMANDS[name]])
    command.finish(tmp_path / "whole")
    expected, draw, killed, runs = contents(tmp_path / "whole"), random.Random(name), list[str](), 0
    while len(killed) < KILLS:
        folder, runs = tmp_path / f"run{runs}", runs + 1
        while len(killed) < KILLS and (whom := command.kill_once(folder, draw)):
            killed.append(whom)
        command.finish(folder)
        found = contents(folder)
        assert found.keys() == expected.keys()
        assert [file for file in found if found[file] != expected[file]] == []
    assert set(killed) == {"driver", "worker"}
    assert len(killed) > runs  # most runs were killed more than once
