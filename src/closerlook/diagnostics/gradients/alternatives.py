"""Other ways to make the estimates of the same pairs: advantages standardized or not, other lambdas, no baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from closerlook.diagnostics.gradients.options import Baseline
from closerlook.measurements.weightings import OWN, Weighting


@dataclass(frozen=True)
class Alternative:
    """One way to make estimates.

    Parameters
    ----------
    name : str
        ``"raw"``, ``"normalized"``, ``"lambda 0.9"``, ``"returns"``.
    weighting : Weighting
        Its advantages.
    normalize : bool
        Whether they are standardized within each estimate.
    """

    name: str
    weighting: Weighting
    normalize: bool


def alternatives(
    lambdas: Sequence[float], baselines: Sequence[Baseline], *, normalize: bool
) -> tuple[Alternative, ...]:
    """List what is compared with the agent's own estimates: always the other standardization, then what is asked.

    Parameters
    ----------
    lambdas : sequence of float
        Other lambdas.
    baselines : sequence of str
        ``"returns"`` for returns in place of advantages.
    normalize : bool
        Whether the agent's own estimates normalize advantages.
    """
    found = [Alternative("raw" if normalize else "normalized", OWN, not normalize)]
    found += [
        Alternative(f"lambda {one:g}", Weighting(gae_lambda=float(one)), normalize) for one in sorted(set(lambdas))
    ]
    found += [Alternative("returns", Weighting(baseline="zero"), normalize)] if "returns" in baselines else []
    return tuple(found)


def weightings(others: Sequence[Alternative]) -> tuple[Weighting, ...]:
    """List the weightings that must be added up, each once, the agent's own first."""
    return tuple(dict.fromkeys([OWN, *(one.weighting for one in others)]))
