"""Jobs of a run that lie open for other processes, on any machine that sees the folder.

::

    runs/hopper/open/
      <worker>.<processes>.worker     a worker looks here: a lease that beats (see `closerlook.results.ownership`)
      <key>.job                       a job that anybody may take
      <key>.<worker>.taken            ... that this worker has taken
      <key>.failed                    ... that raised something there: what, as text
      <digest>.parcel                 what several jobs share: written before them, and gone after them
      crew.json                       who brings workers, where the command has somebody do that

A file changes hands by being renamed, which one process alone succeeds with on every file system. A job that is no
longer there was answered: its answer is where the run keeps its answers. A worker that no longer beats is dead for who
runs the command, who puts up again what it had taken; should it only have slept, it finds that its file has gone, and
lets its answer go. Were it stored all the same, it would be the same answer, written whole.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from closerlook.errors import InputError
from closerlook.results.folders import OPEN
from closerlook.results.ownership import Ownership, enter
from closerlook.results.writing import plain_errors, write_bytes

CREW = "crew.json"
_FILES = re.compile(
    r"(?P<job>[0-9a-f]{32})\.(?:(?P<open>job)|(?P<by>[0-9a-f]{16})\.taken|(?P<failed>failed))"
    r"|(?P<worker>[0-9a-f]{16})\.(?P<processes>\d{1,5})\.worker"
)
_LONGEST = 10_000
"""Characters of what a job raised, at most."""


@dataclass(frozen=True)
class Look:
    """What lay open at one moment.

    Parameters
    ----------
    open : list of str
        Keys of jobs that anybody may take.
    taken : mapping of str to str
        Worker that has taken a job, by the job's key.
    failed : list of str
        Keys of jobs that raised something.
    workers : mapping of str to Path
        Leases of workers, by worker.
    processes : mapping of str to int
        How many jobs a worker runs at a time.
    """

    open: Sequence[str] = ()
    taken: Mapping[str, str] = field(default_factory=dict)
    failed: Sequence[str] = ()
    workers: Mapping[str, Path] = field(default_factory=dict)
    processes: Mapping[str, int] = field(default_factory=dict)


class OpenJobs:
    """The open jobs of one run.

    Parameters
    ----------
    run : Path
        The run folder.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / OPEN

    def look(self) -> Look:
        """Return what lies open now; nothing where nobody has ever looked here."""
        try:
            names = sorted(path.name for path in self.path.iterdir())
        except OSError:  # it is not there; or a share is away for a moment
            return Look()
        found = [match for match in map(_FILES.fullmatch, names) if match]
        workers = [match for match in found if match["worker"]]
        return Look(
            [match["job"] for match in found if match["open"]],
            {match["job"]: match["by"] for match in found if match["by"]},
            [match["job"] for match in found if match["failed"]],
            {match["worker"]: self.path / match[0] for match in workers},
            {match["worker"]: int(match["processes"]) for match in workers},
        )

    def put_up(self, key: str, content: bytes) -> None:
        """Let anybody take a job.

        Parameters
        ----------
        key : str
            Of its answer.
        content : bytes
            The job as it travels.

        Raises
        ------
        InputError
            Where the disk refuses.
        """
        write_bytes(self._job(key), content, durable=False)

    def parcel(self, digest: str) -> Path:
        """Return the file of what several jobs share.

        Parameters
        ----------
        digest : str
            Of its content.
        """
        return self.path / f"{digest}.parcel"

    def put_parcel(self, digest: str, content: bytes) -> None:
        """Put what several jobs share where they find it; where it lies there, it is the same.

        Parameters
        ----------
        digest : str
            Of its content.
        content : bytes
            As it travels.

        Raises
        ------
        InputError
            Where the disk refuses.
        """
        if not self.parcel(digest).exists():
            write_bytes(self.parcel(digest), content, durable=False)

    def drop_parcel(self, digest: str) -> None:
        """Delete what jobs shared that are done.

        Parameters
        ----------
        digest : str
            Of its content.
        """
        with suppress(OSError):
            self.parcel(digest).unlink()

    def withdraw(self, key: str) -> bool:
        """Take a job back: whether nobody was quicker."""
        try:
            self._job(key).unlink()
        except OSError:
            return False
        return True

    def take(self, key: str, worker: str) -> Path | None:
        """Take a job: its file, None where somebody was quicker.

        Parameters
        ----------
        key : str
            Of the job.
        worker : str
            Who takes it.
        """
        taken = self.taken(key, worker)
        with suppress(OSError):
            self._job(key).rename(taken)
        # a share may lose the word that it has been done, and say on being asked again that there is nothing to rename
        return taken if taken.exists() else None

    def has(self, key: str, worker: str) -> bool:
        """Whether a job is still this worker's.

        Parameters
        ----------
        key : str
            Of the job.
        worker : str
            Of the worker.
        """
        return self.taken(key, worker).exists()

    def give_back(self, key: str, worker: str) -> None:
        """Let anybody take a job that a worker had taken.

        Parameters
        ----------
        key : str
            Of the job.
        worker : str
            Of the worker.
        """
        with suppress(OSError):
            self.taken(key, worker).rename(self._job(key))

    def end(self, key: str, worker: str) -> None:
        """Say that a job's answer is stored.

        Parameters
        ----------
        key : str
            Of the job.
        worker : str
            Of the worker.
        """
        with suppress(OSError):
            self.taken(key, worker).unlink()

    def fail(self, key: str, worker: str, why: str) -> None:
        """Say that a job raised something.

        Parameters
        ----------
        key : str
            Of the job.
        worker : str
            Whose it was.
        why : str
            In words.
        """
        if self.has(key, worker):
            write_bytes(self._failed(key), why[:_LONGEST].encode(errors="replace"), durable=False)
            self.end(key, worker)

    def reason(self, key: str) -> str:
        """Return why a job failed, and forget it."""
        try:
            why = self._failed(key).read_bytes()[:_LONGEST].decode(errors="replace")
            self._failed(key).unlink()
        except OSError:
            return ""
        return why

    def enter(self, worker: str, processes: int) -> Ownership:
        """Say that a worker looks here, until that is released.

        Parameters
        ----------
        worker : str
            Of the worker.
        processes : int
            That it works with.

        Raises
        ------
        InputError
            Where the disk refuses.
        """
        with plain_errors(self.path):
            self.path.mkdir(exist_ok=True)
            return enter(self.path / f"{worker}.{processes}.worker")

    def leave(self) -> None:
        """Delete the folder where nothing is in it."""
        with suppress(OSError):
            self.path.rmdir()

    def clear(self) -> None:
        """Delete it with all that is in it, as far as that can be done: only for who owns the run."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _job(self, key: str) -> Path:
        return self.path / f"{key}.job"

    def taken(self, key: str, worker: str) -> Path:
        """Return the file of a job that a worker has taken.

        Parameters
        ----------
        key : str
            Of the job.
        worker : str
            Of the worker.
        """
        return self.path / f"{key}.{worker}.taken"

    def _failed(self, key: str) -> Path:
        return self.path / f"{key}.failed"


def processes_of(run: Path) -> int:
    """Return how many processes of others look into a run folder, whether or not they still beat."""
    return sum(OpenJobs(run).look().processes.values())


def note_crew(folder: Path, state: Mapping[str, object]) -> None:
    """Note who brings workers to a folder, for whoever asks how far the work is.

    Parameters
    ----------
    folder : Path
        The command's.
    state : mapping
        As JSON.
    """
    with suppress(InputError):  # a full disk is told where it matters
        write_bytes(folder / OPEN / CREW, json.dumps(state).encode(), durable=False)


def read_crew(folder: Path) -> dict[str, Any]:
    """Read what `note_crew` has noted; empty where there is nothing.

    Parameters
    ----------
    folder : Path
        The command's.
    """
    try:
        found = json.loads((folder / OPEN / CREW).read_bytes()[:_LONGEST])
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
