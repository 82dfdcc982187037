"""What it costs to fit values to more transitions than are held in memory, beside the same fit with all of them there.

Transitions are drawn, as wide as Humanoid's observations, and written as shards; passes read them a window at a time.
Times are of the processor. The goal is a ratio of at most 1.5: most of a pass is the fit.

    python benchmarks/fit.py
    python benchmarks/fit.py --width 17 --shards 3 --rounds 1
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from closerlook.execution.threads import single_thread
from closerlook.measurements import value_shards
from closerlook.measurements.fitted_values import FitSettings, fit_values
from closerlook.results.answers import JobFiles

GOAL = 1.5
STREAMS, STEPS = 64, 1000
"""Of a shard."""


def write(folder: Path, shards: int, width: int) -> list[str]:
    """Draw shards; return their keys."""
    draws, files, keys = np.random.default_rng(0), JobFiles(folder), [f"shard{number}" for number in range(shards)]
    for number, key in enumerate(keys):
        arrays = {
            "observations": draws.standard_normal((STREAMS, STEPS, width), np.float32),
            "returns": draws.standard_normal((STREAMS, STEPS), np.float32),
            "norms": draws.uniform(0, 1, (STREAMS, STEPS)).astype(np.float32),
            "numbers": np.arange(STREAMS * number, STREAMS * (number + 1)),
        }
        files.save(key, arrays)
    return keys


def seconds(folder: Path, keys: list[str], window_bytes: int) -> float:
    """Fit with so much memory; return the processor time."""
    value_shards.WINDOW_BYTES = window_bytes
    before = time.process_time()
    fit_values(str(folder), keys, STREAMS * len(keys), FitSettings(most_passes=4), 0)
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=348, help="of an observation")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with TemporaryDirectory() as name, single_thread():
        folder = Path(name)
        keys = write(folder, arguments.shards, arguments.width)
        whole = 4 * arguments.width * STREAMS * STEPS * arguments.shards
        ratios = [seconds(folder, keys, whole // 4) / seconds(folder, keys, 2 * whole) for _ in range(arguments.rounds)]
    ratio = float(np.median(ratios))
    print(f"a window at a time takes {ratio:.2f} of the time  (goal {GOAL}: {ratio <= GOAL})")


if __name__ == "__main__":
    main()
