"""A finished run is answered from what it left: nothing is computed, drawn or written, and the same is printed."""

import json

import matplotlib as mpl
import pytest

from closerlook.cli import main
from closerlook.diagnostics import runner
from closerlook.results import leavings
from closerlook.results.store import RunFolder

mpl.use("Agg")
COMMAND = ["gradients", "atlas/hopper-ppo", "--iteration", "0", "--agent-seed", "0", "--pairs", "4096"]
COMMAND += ["--sizes", "128", "2048", "--estimates", "2", "--workers", "1", "--json"]
FIGURE, DATA = "gradients.png", "gradients.nc"


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


class Printed:
    """The command, given again and again in one folder."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys

    def __call__(self, *more, code=0):
        self.capsys.readouterr()
        assert main([*COMMAND, "--out", str(self.folder), *more]) == code
        return self.capsys.readouterr()

    def changed(self, *more):
        """Names of files that the command writes anew."""
        before = stamps(self.folder)
        self(*more)
        now = stamps(self.folder)
        return {path.name for path, stamp in now.items() if before.get(path) != stamp and path.is_file()}


@pytest.fixture
def given(tmp_path, capsys):
    return Printed(tmp_path, capsys)


@pytest.fixture
def nothing_runs(monkeypatch):
    """Jobs that are read, and figures that are drawn, are failures."""

    def refuse(*_, **__):
        raise AssertionError("something was computed or drawn")

    def forbid():
        monkeypatch.setattr(runner, "run_jobs", refuse)
        monkeypatch.setattr("closerlook.drawing.style.save_figure", refuse)

    return forbid


@pytest.mark.usefixtures("undrawn")
def test_the_same_command_writes_nothing_and_prints_the_same(given, nothing_runs):
    first = given()
    before = stamps(given.folder)
    nothing_runs()
    again = given()
    assert stamps(given.folder) == before
    assert again.out == first.out
    assert json.loads(first.out) == json.loads((given.folder / "gradients.json").read_text())
    # but for what was announced, and notes of drawing, people read the same too
    assert first.err.endswith(again.err)
    assert FIGURE in again.err
    assert "holds another run (pairs 4096 there, 8192 asked)" in given("--pairs", "8192", code=2).err
    assert {path: path.stat().st_mtime_ns for path in before if path.is_file()}.items() <= before.items()


@pytest.mark.usefixtures("undrawn")
def test_what_is_missing_or_altered_is_made_again_and_no_more(given):
    given()
    data = (given.folder / DATA).read_bytes()
    jobs = {path.name for path in (given.folder / "jobs").iterdir()}
    everything = {DATA, "gradients.json", "run.json"}
    (given.folder / FIGURE).unlink()
    assert given.changed() == {FIGURE, "gradients.svg", "run.json"}
    (given.folder / DATA).write_bytes(data[:-1])
    assert given.changed() == everything
    assert (given.folder / DATA).read_bytes() == data
    (given.folder / "gradients.json").unlink()
    assert given.changed() == everything
    assert given.changed() == set()
    assert given.changed("--no-resume") > everything | jobs


def altered(record, **changes):
    record |= {name: {**record[name], **value} if isinstance(value, dict) else value for name, value in changes.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda record: altered(record, finished=False),
        lambda record: altered(record, versions={"closerlook": "0.0.1"}),
        lambda record: altered(record, versions={"torch": "1.0"}),
        lambda record: altered(record, files=None),
        lambda record: altered(record, files={"../run.json": ""}),
        lambda record: altered(record, files={"no\0file": ""}),
        lambda record: record.pop("files"),
    ],
)
def test_only_what_this_version_finished_is_answered_from(tmp_path, change):
    settings = {"seed": 3}
    with RunFolder(tmp_path).open_for("gradients", settings) as folder:
        written = folder.write_text(DATA, "data")
        folder.keep(files=leavings.digests([written]))
        folder.finish(640)
    assert leavings.finished_files(RunFolder(tmp_path), "gradients", settings) == [written]
    assert leavings.finished_files(RunFolder(tmp_path), "gradients", {"seed": 4}) == []
    assert leavings.finished_files(RunFolder(tmp_path), "values", settings) == []
    record = json.loads((tmp_path / "run.json").read_text())
    change(record)
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert leavings.finished_files(RunFolder(tmp_path), "gradients", settings) == []


def test_figures_are_drawn_once_of_the_same_data(tmp_path):
    drawn = []

    def draw():
        drawn.append(folder.write_text("figure.svg", "picture"))
        return drawn[-1:]

    folder, data = RunFolder(tmp_path), tmp_path / DATA
    for content, times in (("data", 1), ("data", 1), ("other", 2), ("data", 3)):
        data.write_text(content)
        assert leavings.figures_of(folder, [data], draw) == [tmp_path / "figure.svg"]
        assert len(drawn) == times
    record = json.loads((tmp_path / "run.json").read_text())
    # a figure of another version, and a note that somebody altered, are none to go by
    for noted in (record["figures"] | {"versions": {}}, record["figures"] | {"files": ["figure.svg"]}, []):
        folder.write_json("run.json", record | {"figures": noted})
        leavings.figures_of(folder, [data], draw)
    assert len(drawn) == 6
