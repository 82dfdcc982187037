"""YAML files of users, read as data alone: every value is asked for by its kind, and refused in one line."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from closerlook.arguments import is_finite
from closerlook.errors import InputError

LARGEST_FILE = 1_000_000
"""Bytes of a file, at most."""
MEND = "mend the file"


def read(name: str | Path) -> dict[str, Any]:
    """Read a file that holds one mapping.

    Parameters
    ----------
    name : str or Path
        Its path.

    Raises
    ------
    InputError
        Where it cannot be read, or holds anything else.
    """
    path = Path(name)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{name} has more than {LARGEST_FILE:,} bytes", "give a smaller YAML file")
        content = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read ({error})", "give the path of a YAML file") from None
    return parse(str(name), content)


def parse(name: str, content: str) -> dict[str, Any]:
    """Read one mapping.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    content : str
        Its text.

    Raises
    ------
    InputError
        Where it is not YAML, or anything but a mapping.
    """
    try:
        found = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{name} is not YAML ({' '.join(str(error).split())[:120]})", MEND) from None
    return mapping(name, "the file", found)


def mapping(name: str, what: str, value: Any) -> dict[str, Any]:
    """Return a mapping of names.

    Parameters
    ----------
    name, what : str
        The file, and which value of it.
    value : object
        What it says.

    Raises
    ------
    InputError
        Where it is none.
    """
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{name}: {what} must be a mapping of names (got {value!r:.60})", MEND)
    return dict(value)


def require_keys(name: str, value: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse keys that mean nothing.

    Parameters
    ----------
    name : str
        Where they are.
    value : mapping
        Whose.
    known : sequence of str
        Those that mean something.

    Raises
    ------
    InputError
        With the key that was probably meant.
    """
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            raise InputError(f"{name} has an unknown key {key!r:.60}", hint)


def text(name: str, what: str, value: Any) -> str:
    """Return text.

    Parameters
    ----------
    name, what : str
        The file, and which value of it.
    value : object
        What it says.

    Raises
    ------
    InputError
        Where it is anything else.
    """
    if not isinstance(value, str):
        raise InputError(f"{name}: {what} must be text (got {value!r:.60})", "put it in quotes")
    return value


def as_list(name: str, what: str, value: Any) -> list[Any]:
    """Return a list.

    Parameters
    ----------
    name, what : str
        The file, and which value of it.
    value : object
        What it says.

    Raises
    ------
    InputError
        Where it is anything else.
    """
    if not isinstance(value, list):
        raise InputError(f"{name}: {what} must be a list (got {value!r:.60})", "write [one, two]")
    return value


def texts(name: str, what: str, value: Any) -> tuple[str, ...]:
    """Return several texts.

    Parameters
    ----------
    name, what : str
        The file, and which value of it.
    value : object
        What it says.

    Raises
    ------
    InputError
        Where it is anything else.
    """
    return tuple(text(name, what, one) for one in as_list(name, what, value))


def number(name: str, what: str, value: Any) -> float:
    """Return a finite number.

    Parameters
    ----------
    name, what : str
        The file, and which value of it.
    value : object
        What it says.

    Raises
    ------
    InputError
        Where it is anything else.
    """
    if not is_finite(value):
        raise InputError(f"{name}: {what} must be a finite number (got {value!r:.60})", MEND)
    return float(value)


def whole(name: str, what: str, value: Any, *, least: int = 0) -> int:
    """Return a whole number of at least so much.

    Parameters
    ----------
    name, what : str
        The file, and which value of it.
    value : object
        What it says.
    least : int
        The least it may be.

    Raises
    ------
    InputError
        Where it is anything else.
    """
    found = number(name, what, value)
    if not found.is_integer() or found < least:
        raise InputError(f"{name}: {what} must be a whole number of at least {least} (got {value!r:.60})", MEND)
    return int(found)
