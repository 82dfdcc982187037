"""A worker of other processes' runs: takes jobs that lie open in run folders, and leaves the answers there."""

import os
import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from closerlook.errors import InputError, in_one_line
from closerlook.execution.jobs import Job, Result
from closerlook.execution.packing import HEAD, DamagedError, Head, conditions, head_of, own_bytes, unpacked
from closerlook.execution.processes import close_pool, run_in_processes
from closerlook.execution.sharing import AHEAD, LOOK_SECONDS
from closerlook.results.folders import folders_with
from closerlook.results.open_jobs import OpenJobs
from closerlook.results.ownership import OWNER, Ownership, Watched, this_host

SEARCH_SECONDS = 2.0
"""Between two searches for commands that work."""
CROWD = 16
"""Workers of one run that look as often as that; more look less often, so that all of them together do not."""
LONGEST_LOOK_SECONDS = 10.0
MOST_FAILURES = 3
"""Jobs that fail one after the other until a worker gives up: it is its machine that does not work."""


class Listener(Protocol):
    """Who hears how a worker works."""

    def note(self, text: str) -> None:
        """Hear what happened."""

    def state(self, text: str) -> None:
        """Hear what is going on now."""


@dataclass
class Done:
    """What a worker did.

    Parameters
    ----------
    jobs : int
        Answers that were stored.
    pairs : float
        That they took.
    failed : int
        Jobs that raised something.
    runs : list of Path
        Folders of the commands that it joined.
    ended : str
        Why it ended.
    """

    jobs: int = 0
    pairs: float = 0.0
    failed: int = 0
    runs: list[Path] = field(default_factory=list)
    ended: str = ""


def work(folder: Path, processes: int, wait: float, listener: Listener, name: str | None = None) -> Done:
    """Answer jobs of the commands that work in a folder, or in folders within it, until none does.

    The jobs are code, which is run: the folder has to be trusted. Files of other users are refused.

    Parameters
    ----------
    folder : Path
        A run folder, or one that holds some.
    processes : int
        Jobs at a time.
    wait : float
        Seconds without a command after which the worker ends.
    listener : Listener
        Hears how it goes.
    name : str, optional
        Of this worker, 16 hexadecimal digits that no other one has.

    Returns
    -------
    Done
        What was done.

    Raises
    ------
    InputError
        Where no command ever came; a job is another user's, or of a command with other versions; something that a job
        needs is not there; the disk is full; one job after the other fails; a process died.
    """
    joined = _Joined(folder, processes, wait, listener, name or secrets.token_hex(8))
    try:
        for number, answer in run_in_processes(joined, processes):
            joined.hear(number, answer)
    except BaseException:
        close_pool()  # before others may take what is at work here
        raise
    finally:
        joined.leave()
    if not joined.done.runs:
        raise InputError(f"no command worked in {folder} for {wait:g} s", "start one there, or give more --wait")
    return joined.done


