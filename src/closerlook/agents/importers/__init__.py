"""Agents of other libraries, by what their files hold.

Each importer is a module (or any object) with ``NAME``, ``recognizes(request) -> bool`` and ``load(request) -> Agent``.
Those of installed packages are found by the entry point group ``closerlook.importers``; they are asked after
closerlook's own.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol, cast

from closerlook.agents.agent import Agent
from closerlook.agents.importers.request import ImportRequest

GROUP = "closerlook.importers"
_OWN = ("sb3", "not_measured")


class Importer(Protocol):
    """What knows one kind of file."""

    NAME: str

    def recognizes(self, request: ImportRequest) -> bool:
        """Whether a path holds such a file; it is not there to judge it."""

    def load(self, request: ImportRequest) -> Agent:
        """Read the agent.

        Raises
        ------
        InputError
            Where the file cannot be used.
        """


def importers() -> Iterator[Importer]:
    """Yield all that there are, closerlook's own first."""
    for name in _OWN:
        yield cast("Importer", import_module(f"closerlook.agents.importers.{name}"))
    for entry in entry_points(group=GROUP):
        yield entry.load()


def import_agent(request: ImportRequest) -> Agent | None:
    """Read an agent by the first importer that recognizes its file; None where none does."""
    for importer in importers():
        if importer.recognizes(request):
            return importer.load(request)
    return None
