"""``closerlook lint``: a training batch recomputed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from closerlook.cli.console import Terminal
from closerlook.drawing.tables import make_table
from closerlook.monitor.batch import Batch
from closerlook.monitor.checks import Findings
from closerlook.monitor.lint import lint


@dataclass(frozen=True, kw_only=True)
class Lint:
    """Recompute a training batch: advantages, returns, log-probabilities, flags.

    Reads an .npz file that cl.Batch(...).save wrote, or numpy.savez with the same names, and says of each check
    whether it is ok, a problem, or unknown because the file lacks what it takes: with the first step and environment
    that differ, and the usual mistake that explains it. Leaves nothing.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="BATCH.npz")]
    """The batch."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on stdout, and everything else on stderr."""

    @property
    def folder(self) -> str:
        """Where results go: nowhere."""
        return ""

    def run(self, console: Terminal) -> None:
        """Recompute, and print."""
        found = lint(Batch.load(self.file))
        console.result(found.to_json(), *_tables(found))
        console.verdicts(
            [
                {"level": check.level, "statement": f"{check.check}: {check.statement}.", "advice": check.advice}
                for check in found.faults
            ]
        )


def _tables(found: Findings) -> list:  # type: ignore[type-arg]
    rows = [
        [
            check.check,
            check.level.replace("_", " "),
            "" if check.first_step is None else str(check.first_step),
            "" if check.first_environment is None else str(check.first_environment),
            check.diagnosis.replace("_", " "),
        ]
        for check in found.checks
    ]
    return [make_table("the batch, recomputed", ["check", "level", "step", "environment", "diagnosis"], rows)]
