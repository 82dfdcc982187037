"""The process that has workers brought: ``python -m closerlook.execution.recruiting``, which `crews.Crew` starts.

It hears on stdin, line by line of JSON, whom to bring and who of them has answered, and ends with stdin; it says on
stdout what becomes of them: ``note`` (words), ``gone`` (the name of a dead worker), ``state`` (for whoever asks how far
the work is), ``lost`` and ``hint`` (there is no worker, and none is to come), which is the last.
"""

import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

from closerlook.errors import InputError, in_one_line
from closerlook.execution.crews import Request
from closerlook.execution.joining import work
from closerlook.results.ownership import this_host

LOOK_SECONDS = 1.0
"""Between two looks after the workers."""
WAIT_SECONDS = 600.0
"""After which a worker that was brought ends by itself where nobody works in the folder: it is sent home sooner."""
SAID = "closerlook: "
"""What lines of a worker's own begin with, in its log."""

Tell = Callable[[dict[str, Any]], None]


class Engine(Protocol):
    """Who brings workers."""

    def start(self) -> None:
        """Bring them."""

    def look(self, credited: set[str]) -> None:
        """Look after them.

        Parameters
        ----------
        credited : set of str
            Workers that have answered.

        Raises
        ------
        InputError
            Where there is none, and none is to come.
        """

    def end(self) -> None:
        """Send them home."""


class _Log:
    """What a worker says, as lines of its log."""

    def note(self, text: str) -> None:
        """Say a line."""
        print(SAID + text, file=sys.stderr, flush=True)  # noqa: T201 - its log

    def state(self, text: str) -> None:
        """Say nothing of what changes all the time."""


def serve(folder: str, processes: int, name: str | None = None) -> dict[str, Any]:
    """Be a worker that was brought, as `closerlook worker` is one.

    Parameters
    ----------
    folder : str
        Where to look for jobs.
    processes : int
        At a time.
    name : str, optional
        See `closerlook.execution.joining.work`.

    Returns
    -------
    dict
        ``host``; ``jobs``, how many were answered; ``refused``, why it did not go on, empty where nothing was left.
    """
    log, host = _Log(), this_host()[0]
    try:
        if not Path(folder).is_dir():
            raise InputError(f"{folder} is not there", "give an --out that all machines see by the same name")
        done = work(Path(folder), processes, WAIT_SECONDS, log, name)
    except InputError as error:
        log.note(str(error))
        return {"host": host, "jobs": 0, "refused": str(error)}
    except KeyboardInterrupt:
        log.note("sent home")
        return {"host": host, "jobs": 0, "refused": ""}
    log.note(f"{done.ended}: {done.jobs} jobs answered")
    return {"host": host, "jobs": done.jobs, "refused": ""}


def main() -> int:
    """Bring workers until stdin ends."""
    # interrupts are the command's; what is started here is to hear them all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _leave)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    lock = threading.Lock()

    def tell(what: dict[str, Any]) -> None:
        with lock:
            out.write(f"{json.dumps(what)}\n")
            out.flush()

    request = Request(**json.loads(sys.stdin.readline()))
    module = importlib.import_module(f"closerlook.execution.{request.engine}_workers")
    engine: Engine = module.Workers(request, tell)
    credited, ended = set[str](), threading.Event()
    threading.Thread(target=_listen, args=(credited, ended), daemon=True).start()
    try:
        engine.start()
        while not ended.wait(LOOK_SECONDS):
            engine.look(credited)
    except InputError as error:
        tell({"lost": error.what, "hint": error.hint})
        ended.wait()
    except Exception as error:  # whatever a cluster's library raises is said, and where it was, in the log
        tell({"lost": f"{request.engine} failed ({in_one_line(error)})"})
        ended.wait()
    finally:
        engine.end()
    return 0


def _listen(credited: set[str], ended: threading.Event) -> None:
    for line in sys.stdin:
        credited.add(json.loads(line)["credit"])
    ended.set()


def _leave(*_: Any) -> NoReturn:
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
