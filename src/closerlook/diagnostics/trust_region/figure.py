"""Figures of trust regions: how far updates move the policy, how that grows, and what they predict and keep."""

from collections.abc import Callable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from closerlook.drawing.style import (
    COLORS,
    QUIET,
    RULE,
    STYLE,
    keep_curves_in_view,
    leave_out_outliers,
    legend_above,
    make_logarithmic,
    mean_with_interval,
    verbatim,
)
from closerlook.results.naming import agent_name
from closerlook.results.schema import require_kind

MOST_ROWS = 8
"""Agents drawn, one a row; further ones are left to a selection of the dataset."""
Panel = Callable[[Axes, xr.Dataset], None]
MEASURES = {
    "quadratic_kl": "quadratic\nmodel",
    "mean_kl_batch": "mean,\nbatch",
    "mean_kl_heldout": "mean,\nothers",
    "kl_p99_heldout": "99%,\nothers",
    "max_kl_heldout": "worst,\nothers",
}
"""Divergences of the first panel, in its order."""


def plot_trust_region(dataset: xr.Dataset) -> Axes:
    """Draw how far an agent's updates move its policy, and what they predict and keep; a row an agent.

    Divergences of every update at its whole step; mean KL at multiples of the step beside the quadratic model; how
    PPO's update grows over its minibatches, surrogate and ratios outside, then KL and largest ratio, or how TRPO's line
    search ends; improvement predicted against true, with 95% intervals; and gains at multiples of the step, of each
    update and their mean.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.trust_region`.

    Returns
    -------
    matplotlib.axes.Axes
        Of the divergences of the first row.

    See Also
    --------
    closerlook.trust_region : what is drawn.
    closerlook.save_figure : write it to files.

    Examples
    --------
    >>> import closerlook as cl
    >>> dataset = cl.read_dataset("docs/data/trust-region-hopper-ppo.nc").isel(agent=[0])
    >>> axis = cl.plot_trust_region(dataset)
    >>> len(axis.figure.axes) > 3
    True
    """
    require_kind(dataset, "trust-region")
    agents = list(drawn_agents(dataset))
    with plt.rc_context(STYLE):
        panels = [_draw_divergences, _draw_model, *_growth_panels(dataset), _draw_improvements, _draw_lengths]
        figure, axes = plt.subplots(
            len(agents),
            len(panels),
            figsize=(3.5 * len(panels), 0.7 + 3.2 * len(agents)),
            squeeze=False,
            layout="constrained",
        )
        for row, (title, agent) in zip(axes, agents, strict=True):
            for axis, draw in zip(row, panels, strict=True):
                draw(axis, agent)
            row[0].set_title(f"{title}:\ndivergence of each update" if title else "divergence of each update")
        figure.suptitle(verbatim(_title(dataset)), x=0.01, ha="left", size=11)
    first: Axes = axes[0, 0]
    return first


