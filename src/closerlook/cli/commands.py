"""The commands: each a dataclass of options, whose text is the help, and what to do with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any

from closerlook.diagnostics import all_diagnostics


@dataclass(frozen=True)
class Entry:
    """A command, whose dataclass is made when it is called: the engines take a second that ``--help`` need not.

    Parameters
    ----------
    line : str
        What it does, in a line.
    load : callable
        Returns its dataclass.
    """

    line: str
    load: Callable[[], Any]


def _from(module: str, name: str) -> Any:
    return getattr(import_module(f"closerlook.cli.{module}"), name)


def _diagnostic(name: str) -> Any:
    return _from("measuring", "command_of")(all_diagnostics()[name])


@cache
def commands() -> Mapping[str, Entry]:
    """Return every command by name; a diagnostic that is installed is one."""
    demo = "train two small Hopper agents, measure them, write a page about it: 3 minutes"
    study = "the paper's figures by name: train, measure, draw, judge"
    atlas = "train and pack the agents of the repository: hours"
    return {
        "demo": Entry(demo, partial(_from, "demo", "Demo")),
        "train": Entry("train agents, with checkpoints to measure", partial(_from, "train", "Train")),
        **{name: Entry(one.line, partial(_diagnostic, name)) for name, one in all_diagnostics().items()},
        "inspect": Entry(
            "what is in an agent's file, and is it the agent that was trained?", partial(_from, "inspect", "Inspect")
        ),
        "checkup": Entry(
            "what is wrong with an agent, and what to change? ten minutes", partial(_from, "checkup", "Checkup")
        ),
        "compare": Entry("two agents, checkpoints or populations: what differs", partial(_from, "compare", "Compare")),
        "lint": Entry(
            "is a training batch what it should be? recomputes an .npz of it", partial(_from, "lint", "Lint")
        ),
        "report": Entry(
            "any runs on one offline page: verdicts, figures, tables, data", partial(_from, "report", "Report")
        ),
        "study": Entry(study, partial(_from, "study", "StudyCommand")),
        "worker": Entry(
            "more processes, anywhere, for commands that run in a folder", partial(_from, "worker", "Worker")
        ),
        "claims": Entry("what data say of the paper's statements", partial(_from, "claims", "Claims")),
        "selfcheck": Entry(
            "every estimator on this machine against known answers: a minute", partial(_from, "selfcheck", "Selfcheck")
        ),
        "atlas": Entry(atlas, partial(_from, "atlas", "Atlas")),
    }
