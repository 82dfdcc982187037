"""The study of sample regimes: windows of learning curves, peaks that noise does not make, the command."""

import json
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from closerlook.cli import main
from closerlook.cli.study_tables import table_of
from closerlook.errors import InputError
from closerlook.execution import Silence
from closerlook.results.reading import read_dataset
from closerlook.results.store import RunFolder
from closerlook.studies.regime_figure import plot_sample_regime
from closerlook.studies.sample_regime import (
    WINDOWS,
    Regimes,
    mean_of,
    peaks,
    preset_of,
    rewards_of,
    sample_regime,
    summary,
)

mpl.use("Agg")


def log_of(curves: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """A training log of so many seeds, one episode an iteration."""
    seeds, iterations = curves.shape
    at = np.arange(1, iterations + 1) * steps / iterations
    columns = {"environment_steps": np.repeat(at, seeds), "agent_seed": np.tile(np.arange(seeds), iterations)}
    return columns | {"mean_reward": curves.T.ravel(), "episodes": np.ones(curves.size)}


def test_curves_are_cut_into_windows_weighted_by_episodes():
    regimes = Regimes("hopper", (10,), (1e-3,), seeds=2, steps=400)
    curves = np.arange(80.0).reshape(2, 40)
    log = log_of(curves, 400)
    found = rewards_of(log, regimes)
    np.testing.assert_allclose(found["regime_reward"], curves.reshape(2, WINDOWS, 2).mean(-1))
    np.testing.assert_allclose(found["regime_final"], curves[:, -4:].mean(1))
    log["episodes"] = np.where(log["environment_steps"] == 400, 3.0, 1.0)
    assert rewards_of(log, regimes)["regime_reward"][0, -1] == pytest.approx((38 + 3 * 39) / 4)
    log["mean_reward"][0] = np.nan
    assert np.isfinite(rewards_of(log, regimes)["regime_reward"]).all()


def test_a_peak_is_where_the_others_are_highest():
    tenths = np.zeros((3, WINDOWS - 1))
    tenths[:, 10] = 5.0
    tenths[0, 3] = 100.0
    np.testing.assert_array_equal(peaks(tenths), [5.0, 0.0, 0.0])
    assert np.isnan(peaks(tenths[:1])).all()


def test_a_peak_pools_the_episodes_of_its_windows_as_the_final_reward_does():
    regimes = Regimes("hopper", (20,), (1e-3,), seeds=2, steps=400)
    curves = np.full((2, WINDOWS), -9.0)
    curves[:, 10:12] = [1.0, 5.0]
    log = log_of(curves, 400)
    log["episodes"] = np.where(log["mean_reward"] == 1.0, 3.0, 1.0)
    np.testing.assert_array_equal(rewards_of(log, regimes)["regime_peak"], [2.0, 2.0])


def test_noise_alone_makes_no_decline():
    rng, regimes, declines = np.random.default_rng(0), Regimes("hopper", (50,), (1e-3,), steps=1000), []
    for _ in range(2000):
        curves = 300 * np.exp(0.5 * rng.standard_normal((4, WINDOWS)))
        log = log_of(curves, 1000)
        log["episodes"] = np.maximum(np.round(50_000 / log["mean_reward"]), 1)  # a reward a step: longer ones are fewer
        declines.append(rewards_of(log, regimes)["regime_decline"].mean())
    assert abs(np.mean(declines)) < 3 * np.std(declines) / np.sqrt(len(declines))


def test_the_means_without_a_seed_are_those_of_the_others_alone():
    rng, regimes = np.random.default_rng(1), Regimes("hopper", (50,), (1e-3,), seeds=4, steps=1000)
    curves = rng.standard_normal((4, WINDOWS))
    found = rewards_of(log_of(curves, 1000), regimes)
    for own in range(4):
        alone = rewards_of(log_of(np.delete(curves, own, axis=0), 1000), replace(regimes, seeds=3))
        for name in ("regime_peak", "regime_decline"):
            assert found[f"{name}_without"][own] == pytest.approx(alone[name].mean())


def test_a_single_seed_has_a_final_reward_and_no_peak():
    regimes = Regimes("hopper", (50,), (1e-3,), seeds=1, steps=1000)
    found = rewards_of(log_of(np.ones((1, WINDOWS)), 1000), regimes)
    assert found["regime_final"].tolist() == [1.0]
    for name in ("regime_peak", "regime_decline", "regime_peak_without", "regime_decline_without"):
        assert np.isnan(found[name]).all()


def test_the_interval_of_a_decline_covers():
    """Seeds choose their windows for one another: Student's t over them covers 87% here."""
    rng, regimes = np.random.default_rng(2), Regimes("hopper", (50,), (1e-3,), seeds=8, steps=1000)
    intervals = []
    for _ in range(500):
        found = rewards_of(log_of(rng.standard_normal((8, WINDOWS)), 1000), regimes)
        intervals.append(mean_of(found["regime_decline"], found["regime_decline_without"]))
    covered = np.mean([one.low <= 0 <= one.high for one in intervals])  # flat curves decline by nothing
    assert covered >= 0.94


@pytest.mark.parametrize(("largest", "windows"), [(400, 1), (100, 4), (70, 5), (20, 20), (4, 20)])
def test_short_studies_have_no_window_without_an_iteration(largest, windows):
    regimes = Regimes("hopper", (2, largest), (1e-3,), seeds=2, steps=400)
    for batch in {2, largest}:
        iterations = 400 // batch
        curves = np.arange(2.0 * iterations).reshape(2, iterations)
        found = rewards_of(log_of(curves, iterations * batch), regimes)
        assert found["regime_reward"].shape == (2, windows)
        assert np.isfinite(found["regime_reward"]).all()
        np.testing.assert_array_equal(found["regime_decline"], [0.0, 0.0] if windows > 1 else [np.nan, np.nan])


def test_batches_are_whole_streams_or_one_shorter_one():
    regimes = Regimes("hopper", (512, 4096), (1e-4, 2e-4), seeds=3, steps=8192)
    assert [(s.n_envs, s.n_steps) for s in (regimes.settings(*one) for one in regimes.each())][1:3] == [
        (1, 512),
        (2, 2048),
    ]
    assert regimes.settings(4096, 2e-4).ppo.policy_learning_rate == 2e-4
    assert regimes.short == (512,)
    assert regimes.settings(4096, 2e-4).ppo.value_learning_rate == preset_of("hopper").ppo.value_learning_rate
    with pytest.raises(InputError, match="whole streams"):
        Regimes("hopper", (3000,), (1e-4,)).settings(3000, 1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batches": ()},
        {"learning_rates": (0.0,)},
        {"learning_rates": (1e-3, float("inf"))},
        {"learning_rates": (float("nan"),)},
        {"batches": (1,)},
        {"batches": (64, 64)},
        {"batches": (10**9,)},
        {"estimates": 1},
    ],
)
def test_what_means_nothing_is_refused(wrong):
    with pytest.raises(InputError):
        Regimes(**{"environment": "hopper", "batches": (64,), "learning_rates": (1e-3,)} | wrong)


