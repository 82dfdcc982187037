"""Panels and planes as what plotly draws: plain values, with every text that is not ours as text."""

import html
from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np

from closerlook.drawing.panels import Mark, Panel, Plane, Scale, Series
from closerlook.drawing.style import INK, QUIET, RULE, log_marks, short_number

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
"""So that no series is told by its color alone."""
SURFACE = "Viridis"
_AXIS: Mapping[str, Any] = {"gridcolor": RULE, "zerolinecolor": QUIET, "linecolor": QUIET, "automargin": True}
_DIGITS = 6
_CROWDED = 42
"""Characters of names from which on they are written aslant."""


def plot_of(panel: Panel | Plane) -> dict[str, Any]:
    """Return one plot: traces, layout, the entries of its legend, and for a plane the same as a surface.

    Parameters
    ----------
    panel : Panel or Plane
        What to draw.

    Returns
    -------
    dict
        ``{traces, layout, legend, surface}``; `legend` holds ``{name, color, dash, symbol, traces}``, `surface` is
        empty but for planes.
    """
    if isinstance(panel, Plane):
        return _plane(panel)
    traces: list[dict[str, Any]] = []
    legend: list[dict[str, Any]] = []
    for series, symbol in zip(panel.series, cycle(SYMBOLS), strict=False):
        own = _traces(series, symbol if series.label else "circle", panel.x)
        places = [*range(len(traces), len(traces) + len(own))]
        traces += own
        if series.label:
            shape = "" if series.form == "thin" else symbol
            look = {"color": series.color, "dash": "" if series.form == "points" else series.dash, "symbol": shape}
            legend.append({"name": series.label, **look, "traces": places})
    shapes = [_line(mark) for mark in panel.marks]
    notes = [_label(mark, panel) for mark in panel.marks if mark.label]
    axes = {"xaxis": _axis(panel.x, *(one.x for one in panel.series))}
    axes["yaxis"] = _axis(panel.y, *(end for one in panel.series for end in (one.y, one.low, one.high)))
    axes["xaxis"]["zeroline"] = False
    return {"traces": traces, "layout": {**axes, "shapes": shapes, "annotations": notes}, "legend": legend,
            "surface": []}  # fmt: skip


def _traces(series: Series, symbol: str, x: Scale) -> list[dict[str, Any]]:
    band = [] if series.form == "points" or series.low is None else _band(series)
    places, values = (np.asarray(one, dtype=float) for one in (series.x, series.y))
    words = "%{x}" if x.names else "%{x:,.6~g}"
    words += ": %{y:.4~g}" + ("<br>95%: %{customdata[0]:.4~g} to %{customdata[1]:.4~g}" if _known(series.low) else "")
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": text(series.label),
        "x": numbers(places),
        "y": numbers(values),
        "mode": {"line": "lines+markers", "thin": "lines", "points": "markers"}[series.form],
        "line": {"color": series.color, "width": 1.2 if series.form == "thin" else 2, "dash": series.dash},
        "marker": {"color": series.color, "size": 7, "symbol": symbol},
        "opacity": 0.6 if series.form == "thin" and series.color == QUIET else 1,
        "hovertemplate": f"{words}<extra>%{{fullData.name}}</extra>" if series.label else f"{words}<extra></extra>",
        "showlegend": False,
    }
    if _known(series.low):
        low, high = (np.asarray(end, dtype=float) for end in (series.low, series.high))
        trace["customdata"] = [[*pair] for pair in zip(numbers(low), numbers(high), strict=True)]
        if series.form == "points":
            above, below = numbers(np.maximum(high - values, 0)), numbers(np.maximum(values - low, 0))
            bars = {"type": "data", "symmetric": False, "color": series.color, "thickness": 1.5}
            trace["error_y"] = {**bars, "array": above, "arrayminus": below}
    return [*band, trace]


def _known(values: Any) -> bool:
    return values is not None and bool(np.isfinite(np.asarray(values, dtype=float)).any())


def _band(series: Series) -> list[dict[str, Any]]:
    """Return the interval as one filled outline, where both ends are known."""
    x, low, high = (np.asarray(values, dtype=float) for values in (series.x, series.low, series.high))
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return []
    outline = [np.concatenate([values[known], other[known][::-1]]) for values, other in ((x, x), (low, high))]
    look = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": f"{series.color}2e"}
    return [
        {"type": "scatter", "x": numbers(outline[0]), "y": numbers(outline[1]), **look, "hoverinfo": "skip",
         "showlegend": False}
    ]  # fmt: skip


