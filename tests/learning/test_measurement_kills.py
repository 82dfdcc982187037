"""Measurements that are killed at random moments end as if they had not been, and compute nothing twice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from closerlook.cli import main

KILLS = 3
TRAINED = ["train", "--seeds", "1", "--steps", "256", "--checkpoints", "0", "--n-steps", "64", "--hidden", "8"]
TRAINED += ["--ppo.minibatches", "2", "--ppo.policy-epochs", "1", "--ppo.value-epochs", "1", "--gamma", "0.9"]
COMMANDS = {
    "landscape": ["--pairs", "2048", "--line-pairs", "4096", "--heldout-pairs", "128", "--grid", "4"],
    "trust-region": ["--repeats", "4", "--pairs", "256", "--return-pairs", "4096"],
}


def start(command: list[str]) -> subprocess.Popen:
    """Give a command in a session of its own, so that its workers are killed with it."""
    return subprocess.Popen(
        [sys.executable, "-m", "closerlook", *command, "--workers", "2"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stored(folder: Path) -> dict[str, int]:
    """Return the finished answers, with the time each was written at."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("jobs/*.npz")}


def kill_once(command: list[str], folder: Path, draw: random.Random) -> bool:
    """Start a command and kill it a while after its first new answer; say whether it was done before that."""
    before, process = len(stored(folder)), start(command)
    while process.poll() is None and len(stored(folder)) == before:
        time.sleep(0.01)
    try:
        process.wait(draw.uniform(0.0, 1.5))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    assert process.returncode == 0
    return True


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(COMMANDS))
def test_kills_change_nothing_and_nothing_is_computed_twice(kind: str, tmp_path: Path) -> None:
    assert main([*TRAINED, "--workers", "1", "--out", str(tmp_path / "run")]) == 0
    command = [kind, str(tmp_path / "run"), "--iteration", "4", *COMMANDS[kind], "--out"]
    assert start([*command, str(tmp_path / "whole")]).wait() == 0
    folder, draw, seen = tmp_path / "killed", random.Random(3), dict[str, int]()
    kills, done = 0, False
    while not done:
        if kills < KILLS:
            done = kill_once([*command, str(folder)], folder, draw)
        else:
            done = start([*command, str(folder)]).wait() == 0
            assert done
        now = stored(folder)
        assert {name: now[name] for name in seen} == seen
        seen, kills = now, kills + (not done)
    assert kills > 1
    assert seen.keys() == stored(tmp_path / "whole").keys()
    whole, broken = (xr.load_dataset(tmp_path / name / f"{kind}.nc", engine="h5netcdf") for name in ("whole", "killed"))
    xr.testing.assert_identical(broken, whole)
