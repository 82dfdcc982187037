"""What a finished run left, by digests in its record: the same command answers from what is still there as it was.

Nothing here changes a run, nor takes its folder but to note what was drawn: a run that goes on is not finished.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from closerlook.errors import InputError
from closerlook.results.ownership import owned
from closerlook.results.store import RECORD, RunFolder, as_json, versions


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Name files of one folder by what is in them.

    Parameters
    ----------
    files : iterable of Path
        That were written.

    Returns
    -------
    dict of str to str
        SHA-256 of each file, by its name.
    """
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def finished_files(folder: RunFolder, kind: str, settings: Mapping[str, Any]) -> list[Path]:
    """Return the files of a finished run; nothing where one is missing or altered, or where it is another run.

    Parameters
    ----------
    folder : RunFolder
        Whose record may hold ``files``, of `digests`.
    kind : str
        Of the command.
    settings : mapping
        What decides its numbers.

    Raises
    ------
    InputError
        Where the folder's record cannot be read, or is not one.
    """
    record = folder.read_record() or {}
    same = {"kind": kind, "settings": as_json(settings), "versions": versions(), "finished": True}
    return _still_there(folder.path, record.get("files")) if _agrees(record, same) else []


def figures_of(folder: RunFolder, shown: Sequence[Path], draw: Callable[[], list[Path]]) -> list[Path]:
    """Return figures of files of a run: those that were drawn of the same files, or else drawn now.

    Parameters
    ----------
    folder : RunFolder
        Where all of them are.
    shown : sequence of Path
        What they show.
    draw : callable
        Draws them, and returns the files.

    Raises
    ------
    InputError
        Where the record cannot be read, or what `draw` raises.
    """
    drawn_of = {"of": digests(shown), "versions": versions()}
    noted = (folder.read_json(RECORD) or {}).get("figures")
    if (
        isinstance(noted, dict)
        and _agrees(noted, drawn_of)
        and (there := _still_there(folder.path, noted.get("files")))
    ):
        return there
    files = draw()
    # where another command has taken the folder meanwhile, they are drawn again next time
    with suppress(InputError), owned(folder.path):
        record = folder.read_json(RECORD) or {}
        folder.write_json(RECORD, record | {"figures": {**drawn_of, "files": digests(files)}})
    return files


def _agrees(record: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    return all(record.get(name) == value for name, value in asked.items())


def _still_there(folder: Path, noted: Any) -> list[Path]:
    """Return files that a record names, where all of them are there as they were left; else none."""
    # a record may come from elsewhere: nothing outside its folder is looked at
    if not isinstance(noted, dict) or any(name != Path(name).name for name in noted):
        return []
    files = [folder / name for name in noted]
    try:
        return files if digests(files) == noted else []
    except (OSError, ValueError):
        return []
