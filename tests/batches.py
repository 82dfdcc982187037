"""Agents and batches made up for tests of updates: no environment, no simulator."""

import dataclasses

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, MLPValue
from closerlook.algorithms.batch import Batch
from closerlook.nn.networks import MLP

OBSERVATIONS, ACTIONS, HIDDEN = 5, 3, (16, 16)


def make_agent(seed: int, *, discrete: bool = False, critic: bool = True) -> Agent:
    """Draw an agent whose policy depends on what it sees."""
    network, draw = MLP((OBSERVATIONS, *HIDDEN, ACTIONS)), np.random.default_rng(seed)
    policy = CategoricalMLP(network) if discrete else GaussianMLP(network)
    parts = {"policy": network.initialize(draw, "orthogonal", output_gain=0.7)}
    if not discrete:
        parts["policy"]["log_std"] = torch.from_numpy(0.3 * draw.standard_normal(ACTIONS)).float()
    value = MLPValue(MLP((OBSERVATIONS, *HIDDEN, 1))) if critic else None
    if value is not None:
        parts["value"] = value.initialize(draw, "orthogonal")
    return Agent(policy, value, {}).with_state(parts)


def make_batch(agents: Agent, *, streams: int = 2, steps: int = 100, seed: int = 0) -> Batch:
    """Draw a batch for a population; member i's numbers depend on i, the agent and the seed alone."""
    members = [_member_batch(agent, (streams, steps), seed + i) for i, agent in enumerate(agents.unstack())]
    return Batch(**{name: torch.stack([member[name] for member in members]) for name in members[0]})


def _member_batch(agent: Agent, shape: tuple[int, int], seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    observations = torch.randn(shape[0] * shape[1], OBSERVATIONS, generator=draw)
    distribution = agent.policy.distribution(agent.policy_parameters, observations)
    kind, size = agent.policy.noise.kind, agent.policy.noise.size
    noise = (torch.randn if kind == "normal" else torch.rand)(len(observations), size, generator=draw)
    with torch.no_grad():
        actions = distribution.sample(noise)
        log_probs = distribution.log_prob(actions)
    flat = actions if actions.ndim == 1 else actions.sum(-1)
    values, advantages, returns = (torch.randn(shape, generator=draw) for _ in range(3))
    return {
        "observations": observations.unflatten(0, shape),
        "actions": actions.unflatten(0, shape),
        "log_probs": log_probs.unflatten(0, shape),
        "values": values,
        "advantages": advantages + 0.5 * flat.unflatten(0, shape),  # so that there is something to improve
        "returns": returns,
        "value_weights": (torch.rand(shape, generator=draw) > 0.1).float(),
    }


def members(batch: Batch, which: list[int]) -> Batch:
    """Take some of a population's batch."""
    return Batch(**{field.name: getattr(batch, field.name)[which] for field in dataclasses.fields(batch)})
