"""Commands that tests kill at random moments."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence


def start(arguments: Sequence[str], *, paths: str = "") -> subprocess.Popen:
    """Give a command in a session of its own, so that its workers are killed with it."""
    search = os.pathsep.join(part for part in (paths, os.environ.get("PYTHONPATH", "")) if part)
    return subprocess.Popen(
        [sys.executable, "-m", "closerlook", *arguments],
        env=os.environ | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def done_within(process: subprocess.Popen, seconds: float) -> bool:
    """Kill a command and its workers after so long; say whether it was done before that."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    assert process.returncode == 0
    return True
