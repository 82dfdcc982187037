"""The measurement around the estimators: the same bytes however it is run, clear answers to bad questions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import probe
from closerlook.agents.normalization import Scaling
from closerlook.agents.policies import MLPValue
from closerlook.diagnostics import summary
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.gradients.tables import tables_of
from closerlook.diagnostics.gradients.verdicts import verdicts
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import content_key
from closerlook.measurements.stream_sums import StreamRange, StreamStatistics, sample_sums
from closerlook.nn.networks import MLP
from closerlook.simulation.records import Sampling
from closerlook.studies.schema import every_variable
from environments import bandit_agent, linear_quadratic_agent

QUESTION = StreamStatistics((5, 9), true_gradients=("discounted_return", "episode_return"))
SMALL = {"pairs": 16 * 40, "estimates": 5, "sizes": [5, 16, 32, 64], "workers": 1}


def agent(**fields) -> Agent:
    """A linear-quadratic agent with a critic and streams of 16 pairs."""
    value = MLPValue(MLP((3, 8, 1)))
    bare = linear_quadratic_agent(regime=Regime(2, 16), normalize_advantages=True, **fields)
    parameters = value.initialize(np.random.default_rng(9), "xavier")
    return replace(bare.with_state({"value": parameters}), value=value)


def same(a: xr.Dataset, b: xr.Dataset) -> bool:
    return a.identical(b) and all(a[name].values.tobytes() == b[name].values.tobytes() for name in a.data_vars)


def test_two_workers_give_the_same_bytes():
    assert same(gradient_quality(agent(), **SMALL), gradient_quality(agent(), **(SMALL | {"workers": 2})))


def test_lanes_and_the_split_into_jobs_give_the_same_bytes():
    own, whole = agent(gamma=0.9), StreamRange(4, "lanes", 0, 80)

    def sums(part, lanes):
        return sample_sums(own, own.environment, Sampling(16), part, QUESTION, lanes)

    expected, together = sums(whole, 8), sums(whole, 64)
    parts = [sums(StreamRange(4, "lanes", first, min(first + 32, 80)), 64) for first in (64, 0, 32)]
    for name, array in expected.items():
        merged = np.concatenate([part[name] for part in (parts[1], parts[2], parts[0]) if name in part])
        assert merged.tobytes() == array.tobytes(), name
        assert together[name].tobytes() == array.tobytes(), name


def test_a_folder_is_taken_up_again(tmp_path, monkeypatch):
    first = gradient_quality(agent(), **SMALL, out=tmp_path)
    monkeypatch.setattr("closerlook.diagnostics.gradients.measure.sample_sums", None)
    assert same(first, gradient_quality(agent(), **SMALL, out=tmp_path))
    (tmp_path / "gradients.nc").unlink()  # made again of stored answers
    assert same(first, gradient_quality(agent(), **SMALL, out=tmp_path))
    stored = json.loads((tmp_path / "gradients.json").read_text())
    assert stored == json.loads(json.dumps(summary(first)))
    with xr.open_dataset(tmp_path / "gradients.nc", engine="netcdf4") as written:
        np.testing.assert_array_equal(written["pairwise_cosine"], first["pairwise_cosine"])
        assert written.attrs["batch_pairs"] == 32
    with pytest.raises(InputError, match="seed 0 there, 1 asked"):
        gradient_quality(agent(), **SMALL, seed=1, out=tmp_path)


def test_the_seed_matters_and_nothing_else_draws():
    first = gradient_quality(agent(), **SMALL)
    torch.rand(3), np.random.default_rng().random()
    assert same(first, gradient_quality(agent(), **SMALL))
    assert not same(first, gradient_quality(agent(), **SMALL, seed=1))


def test_several_agents_have_an_axis_and_the_same_numbers_as_alone():
    agents = [agent(iteration=3, agent_seed=k, seed=k) for k in range(2)]
    found = gradient_quality(agents, **SMALL)
    assert found["pairwise_cosine"].dims == ("agent", "size")
    assert found["iteration"].values.tolist() == [3, 3]
    for k, one in enumerate(agents):
        alone = gradient_quality(one, **SMALL)
        assert alone["pairwise_cosine"].dims == ("size",)
        np.testing.assert_array_equal(alone["pairwise_cosine"], found["pairwise_cosine"][k])
    text = summary(found)
    assert np.shape(text["pairwise_cosine"]) == (2, 4)
    assert len(text["verdicts"]) == 2
    assert text["verdicts"][1]["statement"].startswith("iteration 3, seed 1: ")


def test_layers_are_summarised_and_laid_out():
    found = gradient_quality(agent(), **SMALL)
    layers = summary(found)["layers"]
    assert list(layers) == found["layer"].values.tolist() == ["0", "log_std"]
    assert sum(layer["layer_noise_fraction"] for layer in layers.values()) == pytest.approx(1.0)
    assert layers["0"]["layer_noise_scale_pairs_low"] == float(found["layer_noise_scale_pairs_low"][0])
    (table,) = [table for table in tables_of(found) if str(table.title).startswith("Signal and noise by layer")]
    assert list(table.columns[0].cells) == ["0", "log_std"]
    assert list(table.columns[1].cells) == [f"{share:.3f}" for share in found["layer_noise_fraction"].values]
    assert tables_of(gradient_quality([agent(), agent(seed=1)], **SMALL))[2].title.endswith("medians over agents")


def test_agents_measured_in_groups_give_the_same(monkeypatch):
    agents = [agent(seed=k) for k in range(3)]
    whole = gradient_quality(agents, **SMALL)
    monkeypatch.setattr("closerlook.diagnostics.gradients.measure.ANSWERS_IN_MEMORY", 1)
    assert same(whole, gradient_quality(agents, **SMALL))


def test_every_variable_is_defined_and_labeled():
    found = gradient_quality(agent(), **SMALL)
    assert set(found.data_vars) <= set(every_variable())
    assert found["pairwise_cosine"].attrs["long_name"]
    assert found.attrs["baseline"] == "critic"
    assert found.attrs["advantages"] == "normalized"
    assert gradient_quality(bandit_agent(), pairs=64 * 10, workers=1).attrs["baseline"] == "none"


def test_episodes_are_counted_and_finished():
    found = gradient_quality(agent(), **(SMALL | {"pairs": 20 * 16}))
    assert int(found["streams"]) == 20
    assert int(found["trajectories"]) == 40  # episodes of 8 steps, two to a stream of 16


def test_only_streams_that_finish_their_last_episode_count_episodes():
    """Counting the others' finished episodes would prefer short ones."""
    own = agent()
    answer = sample_sums(own, own.environment, Sampling(12), StreamRange(0, "finish", 60, 68))
    assert answer["trajectories"].tolist() == [2] * 8
    assert answer["episodes"].tolist() == [2] * 4 + [0] * 4