def drawn_agents(dataset: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Split a dataset into the agents that are drawn, with their names."""
    if "agent" not in dataset.dims:
        yield "", dataset
        return
    for at in range(min(dataset.sizes["agent"], MOST_ROWS)):
        agent = dataset.isel(agent=at)
        yield agent_name(agent), agent


def _title(dataset: xr.Dataset) -> str:
    attributes = dataset.attrs
    who = f"{attributes['environment']}, {attributes['algorithm'].upper()}"
    return f"{who}: {dataset.sizes['repeat']} updates, each from {attributes['step_pairs']:,} pairs of its own"


def _draw_divergences(axis: Axes, agent: xr.Dataset) -> None:
    """Draw every update as a dot, its mean over updates as a bar."""
    offsets = np.linspace(-0.22, 0.22, agent.sizes["repeat"])
    for place, name in enumerate(MEASURES):
        values = agent[name].values
        shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        color = COLORS[1] if name == "quadratic_kl" else COLORS[0]
        axis.plot(place + offsets, shown, "o", color=color, markersize=3, alpha=0.6)
        if np.isfinite(shown).any():
            axis.hlines(np.nanmean(shown), place - 0.32, place + 0.32, color=color, linewidth=1.8)
    bound = float(agent["kl_bound"])
    if np.isfinite(bound):
        axis.axhline(bound, color=COLORS[4], linewidth=1.0, linestyle="--")
        axis.annotate("bound", (0.0, bound), xycoords=("axes fraction", "data"), xytext=(3, 3), size=8,
                      textcoords="offset points", color=COLORS[4])  # fmt: skip
    make_logarithmic(axis, y=True)
    axis.set_xticks(range(len(MEASURES)), list(MEASURES.values()), size=7.5)
    axis.set_ylabel("KL(old || new), nats")


def _draw_model(axis: Axes, agent: xr.Dataset) -> None:
    """Draw the mean KL over multiples of the step, and the quadratic model of it."""
    multiples = agent["multiple"].values
    for pairs, style, label in (("batch", "-", "on its batch"), ("heldout", "--", "on others")):
        rows = agent["multiple_change"].sel(pairs_of=pairs, change="mean_kl").values
        mean, low, high = mean_with_interval(np.where(np.isfinite(rows), rows, np.nan))
        axis.plot(multiples, mean, style, color=COLORS[0], marker="o", markersize=3, label=label)
        axis.fill_between(multiples, np.maximum(low, mean / 100), high, color=COLORS[0], alpha=0.12, linewidth=0)
    model = float(agent["quadratic_kl"].mean()) * multiples**2
    axis.plot(multiples, model, ":", color=COLORS[1], label="quadratic model")
    if np.isfinite(float(agent["kl_bound"])):
        axis.axhline(float(agent["kl_bound"]), color=COLORS[4], linewidth=1.0, linestyle="--")
    _log_multiples(axis, multiples)
    make_logarithmic(axis, y=True)
    axis.set_ylabel("mean KL, nats")
    axis.set_title("divergence along the step", pad=18)
    legend_above(axis)


def _log_multiples(axis: Axes, multiples: np.ndarray) -> None:
    make_logarithmic(axis, x=True)
    axis.set_xticks(multiples, [f"{one:g}" for one in multiples])
    axis.minorticks_off()
    axis.set_xlabel("multiples of the step")


def _growth_panels(dataset: xr.Dataset) -> list[Panel]:
    """Return what shows how an update comes about: PPO's stages in two panels, others' line search in one."""
    if "stage" not in dataset.dims or not np.isfinite(dataset["stage_surrogate_rise"].values).any():
        return [_draw_fractions]
    return [_draw_growth, _draw_distances]


def _draw_growth(axis: Axes, agent: xr.Dataset) -> None:
    """Draw how PPO's update grows over its minibatches: the surrogate, and the share of ratios outside."""
    epochs = agent["stage"].values / agent.attrs["minibatches"]
    rises = {pairs: agent["stage_surrogate_rise"].sel(pairs_of=pairs).values for pairs in ("batch", "heldout")}
    axis.axhline(0, color=RULE, linewidth=0.8)
    for (pairs, rows), style in zip(rises.items(), ("-", "--"), strict=True):
        mean, low, high = mean_with_interval(np.where(np.isfinite(rows), rows, np.nan))
        label = "on its batch" if pairs == "batch" else "on others"
        axis.plot(epochs, mean, style, color=COLORS[1], label=label)
        axis.fill_between(epochs, low, high, color=COLORS[1], alpha=0.12, linewidth=0)
    if "clip_null" in agent["change"]:
        null = agent["stage_change"].sel(pairs_of="heldout", change="clip_null").values
        axis.plot(epochs, null.mean(axis=0), ":", color=COLORS[1], label="on others, by chance")
    axis.set_xlabel("epochs")
    axis.set_ylabel("rise of the surrogate", color=COLORS[1])
    second = axis.twinx()
    shares = agent["stage_change"].sel(pairs_of="batch", change="clip_fraction").values
    second.plot(epochs, shares.mean(axis=0), color=COLORS[2], label="ratios outside 1 ± ε")
    second.set_ylim(bottom=0)
    second.set_ylabel("share of ratios outside", color=COLORS[2])
    second.spines["right"].set_visible(True)
    legend_above(axis)
    axis.set_title("growth over the update", pad=18)


def _draw_distances(axis: Axes, agent: xr.Dataset) -> None:
    """Draw mean and largest KL of both states, and the largest ratio on its batch, over the minibatches."""
    epochs = agent["stage"].values / agent.attrs["minibatches"]
    for (change, words), color in zip({"mean_kl": "mean", "max_kl": "worst"}.items(), COLORS[:4:3], strict=True):
        for pairs, style in (("batch", "-"), ("heldout", "--")):
            rows = agent["stage_change"].sel(pairs_of=pairs, change=change).values
            mean, _, _ = mean_with_interval(np.where(np.isfinite(rows) & (rows > 0), rows, np.nan))
            label = f"{words}, {'batch' if pairs == 'batch' else 'others'}"
            axis.plot(epochs, mean, style, color=color, label=label, linewidth=1.2)
    make_logarithmic(axis, y=True)
    axis.set_xlabel("epochs")
    axis.set_ylabel("KL(old || new), nats")
    ratios = agent["stage_change"].sel(pairs_of="batch", change="max_ratio").values
    mean, _, _ = mean_with_interval(np.where(np.isfinite(ratios), ratios, np.nan))
    second = axis.twinx()
    second.plot(epochs, mean, ":", color=COLORS[2], gid="ratio")
    second.set_ylabel("largest ratio on its batch", color=COLORS[2])
    second.spines["right"].set_visible(True)
    legend_above(axis, columns=4)
    axis.set_title("how far, over the update", pad=18)


def _draw_fractions(axis: Axes, agent: xr.Dataset) -> None:
    """Draw how often the line search took which share of the full step."""
    fractions = agent["step_fraction"].values
    axis.set_title("line search")
    if not np.isfinite(fractions).any():
        axis.text(0.5, 0.5, "none", transform=axis.transAxes, ha="center", color=QUIET)
        axis.set_axis_off()
        return
    shares, counts = np.unique(fractions[np.isfinite(fractions)], return_counts=True)
    axis.bar(np.arange(len(shares)), counts, color=COLORS[0], width=0.6)
    axis.set_xticks(np.arange(len(shares)), [f"{share:g}" if share else "none" for share in shares])
    axis.set_xlabel("share of the full step taken")
    axis.set_ylabel("updates")


def _draw_improvements(axis: Axes, agent: xr.Dataset) -> None:
    """Draw the true improvement of each update against what its surrogate predicts."""
    axis.set_title("predicted and kept", pad=18)
    predicted, true = agent["surrogate_improvement"].values, agent["true_improvement"].values
    known = np.isfinite(predicted) & np.isfinite(true)
    if not known.any():
        axis.text(0.5, 0.5, "true reward not measured", transform=axis.transAxes, ha="center", color=QUIET)
        axis.set_axis_off()
        return
    low, high = (agent[f"true_improvement_{end}"].values[known] for end in ("low", "high"))
    predicted, true = predicted[known], true[known]
    axis.axhline(0, color=RULE, linewidth=0.8)
    ends = np.nan_to_num(np.abs(np.stack([true - low, high - true])))
    axis.errorbar(predicted, true, ends, fmt="o", color=COLORS[0], markersize=3.5, linewidth=0.8)
    reach = np.array([min(predicted.min(), 0.0), predicted.max()])
    axis.plot(reach, reach, ":", color=QUIET, label="as predicted")
    leave_out_outliers(axis, predicted, true, low, high)
    legend_above(axis)
    axis.set_xlabel("improvement the surrogate predicts")
    axis.set_ylabel("true improvement")


def _draw_lengths(axis: Axes, agent: xr.Dataset) -> None:
    """Draw the gain of each update at multiples of the step, and their mean."""
    multiples = agent["multiple"].values
    axis.set_title("length of the step")
    if not np.isfinite(agent["mean_multiple_gain"].values).any():
        axis.text(0.5, 0.5, "true reward not measured", transform=axis.transAxes, ha="center", color=QUIET)
        axis.set_axis_off()
        return
    axis.axhline(0, color=RULE, linewidth=0.8)
    low, high = (agent[f"mean_multiple_gain_{end}"] for end in ("low", "high"))
    gains = agent["multiple_gain"].values
    axis.plot(multiples, gains.T, color=COLORS[0], alpha=0.35, linewidth=0.7)
    axis.fill_between(multiples, low, high, color=COLORS[0], alpha=0.18, linewidth=0)
    axis.plot(multiples, agent["mean_multiple_gain"], color=COLORS[0], marker="o", markersize=3)
    keep_curves_in_view(axis, gains, low.values, high.values)
    _log_multiples(axis, multiples)
    axis.set_ylabel("mean gain in true reward")


def figures(dataset: xr.Dataset) -> dict[str, Axes]:
    """Draw the one figure of the diagnostic."""
    return {"trust-region": plot_trust_region(dataset)}
