"""The shape of a verdict: what the numbers say, which numbers, and what to do."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Level = Literal["ok", "watch", "problem", "not_enough_data"]
Verdict = dict[str, Any]
"""``{area, level, statement, evidence: {name: number}, advice}``."""


def make_verdict(
    area: str, level: Level, statement: tuple[str, str], evidence: Mapping[str, float], advice: str
) -> Verdict:
    """Put a verdict together; numbers that are not finite are None.

    Parameters
    ----------
    area : str
        Of the diagnostic.
    level : {"ok", "watch", "problem", "not_enough_data"}
        How it stands.
    statement : (str, str)
        Whom it is about, empty where there is but one, and what it says.
    evidence : mapping of str to float
        The numbers it rests on.
    advice : str
        What to do, or what a change would buy.
    """
    name, words = statement
    known = {key: (None if not np.isfinite(value) else value) for key, value in evidence.items()}
    text = f"{name}: {words}" if name else words
    return {"area": area, "level": level, "statement": text, "evidence": known, "advice": advice}
