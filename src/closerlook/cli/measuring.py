"""Commands that ask agents something: one for each diagnostic, made of its own Options, declared nowhere else.

Torch and what draws take seconds: they are imported when a command runs, not for its help or a wrong option.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import tyro

from closerlook.arguments import environment_id
from closerlook.cli.console import Bar, Terminal
from closerlook.cli.options import Distributed, Output, folder_name, option
from closerlook.diagnostics import summary
from closerlook.diagnostics.diagnostic import Diagnostic
from closerlook.diagnostics.options import about, flag_of, listed
from closerlook.results.leavings import figures_of
from closerlook.results.store import RunFolder

if TYPE_CHECKING:
    import xarray as xr

    from closerlook.agents.agent import Agent


@dataclass(frozen=True, kw_only=True)
class OfAgents(Output):
    """Agents to inspect."""

    kind: ClassVar[str]
    """What is asked: the first part of the folder's name."""

    agent: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="AGENT")]
    """A run folder of closerlook (atlas/hopper-ppo is one), the folder of one checkpoint, a file of Stable-Baselines3
    or its folder, or package.module:function returning an Agent."""
    env: Annotated[str | None, option("ID", "what the agent was trained on")] = None
    """Any Gymnasium id, module:Id, package.module:function, or hopper, walker2d, humanoid ..."""
    iteration: Annotated[tuple[int, ...], option("INT ...", "the last")] = ()
    """Checkpoints of a run folder, one or several."""
    agent_seed: Annotated[tuple[int, ...], option("INT ...", "all")] = ()
    """Agents of a run folder, one or several."""
    normalize: Annotated[Path | None, option("FILE", "the one beside the agent's file")] = None
    """Statistics of observations and rewards of an agent of another library (vecnormalize.pkl)."""
    set: Annotated[tuple[str, ...], option("NAME=VALUE ...", "none")] = ()
    """What the file of another library does not say, or says wrongly: clip_range=0.2."""
    anyway: bool = False
    """Go on where something is missing, or where the agent is unlike the one that was trained."""

    @property
    def default_name(self) -> str:
        """Named after the agent, and the part of a run folder that was asked for."""
        path = Path(self.agent)
        # agent, iterations and seeds make the folder's name, so that two commands do not meet in one
        parts = [folder_name(path.resolve().name if path.exists() else self.agent)]
        parts += ["iteration", *map(str, self.iteration)] if self.iteration else []
        parts += ["seed", *map(str, self.agent_seed)] if self.agent_seed else []
        return "-".join([self.kind, *parts])

    @property
    def environment(self) -> str | None:
        """The environment's id, None where none is given."""
        return None if self.env is None else environment_id(self.env)

    def read(self, *, anyway: bool) -> "list[Agent]":
        """Load every agent that was asked for, by iteration and seed."""
        from closerlook.agents.importers.request import read_setting  # noqa: PLC0415
        from closerlook.agents.loading import Importing, find_agents  # noqa: PLC0415

        importing = Importing(self.environment, self.normalize, dict(map(read_setting, self.set)), anyway)
        return [
            agent
            for iteration in self.iteration or (None,)
            for seed in self.agent_seed or (None,)
            for agent in find_agents(self.agent, iteration=iteration, seed=seed, importing=importing)
        ]


