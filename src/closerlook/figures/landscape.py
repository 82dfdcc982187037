"""Figures of landscapes: surrogate beside true reward, as surfaces and contours, and both along the first axis."""

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from closerlook.figures.drawing import COLOURS, INK, QUIET, RULE, STYLE

MOST_ROWS = 8
"""Agents drawn, one a row; further ones are left to a selection of the dataset."""
SURFACE, HATCH = "viridis", ".."
LABELS = {
    "step": "step",
    "gradient": "gradient",
    "random": "random direction",
    "filter": "filter-normalised direction",
    "difference": "towards the other agent",
}


def plot_landscape(dataset: xr.Dataset) -> Axes:
    """Draw surrogate and true reward side by side, a row an agent.

    Planes as surfaces and as contours; dots where a gain or a loss against the agent itself cannot be told. Last the
    line along the first axis, with 95% bands.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.landscape`.

    Returns
    -------
    matplotlib.axes.Axes
        Of the line of the first row.
    """
    agents = list(_agents(dataset))
    flat = dataset.sizes["random"] < 2
    with plt.rc_context(STYLE):
        figure, grid = _lay_out(len(agents), flat=flat)
        lines = []
        for row, (title, agent) in enumerate(agents):
            if not flat:
                _draw_plane(figure, grid, row, agent, dataset.attrs["axes"].split(", "))
            axis = figure.add_subplot(grid[row, 0 if flat else 4])
            _draw_line(axis, agent, dataset.attrs["axes"].split(", ")[0])
            lines.append(axis)
            if title:
                axis.set_title(title)
        figure.suptitle(_title(dataset), x=0.01, ha="left", size=11)
    return lines[0]


def _lay_out(rows: int, *, flat: bool) -> tuple[Figure, GridSpec]:
    """Make a figure of so many rows: by hand, as no automatic layout knows how large surfaces are."""
    width, height = (5.0 if flat else 17.0), 0.9 + 3.3 * rows
    figure = plt.figure(figsize=(width, height))
    margins = {"left": 0.8 / width, "right": 1 - 0.8 / width, "bottom": 0.55 / height, "top": 1 - 0.8 / height}
    columns = [1.0] if flat else [1.15, 1.15, 1.0, 1.0, 1.1]
    grid = figure.add_gridspec(rows, len(columns), width_ratios=columns, wspace=0.3, hspace=0.45, **margins)
    return figure, grid


