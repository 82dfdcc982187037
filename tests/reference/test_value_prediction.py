"""Value prediction where the value is known in closed form: an endless linear-quadratic environment."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent, Regime, moments_state
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.normalization import RunningMoments, Scaling
from closerlook.agents.rewards import reward_unit
from closerlook.algorithms.batch import evaluate_critic, make_batch
from closerlook.diagnostics import summary, verdicts
from closerlook.diagnostics.values import value_prediction
from closerlook.diagnostics.values.audit import audit_restarts
from closerlook.diagnostics.values.baselines import _Groups
from closerlook.errors import InputError
from closerlook.measurements import stream_sums, value_sums
from closerlook.measurements.fitted_values import Critic
from closerlook.measurements.restarted_values import sample_restarts
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.true_returns import discounted_returns
from closerlook.measurements.value_sums import ValueStatistics, sample_value_sums
from closerlook.measurements.weightings import OWN, Weighting, weigh
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics.blocks import Sums
from environments import QuadraticCritic, endless_quadratic_agent, linear_quadratic_agent, quadratic_value
from small_agents import gaussian_agent

NOISE = 0.1
PAIRS = {
    "pairs": 64 * 256,
    "fit_pairs": 64 * 1024,
    "sizes": [64, 512],
    "restarts": 0,
    "workers": 1,
    "lambdas": [0, 0.5, 1],
}
FEW = {**PAIRS, "pairs": 64 * 64, "fit_pairs": 64 * 256, "sizes": [64]}


def with_critic(noise: float = NOISE, **changes) -> Agent:
    """An agent whose critic is the exact value, changed as asked."""
    bare = endless_quadratic_agent(noise=noise)
    return endless_quadratic_agent(QuadraticCritic(quadratic_value(bare), **changes), noise)


@pytest.fixture(scope="module", autouse=True)
def unfinished():
    """Leave episodes where streams are cut: they never end here, and most of the time would go into following them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_sums, "FINISHED_STREAMS", 0)
        yield


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


def test_on_one_policys_data_the_better_target_is_told():
    """With an exact critic one reward and its value tell as much as a return; with one that knows nothing, less."""
    wishes = {**FEW, "own_target": True}
    exact, blank = (
        value_prediction(replace(with_critic(share=share), gae_lambda=0.0), **wishes) for share in (1.0, 0.0)
    )
    assert float(exact["own_target_unexplained_ratio_high"]) < 1.05
    assert float(blank["own_target_unexplained_ratio_low"]) > 1.2
    for found in (exact, blank):
        left = [1 - float(found[f"{of}_explained_variance"]) for of in ("own_target", "fitted")]
        assert float(found["own_target_unexplained_ratio"]) == pytest.approx(left[0] / left[1])
        assert float(found["own_target_mre"]) > 0
    ratio = blank["variance_ratio"]
    assert float(ratio.sel(baseline="own_target")) > 1.2 * float(ratio.sel(baseline="fitted"))


def test_the_own_target_is_left_out_unless_asked_for(exact):
    assert "own_target" not in exact["baseline"].values
    assert np.isnan(exact["own_target_unexplained_ratio"])
    with pytest.raises(InputError, match="own-target asks for a fit, and fit-pairs is 0"):
        value_prediction(with_critic(), **{**FEW, "fit_pairs": 0, "own_target": True})
    bare = value_prediction(endless_quadratic_agent(noise=NOISE), **FEW, own_target=True)
    assert np.isnan(bare["variance_ratio"].sel(baseline="own_target"))


def test_a_constant_error_of_a_critic_costs_what_it_costs_the_agent():
    few = {**FEW, "fit_pairs": 0, "lambdas": [1]}

    def ratio(constant: float, *, normalize: bool) -> float:
        judged = replace(with_critic(constant=constant), normalize_advantages=normalize)
        return float(value_prediction(judged, **few)["variance_ratio"].sel(baseline="critic"))

    assert ratio(3.0, normalize=True) == pytest.approx(ratio(0.0, normalize=True), rel=1e-4)
    assert ratio(3.0, normalize=False) > 2 * ratio(0.0, normalize=False)


