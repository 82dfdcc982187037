"""Values fitted to shards: they converge to the exact value, and nothing depends on how transitions are read."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import evaluate_critic
from closerlook.errors import InputError
from closerlook.measurements import value_shards
from closerlook.measurements.fitted_values import (
    FITS,
    ROWS,
    Critic,
    FitSettings,
    _Fit,
    _Inputs,
    _Moments,
    fit_values,
    fitted_critics,
)
from closerlook.measurements.stream_scores import stream_squared_norms
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.value_shards import Shards, Transitions, spill
from closerlook.results import answers
from closerlook.results.answers import JobFiles
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from environments import OFFSET, TARGET, QuadraticCritic, bandit_agent, endless_quadratic_agent, quadratic_value

SAMPLING = Sampling(64)


def write(tmp_path, jobs=4, streams=32, agent=None) -> list[str]:
    agent = agent or endless_quadratic_agent()
    keys = []
    for job in range(jobs):
        part = StreamRange(0, "fit", job * streams, (job + 1) * streams)
        spill(agent, agent.environment, SAMPLING, part, str(tmp_path), f"shard{job}")
        keys.append(f"shard{job}")
    return keys


def exact_values(agent: Agent, observations: np.ndarray) -> np.ndarray:
    matrix, vector, constant = quadratic_value(agent)
    quadratic = np.einsum("...i,ij,...j->...", observations, matrix, observations)
    return -(quadratic + 2 * observations @ vector + constant)


def test_the_closed_form_is_what_returns_come_to():
    agent = endless_quadratic_agent()
    sampled = rollout(
        agent, agent.environment, Sampling(1, continuation_steps=60), seeds=[5], purpose="t", streams=range(3000)
    )
    returns = sampled.rewards[0, :, 0] + sampled.boundaries.continuation_rewards @ 0.9 ** np.arange(1, 61)
    misses = returns - exact_values(agent, sampled.observations[0, :, 0].astype(np.float64))
    assert abs(misses.mean()) < 3 * misses.std() / np.sqrt(len(misses))


def off_by(constant: float, gae_lambda: float) -> Agent:
    """An agent whose critic is the exact value and as much more."""
    bare = endless_quadratic_agent()
    critic = QuadraticCritic(quadratic_value(bare), constant=constant)
    return replace(endless_quadratic_agent(critic), gae_lambda=gae_lambda)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.6, 1.0])
def test_the_own_target_is_the_value_and_what_advantages_add_up_to(tmp_path, gae_lambda):
    agent = off_by(0.5, gae_lambda)
    part = StreamRange(0, "fit", 0, 2)
    spill(agent, agent.environment, SAMPLING, part, str(tmp_path), "one", own_target=True)
    stored = JobFiles(tmp_path).load("one")
    asked = value_shards.with_monte_carlo_returns(SAMPLING, agent.gamma)
    sampled = rollout(Agent.stack([agent]), agent.environment, asked, seeds=[0], purpose="fit", streams=range(2))
    critic = evaluate_critic(Agent.stack([agent]), sampled, agent.bootstrap)
    values, following = critic.values[0].double().numpy(), critic.following[0].double().numpy()
    for stream in range(2):
        advantage, targets = 0.0, []
        for step in reversed(range(64)):
            error = sampled.rewards[0, stream, step] + 0.9 * following[stream, step] - values[stream, step]
            advantage = error + 0.9 * gae_lambda * advantage
            targets.append(values[stream, step] + advantage)
        np.testing.assert_allclose(stored["gae_targets"][stream], targets[::-1], rtol=1e-4, atol=1e-4)


def test_a_value_fitted_to_a_bootstrapped_target_inherits_the_critics_error(tmp_path):
    """With lambda 0 the target is r + gamma V_old, whose mean is off by gamma times what V_old is off by."""
    agent, keys = off_by(0.5, 0.0), [f"shard{job}" for job in range(4)]
    for job, key in enumerate(keys):
        part = StreamRange(0, "fit", job * 32, (job + 1) * 32)
        spill(agent, agent.environment, SAMPLING, part, str(tmp_path), key, own_target=True)
    both = fit_values(str(tmp_path), keys, 128, FitSettings(), 0, own_target=True)
    alone = fit_values(str(tmp_path), keys, 128, FitSettings(), 0)
    assert set(alone) < set(both)
    for name, array in alone.items():
        np.testing.assert_array_equal(both[name], array)
    critics, agents = fitted_critics(both), Agent.stack([agent])
    sampled = rollout(agents, agent.environment, SAMPLING, seeds=[9], purpose="held out", streams=range(40))
    exact = exact_values(agent, sampled.observations[0].astype(np.float64))
    misses = {name: critic.judge(agents, sampled).values[0].numpy() - exact for name, critic in critics.items()}
    assert misses["own_target"].mean() == pytest.approx(0.9 * 0.5, abs=0.05)
    assert misses["fitted"].mean() == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    ("some", "factor", "most"), [((1, 6), 1.2, 0.2), pytest.param((1, 4, 32), 2.0, 0.03, marks=pytest.mark.slow)]
)
def test_a_fit_converges_to_the_exact_value(tmp_path, some, factor, most):
    agent = endless_quadratic_agent()
    errors = []
    for jobs in some:
        keys = write(tmp_path / str(jobs), jobs)
        answer = fit_values(str(tmp_path / str(jobs)), keys, 32 * jobs, FitSettings(), 0)
        critic = fitted_critics(answer)["fitted"]
        sampled = rollout(agent, agent.environment, SAMPLING, seeds=[9], purpose="held out", streams=range(40))
        observations = torch.from_numpy(sampled.observations[0].reshape(-1, 3))
        exact = exact_values(agent, observations.double().numpy())
        found = critic.value(critic.parameters, observations).numpy()
        errors.append(np.square(found - exact).mean() / exact.var())
        assert answer["pairs"] == 64 * (32 * jobs - len(range(9, 32 * jobs, 10))) if jobs < 32 else True
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > factor * errors[-1]
    assert errors[-1] < most


def bandit_baselines(agent: Agent, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``E[Q]`` and ``E[|g|^2 Q] / E[|g|^2]`` of each context of the bandit, by moments of the normal distribution.

    With ``a = W x + b + s e``: ``Q = -|d + s e|^2 / 2``, ``d = W x + b - M x - o``; and ``|g|^2`` is the sum over
    actions of ``(1 + |x|^2) e^2 / s^2`` (weights and bias) and ``(e^2 - 1)^2`` (log standard deviation).
    """
    weight, bias, log_std = (
        agent.policy_parameters[name].double().numpy() for name in ("0.weight", "0.bias", "log_std")
    )
    misses, variances = contexts @ (weight - TARGET).T + bias - OFFSET, np.exp(2 * log_std)
    long = 1 + np.square(contexts).sum(axis=1, keepdims=True)
    norms, with_square = (
        long / variances + 2,
        3 * long / variances + 10,
    )  # E[w] and E[w e^2], w an action's part of |g|^2
    total = norms.sum(axis=1, keepdims=True)
    value = -0.5 * (np.square(misses) + variances).sum(axis=1)
    spread = (variances * (total - norms + with_square) / total).sum(axis=1)
    return value, -0.5 * (np.square(misses).sum(axis=1) + spread)


