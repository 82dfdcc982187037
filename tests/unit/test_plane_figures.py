"""Figures of landscapes and trust regions as data: what is drawn, where, from datasets of the atlas."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from closerlook.diagnostics.landscape.budget_figure import plot_budgets
from closerlook.diagnostics.landscape.figure import plot_landscape
from closerlook.diagnostics.landscape.page import interactive
from closerlook.diagnostics.trust_region.figure import plot_trust_region
from closerlook.diagnostics.trust_region.panels import panels
from closerlook.drawing.panels import Panel, Scale, Series, draw_panels
from closerlook.drawing.style import range_of_curves, ranges_without_outliers
from closerlook.errors import InputError
from closerlook.pages.plots import plot_of
from closerlook.results.reading import read_dataset

mpl.use("Agg")
DATA = Path(__file__).parents[2] / "docs" / "data"


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def loaded(name: str, *agents: int) -> xr.Dataset:
    return read_dataset(DATA / f"{name}.nc").isel(agent=list(agents))


@pytest.fixture(scope="module")
def few() -> xr.Dataset:
    return loaded("landscape-few-hopper-ppo", 0, 1)


def titles(axes) -> list[str]:
    return [axis.get_title(loc) for axis in axes for loc in ("center", "left") if axis.get_title(loc)]


def test_what_shared_draws_save_is_a_line_with_its_band_on_a_log_axis(few):
    figure = plot_landscape(few).figure
    panels = [axis for axis in figure.axes if any(line.get_gid() == "saving" for line in axis.lines)]
    assert len(panels) == 2
    for at, axis in enumerate(panels):
        (line,) = [line for line in axis.lines if line.get_gid() == "saving"]
        np.testing.assert_array_equal(line.get_ydata(), few["crn_variance_reduction"].values[at, 1:])
        assert axis.get_yscale() == "log"
        band = axis.collections[0].get_paths()[0].vertices[:, 1]
        assert band.max() == pytest.approx(few["crn_variance_reduction_high"].values[at, 1:].max())
        assert axis.lines[0].get_ydata()[0] == 1


def test_independent_draws_save_nothing_and_say_so(few):
    apart = few.assign_attrs(draws="independent")
    for end in ("", "_low", "_high"):
        apart[f"crn_variance_reduction{end}"] = apart[f"crn_variance_reduction{end}"] * np.nan
    words = [text.get_text() for axis in plot_landscape(apart).figure.axes for text in axis.texts]
    assert words.count("every point has its own draws") == 2


def test_the_surface_of_true_reward_lies_between_two_others(few):
    surfaces = [axis for axis in plot_landscape(few).figure.axes if axis.name == "3d"]
    assert [len(axis.collections) for axis in surfaces] == [1, 3, 1, 3]


def test_two_datasets_are_four_columns_in_the_papers_order(few):
    many = loaded("landscape-many-hopper-ppo", 0, 1)
    axes = plot_landscape([few, many]).figure.axes
    assert len(axes) == 8
    assert titles(axes[:4]) == [
        "surrogate, 2,048 pairs, iteration 0, seed 0",
        "true reward, 2,048 pairs",
        "surrogate, 262,144 pairs, iteration 0, seed 0",
        "true reward, 262,144 pairs",
    ]
    with pytest.raises(InputError, match="two planes"):
        plot_landscape([few])
    for others in (many.isel(agent=[1, 0]), many.isel(agent=0), loaded("landscape-many-hopper-trpo", 0, 1)):
        with pytest.raises(InputError, match="different agents"):
            plot_landscape([few, others])


def test_budgets_are_columns_with_one_scale(few):
    axes = plot_budgets(few.isel(agent=1)).figure.axes
    surfaces = [axis for axis in axes if axis.name == "3d"]
    assert [title.split(" pairs")[0] for title in titles(surfaces)] == ["2,048", "20,480"]
    assert surfaces[0].get_zlim() == surfaces[1].get_zlim()
    assert surfaces[0].get_zlim()[1] >= float(few["reward_at_budget"][1].max()) - 1
    with pytest.raises(InputError, match="this is a line"):
        plot_budgets(few.isel(random=[0]))


def test_the_page_turns_from_the_steps_own_pairs_to_others(few):
    figure = interactive(few)
    assert [trace.type for trace in figure.data[:6]] == ["surface"] * 4 + ["contour"] * 2
    own, other = figure.layout.updatemenus[0].buttons
    assert own.args[1] == other.args[1] == (0, 4, 6, 10)
    kind = int(few["surrogate_kind"][1])
    expected = few["surrogates"].isel(agent=1, surrogate_name=kind).sel(pairs_of="heldout").values.T
    np.testing.assert_array_equal(np.array(other.args[0]["z"][2]), expected)
    np.testing.assert_array_equal(figure.data[6].z, np.array(own.args[0]["z"][2]))
    np.testing.assert_array_equal(figure.data[2].z, few["true_reward_low"].values[0].T)


def test_the_growth_of_an_update_is_drawn_in_divergences_and_ratios():
    found = loaded("trust-region-hopper-ppo", 0)
    axes = plot_trust_region(found).figure.axes
    (panel,) = [axis for axis in axes if axis.get_title("left") == "how far, over the update"]
    expected = found["stage_change"].isel(agent=0).sel(pairs_of="batch", change="max_kl").mean("repeat")
    lines = {line.get_label(): line for line in panel.lines}
    np.testing.assert_allclose(lines["worst, batch"].get_ydata(), expected)
    (ratio,) = [line for axis in axes for line in axis.lines if line.get_gid() == "ratio"]
    whole = found["max_ratio"].mean()
    assert ratio.get_ydata()[-1] == pytest.approx(float(whole))
    trpo = plot_trust_region(loaded("trust-region-hopper-trpo", 0)).figure.axes
    assert not [axis for axis in trpo if axis.get_title("left") == "how far, over the update"]


def test_of_few_updates_none_is_left_out():
    x, y = np.array([1.0, 2.0, 1e6]), np.array([1.0, 2.0, 3.0])
    assert ranges_without_outliers(x, y, y - 1, y + 1) is None
    x, y = np.append(x, 2.5), np.append(y, 1.5)
    across, up, beyond = ranges_without_outliers(x, y, np.array([-7.0, 0, 0, np.nan]), y + 1)
    assert beyond == 1
    assert across[1] < 10
    assert up[0] < -7.0
    assert up[1] > 3.0
    # one point is no range: two lie far from the others across, two more upward
    x, y = np.array([1e6, -1e6, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 1e6, -1e6, 3.0])
    assert ranges_without_outliers(x, y, y, y) is None


def test_an_interval_flattens_no_curve():
    """A mean of three updates may be unknown by a thousandfold: what the updates gained is seen."""
    found = loaded("trust-region-hopper-ppo", 0).copy(deep=True)
    found["mean_multiple_gain_high"][0, 2] = 1e6
    gains = found["multiple_gain"].values
    axes = plot_trust_region(found).figure.axes
    (axis,) = [one for one in axes if one.get_title("left") == "length of the step"]
    lowest, highest = min(0.0, np.nanmin(gains)), max(0.0, np.nanmax(gains))
    room = highest - lowest
    assert axis.get_ylim()[0] <= lowest
    assert axis.get_ylim()[1] == pytest.approx(highest + room)
    assert "the interval reaches beyond" in [text.get_text() for text in axis.texts]
    (panel,) = [one for one in panels(found) if one.title.startswith("Length of the step")]
    assert tuple(plot_of(panel)["layout"]["yaxis"]["range"]) == pytest.approx(axis.get_ylim())
    assert panel.note == "The interval reaches beyond."
    assert range_of_curves(np.array([1.0, 2.0]), np.array([-0.5]), np.array([3.0])) is None
    assert range_of_curves(np.array([1.0, np.nan]), np.array([np.nan]), np.array([9.0])) == (0.0, 2.0)
    assert range_of_curves(np.array([np.nan]), np.array([0.0]), np.array([9.0])) is None


def test_a_narrow_logarithmic_axis_in_print_keeps_its_own_marks():
    panel = Panel("t", Scale("x", log=True), Scale("y"), [Series("a", [0.33, 0.42], [1.0, 2.0])])
    assert len(draw_panels([panel]).get_xticks(minor=True)) > 0


def test_one_outlying_batch_flattens_no_panel():
    """One update of four whose surrogate promises a million: the others fill the panel, in print and on the page."""
    found = loaded("trust-region-hopper-ppo", 0).copy(deep=True)
    for name in ("surrogate_improvement", "true_improvement"):
        found[name][0, 0] = 1e6
    axes = plot_trust_region(found).figure.axes
    (axis,) = [one for one in axes if one.get_xlabel() == "improvement the surrogate predicts"]
    across, up, words = axis.get_xlim(), axis.get_ylim(), [text.get_text() for text in axis.texts]
    (panel,) = [one for one in panels(found) if one.title.startswith("Predicted and kept")]
    drawn = plot_of(panel)["layout"]
    others = [found[name].values[0, 1:] for name in ("surrogate_improvement", "true_improvement")]
    for values, limits, scale in zip(others, (across, up), ("xaxis", "yaxis"), strict=True):
        assert limits[0] < values.min() <= values.max() < limits[1] < 1e5
        assert tuple(drawn[scale]["range"]) == pytest.approx(limits)
    assert words == ["1 beyond"]
    assert panel.note == f"Far from all others, 1 of {found.sizes['repeat']} updates lie beyond."
    low, high = (found[f"true_improvement_{end}"].values[0, 1:] for end in ("low", "high"))
    assert up[0] < np.nanmin(low)
    assert np.nanmax(high) < up[1]
    usual = [one for one in panels(loaded("trust-region-hopper-ppo", 0)) if one.title.startswith("Predicted and kept")]
    assert [one.x.range for one in usual] == [None]
    assert draw_panels([panel]).get_xlim() == pytest.approx(across)


def test_a_panel_in_print_is_marked_at_round_numbers_and_keeps_its_title():
    x = np.array([0.25, 0.5, 1.0, 3.0])
    thin = [Series(name, x, x * place, form="thin") for place, name in enumerate(("one of them", "", ""), 1)]
    panel = Panel(
        "Length of the step, iteration 150 of the agent of seed 10",
        Scale("multiples", log=True),
        Scale("gain", range=(-1.0, 4.0)),
        thin,
    )
    axis = draw_panels([panel])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.5", "1", "2"]
    assert list(axis.get_xticks(minor=True)) == []
    assert axis.get_ylim() == (-1.0, 4.0)
    assert max(map(len, axis.get_title("left").splitlines())) <= 38
    # further thin lines are of the kind that the first one names
    assert panel.words.count(" at 0.25 to ") == 1
