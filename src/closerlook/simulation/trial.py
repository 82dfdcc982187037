"""Trying users' networks, before a rollout, on observations that episodes of their environment begin with."""

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.trial import is_tried, try_out
from closerlook.errors import NonFiniteError
from closerlook.randomness import derive_seed
from closerlook.simulation.acting import ObservationFilter
from closerlook.simulation.lanes import Engine

TRIED_RESETS = 4
"""Observations, at most, that a policy is first tried on: those that episodes begin with."""


def tried_at_resets(agents: Agent, name: str, engine: Engine, lanes: int) -> Agent:
    """Try networks on what an engine's lanes begin with; those that were tried, and those of our own, need none.

    Raises
    ------
    InputError
        See `closerlook.agents.trial.try_out`.
    NonFiniteError
        Where an observation is not finite.
    """
    if is_tried(agents.policy):
        return agents
    rows = min(lanes, TRIED_RESETS)
    seeds = [derive_seed(0, "trial", stream=row, kind="reset") for row in range(rows)]
    observations = engine.reset(np.arange(rows), seeds)
    if not np.isfinite(observations).all():
        raise NonFiniteError(f"not every observation is finite in {name}", "look at what its reset() gives")
    population = agents if agents.population is not None else Agent.stack([agents])
    stacked = np.broadcast_to(observations, (population.population or 1, *observations.shape))
    inputs = ObservationFilter.of(population, running=False).all_rows(stacked)[0]
    return try_out(agents, inputs, name)
