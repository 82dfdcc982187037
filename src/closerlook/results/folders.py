"""Run folders within a folder: where they are, and what a study calls its files."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

CLAIMS = "claims.json"
"""What judged claims are written to."""
FIGURES = "figures"
"""Folder of the pictures of a study."""
ANSWERS = "jobs"
"""Folder of a run's finished jobs."""
OPEN = "open"
"""Folder of a run's jobs that others may take."""
_WITHOUT_RUNS = {ANSWERS, "jobs.old", "shards", "checkpoints"}
"""Folders of a run that hold no other, however much is in them."""


def folders_with(folder: Path, names: Collection[str]) -> Iterator[Path]:
    """Yield a folder, and those within it, where they hold a file of one of these names; by path.

    Parameters
    ----------
    folder : Path
        Where to look. What lies below a run's answers, checkpoints and the like is not looked at.
    names : collection of str
        Of files.
    """
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in set(inner) - _WITHOUT_RUNS if not name.startswith("."))
        if not set(names).isdisjoint(files):
            yield Path(place)