def test_episodes_that_began_in_the_burn_in_are_trajectories_but_no_returns():
    still = corridor_agent(16)
    answer = sample_sums(still, still.environment, Sampling(16, burn_in=100), StreamRange(0, "burn-in", 0, 64))
    assert set(answer["trajectories"]) == {2, 3}  # episodes of 8 steps in a window of 16
    assert set(answer["episodes"]) == {2}
    assert set(answer["returns"] / answer["episodes"]) == {36.0}


def test_where_an_episode_was_given_up_the_return_is_not_known():
    """The mean of the short episodes alone would be too small."""
    for longest, known in ((7, False), (8, True)):
        still = corridor_agent(16, length=24)
        asked = Sampling(16, longest_finish=longest)
        answer = sample_sums(still, still.environment, asked, StreamRange(0, "finish", 0, 2))
        assert answer["returns"].tolist() == ([300.0] * 2 if known else pytest.approx([np.nan] * 2, nan_ok=True))


def test_an_environment_that_never_ends_is_measured():
    found = gradient_quality(corridor_agent(16, length=10**9), pairs=32, estimates=2, sizes=[16], workers=1)
    assert np.isnan(found["mean_episode_return"])


def corridor_agent(n_steps: int, length: int = 8) -> Agent:
    """An agent in an environment whose step t earns t, whatever the action."""
    spec = EnvironmentSpec("tiny_environments:Corridor", {"length": length})
    still = replace(bandit_agent(), environment=spec, regime=Regime(1, n_steps))
    state = {"0.weight": torch.zeros(1, 2), "0.bias": torch.zeros(1), "log_std": torch.zeros(1)}
    policy = replace(still.policy, network=MLP((2, 1)))
    return replace(still, policy=policy, state={f"policy.{name}": tensor for name, tensor in state.items()})


