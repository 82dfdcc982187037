"""What a page says of each run: verdicts, figures, tables, how it was made. Plain values, for the templates."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from closerlook.drawing.panels import Panel, Plane
from closerlook.drawing.style import short_number
from closerlook.errors import InputError
from closerlook.pages.checkup import checkup_content
from closerlook.pages.page import image_data
from closerlook.pages.plots import plot_of
from closerlook.pages.repeat import command_of
from closerlook.pages.runs import PICTURES, Run

ORDER = ("problem", "watch", "ok", "not_enough_data")
"""Levels of verdicts, the gravest first."""
MOST_NUMBERS = 150
"""Numbers of a panel that the page lists; where there are more, they are in the data."""
LONGEST_WORDS = 900
"""Characters of a picture's description."""
VERSIONS = {"closerlook": "closerlook", "mujoco": "MuJoCo", "gymnasium": "Gymnasium", "torch": "PyTorch",
            "numpy": "NumPy", "python": "Python"}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A figure as it is printed, and shown where scripts are off.

    Parameters
    ----------
    name : str
        Of the figure.
    image : str
        As a data URL.
    words : str
        What it shows.
    """

    name: str
    image: str
    words: str


def said_of(run: Run) -> dict[str, Any]:
    """Return everything a page says of a run, but for its pictures and data.

    Parameters
    ----------
    run : Run
        Read from its folder.

    Raises
    ------
    InputError
        Where its results are not complete.
    """
    try:
        return {
            "name": run.name,
            "kind": run.what,
            "about": about(run),
            "line": run.diagnostic.line if run.diagnostic is not None else "",
            "finished": run.is_finished,
            "checkup": None if run.checkup is None else checkup_content(run.checkup),
            "verdicts": _verdicts(run),
            "tables": [*_tables(run)],
            "made": _made(run),
        }
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise _incomplete(run, error) from error


def drawn_of(run: Run) -> list[dict[str, Any]]:
    """Return the plots of a run, each with its title, what it shows in words, and its numbers.

    Parameters
    ----------
    run : Run
        Read from its folder.

    Raises
    ------
    InputError
        Where its results are not complete.
    """
    try:
        return [
            {"title": one.title, "words": one.words, "note": one.note, "numbers": _numbers(one), "plot": plot_of(one)}
            for one in _panels(run)
        ]
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise _incomplete(run, error) from error


def pictures_of(run: Run, plots: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Return the pictures in a run's folder, drawn anew where they are missing; of each the smaller file.

    Parameters
    ----------
    run : Run
        Read from its folder.
    plots : sequence of mapping
        What `drawn_of` returned: they say what the picture shows.
    """
    files: dict[str, Path] = {}
    for path in run.files(PICTURES):
        if path.stem not in files or path.stat().st_size < files[path.stem].stat().st_size:
            files[path.stem] = path
    found = [Picture(name, image_data(path), _picture_words(run, name, plots)) for name, path in files.items()]
    if run.is_finished and plots and main_figure(run) not in files:
        found.insert(0, _redrawn(run, plots))
    return sorted(found, key=lambda one: one.name != main_figure(run))


def main_figure(run: Run) -> str:
    """Return the name of the figure that the plots of a run stand for."""
    return "training" if run.log is not None else run.kind


def about(run: Run) -> str:
    """Say of which environment and algorithm a run is."""
    attributes = {} if run.dataset is None else run.dataset.attrs
    settings = run.record["settings"]
    environment = attributes.get("environment", settings.get("environment", ""))
    environment = environment.get("id", "") if isinstance(environment, Mapping) else environment
    if run.checkup is not None:
        environment = run.checkup.get("environment", environment)
    algorithm = attributes.get("algorithm", settings.get("algorithm") or "")
    return ", ".join(filter(None, [str(environment or ""), str(algorithm).upper()]))


def _incomplete(run: Run, error: Exception) -> InputError:
    words = f"{run.folder} holds results of {run.kind} that are not complete ({type(error).__name__}: {error})"
    return InputError(" ".join(words.split()), "compute them again: the run's command with --no-resume")


def _verdicts(run: Run) -> list[dict[str, Any]]:
    if run.diagnostic is None or run.dataset is None:
        return []
    found = run.diagnostic.judge(run.dataset)
    ranked = sorted(found, key=lambda one: ORDER.index(one["level"]) if one["level"] in ORDER else len(ORDER))
    return [{"level": one["level"], "statement": one["statement"], "advice": one["advice"]} for one in ranked]


def _panels(run: Run) -> list[Panel | Plane]:
    if run.log is not None:
        from closerlook.drawing.training import panels  # noqa: PLC0415 - matplotlib takes a second

        return [*panels(run.log)] if len(run.log["iteration"]) else []
    return [] if run.diagnostic is None else [*run.diagnostic.panels(run.dataset)]


