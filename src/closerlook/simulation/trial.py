"""Trying users' networks, before a rollout, on observations that episodes of their environment begin with."""

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.trial import is_tried, try_out
from closerlook.errors import NonFiniteError
from closerlook.randomness import derive_seed
from closerlook.simulation.acting import ObservationFilter
from closerlook.simulation.lanes import Engine

TRIED_RESETS = 8
"""Observations that a policy is first tried on: those that so many episodes begin with."""


def tried_at_resets(agents: Agent, name: str, engine: Engine) -> Agent:
    """Try networks on what episodes of an engine's first lane begin with.

    Those that were tried, and those that are not modules of users, are returned as they are.

    Parameters
    ----------
    agents : Agent
        A population.
    name : str
        Of the environment, for messages.
    engine : Engine
        Whose first lane is reset.

    Raises
    ------
    InputError
        See `closerlook.agents.trial.try_out`.
    NonFiniteError
        Where an observation is not finite.
    """
    if is_tried(agents.policy):
        return agents
    lane, seeds = np.zeros(1, np.int64), [derive_seed(0, "trial", stream=k, kind="reset") for k in range(TRIED_RESETS)]
    observations = np.concatenate([engine.reset(lane, [seed]) for seed in seeds])
    if not np.isfinite(observations).all():
        raise NonFiniteError(f"not every observation is finite in {name}", "look at what its reset() gives")
    population = agents if agents.population is not None else Agent.stack([agents])
    stacked = np.broadcast_to(observations, (population.population or 1, *observations.shape))
    inputs = ObservationFilter.of(population, running=False).all_rows(stacked)[0]
    return try_out(agents, inputs, name)
