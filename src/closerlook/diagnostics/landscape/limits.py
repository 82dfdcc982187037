"""Limits of what is said of landscapes."""

from dataclasses import dataclass

from closerlook.diagnostics.common.limits import StepLimits, limit


@dataclass(frozen=True, kw_only=True)
class Limits(StepLimits):
    """Limits of what is said of landscapes."""

    most_gone: float = limit(
        0.5, "Share of points whose reward is not known beyond which nothing is said of relief, or of the best step."
    )
    few_gone: float = limit(0.1, "The same share from which points that are left do not stand for all.")
    enough_streams: float = limit(
        8,
        "Streams of a point from which the interval of a gain is trusted: returns are skewed, whatever its sign.",
    )
    aligned: float = limit(0.7, "Correlation from which surrogate and reward point the same way.")
    opposed: float = limit(-0.65, "Correlation over the plane that is lower than any of the atlas, -0.62 to 0.98.")
    too_long: float = limit(
        0.5,
        "A step whose reward peaks no further than this is twice too long; so is 1 of 40 of the atlas.",
    )
