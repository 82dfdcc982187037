"""What jobs, store and merge cost beside the sampling, with 1, 2 and 4 workers that were brought; and the limits.

A round has a pool of gradients sampled by n workers (`--executor slurm --slurm cluster=local`: the command samples
nothing itself), stored, read back and merged, with few jobs and with many. Counted is the processor time of all
processes, less that within the jobs themselves, which each job tells: both are of the same minutes, so that a machine
whose speed drifts does not matter. What many jobs take more than few has no start-up in it. What is left is all that
jobs cost beside sampling: pickling and files, leases and looks, answers written, read back and merged. Printed is the
median over rounds of that, as a ratio to the sampling, with the smallest and the largest. The goal is at most 1.05.

With --limits it is measured instead what a command does for each job, and with each look, as workers grow in number:
processor time and bytes of jobs and answers, of a look at a folder with so many workers, and of reading their leases.

    python benchmarks/workers.py                     about a quarter of an hour
    python benchmarks/workers.py --limits            a minute
"""

import argparse
import json
import os
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.diagnostics import find_diagnostic
from closerlook.diagnostics.subjects import resolve
from closerlook.execution import Executor, Job, Result, content_key, executing, run_jobs
from closerlook.execution.packing import Parcels, packed
from closerlook.measurements.pooled import Pooled
from closerlook.results.answers import JobFiles
from closerlook.results.open_jobs import OpenJobs
from closerlook.results.ownership import Lease, Watched, owned, this_host
from closerlook.results.store import RunFolder
from gradients import find_agent

GOAL = 1.05
N_STEPS, STREAMS = 2048, 32
"""Pairs of a stream, and streams of a job."""
LARGE_POOL = 4096
"""Jobs of the pool whose limits are measured."""


def planned(agent: Agent, jobs: int) -> tuple[list[Job], Any]:
    """Return the jobs of a pool of gradients, and its plan."""
    asked = find_diagnostic("gradients")
    subjects = resolve([agent], None, 0, Path("unused"))
    plan = asked.plan(subjects, asked.Options.of({"pairs": jobs * STREAMS * N_STEPS}))
    plan = replace(plan, pool=replace(plan.pool, job_streams=STREAMS))
    return list(next(asked.measure(subjects[0], plan))), plan


def timed_job(job: Job) -> Result:
    """Run a job, and tell the processor seconds that it took."""
    begun = time.process_time()
    answer = job.run()
    return {**answer, "seconds": np.array([time.process_time() - begun])}


def by_workers(agent: str, iteration: int, jobs: int, workers: int) -> float:
    """Sample a pool by workers, and merge it; return the processor seconds within its jobs."""
    asked, plan = planned(find_agent(agent, iteration, 0), jobs)
    told = [replace(job, function=timed_job, arguments={"job": job}) for job in asked]
    brought = Executor("slurm", slurm={"cluster": "local"})
    with TemporaryDirectory() as folder, owned(Path(folder)), executing(brought, workers, folder):
        answers = run_jobs(told, cache=RunFolder(folder).jobs())
        within = sum(float(answer.pop("seconds")[0]) for answer in answers)
        Pooled(answers, plan.pool, plan.statistics)
    return within


def spent_here(agent: str, iteration: int, jobs: int, workers: int) -> None:
    within = by_workers(agent, iteration, jobs, workers)
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps([within, sum(usage.ru_utime + usage.ru_stime for usage in usages)]))


