"""The JSON summary of a dataset of trust regions."""

from typing import Any

import numpy as np
import xarray as xr

from closerlook.results.store import as_json

ENDS = ("", "_low", "_high")
LISTED = (
    "mean_kl_batch",
    "max_kl_batch",
    "mean_kl_heldout",
    "max_kl_heldout",
    "max_ratio",
    "clip_fraction",
    "quadratic_kl",
    "predicted_improvement",
    "surrogate_improvement",
    "true_improvement",
    "true_improvement_low",
    "true_improvement_high",
    "kl_p99_batch",
    "kl_p99_heldout",
    "mean_reverse_kl_batch",
    "mean_reverse_kl_heldout",
    "max_ratio_heldout",
    "clip_fraction_heldout",
    "quadratic_kl_heldout",
    "quadratic_kl_own",
    "surrogate_improvement_heldout",
    "surrogate_rise",
    "surrogate_rise_heldout",
    "update_norm",
    "step_fraction",
    "line_search_failed",
    "cg_residual",
    "natural_residual",
    "natural_efficiency",
)
"""Numbers of each update in the summary."""
LATER = (
    "policy_norm_share",
    "gradient_scale",
    "overflown_advantages",
    *(f"suggested_{name}{end}" for name in ("learning_rate", "clip_epsilon", "max_kl") for end in ENDS),
    "model_multiple",
    "action_std_share",
    "entropy_share",
    "return_episodes",
    "mean_episode_length",
    "normalized_rise",
    "normalized_rise_heldout",
    "clip_null",
    "clip_null_heldout",
    *(f"mean_heldout_improvement_ratio{end}" for end in ENDS),
    *(f"fraction_worse{end}" for end in ENDS),
)
"""Numbers that older datasets lack, or that only some updates have."""
SINGLE = (
    "kl_bound",
    "clip_epsilon",
    "policy_learning_rate",
    "zero_updates",
    "failed_updates",
    "constant_advantages",
    "bound_multiple",
    "surrogate_best_multiple",
)


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarize a dataset of this diagnostic as JSON values; NaN is None. Lists run over updates."""
    attributes = dataset.attrs
    return {
        "repeats": dataset.sizes["repeat"],
        **{name: int(attributes[name]) for name in ("step_pairs", "heldout_pairs", "return_pairs")},
        **{name: as_json(dataset[name].values) for name in LISTED},
        **{name: as_json(dataset[name].values) for name in SINGLE},
        **{name: as_json(dataset[name].values) for name in LATER if name in dataset},
        **{f"best_multiple{end}": as_json(dataset[f"best_multiple{end}"].values) for end in ENDS},
        "averages": {
            name: {f"mean{end}": as_json(dataset[f"average{end}"].sel(quantity=name).values) for end in ENDS}
            for name in map(str, dataset["quantity"].values)
        },
        "multiples": {
            "multiple": as_json(dataset["multiple"].values),
            **{f"gain{end}": as_json(dataset[f"mean_multiple_gain{end}"].values) for end in ENDS},
            **({"unknown_gains": as_json(dataset["unknown_gains"].values)} if "unknown_gains" in dataset else {}),
            "mean_kl_heldout": as_json(_mean(dataset["multiple_change"].sel(change="mean_kl", pairs_of="heldout"))),
            "surrogate_rise": as_json(_mean(dataset["multiple_surrogate_rise"].sel(pairs_of="batch"))),
            "surrogate_rise_heldout": as_json(_mean(dataset["multiple_surrogate_rise"].sel(pairs_of="heldout"))),
        },
        **_stages(dataset),
    }


def _stages(dataset: xr.Dataset) -> dict[str, Any]:
    if "stage" not in dataset.dims:
        return {}
    change = dataset["stage_change"]
    numbers = {
        "minibatches": dataset["stage"].values,
        "mean_kl_batch": _mean(change.sel(pairs_of="batch", change="mean_kl")),
        "mean_kl_heldout": _mean(change.sel(pairs_of="heldout", change="mean_kl")),
        "max_ratio": _mean(change.sel(pairs_of="batch", change="max_ratio")),
        "clip_fraction": _mean(change.sel(pairs_of="batch", change="clip_fraction")),
        "surrogate_rise": _mean(dataset["stage_surrogate_rise"].sel(pairs_of="batch")),
        "surrogate_rise_heldout": _mean(dataset["stage_surrogate_rise"].sel(pairs_of="heldout")),
    }
    if "clip_null" in change["change"]:
        numbers["clip_null_heldout"] = _mean(change.sel(pairs_of="heldout", change="clip_null"))
        numbers["normalized_rise_heldout"] = _mean(dataset["stage_normalized_rise"].sel(pairs_of="heldout"))
    return {"stages": {name: as_json(values) for name, values in numbers.items()}}


def _mean(values: xr.DataArray) -> np.ndarray:
    return np.asarray(values.mean("repeat").values)


def half_width(dataset: xr.Dataset, _: object) -> float:
    """Return half the length of the interval of the mean true improvement, of the agent where it is longest."""
    here = dataset.sel(quantity="true_improvement")
    return float(np.max((here["average_high"] - here["average_low"]).values) / 2)
