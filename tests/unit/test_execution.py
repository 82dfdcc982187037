"""The map over jobs: the same answers everywhere, nothing computed twice, nothing lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import Job, Within, WorkerError, close_pool, content_key, run_jobs
from closerlook.results.store import RunFolder
from small_jobs import answer_with, die, draw, fail, leave, stumble, whoami


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


@pytest.mark.parametrize(("function", "how"), [(die, "killed by SIGKILL"), (leave, "exit code 3")])
def test_a_worker_that_dies_is_one_clear_error_and_the_next_run_works(function, how):
    cache = Memory()
    with pytest.raises(WorkerError, match=f"{how} while it ran the deadly job.*same command again"):
        run_jobs([*jobs_of(2), Job("the deadly job", "dead", function, {})], workers=2, cache=cache)
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


def test_no_workers_is_an_error():
    with pytest.raises(InputError, match="--workers 1 or more"):
        run_jobs([], workers=0)


def test_a_stretch_within_a_longer_piece_of_work_only_advances_it():
    heard = Heard()
    run_jobs(jobs_of(2), workers=1, progress=Within(heard))
    assert heard.events == [("advance", 10.0), ("advance", 10.0)]


SCRIPT = """
import sys, time
import numpy as np
from closerlook.execution import Job, run_jobs
from closerlook.results.store import RunFolder

def slow(number, seconds):
    time.sleep(seconds)
    return {"number": np.array(number)}

seconds = float(sys.argv[2])
jobs = [Job(f"job {i}", f"job{i}", slow, {"number": i, "seconds": seconds if i >= 2 else 0.0}) for i in range(6)]
print(sum(int(r["number"]) for r in run_jobs(jobs, workers=2, cache=RunFolder(sys.argv[1]).jobs())), flush=True)
"""


def _script(tmp_path: Path, seconds: float) -> subprocess.Popen:
    """Start a script without a ``__main__`` guard, in a session of its own."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    command = [sys.executable, str(path), str(tmp_path / "run"), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True)


def _wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _all_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_ctrl_c_ends_the_workers_at_once_and_the_next_run_takes_up_the_rest(tmp_path):
    process = _script(tmp_path, seconds=60.0)
    _wait_for(lambda: len(list((tmp_path / "run" / "jobs").glob("*.npz"))) == 2)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does it: to the workers too
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1  # the script's own, none of a worker's
    _wait_for(lambda: _all_gone(process.pid), seconds=5.0)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "jobs").glob("*.npz")}
    output, errors = _script(tmp_path, seconds=0.0).communicate(timeout=60)
    assert (output, errors) == ("15\n", "")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    process = _script(tmp_path, seconds=2.0)
    _wait_for(lambda: len(list((tmp_path / "run" / "jobs").glob("*.npz"))) == 2)
    process.kill()
    process.communicate(timeout=20)
    _wait_for(lambda: _all_gone(process.pid))


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
