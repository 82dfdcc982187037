"""Limits of what is said of gradients."""

from dataclasses import dataclass

from closerlook.diagnostics.common.limits import BaseLimits, limit


@dataclass(frozen=True, kw_only=True)
class Limits(BaseLimits):
    """Limits of what is said of gradients; from the atlas (docs/atlas_gradients.md)."""

    unusual_noise: float = limit(
        500.0,
        "Training batches in the noise scale's lower end; more are watched. Of the trained agents of the atlas (150 "
        "iterations and more, three tasks, two algorithms, ten seeds; 2e5 pairs of each) none had more than 335.",
    )
    clear_cosine: float = limit(
        0.7, "Cosine to the true gradient from which the batch is larger than the noise scale: signal outweighs noise."
    )
    stuck_updates: float = limit(0.5, "Share of updates that do not move; more are a problem.")
