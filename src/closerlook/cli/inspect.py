"""``closerlook inspect``: what is in a file, what was assumed, and whether it is the agent that was trained."""

import json
from dataclasses import dataclass
from typing import ClassVar

from closerlook.cli.console import Terminal
from closerlook.cli.identity import say_origin, table_of
from closerlook.cli.measuring import OfAgents
from closerlook.inspection import inspect
from closerlook.results.store import as_json
from closerlook.results.writing import write_bytes


@dataclass(frozen=True, kw_only=True)
class Inspect(OfAgents):
    """Say what is in an agent's file, what was assumed, what is missing, and whether it is the agent that was trained.

    Nothing in the file is run. Complete episodes are played with drawn actions, with the likeliest and with random
    ones, and compared with the returns that the file or its surroundings recorded; standardized observations are
    compared with their statistics, and values with returns. Never refuses an agent it can read.

    Leaves inspect.json in its folder.
    """

    kind: ClassVar[str] = "inspect"

    episodes: int = 30
    """Complete episodes of each kind of action."""
    seed: int = 0
    """Root seed of the measurement."""

    def run(self, console: Terminal) -> None:
        """Inspect, and print."""
        found = []
        for agent in self.read(anyway=True):
            say_origin(agent, console)
            found.append(inspect(agent, self.environment, episodes=self.episodes, seed=self.seed))
        summaries = [as_json(one.to_json()) for one in found]
        summary = summaries[0] if len(summaries) == 1 else {"agents": summaries}
        write_bytes(self.folder / "inspect.json", f"{json.dumps(summary, indent=2)}\n".encode())
        console.result(summary, *(table_of(one) for one in found))
        console.files([self.folder / "inspect.json"])
