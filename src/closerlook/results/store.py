"""Run folders: everything a run leaves on disk, written whole or not at all, so that it can always be taken up again.

::

    runs/hopper/
      run.json          what was asked, of which versions, where, how long
      jobs/<key>.npz    one file for each finished job
      <diagnostic>.nc, .json, .svg, .png
"""

import errno
import hashlib
import json
import math
import os
import platform
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from closerlook.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

_FULL = {errno.ENOSPC, errno.EDQUOT}
_MISSING = "(not set)"


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

    def open_for(self, kind: str, settings: Mapping[str, Any], *, resume: bool = True) -> "RunFolder":
        """Take the folder for a run, new or the same again.

        Parameters
        ----------
        kind : str
            ``"train"``, ``"gradients"``, ``"demo"`` ...
        settings : mapping
            All that decides the results, as JSON values; not how they are computed (workers, progress).
        resume : bool
            Whether to go on with the run that the folder holds; else it is forgotten.

        Raises
        ------
        InputError
            Where the folder holds a run of another kind or of other settings, naming them; where it cannot be made.
        """
        if not resume:
            self.forget()
        asked = {"kind": kind, **as_json(settings)}
        found = self.read_json("run.json")
        if found is not None:
            self._require_same(asked, {"kind": found.get("kind"), **found.get("settings", {})})
        before = found or {"wall_seconds": 0.0, "pairs": 0}
        self._record = {
            "kind": kind,
            "settings": as_json(settings),
            "seed": settings.get("seed"),
            "finished": False,
            "versions": versions(),
            "host": host(),
            "wall_seconds": before.get("wall_seconds", 0.0),
            "pairs": before.get("pairs", 0),
        }
        with _mendable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.write_json("run.json", self._record)
        return self

    def __enter__(self) -> "RunFolder":
        """Leave the folder with the time spent noted, however the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        if not self._record["finished"]:
            with suppress(InputError):  # what ended the block matters more than the time it took
                self._note(finished=False)

    def forget(self) -> None:
        """Delete the record, answers of finished jobs and transitions, so that all is computed again; keep the rest."""
        with _mendable(self.path):
            for folder in ("jobs", "shards"):
                for job in (self.path / folder).glob("*.npz"):
                    job.unlink()
            (self.path / "run.json").unlink(missing_ok=True)

    def finish(self, pairs: float) -> None:
        """Note that the run is complete: its pairs in all, and the seconds it took, noted attempts included."""
        self._record["pairs"] = int(pairs)
        self._note(finished=True)

    def _note(self, *, finished: bool) -> None:
        now = time.monotonic()
        seconds = round(self._record["wall_seconds"] + now - self._opened, 3)
        self._opened = now
        self._record |= {"finished": finished, "wall_seconds": seconds}
        self.write_json("run.json", self._record)

    def jobs(self) -> "JobFiles":
        """Return the answers of finished jobs."""
        return JobFiles(self.path / "jobs")

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
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error})", "delete it, or give another --out") from None
        if not isinstance(content, dict):
            raise InputError(f"{path} is not a JSON object", "delete it, or give another --out")
        return content

    def write_json(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a JSON object; NaN and infinity become null."""
        return self.write_text(name, json.dumps(as_json(content), indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, content: str) -> Path:
        """Write a text file."""
        return write_atomically(self.path / name, lambda path: _write_bytes(path, content.encode()))

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a binary file."""
        return write_atomically(self.path / name, lambda path: _write_bytes(path, content))

    def write_dataset(self, name: str, dataset: "xr.Dataset") -> Path:
        """Write a dataset as netCDF."""
        return write_atomically(self.path / name, lambda path: _write_netcdf(path, dataset))

    def _require_same(self, asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        names = [name for name in {**asked, **found} if asked.get(name, _MISSING) != found.get(name, _MISSING)]
        if names:
            differences = ", ".join(
                f"{name} {_shown(found.get(name, _MISSING))} there, {_shown(asked.get(name, _MISSING))} asked"
                for name in names
            )
            raise InputError(f"{self.path} holds another run ({differences})", "give another --out, or delete that one")


class JobFiles:
    """Answers of jobs as files, one for each key: an .npz whose archive comment is a digest of key and arrays.

    Parameters
    ----------
    path : Path
        Their folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """Return a stored answer; None where there is none, or its file is not what `save` left there."""
        try:
            content = BytesIO((self.path / f"{key}.npz").read_bytes())
            with np.load(content, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
                return found if arrays.zip.comment == _digest(key, found) else None
        except (OSError, ValueError, KeyError, EOFError, AttributeError, RuntimeError, zipfile.BadZipFile):
            return None

    def discard(self, key: str) -> None:
        """Delete a stored answer, where there is one, so that it is computed again."""
        path = self.path / f"{key}.npz"
        with _mendable(path):
            path.unlink(missing_ok=True)

    def save(self, key: str, result: Mapping[str, np.ndarray]) -> None:
        """Store an answer, all of it or nothing.

        Raises
        ------
        InputError
            Where the disk is full or cannot be written.
        """
        content = BytesIO()
        with zipfile.ZipFile(content, "w") as archive:  # numpy.savez has names of its own among its arguments
            for name, array in result.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.comment = _digest(key, result)
        write_atomically(self.path / f"{key}.npz", lambda path: _write_bytes(path, content.getvalue()))


def _digest(key: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Hash an answer with the key it belongs to, as hexadecimal digits; the order of its arrays does not matter."""
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        heading = f"{name} {array.dtype.str} {np.shape(arrays[name])} "
        digest.update(f"{len(heading)} {heading}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest().encode()


def write_atomically(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a file beside its place and move it there whole.

    Parameters
    ----------
    path : Path
        Where it belongs; its folder is made.
    write : callable
        Writes the file at the path it is given.

    Raises
    ------
    InputError
        Where the disk is full or cannot be written: what was there before is still there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _mendable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(beside)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    return path


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_netcdf(path: Path, dataset: "xr.Dataset") -> None:
    dataset.to_netcdf(path, engine="h5netcdf")


@contextmanager
def _mendable(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that names the mend."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError) as error:
        code = getattr(error, "errno", None)
        if code in _FULL or os.strerror(errno.ENOSPC) in str(error):
            mend = "make room and give the same command again: what is finished is kept"
            raise InputError(f"the disk is full, {path} could not be written", mend) from None
        if isinstance(error, OSError):
            reason = os.strerror(code) if code else str(error)
            raise InputError(f"{path} cannot be written ({reason})", "give an --out that can be") from None
        raise


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
    return {"name": platform.node(), "system": f"{sys.platform} {platform.machine()}", "cores": os.cpu_count()}


def _shown(value: Any) -> str:
    if value == _MISSING:
        return _MISSING
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