def _agents(dataset: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    if "agent" not in dataset.dims:
        yield _name(dataset), dataset
        return
    for at in range(min(dataset.sizes["agent"], MOST_ROWS)):
        agent = dataset.isel(agent=at)
        yield _name(agent), agent


def _name(agent: xr.Dataset) -> str:
    iteration, seed = int(agent["iteration"]), int(agent["agent_seed"])
    return ", ".join(([f"iteration {iteration}"] if iteration >= 0 else []) + ([f"seed {seed}"] if seed >= 0 else []))


def _title(dataset: xr.Dataset) -> str:
    attributes = dataset.attrs
    points = f"{attributes['pairs_per_point']:,} pairs at a point of the plane"
    line = f"{attributes['line_pairs_per_point']:,} at one of the line"
    who = f"{attributes['environment']}, {attributes['algorithm'].upper()}"
    return f"{who}: a step from {attributes['step_pairs']:,} pairs; {points}, {line}"


def _draw_plane(figure: Figure, grid: GridSpec, row: int, agent: xr.Dataset, axes: list[str]) -> None:
    surfaces = {"surrogate": agent["surrogate"], "true reward": agent["true_reward"]}
    for column, (name, values) in enumerate(surfaces.items()):
        _draw_surface(figure.add_subplot(grid[row, column], projection="3d"), values, name, axes)
        axis = figure.add_subplot(grid[row, 2 + column])
        _draw_contours(figure, axis, values, name, axes)
        if name == "true reward":
            _mark_undecided(axis, agent)


def _draw_surface(axis: Any, values: xr.DataArray, name: str, axes: list[str]) -> None:
    first, second = np.meshgrid(values["step"], values["random"], indexing="ij")
    heights = np.where(np.isfinite(values.values), values.values, np.nan)
    if not np.isfinite(heights).any():
        axis.set_axis_off()
        return
    axis.plot_surface(first, second, heights, cmap=SURFACE, rstride=1, cstride=1, linewidth=0.2, edgecolor=INK)
    axis.set_xlabel(LABELS[axes[0]], labelpad=-4)
    axis.set_ylabel(LABELS[axes[1]], labelpad=-4)
    axis.set_title(name, y=0.96)
    axis.tick_params(pad=-2, labelsize=7)
    axis.view_init(elev=28, azim=-125)
    axis.set_box_aspect(None, zoom=0.9)


def _draw_contours(figure: Figure, axis: Axes, values: xr.DataArray, name: str, axes: list[str]) -> None:
    heights = np.ma.masked_invalid(values.values.T)
    axis.set_xlabel(LABELS[axes[0]])
    axis.set_ylabel(LABELS[axes[1]])
    axis.set_title(name)
    if heights.count() == 0 or np.ptp(heights.compressed()) == 0:
        axis.text(0.5, 0.5, "nothing to draw", transform=axis.transAxes, ha="center", color=QUIET)
        return
    filled = axis.contourf(values["step"], values["random"], heights, levels=14, cmap=SURFACE)
    axis.contour(values["step"], values["random"], heights, levels=14, colors="white", linewidths=0.3)
    axis.plot(0, 0, "o", color="white", markeredgecolor=INK, markersize=5, clip_on=False, zorder=5)
    if axes[0] == "step" and float(values["step"].max()) >= 1:
        axis.plot(1, 0, "s", color="white", markeredgecolor=INK, markersize=5, clip_on=False, zorder=5)
    bar = figure.colorbar(filled, ax=axis, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7)


def _mark_undecided(axis: Axes, agent: xr.Dataset) -> None:
    """Dot the points whose gain against the agent may be none."""
    undecided = ~((agent["reward_gain_low"] > 0) | (agent["reward_gain_high"] < 0)).values
    exploded = ~np.isfinite(agent["true_reward"].values)
    first, second = np.meshgrid(agent["step"], agent["random"], indexing="ij")
    open_, gone = undecided & ~exploded, exploded
    axis.plot(first[open_], second[open_], ".", color="white", markersize=2.5, clip_on=False)
    axis.plot(first[gone], second[gone], "x", color=COLOURS[1], markersize=4, clip_on=False)


def _draw_line(axis: Axes, agent: xr.Dataset, first: str) -> None:
    """Draw the gain in reward with its band, and the surrogate's rise on a second scale."""
    line, kind = agent["line"].values, int(agent["surrogate_kind"])
    axis.axhline(0, color=RULE, linewidth=0.8)
    axis.fill_between(line, agent["line_gain_low"], agent["line_gain_high"], color=COLOURS[0], alpha=0.18, linewidth=0)
    axis.plot(line, agent["line_gain"], color=COLOURS[0], marker="o", markersize=3)
    axis.set_xlabel(f"multiples of the {LABELS[first]}")
    axis.set_ylabel("gain in true reward", color=COLOURS[0])
    beside = axis.twinx()
    for pairs, style in (("batch", "-"), ("heldout", "--")):
        values = agent["line_surrogates"].isel(surrogate_name=kind).sel(pairs_of=pairs)
        rise = (values - values.sel(line=0.0)).values
        label = "on its own pairs" if pairs == "batch" else "on others"
        beside.plot(
            line, np.where(np.isfinite(rise), rise, np.nan), style, color=COLOURS[1], label=label, linewidth=1.2
        )
    beside.set_ylabel("rise of the surrogate", color=COLOURS[1])
    beside.spines["right"].set_visible(True)
    beside.legend(frameon=False, fontsize=7, labelcolor=COLOURS[1])
    _align_zero(axis, beside)


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
