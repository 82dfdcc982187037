"""The interactive page of landscapes: surfaces to turn, with every point's numbers, in one offline file."""

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

SURFACE = "Viridis"
WIDTH, ROW_HEIGHT = 1200, 520


def write_page(dataset: xr.Dataset, path: Path) -> None:
    """Write the surfaces of a dataset of landscapes as one HTML file that needs nothing from the network.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.landscape`.
    path : Path
        Where to.
    """
    path.write_text(interactive(dataset).to_html(include_plotlyjs=True, full_html=True), encoding="utf-8")


def interactive(dataset: xr.Dataset) -> go.Figure:
    """Draw surrogate and true reward as surfaces that can be turned, a row an agent; lines where there is no plane."""
    agents = [dataset.isel(agent=at) for at in range(dataset.sizes["agent"])] if "agent" in dataset.dims else [dataset]
    flat = dataset.sizes["random"] < 2
    titles = [f"{_name(agent)}{what}" for agent in agents for what in ("surrogate", "true reward")]
    kind = {"type": "xy"} if flat else {"type": "scene"}
    figure = make_subplots(
        rows=len(agents), cols=2, specs=[[kind, kind]] * len(agents), subplot_titles=titles, vertical_spacing=0.06
    )
    for row, agent in enumerate(agents, start=1):
        for column, trace in enumerate(_lines(agent) if flat else _surfaces(agent), start=1):
            figure.add_trace(trace, row=row, col=column)
    axes = dataset.attrs["axes"].split(", ")
    figure.update_scenes(xaxis_title=axes[0], yaxis_title=axes[-1], zaxis_title="", aspectmode="cube")
    title = f"{dataset.attrs['environment']}, {dataset.attrs['algorithm'].upper()}: landscapes of a step from "
    title += f"{dataset.attrs['step_pairs']:,} pairs, {dataset.attrs['pairs_per_point']:,} pairs a point"
    figure.update_layout(title=title, width=WIDTH, height=120 + ROW_HEIGHT * len(agents), template="plotly_white")
    return figure


def _name(agent: xr.Dataset) -> str:
    parts = [f"{name} {int(agent[key])}" for name, key in (("iteration", "iteration"), ("seed", "agent_seed"))]
    known = [part for part in parts if not part.endswith("-1")]
    return f"{', '.join(known)}: " if known else ""


def _surfaces(agent: xr.Dataset) -> list[go.Surface]:
    first, second = agent["step"].values, agent["random"].values
    interval = "95%: %{customdata[1]:.4g} to %{customdata[2]:.4g}"
    both = f"surrogate %{{customdata[3]:.4g}}<br>true reward %{{customdata[0]:.4g}}<br>{interval}"
    heights = [agent[name].values.T for name in ("surrogate", "true_reward")]
    columns = ("true_reward", "true_reward_low", "true_reward_high", "surrogate")
    beside = np.stack([agent[name].values.T for name in columns], axis=-1)
    return [
        go.Surface(
            x=first,
            y=second,
            z=np.where(np.isfinite(values), values, np.nan),
            customdata=beside,
            colorscale=SURFACE,
            showscale=False,
            contours={"z": {"show": True, "usecolormap": True, "project": {"z": True}}},
            hovertemplate=f"%{{x:.3g}}, %{{y:.3g}}<br>{both}<extra></extra>",
        )
        for values in heights
    ]


def _lines(agent: xr.Dataset) -> list[go.Scatter]:
    kind = int(agent["surrogate_kind"])
    surrogate = agent["line_surrogates"].isel(surrogate_name=kind).sel(pairs_of="batch")
    reward, low, high = (agent[f"line_reward{end}"].values for end in ("", "_low", "_high"))
    bars = {"type": "data", "symmetric": False, "array": high - reward, "arrayminus": reward - low}
    shared = {"x": agent["line"].values, "mode": "lines+markers", "showlegend": False}
    return [go.Scatter(y=surrogate.values, **shared), go.Scatter(y=reward, error_y=bars, **shared)]
