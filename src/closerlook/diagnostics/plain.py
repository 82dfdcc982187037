"""What is shown of a dataset whose diagnostic draws nothing of its own: every variable, from its definition alone."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from rich.table import Table

from closerlook.diagnostics.common.labels import each_agent
from closerlook.drawing.style import STYLE
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


def figures(dataset: xr.Dataset) -> dict[str, Axes]:
    """Draw a panel for each variable, with its interval; a point for each agent, or its values in their order."""
    names = [name for name in _names(dataset) if dataset[name].dtype.kind in "fiu"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, max(1, len(names)), figsize=(3.2 * max(1, len(names)), 3.0), squeeze=False)
        for name, panel in zip(names, axes[0], strict=False):
            for of, agent in each_agent(dataset):
                value = np.atleast_1d(agent[name].values).ravel()
                around = None
                if f"{name}_low" in dataset:
                    low, high = (np.atleast_1d(agent[f"{name}{end}"].values).ravel() for end in ENDS)
                    around = np.abs(np.stack([value - low, high - value]))
                panel.errorbar(np.arange(value.size), value, around, fmt="o", capsize=3, label=of or None)
            panel.set_title(name.replace("_", " "))
            panel.set_ylabel(dataset[name].attrs.get("units", ""))
            panel.set_xticks([])
        if "agent" in dataset.dims and names:
            axes[0, 0].legend(fontsize="small")
        figure.tight_layout()
    return {str(dataset.attrs["diagnostic"]): axes[0, 0]}


def _names(dataset: xr.Dataset) -> list[str]:
    return [name for name in map(str, dataset.data_vars) if not name.endswith(ENDS)]


def _number(agent: xr.Dataset, name: str) -> str:
    if name not in agent or agent[name].dtype.kind not in "fiub":
        return ""
    value = float(agent[name].mean())
    return f"{value:.4g}" if np.isfinite(value) else "-"