def _numbers(panel: Panel | Plane) -> list[list[str]]:
    """List the numbers of a panel, none where they are too many to be read."""
    rows = [] if isinstance(panel, Plane) else [*panel.rows()]
    if len(rows) > MOST_NUMBERS:
        return []
    cells = [[name, place, *(f"{one:.4g}" if np.isfinite(one) else "" for one in rest)] for name, place, *rest in rows]
    return [[cell.replace("-", "\N{MINUS SIGN}") if at > 1 else cell for at, cell in enumerate(row)] for row in cells]


def _picture_words(run: Run, name: str, plots: Sequence[Mapping[str, Any]]) -> str:
    words = " ".join(str(plot["words"]) for plot in plots) if name == main_figure(run) else ""
    if 0 < len(words) <= LONGEST_WORDS:
        return words
    titles = "; ".join(str(plot["title"]) for plot in plots) if words else ""
    shown = f"{len(plots)} panels: {titles}"[:LONGEST_WORDS] if titles else "its numbers are in the tables and data"
    return f"Figure {name} of {run.name}, {run.what} of {about(run) or 'a study'}: {shown}."


def _redrawn(run: Run, plots: Sequence[Mapping[str, Any]]) -> Picture:
    """Draw the figure of a run whose folder has no picture of it."""
    from closerlook.drawing.style import save_figure  # noqa: PLC0415
    from closerlook.drawing.training import plot_training  # noqa: PLC0415

    name = main_figure(run)
    if run.diagnostic is not None:
        axes = run.diagnostic.figures(run.dataset)[name]
    else:
        assert run.log is not None
        axes = plot_training(run.log)
    with tempfile.TemporaryDirectory() as folder:
        (path,) = save_figure(axes, Path(folder) / "figure", formats=["svg"])
        return Picture(name, image_data(path), _picture_words(run, name, plots))


def _tables(run: Run) -> Iterator[dict[str, Any]]:
    if run.log is not None and len(run.log["iteration"]):
        yield _training_table(run.log)
    if run.diagnostic is not None:
        yield from map(_plain_table, run.diagnostic.tables(run.dataset))


def _plain_table(table: Table) -> dict[str, Any]:
    """Take the texts out of a table that was laid out for a terminal."""
    heads = [str(column.header).replace("\n", " ") for column in table.columns]
    rows = zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True)
    return {
        "title": str(table.title or ""),
        "columns": heads,
        "rows": [[*row] for row in rows],
        "note": str(table.caption or ""),
    }


def _training_table(log: Mapping[str, np.ndarray]) -> dict[str, Any]:
    rows = []
    for seed in np.unique(log["agent_seed"]):
        own = log["agent_seed"] == seed
        order = np.argsort(log["iteration"][own])
        rewards = log["mean_reward"][own][order]
        known = rewards[np.isfinite(rewards)]
        last = known[-10:]
        cells = [f"{value:,.1f}" for value in (known[0], last.mean(), known.max())] if len(known) else ["-"] * 3
        rows.append([f"seed {int(seed)}", f"{len(rewards):,}", *cells])
    columns = ["agent", "iterations", "first return", "mean of the last ten", "best iteration"]
    return {"title": "Mean episode returns of training", "columns": columns, "rows": rows, "note": ""}


def _made(run: Run) -> dict[str, Any]:
    record, versions, host = run.record, run.record.get("versions"), run.record.get("host")
    versions, host = (one if isinstance(one, Mapping) else {} for one in (versions, host))
    named = [f"{label} {versions[name]}" for name, label in VERSIONS.items() if name in versions]
    where = [str(host[name]) for name in ("system", "processor") if host.get(name)]
    settings = {name: _setting(value) for name, value in record["settings"].items()}
    dataset = {} if run.dataset is None else run.dataset.attrs
    former = dataset.get("measured_with_schema")
    return {
        "command": command_of(run),
        "pairs": f"{record['pairs']:,.0f}" if record.get("pairs") else "",
        "seconds": f"{record['wall_seconds']:,.0f}" if record.get("wall_seconds") else "",
        "seed": "" if record.get("seed") is None else str(record["seed"]),
        "versions": ", ".join(named),
        "host": ", ".join(where) + (f", {host['cores']} cores" if where and host.get("cores") else ""),
        "settings": settings,
        "former": "" if former is None else f"measured with version {former} of the schema",
    }


def _setting(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}..."


def totals(runs: Sequence[Run]) -> str:
    """Say what runs cost together."""
    pairs, seconds = (sum(float(run.record.get(name) or 0) for run in runs) for name in ("pairs", "wall_seconds"))
    return f"{short_number(pairs)} state-action pairs, {seconds:,.0f} seconds"
