"""What a batch says of itself agrees with the full measurement of the same agent, and its intervals cover."""

import numpy as np
import pytest

import closerlook as cl
from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import make_batch
from closerlook.monitor.gradient_estimates import gradient_agreement, group_gradients, groups_of
from closerlook.monitor.own_training import batches_of
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from environments import endless_quadratic_agent, linear_quadratic_agent, linear_quadratic_gradient

STREAMS, STEPS = 24, 64


def batch_of(agent, number):
    """One training batch of an agent, from draws of its own."""
    agents = Agent.stack([agent])
    streams = range(number * STREAMS, (number + 1) * STREAMS)
    sampled = rollout(agents, agent.environment, Sampling(STEPS), seeds=[7], purpose="monitored", streams=streams)
    return batches_of(agents, make_batch(agents, sampled, sampled.rewards), sampled)[0]


def test_the_gradient_of_batches_is_the_exact_one():
    """The mean over batches of the estimate, against the closed form, in units of its own deviation."""
    agent = linear_quadratic_agent()
    found = []
    for number in range(12):
        sums, pairs = group_gradients(batch_of(agent, number), groups_of(batch_of(agent, number)))
        found.append(sums.sum(axis=0) / pairs.sum())
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(mean - linear_quadratic_gradient(agent)) < 5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("make_agent", [linear_quadratic_agent, endless_quadratic_agent])
def test_noise_scales_of_batches_cover_the_full_measurement(make_agent, tmp_path):
    agent = make_agent()
    full = cl.gradient_quality(agent, pairs=400_000, workers=1, seed=1, out=tmp_path)
    scale, covered, runs = float(full.noise_scale_pairs), 0, 60
    for number in range(runs):
        found = gradient_agreement(batch_of(agent, number))
        covered += found["noise_scale_pairs_low"] <= scale <= found["noise_scale_pairs_high"]
    assert covered / runs >= 0.86  # of 95%, from 60 batches and a full measurement that has an error too
