"""Diagnostics: one package a question, found by name; other packages' by the entry point ``closerlook.diagnostics``.

Nothing here loads the engines: what is stored can be read, judged and drawn anywhere.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from closerlook.diagnostics.diagnostic import Diagnostic
from closerlook.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

ENTRY_POINT = "closerlook.diagnostics"
"""Group of entry points ``name = "package:DIAGNOSTIC"``, each a `Diagnostic` of another package."""
_FIRST = ("gradients", "values", "landscape", "trust_region")
"""In the order of the paper's sections; others follow."""


@cache
def all_diagnostics() -> Mapping[str, Diagnostic]:
    """Return every diagnostic there is, by name: packages in this folder that have one, then those of others."""
    found: dict[str, Diagnostic] = {}
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    for name in [*_FIRST, *(name for name in names if name not in _FIRST)]:
        package = import_module(f"{__name__}.{name}")
        if hasattr(package, "DIAGNOSTIC"):
            found[package.DIAGNOSTIC.name] = package.DIAGNOSTIC
    for point in metadata.entry_points(group=ENTRY_POINT):
        if point.name not in found:
            found[point.name] = point.load()
    return found


def find_diagnostic(name: str) -> Diagnostic:
    """Return the diagnostic of a name.

    Raises
    ------
    InputError
        Where there is none.
    """
    known = all_diagnostics()
    if name not in known:
        raise InputError(f"there is no diagnostic {name!r}", f"choose from {', '.join(known)}")
    return known[name]


def diagnostic_of(dataset: object) -> Diagnostic:
    """Return the diagnostic that a dataset is of.

    Raises
    ------
    InputError
        Where it is no dataset of a diagnostic.
    """
    from closerlook.results.schema import require_kind  # noqa: PLC0415 - xarray takes as long as the rest of --help

    return all_diagnostics()[require_kind(dataset, *all_diagnostics())]


def verdicts(dataset: "xr.Dataset", **limits: float) -> list[dict[str, Any]]:
    """Judge each agent of a dataset of any diagnostic.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.run`, or read from the file that it left.
    **limits
        Other limits than the usual ones, by name: each diagnostic's are in docs/options.md.

    Returns
    -------
    list of dict
        ``{area, level, statement, evidence, advice}``; level is ``ok``, ``watch``, ``problem`` or
        ``not_enough_data``.

    Raises
    ------
    InputError
        Where it is no dataset of a diagnostic (so does `summary`), or there is no limit of that name.

    See Also
    --------
    closerlook.summary : the numbers themselves.

    Examples
    --------
    >>> import closerlook as cl
    >>> dataset = cl.read_dataset("docs/data/gradients-hopper-ppo.nc").isel(agent=[0])
    >>> first = cl.verdicts(dataset)[0]
    >>> first["area"], first["level"]
    ('gradients', 'ok')
    >>> cl.verdicts(dataset, unusual_noise=0.0)[0]["level"]
    'watch'
    """
    return diagnostic_of(dataset).judge(dataset, **limits)


def summary(dataset: "xr.Dataset") -> dict[str, Any]:
    """Summarize a dataset of any diagnostic as JSON values; NaN is None.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.run`, or read from the file that it left.

    See Also
    --------
    closerlook.verdicts : what the numbers mean.

    Examples
    --------
    >>> import closerlook as cl
    >>> dataset = cl.read_dataset("docs/data/gradients-hopper-ppo.nc").isel(agent=[0])
    >>> cl.summary(dataset)["pairs"]
    [200704]
    """
    from closerlook.diagnostics.common.labels import known  # noqa: PLC0415

    diagnostic = diagnostic_of(dataset)
    return {
        "environment": dataset.attrs["environment"],
        "algorithm": dataset.attrs["algorithm"],
        "iteration": known(dataset["iteration"].values),
        "agent_seed": known(dataset["agent_seed"].values),
        "seed": int(dataset.attrs["seed"]),
        **diagnostic.summary(dataset),
        "precision": _precision(dataset.attrs),
        "verdicts": diagnostic.judge(dataset),
    }


def _precision(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Say whether the interval that was sampled to is as narrow as asked; None where nothing was asked."""
    if "precision" not in attributes:
        return None
    width = float(attributes["half_width"])
    return {
        "asked": float(attributes["precision"]),
        **({"size": int(attributes["precision_size"])} if "precision_size" in attributes else {}),
        "half_width": width if width == width else None,  # noqa: PLR0124 - NaN is null
        "reached": bool(attributes["precision_reached"]),
    }
