"""How intervals are laid out as the arrays of a dataset."""

from collections.abc import Sequence

import numpy as np

from closerlook.statistics.estimates import Interval

Findings = dict[str, np.ndarray]
"""Numbers of one agent, by the schema's names, without the agent axis."""

_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))


def intervals(name: str, found: Sequence[Interval], shape: tuple[int, ...] | None = None) -> Findings:
    """Lay intervals out as three arrays, in the shape they were listed in: one dimension where none is given.

    Parameters
    ----------
    name : str
        Of the variable.
    found : sequence of Interval
        In C order of the shape.
    shape : tuple of int or None
        Of the arrays.
    """
    return {
        f"{name}{suffix}": np.array([getattr(one, end) for one in found], np.float64).reshape(shape or (len(found),))
        for suffix, end in _ENDS
    }


def interval(name: str, found: Interval) -> Findings:
    """Lay one interval out as three numbers.

    Parameters
    ----------
    name : str
        Of the variable.
    found : Interval
        Value and ends.
    """
    return {f"{name}{suffix}": np.array(getattr(found, end), np.float64) for suffix, end in _ENDS}
