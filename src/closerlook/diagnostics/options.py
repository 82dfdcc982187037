"""Options of a diagnostic: declared once, and from there command line, Python keywords, settings and documentation.

A diagnostic's `Options` is a frozen dataclass below `BaseOptions`, each field made by `option`: its default, one line
of help, and what it may be. The command line turns fields into options, Python takes them as keywords, ``run.json``
stores them, and `checked` refuses what they may not be: nothing is declared or checked anywhere else.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from closerlook.arguments import with_plain_values
from closerlook.errors import InputError


@dataclass(frozen=True)
class About:
    """What is said of an option beside its type and default.

    Parameters
    ----------
    help : str
        One or two sentences.
    least, most : float or None
        Bounds of the number, or of each of several, both included.
    metavar : str or None
        How a value is written on the command line, ``"INT ..."``; None: as its type says.
    otherwise : str or None
        In words, what happens where the option is not given; None: the default says it.
    flag : str or None
        The option's name on the command line where it is another than the field's.
    alias : mapping of str to str
        Other spellings of values.
    old : tuple of str
        Names that the option had.
    agents : bool
        Whether the value is agents, which the command line names by the iteration of their checkpoints.
    """

    help: str
    least: float | None = None
    most: float | None = None
    metavar: str | None = None
    otherwise: str | None = None
    flag: str | None = None
    alias: Mapping[str, str] = dataclasses.field(default_factory=dict)
    old: tuple[str, ...] = ()
    agents: bool = False


def option(default: Any, help: str, **more: Any) -> Any:  # noqa: A002 - the word everybody knows it by
    """Declare one option: a dataclass field with its default, and all of `About`.

    Parameters
    ----------
    default : object
        Of the field.
    help : str
        What it is, in a sentence.
    **more
        Further fields of `About`: bounds, choices, how the value is shown.
    """
    return dataclasses.field(default=default, metadata={"about": About(help, **more)})


def about(field: "dataclasses.Field[Any]") -> About:
    """Return what is said of an option."""
    found: About = field.metadata["about"]
    return found


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """What every diagnostic may be asked."""

    precision: float | None = option(
        None,
        "Sample in interim analyses of doubling size until half the 95% interval in question is at most this.",
        otherwise="none: all that is asked for is sampled",
    )
    seed: int = option(0, "Root seed of the measurement.")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Make options of keywords.

        Raises
        ------
        InputError
            Where there is no such option, or a value is none that it may have.
        """
        fields = {field.name: about(field) for field in dataclasses.fields(cls)}
        for name in given:
            if name not in fields:
                new = [now for now, one in fields.items() if name in one.old]
                # a former name says more than a name that merely looks alike
                near = new or difflib.get_close_matches(name, fields, 1)
                hint = f"it is called {near[0]}" if near else f"choose from {', '.join(fields)}"
                raise InputError(f"there is no option {name!r}", hint)
        return cls(**given).checked()

    def checked(self) -> Self:
        """Return these options with plain values, each among those that it may have.

        Raises
        ------
        InputError
            Where one is not; names are those of the command line.
        """
        fields = dataclasses.fields(self)
        # agents are no plain values: they are taken out while numbers are converted
        kept = {field.name: getattr(self, field.name) for field in fields if about(field).agents}
        # None stands for the default where None itself means nothing
        defaults = {
            field.name: field.default
            for field in fields
            if getattr(self, field.name) is None and not _optional(self, field)
        }
        bare: dict[str, Any] = {**dict.fromkeys(kept, ()), **defaults}
        plain = with_plain_values(dataclasses.replace(self, **bare))
        hints = get_type_hints(type(self))
        values = {field.name: _allowed(field, hints[field.name], getattr(plain, field.name)) for field in fields} | {
            name: _as_tuple(value) for name, value in kept.items()
        }
        options = dataclasses.replace(plain, **values)
        if options.precision is not None and not options.precision > 0.0:
            raise InputError(f"precision must be above 0 (got {options.precision:g})", "give 0.02, for example")
        options.check()
        return options

    def check(self) -> None:
        """Refuse options that mean nothing together; a diagnostic says which.

        Raises
        ------
        InputError
            Where they do not.
        """

    def settings(self) -> dict[str, Any]:
        """Return what decides the results, as JSON values; agents are named by the runner."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if not about(field).agents}

    def agents(self) -> dict[str, tuple[Any, ...]]:
        """Return the options that are agents."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if about(field).agents}


def listed(options: type[BaseOptions]) -> "list[dataclasses.Field[Any]]":
    """Return the options to be shown, a diagnostic's own first."""
    common = {field.name for field in dataclasses.fields(BaseOptions)}
    fields = dataclasses.fields(options)
    return [field for field in fields if field.name not in common] + [field for field in fields if field.name in common]


def flag_of(field: "dataclasses.Field[Any]") -> str:
    """Return an option's name on the command line, without dashes before it."""
    return about(field).flag or field.name.replace("_", "-")


def document(options: type[BaseOptions]) -> str:
    """Return the parameters of options as numpydoc writes them."""
    hints = get_type_hints(options)
    lines = []
    for field in listed(options):
        note = about(field).otherwise or repr(field.default)
        lines += [f"{field.name} : {_type_name(hints[field.name])}", f"    {about(field).help} Default: {note}."]
    return "\n".join(lines)


def _optional(options: BaseOptions, field: "dataclasses.Field[Any]") -> bool:
    return type(None) in get_args(get_type_hints(type(options))[field.name])


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value,)


def _allowed(field: "dataclasses.Field[Any]", hint: Any, value: Any) -> Any:
    """Return a value, aliases resolved; refuse what the option may not be."""
    known, name = about(field), flag_of(field)
    choices = _choices(hint)
    several = value if isinstance(value, tuple) else (value,)
    found = []
    for one in several:
        one = known.alias.get(one, one) if isinstance(one, str) else one  # noqa: PLW2901
        if one is not None and choices and one not in choices:
            raise InputError(f"{name} cannot be {one!r}", f"choose from {', '.join(map(str, choices))}")
        if isinstance(one, int | float) and not isinstance(one, bool):
            _require_within(name, one, known)
        found.append(one)
    return tuple(found) if isinstance(value, tuple) else found[0]


def _require_within(name: str, value: float, known: About) -> None:
    low, high = known.least, known.most
    if (low is None or value >= low) and (high is None or value <= high):
        return
    least, most = (None if end is None else f"{end:,}" for end in (low, high))
    if high is None:
        raise InputError(f"{name} must be at least {least} (got {value:,})", f"give {least} or more")
    if low is None:
        raise InputError(f"{name} must be at most {most} (got {value:,})", f"give {most} or less")
    raise InputError(f"{name} must be from {least} to {most} (got {value:,})", f"give {least} to {most}")


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the values of the first Literal within a type hint, empty where there is none."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    for part in get_args(hint):
        found = _choices(part)
        if found:
            return found
    return ()


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "{" + ", ".join(f'"{one}"' for one in get_args(hint)) + "}"
    if get_origin(hint) is tuple:
        return f"sequence of {_type_name(get_args(hint)[0])}"
    if get_origin(hint) in {Union, types.UnionType}:
        names = [_type_name(part) for part in get_args(hint) if part is not type(None)]
        return ", ".join([*names, "optional"])
    return getattr(hint, "__name__", str(hint))
