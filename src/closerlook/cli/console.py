"""What the command line shows: lines, progress and tables on stderr, results on stdout."""

import json
import math
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from closerlook.errors import InputError
from closerlook.execution.jobs import Trial
from closerlook.results.store import as_json

PAIRS_PER_SECOND = {
    "Hopper-v5": 16_000,
    "Walker2d-v5": 12_000,
    "Humanoid-v5": 5_000,
    "HalfCheetah-v5": 36_000,
    "Ant-v5": 6_000,
    "Swimmer-v5": 25_000,
}
"""What one worker with a core of its own samples and reduces: for the estimate before long work, not for any result."""

OTHER_PAIRS_PER_SECOND = 5_000
UPDATE_SECONDS = 20e-6
"""What training adds to each pair."""
STEP_SECONDS = 90e-6
"""What a step costs a worker apart from its pairs: shared by as many streams as it steps at once."""
LONG_SECONDS = 86_400.0
"""Work that takes longer has to be asked for twice."""
START_SECONDS = 7.0
"""What it takes until workers work, and to draw what they found."""
ALONE_SECONDS = 3.0
"""What it takes to draw it, where no workers are started."""

SHARE_TO_TRUST = 0.2
"""Part of the work from which on what is left is told by what was taken alone."""

LEVEL_COLORS = {"problem": "red", "watch": "yellow", "not_enough_data": "cyan", "ok": "green"}
"""How the levels of verdicts are colored, the worst first."""
MANY_VERDICTS = 12
"""So many are read one by one; of more, those that say the same are printed once."""
NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*(?:e[-+]\d+)?")


class OutputError(InputError):
    """Stdout that takes nothing more."""


