"""What may be asked of a landscape."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from closerlook.arguments import LARGEST_BATCH, Algorithm
from closerlook.diagnostics.options import BaseOptions, option
from closerlook.errors import InputError

AxisName = Literal["step", "gradient", "random", "filter", "difference"]
"""``step``: the update the agent's algorithm makes of a batch; 1 is the whole of it. ``gradient``: of the surrogate,
from a pool of its own, as long as the step. ``random``: Gaussian, of norm 2. ``filter``: the same with each filter as
long as the agent's. ``difference``: to the policy parameters of another agent, which are at 1; whatever else acts, like
statistics of observations, stays the first agent's."""
Draws = Literal["common", "independent"]
LARGEST_GRID = 1001
ANOTHER_BATCH = "give another batch (--step-pairs, --seed) or algorithm (--algo)"
NOWHERE: Mapping[str, tuple[str, str]] = {
    "step": ("the update of the agent does not move its policy", ANOTHER_BATCH),
    "gradient": ("the gradient, or the step that it is made as long as, is zero", ANOTHER_BATCH),
    "random": ("the random direction is zero", "give another --seed"),
    "filter": ("all filters of the agent are zero", "give the axis random"),
    "difference": ("the agent that the axis difference leads to has the same policy", "give another --towards"),
}
"""Why an axis leads nowhere, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """What may be asked of a landscape."""

    pairs: int = option(
        20_000,
        "State-action pairs of each point of the plane, rounded up to whole streams, each of which finishes its last "
        "episode; 2e4 is a whole number.",
        least=2,
    )
    line_pairs: int | None = option(
        None,
        "State-action pairs of each point along the first axis.",
        least=2,
        otherwise="ten times --pairs",
    )
    heldout_pairs: int = option(65_536, "Pairs that the step has not seen, to evaluate surrogates on as well.", least=2)
    gradient_pairs: int = option(200_000, "Pairs that the axis gradient is estimated from.", least=2)
    grid: int = option(13, "Points along each axis.", least=2, most=LARGEST_GRID)
    range: tuple[float, float] = option(
        (0.0, 3.0), "Multiples along each axis; 0, the agent itself, is always among them.", metavar="FROM TO"
    )
    axes: tuple[AxisName, ...] = option(
        ("step", "random"),
        "Two for a plane, one for a line: step, gradient, random, filter (random, each filter as long as the agent's), "
        "difference (to the checkpoint of --towards).",
        metavar="AXIS [AXIS]",
        otherwise="step random",
    )
    towards: tuple[Any, ...] = option(
        (),
        "Whose policy parameters the axis difference leads to, an agent or one for each; on the command line the "
        "iteration of a checkpoint. All else stays the agent's own.",
        otherwise="none",
        agents=True,
    )
    step_pairs: int | None = option(
        None,
        "Pairs that the step is computed from, in whole streams, or the first pairs of one.",
        least=2,
        most=LARGEST_BATCH,
        otherwise="the agent's batch",
    )
    algorithm: Algorithm | None = option(
        None,
        "Whose update the step is, with its default settings unless it is the agent's own.",
        flag="algo",
        old=("algo",),
        metavar="ppo|trpo|natural|vanilla",
        otherwise="the agent's own, else ppo",
    )
    draws: Draws = option(
        "common",
        "Whether all points share their random numbers, which narrows the intervals of differences, or have their own.",
    )

    def check(self) -> None:
        """Refuse ranges without the agent itself, and axes that make no plane."""
        low, high = self.range
        if not (math.isfinite(low) and math.isfinite(high) and low <= 0.0 <= high and low < high):
            what = f"range must hold 0, the agent itself (got {low:g} to {high:g})"
            raise InputError(what, "give a range that holds 0, like 0 3")
        if len(self.axes) not in {1, 2}:
            raise InputError(f"axes must be one or two (got {len(self.axes)})", "give one for a line, two for a plane")
        if len(set(self.axes)) < len(self.axes) and self.axes[0] in {"step", "gradient", "difference"}:
            raise InputError(f"both axes are {self.axes[0]}", "give two that differ")
        if self.towards and "difference" not in self.axes:
            what = "--towards was given, and no axis is difference"
            raise InputError(what, "give --axes step difference, or neither")
        if "difference" in self.axes and not self.towards:
            raise InputError("the axis difference leads nowhere", "say to which checkpoint (--towards ITERATION)")
