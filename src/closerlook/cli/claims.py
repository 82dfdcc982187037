"""``closerlook claims``: what data say of the paper's statements, or of a user's own."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from closerlook.cli.console import Terminal
from closerlook.cli.options import option
from closerlook.cli.study_tables import CLAIM_MARKS, claims_tables
from closerlook.errors import InputError
from closerlook.studies.claims import load_claims
from closerlook.studies.found import find_results
from closerlook.studies.judging import judged


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Judge statements by what was measured: each holds, does not hold, lacks data, or was not tested.

    A claim has a statistic and a decision rule, written down with its day; beside it stands the day on which the data
    were measured. The paper's claims come with closerlook; --claims takes a YAML file of your own, in the same form.
    Folders are those of measurements, of training runs, or of studies, whatever is in them.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")]
    """Run folders, or folders of such; a .nc file is a dataset by itself."""
    claims: Annotated[Path | None, option("FILE.yaml", "the paper's")] = None
    """Claims of your own."""
    tested: tyro.conf.FlagCreatePairsOff[bool] = False
    """Leave out claims that these data do not test."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on stdout, and everything else on stderr."""

    @property
    def folder(self) -> str:
        """Nothing is written."""
        return ""

    def run(self, console: Terminal) -> None:
        """Judge, and print."""
        if not self.folders:
            raise InputError("no folder was given", "give the folder of a measurement, of a study or of a training run")
        rows = judged(load_claims(self.claims), find_results(self.folders))
        rows = [row for row in rows if not self.tested or row["mark"] != "not_tested"]
        console.result({"claims": rows}, *claims_tables(rows))
        counts: Mapping[str, int] = Counter(row["mark"] for row in rows)
        console.note(", ".join(f"{words}: {counts[mark]}" for mark, words in CLAIM_MARKS.items() if counts.get(mark)))
