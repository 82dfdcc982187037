"""Sampling to a target: looks at a growing pool, until an interval is as narrow as was asked.

Each look has twice the pairs of the one before, and keeps them. An interval that is looked at several times, and
believed when it happens to be narrow, covers less than it says; with few looks, and sixteen estimates at the first,
hardly: 92 to 99% in the tests, as one that is looked at once.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from closerlook.errors import InputError

FIRST_ESTIMATES = 16
"""Estimates of the size in question at the first look."""
JOB_STREAMS = 16
"""Streams of a job, the same at every look, so that no look samples again what an earlier one has."""


@dataclass(frozen=True)
class Target:
    """How narrow an interval is wanted, and where.

    Parameters
    ----------
    half_width : float
        Half the length of the 95% interval of the pairwise cosine, at most.
    size : int
        Pairs of an estimate.
    """

    half_width: float
    size: int

    def __post_init__(self) -> None:
        """Refuse a target that means nothing."""
        if not 0.0 < self.half_width < 1.0:
            raise InputError(f"a precision of {self.half_width:g} cannot be reached", "give 0.02, for example")


def looks(target: Target, n_steps: int, least: int, most: int) -> list[int]:
    """Return the pairs of each look, the last of them `most`.

    Parameters
    ----------
    target : Target
        What is wanted.
    n_steps : int
        Pairs of a stream.
    least : int
        Pairs that the sizes asked for take.
    most : int
        Pairs to stop at.
    """
    job = JOB_STREAMS * n_steps
    first = max(FIRST_ESTIMATES * max(target.size, n_steps), least)
    pairs = -(-first // job) * job
    found = []
    while pairs < most:
        found.append(pairs)
        pairs *= 2
    return [*found, most]


def half_width(dataset: xr.Dataset, target: Target) -> float:
    """Return half the length of the interval in question, of the agent where it is longest; NaN: not known."""
    here = dataset.sel(size=target.size)
    return float(np.max((here["pairwise_cosine_high"] - here["pairwise_cosine_low"]).values) / 2)


def pairs_wanted(pairs: int, width: float, target: Target) -> float:
    """Guess the pairs it will take: an interval narrows with the root of the estimates."""
    return pairs * (width / target.half_width) ** 2
