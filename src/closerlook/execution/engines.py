"""Who answers jobs: this process, processes of its own, or workers that Ray or SLURM bring; no number depends on it.

A command, or a call, says so once, around all that it runs (`executing`); whoever runs jobs in it asks `active`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from closerlook.errors import InputError
from closerlook.execution.crews import Crew, Request
from closerlook.results.open_jobs import processes_of

EngineName = Literal["serial", "processes", "ray", "slurm"]
PACKAGES = {"ray": "ray", "slurm": "submitit"}
"""What brings workers, by executor: an extra of the same name as the executor."""
MOST_BROUGHT = 100_000
"""Workers that may be asked of others."""


@dataclass(frozen=True)
class Executor:
    """Who answers jobs, with all that this takes.

    Parameters
    ----------
    name : {"serial", "processes", "ray", "slurm"}
        This process; processes of its own; workers that a Ray cluster or SLURM runs, which need a folder that all
        machines see.
    address : str, optional
        Of a Ray cluster that runs: ``"auto"``, ``"host:port"`` or ``"ray://host:port"``; None: one of its own, on this
        machine, which ends with the work.
    slurm : mapping of str to str
        What is asked of SLURM: options of sbatch by name (``partition``, ``time``, ``mem``, ``cpus-per-task`` ...);
        ``python``, what starts Python there; ``cluster``, ``"local"`` for processes of this machine instead.

    See Also
    --------
    closerlook.run : ``executor=`` takes one, or its name.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.Executor("slurm", slurm={"partition": "cpu", "time": "4:00:00"}).name
    'slurm'
    """

    name: EngineName = "processes"
    address: str | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)

    @property
    def brings(self) -> bool:
        """Whether it brings workers that look for jobs in the folder."""
        return self.name in PACKAGES

    def check(self) -> None:
        """Go on only where it means something.

        Raises
        ------
        InputError
            Where there is no such executor, its package is missing, or something is given that it does not take.
        """
        if self.name not in get_args(EngineName):
            names = ", ".join(get_args(EngineName))
            raise InputError(f"there is no executor {self.name!r}", f"choose from {names}")
        if self.address is not None and self.name != "ray":
            raise InputError("an address was given, which is of a Ray cluster", "give --executor ray with it")
        if self.slurm and self.name != "slurm":
            raise InputError("options of SLURM were given without it", "give --executor slurm with them")
        package = PACKAGES.get(self.name)
        if package is not None and find_spec(package) is None:
            what = f"executor {self.name} needs {package}, which is not installed"
            raise InputError(what, f"pip install 'closerlook[{self.name}]'")

    def size(self, workers: int | None) -> int:
        """Return how many workers it has.

        Parameters
        ----------
        workers : int, optional
            What was asked for.

        Raises
        ------
        InputError
            Where that cannot be.
        """
        if self.name == "serial":
            if workers not in {None, 1}:
                raise InputError(f"executor serial is one process (workers {workers})", "leave --workers out")
            return 1
        if workers is None and (self.address is not None or self.name == "slurm"):
            raise InputError("it is not said how many workers to bring", "give --workers, for example 32")
        return _number(workers, MOST_BROUGHT if self.brings else most_workers())


@dataclass(frozen=True)
class Active:
    """Who answers jobs now.

    Parameters
    ----------
    name : str
        Of the executor.
    workers : int, optional
        How many, where that was settled.
    crew : Crew, optional
        Who brings workers.
    """

    name: EngineName = "processes"
    workers: int | None = None
    crew: Crew | None = None


_USUAL = Active()
_active: ContextVar[Active] = ContextVar("active", default=_USUAL)


def active() -> Active:
    """Return who answers jobs here."""
    return _active.get()


@contextmanager
def executing(executor: "Executor | str | None", workers: int | None, folder: str | Path | None) -> Iterator[None]:
    """Have jobs that a block runs answered by somebody; workers that are brought are gone at its end.

    Parameters
    ----------
    executor : Executor, str or None
        Who; None: as before.
    workers : int, optional
        How many.
    folder : str or Path, optional
        Which holds the run folders of the block.

    Raises
    ------
    InputError
        Where that cannot be.
    """
    if executor is None:
        yield
        return
    asked = Executor(executor) if isinstance(executor, str) else executor  # type: ignore[arg-type]
    asked.check()
    size = asked.size(workers)
    crew = None
    if asked.brings:
        if folder is None:
            what = f"executor {asked.name} needs a folder, where its workers find their jobs"
            raise InputError(what, "give out, a folder that all machines see")
        crew = Crew(Request(asked.name, str(Path(folder).resolve()), size, asked.address, dict(asked.slurm)))
    before = _active.set(Active(asked.name, size if asked.name != "processes" else None, crew))
    try:
        yield
    finally:
        _active.reset(before)
        if crew is not None:
            crew.end()


def most_workers() -> int:
    """Return how many workers may be asked for: more than any use has, fewer than would bring the machine down."""
    return max(64, 4 * default_workers())


def default_workers() -> int:
    """Cores this process may use: one worker for each."""
    # cores that this process may use, not those that there are
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def crew_of(workers: int | None) -> int:
    """Return how many workers were asked for, one for each core where none were.

    Raises
    ------
    InputError
        Where there are too few to run anything, or more than `most_workers`.
    """
    settled = active().workers
    return _number(workers, most_workers()) if settled is None else settled


def _number(workers: int | None, most: int) -> int:
    if workers is None:
        return default_workers()
    if not isinstance(workers, int | np.integer) or workers < 1:
        raise InputError(f"workers must be at least 1 (got {workers})", "give --workers 1 or more")
    if workers > most:
        raise InputError(f"workers must be at most {most} (got {workers!s:.20})", "give fewer --workers")
    return int(workers)


def hands(workers: int) -> int:
    """Return how many of some workers have a core of their own."""
    return workers if active().crew is not None else min(workers, default_workers())


def pieces(workers: int, folder: Path) -> int:
    """Return in how many pieces work is best cut: one for each process, also of those that joined in.

    Parameters
    ----------
    workers : int
        Of the command.
    folder : Path
        The run folder.
    """
    others = processes_of(folder)
    return max(workers, others) if active().crew is not None else workers + others
