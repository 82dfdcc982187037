"""The name of an environment: what is needed to build it again in another process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """

    id: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `EnvironmentSpec(**...)` takes."""
        return {"id": self.id, "arguments": dict(self.arguments)}