def test_a_biased_critic_biases_small_lambdas_only():
    found = value_prediction(with_critic(share=0.0), **{**PAIRS, "fit_pairs": 0})
    bias, low = found["lambda_squared_bias"].values, found["lambda_squared_bias_low"].values
    assert low[0] > 0.1
    assert bias[0] > 3 * abs(bias[-1])
    assert found["lambda_squared_bias_low"].values[-1] < 0.05


def test_bias_and_noise_are_told_apart_by_restarts():
    """The exact critic has no bias; one that is 0.5 off has 0.25; the noise is what an exact critic's error is."""
    wishes = {**FEW, "fit_pairs": 0, "restarts": 60, "restart_copies": 12}
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
    for found in (exact, off):
        total = float(found["return_noise"] + found["squared_bias"].sel(judged="critic"))
        ends = [float(found[f"mean_squared_error_{end}"].sel(judged="critic")) for end in ("low", "high")]
        assert ends[0] < total < ends[1]
    assert np.isnan(exact["mean_squared_error"].sel(judged="updated"))  # how its algorithm updates is not known
    assert float(exact["exact_noise_floor_mre"]) == pytest.approx(
        float(exact["mean_relative_error"].sel(critic="as_is", target="returns")), rel=0.3
    )


def test_a_restarted_state_is_judged_by_what_its_own_stream_returned_too():
    agent = with_critic(share=0.7)
    agents, part = Agent.stack([agent]), StreamRange(0, "r", 0, 6)
    own = Critic(agent.value, dict(agent.value_parameters))
    answer = sample_restarts(agent, agent.environment, Sampling(64), part, {}, 4, [own, own])
    bare = sample_restarts(agent, agent.environment, Sampling(64), part, {}, 4)
    assert np.array_equal(answer["returns"], bare["returns"])
    assert bare["updated_values"].shape == (6, 0)
    np.testing.assert_array_equal(answer["updated_values"], np.stack([answer["values"][:, 0]] * 2, axis=1))
    asked = Sampling(64, continuation_steps=88)
    sampled = rollout(agents, agent.environment, asked, seeds=[0], purpose="r", streams=range(6))
    values = evaluate_critic(agents, sampled, "correct").values[0].numpy()
    for stream in range(6):
        at = int(np.abs(values[stream] - answer["values"][stream, 0]).argmin())
        rewards = np.concatenate([sampled.rewards[0, stream], sampled.boundaries.continuation_rewards[stream]])
        by_hand = rewards[at:] @ 0.9 ** np.arange(len(rewards) - at)
        assert answer["own_returns"][stream] == pytest.approx(by_hand)


def test_restarts_of_critics_are_told_apart_by_kind():
    """Two updates, one exact and one off by 2; returns all 5 in the stream, 4 and 6 in the copies."""
    answer = {
        "returns": np.tile([4.0, 6.0], (4, 1)),
        "own_returns": np.full(4, 5.0),
        "values": np.array([[5.5, np.nan]] * 4),
        "updated_values": np.array([[5.0, 7.0]] * 4),
        "stream": np.arange(4),
    }
    found = audit_restarts([answer], 0.0)
    assert found["return_noise"] == 2.0
    assert found["squared_bias"] == pytest.approx([0.25 - 1, np.nan, (0.0 + 4.0) / 2 - 1], nan_ok=True)
    assert found["mean_squared_error"] == pytest.approx([0.25, np.nan, 2.0], nan_ok=True)


@pytest.mark.slow
def test_errors_in_true_reward_take_the_scale_of_rewards_off():
    """Rewards are halved and the critic predicts half the value: in true reward it is the exact one."""
    wishes = {**PAIRS, "fit_pairs": 0}
    seen = RunningMoments(np.array(101.0), np.zeros(1), np.full(1, 400.0))  # of variance 4
    agent = with_critic(share=0.5).with_state({"returns": moments_state(seen)}, reward_scaling=Scaling())
    assert reward_unit(agent) == pytest.approx(2.0)
    halved = value_prediction(agent, **wishes)
    exact = value_prediction(with_critic(), **wishes)
    for name in ("mean_relative_error", "explained_variance"):
        true, own = (found[f"{name}_true_reward"].sel(critic="as_is") for found in (halved, exact))
        assert float(true) == pytest.approx(float(own), rel=1e-4)
        assert float(true) == pytest.approx(float(exact[name].sel(critic="as_is", target="returns")), rel=1e-4)
    off = with_critic(share=1.0).with_state({"returns": moments_state(seen)}, reward_scaling=Scaling())
    too_large = value_prediction(off, **wishes)["mean_relative_error_true_reward"].sel(critic="as_is")
    assert float(too_large) > 1.5 * float(exact["mean_relative_error_true_reward"].sel(critic="as_is"))


