"""What an agent is, for the names of results: two agents that sample and judge alike share them, others do not."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, Policy
from closerlook.errors import InputError
from closerlook.randomness import derive_seed, generator

PROBES = 8
"""Fixed observations that networks are asked about, so that a change of their code is seen."""

_DECIDES = ("policy.", "value.", "observations.", "returns.")


def sampling_part(agent: Agent) -> Agent:
    """Return what acting, values and advantages need of an agent: without the optimiser's state."""
    state = {name: tensor for name, tensor in agent.state.items() if name.startswith(_DECIDES)}
    return replace(agent, state=state)


def own_seed(seed: int, agent: Agent) -> int:
    """Return the root seed of what is drawn to measure an agent.

    Agents trained from different seeds are measured with independent draws, as intervals over seeds take for granted;
    with common ones, agents that hardly differ yet would not differ in their noise either.

    Parameters
    ----------
    seed : int
        Of the measurement. Agents of seed 0, or of none that is known, draw from it itself.
    agent : Agent
        A single one.
    """
    return derive_seed(seed, "agent", stream=agent.agent_seed) if agent.agent_seed else seed


def probe(agent: Agent) -> dict[str, Any]:
    """Return everything an agent's pairs and advantages depend on, as parts of a key.

    Parameters
    ----------
    agent : Agent
        A single one.

    Returns
    -------
    dict
        Parameters, statistics, settings; and actions, log densities and values at fixed observations, which tell
        networks apart whose code is the user's.

    Raises
    ------
    InputError
        Where the policy is random beyond its distribution.
    """
    bare = sampling_part(agent)
    agents = Agent.stack([bare])
    draws = generator(0, "probe")
    observations = draws.standard_normal((1, PROBES, observation_size(agent.policy))).astype(np.float32)
    actions = agent.policy.actor(agents.policy_parameters)(observations, _noise(agent.policy, draws))
    rows = torch.from_numpy(observations)
    with torch.no_grad():
        density, again = (
            agent.policy.distribution(bare.policy_parameters, rows[0]).log_prob(torch.from_numpy(actions[0]))
            for _ in range(2)
        )
        values = None if agent.value is None else agent.value(bare.value_parameters, rows[0])
    if not torch.equal(density.nan_to_num(), again.nan_to_num()):
        what = "the agent's policy answers the same observations in two ways, so that its gradient is not defined"
        raise InputError(what, "take what is random (dropout, noise) out of its forward()")
    fields = ("gamma", "gae_lambda", "observation_scaling", "reward_scaling", "action_transform", "bootstrap", "regime")
    settings = {name: getattr(agent, name) for name in fields}
    if agent.value_target != "gae":  # decides updates of the critic; left out where usual, as earlier keys had it
        settings["value_target"] = agent.value_target
    return {"state": dict(bare.state), **settings, "actions": actions, "density": density, "values": values}


def observation_size(policy: Policy) -> int:
    """Components of the observations a policy takes."""
    if isinstance(policy, GaussianMLP | CategoricalMLP):
        return policy.network.sizes[0]
    return int(getattr(policy, "observation_size"))  # noqa: B009 - policies of others may have it too


def _noise(policy: Policy, draws: np.random.Generator) -> np.ndarray:
    shape = (1, PROBES, policy.noise.size)
    if policy.noise.kind == "seed":
        return draws.integers(2**31, size=shape)
    return draws.standard_normal(shape) if policy.noise.kind == "normal" else draws.random(shape)
