"""``closerlook values``: what it leaves, prints, draws and refuses."""

import json
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from closerlook import load, summary, value_prediction, verdicts
from closerlook.cli import main
from closerlook.diagnostics.values.figure import BASELINES, plot_value_prediction
from closerlook.diagnostics.values.tables import tables_of
from closerlook.drawing.style import save_figure
from closerlook.results.reading import read_dataset
from quick_figures import quickly_drawn

mpl.use("Agg")
SMALL = ["--n-steps", "64", "--hidden", "8", "--ppo.minibatches", "2", "--ppo.policy-epochs", "1", "--gamma", "0.9"]
SMALL += ["--ppo.value-epochs", "1", "--workers", "1"]
OPTIONS = ["--pairs", "640", "--fit-pairs", "640", "--sizes", "16", "32", "64", "--restarts", "2"]
OPTIONS += ["--restart-copies", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values") / "run"
    train = ["train", "--seeds", "2", "--steps", "256", "--checkpoints", "0", "--out", str(folder), *SMALL]
    with quickly_drawn():
        assert main(train) == 0
    return folder


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    with quickly_drawn():
        assert main(["values", str(trained), "--iteration", "0", "4", *OPTIONS, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def dataset(measured):
    return read_dataset(measured / "values.nc")


def test_it_leaves_what_it_promises_and_no_transitions(measured):
    names = {path.name for path in measured.iterdir()}
    assert names == {"run.json", "jobs", *(f"values.{suffix}" for suffix in ("nc", "json", "svg", "png"))}


def test_the_summary_has_the_fixed_names(measured):
    told = json.loads((measured / "values.json").read_text())
    for name in ("gae_mre", "returns_mre"):
        for where in ("train", "heldout"):
            assert len(told[f"{name}_{where}"]) == len(told[f"{name}_{where}_low"]) == 4
    for name in ("explained_variance_gae", "explained_variance_returns", "noise_floor_mre"):
        assert {name, f"{name}_low", f"{name}_high"} <= set(told)
    assert set(told["baselines"]) == {"zero", "mean", "critic", "fitted", "optimal"}
    assert {"sizes", "pairwise_cosine", "low", "high"} <= set(told["baselines"]["critic"])
    assert told["lambda_sweep"]["lambdas"] == [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1]
    assert set(told["calibration"]) == {"gae", "returns", "cut_off_returns"}
    curve = told["calibration"]["returns"]
    assert set(curve) == {"predicted", "target", "target_low", "target_high"}
    assert np.shape(curve["predicted"]) == np.shape(curve["target"]) == (4, 10)
    assert told["audited"] == "updated"
    assert told["iteration"] == [0, 0, 4, 4]
    assert {verdict["area"] for verdict in told["verdicts"]} == {"values"}


def test_public_functions_know_the_dataset(dataset):
    assert verdicts(dataset)[0]["statement"].startswith("iteration 0, seed 0: ")
    assert summary(dataset)["environment"] == "Hopper-v5"


def test_the_same_command_computes_nothing_again(trained, measured):
    stamps = {path: path.stat().st_mtime_ns for path in measured.rglob("*")}
    assert main(["values", str(trained), "--iteration", "0", "4", *OPTIONS, "--out", str(measured)]) == 0
    assert {path: path.stat().st_mtime_ns for path in measured.rglob("*")} == stamps


@pytest.mark.usefixtures("undrawn")
def test_one_agent_prints_json_alone(trained, tmp_path, capsys):
    capsys.readouterr()
    options = ["--agent-seed", "1", "--iteration", "0", *OPTIONS, "--json", "--out", str(tmp_path)]
    assert main(["values", str(trained), *options]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads((tmp_path / "values.json").read_text())
    assert "how well the critic predicts" in shown.err
    assert "Gradient estimates by lambda" in shown.err


def test_tables_have_a_row_for_everything_known(dataset):
    errors, baselines, lambdas = tables_of(dataset)
    assert errors.row_count == 8
    assert baselines.row_count == 5
    assert lambdas.row_count == 9
    bare = dataset.assign({name: dataset[name] * np.nan for name in ("lambda_cosine", "noise_floor_mre")})
    assert len(tables_of(bare)) == 2
    assert tables_of(bare)[0].row_count == 7


def test_the_figure_has_a_row_for_each_iteration(dataset):
    axis = plot_value_prediction(dataset)
    axes = axis.figure.axes
    assert len(axes) == 8
    assert [one.get_title(loc="left").rpartition(" ")[2] for one in axes[::4]] == ["0", "4"]
    curves = [line for line in axes[2].lines if line.get_gid() == "baseline"]
    assert [line.get_label() for line in curves] == list(BASELINES.values())
    first = dataset["baseline_pairwise_cosine"].sel(baseline="fitted").isel(agent=slice(0, 2)).mean("agent")
    np.testing.assert_allclose(curves[0].get_ydata(), first.values)
    (own,) = (line for line in axes[3].lines if line.get_gid() == "own")
    assert own.get_xdata()[0] == 5  # 0.95 is the sixth
    plt.close("all")


def test_calibration_has_a_line_for_each_agent_and_the_diagonal(dataset):
    axis = plot_value_prediction(dataset).figure.axes[1]
    drawn = [line for line in axis.lines if line.get_gid() == "calibration"]
    first = dataset.isel(agent=slice(0, 2)).sel(target="returns")
    assert len(drawn) == 2
    for line, predicted, target in zip(
        drawn, first["calibration_predicted"].values, first["calibration_target"].values, strict=True
    ):
        np.testing.assert_array_equal(line.get_xdata(), predicted)
        np.testing.assert_array_equal(line.get_ydata(), target)
    (diagonal,) = (line for line in axis.lines if line.get_gid() == "diagonal")
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    alone = plot_value_prediction(dataset.isel(agent=0)).figure.axes[1]
    assert len(alone.collections) == 1  # bars of the intervals
    bare = dataset.assign(calibration_predicted=dataset["calibration_predicted"] * np.nan)
    assert "not known" in [text.get_text() for text in plot_value_prediction(bare).figure.axes[1].texts]
    plt.close("all")


def test_given_axes_take_the_baselines(dataset):
    _, axis = plt.subplots()
    assert plot_value_prediction(dataset, ax=axis) is axis
    assert axis.get_ylabel() == "mean pairwise cosine"
    plt.close("all")


def test_finished_jobs_are_kept_where_what_is_asked_makes_no_sense(trained, measured):
    jobs = {path.name for path in (measured / "jobs").iterdir()}
    options = ["--no-resume", "--lambdas", "1.5", "--out", str(measured)]
    assert main(["values", str(trained), *OPTIONS, *options]) == 2
    assert {path.name for path in (measured / "jobs").iterdir()} == jobs


def test_the_figure_is_the_same_bytes_though_its_layout_is_not_the_same_bits(dataset, tmp_path, monkeypatch):
    files = []
    for number, noise in enumerate((0.0, 3e-14, -3e-14)):
        axis = plot_value_prediction(dataset.isel(agent=slice(0, 2)))
        figure = axis.get_figure(root=True)
        draw = figure.draw_without_rendering

        def shifted(figure=figure, draw=draw, noise=noise):
            draw()
            for one in figure.axes:
                left, bottom, width, height = one.get_position(original=True).bounds
                one.set_position((left + noise, bottom, width - noise, height))

        monkeypatch.setattr(figure, "draw_without_rendering", shifted)
        files.append([file.read_bytes() for file in save_figure(axis, tmp_path / f"figure{number}")])
    assert files[0] == files[1] == files[2]


def test_agents_say_whether_their_optimiser_was_kept(dataset, measured):
    assert not dataset["update_fresh_optimizer"].any()
    assert json.loads((measured / "values.json").read_text())["update_fresh_optimizer"] == [0, 0, 0, 0]


@pytest.mark.parametrize(("forgotten", "fresh"), [("optimizer.policy.", False), ("optimizer.value.", True)])
def test_it_is_the_critics_optimiser_that_an_update_begins_with(trained, forgotten, fresh):
    agent = load(str(trained), seed=0)
    lesser = replace(agent, state={name: x for name, x in agent.state.items() if not name.startswith(forgotten)})
    small = {"pairs": 1280, "fit_pairs": 0, "updates": 1, "restarts": 0, "sizes": [128], "lambdas": [1], "workers": 1}
    assert bool(value_prediction(lesser, **small)["update_fresh_optimizer"]) == fresh


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fit-pairs", "64"], "one stream"),
        (["--lambdas", "1.5"], "from 0 to 1"),
        (["--restart-copies", "1"], "restart-copies"),
        (["--pairs", "64"], "too few"),
        (["--pairs", "1e11"], "days; give fewer --pairs"),
    ],
)
def test_bad_input_is_one_line(trained, tmp_path, capsys, options, words):
    capsys.readouterr()
    assert main(["values", str(trained), *OPTIONS[-2:], "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
