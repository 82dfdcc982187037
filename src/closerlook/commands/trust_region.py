"""``closerlook trust-region``: does the step do what its constraint and its model promise."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from closerlook.algorithms.rules import Algorithm
from closerlook.commands.measuring import Measuring
from closerlook.commands.options import option
from closerlook.commands.trust_tables import tables_of
from closerlook.console import Bar, Shown
from closerlook.diagnostics.trust_region import summary, trust_region
from closerlook.figures import plot_trust_region, save_figure


@dataclass(frozen=True, kw_only=True)
class TrustRegion(Measuring):
    """Take an agent's update many times, and measure what each does to policy and reward.

    Each update has a batch of its own. Measures at the step it makes: divergences and ratios on that batch and on
    held-out pairs, the quadratic model of the divergence, the improvement that gradient and surrogate promise and the
    one that comes; how all of it grows over PPO's minibatches or what TRPO's conjugate gradient and line search leave;
    and how long a step would serve best. Appendix A.1 of "A Closer Look at Deep Policy Gradients", taken at its word.

    Leaves trust-region.nc, trust-region.json, trust-region.svg, trust-region.png and run.json in its folder.
    """

    kind: ClassVar[str] = "trust-region"

    repeats: int = 10
    """Independent updates."""
    pairs: int = 32_768
    """Held-out state-action pairs of each update; 1e5 is a whole number."""
    return_pairs: int = 20_000
    """State-action pairs of each policy whose true reward is measured; 0 for no true rewards."""
    multiples: Annotated[tuple[float, ...], option("FLOAT ...", "0.25 0.5 1 2 4")] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Of each step, at which divergence, surrogate and true reward are measured too; 1 is always among them."""
    step_pairs: Annotated[int | None, option("INT", "the agent's batch")] = None
    """Pairs that an update is computed from."""
    algo: Annotated[Algorithm | None, option("NAME", "the agent's own, else ppo")] = None
    """Whose update it is: ppo, trpo, natural, vanilla."""
    long: bool = False
    """Go ahead with what would take more than a day."""
    seed: int = 0
    """Root seed of the measurement."""

    def run(self, shown: Shown) -> None:
        """Measure, draw, and print."""
        agents = self.agents()
        mend = "" if self.long else "give fewer --repeats, --pairs or --return-pairs, or --long to go ahead"
        dataset = trust_region(
            agents,
            self.environment,
            repeats=self.repeats,
            pairs=self.pairs,
            return_pairs=self.return_pairs,
            multiples=self.multiples,
            step_pairs=self.step_pairs,
            algorithm=self.algo,
            seed=self.seed,
            workers=self.crew,
            out=self.folder,
            resume=self.resume,
            progress=Bar(shown, self.environment_name(agents), self.crew, too_long=mend),
        )
        save_figure(plot_trust_region(dataset), self.folder / "trust-region")
        found = summary(dataset)
        shown.result(found, *tables_of(dataset))
        shown.verdicts(found["verdicts"])
        shown.files(self.folder / f"trust-region.{suffix}" for suffix in ("nc", "json", "svg", "png"))
