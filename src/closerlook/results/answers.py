"""Answers of finished jobs as files, so that a run can be taken up again.

An answer is an .npz file, which numpy reads; the comment of the archive is a digest of key and arrays. It is read back
by nothing that interprets what it finds: only plain arrays, not compressed, whose sizes are those of the file.
"""

import hashlib
import math
import os
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np

from closerlook.results.writing import plain_errors, write_bytes

_SIZES = struct.Struct("<26x2H")
"""What precedes an array in the archive ends with a name and an extra field, whose lengths these are."""
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|][biufcUS]\d{1,9})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n"
)
"""The header of an array, as numpy.lib.format writes it."""


class JobFiles:
    """Answers of jobs as files, one for each key.

    Parameters
    ----------
    path : Path
        Their folder.
    require_own : callable, optional
        Called before anything is changed; raises where that is not to be.
    """

    def __init__(self, path: Path, require_own: Callable[[], None] | None = None) -> None:
        self.path = path
        self._require_own = require_own or (lambda: None)

    @property
    def folder(self) -> Path:
        """The run folder that they are in."""
        return self.path.parent

    def for_others(self) -> "JobFiles":
        """Return the same files for who does not own the folder."""
        return JobFiles(self.path.absolute())

    def __bool__(self) -> bool:
        """Whether any answer is stored."""
        return any(self.path.glob("*.npz"))

    def load(self, key: str, *, compared: bool = False) -> dict[str, np.ndarray] | None:
        """Return a stored answer; None where there is none, or its file is not what `save` left there under the key.

        Parameters
        ----------
        key : str
            Name of all that decides the answer.
        compared : bool
            Whether its digest was compared before, so that it is not again, which would take longer than to read the
            answer: of a file that was changed since, sizes and form alone are looked at.
        """
        path = self.path / f"{key}.npz"
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                # an archive that claims to unpack to more than its own size is damaged or hostile: nothing is allocated
                # for it
                room = os.fstat(file.fileno()).st_size
                found = {}
                for member in archive.infolist():
                    room -= member.file_size
                    if room < 0 or member.compress_type != zipfile.ZIP_STORED:
                        return None
                    found[member.filename.removesuffix(".npy")] = _read_array(file, member)
                return found if compared or archive.comment == _digest(key, found) else None
        except Exception:  # zipfile's and numpy's own count too: what does not read is not there
            return None

    def discard(self, key: str) -> None:
        """Delete a stored answer, where there is one, so that it is computed again."""
        self._require_own()
        path = self.path / f"{key}.npz"
        with plain_errors(path):
            path.unlink(missing_ok=True)

    def save(self, key: str, result: Mapping[str, np.ndarray]) -> None:
        """Store an answer, all of it or nothing.

        Parameters
        ----------
        key : str
            Name of all that decides the answer.
        result : mapping of str to ndarray
            The answer.

        Raises
        ------
        InputError
            Where the disk is full or cannot be written.
        """
        self._require_own()
        content = BytesIO()
        with zipfile.ZipFile(content, "w") as archive:  # numpy.savez has names of its own among its arguments
            for name, array in result.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.comment = _digest(key, result)
        # not waited for: what a power loss leaves half written does not read, and is computed again
        write_bytes(self.path / f"{key}.npz", content.getvalue(), durable=False)


def _read_array(file: BufferedReader, member: zipfile.ZipInfo) -> np.ndarray:
    """Read one array, which has to fill its place in the archive; its checksum is not compared, as the digest is.

    Raises
    ------
    Exception
        Any, where it does not.
    """
    file.seek(member.header_offset)
    file.seek(sum(_SIZES.unpack(file.read(_SIZES.size))), os.SEEK_CUR)
    content = bytearray(member.file_size)
    if file.readinto(content) < len(content):
        raise ValueError("cut off")
    start = len(_MAGIC) + 2
    stop = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    # parsed by a pattern rather than evaluated: numpy's own reader takes longer, and object arrays need pickle
    header = _HEADER.fullmatch(content[start:stop])
    if content[: len(_MAGIC)] != _MAGIC or header is None:
        raise ValueError("not an array")
    shape = tuple(int(size) for size in header[3].replace(b",", b" ").split())
    dtype = np.dtype(header[1].decode())
    if math.prod(shape) * dtype.itemsize != len(content) - stop:
        raise ValueError("not of the size it says")
    return np.ndarray(shape, dtype, content, stop, order="F" if header[2] == b"True" else "C")


def _digest(key: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Hash an answer with the key it belongs to, as hexadecimal digits; the order of its arrays does not matter."""
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # lengths before contents, so that no two sets of arrays are the same bytes
        heading = f"{name} {array.dtype.str} {np.shape(arrays[name])} "
        digest.update(f"{len(heading)} {heading}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest().encode()
