"""From what was found to a labelled dataset, and from a dataset to its summary."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.diagnostics.common.labels import agent_attributes, agent_coordinates, known
from closerlook.diagnostics.common.layout import Found
from closerlook.diagnostics.landscape.findings import BUDGETS, PAIRS_OF, REGIONS, budgets
from closerlook.diagnostics.landscape.request import Request
from closerlook.diagnostics.landscape.verdicts import GONE, verdicts
from closerlook.results.schema import SCHEMA, validate
from closerlook.results.store import as_json

LINE_NUMBERS = ("line_reward", "line_gain", "line_lower_tail", "line_tail_gain", "pairing_saving")
ENDS = ("", "_low", "_high")
WHOLE_PLANE = {"region": "plane", "pairs_of": "batch"}


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
    dataset = xr.Dataset(
        data_vars={name: (SCHEMA[name].dims, np.array([result[name] for result in results])) for name in results[0]},
        coords={
            "step": request.multiples[0],
            "random": request.multiples[1],
            "line": request.line,
            "budget": [streams * n_steps for streams in budgets(request)],
            "usual_budget": [streams * n_steps for streams in BUDGETS],
            "pairs_of": list(PAIRS_OF),
            "region": list(REGIONS),
            "surrogate_name": list(SURROGATES),
            **agent_coordinates(agents),
        },
        attrs={
            "diagnostic": "landscape",
            "environment": request.environment.id,
            "seed": request.seed,
            **agent_attributes(agents),
            "axes": ", ".join(wishes.axes),
            "draws": wishes.draws,
            "step_algorithm": wishes.algorithm or "the agent's own",
            "step_pairs": request.step.batch_pairs,
            "pairs_per_point": request.plane_streams * n_steps,
            "line_pairs_per_point": request.line_streams * n_steps,
            "parameter_names": json.dumps({n: list(s) for n, s in agents[0].policy.parameter_shapes.items()}),
        },
    )
    return validate(dataset if len(agents) > 1 else dataset.isel(agent=0).drop_vars("agent"))


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarise a dataset of this diagnostic as JSON values; NaN is None.

    Agreement is between the surrogate that the algorithm climbs, on the step's own batch, and the true reward, over
    the plane; ``line`` says the same of the line along the first axis, ``heldout`` of pairs the step has not seen.
    """
    attributes = dataset.attrs
    names = ("sign_agreement", "rank_correlation", "correlation")
    return {
        "env": attributes["environment"],
        "algo": attributes["algorithm"],
        "iteration": known(dataset["iteration"].values),
        "agent_seed": known(dataset["agent_seed"].values),
        "seed": int(attributes["seed"]),
        "axes": attributes["axes"].split(", "),
        "draws": attributes["draws"],
        "step_pairs": int(attributes["step_pairs"]),
        "pairs_per_point": int(attributes["pairs_per_point"]),
        "step_axis": as_json(dataset["step"].values),
        "random_axis": as_json(dataset["random"].values),
        **_numbers(dataset, ("true_reward",)),
        "surrogate": as_json(dataset["surrogate"].values),
        **_numbers(dataset.sel(WHOLE_PLANE), names),
        **_numbers(dataset, ("best_step", "realised_gain")),
        **_numbers(dataset, [name for name in ("heldout_improvement_ratio",) if name in dataset]),
        **{name: as_json(dataset[name].values) for name in ("predicted_gain", "chance_of_loss", "surrogate_best_step")},
        **{name: as_json(dataset[name].values) for name in ("full_step_norm", "full_step_mean_kl")},
        **{name: as_json(dataset[name].values) for name in (*GONE, "failed_step") if name in dataset},
        "line": {
            "multiples": as_json(dataset["line"].values),
            "pairs_per_point": int(attributes["line_pairs_per_point"]),
            **_numbers(dataset, [name for name in LINE_NUMBERS if name in dataset]),
            **_numbers(dataset.sel(region="line", pairs_of="batch"), names),
            "heldout": _numbers(dataset.sel(region="line", pairs_of="heldout"), names),
        },
        "heldout": _numbers(dataset.sel(region="plane", pairs_of="heldout"), names),
        "noise_share": {
            "budgets": as_json(dataset["usual_budget"].values),
            **_numbers(dataset, ("noise_share",)),
        },
        "verdicts": verdicts(dataset),
    }


def _numbers(dataset: xr.Dataset, names: Sequence[str]) -> dict[str, Any]:
    return {f"{name}{end}": as_json(dataset[f"{name}{end}"].values) for name in names for end in ENDS}
