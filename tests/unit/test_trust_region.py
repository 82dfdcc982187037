"""Trust regions: divergences by quadrature, models that are exact, improvements known in closed form, trouble."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats
from test_episode_returns import torch_agent

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.natural import policy_fisher
from closerlook.algorithms.objective import Objective
from closerlook.algorithms.rules import rule_of
from closerlook.algorithms.surrogate import clipped_surrogate
from closerlook.diagnostics import summary, verdicts
from closerlook.diagnostics.trust_region import trust_region
from closerlook.diagnostics.trust_region.figure import plot_trust_region
from closerlook.diagnostics.trust_region.findings import (
    _agreement,
    _algorithm,
    _along,
    _average,
    _exploration,
    _rewards,
    crossing,
)
from closerlook.diagnostics.trust_region.tables import tables_of
from closerlook.drawing.style import save_figure
from closerlook.errors import InputError
from closerlook.measurements import natural_comparison
from closerlook.measurements.episode_returns import with_parameters
from closerlook.measurements.natural_comparison import compare_with_natural
from closerlook.measurements.policy_change import (
    CHANGES,
    ComparisonBatch,
    clip_pessimism,
    entropy_share,
    policy_change,
    smallest_deviations,
)
from closerlook.measurements.policy_updates import sample_batch, sample_steps, take_step
from closerlook.measurements.step_audits import audit_step, stages_of
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.surfaces import flat_parameters
from closerlook.nn.distributions import Categorical
from closerlook.simulation.records import Sampling
from closerlook.statistics.estimates import mean_interval, mean_share, ratio_of_means
from environments import (
    FEW_STEPS,
    bandit_agent,
    bandit_gradient,
    endless_quadratic_agent,
    expected_reward,
    linear_quadratic_agent,
    linear_quadratic_return,
    with_scaled_rewards,
)

QUADRATIC = EnvironmentSpec("environments:make_linear_quadratic")
SAMPLING = Sampling(64)
SMALL = {"repeats": 4, "pairs": 256, "return_pairs": 256, "multiples": (0.5, 2.0), "workers": 1}
NATURAL = {"max_kl": 0.01, "cg_steps": 30, "cg_tolerance": 0.0, "damping": 0.0, "fisher_fraction": 1.0}


def agent(seed: int = 0, algorithm: str = "ppo", **settings) -> Agent:
    own = linear_quadratic_agent(seed, normalize_advantages=True)
    return replace(own, algorithm=algorithm, algorithm_settings=settings)


def batch_of(own: Agent, streams: int = 4, purpose: str = "tests"):
    agents = Agent.stack([own])
    return agents, sample_batch(agents, QUADRATIC, SAMPLING, StreamRange(0, purpose, 0, streams))


def both(agents: Agent, batch):
    return (Objective.of(replace(agents, normalize_advantages=normalize), batch) for normalize in (False, True))


def audited(own: Agent, multiples=(1.0,), seed: int = 0) -> dict[str, np.ndarray]:
    streams = (StreamRange(seed, "batch", 0, 2), StreamRange(seed, "others", 0, 4))
    return audit_step(own, QUADRATIC, (SAMPLING, SAMPLING), streams, rule_of(own), multiples, 0.2)


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    return trust_region(agent(), **SMALL)


def test_divergences_are_those_of_quadrature():
    """Integrals over a grid of actions, one component at a time: the components are independent."""
    own = agent()
    agents, batch = batch_of(own, streams=1)
    plain, normalized = both(agents, batch)
    start = plain.start(agents)
    vector = start + 0.2 * torch.from_numpy(np.random.default_rng(0).standard_normal(start.shape).astype(np.float32))
    change = dict(zip(CHANGES, policy_change(plain, normalized, start, vector, 0.2).change, strict=True))
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    ends = [with_parameters(own, one.double().numpy()).unstack()[0].policy_parameters for one in (start, vector)]
    densities = []
    for parameters in ends:
        means = batch.observations[0, 0].double() @ parameters["0.weight"].double().T + parameters["0.bias"].double()
        normal = torch.distributions.Normal(means[..., None], parameters["log_std"].double().exp()[:, None])
        densities.append(normal.log_prob(grid))
    for name, (first, second) in {"kl": densities, "reverse_kl": densities[::-1]}.items():
        exact = torch.trapezoid(first.exp() * (first - second), grid).sum(-1).numpy()
        for kind, number in (("mean_{}", exact.mean()), ("max_{}", exact.max()), ("{}_p99", np.quantile(exact, 0.99))):
            assert change[kind.format(name)] == pytest.approx(number, rel=2e-4), (kind, name)


def test_ratios_are_counted_one_by_one():
    own = agent()
    agents, batch = batch_of(own)
    plain, normalized = both(agents, batch)
    start = plain.start(agents)
    vector = start * 1.3 + 0.05
    change = dict(zip(CHANGES, policy_change(plain, normalized, start, vector, 0.2).change, strict=True))
    moved = with_parameters(own, vector.double().numpy()).unstack()[0].policy_parameters
    ratios = []
    for x, a, old in zip(
        *(getattr(batch, name)[0].flatten(0, 1) for name in ("observations", "actions", "log_probs")), strict=True
    ):
        normal = torch.distributions.Normal(moved["0.weight"] @ x + moved["0.bias"], moved["log_std"].exp())
        ratios.append(math.exp(float(normal.log_prob(a).sum() - old)))
    assert change["max_ratio"] == pytest.approx(max(ratios), rel=1e-4)
    assert change["clip_fraction"] == pytest.approx(np.mean([abs(ratio - 1) > 0.2 for ratio in ratios]), abs=1e-9)


def test_what_chance_makes_of_the_clipped_surrogate_is_its_mean_over_signs():
    """Each pair with either sign of its advantage, one by one; no ratio outside, nothing lost."""
    draws = torch.Generator().manual_seed(0)
    ratio = torch.exp(0.4 * torch.randn(2000, dtype=torch.float64, generator=draws))
    size = torch.randn(2000, dtype=torch.float64, generator=draws).abs()
    both_signs = [clipped_surrogate(ratio.log(), torch.zeros(2000), sign * size, 0.2) for sign in (1.0, -1.0)]
    expected = (both_signs[0] + both_signs[1]) / 2
    np.testing.assert_allclose(clip_pessimism(ratio, size, 0.2), expected, atol=1e-12)
    np.testing.assert_array_equal(clip_pessimism(ratio.clamp(0.81, 1.19), size, 0.2), 0.0)


@pytest.mark.parametrize("standardize", [True, False])
def test_the_null_of_the_clipped_surrogate_is_that_of_the_pairs_themselves(standardize):
    """Signs drawn anew many times, ratios and the sizes of advantages as they are."""
    agents, batch = batch_of(agent())
    plain, normalized = both(agents, batch)
    start = plain.start(agents)
    vector = start * 1.2 + 0.05
    change = policy_change(plain, normalized, start, vector, 0.2, standardize=standardize).change
    own = normalized if standardize else plain
    with torch.no_grad():
        ratio = torch.exp(own.distribution(vector).log_prob(own.actions) - own.old_log_probs)[0].double()
    signs = np.sign(np.random.default_rng(0).standard_normal((4000, ratio.numel())))
    flipped = torch.from_numpy(signs) * own.advantages[0].double().abs()
    drawn = torch.minimum(ratio * flipped, ratio.clamp(0.8, 1.2) * flipped).mean(dim=1).numpy()
    null = change[CHANGES.index("clip_null")]
    assert null < -0.01
    assert null == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(len(drawn)))


def test_advantages_that_have_nothing_to_do_with_a_step_are_no_overfitting():
    """Clipped, the surrogate falls as chance says; unclipped it keeps nothing, and loses nothing."""
    agents, batch = batch_of(agent(), streams=400)
    drawn = torch.randn(batch.advantages.shape, generator=torch.Generator().manual_seed(0))
    plain, normalized = both(agents, replace(batch, advantages=drawn))
    start = plain.start(agents)
    there = policy_change(plain, normalized, start, start + 0.1, 0.2, streams=400)
    _, unclipped, fall = there.surrogates
    error = there.by_stream.std(axis=1) / np.sqrt(400)
    assert fall < -5 * error[2]
    assert fall == pytest.approx(there.change[CHANGES.index("clip_null")], abs=4 * error[2])
    assert unclipped == pytest.approx(0.0, abs=4 * error[1])


def test_the_quadratic_model_is_exact_where_the_divergence_is_quadratic():
    """With the deviation fixed, the KL of a linear Gaussian policy is quadratic in its weights."""
    own = agent(algorithm="vanilla", policy_learning_rate=0.05)
    agents, batch = batch_of(own)
    plain, normalized = both(agents, batch)
    start = plain.start(agents)
    step = 0.1 * torch.from_numpy(np.random.default_rng(1).standard_normal(start.shape))
    step[:, -2:] = 0.0  # the log standard deviations
    compared = ComparisonBatch(plain, normalized, normalized, start, 0.2, standardize=True)
    exact = compared.change((start.double() + step).float()).change[CHANGES.index("mean_kl")]
    assert compared.quadratic_kl(step) == pytest.approx(exact, rel=1e-4)


def test_an_update_is_the_one_that_sample_steps_makes():
    """And its stages are what fewer epochs would have made."""
    own = agent(policy_epochs=3, minibatches=4)
    seen = audited(own)
    alone = sample_steps(own, QUADRATIC, SAMPLING, StreamRange(0, "batch", 0, 2), [128], rule_of(own))
    np.testing.assert_allclose(seen["displacement"], alone["displacement"][0], atol=1e-7)
    assert stages_of(rule_of(own), 128) == [1, 2, 4, 8, 12]
    fewer = audited(agent(policy_epochs=1, minibatches=4))
    np.testing.assert_array_equal(seen["stage_change"][:, 2], fewer["multiple_change"][:, 0])
    np.testing.assert_array_equal(seen["stage_change"][:, -1], seen["multiple_change"][:, 0])
    np.testing.assert_array_equal(seen["stage_surrogates"][:, -1], seen["multiple_surrogates"][:, 0])


def test_held_out_pairs_are_others():
    own = agent()
    seen = audited(own)
    agents = Agent.stack([own])
    other = sample_batch(agents, QUADRATIC, SAMPLING, StreamRange(0, "others", 0, 4))
    end = torch.from_numpy(flat_parameters(own) + seen["displacement"]).float()[None]
    expected = ComparisonBatch.at(agents, other, 0.2).change(end)
    np.testing.assert_array_equal(seen["multiple_change"][1, 0], expected.change)
    assert (seen["multiple_change"][0, 0] != expected.change).all()


def test_a_batch_smaller_than_its_minibatches_has_all_its_stages():
    own = agent(policy_epochs=2, minibatches=500)
    assert stages_of(rule_of(own), 128)[-1] == 256
    seen = audited(own)
    assert seen["stage_change"].shape[1] == len(stages_of(rule_of(own), 128))


def test_predicted_improvements_are_differences_of_the_surrogate():
    seen = audited(agent(), multiples=(1e-3, 1.0))
    for surrogate, at in ((0, 0), (1, 1)):
        rise = seen["multiple_surrogates"][:, 0, surrogate] - seen["base_surrogates"][:, surrogate]
        np.testing.assert_allclose(seen["slopes"][:, at], rise / 1e-3, rtol=0.05, atol=2e-3)


def test_the_natural_gradient_solved_to_the_end_is_recognized():
    own = agent(algorithm="natural", **NATURAL)
    agents, batch = batch_of(own)
    step = torch.from_numpy(take_step(agents, batch, rule_of(own), 0).displacement)[None]
    objective = Objective.of(agents, batch)
    start = objective.start(agents)
    found = compare_with_natural(objective, start, step, 0.0)
    assert found["natural_efficiency"] == pytest.approx(1.0, abs=1e-4)
    assert found["natural_residual"] == pytest.approx(0.0, abs=0.02)


def test_a_sample_of_the_states_guides_the_solution_where_the_batch_is_large(monkeypatch):
    agents, batch = batch_of(agent())  # 256 pairs
    objective = Objective.of(agents, batch)
    start = objective.start(agents)
    seen, solved = [], []
    prepare, solve = natural_comparison.batch_fisher, natural_comparison.conjugate_gradient
    monkeypatch.setattr(natural_comparison, "batch_fisher", lambda *given: seen.append(given[2:]) or prepare(*given))

    def noted(product, target, **settings):
        found = solve(product, target, **settings)
        if settings["tolerance"] == natural_comparison.SOLVED_TOLERANCE:
            solved.append((settings["precondition"] is not None, int(found.steps[0])))
        return found

    monkeypatch.setattr(natural_comparison, "conjugate_gradient", noted)
    step = torch.from_numpy(np.random.default_rng(2).standard_normal(start.shape))
    for states, damping in ((32, 0.1), (33, 0.1), (32, 0.09)):
        monkeypatch.setattr(natural_comparison, "SAMPLED_STATES", states)
        compare_with_natural(objective, start, step, damping)
    (guided, few), (_, many), (_, undamped) = solved
    assert guided
    assert [one for one, _ in solved] == [True, False, False]
    assert few < many
    assert undamped >= many
    # of the whole batch, and once of 32 of its states, drawn, each once
    assert [len(given) for given in seen] == [0, 1, 0, 0]
    chosen = seen[1][0][0]
    same = [(objective.observations[0] == one).all(1) for one in chosen]
    places = [place for one in same for place in torch.where(one)[0].tolist()]
    assert len(places) == len(set(places)) == 32
    assert max(places) > 200
    assert len({place % 8 for place in places}) > 4
    vector = step.double()
    exact = policy_fisher(objective.policy, objective.named(start), chosen[None])(vector)
    torch.testing.assert_close(prepare(objective, start, chosen[None])(vector), exact)
    assert not torch.allclose(prepare(objective, start)(vector), exact)


@pytest.mark.parametrize("states", [natural_comparison.SAMPLED_STATES, 8], ids=["alone", "guided by a sample"])
def test_efficiency_and_residual_are_those_of_a_dense_fisher_matrix(monkeypatch, states):
    monkeypatch.setattr(natural_comparison, "SAMPLED_STATES", states)
    own = agent()
    agents, batch = batch_of(own)
    objective = Objective.of(agents, batch)
    start = objective.start(agents)
    assert (natural_comparison._solved_on_some(objective, start, 0.1) is not None) == (states == 8)

    # the Fisher matrix of a Gaussian's parameters does not depend on actions: J' M J, by autograd over outputs
    def outputs(vector: torch.Tensor) -> torch.Tensor:
        there = objective.distribution(vector[None])
        return torch.cat(
            [there.mean[0] / there.log_std.detach().exp()[0], there.log_std.expand_as(there.mean)[0] * 2**0.5], -1
        )

    jacobian = torch.autograd.functional.jacobian(outputs, start[0]).double()
    fisher = torch.einsum("noi,noj->ij", jacobian, jacobian) / len(jacobian) + 0.1 * torch.eye(start.shape[1])
    _, gradient = objective.gradient(start)
    g = gradient[0]
    d = torch.from_numpy(np.random.default_rng(2).standard_normal(len(g)))
    found = compare_with_natural(objective, start, d[None], 0.1)
    x = torch.linalg.solve(fisher, g)
    efficiency = (g @ d) / torch.sqrt((d @ fisher @ d) * (x @ fisher @ x))
    image = fisher @ d
    residual = torch.sqrt(1 - (g @ image) ** 2 / ((g @ g) * (image @ image)))
    assert found["natural_efficiency"] == pytest.approx(float(efficiency), rel=1e-3)
    assert found["natural_residual"] == pytest.approx(float(residual), rel=1e-3)


@pytest.mark.parametrize(
    ("seeds", "least", "most"), [(5, 0.8, 1.0), pytest.param(20, 0.88, 0.99, marks=pytest.mark.slow)]
)
def test_true_improvements_are_those_known_in_closed_form(seeds, least, most):
    """Intervals of single updates, and of their mean over all batches there could be."""
    inside, means = [], []
    for seed in range(seeds):
        own = agent(seed, algorithm="natural", **NATURAL | {"max_kl": 0.1})
        found = trust_region(own, seed=seed, **SMALL | {"repeats": 6, "return_pairs": 64 * 20, "multiples": ()})
        exact = []
        for repeat in range(6):
            part = StreamRange(seed, "trust region batch", repeat, repeat + 1)
            step = sample_steps(own, QUADRATIC, SAMPLING, part, [64], rule_of(own))["displacement"][0]
            there = with_parameters(own, (flat_parameters(own) + step)[None]).unstack()[0]
            gain = linear_quadratic_return(there.policy_parameters) - linear_quadratic_return(own.policy_parameters)
            exact.append(float(gain))
        low, high = (found[f"true_improvement_{end}"].values for end in ("low", "high"))
        inside.append((low <= exact) & (exact <= high))
        np.testing.assert_allclose(found["true_improvement"], exact, atol=6 * np.ptp([low, high]))
        means.append(float(found["mean_multiple_gain"].sel(multiple=1.0)) - np.mean(exact))
    assert least <= np.mean(inside) <= most
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(seeds)


@pytest.mark.slow
def test_the_mean_gain_covers_the_expectation_over_batches():
    """The expectation is that of 300 updates in closed form; the interval comes from 8.

    Single gains are skewed: a few updates lose much. Eight of them cover about 90%, drawn 2,000 times from the 300.
    """
    own = agent(1, algorithm="natural", **NATURAL | {"max_kl": 0.1})
    truth = []
    for first in range(300):
        part = StreamRange(77, "true_gradient", first, first + 1)
        step = sample_steps(own, QUADRATIC, SAMPLING, part, [64], rule_of(own))["displacement"][0]
        there = with_parameters(own, (flat_parameters(own) + step)[None]).unstack()[0]
        truth.append(float(linear_quadratic_return(there.policy_parameters)))
    expected = np.mean(truth) - float(linear_quadratic_return(own.policy_parameters))
    drawn = [mean_interval(eight) for eight in np.random.default_rng(0).choice(truth, (2000, 8))]
    assert 0.88 <= np.mean([one.low <= np.mean(truth) <= one.high for one in drawn]) <= 0.96
    inside = []
    for seed in range(60):
        found = trust_region(own, seed=seed, **SMALL | {"repeats": 8, "multiples": ()})
        gain = found.sel(multiple=1.0)
        inside.append(float(gain["mean_multiple_gain_low"]) <= expected <= float(gain["mean_multiple_gain_high"]))
    assert 0.87 <= np.mean(inside) <= 1.0


@pytest.mark.slow
def test_predicted_improvements_are_near_the_true_ones_for_short_steps_of_large_batches():
    own = agent(algorithm="natural", **NATURAL | {"max_kl": 1e-3})
    found = trust_region(own, step_pairs=64 * 200, **SMALL | {"return_pairs": 64 * 400, "pairs": 64 * 200})
    true, low, high = (found[f"average{end}"].sel(quantity="true_improvement").item() for end in ("", "_low", "_high"))
    for name in ("predicted_improvement", "surrogate_improvement", "surrogate_improvement_heldout"):
        promised, least, most = (float(found[f"average{end}"].sel(quantity=name)) for end in ("", "_low", "_high"))
        assert promised == pytest.approx(true, rel=0.1), name
        assert least < high, name
        assert low < most, name


def test_every_update_has_a_batch_and_held_out_pairs_of_its_own(found):
    held = SMALL["pairs"] // 64
    for repeat in range(SMALL["repeats"]):
        streams = (
            StreamRange(0, "trust region batch", repeat, repeat + 1),
            StreamRange(0, "trust region held out", repeat * held, (repeat + 1) * held),
        )
        alone = audit_step(agent(), QUADRATIC, (SAMPLING, SAMPLING), streams, rule_of(agent()), (1.0,), 0.2)
        here = found.isel(repeat=repeat).sel(multiple=1.0)["multiple_change"]
        np.testing.assert_array_equal(here, alone["multiple_change"][:, 0])


def test_what_others_find_again_is_of_the_unclipped_surrogate_over_all_updates(found):
    """Twin: the surrogate of standardized advantages at both ends of a step, and means over updates."""
    seen = audited(agent())
    rises = seen["multiple_surrogates"][:, 0, 1] - seen["base_surrogates"][:, 1]
    agents = Agent.stack([agent()])
    other = sample_batch(agents, QUADRATIC, SAMPLING, StreamRange(0, "others", 0, 4))
    end = torch.from_numpy(flat_parameters(agent()) + seen["displacement"]).float()[None]
    objective = Objective.of(replace(agents, normalize_advantages=True), other)
    exact = float(objective.surrogate(end) - objective.surrogate(objective.start(agents)))
    assert rises[1] == pytest.approx(exact, rel=1e-4)
    whole = found["mean_heldout_improvement_ratio"]
    over, under = (found[f"normalized_rise{pairs}"].values for pairs in ("_heldout", ""))
    assert float(whole) == pytest.approx(over.mean() / under.mean())
    np.testing.assert_array_equal(found["multiple_normalized_rise"].sel(multiple=1.0, pairs_of="heldout"), over)
    np.testing.assert_array_equal(found["stage_normalized_rise"].isel(stage=-1).sel(pairs_of="heldout"), over)


def test_agreement_along_the_update_is_the_share_of_multiples_that_move_the_same_way(found):
    climbed = int(found["surrogate_kind"])
    for kind, name in ((climbed, "surrogate"), (1, "normalized")):
        for pairs in ("batch", "heldout"):
            shares = []
            for repeat in range(found.sizes["repeat"]):
                same = []
                for multiple in found["multiple"].values:
                    at = {"repeat": repeat}
                    rise = float(found[f"multiple_{name}_rise"].isel(at).sel(pairs_of=pairs, multiple=multiple))
                    gain = float(found["multiple_gain"].isel(at).sel(multiple=multiple))
                    same.append((rise > 0) == (gain > 0))
                shares.append(np.mean(same))
            own = found["agreement_along_update"].sel(pairs_of=pairs).isel(surrogate_name=kind)
            assert float(own) == pytest.approx(np.mean(shares)), (name, pairs)
            low, high = (
                float(found[f"agreement_along_update_{end}"].sel(pairs_of=pairs).isel(surrogate_name=kind))
                for end in ("low", "high")
            )
            expected = mean_share(np.array(shares))
            assert (low, high) == pytest.approx((expected.low, expected.high))


def test_steps_that_are_all_halved_do_not_say_that_every_step_is():
    found = _average("step_fraction", np.full(3, 0.5), np.ones(3, bool))
    # three of three: others may be as many as 1 - 0.025^(1/3), and anything between 0 and 1
    alike = 0.025 ** (1 / 3)
    assert (found.low, found.value, found.high) == pytest.approx((0.5 * alike, 0.5, 1 - 0.5 * alike))


def test_updates_that_all_agree_do_not_say_that_every_update_does():
    # five updates, seven multiples: the reward rises along the first three, the surrogates along all
    base, rises = np.zeros((5, 2, 3)), np.ones((5, 2, 7, 3))
    stacked = {"base_surrogates": base, "multiple_surrogates": rises}
    gains, asked = np.ones((5, 7)), np.array([True, True, True, False, False])
    gains[3:] = np.nan
    found = _agreement(stacked, gains, asked)
    low, high = (found[f"agreement_along_update_{end}"] for end in ("low", "high"))
    # three of three: the exact interval's lower end is the p for which p^3 is 2.5%
    np.testing.assert_allclose(found["agreement_along_update"], 1.0)
    np.testing.assert_allclose(low, 0.025 ** (1 / 3))
    np.testing.assert_allclose(high, 1.0)
    gains[0, 0] = np.nan  # one that was asked for and has no number
    assert np.isnan(_agreement(stacked, gains, asked)["agreement_along_update"]).all()


def test_a_ratio_of_means_covers_and_is_blank_where_nothing_rises():
    draws = np.random.default_rng(0)
    inside = []
    for _ in range(1000):
        under = 1.0 + 0.1 * draws.standard_normal(6)
        one = ratio_of_means(0.3 * under + 0.2 * draws.standard_normal(6), under)
        inside.append(one.low <= 0.3 <= one.high)
    assert 0.925 <= np.mean(inside) <= 0.975
    assert np.isnan(ratio_of_means(np.ones(3), np.array([1.0, -2.0, 0.5])).value)
    assert np.isnan(ratio_of_means(np.ones(3), np.array([1.0, -0.5, -0.4])).value)
    assert np.isnan(ratio_of_means(np.array([np.inf, 1.0]), np.ones(2)).value)
    assert ratio_of_means(np.array([1.0, np.nan, 2.0]), np.array([2.0, 5.0, 2.0])).value == 0.75


def test_the_multiple_at_which_the_bound_is_met_lies_on_a_parabola():
    multiples = np.array([0.5, 1.0, 2.0])
    assert crossing(multiples, 0.01 * multiples**2, 0.02) == pytest.approx(2**0.5)
    assert np.isnan(crossing(multiples, 0.01 * multiples**2, 1.0))
    assert np.isnan(crossing(multiples, 0.01 * multiples**2, np.nan))


def test_the_best_multiple_counts_the_agent_itself():
    """Steps that only lose are best not taken."""
    uphill = agent(algorithm="natural", **NATURAL | {"max_kl": 8.0})
    found = trust_region(uphill, **SMALL | {"return_pairs": 64 * 10})
    assert float(found["mean_multiple_gain"].max()) < 0
    assert float(found["best_multiple"]) == 0.0


def test_no_mean_is_of_those_updates_alone_that_do_not_explode():
    request = SimpleNamespace(whole=1, multiples=np.array([0.5, 1.0, 2.0]))
    rule = SimpleNamespace(settings=None)
    gains = np.array([[1.0, 2.0, 9.0], [2.0, 3.0, np.nan], [3.0, 4.0, 9.0], [np.nan] * 3])
    asked = np.array([True, True, True, False])
    found = _rewards([(row, row - 1, row + 1) for row in gains], asked, request)
    assert found["unknown_gains"].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(found["mean_multiple_gain"], [2.0, 3.0, np.nan])
    assert float(found["fraction_worse"]) == 0.0
    found["update_norm"] = np.where(asked, 1.0, np.nan)
    found["multiple_change"] = found["multiple_surrogate_rise"] = np.repeat(gains[:, None], 2, axis=1)
    found["multiple_change"] = found["multiple_change"][:, :, None]
    best = _along(found, asked, rule, request)
    assert (best["best_multiple"], best["best_multiple_high"]) == (1.0, 1.0)
    np.testing.assert_array_equal(best["surrogate_best_multiple"], [1.0, 1.0])
    none = _rewards([(row, row, row) for row in np.full((2, 3), np.nan)], np.zeros(2, bool), request)
    assert none["unknown_gains"].tolist() == [0, 0, 0]


def test_numbers_do_not_depend_on_workers(found):
    again = trust_region(agent(), **SMALL | {"workers": 2})
    xr.testing.assert_identical(found.drop_attrs(), again.drop_attrs())


def test_an_agent_is_the_same_in_company(found):
    two = trust_region([agent(), agent(1)], **SMALL)
    for name in found.data_vars:
        np.testing.assert_array_equal(two[name].isel(agent=0).values, found[name].values, err_msg=str(name))


def test_the_whole_step_is_the_multiple_one(found):
    whole = found.sel(multiple=1.0)
    np.testing.assert_array_equal(whole["multiple_gain"], found["true_improvement"])
    at = whole["multiple_change"].sel(pairs_of="heldout", change="max_kl")
    np.testing.assert_array_equal(at, found["max_kl_heldout"])
    assert float(found["average"].sel(quantity="mean_kl_batch")) == pytest.approx(float(found["mean_kl_batch"].mean()))


def test_trpo_tells_of_its_line_search_and_its_conjugate_gradient():
    found = trust_region(agent(algorithm="trpo", max_kl=0.05), **SMALL)
    assert (found["mean_kl_batch"] <= 0.05 * 1.001).all()
    assert np.isin(found["step_fraction"].values, 0.5 ** np.arange(10)).all()
    whole = trust_region(agent(algorithm="trpo", max_kl=0.05, fisher_fraction=1.0), **SMALL)
    np.testing.assert_allclose(whole["quadratic_kl_own"], whole["quadratic_kl"], rtol=1e-3)
    assert "stage" not in found.dims
    assert float(found["kl_bound"]) == 0.05
    assert np.isnan(found["clip_epsilon"])
    assert {one["area"] for one in verdicts(found)} >= {
        "trust region",
        "line search",
        "natural gradient",
        "improvement",
    }


def test_mean_interval_is_students_t():
    values = np.array([1.0, 2.0, 4.0, np.nan, 3.5])
    low, high = stats.t.interval(0.95, 3, np.nanmean(values), np.nanstd(values, ddof=1) / 2)
    got = mean_interval(values)
    assert (got.value, got.low, got.high) == pytest.approx((np.nanmean(values), low, high))
    assert np.isnan(mean_interval(np.array([1.0, 2.0, np.inf])).value)
    assert np.isnan(mean_interval(np.array([1.0, 2.0])).low)
    assert np.isnan(mean_interval(np.array([np.nan])).value)


def test_constant_advantages_are_named():
    found = trust_region(bandit_agent(normalize_advantages=True), "environments:make_indifferent", **SMALL)
    assert int(found["constant_advantages"]) == SMALL["repeats"]
    assert any("no minibatch has two advantages that differ" in one["statement"] for one in verdicts(found))


def test_minibatches_of_one_pair_are_named_as_such():
    own = replace(bandit_agent(normalize_advantages=True), regime=Regime(n_envs=1, n_steps=32))
    found = trust_region(own, "environments:Bandit-v0", repeats=2, pairs=32, return_pairs=0, workers=1)
    assert int(found["constant_advantages"]) == 2
    assert any("Minibatches of one pair" in (one["advice"] or "") for one in verdicts(found))


def test_advantages_that_overflow_are_not_constant_ones():
    own = agent(**FEW_STEPS)
    audits = [audited(own, seed=seed) for seed in range(3)]
    stacked = {name: np.stack([audit[name] for audit in audits]) for name in audits[0]}
    stacked["advantage_deviation"] = np.array([np.nan, 1e39, 0.0])
    stacked["update_constant_minibatches"] = np.array([1e9, 0, 0])
    found = _algorithm(stacked, rule_of(own))
    assert (int(found["constant_advantages"]), int(found["overflown_advantages"])) == (1, 2)
    named = trust_region(own, **SMALL | {"repeats": 1})
    assert int(named["overflown_advantages"]) == 0
    named["overflown_advantages"] += 1
    assert "too large for a number" in verdicts(named)[0]["statement"]


def test_an_update_that_explodes_is_counted_and_the_others_go_on():
    found = trust_region(agent(**FEW_STEPS | {"policy_learning_rate": 1e39}), **SMALL)
    assert int(found["failed_updates"]) > 0
    assert np.isnan(found["true_improvement"]).sum() >= int(found["failed_updates"])
    first = verdicts(found)[0]
    assert first["level"] == "problem"
    assert "not finite" in first["statement"]
    json.dumps(summary(found), allow_nan=False)
    failed = np.isnan(found["update_norm"].values)
    for name in ("max_ratio", "clip_fraction", "max_ratio_heldout", "clip_fraction_heldout", "mean_kl_batch"):
        np.testing.assert_array_equal(np.isnan(found[name]), failed, err_msg=name)
    if failed.all():
        assert np.isnan(found["average"]).all()
        assert not any("ratios end outside" in one["statement"] for one in verdicts(found))


def test_multiples_that_explode_are_counted_and_named():
    far = trust_region(agent(**FEW_STEPS), **SMALL | {"multiples": (2.0, 1e39)})
    assert far["unknown_gains"].values.tolist() == [0, 0, SMALL["repeats"]]
    assert np.isfinite(far["best_multiple"])
    assert "4 at 1e+39" in tables_of(far)[1].caption
    said = [one for one in verdicts(far) if one["area"] == "true reward"]
    assert [(one["level"], "At 1e+39 times the step" in one["statement"]) for one in said] == [("watch", True)]
    json.dumps(summary(far), allow_nan=False)


@pytest.mark.parametrize("kind", ["Normal", "Laplace"])
def test_updates_that_the_users_policy_refuses_are_counted(kind):
    few = SMALL | {"repeats": 2, "pairs": 64, "return_pairs": 64}
    own = torch_agent(kind, regime=agent().regime, environment=agent().environment, gamma=1.0)
    own = replace(own, algorithm="ppo", algorithm_settings=FEW_STEPS | {"policy_learning_rate": 1e39})
    found = trust_region(own, **few | {"multiples": (1.0,)})
    assert int(found["failed_updates"]) == 2
    assert np.isnan(found["multiple_change"]).all()
    assert np.isnan(found["average"]).all()
    own = replace(own, algorithm="vanilla", algorithm_settings={"policy_learning_rate": 3e37, "optimizer": "sgd"})
    far = trust_region(own, **few | {"multiples": (4.0, 1e3)})
    assert np.isnan(far["multiple_gain"].sel(multiple=1e3)).all()
    assert np.isnan(far["multiple_change"].sel(multiple=1e3)).all()
    json.dumps(summary(far), allow_nan=False)


def test_infinite_ratios_are_counted_and_unknown_ones_are_not_zero():
    own = agent()
    agents, batch = batch_of(own)
    start = next(both(agents, batch)).start(agents)

    def outside(old: float) -> np.ndarray:
        log_probs = batch.log_probs.clone()
        log_probs.view(-1)[3] = old
        return policy_change(*both(agents, replace(batch, log_probs=log_probs)), start, start, 0.2).change

    where = CHANGES.index("max_ratio")
    infinite, unknown = outside(-1000.0), outside(math.nan)
    assert infinite[where] == math.inf
    assert infinite[where + 1] == pytest.approx(1 / batch.log_probs.numel())
    assert np.isnan(unknown[where : where + 2]).all()
    both_objectives = list(both(agents, batch))
    gone = policy_change(*both_objectives, start, start * math.inf, 0.2)
    assert np.isnan(gone.change).all()
    assert np.isnan(gone.surrogates).all()


@pytest.mark.parametrize("repeats", [1, 2])
def test_few_updates_are_never_said_to_be_nan(repeats):
    for own in (agent(**FEW_STEPS), agent(algorithm="trpo")):
        found = trust_region(own, **SMALL | {"repeats": repeats})
        assert all("nan" not in one["statement"] for one in verdicts(found))


def test_promises_do_not_depend_on_the_scale_of_rewards():
    """The natural gradient's step is as long whatever rewards are divided by; what it promises is true reward."""
    own = replace(agent(algorithm="natural", **NATURAL), normalize_advantages=False)
    plain, scaled = trust_region(own, **SMALL), trust_region(with_scaled_rewards(own, 5.0), **SMALL)
    np.testing.assert_allclose(scaled["update_norm"], plain["update_norm"], rtol=1e-3)
    for name in ("predicted_improvement", "surrogate_improvement", "surrogate_improvement_heldout"):
        np.testing.assert_allclose(scaled[name], plain[name], rtol=5e-3, err_msg=name)


