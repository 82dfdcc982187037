"""Gradients and critics of the second atlas: the pictures of Figures 1, 2, 4, 9 and 10."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import xarray as xr
from measured import COLUMNS, DATA, load
from pictures import Picture, figures_of

from closerlook.diagnostics.gradients.figure import plot_gradient_quality
from closerlook.diagnostics.values.figure import plot_value_prediction

Curves = Mapping[tuple[str, str], xr.Dataset]
PLOTS = {"gradients": plot_gradient_quality, "values": plot_value_prediction}
"""How datasets are drawn, by their kind."""
HUMANOIDS = [("gradients", f"{task}-{algorithm}") for task, algorithm in COLUMNS if task == "humanoid"]
OTHERS = [("gradients", f"{task}-{algorithm}") for task, algorithm in COLUMNS if task != "humanoid"]
FIGURES = {
    "fig1": HUMANOIDS,
    "fig2": HUMANOIDS,
    "fig4": [("values", "hopper-ppo"), ("values", "walker2d-ppo")],
    "fig9": OTHERS,
    "fig10": OTHERS,
}
"""Kind and column of the datasets that each of the paper's figures is made from."""


def measured_curves(folder: Path = DATA / "v2") -> Curves:
    """Read what the figures are made from, by kind and column, as far as it is measured."""
    asked = {one for of_figure in FIGURES.values() for one in of_figure}
    paths = {one: folder / f"{'-'.join(one)}.nc" for one in sorted(asked)}
    return {one: load(path) for one, path in paths.items() if path.exists()}


def curve_pictures(curves: Curves) -> list[Picture]:
    """List the pictures of datasets, each drawn as its command draws it."""
    return [
        Picture("-".join(one), figures_of(one, FIGURES), partial(PLOTS[one[0]], dataset), 80)
        for one, dataset in curves.items()
    ]
