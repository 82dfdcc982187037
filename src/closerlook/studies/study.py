"""A study: figures by name, from training to claims, in one folder that can be taken up again.

::

    presets --> columns --> units (trained, measured: each once) --> figures, claims
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from closerlook.errors import InputError
from closerlook.execution import content_key
from closerlook.results.folders import CLAIMS, FIGURES
from closerlook.results.store import RunFolder
from closerlook.studies.claims import load_claims
from closerlook.studies.columns import Column, columns_of, in_order
from closerlook.studies.endings import Ending, endings
from closerlook.studies.found import find_results
from closerlook.studies.judging import judged
from closerlook.studies.pictures import OF_LOGS, draw
from closerlook.studies.preset import Preset, Scale, load_preset, preset_names
from closerlook.studies.units import How, Measurement, Takes, Training, Unit

State = Literal["done", "runs", "waits", "failed"]
PLAN = "study.json"


@dataclass(frozen=True)
class Figure:
    """What is drawn of one preset.

    Parameters
    ----------
    preset : Preset
        At its scale.
    columns : sequence of Column
        What it is made of.
    """

    preset: Preset
    columns: Sequence[Column]


@dataclass(frozen=True)
class Study:
    """What is to be done, and where.

    Parameters
    ----------
    home : Path
        Its folder.
    scale : {"smoke", "laptop", "paper"}
        How large.
    seed : int
        Root seed of the measurements.
    figures : sequence of Figure
        In the order in which they were asked for.
    """

    home: Path
    scale: Scale
    seed: int
    figures: Sequence[Figure]

    @cached_property
    def units(self) -> list[Unit]:
        """Everything that is trained and measured, each once."""
        return in_order([column for figure in self.figures for column in figure.columns])

    def needed_by(self, unit: Unit) -> list[str]:
        """Return the figures that need a unit."""
        names = []
        for figure in self.figures:
            own = in_order(figure.columns)
            if any((type(one) is type(unit) and one.name == unit.name) or _covers(unit, one) for one in own):
                names.append(figure.preset.name)
        return names


def _covers(unit: Unit, other: Unit) -> bool:
    return isinstance(unit, Training) and isinstance(other, Training) and unit.covers(other)


@dataclass(frozen=True)
class Outcome:
    """What a study came to.

    Parameters
    ----------
    files : mapping of str to list of Path
        What was drawn, by figure.
    claims : list of dict
        What became of each claim, as the command line prints it.
    endings : list of Ending
        How the agents end that a figure of rewards shows.
    failed : mapping of str to str
        Why a unit failed, by its label.
    is_new : bool
        Whether anything was trained, measured, drawn or judged that was not there before.
    """

    files: Mapping[str, list[Path]]
    claims: list[dict[str, Any]]
    endings: list[Ending] = field(default_factory=list)
    failed: Mapping[str, str] = field(default_factory=dict)
    is_new: bool = True


def plan_study(
    names: Sequence[str],
    scale: Scale,
    home: Path,
    *,
    seed: int = 0,
    tasks: tuple[str, ...] = (),
    seeds: int | None = None,
    regimes: Mapping[str, Any] | None = None,
) -> Study:
    """Lay out what is asked, and run nothing.

    Parameters
    ----------
    names : sequence of str
        Figures by name, YAML files, or ``"all"``.
    scale : {"smoke", "laptop", "paper"}
        How large.
    home : Path
        Folder of the study.
    seed : int
        Root seed of the measurements.
    tasks : tuple of str
        In place of each figure's own; empty: those.
    seeds : int, optional
        In place of each figure's own number of agents.
    regimes : mapping, optional
        Over what sample regimes are studied, in place of the scale's own.

    Raises
    ------
    InputError
        Where there is no such figure, or one means nothing.
    """
    asked = [one for name in names for one in (preset_names() if name == "all" else [name])]
    if not asked:
        raise InputError("no study was named", f"give one of: {', '.join(preset_names())}, all")
    if len(set(asked)) < len(asked):
        raise InputError("a study was named twice", "name each once")
    presets = [load_preset(name, scale, tasks=tasks, seeds=seeds) for name in asked]
    if len({preset.name for preset in presets}) < len(presets):
        raise InputError("two studies have the same name", "rename one of the files")
    known = {claim.name for claim in load_claims()}
    figures = []
    for preset in presets:
        unknown = [claim for claim in preset.claims if claim not in known]
        if unknown:
            hint = "a claim's name is its key in claims.yaml; judge your own with closerlook claims --claims FILE.yaml"
            raise InputError(f"{preset.name}: there is no claim {unknown[0]!r:.60}", hint)
        changed = _with_regimes(preset, regimes or {})
        figures.append(Figure(changed, columns_of(changed, home, seed)))
    return Study(home, scale, seed, figures)


def _with_regimes(preset: Preset, regimes: Mapping[str, Any]) -> Preset:
    if not regimes or preset.draw != "sample_regime":
        return preset
    return replace(preset, regimes={**preset.regimes, **regimes})


Watch = Callable[[Study, Mapping[str, State], str], None]
"""(study, the state of each unit by its name, which has changed): hears how a study goes."""


def run_study(study: Study, how: How, *, watch: Watch | None = None) -> Outcome:
    """Train and measure what is missing, draw, and judge.

    A unit that fails is told, and the others go on; what it was needed for is not drawn.

    Parameters
    ----------
    study : Study
        What is to be done.
    how : How
        Workers, resume, progress.
    watch : callable, optional
        Hears of each unit's state.

    Raises
    ------
    InputError
        Where the folder holds another kind of run, or a study at another scale.
    """
    settings = {"scale": study.scale, "seed": study.seed}
    failed: dict[str, str] = {}
    with RunFolder(study.home).open_for("study", settings) as folder:
        folder.begin()
        units = study.units
        states: dict[str, State] = {unit.name: "done" if how.resume and unit.is_done else "waits" for unit in units}
        report = _Report(folder, study, states, watch)
        report.say("")
        had_work = any(state != "done" for state in states.values())
        for unit in units:
            if states[unit.name] == "done":
                continue
            report.set(unit, "runs")
            try:
                unit.run(how)
            except InputError as error:
                failed[unit.label] = str(error)
                report.set(unit, "failed")
            else:
                report.set(unit, "done")
        before = (folder.kept("figures"), folder.kept("judged"))
        files = {
            figure.preset.name: _drawn(study, figure, folder)
            for figure in study.figures
            if all(unit.is_done for column in figure.columns for unit in column.units)
        }
        claims = _judged(study, folder)
        is_new = had_work or (folder.kept("figures"), folder.kept("judged")) != before
        folder.finish(0)
    shown = [figure for figure in study.figures if figure.preset.draw in OF_LOGS and figure.preset.name in files]
    ends = {(one.task, one.algorithm): one for figure in shown for one in endings(figure.columns)}
    return Outcome(files, claims, list(ends.values()), failed, is_new)


class _Report:
    """Tells how far a study has come: in its folder, for other terminals, and to whoever watches here."""

    def __init__(self, folder: RunFolder, study: Study, states: dict[str, State], watch: Watch | None) -> None:
        self.folder, self.study, self.states, self.watch = folder, study, states, watch
        self.needed = {unit.name: study.needed_by(unit) for unit in study.units}

    def set(self, unit: Unit, state: State) -> None:
        self.states[unit.name] = state
        self.say(unit.name)

    def say(self, name: str) -> None:
        rows = [
            {
                "name": unit.name,
                "label": unit.label,
                "folder": os.path.relpath(unit.folder, self.study.home),
                "figures": self.needed[unit.name],
                "state": self.states[unit.name],
            }
            for unit in self.study.units
        ]
        self.folder.write_json(PLAN, {"scale": self.study.scale, "seed": self.study.seed, "units": rows})
        if self.watch is not None:
            self.watch(self.study, self.states, name)


def _drawn(study: Study, figure: Figure, folder: RunFolder) -> list[Path]:
    """Draw a figure, unless it is there already, of the same data."""
    place = study.home / FIGURES
    place.mkdir(exist_ok=True)
    # folders are named after everything that decides what is in them: the same names are the same data
    made_of = [unit.name for column in figure.columns for unit in column.units]
    key = content_key(figure.preset.name, figure.preset.draw, made_of)
    noted = folder.kept("figures") or {}
    known = noted.get(figure.preset.name, {})
    files = [study.home / name for name in known.get("files", [])]
    if known.get("key") == key and files and all(file.is_file() for file in files):
        return files
    files = draw(figure.preset, figure.columns, place)
    names = [os.path.relpath(file, study.home) for file in files]
    folder.keep(figures={**noted, figure.preset.name: {"key": key, "files": names}})
    return files


def _judged(study: Study, folder: RunFolder) -> list[dict[str, Any]]:
    """Judge the claims of all figures by what this study found, unless that was done, of the same data."""
    names = {name for figure in study.figures for name in figure.preset.claims}
    claims = [claim for claim in load_claims() if claim.name in names]
    done = [unit for unit in study.units if unit.is_done]
    key = content_key([vars(claim) for claim in claims], [unit.name for unit in done])
    if folder.kept("judged") == key and (known := folder.read_json(CLAIMS)) is not None:
        return list(known["claims"])
    rows = judged(claims, find_results([unit.folder for unit in done])) if claims else []
    folder.write_json(CLAIMS, {"claims": rows})
    folder.keep(judged=key)
    return rows


@dataclass(frozen=True)
class Row:
    """One unit as `closerlook study --status` and ``--plan`` show it.

    Parameters
    ----------
    label : str
        In words.
    figures : sequence of str
        That need it.
    state : str
        See `State`.
    jobs : int
        Answers that are stored.
    takes : Takes or None
        What it takes, where that was asked.
    environment : str
        Its id.
    """

    label: str
    figures: Sequence[str]
    state: str
    jobs: int = 0
    takes: Takes | None = None
    environment: str = ""


def plan_rows(study: Study) -> list[Row]:
    """Say what each unit takes; nothing is run.

    Parameters
    ----------
    study : Study
        What is to be done.
    """
    return [
        Row(
            unit.label,
            study.needed_by(unit),
            "done" if unit.is_done else "waits",
            takes=unit.takes(),
            environment=unit.agents.environment if isinstance(unit, Measurement) else unit.environment,
        )
        for unit in study.units
    ]


def status_rows(home: Path) -> list[Row]:
    """Read from a study's folder how far it has come, also while another process is at work there.

    Parameters
    ----------
    home : Path
        The folder.

    Raises
    ------
    InputError
        Where it holds no study.
    """
    record = RunFolder(home).read_json(PLAN)
    if record is None:
        raise InputError(f"there is no study at {home}", "give the --out of one, or run it first")
    rows = []
    for unit in record.get("units", []):
        if not isinstance(unit, dict) or not {"label", "figures", "state", "folder"} <= unit.keys():
            raise InputError(f"{home / PLAN} is not what a study has written", "give the command of the study again")
        folder = home / str(unit["folder"])
        jobs = len(list((folder / "jobs").glob("*.npz")))
        rows.append(Row(str(unit["label"]), list(map(str, unit["figures"])), str(unit["state"]), jobs))
    return rows
