"""The log that a training run leaves, read: numbers by column, one entry for each iteration and agent."""

import csv
import gzip
from pathlib import Path

import numpy as np

from closerlook.errors import InputError

NAMES = ("training.csv", "training.csv.gz")
"""Files that hold a log: as training leaves it, and as the atlas packs it."""
_NEEDED = ("iteration", "agent_seed", "mean_reward")


def read_training_log(folder: Path) -> dict[str, np.ndarray] | None:
    """Read the numbers of a training run's log, None where the folder holds none.

    Parameters
    ----------
    folder : Path
        The run folder.

    Returns
    -------
    dict of str to ndarray
        Every column of numbers; NaN where one does not apply. Words are left out.

    Raises
    ------
    InputError
        Where the file is not such a log.
    """
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        rows = list(csv.DictReader(text.splitlines()))
        found = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0] if name != "notes"}
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, csv.Error) as error:
        raise InputError(f"{path} is not a training log ({error})", "leave that folder out, or train again") from None
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise InputError(f"{path} is not a training log (no column {missing[0]})", "leave that folder out")
    return found
