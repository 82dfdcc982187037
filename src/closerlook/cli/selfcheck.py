"""``closerlook selfcheck``: every estimator on this machine against cases with known answers."""

from dataclasses import dataclass

import tyro

from closerlook.checkups.selfcheck import selfcheck
from closerlook.checkups.text import brief
from closerlook.cli.console import Terminal
from closerlook.drawing.tables import make_table

FAILED = 3
"""Exit code where an estimator is off."""


@dataclass(frozen=True, kw_only=True)
class Selfcheck:
    """Try every estimator on this machine against cases with known answers; about a minute.

    Numbers drawn from known distributions, sums by their definition, Adam beside torch's, the fast engine beside
    Gymnasium's environment, and a small chain that linear algebra answers. Exit code 3 where one is off.
    Leaves nothing.
    """

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on stdout, and everything else on stderr."""

    @property
    def folder(self) -> str:
        """Where results go: nowhere."""
        return ""

    def run(self, console: Terminal) -> int:
        """Try all, and print a table."""
        found = selfcheck()
        rows = [
            [
                one.estimator,
                brief(one.known),
                brief(one.found),
                f"{brief(one.low)} to {brief(one.high)}",
                "yes" if one.passed else "NO",
            ]
            for one in found
        ]
        table = make_table(
            "estimators beside known answers", ["estimator", "known", "found", "interval", "right"], rows
        )
        passed = all(one.passed for one in found)
        console.result({"passed": passed, "checks": [one.to_json() for one in found]}, table)
        return 0 if passed else FAILED
