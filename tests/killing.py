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


def workers_of(driver: int) -> list[int]:
    """Return the worker processes of a command."""
    found = []
    for process in left_of(driver):
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
    return found


def errors_of(process: subprocess.Popen, seconds: float = 60.0) -> str:
    """Wait until a command and whoever holds its stderr have ended; return what they wrote there.

    They hang where none of them was at work for so many seconds. How long they take tells nothing: a process that runs
    beside others which come first can take a hundred times as long as it does alone.
    """
    deadline, before = time.monotonic() + seconds, ""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=min(1.0, seconds / 4))[1]
        now = _work_of(process.pid)
        if now != before or " R " in now:
            deadline, before = time.monotonic() + seconds, now
        assert time.monotonic() < deadline, f"these wait for ever: {now}"


def _work_of(group: int) -> str:
    """Tell of each process of a session what it is, whether it is about to run, and the processor time that it took."""
    told = []
    for process in left_of(group):
        with suppress(OSError):
            state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            told.append(f"{process} {state} {rest[10:12]} {command[:200]}")
    return "; ".join(told)


def slowly(seconds: float) -> float:
    """Return how long something of so many seconds may take on a machine that is busy with other work.

    With every level of niceness a process gets a fifth less of what others want as well.
    """
    share = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * max(1.0, share * 1.25 ** max(0, os.nice(0)))


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + slowly(seconds)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
