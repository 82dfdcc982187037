"""Run folders after everything that can happen to them: killed writes, failing disks, records that say nonsense."""

import json
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from closerlook.algorithms.ppo import PPOSettings
from closerlook.errors import InputError
from closerlook.execution import Silence
from closerlook.results import writing
from closerlook.results.store import RunFolder
from closerlook.simulation.engine import describe_environment
from closerlook.training import TrainSettings, train
from closerlook.training.plan import Plan, has_state
from closerlook.training.settings import initial_agents
from failing_disk import FailingDisk

SETTINGS = {"pairs": 1000, "seed": 0}
SHORT = TrainSettings(
    environment="training_environments:make_target", seeds=2, steps=14 * 64, n_steps=64, hidden=(4,),
    checkpoints=(0, 3),
    ppo=PPOSettings(policy_epochs=1, value_epochs=1, minibatches=1),
)  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file, the seconds that anything took aside."""
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if not file.is_dir()}
    record = json.loads(found.pop("run.json"))
    del record["wall_seconds"], record["date"]
    log = found.pop("training.csv", b"").decode().splitlines()
    names = log[0].split(",") if log else []
    kept = [at for at, name in enumerate(names) if not name.startswith("seconds_")]
    rows = [[row.split(",")[at] for at in kept] for row in log]
    answers = {name: None for name in found if name.endswith(".npz") and log}  # their log has seconds, too
    return {**found, **answers, "run.json": repr(record).encode(), "training.csv": repr(rows).encode()}


def measure(folder: Path, settings: dict[str, int] = SETTINGS, *, resume: bool = True) -> None:
    """Do what a measurement does to its folder."""
    with RunFolder(folder).open_for("gradients", settings, resume=resume) as run:
        jobs = run.jobs()
        for number in range(3):
            if jobs.load(f"key{number}") is None:
                jobs.save(f"key{number}", {"a": np.arange(number + settings["seed"])})
        run.write_text("figure.svg", "drawn")
        run.finish(7)


def plant(folder: Path) -> None:
    """Leave what kills and crashes have been seen to leave, and what they could."""
    for place in ("", "jobs", "jobs.old", "shards", "checkpoints/000003/00", "jobs.old/deeper"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name in (".key0.npz.123.tmp", ".run.json.0123456789abcdef.tmp"):
            (folder / place / name).write_bytes(b"half")
    (folder / "jobs.old" / "key0.npz").write_bytes(b"an answer")
    (folder / ".owner").write_bytes(b'{"token": "of one that was killed"')


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_no_leftover_is_in_the_way_and_none_stays(tmp_path: Path, *, begun: bool, resume: bool) -> None:
    measure(tmp_path / "whole")
    if begun:
        measure(tmp_path / "run")
    plant(tmp_path / "run")
    measure(tmp_path / "run", resume=resume)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_whatever_is_where_answers_are_put_aside_is_not_in_the_way(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    measure(tmp_path)
    make(tmp_path / "jobs.old")
    measure(tmp_path, {**SETTINGS, "seed": 1}, resume=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.svg", "jobs", "run.json"]


def test_a_folder_within_that_is_another_run_s_is_left_alone(tmp_path: Path) -> None:
    measure(tmp_path / "inner")
    theirs = tmp_path / "inner" / "jobs" / ".key9.npz.0123456789abcdef.tmp"
    theirs.touch()
    users = tmp_path / ".notes.tmp"
    users.touch()
    measure(tmp_path)
    assert theirs.exists()
    assert users.exists()


def said_so(command: Callable[..., object], *arguments: object, **options: object) -> bool:
    """Give a command: whether it ended with an error, which has to say that the disk refused."""
    said = ""
    try:
        command(*arguments, **options)
    except InputError as error:
        said = str(error)
    assert not said or "cannot be written" in said or "the disk is full" in said
    return bool(said)


@pytest.mark.parametrize("stays_full", [False, True])
@pytest.mark.parametrize("before", ["nothing", "the same", "another"])
def test_a_disk_that_fails_at_any_write_costs_nothing_but_the_same_command_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, *, stays_full: bool
) -> None:
    disk, settings = FailingDisk(monkeypatch), {**SETTINGS, "seed": 1}
    measure(tmp_path / "whole", settings)
    expected, errors = contents(tmp_path / "whole"), 0
    for number in count(1):
        folder = tmp_path / str(number)
        if before != "nothing":
            measure(folder, settings if before == "the same" else SETTINGS)
        disk.begin(number, stays_full=stays_full)
        errors += said_so(measure, folder, settings, resume=before != "another")
        failed = disk.has_failed
        disk.begin(0, stays_full=False)
        if not failed:
            break
        measure(folder, settings, resume=before != "another")
        assert contents(folder) == expected, number
    assert errors > 5


@pytest.mark.slow
@pytest.mark.parametrize("stays_full", [False, True])
def test_a_disk_that_fails_at_any_write_spoils_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stays_full: bool
) -> None:
    disk = FailingDisk(monkeypatch)
    expected = contents(train(SHORT, out=tmp_path / "whole", workers=1).folder)
    for number in count(1):
        folder = tmp_path / str(number)
        disk.begin(number, stays_full=stays_full)
        said_so(train, SHORT, out=folder, workers=1)
        failed = disk.has_failed
        disk.begin(0, stays_full=False)
        if not failed:
            break
        train(SHORT, out=folder, workers=1)
        assert contents(folder) == expected, number
    assert number > 50


def test_a_file_is_on_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def told(name: str, call: Callable[..., object]) -> Callable[..., None]:
        def then(*arguments: object) -> None:
            call(*arguments)
            done.append(name)

        return then

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, told(name, getattr(os, name)))
    RunFolder(tmp_path).write_json("run.json", {})
    assert done == ["fsync", "replace"]


def test_processes_of_one_number_on_two_hosts_do_not_write_to_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    inner = tmp_path / "x.json"

    def write(beside: Path) -> None:
        beside.write_bytes(b"first")
        writing.write_bytes(inner, b"second")
        assert beside.read_bytes() == b"first"

    writing.write_atomically(inner, write)
    assert inner.read_bytes() == b"first"


NONSENSE = ["9" * 401, "NaN", "Infinity", "-Infinity", "-1", "true", "1e999", "[]", "null"]


@pytest.mark.parametrize("name", ["wall_seconds", "pairs"])
@pytest.mark.parametrize("value", NONSENSE)
def test_seconds_and_pairs_that_are_no_amount_are_refused(tmp_path: Path, name: str, value: str) -> None:
    measure(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text()) | {name: "HERE"}
    (tmp_path / "run.json").write_text(json.dumps(record).replace('"HERE"', value))
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(InputError, match=rf"run\.json is not the record of a run \({name} is ") as caught:
        measure(tmp_path)
    assert len(str(caught.value)) < 300
    assert (tmp_path / "run.json").read_bytes() == before


class Interfering:
    """Progress that does something at the first report."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.acts: Iterator[Callable[[], object]] = iter([act])

    def start(self, total_pairs: float, label: str) -> None: ...
    def skip(self, pairs: float) -> None: ...
    def finish(self) -> None: ...
    def note(self, text: str) -> None: ...

    def advance(self, pairs: float) -> None:
        for act in self.acts:
            act()


