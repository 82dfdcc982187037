"""Batches as ``.npz`` files, which are hostile until parsed: nothing is unpickled, nothing larger than it is read."""

import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from closerlook.errors import InputError
from closerlook.results.writing import write_bytes

MOST_BYTES = 8 * 2**30
"""Of all arrays of a file together."""
LONGEST_HEADER = 10_000
LONGEST_WORD = 32
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write_fields(file: Path, held: Mapping[str, Any]) -> Path:
    """Write arrays, numbers and words by name, what is None left out; see `Batch.save`.

    Parameters
    ----------
    file : Path
        With or without the suffix ``.npz``.
    held : mapping of str to object
        Fields by name.
    """
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in held.items() if value is not None}
    np.savez_compressed(content, **arrays)
    return write_bytes(file if file.suffix == ".npz" else file.with_name(f"{file.name}.npz"), content.getvalue())


def read_fields(file: Path, names: Sequence[str], numbers: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Read the fields of a batch; see `Batch.load`.

    Parameters
    ----------
    file : Path
        The file.
    names : sequence of str
        What may be in it.
    numbers, words : sequence of str
        Which of them are single numbers, or words.

    Raises
    ------
    InputError
        Where the file is not there, is no ``.npz`` of arrays of numbers, or says that it is other than it is.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _entries(archive, file, names)
            held = {name: _read(archive, entry, file, is_word=name in words) for name, entry in entries.items()}
    except OSError as error:
        what = f"there is no {file}" if isinstance(error, FileNotFoundError) else f"{file} cannot be read"
        raise InputError(what, "give a file that Batch.save or numpy.savez wrote") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise _not_a_batch(file, "it is damaged" if "CRC" in str(error) else "it is not an .npz file") from None
    if "rewards" not in held:
        raise _not_a_batch(file, f"it has no rewards, but {', '.join(sorted(held)) or 'nothing'}")
    for name in (*numbers, *words):
        if name in held:
            if held[name].shape != ():
                raise _not_a_batch(file, f"{name} has the shape {list(held[name].shape)}, not a single value")
            held[name] = held[name].item()
    return held


def _not_a_batch(file: Path, why: str) -> InputError:
    return InputError(
        f"{file} is not a training batch: {why}", "write it with Batch.save, or numpy.savez with its names"
    )


def _entries(archive: zipfile.ZipFile, file: Path, names: Sequence[str]) -> dict[str, zipfile.ZipInfo]:
    """Return what the archive holds of a batch's fields, by name; all of it has to be known."""
    entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    strange = sorted(set(entries) - set(names))
    if strange:
        named = ascii(strange[0])[:60]
        raise _not_a_batch(file, f"{named} is not a field of a batch")
    if len(entries) < len(archive.infolist()):
        raise _not_a_batch(file, "it holds a field twice")
    if sum(entry.file_size for entry in entries.values()) > MOST_BYTES:
        raise _not_a_batch(file, f"it says that it holds more than {MOST_BYTES / 2**30:.0f} GiB")
    return entries


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file: Path, *, is_word: bool) -> np.ndarray:
    """Read one array: its header first, whose size has to be what the archive says that there is."""
    name = entry.filename.removesuffix(".npy")
    with archive.open(entry) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header that numpy warns of is refused below, or as good as any
        try:
            version = np.lib.format.read_magic(stream)
            shape, fortran, dtype = _HEADERS[version](stream, max_header_size=LONGEST_HEADER)
        except (ValueError, KeyError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise _not_a_batch(file, f"{name} is not a NumPy array") from None
        short_word = dtype.kind == "U" and shape == () and dtype.itemsize <= 4 * LONGEST_WORD
        if not (short_word if is_word else dtype.kind in "biuf"):
            raise _not_a_batch(file, f"{name} holds {dtype.kind!r}, not numbers")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size != entry.file_size - stream.tell():
            raise _not_a_batch(file, f"{name} says it has the shape {list(shape)}, which is not what there is")
        array = np.frombuffer(bytearray(stream.read(size)), dtype=dtype)
        stream.read(1)  # at the end the archive's checksum is looked at
        if len(array) != math.prod(shape):
            raise _not_a_batch(file, f"{name} is cut short")
    return array.reshape(shape, order="F" if fortran else "C")
