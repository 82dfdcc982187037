"""The figure of gradient quality."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MultipleLocator

from closerlook.drawing.style import (
    COLORS,
    INK,
    MAX_LABELED,
    QUIET,
    RULE,
    STYLE,
    label_lines,
    mean_of_all,
    scale_pairs,
    verbatim,
)
from closerlook.results.schema import require_kind


@dataclass(frozen=True)
class Quantity:
    """What a row of panels shows.

    Parameters
    ----------
    name : str
        A variable with an interval.
    predicted : str
        The curve that the noise scale predicts for it; empty: none.
    label : str
        Of the axis.
    dim : str
        Along which it is drawn.
    """

    name: str
    predicted: str
    label: str
    dim: str = "size"


PAIRWISE = Quantity("pairwise_cosine", "predicted_pairwise_cosine", "mean pairwise cosine similarity")
TRUE = Quantity("true_cosine_corrected", "predicted_true_cosine", "mean cosine to the true gradient,\nnoise-corrected")
STEPS = (
    Quantity("update_pairwise_cosine", "", "updates:\nmean pairwise cosine", "update_size"),
    Quantity("update_true_cosine_corrected", "", "updates: mean cosine\nto the true gradient", "update_size"),
)
MOST_COLUMNS = 5
"""Panels side by side."""


def plot_gradient_quality(dataset: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw how well estimates of the policy gradient agree, with one another and with the true gradient, by pairs.

    The form of Figures 1 and 2 of Ilyas et al. (2020): pairs on a logarithmic axis, mean pairwise cosine similarity in
    the upper row, cosine to the true gradient in the lower, a band for the 95% interval, a mark at the training batch.
    Where there are updates, two more rows show the same of them. Dotted: what the noise scale predicts. Sizes
    below one stream, estimates from early states only, are dashed with hollow points.

    Parameters
    ----------
    dataset : xarray.Dataset
        From `closerlook.gradient_quality`, of one agent or several.
    ax : matplotlib.axes.Axes, optional
        Draw the pairwise cosines there. Without it a figure is made, with a column for each iteration.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; the first panel's where there are several (``ax.figure.axes`` has them all).

    See Also
    --------
    closerlook.gradient_quality : what is drawn.
    closerlook.save_figure : write it to files.

    Examples
    --------
    >>> import closerlook as cl
    >>> dataset = cl.read_dataset("docs/data/gradients-hopper-ppo.nc").isel(agent=[0])
    >>> axis = cl.plot_gradient_quality(dataset)
    >>> axis.get_xscale()
    'log'
    """
    require_kind(dataset, "gradients")
    quantities = [PAIRWISE, *(one for one in (TRUE, *STEPS) if ax is None and one.name in dataset)]
    return _plot(dataset, quantities, ax)


def plot_cosines(dataset: xr.Dataset, names: Sequence[str]) -> Axes:
    """Draw some of the rows of `plot_gradient_quality` alone: Figure 1 of the paper, or Figure 2.

    Parameters
    ----------
    dataset : xarray.Dataset
        From `closerlook.gradient_quality`.
    names : sequence of str
        ``"pairwise_cosine"``, ``"true_cosine_corrected"`` and those of updates.

    Returns
    -------
    matplotlib.axes.Axes
        The first panel's.
    """
    require_kind(dataset, "gradients")
    return _plot(dataset, [one for one in (PAIRWISE, TRUE, *STEPS) if one.name in names], None)


def _plot(dataset: xr.Dataset, quantities: Sequence[Quantity], ax: Axes | None) -> Axes:
    """Draw a row of panels for each quantity."""
    agents = with_agent_axis(dataset)
    groups = by_iteration(agents) if ax is None else {None: agents}
    with plt.rc_context(STYLE):
        rows = [[ax]] if ax is not None else _panels(len(quantities), len(groups))
        for quantity, axes in zip(quantities, rows, strict=True):
            for axis, (iteration, group) in zip(axes, groups.items(), strict=True):
                _draw_cosines(axis, group, quantity)
                if axes is rows[0] and iteration is not None and (len(groups) > 1 or iteration >= 0):
                    axis.set_title(f"iteration {iteration}")
            _finish_cosines(axes, agents, quantity, first=axes is rows[0])
        _name_pairs(rows, agents)
        _title(rows[0][0], agents)
    return rows[0][0]


