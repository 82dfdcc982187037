"""Reward scaling against a step-by-step twin of the released filter, and by hand."""

import numpy as np
import pytest

from closerlook.agents.agent import Agent, moments, moments_state
from closerlook.agents.normalization import RunningMoments, Scaling
from closerlook.agents.policies import GaussianMLP
from closerlook.agents.rewards import frozen_rewards, scaled_rewards
from closerlook.nn.networks import MLP

GAMMA = 0.9


def twin(rewards: list[float], ends: list[bool], seen: list[float], clip: float) -> list[float]:
    """Scale one stream the slow way: the sample deviation of every discounted return so far."""
    scaled, discounted = [], 0.0
    for reward, end in zip(rewards, ends, strict=True):
        discounted = GAMMA * discounted + reward
        seen.append(discounted)
        std = np.std(seen, ddof=1) if len(seen) > 1 else abs(seen[0])
        scaled.append(float(np.clip(reward / (std + 1e-8), -clip, clip)))
        discounted = 0.0 if end else discounted
    return scaled


def test_equals_the_slow_twin_through_two_batches():
    rng = np.random.default_rng(0)
    returns, seen = RunningMoments.empty(1, 1), []
    for _ in range(2):
        rewards, ends = rng.normal(1.0, 3.0, (1, 1, 60)), rng.random((1, 1, 60)) < 0.2
        scaled, returns = scaled_rewards(rewards, ends, returns, Scaling(clip=2.0), GAMMA)
        np.testing.assert_allclose(scaled[0, 0], twin(rewards[0, 0], ends[0, 0], seen, 2.0), rtol=1e-9)
    assert returns.count.tolist() == [120]
    np.testing.assert_allclose(returns.mean, np.mean(seen))
    np.testing.assert_allclose(returns.variance, np.var(seen, ddof=1))


def test_by_hand():
    # G: 2, then 1 + 0.9 * 2 = 2.8, an end, then 4: deviations |2|, 0.4 sqrt 2, and that of (2, 2.8, 4)
    rewards, ends = np.array([[[2.0, 1.0, 4.0]]]), np.array([[[False, True, False]]])
    scaled, _ = scaled_rewards(rewards, ends, RunningMoments.empty(1, 1), Scaling(epsilon=0.0), GAMMA)
    third = ((2 - 44 / 15) ** 2 + (2.8 - 44 / 15) ** 2 + (4 - 44 / 15) ** 2) / 2
    np.testing.assert_allclose(scaled[0, 0], [1.0, 1.0 / (0.4 * 2**0.5), 4.0 / third**0.5])


def test_each_stream_begins_with_no_return_and_streams_of_a_step_are_taken_in_order():
    rewards, ends = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.zeros((1, 2, 2), bool)
    _, returns = scaled_rewards(rewards, ends, RunningMoments.empty(1, 1), Scaling(), GAMMA)
    pushed = [1.0, 3.0, 2.0 + 0.9, 4.0 + 2.7]
    np.testing.assert_allclose(returns.mean[0, 0], np.mean(pushed))


def test_members_do_not_depend_on_each_other_and_inputs_stay():
    rng = np.random.default_rng(1)
    rewards, ends = rng.normal(size=(3, 2, 40)), rng.random((3, 2, 40)) < 0.1
    start = RunningMoments.empty(3, 1)
    together, after = scaled_rewards(rewards, ends, start, Scaling(clip=1.0), GAMMA)
    assert not start.count.any()
    for i in range(3):
        alone, moments_alone = scaled_rewards(
            rewards[[i]], ends[[i]], RunningMoments.empty(1, 1), Scaling(clip=1.0), GAMMA
        )
        np.testing.assert_array_equal(alone[0], together[i])
        assert moments_alone.squares[0, 0] == after.squares[i, 0]


@pytest.fixture
def agents() -> Agent:
    policy = GaussianMLP(MLP((2, 4, 1)))
    parameters = policy.initialize(np.random.default_rng(0), "orthogonal")
    stored = RunningMoments(np.array([5.0]), np.array([[1.0]]), np.array([[16.0]]))
    returns = {name: tensor[0] for name, tensor in moments_state(stored).items()}
    bare = Agent(policy, None, {}, reward_scaling=Scaling(epsilon=0.0, clip=3.0))
    return Agent.stack([bare.with_state({"policy": parameters, "returns": returns})])


def test_frozen_scaling_divides_by_what_is_stored(agents):
    np.testing.assert_allclose(frozen_rewards(agents, np.array([[[1.0, -4.0, 100.0]]])), [[[0.5, -2.0, 3.0]]])
    assert moments(agents, "returns").count.tolist() == [5.0]


def test_frozen_scaling_of_an_agent_that_saw_nothing_only_clips(agents):
    empty = agents.with_state({"returns": moments_state(RunningMoments.empty(1, 1))})
    np.testing.assert_allclose(frozen_rewards(empty, np.array([[[1.0, 100.0]]])), [[[1.0, 3.0]]])