def test_the_moments_of_the_bandit_are_those_of_draws():
    agent, draws = bandit_agent(), np.random.default_rng(0)
    context = draws.standard_normal((1, 4))
    weight, bias, log_std = (agent.policy_parameters[n].double().numpy() for n in ("0.weight", "0.bias", "log_std"))
    noise = draws.standard_normal((1_000_000, 3))
    actions = context @ weight.T + bias + np.exp(log_std) * noise
    rewards = -0.5 * np.square(actions - context @ TARGET.T - OFFSET).sum(axis=1)
    score = np.square(noise / np.exp(log_std)).sum(axis=1) * (1 + np.square(context).sum())
    norms = score + np.square(noise**2 - 1).sum(axis=1)
    value, optimal = bandit_baselines(agent, context)
    assert rewards.mean() == pytest.approx(value[0], abs=0.01)
    assert (norms * rewards).mean() / norms.mean() == pytest.approx(optimal[0], abs=0.01)


def test_the_optimal_baseline_is_weighted_by_the_squared_score(tmp_path):
    """Greensmith et al. (2004), theorem 8: ``E[|g|^2 Q] / E[|g|^2]``, which is not the value."""
    agent = bandit_agent(gamma=0.0)
    keys = write(tmp_path, 16, agent=agent)
    critics = fitted_critics(fit_values(str(tmp_path), keys, 16 * 32, FitSettings(), 0))
    contexts = np.random.default_rng(1).standard_normal((2000, 4)).astype(np.float32)
    found = {
        name: critic.value(critic.parameters, torch.from_numpy(contexts)).double().numpy()
        for name, critic in critics.items()
    }
    value, optimal = bandit_baselines(agent, contexts.astype(np.float64))
    apart = np.square(optimal - value).mean()
    assert np.square(found["fitted"] - value).mean() < 0.05 * apart
    assert np.square(found["optimal"] - optimal).mean() < 0.1 * apart


