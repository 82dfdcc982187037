"""``closerlook landscape``: what it leaves, prints and refuses."""

import json

import matplotlib as mpl
import pytest

from closerlook import summary, verdicts
from closerlook.cli import main
from closerlook.results.reading import read_dataset
from quick_figures import quickly_drawn

mpl.use("Agg")
SMALL = ["--n-steps", "64", "--hidden", "8", "--ppo.minibatches", "2", "--ppo.policy-epochs", "1", "--gamma", "0.9"]
SMALL += ["--ppo.value-epochs", "1", "--workers", "1"]
OPTIONS = ["--pairs", "256", "--line-pairs", "256", "--heldout-pairs", "128", "--grid", "3", "--workers", "1"]
BOTH = ["--iteration", "0", "4", "--agent-seed", "0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landscape") / "run"
    train = ["train", "--seeds", "2", "--steps", "256", "--checkpoints", "0", "--out", str(folder), *SMALL]
    with quickly_drawn():
        assert main(train) == 0
    return folder


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    with quickly_drawn():
        assert main(["landscape", str(trained), *BOTH, *OPTIONS, "--out", str(folder)]) == 0
    return folder


def test_it_leaves_what_it_promises(measured):
    names = {path.name for path in measured.iterdir()}
    budgets = {"budgets.svg", "budgets.png"}  # of one stream and of four
    files = {f"landscape.{suffix}" for suffix in ("nc", "json", "svg", "png", "html")}
    assert names == {"run.json", "jobs"} | files | budgets
    found = read_dataset(measured / "landscape.nc")
    assert found["true_reward"].dims == ("agent", "step", "random")
    assert summary(found)["environment"] == "Hopper-v5"
    assert verdicts(found)[0]["statement"].startswith("iteration 0, seed 0: ")
    assert json.loads((measured / "landscape.json").read_text())["iteration"] == [0, 4]


@pytest.mark.usefixtures("undrawn")
def test_one_agent_prints_json_alone_and_goes_towards_a_checkpoint(trained, tmp_path, capsys):
    capsys.readouterr()
    options = ["--agent-seed", "1", "--iteration", "0", "--axes", "difference", "--towards", "4", "--json"]
    assert main(["landscape", str(trained), *OPTIONS, *options, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads((tmp_path / "landscape.json").read_text())
    assert json.loads(shown.out)["axes"] == ["difference"]
    assert "along the difference" in shown.err


def test_finished_jobs_are_kept_where_what_is_asked_makes_no_sense(trained, measured):
    jobs = {path.name for path in (measured / "jobs").iterdir()}
    options = ["--no-resume", "--grid", "1", "--out", str(measured)]
    assert main(["landscape", str(trained), *OPTIONS, *options]) == 2
    assert {path.name for path in (measured / "jobs").iterdir()} == jobs > set()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pairs", "1e11"], "days"),
        (["--range", "1", "3"], "range must hold 0, the agent itself"),
        (["--axes", "difference"], "leads nowhere"),
        (["--towards", "0"], "no axis is difference"),
        (["--grid", "1"], "grid must be from 2 to 1,001 (got 1)"),
    ],
)
def test_bad_input_is_one_line(trained, tmp_path, capsys, options, words):
    capsys.readouterr()
    assert main(["landscape", str(trained), *OPTIONS, *options, "--out", str(tmp_path / "new")]) == 2
    shown = capsys.readouterr().err.strip()
    assert words in shown
    assert len(shown.splitlines()) == 1


def test_what_is_stored_is_not_computed_or_announced_again(trained, measured, tmp_path, capsys, monkeypatch):
    """Nothing is left to do, so that no time is too long for it: though the dataset is to be made of stored answers."""
    (measured / "landscape.nc").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in (measured / "jobs").iterdir()}
    monkeypatch.setattr("closerlook.cli.console.LONG_SECONDS", 0.0)
    capsys.readouterr()
    assert main(["landscape", str(trained), *BOTH, *OPTIONS, "--out", str(measured)]) == 0
    assert "pairs of" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (measured / "jobs").iterdir()} == stamps
    assert main(["landscape", str(trained), "--iteration", "0", *OPTIONS, "--out", str(tmp_path)]) == 2
