"""Value prediction where the value is known in closed form: an endless linear-quadratic environment."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.batch import evaluate_critic, make_batch
from closerlook.algorithms.stream_sums import StreamRange
from closerlook.algorithms.truths import discounted_returns
from closerlook.algorithms.value_sums import ValueQuestion, sample_value_sums
from closerlook.algorithms.weightings import OWN, Weighting, weigh
from closerlook.diagnostics.value_prediction import summary, value_prediction, verdicts
from closerlook.diagnostics.value_prediction.baselines import _Groups
from closerlook.errors import InputError
from closerlook.estimation.blocks import Sums
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.rollout import rollout
from environments import QuadraticCritic, endless_quadratic_agent, linear_quadratic_agent, quadratic_value

NOISE = 0.1
PAIRS = {
    "pairs": 64 * 256,
    "fit_pairs": 64 * 1024,
    "sizes": [64, 512],
    "restarts": 0,
    "workers": 1,
    "lambdas": [0, 0.5, 1],
}


def with_critic(noise: float = NOISE, **changes) -> Agent:
    """An agent whose critic is the exact value, changed as asked."""
    bare = endless_quadratic_agent(noise=noise)
    return endless_quadratic_agent(QuadraticCritic(quadratic_value(bare), **changes), noise)


@pytest.fixture(scope="module")
def exact():
    return value_prediction(with_critic(), **PAIRS)


def test_a_fitted_value_has_the_error_of_the_exact_one(exact):
    found = exact["explained_variance"].sel(critic="as_is", target="returns")
    floor = exact["fitted_explained_variance"]
    assert float(floor) == pytest.approx(float(found), abs=0.05)
    assert float(exact["noise_floor_mre"]) == pytest.approx(
        float(exact["mean_relative_error"].sel(critic="as_is", target="returns")), rel=0.05
    )


def test_an_exact_critic_is_unbiased_at_every_lambda(exact):
    """With the exact value every lambda estimates the same gradient."""
    assert (exact["lambda_squared_bias_low"] < 0.1).all()
    assert (abs(exact["lambda_squared_bias"]) < 0.4).all()
    variance = exact["lambda_variance"].values
    assert np.all(np.diff(variance) > 0)  # noise grows with lambda
    assert float(exact["best_lambda"].sel(batches=1)) == 0.0


def test_an_exact_critic_delivers_everything(exact):
    assert float(exact["delivered_reduction"]) == pytest.approx(1.0, abs=0.1)
    assert float(exact["excess_variance"]) == pytest.approx(1.0, abs=0.1)


def test_a_biased_critic_biases_small_lambdas_only():
    found = value_prediction(with_critic(share=0.0), **PAIRS)
    bias, low = found["lambda_squared_bias"].values, found["lambda_squared_bias_low"].values
    assert low[0] > 0.1
    assert bias[0] > 3 * abs(bias[-1])
    assert found["lambda_squared_bias_low"].values[-1] < 0.05


def test_bias_and_noise_are_told_apart_by_restarts():
    """The exact critic has no bias; one that is 0.5 off has 0.25; the noise is what an exact critic's error is."""
    wishes = {**PAIRS, "fit_pairs": 0, "restarts": 60, "restart_copies": 30}
    exact, off = (value_prediction(with_critic(constant=constant), **wishes) for constant in (0.0, 0.5))
    bias = exact["squared_bias"].sel(judged="critic")
    assert (
        float(exact["squared_bias_low"].sel(judged="critic"))
        < 0
        < float(exact["squared_bias_high"].sel(judged="critic"))
    )
    assert float(off["squared_bias"].sel(judged="critic") - bias) == pytest.approx(0.25, abs=0.15)
    assert np.isnan(exact["squared_bias"].sel(judged="fitted"))
    agents = Agent.stack([with_critic()])
    asked = Sampling(64, continuation_steps=88)
    sampled = rollout(agents, agents.environment, asked, seeds=[3], purpose="brute", streams=range(300))
    misses = discounted_returns(agents, sampled) - evaluate_critic(agents, sampled, "correct").values[0]
    low, high = (float(exact[f"return_noise_{end}"]) for end in ("low", "high"))
    assert low < float(misses.square().mean()) < high
    assert float(exact["exact_noise_floor_mre"]) == pytest.approx(
        float(exact["mean_relative_error"].sel(critic="as_is", target="returns")), rel=0.3
    )


