"""``closerlook study``: the paper's experiments that train many agents, as one command each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import tyro
from rich.table import Table

from closerlook.arguments import environment_id
from closerlook.cli.console import Bar, Terminal, duration, usual_rate
from closerlook.cli.live import PopulationBar
from closerlook.cli.options import Output, option
from closerlook.drawing.style import save_figure
from closerlook.drawing.tables import make_table
from closerlook.errors import InputError
from closerlook.execution import Progress
from closerlook.studies.regime_figure import plot_sample_regime
from closerlook.studies.sample_regime import Regimes, preset_of, sample_regime, summary

StudyName = Literal["sample-regime"]
Scale = Literal["smoke", "laptop", "paper"]
FACTORS = (0.25, 0.5, 1.0, 2.0)
"""Learning rates, as multiples of the task's own."""
SCALES: Mapping[str, Mapping[str, Any]] = {
    "smoke": {"batches": (64, 128), "seeds": 3, "steps": 4096, "estimates": 2},
    "laptop": {"batches": (2048, 4096, 8192, 16384), "seeds": 4, "steps": 1_000_000, "estimates": 10},
    "paper": {"batches": (2048, 4096, 8192, 12288, 16384, 20480), "seeds": 8, "steps": 10_000_000, "estimates": 10},
}
FEWER = "give fewer --batches, --learning-rates, --seeds or --steps, or --allow-long to go ahead"
PAPER_RATES = (5e-5, 7.5e-5, 1e-4, 1.25e-4)
"""Of the earlier version's figure, on Humanoid."""


