"""Run folders as a page sees them: what each holds, found below the folders that were given, read and never run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from closerlook.diagnostics import all_diagnostics
from closerlook.errors import InputError
from closerlook.results.folders import CLAIMS, FIGURES, folders_with
from closerlook.results.store import RECORD, RunFolder
from closerlook.results.training_log import read_training_log

if TYPE_CHECKING:
    import xarray as xr

    from closerlook.diagnostics.diagnostic import Diagnostic

DATA = (".json", ".csv", ".nc")
PICTURES = (".svg", ".png")
_WORDS = {"train": "training", "sample-regime": "sample regimes", "trust-region": "trust region"}


@dataclass(frozen=True)
class Run:
    """One run folder.

    Parameters
    ----------
    folder : Path
        Where it is.
    name : str
        What the page calls it.
    record : mapping
        Its ``run.json``.
    dataset : xarray.Dataset or None
        Of a measurement that is finished.
    log : mapping of str to ndarray or None
        Of a training run, by column.
    checkup : mapping or None
        What ``closerlook checkup`` answered.
    """

    folder: Path
    name: str
    record: Mapping[str, Any]
    dataset: "xr.Dataset | None" = None
    log: Mapping[str, np.ndarray] | None = None
    checkup: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        """Of which command it is."""
        return str(self.record["kind"])

    @property
    def what(self) -> str:
        """The same in words."""
        return _WORDS.get(self.kind, self.kind)

    @property
    def is_finished(self) -> bool:
        """Whether there is something to show."""
        return bool(self.record.get("finished")) or self.checkup is not None

    @property
    def diagnostic(self) -> "Diagnostic | None":
        """The diagnostic that it measured, None where it is no measurement."""
        return None if self.dataset is None else all_diagnostics()[self.kind]

    def files(self, suffixes: Sequence[str]) -> list[Path]:
        """List its own files of these kinds by name; what leads out of the folder is none of its own."""
        drawn = self.folder / FIGURES  # of a study
        return [*own_files(self.folder, suffixes), *(own_files(drawn, suffixes) if drawn.is_dir() else [])]


@dataclass(frozen=True)
class Found:
    """Everything in the folders that were given.

    Parameters
    ----------
    runs : tuple of Run
        In the order of folders, each by path.
    claims : tuple of mapping
        As ``closerlook claims`` prints them.
    """

    runs: tuple[Run, ...]
    claims: tuple[Mapping[str, Any], ...] = ()


def find(folders: Sequence[str | Path]) -> Found:
    """Read every run in some folders, and in folders within them.

    Parameters
    ----------
    folders : sequence of str or Path
        Run folders, or folders that hold some.

    Raises
    ------
    InputError
        Where one is no folder or holds no run, a run is given twice, none is finished, or a file is not what it should
        be.
    """
    if not folders:
        raise InputError("no folder was given", "give the folders of runs: closerlook report runs/hopper-gradients")
    paths = [Path(folder) for folder in folders]
    names = [path.resolve().name for path in paths]
    runs: list[Run] = []
    claims: list[Mapping[str, Any]] = []
    seen: dict[Path, Path] = {}
    for path, name in zip(paths, names, strict=True):
        _require_folder(path)
        within = [*folders_with(path, [RECORD, CLAIMS])]
        if not within:
            raise InputError(f"{path} holds no run", f"give the --out of a command: a folder with a {RECORD}")
        for folder in within:
            if folder.resolve() in seen:
                first = seen[folder.resolve()]
                what = f"{folder} is given twice" + ("" if first == path else f": {first} holds it too")
                raise InputError(what, "give each folder once")
            seen[folder.resolve()] = path
            claims += _claims(folder)
            shown = folder.relative_to(path).as_posix()
            label = str(path) if names.count(name) > 1 else name or str(path)
            runs.append(_read(folder, label if shown == "." else f"{label}/{shown}"))
    if not any(run.is_finished for run in runs):
        hint = "finish it: give its command again, it goes on from what is there"
        raise InputError(f"{paths[0]} holds no results yet", hint)
    return Found(tuple(runs), tuple(claims))


def _require_folder(path: Path) -> None:
    if path.is_dir():
        return
    if path.exists():
        raise InputError(f"{path} is a file", f"give the run folder: {path.parent}")
    raise InputError(f"there is no folder {path}", "give the folder that a command left (its --out)")


def own_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """List the files of some kinds in a folder; a link that leads out of it is left out.

    Parameters
    ----------
    folder : Path
        Whose.
    suffixes : sequence of str
        The kinds: ``".svg"``.
    """
    home = folder.resolve()
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in suffixes and path.is_file() and path.resolve().parent == home
    ]


def _claims(folder: Path) -> list[Mapping[str, Any]]:
    """Read the claims that were judged in a folder, none where none were.

    Raises
    ------
    InputError
        Where the file is not what ``closerlook claims`` writes.
    """
    content = RunFolder(folder).read_json(CLAIMS)
    claims = [] if content is None else content.get("claims")
    if not isinstance(claims, list) or not all(isinstance(claim, dict) for claim in claims):
        raise InputError(f"{folder / CLAIMS} holds no claims", "write it again: closerlook claims FOLDER")
    return claims


def _read(folder: Path, name: str) -> Run:
    """Read one run, as far as it is finished.

    Raises
    ------
    InputError
        Where its record or its results are not what they should be, or are of a later version.
    """
    store = RunFolder(folder)
    # a folder of claims that is no run itself is shown with its pictures and data
    record = store.read_record() or {"kind": "study", "settings": {}, "finished": True}
    kind = record["kind"]
    if kind == "checkup":
        return Run(folder, name, record, checkup=store.read_json("checkup.json"))
    if kind == "train":
        return Run(folder, name, record, log=read_training_log(folder) if record.get("finished") else None)
    if kind in all_diagnostics() and record.get("finished"):
        from closerlook.results.reading import read_dataset  # noqa: PLC0415 - xarray takes as long as the rest

        dataset = read_dataset(folder / f"{kind}.nc")
        if dataset.attrs.get("diagnostic") != kind:
            what = f"{folder / kind}.nc is of {dataset.attrs.get('diagnostic')}, its {RECORD} says {kind}"
            raise InputError(what, "measure it again (--no-resume)")
        return Run(folder, name, record, dataset=dataset)
    return Run(folder, name, record)
