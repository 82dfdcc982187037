"""Measure the second atlas, which verdicts on the paper come from, and take the datasets into docs/data/v2.

One command of `closerlook` after the other, each of which goes on where it was interrupted; what is in docs/data/v2
is not measured again, and columns that are not trained yet are left out (`closerlook atlas` trains them). What takes
more than an hour is measured an iteration at a time, each a dataset in docs/data/v2/pieces until all are there and
become one. What is measured of whom follows the rules, and was decided before any of it was looked at:

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
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from measured import COLUMNS, DATA, TASKS, keep

from closerlook.agents.loading import atlas_folder
from closerlook.cli import main as command_line
from closerlook.results.reading import read_dataset

FIVE = "10 11 12 13 14"
LINE = "--pairs 16384 --return-pairs 20480 --multiples 0.25 0.5 0.75 1 1.5 2 3 --repeats 3"
FITS = "--pairs 1e5 --fit-pairs 1e6 --own-target"


@dataclass(frozen=True)
class Measurement:
    """What is asked of a column's agents.

    Parameters
    ----------
    diagnostic : str
        As the command line calls it.
    iterations : tuple of int
        Of which agents.
    options : str
        All else.
    in_pieces : collection of str
        Tasks of which it takes more than an hour, so that each iteration is measured by a command of its own.
    """

    diagnostic: str
    iterations: tuple[int, ...]
    options: str
    in_pieces: Collection[str] = ()

    def of(self, column: str, iterations: Iterable[int], folder: Path) -> list[str]:
        """Return the command, as words, of a column's agents at some iterations, into a folder."""
        agents = [f"atlas/{column}-v2", "--iteration", *map(str, iterations)]
        return [self.diagnostic, *agents, *shlex.split(self.options), "--allow-long", "--out", str(folder)]


MEASUREMENTS = {
    "gradients": Measurement("gradients", (0, 150, 300, 450), "--pairs 2e5"),
    "few": Measurement("trust-region", (0, 150, 300, 450), f"--agent-seed {FIVE} {LINE}"),
    "values": Measurement("values", (150, 300, 450), f"--agent-seed {FIVE} {FITS} --restarts 0", ["humanoid"]),
    "updates": Measurement("gradients", (0, 150, 300, 450), f"--agent-seed {FIVE} --pairs 2e5 --updates"),
    "planes": Measurement(
        "landscape", (150, 300, 450), f"--agent-seed {FIVE} --pairs 8192 --line-pairs 32768", ["humanoid"]
    ),
    "many": Measurement("trust-region", (0, 150, 450), f"--agent-seed {FIVE} {LINE} --step-pairs 262144", TASKS),
}
"""What is asked of a column's agents, in the order of what most statements rest on."""


@dataclass(frozen=True)
class Command:
    """A command of `closerlook` and where its dataset is kept.

    Parameters
    ----------
    words : list of str
        Its command line.
    made, kept : Path
        The dataset that it writes, and its copy in docs/data/v2, or in the pieces of it.
    """

    words: list[str]
    made: Path
    kept: Path


def dataset_of(name: str, column: str, data: Path = DATA) -> Path:
    """Return where a measurement of a column is kept."""
    return data / "v2" / f"{name}-{column}.nc"


def commands(name: str, column: str, data: Path = DATA) -> Iterator[Command]:
    """Yield the commands of a measurement: one, or one for each iteration.

    Parameters
    ----------
    name : str
        Of `MEASUREMENTS`.
    column : str
        Like ``"hopper-ppo"``.
    data : Path
        Folder of the datasets.
    """
    asked, kept = MEASUREMENTS[name], dataset_of(name, column, data)
    in_pieces = column.partition("-")[0] in asked.in_pieces
    for iterations in [(one,) for one in asked.iterations] if in_pieces else [asked.iterations]:
        ending = f"-{iterations[0]:03d}" if in_pieces else ""
        folder = Path("runs") / "second-atlas" / f"{name}-{column}{ending}"
        own = kept.parent / "pieces" / f"{kept.stem}{ending}.nc" if in_pieces else kept
        yield Command(asked.of(column, iterations, folder), folder / f"{asked.diagnostic}.nc", own)


def wanted(columns: list[str], only: list[str]) -> list[tuple[str, str]]:
    """List measurements and columns that go together: planes are asked of Humanoid alone."""
    pairs = [(name, column) for column in columns for name in only]
    return [(name, column) for name, column in pairs if name != "planes" or column.startswith("humanoid")]


def join(pieces: list[Path], kept: Path) -> None:
    """Make one dataset of those of single iterations, agents in the order of a command that asks for all of them."""
    datasets = [read_dataset(path) for path in pieces]
    whole = xr.concat(datasets, "agent", data_vars="minimal", coords="minimal", join="exact", combine_attrs="identical")
    keep(whole.assign_coords(agent=np.arange(whole.sizes["agent"])), kept)
    for path in pieces:
        path.unlink()


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
    for name, column in wanted(chosen.columns or (names if chosen.list else trained), chosen.only):
        if ended := measure(name, column, run=not chosen.list):
            return ended
    return 0


def measure(name: str, column: str, *, run: bool = True, data: Path = DATA) -> int:
    """Run a measurement's commands, those whose datasets are not there yet.

    Parameters
    ----------
    name, column : str
        As in `commands`.
    run : bool
        Whether to; the commands alone are printed otherwise, all of them.
    data : Path
        Folder of the datasets.

    Returns
    -------
    int
        The exit code of the first that failed; 0 where none did.
    """
    kept, asked = dataset_of(name, column, data), list(commands(name, column, data))
    for command in asked:
        if run and (kept.exists() or command.kept.exists()):
            continue
        sys.stdout.write(f"closerlook {shlex.join(command.words)}\n")
        sys.stdout.flush()
        if not run:
            continue
        if ended := command_line(command.words):
            return ended
        keep(read_dataset(command.made), command.kept)
    if run and not kept.exists():
        join([command.kept for command in asked], kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
