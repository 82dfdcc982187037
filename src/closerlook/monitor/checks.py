"""The shape of what a lint, a census or a monitor says of a batch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

CheckLevel = Literal["ok", "watch", "problem", "unknown", "not_enough_data"]
ORDER: tuple[CheckLevel, ...] = ("ok", "unknown", "not_enough_data", "watch", "problem")
"""Levels by rising weight."""


@dataclass(frozen=True)
class Check:
    """What one check found.

    Parameters
    ----------
    check : str
        What was checked: ``advantages``, ``log_probs`` ...
    level : {"ok", "watch", "problem", "unknown", "not_enough_data"}
        How it stands; ``unknown`` where the batch lacks what it takes.
    diagnosis : str
        The usual mistake that explains it, or ``healthy``, ``unexplained``, ``unknown``.
    statement : str
        What the numbers say.
    advice : str
        What to do.
    evidence : mapping of str to float
        The numbers it rests on.
    first_step, first_environment : int or None
        Where it is first seen.
    layer : str
        What it is about: the batch here.
    usual : mapping of str to (float, float)
        What numbers of the evidence usually are.
    settings : mapping of str to mapping
        Settings to change, ``{"from": ..., "to": ..., "effect": ...}`` by name.
    """

    check: str
    level: CheckLevel
    diagnosis: str
    statement: str
    advice: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)
    first_step: int | None = None
    first_environment: int | None = None
    layer: str = "batch"
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite are None."""
        plain = asdict(self)
        plain["evidence"] = {name: _finite(value) for name, value in self.evidence.items()}
        return plain


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def ok(check: str, statement: str, **evidence: float) -> Check:
    """Say that a check found nothing.

    Parameters
    ----------
    check : str
        What was checked.
    statement : str
        What the numbers say.
    **evidence : float
        The numbers it rests on.
    """
    return Check(check, "ok", "healthy", statement, evidence=evidence)


def unknown(check: str, missing: str) -> Check:
    """Say that the batch lacks what a check takes.

    Parameters
    ----------
    check : str
        What would have been checked.
    missing : str
        What the batch lacks, in words.
    """
    return Check(check, "unknown", "unknown", f"not checked: the batch has no {missing}", f"give {missing}")


@dataclass(frozen=True)
class Findings:
    """Several checks.

    Parameters
    ----------
    checks : tuple of Check
        In the order in which they were made.
    """

    checks: tuple[Check, ...]

    @property
    def level(self) -> CheckLevel:
        """The gravest level among the checks."""
        return max((check.level for check in self.checks), key=ORDER.index, default="unknown")

    @property
    def faults(self) -> tuple[Check, ...]:
        """What is at ``watch`` or ``problem``, the gravest first."""
        found = [check for check in self.checks if check.level in {"watch", "problem"}]
        return tuple(sorted(found, key=lambda check: -ORDER.index(check.level)))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of what could not be checked."""
        return tuple(check.check for check in self.checks if check.level in {"unknown", "not_enough_data"})

    def __getitem__(self, name: str) -> Check:
        return next(check for check in self.checks if check.check == name)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as ``closerlook lint --json`` prints them."""
        return {
            "level": self.level,
            "checks": [check.to_json() for check in self.checks],
            "unknown": list(self.unknown),
        }

    def __str__(self) -> str:
        return "\n".join(line_of(check) for check in self.checks)


def line_of(check: Check) -> str:
    """Write a check on one line."""
    place = ""
    if check.first_step is not None:
        place = f" (first at step {check.first_step}, environment {check.first_environment})"
    return f"{check.level:8} {check.check}: {check.statement}{place}" + (f"; {check.advice}" if check.advice else "")
