"""The figure of value prediction: errors of critics, their calibration, gradients by baseline and by lambda."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullFormatter

from closerlook.drawing.style import (
    COLORS,
    INK,
    QUIET,
    RULE,
    STYLE,
    label_lines,
    make_logarithmic,
    mean_of_all,
    scale_pairs,
    verbatim,
)
from closerlook.results.schema import require_kind

BASELINES = {"fitted": "fitted value", "critic": "critic", "mean": "constant", "zero": "zero"}
"""Lines of the second panel, from the best to the worst as theory has it, and their labels."""
LAMBDA_LINES = {10: "ten batches", 1: "one batch"}
ERRORS = {
    "own target, training pairs": ("train_mean_relative_error", {"target": "gae"}),
    "own target, held-out pairs": ("mean_relative_error", {"target": "gae"}),
    "returns, training pairs": ("train_mean_relative_error", {"target": "returns"}),
    "returns, held-out pairs": ("mean_relative_error", {"target": "returns"}),
    "fitted value, held-out pairs": ("noise_floor_mre", {}),
    "exact value": ("exact_noise_floor_mre", {}),
    "returns cut as released": ("mean_relative_error", {"target": "cut_off_returns"}),
}
"""Rows of the first panel: a label, a variable, and where in it."""


def plot_value_prediction(dataset: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw how well critics predict and what they are worth: a row for each iteration.

    From the left: mean relative errors of the critic (Figures 3 and 11 of Ilyas et al., 2020); mean Monte Carlo return
    against mean value in each tenth of the pairs, a line for each agent, right on the diagonal; pairwise cosines of
    gradient estimates by baseline over pairs (Figure 4); cosine to the gradient of the returns by lambda, the agent's
    own marked. Bands and bars are 95% intervals; where several agents share a row, over agents.

    Parameters
    ----------
    dataset : xarray.Dataset
        From `closerlook.value_prediction`, of one agent or several.
    ax : matplotlib.axes.Axes, optional
        Draw the cosines by baseline there, of all agents. Without it a figure is made.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; the first panel's where there are several (``ax.figure.axes`` has them all).

    See Also
    --------
    closerlook.value_prediction : what is drawn.
    closerlook.save_figure : write it to files.

    Examples
    --------
    >>> import closerlook as cl
    >>> dataset = cl.read_dataset("docs/data/values-hopper-ppo.nc").isel(agent=[0])
    >>> axis = cl.plot_value_prediction(dataset)
    >>> len(axis.figure.axes)
    4
    """
    require_kind(dataset, "values")
    agents = dataset if "agent" in dataset.dims else dataset.expand_dims("agent")
    with plt.rc_context(STYLE):
        if ax is not None:
            _draw_baselines(ax, agents)
            return ax
        groups = by_iteration(agents)
        figure: Figure = plt.figure(
            figsize=(13.2, 2.9 * len(groups) + 0.5), layout=ConstrainedLayoutEngine(wspace=0.05)
        )
        rows = figure.subplots(len(groups), 4, squeeze=False, width_ratios=(1.15, 0.85, 1.2, 1.0))
        for axes, (iteration, group) in zip(rows, groups.items(), strict=True):
            _draw_errors(axes[0], group)
            _draw_calibration(axes[1], group)
            _draw_baselines(axes[2], group)
            _draw_lambdas(axes[3], group)
            words = ["Critic's relative error", "Calibration", "Gradients by baseline", "Cosine by lambda"]
            for axis, title in zip(axes, words, strict=True):
                axis.set_title(f"{title}, iteration {iteration}" if iteration is not None and iteration >= 0 else title)
        name = " · ".join(filter(None, [str(agents.attrs.get("environment", "")), _algorithm(agents)]))
        figure.suptitle(verbatim(name), x=0.01, ha="left", size=10.5, weight="bold")
    first: Axes = rows[0][0]
    return first


