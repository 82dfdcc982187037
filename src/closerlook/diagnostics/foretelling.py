"""What a measurement takes, told before it from a trial of its own jobs at a small size.

A plan is listed to its last stage, with the answers of small jobs in place of its own. Of each kind of job a few short
streams are tried, which do not go on past their cuts; what going on takes follows from how fast the environment steps,
alone and many at a time, and from how often episodes end (`closerlook.simulation.metering`). What is not simulation
grows with the pairs, from a part that does not.

Where the answers of small jobs do not lead to the next stage, that is known once the stage before it is done: the
runner then asks again, with that stage's own jobs (`Foretelling.left`).

The trial has draws and files of its own, and nothing of it is kept: no result depends on it.
"""

import heapq
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from closerlook.diagnostics.diagnostic import Diagnostic
from closerlook.diagnostics.pace import PURPOSE, find_pace
from closerlook.diagnostics.subjects import Subject
from closerlook.execution import Job, Result, hands
from closerlook.measurements.stream_sums import FINISHED_STREAMS, StreamRange
from closerlook.randomness import derive_seed
from closerlook.simulation.engine import lanes_at_once
from closerlook.simulation.metering import Asked, Clock, Measured, Meter, Pace, metered
from closerlook.simulation.records import Sampling

TINY = 16_384
"""Pairs, of all agents, below which nothing is tried."""
PACE_SECONDS, KIND_SECONDS = 0.8, 0.15
"""Of the trials of all paces, and of that of each kind of job, about."""
LONG_SECONDS = 0.5
"""Of the first call of a job, from which on it is called as rarely as can be."""
GROWTH = 4
"""Each trial is that much larger than the last, as long as there is time."""
FEWEST_PAIRS = 16
"""Of a job when it is first called, which takes longer than it does later, and does not count."""
ALL = 0.999
"""Part of the declared work, by which all stages are listed."""
MOST_AGENTS = 3
"""Agents whose pace is tried, of many."""
MOST_JOBS = 4096
"""Above which it does not matter in which order workers take them."""


@dataclass(frozen=True)
class Tried:
    """What one kind of job took at a small size.

    Parameters
    ----------
    pairs : (float, float)
        That the small jobs' rollouts were asked for: of the first streams, and of the last.
    early, late : sequence of Asked
        Those rollouts.
    fixed, of_pair : float
        Seconds of what is not simulation: of any job, and of each of its pairs.
    """

    pairs: tuple[float, float]
    early: Sequence[Asked]
    late: Sequence[Asked]
    fixed: float
    of_pair: float

    def seconds(self, job: Job, pace: Pace, lanes: int) -> float:
        """Return what a whole job takes.

        Parameters
        ----------
        job : Job
            Of the kind that was tried.
        pace : Pace
            Of the simulator.
        lanes : int
            Streams that step together, at most.
        """
        first, simulated = _early_share(job), 0.0
        for part, asked, pairs in ((first, self.early, self.pairs[0]), (1 - first, self.late, self.pairs[1])):
            simulated += part * sum(pace.seconds(one.times(_own_pairs(job) / pairs, lanes)) for one in asked)
        return self.fixed + self.of_pair * _own_pairs(job) + simulated


@dataclass(frozen=True)
class _Run:
    """A small job that was run: pairs it was asked for, and had; its answer, rollouts, and the seconds of all else."""

    asked: float
    pairs: float
    answer: Result
    rollouts: Sequence[Measured]
    rest: float

    @property
    def seconds(self) -> float:
        return self.rest + sum(one.seconds for one in self.rollouts)


