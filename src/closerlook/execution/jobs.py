"""What a job is, how it is named, and what runs of jobs report to.

A measurement is a list of independent jobs. A job answers with small sufficient statistics, never with transitions,
and carries a key made of everything that decides its answer: the same key is never computed twice.
"""

import dataclasses
import hashlib
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

Result = dict[str, np.ndarray]
"""What a job answers with: arrays by name."""


@dataclass(frozen=True)
class Job:
    """One question to one worker.

    Parameters
    ----------
    name : str
        For messages, for example ``"gradients of agent 3, streams 0 to 31"``.
    key : str
        Names the answer (see `content_key`): it must hold everything the answer depends on.
    function : callable
        Module-level function; called as ``function(**arguments)``, answers with arrays by name.
    arguments : mapping
        Its arguments; they travel to a worker process by cloudpickle.
    pairs : float
        State-action pairs it will simulate, those of `before` included: the unit of progress and of cost.
    before : tuple of Job
        Jobs that leave on disk what this one needs; they are run only where it has to be, and answer nothing.
    smaller : callable, optional
        (job, share) -> the same question of about so much of the work, from which it is told what the whole takes;
        None: of fewer streams. Where there is time for less, streams are cut short as well.
    """

    name: str
    key: str
    function: Callable[..., Result]
    arguments: Mapping[str, Any]
    pairs: float = 0.0
    before: "tuple[Job, ...]" = ()
    smaller: "Callable[[Job, float], Job] | None" = None

    def run(self) -> Result:
        """Answer, in this process."""
        return self.function(**self.arguments)


def same_streams(job: Job, _: float) -> Job:
    """Return a job as it is: its streams make one batch, which is made smaller by cutting them short alone."""
    return job


class JobCache(Protocol):
    """Where answers are kept."""

    def load(self, key: str) -> Result | None:
        """Return the stored answer, None where there is none (or none that can be read)."""

    def save(self, key: str, result: Result) -> None:
        """Store an answer, all of it or nothing.

        Parameters
        ----------
        key : str
            Name of all that decides the answer.
        result : mapping of str to ndarray
            The answer.
        """


@runtime_checkable
class SharedCache(JobCache, Protocol):
    """Answers in a folder, where other processes can store them too."""

    @property
    def folder(self) -> Path:
        """The run folder."""

    def for_others(self) -> "SharedCache":
        """Return what stores answers there for who does not own the folder; it can be pickled."""


class Source(Protocol):
    """Where those who run jobs take them from."""

    @property
    def most(self) -> int:
        """How many there are, at most."""

    @property
    def is_done(self) -> bool:
        """Whether none is left, and none is to come."""

    def take(self) -> tuple[int, Job] | None:
        """Return a numbered job to run; None where there is none just now."""

    def arrived(self) -> list[tuple[int, Result]]:
        """Return, each once, the answers that others have stored."""


