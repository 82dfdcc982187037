"""The log of a run as TensorBoard events: one folder for each agent, a scalar for each column."""

import math
import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from closerlook.errors import InputError
from closerlook.training.log import Row, numbers_of

_GROUPS = {
    "episodes": ("mean_reward", "mean_length", "episodes"),
    "time": ("seconds_sampling", "seconds_update"),
    "critic": ("value_loss", "explained_variance_gae", "explained_variance_returns"),
}
_PLACES = {column: group for group, columns in _GROUPS.items() for column in columns}
_AXES = ("iteration", "agent_seed", "environment_steps")


class NoEvents:
    """Events that nobody asked for."""

    def __enter__(self) -> "NoEvents":
        """Do nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def add(self, rows: Sequence[Row]) -> None:
        """Do nothing."""


class EventFiles:
    """TensorBoard events of a run, written anew from its first row each time it is taken up.

    Parameters
    ----------
    path : Path
        Their folder; inside it one for each agent. The steps of a scalar are the agent's environment steps.

    Raises
    ------
    InputError
        Where TensorBoard is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writers: dict[int, Any] = {}
        try:
            self._new_writer = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError:
            raise InputError(
                "TensorBoard is not installed",
                "pip install -e '.[tensorboard]' in the checkout, or leave --tensorboard out",
            ) from None

    def __enter__(self) -> "EventFiles":
        """Begin with nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Write what applies of some rows."""
        for row in rows:
            writer = self._writer(int(row["agent_seed"]))
            for name in numbers_of(row):
                if name not in _AXES and not math.isnan(row[name]):
                    place = f"{_PLACES.get(name, 'update')}/{name}"
                    writer.add_scalar(place, row[name], global_step=int(row["environment_steps"]))
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, number: int) -> Any:
        if number not in self._writers:
            self._writers[number] = self._new_writer(str(self.path / f"{number:02d}"))
        return self._writers[number]
