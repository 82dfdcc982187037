"""Advantages and returns against arithmetic worked by hand, with terminations, truncations and cuts."""

import dataclasses

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.policies import GaussianMLP, MLPValue
from closerlook.algorithms.batch import make_batch
from closerlook.algorithms.returns import discounted_sums, gae
from closerlook.nn.networks import MLP
from closerlook.simulation.records import Boundaries, Episodes, Rollout

F, T = False, True


def test_discounted_sums_by_hand():
    sums = discounted_sums(torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([F, T, F, T]), 0.5)
    assert sums.tolist() == [2.0, 2.0, 8.0, 8.0]


def test_discounted_sums_with_a_tail_by_hand():
    tail = torch.tensor([9.0, 6.0, 9.0, 2.0])
    sums = discounted_sums(torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([F, T, F, T]), 0.5, tail)
    assert sums.tolist() == [1 + 0.5 * 5, 5.0, 4 + 0.5 * 9, 9.0]


def test_gae_by_hand():
    # gamma 0.5, lambda 0.5; termination after step 1, cut after step 3 with V = 4 beyond
    rewards, values = torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 1.0, 2.0])
    following, ends = torch.tensor([2.0, 0.0, 2.0, 4.0]), torch.tensor([F, T, F, T])
    advantages = gae(rewards, values, following, ends, gamma=0.5, gae_lambda=0.5)
    # deltas: 1 + 1 - 1 = 1; 1 - 2 = -1; 1 + 1 - 1 = 1; 1 + 2 - 2 = 1
    assert advantages.tolist() == [1 - 0.25, -1.0, 1 + 0.25, 1.0]


def test_lambda_one_is_the_return_less_the_value():
    draw = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 3, 9, generator=draw), torch.randn(2, 3, 9, generator=draw)
    ends = torch.rand(2, 3, 9, generator=draw) < 0.3
    ends[..., -1] = True
    tail = torch.randn(2, 3, 9, generator=draw) * ends
    following = torch.where(ends, tail, values.roll(-1, -1))
    advantages = gae(rewards, values, following, ends, gamma=0.9, gae_lambda=1.0)
    torch.testing.assert_close(advantages, discounted_sums(rewards, ends, 0.9, tail) - values)


def linear_critic() -> Agent:
    """An agent whose critic returns its observation (V(x) = x) and whose discount and lambda are 1/2."""
    policy, value = GaussianMLP(MLP((1, 1))), MLPValue(MLP((1, 1)))
    state = {
        "policy": {"0.weight": torch.ones(1, 1), "0.bias": torch.zeros(1), "log_std": torch.zeros(1)},
        "value": {"0.weight": torch.ones(1, 1), "0.bias": torch.zeros(1)},
    }
    return Agent.stack([Agent(policy, value, {}, gamma=0.5, gae_lambda=0.5).with_state(state)])


def rollout_of(observations: list[float], terminated: list[int], truncated: list[int], beyond: dict[int, float]):
    """Return one stream, its rewards all 1 and its actions 0; `beyond` holds the state past each boundary."""
    steps = len(observations)
    flags = [np.isin(np.arange(steps), where).reshape(1, 1, steps) for where in (terminated, truncated)]
    times = np.array(sorted(beyond), dtype=np.int64)
    zeros = np.zeros(len(times), dtype=np.int64)
    boundaries = Boundaries(
        policy=zeros,
        stream=zeros,
        time=times,
        observations=np.array([[beyond[t]] for t in times], np.float32).reshape(-1, 1),
        continuation_rewards=np.zeros((len(times), 0)),
        continuation_length=zeros,
        continuation_terminated=np.zeros(len(times), bool),
    )
    none = np.zeros(0, dtype=np.int64)
    no_episodes = Episodes(none, none, none, none, none, np.zeros(0), np.zeros(0, bool), np.zeros(0))
    return Rollout(
        observations=np.array(observations, np.float32).reshape(1, 1, steps, 1),
        actions=np.zeros((1, 1, steps, 1), np.float32),
        rewards=np.ones((1, 1, steps)),
        terminated=flags[0],
        truncated=flags[1],
        boundaries=boundaries,
        episodes=no_episodes,
        earlier_episodes=no_episodes,
    )


# steps 0-1 end in a termination, 2-3 in a truncation (7 beyond), 4-5 in a cut (5 beyond); V(x) = x
STREAM = rollout_of([1, 2, 1, 2, 3, 4], terminated=[1], truncated=[3], beyond={3: 7.0, 5: 5.0})


def test_correct_bootstrap_by_hand():
    batch = make_batch(linear_critic(), STREAM, STREAM.rewards)
    # deltas 1+1-1, 1+0-2, 1+1-1, 1+3.5-2, 1+2-3, 1+2.5-4; weight of the next: 1/4
    deltas = [1.0, -1.0, 1.0, 2.5, 0.0, -0.5]
    expected = [1 - 0.25, -1.0, 1 + 0.625, 2.5, 0 - 0.125, -0.5]
    assert deltas[1] == expected[1]
    assert batch.advantages[0, 0].tolist() == expected
    assert batch.returns[0, 0].tolist() == [1.5, 1.0, 1 + 0.5 * 4.5, 4.5, 1 + 0.5 * 3.5, 3.5]
    assert batch.value_weights.all()
    torch.testing.assert_close(batch.value_targets[0, 0], torch.tensor([1.75, 1.0, 2.625, 4.5, 2.875, 3.5]))


def test_paper_bootstrap_by_hand():
    batch = make_batch(linear_critic(), STREAM, STREAM.rewards, bootstrap="paper")
    # the time limit counts as a termination; at the cut V(s_T) stands in for V(s_T+1); returns stop with zero
    # deltas 1, -1, 1, 1+0-2, 0, 1+2-4
    assert batch.advantages[0, 0].tolist() == [0.75, -1.0, 1 - 0.25, -1.0, -0.25, -1.0]
    assert batch.returns[0, 0].tolist() == [1.5, 1.0, 1.5, 1.0, 1.5, 1.0]
    assert batch.value_weights[0, 0].tolist() == [1, 0, 1, 0, 1, 1]


@pytest.mark.parametrize("bootstrap", ["correct", "paper"])
def test_a_stream_that_ends_in_a_termination_is_no_cut(bootstrap):
    stream = rollout_of([1, 2], terminated=[1], truncated=[], beyond={})
    batch = make_batch(linear_critic(), stream, stream.rewards, bootstrap=bootstrap)
    assert batch.advantages[0, 0].tolist() == [0.75, -1.0]


def test_without_a_critic_advantages_are_returns():
    agents = dataclasses.replace(linear_critic(), value=None)
    batch = make_batch(agents, STREAM, STREAM.rewards)
    assert batch.advantages[0, 0].tolist() == [1.5, 1.0, 1.5, 1.0, 1.5, 1.0]
    assert not batch.values.any()
