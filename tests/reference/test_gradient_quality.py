"""Gradient quality against naive twins: fresh batches, plain autograd, closed forms, brute force."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import MLPValue
from closerlook.algorithms.batch import evaluate_critic, make_batch
from closerlook.algorithms.returns import advantages_if_cut
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.gradients.findings import gradient_findings
from closerlook.execution import Job, content_key, run_jobs
from closerlook.measurements.pooled import Pooled
from closerlook.measurements.stream_sums import StreamRange, StreamStatistics, sample_sums
from closerlook.measurements.weightings import OWN, Weighting, weigh
from closerlook.nn.networks import MLP, flatten
from closerlook.nn.score_squares import layer_slices
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics import blocks
from closerlook.statistics.blocks import Sums
from closerlook.statistics.estimates import Interval, cosine_matrix, gradient_estimate, mean_pairwise_cosine
from closerlook.statistics.noise import noise_scale
from closerlook.statistics.pool import plan_pool
from closerlook.statistics.true_gradients import Shares
from closerlook.statistics.true_gradients import true_cosine as true_cosine_of
from environments import (
    HORIZON,
    bandit_agent,
    bandit_gradient,
    linear_quadratic_agent,
    linear_quadratic_gradient,
)
from vectorized import bandit_estimates, linear_quadratic_estimates, linear_quadratic_pairs

CASES = [
    pytest.param("bandit", 8, False, 0.0, 0.05, id="bandit-0.05"),
    pytest.param("bandit", 40, True, 3.0, 0.3, id="bandit-0.3"),
    pytest.param("bandit", 112, True, "wide", 0.9, id="bandit-0.9"),
    pytest.param("quadratic", 24, False, 0.0, 0.05, id="quadratic-0.05"),
    pytest.param("quadratic", 32, True, 0.0, 0.3, id="quadratic-0.3"),
    pytest.param("quadratic", 344, True, 0.0, 0.9, id="quadratic-0.9"),
]
REPEATS, ESTIMATES = 500, 10
SETTINGS = {
    "bandit": (bandit_agent, bandit_estimates),
    "quadratic": (linear_quadratic_agent, linear_quadratic_estimates),
}


def with_critic(agent: Agent, **fields) -> Agent:
    """Give an agent a critic of tanh units, so that bootstraps matter."""
    value = MLPValue(MLP((agent.policy.network.sizes[0], 8, 1)))
    parameters = value.initialize(np.random.default_rng(9), "xavier")
    return replace(agent.with_state({"value": parameters}), value=value, **fields)


def case(name, noise) -> tuple[Agent, float]:
    """Return an agent and the reward noise; ``wide``: exploring more, which makes the signal stronger."""
    agent = SETTINGS[name][0]()
    if noise != "wide":
        return agent, noise
    return agent.with_state({"policy": {"log_std": agent.state["policy.log_std"] + 1.0}}), 0.0


def coverage(estimates: np.ndarray, truth: float) -> tuple[float, float, float]:
    """Coverage of the interval over repeats, and its mean width relative to the ideal one."""
    found = [mean_pairwise_cosine(cosine_matrix(own)) for own in estimates.reshape(REPEATS, ESTIMATES, -1)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    ideal = 2 * 1.96 * np.std([one.value for one in found])
    return float(covered), float(np.mean([one.high - one.low for one in found]) / ideal), ideal


def true_cosine(name, noise, pairs, normalize) -> float:
    """Brute force: the mean cosine of very many estimates that nothing here has seen."""
    agent, reward_noise = case(name, noise)
    shape = (10_000, pairs)
    estimates = SETTINGS[name][1](np.random.default_rng(77), agent, shape, noise=reward_noise, normalize=normalize)
    return mean_of_all(estimates)


def mean_of_all(estimates: np.ndarray) -> float:
    """Mean pairwise cosine without the matrix of all pairs."""
    units = estimates / np.linalg.norm(estimates, axis=1, keepdims=True)
    n, total = len(units), units.sum(0)
    return float((total @ total - n) / (n * (n - 1)))


@pytest.mark.parametrize(("name", "pairs", "normalize", "noise", "near"), CASES)
def test_interval_covers_on_the_true_distribution(name, pairs, normalize, noise, near):
    agent, reward_noise = case(name, noise)
    truth = true_cosine(name, noise, pairs, normalize)
    assert truth == pytest.approx(near, abs=0.03 + 0.1 * near)
    shape = (REPEATS * ESTIMATES, pairs)
    estimates = SETTINGS[name][1](np.random.default_rng(1), agent, shape, noise=reward_noise, normalize=normalize)
    covered, width, _ = coverage(estimates, truth)
    assert 0.92 <= covered <= 0.99
    assert width < 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pairs", "normalize", "noise", "near"), CASES)
def test_measured_cosine_agrees_with_brute_force_and_its_interval_covers(
    monkeypatch, name, pairs, normalize, noise, near
):
    """The whole way: engine, rollout, workers, sums; one pool of disjoint streams, dealt out to 500 repeats."""
    agent, reward_noise = case(name, noise)
    spec = EnvironmentSpec(agent.environment.id, {"noise": reward_noise})
    estimates = np.concatenate([pool_estimates(agent, spec, pairs, first, normalize) for first in range(0, 5000, 1000)])
    truth = true_cosine(name, noise, pairs, normalize)
    covered, _, ideal = coverage(estimates, truth)
    assert mean_of_all(estimates) == pytest.approx(truth, abs=4 * ideal / 2 / 1.96 / np.sqrt(REPEATS))
    assert 0.92 <= covered <= 0.99


def pool_estimates(agent, spec, pairs, first, normalize) -> np.ndarray:
    """Estimates from 1000 streams of their own, 500 to a job, kept one by one."""
    ranges = [(first, first + 500), (first + 500, first + 1000)]
    jobs = [
        Job(
            name=f"streams {start}",
            key=content_key(start, stop),
            function=separate_sums,
            arguments={"agent": agent, "spec": spec, "pairs": pairs, "first": start, "stop": stop},
        )
        for start, stop in ranges
    ]
    sums = Sums.concatenate([Sums.from_arrays(answer, "streams") for answer in run_jobs(jobs, workers=2)])
    return np.stack(
        [
            gradient_estimate(s.astype(float), m, normalize=normalize)
            for s, m in zip(sums.scores, sums.moments, strict=True)
        ]
    )


def separate_sums(agent, spec, pairs, first, stop) -> dict[str, np.ndarray]:
    blocks.MOST_BLOCKS = 2**20  # in the worker: streams beyond the 512th are kept one by one, too
    return sample_sums(agent, spec, Sampling(pairs), StreamRange(3, "coverage", first, stop))


@pytest.mark.parametrize(
    ("agent", "gradient", "pairs"),
    [(bandit_agent(), bandit_gradient, 32), (linear_quadratic_agent(), linear_quadratic_gradient, 4 * HORIZON)],
    ids=["bandit", "quadratic"],
)
def test_mean_of_estimates_is_the_closed_form(agent, gradient, pairs):
    answer = sample_sums(agent, agent.environment, Sampling(pairs), StreamRange(1, "closed form", 0, 400))
    estimates = Sums.from_arrays(answer, "streams").scores[:, 0].astype(float) / pairs
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    assert np.abs((estimates.mean(0) - gradient(agent)) / error).max() < 4.5


def naive_estimates(agent: Agent, seed: int, streams: int, each: int, *, normalize: bool) -> np.ndarray:
    """Gradients of the surrogate ``mean(ratio * A)`` of batches of `each` streams, by plain autograd."""
    estimates = []
    for first in range(0, streams, each):
        population = Agent.stack([agent])
        sampled = rollout(
            population, agent.environment, Sampling(agent.regime.n_steps), seeds=[seed], purpose="gradients",
            streams=range(first, first + each),
        )  # fmt: skip
        batch = make_batch(population, sampled, sampled.rewards)
        advantages = batch.advantages[0].flatten()
        if normalize:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        leaves = {name: p.clone().requires_grad_() for name, p in agent.policy_parameters.items()}
        rows, actions = batch.observations[0].flatten(0, 1), batch.actions[0].flatten(0, 1)
        log_probs = agent.policy.distribution(leaves, rows).log_prob(actions)
        (torch.exp(log_probs - batch.log_probs[0].flatten()) * advantages).mean().backward()
        gradient = {name: leaf.grad for name, leaf in leaves.items()}
        estimates.append(flatten(gradient, list(leaves)).double().numpy())
    return np.stack(estimates)


@pytest.mark.parametrize("advantages", ["normalized", "raw"])
def test_dataset_agrees_with_naive_autograd(advantages):
    agent = with_critic(linear_quadratic_agent(), gamma=0.97, gae_lambda=0.9, regime=Regime(2, 20))
    found = gradient_quality(
        agent, pairs=20 * 24, estimates=3, sizes=[20, 40, 120], advantages=advantages, seed=5, workers=1
    )
    for place, each in enumerate([1, 2, 6]):
        naive = naive_estimates(agent, 5, 24, each, normalize=advantages == "normalized")
        expected = mean_pairwise_cosine(cosine_matrix(naive))
        here = found.isel(size=place)
        assert int(here["estimates"]) == 24 // each
        assert float(here["pairwise_cosine"]) == pytest.approx(expected.value, abs=2e-5)
        assert float(here["pairwise_cosine_low"]) == pytest.approx(expected.low, abs=5e-5)
        assert float(here["gradient_norm"]) == pytest.approx(np.linalg.norm(naive, axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
def test_alternatives_agree_with_agents_that_have_them_as_their_own(normalize):
    """The slow twin samples again with an agent of that lambda, or without a critic."""
    agent = with_critic(linear_quadratic_agent(), gamma=0.97, gae_lambda=0.9, regime=Regime(2, 20))
    asked = {"pairs": 20 * 24, "estimates": 3, "sizes": [12, 20, 40, 120], "seed": 5, "workers": 1}
    own, other = ("normalized", "raw") if normalize else ("raw", "normalized")
    found = gradient_quality(agent, **asked, advantages=own, lambdas=[1.0, 0.0], baselines=["returns"])
    twins = {
        other: gradient_quality(agent, **asked, advantages=other),
        "lambda 0": gradient_quality(replace(agent, gae_lambda=0.0), **asked, advantages=own),
        "lambda 1": gradient_quality(replace(agent, gae_lambda=1.0), **asked, advantages=own),
        "returns": gradient_quality(replace(agent, value=None), **asked, advantages=own),
    }
    assert found["alternative"].values.tolist() == list(twins)
    assert found["pairwise_cosine"].identical(gradient_quality(agent, **asked, advantages=own)["pairwise_cosine"])
    for name, twin in twins.items():
        for end in ("", "_low", "_high"):
            here = found[f"alternative_pairwise_cosine{end}"].sel(alternative=name)
            np.testing.assert_allclose(here, twin[f"pairwise_cosine{end}"], atol=2e-5, err_msg=name)
    cosines = [twin["pairwise_cosine"].values for twin in twins.values()]
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(cosines) for b in cosines[:i])


def test_without_a_baseline_returns_take_the_place_of_advantages():
    """The slow twin discounts rewards in a plain loop; lambda no longer matters."""
    agent = Agent.stack([with_critic(linear_quadratic_agent(gamma=0.97, gae_lambda=0.9))])
    where = {"seeds": [3], "purpose": "returns", "streams": range(3)}
    sampled = rollout(agent, agent.environment, Sampling(20), **where)
    (weights,) = weigh(
        agent, sampled, {"critic": evaluate_critic(agent, sampled, agent.bootstrap)}, [Weighting(baseline="zero")]
    )
    for stream in range(3):
        following = 0.0
        for t in reversed(range(20)):
            following = sampled.rewards[0, stream, t] + 0.97 * following * (not sampled.terminated[0, stream, t])
            assert float(weights.whole[stream, t]) == pytest.approx(following, rel=1e-5)


@pytest.mark.parametrize("steps", [HORIZON, 20, 23])
@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.9])
def test_the_beginning_of_a_stream_is_cut_as_the_released_code_cuts(steps, limit, gae_lambda):
    agent = linear_quadratic_agent(gamma=0.97, gae_lambda=gae_lambda, bootstrap="paper")
    agent = Agent.stack([with_critic(agent)])
    spec = EnvironmentSpec("environments:LinearQuadratic-v0", {} if limit is None else {"max_episode_steps": limit})
    where = {"seeds": [3], "purpose": "cut", "streams": range(5)}
    long, short = (rollout(agent, spec, Sampling(n), **where) for n in (30, steps))
    (whole,) = weigh(agent, long, {"critic": evaluate_critic(agent, long, agent.bootstrap)}, [OWN])
    expected = make_batch(agent, short, short.rewards).advantages[0]
    torch.testing.assert_close(whole.if_cut(steps), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole.whole, make_batch(agent, long, long.rewards).advantages[0])


@pytest.mark.parametrize("steps", [HORIZON, 20, 23])
@pytest.mark.parametrize("critic", [True, False])
@pytest.mark.parametrize("limit", [None, 5])
def test_the_beginning_of_a_stream_is_a_stream_cut_there(steps, critic, limit):
    """The slow twin samples the same streams again, and cuts them."""
    agent = linear_quadratic_agent(gamma=0.97, gae_lambda=0.9)
    agent = Agent.stack([with_critic(agent) if critic else agent])
    spec = EnvironmentSpec("environments:LinearQuadratic-v0", {} if limit is None else {"max_episode_steps": limit})
    where = {"seeds": [3], "purpose": "cut", "streams": range(5)}
    long, short = (rollout(agent, spec, Sampling(n), **where) for n in (30, steps))
    assert long.truncated.any() == (limit is not None)
    whole = make_batch(agent, long, long.rewards).advantages
    ends = torch.from_numpy(long.terminated | long.truncated)
    cut = advantages_if_cut(whole, ends, steps, 0.97 * (0.9 if critic else 1.0))
    torch.testing.assert_close(cut, make_batch(agent, short, short.rewards).advantages, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("critic", [True, False])
def test_sizes_below_a_stream_are_estimates_from_its_beginning(critic):
    agent = linear_quadratic_agent(gamma=0.97, gae_lambda=0.5, regime=Regime(1, 40))
    agent = with_critic(agent) if critic else agent
    long = gradient_quality(agent, pairs=40 * 12, estimates=10, sizes=[20, 40], workers=1)
    short = gradient_quality(replace(agent, regime=Regime(1, 20)), pairs=20 * 12, estimates=10, sizes=[20], workers=1)
    assert long["is_prefix"].values.tolist() == [True, False]
    assert not short["is_prefix"].values.any()
    np.testing.assert_allclose(long["pairwise_cosine"][0], short["pairwise_cosine"][0], atol=1e-5)


TRUE_CASES = [
    ("bandit", 8, 0.0), ("bandit", 40, 3.0), ("bandit", 112, "wide"), ("quadratic", 24, 0.0), ("quadratic", 32, 0.0),
    ("quadratic", 344, 0.0),
]  # fmt: skip
"""Settings, pairs of an estimate, reward noise."""
POOL = 60
"""Estimates, or streams of so many pairs, of one repeat."""


@pytest.fixture(scope="module", params=TRUE_CASES, ids=str)
def pools(request) -> tuple[np.ndarray, np.ndarray, int]:
    """Return raw estimates (repeats, POOL, D) of one setting, the exact gradient, and the pairs of an estimate."""
    name, pairs, noise = request.param
    agent, reward_noise = case(name, noise)
    exact = {"bandit": bandit_gradient, "quadratic": linear_quadratic_gradient}[name](agent)
    draw, generator = SETTINGS[name][1], np.random.default_rng(6)
    # in parts, as the scores of all at once would be gigabytes
    parts = [
        draw(generator, agent, (POOL * 20, pairs), noise=reward_noise, normalize=False) for _ in range(REPEATS // 20)
    ]
    return np.concatenate(parts).reshape(-1, POOL, len(exact)), exact, pairs


def shared(own: np.ndarray, pairs: int, *, left_inside: bool = False) -> Shares:
    """Divide one repeat's pool: half of it estimates, which own their streams unless they are left inside the truth."""
    sums = own * pairs
    half, rest = sums[: POOL // 2], sums if left_inside else sums[POOL // 2 :]
    owned = np.zeros_like(half) if left_inside else half
    counts = np.full(len(half), 0.0 if left_inside else float(pairs))
    squares = float(np.square(rest).sum()), float(pairs**2 * len(rest))
    return Shares(owned, counts, rest.sum(0), float(pairs * len(rest)), *squares)


def true_cosines(pools, *, left_inside: bool = False) -> tuple[list[Interval], float]:
    """Return the corrected cosine of each repeat, and the mean cosine to the exact gradient."""
    estimates, exact, pairs = pools
    units = estimates / np.linalg.norm(estimates, axis=2, keepdims=True)
    expected = float((units @ (exact / np.linalg.norm(exact))).mean())
    shares = [shared(own, pairs, left_inside=left_inside) for own in estimates]
    found = [true_cosine_of(own[: POOL // 2], one).corrected for own, one in zip(estimates, shares, strict=True)]
    return found, expected


def covered(found: list[Interval], expected: float) -> float:
    """Share of intervals that hold a number; one that is NaN holds nothing."""
    return float(np.mean([one.low <= expected <= one.high for one in found]))


def test_true_cosines_are_those_to_the_exact_gradient_and_their_intervals_cover(pools):
    found, expected = true_cosines(pools)
    values, widths = (np.array(row) for row in zip(*((one.value, one.high - one.low) for one in found), strict=True))
    assert np.isnan(widths).mean() <= 0.02
    assert np.nanmean(values) == pytest.approx(expected, abs=0.02)
    assert 0.92 <= covered(found, expected) <= 0.99
    assert np.nanmedian(widths) < 6 * np.subtract(*np.nanquantile(values, [0.84, 0.16])) / 2


@pytest.mark.parametrize("pools", TRUE_CASES[:1], indirect=True, ids=str)
def test_an_estimate_left_inside_its_truth_would_not_cover(pools):
    """What the truth without the estimate's own streams is for; where noise is large and spread over directions."""
    found, expected = true_cosines(pools, left_inside=True)
    assert covered(found, expected) < 0.9
    assert np.nanmean([one.value for one in found]) > expected + 0.02


def test_noise_scales_are_those_of_the_exact_gradient_and_their_intervals_cover(pools):
    estimates, exact, pairs = pools
    flat = estimates.reshape(-1, len(exact))
    expected = pairs * np.square(flat - exact).sum(1).mean() / (exact @ exact)
    counts = np.full(POOL, float(pairs))
    found = [noise_scale(own * pairs, counts).pairs for own in estimates]
    assert 0.92 <= np.mean([one.low <= expected <= one.high for one in found]) <= 0.99
    assert np.median([one.value for one in found]) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("critic", [False, True])
def test_the_whole_way_to_the_truths_of_the_linear_quadratic_environment(critic):
    """Streams of whole episodes: the true episode return's gradient is known, and without a critic the surrogate's."""
    agent = linear_quadratic_agent(gamma=0.7, gae_lambda=0.9, regime=Regime(1, 4 * HORIZON), normalize_advantages=True)
    agent = with_critic(agent) if critic else agent
    exact = linear_quadratic_gradient(agent)
    asked = StreamStatistics((20,), true_gradients=("discounted_return", "episode_return"))
    jobs = [
        sample_sums(agent, agent.environment, Sampling(32), StreamRange(2, "truths", first, first + 256), asked)
        for first in (0, 256, 512, 768)
    ]
    pool = plan_pool(32 * 1024, 10, (32, 32), [20, 32, 128])
    pooled = Pooled(jobs, pool, asked)
    for target in pooled.true_gradients():
        groups, pairs = pooled.groups(target)
        error = (groups / pairs[:, None]).std(0, ddof=1) / np.sqrt(len(groups))
        off = ((groups / pairs[:, None]).mean(0) - exact) / error
        assert (np.abs(off).max() < 4.5) == (target.name == "episode_return")
    found = gradient_findings(pooled, (), layer_slices(agent.policy.parameter_shapes), normalize=True)
    for place, size in enumerate(pool.sizes):
        estimates = pooled.estimates(size, 0, normalize=True)
        units = estimates / np.linalg.norm(estimates, axis=1, keepdims=True)
        expected = (units @ (exact / np.linalg.norm(exact))).mean()
        low, high = (found[f"cosine_to_true_gradient_corrected_{end}"][1, place] for end in ("low", "high"))
        assert low - 0.02 < expected < high + 0.02
        assert high - low < 0.15
    # nothing is lost by going without a critic, except what the discount takes from the direction
    pairs_of_true_gradients = found["cosine_between_true_gradients"]
    if not critic:
        assert pairs_of_true_gradients[0] == pytest.approx(1.0, abs=0.01)
    assert 0.5 < pairs_of_true_gradients[1] < 1.02
    assert found["predicted_true_cosine"][1:] == pytest.approx(
        found["true_cosine_corrected"][1:], abs=0.15
    )  # ten directions
    assert np.isnan(found["predicted_true_cosine"][0])


def test_pairs_of_the_bandit_are_independent():
    """Trajectories of one pair: each counts in full, and nothing can be said of what is within."""
    agent = bandit_agent(regime=Regime(1, 128))
    found = gradient_quality(agent, pairs=128 * 64, workers=1)
    assert float(found["effective_sample_fraction"]) == pytest.approx(1.0, abs=0.15)
    assert np.isnan(found["between_trajectory_share"])


@pytest.mark.slow
def test_how_much_pairs_of_an_episode_depend_on_one_another_is_what_brute_force_says():
    agent = linear_quadratic_agent(regime=Regime(1, 256 * HORIZON))  # long, as rare episodes weigh much
    asked = {"pairs": 128 * 256 * HORIZON, "sizes": [256 * HORIZON], "advantages": "normalized"}
    found = gradient_quality(agent, **asked, workers=1)
    scores, returns = linear_quadratic_pairs(np.random.default_rng(8), agent, (100_000, HORIZON), noise=0.0)
    pairs = scores * (returns - returns.mean())[..., None]
    mean, episodes = pairs.mean((0, 1)), pairs.mean(1)
    single = np.square(pairs - mean).sum(-1).mean()
    together = HORIZON * np.square(episodes - mean).sum(-1).mean()
    assert float(found["effective_sample_fraction"]) == pytest.approx(single / together, rel=0.15)
    within = np.square(pairs - episodes[:, None]).sum(-1).mean() * HORIZON / (HORIZON - 1)
    between = (together - within) / HORIZON
    assert float(found["between_trajectory_share"]) == pytest.approx(between / (between + within), abs=0.02)
    assert single / together < 0.8
