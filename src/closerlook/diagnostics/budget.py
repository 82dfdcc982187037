"""Options that a budget allows: as much as was asked for, or as large a part of it as fits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from closerlook.diagnostics.diagnostic import Diagnostic
from closerlook.diagnostics.subjects import Subject
from closerlook.errors import InputError

HALVINGS = 30
"""Of the interval in which the largest part is searched: far below one pair in any budget."""


def fit_to(diagnostic: Diagnostic, subjects: Sequence[Subject], options: Any, work: float) -> Any:
    """Return options whose measurement of all agents takes no more than some work.

    Parameters
    ----------
    diagnostic : Diagnostic
        Its `scaled` options become smaller, by one factor.
    subjects : sequence of Subject
        Who is to be measured.
    options : Options
        The most that is wanted.
    work : float
        In pairs that could be simulated meanwhile, for all agents together.

    Raises
    ------
    InputError
        Where even the least that can be measured takes more, saying how much that is.
    """
    if _work(diagnostic, subjects, options) <= work:
        return options
    least, fitting = None, None
    low, high = 0.0, 1.0
    # bisection: work rises with the factor, and too few pairs are refused
    for _ in range(HALVINGS):
        factor = (low + high) / 2
        smaller = replace(options, **{name: _part(getattr(options, name), factor) for name in diagnostic.scaled})
        try:
            needed = _work(diagnostic, subjects, smaller)
        except InputError:  # too few for what is to be estimated from them
            low = factor
            continue
        if needed <= work:
            low, fitting = factor, smaller
        else:
            high, least = factor, needed
    if fitting is None:
        what = f"{diagnostic.name} takes at least {least:,.0f} pairs" if least else f"{diagnostic.name} is too large"
        raise InputError(f"{what}, more than the {work:,.0f} there are", "give more time, or a cheaper question")
    return fitting


def _part(value: float | None, factor: float) -> int | None:
    return None if value is None else max(2, int(value * factor)) if value else 0


def _work(diagnostic: Diagnostic, subjects: Sequence[Subject], options: Any) -> float:
    return diagnostic.total(subjects, diagnostic.plan(subjects, options.checked())).work
