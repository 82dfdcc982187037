"""The live table of a population in training: how each agent did lately, below the bar."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.progress import Progress
from rich.table import Table

from closerlook.cli.console import Bar
from closerlook.drawing.tables import make_table
from closerlook.training.log import Row

COLUMNS = {
    "mean_reward": ("reward", "{:,.0f}"),
    "mean_length": ("length", "{:,.0f}"),
    "mean_kl": ("mean KL", "{:.3f}"),
    "max_ratio": ("max ratio", "{:.1f}"),
    "entropy": ("entropy", "{:.2f}"),
    "explained_variance_returns": ("value expl. var.", "{:.2f}"),
}
"""Columns of the log, and how they are shown."""

MOST_AGENTS = 20
"""Rows of the table; more would not fit on a screen."""


class WithTable(Progress):
    """A progress bar with a table below it."""

    table: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """List what is drawn."""
        yield from super().get_renderables()
        if self.table is not None:
            yield self.table


class PopulationBar(Bar):
    """Progress of a training run, with a table of its agents while it goes on."""

    drawn = WithTable
    below: RenderableType | None = None
    """What stands below all, where the run is a part of something larger."""

    def start(self, total_pairs: float, label: str) -> None:
        """Draw the bar, and what stands below it."""
        super().start(total_pairs, label)
        self._show(None)

    def report(self, rows: Sequence[Row]) -> None:
        """Take in the log of a segment."""
        if rows:
            self._show(population_table(rows))

    def _show(self, table: Table | None) -> None:
        shown = [one for one in (table, self.below) if one is not None]
        if isinstance(self._bar, WithTable) and shown:
            self._bar.table = Group(*shown)


def population_table(rows: Sequence[Row]) -> Table:
    """Lay out the means of some iterations for each agent, and what was unusual in the last of them."""
    seeds = sorted({int(row["agent_seed"]) for row in rows})
    lines = [_line([row for row in rows if row["agent_seed"] == seed]) for seed in seeds[:MOST_AGENTS]]
    first, last = (f(int(row["iteration"]) for row in rows) for f in (min, max))
    title = f"iterations {first} to {last}" + (f", first {MOST_AGENTS} agents" if len(seeds) > MOST_AGENTS else "")
    return make_table(title, ["agent", *(heading for heading, _ in COLUMNS.values()), "notes"], lines)


def _line(own: Sequence[Row]) -> list[str]:
    cells = [_mean([row[column] for row in own], form) for column, (_, form) in COLUMNS.items()]
    return [f"seed {own[0]['agent_seed']:.0f}", *cells, own[-1]["notes"]]


def _mean(values: Sequence[float], form: str) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return form.format(np.mean(finite)) if finite else ""
