"""``closerlook values``: how well a critic predicts, and what it is worth as a baseline."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from closerlook.commands.measuring import Measuring
from closerlook.commands.options import option
from closerlook.commands.value_tables import tables_of
from closerlook.console import Bar, Shown
from closerlook.diagnostics.values import summary, value_prediction
from closerlook.figures import plot_value_prediction, save_figure


@dataclass(frozen=True, kw_only=True)
class Values(Measuring):
    """Measure how well the critic predicts values, and what it is worth as a baseline.

    Fits a value V* to returns of fresh pairs: the best critic there is. Then judges the agent's critic, after updates
    on batches of its own and as it is, on held-out pairs beside it; compares gradient estimates with each baseline and
    by each lambda; and restarts the simulator from some states, to tell bias from noise. These are Figures 3, 4, 11
    and 12 of "A Closer Look at Deep Policy Gradients".

    Leaves values.nc, values.json, values.svg, values.png and run.json in its folder.
    """

    kind: ClassVar[str] = "values"

    pairs: int = 1_000_000
    """State-action pairs that everything is judged on, for each agent; 1e6 is a whole number."""
    fit_pairs: int = 1_000_000
    """State-action pairs that V* is fitted to, on disk while it is; 0 leaves V* out."""
    estimates: int = 10
    """Disjoint gradient estimates of each size, at least."""
    sizes: Annotated[tuple[int, ...], option("INT ...", "powers of two from 512, and the training batch")] = ()
    """Pairs of a gradient estimate, one or several sizes."""
    lambdas: Annotated[tuple[float, ...], option("FLOAT ...", "nine from 0 to 1")] = ()
    """Lambdas of generalised advantage estimation to compare; the agent's own always belongs to them."""
    updates: int = 8
    """Independent updates of the critic that are judged."""
    restarts: int = 32
    """States that the simulator is restarted from; 0 leaves bias and noise together."""
    restart_copies: int = 16
    """Restarts from each of these states."""
    long: bool = False
    """Go ahead with what would take more than a day."""
    seed: int = 0
    """Root seed of the measurement."""

    def run(self, shown: Shown) -> None:
        """Measure, draw, and print."""
        agents = self.agents()
        mend = "" if self.long else "give fewer --pairs or --fit-pairs, or --long to go ahead"
        dataset = value_prediction(
            agents,
            self.environment,
            pairs=self.pairs,
            fit_pairs=self.fit_pairs,
            estimates=self.estimates,
            sizes=self.sizes or None,
            lambdas=self.lambdas or None,
            updates=self.updates,
            restarts=self.restarts,
            restart_copies=self.restart_copies,
            seed=self.seed,
            workers=self.crew,
            out=self.folder,
            resume=self.resume,
            progress=Bar(shown, self.environment_name(agents), self.crew, too_long=mend),
        )
        save_figure(plot_value_prediction(dataset), self.folder / "values")
        found = summary(dataset)
        shown.result(found, *tables_of(dataset))
        shown.verdicts(found["verdicts"])
        shown.files(self.folder / f"values.{suffix}" for suffix in ("nc", "json", "svg", "png"))
