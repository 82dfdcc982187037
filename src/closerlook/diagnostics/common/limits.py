"""Limits of verdicts: arguments, each declared once with its default and what it is of.

The defaults lie at the edge of what trained agents of the atlas show, or beyond it: each diagnostic's page has the
ranges. What is within them is usual, not good.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from closerlook.errors import InputError


def limit(default: float, what: str) -> Any:
    """Declare one limit: a dataclass field with its default.

    Parameters
    ----------
    default : float
        Calibrated on the atlas.
    what : str
        Which number it is of, and what is beyond it, in a sentence.
    """
    return dataclasses.field(default=default, metadata={"what": what})


@dataclass(frozen=True, kw_only=True)
class BaseLimits:
    """Limits of a diagnostic's verdicts; this one has none."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Put others in place of some.

        Parameters
        ----------
        given : mapping of str to float
            By name; the rest keep their defaults.

        Raises
        ------
        InputError
            Where there is no such limit, or a value is no finite number.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name, value in given.items():
            if name not in names:
                near = difflib.get_close_matches(name, names, 1) or names
                raise InputError(f"there is no limit {name!r}", f"choose from {', '.join(near) or 'none'}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"limit {name} must be a finite number (got {value!r})", "give a number, like 0.5")
        return cls(**given)

    @classmethod
    def described(cls) -> list[tuple[str, float, str]]:
        """Return each limit: name, default, and what it is of."""
        usual = cls()
        return [(field.name, getattr(usual, field.name), field.metadata["what"]) for field in dataclasses.fields(cls)]


@dataclass(frozen=True, kw_only=True)
class StepLimits(BaseLimits):
    """Limits that every diagnostic of a step has."""

    deterministic_std: float = limit(
        1e-4, "Smallest standard deviation of an action component; below it a policy is as good as deterministic."
    )
    heldout_fall: float = limit(
        -0.1,
        "Part of its rise on the batch by which a surrogate changes on other pairs; below it, interval and all, it is "
        "watched. Chance alone gives 0, on average, and no trained agent of the atlas is below, interval and all.",
    )
    kept_elsewhere: float = limit(0.5, "The same part from which most of a rise is of more than the batch.")
