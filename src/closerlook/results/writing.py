"""Files written whole or not at all; what the file system refuses, as an error that names the mend."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from closerlook.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT}


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
    with mendable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(beside)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file of these bytes, as `write_atomically` does."""

    def write(beside: Path) -> None:
        beside.write_bytes(content)

    return write_atomically(path, write)


@contextmanager
def mendable(path: Path) -> Iterator[None]:
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
