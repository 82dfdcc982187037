"""``closerlook report``: any runs on one page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from closerlook.cli.console import Terminal
from closerlook.cli.options import option
from closerlook.pages.report import report


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write one offline HTML page about any runs.

    Takes folders that other commands left: measurements, training runs, checkups, studies, and any folder that holds
    such folders. Causes of checkups, claims and verdicts come first, then figures, tables, how it was made (versions,
    seeds, cost, the commands that repeat it), and the data, to be downloaded from the page.

    The page needs nothing from the network: it can be mailed, printed, read on a phone, by keyboard and screen reader,
    and with scripts switched off. It stays below 8 MB; data that it has no room for are named on it. Runs that are not
    finished are named too.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")]
    """Run folders, or folders that hold some."""
    out: Annotated[Path | None, option("FILE_OR_DIR", "report.html in the folder, or here where several are given")] = (
        None
    )
    """The page, or a folder for report.html."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one JSON object on stdout, and everything else on stderr."""

    @property
    def folder(self) -> str:
        """Where answers of jobs go: nowhere."""
        return ""

    def run(self, console: Terminal) -> None:
        """Write the page, and say where it is."""
        page = report(self.folders, self.out)
        console.text({"report": str(page), "bytes": page.stat().st_size}, str(page))
