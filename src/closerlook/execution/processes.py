"""Jobs in one spawned process per core.

The workers are started once and kept warm: training asks for hundreds of short runs of jobs, and a worker's first
second goes into importing torch and MuJoCo. Jobs travel by cloudpickle, functions of the calling script included: a
worker never runs that script again, and the script needs no ``if __name__ == "__main__"``.
"""

import atexit
import fcntl
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle

from closerlook.errors import InputError
from closerlook.execution.jobs import Job, Listed, Result, Source
from closerlook.execution.serial import PAUSE, run_serially
from closerlook.execution.threads import single_thread_environment
from closerlook.streams import Forgiving

_SPAWN = multiprocessing.get_context("spawn")
LOOK_SECONDS = 1.0
"""After which it is looked whether a process is there whose pipe says nothing.

A pipe comes to its end with the last process that has it open: that may be one which a job or a script has forked.
"""


class WorkerError(InputError):
    """A worker process that died before it answered."""


class RemoteTraceback(Exception):  # noqa: N818 - the cause of an error, not one itself
    """Where in a worker an error arose, as text."""


def _serve(connection: Connection) -> None:
    """Be a worker: answer jobs until the other end closes; what they print goes to stderr, stdout is for results."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which programs that a job starts would inherit
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    # stdout belongs to the command's result: what a job prints goes to stderr
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr = Forgiving(sys.stderr)
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))


def _end_with_parent() -> None:
    """Have this process killed as soon as the one that started it is gone, however that went, in the midst of a job.

    A pipe whose other end only the parent has open then comes to its end. A thread waits for that. Where a job holds
    the interpreter the thread cannot run; on Linux the kernel then ends the process, by SIGIO, which is deadly there.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    # the kernel sends SIGIO when the parent's end closes, even in the midst of a long computation; a thread is the
    # fallback
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait_for_end, args=(parent.sentinel, parent.pid), daemon=True).start()


def _wait_for_end(sentinel: int, parent: int | None) -> None:
    while os.getppid() == parent and not wait([sentinel], LOOK_SECONDS):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _answer(payload: bytes) -> bytes:
    try:
        job: Job = cloudpickle.loads(payload)
        return bytes(cloudpickle.dumps((job.run(), None, "")))
    except Exception as error:  # whatever the job raised is raised again at the other end
        trace = traceback.format_exc()
        try:
            return bytes(cloudpickle.dumps((None, error, trace)))
        except Exception:  # an error that cannot travel is told by its text
            return bytes(cloudpickle.dumps((None, RuntimeError(str(error)), trace)))


class Worker:
    """One process and the pipe to it."""

    def __init__(self, number: int) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(theirs,), name=f"closerlook-{number}", daemon=True)
        self.process.start()
        theirs.close()
        self.job: tuple[int, Job] | None = None

    def give(self, number: int, job: Job, payload: bytes) -> None:
        """Set it to work.

        Parameters
        ----------
        number : int
            Of the job.
        job : Job
            What is asked.
        payload : bytes
            The job as it travels.
        """
        self.job = (number, job)
        with suppress(OSError):  # a worker that died is found, with its exit code, where its answer is awaited
            self.connection.send_bytes(payload)

    def take(self) -> tuple[int, Result]:
        """Take its answer.

        Raises
        ------
        WorkerError
            Where the process ended instead.
        Exception
            What the job raised, the worker's traceback as its cause.
        """
        assert self.job is not None
        number, job = self.job
        if not (self.connection.poll() or self.process.is_alive() or self.connection.poll()):
            raise self._death(job)
        try:
            result, error, trace = cloudpickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            raise self._death(job) from None
        if error is not None:
            raise error from RemoteTraceback(f"in the worker that ran {job.name}:\n{trace}")
        self.job = None
        return number, result

    def _death(self, job: Job) -> WorkerError:
        self.process.join(timeout=5)
        code = self.process.exitcode
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return WorkerError(
            f"a worker process {how} while it ran {job.name}",
            "finished jobs are kept: give the same command again, with fewer --workers if memory ran out",
        )

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.connection.close()


