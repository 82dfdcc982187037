"""Stored datasets, read: names that earlier versions of the schema had become today's.

Files stay as they were written; whatever reads a dataset from here sees names of `SCHEMA_VERSION` alone.
"""

from pathlib import Path

import numpy as np
import xarray as xr

from closerlook.errors import InputError
from closerlook.results.former_names import FORMER_LABELS, FORMER_NAMES
from closerlook.results.netcdf import read_netcdf
from closerlook.results.schema import SCHEMA_VERSION


def read_dataset(path: str | Path) -> xr.Dataset:
    """Read a stored dataset, of this version of the schema or an earlier one.

    Parameters
    ----------
    path : str or Path
        A netCDF file that a measurement or a study wrote.

    Returns
    -------
    xarray.Dataset
        With today's names of variables, dimensions and labels.

    Raises
    ------
    InputError
        Where there is no such file, it is no netCDF file of its own, or it is of a later version than this.

    See Also
    --------
    closerlook.verdicts : what the numbers mean.
    closerlook.summary : the numbers as JSON values.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.read_dataset("docs/data/gradients-hopper-ppo.nc").attrs["diagnostic"]
    'gradients'
    """
    dataset = read_netcdf(path)
    version = dataset.attrs.get("schema_version", 1)
    if not isinstance(version, int | np.integer) or version > SCHEMA_VERSION:
        what = f"{path} is of version {version} of the schema, newer than {SCHEMA_VERSION}"
        raise InputError(what, "read it with a newer closerlook")
    return dataset if version == SCHEMA_VERSION else with_present_names(dataset)


def with_present_names(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset of an earlier version with the names of this one.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of version 1.

    Returns
    -------
    xarray.Dataset
        The same numbers; its ``schema_version`` is this version's, and ``measured_with_schema`` that of its
        estimators: some have been mended since.
    """
    present = {f"{old}{end}": f"{new}{end}" for old, new in FORMER_NAMES.items() for end in ("", "_low", "_high")}
    words = present | FORMER_LABELS

    def named(value: object) -> object:
        return words.get(value, value) if isinstance(value, str) else value

    known = {*map(str, dataset.variables), *map(str, dataset.dims)}
    renamed = dataset.rename({name: present[name] for name in known & present.keys()})
    texts = {name: one for name, one in renamed.coords.items() if one.dtype.kind in "OU" and one.ndim == 1}
    labels = {name: one.copy(data=np.array([named(value) for value in one.values])) for name, one in texts.items()}
    attributes = {name: named(value) for name, value in dataset.attrs.items()}
    attributes |= {"schema_version": SCHEMA_VERSION, "measured_with_schema": dataset.attrs.get("schema_version", 1)}
    return renamed.assign_coords(labels).assign_attrs(attributes)
