"""How long a run of very many finished jobs takes to be taken up again, and how much memory its driver needs.

    python benchmarks/studies.py [JOBS]

Prints the seconds in which a command finds that so many answers are stored (100,000 by default), and the most memory
that the process took meanwhile, once with all answers stored, and once with a tenth of them to be answered.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from closerlook.execution import Job, run_jobs
from closerlook.results.answers import JobFiles


def answer(number: int) -> dict[str, np.ndarray]:
    return {"sums": np.full(8, float(number))}


def jobs_of(count: int) -> list[Job]:
    return [Job(f"job {number}", f"{number:032x}", answer, {"number": number}, 1.0) for number in range(count)]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        cache = JobFiles(Path(folder) / "jobs")
        jobs = jobs_of(count)
        for job in jobs[: count - count // 10]:
            cache.save(job.key, job.run())
        for words in (f"with {count // 10:,} of {count:,} jobs open", f"with all of {count:,} jobs stored"):
            begun = time.perf_counter()
            run_jobs(jobs, workers=1, cache=cache)
            seconds = time.perf_counter() - begun
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{words}: {seconds:.1f} s, {memory:,.0f} MB at most")


if __name__ == "__main__":
    main()
