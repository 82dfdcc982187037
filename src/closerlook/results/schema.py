"""Every variable of every dataset: its dimensions, unit, definition and source.

The schema is written before the code: a diagnostic may store only what is defined here, and the documentation of
datasets is generated from it.
"""

from collections.abc import Iterable

import xarray as xr

from closerlook.errors import InputError
from closerlook.results.variables import Variable

SCHEMA_VERSION = 2
"""Raised whenever a definition changes; datasets carry it as the attribute ``schema_version``."""


def by_name(variables: Iterable[Variable]) -> dict[str, Variable]:
    """Return variables by name.

    Raises
    ------
    ValueError
        Where a name has two definitions.
    """
    found: dict[str, Variable] = {}
    for variable in variables:
        if found.setdefault(variable.name, variable) != variable:
            raise ValueError(f"{variable.name} is defined twice")
    return found


def validate(dataset: xr.Dataset, variables: Iterable[Variable]) -> xr.Dataset:
    """Check a dataset against the definitions of its variables, and label it from them.

    Parameters
    ----------
    dataset : xarray.Dataset
        To be labeled; not changed.
    variables : iterable of Variable
        Their definitions.

    Returns
    -------
    xarray.Dataset
        The dataset, each variable with the attributes ``units``, ``long_name`` and ``source``.

    Raises
    ------
    ValueError
        Where a variable is not defined, or has other dimensions than its definition.
    """
    labeled, defined = dataset.copy().assign_attrs(schema_version=SCHEMA_VERSION), by_name(variables)
    for name in map(str, labeled.data_vars):
        variable = defined.get(name)
        if variable is None:
            raise ValueError(f"{name} is not defined in the schema")
        dims = tuple(dim for dim in variable.dims if dim != "agent" or "agent" in dataset.dims)
        stored = labeled.variables[name]
        if stored.dims != dims:
            raise ValueError(f"{name} has dimensions {stored.dims}, its definition says {dims}")
        stored.attrs.update(units=variable.unit, long_name=variable.definition, source=variable.source)
    return labeled


def require_kind(dataset: object, *kinds: str) -> str:
    """Return of which diagnostic a dataset is.

    Parameters
    ----------
    dataset : object
        What was given.
    *kinds : str
        Names of diagnostics.

    Raises
    ------
    InputError
        Where it is of none of these, or no dataset, or of an earlier version of the schema.
    """
    if isinstance(dataset, xr.Dataset) and dataset.attrs.get("schema_version", SCHEMA_VERSION) < SCHEMA_VERSION:
        raise InputError("this dataset has names of an earlier version", "read it with closerlook.read_dataset(path)")
    found = dataset.attrs.get("diagnostic") if isinstance(dataset, xr.Dataset) else type(dataset).__name__
    if found not in kinds:
        what = f"this takes a dataset of {' or '.join(kinds)}, not {'one without a name' if found is None else found}"
        raise InputError(what, "give what the diagnostic of that name returned, or load its .nc file")
    return str(found)


def describe(variables: Iterable[Variable]) -> str:
    """Return variables as a Markdown table, whose cells hold no bar of their own."""
    cells = [
        [f"`{v.name}`", ", ".join(v.dims) or "-", v.unit, v.definition, v.source] for v in by_name(variables).values()
    ]
    rows = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]
    return "\n".join(["| variable | dimensions | unit | definition | source |", "|---|---|---|---|---|", *rows]) + "\n"