class Foretelling:
    """Tells what plans of one call take; each kind of job is tried once.

    Parameters
    ----------
    diagnostic : Diagnostic
        Whose.
    subjects : sequence of Subject
        All agents that are measured.
    workers : int
        Worker processes.
    clock : callable
        Seconds, or what a test says.
    """

    def __init__(
        self, diagnostic: Diagnostic, subjects: Sequence[Subject], workers: int, clock: Clock = time.perf_counter
    ) -> None:
        self._diagnostic, self._hands, self._clock = diagnostic, hands(workers), clock
        self._count, self._lanes = len(subjects), lanes_at_once(subjects[0].environment)
        chosen = np.unique(np.linspace(0, len(subjects) - 1, MOST_AGENTS).astype(int))
        self._subjects = [replace(subjects[at], seed=derive_seed(subjects[at].seed, PURPOSE)) for at in chosen]
        self._aside = subjects[0].scratch.with_name("trial")
        self._paces: list[Pace] = []
        self._folder: Path | None = None
        self._kinds: dict[Any, tuple[Tried, Result]] = {}
        self.is_open = False
        """Whether stages are to come that could not be listed."""

    def seconds(self, plan: Any) -> float | None:
        """Return what a plan takes, about; None where it is tiny, or its jobs cannot be tried, as they will say."""
        try:
            with _aside(self._aside) as folder:
                return self._seconds(plan, folder)
        except Exception:  # whatever fails here fails again where it is meant to be done, and is told there
            return None

    def left(self, jobs: Sequence[Job]) -> float | None:
        """Return what a stage of all agents takes that `seconds` could not know of; None where nothing can be said."""
        if any(job.before for job in jobs):
            return None
        try:
            with _aside(self._aside):
                self._try(jobs)
                return self._stage_seconds(jobs, 1)
        except Exception:
            return None

    def _seconds(self, plan: Any, folder: Path) -> float | None:
        subject, self._folder = replace(self._subjects[0], scratch=folder), folder
        work = self._diagnostic.cost(subject, plan).work
        if self._count * work < TINY:
            return None
        if not self._paces:
            most = len(self._subjects)
            self._paces = [
                find_pace(one, self._lanes, self._count * work / most, PACE_SECONDS / most, self._clock)
                for one in self._subjects
            ]
        whole, listed = 0.0, 0.0
        for jobs in self._stages(subject, plan, work):
            listed += sum(job.pairs for job in jobs)
            whole += self._stage_seconds(jobs, self._count)
        self._folder, self.is_open = None, listed < ALL * work
        return whole * work / listed if self.is_open else whole

    def _stage_seconds(self, jobs: Sequence[Job], agents: int) -> float:
        before = [self._job_seconds(first) for job in jobs for first in job.before]
        return sum(makespan(some * agents, self._hands) for some in (before, [self._job_seconds(job) for job in jobs]))

    def _job_seconds(self, job: Job) -> float:
        tried = self._kinds[job.function][0]
        return float(np.mean([tried.seconds(job, pace, self._lanes) for pace in self._paces]))

    def _stages(self, subject: Subject, plan: Any, work: float) -> Iterator[list[Job]]:
        """List the jobs of all stages, as far as the answers of trials lead."""
        stages, listed = self._diagnostic.measure(subject, plan), 0.0
        jobs = next(stages)
        while True:
            self._try(jobs)
            yield jobs
            listed += sum(job.pairs for job in jobs)
            if listed >= ALL * work:
                return
            try:
                jobs = stages.send([self._kinds[job.function][1] for job in jobs])
            except Exception:  # the end, or answers of small jobs that do not lead on
                return

    def _try(self, jobs: Sequence[Job]) -> None:
        """Try each kind of job that was not tried before."""
        kinds: dict[Any, list[Job]] = {}
        for job in jobs:
            for one in (*job.before, job):
                kinds.setdefault(one.function, []).append(one)
        for function, alike in kinds.items():
            if function not in self._kinds:
                self._kinds[function] = self._tried(alike[0], alike[-1])

    def _tried(self, first: Job, last: Job) -> tuple[Tried, Result]:
        """Try a kind of job at growing sizes, as long as there is time.

        Of its first streams; and once of its last, where those are treated otherwise.
        """
        small, pairs = self._run(first, FEWEST_PAIRS), GROWTH * FEWEST_PAIRS
        if small.seconds < LONG_SECONDS:  # else it is not worth it that the first call takes longer
            small = self._run(first, pairs)
        begun, large = self._clock(), self._run(first, GROWTH * pairs)
        while large.pairs > small.pairs and self._clock() - begun + GROWTH * large.seconds < KIND_SECONDS:
            pairs *= GROWTH
            small, large = large, self._run(first, GROWTH * pairs)
        late = large if _early_share(last) == _early_share(first) else self._run(last, GROWTH * FEWEST_PAIRS, late=True)
        fixed, of_pair = affine((small.pairs, small.rest), (large.pairs, large.rest))
        asked = [[one.asked for one in run.rollouts] for run in (large, late)]
        return Tried((large.asked, late.asked), asked[0], asked[1], fixed, of_pair), large.answer

    def _run(self, job: Job, pairs: float, *, late: bool = False) -> _Run:
        """Run a job made small: of fewer streams, which are cut short as well, where that goes well."""
        small = _smaller(job, pairs, late=late)
        share = min(1.0, pairs / (sum(one.pairs for one in small.before) or small.pairs))
        longest = max(2, round(self._longest(job) * share))
        try:
            return self._metered(_with_shorter_prefixes(small, share), Meter(self._clock, longest))
        except Exception:  # something of it is asked of whole streams
            return self._metered(small, Meter(self._clock))

    def _longest(self, job: Job) -> int:
        samplings = [value for value in job.arguments.values() if isinstance(value, Sampling)]
        pairs = [one for value in job.arguments.values() if isinstance(value, tuple) for one in value]
        samplings += [one for one in pairs if isinstance(one, Sampling)]
        return max((one.n_steps for one in samplings), default=self._subjects[0].regime.n_steps)

    def _metered(self, small: Job, meter: Meter) -> _Run:
        with metered(meter):
            for one in small.before:
                one.run()
            share = meter.share
            if small.before:
                meter.forget()
            begun = self._clock()
            answer = small.run()
            taken = self._clock() - begun
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        share = share if small.before else meter.share
        rest = max(0.0, taken - meter.seconds)
        return _Run(_own_pairs(small), _own_pairs(small) * share, answer, meter.rollouts, rest)