def with_agent_axis(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset that has an agent axis, of one agent where it had none."""
    return dataset if "agent" in dataset.dims else dataset.expand_dims("agent")


def by_iteration(agents: xr.Dataset) -> dict[int | None, xr.Dataset]:
    """Split agents by iteration, in rising order; all under None where it is not known."""
    if "iteration" not in agents.coords:
        return {None: agents}
    iterations = np.broadcast_to(agents["iteration"].values, agents.sizes["agent"])
    return {int(i): agents.isel(agent=np.flatnonzero(iterations == i)) for i in np.unique(iterations)}


def _panels(quantities: int, groups: int) -> list[list[Axes]]:
    """Make a row of panels for each quantity, wrapped where there are too many groups; all share their scales."""
    columns = min(groups, MOST_COLUMNS)
    lines = -(-groups // columns)
    width = 6.4 if groups == 1 else 1.0 + 2.7 * columns
    height = (4.0 if groups == 1 else 3.3) * lines if quantities == 1 else 2.7 * quantities * lines + 0.6
    figure: Figure = plt.figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.05))
    rows: list[list[Axes]] = []
    for quantity in range(quantities):
        axes: list[Axes] = []
        for i in range(groups):
            place = quantity * lines * columns + i + 1
            above = rows[0][0] if rows else (axes[0] if axes else None)
            left = axes[0] if axes else None
            axes.append(figure.add_subplot(quantities * lines, columns, place, sharex=above, sharey=left))
        for axis in axes[1:]:
            axis.tick_params(labelleft=axis.get_subplotspec().is_first_col())  # type: ignore[union-attr]
        rows.append(axes)
    for axis in (axis for axes in rows[:-1] for axis in axes):
        axis.tick_params(labelbottom=False)
    return rows


def _draw_cosines(axis: Axes, group: xr.Dataset, quantity: Quantity) -> None:
    """Draw one line for each agent; with many, thin lines and the mean over agents with its t interval."""
    sizes = group[quantity.dim].values
    cosines = group[quantity.name].values
    predicted = group[quantity.predicted].values if quantity.predicted in group else np.full_like(cosines, np.nan)
    below = sizes < stream_pairs(group)
    if len(cosines) <= MAX_LABELED:
        lows, highs = (group[f"{quantity.name}_{end}"].values for end in ("low", "high"))
        labels = agent_labels(group)
        for color, label, middle, low, high in zip(COLORS, labels, cosines, lows, highs, strict=False):
            _draw_line(axis, sizes, middle, (low, high), below, color=color, label=label)
    else:
        for row in cosines:
            axis.plot(sizes, row, color=QUIET, linewidth=0.8, alpha=0.55, gid="agent")
        mean, low, high = mean_of_all(cosines)
        label = f"mean of {len(cosines)} agents"
        _draw_line(axis, sizes, mean, (low, high), below, color=COLORS[0], label=label)
        predicted = mean_of_all(predicted)[0][None]
        if known := hidden_agents(cosines):
            axis.annotate(
                f"no mean where noise\nhides some: {known}", (0.04, 0.96), xycoords="axes fraction", va="top", size=7.5,
                gid="hidden",
            )  # fmt: skip
    for row in predicted[np.isfinite(predicted).any(axis=1)]:
        axis.plot(sizes, row, color=INK, linewidth=1.0, linestyle=(0, (1, 2)), zorder=3, gid="predicted")


def hidden_agents(cosines: np.ndarray) -> str:
    """Say of how few agents a number is known where that is not all of them, (n, sizes); nothing where it is."""
    known = np.isfinite(cosines).sum(axis=0)
    return f"{known.min()} of {len(cosines)} known" if known.min() < len(cosines) else ""


def _draw_line(
    axis: Axes,
    sizes: np.ndarray,
    middle: np.ndarray,
    band: tuple[np.ndarray, np.ndarray],
    below: np.ndarray,
    *,
    color: str,
    label: str,
) -> None:
    """Draw one curve with its band; the part below one stream dashed, with hollow points."""
    axis.fill_between(sizes, *band, color=color, alpha=0.16, linewidth=0)
    whole = ~below
    reach = below | (whole & (np.cumsum(whole) == 1))  # the dashes lead up to the first whole stream
    if below.any():
        axis.plot(sizes[reach], middle[reach], color=color, linestyle=(0, (3, 2)), linewidth=1.2, gid="below")
        axis.plot(sizes[below], middle[below], "o", color=color, markerfacecolor="white", markersize=4, gid="hollow")
    axis.plot(sizes[whole], middle[whole], "o-", color=color, markersize=4, label=label, gid="estimate")


def _finish_cosines(axes: Sequence[Axes], agents: xr.Dataset, quantity: Quantity, *, first: bool) -> None:
    """Scale, mark and label the panels of one row."""
    sizes = _all_sizes(agents)
    lowest = min(float(axis.dataLim.y0) for axis in axes)
    for axis in axes:
        scale_pairs(axis, sizes)
        axis.set_ylim(max(-1.0, min(-0.1, np.floor(lowest * 10) / 10)), 1.02)
        axis.yaxis.set_major_locator(MultipleLocator(0.25))
        axis.grid(axis="y", color=RULE, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.axhline(0, color=QUIET, linewidth=0.8, zorder=1)
    axes[0].set_ylabel(quantity.label)
    label_lines(axes[-1], [line for line in axes[-1].lines if line.get_gid() == "estimate"])
    _mark_batch(axes, agents.attrs.get("batch_pairs"), worded=first)


def _mark_batch(axes: Sequence[Axes], batch: int | None, *, worded: bool) -> None:
    """Mark the training batch in every panel, and say so in the last, where curves leave most room."""
    if not batch:
        return
    for axis in axes:
        axis.axvline(batch, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1.5, gid="batch")
    if not worded:
        return
    last = axes[-1]
    start, stop = np.log(last.get_xlim())
    room = (np.log(batch) - start) / (stop - start) * last.bbox.width / last.figure.dpi
    side, shift = ("right", -4) if room > 1.2 else ("left", 4)
    last.annotate(
        f"training batch,\n{batch:,} pairs", (batch, 0.98), xycoords=last.get_xaxis_transform(),
        xytext=(shift, 0), textcoords="offset points", ha=side, va="top", size=7.5,
    )  # fmt: skip


def _name_pairs(rows: Sequence[Sequence[Axes]], agents: xr.Dataset) -> None:
    """Name the horizontal axis, and what dashes, hollow points and dots are where there are any."""
    name, stream = "state-action pairs in an estimate", stream_pairs(agents)
    name += ", or the batch of a step" if "update_size" in agents.dims and len(rows) > 1 else ""
    marks = []
    if (_all_sizes(agents) < stream).any():
        marks.append(f"dashed, hollow: less than one stream of {stream:,.0f}, early states only")
    if any(line.get_gid() == "predicted" for axis in rows[0] for line in axis.lines):
        marks.append("dotted: predicted from the noise scale")
    figure = rows[0][0].get_figure(root=True)
    if len(rows[0]) > 1 and figure is not None:
        between = "; " if len(rows[0]) > 2 else ";\n"  # two panels are too narrow for one line
        figure.supxlabel(name + (f"\n({between.join(marks)})" if marks else ""), size=9)
    else:
        rows[-1][0].set_xlabel("\n".join([name, *(f"({mark})" for mark in marks)]))


def _title(axis: Axes, agents: xr.Dataset) -> None:
    """Head the figure with environment and algorithm; a single panel also has its iteration there."""
    environment, algorithm = agents.attrs.get("environment"), agents.attrs.get("algorithm")
    words = [verbatim(str(environment))] if environment else []
    words += [verbatim(str(algorithm)).upper()] if algorithm else []
    figure = axis.get_figure(root=True)
    if figure is not None and len({axis.get_title(loc="left") for axis in figure.axes} - {""}) > 1:
        figure.suptitle(" · ".join(words), x=0.01, ha="left", size=10.5, weight="bold")
    else:
        own = axis.get_title(loc="left")
        axis.set_title(" · ".join([*words, own] if own else words), weight="bold")


def agent_labels(group: xr.Dataset) -> list[str]:
    """Name each agent by what tells it from the others: its iteration, its seed, or both."""
    count = group.sizes["agent"]
    parts = []
    for coordinate, word in (("iteration", "iteration"), ("agent_seed", "seed")):
        if coordinate in group.coords:
            values = np.broadcast_to(group[coordinate].values, count)
            if len(np.unique(values)) > 1:
                parts.append([f"{word} {int(value)}" for value in values])
    if not parts:
        return [""] * count if count == 1 else [f"agent {i}" for i in range(count)]
    return [", ".join(words) for words in zip(*parts, strict=True)]


def _all_sizes(agents: xr.Dataset) -> np.ndarray:
    """Pairs of all estimates, and of the batches of updates."""
    return np.concatenate([agents[dim].values for dim in ("size", "update_size") if dim in agents.dims])


def stream_pairs(group: xr.Dataset) -> int:
    """Pairs of one stream: an estimate from fewer sees early states only."""
    return int(group.attrs.get("stream_pairs", 0))


def figures(dataset: xr.Dataset) -> dict[str, Axes]:
    """Draw the one figure of the diagnostic."""
    return {"gradients": plot_gradient_quality(dataset)}
