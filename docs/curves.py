"""Gradients and critics of the second atlas: the pictures of Figures 1, 2, 4, 9 and 10."""

from collections.abc import Mapping
from pathlib import Path

import xarray as xr
from measured import COLUMNS, DATA, IMAGES, save_picture

from closerlook.diagnostics.gradients.figure import plot_gradient_quality
from closerlook.diagnostics.values.figure import plot_value_prediction
from closerlook.results.reading import read_dataset

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
    return {one: read_dataset(path) for one, path in paths.items() if path.exists()}


def picture_of(kind: str, column: str) -> str:
    """Return the name of a picture."""
    return f"{kind}-{column}-v2.png"


def draw_curves(curves: Curves, folder: Path = IMAGES) -> None:
    """Draw each dataset as its command does."""
    for (kind, column), dataset in curves.items():
        save_picture(PLOTS[kind](dataset), (folder / picture_of(kind, column)).with_suffix(""), 80)


def pictures_for(figure: str, curves: Curves) -> list[str]:
    """List the pictures that datasets give one of the paper's figures."""
    return [picture_of(*one) for one in FIGURES.get(figure, ()) if one in curves]