def _axis(scale: Scale, *drawn: Any) -> dict[str, Any]:
    """Return an axis; what is drawn along it decides where a logarithmic one is marked."""
    axis: dict[str, Any] = {**_AXIS, "title": {"text": text(scale.label), "standoff": 8}}
    if scale.range is not None:
        axis["range"] = [*scale.range]
    if scale.names:
        names = [text(name).replace("\n", "<br>") for name in scale.names]
        crowded = sum(max(map(len, name.split("\n")), default=0) for name in scale.names) > _CROWDED
        axis |= {"tickvals": [*range(len(names))], "ticktext": names, "tickangle": -40 if crowded else 0}
    elif scale.log:
        known = [np.ravel(np.asarray(one, dtype=float)) for one in drawn if one is not None]
        values = np.concatenate([np.empty(0), *known])
        marks = log_marks(values[np.isfinite(values) & (values > 0)])
        words = [short_number(mark) for mark in marks]
        axis |= {"type": "log", "zeroline": False} | ({"tickvals": marks, "ticktext": words} if marks else {})
    return axis


def _line(mark: Mark) -> dict[str, Any]:
    along = {"x0": mark.at, "x1": mark.at, "xref": "x", "y0": 0, "y1": 1, "yref": "paper"}
    if mark.across == "y":
        along = {"y0": mark.at, "y1": mark.at, "yref": "y", "x0": 0, "x1": 1, "xref": "paper"}
    return {"type": "line", **along, "line": {"color": INK, "width": 1, "dash": "dot"}}


def _label(mark: Mark, panel: Panel) -> dict[str, Any]:
    """Write what a line is at its end; annotations of logarithmic axes are at logarithms, lines are not."""
    scale = panel.x if mark.across == "x" else panel.y
    at = float(np.log10(mark.at)) if scale.log else mark.at
    place = {"x": at, "y": 1, "yref": "paper", "yanchor": "top", "xanchor": "right"}
    if mark.across == "y":
        place = {"y": at, "x": 1, "xref": "paper", "yanchor": "bottom", "xanchor": "right"}
    return {"text": text(mark.label), **place, "showarrow": False, "font": {"size": 11}}


def _plane(plane: Plane) -> dict[str, Any]:
    x, y = (numbers(np.asarray(values, dtype=float)) for values in plane.places)
    values = rows_of(plane.values)
    shared = {"x": x, "y": y, "z": values, "colorscale": SURFACE}
    words = f"%{{x:.3~g}}, %{{y:.3~g}}<br>{text(plane.name)} %{{z:.4~g}}"
    ends: list[dict[str, Any]] = []
    if plane.low is not None and plane.high is not None:
        low, high = rows_of(plane.low), rows_of(plane.high)
        shared["customdata"] = [[[*pair] for pair in zip(*both, strict=True)] for both in zip(low, high, strict=True)]
        words += "<br>95%: %{customdata[0]:.4~g} to %{customdata[1]:.4~g}"
        faint = {"x": x, "y": y, "opacity": 0.25, "colorscale": [[0, "#0072B2"], [1, "#0072B2"]], "showscale": False}
        ends = [{"type": "surface", "z": end, **faint, "hoverinfo": "skip"} for end in (low, high)]
    shared |= {"hovertemplate": f"{words}<extra></extra>"}
    flat = {"type": "contour", **shared, "colorbar": {"thickness": 12, "outlinewidth": 0, "tickformat": ".5~g"},
            "line": {"smoothing": 0}}  # fmt: skip
    below = {"z": {"show": True, "usecolormap": True, "project": {"z": True}}}
    turned = {"type": "surface", **shared, "contours": below, "showscale": False}
    names = {
        f"{name}axis": {"title": {"text": text(scale), "font": {"size": 11}}, "tickfont": {"size": 10}}
        for name, scale in (("x", plane.x.label), ("y", plane.y.label), ("z", ""))
    }
    # the agent itself in front, as in the paper's figures
    scene = {**names, "aspectmode": "cube", "camera": {"eye": {"x": -2, "y": -2, "z": 1.25}}}
    layout = {"xaxis": _axis(plane.x), "yaxis": _axis(plane.y), "scene": scene}
    return {"traces": [flat], "layout": layout, "legend": [], "surface": [turned, *ends]}


def text(words: str) -> str:
    """Return words as plotly shows them: it reads a little HTML, and links, in every text."""
    return html.escape(str(words), quote=False)


def numbers(values: np.ndarray) -> list[float | None]:
    """Return numbers as JSON values, to six digits; what is not finite is None."""
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]


def rows_of(values: Any) -> list[list[float | None]]:
    """Return a grid of numbers as JSON values."""
    return [numbers(row) for row in np.asarray(values, dtype=float)]
