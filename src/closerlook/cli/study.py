"""``closerlook study``: the paper's figures and other experiments by name, from training to claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import tyro
from rich.table import Table

from closerlook.arguments import environment_id
from closerlook.cli.console import LONG_SECONDS, START_SECONDS, Bar, Terminal, duration
from closerlook.cli.live import PopulationBar, WithTable
from closerlook.cli.options import Distributed, option
from closerlook.cli.study_tables import (
    claims_tables,
    endings_table,
    figures_in_short,
    plan_summary,
    plan_table,
    seconds_of,
    settings_table,
    table_of,
)
from closerlook.cli.worker import who_works
from closerlook.drawing.tables import make_table
from closerlook.errors import InputError
from closerlook.execution import Progress
from closerlook.pages.report import report
from closerlook.results.reading import read_dataset
from closerlook.studies.preset import Scale
from closerlook.studies.sample_regime import summary as regimes_summary
from closerlook.studies.study import Outcome, State, Study, plan_rows, plan_study, run_study, status_rows
from closerlook.studies.units import How, RegimeStudy, Training

FEWER = "give fewer studies, --seeds, or another --scale, or --allow-long to go ahead"
FEWER_REGIMES = "give fewer --batches, --learning-rates, --seeds or --steps, or --allow-long to go ahead"
FAILED = 2
"""Exit code where a part failed."""
MOST_SHOWN = 20
"""Parts of a study in its live table; more would not fit on a screen."""


@dataclass(frozen=True, kw_only=True)
class StudyCommand(Distributed):
    """Run the paper's figures by name: train what is missing, measure, draw, and judge the claims.

    Studies: fig1 to fig20 and table1 (of "A Closer Look at Deep Policy Gradients"), sample-regime (Figure 3 of its
    earlier version), all of them (all), or a YAML file of your own. --scale smoke takes a minute or two a figure,
    laptop a night on two cores, paper the paper's own numbers; --plan says what that is, and runs nothing. What figures
    share is trained and measured once. Agents of the repository's atlas count where they have the same settings.

    Leaves figures/, claims.json and report.html in its folder, with a folder for each training run (agents/) and each
    measurement (measured/). The same command goes on where it was interrupted; a study that has everything answers at
    once. --status tells from another terminal how far it has come.
    """

    former: ClassVar[Mapping[str, str]] = {"--long": "--allow-long"}

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="STUDY ...")]
    """Which studies: fig1 ... fig20, table1, sample-regime, all, or FILE.yaml."""
    scale: Scale = "laptop"
    """How large: smoke, laptop or paper."""
    plan: tyro.conf.FlagCreatePairsOff[bool] = False
    """Say what there is to do, in pairs, core-hours and disk, and run nothing."""
    status: tyro.conf.FlagCreatePairsOff[bool] = False
    """Say how far the study in the folder has come, also while it runs, and run nothing."""
    tasks: Annotated[tuple[str, ...] | None, option("ID ...", "the study's own")] = None
    """Gymnasium ids, module:Id, or hopper, walker2d, humanoid ..."""
    seeds: Annotated[int | None, option("INT", "the scale's")] = None
    """Agents of each task and algorithm."""
    batches: Annotated[tuple[int, ...], option("INT ...", "the scale's")] = ()
    """Of sample-regime: state-action pairs of an iteration."""
    learning_rates: Annotated[tuple[float, ...], option("FLOAT ...", "the scale's")] = ()
    """Of sample-regime: learning rates of the policy, at the first iteration."""
    steps: Annotated[int | None, option("INT", "the scale's")] = None
    """Of sample-regime: environment steps of each agent."""
    allow_long: bool = False
    """Go ahead with what would take more than a day."""
    seed: int = 0
    """Root seed."""

    @property
    def default_name(self) -> str:
        """Named after the scale: studies of one scale share what they can."""
        return "-".join(["study", *self.names]) if self._regimes_alone else f"study-{self.scale}"

    @property
    def _regimes_alone(self) -> bool:
        return self.names == ("sample-regime",)

    def run(self, console: Terminal) -> int:
        """Check everything that was asked; then plan, or tell, or do it."""
        if self.status:
            self._tell(console)
            return 0
        study = self._planned()
        if self.plan:
            rows = plan_rows(study)
            console.result(plan_summary(study, rows), plan_table(study, rows))
            return 0
        self._announce(study, console)
        board = _Board(console, self.crew, study)
        how = How(self.crew, self.resume, board.progress)
        outcome = run_study(study, how, watch=board.hear)
        regimes = [unit for unit in study.units if isinstance(unit, RegimeStudy) and unit.is_done]
        tables = [table_of(read_dataset(unit.file)) for unit in regimes]
        shown = [figure.columns for figure in study.figures if figure.preset.draw == "settings"]
        tables += (
            [settings_table([one.agents for columns in shown for one in columns if isinstance(one.agents, Training)])]
            if shown
            else []
        )
        tables += [endings_table(outcome.endings)] if outcome.endings else []
        tables += claims_tables(outcome.claims)
        console.result(self._summary(study, outcome, regimes), *tables)
        console.files(file for files in outcome.files.values() for file in files if file.suffix == ".png")
        if outcome.files:
            page = self.folder / "report.html"
            console.files([report(self.folder) if outcome.is_new or not page.is_file() else page])
        for label, reason in outcome.failed.items():
            console.note(f"failed: {label}: {reason}")
        return FAILED if outcome.failed else 0

    def _tell(self, console: Terminal) -> None:
        rows = status_rows(self.folder)
        table = make_table(
            f"study in {self.folder}",
            ["", "figures", "finished jobs", "state"],
            [
                [row.label, figures_in_short(row.figures), f"{row.jobs:,}" if row.jobs else "", row.state]
                for row in rows
            ],
        )
        units = [
            {"label": row.label, "figures": list(row.figures), "state": row.state, "jobs": row.jobs} for row in rows
        ]
        summary, tables = who_works(self.folder)
        console.result({"study": str(self.folder), "units": units, **summary}, table, *tables)

    def _planned(self) -> Study:
        """Lay out what is asked.

        Raises
        ------
        InputError
            Where that means nothing.
        """
        for name, number in (("seeds", self.seeds), ("steps", self.steps)):
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1 (got {number})", f"give --{name} 1 or more")
        if self.tasks is not None and len({environment_id(task) for task in self.tasks}) < max(1, len(self.tasks)):
            raise InputError("no task was given, or one twice", "give --tasks hopper, or others, each once")
        own = {"batches": self.batches, "learning_rates": self.learning_rates, "steps": self.steps}
        regimes = {name: value for name, value in own.items() if value not in {None, ()}}
        if regimes and "sample-regime" not in self.names:
            flag = "--" + next(iter(regimes)).replace("_", "-")
            raise InputError(
                f"{flag} is of sample-regime, which was not asked for", "leave it out, or write a YAML file"
            )
        return plan_study(
            self.names,
            self.scale,
            self.folder,
            seed=self.seed,
            tasks=self.tasks or (),
            seeds=self.seeds,
            regimes=regimes,
        )

    def _announce(self, study: Study, console: Terminal) -> None:
        """Say about how long all of it takes, and refuse what takes days unless it was asked for."""
        missing = [row for row in plan_rows(study) if row.state != "done" or not self.resume]
        seconds = sum(seconds_of(row.takes, row.environment, self.crew) for row in missing if row.takes)
        seconds += START_SECONDS * len(missing)  # of workers
        if not missing:
            return
        count = "1 part" if len(missing) == 1 else f"{len(missing)} parts"
        what = f"{count}, {sum(row.takes.pairs for row in missing if row.takes):,.0f} pairs"
        if seconds > LONG_SECONDS and not self.allow_long:
            hint = FEWER_REGIMES if self._regimes_alone else FEWER
            raise InputError(f"{', '.join(self.names)}: {what}, take about {duration(seconds)}", hint)
        console.note(f"{', '.join(self.names)}: {what}, about {duration(seconds)} in all")
        for unit in study.units:
            if isinstance(unit, RegimeStudy) and unit.regimes.short:
                batches = ", ".join(f"{batch:,}" for batch in unit.regimes.short)
                console.note(
                    f"a batch of {batches} pairs is one stream, begun anew each iteration: longer episodes never "
                    "count, so that its rewards do not compare with those of others"
                )

    def _summary(self, study: Study, outcome: Outcome, regimes: Sequence[RegimeStudy]) -> dict[str, Any]:
        found = {unit.task: regimes_summary(read_dataset(unit.file)) for unit in regimes}
        if self._regimes_alone and found:
            one = next(iter(found.values()))
            return one if len(found) == 1 else {"study": one["study"], "tasks": found}
        return {
            "study": [figure.preset.name for figure in study.figures],
            "scale": study.scale,
            "out": str(study.home),
            "figures": {name: [str(file) for file in some] for name, some in outcome.files.items()},
            "endings": [one.to_json() for one in outcome.endings],
            "claims": outcome.claims,
            "failed": dict(outcome.failed),
            **({"sample_regime": found} if found else {}),
        }


class _Bar(Bar):
    """The bar of one part, with the table of all parts below it."""

    drawn = WithTable
    table: Table | None = None

    def start(self, total_pairs: float, label: str) -> None:
        """Draw the bar and the table."""
        super().start(total_pairs, label)
        if isinstance(self._bar, WithTable):
            self._bar.table = self.table


class _Board:
    """What is shown while a study goes on: each part as it begins, and on a terminal a table of all below its bar."""

    def __init__(self, console: Terminal, workers: int, study: Study) -> None:
        self.console, self.workers, self.study = console, workers, study
        self.states: Mapping[str, State] = {}

    def hear(self, study: Study, states: Mapping[str, State], name: str) -> None:
        """Take in the states of all parts; say which begins."""
        self.states = dict(states)
        if states.get(name) == "runs":
            names = [unit.name for unit in study.units]
            at = names.index(name)
            self.console.note(f"{at + 1} of {len(names)}: {study.units[at].label}")

    def progress(self, what: str, environment: str, trained: int) -> Progress:
        """Make the bar of one part."""
        if what not in {unit.label for unit in self.study.units}:
            self.console.note(what)
        if trained:
            bar = PopulationBar(self.console, environment, self.workers, trained=trained)
            bar.below = self._table()
            return bar
        of_measurement = _Bar(self.console, environment, self.workers)
        of_measurement.table = self._table()
        return of_measurement

    def _table(self) -> Table:
        words = {"done": "done", "waits": "waiting", "failed": "failed"}
        counts = {word: sum(one == state for one in self.states.values()) for state, word in words.items()}
        title = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        rows = [
            [unit.label, figures_in_short(self.study.needed_by(unit)), self.states.get(unit.name, "")]
            for unit in self.study.units
            if self.states.get(unit.name) in {"runs", "waits", "failed"}
        ]
        return make_table(f"parts of the study: {title}", ["", "figures", "state"], rows[:MOST_SHOWN])
