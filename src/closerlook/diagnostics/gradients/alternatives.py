"""Other ways to make the estimates of the same pairs: advantages standardised or not, other lambdas, no baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from closerlook.errors import InputError
from closerlook.measurements.weightings import OWN, Weighting

Baseline = Literal["critic", "returns"]
"""What is subtracted from returns: the agent's critic, by generalised advantage estimation, or nothing: returns,
standardized where the agent standardizes advantages (in the values diagnostic ``mean``; its ``zero`` leaves them as
they are)."""


@dataclass(frozen=True)
class Alternative:
    """One way to make estimates.

    Parameters
    ----------
    name : str
        ``"raw"``, ``"normalised"``, ``"lambda 0.9"``, ``"returns"``.
    weighting : Weighting
        Its advantages.
    normalize : bool
        Whether they are standardised within each estimate.
    """

    name: str
    weighting: Weighting
    normalize: bool


def alternatives(
    lambdas: Sequence[float], baselines: Sequence[Baseline], *, normalize: bool
) -> tuple[Alternative, ...]:
    """List what is compared with the agent's own estimates: always the other standardisation, then what is asked.

    Raises
    ------
    InputError
        Where a lambda is not between 0 and 1, or a baseline is unknown.
    """
    if any(not 0.0 <= one <= 1.0 for one in lambdas):
        raise InputError(f"lambdas are {list(lambdas)}", "give numbers from 0 to 1")
    unknown = [name for name in baselines if name not in ("critic", "returns")]
    if unknown:
        raise InputError(f"there is no baseline {unknown[0]!r}", "choose from critic and returns")
    found = [Alternative("raw" if normalize else "normalised", OWN, not normalize)]
    found += [
        Alternative(f"lambda {one:g}", Weighting(gae_lambda=float(one)), normalize) for one in sorted(set(lambdas))
    ]
    found += [Alternative("returns", Weighting(baseline="zero"), normalize)] if "returns" in baselines else []
    return tuple(found)


def weightings(others: Sequence[Alternative]) -> tuple[Weighting, ...]:
    """List the weightings that must be added up, each once, the agent's own first."""
    return tuple(dict.fromkeys([OWN, *(one.weighting for one in others)]))