def test_reading_a_window_at_a_time_changes_little_and_needs_little_memory(tmp_path, monkeypatch):
    keys = write(tmp_path, 8)
    whole = fit_values(str(tmp_path), keys, 256, FitSettings(), 0)
    monkeypatch.setattr(value_shards, "WINDOW_BYTES", 3 * 32 * 64 * 3 * 4)
    shards = Shards(str(tmp_path), keys, 256)
    assert next(len(window) for window in shards.windows(range(8))) < 3 * 32 * 64
    assert len(list(shards.windows(range(8)))) > 2
    parts = fit_values(str(tmp_path), keys, 256, FitSettings(), 0)
    assert parts["held_out"].min() == pytest.approx(whole["held_out"].min(), abs=0.02)
    assert parts["pairs"] == whole["pairs"]


def test_a_shard_is_compared_with_its_digest_once_however_often_it_is_read(tmp_path, monkeypatch):
    keys, compared, digest = write(tmp_path, 8), [], answers._digest
    monkeypatch.setattr(value_shards, "WINDOW_BYTES", 3 * 32 * 64 * 3 * 4)
    monkeypatch.setattr(answers, "_digest", lambda key, found: compared.append(key) or digest(key, found))
    shards = Shards(str(tmp_path), keys, 256)
    for order in (range(8), reversed(range(8))):
        assert len(list(shards.windows(list(order)))) > 2
    shards.held_out()
    assert compared == keys


def test_a_minibatch_is_standardized_in_memory_that_is_used_again():
    window = some_pairs(100, 5)
    moments = _Moments()
    moments.add(window)
    scale = moments.scale()
    inputs = _Inputs(scale, 32)
    for rows in (np.arange(40, 72), np.array([99, 0, 7]), np.arange(32)):
        standard = ((window.observations[rows] - scale.mean) / scale.deviation).astype(np.float32)
        found = inputs.of(window.observations, rows, 2)
        assert found.shape == (2, len(rows), 6)
        assert all(np.array_equal(one, np.c_[standard, np.ones(len(rows), np.float32)]) for one in found)
        assert np.shares_memory(found, inputs.of(window.observations, rows[::-1], 2))


