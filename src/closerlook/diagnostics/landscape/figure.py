"""Figures of landscapes: surrogate beside true reward, as surfaces and contours, and both along the first axis."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import LogLocator

from closerlook.diagnostics.landscape.budget_figure import plot_budgets
from closerlook.diagnostics.landscape.planes import (
    axes_of,
    draw_contours,
    draw_surface,
    each_agent,
    ends_of,
    mark_undecided,
)
from closerlook.drawing.style import COLORS, QUIET, RULE, STYLE, make_logarithmic, verbatim
from closerlook.errors import InputError
from closerlook.results.naming import agent_name
from closerlook.results.schema import require_kind

PAPER = "Figures 6 and 7"


def plot_landscape(dataset: xr.Dataset | Sequence[xr.Dataset]) -> Axes:
    """Draw surrogate and true reward side by side, a row an agent.

    Planes as surfaces, the true reward's between the ends of its 95% interval, and as contours; dots where a gain or a
    loss against the agent itself cannot be told. Then the line along the first axis, with 95% bands, and how many times
    fewer pairs common random numbers take there.

    Parameters
    ----------
    dataset : xarray.Dataset or sequence of two
        Of `closerlook.landscape`. Two of the same agents, steps from few pairs and from many, are drawn as in the
        paper's Figures 6 and 7: surrogate and reward of the first, then of the second.

    Returns
    -------
    matplotlib.axes.Axes
        Of the line of the first row; of the first surface where there are two datasets.

    Raises
    ------
    InputError
        Where it is no landscape, or several datasets are not two, of planes and of the same agents.

    See Also
    --------
    closerlook.landscape : what is drawn.
    closerlook.plot_budgets : the reward alone, from few pairs and from many.

    Examples
    --------
    >>> import closerlook as cl
    >>> dataset = cl.read_dataset("docs/data/landscape-few-hopper-ppo.nc").isel(agent=[0])
    >>> axis = cl.plot_landscape(dataset)
    >>> axis.figure.axes[0].name
    '3d'
    """
    if isinstance(dataset, Sequence):
        return _plot_pair(list(dataset))
    require_kind(dataset, "landscape")
    agents = list(each_agent(dataset))
    flat = dataset.sizes["random"] < 2
    with plt.rc_context(STYLE):
        figure, grid = _lay_out(len(agents), flat=flat)
        lines = []
        for row, (title, agent) in enumerate(agents):
            if not flat:
                _draw_plane(figure, grid, row, agent, axes_of(dataset))
            axis, saving = (figure.add_subplot(grid[row, at]) for at in ((0, 2) if flat else (4, 6)))
            _draw_line(axis, agent, axes_of(dataset)[0])
            _draw_saving(saving, agent, axes_of(dataset)[0])
            lines.append(axis)
            if title:
                axis.set_title(title, pad=16)
        figure.suptitle(verbatim(_title(dataset)), x=0.01, ha="left", size=11)
    return lines[0]


def _lay_out(rows: int, *, flat: bool) -> tuple[Figure, GridSpec]:
    """Make a figure of so many rows: by hand, as no automatic layout knows how large surfaces are."""
    width, height = (10.0 if flat else 22.0), 0.9 + 3.3 * rows
    figure = plt.figure(figsize=(width, height))
    margins = {"left": 0.8 / width, "right": 1 - 0.3 / width, "bottom": 0.55 / height, "top": 1 - 0.8 / height}
    # an empty column where the line's second scale has its label
    columns = [1.0, 0.02, 0.9] if flat else [1.15, 1.15, 1.0, 1.0, 1.0, 0.02, 0.9]
    grid = figure.add_gridspec(rows, len(columns), width_ratios=columns, wspace=0.42, hspace=0.5, **margins)
    return figure, grid


def _title(dataset: xr.Dataset) -> str:
    attributes = dataset.attrs
    points = f"{attributes['pairs_per_point']:,} pairs at a point of the plane"
    line = f"{attributes['line_pairs_per_point']:,} at one of the line"
    who = f"{attributes['environment']}, {attributes['algorithm'].upper()}"
    return f"{who}: a step from {attributes['step_pairs']:,} pairs; {points}, {line}"


def _draw_plane(figure: Figure, grid: GridSpec, row: int, agent: xr.Dataset, labels: list[str]) -> None:
    for column, (name, title) in enumerate((("surrogate", "surrogate"), ("true_reward", "true reward"))):
        surface: Any = figure.add_subplot(grid[row, column], projection="3d")
        draw_surface(surface, agent[name], labels, ends=ends_of(agent, name) if column else ())
        surface.set_title(f"{title}, 95%" if column else title, y=0.96)
        axis = figure.add_subplot(grid[row, 2 + column])
        draw_contours(figure, axis, agent[name], labels)
        axis.set_title(title)
        if column:
            mark_undecided(axis, agent)


def _draw_line(axis: Axes, agent: xr.Dataset, first: str) -> None:
    """Draw the gain in reward with its band, and the surrogate's rise on a second scale."""
    line, kind = agent["line"].values, int(agent["surrogate_kind"])
    axis.axhline(0, color=RULE, linewidth=0.8)
    axis.fill_between(line, agent["line_gain_low"], agent["line_gain_high"], color=COLORS[0], alpha=0.18, linewidth=0)
    axis.plot(line, agent["line_gain"], color=COLORS[0], marker="o", markersize=3)
    axis.set_xlabel(f"multiples of the {first}")
    axis.set_ylabel("gain in true reward", color=COLORS[0])
    second = axis.twinx()
    for pairs, style in (("batch", "-"), ("heldout", "--")):
        values = agent["line_surrogates"].isel(surrogate_name=kind).sel(pairs_of=pairs)
        rise = (values - values.sel(line=0.0)).values
        label = "on its own pairs" if pairs == "batch" else "on others"
        second.plot(line, np.where(np.isfinite(rise), rise, np.nan), style, color=COLORS[1], label=label, linewidth=1.2)
    if "line_clip_null" in agent and agent["surrogate_name"].values[kind] == "clipped":
        null = agent["line_clip_null"].sel(pairs_of="heldout")
        second.plot(line, null, ":", color=COLORS[1], label="by chance", linewidth=1.2)
    second.set_ylabel("rise of the surrogate", color=COLORS[1])
    second.spines["right"].set_visible(True)
    _align_zero(axis, second)
    second.legend(
        frameon=False, fontsize=7, labelcolor=COLORS[1], ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.01),
        borderaxespad=0.0, columnspacing=1.0,
    )  # fmt: skip


