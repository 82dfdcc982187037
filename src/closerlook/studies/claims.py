"""Claims: statements with a statistic and a decision rule, written down in ``claims.yaml`` before their results."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from closerlook.errors import InputError
from closerlook.studies.yaml_files import as_list, mapping, number, parse, read, require_keys, text, texts, whole


@dataclass(frozen=True)
class Claim:
    """A statement that data can contradict; ``claims.yaml`` explains each field.

    Parameters
    ----------
    name, statement, source : str
        Its key, what it says, and who said it where.
    variable : str
        Of the dataset.
    statistic : {"level", "median", "change", "contrast", "fraction", "single", "study", "relation"}
        What is made of it.
    iterations : tuple of int
        At which, or from which to which.
    rule : {"below", "above"}
        On which side of the bound the whole interval has to lie.
    bound : float
        The bound.
    size : int, tuple of int, or None
        Pairs of an estimate; two: the difference of the second and the first.
    log : bool
        Whether the logarithm is taken first.
    tasks : tuple of str
        The two tasks of a contrast; of other statistics the only tasks meant, where there are any.
    algorithms : tuple of str
        The two algorithms of a contrast that names no tasks; else the only ones meant, where there are any.
    where : mapping
        Where in the variable: labels by dimension.
    against : tuple of mappings
        Other places in it, which override `where` and may name another ``variable``: their mean is subtracted.
    between : tuple of mappings
        The two places between which a fraction is told: 0 at the first, 1 at the second.
    beside : mapping
        The other quantity of a relation: its ``variable``, ``where`` and ``size``.
    written : str
        The day since which its rule reads as it does; empty where that is not known.
    paper : str
        The paper's own number, where it has one.
    """

    name: str
    statement: str
    source: str
    variable: str
    statistic: Literal["level", "median", "change", "contrast", "fraction", "single", "study", "relation"]
    iterations: tuple[int, ...]
    rule: Literal["below", "above"]
    bound: float
    size: int | tuple[int, int] | None = None
    log: bool = False
    tasks: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    against: tuple[Mapping[str, Any], ...] = ()
    between: tuple[Mapping[str, Any], ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    written: str = ""
    paper: str = ""

    @property
    def rule_in_words(self) -> str:
        """The statistic and the rule, as one line of Markdown."""
        pairs = ""
        if self.size is not None:
            pairs = (
                f" at {self.size:,} pairs"
                if isinstance(self.size, int)
                else ", {1:,} {2} {0:,} pairs".format(*self.size, "over" if self.log else "less")
            )
        what = f"`{self.variable}`{_labels(self.where)}{pairs}{', logarithm' if self.log else ''}"
        what += f", less {' and '.join(map(_other, self.against))}" if self.against else ""
        what += ", halved" if len(self.against) > 1 else ""
        if self.between:
            what += f", as a fraction of the way from that{_labels(self.between[0])} to that{_labels(self.between[1])}"
        if self.beside:
            what += f", with {_other({**self.beside.get('where', {}), 'variable': self.beside['variable']})}"
        return f"{what}: {self.statistic} {self.rule} {self.bound:g}"


def _labels(where: Mapping[str, Any]) -> str:
    """Write a place in a variable: `` of critic updated, target gae``."""
    return f" of {', '.join(f'{dim} {label}' for dim, label in where.items())}" if where else ""


def _other(place: Mapping[str, Any]) -> str:
    """Write what is subtracted."""
    where = {dim: label for dim, label in place.items() if dim != "variable"}
    name = f"`{place['variable']}`" if "variable" in place else "that"
    return f"{name}{_labels(where)}"


def load_claims(path: str | Path | None = None) -> list[Claim]:
    """Read claims.

    Parameters
    ----------
    path : str or Path, optional
        A YAML file of a user's own; default those that come with the package.

    Raises
    ------
    InputError
        Where the file cannot be read, or a claim in it means nothing; names claim and key.
    """
    if path is None:
        content = parse("claims.yaml", (files("closerlook.studies") / "claims.yaml").read_text(encoding="utf-8"))
    else:
        content = read(path)
    return [_claim(f"{path or 'claims.yaml'}, {name}", name, said) for name, said in content.items()]


def _claim(where: str, name: str, said: Any) -> Claim:
    """Read one claim, each value checked.

    Raises
    ------
    InputError
        Where one means nothing.
    """
    content = mapping(where, "a claim", said)
    known = [one.name for one in fields(Claim) if one.name != "name"]
    require_keys(where, content, known)
    needed = ("statement", "variable", "statistic", "rule", "bound")
    missing = [key for key in needed if key not in content]
    if missing:
        raise InputError(f"{where} does not say its {missing[0]}", f"a claim says {', '.join(needed)}")
    choices = get_type_hints(Claim)
    for key in ("statistic", "rule"):
        if content[key] not in get_args(choices[key]):
            raise InputError(
                f"{where}: there is no {key} {content[key]!r:.60}", f"choose from {', '.join(get_args(choices[key]))}"
            )
    readers: dict[str, Any] = {
        **dict.fromkeys(("statement", "source", "variable", "statistic", "rule", "paper"), text),
        **dict.fromkeys(("tasks", "algorithms"), texts),
        **dict.fromkeys(("where", "beside"), mapping),
        "bound": number,
        "log": _truth,
        "size": _size,
        "iterations": _iterations,
        "against": _places,
        "between": _places,
        "written": _day,
    }
    values = {key: readers[key](where, key, value) for key, value in content.items()}
    if values["statistic"] == "contrast" and 2 not in (len(values.get("tasks", ())), len(values.get("algorithms", ()))):
        raise InputError(f"{where}: a contrast is of two tasks or two algorithms", "say tasks: [hopper, walker2d]")
    if values["statistic"] == "fraction" and len(values.get("between", ())) != 2:
        hint = "say between: [{baseline: zero}, {baseline: fitted}]"
        raise InputError(f"{where}: a fraction is told between two places", hint)
    if values["statistic"] == "change" and len(values.get("iterations", ())) != 2:
        raise InputError(f"{where}: a change is from one iteration to another", "say iterations: [0, 450]")
    if values["statistic"] not in {"study", "change"} and not values.get("iterations"):
        raise InputError(f"{where} names no iterations", "say iterations: [450]")
    return Claim(name=name, **{"source": "", "iterations": (), **values})


def _iterations(where: str, key: str, value: Any) -> tuple[int, ...]:
    return tuple(whole(where, key, one) for one in as_list(where, key, value))


def _places(where: str, key: str, value: Any) -> tuple[dict[str, Any], ...]:
    return tuple(mapping(where, key, one) for one in as_list(where, key, value))


def _truth(where: str, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where}: {key} must be true or false (got {value!r:.60})", "mend the file")
    return value


def _size(where: str, key: str, value: Any) -> int | tuple[int, int]:
    if not isinstance(value, list):
        return whole(where, key, value, least=1)
    if len(value) != 2:
        raise InputError(f"{where}: {key} must be one number of pairs, or two (got {value!r:.60})", "say size: 2048")
    return whole(where, key, value[0], least=1), whole(where, key, value[1], least=1)


def _day(where: str, key: str, value: Any) -> str:
    """Return a day as text; YAML reads one without quotes as a date."""
    return value.isoformat() if isinstance(value, date) else text(where, key, value)