def spent(agent: str, iteration: int, jobs: int, workers: int) -> np.ndarray:
    """Return processor seconds within jobs, and of a process of its own and all that it starts."""
    command = [sys.executable, __file__, "--agent", agent, "--iteration", str(iteration)]
    command += ["--here", str(jobs), str(workers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def compare(chosen: argparse.Namespace) -> None:
    few, many = chosen.jobs
    for workers in chosen.workers:
        more = [
            np.subtract(*(spent(chosen.agent, chosen.iteration, jobs, workers) for jobs in (many, few)))
            for _ in range(chosen.rounds)
        ]
        within, whole = np.transpose(more)
        ratios = whole / within
        middle = float(np.median(ratios))
        print(
            f"{workers} workers, {many - few} jobs of {STREAMS * N_STEPS:,} pairs: "
            f"within jobs {np.median(within):.1f} s, in all {np.median(whole):.1f} s, "
            f"ratio {middle:.3f} ({ratios.min():.3f} to {ratios.max():.3f})  (goal {GOAL:.2f}: {middle <= GOAL})",
            flush=True,
        )


def timed(work: Callable[[], object], times: int) -> float:
    """Return processor seconds that one of so many takes."""
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times


def limits(chosen: argparse.Namespace) -> None:
    """Print what a job costs the command, and a look at so many workers."""
    jobs, _ = planned(find_agent(chosen.agent, chosen.iteration, 0), LARGE_POOL)
    with TemporaryDirectory(dir=chosen.disk) as place:
        run = Path(place)
        files, store, parcels = OpenJobs(run), JobFiles(run / "jobs"), Parcels(run, jobs)
        some = iter(jobs)

        def put_up() -> None:
            job = next(some)
            files.put_up(job.key, packed(job, store.for_others(), run, parcels))

        put_up()
        offer = timed(put_up, 500)
        sizes = {path.suffix: path.stat().st_size for path in files.path.iterdir()}
        print(
            f"a job: {sizes['.job']:,} bytes, and once {sizes['.parcel']:,}; {len(packed(jobs[0], store, run)):,} were "
            f"it not shared; the command packs and writes it in {1e3 * offer:.2f} ms"
        )
        for which, job in (("first", jobs[0]), ("a late", jobs[-1])):
            answers: list[Result] = []
            worked = timed(lambda: answers.append(job.run()), 1)  # noqa: B023 - called at once
            kept = timed(partial(store.save, job.key, answers[0]), 5)
            read = timed(partial(store.load, job.key), 5)
            size = (run / "jobs" / f"{job.key}.npz").stat().st_size
            print(
                f"answer of {which} job: {size:,} bytes, {worked:.1f} s of work; stored in {1e3 * kept:.2f} ms, read "
                f"in {1e3 * read:.2f} ms: with its offer {100 * (offer + kept + read) / worked:.2f}% of the work"
            )
        files.clear()
        for count in (1, 100, 1000, 4000):
            look_at(run, count)


def look_at(run: Path, count: int) -> None:
    """Print what a look takes at so many workers, with a job open and one taken for each, and the leases."""
    files, host = OpenJobs(run), this_host()
    files.path.mkdir(exist_ok=True)
    for at in range(count):
        worker = secrets.token_hex(8)
        lease = Lease(secrets.token_hex(8), "elsewhere", host[1], at)
        (files.path / f"{worker}.1.worker").write_text(json.dumps(asdict(lease)))
        (files.path / f"{content_key('taken', at)}.{worker}.taken").touch()
        (files.path / f"{content_key('open', at)}.job").touch()
    watched, seen = Watched(), files.look()
    look = timed(files.look, 5)
    leases = timed(lambda: [watched.is_alive(path) for path in seen.workers.values()], 3)
    print(f"{count:,} workers: a look at their jobs {1e3 * look:.1f} ms, at their leases {1e3 * leases:.1f} ms")
    files.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="atlas/hopper-ppo", help="a run folder, or the task of a fresh agent")
    parser.add_argument("--iteration", type=int, default=450)
    parser.add_argument("--jobs", nargs=2, type=int, default=(4, 12), help="few, no fewer than workers, and many")
    parser.add_argument("--workers", nargs="+", type=int, default=(1, 2, 4))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--disk", type=Path, help="where the run folder is to be, for --limits")
    parser.add_argument("--here", nargs=2, type=int)
    chosen = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    if chosen.here:
        spent_here(chosen.agent, chosen.iteration, *chosen.here)
    elif chosen.limits:
        limits(chosen)
    else:
        compare(chosen)


if __name__ == "__main__":
    main()
