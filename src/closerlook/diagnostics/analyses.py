"""Interim analyses: how much is sampled before each look at an interval that is to become narrow enough.

Each analysis has twice the pairs of the one before, and keeps them. An interval that is looked at several times, and
believed when it happens to be narrow, covers less than it says; with few looks, and many units at the first, hardly: 92
to 99% in the tests, as one that is looked at once.
"""

from typing import Any

import numpy as np

from closerlook.diagnostics.diagnostic import Narrowing


def amounts(least: int, unit: int, most: int) -> list[int]:
    """Return how much is sampled at each analysis, the last of them `most`.

    Parameters
    ----------
    least : int
        At the first.
    unit : int
        What amounts are whole multiples of, so that an analysis shares all jobs of the one before.
    most : int
        To stop at.
    """
    amount = -(-least // unit) * unit
    found = []
    while amount < most:
        found.append(amount)
        amount *= 2
    return [*found, most]


def progress_note(narrowing: Narrowing, amount: int, width: float, options: Any) -> str:
    """Say how narrow the interval is, and guess what it will take: it narrows with the root of what is sampled.

    Parameters
    ----------
    narrowing : Narrowing
        Which interval is narrowed, by which option.
    amount : int
        Of that option, taken so far.
    width : float
        Half the interval's length.
    options : Options
        What was asked for, ``precision`` among it.
    """
    most, word = getattr(options, narrowing.option), narrowing.option.replace("_", " ")
    known = f"after {amount:,} {word} {narrowing.interval} is known to {width:.3g} either way"
    if amount >= most:
        return f"{known}, not to {options.precision:g}: --{narrowing.option.replace('_', '-')} is reached"
    # half widths fall with the square root of what is sampled
    needed = amount * (width / options.precision) ** 2
    guess = f"about {needed:,.0f} will do" if np.isfinite(needed) else "more are needed"
    return f"{known}; {guess}" + (f", and {most:,} are the most" if needed > most else "")
