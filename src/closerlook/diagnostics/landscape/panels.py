"""The figure of landscapes as data."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from closerlook.diagnostics.landscape.planes import axes_of, each_agent
from closerlook.drawing.panels import Dash, Panel, Plane, Scale, Series
from closerlook.drawing.style import COLORS

ON: dict[str, tuple[str, Dash]] = {"batch": ("on the step's own pairs", "solid"), "heldout": ("on other pairs", "dash")}


def panels(dataset: xr.Dataset) -> list[Panel | Plane]:
    """Return, for each agent: surrogate and true reward over the plane, and along the first axis.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.landscape`.
    """
    found: list[Panel | Plane] = []
    for name, agent in each_agent(dataset):
        where = f", {name}" if name and "agent" in dataset.dims else ""
        if dataset.sizes["random"] > 1:
            found += _planes(agent, axes_of(dataset), where)
        found += _lines(agent, axes_of(dataset)[0], where)
    return found


def _planes(agent: xr.Dataset, axes: list[str], where: str) -> Iterator[Plane]:
    names = {"surrogate": "surrogate", "true_reward": "true reward"}
    for name, words in names.items():
        ends = [agent[f"{name}{end}"].values.T for end in ("_low", "_high") if f"{name}{end}" in agent]
        places = agent["step"].values, agent["random"].values
        values = np.where(np.isfinite(agent[name].values), agent[name].values, np.nan).T
        title = f"{words[0].upper()}{words[1:]}{where}"
        yield Plane(title, Scale(axes[0]), Scale(axes[-1]), words, places, values, *ends)


def _lines(agent: xr.Dataset, first: str, where: str) -> Iterator[Panel]:
    line, x = agent["line"].values, Scale(f"multiples of the {first}")
    gain = [agent[f"line_gain{end}"].values for end in ("", "_low", "_high")]
    yield Panel(f"True reward along the {first}{where}", x, Scale("gain in true reward"), [Series("", line, *gain)])
    climbed = agent["line_surrogates"].isel(surrogate_name=int(agent["surrogate_kind"]))
    series = []
    for pairs, (words, dash) in ON.items():
        values = climbed.sel(pairs_of=pairs)
        rise = (values - values.sel(line=0.0)).values
        color = COLORS[1] if pairs == "batch" else COLORS[3]
        series.append(Series(words, line, np.where(np.isfinite(rise), rise, np.nan), color=color, dash=dash))
    yield Panel(f"Surrogate along the {first}{where}", x, Scale("rise of the surrogate"), series)
    saving = [agent[f"crn_variance_reduction{end}"].values for end in ("", "_low", "_high")]
    if np.isfinite(saving[0]).any():
        y = Scale("times fewer pairs for a gain", log=True)
        series = [Series("", line, *saving, color=COLORS[2])]
        yield Panel(f"Pairs saved by shared draws{where}", x, y, series)
