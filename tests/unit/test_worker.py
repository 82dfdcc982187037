"""Workers that join what runs in a folder: the same answers, whoever comes, leaves, sleeps or dies."""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from closerlook.agents.loading import load
from closerlook.cli import main
from closerlook.diagnostics import find_diagnostic
from closerlook.diagnostics.subjects import resolve
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import Job, Silence, content_key, joining, packing, run_jobs, sharing
from closerlook.execution.jobs import Source
from closerlook.execution.joining import Done, answer_open_job, work
from closerlook.execution.packing import head_of, packed, unpacked
from closerlook.execution.sharing import Shared
from closerlook.results import open_jobs, ownership
from closerlook.results.answers import JobFiles
from closerlook.results.open_jobs import OpenJobs, note_crew
from closerlook.results.ownership import OWNER, Watched, owned
from closerlook.results.store import RunFolder
from failing_disk import FailingDisk
from killing import slowly, wait_for
from small_jobs import draw, fail, whoami

WORKER = "0123456789abcdef"


def jobs_of(count: int) -> list[Job]:
    return [Job(f"draw {n}", content_key("draw", n), draw, {"seed": 2 * n + 1}, pairs=10.0) for n in range(count)]


def same(one: list[dict], other: list[dict]) -> bool:
    def spelled(answers: list[dict]) -> list[dict]:
        return [{name: array.tobytes() for name, array in answer.items()} for answer in answers]

    return spelled(one) == spelled(other)


