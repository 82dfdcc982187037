"""From what was found of each agent to one labeled dataset."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.algorithms.rules import assumptions
from closerlook.diagnostics.diagnostic import Diagnostic, Statistics
from closerlook.diagnostics.subjects import Subject
from closerlook.results.schema import validate


def label(diagnostic: Diagnostic, subjects: Sequence[Subject], plan: Any, found: Sequence[Statistics]) -> xr.Dataset:
    """Label everything that was found; what all agents have is stored.

    Parameters
    ----------
    diagnostic : Diagnostic
        Whose variables and labels.
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    plan : object
        The diagnostic's own.
    found : sequence of mapping of str to ndarray
        What was found of each agent.

    Returns
    -------
    xarray.Dataset
        Over ``agent`` where several were measured, then each variable's own dimensions.

    Raises
    ------
    ValueError
        Where a variable is not defined, or has other dimensions than its definition.
    """
    coordinates, attributes = diagnostic.labels(subjects, plan)
    agents = [subject.agent for subject in subjects]
    defined = {variable.name: variable for variable in diagnostic.variables}
    # a variable that one of the agents does not have is left out for all
    names = [name for name in found[0] if all(name in one for one in found)]
    unknown = [name for name in names if name not in defined]
    if unknown:
        raise ValueError(f"{unknown[0]} is not defined among the variables of {diagnostic.name}")
    arrays = {
        name: (defined[name].dims, np.array([one[name] for one in found]))
        if "agent" in defined[name].dims
        else (defined[name].dims, np.asarray(found[0][name]))
        for name in names
    }
    dataset = xr.Dataset(
        data_vars=arrays,
        coords={**coordinates, **agent_coordinates(agents)},
        attrs={
            "diagnostic": diagnostic.name,
            "environment": subjects[0].environment.id,
            "seed": subjects[0].root_seed,
            **agent_attributes(agents),
            **attributes,
        },
    )
    single = dataset if len(agents) > 1 else dataset.isel(agent=0).drop_vars("agent")
    return validate(single, diagnostic.variables)


def agent_coordinates(agents: Sequence[Agent]) -> dict[str, Any]:
    """Return who the agents are; -1 where an agent does not say."""
    # whole numbers have no NaN: -1 is "not known"
    iterations = [-1 if agent.iteration is None else agent.iteration for agent in agents]
    seeds = [-1 if agent.agent_seed is None else agent.agent_seed for agent in agents]
    numbers = np.arange(len(agents))
    return {"agent": numbers, "iteration": ("agent", iterations), "agent_seed": ("agent", seeds)}


def agent_attributes(agents: Sequence[Agent]) -> dict[str, Any]:
    """Return what agents of one call have in common, and which algorithms and baselines are among them."""
    regime, assumed = agents[0].regime, assumptions(agents[0])
    return {
        "algorithm": ", ".join(sorted({agent.algorithm or "unknown" for agent in agents})),
        "baseline": ", ".join(sorted({"critic" if agent.value is not None else "none" for agent in agents})),
        "batch_pairs": regime.batch_pairs,
        "stream_pairs": regime.n_steps,
        **({"assumed": "; ".join(f"{name}: {taken}" for name, taken in assumed.items())} if assumed else {}),
    }
