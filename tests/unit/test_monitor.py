"""The monitor: estimates against slow twins, levels that do not flicker, sinks, updates that are measured or not."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, Independent, Normal, kl_divergence

import closerlook as cl
from closerlook.monitor.gradient_estimates import gradient_agreement, gradient_parts, group_gradients, groups_of
from closerlook.monitor.levels import LIMITS, Levels, Limit, limits_from
from closerlook.monitor.monitor import MOST_SAVED, NUMBERS
from closerlook.monitor.policies import as_policy
from closerlook.monitor.shares import share_with_ends
from closerlook.monitor.sinks import Csv, Measured, TensorBoard, Tracker
from closerlook.monitor.update_estimates import critic_estimates, hidden_units, policy_change, policy_state
from closerlook.statistics.estimates import mean_share
from training_batches import KINDS, Policy, make


def other_policy(kind, seed=5):
    torch.manual_seed(seed)
    return Policy((4, 3 if kind == "discrete" else 2), discrete=kind == "discrete")


def near(policy, kind, scale=0.03):
    """A policy a little away from another."""
    new = other_policy(kind)
    with torch.no_grad():
        for own, old in zip(new.parameters(), policy.call.parameters(), strict=True):
            own.copy_(old + scale * torch.randn(own.shape, generator=torch.Generator().manual_seed(1)))
    return new


def test_a_census_counts():
    batch = make("time_limit", steps=44, environments=2).batch
    observations = batch.observations.copy()
    observations[3, 1, 2] = np.inf
    observations[::2, :, 0] = 7.0
    counted = cl.census(batch.replace(observations=observations))
    assert counted["not_finite"] == 1.0
    assert counted["not_finite_places"]["observations"].tolist() == [[3, 1, 2]]
    counted = cl.census(batch.replace(observations=np.clip(observations, -7, 7)))
    assert counted["observation_clip_share_by_dimension"].tolist() == [0.5, 0.0, 1 / 88, 0.0]
    assert counted["episodes"] == 8.0
    assert counted["episode_length"] == 11.0
    assert counted["episode_length_to_steps"] == 0.25
    assert (counted["terminated_share"], counted["truncated_share"]) == (0.0, 1.0)
    bounded = np.abs(batch.applied_actions) >= 1
    assert counted["action_saturated_share"] == pytest.approx(bounded.reshape(-1, 2).mean(0).max())
    assert counted["action_std_to_range_low"] == pytest.approx(math.exp(-0.2) / 2)
    assert counted["action_std_by_dimension"] == pytest.approx([math.exp(-0.2)] * 2)
    assert counted["action_entropy_by_dimension"] == pytest.approx([-0.2 + 0.5 * math.log(2 * math.pi * math.e)] * 2)
    assert counted["reward_variation_share"] == 1.0
    errors = np.square(batch.returns - batch.values)
    assert counted["critic_loss_top_share"] == pytest.approx(errors.max() / errors.sum(), rel=1e-4)
    bare = cl.census(cl.Batch(rewards=np.zeros((3, 1))))
    assert bare["not_finite"] == 0.0
    assert "episodes" not in bare


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_groups_by_one_pair_after_the_other(kind):
    batch = make(kind, steps=12, environments=2).batch
    groups = groups_of(batch)
    sums, pairs = group_gradients(batch, groups)
    weights = batch.advantages.astype(np.float64)
    weights = (weights - weights.mean()) / (weights.std(ddof=1) + 1e-8)
    parameters = list(batch.policy.parameters.values())
    slow = np.zeros_like(sums)
    for t in range(12):
        for i in range(2):
            action = torch.as_tensor(batch.actions[t, i])[None]
            log_prob = batch.policy(torch.as_tensor(batch.observations[t, i])[None]).log_prob(action)[0]
            grads = torch.autograd.grad(log_prob, parameters, allow_unused=True)
            flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
            slow[groups[t, i]] += weights[t, i] * torch.cat([one.reshape(-1) for one in flat]).numpy()
    assert np.allclose(sums, slow, atol=1e-4)
    assert pairs.sum() == 24


def test_groups_are_whole_trajectories_or_environments():
    batch = make("time_limit", steps=44, environments=3).batch
    groups = groups_of(batch)
    for i in range(3):
        for start in range(0, 44, 11):
            assert len(np.unique(groups[start : start + 11, i])) == 1
    assert groups.max() + 1 == 12
    many = make("continuous", steps=5, environments=16).batch
    assert np.array_equal(groups_of(many), np.tile(np.arange(16), (5, 1)))


def test_too_few_groups_are_not_enough_data():
    single = make("time_limit", steps=10, environments=1).batch
    found = gradient_agreement(single)
    assert found["gradient_groups"] == 1
    assert np.isnan(found["pairwise_cosine"])
    assert np.isnan(found["noise_scale_pairs"])
    assert np.isfinite(found["gradient_norm"])
    enough = gradient_agreement(make("time_limit", steps=110, environments=2).batch)
    assert enough["noise_scale_pairs_low"] <= enough["noise_scale_pairs_high"]
    assert enough["batch_true_cosine_low"] <= enough["batch_true_cosine_high"]
    assert gradient_agreement(single.replace(policy=None)) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_change_by_torch_itself(kind):
    batch = make(kind).batch
    new = near(batch.policy, kind)
    found = policy_change(batch.replace(clip=0.1), new, {"clip_fraction": 0.25})
    seen = torch.as_tensor(batch.observations).reshape(-1, 4)
    taken = torch.as_tensor(batch.actions).reshape(batch.pairs, *batch.actions.shape[2:])
    with torch.no_grad():
        old = batch.policy.call(seen)
        kl = kl_divergence(old, new(seen)).double().numpy()
        log_ratio = (new(seen).log_prob(taken) - old.log_prob(taken)).double().numpy()
    ratio = np.exp(log_ratio)
    expected = {
        "mean_kl": kl.mean(),
        "max_kl": kl.max(),
        "kl_p99": np.quantile(kl, 0.99),
        "kl_k1": -log_ratio.mean(),
        "kl_k3": (ratio - 1 - log_ratio).mean(),
        "max_ratio": ratio.max(),
        "effective_pairs_fraction": ratio.sum() ** 2 / (len(ratio) * (ratio**2).sum()),
        "clip_fraction_end": (np.abs(ratio - 1) > 0.1).mean(),
        "clip_fraction_minibatches": 0.25,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-3, abs=2e-5), name


def test_a_stored_batch_gives_the_same_change(tmp_path):
    batch = make("continuous").batch
    new = near(batch.policy, "continuous")
    live, stored = policy_change(batch, new), policy_change(cl.Batch.load(batch.save(tmp_path / "b.npz")), new)
    assert stored["mean_kl"] == pytest.approx(live["mean_kl"], rel=1e-3)
    assert policy_change(batch, None) == {}


def test_a_policy_whose_deviation_is_a_parameter_is_saved(tmp_path):
    """As in CleanRL's scripts: the deviation is the very tensor that training changes."""

    class Free(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.actor_mean, self.actor_logstd = torch.nn.Linear(4, 2), torch.nn.Parameter(torch.full((1, 2), -0.5))

    batch = make("continuous").batch
    for policy in (batch.replace(policy=Free()), batch.replace(policy=Free()).frozen()):
        kept = cl.Batch.load(policy.save(tmp_path / "b.npz"))
        assert kept.policy_std == pytest.approx(np.full((48, 3, 2), math.exp(-0.5)))


def test_a_distribution_that_fails_is_one_clear_line():
    class Odd:
        def log_prob(self, actions):
            raise RuntimeError("no such density")

    with pytest.raises(cl.InputError, match="no such density"):
        cl.Batch(rewards=np.ones((3, 1)), policy=lambda x: Odd()).policy(torch.ones(3, 2)).log_prob(torch.ones(3))


def test_gradient_parts_by_autograd():
    """A critic alone cuts the gradient; cosines of a part with itself are 1."""
    made = make("continuous")
    batch = made.batch.replace(value_coefficient=0.5, entropy_coefficient=0.01, max_grad_norm=0.1)
    found = gradient_parts(batch)
    seen = torch.as_tensor(batch.observations).reshape(-1, 4)
    loss = 0.5 * (batch.critic.call(seen)[:, 0] - torch.as_tensor(batch.returns).reshape(-1)).square().mean()
    grads = torch.autograd.grad(loss, list(batch.critic.parameters.values()))
    norm = math.sqrt(sum(float(g.square().sum()) for g in grads))
    assert found["value_gradient_norm"] == pytest.approx(norm, rel=1e-3)
    # a Gaussian's entropy is the sum of log deviations: 0.01 for each of two components
    assert found["entropy_gradient_norm"] == pytest.approx(0.01 * math.sqrt(2), rel=1e-3)
    assert found["surrogate_value_cosine"] == pytest.approx(0.0, abs=1e-6)  # they share no parameter
    whole = math.sqrt(norm**2 + found["surrogate_gradient_norm"] ** 2)
    assert found["gradient_cut"] == pytest.approx(1 - 0.1 / whole, abs=0.01)
    assert 0 < found["value_share_of_norm"] <= 1
    assert found["cut_by_value"] == pytest.approx(found["gradient_cut"] * found["value_share_of_norm"])


def test_critics_are_judged_by_both_targets():
    made = make("continuous")
    found = critic_estimates(made.batch, made.batch.critic)
    returns = made.batch.returns.astype(np.float64)
    assert found["explained_variance_lambda"] == pytest.approx(
        1 - np.var(returns - made.batch.values) / np.var(returns), rel=1e-4
    )
    assert found["explained_variance_lambda_after"] == pytest.approx(found["explained_variance_lambda"], rel=1e-3)
    assert found["explained_variance_lambda_low"] < found["explained_variance_lambda"]
    standardized = (made.batch.advantages - made.batch.advantages.mean()) / made.batch.advantages.std()
    same = critic_estimates(made.batch.replace(advantages=standardized))
    assert same["explained_variance_lambda"] == pytest.approx(found["explained_variance_lambda"], rel=1e-3)
    assert critic_estimates(made.batch.replace(values=None)) == {}


def test_the_state_of_policies():
    batch = make("continuous").batch
    found = policy_state(batch)
    assert found["entropy"] == pytest.approx(2 * (-0.2 + 0.5 * math.log(2 * math.pi * math.e)), rel=1e-4)
    assert found["action_std_low"] == pytest.approx(math.exp(-0.2), rel=1e-4)
    assert 0 < found["policy_feature_rank"] <= 8


def test_units_that_say_nothing_are_counted():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(4))
        network[0].bias.copy_(torch.tensor([0.0, 0.0, -1e3, 0.0]))
    policy = as_policy(torch.nn.Sequential(network, Gaussian()))
    seen = np.random.default_rng(0).normal(size=(50, 2, 4)).astype(np.float32)
    assert hidden_units(policy, seen) == {"constant_units": 0.25, "feature_rank": 3.0}


