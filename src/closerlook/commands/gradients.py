"""``closerlook gradients``: how well independent estimates of the policy gradient agree."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro

from closerlook.commands.gradient_tables import tables_of
from closerlook.commands.measuring import Measuring
from closerlook.commands.options import option
from closerlook.console import Bar, Shown
from closerlook.diagnostics.gradients import gradient_quality, summary
from closerlook.figures import plot_gradient_quality, save_figure


@dataclass(frozen=True, kw_only=True)
class Gradients(Measuring):
    """Measure how well independent estimates of the policy gradient agree.

    Samples a pool of state-action pairs with each agent, cuts it into disjoint estimates of several sizes, and takes
    the mean cosine similarity of all pairs of estimates: near 1 where estimates of that size hardly vary, near 0
    where they are mostly noise. This is Figure 1 of "A Closer Look at Deep Policy Gradients".

    Leaves gradients.nc, gradients.json, gradients.svg, gradients.png and run.json in its folder.
    """

    kind: ClassVar[str] = "gradients"

    pairs: int = 1_000_000
    """State-action pairs sampled of each agent; 1e6 is a whole number."""
    estimates: int = 10
    """Disjoint estimates of each size, at least."""
    sizes: Annotated[
        tuple[int, ...],
        option("INT ...", "powers of two, the training batch, and the largest that gives --estimates"),
    ] = ()
    """Pairs of an estimate, one or several sizes."""
    advantages: Annotated[
        Literal["normalised", "normalized", "raw"] | None, option("normalised|raw", "as the agent's algorithm does")
    ] = None
    """Whether advantages are standardised within each estimate."""
    lambdas: Annotated[tuple[float, ...], option("FLOAT ...", "none")] = ()
    """Also compare estimates by these lambdas of generalised advantage estimation, from the same pairs."""
    baselines: Annotated[tuple[Literal["critic", "returns"], ...], option("critic|returns ...", "critic")] = ()
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
    long: bool = False
    """Go ahead with what would take more than a day."""
    seed: int = 0
    """Root seed of the measurement."""

    def run(self, shown: Shown) -> None:
        """Measure, draw, and print."""
        agents = self.agents()
        mend = "" if self.long else "give fewer --pairs, or --long to go ahead"
        dataset = gradient_quality(
            agents,
            self.environment,
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
            resume=self.resume,
            progress=Bar(shown, self.environment_name(agents), self.crew, too_long=mend),
        )
        save_figure(plot_gradient_quality(dataset), self.folder / "gradients")
        found = summary(dataset)
        shown.result(found, *tables_of(dataset))
        shown.verdicts(found["verdicts"])
        shown.files(self.folder / f"gradients.{suffix}" for suffix in ("nc", "json", "svg", "png"))
