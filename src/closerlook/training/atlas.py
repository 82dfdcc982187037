"""The atlases: trained agents that everything later measures, ten seeds of each column of Table 1, twice.

The first has the settings of the table and a bootstrap that is correct. The second, whose columns end in ``-v2``, was
trained as the paper's code and the engine of its day had it, from ten other seeds, its critics and trust regions
audited after every update.

Each column is trained as a run of its own, which can be taken up again, and then packed::

    atlas/walker2d-ppo/
      run.json                      settings and versions
      training.csv.gz               the log, to five digits; audits to three
      checkpoints/000150/03/        agent 3 after 150 updates: agent.json, state.packed

The iterations that were asked for are packed, the last one only of runs that are shorter than those. The first seeds
keep their optimizer's state, without which a PPO step is not defined; the others do without. Of columns that the
repository has no room for, log and settings alone are kept: the command that trained them makes their agents again.
"""

import gzip
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from closerlook.agents.files import DESCRIPTION, PACKED, load_agent, save_agent
from closerlook.agents.loading import ATLAS, CHECKPOINTS, checkpoint_folder, checkpoints_of
from closerlook.algorithms.presets import PresetName
from closerlook.arguments import Algorithm
from closerlook.errors import InputError
from closerlook.execution import Progress
from closerlook.results.ownership import OWNER, owned
from closerlook.results.store import RECORD, RunFolder, as_json
from closerlook.results.writing import is_half_written, remove
from closerlook.training.callback import Callback
from closerlook.training.log import COLUMNS, as_line, header
from closerlook.training.run import TrainingRun, train
from closerlook.training.settings import TrainSettings

_ALGORITHMS: tuple[Algorithm, ...] = ("ppo", "trpo")
ENTRIES: dict[str, tuple[str, Algorithm, PresetName]] = {
    f"{task}-{algorithm}{ending}": (task, algorithm, preset)
    for ending, preset in cast("dict[str, PresetName]", {"": "paper", "-v2": "paper-v2"}).items()
    for task in ("hopper", "walker2d", "humanoid")
    for algorithm in _ALGORITHMS
}
"""The columns by name: task, algorithm and preset."""
LOGS_ALONE = ("humanoid-ppo", "humanoid-trpo")
"""Columns whose agents the repository has no room for."""
SECOND_SEEDS = 10
"""First seed of the second atlas: none of its agents is one of the first."""

_LOG = "training.csv.gz"
LARGEST = 46_000_000
"""Bytes the atlas may have."""


@dataclass(frozen=True)
class Entry:
    """One column of the atlas.

    Parameters
    ----------
    name : str
        Of `ENTRIES`.
    seeds, steps : int
        Agents, and environment steps of each.
    with_optimizer : int
        The first agents, which keep their optimizer's state.
    """

    name: str
    seeds: int = 10
    steps: int = 1_000_000
    with_optimizer: int = 3

    @property
    def settings(self) -> TrainSettings:
        """What is trained.

        Raises
        ------
        InputError
            Where there is no such column.
        """
        if self.name not in ENTRIES:
            raise InputError(f"the atlas has no {self.name!r}", f"choose from {', '.join(ENTRIES)}")
        task, algorithm, preset = ENTRIES[self.name]
        numbers = {"seeds": self.seeds, "first_seed": SECOND_SEEDS if self.is_second else 0}
        return TrainSettings.of_preset(preset, environment=task, algorithm=algorithm, steps=self.steps, **numbers)

    @property
    def is_second(self) -> bool:
        """Whether it is of the second atlas."""
        return ENTRIES[self.name][2] == "paper-v2"


def train_entry(
    entry: Entry,
    *,
    runs: Path,
    atlas: Path,
    workers: int | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    audits: Sequence[Callback] = (),
) -> Path:
    """Train one column, or go on with it, and pack it into the atlas.

    Parameters
    ----------
    entry : Entry
        Which one, and how large.
    runs : Path
        Folder of the training runs, one for each column.
    atlas : Path
        Folder of the atlas.
    workers, resume, progress
        As in `closerlook.training.train`.
    audits : sequence of Callback
        Of every update, where the column is of the second atlas.

    Returns
    -------
    Path
        The packed column. One that is packed already, from the same settings, is left as it is, unless all is to be
        computed again.

    Raises
    ------
    InputError
        As `require_free_folder` does; as `closerlook.training.train` does.
    """
    require_free_folder(entry, runs=runs, atlas=atlas, resume=resume)
    packed = atlas / entry.name
    if resume and _settings_of(packed) is not None:
        return packed
    run = train(
        entry.settings,
        out=runs / entry.name,
        workers=workers,
        resume=resume,
        progress=progress,
        callbacks=audits if entry.is_second else (),
    )
    return pack_run(run, packed, settings=entry.settings, with_optimizer=entry.with_optimizer)


