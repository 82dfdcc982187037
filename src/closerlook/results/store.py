"""Run folders: everything a run leaves on disk, written whole or not at all, so that it can always be taken up again.

::

    runs/hopper/
      run.json          what was asked, of which versions, where, how long
      .owner            whose the folder is, while a command works there (see `closerlook.results.ownership`)
      jobs/<key>.npz    one file for each finished job
      open/             jobs for workers, while there are some (see `closerlook.results.open_jobs`)
      <diagnostic>.nc, .json, .svg, .png
"""

import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from closerlook.errors import InputError
from closerlook.results import writing
from closerlook.results.answers import JobFiles
from closerlook.results.former_names import FORMER_SETTINGS
from closerlook.results.open_jobs import OpenJobs
from closerlook.results.ownership import Ownership, let_go, owned, take
from closerlook.results.writing import plain_errors

if TYPE_CHECKING:
    import xarray as xr

RECORD = "run.json"
_MISSING = "(not set)"
_OWN = frozenset({"kind", "settings", "seed", "finished", "versions", "host", "wall_seconds", "pairs", "date", "files"})
"""What a run says itself; the rest of what a record holds is kept when the run is taken up again."""
_command: ContextVar[str] = ContextVar("command", default="")
_LARGEST = 10**18
"""No run takes so many seconds, or pairs."""


