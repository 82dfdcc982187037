"""netCDF files, read in one pass.

What is read here is what xarray reads with the netCDF library, of files without groups. That library ends the process
on some damaged files (one of 3,000 with a few bytes changed); a file from elsewhere may only get a line.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from closerlook.errors import InputError

INTERNAL = {
    "CLASS",
    "NAME",
    "REFERENCE_LIST",
    "DIMENSION_LIST",
    "DIMENSION_LABELS",
    "_Netcdf4Coordinates",
    "_Netcdf4Dimid",
    "_NCProperties",
    "_nc3_strict",
}
"""Attributes by which netCDF keeps its dimensions in HDF5 (netCDF-4 file format specification, "Dimensions")."""
MOST_BYTES = 4_000_000_000
"""Of a variable that is read."""
_MEND = "give the .nc file of a measurement"
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    AttributeError,
    IndexError,
    MemoryError,
    OverflowError,
)
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


def read_netcdf(path: str | Path) -> xr.Dataset:
    """Read all of a dataset into memory.

    Parameters
    ----------
    path : str or Path
        A netCDF-4 file; its groups are left out.

    Returns
    -------
    xarray.Dataset
        Decoded as xarray does: times, fill values, flags.

    Raises
    ------
    InputError
        Where there is no such file, it is no netCDF-4 file, it takes numbers from other files, or one of its variables
        is too large.
    """
    try:
        with h5py.File(path) as file:
            return xr.decode_cf(xr.Dataset(dict(_variables(file)), attrs=_attributes(file)))
    except FileNotFoundError as missing:
        raise InputError(f"there is no file {path}", _MEND) from missing
    except _DAMAGED as damaged:
        raise InputError(f"{path} is not a netCDF file", _MEND) from damaged


def _variables(file: h5py.File) -> Iterator[tuple[str, xr.Variable]]:
    for name in file:
        item = _own(file, name)
        if not isinstance(item, h5py.Dataset) or item.attrs.get("NAME", b"").startswith(_NO_VARIABLE):
            continue
        scales = item.attrs.get("DIMENSION_LIST")
        # a scale is its own dimension
        dims = [name] * item.ndim if scales is None else [_named(file, references[0]) for references in scales]
        is_text = h5py.check_string_dtype(item.dtype) is not None
        values = np.asarray(item.asstr()[()], dtype=np.str_) if is_text else item[()]
        yield name, xr.Variable(dims, values, _attributes(item))


def _own(file: h5py.File, name: str) -> Any:
    """Return what a file holds by a name; refuse what it only points to, and what a few bytes would unfold to."""
    link = file.get(name, getlink=True)
    item = file[name] if isinstance(link, h5py.HardLink) else None
    if item is None or (isinstance(item, h5py.Dataset) and (item.is_virtual or item.external)):
        raise InputError(f"{file.filename}: {name!r} is a link or in another file", _MEND)
    if isinstance(item, h5py.Dataset) and item.nbytes > MOST_BYTES:
        what = f"{file.filename}: {name!r} would take {item.nbytes / 1e9:,.0f} GB, more than {MOST_BYTES / 1e9:.0f}"
        raise InputError(what, _MEND)
    return item


def _named(file: h5py.File, reference: h5py.Reference) -> str:
    return str(h5py.h5r.get_name(reference, file.id), "utf-8").removeprefix("/")


def _attributes(item: h5py.File | h5py.Dataset) -> dict[str, Any]:
    return {name: _value(value) for name, value in item.attrs.items() if name not in INTERNAL}


def _value(value: Any) -> Any:
    """Return an attribute as xarray gives it: one value is no array, several words are a list."""
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, np.ndarray):
        return value
    if value.size == 1:
        return value.ravel()[0]
    return value.tolist() if value.dtype.kind == "O" else value
