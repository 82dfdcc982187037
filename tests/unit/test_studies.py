"""Studies: presets are checked, what figures share is done once, what was begun goes on, claims have their places."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from closerlook.cli import main
from closerlook.cli.console import Terminal
from closerlook.cli.study_tables import claims_tables
from closerlook.errors import InputError
from closerlook.execution import Silence
from closerlook.results.reading import read_dataset
from closerlook.results.store import RunFolder
from closerlook.results.training_log import read_training_log
from closerlook.studies.claims import load_claims
from closerlook.studies.found import find_results
from closerlook.studies.judging import judged
from closerlook.studies.preset import load_preset, preset_names
from closerlook.studies.study import plan_rows, plan_study, run_study, status_rows
from closerlook.studies.units import How, Measurement, Training

DATA = Path(__file__).parents[2] / "docs" / "data"
SMALL = """
title: A study of one's own
tasks: [hopper]
algorithms: [ppo, trpo]
train: {n_steps: 64, hidden: [4], ppo: {policy_epochs: 1, value_epochs: 1, minibatches: 1}}
measure:
  pool: {diagnostic: gradients, options: {estimates: 2, sizes: [64]}}
draw: pairwise_cosine
claims: [correlation-decays]
scales:
  smoke: {seeds: 2, iterations: [0, 2], train: {steps: 128}, measure: {pool: {options: {pairs: 128}}}}
