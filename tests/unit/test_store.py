"""Run folders: whole files or none, the same run again or a clear refusal."""

import errno
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from closerlook.errors import InputError
from closerlook.results import schema
from closerlook.results.answers import JobFiles
from closerlook.results.store import RunFolder, as_json, versions
from closerlook.results.variables import Variable
from closerlook.studies.schema import every_variable

SETTINGS = {"pairs": 1000, "sizes": [128, 256], "seed": 0}


def test_run_json_says_what_was_asked_of_what_and_where(tmp_path):
    with RunFolder(tmp_path / "run").open_for("gradients", SETTINGS) as folder:
        assert folder.read_json("run.json")["finished"] is False
        folder.finish(pairs=1024.0)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["kind"] == "gradients"
    assert record["settings"] == SETTINGS
    assert (record["seed"], record["pairs"], record["finished"]) == (0, 1024, True)
    assert {"mujoco", "gymnasium", "torch", "closerlook"} <= set(record["versions"])
    assert record["wall_seconds"] >= 0
    assert record["host"]["cores"] == os.cpu_count()


def test_time_adds_up_over_attempts(tmp_path):
    with RunFolder(tmp_path).open_for("gradients", SETTINGS) as folder:
        folder._opened -= 100.0  # and no finish: interrupted
    folder = RunFolder(tmp_path).open_for("gradients", SETTINGS)
    folder.finish(pairs=1)
    assert folder.read_json("run.json")["wall_seconds"] >= 100.0


def test_the_same_settings_resume_and_others_are_refused_by_name(tmp_path):
    RunFolder(tmp_path).open_for("gradients", SETTINGS)
    RunFolder(tmp_path).open_for("gradients", {**SETTINGS, "sizes": (128, 256)})
    with pytest.raises(InputError) as caught:
        RunFolder(tmp_path).open_for("gradients", {"pairs": 2000, "sizes": [128, 256], "seed": 0, "iteration": 3})
    message = str(caught.value)
    assert "pairs 1000 there, 2000 asked" in message
    assert "iteration (not set) there, 3 asked" in message
    assert "sizes" not in message
    assert "another --out" in message
    assert "\n" not in message


def test_agents_that_differ_on_another_processor_may_be_the_same(tmp_path):
    RunFolder(tmp_path).open_for("gradients", {**SETTINGS, "agents": ["a"]})
    here = json.loads((tmp_path / "run.json").read_text())
    others = {**SETTINGS, "agents": ["b"]}
    for processor, asked, told in (
        (here["host"]["processor"], others, False),
        ("Abacus", others, True),
        ("Abacus", {**others, "pairs": 2000}, False),
        (None, others, False),
    ):
        (tmp_path / "run.json").write_text(json.dumps(here | {"host": here["host"] | {"processor": processor}}))
        with pytest.raises(InputError, match="give another --out, or delete that one") as caught:
            RunFolder(tmp_path).open_for("gradients", asked)
        assert ("(Abacus there" in str(caught.value) and "MKL_CBWR=COMPATIBLE" in str(caught.value)) is told


def test_records_with_no_host_are_refused_by_their_settings(tmp_path):
    RunFolder(tmp_path).open_for("gradients", {**SETTINGS, "agents": ["a"]})
    here = json.loads((tmp_path / "run.json").read_text())
    for host in (None, "Abacus", []):
        (tmp_path / "run.json").write_text(json.dumps(here | {"host": host}))
        with pytest.raises(InputError, match=r"holds another run .* there, .* asked"):
            RunFolder(tmp_path).open_for("gradients", {**SETTINGS, "agents": ["b"]})


def test_another_kind_is_refused(tmp_path):
    RunFolder(tmp_path).open_for("gradients", SETTINGS)
    with pytest.raises(InputError, match='kind "gradients" there, "train" asked'):
        RunFolder(tmp_path).open_for("train", SETTINGS)


DAMAGED = {
    "empty": b"",
    "cut": b"{",
    "list": b"[1]",
    "binary": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "nothing": b"{}",
    "settings": b'{"kind": "gradients", "settings": null, "wall_seconds": 0, "pairs": 0}',
    "kind": b'{"kind": ["x"], "settings": {}, "wall_seconds": 0, "pairs": 0}',
    "seconds": b'{"kind": "gradients", "settings": {}, "wall_seconds": "abc", "pairs": 0}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_a_clear_error(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json"):
        RunFolder(tmp_path).open_for("gradients", SETTINGS)


def test_a_path_that_cannot_be_a_folder_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="cannot be written"):
            RunFolder(path).open_for("gradients", SETTINGS)


