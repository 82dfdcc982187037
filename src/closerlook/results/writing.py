"""Files written whole or not at all; what the file system refuses, as an error that says what to do."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from closerlook.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]+\.tmp")


def write_atomically(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> Path:
    """Write a file beside its place and move it there whole.

    Parameters
    ----------
    path : Path
        Where it belongs; its folder is made.
    write : callable
        Writes the file at the path it is given, whose name no other process on any host writes to.
    durable : bool
        Whether what is there after a power loss is whole, too; else it may be empty, though it is there.

    Raises
    ------
    InputError
        Where the disk is full or cannot be written: what was there before is still there.
    """
    # written beside its place under a name of its own, then renamed: a reader sees the old file or the new, never half
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with plain_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            if durable:
                _send_to_disk(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    return path


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> Path:
    """Write a file of these bytes, as `write_atomically` does.

    Parameters
    ----------
    path : Path
        Of the file.
    content : bytes
        What it holds.
    durable : bool
        Whether it is to be on disk before this returns.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    return write_atomically(path, write, durable=durable)


def _send_to_disk(path: Path) -> None:
    """Wait until a file's content is on disk: a new name that is there before it would name an empty file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_half_written(name: str) -> bool:
    """Whether a file of this name is one that `write_atomically` did not finish, in this version or an earlier one."""
    return _HALF_WRITTEN.fullmatch(name) is not None


def clear_half_written(folder: Path, *, apart: str) -> None:
    """Delete files that killed processes did not finish; only for who owns the folder.

    Parameters
    ----------
    folder : Path
        With all folders in it, but not those that hold a file of the name `apart`: they are others'.
    apart : str
        Name of a file.
    """
    for place, inner, files in os.walk(folder):
        # a folder within that is a run of its own is its owner's to clear
        if apart in files and Path(place) != folder:
            inner.clear()
            continue
        for name in filter(is_half_written, files):
            with suppress(OSError):
                Path(place, name).unlink()


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with all that is in it, whatever that is; what is not there is no error.

    Raises
    ------
    InputError
        Where it cannot be deleted.
    """
    with plain_errors(path), suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says what to do."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError) as error:
        code = getattr(error, "errno", None)
        if code in _FULL or os.strerror(errno.ENOSPC) in str(error):
            hint = "make room and give the same command again: what is finished is kept"
            raise InputError(f"the disk is full, {path} could not be written", hint) from None
        if isinstance(error, OSError):
            reason = os.strerror(code) if code else str(error)
            raise InputError(f"{path} cannot be written ({reason})", "give an --out that can be") from None
        raise