"""


TASK = "training_environments:make_target"


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL)
    return path


def test_the_papers_figures_are_there_at_every_scale():
    names = preset_names()
    assert names[:20] == [f"fig{number}" for number in range(1, 21)]
    assert set(names[20:]) == {"table1", "sample-regime"}
    known = {claim.name for claim in load_claims()}
    for name in names:
        for scale in ("smoke", "laptop", "paper"):
            preset = load_preset(name, scale)
            assert preset.title, preset.source
            assert set(preset.claims) <= known


def test_figures_share_what_they_can(tmp_path):
    study = plan_study(["fig1", "fig2", "fig5", "fig6", "fig13"], "paper", tmp_path)
    measured = [unit for unit in study.units if isinstance(unit, Measurement)]
    # figures 1 and 2 draw on one pool for each algorithm, 5, 6 and 13 on the planes of a step of few pairs, and of many
    assert [unit.part.diagnostic for unit in measured] == ["gradients", "gradients", "landscape", "landscape"]
    assert study.needed_by(measured[0]) == ["fig1", "fig2"]
    assert study.needed_by(measured[2]) == ["fig5", "fig6", "fig13"]
    trained = [unit for unit in study.units if isinstance(unit, Training)]
    assert [(unit.task, unit.algorithm) for unit in trained] == [("humanoid", "ppo"), ("humanoid", "trpo")]


def test_training_that_another_one_covers_is_left_out(tmp_path):
    units = plan_study(["fig9", "fig3"], "smoke", tmp_path).units
    trained = [unit for unit in units if isinstance(unit, Training) and unit.task == "walker2d"]
    assert [unit.audited for unit in trained] == [True, True]  # PPO and TRPO, with critics audited: the same agents


def test_agents_of_the_atlas_count_where_their_settings_are_the_same(tmp_path):
    units = plan_study(["fig1"], "laptop", tmp_path).units
    assert all(unit.is_done for unit in units if isinstance(unit, Training))
    assert units[0].folder.name == "humanoid-ppo-v2"
    other = plan_study(["fig1"], "smoke", tmp_path).units
    assert not any(unit.is_done for unit in other)


def test_tasks_that_read_like_patterns_are_looked_for_by_their_names(tmp_path):
    hopper = next(unit for unit in plan_study(["fig9"], "laptop", tmp_path).units if isinstance(unit, Training))
    for task in ("/hopper", "**", "h*", "[hopper]"):
        assert not replace(hopper, task=task).is_done, task


def test_measurements_of_other_seeds_are_others(tmp_path):
    text = (
        "tasks: [hopper]\nseeds: 2\niterations: [0]\ntrain: {first_seed: %d}\nmeasure: {g: {diagnostic: gradients}}\n"
    )
    folders = set()
    for first in (0, 2):
        (tmp_path / "own.yaml").write_text(text % first)
        units = plan_study([str(tmp_path / "own.yaml")], "laptop", tmp_path).units
        (measured,) = [unit for unit in units if isinstance(unit, Measurement)]
        assert measured.numbers == [first, first + 1]
        folders.add(measured.folder)
    assert len(folders) == 2


def test_a_plan_runs_nothing_and_counts_what_the_paper_took(tmp_path):
    rows = plan_rows(plan_study(["fig1"], "paper", tmp_path))
    pools = [row for row in rows if row.label.startswith("gradients")]
    # ten estimates of up to a million pairs, four iterations, ten agents, for each algorithm
    assert [round(row.takes.pairs / 1e7) for row in pools] == [40, 40]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("titel: x", "unknown key 'titel'; did you mean title?"),
        ("tasks: hopper", "tasks must be a list"),
        ("tasks: [hopper]\nscales: {tiny: {}}", "there is no scale 'tiny'"),
        ("tasks: [hopper]\nscales: {smoke: {claims: []}}", "unknown key 'claims'"),
        ("tasks: [hopper]\nseeds: 0", "seeds must be a whole number of at least 1"),
        (f"tasks: [hopper]\nseeds: {10**400}", "seeds must be a finite number"),
        ("tasks: [hopper]\nseeds: true", "seeds must be a finite number"),
        ("tasks: [hopper]\ndraw: pie", "draw cannot be 'pie'"),
        ("tasks: [hopper]\nmeasure: {a: {diagnostic: colors}}", "there is no diagnostic 'colors'"),
        ("tasks: [hopper]\nmeasure: {gradients: {options: {pears: 3}}}", "there is no option 'pears'"),
        ("tasks: [hopper]\nmeasure: {gradients: {options: {seed: 3}}}", "the seed is the command's"),
        ("tasks: [hopper]\ntrain: {color: 3}", "training has no setting 'color'"),
        ("tasks: [hopper]\ntrain: {ppo: {color: 3}}", "color"),
        ("tasks: [Pendulum-v1]\ntrain: {preset: paper}", "the paper has no settings for Pendulum-v1"),
        ("tasks: [hopper]\nparts: [few]", "draws few, which it does not measure"),
        ("tasks: [hopper]\nagents: [ppo.zip]", "names agents, and trains others"),
        ("title: none", "names no agents and no tasks"),
        ("tasks: [hopper]\nclaims: [nonsense]", "there is no claim 'nonsense'"),
        ("tasks: [hopper]\niterations: [9]\ntrain: {steps: 2048}", "measures iteration 9, and training has 1"),
        ("like: nothing", "there is no study 'nothing'"),
        ("- a list", "must be a mapping of names"),
        ("a: [", "is not YAML"),
        ("a: !!python/object/apply:os.system ['touch hacked']", "is not YAML"),
        ("tasks: [Nope-v0]", "unknown environment 'Nope-v0'"),
        ('tasks: ["antigravity:make"]', "would run code of a module"),
        ('agents: ["antigravity:make"]', "would run code of a module"),
    ],
)
def test_a_file_that_means_nothing_is_refused_in_one_line(text, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["study", "mine.yaml", "--scale", "smoke", "--out", "out", "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.strip().count("\n") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_studies_that_are_like_one_another_are_refused(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(f"like: {second}")
    second.write_text(f"like: {first}")
    with pytest.raises(InputError, match="is like itself"):
        load_preset(str(first), "smoke")


def test_a_study_leaves_everything_and_computes_nothing_again(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("closerlook.cli.study.report", lambda folder: folder / "report.html")  # see test_sample_regime
    out = tmp_path / "out"
    command = ["study", str(small), "--tasks", TASK, "--scale", "smoke", "--out", str(out), "--workers", "1", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(file).name for file in found["figures"]["mine"]] == [
        f"mine-training-environments-make-target-{algorithm}.{suffix}"
        for algorithm in ("ppo", "trpo")
        for suffix in ("svg", "png")
    ]
    assert all(Path(file).stat().st_size > 1000 for file in found["figures"]["mine"])
    assert [claim["mark"] for claim in found["claims"]] == ["not_tested"]
    assert json.loads((out / "claims.json").read_text())["claims"] == found["claims"]
    assert {row.state for row in status_rows(out)} == {"done"}
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/**/*") if path.is_file()}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/**/*") if path.is_file()} == stamps


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_study_goes_on_to_the_same_numbers(small, tmp_path):
    small.write_text(SMALL.replace("[ppo, trpo]", "[ppo]"))
    whole, cut = (plan_study([str(small)], "smoke", tmp_path / name, tasks=(TASK,)) for name in ("whole", "cut"))
    run_study(whole, How(workers=1))

    class Stops(Silence):
        def advance(self, pairs):
            raise KeyboardInterrupt

    def stop(what, _environment, _trained):
        return Stops() if what.startswith("gradients") else Silence()

    with pytest.raises(KeyboardInterrupt):
        run_study(cut, How(workers=1, make_progress=stop))
    assert [row.state for row in status_rows(cut.home)] == ["done", "runs"]
    kept = {path: path.stat().st_mtime_ns for path in cut.home.rglob("*.npz")}
    assert any(path.parent.parent.name.startswith("gradients") for path in kept)
    run_study(cut, How(workers=1))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # finished jobs are not computed again
    for one, other in zip(whole.units, cut.units, strict=True):
        if isinstance(one, Measurement):
            xr.testing.assert_identical(read_dataset(one.file), read_dataset(other.file))


def test_what_fails_is_told_and_the_others_go_on(small, tmp_path, monkeypatch):
    def measure(self, how):
        if self.agents.algorithm == "ppo":
            raise InputError("a reward is not finite", "look at the environment")
        self.folder.mkdir(parents=True)

    monkeypatch.setattr(Measurement, "run", measure)
    monkeypatch.setattr(Measurement, "is_done", property(lambda self: self.folder.is_dir()))
    monkeypatch.setattr("closerlook.studies.study.find_results", lambda folders: [])
    outcome = run_study(plan_study([str(small)], "smoke", tmp_path / "out", tasks=(TASK,)), How(workers=1))
    assert outcome.failed == {f"gradients of {TASK}, PPO": "a reward is not finite; look at the environment"}
    assert outcome.files == {}  # a figure that lacks a part is not drawn
    assert [row.state for row in status_rows(tmp_path / "out")] == ["done", "done", "failed", "done"]


def test_a_folder_holds_studies_of_one_scale(small, tmp_path):
    with RunFolder(tmp_path / "out").open_for("study", {"scale": "laptop", "seed": 0}):
        pass
    with pytest.raises(InputError, match=r'holds another run .scale "laptop" there, "smoke" asked.'):
        run_study(plan_study([str(small)], "smoke", tmp_path / "out", tasks=(TASK,)), How(workers=1))


def test_agents_that_there_are_can_be_studied(tmp_path, capsys):
    path = tmp_path / "theirs.yaml"
    path.write_text(
        "agents: [atlas/hopper-ppo]\niterations: [450]\n"
        "measure: {gradients: {options: {pairs: 4096, estimates: 2, sizes: [2048]}}}\n"
    )
    command = ["study", str(path), "--scale", "smoke", "--plan", "--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert [part["label"] for part in found["parts"]] == ["gradients of atlas/hopper-ppo, PPO"]


def test_status_of_no_study_is_refused(tmp_path, capsys):
    assert main(["study", "--status", "--out", str(tmp_path / "nothing")]) == 2
    assert "there is no study at" in capsys.readouterr().err
    (tmp_path / "study.json").write_text('{"units": [{"label": "x"}]}')
    assert main(["study", "--status", "--out", str(tmp_path)]) == 2
    assert "is not what a study has written" in capsys.readouterr().err


def test_claims_are_judged_by_what_folders_hold(capsys):
    files = [str(DATA / f"gradients-{task}-ppo.nc") for task in ("hopper", "walker2d")]
    assert main(["claims", *files, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["claims"]
    by_claim = {name: [row for row in rows if row["id"] == name] for name in {row["id"] for row in rows}}
    assert set(by_claim) == {claim.name for claim in load_claims()}
    decays = {row["task"]: row for row in by_claim["correlation-decays"]}
    assert set(decays) == {"hopper", "walker2d"}
    # by hand: mean over seeds of the change of the cosine, and Student's t
    dataset = read_dataset(files[0])
    cosine = dataset["pairwise_cosine"].sel(size=2048).values
    change = cosine[dataset["iteration"].values == 450] - cosine[dataset["iteration"].values == 0]
    assert decays["hopper"]["value"] == pytest.approx(change.mean())
    assert decays["hopper"]["mark"] == "holds"
    assert decays["hopper"]["seeds"] == len(change) == 10
    contrast = by_claim["complexity-hopper-walker2d"]
    assert {row["task"] for row in contrast} == {"hopper against walker2d"}
    assert [row["mark"] for row in by_claim["jagged-at-2k"]] == ["not_tested"]
    assert by_claim["jagged-at-2k"][0]["value"] is None
    assert by_claim["jagged-at-2k"][0]["written"] == "2026-11-29"


def test_claims_are_read_at_the_width_of_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    files = [str(DATA / f"gradients-{task}-ppo.nc") for task in ("hopper", "walker2d")]
    assert main(["claims", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    claims = {claim.name: claim for claim in load_claims()}
    (start,) = [at for at, line in enumerate(lines) if line.startswith("trajectories-fall  ")]
    told = " ".join(line.strip() for line in lines[start : start + 3])
    assert claims["trajectories-fall"].statement in told
    assert "(iterations 0 to 450; logarithms; rule of 2026-11-24)" in told
    rows = [line.split() for line in lines[start : start + 6] if line.startswith(("hopper", "walker2d"))]
    assert [row[:3] for row in rows] == [["hopper,", "ppo", "holds"], ["walker2d,", "ppo", "holds"]]
    # columns of all claims stand below one another, and what was not tested is named once, at the end
    heads = [line for line in lines if line.split() == ["verdict", "value", "95%", "interval", "seeds", "p"]]
    assert len(heads) > 5
    assert len(set(heads)) == 1
    rest = lines[lines.index(next(line for line in lines if line.startswith("Not tested by these data"))) :]
    assert any("jagged-at-2k" in line for line in rest)
    assert not any("jagged-at-2k" in line for line in lines[: -len(rest)])


def claim_row(**more):
    row = {"id": "a-claim", "statement": "It [bold]falls[/bold].", "written": "2026-11-29", "rule": "x: level below 1"}
    row |= {"task": "hopper", "algorithm": "ppo", "where": "iteration 0", "measured": None, "mark": "holds"}
    return {
        **row,
        "value": -0.000123,
        "low": -0.000456,
        "high": -0.000789,
        "seeds": 5,
        "p": 0.01,
        "p_holm": 0.5,
        **more,
    }


def test_rows_of_a_claim_say_what_they_differ_in(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [claim_row(), claim_row(where="iteration 150", measured="2026-11-30", task="InvertedDoublePendulum-v5")]
    Terminal(as_json=False).result({}, *claims_tables(rows))
    text = capsys.readouterr().out
    assert "It [bold]falls[/bold]. (rule of 2026-11-29)" in text
    assert "0.5" in text.splitlines()[2]  # Holm's, not the row's own
    assert "0.01" not in text
    places = "".join(line[:14].strip() for line in text.splitlines()[2:])
    assert "InvertedDoublePendulum-v5" in places
    assert "iteration 150" in " ".join(line[:14].strip() for line in text.splitlines())
    assert "…" not in text
    alike = [claim_row(measured="2026-11-30"), claim_row(measured="2026-11-30", algorithm="trpo")]
    Terminal(as_json=False).result({}, *claims_tables(alike))
    assert "(iteration 0; rule of 2026-11-29; data of 2026-11-30)" in " ".join(capsys.readouterr().out.split())


def test_a_second_dataset_of_the_same_agents_is_judged_by_itself():
    claims = [claim for claim in load_claims() if claim.name == "correlation-decays"]
    found = find_results([DATA / "gradients-hopper-ppo.nc"])
    assert len(judged(claims, found)) == 1
    assert len(judged(claims, [*found, *found])) == 2


def test_every_claim_is_judged_by_datasets_of_all_kinds_together():
    names = ("sample-regime-hopper", "gradients-hopper-ppo", "trust-region-hopper-ppo", "values-hopper-ppo")
    rows = judged(load_claims(), find_results([DATA / f"{name}.nc" for name in names]))
    marks = {row["id"]: row["mark"] for row in rows}
    tested = {"larger-batches-agree-more", "correlation-decays", "directions-lower-the-reward", "critic-beats-zero"}
    assert "not_tested" not in {marks[name] for name in tested | {"better-gradients-gain-more"}}


def test_steps_of_few_pairs_and_of_many_are_told_apart():
    found = find_results([DATA / f"landscape-{kind}-hopper-ppo.nc" for kind in ("few", "many")])
    assert [one.task for one in found] == ["hopper few", "hopper many"]


def test_how_agents_end_is_read_from_their_logs():
    (one,) = find_results([DATA.parents[1] / "atlas" / "hopper-ppo"])
    assert (one.kind, one.task, one.algorithm) == ("train", "hopper", "ppo")
    assert np.isfinite(one.dataset["final_reward"]).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mine: {statement: a}", "does not say its variable"),
        ("mine: {statement: a, variable: b, statistic: mean, rule: below, bound: 0}", "there is no statistic 'mean'"),
        (
            "mine: {statement: a, variable: b, statistic: level, rule: below, bound: .nan}",
            "bound must be a finite number",
        ),
        ("mine: {statement: a, variable: b, statistic: level, rule: below, bound: 0}", "names no iterations"),
        (
            "mine: {statement: a, variable: b, statistic: change, rule: below, bound: 0, iterations: [1]}",
            "a change is from",
        ),
        (
            "mine: {statement: a, variable: b, statistic: contrast, rule: below, bound: 0, iterations: [1]}",
            "of two tasks",
        ),
        ("mine: {statement: a, hue: b}", "unknown key 'hue'"),
        ("mine: 3", "a claim must be a mapping"),
    ],
)
def test_claims_that_mean_nothing_are_refused(text, said, tmp_path, capsys):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    assert main(["claims", str(DATA / "gradients-hopper-ppo.nc"), "--claims", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_claims_of_ones_own_are_judged(tmp_path, capsys):
    path = tmp_path / "claims.yaml"
    path.write_text(
        "mine:\n  statement: Estimates of 2,048 pairs agree.\n  variable: pairwise_cosine\n  size: 2048\n"
        "  statistic: level\n  iterations: [450]\n  rule: above\n  bound: 0.0\n  written: 2026-11-01\n"
    )
    assert main(["claims", str(DATA / "gradients-hopper-ppo.nc"), "--claims", str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["claims"]
    assert (row["id"], row["mark"], row["written"]) == ("mine", "holds", "2026-11-01")
    assert row["rule"] == "pairwise_cosine at 2,048 pairs: level above 0"


@pytest.mark.parametrize("name", ["nothing.nc", "."])
def test_folders_without_results_are_refused(name, tmp_path, capsys):
    assert main(["claims", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_a_log_is_read_packed_or_not(tmp_path):
    (tmp_path / "training.csv").write_text("iteration,agent_seed,mean_reward,notes\n0,0,1.5,\n1,0,,odd\n")
    log = read_training_log(tmp_path)
    assert log["mean_reward"][0] == 1.5
    assert np.isnan(log["mean_reward"][1])
    (tmp_path / "training.csv").write_text("iteration,agent_seed,mean_reward\n0,0\n1,0,x\n")
    with pytest.raises(InputError, match="is not a training log"):
        read_training_log(tmp_path)
    assert read_training_log(tmp_path / "nowhere") is None