def test_the_gradient_of_a_minibatch_is_that_of_autograd(tmp_path, monkeypatch):
    keys = write(tmp_path, 2)
    fit = _Fit(Shards(str(tmp_path), keys, 64), FitSettings(hidden=(5,)), 0, FITS)
    draws = np.random.default_rng(1)
    start = {
        name: torch.from_numpy(draws.standard_normal((2, *shape)).astype(np.float32))
        for name, shape in fit._network.parameter_shapes.items()
    }
    fit._set_out(start)
    monkeypatch.setattr(fit._adam, "step", lambda rate: None)  # which writes over the gradient
    window, rows = next(iter(fit._shards.windows(range(2)))), draws.permutation(1000)[:300]
    fit._step(window, rows, 0.0)
    leaves = {name: tensor.double().requires_grad_() for name, tensor in start.items()}
    inputs = (window.observations[rows] - fit._scale.mean) / fit._scale.deviation
    values = fit._network(leaves, torch.from_numpy(inputs).double().expand(2, -1, -1))[..., 0]
    targets = torch.from_numpy((window.targets[rows] - fit._scale.target_mean) / fit._scale.target_deviation)
    weights = torch.stack([torch.ones(300), torch.from_numpy(window.norms[rows]) / fit._mean_norm])
    (weights * (values - targets) ** 2).mean(1).sum().backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(fit._adam.gradients[name].double(), leaf.grad, rtol=1e-4, atol=1e-5)


def some_pairs(pairs: int, width: int) -> Transitions:
    draws = np.random.default_rng(0)
    observations = 3 + draws.standard_normal((pairs, width)).astype(np.float32)
    return Transitions(observations, draws.standard_normal(pairs).astype(np.float32), None)


@pytest.mark.parametrize("width", [1, 3, 64])
def test_sums_of_a_few_rows_at_a_time_are_those_of_all_to_the_bit(width):
    windows, moments = [some_pairs(3 * ROWS + 5, width), some_pairs(7, width)], _Moments()
    sums, squares, count = 0.0, 0.0, 0
    for window in windows:
        moments.add(window)
        table = np.concatenate([window.observations, window.targets[:, None]], axis=1)
        sums, count = sums + table.sum(axis=0, dtype=np.float64), count + len(table)
        squares = squares + np.square(table, dtype=np.float64).sum(axis=0)
    scale = moments.scale()
    assert np.array_equal(scale.mean, (sums / count)[:-1])
    assert np.array_equal(scale.deviation, np.sqrt(squares / count - np.square(sums / count))[:-1])
    assert scale.target_mean == (sums / count)[-1]


def write_drawn(tmp_path, shards: int, width: int) -> list[str]:
    """20 streams of 200 pairs a shard, none of which a simulator made."""
    files, draws = JobFiles(tmp_path), np.random.default_rng(0)
    for shard in range(shards):
        arrays = {
            "observations": draws.standard_normal((20, 200, width), np.float32),
            "returns": draws.standard_normal((20, 200), np.float32),
            "norms": draws.uniform(0, 1, (20, 200)).astype(np.float32),
            "numbers": np.arange(20 * shard, 20 * (shard + 1)),
        }
        files.save(f"shard{shard}", arrays)
    return [f"shard{shard}" for shard in range(shards)]


def test_windows_hold_every_pair_once_in_the_order_asked(tmp_path, monkeypatch):
    keys = write_drawn(tmp_path, 5, 8)
    monkeypatch.setattr(value_shards, "WINDOW_BYTES", int(2.5 * 4000 * 8 * 4))
    shards = Shards(str(tmp_path), keys, 100)
    order = [3, 0, 4, 1, 2]
    windows = [(one.observations.copy(), one.targets.copy(), one.norms.copy()) for one in shards.windows(order)]
    stored = [JobFiles(tmp_path).load(keys[at]) for at in order]
    for place, name in enumerate(("observations", "returns", "norms")):
        fitted = [one[name][one["numbers"] % 10 != 9].reshape(-1, *one[name].shape[2:]) for one in stored]
        assert np.array_equal(np.concatenate([window[place] for window in windows]), np.concatenate(fitted))
    assert [len(window[1]) for window in windows] == [7200, 7200, 3600]
    monkeypatch.setattr(value_shards, "WINDOW_BYTES", 100)  # less than a shard: each is a window of its own
    assert [len(window) for window in shards.windows(order)] == [3600] * 5