def plot_baselines(dataset: xr.Dataset) -> Axes:
    """Draw how well gradient estimates agree by baseline, a panel for each iteration: Figure 4 of the paper.

    Parameters
    ----------
    dataset : xarray.Dataset
        From `closerlook.value_prediction`.

    Returns
    -------
    matplotlib.axes.Axes
        The first panel's.
    """
    require_kind(dataset, "values")
    agents = dataset if "agent" in dataset.dims else dataset.expand_dims("agent")
    groups = by_iteration(agents)
    with plt.rc_context(STYLE):
        width = 1.2 + 3.6 * len(groups)
        figure: Figure = plt.figure(figsize=(width, 3.6), layout=ConstrainedLayoutEngine(wspace=0.05))
        axes = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
        for axis, (iteration, group) in zip(axes, groups.items(), strict=True):
            _draw_baselines(axis, group)
            axis.set_title(f"iteration {iteration}" if iteration is not None and iteration >= 0 else "")
        for axis in axes[1:]:
            axis.set_ylabel("")
        name = " · ".join(filter(None, [str(agents.attrs.get("environment", "")), _algorithm(agents)]))
        figure.suptitle(verbatim(name), x=0.01, ha="left", size=10.5, weight="bold")
    first: Axes = axes[0]
    return first


def _algorithm(agents: xr.Dataset) -> str:
    return str(agents.attrs.get("algorithm", "")).upper()


def by_iteration(agents: xr.Dataset) -> dict[int | None, xr.Dataset]:
    """Split agents by iteration, in rising order."""
    iterations = np.broadcast_to(agents["iteration"].values, agents.sizes["agent"])
    return {int(i): agents.isel(agent=np.flatnonzero(iterations == i)) for i in np.unique(iterations)}


def _draw_errors(axis: Axes, group: xr.Dataset) -> None:
    """Draw a point with its interval for each row of `ERRORS` that is known."""
    kind = "updated" if np.isfinite(group["mean_relative_error"].sel(critic="updated")).any() else "as_is"
    labels: list[str] = []
    for label, (variable, where) in ERRORS.items():
        chosen = {**where, **({"critic": kind} if "critic" in group[variable].dims else {})}
        value, low, high = over_agents(group, variable, chosen)
        if not np.isfinite(value):
            continue
        place, color = -len(labels), COLORS[0] if "mean_relative_error" in variable else COLORS[1]
        if np.isfinite(low):
            axis.plot([max(low, value / 50), high], [place, place], color=color, linewidth=2.2, alpha=0.45)
        axis.plot([value], [place], "o", color=color, markersize=5, gid="error")
        axis.annotate(f"{value:.2g}", (value, place), xytext=(0, 6), textcoords="offset points", ha="center", size=7.5)
        labels.append(label)
    axis.set_yticks([-at for at in range(len(labels))], labels)
    axis.set_ylim(-len(labels) + 0.4, 0.8)
    make_logarithmic(axis, x=True)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="x", color=RULE, linewidth=0.6)
    axis.set_xlabel("mean relative error")
    axis.margins(x=0.15)


def over_agents(group: xr.Dataset, variable: str, where: dict[str, str]) -> tuple[float, float, float]:
    """Return a number with its interval: of the one agent, or of the mean over several where all have one.

    Parameters
    ----------
    group : xarray.Dataset
        Of agents.
    variable : str
        Its name.
    where : dict of str to str
        Labels along its other dimensions.
    """
    values = group[variable].sel(where).values
    if len(values) == 1:
        low, high = (float(group[f"{variable}_{end}"].sel(where).values[0]) for end in ("low", "high"))
        return float(values[0]), low, high
    found = mean_of_all(values[:, None])
    return float(found[0][0]), float(found[1][0]), float(found[2][0])


