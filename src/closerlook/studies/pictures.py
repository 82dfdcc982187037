"""Figures of studies in the paper's form: one for each task and algorithm, of the diagnostics' own drawings."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from closerlook.diagnostics import find_diagnostic
from closerlook.diagnostics.gradients.figure import plot_cosines
from closerlook.diagnostics.landscape.budget_figure import plot_budgets
from closerlook.diagnostics.landscape.figure import plot_landscape
from closerlook.diagnostics.values.figure import plot_baselines
from closerlook.drawing.critic_audit import HELD_OUT, TRAINED, plot_errors
from closerlook.drawing.profiles import plot_profiles
from closerlook.drawing.style import add_caption, save_figure, verbatim
from closerlook.drawing.training import plot_training
from closerlook.errors import InputError
from closerlook.results.reading import read_dataset
from closerlook.results.training_log import read_training_log
from closerlook.statistics.seeds import FEWEST
from closerlook.studies.columns import Column
from closerlook.studies.endings import endings
from closerlook.studies.preset import Preset
from closerlook.studies.regime_figure import plot_sample_regime
from closerlook.studies.units import RegimeStudy, plain_name

Datasets = Mapping[str, xr.Dataset]
"""Of one column, by the names of its measurements in the preset."""
Log = Mapping[str, Any]

OF_DATASETS: Mapping[str, Callable[[Sequence[xr.Dataset]], Axes]] = {
    "pairwise_cosine": lambda found: plot_cosines(found[0], ["pairwise_cosine"]),
    "true_cosine": lambda found: plot_cosines(found[0], ["true_cosine_corrected"]),
    "baselines": lambda found: plot_baselines(found[0]),
    "budgets": lambda found: plot_budgets(found[0]),
    "planes": lambda found: plot_landscape(found if len(found) > 1 else found[0]),
    "sample_regime": lambda found: plot_sample_regime(found[0]),
}
"""Pictures of datasets; those of a column, in the preset's order."""
OF_LOGS: Mapping[str, Callable[[Log], Axes]] = {
    "critic_heldout": lambda log: plot_errors(log, HELD_OUT),
    "critic_trained": lambda log: plot_errors(log, TRAINED),
    "rewards": plot_training,
    "settings": plot_training,
}
"""Pictures of training logs."""


def draw(preset: Preset, columns: Sequence[Column], folder: Path) -> list[Path]:
    """Draw a study's figure: a file for each column, as SVG and PNG.

    Parameters
    ----------
    preset : Preset
        What is drawn.
    columns : sequence of Column
        Finished.
    folder : Path
        Where to.

    Returns
    -------
    list of Path
        The files.
    """
    files: list[Path] = []
    for column in columns:
        if isinstance(column.agents, RegimeStudy):  # beside its dataset, as a study of one task that it is by itself
            files += save_figure(_axes(preset, column)[""], column.agents.folder / "sample-regime")
            continue
        task, algorithm = column.agents.task, column.agents.algorithm
        stem = f"{preset.name}-{plain_name(task)}-{algorithm}"
        for suffix, axis in _axes(preset, column).items():
            figure: Any = axis.figure
            caption = ". ".join(filter(None, (preset.figure, preset.paper and f"In the paper: {preset.paper}")))
            add_caption(figure, caption)
            files += save_figure(axis, folder / f"{stem}{suffix}")
    if preset.draw in {"rewards", "settings"}:
        files += _profiles(preset, columns, folder)
    return files


def _profiles(preset: Preset, columns: Sequence[Column], folder: Path) -> list[Path]:
    """Draw which part of seeds reaches how much, for each task with seeds enough."""
    found, files = endings(columns), []
    for task in dict.fromkeys(one.task for one in found):
        groups = {one.algorithm.upper(): one.rewards for one in found if one.task == task}
        if all(np.isfinite(rewards).sum() >= FEWEST for rewards in groups.values()):
            axis = plot_profiles(groups)
            axis.set_title(verbatim(task), weight="bold")
            files += save_figure(axis, folder / f"{preset.name}-{task.replace(':', '-')}-profile")
    return files


def _axes(preset: Preset, column: Column) -> dict[str, Axes]:
    """Draw one column: its axes, by what their files' names end in."""
    if preset.draw in OF_LOGS:
        log = read_training_log(column.agents.folder)
        if log is None:
            raise InputError(f"{column.agents.folder} has no training log", "train again, into another --out")
        axis = OF_LOGS[preset.draw](log)
        axis.set_title(verbatim(f"{column.agents.environment} · {column.agents.algorithm.upper()}"), weight="bold")
        return {"": axis}
    parts = [column.agents] if isinstance(column.agents, RegimeStudy) else list(column.parts.values())
    datasets = [read_dataset(part.file) for part in parts]
    if preset.draw in OF_DATASETS:
        return {"": OF_DATASETS[preset.draw](datasets)}
    return {
        f"-{name}" if name != dataset.attrs["diagnostic"] else "": axis
        for dataset in datasets
        for name, axis in find_diagnostic(dataset.attrs["diagnostic"]).figures(dataset).items()
    }
