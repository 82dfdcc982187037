"""Answers on disk: whatever happened to a file before it is read first, it is read as it was written or not at all."""

import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from closerlook.results.answers import JobFiles

SMALL = {"a": np.arange(2.0)}


def same(found: dict[str, np.ndarray] | None, answer: dict[str, np.ndarray]) -> bool:
    return found is not None and {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in found.items()
    } == {name: (array.dtype, array.shape, array.tobytes()) for name, array in answer.items()}


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 2), dtype=np.float32), np.asfortranarray(np.arange(12).reshape(3, 4)), np.array(1 + 2j),
        np.array(["", "ä"]), np.array(b"x"), np.array([True, False]), np.arange(6, dtype=">i2"), np.full(2, ""),
    ],
)  # fmt: skip
def test_arrays_of_every_kind_come_back(tmp_path: Path, array: np.ndarray) -> None:
    JobFiles(tmp_path).save("key", {"array": array})
    found = JobFiles(tmp_path).load("key")
    assert found is not None
    assert same(found, {"array": array})
    assert found["array"].flags.writeable


@pytest.mark.parametrize(
    "every", [pytest.param(False, id="one of each byte"), pytest.param(True, id="every", marks=pytest.mark.slow)]
)
def test_a_flipped_bit_is_found(tmp_path: Path, every: bool) -> None:
    files, path = JobFiles(tmp_path), tmp_path / "key.npz"
    files.save("key", SMALL)
    whole = path.read_bytes()
    missing, bits = 0, range(8 * len(whole)) if every else [9 * byte for byte in range(len(whole))]
    for bit in bits:
        altered = bytearray(whole)
        altered[bit // 8 % len(whole)] ^= 1 << bit % 8
        path.write_bytes(altered)
        found = files.load("key")
        missing += found is None
        assert found is None or same(found, SMALL)
    assert missing > len(bits) / 2  # the others are bits of dates and versions, which decide nothing


def test_what_was_compared_before_is_read_and_not_compared_again(tmp_path: Path) -> None:
    files, path = JobFiles(tmp_path), tmp_path / "key.npz"
    files.save("key", {"a": np.full(3, 7.0)})
    whole = path.read_bytes()
    altered = whole.replace(np.float64(7).tobytes(), np.float64(8).tobytes())
    path.write_bytes(altered)
    assert files.load("key") is None
    assert same(files.load("key", compared=True), {"a": np.full(3, 8.0)})
    path.write_bytes(whole[: whole.index(np.float64(7).tobytes()) + 10])
    assert files.load("key", compared=True) is None


def test_an_array_that_would_reach_beyond_the_file_counts_as_missing(tmp_path: Path) -> None:
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%4d,), }" + b" " * 20 + b"\n"
    magic = b"\x93NUMPY\x01\x00" + len(text % 0).to_bytes(2, "little")
    for beyond in (0, 5):
        with zipfile.ZipFile(tmp_path / "key.npz", "w") as archive:
            archive.writestr("a.npy", magic + text % 0)
        whole = bytearray((tmp_path / "key.npz").read_bytes())
        start = whole.index(magic)
        size = len(whole) - start + beyond  # all that follows is taken for the array's, and more than that
        whole[start : start + len(magic + text % 0)] = magic + text % (size - len(magic + text % 0))
        (tmp_path / "key.npz").write_bytes(whole)
        resized(tmp_path / "key.npz", size)
        found = JobFiles(tmp_path).load("key", compared=True)
        assert (found is None) == (beyond > 0)
    assert JobFiles(tmp_path).load("key") is None


def test_every_beginning_of_a_file_counts_as_missing(tmp_path: Path) -> None:
    files, path = JobFiles(tmp_path), tmp_path / "key.npz"
    files.save("key", SMALL)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert files.load("key") is None


HEADERS = {
    "8 TB": b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
    "endless": b"{'descr': '<f8', 'fortran_order': False, 'shape': (%s,), }" % (b"9" * 5000),
    "objects": b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "code": b"{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,), }",
    "nested": b"(" * 5000,
    "negative": b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1), }",
    "wide": b"{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,), }",
    "records": b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }",
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_that_say_anything_count_as_missing(tmp_path: Path, header: bytes, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "key.npz", "w", compression) as archive:
        text = header + b"\n"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8))
    assert JobFiles(tmp_path).load("key") is None


BOMB = """
import resource, sys, zipfile
from pathlib import Path
from closerlook.results.answers import JobFiles
path = Path(sys.argv[1])
with zipfile.ZipFile(path / "key.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
    with archive.open("a.npy", "w", force_zip64=True) as member:
        for _ in range(200):
            member.write(bytes(2**20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert JobFiles(path).load("key") is None
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BOMB, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50  # MB, of the 200 that it says


def resized(path: Path, size: int) -> None:
    """Let the directory at the end of an archive of one member say that it has so many bytes, packed and unpacked."""
    whole = bytearray(path.read_bytes())
    at = whole.index(b"PK\x01\x02") + 20
    whole[at : at + 8] = 2 * size.to_bytes(4, "little")
    path.write_bytes(whole)


def test_a_size_beyond_that_of_the_file_is_not_believed(tmp_path: Path) -> None:
    JobFiles(tmp_path).save("key", SMALL)
    resized(tmp_path / "key.npz", 200 * 2**20)
    tracemalloc.start()
    assert JobFiles(tmp_path).load("key") is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
