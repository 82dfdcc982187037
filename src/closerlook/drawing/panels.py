"""Figures as data: what is drawn, without how. A page draws it so that it can be pointed at and read aloud."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from closerlook.drawing.style import COLORS, QUIET, RULE, STYLE, log_marks, make_logarithmic, short_number

Dash = Literal["solid", "dash", "dot"]
TITLE_CHARACTERS = 38
"""Of a line of a title, which is not to run into the next panel's."""


@dataclass(frozen=True)
class Scale:
    """One axis of a panel.

    Parameters
    ----------
    label : str
        What it is, with its unit.
    log : bool
        Whether it is logarithmic.
    names : sequence of str
        Names of the places 0, 1, 2 ..., where the axis has no numbers.
    range : (float, float) or None
        What is in view at first; None: everything.
    """

    label: str
    log: bool = False
    names: Sequence[str] = ()
    range: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Series:
    """Numbers that belong together, with their 95% intervals where they have any.

    Parameters
    ----------
    label : str
        Their name; empty: they need none.
    x, y : array_like, (n,)
        Where they are, and what they are; NaN where not known.
    low, high : array_like or None, (n,)
        Ends of their intervals.
    color : str
        As ``#rrggbb``.
    dash : {"solid", "dash", "dot"}
        Of the line.
    form : {"line", "thin", "points"}
        A line through points, a thin line without them, or points alone, whose intervals are bars.
    """

    label: str
    x: Any
    y: Any
    low: Any = None
    high: Any = None
    _: KW_ONLY
    color: str = COLORS[0]
    dash: Dash = "solid"
    form: Literal["line", "thin", "points"] = "line"


@dataclass(frozen=True)
class Mark:
    """A straight line across a panel, at one place of an axis.

    Parameters
    ----------
    at : float
        The place.
    label : str
        What is there.
    across : {"x", "y"}
        Which axis the place is of.
    """

    at: float
    label: str
    across: Literal["x", "y"] = "x"


@dataclass(frozen=True)
class Panel:
    """Series over one pair of axes.

    Parameters
    ----------
    title : str
        What it shows.
    x, y : Scale
        Its axes.
    series : sequence of Series
        In the order of their legend.
    marks : sequence of Mark
        Lines across it.
    note : str
        What else is to be said, in a sentence.
    """

    title: str
    x: Scale
    y: Scale
    series: Sequence[Series]
    marks: Sequence[Mark] = field(default=())
    note: str = ""

    @property
    def words(self) -> str:
        """What the panel shows, for whoever does not see it."""
        over = f" over {self.x.label}" if self.x.label else ""
        marks = [f"{mark.label} at {self._mark(mark)}." for mark in self.marks if mark.label]
        # further thin lines of a kind are named with its first
        series = [one for one in self.series if one.label or one.form != "thin"]
        return " ".join([f"{self.title}: {self.y.label}{over}.", *map(self._words_of, series), *marks])

    def _words_of(self, series: Series) -> str:
        x, y = (np.asarray(values, dtype=float) for values in (series.x, series.y))
        known = np.flatnonzero(np.isfinite(y))
        name = series.label or "values"
        if not len(known):
            return f"{name}: not known."
        if series.form == "points" and self.x.names:
            places = np.round(x[known])
            means = {self.place(place): float(y[known][places == place].mean()) for place in np.unique(places)}
            return " ".join(f"{place}: {mean:.3g}." for place, mean in means.items())
        if series.form == "points":
            return f"{name}: {len(known)} points from {y[known].min():.3g} to {y[known].max():.3g}."
        ends = [f"{y[at]:.3g} at {self.place(x[at])}" for at in dict.fromkeys((known[0], known[-1]))]
        return f"{name}: {' to '.join(ends)}."

    def _mark(self, mark: Mark) -> str:
        return self.place(mark.at) if mark.across == "x" else short_number(mark.at)

    def place(self, x: float) -> str:
        """Write a place of the x axis."""
        names, at = self.x.names, round(x)
        return names[at].replace("\n", " ") if 0 <= at < len(names) else f"{x:,.6g}"

    def rows(self) -> Iterator[tuple[str, str, float, float, float]]:
        """Yield every number: series, place, value, and the ends of its interval, NaN where it has none."""
        for series in self.series:
            missing = np.full(np.shape(series.y), np.nan)
            ends = [missing if end is None else np.asarray(end, dtype=float) for end in (series.low, series.high)]
            for x, y, low, high in zip(series.x, np.asarray(series.y, dtype=float), *ends, strict=True):
                if np.isfinite(y):
                    yield series.label, self.place(float(x)), float(y), float(low), float(high)


