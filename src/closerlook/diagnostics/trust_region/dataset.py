"""From what was found to a labelled dataset, and from a dataset to its summary."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.algorithms.rules import rule_of
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.diagnostics.common.labels import agent_attributes, agent_coordinates, known
from closerlook.diagnostics.common.layout import Found
from closerlook.diagnostics.trust_region.findings import AVERAGED, PAIRS_OF
from closerlook.diagnostics.trust_region.request import Request
from closerlook.diagnostics.trust_region.verdicts import verdicts
from closerlook.measurements.policy_change import CHANGES
from closerlook.measurements.step_audits import stages_of
from closerlook.results.schema import SCHEMA, validate
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
    "high_kl_batch",
    "high_kl_heldout",
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
    "step_failed",
    "cg_residual",
    "natural_residual",
    "natural_efficiency",
)
"""Numbers of each update in the summary."""
LATER = (
    "overflown_advantages",
    *(f"suggested_{name}{end}" for name in ("learning_rate", "clip_epsilon", "max_kl") for end in ENDS),
    "model_multiple",
    "action_std_share",
    "entropy_share",
    "return_episodes",
    "normalized_rise",
    "normalized_rise_heldout",
    "clip_null",
    "clip_null_heldout",
    *(f"mean_heldout_improvement_ratio{end}" for end in ENDS),
    *(f"loss_share{end}" for end in ENDS),
)
"""Numbers that older datasets lack."""
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


def build_dataset(agents: Sequence[Agent], results: Sequence[Found], request: Request) -> xr.Dataset:
    """Label everything that was found.

    Parameters
    ----------
    agents : sequence of Agent
        Who was measured.
    results : sequence of mappings
        What was found of each, by the schema's names.
    request : Request
        What was asked.
    """
    n_steps, wishes = request.sampling.n_steps, request.wishes
    names = [name for name in results[0] if all(name in result for result in results)]
    rule = rule_of(agents[0], wishes.algorithm)
    stages = stages_of(rule, request.step.batch_pairs) if "stage_change" in names else []
    dataset = xr.Dataset(
        data_vars={name: (SCHEMA[name].dims, np.array([result[name] for result in results])) for name in names},
        coords={
            "repeat": np.arange(wishes.repeats),
            "pairs_of": list(PAIRS_OF),
            "change": list(CHANGES),
            "multiple": request.multiples,
            "quantity": list(AVERAGED),
            "surrogate_name": list(SURROGATES),
            **({"stage": stages} if stages else {}),
            **agent_coordinates(agents),
        },
        attrs={
            "diagnostic": "trust-region",
            "environment": request.environment.id,
            "seed": request.seed,
            **agent_attributes(agents),
            "step_algorithm": wishes.algorithm or "the agent's own",
            "step_pairs": request.step.batch_pairs,
            "heldout_pairs": request.heldout_streams * n_steps,
            "return_pairs": request.return_streams * n_steps,
            "minibatches": int(getattr(rule.settings, "minibatches", 1)),
            "time_limit": int(request.description["time_limit"] or 0),
        },
    )
    return validate(dataset if len(agents) > 1 else dataset.isel(agent=0).drop_vars("agent"))


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarise a dataset of this diagnostic as JSON values; NaN is None. Lists run over updates."""
    attributes = dataset.attrs
    return {
        "env": attributes["environment"],
        "algo": attributes["algorithm"],
        "iteration": known(dataset["iteration"].values),
        "agent_seed": known(dataset["agent_seed"].values),
        "seed": int(attributes["seed"]),
        "repeats": dataset.sizes["repeat"],
        **{name: int(attributes[name]) for name in ("step_pairs", "heldout_pairs", "return_pairs")},
        **{name: as_json(dataset[name].values) for name in LISTED},
        **{name: as_json(dataset[name].values) for name in SINGLE},
        **{name: as_json(dataset[name].values) for name in LATER if name in dataset},
        **{f"best_multiple{end}": as_json(dataset[f"best_multiple{end}"].values) for end in ENDS},
        "averages": {
            name: {f"mean{end}": as_json(dataset[f"average{end}"].sel(quantity=name).values) for end in ENDS}
            for name in dataset["quantity"].values.tolist()
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
        "verdicts": verdicts(dataset),
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