def limited(environment: str, **arguments) -> Agent:
    spec = EnvironmentSpec(f"tiny_environments:{environment}", arguments)
    return gaussian_agent(2, 1, environment=spec, gamma=0.8, regime=Regime(1, 24))


def test_an_environment_that_cannot_go_on_past_its_limit_is_named():
    wishes = {"pairs": 24 * 20, "fit_pairs": 0, "restarts": 0, "sizes": [24], "workers": 1}
    found = value_prediction(limited("Corridor", length=12, truncates=True), **wishes)
    assert found["incomplete_returns"].values.tolist() == [40] == [int(found["trajectories"])]
    named = [verdict for verdict in verdicts(found) if "could not go on" in verdict["statement"]]
    assert [verdict["level"] for verdict in named] == ["problem"]
    assert summary(found)["incomplete_returns"] == 40
    lifted = value_prediction(limited("limited_corridor", limit=12), **wishes)
    assert lifted["incomplete_returns"].values.tolist() == [0]
    assert not any("could not go on" in verdict["statement"] for verdict in verdicts(lifted))
    old = found.drop_vars(["incomplete_returns", "judged_pairs", "true_gradient"])  # a dataset measured earlier
    assert "incomplete_returns" not in summary(old)
    assert len(verdicts(old)) == len(verdicts(found)) - 1


@pytest.mark.parametrize("most", [64 * 40, 64 * 300])
def test_all_held_out_pairs_judge_as_far_as_memory_allows(monkeypatch, most):
    monkeypatch.setattr(value_sums, "JUDGED_PAIRS", most)
    monkeypatch.setattr(value_sums, "FEWEST_JUDGED_STREAMS", 8)
    agent, statistics = with_critic(share=0.7), ValueStatistics((), (OWN,), (), ())
    parts = [StreamRange(0, "t", first, first + 100) for first in (0, 100, 200)]
    answers = [sample_value_sums(agent, agent.environment, Sampling(64), part, statistics, {}, []) for part in parts]
    judged = [answer["monte_carlo_returns"] for answer in answers if "monte_carlo_returns" in answer]
    assert sum(len(rows) for rows in judged) == most // 64
    assert all(len(answer["incomplete"]) == 100 for answer in answers)
    if most == 64 * 300:
        assert [len(rows) for rows in judged] == [100, 100, 100]


def test_a_million_pairs_of_the_usual_regime_all_judge():
    assert value_sums.judged_streams(2048) * 2048 >= 1_000_000
    assert value_sums.judged_streams(10**6) == 64


MEAN = -1.2
"""Of returns, about."""


def answer_of(agent: Agent, statistics: ValueStatistics, streams: int) -> tuple[dict, Rollout]:
    """What a worker answers, and the same streams in the open."""
    part = StreamRange(0, "t", 0, streams)
    answer = sample_value_sums(agent, agent.environment, Sampling(64), part, statistics, {}, [])
    asked = Sampling(64, continuation_steps=44)
    return answer, rollout(agent, agent.environment, asked, seeds=[0], purpose="t", streams=range(streams))