def test_the_promise_of_a_bandit_is_exact():
    """The gradient of the expected reward is known; so is what the step brings, and rewards are divided by 7."""
    own = bandit_agent(algorithm="natural", algorithm_settings=NATURAL)
    own = with_scaled_rewards(own, 7.0)
    asked = SMALL | {"repeats": 2, "pairs": 64 * 100, "return_pairs": 64, "multiples": ()}
    found = trust_region(own, step_pairs=64 * 100, **asked)
    for repeat in range(2):
        part = StreamRange(0, "trust region batch", repeat * 100, (repeat + 1) * 100)
        step = sample_steps(own, EnvironmentSpec("environments:make_bandit"), SAMPLING, part, [6400], rule_of(own))
        there = with_parameters(own, (flat_parameters(own) + step["displacement"][0])[None]).unstack()[0]
        exact = expected_reward(there) - expected_reward(own)
        slope = float(bandit_gradient(own) @ step["displacement"][0])
        here = found.isel(repeat=repeat)
        assert float(here["surrogate_improvement_heldout"]) == pytest.approx(exact, rel=0.2)
        assert float(here["predicted_improvement_heldout"]) == pytest.approx(slope, rel=0.2)


def test_a_step_that_overflows_ratios_is_named():
    found = trust_region(agent(algorithm="vanilla", optimizer="sgd", policy_learning_rate=1e6), **SMALL)
    assert any(one["area"] == "overflow" for one in verdicts(found))
    json.dumps(summary(found), allow_nan=False)


