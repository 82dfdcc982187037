"""Numbers of a batch that are not finite: in which tensor, at which step, in which environment and dimension."""

import numpy as np

from closerlook.monitor.batch import ARRAYS_PER_STEP, PER_STEP, Batch
from closerlook.monitor.checks import Check, ok

MAY_BE_MISSING = {"truncation_values", "used_advantages"}
"""Fields in which NaN stands for nothing there."""


def not_finite(batch: Batch) -> dict[str, np.ndarray]:
    """Return the places of numbers that are not finite, by field: rows (step, environment, dimensions ...)."""
    found = {}
    for name in (*PER_STEP, *ARRAYS_PER_STEP):
        array = getattr(batch, name)
        if array is not None and name not in MAY_BE_MISSING:
            places = np.argwhere(~np.isfinite(array))
            if len(places):
                found[name] = places
    return found


def check_finite(batch: Batch) -> Check:
    """Look for NaN and infinities."""
    found = not_finite(batch)
    if not found:
        return ok("finite", "every number is finite")
    # the earliest is the cause, what was computed from it comes later or in the same step
    name = min(found, key=lambda field: tuple(found[field][0][:2]))
    step, environment, *dimension = (int(place) for place in found[name][0])
    where = f", dimension {', '.join(map(str, dimension))}" if dimension else ""
    listed = ", ".join(f"{len(places):,} in {field}" for field, places in found.items())
    return Check(
        check="finite",
        level="problem",
        diagnosis="not_finite",
        statement=f"numbers are not finite: {listed}; the earliest in {name}{where}",
        advice="look at what the environment gave in that step",
        evidence={field: len(places) for field, places in found.items()},
        first_step=step,
        first_environment=environment,
    )
