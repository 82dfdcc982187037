"""``closerlook landscape``: does the surrogate point where the true reward is."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from closerlook.agents.agent import Agent
from closerlook.agents.loading import find_agents
from closerlook.algorithms.rules import Algorithm
from closerlook.commands.landscape_tables import tables_of
from closerlook.commands.measuring import Measuring
from closerlook.commands.options import option
from closerlook.console import Bar, Shown
from closerlook.diagnostics.landscape import landscape, summary
from closerlook.diagnostics.landscape.request import AxisName, Draws
from closerlook.figures import plot_budgets, plot_landscape, save_figure
from closerlook.report.landscape import write_page


@dataclass(frozen=True, kw_only=True)
class Landscape(Measuring):
    """Compare the surrogate's landscape with that of the true reward, around an agent.

    Computes the update that the agent's algorithm makes of a batch, and evaluates surrogate and true reward on the
    plane of that step and a random direction, and along the step alone: where each rises, how they agree, how far the
    step may go. These are Figures 5, 6, 7 and 13 to 20 of "A Closer Look at Deep Policy Gradients".

    Leaves landscape.nc, landscape.json, landscape.svg, landscape.png, landscape.html and run.json in its folder; and
    budgets.svg and budgets.png where the pairs of a point make more than one budget (see landscape's documentation).
    """

    kind: ClassVar[str] = "landscape"

    pairs: int = 20_000
    """State-action pairs of each point of the plane; 2e4 is a whole number."""
    line_pairs: Annotated[int | None, option("INT", "ten times --pairs")] = None
    """State-action pairs of each point along the first axis."""
    heldout_pairs: int = 65_536
    """Pairs that the step has not seen, to evaluate surrogates on as well."""
    gradient_pairs: int = 200_000
    """Pairs that the axis gradient is estimated from."""
    grid: int = 13
    """Points along each axis."""
    range: Annotated[tuple[float, float], tyro.conf.arg(metavar="FROM TO")] = (0.0, 3.0)
    """Multiples along each axis; 0, the agent itself, is always among them."""
    axes: Annotated[tuple[AxisName, ...], option("AXIS [AXIS]", "step random")] = ("step", "random")
    """Two for a plane, one for a line: step, gradient, random, filter (random, each filter as long as the agent's),
    difference (to the checkpoint of --towards)."""
    towards: Annotated[int | None, option("INT", "none")] = None
    """Iteration of the checkpoint that the axis difference leads to."""
    step_pairs: Annotated[int | None, option("INT", "the agent's batch")] = None
    """Pairs that the step is computed from."""
    algo: Annotated[Algorithm | None, option("NAME", "the agent's own, else ppo")] = None
    """Whose update the step is: ppo, trpo, natural, vanilla."""
    draws: Draws = "common"
    """Whether all points share their random numbers, which narrows the intervals of differences, or have their own."""
    long: bool = False
    """Go ahead with what would take more than a day."""
    seed: int = 0
    """Root seed of the measurement."""

    def run(self, shown: Shown) -> None:
        """Measure, draw, and print."""
        agents = self.agents()
        mend = "" if self.long else "give fewer --pairs or a smaller --grid, or --long to go ahead"
        dataset = landscape(
            agents,
            self.environment,
            pairs=self.pairs,
            line_pairs=self.line_pairs,
            heldout_pairs=self.heldout_pairs,
            gradient_pairs=self.gradient_pairs,
            grid=self.grid,
            range=self.range,
            axes=self.axes,
            step_pairs=self.step_pairs,
            algorithm=self.algo,
            towards=self._others(agents),
            draws=self.draws,
            seed=self.seed,
            workers=self.crew,
            out=self.folder,
            resume=self.resume,
            progress=Bar(shown, self.environment_name(agents), self.crew, too_long=mend),
        )
        save_figure(plot_landscape(dataset), self.folder / "landscape")
        files = [self.folder / f"landscape.{suffix}" for suffix in ("nc", "json", "svg", "png", "html")]
        if dataset.sizes["budget"] > 1 and dataset.sizes["random"] > 1:
            files += save_figure(plot_budgets(dataset), self.folder / "budgets")
        write_page(dataset, self.folder / "landscape.html")
        found = summary(dataset)
        shown.result(found, *tables_of(dataset))
        shown.verdicts(found["verdicts"])
        shown.files(files)

    def _others(self, agents: list[Agent]) -> list[Agent]:
        """Return the agents that the axis difference leads to, each of the same seed as its own."""
        if self.towards is None:
            return []
        return [
            other
            for agent in agents
            for other in find_agents(self.agent, iteration=self.towards, seed=agent.agent_seed)
        ]
