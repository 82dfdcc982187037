"""Answers of finished jobs as files, so that a run can be taken up again."""

import hashlib
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from closerlook.results.writing import mendable, write_bytes


class JobFiles:
    """Answers of jobs as files, one for each key: an .npz whose archive comment is a digest of key and arrays.

    Parameters
    ----------
    path : Path
        Their folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __bool__(self) -> bool:
        """Whether any answer is stored."""
        return any(self.path.glob("*.npz"))

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """Return a stored answer; None where there is none, or its file is not what `save` left there."""
        try:
            content = BytesIO((self.path / f"{key}.npz").read_bytes())
            with np.load(content, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
                return found if arrays.zip.comment == _digest(key, found) else None
        except (OSError, ValueError, KeyError, EOFError, AttributeError, RuntimeError, zipfile.BadZipFile):
            return None

    def discard(self, key: str) -> None:
        """Delete a stored answer, where there is one, so that it is computed again."""
        path = self.path / f"{key}.npz"
        with mendable(path):
            path.unlink(missing_ok=True)

    def save(self, key: str, result: Mapping[str, np.ndarray]) -> None:
        """Store an answer, all of it or nothing.

        Raises
        ------
        InputError
            Where the disk is full or cannot be written.
        """
        content = BytesIO()
        with zipfile.ZipFile(content, "w") as archive:  # numpy.savez has names of its own among its arguments
            for name, array in result.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.comment = _digest(key, result)
        write_bytes(self.path / f"{key}.npz", content.getvalue())


def _digest(key: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Hash an answer with the key it belongs to, as hexadecimal digits; the order of its arrays does not matter."""
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        heading = f"{name} {array.dtype.str} {np.shape(arrays[name])} "
        digest.update(f"{len(heading)} {heading}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest().encode()
