"""Spaces of observations and actions, as a file describes them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from closerlook.agents.importers.plain_pickle import Made, Plain
from closerlook.agents.importers.sb3_pickles import array_of, entries_of, number_of, state_of
from closerlook.errors import InputError

Kind = Literal["Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict"]
LARGEST = 10_000_000
"""Components of a space, at most."""
_HINT = "give the model itself: closerlook.from_sb3(model)"


@dataclass(frozen=True)
class Space:
    """A space, apart from its bounds.

    Parameters
    ----------
    kind : str
        The name of its class.
    shape : tuple of int
        Of a Box.
    sizes : tuple of int
        Possibilities of each choice: one of a Discrete, several of a MultiDiscrete, 2 each of a MultiBinary.
    dtype : str
        Of a Box.
    is_image : bool
        Whether it is a Box of bytes with three axes, which the library divides by 255.
    parts : mapping
        Of a Dict, in its order.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    dtype: str = "float32"
    is_image: bool = False
    parts: Mapping[str, "Space"] = field(default_factory=dict)

    @property
    def flat(self) -> int:
        """Components of what the networks see: choices as one-hot codes."""
        if self.kind == "Dict":
            return sum(part.flat for part in self.parts.values())
        if self.kind in {"Discrete", "MultiDiscrete"}:
            return sum(self.sizes)
        return len(self.sizes) if self.kind == "MultiBinary" else int(np.prod(self.shape, dtype=float))

    def __str__(self) -> str:
        if self.kind == "Dict":
            return "Dict(" + ", ".join(f"{name}: {part}" for name, part in self.parts.items()) + ")"
        return f"{self.kind}{list(self.shape if self.kind == 'Box' else self.sizes)}"


def space_of(plain: Plain, mirror: Mapping[str, Any], where: str) -> Space:
    """Read a space from its pickle, else from the mirror that stands beside it.

    Parameters
    ----------
    plain : Plain
        What `read_pickle` gives; None where there is none.
    mirror : mapping
        What the file says in plain JSON: attributes, arrays as NumPy prints them.
    where : str
        What errors name.

    Raises
    ------
    InputError
        Where it is neither, is a space that the library has not, or is too large.
    """
    space = None
    for state, name in ((state_of(plain), _class_of(plain)), (dict(mirror), _class_in(mirror))):
        if space is None and state:
            try:
                space = _read(name, state)
            except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError):
                continue
    if space is None:
        raise InputError(f"{where} is not a space that closerlook knows", _HINT)
    if not 0 < space.flat <= LARGEST:
        raise InputError(f"{where} has {space.flat} components", "use another copy of the file")
    return space


def _class_of(plain: Plain) -> str:
    return str(plain.of).rpartition(".")[2] if isinstance(plain, Made) else ""


def _class_in(mirror: Mapping[str, Any]) -> str:
    found = re.fullmatch(r"<class '[\w.]*?(\w+)'>", str(mirror.get(":type:")))
    return found[1] if found else ""


def _read(name: str, state: Mapping[str, Any], depth: int = 0) -> Space | None:
    found = None
    if name == "Box":
        shape = _shape(state.get("_shape", state.get("shape")))
        dtype = _dtype_name(state.get("dtype"))
        image = dtype == "uint8" and len(shape) == 3 and _bounds(state, "low", 0) and _bounds(state, "high", 255)
        found = Space("Box", shape=shape, dtype=dtype, is_image=image)
    elif name == "Discrete":
        found = Space("Discrete", sizes=_sizes([_whole(state["n"])]))
    elif name == "MultiDiscrete":
        found = Space("MultiDiscrete", sizes=_sizes(_numbers(state["nvec"])))
    elif name == "MultiBinary":
        (count,) = _numbers(state["n"]) if not isinstance(state["n"], int) else [state["n"]]
        found = Space("MultiBinary", sizes=_sizes([2] * min(count, LARGEST + 1)))
    elif name == "Dict" and depth == 0:
        parts = {
            str(key): _read(_class_of(part), state_of(part), depth + 1)
            for key, part in entries_of(state.get("spaces")).items()
        }
        if parts and all(parts.values()):
            found = Space("Dict", parts={key: part for key, part in parts.items() if part is not None})
    return found


def _shape(plain: Plain) -> tuple[int, ...]:
    if not isinstance(plain, tuple | list) or not all(type(side) is int and 0 <= side <= LARGEST for side in plain):
        raise ValueError("no shape")
    return tuple(plain)


def _sizes(numbers: list[int]) -> tuple[int, ...]:
    if not numbers or not all(0 < number <= LARGEST for number in numbers):
        raise ValueError("no sizes")
    return tuple(numbers)


def _whole(plain: Plain) -> int:
    return int(plain) if isinstance(plain, int | str) else int(number_of(plain))


def _numbers(plain: Plain) -> list[int]:
    if isinstance(plain, str):
        return [int(number) for number in re.findall(r"\d+", plain)]
    if isinstance(plain, list | tuple):
        return [_whole(one) for one in plain]
    return [int(number) for number in array_of(plain).reshape(-1)]


def _dtype_name(plain: Plain) -> str:
    if isinstance(plain, str):
        return plain
    kind = plain.arguments[0] if isinstance(plain, Made) and plain.arguments else "f4"
    return {"u1": "uint8", "f4": "float32", "f8": "float64"}.get(kind, str(kind))


def _bounds(state: Mapping[str, Any], name: str, bound: int) -> bool:
    """Whether every bound is this one; of a mirror, whether every number printed is."""
    value = state.get(name)
    if isinstance(value, str):
        return set(re.findall(r"\d+", value)) == {str(bound)}
    return bool((array_of(value) == bound).all())
