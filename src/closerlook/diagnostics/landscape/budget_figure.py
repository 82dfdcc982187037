"""The paper's Figure 5: one plane of true reward as ever more pairs a point show it."""

from typing import Any

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

from closerlook.diagnostics.landscape.planes import axes_of, draw_contours, draw_surface, each_agent, range_of
from closerlook.drawing.style import STYLE, verbatim
from closerlook.errors import InputError
from closerlook.results.schema import require_kind


def plot_budgets(dataset: xr.Dataset) -> Axes:
    """Draw the plane of true reward at every budget side by side, as surfaces and as contours; two rows an agent.

    All planes of an agent share their scale. Where points share their draws, a plane from few pairs looks smooth, as
    its noise is much the same everywhere: the paper's Figure 5 is that of independent draws.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.landscape`.

    Returns
    -------
    matplotlib.axes.Axes
        Of the contours of the first agent's smallest budget.

    Raises
    ------
    InputError
        Where there is no plane, but a line.

    See Also
    --------
    closerlook.plot_landscape : with the surrogate.

    Examples
    --------
    >>> import closerlook as cl
    >>> dataset = cl.read_dataset("docs/data/landscape-few-hopper-ppo.nc").isel(agent=[0])
    >>> axis = cl.plot_budgets(dataset)
    >>> axis.get_xlabel()
    'step'
    """
    require_kind(dataset, "landscape")
    if dataset.sizes["random"] < 2:
        raise InputError("budgets are drawn of planes, and this is a line", "give landscapes with two axes")
    agents, budgets = list(each_agent(dataset)), dataset["budget"].values
    width, height = 0.6 + 4.2 * len(budgets), 0.9 + 6.2 * len(agents)
    contours: list[Axes] = []
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height))
        grid = figure.add_gridspec(
            2 * len(agents), len(budgets), wspace=0.3, hspace=0.4, left=0.7 / width, right=1 - 0.2 / width,
            bottom=0.55 / height, top=1 - 0.8 / height,
        )  # fmt: skip
        for row, (title, agent) in enumerate(agents):
            planes = [agent["reward_at_budget"].sel(budget=budget) for budget in budgets]
            limits = range_of(*planes)
            for column, (budget, plane) in enumerate(zip(budgets, planes, strict=True)):
                ends = [agent[f"reward_at_budget_{end}"].sel(budget=budget) for end in ("low", "high")]
                surface: Any = figure.add_subplot(grid[2 * row, column], projection="3d")
                draw_surface(surface, plane, axes_of(dataset), ends=ends, limits=limits)
                surface.set_title(f"{budget:,} pairs a point" + (f", {title}" if title and not column else ""), y=0.96)
                axis = figure.add_subplot(grid[2 * row + 1, column])
                draw_contours(figure, axis, plane, axes_of(dataset), limits=limits)
                contours.append(axis)
        figure.suptitle(verbatim(_title(dataset)), x=0.02, ha="left", size=10)
    return contours[0]


def _title(dataset: xr.Dataset) -> str:
    who = f"{dataset.attrs['environment']}, {dataset.attrs['algorithm'].upper()}"
    draws = (
        "common random numbers: noise moves all points alike"
        if dataset.attrs["draws"] == "common"
        else "independent draws"
    )
    return f"{who}: true reward by pairs a point, {draws}"
