"""The JSON summary of a dataset of landscapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from closerlook.diagnostics.landscape.verdicts import GONE
from closerlook.results.store import as_json

LINE_NUMBERS = ("line_reward", "line_gain", "line_lower_tail", "line_tail_gain", "crn_variance_reduction")
ENDS = ("", "_low", "_high")
WHOLE_PLANE = {"region": "plane", "pairs_of": "batch"}


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarize a dataset of this diagnostic as JSON values; NaN is None.

    Agreement is between the surrogate that the algorithm climbs, on the step's own batch, and the true reward, over
    the plane; ``line`` says the same of the line along the first axis, ``heldout`` of pairs the step has not seen.
    """
    attributes = dataset.attrs
    names = ("sign_agreement", "rank_correlation", "correlation")
    return {
        "axes": attributes["axes"].split(", "),
        "draws": attributes["draws"],
        "step_pairs": int(attributes["step_pairs"]),
        "pairs_per_point": int(attributes["pairs_per_point"]),
        "step_axis": as_json(dataset["step"].values),
        "random_axis": as_json(dataset["random"].values),
        **_numbers(dataset, ("true_reward",)),
        "surrogate": as_json(dataset["surrogate"].values),
        **_numbers(dataset.sel(WHOLE_PLANE), names),
        **_numbers(dataset, ("best_step", "full_update_realized_improvement")),
        **_numbers(dataset, [name for name in ("heldout_improvement_ratio",) if name in dataset]),
        **{
            name: as_json(dataset[name].values)
            for name in ("full_update_predicted_improvement", "probability_worse", "surrogate_best_step")
        },
        **{name: as_json(dataset[name].values) for name in ("full_update_norm", "full_update_mean_kl")},
        **{name: as_json(dataset[name].values) for name in (*GONE, "failed_update") if name in dataset},
        "line": {
            "multiples": as_json(dataset["line"].values),
            "pairs_per_point": int(attributes["line_pairs_per_point"]),
            **_numbers(dataset, [name for name in LINE_NUMBERS if name in dataset]),
            **_numbers(dataset.sel(region="line", pairs_of="batch"), names),
            "heldout": _numbers(dataset.sel(region="line", pairs_of="heldout"), names),
        },
        "heldout": _numbers(dataset.sel(region="plane", pairs_of="heldout"), names),
        "noise_fraction": {
            "budgets": as_json(dataset["usual_budget"].values),
            **_numbers(dataset, ("noise_fraction",)),
        },
    }


def _numbers(dataset: xr.Dataset, names: Sequence[str]) -> dict[str, Any]:
    return {f"{name}{end}": as_json(dataset[f"{name}{end}"].values) for name in names for end in ENDS}


def half_width(dataset: xr.Dataset, _: object) -> float:
    """Return half the length of the interval of the gain at the whole step, or the longest multiple below it."""
    multiples = dataset["line"].values
    here = dataset.sel(line=multiples[multiples <= 1.0].max())
    return float(np.max((here["line_gain_high"] - here["line_gain_low"]).values) / 2)
