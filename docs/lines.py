"""Surrogate and true reward along updates of the second atlas: the pictures of Figures 6, 7 and 13 to 18."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from measured import COLUMNS, DATA, heading, load
from pictures import Picture, figures_of

from closerlook.drawing.style import COLORS, RULE, STYLE, legend_above, mean_with_interval

Lines = Mapping[tuple[str, str], Mapping[str, xr.Dataset]]
MADE_FROM = {"few": "2,048 pairs", "many": "262,144 pairs"}
"""What updates are made from, by the names of datasets."""
CLIMBED = "as it is climbed"
SURROGATES = {"normalized, unclipped": "multiple_normalized_rise", CLIMBED: "multiple_surrogate_rise"}
"""The paper does not say which of the two it shows."""
FIGURES = {
    "fig6": [("humanoid", "trpo")], "fig7": [("humanoid", "ppo")], "fig13": [("humanoid", "trpo")],
    "fig14": [("humanoid", "ppo")], "fig15": [("walker2d", "trpo")], "fig16": [("walker2d", "ppo")],
    "fig17": [("hopper", "trpo")], "fig18": [("hopper", "ppo")],
}  # fmt: skip
"""The column that each of the paper's figures is of."""


def measured_lines(folder: Path = DATA / "v2") -> Lines:
    """Read what was measured along updates, by column and by what these are made from."""
    found = {
        column: {name: load(path) for name in MADE_FROM if (path := folder / f"{name}-{'-'.join(column)}.nc").exists()}
        for column in COLUMNS
    }
    return {column: datasets for column, datasets in found.items() if datasets}


def by_seed(values: xr.DataArray, iteration: int) -> np.ndarray:
    """Return each seed's mean over its updates (seed, multiple) at one iteration."""
    chosen = values.values[values["iteration"].values == iteration]
    return np.asarray(np.nanmean(chosen, axis=1))


def plot_lines(datasets: Mapping[str, xr.Dataset], title: str) -> Axes:
    """Draw true reward along updates, and below it the surrogates: means over seeds, 95% t intervals, and each seed's.

    Parameters
    ----------
    datasets : mapping of str to xarray.Dataset
        Of `closerlook.trust_region`, by what updates are made from (`MADE_FROM`).
    title : str
        Whose updates these are.
    """
    iterations = np.unique(np.concatenate([one["iteration"].values for one in datasets.values()]))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2 * len(datasets),
            len(iterations),
            figsize=(3.0 * len(iterations), 0.5 + 4.4 * len(datasets)),
            squeeze=False,
            layout="constrained",
        )
        for upper, lower, (name, dataset) in zip(axes[::2], axes[1::2], datasets.items(), strict=True):
            for iteration, rewards, surrogates in zip(iterations, upper, lower, strict=True):
                if iteration not in dataset["iteration"].values:
                    rewards.set_axis_off()
                    surrogates.set_axis_off()
                    continue
                _draw(rewards, dataset["multiple_gain"], int(iteration), COLORS[0])
                rewards.set_title(f"iteration {iteration}, from {MADE_FROM[name]}")
                for place, (words, variable) in enumerate(SURROGATES.items(), 1):
                    rises = dataset[variable].sel(pairs_of="heldout")
                    _draw(surrogates, rises, int(iteration), COLORS[place], words)
                surrogates.set_xlabel("multiples of the update")
                legend_above(surrogates)
            upper[0].set_ylabel("gain in true reward")
            lower[0].set_ylabel("rise of surrogate, other pairs")
        figure.suptitle(f"{title}: along updates", x=0.01, ha="left", size=11)
    first: Axes = axes[0, 0]
    return first


def _draw(axis: Axes, values: xr.DataArray, iteration: int, color: str, label: str = "") -> None:
    multiples, rows = values["multiple"].values, by_seed(values, iteration)
    mean, low, high = mean_with_interval(rows)
    axis.axhline(0, color=RULE, linewidth=0.8)
    axis.plot(multiples, rows.T, color=color, alpha=0.35, linewidth=0.7)
    axis.fill_between(multiples, low, high, color=color, alpha=0.16, linewidth=0)
    # dashed over solid, so that surrogates that are the same are both seen
    style = "--" if label == CLIMBED else "-"
    axis.plot(multiples, mean, style, color=color, marker="o", markersize=3, label=label or None, gid="mean")
    axis.set_xticks([0.25, 1, 2, 3], ["¼", "1", "2", "3"])


def line_pictures(lines: Lines) -> list[Picture]:
    """List the pictures of each column's lines."""
    return [
        Picture(
            f"lines-{'-'.join(column)}",
            figures_of(column, FIGURES),
            partial(plot_lines, datasets, heading(column)),
            90,
        )
        for column, datasets in lines.items()
    ]
