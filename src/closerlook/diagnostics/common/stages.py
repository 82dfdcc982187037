"""Jobs in two stages, of which the first decides what the second asks; stored answers are not announced as work."""

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from closerlook.execution import Job, JobCache, Progress, Silence, Within, run_jobs, stored_pairs

Jobs = Sequence[Sequence[Job]]
"""Of one stage, for each agent."""
StageAnswers = list[list[dict[str, np.ndarray]]]
"""The same way."""


class Stages:
    """The two stages of a measurement of several agents.

    Parameters
    ----------
    cache : JobCache
        Where finished answers are.
    workers : int
        Worker processes.
    progress : Progress
        Told the work that is left, of both stages.
    """

    def __init__(self, cache: JobCache, workers: int, progress: Progress) -> None:
        self._cache, self._workers, self._progress = cache, workers, progress
        self._counted = [True, False]

    def announce(self, pairs: float, label: str, first: Jobs, second: Callable[[StageAnswers], Jobs]) -> None:
        """Begin: so many pairs in all, less those whose answers are stored.

        The second stage is known only where the first is stored, and where it is not, neither is the second.
        """
        jobs = [job for own in first for job in own]
        stored = stored_pairs(jobs, self._cache)
        if stored >= sum(job.pairs for job in jobs):
            self._counted = [True, True]
            later = second(self._run(first, Silence()))
            stored += stored_pairs([job for own in later for job in own], self._cache)
        self._progress.skip(stored)
        self._progress.start(pairs, label)

    def run(self, jobs: Jobs) -> StageAnswers:
        """Answer the next stage."""
        return self._run(jobs, Within(self._progress, counted=self._counted.pop(0)))

    def _run(self, jobs: Jobs, progress: Progress) -> StageAnswers:
        return answer_each(jobs, self._cache, self._workers, progress)


def answer_each(jobs: Jobs, cache: JobCache, workers: int, progress: Progress) -> StageAnswers:
    """Run the jobs of all agents together, and return the answers of each."""
    flat = [job for own in jobs for job in own]
    answers = iter(run_jobs(flat, workers=workers, cache=cache, progress=progress))
    return [list(islice(answers, len(own))) for own in jobs]
