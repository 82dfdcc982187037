"""What is shown of a dataset whose diagnostic draws nothing of its own: every variable, from its definition alone."""

from itertools import cycle
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from rich.table import Table

from closerlook.diagnostics.common.labels import each_agent
from closerlook.drawing.panels import Panel, Scale, Series, draw_panels
from closerlook.drawing.style import COLORS
from closerlook.drawing.tables import make_table
from closerlook.results.store import as_json

ENDS = ("_low", "_high")


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Return every variable by its name."""
    return {str(name): as_json(dataset[name].values) for name in dataset.data_vars}


def tables(dataset: xr.Dataset) -> list[Table]:
    """Lay out every number of each agent, with its interval; of arrays the mean."""
    rows = [
        [" ".join((name, of)).strip(), *(_number(agent, f"{name}{end}") for end in ("", *ENDS))]
        for of, agent in each_agent(dataset)
        for name in _names(dataset)
    ]
    title = f"{dataset.attrs['environment']}: {dataset.attrs['diagnostic']}"
    return [make_table(title, ["", "value", "low", "high"], rows)]


def panels(dataset: xr.Dataset) -> list[Panel]:
    """Return a panel for each variable, with its interval; a point for each agent, or its values in their order."""
    return [_panel(dataset, name) for name in _names(dataset) if dataset[name].dtype.kind in "fiu"]


def _panel(dataset: xr.Dataset, name: str) -> Panel:
    series = []
    for color, (of, agent) in zip(cycle(COLORS), each_agent(dataset), strict=False):
        value = np.atleast_1d(agent[name].values).ravel().astype(float)
        ends = [np.atleast_1d(agent[f"{name}{end}"].values).ravel() for end in ENDS if f"{name}{end}" in agent]
        series.append(Series(of, np.arange(value.size), value, *ends, color=color, form="points"))
    return Panel(name.replace("_", " "), Scale("in their order"), Scale(dataset[name].attrs.get("units", "")), series)


def figures(dataset: xr.Dataset) -> dict[str, Axes]:
    """Draw the same for print."""
    return {str(dataset.attrs["diagnostic"]): draw_panels(panels(dataset))}


def _names(dataset: xr.Dataset) -> list[str]:
    return [name for name in map(str, dataset.data_vars) if not name.endswith(ENDS)]


def _number(agent: xr.Dataset, name: str) -> str:
    if name not in agent or agent[name].dtype.kind not in "fiub":
        return ""
    value = float(agent[name].mean())
    return f"{value:.4g}" if np.isfinite(value) else "-"
