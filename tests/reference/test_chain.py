"""The chain of seven states, exact by dynamic programming: and what is found of it."""

import numpy as np
import pytest
import xarray as xr

import chain
import chain_coverage
from chain import STEPS, WRONG, chain_agent
from chain_streams import sample
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.values import value_prediction

NOISE = 0.5


def near(dataset: xr.Dataset, name: str, truth: np.ndarray | float, **where: object) -> bool:
    """Whether an interval, half as wide again, holds the exact answer: a test of one pool, not of coverage."""
    value, low, high = (dataset[f"{name}{end}"].sel(where).values for end in ("", "_low", "_high"))
    room = 0.25 * (high - low)
    return bool(np.all((low - room <= truth) & (truth <= high + room) & np.isfinite(value)))


@pytest.mark.parametrize("last", [True, False])
def test_one_step_back_is_that_of_loops_over_everything(last):
    draws = np.random.default_rng(0)
    shapes = [(), (), (24,), (24,), ()]
    after = [draws.standard_normal((chain.STATES, chain.LIMIT, *shape)) for shape in shapes]
    weights = (chain.advantages(WRONG, 0.8, 0.3), chain.monte_carlo_returns(NOISE, WRONG), chain.episode_returns(NOISE))
    for weight in weights:
        together = chain._earlier(weight, NOISE, after, last=last)
        one_by_one = chain.earlier_one_by_one(weight, NOISE, after, last=last)
        for one, other in zip(together, one_by_one, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_exact_answers_are_what_streams_average_to():
    """Mean and covariance of sums over streams, sampled without the library and without the recursion."""
    streams = sample(6000, NOISE, 0)
    mean = chain.exact(chain.advantages(WRONG, 0.8), NOISE).weight
    cases = (
        (streams.advantages(WRONG.astype(float), 0.8) - mean, chain.advantages(WRONG, 0.8, mean)),
        (streams.monte_carlo_returns(), chain.monte_carlo_returns(NOISE)),
        (streams.episode_returns(), chain.episode_returns(NOISE)),
    )
    for weights, weight in cases:
        sums, exact = streams.score_sums(weights) / STEPS, chain.exact(weight, NOISE)
        error = sums.std(axis=0) / np.sqrt(len(sums))
        assert (np.abs(sums.mean(axis=0) - exact.gradient) <= 4.5 * error + 1e-12).all()
        assert sums.var(axis=0).sum() * STEPS == pytest.approx(exact.variance, rel=0.06)
        assert (weights**2).mean() == pytest.approx(
            exact.square - 2 * weight.baseline[0] * exact.weight + weight.baseline[0] ** 2, rel=0.05
        )


def test_gradients_of_the_chain_are_the_exact_ones():
    found = gradient_quality(
        chain_agent(NOISE),
        pairs=256 * STEPS,
        sizes=[64],
        true_gradients=["discounted_return", "episode_return"],
        workers=1,
    )
    mean = chain.exact(chain.advantages(WRONG, 0.8), NOISE).weight
    own = chain.exact(chain.advantages(WRONG, 0.8, mean), NOISE)
    true_gradients = [
        chain.exact(one, NOISE).gradient for one in (chain.monte_carlo_returns(NOISE), chain.episode_returns(NOISE))
    ]
    pairs = [
        chain.cosine(own.gradient, true_gradients[0]),
        chain.cosine(own.gradient, true_gradients[1]),
        chain.cosine(*true_gradients),
    ]
    assert near(found, "cosine_between_true_gradients", pairs)
    scale = chain.exact(chain.advantages(WRONG, 0.8), NOISE).variance / (own.gradient @ own.gradient)
    assert near(found, "noise_scale_pairs", scale)
    assert float(found["gradient_variance"]) == pytest.approx(scale * (own.gradient @ own.gradient), rel=0.15)
    # many independent estimates of 64 pairs, against the exact gradients
    streams = sample(8000, NOISE, 1)
    sums = streams.score_sums(streams.advantages(WRONG.astype(float), 0.8)).reshape(4000, 2, -1).sum(axis=1)
    assert near(found, "true_cosine_corrected", chain_coverage.mean_cosine(sums, own.gradient))
    assert near(
        found,
        "cosine_to_true_gradient_corrected",
        np.array([[chain_coverage.mean_cosine(sums, one)] for one in true_gradients]),
    )


def test_values_of_the_chain_are_the_exact_ones():
    lambdas = (0.0, 0.5, 0.8, 1.0)
    found = value_prediction(
        chain_agent(NOISE), pairs=256 * STEPS, fit_pairs=0, sizes=[64], lambdas=lambdas, restarts=16, restart_copies=8,
        workers=1,
    )  # fmt: skip
    returns = chain.monte_carlo_returns(NOISE)
    mean = chain.exact(returns, NOISE).weight
    by_critic, by_mean = (chain.exact(chain.monte_carlo_returns(NOISE, one), NOISE) for one in (WRONG, mean))
    assert near(found, "variance_ratio", by_critic.variance / by_mean.variance, baseline="critic")
    length = by_critic.gradient @ by_critic.gradient
    for one in lambdas:
        centered = chain.exact(
            chain.advantages(WRONG, one, chain.exact(chain.advantages(WRONG, one), NOISE).weight), NOISE
        )
        bias = np.square(centered.gradient - by_critic.gradient).sum() / length
        assert near(found, "lambda_squared_bias", bias, **{"lambda": one})
        assert near(found, "lambda_variance", centered.variance / 64 / length, **{"lambda": one})
        lengths = length * (centered.gradient @ centered.gradient + centered.variance / 64)
        cosine = centered.gradient @ by_critic.gradient / np.sqrt(lengths)
        assert near(found, "lambda_cosine", cosine, batches=1, **{"lambda": one})
    often, moments = chain.occupancy().sum(axis=(0, 2)) / STEPS, chain.returns(88, NOISE)
    noise, bias = often @ (moments[1] - moments[0] ** 2), often @ (WRONG - moments[0]) ** 2
    assert near(found, "return_noise", noise)
    assert near(found, "squared_bias", bias, judged="critic")
    assert near(found, "mean_squared_error", bias + noise, judged="critic")
    spread = by_critic.square - by_critic.weight**2
    within = often @ (WRONG**2 - 2 * WRONG * chain.returns(44, NOISE)[0]) + by_critic.square
    off = within - (by_critic.weight - often @ WRONG) ** 2
    assert near(found, "explained_variance", 1 - off / spread, critic="as_is", target="returns")
