"""The interactive page of landscapes: surfaces to turn, with every point's numbers, in one offline file."""

from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from closerlook.results.writing import write_bytes

SURFACE, BAND = "Viridis", "#0072B2"
WIDTH, ROW_HEIGHT = 1600, 520
TOP = 150
"""Pixels above the first row: the title, the buttons and the row's own titles."""
PAIRS_OF = {"batch": "surrogate on the step's own pairs", "heldout": "on held-out pairs"}


def write_page(dataset: xr.Dataset, path: Path) -> None:
    """Write the surfaces of a dataset of landscapes as one HTML file that needs nothing from the network.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.landscape`.
    path : Path
        Where to.
    """
    page = interactive(dataset).to_html(include_plotlyjs=True, full_html=True, div_id="landscape")
    write_bytes(path, page.encode())


def interactive(dataset: xr.Dataset) -> go.Figure:
    """Draw surrogate and true reward, a row an agent.

    Planes as surfaces that can be turned, the true reward's between the ends of its 95% interval, and as contours; a
    button says whose pairs the surrogate is of. Where there is no plane, lines, and the pairs saved along them.
    """
    agents = [dataset.isel(agent=at) for at in range(dataset.sizes["agent"])] if "agent" in dataset.dims else [dataset]
    flat = dataset.sizes["random"] < 2
    what = ("surrogate", "true reward", "pairs saved by shared draws") if flat else ("surrogate", "true reward") * 2
    titles = [f"{_name(agent)}{words}" for agent in agents for words in what]
    scene, plane = {"type": "scene"}, {"type": "xy"}
    figure = make_subplots(
        rows=len(agents),
        cols=len(what),
        specs=[[plane] * 3 if flat else [scene, scene, plane, plane]] * len(agents),
        subplot_titles=titles,
        vertical_spacing=0.2 / len(agents),
        horizontal_spacing=0.04,
    )
    for row, agent in enumerate(agents, start=1):
        for column, trace in _lines(agent) if flat else _planes(agent):
            figure.add_trace(trace, row=row, col=column)
    _label(figure, dataset, flat=flat)
    figure.update_layout(updatemenus=[_buttons(figure, agents)])
    return figure


def _label(figure: go.Figure, dataset: xr.Dataset, *, flat: bool) -> None:
    """Name axes and page."""
    axes = dataset.attrs["axes"].split(", ")
    camera = {"eye": {"x": -2.1, "y": -2.1, "z": 1.3}}  # the agent in front, as in the paper's figures
    names = {"xaxis_title": axes[0], "yaxis_title": axes[-1], "zaxis_title": ""}
    figure.update_scenes(**names, aspectmode="cube", camera=camera)
    figure.update_xaxes(title=axes[0])
    if flat:
        figure.update_yaxes(type="log", col=3)
    else:
        figure.update_yaxes(title=axes[-1])
    title = f"{dataset.attrs['environment']}, {dataset.attrs['algorithm'].upper()}: landscapes of a step from "
    title += f"{dataset.attrs['step_pairs']:,} pairs, {dataset.attrs['pairs_per_point']:,} pairs a point"
    rows = dataset.sizes.get("agent", 1)
    layout = {"width": WIDTH, "height": TOP + 60 + ROW_HEIGHT * rows, "margin_t": TOP, "template": "plotly_white"}
    figure.update_layout(title={"text": title, "y": 1, "yref": "container", "yanchor": "top", "pad_t": 20}, **layout)


def _name(agent: xr.Dataset) -> str:
    parts = [f"{name} {int(agent[key])}" for name, key in (("iteration", "iteration"), ("seed", "agent_seed"))]
    known = [part for part in parts if not part.endswith("-1")]
    return f"{', '.join(known)}: " if known else ""


def _surrogate(agent: xr.Dataset, pairs: str, name: str) -> np.ndarray:
    """Return the surrogate that is climbed, over the plane (random, step) or the line; NaN where not known."""
    values = agent[name].isel(surrogate_name=int(agent["surrogate_kind"])).sel(pairs_of=pairs).values.T
    return np.where(np.isfinite(values), values, np.nan)


def _planes(agent: xr.Dataset) -> list[tuple[int, Any]]:
    """List the traces of a plane, each with its column."""
    reward, low, high = (agent[f"true_reward{end}"].values.T for end in ("", "_low", "_high"))
    own, other = (_surrogate(agent, pairs, "surrogates") for pairs in PAIRS_OF)
    numbers = np.stack([reward, low, high, own, other], axis=-1)
    where: dict[str, Any] = {"x": agent["step"].values, "y": agent["random"].values}
    words = "%{x:.3g}, %{y:.3g}<br>surrogate %{customdata[3]:.4g}, on held-out pairs %{customdata[4]:.4g}<br>"
    words += "true reward %{customdata[0]:.4g}<br>95%: %{customdata[1]:.4g} to %{customdata[2]:.4g}<extra></extra>"
    shared = {**where, "customdata": numbers, "colorscale": SURFACE, "showscale": False, "hovertemplate": words}
    below = {"z": {"show": True, "usecolormap": True, "project": {"z": True}}}
    faint = {**where, "opacity": 0.25, "colorscale": [[0, BAND], [1, BAND]], "showscale": False, "hoverinfo": "skip"}
    return [
        (1, go.Surface(z=own, contours=below, meta="surrogate", **shared)),
        (2, go.Surface(z=reward, contours=below, **shared)),
        *((2, go.Surface(z=end, **faint)) for end in (low, high)),
        (3, go.Contour(z=own, meta="surrogate", **shared)),
        (4, go.Contour(z=reward, **shared)),
    ]


def _lines(agent: xr.Dataset) -> list[tuple[int, Any]]:
    """List the traces of a line, each with its column."""
    shared = {"x": agent["line"].values, "mode": "lines+markers", "showlegend": False}
    bars = [_with_bars(agent, name) for name in ("line_reward", "crn_variance_reduction")]
    own = go.Scatter(y=_surrogate(agent, "batch", "line_surrogates"), meta="surrogate", **shared)
    return [
        (1, own),
        *((column, go.Scatter(**numbers, **shared)) for column, numbers in zip((2, 3), bars, strict=True)),
    ]


def _with_bars(agent: xr.Dataset, name: str) -> dict[str, Any]:
    value, low, high = (agent[f"{name}{end}"].values for end in ("", "_low", "_high"))
    return {
        "y": value,
        "error_y": {"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low},
    }


def _buttons(figure: go.Figure, agents: list[xr.Dataset]) -> dict[str, Any]:
    """Return buttons that put the surrogate on the step's own pairs, or on others, in its place."""
    flat = agents[0].sizes["random"] < 2
    places = [at for at, trace in enumerate(figure.data) if trace.meta == "surrogate"]
    name, heights, copies = ("line_surrogates", "y", 1) if flat else ("surrogates", "z", 2)
    buttons = []
    for pairs, words in PAIRS_OF.items():
        values = [_surrogate(agent, pairs, name) for agent in agents for _ in range(copies)]
        buttons.append({"label": words, "method": "restyle", "args": [{heights: values}, places]})
    return {"type": "buttons", "direction": "right", "buttons": buttons, "x": 0.0, "xanchor": "left", "y": 1.0,
            "yanchor": "bottom", "pad": {"b": 34}}  # fmt: skip


def pages(dataset: xr.Dataset, folder: Path) -> list[Path]:
    """Write the page of a measurement into its folder.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of a landscape.
    folder : Path
        Where to write.
    """
    path = folder / "landscape.html"
    write_page(dataset, path)
    return [path]
