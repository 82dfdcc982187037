"""Surrogate and true reward over planes of Humanoid, of the second atlas: the pictures of Figures 5 to 7, 13 and 14."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from measured import DATA, found
from pictures import Picture, figures_of

from closerlook.diagnostics.landscape.budget_figure import plot_budgets
from closerlook.diagnostics.landscape.figure import plot_landscape

Planes = Mapping[tuple[str, str], xr.Dataset]
PLOTS = {"planes": plot_landscape, "budgets": plot_budgets}
TRPO, PPO = ("humanoid", "trpo"), ("humanoid", "ppo")
FIGURES = {
    "fig5": [("budgets", TRPO)],
    "fig6": [("planes", TRPO)],
    "fig7": [("planes", PPO)],
    "fig13": [("planes", TRPO)],
    "fig14": [("planes", PPO)],
}
"""How each of the paper's figures is drawn, and the column that it is of."""


def measured_planes(folder: Path = DATA / "v2") -> Planes:
    """Read the planes, by column, as far as they are measured."""
    return found("planes", folder)


def of_one_seed(dataset: xr.Dataset) -> xr.Dataset:
    """Return the agents of the first seed: those of one training run, an iteration a row."""
    seeds = dataset["agent_seed"].values
    return dataset.isel(agent=np.flatnonzero(seeds == seeds.min()))


def plane_pictures(planes: Planes) -> list[Picture]:
    """List the pictures of planes, each drawn as its command draws it, of one seed."""
    asked = {one: figures_of(one, FIGURES) for of_figure in FIGURES.values() for one in of_figure}
    return [
        Picture(f"{name}-{'-'.join(column)}", figures, partial(PLOTS[name], of_one_seed(planes[column])), 60)
        for (name, column), figures in asked.items()
        if column in planes
    ]