def test_answers_come_back_as_they_went(tmp_path):
    jobs = RunFolder(tmp_path).jobs()
    assert jobs.load("absent") is None
    answer = {"a": np.arange(3), "file": np.array(np.nan), "empty": np.zeros((0, 2), dtype=np.float32)}
    jobs.save("key", answer)
    found = jobs.load("key")
    assert set(found) == set(answer)
    for name, array in answer.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_run_that_begins_anew_forgets_answers_and_transitions(tmp_path):
    RunFolder(tmp_path).open_for("gradients", SETTINGS)
    for folder in ("jobs", "shards"):
        JobFiles(tmp_path / folder).save("key", {"a": np.arange(3)})
    RunFolder(tmp_path).write_text("figure.svg", "kept")
    with RunFolder(tmp_path).open_for("gradients", {"seed": 1}, resume=False) as folder:
        assert folder.jobs().load("key") is None
        assert not (tmp_path / "shards/key.npz").exists()
        folder.jobs().save("other", {"a": np.arange(3)})
        folder.finish(1)
    kept = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*") if path.is_file()}
    assert kept == {"figure.svg", "run.json", "jobs/other.npz"}
    assert not (tmp_path / "jobs.old").exists()


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_a_run_that_began_anew_and_was_ended_does_not_go_on_from_older_answers(tmp_path, how):
    RunFolder(tmp_path).open_for("gradients", SETTINGS).jobs().save("key", {"a": np.arange(3)})

    def interrupt():
        with RunFolder(tmp_path).open_for("gradients", SETTINGS, resume=False):
            raise KeyboardInterrupt

    if how == "killed":
        RunFolder(tmp_path).open_for("gradients", SETTINGS, resume=False)
    else:
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert RunFolder(tmp_path).open_for("gradients", SETTINGS).jobs().load("key") is None
    assert not (tmp_path / "jobs.old").exists()