@pytest.mark.parametrize("shards", [3, 16])
def test_a_fit_takes_little_more_memory_than_a_window(tmp_path, monkeypatch, shards):
    """Of 4 MB, shards of 0.5 MB; held-out pairs are a tenth of what there is."""
    keys = write_drawn(tmp_path, shards, 32)
    window, shard = 4 * 2**20, 20 * 200 * 34 * 4
    monkeypatch.setattr(value_shards, "WINDOW_BYTES", window)
    settings = FitSettings(hidden=(4,), most_passes=1)
    tracemalloc.start()
    fit_values(str(tmp_path), keys, 20 * shards, settings, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * window + 3 * shard + 0.1 * shards * shard + 2**20


def test_held_out_streams_are_never_fitted_to(tmp_path):
    keys = write(tmp_path, 2)
    shards = Shards(str(tmp_path), keys, 64)
    held, fitted = shards.held_out(), next(iter(shards.windows(range(2))))
    assert len(held) + len(fitted) == 64 * 64
    assert len(held) == 6 * 64
    rows = {row.tobytes() for row in held.observations}
    assert not any(row.tobytes() in rows for row in fitted.observations)


def test_a_damaged_shard_is_deleted_so_that_it_is_sampled_anew(tmp_path):
    keys = write(tmp_path, 2)
    damaged = tmp_path / f"{keys[1]}.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(InputError, match="missing or damaged"):
        Shards(str(tmp_path), keys, 64).held_out()
    assert [path.stem for path in tmp_path.glob("*.npz")] == keys[:1]


def test_the_same_seed_gives_the_same_weights(tmp_path):
    keys = write(tmp_path, 2)
    first, again, other = (fit_values(str(tmp_path), keys, 64, FitSettings(), seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["fitted.0.weight"], other["fitted.0.weight"])


def test_weights_are_the_squared_norms_of_scores():
    agent = endless_quadratic_agent()
    agents = Agent.stack([agent])
    sampled = rollout(agents, agent.environment, Sampling(5), seeds=[0], purpose="t", streams=[0])
    norms = stream_squared_norms(agents, sampled, 0)
    for t in range(5):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in agent.policy_parameters.items()}
        inputs = torch.from_numpy(sampled.observations[0, 0, t : t + 1])
        density = agent.policy.distribution(leaves, inputs).log_prob(torch.from_numpy(sampled.actions[0, 0, t : t + 1]))
        gradients = torch.autograd.grad(density.sum(), list(leaves.values()))
        assert float(norms[t]) == pytest.approx(sum(float(g.square().sum()) for g in gradients), rel=1e-4)


def test_a_damaged_shard_is_one_clear_line(tmp_path):
    keys = write(tmp_path, 2)
    file = tmp_path / "shard1.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="missing or damaged"):
        fit_values(str(tmp_path), keys, 64, FitSettings(), 0)


def test_constant_returns_and_observations_are_fitted(tmp_path):
    files = JobFiles(tmp_path)
    arrays = {"observations": np.ones((20, 8, 3), np.float32), "returns": np.full((20, 8), 2.0, np.float32)}
    files.save("only", {**arrays, "numbers": np.arange(20)})
    critic = fitted_critics(fit_values(str(tmp_path), ["only"], 20, FitSettings(most_passes=3), 0))["fitted"]
    assert critic.value(critic.parameters, torch.ones(1, 3)).item() == pytest.approx(2.0, abs=0.5)


def test_a_critic_takes_the_place_of_an_agents_own():
    agent = endless_quadratic_agent()
    critic = Critic(agent.policy, {})
    assert critic.instead(Agent.stack([agent])).value is agent.policy
