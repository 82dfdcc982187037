"""A run of jobs to which others may come: while they are there, some of its jobs lie open in the run's folder.

Nobody has to be expected. Whoever runs jobs looks every now and then whether there is a worker, which costs a system
call, and puts up a few jobs for each process that it has; the rest stay in memory, however many there are.
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from pickle import Unpickler
from typing import Any

import cloudpickle

from closerlook.errors import InputError
from closerlook.execution.jobs import Job, JobCache, Result, SharedCache
from closerlook.results.open_jobs import Look, OpenJobs
from closerlook.results.ownership import Watched, read_lease
from closerlook.results.store import host, versions

LOOK_SECONDS = 0.5
"""Between two looks."""
AHEAD, MOST = 4, 256
"""Jobs that lie open for each process of others, and for all of them."""
_KEY_LENGTH = 32
_LONGEST_HEAD = 2**20


class Shared:
    """Jobs of which some lie open for others.

    Parameters
    ----------
    jobs : sequence of (int, Job)
        Numbered.
    store : SharedCache
        Where answers are stored, here and by others.
    note : callable
        Told in words who comes, and what went wrong.
    """

    def __init__(self, jobs: Sequence[tuple[int, Job]], store: SharedCache, note: Callable[[str], None]) -> None:
        self._cache, self._note = store, note
        self._waiting, self._here = deque(jobs), deque[tuple[int, Job]]()
        self._files = OpenJobs(store.folder)
        self._out: dict[str, tuple[int, Job]] = {}
        self._gone: set[str] = set()
        self._arrived: list[tuple[int, Result]] = []
        self._others = _others(store.folder.absolute())
        self._seen, self._looked, self._offers = Look(), -float("inf"), True
        self.elsewhere: set[int] = set()
        """Numbers of jobs whose answers others have stored."""

    @property
    def most(self) -> int:
        """How many jobs are left to take here."""
        return len(self._waiting) + len(self._here) + len(self._out)

    @property
    def is_done(self) -> bool:
        """Whether all were taken here, or answered elsewhere."""
        return not (self.most or self._arrived)

    def take(self) -> tuple[int, Job] | None:
        """Return a job to run here: one that nobody else was offered, or else one that nobody has taken."""
        self._look()
        if self._here or self._waiting:
            return (self._here or self._waiting).popleft()
        for key in [key for key in self._out if key not in self._seen.taken]:
            if self._files.withdraw(key):
                return self._out.pop(key)
        return None

    def arrived(self) -> list[tuple[int, Result]]:
        """Return the answers of others that came since."""
        self._look()
        arrived, self._arrived = self._arrived, []
        return arrived

    def close(self) -> None:
        """Take back what nobody has taken."""
        for key in self._out:
            self._files.withdraw(key)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked, first = now, self._looked < 0
        seen = self._seen = self._files.look()
        if not (self._out or seen.workers or seen.taken or seen.open):
            return
        alive = self._others.alive(seen, self._note)
        if first:
            self._adopt(alive)
        # what a worker that is dead, or has left, had taken is anybody's again
        for key, who in seen.taken.items():
            if who not in alive:
                self._files.give_back(key, who)
        for who in seen.workers.keys() - alive:
            seen.workers[who].unlink(missing_ok=True)
        self._collect()
        self._put_up(sum(seen.processes[who] for who in alive))

    def _adopt(self, alive: set[str]) -> None:
        """Leave to workers what they took of a run before, which was killed; what lay open then is taken back."""
        taken = {key for key, who in self._seen.taken.items() if who in alive}
        for number, job in [one for one in self._waiting if one[1].key in taken]:
            if job.key not in self._out:
                self._out[job.key] = (number, job)
                self._waiting.remove((number, job))
        for key in self._seen.open:
            self._files.withdraw(key)

    def _collect(self) -> None:
        """Find out what became of the jobs that others were offered."""
        there = {*self._seen.open, *self._seen.taken}
        for key in self._out.keys() & set(self._seen.failed):
            number, job = self._out.pop(key)
            # it is run again here, where what it raises is raised
            self._note(f"{job.name} failed elsewhere and is run here: {self._files.reason(key)}")
            self._here.append((number, job))
        for key in self._out.keys() - there:
            number, job = self._out[key]
            answer = self._cache.load(key)
            if answer is not None:
                del self._out[key]
                self.elsewhere.add(number)
                self._arrived.append((number, answer))
            elif key in self._gone:
                self._here.append(self._out.pop(key))
            else:  # while a folder is listed, a file that is being renamed may be seen by neither name
                self._gone.add(key)
        self._gone &= self._out.keys() - there

    def _put_up(self, processes: int) -> None:
        """Have enough lie open for so many processes."""
        lying = len(self._out.keys() & set(self._seen.open))
        for _ in range(min(AHEAD * processes, MOST) - lying):
            if not (self._waiting and self._offers):
                return
            number, job = self._waiting.pop()
            if job.key in self._out or len(job.key) != _KEY_LENGTH or not self._offer(job):
                self._here.append((number, job))
            else:
                self._out[job.key] = (number, job)

    def _offer(self, job: Job) -> bool:
        """Let others take a job: whether that could be done."""
        try:
            content = packed(job, self._cache.for_others(), self._cache.folder)
        except Exception:  # pickling runs the arguments' own code, which may raise anything; here it need not travel
            return False
        try:
            self._files.put_up(job.key, content)
        except InputError as error:
            self._offers = False
            self._note(f"others are offered no more jobs: {error}")
            return False
        return True


class _Others:
    """The workers of one run folder, from one run of jobs to the next."""

    def __init__(self) -> None:
        self._watched, self._known = Watched(), set[str]()

    def alive(self, seen: Look, note: Callable[[str], None]) -> set[str]:
        """Return those that beat, and tell of new ones."""
        alive = {who for who, path in seen.workers.items() if self._watched.is_alive(path)}
        for who in alive - self._known:
            self._known.add(who)
            count, lease = seen.processes[who], read_lease(seen.workers[who])
            note(f"{lease} works along, with {count} {'process' if count == 1 else 'processes'}")
        return alive


@cache
def _others(_run: Path) -> _Others:
    """Return the workers of a run folder: always the same object."""
    return _Others()


@dataclass(frozen=True)
class Head:
    """What is said of a job before it is unpickled.

    Parameters
    ----------
    name : str
        Of the job.
    pairs : float
        That it simulates.
    conditions : mapping of str to str
        What its last digits depend on, see `conditions`.
    path : list of str
        Where Python looked for modules.
    digest : str
        Of what follows.
    """

    name: str
    pairs: float
    conditions: Mapping[str, str]
    path: Sequence[str]
    digest: str


def packed(job: Job, store: JobCache, run: Path) -> bytes:
    """Return a job and what stores its answer as bytes; paths in the run folder are those of whoever reads them.

    Parameters
    ----------
    job : Job
        What is asked.
    store : JobCache
        What stores the answer.
    run : Path
        The run folder.

    Raises
    ------
    Exception
        Any, where something in it cannot be pickled.
    """
    content = BytesIO()
    _Packing(content, run).dump((replace(job, smaller=None, before=()), store))
    path = [os.path.abspath(place) for place in sys.path]  # noqa: PTH100 - the empty one is where this process is
    head = Head(job.name, job.pairs, conditions(), path, _digest(content.getvalue()))
    return json.dumps(vars(head)).encode() + b"\n" + content.getvalue()


def head_of(content: bytes) -> Head:
    """Read what is said of a job, which runs nothing.

    Raises
    ------
    DamagedError
        Where it cannot be read.
    """
    try:
        return Head(**json.loads(content[:_LONGEST_HEAD].partition(b"\n")[0]))
    except (ValueError, TypeError, RecursionError):
        raise DamagedError("its file is damaged") from None


class DamagedError(ValueError):
    """A job file that is not what was written."""


def unpacked(content: bytes, run: Path) -> tuple[Job, JobCache]:
    """Return a job and what stores its answer. This runs what is in the bytes: they have to be of this user.

    Parameters
    ----------
    content : bytes
        What `packed` made.
    run : Path
        The run folder, as it is called here.

    Raises
    ------
    DamagedError
        Where the bytes are not what `packed` made.
    Exception
        Any, where something in it cannot be imported here.
    """
    head, body = head_of(content), content.partition(b"\n")[2]
    if _digest(body) != head.digest:
        raise DamagedError("its file is damaged")
    sys.path += [place for place in head.path if place not in sys.path and Path(place).exists()]
    job, store = _Unpacking(BytesIO(body), run).load()
    return job, store


def conditions() -> dict[str, str]:
    """Return what the last digits of an answer depend on."""
    python = {"python": ".".join(map(str, sys.version_info[:2]))}
    return {
        **versions(),
        **python,
        "processor": str(host()["processor"]),
        "MKL_CBWR": os.environ.get("MKL_CBWR", ""),
    }


class _Packing(cloudpickle.Pickler):  # type: ignore[misc]
    """Names what is in the run folder by its place there: elsewhere that folder may be called otherwise."""

    def __init__(self, file: BytesIO, run: Path) -> None:
        super().__init__(file)
        self._roots = [f"{root}{os.sep}" for root in {str(run.absolute()), str(run.resolve())}]

    def persistent_id(self, value: Any) -> tuple[bool, str] | None:
        if isinstance(value, str | Path):
            for root in self._roots:
                if str(value).startswith(root):
                    return isinstance(value, Path), str(value).removeprefix(root)
        return None


class _Unpacking(Unpickler):
    def __init__(self, file: BytesIO, run: Path) -> None:
        super().__init__(file)
        self._run = run.resolve()

    def persistent_load(self, place: Any) -> Any:
        is_path, within = place
        return self._run / within if is_path else str(self._run / within)


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()
