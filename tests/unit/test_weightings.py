"""Kinds of advantages, pair by pair: returns in place of advantages, Monte Carlo returns less a baseline, and cuts."""

from dataclasses import replace

import numpy as np
import pytest

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import MLPValue
from closerlook.algorithms.batch import evaluate_critic
from closerlook.measurements.weightings import OWN, Weighting, weigh
from closerlook.nn.networks import MLP
from closerlook.randomness import generator
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import Rollout, rollout
from environments import linear_quadratic_agent

GAMMA, LAMBDA = 0.9, 0.5


def sampled_by(n_steps: int = 20, **fields) -> tuple[Agent, Rollout]:
    """An agent with a critic, on episodes of eight steps; the last is cut."""
    value = MLPValue(MLP((3, 4, 1)))
    agent = linear_quadratic_agent(gamma=GAMMA, gae_lambda=LAMBDA, **fields)
    agent = replace(agent.with_state({"value": value.initialize(generator(3, "test"), "xavier")}), value=value)
    agents = Agent.stack([agent])
    sampling = Sampling(n_steps, continuation_steps=44)
    where = EnvironmentSpec("environments:make_linear_quadratic")
    return agents, rollout(agents, where, sampling, seeds=[1], purpose="test", streams=range(3))


def weights_of(agents: Agent, sampled: Rollout, weighting: Weighting):
    return weigh(agents, sampled, {"critic": evaluate_critic(agents, sampled, agents.bootstrap)}, [weighting])[0]


def returns_of(sampled: Rollout, stream: int, *, beyond: bool) -> list[float]:
    """Discounted rewards to the end of the episode, or to the cut, or past it, one pair at a time."""
    rewards, ends = sampled.rewards[0, stream], sampled.terminated[0, stream]
    further = list(sampled.boundaries.continuation_rewards[sampled.boundaries.stream == stream][-1]) if beyond else []
    found = []
    for t in range(len(rewards)):
        stop = next((s + 1 for s in range(t, len(rewards)) if ends[s]), None)
        own = list(rewards[t:stop]) if stop is not None else [*rewards[t:], *further]
        found.append(sum(GAMMA**k * reward for k, reward in enumerate(own)))
    return found


def test_without_a_baseline_advantages_are_returns_whatever_lambda_is():
    agents, sampled = sampled_by()
    found = weights_of(agents, sampled, Weighting(baseline="zero")).whole
    for stream in range(3):
        np.testing.assert_allclose(found[stream], returns_of(sampled, stream, beyond=False), rtol=1e-5)
    bare = replace(agents, value=None)  # an agent without a critic has none but these
    np.testing.assert_array_equal(weights_of(bare, sampled, OWN).whole, found)


def test_monte_carlo_returns_less_the_critic_trust_nothing_else():
    agents, sampled = sampled_by()
    found = weights_of(agents, sampled, Weighting(complete=True)).whole
    values = evaluate_critic(agents, sampled, "correct").values[0]
    for stream in range(3):
        whole = np.array(returns_of(sampled, stream, beyond=True)) - values[stream].numpy()
        np.testing.assert_allclose(found[stream], whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bootstrap", ["correct", "paper"])
@pytest.mark.parametrize("pairs", [5, 11])
def test_a_stream_that_is_cut_earlier_has_the_advantages_of_one_that_short(bootstrap, pairs):
    agents, sampled = sampled_by(bootstrap=bootstrap)
    _, short = sampled_by(pairs, bootstrap=bootstrap)
    np.testing.assert_array_equal(short.rewards, sampled.rewards[:, :, :pairs])
    expected = weights_of(agents, short, OWN).whole
    np.testing.assert_allclose(weights_of(agents, sampled, OWN).if_cut(pairs), expected, rtol=1e-4, atol=1e-5)
