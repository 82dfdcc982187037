"""How a job travels by way of a folder: as one file, what it shares with others in files of their own.

::

    <key>.job          what is said of the job, a line of JSON; then the job, pickled
    <digest>.parcel    what several jobs share and is large, an agent for example: written once, read once by a process

Whoever is to read this has to trust it: pickles are code. What is said of a job is read without running anything.
"""

import json
import os
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from pickle import Unpickler
from typing import Any

import cloudpickle

from closerlook.errors import InputError
from closerlook.execution.jobs import Job, JobCache
from closerlook.results.open_jobs import OpenJobs
from closerlook.results.store import host, versions

LARGE = 2**13
"""Bytes from which on what several jobs share travels apart."""
LATELY = 8
"""Parcels that a process keeps unpacked."""
HEAD = 2**20
"""Bytes of a job file within which is what is said of the job, at most."""


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


class Parcels:
    """What several jobs of a run share and is large: put into its folder once, and taken away again by `clear`.

    Parameters
    ----------
    run : Path
        The run folder.
    jobs : iterable of Job
        All that may travel; they have to outlive this.
    """

    def __init__(self, run: Path, jobs: Iterable[Job]) -> None:
        counts = Counter(id(value) for job in jobs for value in job.arguments.values())
        self._shared = {which for which, count in counts.items() if count > 1}
        self._run, self._files = run, OpenJobs(run)
        self._places: dict[int, str | None] = {}

    def place(self, value: Any) -> str | None:
        """Return the digest by which a value is found in the folder; None where it travels with each job.

        Raises
        ------
        InputError
            Where the disk refuses.
        Exception
            Any, where the value cannot be pickled.
        """
        if id(value) not in self._shared:
            return None
        if id(value) not in self._places:
            content = BytesIO()
            _Packing(content, self._run).dump(value)
            digest = _digest(content.getvalue()) if content.tell() >= LARGE else None
            if digest is not None:
                self._files.put_parcel(digest, content.getvalue())
            self._places[id(value)] = digest
        return self._places[id(value)]

    def clear(self) -> None:
        """Delete them all: no job that is open needs one any more."""
        for digest in filter(None, self._places.values()):
            self._files.drop_parcel(digest)
        self._places.clear()


def packed(job: Job, store: JobCache, run: Path, parcels: Parcels | None = None) -> bytes:
    """Return a job and what stores its answer as bytes; paths in the run folder are those of whoever reads them.

    Parameters
    ----------
    job : Job
        What is asked.
    store : JobCache
        What stores the answer.
    run : Path
        The run folder.
    parcels : Parcels, optional
        What travels apart.

    Raises
    ------
    Exception
        Any, where something in it cannot be pickled.
    """
    content = BytesIO()
    _Packing(content, run, parcels).dump((replace(job, smaller=None, before=()), store))
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
        return Head(**json.loads(content[:HEAD].partition(b"\n")[0]))
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

    def __init__(self, file: BytesIO, run: Path, parcels: Parcels | None = None) -> None:
        super().__init__(file)
        self._roots = [f"{root}{os.sep}" for root in {str(run.absolute()), str(run.resolve())}]
        self._parcels = parcels

    def persistent_id(self, value: Any) -> tuple[str, str] | None:
        if isinstance(value, str | Path):
            for root in self._roots:
                if str(value).startswith(root):
                    return "path" if isinstance(value, Path) else "text", str(value).removeprefix(root)
            return None
        digest = None if self._parcels is None else self._parcels.place(value)
        return None if digest is None else ("parcel", digest)


class _Unpacking(Unpickler):
    def __init__(self, file: BytesIO, run: Path) -> None:
        super().__init__(file)
        self._run = run.resolve()

    def persistent_load(self, place: Any) -> Any:
        kind, within = place
        if kind == "parcel":
            return _of_parcel(self._run, within)
        return self._run / within if kind == "path" else str(self._run / within)


_lately: "OrderedDict[tuple[Path, str], Any]" = OrderedDict()


def _of_parcel(run: Path, digest: str) -> Any:
    """Unpack a parcel, unless that was done lately; jobs change nothing that they are given."""
    if (run, digest) not in _lately:
        try:
            content = own_bytes(OpenJobs(run).parcel(digest))
        except FileNotFoundError:
            raise DamagedError("what it shares with other jobs is gone") from None
        if _digest(content) != digest:
            raise DamagedError("the file of what it shares with other jobs is damaged")
        _lately[run, digest] = _Unpacking(BytesIO(content), run).load()
        while len(_lately) > LATELY:
            _lately.popitem(last=False)
    _lately.move_to_end((run, digest))
    return _lately[run, digest]


def own_bytes(path: Path, most: int = -1) -> bytes:
    """Read a file, or its beginning, of this user's.

    Parameters
    ----------
    path : Path
        The file.
    most : int
        Bytes that are read; -1: all.

    Raises
    ------
    InputError
        Where it is another user's.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise InputError(f"{path} is a file of another user", "jobs are code: work in folders of your own alone")
        return file.read(most)


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()
