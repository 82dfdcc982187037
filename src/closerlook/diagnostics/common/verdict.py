"""The shape of a verdict: what the numbers say, which numbers, and what to do."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import xarray as xr

from closerlook.diagnostics.common.labels import each_agent
from closerlook.diagnostics.common.limits import BaseLimits

Level = Literal["ok", "watch", "problem", "not_enough_data"]
Verdict = dict[str, Any]
"""``{area, level, statement, evidence: {name: number}, advice}``."""
AnyLimits = TypeVar("AnyLimits", bound=BaseLimits)


def judge_each(
    dataset: xr.Dataset, judges: Sequence[Callable[[str, xr.Dataset, AnyLimits], Verdict | None]], limits: AnyLimits
) -> list[Verdict]:
    """Put every question to each agent of a dataset, and return what is answered.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of one agent or several.
    judges : sequence of callable
        (name, agent, limits) -> a verdict, or None where there is nothing to say.
    limits : BaseLimits
        Of the diagnostic.
    """
    answers = (judge(name, agent, limits) for name, agent in each_agent(dataset) for judge in judges)
    return [verdict for verdict in answers if verdict is not None]


UNMOVED = "Look whether the step moves the policy, and whether rewards depend on what the agent does."
"""What to do where a step changes no return at all."""
AT_THE_LIMIT = "If rewards count steps, the agent has solved its task, and there is nothing to gain; else look at them."
"""What to do where that is since every episode lasts to the time limit."""


def is_collapsed(action_std: float, least: float) -> bool:
    """Say whether the smallest standard deviation of an action component leaves nothing to explore with.

    Parameters
    ----------
    action_std : float
        That deviation; NaN: not known.
    least : float
        The limit.
    """
    return bool(np.isfinite(action_std) and action_std < least)


def collapsed(action_std: float) -> str:
    """Say so in words."""
    words = f"the smallest standard deviation of an action component is {action_std:.2g}"
    return f"{words}: the policy is almost deterministic"


def unmoved(steps: float, time_limit: int) -> tuple[Level, str, str]:
    """Judge a step that changes no return at all: level, what is added to the statement, and what to do.

    Parameters
    ----------
    steps : float
        Mean length of the agent's episodes.
    time_limit : int
        Steps after which an episode is truncated; 0: never.
    """
    # where every reward is the same, a return is the length of its episode: all are equal at the limit
    if time_limit and steps >= time_limit:
        return "watch", f" Every episode lasts to the time limit of {time_limit:,} steps.", AT_THE_LIMIT
    return "problem", "", UNMOVED


TOO_LARGE = "too large for a number"


def as_text(value: float, form: str, *, overflown: bool = False) -> str:
    """Write a number; where it is not finite, that it is too large for one, or not known.

    Parameters
    ----------
    value : float
        The number.
    form : str
        Format specification.
    overflown : bool
        Whether a number that is NaN was too large for one.
    """
    if np.isfinite(value):
        return f"{value:{form}}"
    return TOO_LARGE if overflown or np.isinf(value) else "not known"


def span(low: float, high: float, form: str = "+.3g", factor: float = 1.0) -> str:
    """Write an interval as ``low to high``; where there is none, say so.

    Parameters
    ----------
    low, high : float
        Ends of an interval.
    form : str
        Format specification.
    factor : float
        What both are multiplied by.
    """
    if np.isnan(low) or np.isnan(high):
        return "no interval from so few"
    if np.isinf(low) or np.isinf(high):
        return f"with an interval {TOO_LARGE}"
    return f"{factor * low:{form}} to {factor * high:{form}}"


def bounds(low: float, high: float, form: str = "+.3g") -> str:
    """Write what an interval that decides nothing still says: ``at least .., at most ..``, what is known of it.

    Parameters
    ----------
    low, high : float
        Ends of an interval; one that is not finite is left out.
    form : str
        Format specification.
    """
    known = [f"{word} {end:{form}}" for word, end in (("at least", low), ("at most", high)) if np.isfinite(end)]
    return ", ".join(known) or "nothing is known of it"


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
