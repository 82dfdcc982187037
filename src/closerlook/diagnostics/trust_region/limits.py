"""Limits of what is said of updates and trust regions."""

from dataclasses import dataclass

from closerlook.diagnostics.common.limits import StepLimits, limit


@dataclass(frozen=True, kw_only=True)
class Limits(StepLimits):
    """Limits of what is said of updates and trust regions."""

    little_std: float = limit(
        0.01,
        "Standard deviation of an action component, as a share of its range; below it hardly anything is explored.",
    )
    little_entropy: float = limit(
        0.05, "Mean entropy of discrete actions, as a share of the largest; below it hardly anything is explored."
    )
    beyond_bound: float = limit(
        1.25,
        "Mean KL on other states, as a multiple of the bound, from which the bound does not hold there; "
        "atlas: up to 0.95.",
    )
    many_outside: float = limit(
        0.8,
        "Share of ratios outside 1 +- epsilon that no column of the atlas exceeds (Humanoid, iteration 150: 0.79).",
    )
    model_least: float = limit(
        0.5,
        "Quadratic model over the divergence it stands for, at least: within a factor of two, as for all but 2 of 193 "
        "agents.",
    )
    model_most: float = limit(2.0, "The same, at most.")
    failed_searches: float = limit(0.1, "Share of line searches that take no step; more are watched.")
    least_step_fraction: float = limit(0.25, "Mean share of the full step that is taken; less is watched.")
    efficient: float = limit(
        0.55,
        "Share of the natural gradient's predicted gain that TRPO's steps in the atlas have at least, intervals in.",
    )
    enough_updates: float = limit(
        4,
        "Updates from which the interval of their mean gain is trusted: gains are skewed, a few updates lose much.",
    )
