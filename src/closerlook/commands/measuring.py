"""What commands that measure agents share: which agents, where they act, what the folder is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from closerlook.agents.agent import Agent
from closerlook.agents.loading import find_agents
from closerlook.arguments import environment_id
from closerlook.commands.options import Output, folder_name, option


@dataclass(frozen=True, kw_only=True)
class Measuring(Output):
    """Agents to measure."""

    kind: ClassVar[str]
    """What is measured: the first part of the folder's name."""

    agent: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="AGENT")]
    """A run folder of closerlook (atlas/hopper-ppo is one), the folder of one checkpoint, or package.module:function
    returning an Agent."""
    env: Annotated[str | None, option("ID", "what the agent was trained on")] = None
    """Any Gymnasium id, module:Id, package.module:function, or hopper, walker2d, humanoid ..."""
    iteration: Annotated[tuple[int, ...], option("INT ...", "the last")] = ()
    """Checkpoints of a run folder, one or several."""
    agent_seed: Annotated[tuple[int, ...], option("INT ...", "all")] = ()
    """Agents of a run folder, one or several."""

    @property
    def default_name(self) -> str:
        """Named after the agent, and the part of a run folder that was asked for."""
        path = Path(self.agent)
        parts = [folder_name(path.resolve().name if path.exists() else self.agent)]
        parts += ["iteration", *map(str, self.iteration)] if self.iteration else []
        parts += ["seed", *map(str, self.agent_seed)] if self.agent_seed else []
        return "-".join([self.kind, *parts])

    @property
    def environment(self) -> str | None:
        """The environment's id, None where none is given."""
        return None if self.env is None else environment_id(self.env)

    def environment_name(self, agents: Sequence[Agent]) -> str:
        """Return the id of the environment that agents are measured on, for messages."""
        trained_on = agents[0].environment
        return self.environment or (trained_on.id if trained_on is not None else "unknown")

    def agents(self) -> list[Agent]:
        """Load every agent that was asked for, by iteration and seed."""
        return [
            agent
            for iteration in self.iteration or (None,)
            for seed in self.agent_seed or (None,)
            for agent in find_agents(self.agent, iteration=iteration, seed=seed)
        ]
