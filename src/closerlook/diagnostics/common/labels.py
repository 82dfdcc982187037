"""Who was measured: how the labels that datasets of all diagnostics carry are read."""

from typing import Any

import numpy as np
import xarray as xr

from closerlook.results.naming import agent_name
from closerlook.results.store import as_json


def batch_place(agent: xr.Dataset) -> int | None:
    """Return the place of the training batch among the sizes; None where it is not there.

    A batch of many streams that are no round number is measured by what the blocks of the pool allow: a little less.
    """
    batch = agent.attrs["batch_pairs"]
    exact, asked = (np.flatnonzero(values == batch) for values in (agent["pairs_used"].values, agent["size"].values))
    found = exact if len(exact) else asked
    return int(found[0]) if len(found) else None


def known(values: np.ndarray) -> Any:
    """Return whole numbers as JSON values, -1 as null."""
    return as_json(np.where(values < 0, np.nan, values)) if (values < 0).any() else as_json(values)


def each_agent(dataset: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Split a dataset into agents, with their names; a single agent needs none."""
    if "agent" not in dataset.dims:
        return [("", dataset)]
    agents = [dataset.isel(agent=i) for i in range(dataset.sizes["agent"])]
    return [(agent_name(agent, f"agent {int(agent['agent'])}"), agent) for agent in agents]
