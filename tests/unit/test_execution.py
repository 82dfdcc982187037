"""The map over jobs: the same answers everywhere, nothing computed twice, nothing lost."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import Job, Within, WorkerError, close_pool, content_key, crew_of, run_jobs
from closerlook.execution.threads import single_thread
from closerlook.results.store import RunFolder
from killing import left_of, running, slowly, wait_for, workers_of
from small_jobs import answer_with, die, die_before_a_child, draw, end_a_program, fail, leave, stumble, whoami


class Memory(dict):
    """A cache in memory that counts."""

    def load(self, key):
        return self.get(key)

    def save(self, key, result):
        assert key not in self
        self[key] = result


class Heard:
    def __init__(self):
        self.events = []

    def start(self, total_pairs, label):
        self.events.append(("start", total_pairs))

    def advance(self, pairs):
        self.events.append(("advance", pairs))

    def skip(self, pairs):
        self.events.append(("skip", pairs))

    def finish(self):
        self.events.append(("finish",))


def jobs_of(count=6):
    return [Job(f"draw {seed}", content_key("draw", seed), draw, {"seed": seed}, pairs=10.0) for seed in range(count)]


def same(one, other):
    return [{name: array.tobytes() for name, array in result.items()} for result in one] == [
        {name: array.tobytes() for name, array in result.items()} for result in other
    ]


def test_processes_answer_what_one_process_answers_in_any_order():
    serial = run_jobs(jobs_of(), workers=1)
    assert same(serial, run_jobs(jobs_of(), workers=2))
    assert same(serial, run_jobs(jobs_of()[::-1], workers=2)[::-1])


def test_a_job_whose_answer_is_stored_is_not_run_again():
    cache, heard = Memory(), Heard()
    run_jobs(jobs_of(3), workers=2, cache=cache)
    first = dict(cache)
    answers = run_jobs(jobs_of(5), workers=2, cache=cache, progress=heard)  # Memory refuses to store a key twice
    assert all(answers[i] is first[job.key] for i, job in enumerate(jobs_of(3)))
    assert heard.events == [("skip", 30.0), ("start", 50.0), ("advance", 10.0), ("advance", 10.0), ("finish",)]


def test_workers_stay_warm_between_runs_and_have_one_thread_each():
    pids = [{int(r["pid"]) for r in run_jobs([Job("who", "", whoami, {})] * 8, workers=2)} for _ in range(2)]
    assert pids[0] | pids[1] <= pids[0]
    assert os.getpid() not in pids[0]
    assert run_jobs([Job("who", "", whoami, {})], workers=2)[0]["threads"] == 1


def test_serial_jobs_have_one_thread_and_leave_the_setting_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert run_jobs([Job("who", "", whoami, {})], workers=1)[0]["threads"] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_within_a_block_of_one_thread_another_changes_nothing():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with single_thread():
            with single_thread():
                pass
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with single_thread():
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


DEATHS = [(die, "killed by SIGKILL"), (die_before_a_child, "killed by SIGKILL"), (leave, "exit code 3")]


@pytest.mark.parametrize(("function", "how"), DEATHS)
def test_a_worker_that_dies_is_one_clear_error_and_the_next_run_works(function, how):
    cache, begun = Memory(), time.monotonic()
    with pytest.raises(WorkerError, match=f"{how} while it ran the deadly job.*same command again"):
        run_jobs([*jobs_of(2), Job("the deadly job", "dead", function, {})], workers=2, cache=cache)
    assert time.monotonic() - begun < slowly(10.0)  # less than what it has forked lives on
    assert len(run_jobs(jobs_of(4), workers=2, cache=cache)) == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_user_s_arrives_whole(workers):
    with pytest.raises(NonFiniteError, match="reward is NaN; look at the rewards"):
        run_jobs([Job("bad", "bad", fail, {"message": "reward is NaN"})], workers=workers)


def test_an_unexpected_error_brings_the_worker_s_traceback():
    with pytest.raises(ZeroDivisionError) as caught:
        run_jobs([Job("divide", "divide", stumble, {})], workers=2)
    assert "in the worker that ran divide" in str(caught.value.__cause__)
    assert "in stumble" in str(caught.value.__cause__)


def test_what_cannot_travel_runs_here_with_one_line():
    lock = threading.Lock()  # a lock cannot be pickled
    jobs = [*jobs_of(2), Job("the local job", "local", answer_with, {"value": lock.locked})]
    with pytest.warns(UserWarning, match="the local job cannot travel to a worker process .* it runs in this one"):
        answers = run_jobs(jobs, workers=2)
    assert answers[2]["answer"] == 0


def test_functions_without_a_module_travel():
    offset = 3
    jobs = [Job("lambda", str(i), lambda x: {"y": np.array(x + offset)}, {"x": i}) for i in range(4)]
    assert [int(r["y"]) for r in run_jobs(jobs, workers=2)] == [3, 4, 5, 6]


def test_a_full_disk_ends_the_run_and_keeps_what_came_before():
    class Full(Memory):
        def save(self, key, result):
            if len(self) == 2:
                raise InputError("the disk is full", "make room")
            super().save(key, result)

    cache = Full()
    with pytest.raises(InputError, match="disk is full"):
        run_jobs(jobs_of(), workers=2, cache=cache)
    assert len(cache) == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be held to a core here")
def test_a_worker_is_for_each_core_that_may_be_used():
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert crew_of(None) == 1
    finally:
        os.sched_setaffinity(0, cores)
    assert crew_of(None) == len(cores)


def test_no_workers_is_an_error():
    with pytest.raises(InputError, match="--workers 1 or more"):
        run_jobs([], workers=0)


@pytest.mark.parametrize("workers", [10**30, 10**6, 10**400])
def test_more_workers_than_any_use_has_are_an_error(workers):
    with pytest.raises(InputError, match=r"workers must be at most \d+ \(got 1.{5,20}\)"):
        crew_of(workers)


def test_no_more_workers_are_started_than_there_are_jobs_and_those_there_stay():
    close_pool()
    started = []
    for jobs in (1, 2, 1):
        run_jobs(jobs_of(jobs), workers=4)
        started.append({child.pid for child in multiprocessing.active_children()})
    assert [len(some) for some in started] == [1, 2, 2]
    assert started[0] < started[1] == started[2]


def test_a_stretch_within_a_longer_piece_of_work_only_advances_it():
    heard = Heard()
    run_jobs(jobs_of(2), workers=1, progress=Within(heard))
    assert heard.events == [("advance", 10.0), ("advance", 10.0)]


SCRIPT = """
import os, sys, time
from pathlib import Path
import numpy as np
from closerlook.execution import Job, run_jobs
from closerlook.results.store import RunFolder