def test_a_run_of_another_kind_is_never_replaced(tmp_path):
    RunFolder(tmp_path).open_for("gradients", SETTINGS).jobs().save("key", {"a": np.arange(3)})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(InputError, match='kind "gradients" there, "values" asked'):
        RunFolder(tmp_path).open_for("values", SETTINGS, resume=False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_refused_before_its_first_answer_leaves_the_folder_as_it_was(tmp_path, resume):
    path = tmp_path / "run"

    def refuse(asked):
        with RunFolder(path).open_for("gradients", asked, resume=resume):
            raise InputError("it takes days", "ask for less")

    with pytest.raises(InputError):
        refuse(SETTINGS)
    assert not path.exists()
    with RunFolder(path).open_for("gradients", SETTINGS) as folder:
        folder.jobs().save("key", {"a": np.arange(3)})
        folder.finish(7)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    if resume:  # what is stored is gone on from, and the time it took is noted
        with pytest.raises(InputError):
            refuse(SETTINGS)
        assert set(before) == {file for file in path.rglob("*") if file.is_file()}
    else:
        with pytest.raises(InputError):
            refuse({"pairs": 10**9})
        assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with RunFolder(path).open_for("gradients", SETTINGS) as folder:
        assert folder.jobs().load("key") is not None


def test_a_run_refused_after_its_first_answer_keeps_it(tmp_path):
    def die_after_one() -> None:
        with RunFolder(tmp_path).open_for("gradients", SETTINGS) as folder:
            folder.jobs().save("key", {"a": np.arange(3)})
            raise InputError("a worker died", "try again")

    with pytest.raises(InputError):
        die_after_one()
    assert RunFolder(tmp_path).open_for("gradients", SETTINGS).jobs().load("key") is not None


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text", "pickle"])
def test_a_damaged_answer_counts_as_missing(tmp_path, damage):
    jobs = RunFolder(tmp_path).jobs()
    jobs.save("key", {"a": np.arange(1000.0)})
    path = tmp_path / "jobs" / "key.npz"
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
    elif damage == "empty":
        content = bytearray()
    elif damage == "text":
        content = bytearray(b"not an archive")
    path.write_bytes(content)
    if damage == "pickle":
        np.savez(path, a=np.array([{}], dtype=object))
    assert jobs.load("key") is None
    jobs.save("key", {"a": np.arange(3.0)})
    assert jobs.load("key") is not None


ALTERED = {
    "a number": {"a": np.arange(3.0) + 1e-9, "b": np.ones(2)},
    "a name": {"a": np.arange(3.0), "c": np.ones(2)},
    "a name less": {"a": np.arange(3.0)},
    "a type": {"a": np.arange(3.0, dtype=np.float32), "b": np.ones(2)},
    "a shape": {"a": np.arange(3.0)[:, None], "b": np.ones(2)},
    "nothing": {"a": np.arange(3.0), "b": np.ones(2)},
}


@pytest.mark.parametrize("change", ALTERED)
def test_an_altered_answer_counts_as_missing(tmp_path, change):
    jobs = RunFolder(tmp_path).jobs()
    jobs.save("key", ALTERED["nothing"])
    with zipfile.ZipFile(tmp_path / "jobs" / "key.npz") as archive:
        digest = archive.comment
    np.savez(tmp_path / "jobs" / "key.npz", **ALTERED[change])
    assert jobs.load("key") is None
    with zipfile.ZipFile(tmp_path / "jobs" / "key.npz", "a") as archive:
        archive.comment = digest
    assert (jobs.load("key") is None) == (change != "nothing")


def test_an_answer_under_another_name_counts_as_missing(tmp_path):
    jobs = RunFolder(tmp_path).jobs()
    jobs.save("key", {"a": np.arange(3.0)})
    (tmp_path / "jobs" / "key.npz").rename(tmp_path / "jobs" / "other.npz")
    assert jobs.load("other") is None


@pytest.fixture
def full_disk(monkeypatch):
    """Fail every write half way, as a full disk does."""

    def fill(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", fill)


def test_nothing_half_written_is_left(tmp_path, full_disk):
    for write in (
        lambda: RunFolder(tmp_path).jobs().save("key", {"a": np.arange(1000)}),
        lambda: RunFolder(tmp_path).write_json("x.json", {"a": 1}),
    ):
        with pytest.raises(InputError, match=r"disk is full.*make room and give the same command again"):
            write()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_old_file_survives_a_failed_write(tmp_path, request):
    folder = RunFolder(tmp_path)
    folder.write_json("x.json", {"old": True})
    request.getfixturevalue("full_disk")
    with pytest.raises(InputError, match="disk is full"):
        folder.write_json("x.json", {"old": False})
    assert folder.read_json("x.json") == {"old": True}


def test_datasets_come_back_as_they_went(tmp_path):
    dataset = xr.Dataset({"y": (("size",), [0.5, np.nan])}, coords={"size": [128, 256]}, attrs={"environment": "E"})
    path = RunFolder(tmp_path).write_dataset("gradients.nc", dataset)
    with xr.open_dataset(path, engine="netcdf4") as found:
        xr.testing.assert_identical(found.load(), dataset)


def test_json_has_null_for_what_is_not_a_number():
    content = {"a": np.array([1.0, np.nan, -np.inf]), 3: (np.float32(0.5), np.int64(2), None, True), "p": Path("x")}
    assert as_json(content) == {"a": [1.0, None, None], "3": [0.5, 2, None, True], "p": "x"}


def test_versions_name_what_results_depend_on():
    assert {"closerlook", "mujoco", "gymnasium", "torch", "numpy"} <= set(versions())


ONE = Variable("y", ("agent", "size"), "1", "A number.", "Somebody (2020)")


def test_the_schema_labels_what_it_defines():
    labeled = schema.validate(xr.Dataset({"y": (("size",), [1.0])}), [ONE])
    assert labeled["y"].attrs == {"units": "1", "long_name": "A number.", "source": "Somebody (2020)"}
    assert labeled.attrs["schema_version"] == schema.SCHEMA_VERSION
    schema.validate(xr.Dataset({"y": (("agent", "size"), [[1.0]])}), [ONE])
    assert "| `y` | agent, size | 1 | A number. | Somebody (2020) |" in schema.describe([ONE])


def test_every_row_of_the_schema_has_its_cells():
    variables = every_variable()
    rows = schema.describe(variables.values()).splitlines()
    assert len(rows) == len(variables) + 2
    assert {row.count("|") for row in rows} == {6}
    assert any("KL(old &#124;&#124; new)" in row for row in rows)


def test_the_schema_refuses_what_it_does_not_define():
    with pytest.raises(ValueError, match="z is not defined"):
        schema.validate(xr.Dataset({"z": (("size",), [1.0])}), [ONE])
    with pytest.raises(ValueError, match="y has dimensions"):
        schema.validate(xr.Dataset({"y": (("time",), [1.0])}), [ONE])
    with pytest.raises(ValueError, match="y is defined twice"):
        schema.by_name([ONE, Variable("y", (), "1", "Another number.")])
