"""Who was measured: the labels that datasets of all diagnostics carry."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.results.naming import agent_name
from closerlook.results.store import as_json


def agent_coordinates(agents: Sequence[Agent]) -> dict[str, Any]:
    """Return who the agents are; -1 where an agent does not say."""
    iterations = [-1 if agent.iteration is None else agent.iteration for agent in agents]
    seeds = [-1 if agent.agent_seed is None else agent.agent_seed for agent in agents]
    numbers = np.arange(len(agents))
    return {"agent": numbers, "iteration": ("agent", iterations), "agent_seed": ("agent", seeds)}


def agent_attributes(agents: Sequence[Agent]) -> dict[str, Any]:
    """Return what agents of one call have in common, and which algorithms and baselines are among them."""
    regime = agents[0].regime
    return {
        "algorithm": ", ".join(sorted({agent.algorithm or "unknown" for agent in agents})),
        "baseline": ", ".join(sorted({"critic" if agent.value is not None else "none" for agent in agents})),
        "batch_pairs": regime.batch_pairs,
        "stream_pairs": regime.n_steps,
    }


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