class Gaussian(torch.nn.Module):
    def forward(self, mean):
        return Independent(Normal(mean, 1.0), 1)


def test_a_snapshot_stays_as_it_was():
    policy = other_policy("continuous")
    seen = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    live = as_policy(policy)
    kept = live.frozen()
    before = kept(seen).mean.detach().clone()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(1.0)
    assert torch.equal(kept(seen).mean, before)
    assert not torch.equal(live(seen).mean, before)
    assert kept.parameters.keys() == live.parameters.keys()
    assert all(tensor.requires_grad for tensor in kept.parameters.values())


def test_agents_of_libraries_are_known():
    class Script(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.critic, self.actor = torch.nn.Linear(4, 1), torch.nn.Linear(4, 3)

        def get_value(self, x):
            return self.critic(x)

        def get_action_and_value(self, x, action=None):
            return Categorical(logits=self.actor(x))

    script = Script()
    seen = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(as_policy(script)(seen).log_probs, torch.log_softmax(script.actor(seen), -1))


def test_levels_need_patience_both_ways():
    levels = Levels({"x": Limit(1.0, 2.0, patience=2)})
    seen = [
        levels.take({"x": value}).get("x") for value in (0.0, 1.5, 0.5, 1.5, 2.5, 2.5, 2.5, 1.5, 0.0, 2.5, 0.0, 0.0)
    ]
    changes = [None, None, None, None, "watch", None, "problem", None, "watch", None, None, "ok"]
    assert seen == changes
    assert Levels({"x": Limit(0.5, 0.1, patience=1)}).take({"x": 0.05}) == {"x": "problem"}  # small ones are bad
    assert not levels.take({"x": np.nan})
    assert levels.level == "ok"


def test_a_number_is_beyond_a_limit_where_its_whole_interval_is():
    rises, falls = (Levels({"x": Limit(*limits, patience=1)}) for limits in ((0.8, 0.99), (-0.5, -5.0)))
    assert rises.take({"x": 1.0, "x_low": 0.63, "x_high": 1.0}) == {}
    assert rises.take({"x": 1.0, "x_low": 0.85, "x_high": 1.0}) == {"x": "watch"}
    assert falls.take({"x": -9.0, "x_low": -20.0, "x_high": 0.3}) == {}
    assert falls.take({"x": -9.0, "x_low": np.nan, "x_high": np.nan}) == {}
    assert falls.take({"x": -9.0, "x_low": -20.0, "x_high": -1.0}) == {"x": "watch"}


def test_few_pairs_say_little():
    """Of eight pairs neither shares, nor ranks, nor the sign of the update are judged."""
    few = make("continuous", steps=4, environments=2).batch
    found, taken = few.replace(applied_actions=np.ones_like(few.actions)), []
    monitor = cl.Monitor(every=1, sink=taken.append)
    for _ in range(3):
        monitor.on_update(None, near(few.policy, "continuous", scale=3.0), found)
    numbers = taken[0].numbers
    assert numbers["action_saturated_share"] == 1.0
    assert numbers["action_saturated_share_low"] == pytest.approx(0.025 ** (1 / 8))
    assert np.isnan(numbers["critic_loss_top_share"])
    assert taken[0].findings["update_sign"].level == "not_enough_data"
    assert not {"action_saturated_share", "critic_loss_top_share"} & set(monitor.levels.standing)


@pytest.mark.parametrize("environments", [16, 2])
def test_shares_count_environments_or_trajectories_whose_steps_are_alike(environments):
    """Steps stay beyond a bound for long: of pairs as units the interval held the share in less than half."""
    draws, held = np.random.default_rng(5), []
    steps = 2048 // environments
    done = np.zeros((steps, environments), bool)
    done[63::64] = True
    batch = cl.Batch(rewards=np.ones((steps, environments)), done=done)
    for _ in range(200):
        # a share of one half, kept for 64 steps
        events = np.repeat(draws.random((steps // 64, environments)) < 0.5, 64, axis=0)
        found = share_with_ends("x", events.ravel(), batch)
        assert found["x"] == events.mean()
        held.append(found["x_low"] <= 0.5 <= found["x_high"])
    assert np.mean(held) >= 0.92


@pytest.mark.parametrize("environments", [1, 16])
@pytest.mark.parametrize("missing", [0, 1, 9])
def test_actions_that_are_all_at_their_bounds_are_a_problem(environments, missing):
    """No interval of few groups stands before the limit."""
    steps = 2048 // environments
    done = np.zeros((steps, environments), bool)
    done[63::64] = True
    actions = np.ones((steps, environments, 3), np.float32)
    actions[:missing] = 0.0
    batch = cl.Batch(
        rewards=np.ones((steps, environments)), done=done, actions=actions, action_low=-1.0, action_high=1.0
    )
    counted = cl.census(batch)
    assert counted["action_saturated_share_low"] <= counted["action_saturated_share"] == 1 - missing / steps
    if not missing:
        assert LIMITS["action_saturated_share"].level(counted["action_saturated_share_low"]) == "problem"


def test_shares_of_groups_of_different_sizes_are_those_of_pairs():
    done = np.zeros((100, 1), bool)
    done[[19, 44, 69, 99]] = True  # trajectories of 20, 25, 25 and 30
    batch = cl.Batch(rewards=np.ones((100, 1)), done=done)
    events = np.concatenate([np.arange(n) < k for n, k in ((20, 18), (25, 5), (25, 10), (30, 6))])
    found = share_with_ends("x", events, batch)
    expected = mean_share(np.array([0.9, 0.2, 0.4, 0.2]), np.array([20, 25, 25, 30]))
    assert tuple(found.values()) == pytest.approx((0.39, expected.low, expected.high))


def test_shares_of_few_trajectories_count_pairs():
    batch = cl.Batch(rewards=np.ones((40, 1)), done=np.zeros((40, 1), bool))
    events = np.arange(40) < 10
    known = stats.binomtest(10, 40).proportion_ci(0.95, method="exact")
    found = share_with_ends("x", events, batch)
    assert tuple(found.values()) == pytest.approx((0.25, known.low, known.high))


def test_limits_are_arguments():
    assert limits_from({"mean_kl": (0.01, 0.02)})["mean_kl"].watch == 0.01
    assert "mean_kl" not in limits_from({"mean_kl": None})
    assert set(LIMITS) <= set(NUMBERS)
    with pytest.raises(cl.InputError, match="the limit of mean_kl must be two numbers"):
        limits_from({"mean_kl": 3})


def updates(monitor, times, kind="continuous"):
    batch = make(kind).batch
    new = near(batch.policy, kind)
    return [monitor.on_update(None, new, batch) for _ in range(times)]


def test_one_update_in_k_is_measured():
    taken = []
    found = updates(cl.Monitor(every=3, sink=taken.append), 7)
    assert [measured is not None for measured in found] == [True, False, False, True, False, False, True]
    assert [measured.update for measured in taken] == [1, 4, 7]
    numbers = taken[0].numbers
    assert {name.removesuffix("_low").removesuffix("_high") for name in set(numbers) - set(NUMBERS)} <= set(NUMBERS)
    assert numbers["every"] == 3.0
    assert numbers["faults"] == 0.0
    assert all(isinstance(value, float) for value in numbers.values())
    assert taken[0].numbers["mean_kl"] == taken[1].numbers["mean_kl"]  # nothing depends on when
    assert str(taken[0]).startswith("update 1: ok; mean KL")


def test_a_share_of_time_chooses_k():
    now = [0.0]
    monitor = cl.Monitor(every=1, sink=(), share_of_time=0.1, clock=lambda: now[0])
    batch = make("continuous", steps=8).batch
    measure = monitor._measure

    def slow(*arguments):
        now[0] += 9.0
        return measure(*arguments)

    monitor._measure = slow
    for _ in range(30):
        now[0] += 3.0
        monitor.on_update(None, None, batch)
    # 9 seconds of measuring are a tenth of the time beside 27 updates of 3 seconds
    assert monitor.every == 27
    assert monitor.last.numbers["every"] in {1.0, 27.0}


def test_what_is_not_finite_is_saved_and_recomputed(tmp_path):
    batch = make("continuous").batch
    rewards = batch.rewards.copy()
    rewards[9, 1] = np.nan
    taken = []
    monitor = cl.Monitor(every=1, sink=taken.append, save_to=tmp_path / "kept")
    monitor.on_update(None, None, batch.replace(rewards=rewards))
    assert taken[0].level == "problem"
    assert any("saved as" in statement for statement in taken[0].statements)
    assert "mean_kl" not in taken[0].numbers
    kept = cl.Batch.load(tmp_path / "kept" / "batch-000001.npz")
    check = cl.lint(kept)["finite"]
    assert (check.first_step, check.first_environment) == (9, 1)
    said = json.loads((tmp_path / "kept" / "batch-000001.json").read_text())
    assert said["level"] == "problem"


def test_faults_are_told_and_training_goes_on():
    batch = make("continuous").batch
    taken = []
    cl.Monitor(every=1, sink=taken.append).on_update(
        None, lambda x: x.nothing, batch.replace(rewards=5 * batch.rewards)
    )
    assert taken[0].changed["faults"] == "problem"
    assert any("rewards" in statement for statement in taken[0].statements)
    assert any(statement.startswith("not measured") for statement in taken[0].statements)


def test_sinks(tmp_path, capsys):
    class Run:
        def __init__(self):
            self.logged, self.alerts = [], []

        def log(self, numbers):
            self.logged.append(numbers)

        def alert(self, title, text):
            self.alerts.append((title, text))

    run = Run()
    monitor = cl.Monitor(
        every=1,
        sink=[print, Csv(tmp_path / "m" / "log.csv"), Tracker(run)],
        limits={"mean_kl": Limit(0.0, 1e9, patience=1)},
    )
    updates(monitor, 2)
    assert "update 2: watch" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "m" / "log.csv").read_text().splitlines()))
    assert [row["update"] for row in rows] == ["1", "2"]
    assert float(rows[0]["mean_kl"]) == run.logged[0]["closerlook/mean_kl"]
    assert [numbers["closerlook/update"] for numbers in run.logged] == [1, 2]
    assert len(run.alerts) == 1
    assert "mean_kl" in run.alerts[0][1]
    Tracker(type("Plain", (), {"log": run.log})())(Measured(1, {"x": 1.0}, "ok", statements=("said",)))


def test_tensorboard_has_numbers_and_what_changed(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    monitor = cl.Monitor(every=2, sink=TensorBoard(tmp_path), limits={"mean_kl": Limit(0.0, 1e9, patience=1)})
    updates(monitor, 3)
    found = EventAccumulator(str(tmp_path)).Reload()
    kl = found.Scalars("closerlook/mean_kl")
    assert [one.step for one in kl] == [1, 3]
    assert kl[0].value == pytest.approx(monitor.last.numbers["mean_kl"])
    assert found.Tensors("closerlook/levels/text_summary")[0].step == 1


def test_what_lasts_is_said_once():
    batch = make("continuous").batch
    wrong, taken = batch.replace(rewards=5 * batch.rewards), []
    monitor = cl.Monitor(every=1, sink=taken.append)
    for own in (wrong, wrong, batch, wrong):
        monitor.on_update(None, None, own)
    assert [sum("lint" in said for said in one.statements) for one in taken] == [1, 0, 0, 1]
    assert [one.numbers["faults"] for one in taken] == [1.0, 1.0, 0.0, 1.0]


def test_few_batches_are_saved_however_long_it_lasts(tmp_path):
    batch = make("continuous").batch
    broken = batch.replace(rewards=np.where(np.arange(48)[:, None] == 9, np.inf, batch.rewards))
    monitor = cl.Monitor(every=1, sink=(), save_to=tmp_path / "kept")
    for own in (broken, broken, batch, broken):
        monitor.on_update(None, None, own)
    assert [file.name for file in sorted((tmp_path / "kept").glob("*.npz"))] == ["batch-000001.npz", "batch-000004.npz"]
    for own in (batch, broken) * MOST_SAVED:
        monitor.on_update(None, None, own)
    assert len(list((tmp_path / "kept").glob("*.npz"))) == MOST_SAVED


def test_a_batch_that_cannot_be_saved_ends_no_training(tmp_path):
    (tmp_path / "file").write_text("")
    batch, taken = make("continuous").batch, []
    monitor = cl.Monitor(every=1, sink=taken.append, save_to=tmp_path / "file" / "below")
    monitor.on_update(None, None, batch.replace(rewards=np.full_like(batch.rewards, np.nan)))
    assert any("not saved" in said for said in taken[0].statements)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be a whole number of at least 1"),
        ({"every": 2.5}, "every must be a whole number of at least 1"),
        ({"share_of_time": 0}, "share_of_time must be above 0"),
        ({"share_of_time": 2}, "share_of_time must be above 0"),
    ],
)
def test_bad_settings_are_one_clear_line(arguments, message):
    with pytest.raises(cl.InputError, match=message):
        cl.Monitor(**arguments)