@dataclass(frozen=True, kw_only=True)
class Study(Output):
    """Run an experiment of the paper that trains many agents.

    sample-regime: PPO over pairs of an iteration and learning rates (Figure 3 of the paper's earlier version), final
    and peak reward with intervals over seeds, and how well gradient estimates agree in each regime. --scale
    paper takes the figure's own grid; laptop 4 x 4 settings x 4 seeds of a million steps; smoke seconds.

    Leaves a folder for each task with sample-regime.nc, .json, .svg, .png and the runs. With --json several tasks are
    one object, by task.
    """

    former: ClassVar[Mapping[str, str]] = {"--long": "--allow-long"}

    names: Annotated[tuple[StudyName, ...], tyro.conf.Positional, tyro.conf.arg(metavar="STUDY ...")]
    """Which studies: sample-regime."""
    tasks: Annotated[tuple[str, ...], option("ID ...", "hopper")] = ("hopper",)
    """Gymnasium ids, module:Id, or hopper, walker2d, humanoid ..."""
    scale: Scale = "laptop"
    """How large: smoke, laptop or paper."""
    batches: Annotated[tuple[int, ...], option("INT ...", "the scale's")] = ()
    """State-action pairs of an iteration."""
    learning_rates: Annotated[tuple[float, ...], option("FLOAT ...", "the scale's")] = ()
    """Of the policy, at the first iteration."""
    seeds: Annotated[int | None, option("INT", "the scale's")] = None
    """Agents of each setting."""
    steps: Annotated[int | None, option("INT", "the scale's")] = None
    """Environment steps of each agent."""
    allow_long: bool = False
    """Go ahead with what would take more than a day."""
    seed: int = 0
    """Root seed."""

    @property
    def default_name(self) -> str:
        """Named after the studies."""
        return "-".join(["study", *self.names])

    def run(self, console: Terminal) -> None:
        """Check everything that was asked, then train, measure and draw, one task after the other; print at the end."""
        self._check()
        asked = {task: self._regimes(task) for task in self.tasks}
        for task, regimes in asked.items():
            regimes.require_possible()
            self._announce(environment_id(task), regimes, console)
        datasets = {task: self._study(task, regimes, console) for task, regimes in asked.items()}
        found = {task: summary(dataset) for task, dataset in datasets.items()}
        one = next(iter(found.values()))
        tables = [table_of(dataset) for dataset in datasets.values()]
        console.result(one if len(found) == 1 else {"study": one["study"], "tasks": found}, *tables)

    def _check(self) -> None:
        """Refuse a command that names nothing to do.

        Raises
        ------
        InputError
            Where no study or no task is named, one is named twice, or there are no seeds or steps.
        """
        if len(set(self.names)) != 1:
            raise InputError("no study was named", f"give one of: {', '.join(get_args(StudyName))}")
        if not self.tasks or len({environment_id(task) for task in self.tasks}) < len(self.tasks):
            raise InputError("no task was given, or one twice", "give --tasks hopper, or others, each once")
        for name, number in (("seeds", self.seeds), ("steps", self.steps)):
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1 (got {number})", f"give --{name} 1 or more")

    def _study(self, task: str, regimes: Regimes, console: Terminal) -> Any:
        name, folder = environment_id(task), self.folder / task.replace(":", "-")
        dataset = sample_regime(
            regimes,
            out=folder,
            workers=self.crew,
            resume=self.resume,
            make_progress=lambda *run: self._bar(console, name, *run),
        )
        save_figure(plot_sample_regime(dataset), folder / "sample-regime")
        console.files(Path(folder / f"sample-regime.{suffix}") for suffix in ("nc", "json", "svg", "png"))
        return dataset

    def _regimes(self, task: str) -> Regimes:
        scale = dict(SCALES[self.scale])
        own = preset_of(task).ppo.policy_learning_rate
        rates = PAPER_RATES if self.scale == "paper" else tuple(own * factor for factor in FACTORS)
        chosen = {"batches": self.batches, "seeds": self.seeds, "steps": self.steps}
        return Regimes(
            environment=task,
            learning_rates=self.learning_rates or rates,
            seed=self.seed,
            **scale | {name: value for name, value in chosen.items() if value not in {None, ()}},
        )

    def _announce(self, name: str, regimes: Regimes, console: Terminal) -> None:
        """Say how long all of it takes, about, and refuse what takes days unless it was asked for."""
        pace = usual_rate(name, self.crew, regimes.seeds)
        bar = Bar(console, name, self.crew, trained=regimes.seeds, too_long="" if self.allow_long else FEWER)
        bar.require_short(regimes.pairs, f"sample regimes of {name}")
        runs = len(regimes.batches) * len(regimes.learning_rates)
        console.note(
            f"sample regimes: {runs} runs, {regimes.pairs:,} pairs, about {duration(regimes.pairs / pace)} in all"
        )

        if regimes.short:
            console.note(
                f"a batch of {', '.join(f'{batch:,}' for batch in regimes.short)} pairs is one stream, begun anew each "
                "iteration: longer episodes never count, so that its rewards do not compare with those of others"
            )

    def _bar(self, console: Terminal, name: str, label: str, streams: int) -> Progress:
        console.note(label)
        return PopulationBar(console, name, self.crew, trained=streams) if streams else Bar(console, name, self.crew)


def table_of(dataset: Any) -> Table:
    """Lay out every regime."""
    title = f"{dataset.attrs['environment']}: {dataset.attrs['steps']:,} steps, {dataset.sizes['regime_seed']} seeds"
    columns = ["pairs an\niteration", "learning\nrate", "final", "95% interval", "peak", "decline", "cosine"]
    rows = []
    for batch in dataset["batch_pairs"].values:
        for rate in dataset["learning_rate"].values:
            here = dataset.sel(batch_pairs=batch, learning_rate=rate)
            value = {name: float(here[f"regime_{name}_mean"]) for name in ("final", "peak", "decline", "cosine")}
            low, high = (float(here[f"regime_final_mean{end}"]) for end in ("_low", "_high"))
            cells = [f"{value['final']:,.0f}", f"{low:,.0f} to {high:,.0f}", f"{value['peak']:,.0f}"]
            cells += [f"{value['decline']:,.0f}", f"{value['cosine']:.2f}"]
            rows.append([f"{batch:,}", f"{rate:.3g}", *(cell if "nan" not in cell else "-" for cell in cells)])
    failed = int(dataset["regime_failed"].sum()) if "regime_failed" in dataset else 0
    table = make_table(title, columns, rows)
    table.caption = (
        f"{failed} of {len(rows)} settings failed with numbers that are not finite (dashes)." if failed else None
    )
    return table