class Heard:
    """Listens, and remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def state(self, text: str) -> None:
        assert text


class Noting(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everybody look, beat and count as dead a hundred times sooner."""
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(joining, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(joining, "SEARCH_SECONDS", 0.05)
    monkeypatch.setattr(ownership, "BEAT", 0.05)
    monkeypatch.setattr(ownership, "SILENCE", 2.0)


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers answer jobs in the thread that they run in: no process has to be started."""

    def run(jobs: Source, processes: int) -> Iterator[tuple[int, dict]]:
        assert processes == jobs.most
        while not jobs.is_done:
            if (taken := jobs.take()) is None:
                time.sleep(0.01)
            else:
                yield taken[0], taken[1].run()

    monkeypatch.setattr(joining, "run_in_processes", run)


@contextmanager
def working(run: Path, *listeners: Heard, where: Path | None = None) -> Iterator[list[Done]]:
    """Own a run folder, have workers work beside a block, and see them end with it."""
    done: list[Done] = []

    def join(listener: Heard) -> None:
        try:
            done.append(work(where or run, 1, 0.3, listener))
        except InputError as error:
            listener.note(str(error))

    threads = [threading.Thread(target=join, args=(one,), daemon=True) for one in listeners]
    try:
        with owned(run):
            for thread in threads:
                thread.start()
            yield done
    finally:
        for thread in threads:
            thread.join(slowly(20.0))
            assert not thread.is_alive()


def refused(heard: Heard) -> None:
    """Wait until a worker has ended by an error, which it has said."""
    wait_for(lambda: heard.notes and not heard.notes[-1].startswith("joined"))


def offered(run: Path, jobs: list[Job], workers: int = 1) -> Shared:
    """Let jobs lie open, as a command does where there is a worker."""
    OpenJobs(run).path.mkdir(parents=True, exist_ok=True)
    own = OpenJobs(run).enter(WORKER, workers)
    shared = Shared(list(enumerate(jobs)), JobFiles(run / "jobs"), lambda _: None)
    shared.arrived()
    own.release()
    return shared


def take_all(run: Path, worker: str = WORKER) -> list[str]:
    return [key for key in OpenJobs(run).look().open if OpenJobs(run).take(key, worker)]


def finished(shared: Shared, seconds: float = 20.0) -> dict[int, dict]:
    """Run what is left here, as `run_serially` does."""
    found, stop = {}, time.monotonic() + seconds
    while not shared.is_done:
        assert time.monotonic() < stop
        if (taken := shared.take()) is not None:
            found[taken[0]] = taken[1].run()
        found |= dict(shared.arrived())
        time.sleep(0.01)
    return found


def test_two_workers_and_the_command_answer_together_what_it_answers_alone(tmp_path: Path, in_threads: None) -> None:
    jobs, heard, progress = jobs_of(40), [Heard(), Heard()], Noting()
    with working(tmp_path / "run", *heard, where=tmp_path) as done:
        wait_for(lambda: len(OpenJobs(tmp_path / "run").look().workers) == 2)
        answers = run_jobs(jobs, workers=1, cache=RunFolder(tmp_path / "run").jobs(), progress=progress)
        assert OpenJobs(tmp_path / "run").look().open == []
    assert same(answers, run_jobs(jobs, workers=1))
    stored = JobFiles(tmp_path / "run" / "jobs")
    assert same(answers, [stored.load(job.key) or {} for job in jobs])
    assert 0 < sum(one.jobs for one in done) < 40
    assert all(one.pairs == 10.0 * one.jobs for one in done)
    assert len([note for note in progress.notes if "works along, with 1 process" in note]) == 2
    assert "no command has worked in" in done[0].ended
    assert not (tmp_path / "run" / "open").exists()


def test_nothing_is_written_where_nobody_has_come(tmp_path: Path) -> None:
    run_jobs(jobs_of(3), workers=1, cache=RunFolder(tmp_path).jobs())
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]


@pytest.mark.parametrize(("processes", "open_jobs"), [(2, 2 * sharing.AHEAD), (200, sharing.MOST), (500, 500)])
def test_few_jobs_lie_open_however_many_there_are(tmp_path: Path, processes: int, open_jobs: int) -> None:
    jobs = [replace(jobs_of(1)[0], key=content_key("many", n)) for n in range(3000)]
    shared = offered(tmp_path, jobs, workers=processes)
    assert len(OpenJobs(tmp_path).look().open) == open_jobs
    shared.close()
    assert OpenJobs(tmp_path).look().open == []


def test_of_many_that_reach_for_a_job_one_gets_it(tmp_path: Path) -> None:
    offered(tmp_path, jobs_of(4))
    names, start, taken = [secrets.token_hex(8) for _ in range(8)], threading.Barrier(8), []

    def reach(name: str) -> None:
        start.wait()
        taken.extend(take_all(tmp_path, name))

    threads = [threading.Thread(target=reach, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(job.key for job in jobs_of(4))


def test_what_a_dead_worker_had_taken_is_answered_by_others(tmp_path: Path) -> None:
    shared = offered(tmp_path, jobs_of(4))
    path = OpenJobs(tmp_path).path / f"{WORKER}.1.worker"
    path.write_text(json.dumps({"token": "t", "host": "elsewhere", "boot": "b", "process": 1, "beat": 7}))
    assert len(take_all(tmp_path)) == 4
    begun = time.monotonic()
    assert same([answer for _, answer in sorted(finished(shared).items())], run_jobs(jobs_of(4), workers=1))
    assert time.monotonic() - begun > 1.5  # not before it had been silent for long enough
    assert not path.exists()


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_worker_that_beats_is_alive_whatever_clocks_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    path, now, seen = tmp_path / "x.worker", time.time, [0.0]
    watched = Watched(lambda: seen[0])
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
    for beat in range(6):
        lease = {"token": "t", "host": "elsewhere", "boot": "b", "process": 1, "beat": beat // 2}
        path.write_text(json.dumps(lease))
        os.utime(path, (now() + 3600 * hours,) * 2)
        seen[0] += 1.5
        assert watched.is_alive(path)
    seen[0] += 2.5
    assert not watched.is_alive(path)
    path.unlink()
    assert not watched.is_alive(path)


def test_a_worker_that_slept_while_its_job_was_done_lets_its_answer_go(tmp_path: Path) -> None:
    shared = offered(tmp_path, jobs_of(1))
    (key,) = take_all(tmp_path)
    woken, files = threading.Event(), OpenJobs(tmp_path)
    slow = Job("slow", key, lambda: woken.wait() and {"x": np.array(-1)}, {})
    # what it has taken holds an event, which does not travel: it is handed the job by the reader
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "unpacked", lambda *_: (slow, JobFiles(tmp_path / "jobs")))
        told: list[dict] = []
        thread = threading.Thread(target=lambda: told.append(answer_open_job(tmp_path, key, WORKER, "slow")))
        thread.start()
        answers = finished(shared)  # nobody beats: the job is given back, and run here
        JobFiles(tmp_path / "jobs").save(key, answers[0])
        before = (tmp_path / "jobs" / f"{key}.npz").read_bytes()
        woken.set()
        thread.join()
    assert told == [{}]
    assert (tmp_path / "jobs" / f"{key}.npz").read_bytes() == before
    assert files.look().taken == {}


def test_a_worker_that_comes_back_by_its_name_is_alive_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, files = offered(tmp_path, jobs_of(8)), OpenJobs(tmp_path)
    (files.path / f"{WORKER}.1.worker").touch()  # as it is before the first beat is written
    time.sleep(ownership.BEAT)
    shared.arrived()
    assert not files.look().workers
    monkeypatch.setattr(ownership, "BEAT", 1e6)  # leases that are known are not read again
    own = files.enter(WORKER, 1)
    shared.arrived()
    assert own.is_held
    own.release()


def test_an_answer_that_is_stored_twice_is_the_same(tmp_path: Path) -> None:
    offered(tmp_path, jobs_of(1))
    (key,) = take_all(tmp_path)
    content = OpenJobs(tmp_path).taken(key, WORKER).read_bytes()
    files = []
    for _ in range(2):
        job, store = unpacked(content, tmp_path)
        store.save(job.key, job.run())
        files.append((tmp_path / "jobs" / f"{key}.npz").read_bytes())
    assert files[0] == files[1]


def test_a_killed_command_leaves_to_its_workers_what_they_had_taken(tmp_path: Path) -> None:
    offered(tmp_path, jobs_of(3))
    own = OpenJobs(tmp_path).enter(WORKER, 1)
    taken = OpenJobs(tmp_path).look().open[0]
    assert OpenJobs(tmp_path).take(taken, WORKER)
    again = Shared(list(enumerate(jobs_of(3))), JobFiles(tmp_path / "jobs"), lambda _: None)
    mine = []
    while (one := again.take()) is not None:
        mine.append(one[1].key)
    assert sorted([*mine, taken]) == sorted(job.key for job in jobs_of(3))
    assert not again.is_done
    assert answer_open_job(tmp_path, taken, WORKER, "a job").keys() == {"stored"}
    wait_for(lambda: not (again.arrived() == [] and not again.is_done))
    assert again.is_done
    own.release()


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def headless(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [torn, headless])
def test_a_damaged_job_is_run_by_the_command_itself(
    tmp_path: Path, in_threads: None, damage: Callable[[Path], None]
) -> None:
    shared, heard = offered(tmp_path, jobs_of(2)), Heard()
    for path in OpenJobs(tmp_path).path.glob("*.job"):
        damage(path)
    with working(tmp_path, heard) as done:
        wait_for(lambda: len(OpenJobs(tmp_path).look().failed) == 2)
        assert len(finished(shared)) == 2
    assert (done[0].jobs, done[0].failed) == (0, 2)


def test_what_a_job_raises_elsewhere_is_raised_by_the_command(tmp_path: Path, in_threads: None) -> None:
    bad, heard, progress = Job("bad", content_key("bad"), fail, {"message": "reward is NaN"}), Heard(), Noting()
    jobs = [*jobs_of(1), bad]
    with working(tmp_path, heard):
        wait_for(lambda: OpenJobs(tmp_path).look().workers)
        with pytest.raises(NonFiniteError, match="reward is NaN; look at the rewards"):
            run_jobs(jobs, workers=1, cache=RunFolder(tmp_path).jobs(), progress=progress)
    assert not OpenJobs(tmp_path).look().open


def test_a_worker_whose_jobs_all_fail_gives_up_and_the_command_goes_on(tmp_path: Path, in_threads: None) -> None:
    heard, here = Heard(), os.getpid()

    def only_here(number: int) -> dict:
        if threading.current_thread() is not threading.main_thread():
            raise OSError("no such device")
        return {"number": np.array(number + here)}

    jobs = [Job(f"odd {n}", content_key("odd", n), only_here, {"number": n}) for n in range(12)]
    with working(tmp_path, heard):
        wait_for(lambda: OpenJobs(tmp_path).look().workers)
        shared = Shared(list(enumerate(jobs)), JobFiles(tmp_path / "jobs"), lambda _: None)
        shared.arrived()
        wait_for(lambda: heard.notes and "one after the other" in heard.notes[-1])
        assert len(finished(shared)) == 12
    assert "3 jobs failed here one after the other; the last one: OSError: no such device" in heard.notes[-1]


def test_a_module_that_is_not_here_ends_the_worker_in_one_line_and_loses_nothing(
    tmp_path: Path, in_threads: None
) -> None:
    shared, heard = offered(tmp_path, jobs_of(1)), Heard()
    (path,) = OpenJobs(tmp_path).path.glob("*.job")
    content = path.read_bytes().replace(b"small_jobs", b"smalljobs2")
    body = content.partition(b"\n")[2]
    head = replace(head_of(content), digest=packing._digest(body))
    path.write_bytes(json.dumps(vars(head)).encode() + b"\n" + body)
    with working(tmp_path, heard):
        refused(heard)
    assert heard.notes[-1].startswith(
        "draw 0 cannot be loaded here (ModuleNotFoundError: No module named 'smalljobs2')"
    )
    assert len(OpenJobs(tmp_path).look().open) == 1
    assert len(finished(shared)) == 1


def refusal(tmp_path: Path) -> str:
    """Return why a worker ends, where something lies open."""
    shared, heard = offered(tmp_path, jobs_of(2)), Heard()
    with working(tmp_path, heard):
        refused(heard)
    assert len(OpenJobs(tmp_path).look().open) == 2
    assert len(finished(shared)) == 2
    return heard.notes[-1]


def test_jobs_of_other_versions_are_refused(tmp_path: Path, in_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = packing.conditions()
    monkeypatch.setattr(joining, "conditions", lambda: {**ours, "torch": "1.0"})
    said = refusal(tmp_path)
    assert f"has other versions (torch {ours['torch']} there, 1.0 here); numbers would differ" in said


def test_another_processor_is_refused_unless_both_compute_compatibly(
    tmp_path: Path, in_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = packing.conditions()
    monkeypatch.setattr(joining, "conditions", lambda: {**ours, "processor": "Abacus"})
    assert "set MKL_CBWR=COMPATIBLE for both" in refusal(tmp_path)
    monkeypatch.setattr(joining, "conditions", lambda: {**ours, "processor": "Abacus", "MKL_CBWR": "COMPATIBLE"})
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    shared = offered(tmp_path, jobs_of(2))
    with working(tmp_path, Heard()) as done:
        wait_for(lambda: not OpenJobs(tmp_path).look().open)
    assert len(finished(shared)) == 2
    assert done[0].jobs == 2


def test_files_of_other_users_are_refused_before_they_are_read(
    tmp_path: Path, in_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "is a file of another user; jobs are code" in refusal(tmp_path)


def test_where_no_command_works_a_worker_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / OWNER).write_text("nobody's")
    assert main(["worker", str(tmp_path), "--wait", "0.1", "--json"]) == 2
    captured = capsys.readouterr()
    assert "no command worked in" in captured.err.splitlines()[-1]
    assert captured.out == ""
    assert main(["worker", str(tmp_path), "--wait", "-1"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [OWNER]


def test_paths_in_the_run_folder_are_those_of_who_reads_them(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    job = Job("x", "k", whoami, {"folder": str(there.resolve() / "shards"), "at": there / "jobs", "apart": "/else"})
    there_files = JobFiles(there / "jobs").for_others()
    content = packed(job, there_files, there)
    there.rename(here)
    found, store = unpacked(content, here)
    assert found.arguments == {
        "folder": str(here.resolve() / "shards"),
        "at": here.resolve() / "jobs",
        "apart": "/else",
    }
    assert isinstance(store, JobFiles)
    assert store.path == here.resolve() / "jobs"


LARGE = np.arange(packing.LARGE)


def shared_jobs(count: int) -> list[Job]:
    large = {"numbers": LARGE}
    return [Job(f"sum {n}", content_key("sum", n), add_up, {"large": large, "number": n}) for n in range(count)]


def add_up(large: dict, number: int) -> dict:
    return {"sum": np.array(large["numbers"].sum() + number)}


def parcels_in(run: Path) -> list[Path]:
    return sorted(OpenJobs(run).path.glob("*.parcel"))


def test_what_jobs_share_travels_once_and_goes_with_them(tmp_path: Path, in_threads: None) -> None:
    jobs = shared_jobs(4)
    shared = offered(tmp_path, jobs)
    (parcel,) = parcels_in(tmp_path)
    assert parcel.stat().st_size > LARGE.nbytes
    assert all(path.stat().st_size < 5000 for path in OpenJobs(tmp_path).path.glob("*.job"))
    with working(tmp_path, Heard()) as done:
        wait_for(lambda: not OpenJobs(tmp_path).look().open)
        answers = finished(shared)
    assert same([answer for _, answer in sorted(answers.items())], run_jobs(jobs, workers=1))
    assert done[0].jobs == 4
    shared.close()
    assert parcels_in(tmp_path) == []


def test_a_process_unpacks_what_jobs_share_once_and_forgets_it_in_the_end(tmp_path: Path) -> None:
    offered(tmp_path, shared_jobs(2))
    contents = [path.read_bytes() for path in sorted(OpenJobs(tmp_path).path.glob("*.job"))]
    first, second = (unpacked(content, tmp_path)[0].arguments["large"] for content in contents)
    assert first is second
    for number in range(packing.LATELY):
        run = tmp_path / str(number)
        offered(run, shared_jobs(2))
        unpacked(next(OpenJobs(run).path.glob("*.job")).read_bytes(), run)
    assert len(packing._lately) == packing.LATELY
    assert unpacked(contents[0], tmp_path)[0].arguments["large"] is not first


@pytest.mark.parametrize("spoil", [Path.unlink, torn])
def test_jobs_whose_parcel_is_spoilt_are_run_by_the_command(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    jobs = shared_jobs(3)
    shared = offered(tmp_path, jobs)
    keys = take_all(tmp_path)
    spoil(parcels_in(tmp_path)[0])
    for key in keys[:2]:
        assert "failed" in answer_open_job(tmp_path, key, WORKER, "a job")
    OpenJobs(tmp_path).give_back(keys[2], WORKER)
    answers = finished(shared)
    assert same([answer for _, answer in sorted(answers.items())], run_jobs(jobs, workers=1))
    OpenJobs(tmp_path).taken(keys[0], WORKER).write_bytes(b"")
    OpenJobs(tmp_path).taken(keys[0], WORKER).unlink()
    assert answer_open_job(tmp_path, keys[0], WORKER, "a job") == {}


def test_small_things_that_jobs_share_travel_with_each(tmp_path: Path) -> None:
    small = {"numbers": LARGE[:4]}
    jobs = [Job(f"sum {n}", content_key("small", n), add_up, {"large": small, "number": 0}) for n in range(2)]
    shared = offered(tmp_path, jobs)
    assert parcels_in(tmp_path) == []
    assert len(finished(shared)) == 2


def test_an_agent_does_not_travel_with_each_of_its_jobs(tmp_path: Path) -> None:
    agent = load("atlas/hopper-ppo", iteration=0, seed=0)
    asked = find_diagnostic("gradients")
    subjects = resolve([agent], None, 0, tmp_path / "shards")
    plan = asked.plan(subjects, asked.Options.of({"pairs": 2**17, "sizes": (2048,)}))
    jobs = next(asked.measure(subjects[0], plan))
    whole = packed(jobs[0], JobFiles(tmp_path / "jobs"), tmp_path)
    offered(tmp_path, jobs)
    (parcel,) = parcels_in(tmp_path)
    assert parcel.stat().st_size > 0.8 * len(whole)
    assert all(path.stat().st_size < 0.2 * len(whole) for path in OpenJobs(tmp_path).path.glob("*.job"))


def test_who_works_is_told_and_nothing_is_joined(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with owned(tmp_path / "run"):
        offered(tmp_path / "run", jobs_of(2))
        own = OpenJobs(tmp_path / "run").enter(WORKER, 3)
        take_all(tmp_path / "run")
        note_crew(tmp_path / "run", {"executor": "slurm", "states": {"RUNNING": 3}, "logs": "slurm"})
        assert main(["worker", str(tmp_path), "--status", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert main(["worker", str(tmp_path), "--status"]) == 0
        shown = capsys.readouterr().out
        own.release()
    command, worker = found["at_work"]
    assert command["who"] == worker["who"] == f"process {os.getpid()} on {ownership.this_host()[0]}"
    assert (command["processes"], worker["processes"]) == (None, 3)
    assert worker["jobs"] == ["draw 0", "draw 1"]
    assert found["brought"][0]["states"] == {"RUNNING": 3}
    assert "draw 0, draw 1" in shown
    assert "3 RUNNING" in shown


def test_where_nobody_works_that_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["worker", str(tmp_path), "--status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(tmp_path), "at_work": [], "brought": []}


def test_a_disk_that_fails_at_any_write_loses_nothing(
    tmp_path: Path, in_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, jobs = FailingDisk(monkeypatch), jobs_of(2)
    expected = run_jobs(jobs, workers=1)
    for at in range(1, 60):
        run = tmp_path / str(at)
        shared, heard = offered(run, jobs), Heard()
        taken = take_all(run)
        disk.begin(at, stays_full=False)
        for key in taken:
            try:
                answer_open_job(run, key, WORKER, "a job")
            except (InputError, OSError) as error:
                heard.note(str(error))
                OpenJobs(run).give_back(key, WORKER)
        has_failed = disk.has_failed
        disk.begin(0, stays_full=False)
        assert same([answer for _, answer in sorted(finished(shared).items())], expected)
        if not has_failed:
            assert at > 4
            return
    raise AssertionError("the disk never came to work")


def test_without_room_for_open_jobs_the_command_does_all_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("the disk is full", "make room")

    monkeypatch.setattr(open_jobs, "write_bytes", refuse)
    progress = Noting()
    own = OpenJobs(tmp_path).enter(WORKER, 1)
    answers = run_jobs(jobs_of(3), workers=1, cache=RunFolder(tmp_path).jobs(), progress=progress)
    own.release()
    assert same(answers, run_jobs(jobs_of(3), workers=1))
    assert len([note for note in progress.notes if "others are offered no more jobs: the disk is full" in note]) == 1


def test_what_a_run_leaves_open_goes_with_its_end(tmp_path: Path) -> None:
    with RunFolder(tmp_path).open_for("gradients", {"seed": 0}) as folder:
        offered(tmp_path, jobs_of(2))
        assert len(OpenJobs(tmp_path).look().open) == 2
        folder.finish(1)
    assert not (tmp_path / "open").exists()