def slow(number, seconds):
    if number < 2:  # each is some worker's first, so that both workers are there from then on
        Path(f"{sys.argv[1]}-{number}").touch()
        while not all(Path(f"{sys.argv[1]}-{other}").exists() for other in range(2)):
            time.sleep(0.01)
    if seconds > 0 and sys.argv[3] == "holding the interpreter":
        sum(range(10**12))  # one call into C, during which no other thread runs
    time.sleep(seconds)
    return {"number": np.array(number)}

def fork():  # a process that has everything open which the driver had when its workers were there
    if os.fork() == 0:
        os.setsid()
        time.sleep(20)
        os._exit(0)

seconds = float(sys.argv[2])
jobs = [Job(f"job {i}", f"job{i}", slow, {"number": i, "seconds": seconds if i >= 2 else 0.0}) for i in range(6)]
if sys.argv[3] == "forking":
    run_jobs(jobs[:2], workers=2)
    fork()
print(sum(int(r["number"]) for r in run_jobs(jobs, workers=2, cache=RunFolder(sys.argv[1]).jobs())), flush=True)
"""


@contextmanager
def _script(tmp_path: Path, seconds: float, kind: str = "sleeping") -> Iterator[subprocess.Popen]:
    """Start a script without a ``__main__`` guard, and wait until its first two answers are stored."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    command = [str(path), str(tmp_path / "run"), str(seconds), kind]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: len(list((tmp_path / "run" / "jobs").glob("*.npz"))) >= 2)
        yield process