def test_advantages_are_in_the_units_of_scaled_rewards():
    plain = linear_quadratic_agent(regime=Regime(1, 16))
    moments = {"count": 101.0, "mean": [0.0], "squares": [900.0]}
    scaled = plain.with_state({"returns": {name: torch.tensor(v, dtype=torch.float64) for name, v in moments.items()}})
    scaled = replace(scaled, reward_scaling=Scaling())
    norms = [gradient_quality(one, **SMALL)["gradient_norm"].values for one in (plain, scaled)]
    np.testing.assert_allclose(norms[0], 3 * norms[1], rtol=1e-5)


def test_streams_start_inside_episodes_where_training_does_not_reset():
    going_on = replace(agent(), regime=Regime(2, 16, reset_each_iteration=False))
    found = gradient_quality(going_on, "environments:make_linear_quadratic", **SMALL)
    assert int(found["trajectories"]) > 80  # 40 streams of 16 would be two episodes of 8 each, did they start together


@pytest.mark.parametrize("advantages", ["normalized", "raw"])
def test_a_gradient_that_is_exactly_zero_is_counted_and_nan(advantages):
    """Standardized advantages are zero where all are equal, raw ones where all rewards are."""
    equal, nothing = corridor_agent(16, length=1), bandit_agent(regime=Regime(1, 16))
    where = "environments:make_indifferent" if advantages == "raw" else None
    still = nothing if advantages == "raw" else equal
    found = gradient_quality(still, where, pairs=16 * 10, estimates=10, sizes=[16], advantages=advantages, workers=1)
    assert int(found["zero_gradients"][0]) == 10
    assert np.isnan(found["pairwise_cosine"].values).all()
    assert np.isnan(found["true_cosine_corrected"].values).all()
    assert float(found["gradient_norm"][0]) == 0.0
    (verdict,) = verdicts(found)
    assert verdict["level"] == "problem"
    assert "exactly zero" in verdict["statement"]
    assert summary(found)["pairwise_cosine"] == [None]


def test_equal_rewards_move_raw_estimates_by_noise_alone():
    found = gradient_quality(
        corridor_agent(16, length=1), pairs=16 * 10, estimates=10, sizes=[16], advantages="raw", workers=1
    )
    assert int(found["zero_gradients"][0]) == 0
    assert float(found["gradient_norm"][0]) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 100}, "too few for 5 estimates of 64 pairs; give --pairs 320 or more"),
        ({"advantages": "other"}, "advantages cannot be 'other'"),
        ({"environment": "Nowhere-v0"}, "unknown environment"),
        ({"environment": "environments:make_bandit"}, "have 4 components, the agent's policy takes 3"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_bad_questions_get_a_clear_answer(changes, message):
    with pytest.raises(InputError, match=message):
        gradient_quality(agent(), **(SMALL | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"lambdas": [0.5, 1.5]}, "between|from 0 to 1"), ({"baselines": ["mean"]}, "baselines cannot be 'mean'")],
)
def test_alternatives_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        gradient_quality(agent(), **SMALL, **changes)


def test_lambdas_are_refused_where_there_is_no_critic():
    """Every lambda would give the agent's own estimates again."""
    with pytest.raises(InputError, match="without a critic has no lambda"):
        gradient_quality(replace(agent(), value=None), **SMALL, lambdas=[0.5])


