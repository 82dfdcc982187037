"""Options that commands share, and how their values are read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, get_args

import tyro

from closerlook.errors import InputError
from closerlook.execution import Executor, crew_of
from closerlook.execution.engines import EngineName


def option(metavar: str, default: str) -> Any:
    """Say what an option's value looks like, and in words what happens without it.

    Parameters
    ----------
    metavar : str
        What the value looks like.
    default : str
        What happens without it.
    """
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where results go, and how the work is done; no number depends on the latter."""

    former: ClassVar[Mapping[str, str]] = {}
    """Flags that options had, with those that they have now."""

    out: Annotated[Path | None, option("DIR", "one below runs/, named after what is asked")] = None
    """Folder for everything the command leaves."""
    workers: Annotated[int | None, option("INT", "one per core")] = None
    """Worker processes."""
    resume: bool = True
    """Go on from what an earlier run of the same command finished; --no-resume computes it again."""
    take_over: tyro.conf.FlagCreatePairsOff[bool] = False
    """Take the folder from a command on another host that shares it, though that one seems to be at work."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on stdout, and everything else on stderr."""

    @property
    def folder(self) -> Path:
        """The folder, given or not."""
        return self.out if self.out is not None else Path("runs") / self.default_name

    @property
    def default_name(self) -> str:
        """Name of the folder where none is given."""
        raise NotImplementedError

    @property
    def crew(self) -> int:
        """Number of workers, given or not."""
        return crew_of(self.workers)


@dataclass(frozen=True, kw_only=True)
class Distributed(Output):
    """Work that others may do."""

    executor: EngineName = "processes"
    """Who works: this process, processes of its own, or workers that Ray or SLURM bring, for which every machine has to
    see the folder. Numbers are the same."""
    address: Annotated[str | None, option("HOST:PORT", "a cluster of its own, on this machine")] = None
    """With --executor ray: the cluster to join (auto, HOST:PORT or ray://HOST:PORT)."""
    slurm: Annotated[tuple[str, ...], option("NAME=VALUE ...", "SLURM's own")] = ()
    """With --executor slurm: options of sbatch (partition=cpu time=4:00:00 mem=4G cpus-per-task=1 ...), and python=...,
    what starts Python there."""

    @property
    def engine(self) -> Executor:
        """Who works."""
        return Executor(self.executor, self.address, dict(map(_setting, self.slurm)))


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--slurm takes NAME=VALUE (got {text!r})", "give --slurm partition=cpu, for example")
    return name, value


def folder_name(text: str) -> str:
    """Make a folder's name of any text, however long."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:100].strip("-.") or "agent"


def whole_number(text: str) -> int:
    """Read a whole number: ``1e6`` is one, and so is ``1_000_000``.

    Raises
    ------
    ValueError
        Where it is not whole.
    """
    try:
        return int(text)
    except ValueError:
        value = float(text) if re.fullmatch(r"[+-]?[\d_.]+([eE][+-]?\d+)?", text) else 0.5
    if not value.is_integer():
        raise ValueError(f"{text} is not a whole number")
    return int(value)


REGISTRY = tyro.constructors.ConstructorRegistry()
"""How tyro reads numbers here."""


@REGISTRY.primitive_rule
def _read_whole_numbers(info: Any) -> tyro.constructors.PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda texts: whole_number(texts[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


@REGISTRY.primitive_rule
def _read_numbers_or_none(info: Any) -> tyro.constructors.PrimitiveConstructorSpec[float | None] | None:
    if set(get_args(info.type)) != {float, NoneType}:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT|none",
        instance_from_str=lambda texts: None if texts[0].lower() == "none" else float(texts[0]),
        is_instance=lambda value: value is None or isinstance(value, float | int),
        str_from_instance=lambda value: ["none" if value is None else str(value)],
    )


@REGISTRY.primitive_rule
def _read_lists_of_whole_numbers(info: Any) -> tyro.constructors.PrimitiveConstructorSpec[tuple[int, ...]] | None:
    if get_args(info.type) != (int, ...):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="INT ...",
        instance_from_str=lambda texts: tuple(map(whole_number, texts)),
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(item, int) for item in value),
        str_from_instance=lambda value: list(map(str, value)),
    )
