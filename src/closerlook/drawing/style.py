"""What all figures share: colors, type, labels at the ends of lines, saving.

Colors are those of Okabe and Ito (2008) and their like, told apart in all forms of color blindness; nothing is told
by color alone.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from closerlook.results.writing import write_atomically
from closerlook.statistics.student import t_quantile

COLORS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#B8860B", "#56B4E9")
"""Blue, vermilion, green, purple, ochre, sky blue: dark enough for text on white."""

INK, QUIET, RULE = "#22262b", "#667079", "#d9dde1"

STYLE: Any = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": "white",
    "svg.hashsalt": "closerlook",
}
MAX_LABELED = 4
"""More lines than this in one panel are drawn thin, in one color, with their mean."""


def verbatim(name: str) -> str:
    """Return a name as it is to stand in a figure: its dollar signs are no mathematics."""
    return name.replace("$", r"\$")


def save_figure(ax: Axes, path: str | Path, formats: Iterable[str] = ("svg", "png"), *, dpi: int = 200) -> list[Path]:
    """Save the figure that holds some axes, once for each format, and close it.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Any axes of the figure.
    path : str or Path
        Where to, without the suffix.
    formats : iterable of str
        Suffixes that matplotlib knows.
    dpi : int
        Dots per inch, where there are dots.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        Where the disk is full or cannot be written.

    See Also
    --------
    closerlook.plot_gradient_quality : draws one of the figures.

    Examples
    --------
    >>> import tempfile
    >>> import closerlook as cl
    >>> axis = cl.plot_training({"iteration": [0, 1], "agent_seed": [0, 0], "mean_reward": [10.0, 20.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in cl.save_figure(axis, f"{folder}/rewards", formats=["svg"])]
    ['rewards.svg']
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    target = Path(path)
    files = [target.with_name(f"{target.name}.{suffix}") for suffix in formats]
    with plt.rc_context(STYLE):
        _settle(figure, dpi)
        for file in files:
            write_atomically(file, partial(_save, figure, file.suffix[1:], dpi))
    plt.close(figure)
    return files


CAPTION_LINE = 0.15
"""Inches of a line of a caption."""
CHARACTERS_PER_INCH = 17


def add_caption(figure: Figure, text: str) -> None:
    """Make room below a figure, and write a line or two there.

    Parameters
    ----------
    figure : Figure
        Grows by as much.
    text : str
        What stands there; broken where the figure is narrower.
    """
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(text, max(40, int(width * CHARACTERS_PER_INCH)))
    room = CAPTION_LINE * len(lines) + 0.1
    share = room / (height + room)
    _lay_out(figure)
    figure.set_size_inches(width, height + room)
    for axis in figure.axes:
        left, bottom, wide, high = axis.get_position(original=True).bounds
        axis.set_position((left, share + bottom * (1 - share), wide, high * (1 - share)))
    for words in figure.texts:
        words.set_y(share + words.get_position()[1] * (1 - share))
    figure.text(0.01, 0.01, verbatim("\n".join(lines)), ha="left", va="bottom", size=7.5, color=QUIET)


def _lay_out(figure: Figure) -> None:
    """Place everything now, and nothing by itself any more."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    # "none" would leave a placeholder, for which each format draws the figure once more
    figure.set_layout_engine(None)


def _settle(figure: Figure, dpi: int) -> None:
    """Lay the figure out, for good: the last bits of what the solver finds go by addresses in memory, ids by them."""
    figure.dpi = dpi
    _lay_out(figure)
    # layout engines differ in last digits from one call to the next: rounded places give equal files
    for axis in figure.axes:
        left, bottom, width, height = (round(place, 9) for place in axis.get_position(original=True).bounds)
        axis.set_position((left, bottom, width, height))


def _save(figure: Figure, suffix: str, dpi: int, path: Path) -> None:
    undated = {"Date": None} if suffix == "svg" else {}
    figure.savefig(path, format=suffix, dpi=dpi, metadata=undated)


def make_logarithmic(axis: Axes, *, x: bool = False, y: bool = False) -> None:
    """Make axes logarithmic once everything is drawn, also where nothing of it is a number above 0.

    Such an axis would keep the limits of an empty linear one, which no logarithmic axis can be drawn with.

    Parameters
    ----------
    axis : Axes
        On which all is drawn.
    x, y : bool
        Which of its axes.
    """
    for asked, set_scale, limits, set_limits in (
        (x, axis.set_xscale, axis.get_xlim, axis.set_xlim),
        (y, axis.set_yscale, axis.get_ylim, axis.set_ylim),
    ):
        if asked:
            set_scale("log")
            low, high = limits()
            if not 0 < low < high:
                set_limits(0.1, 1.0)


MANY_DECADES = 4
"""From which on decades alone are marked."""


def log_marks(values: np.ndarray) -> list[float]:
    """Return decades within the reach of numbers, or where these are few 1, 2 and 5 times them.

    Parameters
    ----------
    values : ndarray, (n,)
        What is drawn along a logarithmic axis, above 0.
    """
    if not len(values):
        return []
    low, high = float(values.min()) / 1.1, float(values.max()) * 1.1
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(decades) > MANY_DECADES else (1, 2, 5)
    return [
        float(f"{step}e{decade}") for decade in decades for step in steps if low <= float(f"{step}e{decade}") <= high
    ]


def scale_pairs(axis: Axes, sizes: np.ndarray) -> None:
    """Make a logarithmic axis of numbers of pairs: marked at decades, or where it has fewer than two, at the sizes.

    Parameters
    ----------
    axis : Axes
        Whose x axis it is.
    sizes : ndarray
        Numbers of pairs that are drawn.
    """
    low, high = float(sizes.min()) / 1.3, float(sizes.max()) * 1.3
    decades = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    marks = LogLocator(10, numticks=12) if decades > 1 else FixedLocator(np.unique(sizes).tolist())
    axis.xaxis.set_major_locator(marks)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())


def label_lines(axis: Axes, lines: Sequence[Any]) -> None:
    """Write each line's label at its right end, in its color, moved apart where they would overlap.

    Parameters
    ----------
    axis : Axes
        Where they are drawn, its limits set.
    lines : sequence of Line2D
        Those without a label are left out.
    """
    labeled = [
        line
        for line in lines
        if line.get_label() and not line.get_label().startswith("_") and np.isfinite(line.get_ydata()).any()
    ]
    if not labeled:
        return
    ends = []
    for line in labeled:
        x, y = (np.asarray(data, dtype=float) for data in line.get_data())
        last = np.flatnonzero(np.isfinite(y))[-1]
        ends.append((x[last], y[last]))
    low, high = axis.get_ylim()
    points_high = axis.bbox.height * 72 / axis.figure.dpi
    places = spread([y for _, y in ends], gap=(high - low) * 11 / points_high)
    for line, (x, _), place in zip(labeled, ends, places, strict=True):
        axis.annotate(
            line.get_label(), (x, place), xytext=(7, 0), textcoords="offset points", color=line.get_color(),
            va="center", size=8, annotation_clip=False,
        )  # fmt: skip


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move numbers apart until neighbors differ by `gap`, each group staying centered where it was.

    Parameters
    ----------
    positions : sequence of float
        Where things would be.
    gap : float
        The least distance between two.

    Returns
    -------
    list of float
        In the order given.
    """
    order = np.argsort(positions, kind="stable")
    groups: list[list[float]] = []
    for position in np.asarray(positions, dtype=float)[order]:
        groups.append([position])
        while len(groups) > 1 and _centered(groups[-2], gap)[-1] + gap > _centered(groups[-1], gap)[0]:
            last = groups.pop()
            groups[-1] += last
    placed = np.concatenate([_centered(group, gap) for group in groups]) if groups else np.empty(0)
    result = np.empty(len(placed))
    result[order] = placed
    return [float(place) for place in result]


def _centered(group: Sequence[float], gap: float) -> np.ndarray:
    return np.mean(group) + gap * (np.arange(len(group)) - (len(group) - 1) / 2)


def mean_with_interval(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and 95% t interval over rows, each column from the rows that have a number there."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    filled = np.where(known, rows, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / count
        deviation = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(axis=0) / (count - 1) / count)
        half = t_quantile(0.975, np.maximum(count - 1, 1)) * deviation
    return mean, mean - half, mean + half


def mean_of_all(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and 95% t interval over rows, nothing where one has no number: the others are a selection.

    Where noise hides a row's number, those of the others are the larger ones, and their mean is too high.

    Parameters
    ----------
    rows : ndarray, (n, C)
        A number for each unit and column.
    """
    return mean_with_interval(np.where(np.isfinite(rows).all(axis=0), rows, np.nan))


def by_seed(log: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Lay out a column of a log: the iterations (I,), and a row for each seed (n, I), NaN where it has none.

    Parameters
    ----------
    log : mapping of str to ndarray
        A training log by column.
    name : str
        Of the column.
    """
    iterations, seeds, values = (np.asarray(log[key], dtype=float) for key in ("iteration", "agent_seed", name))
    shared, places = np.unique(iterations, return_inverse=True)
    names, rows = np.unique(seeds, return_inverse=True)
    table = np.full((len(names), len(shared)), np.nan)
    table[rows, places] = values
    return shared, table


def short_number(value: float) -> str:
    """Write 2048 as "2k", 1e6 as "1M", 200 as "200"."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


Range = tuple[float, float]
OUTLYING = 15.0
"""How many median deviations from the median a point is left outside its panel, which it would flatten."""
FEWEST_WITH_OUTLIERS = 4
"""Of fewer points none can be said to be far from all others."""


def leave_out_outliers(axis: Axes, x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Zoom a panel to its points (n,) but for those far from all others, and say how many lie beyond it.

    Parameters
    ----------
    axis : Axes
        Where the points are drawn.
    x, y, low, high : ndarray, (n,)
        Of the points, and of the intervals of their y.
    """
    found = ranges_without_outliers(x, y, low, high)
    if found is None:
        return
    across, up, beyond = found
    axis.set_xlim(*across)
    axis.set_ylim(*up)
    axis.text(0.98, 0.02, f"{beyond} beyond", transform=axis.transAxes, ha="right", size=7.5, color=QUIET)


def ranges_without_outliers(
    x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[Range, Range, int] | None:
    """Return the ranges of x and y that show all points (n,) but those far from all others, and how many these are.

    Parameters
    ----------
    x, y : ndarray, (n,)
        Of the points, finite.
    low, high : ndarray, (n,)
        Ends of the intervals of y, which are shown too; those that are not finite are not.

    Returns
    -------
    (float, float), (float, float), int or None
        None where no point lies far from the others, or there are too few for that to mean anything.
    """
    inside = ~(_outlying(x) | _outlying(y))
    if inside.all() or inside.sum() < 2 or len(x) < FEWEST_WITH_OUTLIERS:
        return None
    ends = [np.where(np.isfinite(end), end, y)[inside] for end in (low, high)]
    return _with_margin(x[inside]), _with_margin(np.concatenate([y[inside], *ends])), int((~inside).sum())


def _with_margin(values: np.ndarray) -> Range:
    margin = 0.15 * max(float(np.ptp(values)), 1e-9)
    return min(float(values.min()), 0.0) - margin, max(float(values.max()), 0.0) + margin


def keep_curves_in_view(axis: Axes, curves: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Zoom a panel to its curves where their intervals would flatten them, and say so.

    Parameters
    ----------
    axis : Axes
        Where all is drawn.
    curves, low, high : ndarray
        As for `range_of_curves`.
    """
    found = range_of_curves(curves, low, high)
    if found is not None:
        axis.set_ylim(*found)
        words = "the interval reaches beyond"
        axis.text(0.03, 0.97, words, transform=axis.transAxes, va="top", size=7.5, color=QUIET)


def range_of_curves(curves: np.ndarray, low: np.ndarray, high: np.ndarray) -> Range | None:
    """Return the range of y that shows curves, zero, and intervals as far as that range once more on either side.

    Parameters
    ----------
    curves : ndarray
        All that has to be seen; NaN where something is not known.
    low, high : ndarray
        Ends of intervals.

    Returns
    -------
    (float, float) or None
        None where no interval reaches beyond.
    """
    known = curves[np.isfinite(curves)]
    if not known.size:
        return None
    lowest, highest = min(float(known.min()), 0.0), max(float(known.max()), 0.0)
    room = highest - lowest or 1.0
    down, up = float(np.nanmin(low, initial=lowest)), float(np.nanmax(high, initial=highest))
    if down >= lowest - room and up <= highest + room:
        return None
    return max(down, lowest - room), min(up, highest + room)


def _outlying(values: np.ndarray) -> np.ndarray:
    """Say which numbers (n,) lie far from the others, by the median deviation from the median."""
    away = np.abs(values - np.median(values))
    return np.asarray(away > OUTLYING * max(float(np.median(away)), 1e-12 + 1e-3 * abs(float(np.median(values)))))


def legend_above(axis: Axes, columns: int = 3) -> None:
    """Put the legend between title and lines, where it hides nothing.

    Parameters
    ----------
    axis : Axes
        Whose legend.
    columns : int
        Of the legend.
    """
    axis.legend(
        frameon=False, fontsize=6.5, ncols=columns, loc="lower left", bbox_to_anchor=(-0.02, 0.99), borderaxespad=0.0,
        columnspacing=0.6, handlelength=1.3,
    )  # fmt: skip
