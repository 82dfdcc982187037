"""The name of an environment: what is needed to build it again in another process."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class EnvironmentSpec:
    """An environment by name.

    Parameters
    ----------
    id : str
        A Gymnasium id (``"Hopper-v5"``), ``"module:Id"`` (the module is imported first), or
        ``"package.module:function"`` where the function returns a `gymnasium.Env`.
    arguments : mapping of str to JSON value
        Passed to the constructor.
    trusted : bool
        False for a name read from a file: it may not make Python import code.
    """

    id: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = field(default=True, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return what `EnvironmentSpec(**...)` takes."""
        return {"id": self.id, "arguments": dict(self.arguments)}


def import_module(name: str) -> ModuleType:
    """Import a module of the user's; the folder the program was started in counts, as it does for a script."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(name)