class _Joined:
    """The source of a worker's jobs: whatever lies open in the folders where commands work."""

    def __init__(self, folder: Path, processes: int, wait: float, listener: Listener, name: str) -> None:
        self._folder, self._processes, self._wait, self._listener = folder, processes, wait, listener
        self._name = name
        self._watched = Watched()
        self._runs: dict[Path, Ownership] = {}
        self._held: dict[int, tuple[Path, str, Head]] = {}
        self._open: list[tuple[Path, str]] = []
        self._last = time.monotonic()
        self._searched = self._looked = -float("inf")
        self._count, self._failures, self._crowd = 0, 0, 1.0
        self.done = Done()

    @property
    def most(self) -> int:
        """As many as there are processes: they are started when the first job is there."""
        return self._processes

    @property
    def is_done(self) -> bool:
        """Whether there was no command for so long."""
        return bool(self.done.ended)

    def arrived(self) -> list[tuple[int, Result]]:
        """Return nothing: what others answer is theirs."""
        return []

    def take(self) -> tuple[int, Job] | None:
        """Take the next job that lies open anywhere."""
        self._look()
        while self._open and not self.done.ended:
            run, key = self._open.pop()
            taken = OpenJobs(run).take(key, self._name)
            if taken is None:
                continue
            self._count += 1
            # held from now on, so that it is given back whatever comes
            self._held[self._count] = (run, key, Head("a job", 0.0, {}, (), ""))
            try:
                head = head_of(own_bytes(taken, HEAD))
            except DamagedError as error:
                self._refuse(self._count, str(error))
                continue
            _require_same(head.conditions, run)
            self._held[self._count] = (run, key, head)
            self._tell()
            arguments = {"run": run, "key": key, "worker": self._name, "name": head.name}
            return self._count, Job(head.name, key, answer_open_job, arguments, head.pairs)
        return None

    def _refuse(self, number: int, why: str) -> None:
        run, key, _ = self._held.pop(number)
        OpenJobs(run).fail(key, self._name, why)
        self.done.failed += 1

    def hear(self, number: int, answer: Result) -> None:
        """Take in what became of a job.

        Raises
        ------
        InputError
            Where one job after the other failed.
        """
        _, _, head = self._held.pop(number)
        if "failed" in answer:
            why = str(answer["failed"])
            self.done.failed, self._failures = self.done.failed + 1, self._failures + 1
            self._listener.note(f"{head.name} failed here, and is left to its command: {why}")
            if self._failures == MOST_FAILURES:
                raise InputError(f"{MOST_FAILURES} jobs failed here one after the other", f"the last one: {why}")
        elif "stored" in answer:
            self.done.jobs, self.done.pairs, self._failures = self.done.jobs + 1, self.done.pairs + head.pairs, 0
        self._tell()

    def leave(self) -> None:
        """Give back what was taken, and say in no folder any more that there is a worker."""
        for run, key, _ in self._held.values():
            OpenJobs(run).give_back(key, self._name)
        for run in list(self._runs):
            self._part(run)

    def _tell(self) -> None:
        jobs = f"{self.done.jobs} {'job' if self.done.jobs == 1 else 'jobs'} answered, {self.done.pairs:,.0f} pairs"
        names = [head.name for _, _, head in self._held.values()]
        self._listener.state(f"{jobs}; at work on {names[0]}" + (" ..." if names[1:] else "") if names else jobs)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._searched > SEARCH_SECONDS:
            self._searched = now
            self._search(now)
        if not self._open and now - self._looked > min(LOOK_SECONDS * self._crowd, LONGEST_LOOK_SECONDS):
            seen = {run: OpenJobs(run).look() for run in self._runs}
            self._crowd = max([1.0, *(len(look.workers) / CROWD for look in seen.values())])
            lying = [(run, key) for run, look in seen.items() for key in look.open]
            # no more than are soon begun: of the others most are taken by then. At random, so that workers do not all
            # reach for the same one; no number depends on it
            self._open = random.sample(lying, min(len(lying), AHEAD * self._processes))
            self._looked = now

    def _search(self, now: float) -> None:
        """Join the commands that work, and leave those that do not any more."""
        alive = {run for run in folders_with(self._folder, [OWNER]) if self._watched.is_alive(run / OWNER)}
        for run in self._runs.keys() - alive:
            self._listener.note(f"the command in {run} has ended")
            self._part(run)
        for run in sorted(alive):
            # who runs the command may have taken this worker for dead while it was stopped
            if run not in self._runs or not self._runs[run].is_held:
                self._join(run)
        if alive or self._held:
            self._last = now
        elif now - self._last >= self._wait:
            self.done.ended = f"no command has worked in {self._folder} for {self._wait:g} s"

    def _join(self, run: Path) -> None:
        try:
            own = OpenJobs(run).enter(self._name, self._processes)
        except (InputError, FileExistsError):
            if not run.is_dir():  # it has ended meanwhile
                return
            raise
        if run not in self._runs:
            self._listener.note(f"joined the command in {run}")
        if run not in self.done.runs:
            self.done.runs.append(run)
        self._runs[run] = own

    def _part(self, run: Path) -> None:
        self._runs.pop(run).release()
        OpenJobs(run).leave()


def answer_open_job(run: Path, key: str, worker: str, name: str) -> Result:
    """Answer a job that a worker has taken, in one of its processes.

    Parameters
    ----------
    run : Path
        The run folder.
    key : str
        Of the job.
    worker : str
        Who has taken it.
    name : str
        Of the job, for messages.

    Returns
    -------
    dict
        ``stored``, where the answer is; ``failed``, why not, where the job raised something; nothing where the job was
        no longer the worker's, which had been stopped.

    Raises
    ------
    InputError
        Where the file is another user's; what the job needs is not here; the answer cannot be stored.
    """
    files = OpenJobs(run)
    try:
        job, store = unpacked(own_bytes(files.taken(key, worker)), run)
    except FileNotFoundError:
        return {}
    except DamagedError as error:
        return _failed(files, key, worker, error)
    except InputError:
        raise
    except Exception as error:  # it runs whatever the job's modules do as they are imported
        what = f"{name} cannot be loaded here ({in_one_line(error)})"
        raise InputError(what, "have the modules that it needs here too, PYTHONPATH as it is there") from error
    try:
        answer = job.run()
    except Exception as error:  # whatever it raises is raised again where it is asked for
        return _failed(files, key, worker, error)
    if not files.has(key, worker):
        return {}
    store.save(key, answer)
    files.end(key, worker)
    return {"stored": np.array(1)}


def _failed(files: OpenJobs, key: str, worker: str, error: Exception) -> Result:
    if not files.has(key, worker):
        return {}
    why = in_one_line(error)
    files.fail(key, worker, f"{why} (process {os.getpid()} on {this_host()[0]})")
    return {"failed": np.array(why)}


def _require_same(theirs: Mapping[str, str], run: Path) -> None:
    """Go on only where answers would be the same to the last digit.

    Raises
    ------
    InputError
        Where something differs that they depend on.
    """
    ours = conditions()
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if not names:
        return
    if set(names) == {"processor"}:
        if ours["MKL_CBWR"] == "COMPATIBLE":
            return
        what = f"the command in {run} runs on another processor ({theirs.get('processor')}; here {ours['processor']})"
        raise InputError(
            what, "last digits would differ: set MKL_CBWR=COMPATIBLE for both, or use machines of one kind"
        )
    listed = ", ".join(
        f"{name} {theirs.get(name) or 'not set'} there, {ours.get(name) or 'not set'} here" for name in names
    )
    raise InputError(f"the command in {run} has other versions ({listed})", "numbers would differ: use the same")
