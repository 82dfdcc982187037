"""The commands: each a dataclass of options, whose text is the help, and what to do with them."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A command, named without importing it: the engines take a second that ``--help`` need not."""

    module: str
    name: str
    line: str

    def load(self) -> Any:
        """Import the dataclass of its options."""
        return getattr(import_module(f"closerlook.commands.{self.module}"), self.name)


COMMANDS = {
    "demo": Entry("demo", "Demo", "train two small Hopper agents, measure them, write a page about it: 3 minutes"),
    "train": Entry("train", "Train", "train agents, with checkpoints to measure"),
    "gradients": Entry("gradients", "Gradients", "how well do independent estimates of the policy gradient agree?"),
    "values": Entry("values", "Values", "does the critic know the value, and what is it worth as a baseline?"),
    "landscape": Entry("landscape", "Landscape", "does the surrogate point where the true reward is?"),
    "trust-region": Entry("trust_region", "TrustRegion", "does the step do what its constraint and its model promise?"),
    "lint": Entry("lint", "Lint", "is a training batch what it should be? recomputes an .npz of it"),
    "study": Entry("study", "Study", "experiments of the paper that train many agents"),
    "atlas": Entry("atlas", "Atlas", "train and pack the sixty agents of the repository: hours"),
}
