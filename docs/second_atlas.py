"""Measure the second atlas, which verdicts on the paper come from, and take the datasets into docs/data/v2.

One command of `closerlook` after the other, each of which goes on where it was interrupted; columns that are not
trained yet are left out (`closerlook atlas` trains them). What is measured of whom follows the rules, and was decided
before any of it was looked at:

- gradients: the paper's pools, of all ten seeds at its four iterations;
- few, many: lines of seven points beyond the agent, along updates from 2,048 and 262,144 pairs, three batches each,
  with draws shared along a line, of five seeds;
- values: 1e5 pairs beside values that are fitted to 1e6 others, to returns and to V_old + A, of five seeds;
- updates: ten of each size, of five seeds;
- planes: of Humanoid, whose noise the paper shows, of five seeds.

    python docs/second_atlas.py                                  everything, in the order of the columns
    python docs/second_atlas.py hopper-ppo --only gradients few  some of it
    python docs/second_atlas.py --list                           the commands, and nothing run
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from measured import COLUMNS, DATA

from closerlook.agents.loading import atlas_folder
from closerlook.cli import main as command_line
from closerlook.results.reading import read_dataset

FIVE = "10 11 12 13 14"
LINE = "--pairs 16384 --return-pairs 20480 --multiples 0.25 0.5 0.75 1 1.5 2 3 --repeats 3"
FITS = "--pairs 1e5 --fit-pairs 1e6 --own-target"
MEASUREMENTS = {
    "gradients": "gradients --iteration 0 150 300 450 --pairs 2e5",
    "few": f"trust-region --iteration 0 150 300 450 --agent-seed {FIVE} {LINE}",
    "values": f"values --iteration 150 300 450 --agent-seed {FIVE} {FITS} --restarts 0",
    "updates": f"gradients --iteration 0 150 300 450 --agent-seed {FIVE} --pairs 2e5 --updates",
    "planes": f"landscape --iteration 150 300 450 --agent-seed {FIVE} --pairs 8192 --line-pairs 32768",
    "many": f"trust-region --iteration 0 150 450 --agent-seed {FIVE} {LINE} --step-pairs 262144",
}
"""What is asked of a column's agents, in the order of what most statements rest on."""


def commands(columns: list[str], only: list[str]) -> Iterator[tuple[Path, Path, list[str]]]:
    """Yield run folder, dataset and command of each measurement of columns.

    Parameters
    ----------
    columns : list of str
        Like ``"hopper-ppo"``.
    only : list of str
        Which of `MEASUREMENTS`.
    """
    for column in columns:
        for name in only:
            if name == "planes" and not column.startswith("humanoid"):
                continue
            diagnostic, *options = shlex.split(MEASUREMENTS[name])
            folder = Path("runs") / "second-atlas" / f"{name}-{column}"
            asked = [diagnostic, f"atlas/{column}-v2", *options, "--allow-long", "--out", str(folder)]
            yield folder / f"{diagnostic}.nc", DATA / "v2" / f"{name}-{column}.nc", asked


def main() -> int:
    """Run what was asked for, until all is done or a command fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [f"{task}-{algorithm}" for task, algorithm in COLUMNS]
    parser.add_argument(
        "columns", nargs="*", metavar="COLUMN", help=f"of {', '.join(names)}; default all that are trained"
    )
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--list", action="store_true", help="print the commands alone")
    chosen = parser.parse_args()
    if unknown := set(chosen.columns) - set(names):
        parser.error(f"there is no column {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    trained = [name for name in names if (atlas_folder() / f"{name}-v2").is_dir()]
    for source, dataset, asked in commands(chosen.columns or (names if chosen.list else trained), chosen.only):
        sys.stdout.write(f"closerlook {shlex.join(asked)}\n")
        sys.stdout.flush()
        if chosen.list:
            continue
        if ended := command_line(asked):
            return ended
        dataset.parent.mkdir(exist_ok=True)
        read_dataset(source).to_netcdf(dataset, engine="netcdf4")
    return 0


if __name__ == "__main__":
    sys.exit(main())
