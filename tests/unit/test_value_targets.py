"""What a critic regresses on, and what follows a cut, are the agent's own: in updates and in the log."""

import dataclasses

import numpy as np
import torch

from batches import make_agent, make_batch
from closerlook.agents.agent import Agent
from closerlook.agents.identity import probe
from closerlook.algorithms.batch import ReturnsBatch
from closerlook.algorithms.trpo import TRPOSettings, trpo_update
from closerlook.execution import content_key
from closerlook.training import TrainSettings
from closerlook.training.segment import gather
from closerlook.training.settings import agent_seed, initial_agents


def test_a_critic_of_returns_ends_nearer_to_the_returns_than_one_of_advantages() -> None:
    agents = Agent.stack([make_agent(0)])
    batch = make_batch(agents)
    of_returns = ReturnsBatch(**{field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)})
    assert torch.equal(of_returns.value_targets, batch.returns)
    assert torch.equal(batch.value_targets, batch.values + batch.advantages)
    settings = TRPOSettings(value_learning_rate=3e-3, value_epochs=20)
    (_, gae), (_, returns) = (trpo_update(agents, b, settings, seeds=[0], iteration=0) for b in (batch, of_returns))
    assert returns.explained_variance_returns[0] > gae.explained_variance_returns[0] + 0.05
    assert gae.explained_variance_gae[0] > returns.explained_variance_gae[0] + 0.05


def test_a_batch_follows_the_bootstrap_of_its_agents() -> None:
    settings = TrainSettings(
        environment="training_environments:make_target",
        seeds=1,
        steps=64,
        n_steps=64,
        hidden=(8, 8),
        normalize_rewards=False,
    ).resolved()
    agents = Agent.stack(initial_agents(settings, [0]))
    seeds = [agent_seed(settings, 0)]
    _, correct, *_ = gather(agents, settings, seeds, 0)
    _, paper, *_ = gather(dataclasses.replace(agents, bootstrap="paper"), settings, seeds, 0)
    assert (correct.value_weights == 1).all()
    assert (paper.value_weights == 0).any()
    assert not torch.equal(correct.advantages, paper.advantages)
    np.testing.assert_array_equal(correct.values, paper.values)


def test_the_bootstrap_is_part_of_what_names_a_measurement() -> None:
    agent = make_agent(0)
    assert probe(agent)["bootstrap"] == "correct"
    assert content_key(probe(agent)) != content_key(probe(dataclasses.replace(agent, bootstrap="paper")))


def test_the_target_is_part_of_what_names_a_measurement() -> None:
    agent = make_agent(0)
    assert content_key(probe(agent)) != content_key(probe(dataclasses.replace(agent, value_target="returns")))
