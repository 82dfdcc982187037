"""Limits of what is said of critics."""

from dataclasses import dataclass

from closerlook.diagnostics.common.limits import BaseLimits, limit


@dataclass(frozen=True, kw_only=True)
class Limits(BaseLimits):
    """Limits of what is said of critics; from the atlas (docs/atlas_values.md)."""

    harmful: float = limit(1.1, "Variance with the critic over that with a constant from which it does harm.")
    useless: float = limit(0.2, "Share of the possible variance reduction below which a critic is useless.")
    good: float = limit(0.8, "Share of the possible variance reduction from which it is good.")
    as_good: float = limit(
        1.05, "Variance with the critic over that with the fitted value up to which there is nothing to gain."
    )
    costly: float = limit(
        3.0,
        "Variance with the critic over that with the fitted value from which a better critic would be worth much.",
    )
    fits_own_target: float = limit(0.8, "Explained variance of its own target from which a critic fits it.")
    misses_returns: float = limit(
        0.5, "Explained variance of the returns, over what is possible, below which it misses them."
    )
    lambda_gain: float = limit(
        1.05,
        "Cosine by the best lambda over that by the agent's own; a whole interval above it is watched.",
    )
    incomplete_returns: float = limit(
        0.01, "Share of trajectories whose returns could not be followed to their end; from it they are a problem."
    )
