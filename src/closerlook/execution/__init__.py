"""One map for jobs: in this process, in one process per core, and by whoever joins in; the same numbers in all."""

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial

from closerlook.execution.engines import Executor, active, crew_of, executing, hands, pieces
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
from closerlook.execution.processes import WorkerError, close_pool, may_start_processes, run_in_processes
from closerlook.execution.serial import run_serially
from closerlook.execution.sharing import Shared
from closerlook.results.answers import JobFiles
from closerlook.results.folders import OPEN

__all__ = [
    "Executor",
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
    "executing",
    "hands",
    "offer_trial",
    "pieces",
    "run_jobs",
    "same_streams",
]


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
    if not isinstance(cache, SharedCache):
        run = run_serially if workers == 1 else partial(run_in_processes, workers=workers)
        with closing(run(Listed(jobs))) as answers:
            yield from ((number, result, False) for number, result in answers)
        return
    shared = Shared(jobs, cache, progress.note, active().crew)
    with closing(shared), closing(_together(shared, workers)) as answers:
        yield from ((number, result, number in shared.elsewhere) for number, result in answers)


def _together(shared: Shared, workers: int) -> Generator[tuple[int, Result]]:
    """Answer jobs here and elsewhere: all of them elsewhere where workers are brought, but what those cannot do."""
    alone = workers == 1 or active().crew is not None
    if alone:
        # beside others this process is to look after them, also in the midst of a long job
        leaves = workers == 1 and active().name == "processes" and may_start_processes()
        yield from run_serially(shared, until=lambda: leaves and shared.has_company)
    if not shared.is_done:
        yield from run_in_processes(shared, workers)
