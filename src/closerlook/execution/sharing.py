"""A run of jobs to which others may come: while they are there, some of its jobs lie open in the run's folder.

Nobody has to be expected. Whoever runs jobs looks every now and then whether there is a worker, which costs a system
call, and puts up a few jobs for each process that it has; the rest stay in memory, however many there are.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from closerlook.errors import InputError
from closerlook.execution.crews import Crew
from closerlook.execution.jobs import Job, Result, SharedCache
from closerlook.execution.packing import Parcels, packed
from closerlook.results import ownership
from closerlook.results.folders import ANSWERS
from closerlook.results.open_jobs import Look, OpenJobs
from closerlook.results.ownership import Watched, read_lease

LOOK_SECONDS = 0.5
"""Between two looks."""
AHEAD, MOST = 4, 256
"""Jobs that lie open for each process of others, and for all of them: one for each where they are more."""
LATE_SECONDS = 5.0
"""For which the answer of a job that lies open no more is waited for, as files come late from other machines."""
FEW = 3
"""Workers that are told of one by one as they come."""
_KEY_LENGTH = 32


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
    crew : Crew, optional
        Who brings workers: then nothing is run here that they can do.
    """

    def __init__(
        self,
        jobs: Sequence[tuple[int, Job]],
        store: SharedCache,
        note: Callable[[str], None],
        crew: Crew | None = None,
    ) -> None:
        self._cache, self._note, self._crew = store, note, crew
        if crew is not None:
            crew.works_in(store.folder)
        self._parcels = Parcels(store.folder, (job for _, job in jobs))
        self._waiting, self._here = deque(jobs), deque[tuple[int, Job]]()
        self._files = OpenJobs(store.folder)
        self._out: dict[str, tuple[int, Job]] = {}
        self._gone: dict[str, float] = {}
        self._takers: dict[str, str] = {}
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

    @property
    def has_company(self) -> bool:
        """Whether others work here too, as far as was seen."""
        return bool(self._seen.workers)

    def take(self) -> tuple[int, Job] | None:
        """Return a job to run here: one that nobody else was offered, or else one that nobody has taken."""
        self._look()
        if self._crew is not None:
            return self._here.popleft() if self._here else None
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
        self._parcels.clear()

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked, first = now, self._looked < 0
        if self._crew is not None:
            self._crew.look(self._note)
        seen = self._seen = self._files.look()
        if not (self._out or seen.workers or seen.taken or seen.open):
            return
        alive = self._others.alive(seen, self._note) - (set() if self._crew is None else self._crew.gone)
        if first:
            self._adopt(alive)
        # what a worker that is dead, or has left, had taken is anybody's again
        self._takers |= seen.taken if self._crew is not None else {}
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
        there, now = {*self._seen.open, *self._seen.taken}, time.monotonic()
        for key in self._out.keys() & set(self._seen.failed):
            number, job = self._out.pop(key)
            # it is run again here, where what it raises is raised
            self._note(f"{job.name} failed elsewhere and is run here: {self._files.reason(key)}")
            self._here.append((number, job))
        missing = self._out.keys() - there
        if missing:
            # a share remembers for half a minute that a file was not there, unless its folder is listed
            with suppress(OSError), os.scandir(self._cache.folder / ANSWERS) as entries:
                next(entries, None)
        for key in missing:
            number, job = self._out[key]
            answer = self._cache.load(key)
            if answer is not None:
                del self._out[key]
                if self._crew is not None:
                    self._crew.credit(self._takers.pop(key, ""))
                self.elsewhere.add(number)
                self._arrived.append((number, answer))
            elif now - self._gone.setdefault(key, now) > LATE_SECONDS:
                self._here.append(self._out.pop(key))
        self._gone = {key: since for key, since in self._gone.items() if key in self._out and key not in there}

    def _put_up(self, processes: int) -> None:
        """Have enough lie open for so many processes."""
        lying = len(self._out.keys() & set(self._seen.open))
        for _ in range(min(AHEAD * processes, max(MOST, processes)) - lying):
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
            content = packed(job, self._cache.for_others(), self._cache.folder, self._parcels)
            self._files.put_up(job.key, content)
        except InputError as error:
            if self._crew is not None:
                raise
            self._offers = False
            self._note(f"others are offered no more jobs: {error}")
            return False
        except Exception:  # pickling runs the arguments' own code, which may raise anything; here it need not travel
            return False
        return True


class _Others:
    """The workers of one run folder, from one run of jobs to the next."""

    def __init__(self) -> None:
        self._watched, self._known = Watched(), set[str]()
        self._alive, self._read = set[str](), -float("inf")

    def alive(self, seen: Look, note: Callable[[str], None]) -> set[str]:
        """Return those that beat, and tell of new ones."""
        # leases change with every beat: to read those of thousands of workers at every look would take all of the time
        now, all_of_them = time.monotonic(), seen.workers.keys()
        if now - self._read >= ownership.BEAT / 2 or all_of_them - self._alive:
            self._read = now
            self._alive = {who for who, path in seen.workers.items() if self._watched.is_alive(path)}
        alive = self._alive & all_of_them
        new = alive - self._known
        self._known |= new
        counts = {who: seen.processes[who] for who in new}
        if len(new) > FEW:
            note(f"{len(new)} more workers work along, with {sum(counts.values())} processes")
            return alive
        for who, count in counts.items():
            note(
                f"{read_lease(seen.workers[who])} works along, with {count} {'process' if count == 1 else 'processes'}"
            )
        return alive


@cache
def _others(_run: Path) -> _Others:
    """Return the workers of a run folder: always the same object."""
    return _Others()