def test_the_command_leaves_a_folder_for_each_task_and_goes_on(tmp_path, capsys):
    command = [
        "study",
        "sample-regime",
        "--scale",
        "smoke",
        "--batches",
        "32",
        "64",
        "--learning-rates",
        "1e-3",
    ]
    command += ["--seeds", "2", "--steps", "128", "--out", str(tmp_path), "--workers", "1", "--json"]
    assert main(command) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert "a batch of 32, 64 pairs is one stream" in " ".join(printed.err.split())
    assert np.array(found["final_mean"]).shape == (2, 1)
    assert np.isfinite(np.array(found["decline_mean"], float)).all()
    folder = tmp_path / "hopper"
    dataset = read_dataset(folder / "sample-regime.nc")
    assert dataset["regime_reward"].dims == ("batch_pairs", "learning_rate", "regime_seed", "window")
    assert np.isfinite(dataset["regime_cosine"]).all()
    for suffix in ("png", "svg", "json"):
        assert (folder / f"sample-regime.{suffix}").stat().st_size > 100
    kept = [tmp_path / "report.html", folder / "sample-regime.png", *folder.glob("*/*/jobs/*")]
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert "Sample" in (tmp_path / "report.html").read_text()
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps
    assert main([*command, "--steps", "16"]) == 2
    assert "steps must be at least the largest batch" in capsys.readouterr().err


