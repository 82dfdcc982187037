"""Agents trained from different seeds are measured with draws of their own, as intervals over seeds presume."""

from dataclasses import replace

import numpy as np
import pytest

import closerlook as cl
from closerlook.agents.identity import own_seed
from environments import linear_quadratic_agent
from small_measurements import ASKED, TOLD


def test_agents_of_seed_0_or_none_draw_from_the_seed_itself():
    agent = linear_quadratic_agent()
    assert own_seed(7, agent) == own_seed(7, replace(agent, agent_seed=0)) == 7
    seeds = {own_seed(root, replace(agent, agent_seed=seed)) for root in (7, 8) for seed in range(10)}
    assert len(seeds) == 20


@pytest.mark.parametrize("name", ASKED)
def test_agents_that_differ_in_their_seed_alone_differ_in_their_draws(name):
    few = {"policy_epochs": 1, "minibatches": 2}  # of PPO, where a measurement makes updates
    agent = linear_quadratic_agent(gamma=0.9, algorithm="ppo", algorithm_settings=few)
    agents = [replace(agent, agent_seed=seed) for seed in (0, 1, 2)]
    found = getattr(cl, name)(agents, workers=1, **ASKED[name])[TOLD[name]].values.reshape(3, -1)
    assert np.isfinite(found).all()
    assert len({row.tobytes() for row in found}) == 3
    alone = getattr(cl, name)(agents[1], workers=1, **ASKED[name])[TOLD[name]].values
    np.testing.assert_array_equal(alone.ravel(), found[1])