MEAN = -1.2
"""Of returns, about."""


def answer_of(agent: Agent, question: ValueQuestion, streams: int) -> tuple[dict, Rollout]:
    """What a worker answers, and the same streams in the open."""
    part = StreamRange(0, "t", 0, streams)
    answer = sample_value_sums(agent, agent.environment, Sampling(64), part, question, {}, [])
    asked = Sampling(64, continuation_steps=44)
    return answer, rollout(agent, agent.environment, asked, seeds=[0], purpose="t", streams=range(streams))


def test_what_critics_are_judged_by_is_what_a_batch_has():
    agent = with_critic(share=0.7)
    answer, sampled = answer_of(agent, ValueQuestion((), (OWN,), (), ()), 5)
    batch = make_batch(Agent.stack([agent]), sampled, sampled.rewards)
    np.testing.assert_allclose(answer["gae_targets"], batch.gae_targets[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(answer["values"][:, 0], batch.values[0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(answer["complete_returns"][:, -1], answer["true_returns"][:, -1], rtol=1e-5)
    np.testing.assert_allclose(answer["cut_returns"][:, -1], sampled.rewards[0, :, -1], rtol=1e-5)
    assert not np.allclose(answer["complete_returns"][:, -1], answer["cut_returns"][:, -1])


def test_groups_of_the_sweep_are_centred_means():
    """Two streams a block: the mean over each of (A - mean A) grad log pi, by autograd."""
    agent = with_critic(share=0.7)
    sweep = (Weighting(gae_lambda=0.5), Weighting(baseline="critic", complete=True))
    answer, sampled = answer_of(agent, ValueQuestion((), (OWN,), (), sweep, sweep_block=2), 6)
    groups = _Groups([Sums.from_arrays(answer, "sweep")], 2)
    half = replace(agent, gae_lambda=0.5)
    advantages = make_batch(Agent.stack([half]), sampled, sampled.rewards).advantages[0].double()
    leaves = {name: tensor.double().requires_grad_() for name, tensor in agent.policy_parameters.items()}
    for group in range(3):
        rows = slice(2 * group, 2 * group + 2)
        inputs = torch.from_numpy(sampled.observations[0, rows]).double().flatten(0, 1)
        actions = torch.from_numpy(sampled.actions[0, rows]).double().flatten(0, 1)
        weights = (advantages[rows] - advantages.mean()).flatten()
        mean = (weights * agent.policy.distribution(leaves, inputs).log_prob(actions)).mean()
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(mean, list(leaves.values()))]).numpy()
        np.testing.assert_allclose(groups(0)[group], expected, rtol=1e-3, atol=1e-5)


CRITICS = {
    "V*": {},
    "V* and noise": {"wild": 0.67},
    "constant": {"share": 0.0, "constant": MEAN},
    "noise": {"share": 0.0, "constant": MEAN, "wild": 2.0},
}


def test_verdicts_rank_critics_by_what_they_are_worth():
    more = {"V* and noise": {"pairs": 64 * 1024}}  # what it leaves is told from what V* leaves by more pairs
    judged = [
        value_prediction(with_critic(**changes), **PAIRS | more.get(name, {})) for name, changes in CRITICS.items()
    ]
    worth = [verdicts(one)[0] for one in judged]
    delivered = [verdict["evidence"]["delivered_reduction"] for verdict in worth]
    assert delivered == sorted(delivered, reverse=True)
    assert [verdict["level"] == "problem" for verdict in worth] == [False, False, True, True]
    assert worth[0]["level"] == "ok"
    assert "good" in worth[0]["statement"]
    assert worth[1]["level"] == "watch"
    assert "leaves much" in worth[1]["statement"]
    assert "useless" in worth[2]["statement"]
    assert "harms" in worth[3]["statement"]


def test_complete_returns_have_one_mean_whatever_the_baseline():
    agent = with_critic(share=0.5)
    agents = Agent.stack([agent])
    asked = Sampling(64, continuation_steps=44)
    sampled = rollout(agents, agent.environment, asked, seeds=[0], purpose="t", streams=range(20))
    critics = {"critic": evaluate_critic(agents, sampled, "correct")}
    zero, own = weigh(
        agents, sampled, critics, [Weighting(baseline=name, complete=True) for name in ("zero", "critic")]
    )
    assert torch.allclose(zero.whole - own.whole, critics["critic"].values[0], atol=1e-5)
    for stream in range(2):
        at = np.flatnonzero(sampled.boundaries.stream == stream)[0]
        rewards = np.concatenate([sampled.rewards[0, stream], sampled.boundaries.continuation_rewards[at]])
        for t in (0, 31, 63):
            by_hand = sum(0.9**k * reward for k, reward in enumerate(rewards[t:]))
            assert float(zero.whole[stream, t]) == pytest.approx(by_hand, rel=1e-4)
    assert torch.equal(zero.if_cut(10), zero.whole[:, :10])


def test_nothing_depends_on_workers(tmp_path):
    small = {**PAIRS, "pairs": 64 * 80, "fit_pairs": 64 * 40, "out": tmp_path / "one"}
    one = value_prediction(with_critic(), **small)
    two = value_prediction(with_critic(), **{**small, "workers": 2, "out": tmp_path / "two"})
    again = value_prediction(with_critic(), **small)
    for other in (two, again):
        for name in one:
            assert np.array_equal(one[name].values, other[name].values, equal_nan=True), name
    assert not (tmp_path / "one" / "shards").exists()


def test_without_a_critic_everything_that_needs_none_is_there():
    found = value_prediction(endless_quadratic_agent(noise=NOISE), **PAIRS)
    assert np.isnan(found["mean_relative_error"]).all()
    assert np.isnan(found["lambda_cosine"]).all()
    assert np.isfinite(found["noise_floor_mre"])
    cosines = found["baseline_pairwise_cosine"]
    assert np.isfinite(cosines.sel(baseline="zero")).all()
    assert np.isnan(cosines.sel(baseline="critic")).all()
    assert float(found["variance_ratio"].sel(baseline="fitted")) < 0.9
    (verdict,) = verdicts(found)
    assert verdict["level"] == "watch"
    assert "no critic" in verdict["statement"]
    told = summary(found)
    assert told["gae_mre_heldout"] is None
    assert told["gae_mre_train"] is None


def test_without_a_fit_the_critic_is_judged_alone():
    found = value_prediction(with_critic(), **{**PAIRS, "fit_pairs": 0})
    assert np.isnan(found["noise_floor_mre"])
    assert np.isfinite(found["variance_ratio"].sel(baseline="critic"))
    assert "constant baseline" in verdicts(found)[0]["statement"]


def test_rewards_that_are_always_zero_are_named():
    agent = with_critic()
    silent = EnvironmentSpec("environments:make_endless_quadratic", {"scale": 0.0})
    found = value_prediction(replace(agent, environment=silent), **PAIRS)
    verdict = verdicts(found)[0]
    assert verdict["level"] == "problem"
    assert "all equal" in verdict["statement"]


def test_enormous_returns_are_measured():
    """A critic of usual size says nothing of returns of 1e30: worth what no baseline is; a fit to them is good."""
    huge = EnvironmentSpec("environments:make_endless_quadratic", {"scale": 1e30})
    found = value_prediction(replace(with_critic(), environment=huge), **PAIRS)
    assert 0.1 < float(found["noise_floor_mre"]) < 0.9
    assert float(found["fitted_explained_variance"]) > 0.4
    assert float(found["explained_variance"].sel(critic="as_is", target="returns")) == pytest.approx(0.0, abs=1e-6)
    ratios = found["variance_ratio"]
    assert float(ratios.sel(baseline="critic")) == pytest.approx(float(ratios.sel(baseline="zero")), rel=1e-6)
    assert float(ratios.sel(baseline="fitted")) < 0.6
    assert "harms" in verdicts(found)[0]["statement"]


def test_returns_without_an_end_are_refused():
    with pytest.raises(InputError, match="do not come to an end"):
        value_prediction(linear_quadratic_agent(), **PAIRS)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"fit_pairs": 10}, "one stream"),
        ({"fit_pairs": -1}, "fit-pairs"),
        ({"lambdas": [2.0]}, "from 0 to 1"),
        ({"restarts": 3, "restart_copies": 1}, "restart-copies"),
        ({"pairs": 64, "sizes": [64]}, "too few"),
    ],
)
def test_wishes_that_mean_nothing_are_refused(wishes, words):
    with pytest.raises(InputError, match=words):
        value_prediction(with_critic(), **{**PAIRS, **wishes})
