"""``closerlook worker``: more processes, on this machine or another, for commands that already run."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.status import Status
from rich.table import Table

from closerlook.cli.console import Terminal
from closerlook.cli.options import option
from closerlook.drawing.tables import make_table
from closerlook.errors import InputError
from closerlook.execution import crew_of
from closerlook.execution.joining import work
from closerlook.execution.watching import at_work, brought


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Work along with the commands that run in a folder, or in folders within it: train, gradients, study ...

    Start as many as you like, at any time, in other terminals and on other machines that see the folder; the command
    itself need not know of them. Numbers are the same to the last digit whoever works, and when: a worker with other
    versions, or another type of processor, is refused. What one that dies had begun is done by others. It ends by
    itself when no command has worked there for --wait seconds; Ctrl-C ends it at once, and others go on.

    Jobs are code that this runs: name folders alone to which nobody writes whom you do not trust. Files of other users
    are refused.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The --out of a command, or a folder that holds several."""
    workers: Annotated[int | None, option("INT", "one per core")] = None
    """Worker processes."""
    wait: float = 60.0
    """Seconds without a command after which it ends."""
    status: tyro.conf.FlagCreatePairsOff[bool] = False
    """Say who works in the folder, and at what, and join nothing."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on stdout, and everything else on stderr."""

    def run(self, console: Terminal) -> None:
        """Work, and say what was done; or say who works."""
        if self.status:
            summary, tables = who_works(self.folder)
            console.result({"folder": str(self.folder), **summary}, *tables)
            return
        if not 0 <= self.wait < float("inf"):
            raise InputError(f"wait must be 0 or more seconds (got {self.wait:g})", "give --wait 60")
        crew = crew_of(self.workers)
        # a cluster that wants its machine back is as good as Ctrl-C: others take the jobs at once
        before = signal.signal(signal.SIGTERM, _interrupt)
        console.note(f"{crew} {'process' if crew == 1 else 'processes'} for commands in {self.folder}")
        try:
            with Status("no job so far", console=console.notes) as line:
                done = work(self.folder, crew, self.wait, _Told(console, line))
        finally:
            signal.signal(signal.SIGTERM, before)
        console.result(
            {
                "folder": str(self.folder),
                "jobs": done.jobs,
                "pairs": done.pairs,
                "failed": done.failed,
                "runs": [str(run) for run in done.runs],
                "ended": done.ended,
            }
        )
        console.note(f"{done.ended}: {done.jobs} jobs answered, {done.pairs:,.0f} pairs")


def who_works(folder: Path) -> tuple[dict[str, Any], list[Table]]:
    """Return who works in a folder as JSON values, and as tables: commands, workers, and who brings some.

    Parameters
    ----------
    folder : Path
        A run folder, or one that holds some.
    """
    workers, crews = list(at_work(folder)), brought(folder)
    rows = [
        [str(one.run), one.who, "its command" if one.processes is None else str(one.processes), ", ".join(one.jobs)]
        for one in workers
    ]
    tables = [make_table(f"at work in {folder}", ["run", "who", "processes", "jobs"], rows)] if rows else []
    for crew in crews:
        known = [[name, _spelled(value)] for name, value in crew.items()]
        tables.append(make_table("workers that are brought", ["", ""], known))
    listed = [{"run": str(one.run), "who": one.who, "processes": one.processes, "jobs": one.jobs} for one in workers]
    return {"at_work": listed, "brought": crews}, tables


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


class _Told:
    """Says how the work goes: a line for what happens, and on a terminal one that changes."""

    def __init__(self, console: Terminal, line: Status) -> None:
        self._console, self._line = console, line

    def note(self, text: str) -> None:
        """Say a line."""
        self._console.note(text)

    def state(self, text: str) -> None:
        """Change the line below."""
        self._line.update(text)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