def test_the_same_training_begun_meanwhile_is_refused_and_the_first_is_not_hurt(tmp_path: Path) -> None:
    expected, refused = contents(train(SHORT, out=tmp_path / "whole", workers=1).folder), []

    def begin_again() -> None:
        with pytest.raises(InputError, match="is in use by process") as caught:
            train(SHORT, out=tmp_path / "run", workers=1)
        refused.append(caught.value)

    train(SHORT, out=tmp_path / "run", workers=1, progress=Interfering(begin_again))  # type: ignore[arg-type]
    assert len(refused) == 1
    assert contents(tmp_path / "run") == expected


@pytest.mark.parametrize("reports", [1, 2])
def test_a_plan_whose_states_another_process_let_go_meanwhile_is_given_up(tmp_path: Path, reports: int) -> None:
    class Killed(Interfering):
        left = reports

        def advance(self, pairs: float) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SHORT, out=tmp_path / "run", workers=1, progress=Killed(int))  # type: ignore[arg-type]
    settings, answers = SHORT.resolved(), RunFolder(tmp_path / "run").jobs()
    plan = Plan(settings, describe_environment(settings.spec), 1, answers, tmp_path / "run")
    finished = contents(train(SHORT, out=tmp_path / "run", workers=1).folder)
    agents = initial_agents(settings, range(settings.seeds))
    for number in range(reports):
        assert not any(has_state(answer) for answer in plan.answer(number, agents, Silence()))
    with pytest.raises(InputError, match=r"the state of agent 0 after \d+ iterations was stored in .*, and is gone"):
        plan.answer(reports, agents, Silence())
    assert contents(tmp_path / "run") == finished
