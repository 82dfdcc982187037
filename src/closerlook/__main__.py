"""``closerlook`` and ``python -m closerlook``: the command line, which signals end without a traceback.

Ctrl-C and SIGTERM interrupt a command: it says how far it is and ends with exit code 130. A second one ends it at once,
which loses no more than a kill does: files are written whole, and workers end with the process that started them.
"""

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130
_SHOW_CURSOR = b"\x1b[?25h"


def main() -> int:
    """Run the command that was given, and return its exit code."""
    _hear(_interrupt)
    try:
        from closerlook.cli import main as command_line  # noqa: PLC0415 - takes a while, in which signals are heard

        return command_line()
    except KeyboardInterrupt:
        return _interrupted()
    except Exception:
        if not _was_interrupted():  # libraries make what they like of an interrupt while they are loaded
            raise
        return _interrupted()
    finally:
        _hear(_end_at_once)


def _hear(handler: "signal.Handlers | object") -> None:
    """Handle the signals this way, but leave those that were to be ignored as they are: nohup, a job of the shell's."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]


def _interrupt(*_: object) -> NoReturn:
    _hear(_end_at_once)
    raise KeyboardInterrupt


def _end_at_once(*_: object) -> NoReturn:
    with suppress(OSError):
        os.write(2, _SHOW_CURSOR * os.isatty(2) + b"ended at once: the same command goes on from what is finished\n")
    os._exit(INTERRUPTED)


def _was_interrupted() -> bool:
    return any(signal.getsignal(number) is _end_at_once for number in SIGNALS)


def _interrupted() -> int:
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
