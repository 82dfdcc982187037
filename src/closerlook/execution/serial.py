"""Jobs one after the other, in this process."""

import time
from collections.abc import Callable, Generator

from closerlook.execution.jobs import Job, Result, Source
from closerlook.execution.threads import single_thread

PAUSE = 0.1
"""Seconds between two looks whether others have answered."""


def run_serially(jobs: Source, until: Callable[[], bool] = bool) -> Generator[tuple[int, Result]]:
    """Answer numbered jobs in their order, each on one thread, as a worker process would.

    Parameters
    ----------
    jobs : Source
        Where they are taken from.
    until : callable
        Whether others are to go on; default: never.
    """
    while not (jobs.is_done or until()):
        taken: tuple[int, Job] | None = jobs.take()
        if taken is not None:
            with single_thread():
                result = taken[1].run()
            yield taken[0], result
        yield from (others := jobs.arrived())
        if taken is None and not others:
            time.sleep(PAUSE)