@pytest.mark.parametrize("kind", ["sleeping", "holding the interpreter"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_two_seconds_after_the_driver_was_ended(tmp_path, number, kind):
    if kind != "sleeping" and sys.platform != "linux":
        pytest.skip("elsewhere a job that holds the interpreter is waited for")
    with _script(tmp_path, 60.0, kind) as process:
        assert len(left_of(process.pid)) >= 3
        time.sleep(0.2)  # into the midst of jobs
        process.send_signal(number)
        process.wait(slowly(20))
        wait_for(lambda: not left_of(process.pid), seconds=2.0)
        assert process.returncode == -number


def test_no_worker_is_left_where_a_child_of_the_driver_lives_on(tmp_path):
    with _script(tmp_path, 60.0, "forking") as process:
        process.kill()
        process.wait(slowly(20))
        wait_for(lambda: not workers_of(process.pid), seconds=3.0)


def test_ctrl_c_ends_the_workers_at_once_and_the_next_run_takes_up_the_rest(tmp_path):
    with _script(tmp_path, 60.0) as process:
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does it: to the workers too
        _, errors = process.communicate(timeout=slowly(5))
        assert process.returncode == -signal.SIGINT
        assert errors.count("Traceback") == 1  # the script's own, none of a worker's
        wait_for(lambda: not left_of(process.pid), seconds=2.0)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "jobs").glob("*.npz")}
    with _script(tmp_path, 0.0) as process:
        assert process.communicate(timeout=slowly(60)) == ("15\n", "")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_workers_that_are_told_to_end_leave_that_to_their_driver(tmp_path):
    with _script(tmp_path, 2.0) as process:
        for worker in left_of(process.pid):
            if worker != process.pid:
                os.kill(worker, signal.SIGTERM)
        output, errors = process.communicate(timeout=slowly(60))
        assert (output, errors) == ("15\n", "")


def test_what_a_job_starts_can_be_told_to_end():
    (answer,) = run_jobs([Job("start", "start", end_a_program, {})], workers=2)
    assert answer["code"] == -signal.SIGTERM


def test_results_survive_files(tmp_path):
    jobs, cache = jobs_of(3), RunFolder(tmp_path).jobs()
    fresh = run_jobs(jobs, workers=1, cache=cache)
    assert same(fresh, run_jobs(jobs, workers=1, cache=cache))


def test_a_pool_can_be_closed_twice():
    close_pool()
    close_pool()


def test_keys_tell_different_contents_apart():
    contents = [
        1, 1.0, True, "1", b"1", None, [1], [[1]], [1, 1], {"a": 1}, {"b": 1}, {"a": [1]}, np.array(1), np.array([1]),
        np.array([1.0]), torch.tensor([1.0, 2.0]), np.array([[1.0, 2.0]]), EnvironmentSpec("A"), EnvironmentSpec("B"),
        ["ab", "c"], ["a", "bc"], float("nan"), float("inf"),
    ]  # fmt: skip
    assert len({content_key(content) for content in contents}) == len(contents)


def test_keys_are_the_same_for_the_same_contents():
    assert content_key({"a": 1, "b": (2.5,)}) == content_key({"b": [2.5], "a": np.int64(1)})
    assert content_key(torch.arange(3)) == content_key(np.arange(3))
    assert content_key(np.arange(6).reshape(2, 3).T) == content_key(np.arange(6).reshape(2, 3).T.copy())
    assert content_key("hopper", 1) == "0e3e27367ad3236e123940321f85a9c9"
    with pytest.raises(TypeError, match="cannot be part of a key"):
        content_key(object())
