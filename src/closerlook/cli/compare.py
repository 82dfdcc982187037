"""``closerlook compare``: two agents, or two populations, by every number of a checkup."""

import json
import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import tyro
from rich.table import Table

from closerlook.checkups.compare import Comparison, Difference, compare
from closerlook.checkups.text import brief
from closerlook.cli.console import Bar, Terminal
from closerlook.cli.measuring import OfAgents
from closerlook.cli.options import folder_name
from closerlook.drawing.tables import make_table
from closerlook.results.ownership import owned
from closerlook.results.store import as_json
from closerlook.results.writing import write_bytes


@dataclass(frozen=True, kw_only=True)
class Compare(OfAgents):
    """Compare two agents, checkpoints or populations by every number of a checkup, with intervals.

    Both are measured by the same plan, with the same draws where these can be shared. A run folder with several seeds
    is a population. The intervals of all differences hold together with 95%: a number whose interval leaves out 0 is
    known to differ.

    Leaves compare.json in its folder.
    """

    kind: ClassVar[str] = "compare"

    other: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="AGENT")]
    """The second agent, of any kind that the first may be."""
    minutes: float = 4.0
    """The budget for all agents together."""
    seed: int = 0
    """Root seed of the measurement."""

    @property
    def default_name(self) -> str:
        """Named after both."""
        return f"{super().default_name}-{folder_name(self.other)}"

    def run(self, console: Terminal) -> None:
        """Measure both, and print what differs."""
        left, right = self.read(anyway=True), replace(self, agent=self.other).read(anyway=True)
        imported = any(agent.origin is not None for agent in (*left, *right))
        name = self.environment or (left[0].environment.id if left[0].environment is not None else "the environment")
        with owned(self.folder):
            found = compare(
                left,
                right,
                None if imported else self.environment,
                minutes=self.minutes,
                seed=self.seed,
                workers=self.crew,
                progress=Bar(console, name, self.crew),
                names=(self.agent, self.other),
            )
            summary = as_json(found.to_json())
            write_bytes(self.folder / "compare.json", f"{json.dumps(summary, indent=2)}\n".encode())
        console.result(summary, _table(found))
        console.files([self.folder / "compare.json"])


def _difference(one: Difference) -> str:
    ends = "" if math.isnan(one.low) else f" ({brief(one.low, 2)} to {brief(one.high, 2)})"
    return f"{brief(one.difference)}{ends}"


def _table(found: Comparison) -> Table:
    rows = [
        [
            one.number.replace("_", " "),
            brief(one.left),
            brief(one.right),
            _difference(one),
            "yes" if one.known else "",
            "yes" if one.paired else "",
        ]
        for one in found.differences
    ]
    head = ["number", "first", "second", "difference", "known", "paired"]
    return make_table(f"{found.left} and {found.right} on {found.environment}", head, rows)