SMALL = ["--batches", "64", "--learning-rates", "1e-3", "--seeds", "2", "--steps", "128", "--workers", "1"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no study was named"),
        (["sample-regime", "--tasks"], "no task was given"),
        (["sample-regime", "--tasks", "hopper", "Hopper-v5"], "or one twice"),
        (["sample-regime", "--seeds", "0"], "seeds must be at least 1 (got 0)"),
        (["sample-regime", "--steps", "0"], "steps must be at least 1 (got 0)"),
        (["sample-regime", "--tasks", "CartPole-v1", "Nope-v0", *SMALL], "unknown environment 'Nope-v0'"),
    ],
)
def test_nothing_is_trained_before_everything_is_checked(given, said, tmp_path, capsys):
    assert main(["study", *given, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("jobs"))


@pytest.fixture
def pageless(monkeypatch):
    """Neither figures nor a page: what is computed is in question."""
    monkeypatch.setattr("closerlook.studies.study.draw", lambda *_: [])
    monkeypatch.setattr("closerlook.cli.study.report", lambda folder: folder / "report.html")


@pytest.mark.usefixtures("pageless")
def test_without_resuming_everything_is_computed_again_with_other_settings_too(tmp_path, capsys):
    command = ["study", "sample-regime", "--tasks", "CartPole-v1", *SMALL, "--out", str(tmp_path), "--no-resume"]
    assert main(command) == 0
    jobs = [path for path in tmp_path.rglob("*.npz") if path.parent.name == "jobs"]
    assert {path.relative_to(tmp_path).parts[1] for path in jobs} >= {"gradients"}
    stamps = {path: path.stat().st_mtime_ns for path in jobs}
    assert main(command) == 0
    assert all(path.stat().st_mtime_ns > stamp for path, stamp in stamps.items())
    assert main([*command, "--seeds", "3"]) == 0, capsys.readouterr().err


def test_a_study_that_began_anew_and_was_interrupted_does_not_mix_runs(tmp_path):
    regimes = Regimes("training_environments:make_target", (64,), (1e-3, 2e-3), seeds=2, steps=128, estimates=0)
    sample_regime(regimes, out=tmp_path, workers=1)

    def stop_at_the_second(name, _streams):
        if name.startswith("2 of"):
            raise KeyboardInterrupt
        return Silence()

    with pytest.raises(KeyboardInterrupt):
        sample_regime(
            replace(regimes, steps=192), out=tmp_path, workers=1, resume=False, make_progress=stop_at_the_second
        )
    assert not list(tmp_path.glob("runs/64-0.002/jobs/*.npz"))
    found = sample_regime(replace(regimes, steps=192), out=tmp_path, workers=1)
    assert found.attrs["steps"] == 192


def test_a_study_forgets_nothing_of_another_kind(tmp_path):
    regimes = Regimes("training_environments:make_target", (64,), (1e-3,), seeds=2, steps=128, estimates=0)
    sample_regime(regimes, out=tmp_path, workers=1)
    RunFolder(tmp_path / "runs" / "mine").open_for("values", {})
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match="mine holds another run"):
        sample_regime(regimes, out=tmp_path, workers=1, resume=False)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.usefixtures("pageless")
def test_several_tasks_are_one_object_and_a_users_environment_is_measured_too(tmp_path, capsys):
    tasks = ["CartPole-v1", "environments:Bandit-v0"]
    assert main(["study", "sample-regime", "--tasks", *tasks, *SMALL, "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["tasks"]) == tasks
    assert np.isfinite(np.array(found["tasks"][tasks[1]]["cosine_mean"], float)).all()


def test_a_rate_that_diverges_is_counted_and_the_others_go_on(tmp_path):
    regimes = Regimes("training_environments:make_target", (64,), (1e-3, 1e39), seeds=2, steps=128, estimates=2)
    found = sample_regime(regimes, out=tmp_path, workers=1)
    np.testing.assert_array_equal(found["regime_failed"], [[0, 1]])
    assert np.isfinite(found["regime_final"].sel(learning_rate=1e-3)).all()
    assert np.isnan(found["regime_final"].sel(learning_rate=1e39)).all()
    np.testing.assert_array_equal(found["regime_best_rate"], [[1e-3, 1e-3]])
    assert "1 of 2 settings" in table_of(found).caption
    xr.testing.assert_identical(found, sample_regime(regimes, out=tmp_path, workers=1))
    plot_sample_regime(found)


def test_where_nothing_is_finite_no_rate_is_best(tmp_path):
    regimes = Regimes("training_environments:make_target", (64,), (1e38, 1e39), seeds=2, steps=128, estimates=0)
    found = sample_regime(regimes, out=tmp_path, workers=1)
    assert found["regime_failed"].values.tolist() == [[1, 1]]
    assert np.isnan(found["regime_best_rate"]).all()
    json.dumps(summary(found), allow_nan=False)
