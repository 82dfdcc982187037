"""netCDF files are read as xarray and the netCDF library read them, and no file that is something else is half read."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from closerlook.errors import InputError
from closerlook.results.netcdf import read_netcdf
from closerlook.results.reading import read_dataset

STORED = sorted((Path(__file__).parents[2] / "docs" / "data").rglob("*.nc"))


def same_as_the_library(path):
    theirs, ours = xr.load_dataset(path, engine="netcdf4"), read_netcdf(path)
    xr.testing.assert_identical(ours, theirs)
    for name in theirs.variables:
        assert ours[name].dtype == theirs[name].dtype
    for one, other in [(ours, theirs), *((ours[name], theirs[name]) for name in theirs.variables)]:
        assert {name: type(value) for name, value in one.attrs.items()} == {
            name: type(value) for name, value in other.attrs.items()
        }


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if at % 9 == 0 else pytest.mark.slow) for at, path in enumerate(STORED)],
)
def test_stored_datasets_are_read_as_the_library_reads_them(path):
    same_as_the_library(path)


def odd():
    """A dataset of all kinds of values: flags, text, no values, missing ones, a size without a coordinate."""
    return xr.Dataset(
        {
            "flags": ("x", [True, False, True], {"description": "of one kind"}),
            "counts": (("x", "y"), np.arange(6, dtype=np.int32).reshape(3, 2)),
            "missing": ("x", [1.0, np.nan, np.inf]),
            "alone": ((), 3.5),
            "said": ((), "one word"),
            "none": ("z", np.zeros(0)),
            "square": (("x", "x2"), np.eye(3)),
        },
        coords={"x": ["a", "bé", ""], "y": [0.5, 1.5], "label": ("x", ["p", "q", "r"])},
        attrs={"empty": "", "list": [1.0, 2.0], "one": [3], "number": np.int64(4), "words": ["a", "b"]},
    )


def test_every_kind_of_value_is_read_as_the_library_reads_it(tmp_path):
    odd().to_netcdf(tmp_path / "odd.nc", engine="netcdf4")
    same_as_the_library(tmp_path / "odd.nc")


def lost_scale(file):
    del file["x"]


def no_text(file):
    file["said"].attrs["NAME"] = 7


def of_a_kind(file):
    file["pair"] = np.zeros(2, dtype=[("a", "f8"), ("b", "i4")])
    file["pair"].attrs["DIMENSION_LIST"] = "none"


def cut(path):
    path.write_bytes(path.read_bytes()[:2000])


def filled(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 4 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 4)
    path.write_bytes(whole)


@pytest.mark.parametrize("damage", [cut, filled])
def test_damaged_files_get_one_line(damage, tmp_path):
    path = tmp_path / "odd.nc"
    odd().to_netcdf(path, engine="netcdf4")
    damage(path)
    with pytest.raises(InputError, match="is not a netCDF file"):
        read_dataset(path)


def linked(file):
    file["elsewhere"] = h5py.ExternalLink("other.nc", "/alone")


def external(file):
    file.create_dataset("outside", (4,), dtype="u1", external=[("secret.txt", 0, 4)])


def virtual(file):
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.nc", "alone", shape=(3,))
    file.create_virtual_dataset("outside", layout)


@pytest.mark.parametrize("change", [linked, external, virtual])
def test_nothing_is_read_from_other_files(change, tmp_path):
    odd().to_netcdf(tmp_path / "other.nc", engine="netcdf4")
    (tmp_path / "secret.txt").write_text("1234")
    odd().to_netcdf(tmp_path / "odd.nc", engine="netcdf4")
    with h5py.File(tmp_path / "odd.nc", "r+") as file:
        change(file)
    with pytest.raises(InputError, match=r"'(elsewhere|outside)' is a link or in another file"):
        read_dataset(tmp_path / "odd.nc")


def test_a_few_bytes_do_not_fill_the_memory(tmp_path):
    with h5py.File(tmp_path / "large.nc", "w") as file:
        file.create_dataset("x", (10**13,), chunks=(2**16,), dtype="f8", compression="gzip")
    with pytest.raises(InputError, match="'x' would take 80,000 GB, more than 4"):
        read_dataset(tmp_path / "large.nc")


@pytest.mark.parametrize("change", [lost_scale, no_text, of_a_kind])
def test_files_that_break_the_format_get_one_line(change, tmp_path):
    path = tmp_path / "odd.nc"
    odd().to_netcdf(path, engine="netcdf4")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match="is not a netCDF file"):
        read_dataset(path)