class RunFolder:
    """One folder for one run.

    Parameters
    ----------
    path : str or Path
        Made by `open_for` where it does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._opened = time.monotonic()
        self._record: dict[str, Any] = {"finished": False, "wall_seconds": 0.0}
        self._found: dict[str, Any] | None = None
        self._has_begun = False
        self._own: Ownership | None = None

    def open_for(self, kind: str, settings: Mapping[str, Any], *, resume: bool = True) -> "RunFolder":
        """Take the folder for a run, new or the same again; it is let go at the end of the ``with`` block.

        Parameters
        ----------
        kind : str
            ``"train"``, ``"gradients"``, ``"demo"`` ...
        settings : mapping
            All that decides the results, as JSON values; not how they are computed (workers, progress).
        resume : bool
            Whether to go on with the run that the folder holds; else its answers and transitions count for nothing,
            and are deleted in the end, unless this run is refused before its first answer.

        Raises
        ------
        InputError
            Where another command is at work there; where the folder holds a run of another kind, or of other
            settings to go on from, naming them; where its record is not one; where it cannot be made.
        """
        with plain_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        # owned before anything is read: nobody else changes the folder from here on
        self._own = take(self.path)
        try:
            return self._begin(kind, settings, resume=resume)
        except BaseException:
            self._leave()
            raise

    def _begin(self, kind: str, settings: Mapping[str, Any], *, resume: bool) -> "RunFolder":
        """Go on with the run that the folder holds, or put a new one in its place."""
        found = self._found = self.require_same(kind, settings if resume else None)
        writing.clear_half_written(self.path, apart=RECORD)
        writing.remove(self._aside)
        # finished jobs are set aside rather than deleted: a command that is refused before its first answer puts them
        # back
        if not resume:
            self._set_aside()
        # seconds and pairs of earlier runs of the same command add up
        before = found if found is not None and resume else {}
        self._record = {
            "kind": kind,
            "settings": as_json(settings),
            "seed": settings.get("seed"),
            "finished": False,
            "versions": versions(),
            "host": host(),
            "wall_seconds": before.get("wall_seconds", 0.0),
            "pairs": before.get("pairs", 0),
            **({"date": before["date"]} if before.get("finished") and "date" in before else {}),
            **{name: value for name, value in before.items() if name not in _OWN},
            **({"command": _command.get()} if _command.get() else {}),
        }
        self.write_json(RECORD, self._record)
        return self

    def __enter__(self) -> "RunFolder":
        """Leave the folder with the time spent noted, however the block ends.

        A run that is refused before it has stored anything leaves the folder as it found it.
        """
        return self

    def __exit__(self, _kind: object, raised: object, _trace: object) -> None:
        with suppress(InputError, OSError):  # what ended the block matters more than the time it took
            self.require_own()
            OpenJobs(self.path).clear()
            # refused before anything was computed: the folder becomes what it was
            if isinstance(raised, InputError) and not self.jobs() and not self._has_begun:
                self._put_back()
            else:
                writing.remove(self._aside)
                if not self._record["finished"]:
                    self._note(finished=False)
        if raised is None and self._own is not None:
            let_go(self._own)
        else:
            self._leave()

    def require_own(self) -> None:
        """Go on only where the folder, if it was taken, is still this run's.

        Raises
        ------
        InputError
            Where another command has taken it over.
        """
        if self._own is not None:
            self._own.require()

    def _leave(self) -> None:
        """Let the folder go at once, and delete it where nothing is in it."""
        if self._own is not None:
            self._own.release()
            with suppress(OSError):
                self.path.rmdir()

    def _set_aside(self) -> None:
        """Take answers and transitions of an earlier run out of the way."""
        OpenJobs(self.path).clear()
        with plain_errors(self.path):
            for shard in (self.path / "shards").glob("*.npz"):
                shard.unlink()
            if self.jobs():
                (self.path / "jobs").rename(self._aside)

    def _put_back(self) -> None:
        """Leave the folder as it was found."""
        if self._aside.exists():
            writing.remove(self.path / "jobs")
            self._aside.rename(self.path / "jobs")
        if self._found is not None:
            self.write_json(RECORD, self._found)
        else:
            (self.path / RECORD).unlink()

    @property
    def _aside(self) -> Path:
        return self.path / "jobs.old"

    @property
    def is_new(self) -> bool:
        """Whether the folder held no record when it was opened."""
        return self._found is None

    def begin(self) -> None:
        """Say that the run has begun, though its answers are not stored here: what it finds is not put back."""
        self._has_begun = True

    def forget(self) -> None:
        """Delete the record and the answers of finished jobs, so that all is computed again; keep the rest."""
        with owned(self.path), plain_errors(self.path):
            for answer in self.path.glob("jobs/*.npz"):
                answer.unlink()
            (self.path / RECORD).unlink(missing_ok=True)

    def keep(self, **more: Any) -> None:
        """Note more of the run in its record: what was decided once, so that it is not decided again."""
        self._record |= as_json(more)
        self.write_json(RECORD, self._record)

    def kept(self, name: str) -> Any:
        """Return what `keep` noted by this name when the same run was here before, None where it noted nothing."""
        return self._record.get(name)

    def finish(self, pairs: float) -> None:
        """Note that the run is complete: its pairs in all, and the seconds it took, noted attempts included."""
        self._record["pairs"] = int(pairs)
        self._note(finished=True)

    def _note(self, *, finished: bool) -> None:
        now = time.monotonic()
        seconds = round(self._record["wall_seconds"] + now - self._opened, 3)
        self._opened = now
        self._record |= {"finished": finished, "wall_seconds": seconds}
        if finished:  # the day on which it was measured, not that of a look at what was finished before
            self._record.setdefault("date", datetime.now(UTC).strftime("%Y-%m-%d"))
        self.write_json(RECORD, self._record)

    def jobs(self) -> "JobFiles":
        """Return the answers of finished jobs."""
        return JobFiles(self.path / "jobs", self.require_own)

    def read_record(self) -> dict[str, Any] | None:
        """Read what the folder says of its run, None where it holds none.

        Raises
        ------
        InputError
            Where it cannot be read, or is not such a record.
        """
        record = self.read_json(RECORD)
        if record is None:
            return None
        checks = {"kind": _is_text, "settings": _is_object, "wall_seconds": _is_amount, "pairs": _is_amount}
        usual = {"wall_seconds": 0.0, "pairs": 0} | record
        for name, holds in checks.items():
            if not holds(usual.get(name)):
                what = f"{self.path / RECORD} is not the record of a run ({name} is {_as_text(record.get(name))})"
                raise InputError(what, "delete it, or give another --out")
        settings = {FORMER_SETTINGS.get(name, name): value for name, value in record["settings"].items()}
        return record | {"settings": settings}

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a JSON object of this run, None where there is no such file.

        Raises
        ------
        InputError
            Where the file cannot be read as a JSON object.
        """
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read ({error})", "delete it, or give another --out") from None
        if not isinstance(content, dict):
            raise InputError(f"{path} is not a JSON object", "delete it, or give another --out")
        return content

    def require_same(self, kind: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the record of the run that the folder holds, None where it holds none.

        Parameters
        ----------
        kind : str
            Of the command.
        settings : mapping, optional
            What decides its numbers; default: any.

        Raises
        ------
        InputError
            Where it is of another kind, or of other settings than those given, naming them; where it is no record.
        """
        record = self.read_record()
        if record is None:
            return None
        # compared as they are stored, so that tuples and lists, or NumPy's numbers, do not differ
        asked = {"kind": kind, **as_json({} if settings is None else settings)}
        found = {"kind": record["kind"], **({} if settings is None else record["settings"])}
        names = [name for name in {**asked, **found} if asked.get(name, _MISSING) != found.get(name, _MISSING)]
        if names:
            differences = ", ".join(
                f"{name} {_as_text(found.get(name, _MISSING))} there, {_as_text(asked.get(name, _MISSING))} asked"
                for name in names
            )
            raise InputError(f"{self.path} holds another run ({differences})", _way_on(names, record))
        return record

    def write_json(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a JSON object; NaN and infinity become null.

        Parameters
        ----------
        name : str
            Of the file.
        content : mapping
            The object.
        """
        return self.write_text(name, json.dumps(as_json(content), indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, content: str) -> Path:
        """Write a text file.

        Parameters
        ----------
        name : str
            Of the file.
        content : str
            The text.
        """
        return self.write_bytes(name, content.encode())

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a binary file.

        Parameters
        ----------
        name : str
            Of the file.
        content : bytes
            What it holds.
        """
        self.require_own()
        return writing.write_bytes(self.path / name, content)

    def write_dataset(self, name: str, dataset: "xr.Dataset") -> Path:
        """Write a dataset as netCDF.

        Parameters
        ----------
        name : str
            Of the file.
        dataset : xarray.Dataset
            What it holds.
        """
        self.require_own()
        return writing.write_atomically(self.path / name, lambda path: dataset.to_netcdf(path, engine="netcdf4"))


@contextmanager
def commanded(command: str) -> Iterator[None]:
    """Note a command line in the records of runs that a block begins: what is typed to repeat them."""
    before = _command.set(command)
    try:
        yield
    finally:
        _command.reset(before)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_amount(value: Any) -> bool:
    """Whether a value is a number that seconds or pairs can be: none that is negative, endless, or no number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def as_json(value: Any) -> Any:
    """Return JSON values: arrays as lists, NaN and infinity as None, paths as text, names as strings."""
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return [as_json(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


@cache
def versions() -> dict[str, str]:
    """Return the versions a result depends on, without importing anything heavy."""
    found = {"python": platform.python_version()}
    for name in ("closerlook", "mujoco", "gymnasium", "torch", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def host() -> dict[str, Any]:
    """Return what is worth knowing about this machine."""
    return {
        "name": platform.node(),
        "system": f"{sys.platform} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


@cache
def _processor() -> str:
    """Name the type of processor: networks answer other last bits on others."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _way_on(names: list[str], record: Mapping[str, Any]) -> str:
    """Say what to do where a folder holds a run that differs in these settings."""
    usual, there = "give another --out, or delete that one", record.get("host")
    processor = there.get("processor") if isinstance(there, dict) else None
    # an agent's identity holds what its networks answer, and the last bits of that go by the processor
    if names != ["agents"] or not isinstance(processor, str) or processor == _processor():
        return usual
    return (
        f"{usual}; the same agents answer other last bits on another processor ({processor} there, {_processor()} "
        "here): go on there, or start anew with MKL_CBWR=COMPATIBLE set on both"
    )


def _as_text(value: Any) -> str:
    if value == _MISSING:
        return _MISSING
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
