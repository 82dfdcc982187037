"""Jobs one after the other, in this process."""

from collections.abc import Iterable, Iterator

from closerlook.execution.jobs import Job, Result
from closerlook.execution.threads import single_thread


def run_serially(jobs: Iterable[tuple[int, Job]]) -> Iterator[tuple[int, Result]]:
    """Answer numbered jobs in their order, each on one thread, as a worker process would."""
    for number, job in jobs:
        with single_thread():
            result = job.run()
        yield number, result
