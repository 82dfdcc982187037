"""The figure of performance profiles: which part of seeds reaches how much."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from closerlook.drawing.style import COLORS, RULE, STYLE
from closerlook.statistics.seeds import performance_profile

POINTS = 201
"""Thresholds along the horizontal axis."""


def plot_profiles(rewards: Mapping[str, np.ndarray]) -> Axes:
    """Draw the part of seeds that reaches each reward, a line for each group, with 95% intervals from eight seeds on.

    Parameters
    ----------
    rewards : mapping of str to ndarray, (n,)
        What each seed of a group ends with; NaN ones are left out.

    Returns
    -------
    matplotlib.axes.Axes
        Of a figure of its own.

    References
    ----------
    Agarwal et al., 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", Figure 7.
    """
    known = {name: values[np.isfinite(values)] for name, values in rewards.items()}
    ends = np.concatenate(list(known.values()))
    thresholds = np.linspace(min(0.0, float(ends.min())), float(ends.max()) * 1.02, POINTS)
    with plt.rc_context(STYLE):
        axis: Axes = plt.figure(figsize=(6.0, 3.6), layout="constrained").subplots()
        lines = []
        for color, (name, values) in zip(COLORS, known.items(), strict=False):
            profile = performance_profile(values, thresholds)
            axis.fill_between(thresholds, profile.low, profile.high, color=color, alpha=0.14, linewidth=0, step="mid")
            label = f"{name}, {len(values)} seeds"
            lines += axis.step(thresholds, profile.share, color=color, where="mid", label=label)
        axis.set(xlabel="reward at the end", ylabel="part of seeds that reaches it", ylim=(-0.02, 1.02))
        axis.grid(axis="y", color=RULE, linewidth=0.6)
        axis.margins(x=0)
        axis.legend(handles=lines, frameon=False, fontsize=8, loc="upper right")
    return axis