@dataclass(frozen=True, kw_only=True)
class Measuring(OfAgents, Distributed):
    """Agents to measure."""

    diagnostic: ClassVar[Diagnostic]
    former: ClassVar[Mapping[str, str]] = {"--long": "--allow-long"}

    allow_long: bool = False
    """Go ahead with what would take more than a day."""

    def run(self, console: Terminal) -> None:
        """Measure, draw, and print."""
        from closerlook.cli.identity import require_same  # noqa: PLC0415
        from closerlook.diagnostics.runner import run  # noqa: PLC0415

        asked, agents = self.diagnostic, self.read(anyway=self.anyway)
        require_same(agents, self.environment, self.agent, console, anyway=self.anyway)
        # imported agents already have what was asked for, with the wrappers that they act in
        environment = None if any(agent.origin is not None for agent in agents) else self.environment
        trained_on = agents[0].environment
        name = environment or (trained_on.id if trained_on is not None else "unknown")
        hint = "" if self.allow_long else f"give {asked.fewer}, or --allow-long to go ahead"
        dataset = run(
            asked,
            agents,
            environment,
            self._options(agents),
            workers=self.crew,
            out=self.folder,
            resume=self.resume,
            progress=Bar(console, name, self.crew, too_long=hint),
        )
        files = [self.folder / f"{asked.name}.{suffix}" for suffix in ("nc", "json")]
        files += figures_of(RunFolder(self.folder), files, lambda: self._drawn(dataset))
        found = summary(dataset)
        console.result(found, *asked.tables(dataset))
        console.verdicts(found["verdicts"], self.folder / f"{asked.name}.json")
        console.files(files)

    def _drawn(self, dataset: "xr.Dataset") -> list[Path]:
        from closerlook.drawing.style import save_figure  # noqa: PLC0415

        drawn = self.diagnostic.figures(dataset)
        files = [file for stem, axes in drawn.items() for file in save_figure(axes, self.folder / stem)]
        return files + self.diagnostic.pages(dataset, self.folder)

    def _options(self, agents: "Sequence[Agent]") -> dict[str, Any]:
        """Return the diagnostic's options; agents among them are loaded, each of the same seed as its own."""
        from closerlook.agents.loading import find_agents  # noqa: PLC0415

        found = {}
        for field in dataclasses.fields(self.diagnostic.Options):
            value = getattr(self, field.name)
            if about(field).agents:
                value = [] if value is None else [
                    other for one in agents for other in find_agents(self.agent, iteration=value, seed=one.agent_seed)
                ]  # fmt: skip
            found[field.name] = value
        return found


def command_of(diagnostic: Diagnostic) -> type[Measuring]:
    """Make the command of a diagnostic: a dataclass that tyro reads, whose text is the diagnostic's."""
    hints = get_type_hints(diagnostic.Options)
    fields = [_command_field(field, hints[field.name]) for field in listed(diagnostic.Options)]
    stem = diagnostic.name
    leaves = f"Leaves {stem}.nc, {stem}.json, {stem}.svg, {stem}.png and run.json in its folder."
    words = "\n".join(line.strip() for line in (type(diagnostic).__doc__ or "").splitlines())
    # the command is made of the diagnostic's options: each is declared once
    return dataclasses.make_dataclass(
        type(diagnostic).__name__,
        fields,
        bases=(Measuring,),
        namespace={
            "diagnostic": diagnostic,
            "kind": stem,
            "former": {**Measuring.former, **_former_flags(diagnostic)},
            "__doc__": f"{words.strip()}\n\n{leaves}",
        },
        frozen=True,
        kw_only=True,
    )


def _former_flags(diagnostic: Diagnostic) -> dict[str, str]:
    """Return the flags that options had, with those that they have."""
    fields = dataclasses.fields(diagnostic.Options)
    flags = {f"--{old.replace('_', '-')}": f"--{flag_of(field)}" for field in fields for old in about(field).old}
    return {old: new for old, new in flags.items() if old != new}


def _command_field(field: "dataclasses.Field[Any]", hint: Any) -> tuple[str, Any, Any]:
    """Turn one option into a field that tyro reads: its flag, help, and how a value is written."""
    known, default = about(field), field.default
    if known.agents:
        hint, default = int | None, None
    if known.alias:
        hint = _with_aliases(hint, tuple(known.alias))
    words: dict[str, Any] = {"help": known.help, "name": flag_of(field)}
    if known.metavar is not None or known.otherwise is not None:
        words |= {"metavar": known.metavar or _metavar(hint)}
    if known.otherwise is not None:
        words |= {"help_behavior_hint": f"(default: {known.otherwise})"}
    if hint is bool:
        hint = tyro.conf.FlagCreatePairsOff[bool]
    return field.name, Annotated[hint, tyro.conf.arg(**words)], dataclasses.field(default=default)


def _metavar(hint: Any) -> str:
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    return "FLOAT" if kinds[0] is float else "INT" if kinds[0] is int else "NAME"


def _with_aliases(hint: Any, more: tuple[str, ...]) -> Any:
    """Let other spellings through: the options resolve them."""
    if get_origin(hint) is Literal:
        return Literal[(*get_args(hint), *more)]
    literal = next(part for part in get_args(hint) if get_origin(part) is Literal)
    return _with_aliases(literal, more) | None
