"""What an importer is asked for, and what it keeps account of while it reads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError


@dataclass(frozen=True)
class ImportRequest:
    """An agent in somebody else's file.

    Parameters
    ----------
    path : Path
        The file or folder.
    environment : EnvironmentSpec or None
        What it is to be measured on; None: what it was trained on.
    normalize : Path or None
        A file of statistics of observations and rewards, where they are elsewhere.
    settings : mapping of str to value
        What the caller knows better than the file, or what the file does not say.
    """

    path: Path
    environment: EnvironmentSpec | None = None
    normalize: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_setting(text: str) -> tuple[str, Any]:
    """Read ``name=value``: a number, true, false, none, or else text.

    Raises
    ------
    InputError
        Where there is no name or no value.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise InputError(f"the setting {text[:60]!r} is not name=value", "write for example --set clip_range=0.2")
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return name, words[value.lower()]
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


class Settings:
    """Settings from several places, the first that has one: the caller, the file, what stands beside it.

    Parameters
    ----------
    where : str
        What errors name.
    given, written, derived : mapping
        Of the caller, of the file, and beside it.
    """

    def __init__(
        self, where: str, given: Mapping[str, Any], written: Mapping[str, Any], derived: Mapping[str, Any]
    ) -> None:
        self.where = where
        self.places = (given, written, derived)
        self.assumed: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.notices: list[str] = []
        self._asked: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether any place has it."""
        return any(name in place for place in self.places)

    def is_given(self, name: str) -> bool:
        """Whether the caller gave it."""
        self._asked.add(name)
        return name in self.places[0]

    def value(self, name: str, default: Any = None) -> Any:
        """Return a setting as it is.

        Parameters
        ----------
        name : str
            Of the setting.
        default : object
            Where no place has it.
        """
        self._asked.add(name)
        return next((place[name] for place in self.places if name in place), default)

    def assume(self, name: str, value: Any, why: str) -> Any:
        """Return a value that no place has, and say so.

        Parameters
        ----------
        name : str
            Of the setting.
        value : object
            What is assumed.
        why : str
            Said beside it.
        """
        self._asked.add(name)
        self.assumed[name] = f"{value} ({why})"
        return value

    def ask(self, name: str, meanwhile: Any, how: str) -> Any:
        """Return a value to go on with where the right one is not known, and ask for it.

        Parameters
        ----------
        name : str
            Of the setting.
        meanwhile : object
            The value to go on with.
        how : str
            How to give the right one.
        """
        self._asked.add(name)
        self.missing[name] = how
        return meanwhile

    def number(self, name: str, default: float, *, low: float = 0.0, high: float = math.inf) -> float:
        """Return a number.

        Parameters
        ----------
        name : str
            Of the setting.
        default : float
            Where no place has it.
        low, high : float
            Bounds, both allowed.

        Raises
        ------
        InputError
            Where it is none, not finite, or out of bounds.
        """
        found = self.value(name)
        if found is None:
            found = self.assume(name, default, "the library's default") if not self.has(name) else default
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise InputError(
                f"{name} of {self.where} must be a number (got {found!r:.40})", f"give it by --set {name}=..."
            )
        if not low <= found <= high:
            raise InputError(
                f"{name} of {self.where} is out of bounds (got {found!r:.40})", f"give another by --set {name}=..."
            )
        return float(found)

    def number_or_none(self, name: str) -> float | None:
        """Return a number, or None where no place has any."""
        return None if self.value(name) is None else self.number(name, 0.0)

    def whole(self, name: str, default: int, *, low: int = 1, high: int = 10**11) -> int:
        """Return a whole number.

        Parameters
        ----------
        name : str
            Of the setting.
        default : int
            Where no place has it.
        low, high : int
            Bounds, both allowed.

        Raises
        ------
        InputError
            Where it is none.
        """
        number = self.number(name, default, low=low, high=high)
        if not number.is_integer():
            raise InputError(
                f"{name} of {self.where} must be a whole number (got {number!r:.40})", "give a whole number"
            )
        return int(number)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return whether something is so.

        Parameters
        ----------
        name : str
            Of the setting.
        default : bool
            Where no place has it.

        Raises
        ------
        InputError
            Where it is neither true nor false.
        """
        found = self.value(name, default)
        if not isinstance(found, bool):
            raise InputError(
                f"{name} of {self.where} must be true or false (got {found!r:.40})", f"give it by --set {name}=..."
            )
        return found

    def require_all_used(self) -> None:
        """Refuse what the caller gave and nothing asked for.

        Raises
        ------
        InputError
            Naming it.
        """
        unused = sorted(set(self.places[0]) - self._asked)
        if unused:
            known = ", ".join(sorted(self._asked))
            raise InputError(f"{unused[0][:60]} is not a setting of this agent", f"it has: {known}")