def test_a_collapsed_deviation_is_named():
    own = agent(**FEW_STEPS)
    state = dict(own.state) | {"policy.log_std": torch.full((2,), -20.0)}
    found = trust_region(replace(own, state=state), **SMALL)
    assert float(found["action_std"]) == pytest.approx(math.exp(-20), rel=1e-3)
    assert any(one["area"] == "exploration" and one["level"] == "problem" for one in verdicts(found))


def test_exploration_is_told_beside_the_range_of_actions():
    agents, batch = batch_of(agent())
    plain, _ = both(agents, batch)
    start = plain.start(agents)
    np.testing.assert_allclose(smallest_deviations(plain, start), agent().state["policy.log_std"].exp(), rtol=1e-6)
    assert np.isnan(entropy_share(plain, start))
    stacked = {"action_deviations": np.array([[0.5, 0.02], [0.4, 0.03]]), "entropy_share": np.array([np.nan, np.nan])}
    space = {"type": "Box", "low": [-1.0, -0.1], "high": [1.0, 0.1]}
    found = _exploration(agent(), stacked, space)
    assert (float(found["action_std"]), float(found["action_std_share"])) == (0.02, pytest.approx(0.1))
    squashed = _exploration(replace(agent(), action_transform="squash"), stacked, space)
    assert float(squashed["action_std_share"]) == pytest.approx(0.01)
    assert np.isnan(_exploration(agent(), stacked, space | {"high": [np.inf, 0.1]})["action_std_share"])