class Terminal:
    """One command's output: people read stderr; stdout has the result, as a table or as one JSON object.

    Parameters
    ----------
    as_json : bool
        Whether stdout gets the JSON object instead of the table.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.stdout: TextIO = sys.stdout
        self.notes = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def note(self, text: str) -> None:
        """Say one line to whoever watches."""
        self.notes.print(text, style="dim", soft_wrap=True, markup=False)

    def result(self, summary: Mapping[str, Any], *tables: Table) -> None:
        """Print the result: on stdout the JSON object, or else the tables.

        Parameters
        ----------
        summary : mapping of str to object
            The JSON object.
        *tables : Table
            The same for people.

        Raises
        ------
        OutputError
            Where stdout takes no more, though whoever reads it has not gone away.
        """
        try:
            self._print(summary, *tables)
            self.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"the result cannot be written to stdout ({error.strerror})", "send it elsewhere"
            ) from None

    def _print(self, summary: Mapping[str, Any], *tables: Table) -> None:
        if self.as_json:
            self.stdout.write(json.dumps(as_json(summary), ensure_ascii=False) + "\n")
        console = self.notes if self.as_json else Console(file=self.stdout, highlight=False, markup=False, emoji=False)
        for table in tables:
            console.print(table)
            console.print()

    def text(self, summary: Mapping[str, Any], text: str) -> None:
        """Print a result that is written already: on stdout the JSON object, or else the text; errors as `result`.

        Parameters
        ----------
        summary : mapping
            The result as JSON values.
        text : str
            The result as it is read.
        """
        self.result(summary)
        if self.as_json:
            self.notes.print(text, soft_wrap=True)
        else:
            self.stdout.write(f"{text}\n")
            self.stdout.flush()

    def verdicts(self, verdicts: Sequence[Mapping[str, Any]], file: Path | None = None) -> None:
        """Print what the numbers say, with what would change it.

        Parameters
        ----------
        verdicts : sequence of mapping
            What they say.
        file : Path, optional
            Where all of them are: of many, the first of those that differ in their numbers alone is printed, the worst
            level first.
        """
        groups = [[verdict] for verdict in verdicts]
        if file is not None and len(verdicts) > MANY_VERDICTS:
            alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
            for verdict in verdicts:
                alike.setdefault((verdict["level"], NUMBER.sub("#", verdict["statement"])), []).append(verdict)
            rank = {level: place for place, level in enumerate(LEVEL_COLORS)}
            groups = sorted(alike.values(), key=lambda own: rank.get(own[0]["level"], -1))  # others' own levels first
        for first, *others in groups:
            line = Text(first["level"].replace("_", " "), style=LEVEL_COLORS.get(first["level"], ""))
            line.append(f"  {first['statement']}", "default")
            line.append(f" {first['advice']}" if first["advice"] else "", "dim")
            self.notes.print(line.append(f" (and {len(others)} more)" if others else ""))
        if len(groups) < len(verdicts):
            self.notes.print(f"  all {len(verdicts)} verdicts: {file}", style="dim", soft_wrap=True, markup=False)

    def files(self, files: Iterable[Path]) -> None:
        """Print where things are."""
        for file in files:
            self.notes.print(f"  {file}", style="dim", soft_wrap=True, markup=False)


class TimeLeft(ProgressColumn):
    """The time left: as foretold to begin with, then more and more by what was really taken."""

    def render(self, task: Task) -> Text:
        """Write it."""
        share = task.completed / task.total if task.total else 0.0
        return Text(f"{duration(time_left(share, task.elapsed or 0.0, task.fields['foretold']))} left")


def time_left(share: float, elapsed: float, foretold: float) -> float:
    """Return the seconds that are left of some work.

    Parameters
    ----------
    share : float
        Of the work that is done.
    elapsed : float
        Seconds that it took.
    foretold : float
        Seconds that all of it was to take.
    """
    if share <= 0:
        return max(foretold - elapsed, 0.0)
    trust = min(1.0, share / SHARE_TO_TRUST)
    return max(0.0, 1 - share) * ((1 - trust) * foretold + trust * elapsed / share)


class Bar:
    """Progress as a bar on stderr, with the time left; what it takes comes first, from a trial where there is one.

    Parameters
    ----------
    console : Terminal
        Where it is drawn.
    environment : str
        Decides the usual speed, by which work is told that was not tried.
    workers : int
        How many work at once.
    trained : int
        Streams that are stepped together where agents are trained; 0: agents are measured.
    too_long : str
        What to do about work of more than a day, which is refused then; empty: nothing is.
    """

    drawn: type[Progress] = Progress
    """What is drawn."""

    def __init__(
        self, console: Terminal, environment: str, workers: int, *, trained: int = 0, too_long: str = ""
    ) -> None:
        self.console, self.environment, self.workers, self._too_long = console, environment, workers, too_long
        self.rate = usual_rate(environment, workers, trained)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stored = 0.0
        self._pace: float | None = None

    def foretell(self, total_pairs: float, trial: Trial) -> None:
        """Have it tried what all of the work takes; or what is left of it, once it is under way.

        Parameters
        ----------
        total_pairs : float
            Of what is about to begin.
        trial : callable
            Returns the seconds that it takes, None where that is not known.
        """
        seconds = trial()
        if self._bar is None or self._task is None:
            self._pace = seconds / total_pairs if seconds and total_pairs else None
        elif seconds is not None:
            self.console.note(f"what is left takes about {duration(seconds)}")
            done = self._bar.tasks[0].percentage / 100
            self._bar.update(self._task, foretold=seconds / max(1e-9, 1 - done))

    def seconds_of(self, pairs: float) -> float:
        """Return what so much of the work takes, about."""
        starting = START_SECONDS if self.workers > 1 else ALONE_SECONDS
        return starting + (pairs / self.rate if self._pace is None else pairs * self._pace)

    def start(self, total_pairs: float, label: str) -> None:
        """Say what the work is and about how long what is left of it takes, and draw the bar.

        Parameters
        ----------
        total_pairs : float
            Pairs to be simulated, those of stored jobs among them.
        label : str
            What the work is.

        Raises
        ------
        InputError
            Where it is too long.
        """
        # stored jobs are no work that is left
        total_pairs, self._stored = total_pairs - self._stored, 0.0
        if total_pairs <= 0:
            return
        crew = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        work = f"{label}: {total_pairs:,.0f} pairs of {self.environment} on {crew}"
        seconds = self.require_short(total_pairs, work)
        self.console.note(f"{work}, about {duration(seconds)}")
        self._bar = self.drawn(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("·"),
            TimeLeft(),
            console=self.console.notes,
            transient=True,
        )
        self._task = self._bar.add_task(label, total=total_pairs, foretold=seconds)
        # drawn elsewhere it would leave an empty line behind
        if self.console.notes.is_terminal:
            self._bar.start()

    def require_short(self, total_pairs: float, work: str) -> float:
        """Return the seconds that some work takes, about.

        Parameters
        ----------
        total_pairs : float
            Pairs to be simulated.
        work : str
            What the work is, for the message.

        Raises
        ------
        InputError
            Where it is too long.
        """
        seconds = self.seconds_of(total_pairs)
        if self._too_long and seconds > LONG_SECONDS:
            raise InputError(f"{work}, take about {duration(seconds)}", self._too_long)
        return seconds

    def skip(self, pairs: float) -> None:
        """Make the work that much less: what is drawn, or what is to be announced."""
        if self._bar is None:
            self._stored += pairs
        elif self._task is not None:
            total = self._bar.tasks[0].total or 0.0
            self._bar.update(self._task, total=max(total - pairs, 0.0))

    def advance(self, pairs: float) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, pairs)

    def finish(self) -> None:
        """Take the bar away."""
        if self._bar is not None and self.console.notes.is_terminal:
            self._bar.stop()
        self._bar, self._task, self._stored = None, None, 0.0

    def note(self, text: str) -> None:
        """Say one line."""
        self.console.note(text)

    def outlook(self, first_pairs: float, most_pairs: float) -> None:
        """Say what the first look takes, and what all pairs would; refuse what is too long before jobs are listed.

        Parameters
        ----------
        first_pairs, most_pairs : float
            Pairs of the first interim analysis, and of all there may be.
        """
        self.require_short(first_pairs, f"{first_pairs:,.0f} pairs of {self.environment}")
        if first_pairs == most_pairs:
            return
        first, most = (
            f"{pairs:,.0f} pairs, about {duration(self.seconds_of(pairs))}" for pairs in (first_pairs, most_pairs)
        )
        self.console.note(f"first analysis: {first}; all pairs: {most}")


def usual_rate(environment: str, workers: int, trained: int) -> float:
    """Return the pairs a second that workers usually make, measuring agents or training so many streams of them.

    Parameters
    ----------
    environment : str
        Gymnasium id.
    workers : int
        Processes.
    trained : int
        Agents that are trained together; 0 where agents are measured.
    """
    alone = PAIRS_PER_SECOND.get(environment, OTHER_PAIRS_PER_SECOND)
    if trained == 0:
        return alone * workers
    most = math.ceil(trained / workers)  # the worker that has most is waited for
    # seconds for a step of one stream: its simulation, its part of an update, and what a step costs however many there
    # are
    return trained / most / (1 / alone + UPDATE_SECONDS + STEP_SECONDS / most)


def duration(seconds: float) -> str:
    """Write seconds as a person would say them: "8 s", "3 min", "2.5 h", "4.0 days"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * LONG_SECONDS else f"{seconds / LONG_SECONDS:.1f} days"


@contextmanager
def warnings_as_notes(console: Terminal) -> Any:
    """Show warnings as one plain line each, without the place in the code they came from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: console.note(f"note: {message}")
        yield
