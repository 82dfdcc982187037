"""Commands that tests interrupt and kill, and what is left of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HEARING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
"""Where tests run in the background, interrupts are ignored, and what they start would ignore them too."""


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """Start Python in a session of its own, where Ctrl-C interrupts; whatever happens, nothing of it is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEARING, sys.executable, *command], start_new_session=True, **options
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
            stream.close()


def left_of(group: int) -> list[int]:
    """Return the processes of a session that still run."""
    left = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group, *_ = status.read_text().rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                left.append(int(status.parent.name))
    return left


def slowly(seconds: float) -> float:
    """Return how long something of so many seconds may take on a machine that is busy with other work."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + slowly(seconds)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
