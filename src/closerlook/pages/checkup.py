"""The page of ``closerlook checkup``: cause and advice on top, then a picture a layer; from its JSON alone.

A picture shows numbers beside their usual ranges. Inside the range it is to scale, by logarithms where its ends are far
apart; outside, distance grows ever more slowly, so that any number is on it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from closerlook.pages.page import render

LAYERS = {
    "load": "Is it the agent that was trained?",
    "reward": "What it earns",
    "inputs": "Inputs",
    "steps": "Steps",
    "batch": "Training batch",
    "actions": "Actions",
    "scales": "Discount and batch",
    "critic": "Critic",
    "update": "Update",
    "gradient": "Gradient",
    "network": "Networks",
    "end": "And then",
}
LEVELS = {"ok": "ok", "watch": "watch", "problem": "problem", "not_enough_data": "open", "unknown": "not judged"}
_FAULTS = frozenset({"watch", "problem"})
RETURNS = ("sampled_return", "mode_return", "random_return")
_LOW, _HIGH, _EDGE = 30.0, 70.0, 2.0
"""Where the ends of a usual range are, and the margins, in percent of the picture's width."""
_FAR_APART = 50.0
"""Factor between the ends of a range from which on it is drawn by logarithms."""


def checkup_page(summary: Mapping[str, Any]) -> str:
    """Write a checkup's page as HTML.

    Parameters
    ----------
    summary : mapping
        What ``closerlook checkup --json`` prints.
    """
    return render("checkup.html.j2", {"checkup": checkup_content(summary), "title": f"Checkup of {summary['agent']}"})


def checkup_fragment(summary: Mapping[str, Any]) -> str:
    """Write the same without a page around it, for a notebook."""
    return render("checkup_fragment.html.j2", {"checkup": checkup_content(summary)})