def test_bad_agents_get_a_clear_answer():
    with pytest.raises(InputError, match="no agent"):
        gradient_quality([], **SMALL)
    with pytest.raises(InputError, match="gather their batches differently"):
        gradient_quality([agent(), replace(agent(), regime=Regime(1, 16))], **SMALL)
    with pytest.raises(InputError, match="does not say what it was trained on"):
        gradient_quality(replace(agent(), environment=None), **SMALL)
    broken = agent().with_state({"policy": {"log_std": torch.tensor([0.0, np.nan])}})
    with pytest.raises(NonFiniteError, match=r"policy\.log_std of the agent"):
        gradient_quality(broken, **SMALL)
    wild = agent().with_state({"value": {"1.bias": torch.tensor([3e38])}})
    wild = wild.with_state({"value": {"1.weight": torch.full((1, 8), 3e38)}})
    with pytest.raises(NonFiniteError, match="advantages in stream 0"):
        gradient_quality(wild, **SMALL)


def test_a_policy_of_the_users_own_is_measured():
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 4)

    def spread(out):
        return torch.distributions.Independent(torch.distributions.Normal(out[..., :2], out[..., 2:].exp()), 1)

    own = Agent.from_torch(module, distribution=spread, gamma=1.0, regime=Regime(1, 16))
    found = gradient_quality(own, "environments:make_linear_quadratic", **SMALL)
    assert np.isfinite(found["pairwise_cosine"].values).all()


def test_very_much_memory_is_warned_of(monkeypatch):
    monkeypatch.setattr("closerlook.diagnostics.gradients.measure.MUCH_MEMORY", 1000)
    with pytest.warns(UserWarning, match=r"about 0\.0 GB of memory; fewer --pairs"):
        gradient_quality(agent(), **SMALL)


def test_the_largest_default_size_changes_no_other():
    """40 streams of 16 pairs: eight in each of five estimates."""
    asked = {"pairs": 16 * 40, "estimates": 5, "workers": 1}
    found = gradient_quality(agent(), **asked)
    assert found["size"].values.tolist() == [32, 128]
    found = gradient_quality(agent(), **(asked | {"pairs": 16 * 48}))
    assert found["size"].values.tolist() == [32, 128, 144]
    assert found["estimates"].values.tolist()[-1] == 5
    others = gradient_quality(agent(), **(asked | {"pairs": 16 * 48, "sizes": [32, 128]}))
    for name in ("pairwise_cosine", "true_cosine_corrected_low", "noise_scale_pairs_high", "layer_noise_fraction"):
        here = found[name].sel(size=[32, 128]) if "size" in found[name].dims else found[name]
        assert here.values.tobytes() == others[name].values.tobytes()


def test_keys_hold_what_decides_the_answer():
    own = agent()
    key = content_key(probe(own))
    assert key == content_key(probe(agent()))
    assert key == content_key(probe(own.with_state({"optimizer": {"step": torch.tensor(3.0)}})))
    changed = own.with_state({"policy": {"log_std": own.state["policy.log_std"] + 1e-3}})
    for other in (changed, replace(own, gamma=0.98), replace(own, regime=Regime(1, 16))):
        assert key != content_key(probe(other))


def dataset(scale: float, low: float, high: float, at: int = 2048, **numbers: float) -> xr.Dataset:
    """A dataset of one agent with a noise scale as given, and the cosines that go with it."""
    size = np.array([float(at), 65_536.0])
    rows = {
        "pairwise_cosine": 1 / (1 + scale / size),
        "pairwise_cosine_low": 1 / (1 + high / size),
        "pairwise_cosine_high": 1 / (1 + low / size),
        "zero_gradients": np.array([0, 0]),
        "estimates": np.array([20, 20]),
        "pairs_used": size.astype(int),
    }
    rows |= {f"true_cosine_corrected{end}": np.sqrt(rows[f"pairwise_cosine{end}"]) for end in ("", "_low", "_high")}
    single = {
        "pairs": 1_000_000, "iteration": 0, "agent_seed": 0, "noise_scale_pairs": scale, "noise_scale_pairs_low": low,
        "noise_scale_pairs_high": high, "pairs_for_true_cosine_half": scale / 3,
    }  # fmt: skip
    data = {name: ("size", values) for name, values in rows.items()} | single | numbers
    return xr.Dataset(data, {"size": size.astype(int)}, {"batch_pairs": 2048})


