"""``closerlook checkup``: what is wrong with an agent, and what to change, in ten minutes."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from closerlook.checkups import Checkup as Found
from closerlook.checkups import checkup
from closerlook.checkups.answer import ORDER
from closerlook.checkups.choices import returns_of_seeds
from closerlook.checkups.text import WIDTH, written
from closerlook.cli.console import Bar, Terminal
from closerlook.cli.measuring import OfAgents
from closerlook.cli.options import Distributed, option
from closerlook.errors import InputError

REACHED, INTERRUPTED = 3, 130
"""Exit codes: the level of --fail-on was reached; Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class Checkup(OfAgents, Distributed):
    """Say what is wrong with an agent, and what to change.

    Checks run in layers, cheapest first: is it the agent that was trained, does it earn more than chance, inputs,
    actions, discount and batch, critic, update, gradient, network. The earliest fault that explains the others is the
    cause. Advice is in the settings of the library that trained the agent. Nothing in the file is run.

    Leaves checkup.json, run.json and with --html checkup.html in its folder. Ctrl-C shows the answer so far. Exit
    codes: 0 done, 2 bad input, 3 the level of --fail-on was reached, 130 interrupted.
    """

    kind: ClassVar[str] = "checkup"

    minutes: float = 10.0
    """The budget: a short trial turns it into pairs once, and it ends earlier where nothing is left open."""
    expect_return: Annotated[float | None, option("FLOAT", "what was recorded in training")] = None
    """What the agent earned with drawn actions when it was trained."""
    batch: Annotated[Path | None, option("FILE.npz", "none")] = None
    """A batch of its training, which is recomputed; see closerlook lint."""
    fail_on: Annotated[Literal["problem", "watch"] | None, option("problem|watch", "never")] = None
    """Level at which the command ends with exit code 3."""
    limits: Annotated[Path | None, option("FILE", "those of closerlook")] = None
    """YAML in place of parts of closerlook's limits.yaml."""
    html: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write checkup.html too, one offline page with a picture a layer."""
    seed: int = 0
    """Root seed of the measurement."""

    def run(self, console: Terminal) -> int:
        """Check up, and print."""
        agents = self.read(anyway=True)
        if len(agents) != 1:
            raise InputError(f"{self.agent} holds {len(agents)} agents", "choose one (--iteration, --agent-seed)")
        environment = None if agents[0].origin is not None else self.environment
        trained_on = agents[0].environment
        name = environment or (trained_on.id if trained_on is not None else "the environment")
        found = checkup(
            agents[0],
            environment,
            minutes=self.minutes,
            batch=self.batch,
            expect_return=self.expect_return,
            limits=self.limits,
            seed=self.seed,
            workers=self.crew,
            out=self.folder,
            resume=self.resume,
            progress=Bar(console, name, self.crew),
            name=self.agent,
            seed_returns=returns_of_seeds(self.agent),
        )
        for notice in found.notices:
            console.note(f"note: {notice}")
        console.text(found.to_json(), written(found, max(WIDTH, min(shutil.get_terminal_size().columns, 120))))
        files = [self.folder / "checkup.json"]
        if self.html:
            files.append(found.to_html(self.folder / "checkup.html"))
        console.files(files)
        return self._code(found)

    def _code(self, found: Found) -> int:
        if found.interrupted:
            return INTERRUPTED
        reached = self.fail_on is not None and ORDER.index(found.level) >= ORDER.index(self.fail_on)
        return REACHED if reached else 0