def test_exploration_by_discrete_actions_is_told_beside_the_largest_entropy():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.98, 0.01, 0.01]])
    part = SimpleNamespace(distribution=lambda vector: Categorical(torch.from_numpy(np.log(probabilities))[None]))
    objective = SimpleNamespace(parts=lambda: [part, part])
    assert entropy_share(objective, torch.zeros(1)) == pytest.approx(stats.entropy(probabilities.T).mean() / np.log(3))
    assert np.isnan(smallest_deviations(objective, torch.zeros(1))).all()


def test_pairs_in_which_no_episode_may_begin_still_tell_what_one_earns():
    """Episodes of 500 steps, and 64 pairs from anywhere in them: a stream begins at a reset instead."""
    own = replace(endless_quadratic_agent(regime=Regime(1, 64, reset_each_iteration=False)), normalize_advantages=True)
    limited = EnvironmentSpec("environments:make_limited_quadratic")
    found = trust_region(own, limited, repeats=2, pairs=64, return_pairs=64, multiples=(), workers=1)
    assert (found["return_episodes"].values == 1).all()
    assert (found["mean_episode_length"].values == 500).all()
    assert np.isfinite(found["true_improvement"]).all()
    assert not [one for one in verdicts(found) if one["area"] == "true reward"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"repeats": 0}, "repeats must be from 1 to 1,000"),
        ({"pairs": 1}, "pairs must be at least 2"),
        ({"return_pairs": -1}, "return-pairs must be at least 0"),
        ({"multiples": (0.0,)}, "multiples must be positive"),
        ({"multiples": (float("nan"),)}, "multiples must be positive"),
        ({"step_pairs": 1}, "step-pairs must be from 2 to 2,000,000"),
        ({"algorithm": "sac"}, "algo cannot be 'sac'"),
    ],
)
def test_wishes_that_mean_nothing(wish, words):
    with pytest.raises(InputError, match=words):
        trust_region(agent(), **SMALL | wish)


def test_true_rewards_may_be_left_out_and_figures_drawn_all_the_same(tmp_path, found):
    bare = trust_region(agent(algorithm="trpo"), **SMALL | {"return_pairs": 0, "repeats": 1})
    assert np.isnan(bare["true_improvement"]).all()
    for number, dataset in enumerate((bare, found)):
        files = save_figure(plot_trust_region(dataset), tmp_path / str(number), dpi=100)
        assert all(file.stat().st_size > 10_000 for file in files)
    json.dumps(summary(bare), allow_nan=False)
