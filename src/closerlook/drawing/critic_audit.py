"""The figure of critics audited while they were trained."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from closerlook.drawing.style import COLORS, RULE, STYLE, by_seed, mean_with_interval

HELD_OUT = {
    "own target": "audit_gae_mre_heldout",
    "Monte Carlo returns": "audit_returns_mre_heldout",
    "returns cut as released": "audit_cut_off_returns_mre_heldout",
}
"""Lines of the first panel, and their columns."""
TRAINED = {
    "own target": "audit_gae_mre_train",
    "bootstrapped returns": "audit_bootstrapped_returns_mre_train",
    "returns cut as released": "audit_cut_off_returns_mre_train",
}
"""Lines of the second, in the first panel's order of colors."""


def has_audit(log: Mapping[str, Any]) -> bool:
    """Say whether a training log holds any number of an audit of critics."""
    names = [name for name in (*HELD_OUT.values(), *TRAINED.values()) if name in log]
    return any(bool(np.isfinite(np.asarray(log[name], dtype=float)).any()) for name in names)


def plot_critic_audit(log: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Draw mean relative errors of critics along training, after each update: means over seeds, 95% t intervals.

    On held-out pairs (Figures 3 and 12 of Ilyas et al., 2020), to the critic's own target ``V_old + A``, to Monte Carlo
    returns, and to returns that stop with zero at the end of the batch, as in the released code; on the batch that the
    critic was updated on (Figure 11), to its own target, to returns bootstrapped as the agent does, and to returns cut
    as in the released code.

    Parameters
    ----------
    log : mapping of str to array_like
        Columns ``iteration``, ``agent_seed`` and ``audit_*`` of a training log, one row for each iteration and seed; a
        column that is not there, or holds no number, is not drawn.
    ax : matplotlib.axes.Axes, optional
        Draw the held-out pairs there. Without it a figure is made.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; the first panel's where there are two.

    See Also
    --------
    closerlook.CriticAudit : whose columns are drawn.

    Examples
    --------
    >>> import closerlook as cl
    >>> log = {"iteration": [0, 1], "agent_seed": [0, 0], "audit_gae_mre_heldout": [0.5, 0.2]}
    >>> axis = cl.plot_critic_audit(log)
    >>> axis.lines[0].get_ydata().tolist()
    [0.5, 0.2]
    """
    with plt.rc_context(STYLE):
        if ax is not None:
            _draw(ax, log, HELD_OUT)
            return ax
        figure: Figure = plt.figure(figsize=(10.0, 3.6), layout="constrained")
        first, second = figure.subplots(1, 2, sharey=True)
        for axis, lines, title in ((first, HELD_OUT, "held-out pairs"), (second, TRAINED, "pairs of the batch")):
            _draw(axis, log, lines)
            axis.set_title(f"Critic's relative error, {title}")
        second.set_ylabel("")
    held_out: Axes = first
    return held_out


def plot_errors(log: Mapping[str, Any], columns: Mapping[str, str]) -> Axes:
    """Draw some columns of an audit in a figure of their own: those of held-out pairs, or of training pairs.

    Parameters
    ----------
    log : mapping of str to array_like
        See `plot_critic_audit`.
    columns : mapping of str to str
        `HELD_OUT` or `TRAINED`.
    """
    with plt.rc_context(STYLE):
        axis: Axes = plt.figure(figsize=(6.0, 3.8), layout="constrained").subplots()
        _draw(axis, log, columns)
    return axis


def _draw(axis: Axes, log: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    axis.set_yscale("log")
    drawn = []
    for color, (label, name) in zip(COLORS, columns.items(), strict=False):
        if name not in log:
            continue
        iterations, rows = by_seed(log, name)
        mean, low, high = mean_with_interval(rows)
        if not np.isfinite(mean).any():
            continue
        floor = np.nanmin(mean) / 10  # a band may reach below zero, which a logarithmic axis has no place for
        axis.fill_between(iterations, np.maximum(low, floor), high, color=color, alpha=0.16, linewidth=0)
        # by the released code's bootstrap returns are cut ones, nearly: dashes show what they are drawn over
        style = (0, (3, 3)) if name == TRAINED["returns cut as released"] else "-"
        drawn += axis.plot(iterations, mean, linestyle=style, color=color, linewidth=1.4, label=label, gid="error")
    axis.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 3.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="iteration", ylabel="mean relative error")
    axis.margins(x=0)
    axis.grid(axis="y", color=RULE, linewidth=0.6)
    axis.set_axisbelow(True)
    if drawn:  # labels at the ends of lines are spread on linear axes only
        axis.legend(handles=drawn, frameon=False, fontsize=8, loc="best")
