"""Workers that somebody else brings to a run folder, as the command sees them: it starts no worker itself.

::

    command --- Crew --- a process that recruits (`recruiting`) --- Ray, SLURM --- workers (`joining.work`)

Who recruits is a process of its own: what Ray or SLURM's tools do to signals, outputs and the end of a process stays
there; it is gone, and the workers with it, however the command ends. Both say lines of JSON to each other.
"""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from closerlook.errors import InputError
from closerlook.results.open_jobs import OpenJobs, note_crew

PATIENCE = 20.0
"""Seconds that whoever recruits has to send its workers home."""
GO_ON = "what is finished is kept: put that right and give the same command again, or with --executor processes"


@dataclass(frozen=True)
class Request:
    """What workers are to be brought.

    Parameters
    ----------
    engine : str
        Who brings them: an executor's name.
    folder : str
        Where they look for jobs, absolute.
    workers : int
        How many.
    address : str or None
        Of the Ray cluster.
    slurm : mapping of str to str
        What is asked of SLURM.
    """

    engine: str
    folder: str
    workers: int
    address: str | None = None
    slurm: dict[str, str] = field(default_factory=dict)


class Crew:
    """Workers that are brought once the first job is there, and sent home at the end.

    Parameters
    ----------
    request : Request
        Whom to bring.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.gone: set[str] = set()
        """Workers that are known to be dead, before their silence tells."""
        self._process: subprocess.Popen[str] | None = None
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        self._credited: set[str] = set()
        self._runs: set[Path] = set()

    def works_in(self, run: Path) -> None:
        """Have it told in which run folder jobs lie open: nothing of its workers is left there in the end.

        Parameters
        ----------
        run : Path
            The run folder.
        """
        self._runs.add(run)

    def look(self, note: Callable[[str], None]) -> None:
        """Have workers brought if they are not yet; hear how they are.

        Parameters
        ----------
        note : callable
            Told what happens to them, in words.

        Raises
        ------
        InputError
            Where there is none, and none is to come.
        """
        if self._process is None:
            self._start()
        assert self._process is not None
        code = self._process.poll()
        for line in self._heard():
            self._hear(json.loads(line), note)
        if code is not None:
            raise InputError(f"what brings {self.request.engine} workers has ended ({self._last_error(code)})", GO_ON)

    def credit(self, worker: str) -> None:
        """Say that a worker has answered: its machine works.

        Parameters
        ----------
        worker : str
            Its name.
        """
        if worker and worker not in self._credited:
            self._credited.add(worker)
            self._say({"credit": worker})

    def end(self) -> None:
        """Send all workers home."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                pass
            finally:  # also where another interrupt comes
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for run in (*self._runs, Path(self.request.folder)):
                OpenJobs(run).clear()
        self._errors.close()

    def _start(self) -> None:
        # where this very package is, should it not be installed; what jobs need besides, they say themselves
        home = str(Path(__file__).parents[2])
        places = [os.environ.get("PYTHONPATH"), None if home in sysconfig.get_paths().values() else home]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "closerlook.execution.recruiting"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
            start_new_session=True,  # Ctrl-C is for the command, which ends this one
        )
        threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()
        self._say(asdict(self.request))

    def _say(self, what: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with suppress(OSError):  # that it has ended is found where it is looked after
            self._process.stdin.write(f"{json.dumps(what)}\n")
            self._process.stdin.flush()

    def _heard(self) -> list[str]:
        lines = []
        with suppress(Empty):
            while True:
                lines.append(self._lines.get_nowait())
        return lines

    def _hear(self, said: dict[str, Any], note: Callable[[str], None]) -> None:
        if "note" in said:
            note(said["note"])
        if "gone" in said:
            self.gone.add(said["gone"])
        if "state" in said:
            note_crew(Path(self.request.folder), {"executor": self.request.engine, **said["state"]})
        if "lost" in said:
            raise InputError(said["lost"], said.get("hint") or GO_ON)

    def _last_error(self, code: int) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {code}"


def _read(stream: Any, lines: "SimpleQueue[str]") -> None:
    with stream:
        for line in stream:
            lines.put(line)
