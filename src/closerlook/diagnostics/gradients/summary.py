"""The JSON summary of a dataset of gradient estimates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from closerlook.diagnostics.gradients.options import Options
from closerlook.results.store import as_json

_SUMMARIZED = (
    "pairs",
    "streams",
    "trajectories",
    "mean_episode_return",
    "pairs_used",
    "estimates",
    "pairwise_cosine",
    "pairwise_cosine_low",
    "pairwise_cosine_high",
    "true_cosine",
    "true_cosine_low",
    "true_cosine_high",
    "true_cosine_corrected",
    "true_cosine_corrected_low",
    "true_cosine_corrected_high",
    "predicted_pairwise_cosine",
    "predicted_true_cosine",
    "gradient_norm",
    "zero_gradients",
    "squared_gradient_norm",
    "gradient_variance",
    "noise_scale_pairs",
    "noise_scale_trajectories",
    *(
        f"pairs_for_{kind}_cosine_{value}{end}"
        for kind in ("pairwise", "true")
        for value in ("half", "nine_tenths")
        for end in ("", "_low", "_high")
    ),
    *(f"effective_sample_fraction{end}" for end in ("", "_low", "_high")),
    "between_trajectory_share",
)


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarize a dataset of this diagnostic as JSON values.

    Returns
    -------
    dict
        Arrays along ``sizes``, under a leading agent axis where the dataset has one; NaN is None.
    """
    attributes = dataset.attrs
    return {
        "advantages": attributes["advantages"],
        "batch_pairs": int(attributes["batch_pairs"]),
        "sizes": as_json(dataset["size"].values),
        **{name: as_json(dataset[name].values) for name in _SUMMARIZED if name in dataset},
        "noise_scale_low": as_json(dataset["noise_scale_pairs_low"].values),
        "noise_scale_high": as_json(dataset["noise_scale_pairs_high"].values),
        "alternatives": _named(
            dataset, "alternative", ("alternative_pairwise_cosine", "alternative_true_cosine_corrected")
        ),
        "true_gradients": _named(
            dataset, "true_gradient", ("cosine_to_true_gradient", "cosine_to_true_gradient_corrected")
        ),
        "updates": _updates(dataset),
        "cosine_between_true_gradients": _named(dataset, "true_gradient_pair", ("cosine_between_true_gradients",)),
        "layers": _layers(dataset),
    }


_OF_UPDATES = {"update_batches", "fresh_optimizer"}
"""What is said of updates of every size."""


def _updates(dataset: xr.Dataset) -> dict[str, Any] | None:
    """Summarize the updates, arrays along their sizes; None where there are none."""
    if "update_size" not in dataset.dims:
        return None
    names = [name for name, one in dataset.data_vars.items() if "update_size" in one.dims or name in _OF_UPDATES]
    values = {str(name).removeprefix("update_"): as_json(dataset[name].values) for name in names}
    return {"algorithm": dataset.attrs["step_algorithm"], "sizes": as_json(dataset["update_size"].values), **values}


def _layers(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Summarize signal and noise of each layer."""
    found = _named(dataset, "layer", ("layer_noise_scale_pairs",))
    shares = ("layer_noise_fraction", "layer_between_trajectory_share")
    return {
        name: {share: as_json(dataset[share].sel(layer=name).values) for share in shares} | scales
        for name, scales in found.items()
    }


def _named(dataset: xr.Dataset, dim: str, variables: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Summarize intervals by name along a dimension; the dimension's own name is left out of theirs."""
    return {
        name: {
            f"{variable.removeprefix('alternative_')}{end}": as_json(
                dataset[f"{variable}{end}"].sel({dim: name}).values
            )
            for variable in variables
            for end in ("", "_low", "_high")
        }
        for name in dataset[dim].values.tolist()
    }


def half_width(dataset: xr.Dataset, options: Options) -> float:
    """Return half the length of the cosine's interval at the size in question, of the agent where it is longest.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of gradients.
    options : Options
        What was asked for.
    """
    here = dataset.sel(size=options.precision_size or dataset.attrs["precision_size"])
    return float(np.max((here["pairwise_cosine_high"] - here["pairwise_cosine_low"]).values) / 2)
