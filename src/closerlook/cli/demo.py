"""``closerlook demo``: from nothing to a measured agent and a page about it."""

from dataclasses import dataclass

from closerlook.agents.loading import find_agents
from closerlook.cli import train as train_command
from closerlook.cli.console import Bar, Terminal
from closerlook.cli.options import Output
from closerlook.diagnostics import summary
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.gradients.figure import plot_gradient_quality
from closerlook.diagnostics.gradients.tables import table_of
from closerlook.drawing.style import save_figure
from closerlook.drawing.training import plot_training
from closerlook.pages.demo import demo_page
from closerlook.results.store import RunFolder
from closerlook.training import TrainSettings, train

ITERATIONS = 50
"""Enough for reward to rise well above that of the first agents."""
PAIRS = 163_840
"""Pairs of each agent's pool: ten estimates of 16,384."""


@dataclass(frozen=True, kw_only=True)
class Demo(Output):
    """Train two small Hopper agents, measure their gradients, and write a page about it.

    Two agents learn Hopper-v5 with PPO; then it is measured how well estimates of the gradient agree, before training
    and after it. Takes under three minutes on two cores. Leaves report.html, which explains everything, and the
    training run, the dataset and the figures behind it.
    """

    seed: int = 0
    """Root seed of training and of the measurement."""

    @property
    def default_name(self) -> str:
        """Name of the folder where none is given."""
        return "demo"

    def run(self, console: Terminal) -> None:
        """Train, measure, report."""
        training, gradients = self.folder / "training", self.folder / "gradients"
        settings = TrainSettings(seeds=2, steps=ITERATIONS * 2048, checkpoints=(0,), seed=self.seed)
        bar = Bar(console, settings.environment, self.crew, trained=settings.seeds)
        run = train(settings, out=training, workers=self.crew, resume=self.resume, progress=bar)
        save_figure(plot_training(run.log), training / "training")
        dataset = gradient_quality(
            [agent for iteration in (0, ITERATIONS) for agent in find_agents(training, iteration=iteration)],
            pairs=PAIRS,
            seed=self.seed,
            workers=self.crew,
            out=gradients,
            resume=self.resume,
            progress=Bar(console, settings.environment, self.crew),
        )
        save_figure(plot_gradient_quality(dataset), gradients / "gradients")
        found = summary(dataset)
        report = RunFolder(self.folder).write_text("report.html", demo_page(self.folder))
        console.result(
            {"training": train_command.summary_of(settings, run), "gradients": found, "report": str(report)},
            train_command.table_of(run.log),
            table_of(dataset),
        )
        console.files([training / "training.csv", training / "training.png", gradients / "gradients.nc"])
        console.note(f"open {report} in a browser: it says what all this means")
