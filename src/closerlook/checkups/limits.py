"""Limits as data: from where on a number is no longer that of a healthy agent. ``limits.yaml``, or a user's file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from closerlook.arguments import is_finite
from closerlook.checkups.answer import Level
from closerlook.errors import InputError
from closerlook.statistics.estimates import Interval

VERSION = 1
OWN = Path(__file__).with_name("limits.yaml")
LONGEST = 1_000_000
"""Bytes of a file of limits."""
_MEND = "see closerlook/checkups/limits.yaml for the form"

EXACT = frozenset(
    {
        *("input_spread_high", "input_spread_low", "saturated_units", "policy_constant_units", "critic_constant_units"),
        *("return_variance_top_share", "critic_loss_top_share", "returns_rms", "distinct_returns", "seed_spread"),
        "input_top_share",
        *("horizon_steps", "horizon_to_episode", "batch_pairs", "batch_to_episode", "update_reach", "clip"),
    }
)
"""Numbers that are judged without an interval: counts of what was sampled, and settings."""

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Limit:
    """What is known of one number.

    Parameters
    ----------
    usual, watch, problem : (float, float)
        Ranges: of healthy agents; outside of which to watch; outside of which is a problem.
    agents : int
        Healthy agents that the range is of; 0: it follows from reasons alone.
    source : str
        Where it comes from.
    provisional : bool
        Whether it is still to be calibrated.
    """

    usual: Bounds
    watch: Bounds
    problem: Bounds
    agents: int
    source: str
    provisional: bool

    def level(self, found: Interval) -> Level:
        """Say how a number stands: a fault is only what is one with its whole interval.

        Returns
        -------
        {"ok", "watch", "problem", "not_enough_data", "unknown"}
            ``not_enough_data`` where the interval reaches both into the problem's range and out of it.
        """
        value, low, high = found.value, found.low, found.high
        if np.isnan(value):
            return "unknown"
        if np.isnan(low) or np.isnan(high):
            low, high = -np.inf, np.inf
        if _outside(low, high, self.problem):
            return "problem"
        if not _inside(low, high, self.problem):
            return "not_enough_data"
        return "ok" if self.watch[0] <= value <= self.watch[1] else "watch"

    def leans_to_problem(self, found: Interval) -> bool:
        """Whether the number itself is in the problem's range, wherever its interval reaches."""
        return not np.isnan(found.value) and not self.problem[0] <= found.value <= self.problem[1]

    def factor_to_settle(self, found: Interval) -> float:
        """Return by how many times more data the interval would leave the nearer bound of the problem's range."""
        reach = (found.high - found.low) / 2
        gaps = [abs(found.value - bound) for bound in self.problem if np.isfinite(bound)]
        # reach falls with the root of the pairs: reach / sqrt(factor) = gap
        return float((reach / min(gaps)) ** 2) if gaps and min(gaps) > 0 and np.isfinite(reach) else np.inf


def _outside(low: float, high: float, bounds: Bounds) -> bool:
    return high < bounds[0] or low > bounds[1]


def _inside(low: float, high: float, bounds: Bounds) -> bool:
    return low >= bounds[0] and high <= bounds[1]


@cache
def own_limits() -> dict[str, Limit]:
    """Return the package's limits by the name of the number."""
    return _parse(yaml.safe_load(OWN.read_text(encoding="utf-8")), str(OWN), {})


def load_limits(file: str | Path | None = None) -> dict[str, Limit]:
    """Return the package's limits, those of a user's file in their place.

    Parameters
    ----------
    file : str or Path, optional
        YAML of the form of ``limits.yaml``; names and ranges that it leaves out stay as they are.

    Raises
    ------
    InputError
        Where it cannot be read, or says something that is no limit, naming it.
    """
    if file is None:
        return dict(own_limits())
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise InputError(f"{file} is too long for a file of limits", _MEND)
        said = yaml.safe_load(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{file} cannot be read as YAML ({' '.join(str(error).split())[:120]})", _MEND) from None
    return {**own_limits(), **_parse(said, str(file), own_limits())}


def _parse(said: Any, where: str, known: Mapping[str, Limit]) -> dict[str, Limit]:
    """Read limits; where some are known, others than those are refused, and what is left out is taken from them."""
    if not isinstance(said, dict) or said.get("version") != VERSION or not isinstance(said.get("limits"), dict):
        raise InputError(f"{where} holds no limits of version {VERSION}", _MEND)
    found = {}
    for name, content in said["limits"].items():
        if known and name not in known:
            raise InputError(f"{where} has a limit of {name!r:.60}, which is no number of a checkup", _MEND)
        if not isinstance(content, dict):
            raise InputError(f"the limit of {name} in {where} is {content!r:.60}", _MEND)
        found[str(name)] = _limit(str(name), content, where, known.get(name))
    return found


def _limit(name: str, content: Mapping[str, Any], where: str, known: Limit | None) -> Limit:
    strange = sorted(set(content) - {"usual", "watch", "problem", "agents", "source", "provisional"}, key=str)
    if strange:
        raise InputError(f"the limit of {name} in {where} has {strange[0]!r:.60}", _MEND)
    ranges = {key: _bounds(content[key], f"{key} of {name} in {where}") for key in _RANGES if key in content}
    agents, source = content.get("agents", 0), content.get("source", where)
    provisional = content.get("provisional", False)
    if not isinstance(agents, int) or not isinstance(source, str) or not isinstance(provisional, bool):
        raise InputError(f"agents, source or provisional of {name} in {where} cannot be read", _MEND)
    if known is not None:
        return replace(known, **ranges, agents=agents, source=source, provisional=provisional)
    missing = [key for key in _RANGES if key not in ranges]
    if missing:
        raise InputError(f"the limit of {name} in {where} lacks {missing[0]}", _MEND)
    return Limit(**ranges, agents=agents, source=source, provisional=provisional)


_RANGES = ("usual", "watch", "problem")


def _bounds(said: Any, name: str) -> Bounds:
    ends = said if isinstance(said, list) and len(said) == 2 else [None]
    numbers = [
        open_end if end is None else float(end)
        for end, open_end in zip(ends, (-np.inf, np.inf), strict=False)
        if end is None or is_finite(end)
    ]
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise InputError(f"{name} is {said!r:.60}", "give [low, high], null where there is no bound")
    return numbers[0], numbers[1]
