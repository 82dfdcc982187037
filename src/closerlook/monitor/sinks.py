"""Where a monitor's numbers go: the terminal, CSV, TensorBoard, the logger of a library, an experiment tracker."""

import csv
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from closerlook.errors import InputError
from closerlook.monitor.checks import CheckLevel, Findings
from closerlook.results.writing import plain_errors


@dataclass(frozen=True)
class Measured:
    """What a monitor measured of one update.

    Parameters
    ----------
    update : int
        Which, counted from 1.
    numbers : mapping of str to float
        What was measured; see `closerlook.monitor.monitor.NUMBERS`.
    level : str
        The gravest standing level.
    changed : mapping of str to str
        Levels that changed with this update, by name of the number.
    statements : tuple of str
        What changed since the update that was measured before, and what to do, one line each.
    findings : Findings
        What lint says of the batch.
    """

    update: int
    numbers: Mapping[str, float]
    level: CheckLevel
    changed: Mapping[str, CheckLevel] = field(default_factory=dict)
    statements: tuple[str, ...] = ()
    findings: Findings = field(default_factory=lambda: Findings(()))

    def __str__(self) -> str:
        parts = [f"{label} {self.numbers[name]:.3g}" for name, label in LABELS.items() if name in self.numbers]
        line = f"update {self.update}: {self.level}; {', '.join(parts)}"
        return "\n".join([line, *(f"  {statement}" for statement in self.statements)])


LABELS = {
    "mean_kl": "mean KL",
    "kl_k3": "KL (k3)",
    "clip_fraction_end": "clipped",
    "explained_variance_returns": "expl. var.",
    "batch_true_cosine": "gradient cosine",
    "entropy": "entropy",
}
"""What the line in the terminal shows."""

Sink = Callable[[Measured], Any]


def terminal(measured: Measured) -> None:
    """Write a line to stderr, and one more for each level that changed."""
    sys.stderr.write(f"{measured}\n")


@dataclass
class Csv:
    """A CSV file with a row for each measured update; its columns are those of the first.

    Parameters
    ----------
    file : str or Path
        Where; an existing file is replaced.
    """

    file: str | Path
    _columns: list[str] = field(default_factory=list)

    def __call__(self, measured: Measured) -> None:
        """Append a row."""
        path, row = Path(self.file), {"update": measured.update, "level": measured.level, **measured.numbers}
        with plain_errors(path):
            first = not self._columns
            if first:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._columns = list(row)
            with path.open("w" if first else "a", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, self._columns, extrasaction="ignore")
                if first:
                    writer.writeheader()
                writer.writerow(row)


@dataclass
class TensorBoard:
    """TensorBoard events below ``closerlook/``.

    Parameters
    ----------
    folder : str or Path
        Where event files go.

    Raises
    ------
    InputError
        At the first update, where tensorboard is not installed.
    """

    folder: str | Path
    _writer: Any = None

    def __call__(self, measured: Measured) -> None:
        """Write scalars; changes of levels as text."""
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - installed by those who want it
            except ImportError:
                raise InputError("tensorboard is not installed", "install closerlook[tensorboard]") from None
            self._writer = SummaryWriter(str(self.folder))
        for name, value in measured.numbers.items():
            self._writer.add_scalar(f"closerlook/{name}", value, measured.update)
        for statement in measured.statements:
            self._writer.add_text("closerlook/levels", statement, measured.update)
        self._writer.flush()


@dataclass(frozen=True)
class Sb3Logger:
    """The logger of a Stable-Baselines3 model: numbers appear below ``closerlook/`` with its own.

    Parameters
    ----------
    model : stable_baselines3 model
        Whose logger.
    """

    model: Any

    def __call__(self, measured: Measured) -> None:
        """Record numbers and the gravest level; the model's logger writes them when it next does."""
        for name, value in {"level": measured.level, **measured.numbers}.items():
            self.model.logger.record(f"closerlook/{name}", value)


@dataclass(frozen=True)
class Tracker:
    """An experiment tracker that has ``log`` and perhaps ``alert``: the module or a run of Trackio or W&B.

    Parameters
    ----------
    run : module or run
        What has them; it is imported, and logged in, by whoever gives it.
    """

    run: Any

    def __call__(self, measured: Measured) -> None:
        """Log numbers, and alert of what is new, except that a level is ok again."""
        numbers = {"update": measured.update, **measured.numbers}
        self.run.log({f"closerlook/{name}": value for name, value in numbers.items()})
        if hasattr(self.run, "alert"):
            for statement in measured.statements:
                if not statement.startswith("ok"):
                    self.run.alert(title="closerlook", text=statement)
