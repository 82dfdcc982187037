"""What an agent is, for the names of results: two agents that sample and judge alike share them, others do not."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.trial import draw_noise
from closerlook.randomness import derive_seed, generator

PROBES = 8
"""Fixed observations that networks are asked about, so that a change of their code is seen."""

_DECIDES = ("policy.", "value.", "observations.", "returns.")


def sampling_part(agent: Agent) -> Agent:
    """Return what acting, values and advantages need of an agent: without the optimizer's state."""
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
    # agents of different seeds have draws of their own; agent 0 keeps the root seed
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
        Parameters, statistics, settings; and actions, log densities and values at fixed observations (for networks of
        the user's, those that they were tried on), which tell networks apart whose code differs.
    """
    bare = sampling_part(agent)
    agents, draws = Agent.stack([bare]), generator(0, "probe")
    example = getattr(agent.policy, "example", None)
    if example is None:
        size = agent.policy.observation_size or 0
        rows = torch.from_numpy(draws.standard_normal((1, PROBES, size)).astype(np.float32))[0]
    else:
        rows = example
    noise = draw_noise(agent.policy, len(rows), draws)
    actions = agent.policy.actor(agents.policy_parameters)(rows[None].numpy(), noise)
    with torch.no_grad():
        density = agent.policy.distribution(bare.policy_parameters, rows).log_prob(torch.from_numpy(actions[0]))
        values = None if agent.value is None else agent.value(bare.value_parameters, rows)
    answers = {"actions": actions, "density": density, "values": values}
    if not getattr(agent.policy, "example_recurs", True):
        answers = dict.fromkeys(answers)  # other ones each time would name the agent otherwise each time
    fields = ("gamma", "gae_lambda", "observation_scaling", "reward_scaling", "action_transform", "bootstrap", "regime")
    settings = {name: getattr(agent, name) for name in fields}
    if agent.value_target != "gae":  # decides updates of the critic; left out where usual, as earlier keys had it
        settings["value_target"] = agent.value_target
    return {"state": dict(bare.state), **settings, **answers}