class Pool:
    """Worker processes that stay until they are closed."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    def grow(self, workers: int) -> None:
        """Start workers until there are so many."""
        missing = range(len(self.workers), workers)
        if missing:
            with single_thread_environment(), _interrupts_held(), _main_hidden():
                for number in missing:
                    self.workers.append(Worker(number))

    @property
    def alive(self) -> bool:
        """Whether every worker is there and none is at work."""
        return all(worker.process.is_alive() and worker.job is None for worker in self.workers)

    def run(self, jobs: Source) -> Iterator[tuple[int, Result]]:
        """Answer numbered jobs, in the order in which answers come; jobs that cannot travel come last, run here."""
        stay: list[tuple[int, Job]] = []
        busy: dict[Any, Worker] = {}
        idle = list(self.workers)
        while busy or not jobs.is_done:
            while idle and (taken := jobs.take()) is not None:
                number, job = taken
                payload = _pack(job)
                if payload is None:
                    stay.append((number, job))
                    continue
                worker = idle.pop()
                worker.give(number, job, payload)
                busy[worker.connection] = worker
            # an idle worker is given what another process gives back, or what has just come
            for connection in _answered(busy, LOOK_SECONDS if jobs.is_done or not idle else PAUSE):
                worker = busy.pop(connection)
                answer = worker.take()
                idle.append(worker)
                yield answer
            yield from jobs.arrived()
        yield from run_serially(Listed(stay))

    def close(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.process.join(timeout=5)


def _answered(busy: Mapping[Any, Worker], seconds: float) -> list[Any]:
    """Wait so long, at most, until some workers have answered, or have died: their connections."""
    if not busy:
        time.sleep(min(seconds, PAUSE))
        return []
    return wait(list(busy), seconds) or [one for one in busy if not busy[one].process.is_alive()]


def _pack(job: Job) -> bytes | None:
    """Pickle a job; None, with one line of warning, where something in it cannot be pickled."""
    try:
        return bytes(cloudpickle.dumps(replace(job, smaller=None)))
    except Exception as error:  # pickling runs the arguments' own code, which may raise anything
        reason = " ".join(str(error).split())
        warnings.warn(f"{job.name} cannot travel to a worker process ({reason}): it runs in this one", stacklevel=2)
        return None


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back while processes start: they inherit the mask, and are left to this one to end."""
    resource_tracker.ensure_running()  # the first process would start it, and that lifts the mask again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Show spawned processes an empty ``__main__``, so that they do not run the calling script again."""
    before = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


_lock = threading.RLock()
_warm: dict[str, Pool] = {}


def run_in_processes(jobs: Source, workers: int) -> Generator[tuple[int, Result]]:
    """Answer numbered jobs in worker processes, in the order in which answers come.

    Whatever ends the run early - an error, Ctrl-C, the caller losing interest - ends the workers at once.

    Parameters
    ----------
    jobs : Source
        Where they are taken from.
    workers : int
        Processes at most.

    Raises
    ------
    InputError
        Where this process may not start others.
    WorkerError
        Where a worker died.
    """
    _require_children()
    with _lock:
        try:
            yield from _warm_pool(workers, jobs.most).run(jobs)
        except BaseException:
            close_pool()
            raise


def _warm_pool(workers: int, jobs: int) -> Pool:
    """Return the workers that are there, none more than were asked for, and no new ones than there are jobs for."""
    pool = _warm.get("pool")
    if pool is None or not pool.alive or len(pool.workers) > workers:
        close_pool()
        pool = _warm["pool"] = Pool()
    pool.grow(min(workers, jobs))
    return pool


def close_pool() -> None:
    """End the warm workers, if there are any; the next run of jobs starts new ones."""
    pool = _warm.pop("pool", None)
    if pool is not None:
        pool.close()


atexit.register(close_pool)


def may_start_processes() -> bool:
    """Whether this process may start others."""
    process = multiprocessing.current_process()
    return not (getattr(process, "_inheriting", False) or process.daemon)


def _require_children() -> None:
    process = multiprocessing.current_process()
    if getattr(process, "_inheriting", False):
        raise InputError(
            "a worker process was asked for while this process was itself being started",
            'put the script\'s work under `if __name__ == "__main__":`, or use workers=1',
        )
    if process.daemon:
        raise InputError("a worker process of another library cannot start processes of its own", "use workers=1")
