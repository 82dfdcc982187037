"""The figure of the study of sample regimes."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from closerlook.drawing.style import COLORS, RULE, STYLE, legend_above, short_number, verbatim

MARKERS = "osD^vP*X"


def plot_sample_regime(dataset: xr.Dataset) -> Axes:
    """Draw final and peak reward and gradient agreement against the learning rate, a line a batch; and the curves.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.studies.sample_regime.sample_regime`.

    Returns
    -------
    matplotlib.axes.Axes
        Of the final rewards.
    """
    panels = {
        "regime_final_mean": "final reward",
        "regime_peak_mean": "peak reward",
        "regime_cosine_mean": "agreement of gradients",
    }
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 4, figsize=(16.5, 3.9), layout="constrained")
        for axis, (name, title) in zip(axes, panels.items(), strict=False):
            _draw_against_rates(axis, dataset, name)
            axis.set_title(title, pad=26)
        axes[2].set_ylabel("pairwise cosine at the batch")
        _draw_curves(axes[3], dataset)
        steps = f"{short_number(dataset.attrs['steps'])} steps, {dataset.sizes['regime_seed']} seeds"
        figure.suptitle(f"{verbatim(dataset.attrs['environment'])}, PPO: {steps}", x=0.01, ha="left", size=11)
    first: Axes = axes[0]
    return first


def _draw_against_rates(axis: Axes, dataset: xr.Dataset, name: str) -> None:
    """Draw a line for each batch with its intervals, a little apart so that they do not hide one another."""
    rates = dataset["learning_rate"].values
    for number, batch in enumerate(dataset["batch_pairs"].values):
        here = dataset.sel(batch_pairs=batch)
        value, low, high = (here[f"{name}{end}"].values for end in ("", "_low", "_high"))
        apart = rates * 1.02 ** (number - (dataset.sizes["batch_pairs"] - 1) / 2)
        reach = np.nan_to_num(np.stack([value - low, high - value]))
        style: Any = {
            "color": COLORS[number % len(COLORS)],
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 4,
        }
        axis.errorbar(apart, value, reach, linewidth=1.2, elinewidth=0.8, label=f"{batch:,} pairs", **style)
    axis.set_xscale("log")
    axis.set_xticks(rates, [f"{rate:.3g}" for rate in rates])
    axis.minorticks_off()
    axis.set_xlabel("learning rate")
    axis.grid(axis="y", color=RULE, linewidth=0.6)
    if name == "regime_final_mean":
        legend_above(axis, columns=4)
        axis.set_ylabel("mean episode return")


def _draw_curves(axis: Axes, dataset: xr.Dataset) -> None:
    """Draw each batch's learning curve at the rate that serves it best."""
    for number, batch in enumerate(dataset["batch_pairs"].values):
        here = dataset.sel(batch_pairs=batch)
        final = here["regime_final_mean"].values
        if not np.isfinite(final).any():
            continue
        best = int(np.nanargmax(final))
        curve = here["regime_reward"].isel(learning_rate=best).mean("regime_seed")
        label = f"{batch:,} at {here['learning_rate'].values[best]:.3g}"
        style: Any = {
            "color": COLORS[number % len(COLORS)],
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 3,
        }
        axis.plot(dataset["window"], curve, label=label, **style)
    legend_above(axis, columns=2)
    axis.set_xlabel("environment steps")
    axis.set_title("learning curves at the best rate", pad=26)
    axis.grid(axis="y", color=RULE, linewidth=0.6)
