"""The figure of a training run."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from closerlook.drawing.panels import Panel, Scale, Series
from closerlook.drawing.style import (
    COLORS,
    INK,
    MAX_LABELED,
    QUIET,
    RULE,
    STYLE,
    by_seed,
    label_lines,
    mean_with_interval,
)


def plot_training(log: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Draw the reward curves of a training run: a thin line for each seed, and their mean.

    Parameters
    ----------
    log : mapping of str to array_like
        Columns ``iteration``, ``agent_seed`` and ``mean_reward``, one row for each iteration and seed: a data
        frame of ``training.csv``, or a dictionary of arrays.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes
        Where it was drawn.

    See Also
    --------
    closerlook.train : whose log is drawn.

    Examples
    --------
    >>> import closerlook as cl
    >>> log = {"iteration": [0, 1, 0, 1], "agent_seed": [0, 0, 1, 1], "mean_reward": [10.0, 20.0, 12.0, 18.0]}
    >>> axis = cl.plot_training(log)
    >>> axis.lines[-1].get_ydata().tolist()
    [11.0, 19.0]
    """
    iterations, seeds, returns = (
        np.asarray(log[name], dtype=float) for name in ("iteration", "agent_seed", "mean_reward")
    )
    with plt.rc_context(STYLE):
        axis = ax if ax is not None else plt.subplots(figsize=(6.4, 3.6), layout="constrained")[1]
        curves = {int(seed): (iterations[seeds == seed], returns[seeds == seed]) for seed in np.unique(seeds)}
        many, alone = len(curves) > MAX_LABELED, len(np.unique(iterations)) == 1
        for number, (seed, curve) in enumerate(curves.items()):
            color, label = (QUIET, "") if many else (COLORS[number], f"seed {seed}")
            look: dict[str, Any] = {"color": color, "alpha": 0.45 if many else 0.8, "marker": "o" if alone else ""}
            axis.plot(*curve, linewidth=0.9, label=label, gid="seed", **look)
        if len(curves) > 1 and not alone:
            _draw_mean_curve(axis, log)
        axis.set(xlabel="iteration", ylabel="mean episode return")
        axis.set_ylim(bottom=0.0 if np.nanmin(returns, initial=0.0) >= 0 else None)
        axis.margins(x=0)
        if alone:
            axis.set_xlim(iterations[0] - 0.5, iterations[0] + 0.5)
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axis.grid(axis="y", color=RULE, linewidth=0.6)
        axis.set_axisbelow(True)
        label_lines(axis, axis.lines)
    return axis


def _draw_mean_curve(axis: Axes, log: Mapping[str, Any]) -> None:
    iterations, rows = by_seed(log, "mean_reward")
    mean, _, _ = mean_with_interval(rows)
    axis.plot(iterations, mean, color=INK, linewidth=2.0, label=f"mean of {len(rows)}", gid="mean")


def panels(log: Mapping[str, Any]) -> list[Panel]:
    """Return the reward curves of a training run as data.

    Parameters
    ----------
    log : mapping of str to array_like
        As `plot_training` takes it.
    """
    iterations, rows = by_seed(log, "mean_reward")
    seeds, many = np.unique(np.asarray(log["agent_seed"])), len(rows) > MAX_LABELED
    series = [
        Series("" if many else f"seed {int(seed)}", iterations, row, color=color, form="thin")
        for seed, row, color in zip(seeds, rows, cycle([QUIET] if many else COLORS), strict=False)
    ]
    if len(rows) > 1:
        label = f"mean of {len(rows)}, interval over seeds"
        series.append(Series(label, iterations, *mean_with_interval(rows), color=INK, form="thin"))
    return [Panel("Mean episode return over training", Scale("iteration"), Scale("mean episode return"), series)]
