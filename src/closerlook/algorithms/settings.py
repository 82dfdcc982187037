"""Settings that several algorithms share, and the check that their numbers mean something."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from closerlook.errors import InputError


@dataclass(frozen=True)
class CriticFields:
    """How the critic is fitted, without annealing; the defaults are Table 1's columns for TRPO."""

    value_learning_rate: float = 3e-4
    """Adam's learning rate for the critic."""
    value_epochs: int = 10
    """Passes of the critic through a batch."""
    minibatches: int = 32
    """Minibatches of a critic's pass, whatever the size of the batch."""
    value_clip: float | None = None
    """How far a value may move before the worse of clipped and unclipped error counts; none: as far as it goes."""
    adam_epsilon: float = 1e-5
    """Added to the root of Adam's second moments."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        require_numbers(self, ("minibatches", "value_clip", "adam_epsilon"), positive=True)
        require_numbers(self, ("value_learning_rate", "value_epochs"), positive=False)


def require_numbers(settings: object, names: Iterable[str], *, positive: bool | None) -> None:
    """Raise where a setting is not a finite number of the sign that is asked for; None passes.

    Parameters
    ----------
    settings : object
        Whose fields are checked.
    names : iterable of str
        Which of them.
    positive : bool or None
        True: above zero; False: zero or above; None: of either sign.

    Raises
    ------
    InputError
        Naming the first such setting.
    """
    for name in names:
        value = getattr(settings, name)
        fits = value is None or (
            math.isfinite(value) and (positive is None or value > 0 or (value == 0 and not positive))
        )
        if not fits:
            kind = {True: "a positive number", False: "zero or a positive number", None: "a finite number"}[positive]
            raise InputError(f"{name} must be {kind} (got {value})", f"give {kind}")
