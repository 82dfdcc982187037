"""Makes a process one of an odd machine, as ODD_MACHINE says: its clock is off, its disk fails, it is in a hurry.

Python imports this as it starts, in every process whose PYTHONPATH begins with this folder, and in those that it
starts. `odd` returns what to put into the environment.
"""

import errno
import json
import os
import random
import time
from pathlib import Path

ASKED = json.loads(os.environ.get("ODD_MACHINE", "{}"))


def odd(**asked: float | str) -> dict[str, str]:
    """Return variables for processes of an odd machine.

    Parameters
    ----------
    **asked
        ``clock``, seconds that it is off; ``error``, what writes fail with now and then, by name, every ``often``-th on
        average; ``beat`` and ``silence``, seconds, of leases.
    """
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "ODD_MACHINE": json.dumps(asked)}


def _set_clock(seconds: float) -> None:
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


def _fail(name: str, often: float) -> None:
    before, draw, code = Path.write_bytes, random.Random(os.getpid()), getattr(errno, name)

    def write_bytes(path: Path, content: bytes) -> int:
        if draw.random() < 1 / often:
            before(path, content[: len(content) // 2])
            raise OSError(code, os.strerror(code), str(path))
        return before(path, content)

    Path.write_bytes = write_bytes  # type: ignore[method-assign]


if "clock" in ASKED:
    _set_clock(ASKED["clock"])
if "error" in ASKED:
    _fail(ASKED["error"], ASKED["often"])
if "beat" in ASKED:
    from closerlook.results import ownership

    ownership.BEAT, ownership.SILENCE = ASKED["beat"], ASKED["silence"]
