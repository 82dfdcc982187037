"""``closerlook trust-region``: what it leaves, prints and refuses."""

import json

import matplotlib as mpl
import pandas as pd
import pytest

from closerlook import summary, verdicts
from closerlook.cli import main
from closerlook.results.reading import read_dataset
from quick_figures import quickly_drawn

mpl.use("Agg")
SMALL = ["--n-steps", "64", "--hidden", "8", "--ppo.minibatches", "2", "--ppo.policy-epochs", "1", "--gamma", "0.9"]
SMALL += ["--ppo.value-epochs", "1", "--workers", "1", "--audit-trust-region"]
OPTIONS = ["--repeats", "3", "--pairs", "128", "--return-pairs", "128", "--workers", "1"]
BOTH = ["--iteration", "0", "4", "--agent-seed", "0"]
FIXED = ("mean_kl_batch", "max_kl_batch", "mean_kl_heldout", "max_kl_heldout", "max_ratio", "clip_fraction")
FIXED += ("quadratic_kl", "predicted_improvement", "surrogate_improvement")
FIXED += ("true_improvement", "true_improvement_low", "true_improvement_high")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trust") / "run"
    train = ["train", "--seeds", "2", "--steps", "256", "--checkpoints", "0", "--out", str(folder), *SMALL]
    with quickly_drawn():
        assert main(train) == 0
    return folder


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    with quickly_drawn():
        assert main(["trust-region", str(trained), *BOTH, *OPTIONS, "--out", str(folder)]) == 0
    return folder


def test_it_leaves_what_it_promises(measured):
    names = {path.name for path in measured.iterdir()}
    assert names == {"run.json", "jobs", *(f"trust-region.{suffix}" for suffix in ("nc", "json", "svg", "png"))}
    found = read_dataset(measured / "trust-region.nc")
    assert found["mean_kl_heldout"].dims == ("agent", "repeat")
    assert summary(found)["environment"] == "Hopper-v5"
    assert verdicts(found)[0]["statement"].startswith("iteration 0, seed 0: ")
    assert json.loads((measured / "trust-region.json").read_text())["iteration"] == [0, 4]


def test_the_same_command_computes_nothing_again(trained, measured):
    stamps = {path: path.stat().st_mtime_ns for path in measured.rglob("*")}
    assert main(["trust-region", str(trained), *BOTH, *OPTIONS, "--out", str(measured)]) == 0
    assert {path: path.stat().st_mtime_ns for path in measured.rglob("*")} == stamps


@pytest.mark.usefixtures("undrawn")
def test_one_agent_prints_json_alone_with_the_fixed_names(trained, tmp_path, capsys):
    capsys.readouterr()
    options = ["--agent-seed", "1", "--iteration", "4", "--algo", "trpo", "--json", "--out", str(tmp_path)]
    assert main(["trust-region", str(trained), *OPTIONS, *options]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found == json.loads((tmp_path / "trust-region.json").read_text())
    assert all(len(found[name]) == 3 for name in FIXED)
    assert isinstance(found["verdicts"], list)
    assert "At multiples of the step" in shown.err


def test_training_leaves_its_audit_in_the_log(trained):
    log = pd.read_csv(trained / "training.csv")
    assert (log["audit_mean_reverse_kl"] > 0).all()
    assert log["audit_quadratic_kl"].notna().all()


def test_finished_jobs_are_kept_where_what_is_asked_makes_no_sense(trained, measured):
    jobs = {path.name for path in (measured / "jobs").iterdir()}
    options = ["--no-resume", "--repeats", "0", "--out", str(measured)]
    assert main(["trust-region", str(trained), *OPTIONS, *options]) == 2
    assert {path.name for path in (measured / "jobs").iterdir()} == jobs > set()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--return-pairs", "1e11"], "days"),
        (["--repeats", "0"], "repeats must be from 1 to 1,000 (got 0)"),
        (["--multiples", "-1"], "multiples must be positive"),
        (["--step-pairs", "1"], "step-pairs must be from 2 to 2,000,000 (got 1)"),
    ],
)
def test_bad_input_is_one_line(trained, tmp_path, capsys, options, words):
    capsys.readouterr()
    assert main(["trust-region", str(trained), *OPTIONS, *options, "--out", str(tmp_path / "new")]) == 2
    shown = capsys.readouterr().err.strip()
    assert words in shown
    assert len(shown.splitlines()) == 1