def checkup_content(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a checkup, as plain values.

    Parameters
    ----------
    summary : mapping
        What ``closerlook checkup --json`` prints.

    Raises
    ------
    KeyError
        Where it lacks something.
    """
    checks: Sequence[Mapping[str, Any]] = summary["checks"]
    cause = summary["cause"]
    healthy = any(check["diagnosis"] == "healthy" and check["level"] == "ok" for check in checks)
    return {
        "agent": summary["agent"],
        "environment": summary["environment"],
        "cause": None if cause is None else _shown(cause),
        "headline": words(cause["diagnosis"]) if cause else "healthy" if healthy else "no cause found",
        "level": "problem" if cause else "ok" if healthy else "unknown",
        "ends": [
            check["statement"] for check in checks if cause is None and check["diagnosis"] in {"healthy", "solved"}
        ],
        "consequences": [_shown(check) for check in summary["consequences"]],
        "layers": list(_layers(checks)),
        "unknown": [
            {
                "name": words(one["diagnosis"]),
                "reason": one["reason"],
                "settle": _pairs(one["pairs_to_settle"]),
            }
            for one in summary["unknown"]
        ],
        "notices": list(summary["notices"]),
        "interrupted": summary["interrupted"],
        "minutes": f"{summary['minutes']:g}",
        "pairs": f"{summary['pairs']:,}",
    }


def words(name: str) -> str:
    """Write a diagnosis, or a number's name, as words."""
    return name.replace("_", " ")


def _brief(number: float, digits: int = 3) -> str:
    """Write a number in a few digits, whole ones up to a million as they are."""
    return f"{number:,.0f}" if 10**digits <= abs(number) < 1e6 else f"{number:.{digits}g}"


def _pairs(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


def _layers(checks: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for layer, title in LAYERS.items():
        own = [check for check in checks if check["layer"] == layer]
        if own:
            seen: set[str] = set()
            strips = [strip for check in own for strip in _strips(check, seen)]
            picture = _returns(own) if layer == "reward" else []
            yield {"title": title, "checks": [_shown(check) for check in own], "strips": strips, "returns": picture}


def _shown(check: Mapping[str, Any]) -> dict[str, Any]:
    settings = [
        {"name": name, "from": _value(change["from"]), "to": _value(change["to"]), "effect": change["effect"]}
        for name, change in check["settings"].items()
    ]
    level = check["level"]
    return {
        "name": words(check["diagnosis"]),
        "level": level,
        "word": LEVELS[level],
        "statement": check["statement"].removeprefix("Not judged: "),
        "advice": check["advice"],
        "settings": settings,
    }


def _value(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _strips(check: Mapping[str, Any], seen: set[str]) -> Iterator[dict[str, Any]]:
    """Draw the numbers of a check that have a usual range, each once."""
    evidence = check["evidence"]
    for name, usual in check["usual"].items():
        value = evidence.get(name)
        if value is None or name in seen:
            continue
        seen.add(name)
        low, high = evidence.get(f"{name}_low"), evidence.get(f"{name}_high")
        ends = [place(end, usual) for end in (low, high)] if low is not None and high is not None else None
        yield {
            "name": words(name),
            "number": _brief(value) + (f" ({_brief(low, 2)} to {_brief(high, 2)})" if ends else ""),
            "usual": _range(usual),
            "band": _band(usual),
            "at": f"{place(value, usual):.1f}",
            "from": f"{ends[0]:.1f}" if ends else None,
            "width": f"{max(ends[1] - ends[0], 0.0):.1f}" if ends else None,
            "level": "ok" if _inside(value, usual) else check["level"] if check["level"] in _FAULTS else "unknown",
        }


def _inside(value: float, usual: Sequence[float | None]) -> bool:
    low, high = usual
    return (low is None or value >= low) and (high is None or value <= high)


def _band(usual: Sequence[float | None]) -> dict[str, str]:
    start = 0.0 if usual[0] is None else _LOW
    end = 100.0 if usual[1] is None else _HIGH
    return {"from": f"{start:g}", "width": f"{end - start:g}"}


def place(value: float, usual: Sequence[float | None]) -> float:
    """Return where a number is drawn, in percent: the usual range is from 30 to 70, open ends reach the border.

    Parameters
    ----------
    value : float
        The number.
    usual : (float or None, float or None)
        Its usual range; None: open.
    """
    low, high = usual
    if low is not None and high is not None:
        if low > 0 and high / low >= _FAR_APART:
            value, low, high = (math.log10(end) if end > 0 else -math.inf for end in (value, low, high))
        unit = (high - low) or abs(high) or 1.0
        if low <= value <= high:
            return _LOW + (_HIGH - _LOW) * (value - low) / unit
        return _beyond(_HIGH, value - high, unit, 1) if value > high else _beyond(_LOW, low - value, unit, -1)
    if low is not None:
        unit = abs(low) or 1.0
        return _beyond(_LOW, value - low, unit, 1) if value >= low else _beyond(_LOW, low - value, unit, -1)
    if high is not None:
        unit = abs(high) or 1.0
        return _beyond(_HIGH, value - high, unit, 1) if value > high else _beyond(_HIGH, high - value, unit, -1)
    return 50.0


def _beyond(edge: float, distance: float, unit: float, side: int) -> float:
    room = (100.0 - _EDGE - edge) if side > 0 else edge - _EDGE
    share = 1.0 if math.isinf(distance) else distance / (distance + unit)
    return edge + side * room * share


def _returns(checks: Sequence[Mapping[str, Any]]) -> list[dict[str, str | None]]:
    """Draw mean returns of drawn, likeliest and random actions on one axis."""
    evidence = {name: value for check in checks for name, value in check["evidence"].items() if value is not None}
    known = [name for name in RETURNS if name in evidence]
    ends = [evidence[end] for name in known for end in (name, f"{name}_low", f"{name}_high") if end in evidence]
    if len(known) < 2 or max(ends) <= min(ends):
        return []
    start, unit = float(min(ends)), float(max(ends) - min(ends))

    def at(value: float) -> float:
        return 4.0 + 92.0 * (value - start) / unit

    names = {"sampled_return": "drawn actions", "mode_return": "likeliest actions", "random_return": "random actions"}
    drawn: list[dict[str, str | None]] = []
    for name in known:
        own = [evidence.get(f"{name}_{end}") for end in ("low", "high")]
        reach = [at(end) for end in own if end is not None]
        drawn.append(
            {
                "name": names[name],
                "usual": "",
                "number": _brief(evidence[name], 4),
                "at": f"{at(evidence[name]):.1f}",
                "from": f"{reach[0]:.1f}" if len(reach) == 2 else None,
                "width": f"{reach[1] - reach[0]:.1f}" if len(reach) == 2 else None,
            }
        )
    return drawn


def _range(usual: Sequence[float | None]) -> str:
    low, high = usual
    if low is None or high is None:
        return f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else "any"
    return f"{low:g} to {high:g}"