def test_what_critics_are_judged_by_is_what_a_batch_has():
    agent = with_critic(share=0.7)
    answer, sampled = answer_of(agent, ValueStatistics((), (OWN,), (), ()), 5)
    batch = make_batch(Agent.stack([agent]), sampled, sampled.rewards)
    np.testing.assert_allclose(answer["gae_targets"], batch.gae_targets[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(answer["values"][:, 0], batch.values[0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(answer["monte_carlo_returns"][:, -1], answer["true_returns"][:, -1], rtol=1e-5)
    np.testing.assert_allclose(answer["cut_off_returns"][:, -1], sampled.rewards[0, :, -1], rtol=1e-5)
    assert not np.allclose(answer["monte_carlo_returns"][:, -1], answer["cut_off_returns"][:, -1])


def test_groups_of_the_sweep_are_centered_means():
    """Two streams a block: the mean over each of (A - mean A) grad log pi, by autograd."""
    agent = with_critic(share=0.7)
    sweep = (Weighting(gae_lambda=0.5), Weighting(baseline="critic", complete=True))
    answer, sampled = answer_of(agent, ValueStatistics((), (OWN,), (), sweep, sweep_block=2), 6)
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
    "fitted value": {},
    "fitted value and noise": {"wild": 0.67},
    "constant": {"share": 0.0, "constant": MEAN},
    "noise": {"share": 0.0, "constant": MEAN, "wild": 2.0},
}


@pytest.mark.slow
def test_verdicts_rank_critics_by_what_they_are_worth():
    more = {"fitted value and noise": {"pairs": 128 * 1024}}  # to tell it from the fitted value
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
    assert "harmful" in worth[3]["statement"]


def test_monte_carlo_returns_have_one_mean_whatever_the_baseline():
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


def test_nothing_depends_on_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(value_sums, "FINISHED_STREAMS", stream_sums.FINISHED_STREAMS)  # as in worker processes
    small = {**PAIRS, "pairs": 64 * 20, "fit_pairs": 64 * 8, "sizes": [64], "out": tmp_path / "one"}
    agent = replace(with_critic(), environment=EnvironmentSpec("environments:make_limited_quadratic", {"noise": NOISE}))
    one = value_prediction(agent, **small)
    two = value_prediction(agent, **{**small, "workers": 2, "out": tmp_path / "two"})
    again = value_prediction(agent, **small)
    for other in (two, again):
        for name in one:
            assert np.array_equal(one[name].values, other[name].values, equal_nan=True), name
    assert not (tmp_path / "one" / "shards").exists()


def test_without_a_critic_everything_that_needs_none_is_there():
    found = value_prediction(endless_quadratic_agent(noise=NOISE), **FEW)
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
    (beside_others,) = verdicts(found.assign_attrs(baseline="critic, none"))
    assert beside_others == verdict
    told = summary(found)
    assert told["gae_mre_heldout"] is None
    assert told["gae_mre_train"] is None


def test_without_a_fit_the_critic_is_judged_alone():
    found = value_prediction(with_critic(), **{**FEW, "fit_pairs": 0})
    assert np.isnan(found["noise_floor_mre"])
    assert np.isfinite(found["variance_ratio"].sel(baseline="critic"))
    assert "constant baseline" in verdicts(found)[0]["statement"]


def test_rewards_that_are_always_zero_are_named():
    agent = with_critic()
    silent = EnvironmentSpec("environments:make_endless_quadratic", {"scale": 0.0})
    found = value_prediction(replace(agent, environment=silent), **{**FEW, "fit_pairs": 64 * 32})
    verdict = verdicts(found)[0]
    assert verdict["level"] == "problem"
    assert "all equal" in verdict["statement"]


def test_enormous_returns_are_measured():
    """A critic of usual size says nothing of returns of 1e30: worth what no baseline is; a fit to them is good."""
    huge = EnvironmentSpec("environments:make_endless_quadratic", {"scale": 1e30})
    found = value_prediction(replace(with_critic(), environment=huge), **{**PAIRS, "fit_pairs": 64 * 256})
    assert 0.1 < float(found["noise_floor_mre"]) < 0.9
    assert float(found["fitted_explained_variance"]) > 0.4
    assert float(found["explained_variance"].sel(critic="as_is", target="returns")) == pytest.approx(0.0, abs=1e-6)
    ratios = found["variance_ratio"]
    assert float(ratios.sel(baseline="critic")) == pytest.approx(float(ratios.sel(baseline="zero")), rel=1e-6)
    assert float(ratios.sel(baseline="fitted")) < 0.6
    assert "harmful" in verdicts(found)[0]["statement"]


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
