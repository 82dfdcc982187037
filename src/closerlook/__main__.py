"""``closerlook`` and ``python -m closerlook``: the command line, which signals end without a traceback.

Ctrl-C and SIGTERM interrupt a command: it says how far it is and ends with exit code 130. A second one ends it at once,
which loses no more than a kill does: files are written whole, and workers end with the process that started them.
"""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130
_SHOW_CURSOR = b"\x1b[?25h"


def main() -> int:
    """Run the command that was given, and return its exit code."""
    try:
        try:
            _hear(_interrupt)
            from closerlook.cli import main as command_line  # noqa: PLC0415 - takes a while, in which signals are heard

            code = command_line()
        finally:
            _hear(_end_at_once)
    except KeyboardInterrupt:
        _say(b"interrupted\n")
        code = INTERRUPTED
    if code == INTERRUPTED:
        _forget_the_interrupt()
    return code


def _hear(handler: "signal.Handlers | object") -> None:
    """Handle the signals this way, but leave those that were to be ignored as they are: nohup, a job of the shell's."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]


def _interrupt(_: int, frame: FrameType | None) -> NoReturn:
    _hear(_end_at_once)
    if _is_importing(frame):
        _say(b"interrupted\n")
        os._exit(INTERRUPTED)
    # what the interrupt leaves half made may fail as it is deleted, which Python would tell with a traceback
    sys.unraisablehook = _say_nothing
    raise KeyboardInterrupt


def _say_nothing(_: object) -> None:
    pass


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: an exception there may be swallowed, or made something else of.

    Python swallows what is raised in the callbacks of its import locks, and libraries catch what they please; but
    nothing is half done that would be lost.
    """
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _end_at_once(*_: object) -> NoReturn:
    _say(_SHOW_CURSOR * os.isatty(2) + b"ended at once: the same command goes on from what is finished\n")
    os._exit(INTERRUPTED)


def _forget_the_interrupt() -> None:
    """Have Python end with the exit code it is given.

    An interrupt that leaves an ``exec`` of a string (every dataclass is made by one) is remembered though it is caught
    further up, and ``python -m`` then ends by the signal. Each ``exec`` of a string begins by forgetting the last.
    """
    exec("")  # noqa: S102


def _say(line: bytes) -> None:
    with suppress(OSError):
        os.write(2, line)


if __name__ == "__main__":
    sys.exit(main())
