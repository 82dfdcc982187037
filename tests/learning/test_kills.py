"""Training that is killed at random moments ends as if it had not been."""

import random
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from killing import done_within, start

TESTS = Path(__file__).parents[1]
KILLS = 20
OPTIONS = ["--env", "training_environments:make_target", "--seeds", "3", "--n-steps", "512", "--steps", "41000"]
OPTIONS += ["--hidden", "8", "8", "--checkpoints", "0", "7", "33"]
OPTIONS += ["--ppo.policy-epochs", "2", "--ppo.value-epochs", "2", "--ppo.minibatches", "4"]


def train(folder: Path, workers: int) -> subprocess.Popen:
    """Give the command; its environment is one of the tests' own."""
    return start(["train", *OPTIONS, "--out", str(folder), "--workers", str(workers)], paths=str(TESTS))


def contents(folder: Path) -> dict[str, bytes]:
    """Return every checkpoint, and the log without its seconds; half-written files count too."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("checkpoints/*/*/*")}
    log = pd.read_csv(folder / "training.csv")
    return found | {"log": log.drop(columns=["seconds_sampling", "seconds_update"]).to_csv().encode()}


def kill_once(folder: Path, workers: int, draw: random.Random) -> bool:
    """Start the command and kill it a while after it took up its folder; say whether it was done before that."""
    begun = time.time()
    process = train(folder, workers)
    record = folder / "run.json"
    while process.poll() is None and not (record.exists() and record.stat().st_mtime >= begun):
        time.sleep(0.01)
    return done_within(process, draw.uniform(0.0, 3.0 if workers == 1 else 9.0))


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    draw = random.Random(2)
    assert train(tmp_path / "whole", 2).wait() == 0
    expected = contents(tmp_path / "whole")
    kills, runs, done = 0, 0, True
    while kills < KILLS or not done:
        runs += done
        done = kill_once(tmp_path / f"run{runs}", workers=2 if kills % 5 == 4 else 1, draw=draw)
        kills += not done
        if done:
            found = contents(tmp_path / f"run{runs}")
            assert found.keys() == expected.keys()
            assert found == expected
    assert kills >= KILLS
    assert kills > runs  # most runs were killed more than once
