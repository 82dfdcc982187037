"""What jobs' answers add up to, against the same pairs sampled again and added up in the open."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.policies import MLPValue
from closerlook.algorithms.batch import evaluate_critic, make_batch
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.gradients.findings import gradient_findings
from closerlook.measurements.pooled import Pooled
from closerlook.measurements.stream_sums import StreamRange, StreamStatistics, sample_sums
from closerlook.measurements.true_returns import covariates, true_returns
from closerlook.nn.gradients import autograd_score_sums
from closerlook.nn.networks import MLP
from closerlook.nn.score_squares import layer_slices
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics.pool import plan_pool
from environments import endless_quadratic_agent, linear_quadratic_agent

STREAMS, STEPS = 40, 20
QUESTION = StreamStatistics((7,), true_gradients=("discounted_return", "episode_return"))
POOL = plan_pool(STREAMS * STEPS, 3, (STEPS, STEPS), [7, 20, 60])


def make_agent() -> Agent:
    """A linear-quadratic agent with a critic."""
    value = MLPValue(MLP((3, 8, 1)))
    bare = linear_quadratic_agent(gamma=0.9, gae_lambda=0.8, regime=Regime(1, STEPS), normalize_advantages=True)
    return replace(bare.with_state({"value": value.initialize(np.random.default_rng(9), "xavier")}), value=value)


@pytest.fixture(scope="module")
def pooled() -> Pooled:
    agent = make_agent()
    answers = [
        sample_sums(agent, agent.environment, Sampling(STEPS), StreamRange(1, "pool", first, stop), QUESTION)
        for first, stop in ((0, 16), (16, 40))
    ]
    return Pooled(answers, POOL, QUESTION)


@pytest.fixture(scope="module")
def in_the_open() -> dict[str, np.ndarray]:
    """Every pair's score (S, T, D), advantage, returns, covariates, and where trajectories start."""
    agent = make_agent()
    agents = Agent.stack([agent])
    asked = Sampling(STEPS, continuation_steps=44, finish_episodes=True)
    sampled = rollout(agents, agent.environment, asked, seeds=[1], purpose="pool", streams=range(STREAMS))
    critic = evaluate_critic(agents, sampled, "correct")
    inputs, actions = (torch.from_numpy(array[0]) for array in (sampled.observations, sampled.actions))
    scores = [
        autograd_score_sums(agent.policy, agent.policy_parameters, inputs[s], actions[s], [torch.eye(STEPS)])[0]
        for s in range(STREAMS)
    ]
    return {
        "scores": np.array(scores),
        "advantages": make_batch(agents, sampled, sampled.rewards).advantages[0].double().numpy(),
        "returns": true_returns(agents, sampled, QUESTION.true_gradients).numpy(),
        "covariates": covariates(sampled, critic).double().numpy(),
        "ends": sampled.terminated[0] | sampled.truncated[0],
    }