def _draw_calibration(axis: Axes, group: xr.Dataset) -> None:
    """Draw the mean Monte Carlo return of each tenth over its mean value, a line for each agent, and the diagonal."""
    here = group.sel(target="returns")
    predicted, returns = here["calibration_predicted"].values, here["calibration_target"].values
    known = np.isfinite(predicted) & np.isfinite(returns)
    if known.any():
        ends = [float(values[known].min()) for values in (predicted, returns)]
        ends += [float(values[known].max()) for values in (predicted, returns)]
        axis.plot(
            [min(ends), max(ends)], [min(ends), max(ends)], color=QUIET, linewidth=0.8, linestyle="--", gid="diagonal"
        )
    else:
        axis.text(0.5, 0.5, "not known", transform=axis.transAxes, ha="center", color=QUIET)
    alone = len(predicted) == 1
    for one in range(len(predicted)):
        if alone and known.any():
            low, high = (here[f"calibration_target_{end}"].values[one] for end in ("low", "high"))
            axis.vlines(predicted[one], low, high, color=COLORS[0], linewidth=2.2, alpha=0.45)
        axis.plot(
            predicted[one], returns[one], "o-" if alone else "-", color=COLORS[0], markersize=3.5,
            linewidth=1.2 if alone else 0.9, alpha=1.0 if alone else 0.6, gid="calibration",
        )  # fmt: skip
    axis.grid(color=RULE, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel("value in a tenth of the pairs")
    axis.set_ylabel("mean Monte Carlo return there")


def _draw_baselines(axis: Axes, group: xr.Dataset) -> None:
    """Draw the pairwise cosine over pairs, a line for each baseline."""
    sizes = group["size"].values
    lines = []
    for color, (name, label) in zip((COLORS[1], COLORS[0], COLORS[4], QUIET), BASELINES.items(), strict=True):
        curve = curve_of(group, "baseline_pairwise_cosine", {"baseline": name})
        if np.isfinite(curve[0]).any():
            axis.fill_between(sizes, curve[1], curve[2], color=color, alpha=0.14, linewidth=0)
            lines += axis.plot(sizes, curve[0], "o-", color=color, markersize=4, label=label, gid="baseline")
    scale_pairs(axis, sizes)
    axis.grid(axis="y", color=RULE, linewidth=0.6)
    axis.axhline(0, color=QUIET, linewidth=0.8, zorder=1)
    batch = group.attrs.get("batch_pairs")
    if batch:
        axis.axvline(batch, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1.5, gid="batch")
    axis.set_xlabel("state-action pairs in an estimate")
    axis.set_ylabel("mean pairwise cosine")
    label_lines(axis, lines)


def _draw_lambdas(axis: Axes, group: xr.Dataset) -> None:
    """Draw the cosine to the gradient of the returns, a line for each number of batches."""
    lambdas = group["lambda"].values
    places = np.arange(len(lambdas))
    lines = []
    for color, (times, label) in zip((COLORS[2], COLORS[0]), LAMBDA_LINES.items(), strict=True):
        middle, low, high = curve_of(group, "lambda_cosine", {"batches": times})
        if np.isfinite(middle).any():
            axis.fill_between(places, low, high, color=color, alpha=0.14, linewidth=0)
            lines += axis.plot(places, middle, "o-", color=color, markersize=4, label=label, gid="lambda")
    axis.set_xticks(places, [f"{one:g}" for one in lambdas], size=7.5, rotation=60)
    own = group.attrs.get("gae_lambda")
    if own is not None and lines:
        at = int(np.abs(lambdas - own).argmin())
        axis.axvline(at, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1.5, gid="own")
        axis.annotate(
            "agent's", (at, 0.02), xycoords=axis.get_xaxis_transform(), xytext=(3, 0), textcoords="offset points",
            size=7.5,
        )  # fmt: skip
    axis.set_ylim(min(0.0, axis.get_ylim()[0]), max(axis.get_ylim()[1], 0.1))
    axis.grid(axis="y", color=RULE, linewidth=0.6)
    axis.set_xlabel("lambda")
    axis.set_ylabel("cosine to the gradient of returns")
    if not lines:
        axis.text(0.5, 0.5, "not known", transform=axis.transAxes, ha="center", color=QUIET)
    label_lines(axis, lines)


def curve_of(group: xr.Dataset, variable: str, where: dict[str, object]) -> Sequence[np.ndarray]:
    """Return a curve with its interval: of the one agent, or of the mean over several where all have a number.

    Parameters
    ----------
    group : xarray.Dataset
        Of agents.
    variable : str
        Its name.
    where : dict of str to object
        Labels along its dimensions but the last.
    """
    rows = group[variable].sel(where).values
    if len(rows) == 1:
        return [rows[0], *(group[f"{variable}_{end}"].sel(where).values[0] for end in ("low", "high"))]
    return mean_of_all(rows)


def figures(dataset: xr.Dataset) -> dict[str, Axes]:
    """Draw the one figure of the diagnostic."""
    return {"values": plot_value_prediction(dataset)}
