"""The protocol of a diagnostic: one question that can be asked of agents, and everything that follows from answers.

A diagnostic has two halves. What is *measured* needs the engines and torch: `plan`, `cost`, `measure`, `labels`. What
is *read* needs none of them, so that results can be read and drawn anywhere: `variables`, `judge`, `summary`, `tables`,
`figures`, `panels`. The runner (`closerlook.diagnostics.runner`) is the only one that calls the first half: it loads
and checks agents, runs the stages of jobs that `measure` yields, resumes, tells progress and cost, labels, validates
and writes.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import astuple, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from closerlook.diagnostics.common.limits import BaseLimits
from closerlook.diagnostics.options import BaseOptions
from closerlook.errors import InputError
from closerlook.results.variables import Variable

if TYPE_CHECKING:
    import xarray as xr

    from closerlook.diagnostics.subjects import Subject
    from closerlook.execution import Job

Statistics = dict[str, np.ndarray]
"""What was found of one agent, by the names of the diagnostic's variables, without the agent axis."""
Answers = list[dict[str, np.ndarray]]
"""Of the jobs of one stage, in their order."""
Stages = Generator[list["Job"], Answers, Statistics]
"""What a measurement is: it yields the jobs of one stage, receives their answers, and returns what it found."""


def later(module: str, name: str) -> Any:
    """Return a function that is imported when it is first called: what is read must not load the engines.

    Parameters
    ----------
    module : str
        Where it is.
    name : str
        Of the function.
    """

    def call(*given: Any, **named: Any) -> Any:
        return getattr(import_module(module), name)(*given, **named)

    return staticmethod(call)


@dataclass(frozen=True)
class Cost:
    """What measuring one agent takes.

    Parameters
    ----------
    pairs : float
        State-action pairs simulated.
    work : float
        All that is to be done, fits and surrogates too, in the pairs that could be simulated meanwhile.
    stored : float
        Bytes on disk, about: answers, and transitions that others wait for.
    """

    pairs: float
    work: float
    stored: float = 0.0


class UnmeasurableError(Exception):
    """One agent of which there is nothing to measure, though there may be of others.

    Parameters
    ----------
    error : InputError
        What is said where it is so of every agent.
    statistics : Statistics
        What is stored of it where it is not.
    """

    def __init__(self, error: InputError, statistics: "Statistics") -> None:
        super().__init__(str(error))
        self.error, self.statistics = error, statistics


@dataclass(frozen=True)
class Narrowing:
    """Which interval ``precision`` is about, and which option it may spend.

    Parameters
    ----------
    option : str
        The option that grows, doubling, up to its value.
    interval : str
        The interval in words, for messages: "the cosine at the training batch".
    first : callable
        (subjects, options) -> the least of the option at the first interim analysis, and what it is rounded up to.
    shrink : callable
        (plan, amount) -> the plan with so much of the option, which shares its jobs with every larger one.
    half_width : callable
        (dataset, options) -> half the length of the interval, of the agent where it is longest; NaN: not known.
    """

    option: str
    interval: str
    first: Callable[[Sequence["Subject"], Any], tuple[int, int]]
    shrink: Callable[[Any, int], Any]
    half_width: Callable[["xr.Dataset", Any], float]


class Diagnostic:
    """One question that can be asked of agents; see this module's text for what runs where.

    Class attributes: `name` (the command, the stem of its files, the attribute ``diagnostic`` of datasets), `line` (one
    line for the list of commands), `Options`, `variables` (every variable that a dataset may hold, defined before it is
    computed), `scaled` (options that a smaller budget makes smaller),
    `fewer` (what to give less of where a measurement is too long). The class's own text is the help of its command.
    """

    name: ClassVar[str]
    line: ClassVar[str]
    Options: ClassVar[type[BaseOptions]]
    Limits: ClassVar[type[BaseLimits]] = BaseLimits
    variables: ClassVar[Sequence[Variable]]
    scaled: ClassVar[Sequence[str]] = ("pairs",)
    fewer: ClassVar[str] = "fewer --pairs"

    # What is measured.

    def plan(self, subjects: Sequence["Subject"], options: Any) -> Any:
        """Resolve what is asked of agents that are measured together: a value that is handed down.

        Parameters
        ----------
        subjects : sequence of Subject
            Loaded and checked.
        options : Options
            Checked.

        Raises
        ------
        InputError
            Where the options ask for what these agents do not have.
        """
        return options

    def cost(self, subject: "Subject", plan: Any) -> Cost:
        """Say what measuring one agent takes, before anything is simulated.

        Parameters
        ----------
        subject : Subject
            The agent, its environment and names of its streams.
        plan : object
            What the diagnostic's ``plan`` returned.
        """
        raise NotImplementedError

    def total(self, subjects: Sequence["Subject"], plan: Any) -> Cost:
        """Say what measuring all agents of a call takes.

        Parameters
        ----------
        subjects : sequence of Subject
            Agents of one call, which are built alike.
        plan : object
            What the diagnostic's ``plan`` returned.
        """
        costs = [self.cost(subject, plan) for subject in subjects]
        return Cost(*(sum(amounts) for amounts in zip(*map(astuple, costs), strict=True)))

    def measure(self, subject: "Subject", plan: Any) -> "Stages":
        """Measure one agent: yield one stage of jobs after the other, receive their answers, return named arrays.

        Parameters
        ----------
        subject : Subject
            The agent, its environment and names of its streams.
        plan : object
            What the diagnostic's ``plan`` returned.

        Raises
        ------
        UnmeasurableError
            Where this agent has nothing to measure.
        """
        raise NotImplementedError

    def together(self, subjects: Sequence["Subject"], plan: Any, workers: int) -> int:
        """Say how many agents may be measured at a time: all, unless their answers take much memory or disk.

        Parameters
        ----------
        subjects : sequence of Subject
            Agents of one call, which are built alike.
        plan : object
            What the diagnostic's ``plan`` returned.
        workers : int
            Processes.
        """
        return len(subjects)

    def labels(self, subjects: Sequence["Subject"], plan: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return coordinates that depend on the plan, and the dataset's attributes.

        Parameters
        ----------
        subjects : sequence of Subject
            Agents of one call, which are built alike.
        plan : object
            What the diagnostic's ``plan`` returned.
        """
        return {}, {}

    narrowing: ClassVar[Narrowing | None] = None

    # What is read.

    def judge(self, dataset: "xr.Dataset", **limits: float) -> list[dict[str, Any]]:
        """Say what the numbers of each agent mean, as verdicts.

        Parameters
        ----------
        dataset : xarray.Dataset
            Of this diagnostic.
        **limits : float
            In place of the usual ones: fields of `Limits`.
        """
        return []

    summary = later("closerlook.diagnostics.plain", "summary")
    """dataset -> the diagnostic's own part of the JSON summary; unless it says otherwise, every variable by name."""
    tables = later("closerlook.diagnostics.plain", "tables")
    """dataset -> list of rich tables: what the command prints."""
    figures = later("closerlook.diagnostics.plain", "figures")
    """dataset -> any axes of each figure to be saved, by the stem of its files."""
    panels = later("closerlook.diagnostics.plain", "panels")
    """dataset -> the figure of the diagnostic's own name as data (`closerlook.drawing.panels`): what pages draw."""

    def pages(self, dataset: "xr.Dataset", folder: Path) -> list[Path]:
        """Write further files about a dataset, and return them.

        Parameters
        ----------
        dataset : xarray.Dataset
            Of this diagnostic.
        folder : Path
            Where to write.
        """
        return []