class Listed:
    """Jobs that nobody else runs.

    Parameters
    ----------
    jobs : iterable of (int, Job)
        Numbered.
    """

    def __init__(self, jobs: Iterable[tuple[int, Job]]) -> None:
        self._waiting = deque(jobs)

    @property
    def most(self) -> int:
        """How many are left."""
        return len(self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether all were taken."""
        return not self._waiting

    def take(self) -> tuple[int, Job] | None:
        """Return the next one."""
        return self._waiting.popleft() if self._waiting else None

    def arrived(self) -> list[tuple[int, Result]]:
        """Return nothing: there are no others."""
        return []


Trial = Callable[[], float | None]
"""Try a part of some work, and return the seconds that all of it takes, about; None where it could not be tried."""


class Progress(Protocol):
    """Who is told how far a run of jobs has come."""

    def start(self, total_pairs: float, label: str) -> None:
        """Begin: so many pairs are to be simulated.

        Parameters
        ----------
        total_pairs : float
            Pairs to be simulated.
        label : str
            What the work is.
        """

    def skip(self, pairs: float) -> None:
        """Take away pairs that need no simulation, their answers being stored: of the work begun, or yet to begin."""

    def advance(self, pairs: float) -> None:
        """Count pairs that are done."""

    def finish(self) -> None:
        """End, whether all was done or not."""

    def note(self, text: str) -> None:
        """Hear how the work goes, in words."""

    def outlook(self, first_pairs: float, most_pairs: float) -> None:
        """Hear, before jobs are listed, how many pairs the first part of the work takes, and all of it.

        Parameters
        ----------
        first_pairs, most_pairs : float
            Pairs of the first part, and of all there may be.
        """


def offer_trial(progress: Progress, total_pairs: float, trial: Trial) -> None:
    """Let progress find out what work takes, before it begins, where it can hear of that: where it has `foretell`.

    Offered again between stages, with the pairs of the next one, where that could not be known before. Nobody who does
    not ask pays for a trial.

    Parameters
    ----------
    progress : Progress
        Whoever is told how far work has come.
    total_pairs : float
        Of what is about to begin.
    trial : callable
        Returns the seconds that it takes, None where that is not known.
    """
    foretell = getattr(progress, "foretell", None)
    if foretell is not None:
        foretell(total_pairs, trial)


class Silence:
    """Progress that nobody hears."""

    def start(self, total_pairs: float, label: str) -> None:
        """Do nothing.

        Parameters
        ----------
        total_pairs : float
            Pairs to be simulated.
        label : str
            What the work is.
        """

    def skip(self, pairs: float) -> None:
        """Do nothing."""

    def advance(self, pairs: float) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def outlook(self, first_pairs: float, most_pairs: float) -> None:
        """Do nothing.

        Parameters
        ----------
        first_pairs, most_pairs : float
            Pairs of the first part, and of all there may be.
        """


class Within:
    """A stretch of a longer piece of work, whose own start and end are not announced.

    Parameters
    ----------
    whole : Progress
        Started and finished by whoever runs the whole; hears only of the pairs done or skipped here.
    """

    def __init__(self, whole: Progress) -> None:
        self.whole = whole

    def start(self, total_pairs: float, label: str) -> None:
        """Do nothing: the whole has been started.

        Parameters
        ----------
        total_pairs : float
            Pairs to be simulated.
        label : str
            What the work is.
        """

    def skip(self, pairs: float) -> None:
        """Take away pairs whose answers were stored."""
        self.whole.skip(pairs)

    def advance(self, pairs: float) -> None:
        """Count pairs that are done."""
        self.whole.advance(pairs)

    def finish(self) -> None:
        """Do nothing: the whole goes on."""

    def note(self, text: str) -> None:
        """Pass it on."""
        self.whole.note(text)

    def outlook(self, first_pairs: float, most_pairs: float) -> None:
        """Pass it on.

        Parameters
        ----------
        first_pairs, most_pairs : float
            Pairs of the first part, and of all there may be.
        """
        self.whole.outlook(first_pairs, most_pairs)

    def foretell(self, total_pairs: float, trial: Trial) -> None:
        """Pass it on.

        Parameters
        ----------
        total_pairs : float
            Of what is about to begin.
        trial : callable
            See `offer_trial`.
        """
        offer_trial(self.whole, total_pairs, trial)


class Whole(Within):
    """Work of several stages, told as one: announced once something is missing, less all whose answers are stored.

    Parameters
    ----------
    whole : Progress
        Told.
    total_pairs : float
        Of all stages.
    label : str
        What the work is called.
    trial : callable, optional
        Tells what it takes; called only where something is missing, and somebody asks.
    """

    def __init__(self, whole: Progress, total_pairs: float, label: str, trial: Trial | None = None) -> None:
        super().__init__(whole)
        self._total, self._label, self._trial = total_pairs, label, trial
        self._planned = self._stored = 0.0
        self._begun = False

    def start(self, total_pairs: float, label: str) -> None:
        """Begin a stage; with the first that has work left, announce the whole."""
        # the bar begins with the first stage that has anything to do
        self._planned += total_pairs
        if not self._begun and self._stored < self._planned:
            if self._trial is not None:
                offer_trial(self.whole, self._total, self._trial)
            self.whole.skip(self._stored)
            self.whole.start(self._total, self._label)
            self._begun = True

    def skip(self, pairs: float) -> None:
        """Take away pairs whose answers are stored."""
        self._stored += pairs
        if self._begun:
            self.whole.skip(pairs)

    def end(self) -> None:
        """End the whole."""
        if self._begun:
            self.whole.finish()


def content_key(*parts: Any) -> str:
    """Name a job's answer after everything that decides it.

    Parameters
    ----------
    *parts
        None, booleans, numbers, strings, bytes, NumPy arrays, torch tensors, dataclasses; sequences of them, and
        mappings with string keys, whose order does not matter.

    Returns
    -------
    str
        32 hexadecimal digits, the same on every machine, in every process.

    Raises
    ------
    TypeError
        For anything else, whose contents could not be told from its name.
    """
    digest = hashlib.blake2b(digest_size=16)
    for piece in _pieces(list(parts)):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    """Spell a value as bytes, each piece with its type and length, so that no two values are spelled alike."""
    if isinstance(value, Mapping):
        yield _frame("mapping", str(len(value)).encode())
        # order of insertion must not decide a name
        for name in sorted(value):
            yield from _pieces(str(name))
            yield from _pieces(value[name])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield _frame("dataclass", type(value).__qualname__.encode())
        yield from _pieces({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, list | tuple | range):
        yield _frame("sequence", str(len(value)).encode())
        for item in value:
            yield from _pieces(item)
    else:
        yield _leaf(value)


def _leaf(value: Any) -> bytes:
    if isinstance(value, np.generic) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return _frame(type(value).__name__, str(value).encode())
    if isinstance(value, float):
        # bytes, not digits: -0.0, 0.0 and every NaN keep their names
        return _frame("float", struct.pack("<d", value))
    if isinstance(value, bytes):
        return _frame("bytes", value)
    array = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    if isinstance(array, np.ndarray) and array.dtype != object:
        heading = f"{array.dtype.newbyteorder('<').str} {array.shape} "
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return _frame("array", heading.encode() + little_endian.tobytes())
    raise TypeError(f"a {type(value).__name__} cannot be part of a key: {value!r}")


def _frame(kind: str, content: bytes) -> bytes:
    # kind and length before content, so that ("ab", "c") and ("a", "bc") differ
    return f"{kind}:{len(content)}:".encode() + content
