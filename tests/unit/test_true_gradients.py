"""Returns as true_gradients, against loops over every step; squares of scores, against every pair's gradient."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.batch import evaluate_critic
from closerlook.errors import InputError
from closerlook.measurements.stream_sums import StreamRange, StreamStatistics, sample_sums
from closerlook.measurements.true_returns import (
    COVARIATES,
    TIME_UNIT,
    continuation_steps,
    covariates,
    incomplete_returns,
    true_returns,
)
from closerlook.nn.gradients import autograd_score_sums, categorical_head, gaussian_head
from closerlook.nn.networks import MLP
from closerlook.nn.score_squares import autograd_score_squares, layer_slices, mlp_score_squares
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics.blocks import Sums, total
from environments import linear_quadratic_agent
from small_agents import categorical_agent, gaussian_agent

BOTH = ("discounted_return", "episode_return")


def corridor(sampling: Sampling, gamma: float = 0.5, name: str = "tiny_environments:Corridor", **arguments):
    """Step t of an episode earns t, so that every return can be worked out by hand."""
    agent = Agent.stack([gaussian_agent(2, 1, gamma=gamma)])
    spec = EnvironmentSpec(name, arguments)
    return agent, rollout(agent, spec, sampling, seeds=[0], purpose="truths", streams=[0, 1])


def test_a_continuation_ends_where_one_percent_is_left():
    assert continuation_steps(0.99) == 459
    assert 0.99**459 <= 0.01 < 0.99**458
    assert continuation_steps(0.0) == 0
    assert continuation_steps(0.9999) is None
    assert continuation_steps(1.0) is None


@pytest.mark.parametrize("burn_in", [0, 6])
def test_returns_go_on_past_the_cut(burn_in):
    sampling = Sampling(6, burn_in=burn_in, continuation_steps=7, finish_episodes=True)
    agent, sampled = corridor(sampling, length=4)
    discounted, undiscounted = true_returns(agent, sampled, BOTH)
    for stream in range(2):
        for t in range(6):
            first = int(sampled.rewards[0, stream, t])  # the reward is the step's number in its episode
            rest = range(first, 5)
            assert float(undiscounted[stream, t]) == sum(rest)
            assert float(discounted[stream, t]) == pytest.approx(sum(0.5**k * r for k, r in enumerate(rest)))
    assert not incomplete_returns(sampled, 7, BOTH).any()


def test_discounted_returns_go_on_past_a_time_limit_and_episode_returns_end_there():
    sampling = Sampling(6, continuation_steps=7, finish_episodes=True)
    agent, sampled = corridor(sampling, name="tiny_environments:TinyCorridor-v0")
    assert sampled.truncated[0, :, 3].all()
    discounted, undiscounted = true_returns(agent, sampled, BOTH)
    # the limit is at 4 steps; from step 3 on there are 1 + 7 rewards, and so after every pair all that were simulated
    assert undiscounted[0].tolist() == [10, 9, 7, 4, 10, 9]
    assert float(discounted[0, 3]) == pytest.approx(sum(0.5**k * (4 + k) for k in range(8)))
    assert float(discounted[0, 5]) == pytest.approx(sum(0.5**k * (2 + k) for k in range(8)))


def test_what_cannot_be_followed_to_its_end_is_counted():
    sampling = Sampling(5, continuation_steps=4, finish_episodes=True, longest_finish=6)
    _, sampled = corridor(sampling)  # never ends
    assert incomplete_returns(sampled, 4, BOTH).tolist() == [[0, 0], [1, 1]]
    _, sampled = corridor(sampling, length=3, truncates=True)  # cannot go on
    assert incomplete_returns(sampled, 4, BOTH).tolist() == [[2, 2], [0, 0]]


def test_a_return_that_does_not_end_is_refused_in_words():
    agent = linear_quadratic_agent(gamma=1.0)
    part = StreamRange(0, "truths", 0, 2)
    with pytest.raises(InputError, match="do not come to an end with gamma 1"):
        sample_sums(
            agent, agent.environment, Sampling(8), part, StreamStatistics(true_gradients=("discounted_return",))
        )


@pytest.mark.parametrize("burn_in", [0, 6])
def test_the_covariate_of_time_counts_from_the_reset(burn_in):
    agent, sampled = corridor(Sampling(9, burn_in=burn_in), length=4)
    elapsed, critic = covariates(sampled, evaluate_critic(agent, sampled, "correct"))
    np.testing.assert_allclose(elapsed * TIME_UNIT, sampled.rewards[0] - 1, atol=1e-4)
    assert not critic.any()


def test_rows_of_truths_are_weighted_scores_and_their_products():
    agent = linear_quadratic_agent(gamma=0.9, regime=Regime(1, 20))
    part = StreamRange(5, "truths", 0, 3)
    answer = sample_sums(agent, agent.environment, Sampling(20), part, StreamStatistics(true_gradients=BOTH))
    population = Agent.stack([agent])
    asked = Sampling(20, continuation_steps=44, finish_episodes=True)
    sampled = rollout(population, agent.environment, asked, seeds=[5], purpose="truths", streams=range(3))
    returns = true_returns(population, sampled, BOTH)
    others = covariates(sampled, evaluate_critic(population, sampled, "correct"))
    sums = Sums.from_arrays(answer, "streams")
    for stream in range(3):
        rows = torch.cat([returns[:, stream].float(), others[:, stream], torch.ones(1, 20)])
        inputs, actions = (
            torch.from_numpy(sampled.observations[0, stream]),
            torch.from_numpy(sampled.actions[0, stream]),
        )
        (expected,) = autograd_score_sums(agent.policy, agent.policy_parameters, inputs, actions, [rows])
        scores, _ = total([sums], stream, 1)
        np.testing.assert_allclose(scores[1:], expected, rtol=1e-4, atol=1e-4)
        table = np.concatenate([np.ones((1, 20)), others[:, stream].numpy(), returns[:, stream].numpy()])
        np.testing.assert_allclose(answer["crossed"][stream], table @ table.T, rtol=1e-6)
    assert answer["crossed"].shape == (3, 1 + COVARIATES + 2, 1 + COVARIATES + 2)
    assert answer["incomplete"].shape == (3, 2)


def squares_by_hand(policy, parameters, inputs, actions, advantages, starts):
    """The gradient of every pair, one by one."""
    scores = np.array(
        [
            autograd_score_sums(policy, parameters, inputs[t : t + 1], actions[t : t + 1], [torch.ones(1, 1)])[0][0]
            for t in range(len(inputs))
        ]
    )
    advantages = advantages.double().numpy()[:, None]
    found = []
    for part in layer_slices(policy.parameter_shapes).values():
        g = scores[:, part]
        row = [(advantages**2 * g**2).sum(), (advantages * g**2).sum(), (g**2).sum(), 0.0, 0.0, 0.0]
        for first, stop in pairwise([*starts, len(inputs)]):
            s, o = (advantages[first:stop] * g[first:stop]).sum(0), g[first:stop].sum(0)
            row[3:] += np.array([s @ s, s @ o, o @ o]) / (stop - first)
        found.append(row)
    return np.array(found)


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_squares_by_layer_equal_those_of_every_pairs_gradient(kind):
    draws = torch.Generator().manual_seed(3)
    agent = gaussian_agent(4, 2, hidden=6) if kind == "gaussian" else categorical_agent(4, 3)
    inputs, advantages = torch.randn(90, 4, generator=draws), torch.randn(90, generator=draws)
    actions = torch.randn(90, 2, generator=draws) if kind == "gaussian" else torch.arange(90) % 3
    starts, parameters = [0, 7, 8, 70], agent.policy_parameters
    head = gaussian_head(parameters["log_std"]) if kind == "gaussian" else categorical_head
    expected = squares_by_hand(agent.policy, parameters, inputs, actions, advantages, starts)
    found = mlp_score_squares(agent.policy.network, parameters, head, inputs, actions, advantages, starts)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    slow = autograd_score_squares(agent.policy, parameters, inputs, actions, advantages, starts)
    np.testing.assert_allclose(slow, expected, rtol=1e-4, atol=1e-4)


def test_layers_are_named_after_what_their_parameters_share():
    shapes = {"0.weight": (3, 2), "0.bias": (3,), "1.weight": (1, 3), "1.bias": (1,), "log_std": (2,)}
    assert layer_slices(shapes) == {"0": slice(0, 9), "1": slice(9, 13), "log_std": slice(13, 15)}
    assert layer_slices(MLP((2, 3)).parameter_shapes) == {"0": slice(0, 9)}
