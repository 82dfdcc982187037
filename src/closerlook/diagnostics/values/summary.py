"""The JSON summary of a dataset of value prediction."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from closerlook.diagnostics.values.options import BATCHES, CRITICS, FOLLOWED, TARGETS
from closerlook.diagnostics.values.verdicts import audited
from closerlook.results.store import as_json

ENDS = ("", "_low", "_high")


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarize a dataset of this diagnostic as JSON values; NaN is None.

    ``gae_mre_heldout`` and its kin are of the critic after an update where the agent's algorithm is known, as in the
    paper, else of the critic as it is: ``audited`` says which.
    """
    attributes = dataset.attrs
    kind = audited(dataset)
    heldout = dataset.sel(critic=kind)
    names = {
        "gae_mre_heldout": heldout["mean_relative_error"].sel(target="gae"),
        "returns_mre_heldout": heldout["mean_relative_error"].sel(target="returns"),
        "explained_variance_gae": heldout["explained_variance"].sel(target="gae"),
        "explained_variance_returns": heldout["explained_variance"].sel(target="returns"),
    }
    return {
        "batch_pairs": int(attributes["batch_pairs"]),
        **{name: as_json(dataset[name].values) for name in ("pairs", "fitted_pairs", "mean_episode_return")},
        **_counts(dataset),
        "audited": kind,
        **_fixed(dataset, heldout, names),
        "critics": _critics(dataset),
        **_intervals(dataset, _SINGLE),
        "restarted": _restarted(dataset),
        "calibration": {target: _calibration(dataset.sel(target=target)) for target in TARGETS},
        "sizes": as_json(dataset["size"].values),
        "baselines": {name: _baseline(dataset.sel(baseline=name)) for name in map(str, dataset["baseline"].values)},
        "lambda_sweep": _sweep(dataset),
    }


_WITHOUT_TARGET = (
    "relative_error_as_released",
    "mean_relative_error_true_reward",
    "explained_variance_true_reward",
)
_SINGLE = (
    "noise_floor_mre",
    "fitted_explained_variance",
    "own_target_mre",
    "own_target_explained_variance",
    "own_target_unexplained_ratio",
    "exact_noise_floor_mre",
    "return_noise",
    "delivered_reduction",
    "excess_variance",
)


def _fixed(dataset: xr.Dataset, heldout: xr.Dataset, names: Mapping[str, xr.DataArray]) -> dict[str, Any]:
    """Return the numbers with fixed names, each with the ends of its interval."""
    found: dict[str, Any] = {}
    for name, array in names.items():
        variable, target = str(array.name), str(array["target"].values)
        for end in ENDS:
            found[f"{name}{end}"] = as_json(heldout[f"{variable}{end}"].sel(target=target).values)
    for target in TARGETS:
        for end in ENDS:
            values = dataset[f"train_mean_relative_error{end}"].sel(target=target).values
            found[f"{target}_mre_train{end}"] = as_json(values)
    return found


def _intervals(dataset: xr.Dataset, names: Sequence[str]) -> dict[str, Any]:
    """Return numbers and the ends of their intervals; none of what a dataset of an earlier version lacks."""
    found = [f"{name}{end}" for name in names if name in dataset for end in ENDS]
    return {name: as_json(dataset[name].values) for name in found}


def _counts(dataset: xr.Dataset) -> dict[str, Any]:
    """Return what datasets of earlier versions do not count."""
    found: dict[str, Any] = {}
    if "judged_pairs" in dataset:
        found["judged_pairs"] = as_json(dataset["judged_pairs"].values)
    if "update_fresh_optimizer" in dataset:
        found["update_fresh_optimizer"] = as_json(dataset["update_fresh_optimizer"].values)
    if "incomplete_returns" in dataset:
        found["incomplete_returns"] = as_json(dataset["incomplete_returns"].sel(true_gradient=FOLLOWED).values)
    return found


def _restarted(dataset: xr.Dataset) -> dict[str, Any]:
    names = ("squared_bias", "mean_squared_error")
    return {str(name): _intervals(dataset.sel(judged=name), names) for name in dataset["judged"].values}


def _critics(dataset: xr.Dataset) -> dict[str, Any]:
    variables = ("mean_relative_error", "median_relative_error", "explained_variance")
    return {
        kind: {target: _intervals(dataset.sel(critic=kind, target=target), variables) for target in TARGETS}
        | _intervals(dataset.sel(critic=kind), _WITHOUT_TARGET)
        for kind in CRITICS
    }


def _calibration(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the critic's mean value in each tenth of the pairs, and their mean target with its interval."""
    predicted = as_json(dataset["calibration_predicted"].values)
    ends = {f"target{end}": as_json(dataset[f"calibration_target{end}"].values) for end in ENDS}
    return {"predicted": predicted, **ends}


def _baseline(dataset: xr.Dataset) -> dict[str, Any]:
    sizes = as_json(dataset["size"].values)
    own, complete, ratio = "baseline_pairwise_cosine", "monte_carlo_pairwise_cosine", "variance_ratio"
    return {
        "sizes": sizes,
        "pairwise_cosine": as_json(dataset[own].values),
        "low": as_json(dataset[f"{own}_low"].values),
        "high": as_json(dataset[f"{own}_high"].values),
        **_intervals(dataset, (complete, ratio)),
    }


def _sweep(dataset: xr.Dataset) -> dict[str, Any]:
    found = {"lambdas": as_json(dataset["lambda"].values), "own": dataset.attrs.get("gae_lambda")}
    found |= _intervals(dataset, ("lambda_squared_bias", "lambda_variance"))
    return found | {
        f"{times}_batches": _intervals(dataset.sel(batches=times), ("lambda_cosine", "best_lambda", "lambda_gain"))
        for times in BATCHES
    }


def half_width(dataset: xr.Dataset, _: object) -> float:
    """Return half the length of the critic's explained variance's interval, of the agent where it is longest."""
    here = dataset.sel(critic="as_is", target="returns")
    return float(np.max((here["explained_variance_high"] - here["explained_variance_low"]).values) / 2)
