"""``closerlook atlas``: train and pack the agents that the repository keeps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from closerlook.agents.loading import atlas_folder
from closerlook.cli.console import Terminal
from closerlook.cli.live import PopulationBar
from closerlook.cli.options import Output, option
from closerlook.drawing.tables import make_table
from closerlook.monitor.critic_audit import CriticAudit
from closerlook.monitor.trust_audit import TrustRegionAudit
from closerlook.training.atlas import Entry, names_of, require_free_folder, require_small, size_of, train_entry


@dataclass(frozen=True, kw_only=True)
class Atlas(Output):
    """Train the agents of the atlas, and pack them.

    Ten seeds of each column of Table 1, PPO and TRPO on Hopper, Walker2d and Humanoid: seeds 0 to 9 of --preset paper,
    and for the columns that end in -v2 seeds 10 to 19 of --preset paper-v2, their critics and trust regions audited.
    The whole takes hours; given again, the command goes on where it was interrupted. Afterwards atlas/walker2d-ppo
    names an agent for every other command.
    """

    out: Annotated[Path | None, option("DIR", "atlas/ beside the sources")] = None
    """Folder of the packed atlas."""
    columns: Annotated[
        tuple[str, ...], tyro.conf.Positional, option("COLUMN ...", "all that the repository keeps")
    ] = ()
    """Which columns, for example walker2d-ppo or walker2d-ppo-v2."""
    runs: Path = Path("runs/atlas")
    """Folder of the training runs."""
    seeds: int = 10
    """Agents of each column."""
    steps: int = 1_000_000
    """Environment steps of each agent."""

    @property
    def folder(self) -> Path:
        """The packed atlas, beside the sources where no other place is given."""
        return self.out if self.out is not None else atlas_folder()

    @property
    def default_name(self) -> str:
        """Name of the folder where none is given."""
        return "atlas"

    def run(self, console: Terminal) -> None:
        """Train and pack, one column after the other."""
        entries = [Entry(name, self.seeds, self.steps) for name in names_of(self.columns)]
        for entry in entries:
            require_free_folder(entry, runs=self.runs, atlas=self.folder, resume=self.resume)
        rows = []
        for entry in entries:
            settings = entry.settings
            bar = PopulationBar(console, settings.spec.id, self.crew, trained=settings.seeds)
            console.note(f"atlas/{entry.name}")
            packed = train_entry(
                entry,
                runs=self.runs,
                atlas=self.folder,
                workers=self.crew,
                resume=self.resume,
                progress=bar,
                audits=(CriticAudit(), TrustRegionAudit()),
            )
            rows.append((entry.name, size_of(packed)))
        require_small(self.folder)
        table = make_table("Atlas", ["column", "MB"], [[name, f"{size / 1e6:.2f}"] for name, size in rows])
        console.result({"out": str(self.folder), "bytes": size_of(self.folder), "columns": dict(rows)}, table)
        console.files([self.folder])