def require_free_folder(entry: Entry, *, runs: Path, atlas: Path, resume: bool) -> None:
    """Refuse to put a column where something else would be lost.

    Parameters
    ----------
    entry : Entry
        The column.
    runs, atlas : Path
        Folders of training runs, and of packed columns.
    resume : bool
        Whether an earlier one of the same settings is gone on with.

    Raises
    ------
    InputError
        Where the run and what is packed of it would share a folder; where the atlas' folder of that name holds
        anything but a packed column, or one of other settings, or the log of one, that is not to be computed again.
    """
    packed = atlas / entry.name
    if (runs / entry.name).resolve() == packed.resolve():
        raise InputError(f"{packed} would hold the training run and the atlas", "give --runs and --out of their own")
    others = sorted(path for path in packed.rglob("*") if path.is_file() and not _is_packed(path.relative_to(packed)))
    if others or packed.is_file():
        what = f"{packed} is not a packed column ({others[0] if others else 'a file'} does not belong to one)"
        raise InputError(what, "give another --out")
    there = _settings_of(packed)
    if resume and there not in (None, as_json(entry.settings.resolved().to_json())):
        raise InputError(
            f"{packed} holds a column of other settings", "give another --out, or --no-resume to replace it"
        )
    if resume and there is not None and not checkpoints_of(packed):
        what = f"{packed} keeps the log of agents that were trained elsewhere"
        raise InputError(what, "give another --out, or --no-resume to replace it")


def _settings_of(packed: Path) -> Any:
    """Return what a packed column was trained with; None where it was not packed to the end."""
    settings = (RunFolder(packed).read_record() or {}).get("settings")
    # agents do not depend on who watched
    return {k: v for k, v in settings.items() if k != "callbacks"} if isinstance(settings, dict) else settings


def _is_packed(path: Path) -> bool:
    """Whether a file, by its place in a column's folder, is one that `pack_run` writes, or was writing."""
    *folders, name = path.parts
    if is_half_written(name):
        return True
    if not folders:
        return name in {RECORD, _LOG, OWNER}
    return folders[0] == CHECKPOINTS and len(folders) == 3 and name in {DESCRIPTION, PACKED}


def pack_run(run: TrainingRun, out: Path, *, settings: TrainSettings, with_optimizer: int) -> Path:
    """Pack a finished run: its checkpoints, its log and its record, the record last.

    Parameters
    ----------
    run : TrainingRun
        What `train` returned.
    out : Path
        Folder of the packed run; a packed run there is replaced.
    settings : TrainSettings
        What it was asked for: which iterations are packed.
    with_optimizer : int
        The first seeds, which keep their optimizer's state.
    """
    with owned(out):
        for name in (RECORD, _LOG, CHECKPOINTS):
            remove(out / name)
        last = settings.iterations
        kept = {it for it in settings.checkpoints if it <= last} | (
            {last} if last < max(settings.checkpoints) else set()
        )
        for iteration, number in itertools.product(sorted(kept), settings.numbers):
            optimizer = number < settings.first_seed + with_optimizer
            agent = load_agent(checkpoint_folder(run.folder, iteration, number))
            save_agent(agent, checkpoint_folder(out, iteration, number), optimizer=optimizer, packed=True)
        packed = RunFolder(out)
        packed.write_bytes(_LOG, gzip.compress(_short_log(run).encode(), 9, mtime=0))
        packed.write_json(RECORD, _public(RunFolder(run.folder).read_json(RECORD) or {}))
    return out


def _public(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a record what says where it was made: the machine's name, and the command with its folders."""
    host = {name: value for name, value in record.get("host", {}).items() if name != "name"}
    return {name: value for name, value in record.items() if name != "command"} | {"host": host}


def _short_log(run: TrainingRun) -> str:
    """Write the log with numbers of five digits, those of audits with three."""
    columns = {name: COLUMNS.get(name, "") for name in run.log}
    rows = zip(*(run.log[name].tolist() for name in columns), strict=True)
    short = ({name: _short(name, value) for name, value in zip(columns, row, strict=True)} for row in rows)
    return "\n".join([header(columns), *(as_line(row, columns) for row in short)]) + "\n"


def _short(name: str, value: float | str) -> float | str:
    if name.startswith("audit_"):
        return float(f"{value:.3g}")
    return float(f"{value:.5g}") if isinstance(value, float) and abs(value) < 1e5 else value


def size_of(atlas: Path) -> int:
    """Return the bytes of all files of the atlas."""
    return sum(file.stat().st_size for file in atlas.rglob("*") if file.is_file())


def require_small(atlas: Path) -> int:
    """Return the bytes of the atlas, without agents that are not to be kept.

    Raises
    ------
    InputError
        Where it is too large to be kept in the repository.
    """
    size = size_of(atlas) - sum(size_of(atlas / name / CHECKPOINTS) for name in LOGS_ALONE)
    if size > LARGEST:
        raise InputError(
            f"the atlas has {size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}", "keep the optimizer of fewer seeds"
        )
    return size


def names_of(chosen: Sequence[str]) -> list[str]:
    """Return the columns asked for, where none is all whose agents are kept, in the order of `ENTRIES`.

    Raises
    ------
    InputError
        Where there is no such column.
    """
    for name in chosen:
        _ = Entry(name.removeprefix(f"{ATLAS}/")).settings
    wanted = {name.removeprefix(f"{ATLAS}/") for name in chosen}
    return [name for name in ENTRIES if (name in wanted if wanted else name not in LOGS_ALONE)]
