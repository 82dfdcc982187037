"""Measurements that are killed at random moments end as if they had not been, and compute nothing twice."""

import random
import time
from pathlib import Path

import pytest
import xarray as xr

from closerlook.cli import main
from killing import done_within, start

KILLS = 3
WORKERS = ["--workers", "2"]
TRAINED = ["train", "--seeds", "1", "--steps", "256", "--checkpoints", "0", "--n-steps", "64", "--hidden", "8"]
TRAINED += ["--ppo.minibatches", "2", "--ppo.policy-epochs", "1", "--ppo.value-epochs", "1", "--gamma", "0.9"]
COMMANDS = {
    "landscape": ["--pairs", "2048", "--line-pairs", "4096", "--heldout-pairs", "128", "--grid", "4"],
    "trust-region": ["--repeats", "4", "--pairs", "256", "--return-pairs", "4096"],
}


def stored(folder: Path) -> dict[str, int]:
    """Return the finished answers, with the time each was written at."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("jobs/*.npz")}


def kill_once(command: list[str], folder: Path, draw: random.Random) -> bool:
    """Start a command and kill it a while after its first new answer; say whether it was done before that."""
    before, process = len(stored(folder)), start([*command, *WORKERS])
    while process.poll() is None and len(stored(folder)) == before:
        time.sleep(0.01)
    return done_within(process, draw.uniform(0.0, 1.5))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(COMMANDS))
def test_kills_change_nothing_and_nothing_is_computed_twice(kind: str, tmp_path: Path) -> None:
    assert main([*TRAINED, "--workers", "1", "--out", str(tmp_path / "run")]) == 0
    command = [kind, str(tmp_path / "run"), "--iteration", "4", *COMMANDS[kind], "--out"]
    assert start([*command, str(tmp_path / "whole"), *WORKERS]).wait() == 0
    folder, draw, seen = tmp_path / "killed", random.Random(3), dict[str, int]()
    kills, done = 0, False
    while not done:
        if kills < KILLS:
            done = kill_once([*command, str(folder)], folder, draw)
        else:
            done = start([*command, str(folder), *WORKERS]).wait() == 0
            assert done
        now = stored(folder)
        assert {name: now[name] for name in seen} == seen
        seen, kills = now, kills + (not done)
    assert kills > 1
    assert seen.keys() == stored(tmp_path / "whole").keys()
    whole, broken = (xr.load_dataset(tmp_path / name / f"{kind}.nc", engine="h5netcdf") for name in ("whole", "killed"))
    xr.testing.assert_identical(broken, whole)
