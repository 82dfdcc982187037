"""Streams that people read, which take what they can: that they take no more is no reason to end the work."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Forgiving:
    """A text stream that stops writing, without a word, at the first error.

    Parameters
    ----------
    stream : TextIO
        Written to while it takes anything; what it does not take is lost, and so is all that follows.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose, some text."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # it is full, or closed
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Have what was written arrive, or lose it."""
        try:
            self._stream.flush()
        except (OSError, ValueError):  # it is full, or closed
            self._give_up()

    def _give_up(self) -> None:
        """Have all that is still in the stream go nowhere: Python would complain of it at its end."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def forgiving_stderr() -> Iterator[None]:
    """Let no write to stderr fail while a block runs."""
    before = sys.stderr
    sys.stderr = Forgiving(before)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
