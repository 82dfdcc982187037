"""Who works in a folder, and at what, as anybody who sees the folder can read; nothing that is there is run."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from closerlook.errors import InputError
from closerlook.execution.packing import HEAD, DamagedError, head_of, own_bytes
from closerlook.results.folders import OPEN, folders_with
from closerlook.results.open_jobs import OpenJobs, read_crew
from closerlook.results.ownership import OWNER, read_lease


@dataclass(frozen=True)
class AtWork:
    """A command, or a worker, in a run folder.

    Parameters
    ----------
    run : Path
        The run folder.
    who : str
        Process and machine.
    processes : int or None
        That it has; None: not known, of a command.
    jobs : list of str
        Names of the jobs that a worker has taken.
    """

    run: Path
    who: str
    processes: int | None
    jobs: list[str]


def at_work(folder: Path) -> Iterator[AtWork]:
    """Yield commands and workers of a folder, and of those within it, as their files say; some may be dead.

    Parameters
    ----------
    folder : Path
        Where to look.
    """
    for run in folders_with(folder, [OWNER]):
        files, owner = OpenJobs(run), read_lease(run / OWNER)
        if owner is not None:
            yield AtWork(run, str(owner), None, [])
        seen = files.look()
        for worker, path in seen.workers.items():
            lease = read_lease(path)
            held = [_name(files.taken(key, who)) for key, who in seen.taken.items() if who == worker]
            if lease is not None:
                yield AtWork(run, str(lease), seen.processes[worker], sorted(filter(None, held)))


def brought(folder: Path) -> list[dict[str, Any]]:
    """Return what is known of those who bring workers to a folder, or to one within it.

    Parameters
    ----------
    folder : Path
        Where to look.
    """
    places = [run for run in folders_with(folder, [OWNER]) if (run / OPEN).is_dir()]
    return [{"folder": str(place), **state} for place in places if (state := read_crew(place))]


def _name(path: Path) -> str:
    with suppress(OSError, DamagedError, InputError):
        name = head_of(own_bytes(path, HEAD)).name
        return name if isinstance(name, str) and name.isprintable() else ""
    return ""