def weighted(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Sum over the pairs of each stream: (S, D)."""
    return np.einsum("st,std->sd", weights, scores)


def expected_sums(in_the_open, name: str) -> np.ndarray:
    """A target's sums over streams: the surrogate centered, returns less their regression on time and critic."""
    scores = in_the_open["scores"]
    if name == "surrogate":
        advantages = in_the_open["advantages"]
        return weighted(advantages - advantages.mean(), scores)
    returns = in_the_open["returns"][QUESTION.true_gradients.index(name)]
    table = np.stack([np.ones(returns.size), *(row.ravel() for row in in_the_open["covariates"])], axis=1)
    fitted = table @ np.linalg.lstsq(table, returns.ravel(), rcond=None)[0]
    return weighted(returns - fitted.reshape(returns.shape), scores)


@pytest.mark.parametrize("name", ["surrogate", "discounted_return", "episode_return"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_targets_are_shared_out_among_estimates_and_the_rest(pooled, in_the_open, name, place):
    target = next(one for one in (pooled.surrogate(), *pooled.true_gradients()) if one.name == name)
    size, sums = POOL.sizes[place], expected_sums(in_the_open, name)
    directed = np.ones(size.count, bool)
    directed[[1, 2]] = False
    shares = pooled.shares(size, target, directed)
    owners = [[i * size.streams + k for k in range(size.streams)] for i in np.flatnonzero(directed)]
    others = sorted(set(range(STREAMS)) - {stream for own in owners for stream in own})
    close = {"rtol": 2e-4, "atol": 2e-4}
    np.testing.assert_allclose(shares.own, [sums[own].sum(0) for own in owners], **close)
    np.testing.assert_allclose(shares.rest, sums[others].sum(0), **close)
    np.testing.assert_allclose(shares.rest_squares, np.square(sums[others]).sum(), rtol=1e-4)
    assert shares.pairs.tolist() == [STEPS * size.streams] * len(owners)
    assert (shares.rest_pairs, shares.rest_pairs_squares) == (STEPS * len(others), STEPS**2 * len(others))


def test_shares_that_were_kept_are_those_that_were_asked_for(pooled):
    targets = [pooled.by_weights(0, centered=False), pooled.surrogate(), *pooled.true_gradients()]
    sizes = [*POOL.sizes, replace(POOL.sizes[-1], streams=2)]
    asked = [(size, target, first) for target in targets for size in sizes for first in (0, 1, 0)]
    for size, target, first in [*asked, *((size, target, 0) for size in sizes for target in targets)]:
        directed = np.arange(size.count) >= first
        found, again = pooled.shares(size, target, directed), pooled._divided(size, target, directed)
        np.testing.assert_array_equal(found.own, again.own)
        np.testing.assert_array_equal(found.rest, again.rest)
    assert len(pooled._shares) == 3


def test_groups_are_the_targets_sums_over_equal_parts(pooled, in_the_open):
    sums, pairs = pooled.groups(pooled.surrogate())
    np.testing.assert_allclose(sums, expected_sums(in_the_open, "surrogate"), rtol=2e-4, atol=2e-4)
    assert pairs.tolist() == [STEPS] * STREAMS


def test_all_in_the_rest_is_the_whole_pool(pooled, in_the_open):
    shares = pooled.all_in_the_rest(pooled.surrogate())
    sums = expected_sums(in_the_open, "surrogate")
    assert len(shares.own) == 0
    np.testing.assert_allclose(shares.rest, sums.sum(0), rtol=2e-4, atol=1e-3)
    np.testing.assert_allclose(shares.rest_squares, np.square(sums).sum(), rtol=1e-4)


def test_squares_are_of_centered_advantages_over_the_first_streams(pooled, in_the_open):
    first = len(in_the_open["scores"])  # all of so short streams
    scores, ends = in_the_open["scores"][:first], in_the_open["ends"][:first]
    centered = (in_the_open["advantages"] - in_the_open["advantages"].mean())[:first]
    layers = layer_slices(make_agent().policy.parameter_shapes)
    found = pooled.squares(pooled.surrogate(), list(layers.values()))
    for squares, part in zip(found, layers.values(), strict=True):
        pairs = centered[..., None] * scores[..., part]
        trajectories, lengths = 0.0, []
        for stream in range(first):
            starts = [0, *(np.flatnonzero(ends[stream]) + 1), STEPS]
            for begin, stop in pairwise(sorted(set(starts))):
                trajectories += np.square(pairs[stream, begin:stop].sum(0)).sum() / (stop - begin)
                lengths.append(stop - begin)
        assert squares.single == pytest.approx(np.square(pairs).sum(), rel=1e-3)
        assert squares.trajectory == pytest.approx(trajectories, rel=1e-3)
        assert squares.total == pytest.approx(np.square(pairs.sum((0, 1))).sum(), rel=1e-3)
        assert (squares.pairs, squares.trajectories) == (first * STEPS, len(lengths))
        assert squares.squared_lengths == np.square(lengths).sum()


@pytest.mark.parametrize("normalize", [True, False])
def test_noise_is_that_of_the_estimates_that_are_made(pooled, in_the_open, normalize):
    """Raw advantages keep their mean, and the noise it makes."""
    layers = layer_slices(make_agent().policy.parameter_shapes)
    found = gradient_findings(pooled, (), layers, normalize=normalize)
    advantages, scores = in_the_open["advantages"], in_the_open["scores"]
    weights = advantages - advantages.mean() if normalize else advantages
    variances = STEPS * np.var(weighted(weights, scores) / STEPS, axis=0, ddof=1)
    pairs = (weights[..., None] * scores).reshape(-1, scores.shape[-1])  # all of so short streams
    assert found["gradient_variance"] == pytest.approx(variances.sum(), rel=1e-3)
    shares = [variances[part].sum() / variances.sum() for part in layers.values()]
    np.testing.assert_allclose(found["layer_noise_fraction"], shares, rtol=1e-3)
    fraction = pairs.var(axis=0).sum() / variances.sum()
    assert found["effective_sample_fraction"] == pytest.approx(fraction, rel=1e-3)


def test_the_noise_scale_predicts_the_cosines_of_raw_estimates(monkeypatch):
    """Without a critic returns are negative throughout, and their mean makes half of the noise."""
    monkeypatch.setattr("closerlook.measurements.stream_sums.FINISHED_STREAMS", 0)  # episodes have no end to follow
    own = endless_quadratic_agent(regime=Regime(1, 64))
    found = gradient_quality(own, advantages="raw", pairs=64 * 512, sizes=[64, 256, 1024], workers=1)
    np.testing.assert_allclose(found["predicted_pairwise_cosine"], found["pairwise_cosine"], atol=0.12)


@pytest.mark.parametrize("centered", [True, False])
def test_means_of_a_target_are_those_of_its_pairs(pooled, in_the_open, centered):
    size = POOL.sizes[2]
    found = pooled.means(size, pooled.by_weights(0, centered=centered))
    advantages = in_the_open["advantages"]
    sums = weighted(advantages - (advantages.mean() if centered else 0.0), in_the_open["scores"])
    expected = sums[: size.count * 3].reshape(size.count, 3, -1).sum(axis=1) / 60
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
