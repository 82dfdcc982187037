"""How planes of landscapes are drawn: as surfaces with their intervals, and as contours."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from closerlook.drawing.style import COLORS, INK, QUIET
from closerlook.results.naming import agent_name

MOST_ROWS = 8
"""Agents drawn, one a row; further ones are left to a selection of the dataset."""
SURFACE = "viridis"
LEVELS = 14
LABELS = {
    "step": "step",
    "gradient": "gradient",
    "random": "random direction",
    "filter": "filter-normalized direction",
    "difference": "towards the other agent",
}


def each_agent(dataset: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Split a dataset into the agents that are drawn, with their names."""
    if "agent" not in dataset.dims:
        yield agent_name(dataset), dataset
        return
    for at in range(min(dataset.sizes["agent"], MOST_ROWS)):
        agent = dataset.isel(agent=at)
        yield agent_name(agent), agent


def axes_of(dataset: xr.Dataset) -> list[str]:
    """Return the names of a dataset's axes."""
    return [LABELS[name] for name in dataset.attrs["axes"].split(", ")]


def draw_surface(
    axis: Any,
    values: xr.DataArray,
    labels: Sequence[str],
    *,
    ends: Sequence[xr.DataArray] = (),
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw a plane as a surface.

    Parameters
    ----------
    axis : mpl_toolkits.mplot3d.axes3d.Axes3D
        Where.
    values : xarray.DataArray, (step, random)
        Heights; what is not finite is left out.
    labels : sequence of str
        Of the two axes.
    ends : sequence of xarray.DataArray
        Lower and upper end of the heights' 95% interval: translucent surfaces below and above.
    limits : (float, float), optional
        Of heights and colors, where several surfaces share them.
    """
    heights = np.where(np.isfinite(values.values), values.values, np.nan)
    if not np.isfinite(heights).any():
        axis.set_axis_off()
        return
    first, second = np.meshgrid(values["step"], values["random"], indexing="ij")
    low, high = limits or (None, None)
    axis.plot_surface(
        first, second, heights, cmap=SURFACE, rstride=1, cstride=1, linewidth=0.2, edgecolor=INK, vmin=low, vmax=high
    )
    for end in ends:
        if np.isfinite(end.values).any():
            inside = np.isfinite(end.values) & _within(end.values, limits)
            other = np.where(inside, end.values, np.nan)
            axis.plot_surface(first, second, other, color=COLORS[0], alpha=0.18, rstride=1, cstride=1, linewidth=0)
    axis.set_xlabel(labels[0], labelpad=-4)
    axis.set_ylabel(labels[1], labelpad=-4)
    axis.tick_params(pad=-2, labelsize=7)
    axis.view_init(elev=28, azim=-125)
    axis.set_box_aspect(None, zoom=0.9)
    if limits is not None:
        axis.set_zlim(*limits)


def _within(values: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    """Return which heights can be drawn: surfaces are not clipped to the axes."""
    low, high = limits or (-np.inf, np.inf)
    return np.asarray((values >= low) & (values <= high))


def draw_contours(
    figure: Figure,
    axis: Axes,
    values: xr.DataArray,
    labels: Sequence[str],
    *,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw a plane as contours, with the agent and its step marked.

    Parameters
    ----------
    figure : Figure
        Where the color bar goes.
    axis : Axes
        Where to draw.
    values : DataArray, (step, random)
        What is drawn.
    labels : sequence of str
        Of both axes.
    limits : (float, float), optional
        Of the colors; default those of the values.
    """
    heights = np.ma.masked_invalid(values.values.T)
    axis.set_xlabel(labels[0])
    axis.set_ylabel(labels[1])
    if heights.count() == 0 or np.ptp(heights.compressed()) == 0:
        axis.text(0.5, 0.5, "nothing to draw", transform=axis.transAxes, ha="center", color=QUIET)
        return
    levels: Any = LEVELS if limits is None else np.linspace(*limits, LEVELS + 1)
    filled = axis.contourf(values["step"], values["random"], heights, levels=levels, cmap=SURFACE)
    axis.contour(values["step"], values["random"], heights, levels=levels, colors="white", linewidths=0.3)
    axis.plot(0, 0, "o", color="white", markeredgecolor=INK, markersize=5, clip_on=False, zorder=5)
    if labels[0] == LABELS["step"] and float(values["step"].max()) >= 1:
        axis.plot(1, 0, "s", color="white", markeredgecolor=INK, markersize=5, clip_on=False, zorder=5)
    bar = figure.colorbar(filled, ax=axis, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7)


def mark_undecided(axis: Axes, agent: xr.Dataset) -> None:
    """Dot the points whose gain against the agent may be none; cross those that exploded.

    Parameters
    ----------
    axis : Axes
        Where a plane is drawn.
    agent : xarray.Dataset
        Of one agent.
    """
    undecided = ~((agent["reward_gain_low"] > 0) | (agent["reward_gain_high"] < 0)).values
    exploded = ~np.isfinite(agent["true_reward"].values)
    first, second = np.meshgrid(agent["step"], agent["random"], indexing="ij")
    open_ = undecided & ~exploded
    axis.plot(first[open_], second[open_], ".", color="white", markersize=2.5, clip_on=False)
    axis.plot(first[exploded], second[exploded], "x", color=COLORS[1], markersize=4, clip_on=False)


def ends_of(dataset: xr.Dataset, name: str) -> list[xr.DataArray]:
    """Return the two ends of a variable's interval.

    Parameters
    ----------
    dataset : xarray.Dataset
        That holds the variable.
    name : str
        Of the variable.
    """
    return [dataset[f"{name}_{end}"] for end in ("low", "high")]


def range_of(*surfaces: xr.DataArray) -> tuple[float, float] | None:
    """Return the lowest and highest height of some surfaces; None where they are flat."""
    known = np.concatenate([values.values[np.isfinite(values.values)] for values in surfaces])
    return (float(known.min()), float(known.max())) if known.size and np.ptp(known) > 0 else None
