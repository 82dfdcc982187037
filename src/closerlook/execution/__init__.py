"""One map for jobs: in this process, in one process per core, and by whoever joins in; the same numbers in all."""

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial

import numpy as np

from closerlook.errors import InputError
from closerlook.execution.jobs import (
    Job,
    JobCache,
    Listed,
    Progress,
    Result,
    SharedCache,
    Silence,
    Trial,
    Whole,
    Within,
    content_key,
    offer_trial,
    same_streams,
)
from closerlook.execution.processes import WorkerError, close_pool, run_in_processes
from closerlook.execution.serial import run_serially
from closerlook.execution.sharing import Shared
from closerlook.results.answers import JobFiles
from closerlook.results.folders import OPEN

__all__ = [
    "Job",
    "JobCache",
    "Progress",
    "Result",
    "SharedCache",
    "Silence",
    "Trial",
    "Whole",
    "Within",
    "WorkerError",
    "close_pool",
    "content_key",
    "crew_of",
    "default_workers",
    "hands",
    "offer_trial",
    "run_jobs",
    "same_streams",
]


def most_workers() -> int:
    """Return how many workers may be asked for: more than any use has, fewer than would bring the machine down."""
    return max(64, 4 * default_workers())


def default_workers() -> int:
    """Cores this process may use: one worker for each."""
    # cores that this process may use, not those that there are
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hands(workers: int) -> int:
    """Return how many of some workers have a core of their own."""
    return min(workers, default_workers())


def crew_of(workers: int | None) -> int:
    """Return how many workers were asked for, one for each core where none were.

    Raises
    ------
    InputError
        Where there are too few to run anything, or more than `most_workers`.
    """
    if workers is None:
        return default_workers()
    if not isinstance(workers, int | np.integer) or workers < 1:
        raise InputError(f"workers must be at least 1 (got {workers})", "give --workers 1 or more")
    if workers > most_workers():
        raise InputError(f"workers must be at most {most_workers()} (got {workers!s:.20})", "give fewer --workers")
    return int(workers)


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    cache: JobCache | None = None,
    progress: Progress | None = None,
    label: str = "sampling",
) -> list[Result]:
    """Answer jobs, each at most once.

    Parameters
    ----------
    jobs : sequence of Job
        Independent of each other.
    workers : int, optional
        Worker processes, default one per core; 1 runs the jobs in this process. No answer depends on it.
    cache : JobCache, optional
        Answers found there are not computed again; each new one is stored as soon as it comes.
    progress : Progress, optional
        Told the pairs to simulate, those whose answers are stored, and each job as it ends.
    label : str
        What progress calls this run.

    Returns
    -------
    list of dict
        Answers, in the order of the jobs.

    Raises
    ------
    InputError
        What a job raised; or a worker that died (`WorkerError`). Answers that came before it are in the cache.
    """
    workers = crew_of(workers)
    reported: Progress = Silence() if progress is None else progress
    # what is stored is not computed, and does not count as work that is announced
    results = {number: found for number, job in enumerate(jobs) if (found := _stored(cache, job)) is not None}
    missing = [(number, job) for number, job in enumerate(jobs) if number not in results]
    if results:
        reported.skip(sum(jobs[number].pairs for number in results))
    reported.start(sum(job.pairs for job in jobs), label)
    try:
        # jobs that leave something on disk for the ones that are wanted: all of them first
        before = [(number, first) for number, job in missing for first in job.before]
        left = {number: job.pairs for number, job in missing}
        # what they answer is of no interest: it lies among the open jobs, where others work, and goes with them
        aside = JobFiles(cache.folder / OPEN) if isinstance(cache, SharedCache) else None
        with closing(_answers([(at, first) for at, (_, first) in enumerate(before)], workers, aside, reported)) as done:
            for at, _, _ in done:
                number, first = before[at]
                left[number] -= first.pairs
                reported.advance(first.pairs)
        with closing(_answers(missing, workers, cache, reported)) as answers:
            for number, result, is_stored in answers:
                if cache is not None and not is_stored:
                    cache.save(jobs[number].key, result)
                results[number] = result
                reported.advance(left[number])
    finally:
        reported.finish()
    return [results[number] for number in range(len(jobs))]


def _stored(cache: JobCache | None, job: Job) -> Result | None:
    return None if cache is None else cache.load(job.key)


def _answers(
    jobs: list[tuple[int, Job]], workers: int, cache: JobCache | None, progress: Progress
) -> Generator[tuple[int, Result, bool]]:
    """Yield number and answer of each job, and whether another process has stored it."""
    if not jobs:
        return
    run = run_serially if workers == 1 else partial(run_in_processes, workers=workers)
    if not isinstance(cache, SharedCache):
        with closing(run(Listed(jobs))) as answers:
            yield from ((number, result, False) for number, result in answers)
        return
    shared = Shared(jobs, cache, progress.note)
    with closing(shared), closing(run(shared)) as answers:
        yield from ((number, result, number in shared.elsewhere) for number, result in answers)
