"""What a variable of a dataset is."""

from dataclasses import dataclass

JACKKNIFE = "Arvesen (1969)"
"""Source of the jackknife's intervals."""

RATIO = (
    "Fieller's, on a delete-one-group jackknife over equal groups of streams whose bias is taken off, Student's t. "
    "Where what it divides by is not known to be positive (its own interval reaches zero), there is no value, and the "
    "interval is all that the number may be."
)
"""How the interval of a ratio to an estimated signal is found, see `closerlook.statistics.ratios`."""
SKEWED = (
    "The widest ends of Student's t, the same of the logarithm where all are positive, and Hall's t that is corrected "
    "for the skewness they show: as such numbers are skewed"
)
"""How the interval of a mean of skewed numbers is found, see `closerlook.statistics.estimates.skewed_jackknife`."""
CLIP_NULL = (
    "the rise of the clipped surrogate if the signs of advantages were independent of ratios, from the pairs "
    "themselves: -1/2 E[|A| ((r - 1 - epsilon)+ + (1 - epsilon - r)+)]. Never positive: clipping is pessimistic."
)
"""What pure chance makes of a clipped surrogate."""
CLIP_SOURCE = "of Schulman et al. (2017), eq. 7"


@dataclass(frozen=True)
class Variable:
    """One variable of a dataset.

    Parameters
    ----------
    name : str
        Its name in datasets.
    dims : tuple of str
        Its dimensions in order; a leading ``"agent"`` is absent where one agent was measured.
    unit : str
        ``"1"`` for a pure number, ``"pairs"``, ``"reward"`` ...
    definition : str
        What it is, in one or two sentences that name its target and its states.
    source : str
        Where the definition comes from, for example ``"Ilyas et al. (2020), Figure 1"``.
    """

    name: str
    dims: tuple[str, ...]
    unit: str
    definition: str
    source: str = ""


def interval(
    name: str, dims: tuple[str, ...], definition: tuple[str, str], unit: str = "1", source: str = ""
) -> list[Variable]:
    """Define a variable and the two ends of its 95% interval.

    Parameters
    ----------
    name : str
        The variable; its ends are ``<name>_low`` and ``<name>_high``.
    dims : tuple of str
        Of all three.
    definition : (str, str)
        What it is, and how its interval is found.
    unit, source : str
        See `Variable`.
    """
    what, how = definition
    method = JACKKNIFE if "jackknife" in how else ""
    return [
        Variable(name, dims, unit, what, source),
        Variable(f"{name}_low", dims, unit, f"Lower end of the 95% interval of {name}: {how}", method),
        Variable(f"{name}_high", dims, unit, f"Upper end of the 95% interval of {name}: {how}", method),
    ]
