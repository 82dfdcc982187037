"""``closerlook gradients``: how well independent estimates of the policy gradient agree."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from closerlook.agents.agent import Agent
from closerlook.agents.loading import find_agents
from closerlook.commands.gradient_tables import tables_of
from closerlook.commands.options import Output, environment_id, folder_name, option
from closerlook.console import Bar, Shown
from closerlook.diagnostics.gradient_quality import gradient_quality, summary
from closerlook.figures import plot_gradient_quality, save_figure
from closerlook.results.store import RunFolder


@dataclass(frozen=True, kw_only=True)
class Gradients(Output):
    """Measure how well independent estimates of the policy gradient agree.

    Samples a pool of state-action pairs with each agent, cuts it into disjoint estimates of several sizes, and takes
    the mean cosine similarity of all pairs of estimates: near 1 where estimates of that size hardly vary, near 0
    where they are mostly noise. This is Figure 1 of "A Closer Look at Deep Policy Gradients".

    Leaves gradients.nc, gradients.json, gradients.svg, gradients.png and run.json in its folder.
    """

    agent: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="AGENT")]
    """A run folder of closerlook, the folder of one checkpoint, or package.module:function returning an Agent."""
    env: Annotated[str | None, option("ID", "what the agent was trained on")] = None
    """Any Gymnasium id, module:Id, or hopper, walker2d, humanoid ..."""
    iteration: Annotated[tuple[int, ...], option("INT ...", "the last")] = ()
    """Checkpoints of a run folder, one or several."""
    agent_seed: Annotated[tuple[int, ...], option("INT ...", "all")] = ()
    """Agents of a run folder, one or several."""
    pairs: int = 1_000_000
    """State-action pairs sampled of each agent; 1e6 is a whole number."""
    estimates: int = 10
    """Disjoint estimates of each size, at least."""
    sizes: Annotated[tuple[int, ...], option("INT ...", "powers of two, and the training batch")] = ()
    """Pairs of an estimate, one or several sizes."""
    advantages: Annotated[
        Literal["normalised", "normalized", "raw"] | None, option("normalised|raw", "as the agent's algorithm does")
    ] = None
    """Whether advantages are standardised within each estimate."""
    lambdas: Annotated[tuple[float, ...], option("FLOAT ...", "none")] = ()
    """Also compare estimates by these lambdas of generalised advantage estimation, from the same pairs."""
    baselines: Annotated[tuple[Literal["critic", "zero"], ...], option("critic|zero ...", "critic")] = ()
    """With zero, also compare estimates with discounted returns in place of advantages, from the same pairs."""
    truths: Annotated[
        tuple[Literal["discounted_return", "episode_return"], ...],
        option("discounted_return|episode_return ...", "the surrogate's own gradient only"),
    ] = ()
    """Also compare estimates with the gradients of true returns; streams then go on past cuts: up to twice the work."""
    computed_steps: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also compare the updates that the algorithm makes of independent batches, from streams of their own."""
    step_sizes: Annotated[tuple[int, ...], option("INT ...", "the training batch, 4 times, 16 times ... as much")] = ()
    """Pairs of these batches, one or several sizes; implies --computed-steps."""
    algo: Annotated[
        Literal["ppo", "trpo", "natural", "vanilla"] | None, option("ppo|trpo|natural|vanilla", "the agent's own")
    ] = None
    """Whose update, with its default settings unless it is the agent's own; implies --computed-steps."""
    precision: Annotated[float | None, option("FLOAT", "none: sample --pairs")] = None
    """Sample only until the cosine is known to this much either way (half its 95% interval); --pairs is the most."""
    precision_size: Annotated[int | None, option("INT", "the training batch")] = None
    """Pairs of the estimates whose cosine that is."""
    seed: int = 0
    """Root seed of the measurement."""

    @property
    def default_name(self) -> str:
        """Named after the agent, and the part of a run folder that was asked for."""
        path = Path(self.agent)
        parts = [folder_name(path.resolve().name if path.exists() else self.agent)]
        parts += ["iteration", *map(str, self.iteration)] if self.iteration else []
        parts += ["seed", *map(str, self.agent_seed)] if self.agent_seed else []
        return "-".join(["gradients", *parts])

    def run(self, shown: Shown) -> None:
        """Measure, draw, and print."""
        agents = self.agents()
        environment = None if self.env is None else environment_id(self.env)
        trained_on = agents[0].environment
        name = environment or (trained_on.id if trained_on is not None else "unknown")
        if not self.resume:
            RunFolder(self.folder).forget()
        dataset = gradient_quality(
            agents,
            environment,
            pairs=self.pairs,
            estimates=self.estimates,
            sizes=self.sizes or None,
            advantages="normalised" if self.advantages == "normalized" else self.advantages,
            lambdas=self.lambdas,
            baselines=self.baselines,
            truths=self.truths,
            computed_steps=self.computed_steps,
            step_sizes=self.step_sizes or None,
            algo=self.algo,
            precision=self.precision,
            precision_size=self.precision_size,
            seed=self.seed,
            workers=self.crew,
            out=self.folder,
            progress=Bar(shown, name, self.crew),
        )
        save_figure(plot_gradient_quality(dataset), self.folder / "gradients")
        found = summary(dataset)
        shown.result(found, *tables_of(dataset))
        shown.verdicts(found["verdicts"])
        shown.files(self.folder / f"gradients.{suffix}" for suffix in ("nc", "json", "svg", "png"))

    def agents(self) -> list[Agent]:
        """Load every agent that was asked for, by iteration and seed."""
        return [
            agent
            for iteration in self.iteration or (None,)
            for seed in self.agent_seed or (None,)
            for agent in find_agents(self.agent, iteration=iteration, seed=seed)
        ]
