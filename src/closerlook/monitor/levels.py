"""How numbers of a monitor stand: limits that are arguments, and levels that do not flicker."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from closerlook.errors import InputError
from closerlook.monitor.checks import ORDER, CheckLevel


@dataclass(frozen=True)
class Limit:
    """From which value on a number is to be watched, and from which on it is a problem.

    Parameters
    ----------
    watch, problem : float
        Where `problem` is smaller than `watch`, small numbers are the bad ones. A number that has an interval is beyond
        a limit where the whole interval is.
    advice : str
        What to do.
    patience : int
        Measured updates in a row that a number is beyond a limit, or back, before its level changes.
    """

    watch: float
    problem: float
    advice: str = ""
    patience: int = 2

    @property
    def falls(self) -> bool:
        """Whether small numbers are the bad ones: a problem lies below watch."""
        return self.problem < self.watch

    def level(self, value: float) -> CheckLevel:
        """Say how one value stands; NaN is not known."""
        if np.isnan(value):
            return "unknown"
        beyond = [value <= limit if self.falls else value >= limit for limit in (self.problem, self.watch)]
        return "problem" if beyond[0] else "watch" if beyond[1] else "ok"


LIMITS: Mapping[str, Limit] = {
    "not_finite": Limit(1, 1, "look at the saved batch: closerlook lint says where it began", patience=1),
    "faults": Limit(1, 1, "see what lint says of the batch", patience=1),
    "mean_kl": Limit(0.15, 0.5, "lower the learning rate, or take fewer epochs"),
    "kl_p99": Limit(1.0, 10.0, "lower the learning rate, or take fewer epochs"),
    "clip_fraction_end": Limit(0.7, 0.9, "lower the learning rate, or take fewer epochs"),
    "effective_pairs_fraction": Limit(0.3, 0.05, "lower the learning rate, or take fewer epochs"),
    "explained_variance_returns": Limit(-1.0, -10.0, "fit the critic longer, or scale its targets"),
    "critic_loss_top_share": Limit(0.5, 0.9, "look at the steps with the largest errors; clip or scale rewards"),
    "return_variance_top_share": Limit(0.2, 0.5, "look at the steps with the largest returns; clip or scale rewards"),
    "cut_by_value": Limit(0.998, 0.9998, "lower the value coefficient, scale rewards, or clip the two gradients apart"),
    "action_saturated_share": Limit(0.8, 0.99, "widen the action space's bounds, or shrink the policy's output"),
    "action_std_low": Limit(0.01, 1e-4, "add an entropy bonus, or keep the deviation from falling"),
    "policy_constant_units": Limit(0.5, 0.9, "lower the learning rate, or normalize observations"),
    "critic_constant_units": Limit(0.5, 0.9, "lower the learning rate, or normalize observations"),
    "policy_feature_rank_to_first": Limit(0.3, 0.1, "lower the learning rate, or regularize"),
}
"""Limits by name of the number; those of ours are wide, so that what is beyond them is seldom healthy."""


@dataclass
class Levels:
    """The levels of numbers over the updates of one run.

    Parameters
    ----------
    limits : mapping of str to Limit
        By name; names that are not measured have no level.
    standing : dict of str to str
        The level of each number so far; empty at first.
    """

    limits: Mapping[str, Limit]
    standing: dict[str, CheckLevel] = field(default_factory=dict)
    _away: dict[str, list[int]] = field(default_factory=dict)

    def take(self, numbers: Mapping[str, float]) -> dict[str, CheckLevel]:
        """Take in the numbers of an update; return the levels that changed, by name."""
        changed: dict[str, CheckLevel] = {}
        for name, limit in self.limits.items():
            # a number that is not known moves no level
            level = limit.level(_nearest_to_ok(name, limit, numbers)) if name in numbers else "unknown"
            if level != "unknown" and self._moves(name, ORDER.index(level), limit.patience):
                changed[name] = self.standing[name]
        return changed

    def _moves(self, name: str, seen: int, patience: int) -> bool:
        """Whether a level has been above the standing one, or below it, often enough in a row to take its place."""
        standing = ORDER.index(self.standing.get(name, "ok"))
        away = self._away.setdefault(name, [])
        if seen == standing or (away and (away[-1] > standing) != (seen > standing)):
            away.clear()
        if seen == standing:
            return False
        away.append(seen)
        if len(away) < patience:
            return False
        # what has lasted all the while: the mildest of those above, the gravest of those below
        self.standing[name] = ORDER[min(away) if seen > standing else max(away)]
        away.clear()
        return True

    @property
    def level(self) -> CheckLevel:
        """The gravest standing level."""
        return max(self.standing.values(), key=ORDER.index, default="ok")


def _nearest_to_ok(name: str, limit: Limit, numbers: Mapping[str, float]) -> float:
    """Return the end of a number's interval that is nearest to ok, where it has one; NaN where that is not known."""
    return numbers.get(f"{name}_high" if limit.falls else f"{name}_low", numbers[name])


def limits_from(given: Mapping[str, Limit | tuple[float, float] | None] | None) -> dict[str, Limit]:
    """Return the usual limits with those given in their place; None takes one away.

    Raises
    ------
    InputError
        Where one is no limit.
    """
    limits = dict(LIMITS)
    for name, limit in (given or {}).items():
        if limit is None:
            limits.pop(name, None)
        elif isinstance(limit, Limit):
            limits[name] = limit
        else:
            try:
                watch, problem = (float(value) for value in limit)
            except (TypeError, ValueError, OverflowError):
                raise InputError(
                    f"the limit of {name} must be two numbers (got {limit!r})", "give (watch, problem), or None"
                ) from None
            usual = limits.get(name)
            limits[name] = Limit(watch, problem, usual.advice if usual else "", usual.patience if usual else 2)
    return limits