def _draw_saving(axis: Axes, agent: xr.Dataset, first: str) -> None:
    """Draw how many times fewer pairs a difference to the agent takes with common random numbers, with its band."""
    axis.set_title("pairs saved by shared draws")
    line, saving = agent["line"].values, agent["crn_variance_reduction"].values
    known = np.isfinite(saving)
    if not known.any():
        words = "every point has its own draws" if agent.attrs.get("draws") == "independent" else "not known"
        axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", color=QUIET)
        axis.set_axis_off()
        return
    low, high = (agent[f"crn_variance_reduction_{end}"].values[known] for end in ("low", "high"))
    axis.axhline(1, color=RULE, linewidth=0.8)
    axis.fill_between(line[known], low, high, color=COLORS[2], alpha=0.18, linewidth=0)
    axis.plot(line[known], saving[known], color=COLORS[2], marker="o", markersize=3, gid="saving")
    make_logarithmic(axis, y=True)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")
    axis.set_xlabel(f"multiples of the {first}")
    axis.set_ylabel("times fewer pairs for a gain")


def _align_zero(*axes: Axes) -> None:
    """Bring the zeros of two vertical scales to one height."""
    shares = []
    for axis in axes:
        low, high = axis.get_ylim()
        low, high = min(low, 0.0), max(high, 0.0)
        axis.set_ylim(low, high)
        shares.append(-low / (high - low) if high > low else 0.0)
    share = min(max(*shares, 0.05), 0.95)
    for axis in axes:
        low, high = axis.get_ylim()
        size = max(high / (1 - share), -low / share)
        axis.set_ylim(-share * size, (1 - share) * size)


def _who(dataset: xr.Dataset) -> tuple[Any, ...]:
    """Return what tells the agents of a dataset from others."""
    labels = [np.atleast_1d(dataset[name].values).tolist() for name in ("iteration", "agent_seed")]
    return dataset.attrs["environment"], dataset.attrs["algorithm"], *labels


def _plot_pair(datasets: list[xr.Dataset]) -> Axes:
    """Draw planes of steps from few and from many pairs side by side, a row an agent."""
    if len(datasets) != 2 or any(one.sizes["random"] < 2 for one in datasets):
        raise InputError("figures in the paper's form take two planes", "give [few, many], both with two axes")
    if _who(datasets[0]) != _who(datasets[1]):
        raise InputError("the two planes are of different agents", "give [few, many] of the same agents, in one order")
    rows = list(zip(*(each_agent(one) for one in datasets), strict=True))
    height = 0.9 + 3.3 * len(rows)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(15, height))
        grid = figure.add_gridspec(
            len(rows), 4, wspace=0.12, hspace=0.15, left=0.04, right=0.97, bottom=0.3 / height, top=1 - 0.9 / height
        )
        first: Axes | None = None
        for row, agents in enumerate(rows):
            for column in range(4):
                dataset, (_, agent) = datasets[column // 2], agents[column // 2]
                name = ("surrogate", "true_reward")[column % 2]
                axis: Any = figure.add_subplot(grid[row, column], projection="3d")
                draw_surface(axis, agent[name], axes_of(dataset), ends=ends_of(agent, name) if column % 2 else ())
                pairs = f"{dataset.attrs['step_pairs']:,} pairs" + ("" if column % 2 else f", {agent_name(agent)}")
                axis.set_title(f"{name.replace('_', ' ')}, {pairs}", y=0.98)
                first = first or axis
        who = verbatim(f"{datasets[0].attrs['environment']}, {datasets[0].attrs['algorithm'].upper()}")
        figure.suptitle(f"{who}: steps from few and from many pairs (as in {PAPER})", x=0.01, ha="left", size=11)
    assert first is not None
    return first


def figures(dataset: xr.Dataset) -> dict[str, Axes]:
    """Draw the landscape, and its budgets where the pairs of a point make more than one."""
    found = {"landscape": plot_landscape(dataset)}
    if dataset.sizes["budget"] > 1 and dataset.sizes["random"] > 1:
        found["budgets"] = plot_budgets(dataset)
    return found
