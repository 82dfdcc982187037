"""A file system that fails at its n-th write."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CALLS = ("open", "fsync", "replace", "mkdir", "unlink", "rename", "rmdir", "pwrite")


class FailingDisk:
    """Counts what is asked of the file system by way of `os` and `Path.write_bytes`, and fails at one.

    Parameters
    ----------
    patch : pytest.MonkeyPatch
        Undone at the end of the test.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count, self.fails_at, self.stays_full = 0, 0, False
        for name in CALLS:
            patch.setattr(os, name, self._counted(getattr(os, name)))
        patch.setattr(Path, "write_bytes", self._half(Path.write_bytes))

    def begin(self, fails_at: int, *, stays_full: bool) -> None:
        """Count anew; fail at that write, counted from 1, and at all after it where it stays full; 0: never."""
        self.count, self.fails_at, self.stays_full = 0, fails_at, stays_full

    @property
    def has_failed(self) -> bool:
        """Whether there were so many writes."""
        return 0 < self.fails_at <= self.count

    def _fails(self) -> bool:
        self.count += 1
        return self.has_failed and (self.stays_full or self.count == self.fails_at)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if self._fails():
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(arguments[0]))
            return call(*arguments, **options)

        return counted

    def _half(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def half(path: Path, content: bytes) -> Any:
            if self._fails():
                write(path, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return write(path, content)

        return half