@dataclass(frozen=True, eq=False)
class Plane:
    """Numbers over a grid of points.

    Parameters
    ----------
    title : str
        What it shows.
    x, y : Scale
        Its axes.
    name : str
        What the numbers are.
    places : (array_like, array_like)
        Of the columns (n,) and the rows (m,).
    values : array_like, (m, n)
        The numbers; NaN where not known.
    low, high : array_like or None, (m, n)
        Ends of their intervals.
    note : str
        What else is to be said, in a sentence.
    """

    title: str
    x: Scale
    y: Scale
    name: str
    places: tuple[Any, Any]
    values: Any
    low: Any = None
    high: Any = None
    _: KW_ONLY
    note: str = ""

    @property
    def words(self) -> str:
        """What the plane shows, for whoever does not see it."""
        values = np.asarray(self.values, dtype=float)
        if not np.isfinite(values).any():
            return f"{self.title}: not known."
        row, column = np.unravel_index(int(np.nanargmax(values)), values.shape)
        return (
            f"{self.title}: {self.name} over {self.x.label} and {self.y.label}, from {np.nanmin(values):.3g} to "
            f"{np.nanmax(values):.3g}; highest at {self.places[0][column]:.3g}, {self.places[1][row]:.3g}."
        )


def draw_panels(panels: Sequence[Panel]) -> Axes:
    """Draw panels side by side as a figure for print.

    Parameters
    ----------
    panels : sequence of Panel
        None of them: the figure says so.

    Returns
    -------
    matplotlib.axes.Axes
        Of the first panel.
    """
    count = max(1, len(panels))
    with plt.rc_context(STYLE):
        _, axes = plt.subplots(1, count, figsize=(3.4 * count, 3.2), squeeze=False, layout="constrained")
        for axis, panel in zip(axes[0], panels, strict=False):
            _draw(axis, panel)
        if not panels:
            axes[0, 0].text(0.5, 0.5, "nothing to draw", ha="center", color=QUIET)
            axes[0, 0].set_axis_off()
    first: Axes = axes[0, 0]
    return first


def _draw(axis: Axes, panel: Panel) -> None:
    for series in panel.series:
        x, y = (np.asarray(values, dtype=float) for values in (series.x, series.y))
        style = {"solid": "-", "dash": "--", "dot": ":"}[series.dash]
        look: dict[str, Any] = {"color": series.color, "label": series.label or None}
        if series.form == "points":
            ends = None
            if series.low is not None and series.high is not None:
                ends = np.nan_to_num(np.abs(np.stack([y - series.low, series.high - y])))
            axis.errorbar(x, y, ends, fmt="o", capsize=3, markersize=4, **look)
            continue
        axis.plot(x, y, style, marker="" if series.form == "thin" else "o", markersize=3, **look)
        if series.low is not None and series.high is not None:
            axis.fill_between(x, series.low, series.high, color=series.color, alpha=0.15, linewidth=0)
    for mark in panel.marks:
        (axis.axvline if mark.across == "x" else axis.axhline)(mark.at, color=RULE, linewidth=0.9, linestyle="--")
    axis.set_title(textwrap.fill(panel.title, TITLE_CHARACTERS))
    axis.set_xlabel(panel.x.label)
    axis.set_ylabel(panel.y.label)
    _lay_axes(axis, panel)
    if any(series.label for series in panel.series):
        axis.legend(fontsize="small", frameon=False)


def _lay_axes(axis: Axes, panel: Panel) -> None:
    make_logarithmic(axis, x=panel.x.log, y=panel.y.log)
    for scale, one in ((panel.x, axis.xaxis), (panel.y, axis.yaxis)):
        if scale.names:
            one.set_ticks(range(len(scale.names)), list(scale.names))
        if scale.range is not None:
            one.set_view_interval(*scale.range, ignore=True)
        # what matplotlib writes between two decades runs together
        if scale.log and (marks := log_marks(np.asarray(one.get_view_interval()))):
            one.set_ticks(marks, [short_number(mark) for mark in marks])
            one.set_minor_locator(NullLocator())
