"""What run folders hold for claims: datasets by diagnostic, task and algorithm, and the day they were measured on.

Tasks are called as ``claims.yaml`` calls them: by their short names, with what is unusual behind them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from closerlook.arguments import SHORT_NAMES
from closerlook.diagnostics import all_diagnostics
from closerlook.errors import InputError
from closerlook.results.folders import folders_with
from closerlook.results.reading import read_dataset
from closerlook.results.store import RECORD, RunFolder
from closerlook.results.training_log import read_training_log
from closerlook.studies.training_rewards import final_rewards

FEW, MANY = 8192, 65_536
"""Pairs up to which those behind a landscape's step are few, and from which on they, or an update's, are many."""
_REGIMES = "sample-regime"


@dataclass(frozen=True)
class Found:
    """One dataset.

    Parameters
    ----------
    kind : str
        Its diagnostic, ``"sample-regime"`` or ``"train"``.
    task, algorithm : str
        Of its agents.
    dataset : xarray.Dataset
        The numbers.
    measured : str or None
        The day on which it was finished, where that is known.
    folder : Path
        Where it is.
    """

    kind: str
    task: str
    algorithm: str
    dataset: xr.Dataset
    measured: str | None
    folder: Path


def find_results(folders: Sequence[Path]) -> list[Found]:
    """Read what folders hold, and the folders within them.

    Parameters
    ----------
    folders : sequence of Path
        Run folders, or folders of such; a netCDF file is a dataset by itself.

    Raises
    ------
    InputError
        Where a folder holds no result, or one that cannot be read.
    """
    found: dict[Path, Found] = {}
    for folder in folders:
        own = list(_within(folder))
        if not own:
            hint = "give the folder of a measurement, of a study or of a training run"
            raise InputError(f"{folder} holds no results", hint)
        found |= {one.folder.resolve(): one for one in own}
    return list(found.values())


def _within(folder: Path) -> Iterator[Found]:
    if folder.is_file():
        dataset = read_dataset(folder)
        kind = str(dataset.attrs.get("diagnostic", dataset.attrs.get("study", "")))
        if kind not in {*all_diagnostics(), _REGIMES}:
            raise InputError(f"{folder} is not a dataset of a diagnostic or a study", "give the .nc file of one")
        yield Found(kind, *_place(kind, dataset), dataset, None, folder)
        return
    for place in folders_with(folder, [RECORD]):
        record = RunFolder(place).read_record() or {}
        kind, day = str(record.get("kind")), record.get("date")
        measured = day if isinstance(day, str) else None
        if kind in {*all_diagnostics(), _REGIMES} and (place / f"{kind}.nc").is_file():
            dataset = read_dataset(place / f"{kind}.nc")
            yield Found(kind, *_place(kind, dataset), dataset, measured, place)
        elif kind == "train" and (log := read_training_log(place)) is not None:
            settings = record["settings"]
            yield Found(kind, *_place_of_training(settings), final_rewards(log), measured, place)


def _place(kind: str, dataset: xr.Dataset) -> tuple[str, str]:
    task, algorithm = short_name(str(dataset.attrs["environment"])), str(dataset.attrs.get("algorithm", "ppo"))
    if kind == "landscape":
        pairs = int(dataset.attrs["step_pairs"])
        task += " few" if pairs <= FEW else " many" if pairs >= MANY else f" {pairs}"
    if kind == "trust-region" and int(dataset.attrs.get("step_pairs", 0)) >= MANY:
        task += " many"
    return task + (" with returns targets" if dataset.attrs.get("value_target") == "returns" else ""), algorithm


def _place_of_training(settings: Mapping[str, Any]) -> tuple[str, str]:
    task = short_name(str(settings.get("environment")))
    task += " without a baseline" if settings.get("baseline") == "none" else ""
    task += " with returns targets" if settings.get("value_target") == "returns" else ""
    return task, str(settings.get("algorithm"))


def short_name(environment: str) -> str:
    """Return a task's short name, ``"hopper"``, or its id where it has none."""
    return {full: short for short, full in SHORT_NAMES.items()}.get(environment, environment)
