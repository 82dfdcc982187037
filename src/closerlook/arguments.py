"""What a caller gives: numbers in the form that the rest takes for granted, choices that there are, short names."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

from closerlook.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Given = TypeVar("Given", bound=DataclassInstance)
else:
    Given = TypeVar("Given")

SHORT_NAMES = {
    name.lower(): f"{name}-v5" for name in ("Hopper", "Walker2d", "Humanoid", "HalfCheetah", "Ant", "Swimmer")
}
"""Names that may be used for environments' ids."""

Algorithm = Literal["ppo", "trpo", "natural", "vanilla"]
"""Updates that agents are trained with, and that diagnostics take."""
LARGEST_BATCH = 2_000_000
"""Pairs of a batch that an update is computed from, at most: they are held at once."""

MOST = 10**11
"""Largest number of anything that may be asked for: beyond it not even the list of jobs could be made."""

SEEDS = (-(2**63), 2**63 - 1)
"""Least and greatest root seed: what netCDF can keep beside the results."""


def environment_id(name: str) -> str:
    """Return the id of an environment, which may be a short name: hopper, walker2d, humanoid ..."""
    return SHORT_NAMES.get(name.lower(), name)


def with_plain_values(given: Given) -> Given:
    """Return a dataclass with its numbers as Python's own, and what may be several of anything as a tuple.

    So are dataclasses in it. Whole numbers may be given as floats without a fraction (2e5), all numbers as NumPy's, and
    one alone where there may be several.

    Raises
    ------
    InputError
        Where one is no number, is not whole where it should be, or is larger than anything.
    """
    return replace(given, **plain_values(type(given), vars(given)))


def plain_values(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a dataclass in the form that `with_plain_values` gives them.

    Parameters
    ----------
    kind : type
        A dataclass.
    given : mapping of str to object
        Some of its fields.

    Raises
    ------
    InputError
        As `with_plain_values`.
    """
    hints = get_type_hints(kind)
    return {name: _converted(name, value, hints[name]) for name, value in given.items()}


def require_choices(given: object, choices: Mapping[str, Sequence[str]], of: str = "") -> None:
    """Check that attributes are among their choices.

    Parameters
    ----------
    given : object
        Whose attributes are checked.
    choices : mapping of str to sequence of str
        By attribute, what it may be.
    of : str
        Whose they are, for the message.

    Raises
    ------
    InputError
        Where one is not; `of` says whose it is.
    """
    for name, possible in choices.items():
        if getattr(given, name) not in possible:
            raise InputError(f"{name}{of} is {getattr(given, name)!r}", f"choose from {', '.join(possible)}")


def require_fractions(given: object, names: Sequence[str], of: str = "") -> None:
    """Check that attributes are numbers from 0 to 1.

    Parameters
    ----------
    given : object
        Whose attributes are checked.
    names : sequence of str
        Which of them.
    of : str
        Whose they are, for the message.

    Raises
    ------
    InputError
        Where one is not; `of` says whose it is.
    """
    for name in names:
        value: Any = getattr(given, name)
        if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= cast("float", value) <= 1.0:
            known = isinstance(value, float) or (isinstance(value, int) and abs(value) > MOST)
            shown = _size(value) if known else f"{value!r:.40}"
            raise InputError(f"{name}{of} must be from 0 to 1 (got {shown})", "give a number from 0 to 1")


def is_finite(value: object) -> bool:
    """Whether a value of any kind is a real number that a float can be: a whole one may have thousands of digits."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -sys.float_info.max <= value <= sys.float_info.max  # type: ignore[operator]


def _converted(name: str, value: Any, hint: Any) -> Any:
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return with_plain_values(value)
    kind = kinds[0]
    if kind is int:
        return _whole(name, value)
    if kind is float:
        return _number(name, value)
    if get_origin(kind) not in {Sequence, tuple}:
        return value
    several = np.atleast_1d(np.asarray(value, dtype=object)).ravel()
    convert = {int: _whole, float: _number}.get(get_args(kind)[0], lambda _, one: one)
    expected = get_args(kind)
    if get_origin(kind) is tuple and Ellipsis not in expected and len(several) != len(expected):
        raise InputError(f"{name} must be {len(expected)} values (got {value!r})", f"give {len(expected)} of them")
    return tuple(convert(name, one) for one in several)


def _number(name: str, value: Any) -> float:
    """Return a number; one of Python's own as it is, as names of stored results tell 1 from 1.0."""
    if type(value) in {int, float}:
        return cast("float", value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} must be a number (got {value!r})", "give a number")
    return float(value)


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if not (isinstance(value, Integral) or float(number).is_integer()):
        raise InputError(f"{name} must be a whole number (got {value!r})", "give a whole number")
    low, high = SEEDS if name == "seed" else (-MOST, MOST)
    if not low <= number <= high:
        hint = f"give {MOST:.0e} at most" if name != "seed" else "give one from -2**63 to 2**63 - 1"
        raise InputError(f"{name} is out of bounds (got {_size(number)})", hint)
    return int(value)


def _size(number: float) -> str:
    """Spell how large a number is; one of thousands of digits has no shorter name."""
    return "a far larger number" if 1e300 < abs(number) < math.inf else f"{float(number):g}"
