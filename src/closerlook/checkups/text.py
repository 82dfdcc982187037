"""A checkup on one screen: cause, evidence, advice, what was not judged, then a line a check."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from closerlook.checkups.answer import Checkup, Finding

WIDTH = 80
MARKS = {"ok": "ok", "watch": "watch", "problem": "PROBLEM", "not_enough_data": "open", "unknown": "-"}


def written(found: Checkup, width: int = WIDTH) -> str:
    """Write a checkup in lines of so many columns at most.

    Parameters
    ----------
    found : Checkup
        What was found.
    width : int
        Columns.
    """
    lines = [*_head(found, width), "", *_others(found, width), *_table(found, width)]
    return "\n".join(line.rstrip() for line in lines)


def _head(found: Checkup, width: int) -> Iterator[str]:
    """Say the cause, its evidence and what to do."""
    yield textwrap.shorten(f"closerlook checkup of {found.agent} on {found.environment}", width, placeholder=" ...")
    if found.interrupted:
        yield "Interrupted: this is what is known so far."
    yield ""
    cause = found.cause
    if cause is None:
        healthy = any(check.diagnosis == "healthy" and check.level == "ok" for check in found.checks)
        yield "HEALTHY" if healthy else "NO CAUSE FOUND"
        for check in found.checks:
            if check.diagnosis == "healthy" or (check.diagnosis == "solved" and check.level == "ok"):
                yield from _block(check.statement, width, 2)
        return
    yield f"CAUSE  {cause.diagnosis}  (layer: {cause.layer})"
    yield from _block(cause.statement, width, 2)
    if cause.advice:
        yield from _block(f"-> {cause.advice}", width, 2, 5)
    for name, change in cause.settings.items():
        yield from _block(f"{name}: {setting_words(change)}", width, 5, 7)


def setting_words(change: Mapping[str, Any]) -> str:
    """Write the change of a setting and what it buys."""
    before = "" if change["from"] is None else f"{_plain(change['from'])} -> "
    return f"{before}{_plain(change['to'])}" + (f": {change['effect']}" if change["effect"] else "")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _others(found: Checkup, width: int) -> Iterator[str]:
    """Say what follows from the cause, what is to be watched, and what was not judged."""
    for title, findings in (("Found too, and may be gone once the cause is", found.consequences),):
        if findings:
            yield f"{title}:"
            for check in findings:
                yield from _block(f"{check.diagnosis}: {check.statement}", width, 2, 4)
            yield ""
    if found.watched:
        yield "To watch:"
        for check in found.watched:
            advice = f" {check.advice}" if check.advice and found.cause is None else ""
            yield from _block(f"{check.diagnosis}: {check.statement}{advice}", width, 2, 4)
        yield ""
    unjudged = [check for check in found.unknown if check.layer != "end"]
    if unjudged:
        yield "Not judged:"
        for check in unjudged:
            more = ""
            if check.pairs_to_settle is not None:
                more = f" About {check.pairs_to_settle:,.0f} pairs would settle it."
            yield from _block(f"{check.diagnosis}: {check.reason}{more}", width, 2, 4)
        yield ""


def _block(text: str, width: int, first: int, later: int | None = None) -> list[str]:
    indent = " " * (first if later is None else later)
    return textwrap.wrap(text, width, initial_indent=" " * first, subsequent_indent=indent, break_on_hyphens=False)


def _table(found: Checkup, width: int) -> Iterator[str]:
    """Write a line a check: its first number, with interval and usual range."""
    rows = [(check.diagnosis, MARKS[check.level], number_words(check)) for check in found.checks]
    rows.insert(0, ("check", "level", "number [interval] (usual range)"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, level, number in rows:
        start = f"{name:<{widths[0]}}  {level:<{widths[1]}}  "
        # where the line is too short, the usual range goes first, then the interval
        parts = [number, number.partition(" (")[0], number.partition(" [")[0]]
        yield start + next((part for part in parts if len(start) + len(part) <= width), parts[-1])


def number_words(check: Finding) -> str:
    """Write the first number that a check rests on, with its interval and its usual range."""
    name = next(iter(check.evidence), None)
    if name is None or math.isnan(check.evidence[name]):
        return ""
    low, high = (check.evidence.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    interval = f" [{brief(low, 2)}, {brief(high, 2)}]" if math.isfinite(low) and math.isfinite(high) else ""
    usual = check.usual.get(name)
    return f"{name} {brief(check.evidence[name])}{interval}" + ("" if usual is None else f" ({range_words(usual)})")


def brief(number: float, digits: int = 3) -> str:
    """Write a number in a few digits, whole ones up to a million as they are; a dash where it is not known.

    Parameters
    ----------
    number : float
        In any unit.
    digits : int
        Significant digits.
    """
    if math.isnan(number):
        return "-"
    return f"{number:.0f}" if 10**digits <= abs(number) < 1e6 else f"{number:.{digits}g}"


def range_words(usual: tuple[float, float]) -> str:
    """Write a usual range; an end that is open is left out."""
    low, high = usual
    if not math.isfinite(high):
        return f">= {low:g}" if math.isfinite(low) else "any"
    return f"<= {high:g}" if not math.isfinite(low) else f"{low:g} to {high:g}"
