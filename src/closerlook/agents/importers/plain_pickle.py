"""Pickles read as data: opcodes are followed on a stack, and nothing they name is imported, called or built.

What a pickle would build becomes a `Made`, which only says so: which name would have been called, with what, and which
state it would have been given. Reading on from there is up to who knows the few forms that are expected (see
`closerlook.agents.importers.sb3_pickles`); anything else stays inert.
"""

import pickletools
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from closerlook.errors import InputError

LONGEST = 64_000_000
"""Bytes of a pickle, at most."""
MOST_OPCODES = 2_000_000
_HINT = "use another copy of the file, or give the model itself: closerlook.from_sb3(model)"

Plain: TypeAlias = Any
"""None, booleans, numbers, text, bytes, lists, tuples and dictionaries of such, `Name` and `Made`."""


@dataclass(frozen=True)
class Name:
    """A function or class by its name alone.

    Parameters
    ----------
    module, name : str
        Where it would be imported from, and as what; neither ever is.
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Made:
    """What a pickle would have built.

    Parameters
    ----------
    of : Plain
        What would have been called, mostly a `Name`.
    arguments : tuple
        With what.
    state : Plain
        What ``__setstate__`` would have been given; None where nothing.
    items : list
        What would have been appended or added.
    entries : dict
        What would have been set by key.
    """

    of: Plain
    arguments: tuple[Plain, ...] = ()
    state: Plain = None
    items: list[Plain] = field(default_factory=list)
    entries: dict[Plain, Plain] = field(default_factory=dict)

    def is_a(self, *names: str) -> bool:
        """Whether it would have been made by something of one of these names, whatever its module."""
        return isinstance(self.of, Name) and self.of.name in names


class _Mark:
    """Where a run of items begins on the stack."""


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Plain] = []
        self.memo: dict[int, Plain] = {}

    def pop_mark(self) -> list[Plain]:
        """Take everything above the last mark, and the mark."""
        at = max(i for i, item in enumerate(self.stack) if isinstance(item, _Mark))
        above = self.stack[at + 1 :]
        del self.stack[at:]
        return above

    def pairs(self) -> list[tuple[Plain, Plain]]:
        flat = self.pop_mark()
        return list(zip(flat[::2], flat[1::2], strict=True))

    def set_items(self, pairs: list[tuple[Plain, Plain]]) -> None:
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Made) else target
        if not isinstance(entries, dict):
            raise TypeError("items of what has none")
        for key, value in pairs:
            # other keys could not be hashed, or only by walking structures of any depth
            if not isinstance(key, str | bytes | int | float | None):
                raise TypeError("a key that is no plain value")
            entries[key] = value

    def append(self, items: list[Plain]) -> None:
        target = self.stack[-1]
        own = target.items if isinstance(target, Made) else target
        if not isinstance(own, list):
            raise TypeError("items of what has none")
        own.extend(items)

    def reduce(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple):
            raise TypeError("arguments that are no tuple")
        by_name = called.name if isinstance(called, Name) else ""
        if by_name in {"_function_setstate", "_fill_function"} and arguments and isinstance(arguments[0], Made):
            # cloudpickle gives a function its closure by a call that returns nothing of use
            arguments[0].state = arguments[1:]
            self.stack.append(arguments[0])
        else:
            self.stack.append(Made(called, arguments))

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Made):
            raise TypeError("a state for what takes none")
        target.state = state

    def make(self, *, keywords: bool = False) -> None:
        if keywords:
            self.stack.pop()
        arguments, called = self.stack.pop(), self.stack.pop()
        self.stack.append(Made(called, tuple(arguments)))


_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}


def _take(machine: _Machine, name: str, argument: Any) -> None:  # noqa: C901, PLR0912, PLR0915 - one case an opcode
    stack = machine.stack
    if name in _LITERALS:
        stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        return
    if name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
        return
    if name in _EMPTY:
        stack.append(_EMPTY[name]())
        return
    match name:
        case "PROTO" | "FRAME":
            pass
        case "MARK":
            stack.append(_Mark())
        case "POP":
            stack.pop()
        case "POP_MARK":
            machine.pop_mark()
        case "DUP":
            stack.append(stack[-1])
        case "MEMOIZE":
            machine.memo[len(machine.memo)] = stack[-1]
        case "PUT" | "BINPUT" | "LONG_BINPUT":
            machine.memo[argument] = stack[-1]
        case "GET" | "BINGET" | "LONG_BINGET":
            stack.append(machine.memo[argument])
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            count = int(name[-1])
            taken = tuple(stack[-count:])
            if len(taken) < count:
                raise IndexError
            stack[-count:] = [taken]
        case "TUPLE":
            stack.append(tuple(machine.pop_mark()))
        case "LIST":
            stack.append(machine.pop_mark())
        case "DICT":
            pairs = machine.pairs()
            stack.append({})
            machine.set_items(pairs)
        case "EMPTY_SET":
            stack.append(Made(Name("builtins", "set")))
        case "FROZENSET":
            stack.append(Made(Name("builtins", "frozenset"), (), items=machine.pop_mark()))
        case "APPEND":
            item = stack.pop()
            machine.append([item])
        case "APPENDS" | "ADDITEMS":
            items = machine.pop_mark()
            machine.append(items)
        case "SETITEM":
            value, key = stack.pop(), stack.pop()
            machine.set_items([(key, value)])
        case "SETITEMS":
            pairs = machine.pairs()
            machine.set_items(pairs)
        case "GLOBAL":
            stack.append(Name(*argument.split(" ", 1)))
        case "STACK_GLOBAL":
            own, module = stack.pop(), stack.pop()
            if not (isinstance(own, str) and isinstance(module, str)):
                raise TypeError("a name that is no text")
            stack.append(Name(module, own))
        case "REDUCE":
            machine.reduce()
        case "BUILD":
            machine.build()
        case "NEWOBJ":
            machine.make()
        case "NEWOBJ_EX":
            machine.make(keywords=True)
        case "INST":
            made = Name(*argument.split(" ", 1))
            stack.append(Made(made, tuple(machine.pop_mark())))
        case "OBJ":
            kind, *arguments = machine.pop_mark()
            stack.append(Made(kind, tuple(arguments)))
        case _:  # persistent ids, extension codes, buffers out of band: none is in these files
            raise TypeError(f"the opcode {name}")


def read_pickle(content: bytes, where: str) -> Plain:
    """Read a pickle as data.

    Parameters
    ----------
    content : bytes
        From anywhere.
    where : str
        What errors name.

    Raises
    ------
    InputError
        Where it is damaged, too long, or uses what no file of ours does.
    """
    if len(content) > LONGEST:
        raise InputError(f"{where} is too long ({len(content)} bytes)", _HINT)
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPCODES:
                raise ValueError("too many opcodes")
            if opcode.name == "STOP":
                (result,) = machine.stack
                return result
            _take(machine, opcode.name, argument)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError):
        raise InputError(f"{where} is damaged, or no pickle that is expected there", _HINT) from None
    raise InputError(f"{where} is cut off", _HINT)
