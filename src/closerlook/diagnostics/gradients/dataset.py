"""From the answers of jobs to a labelled dataset, and from that to the summary that is printed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.diagnostics.common.labels import agent_attributes, agent_coordinates, known
from closerlook.diagnostics.gradients.verdicts import verdicts
from closerlook.results.schema import SCHEMA, validate
from closerlook.results.store import as_json
from closerlook.statistics.pool import Pool


def build_dataset(
    agents: Sequence[Agent],
    results: Sequence[Mapping[str, np.ndarray]],
    coordinates: Mapping[str, Sequence[Any]],
    pool: Pool,
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    """Label everything that was found.

    Parameters
    ----------
    agents : sequence of Agent
        Who was measured.
    results : sequence of mappings
        What was found of each, by the schema's names.
    coordinates : mapping
        Names along ``alternative``, ``truth``, ``truth_pair`` and ``layer``.
    pool : Pool
        What was sampled of each.
    attributes : mapping
        Of the dataset: ``environment``, ``advantages``, ``seed``.

    Returns
    -------
    xarray.Dataset
        Over (agent, size); over (size,) for one agent.
    """
    dataset = xr.Dataset(
        data_vars={
            "pairs_used": ("size", [size.used for size in pool.sizes]),
            "is_beginning": ("size", [size.is_beginning for size in pool.sizes]),
            **{name: (SCHEMA[name].dims, np.array([result[name] for result in results])) for name in results[0]},
        },
        coords={
            "size": [size.asked for size in pool.sizes],
            **{name: list(values) for name, values in coordinates.items()},
            **agent_coordinates(agents),
        },
        attrs={"diagnostic": "gradients", **attributes, **agent_attributes(agents)},
    )
    return validate(dataset if len(agents) > 1 else dataset.isel(agent=0).drop_vars("agent"))


_SUMMARISED = (
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
    """Summarise a dataset of this diagnostic as JSON values.

    Returns
    -------
    dict
        Arrays along ``sizes``, under a leading agent axis where the dataset has one; NaN is None.
    """
    attributes = dataset.attrs
    return {
        "env": attributes["environment"],
        "algo": attributes["algorithm"],
        "iteration": known(dataset["iteration"].values),
        "agent_seed": known(dataset["agent_seed"].values),
        "advantages": attributes["advantages"],
        "batch_pairs": int(attributes["batch_pairs"]),
        "seed": int(attributes["seed"]),
        "sizes": as_json(dataset["size"].values),
        **{name: as_json(dataset[name].values) for name in _SUMMARISED if name in dataset},
        "noise_scale_low": as_json(dataset["noise_scale_pairs_low"].values),
        "noise_scale_high": as_json(dataset["noise_scale_pairs_high"].values),
        "alternatives": _named(
            dataset, "alternative", ("alternative_pairwise_cosine", "alternative_true_cosine_corrected")
        ),
        "truths": _named(dataset, "truth", ("cosine_to_truth", "cosine_to_truth_corrected")),
        "steps": _steps(dataset),
        "precision": _precision(attributes),
        "cosine_between_truths": _named(dataset, "truth_pair", ("cosine_between_truths",)),
        "layers": _layers(dataset),
        "verdicts": verdicts(dataset),
    }


def _precision(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Say whether the interval that was sampled to is as narrow as asked; None where the pairs were fixed."""
    if "precision" not in attributes:
        return None
    return {
        "asked": float(attributes["precision"]),
        "size": int(attributes["precision_size"]),
        "half_width": as_json(np.float64(attributes["half_width"])),
        "reached": bool(attributes["precision_reached"]),
    }


def _steps(dataset: xr.Dataset) -> dict[str, Any] | None:
    """Summarise the computed steps, arrays along their sizes; None where there are none."""
    if "step_size" not in dataset.dims:
        return None
    names = [str(name) for name in dataset.data_vars if "step" in str(name)]
    values = {name.removeprefix("step_"): as_json(dataset[name].values) for name in names}
    return {"algo": dataset.attrs["step_algorithm"], "sizes": as_json(dataset["step_size"].values), **values}


def _layers(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Summarise signal and noise of each layer."""
    found = _named(dataset, "layer", ("layer_noise_scale_pairs",))
    shares = ("layer_noise_share", "layer_between_trajectory_share")
    return {
        name: {share: as_json(dataset[share].sel(layer=name).values) for share in shares} | scales
        for name, scales in found.items()
    }


def _named(dataset: xr.Dataset, dim: str, variables: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Summarise intervals by name along a dimension; the dimension's own name is left out of theirs."""
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
