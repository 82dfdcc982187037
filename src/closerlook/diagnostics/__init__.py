"""Diagnostics: a package a question. What can be said of a dataset is looked up by its attribute ``diagnostic``."""

from importlib import import_module
from typing import Any

import xarray as xr

from closerlook.results.schema import require_kind

_PACKAGES = {
    "gradients": "gradients",
    "values": "values",
    "landscape": "landscape",
    "trust-region": "trust_region",
}


def verdicts(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Judge each agent of a dataset of any diagnostic.

    Returns
    -------
    list of dict
        ``{area, level, statement, evidence, advice}``; level is ``ok``, ``watch``, ``problem`` or
        ``not_enough_data``.

    Raises
    ------
    InputError
        Where it is no dataset of a diagnostic; so does `summary`.
    """
    found: list[dict[str, Any]] = _package(dataset).verdicts(dataset)
    return found


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarise a dataset of any diagnostic as JSON values; NaN is None."""
    found: dict[str, Any] = _package(dataset).summary(dataset)
    return found


def _package(dataset: xr.Dataset) -> Any:
    return import_module(f"closerlook.diagnostics.{_PACKAGES[require_kind(dataset, *_PACKAGES)]}")