@pytest.mark.parametrize(
    ("scale", "level", "words"),
    [
        ((200.0, 150.0, 300.0), "ok", "signal outweighs noise"),
        ((1500.0, 1000.0, 2500.0), "ok", "about equal"),
        ((1e5, 5e4, 3e5), "ok", "noise outweighs signal 48.8 to 1. That is usual"),
        ((1e5, 5e4, np.inf), "not_enough_data", "No direction can be told from noise"),
        ((np.nan, 3e5, np.inf), "not_enough_data", "at least 300,000 pairs"),
        ((np.nan, np.inf, np.inf), "not_enough_data", "the noise scale is more pairs than were sampled"),
        ((np.nan, 1.2e6, np.inf), "watch", "at least 586 training batches"),
        ((np.nan, np.nan, np.nan), "not_enough_data", "too few"),
    ],
)
def test_a_noisy_gradient_is_usual_and_none_at_all_is_not(scale, level, words):
    (verdict,) = verdicts(dataset(*scale))
    assert verdict["level"] == level
    assert words in verdict["statement"]
    assert set(verdict) == {"area", "level", "statement", "evidence", "advice"}
    json.dumps(verdict, allow_nan=False)


def test_a_verdict_says_what_more_pairs_would_buy():
    (verdict,) = verdicts(dataset(1e5, 5e4, 2e5))
    assert "make it 0.20; a cosine of 0.5 takes about 33,333 pairs" in verdict["advice"]
    assert verdict["evidence"]["noise_scale_pairs"] == 1e5
    (missing,) = verdicts(dataset(1e5, 5e4, 2e5, at=4096, pairs=20_000))
    assert missing["level"] == "not_enough_data"
    assert "Give more --pairs (10 estimates take 20,480; there were 20,000)" in missing["advice"]
    (left_out,) = verdicts(dataset(1e5, 5e4, 2e5, at=4096))  # of a million pairs
    assert left_out["advice"].startswith("Leave 2,048 among the --sizes")


def test_a_batch_that_is_no_whole_number_of_blocks_is_judged_as_nearly_as_it_was_measured():
    own = dataset(1e5, 5e4, 2e5, at=2028).assign_coords(size=[2048, 65_536])  # as asked
    (verdict,) = verdicts(own)
    assert verdict["statement"].startswith("One training batch (as of 2,028 pairs) points along")
    assert verdict["evidence"]["pairs_used"] == 2028


@pytest.mark.parametrize(("scale", "usual"), [(1.5 * 2048, False), (48 * 2048, True), (900 * 2048, False)])
def test_only_what_is_usual_is_called_so(scale, usual):
    (verdict,) = verdicts(dataset(scale, scale / 2, 2 * scale))
    assert "noise outweighs signal" in verdict["statement"]
    assert ("That is usual" in verdict["statement"]) == usual


def test_no_interval_is_said_in_words():
    own = dataset(1e5, 5e4, 2e5)
    ends = {f"true_cosine_corrected_{end}": ("size", [np.nan, np.nan]) for end in ("low", "high")}
    (verdict,) = verdicts(own.assign(ends))
    assert "cosine of 0.14 (no interval from so few)" in verdict["statement"]


def test_steps_that_do_not_move_are_a_problem():
    own = dataset(1e5, 5e4, 2e5, update_batches=10).assign(zero_updates_by_size=("update_size", [0, 8]))
    own = own.assign_coords(update_size=[512, 2048])
    _, verdict = verdicts(own)
    assert (verdict["level"], verdict["evidence"]["update_size"]) == ("problem", 2048)
    assert "8 of 10 updates do not move" in verdict["statement"]
    assert len(verdicts(own.assign(zero_updates_by_size=("update_size", [8, 5])))) == 1


def test_a_reward_that_has_nothing_to_do_with_the_actions_is_found():
    spec = EnvironmentSpec("environments:make_bandit", {"noise": 1e4})
    deaf = replace(bandit_agent(), regime=Regime(1, 8), environment=spec)
    (verdict,) = verdicts(gradient_quality(deaf, pairs=8 * 2000, workers=1, sizes=[8]))
    assert verdict["level"] == "watch"
    assert "Unusually little signal" in verdict["statement"]
