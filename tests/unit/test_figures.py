"""Figures as data: what is drawn, where, under which name."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from closerlook.diagnostics import all_diagnostics, verdicts
from closerlook.diagnostics.gradients.figure import plot_gradient_quality
from closerlook.diagnostics.landscape.budget_figure import plot_budgets
from closerlook.diagnostics.landscape.figure import plot_landscape
from closerlook.diagnostics.trust_region.figure import plot_trust_region
from closerlook.diagnostics.values.figure import curve_of, plot_value_prediction
from closerlook.drawing.critic_audit import has_audit, plot_critic_audit
from closerlook.drawing.style import COLORS, save_figure, scale_pairs, short_number, spread
from closerlook.drawing.training import plot_training
from closerlook.errors import InputError
from closerlook.results.reading import read_dataset
from cosines import cosine_dataset, training_log

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def lines(axis, gid):
    return [line for line in axis.lines if line.get_gid() == gid]


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_one_agent_is_one_line_with_its_band_on_a_log_axis():
    dataset = cosine_dataset(seeds=(3,), iterations=(150,))
    axis = plot_gradient_quality(dataset)
    (line,) = lines(axis, "estimate")
    whole = dataset["size"].values >= 2048
    np.testing.assert_array_equal(line.get_xdata(), dataset["size"].values[whole])
    np.testing.assert_array_equal(line.get_ydata(), dataset["pairwise_cosine"].values[whole])
    assert axis.get_xscale() == "log"
    assert len(axis.collections) == 1
    band = axis.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(dataset["pairwise_cosine_low"].values.min())
    assert band[:, 1].max() == pytest.approx(dataset["pairwise_cosine_high"].values.max())
    assert axis.get_title(loc="left") == "Hopper-v5 · PPO · iteration 150"
    assert axis.get_ylabel() == "mean pairwise cosine similarity"


@pytest.mark.parametrize("name", [r"$\frac$", "$x$ and $y$", r"a\$b$", "50$"])
def test_names_are_drawn_as_they_are(name, tmp_path):
    dataset = cosine_dataset(seeds=(3,), iterations=(150,)).assign_attrs(environment=name, algorithm=name)
    axis = plot_gradient_quality(dataset)
    (file,) = save_figure(axis, tmp_path / "figure", ["svg"])  # which parses what mathematics there is
    assert file.exists()


def test_sizes_below_a_stream_are_dashed_hollow_and_named():
    axis = plot_gradient_quality(cosine_dataset(seeds=(0,), iterations=(0,)))
    (hollow,), (dashes,) = lines(axis, "hollow"), lines(axis, "below")
    np.testing.assert_array_equal(hollow.get_xdata(), [128, 512])
    assert hollow.get_markerfacecolor() == "white"
    np.testing.assert_array_equal(dashes.get_xdata(), [128, 512, 2048])  # up to the first whole stream
    assert dashes.get_linestyle() == "--"
    assert "less than one stream of 2,048" in axis.get_xlabel()


def test_nothing_is_dashed_where_all_sizes_are_whole_streams():
    axis = plot_gradient_quality(cosine_dataset(seeds=(0,), iterations=(0,), sizes=(2048, 4096)))
    assert lines(axis, "hollow") == []
    assert "stream" not in axis.get_xlabel()


def test_the_training_batch_is_marked_in_every_panel_and_worded_once():
    axes = plot_gradient_quality(cosine_dataset()).figure.axes
    assert [lines(axis, "batch")[0].get_xdata()[0] for axis in axes] == [2048, 2048]
    assert [any("training batch" in text for text in words(axis)) for axis in axes] == [False, True]


def test_several_iterations_are_panels_with_shared_axes_and_a_line_for_each_seed():
    axes = plot_gradient_quality(cosine_dataset(iterations=(60, 0))).figure.axes
    assert [axis.get_title(loc="left") for axis in axes] == ["iteration 0", "iteration 60"]
    assert len({axis.get_xlim() for axis in axes}) == len({axis.get_ylim() for axis in axes}) == 1
    for axis in axes:
        assert [line.get_label() for line in lines(axis, "estimate")] == ["seed 0", "seed 1"]
        assert [line.get_color() for line in lines(axis, "estimate")] == list(COLORS[:2])
    assert {"seed 0", "seed 1"} <= set(words(axes[-1]))


def test_many_agents_are_thin_lines_with_their_mean_and_t_interval():
    dataset = cosine_dataset(seeds=range(10), iterations=(0,))
    axis = plot_gradient_quality(dataset)
    assert len(lines(axis, "agent")) == 10
    (mean,) = lines(axis, "estimate")
    cosines = dataset["pairwise_cosine"].values
    np.testing.assert_allclose(mean.get_ydata(), cosines.mean(axis=0)[2:])
    half = 2.2621572 * cosines.std(axis=0, ddof=1) / np.sqrt(10)  # t quantile, 9 degrees of freedom
    band = axis.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((cosines.mean(axis=0) + half).max())
    assert "mean of 10 agents" in words(axis)


def test_there_is_no_mean_where_noise_hides_the_numbers_of_some_agents():
    dataset = cosine_dataset(seeds=range(10), iterations=(0,), true=True)
    dataset["true_cosine_corrected"][3, 3:] = np.nan
    above, below = plot_gradient_quality(dataset).figure.axes
    (mean,) = lines(below, "estimate")
    cosines = dataset["true_cosine_corrected"].values
    np.testing.assert_allclose(mean.get_ydata(), [*cosines.mean(axis=0)[2:3], np.nan, np.nan])
    assert any("9 of 10 known" in text for text in words(below))
    assert not any("known" in text for text in words(above))
    pairwise, true = all_diagnostics()["gradients"].panels(dataset)
    np.testing.assert_allclose(true.series[10].y, [*cosines.mean(axis=0)[:3], np.nan, np.nan])
    assert "9 of 10 known" in true.note
    assert "known" not in pairwise.note


def test_a_mean_over_agents_of_whom_one_has_no_number_is_not_drawn():
    dataset = cosine_dataset(seeds=range(3), iterations=(0,)).rename(pairwise_cosine="one", gradient_norm="two")
    dataset["two"][1, 2] = np.nan
    for name in ("one", "two"):
        middle, low, high = curve_of(dataset, name, {})
        expected = dataset[name].values.mean(axis=0)
        np.testing.assert_allclose(middle, expected)  # which is not known where one number is not
        np.testing.assert_array_equal(np.isnan(low), np.isnan(expected))
        np.testing.assert_array_equal(np.isnan(high), np.isnan(expected))


def test_given_axes_take_everything_and_labels_say_what_differs():
    _, axis = plt.subplots()
    assert plot_gradient_quality(cosine_dataset(), axis) is axis
    labels = [line.get_label() for line in lines(axis, "estimate")]
    assert labels == [f"iteration {i}, seed {s}" for i in (0, 60) for s in (0, 1)]
    _, axis = plt.subplots()
    plot_gradient_quality(cosine_dataset(seeds=(0,)), axis)
    assert [line.get_label() for line in lines(axis, "estimate")] == ["iteration 0", "iteration 60"]


def test_true_cosines_and_predictions_are_drawn_below_on_the_same_axes():
    dataset = cosine_dataset(seeds=(0, 1), iterations=(0, 60), true=True)
    figure = plot_gradient_quality(dataset).figure
    assert len(figure.axes) == 4
    upper, lower = figure.axes[0], figure.axes[2]
    assert upper.get_shared_x_axes().joined(upper, lower)
    assert "cosine to the true gradient" in lower.get_ylabel()
    np.testing.assert_array_equal(
        lines(lower, "estimate")[0].get_ydata(), dataset["true_cosine_corrected"].values[0][dataset["size"] >= 2048]
    )
    np.testing.assert_array_equal(lines(lower, "predicted")[1].get_ydata(), dataset["predicted_true_cosine"].values[1])
    assert "dotted: predicted from the noise scale" in figure.get_supxlabel()
    assert words(lower) == []
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["iteration 0", "iteration 60", "", ""]


def test_one_agent_has_two_rows_and_its_own_title():
    figure = plot_gradient_quality(cosine_dataset(seeds=(0,), iterations=(60,), true=True)).figure
    upper, lower = figure.axes
    assert upper.get_title(loc="left") == "Hopper-v5 · PPO · iteration 60"
    assert lower.get_xlabel().startswith("state-action pairs in an estimate")
    assert "dotted" in lower.get_xlabel()


def test_missing_cosines_are_gaps_not_zeros():
    dataset = cosine_dataset(seeds=(0,), iterations=(0,))
    for name in ("pairwise_cosine", "pairwise_cosine_low", "pairwise_cosine_high"):
        dataset[name][3] = np.nan
    (line,) = lines(plot_gradient_quality(dataset), "estimate")
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]


def test_an_agent_that_does_not_say_its_iteration_has_none_in_the_title():
    axis = plot_gradient_quality(cosine_dataset(seeds=(-1,), iterations=(-1,)))
    assert axis.get_title(loc="left") == "Hopper-v5 · PPO"


def test_negative_cosines_are_inside_the_axes():
    dataset = cosine_dataset(seeds=(0,), iterations=(0,))
    dataset["pairwise_cosine_low"][0] = -0.34
    assert plot_gradient_quality(dataset).get_ylim()[0] <= -0.34


def test_training_is_a_line_for_each_seed_and_their_mean():
    axis = plot_training(training_log())
    assert [line.get_label() for line in axis.lines] == ["seed 0", "seed 1", "mean of 2"]
    (mean,) = lines(axis, "mean")
    assert mean.get_ydata()[10] == pytest.approx(100.5)
    assert mean.get_ydata()[3] == pytest.approx(31.0)  # the seed that has a number there
    assert np.isnan(lines(axis, "seed")[0].get_ydata()[3])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("iteration", "mean episode return")


def test_many_seeds_are_one_color_and_one_label():
    axis = plot_training(training_log(seeds=range(10)))
    assert len({line.get_color() for line in lines(axis, "seed")}) == 1
    assert words(axis) == ["mean of 10"]


def test_one_iteration_is_a_point_for_each_seed_on_a_marked_axis():
    axis = plot_training(training_log(seeds=(0, 1), iterations=1))
    axis.figure.canvas.draw()
    assert [line.get_marker() for line in lines(axis, "seed")] == ["o", "o"]
    assert not lines(axis, "mean")
    low, high = axis.get_xlim()
    assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [0.0]


def test_one_seed_has_no_mean():
    axis = plot_training(training_log(seeds=(0,)))
    assert lines(axis, "mean") == []


def audited_log(**columns):
    log = training_log(seeds=(0, 1, 2))
    return log | {f"audit_{name}": scale * (1.0 + log["agent_seed"]) for name, scale in columns.items()}


def test_audited_critics_are_means_over_seeds_with_bands():
    log = audited_log(gae_mre_heldout=0.01, returns_mre_heldout=0.1, gae_mre_train=0.005)
    log["audit_bootstrapped_returns_mre_train"] = np.full(len(log["iteration"]), np.nan)
    log["audit_gae_mre_heldout"][4] = np.nan  # seed 1, iteration 1
    axis = plot_critic_audit(log)
    held_out, trained = axis.figure.axes
    assert [line.get_label() for line in lines(held_out, "error")] == ["own target", "Monte Carlo returns"]
    assert [line.get_label() for line in lines(trained, "error")] == ["own target"]
    own, returns = lines(held_out, "error")
    assert own.get_ydata()[:3] == pytest.approx([0.02, 0.02, 0.02])
    assert own.get_xdata()[-1] == 19
    assert returns.get_ydata() == pytest.approx(np.full(20, 0.2))
    band = held_out.collections[1].get_paths()[0].vertices[:, 1]
    reach = 4.303 * 0.1 / np.sqrt(3)
    assert band.max() == pytest.approx(0.2 + reach, rel=1e-3)
    assert band.min() == pytest.approx(0.2 / 10)  # the interval reaches below zero
    assert held_out.get_yscale() == "log"


def test_returns_that_are_drawn_over_others_leave_them_seen():
    log = audited_log(bootstrapped_returns_mre_train=0.1, cut_off_returns_mre_train=0.1)
    _, trained = plot_critic_audit(log).figure.axes
    assert [line.get_linestyle() for line in lines(trained, "error")] == ["-", "--"]


def test_a_log_without_an_audit_has_none_to_draw():
    assert not has_audit(training_log())
    assert not has_audit(audited_log(gae_mre_heldout=np.nan))
    log = audited_log(gae_mre_train=0.1)
    assert has_audit(log)
    _, axis = plt.subplots()
    assert plot_critic_audit(log, ax=axis) is axis
    assert not lines(axis, "error")


def test_figures_are_saved_closed_and_the_same_again(tmp_path):
    files = save_figure(plot_gradient_quality(cosine_dataset()), tmp_path / "gradients")
    assert [file.name for file in files] == ["gradients.svg", "gradients.png"]
    assert plt.get_fignums() == []
    again = save_figure(plot_gradient_quality(cosine_dataset()), tmp_path / "again")
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]


def test_labels_move_apart_and_no_further():
    assert spread([0.0, 1.0, 2.0], 0.5) == [0.0, 1.0, 2.0]
    assert spread([1.0, 1.0], 0.5) == [0.75, 1.25]
    assert spread([1.1, 1.0, 5.0], 1.0) == pytest.approx([1.55, 0.55, 5.0])
    placed = sorted(spread([0.0, 0.1, 0.9, 1.0], 0.5))
    assert np.diff(placed).min() >= 0.5 - 1e-12
    assert spread([], 1.0) == []


def test_numbers_are_short():
    assert [short_number(x) for x in (100, 2048, 1e4, 131072, 1e6)] == ["100", "2.05k", "10k", "131k", "1M"]


@pytest.mark.parametrize("seeds", [(3,), (0, 1)])
def test_updates_have_rows_of_their_own(seeds):
    dataset = cosine_dataset(seeds=seeds, iterations=(150,), true=True, steps=(512, 2048, 131_072))
    figure = plot_gradient_quality(dataset).figure
    assert len(figure.axes) == 4
    for axis in figure.axes[2:]:
        assert axis.get_ylabel().startswith("updates")
        assert len(lines(axis, "estimate")) == len(seeds)
        np.testing.assert_array_equal(lines(axis, "estimate")[0].get_xdata(), [2048, 131_072])
        np.testing.assert_array_equal(lines(axis, "hollow")[0].get_xdata(), [512])
    assert {axis.get_xlim() for axis in figure.axes} == {(128 / 1.3, 131_072 * 1.3)}
    assert "the batch of a step" in figure.axes[-1].get_xlabel() + str(figure.get_supxlabel())
    _, alone = plt.subplots()
    assert plot_gradient_quality(dataset, alone).figure.axes == [alone]


@pytest.mark.parametrize(
    ("sizes", "marks"),
    [([128, 2048, 65536], ["100", "1k", "10k"]), ([1100, 2048], ["1.1k", "2.05k"]), ([2000, 20000], ["2k", "20k"])],
)
def test_an_axis_of_pairs_is_always_marked(sizes: list[int], marks: list[str]) -> None:
    axis = plt.figure().gca()
    scale_pairs(axis, np.array(sizes))
    axis.figure.canvas.draw()
    low, high = axis.get_xlim()
    shown = [label.get_text() for label in axis.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert shown == marks
    plt.close()


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(plt.figure().gca(), tmp_path / "file" / "figure")


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (plot_budgets, "landscape"),
        (plot_landscape, "landscape"),
        (plot_trust_region, "trust-region"),
        (plot_value_prediction, "values"),
        (verdicts, "gradients or values or landscape or trust-region"),
    ],
)
def test_what_is_no_dataset_of_the_kind_is_named(draw, kind):
    with pytest.raises(InputError, match=f"takes a dataset of {kind}, not NoneType; give what"):
        draw(None)
    with pytest.raises(InputError, match=f"takes a dataset of {kind}, not one without a name"):
        draw(xr.Dataset())


def test_a_dataset_of_another_diagnostic_is_named():
    with pytest.raises(InputError, match="takes a dataset of landscape, not gradients"):
        plot_landscape(cosine_dataset())


DATA = Path(__file__).parents[2] / "docs" / "data"
STORED = {
    "gradients": "gradients-hopper-ppo",
    "values": "values-hopper-ppo",
    "landscape": "landscape-few-hopper-ppo",
    "trust-region": "trust-region-hopper-ppo",
}


@pytest.mark.filterwarnings(
    "ignore:.*(no positive values|All-NaN|empty slice|identical low and high|No contour levels)"
)
@pytest.mark.filterwarnings("ignore:.*(z array|Attempt to set|axes sizes collapsed)")
@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0])
@pytest.mark.parametrize("name", STORED)
def test_figures_are_drawn_whatever_is_not_known(name, value, tmp_path):
    """An axis that becomes logarithmic when nothing above 0 is drawn had no limits to be drawn with."""
    dataset = read_dataset(DATA / f"{STORED[name]}.nc").isel(agent=[0])
    measured = {key: xr.full_like(one, value) for key, one in dataset.data_vars.items() if one.dtype.kind == "f"}
    for stem, axis in all_diagnostics()[name].figures(dataset.assign(measured)).items():
        assert save_figure(axis, tmp_path / stem, ("svg", "png"), dpi=40)[0].stat().st_size > 1000