def makespan(seconds: Sequence[float], hands: int) -> float:
    """Return what jobs take that are taken in turn by whoever is free.

    Parameters
    ----------
    seconds : sequence of float
        Of each job, in order.
    hands : int
        Workers.
    """
    if len(seconds) > MOST_JOBS:
        return sum(seconds) / hands
    free = [0.0] * hands
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def affine(small: tuple[float, float], large: tuple[float, float]) -> tuple[float, float]:
    """Return what does not grow and what each pair adds, neither negative.

    Parameters
    ----------
    small, large : (float, float)
        Pairs and seconds at two sizes.
    """
    # seconds = a + b pairs through both points, with a, b >= 0
    (few, short), (many, long) = small, large
    if many <= few:
        return 0.0, min(short / few, long / many)
    slope = min(max((long - short) / (many - few), 0.0), long / many)
    return long - slope * many, slope


def _own_pairs(job: Job) -> float:
    """Return a job's pairs less those of the jobs before it; where that is all, those it works on are theirs."""
    own = job.pairs - sum(one.pairs for one in job.before)
    return own if own > 0 else job.pairs


def _ranges(job: Job) -> dict[str, tuple[StreamRange, ...]]:
    found = {}
    for name, value in job.arguments.items():
        parts = value if isinstance(value, tuple) else (value,)
        if parts and all(isinstance(part, StreamRange) for part in parts):
            found[name] = parts
    return found


def _early_share(job: Job) -> float:
    """Return which part of a job's streams are among the first, whose last episodes are finished."""
    ranges = [part for parts in _ranges(job).values() for part in parts]
    streams = sum(part.stop - part.first for part in ranges)
    early = sum(max(0, min(part.stop, FINISHED_STREAMS) - part.first) for part in ranges)
    return early / streams if streams else 1.0


def _smaller(job: Job, pairs: float, *, late: bool) -> Job:
    """Return a job of about so many pairs: of the first streams, or the last; of one stream at least."""
    share = min(1.0, pairs / max(job.pairs, 1.0))
    if job.smaller is not None:
        return job.smaller(job, share)
    changes, whole, part = {}, 0, 0
    for name, ranges in _ranges(job).items():
        fewer = [_fewer(one, share, late=late) for one in ranges]
        whole += sum(one.stop - one.first for one in ranges)
        part += sum(one.stop - one.first for one in fewer)
        changes[name] = tuple(fewer) if isinstance(job.arguments[name], tuple) else fewer[0]
    size = job.pairs * part / whole if whole else job.pairs
    return replace(job, arguments={**job.arguments, **changes}, pairs=size)


def _with_shorter_prefixes(job: Job, share: float) -> Job:
    """Return a job that asks of the prefixes of streams what it did, where those are cut short as well."""
    shorter = {
        name: replace(value, prefixes=tuple(sorted({max(1, int(pairs * share)) for pairs in value.prefixes})))
        for name, value in job.arguments.items()
        if hasattr(value, "prefixes")
    }
    return replace(job, arguments={**job.arguments, **shorter})


def _fewer(streams: StreamRange, share: float, *, late: bool) -> StreamRange:
    count = max(1, round((streams.stop - streams.first) * share))
    return replace(streams, first=streams.stop - count) if late else replace(streams, stop=streams.first + count)


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Let nothing of a trial be seen, drawn on or left; what it writes is within the run's own folder."""
    shutil.rmtree(folder, ignore_errors=True)  # what a trial that was killed left
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
