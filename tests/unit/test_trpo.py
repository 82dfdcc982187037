"""TRPO and the natural and plain gradients on the population axis against an obvious single-agent update."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from batches import ACTIONS, HIDDEN, OBSERVATIONS, make_agent, make_batch, members
from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP
from closerlook.agents.trial import try_out
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.critic import fit_critic
from closerlook.algorithms.natural import NaturalSettings, backtrack, fisher_states, full_step, natural_update
from closerlook.algorithms.objective import Objective
from closerlook.algorithms.trpo import TRPOSettings, trpo_update
from closerlook.algorithms.vanilla import VanillaSettings, vanilla_update
from closerlook.errors import InputError
from closerlook.nn.curvature import kl_fisher, quadratic_kl

SEEDS = [11, 22, 33]
HARD = [(0.02, 0.1), (0.5, 0.1), (10.0, 0.9)]
QUICK = TRPOSettings(value_epochs=1, minibatches=4, fisher_fraction=0.3, cg_tolerance=0.0)
UPDATES = {
    "trpo": (trpo_update, QUICK),
    "natural": (natural_update, NaturalSettings(value_epochs=1, minibatches=4, fisher_fraction=0.3)),
    "adam": (vanilla_update, VanillaSettings(value_epochs=1, minibatches=4)),
    "sgd": (vanilla_update, VanillaSettings(value_epochs=1, minibatches=4, optimizer="sgd")),
}


class Twin:
    """One agent as plain modules in double precision, and TRPO as a textbook has it."""

    def __init__(self, agent: Agent) -> None:
        self.discrete = isinstance(agent.policy, CategoricalMLP)
        sizes = (OBSERVATIONS, *HIDDEN, ACTIONS)
        layers: list[nn.Module] = []
        for i in range(3):
            linear = nn.Linear(sizes[i], sizes[i + 1]).double()
            linear.weight.data = agent.state[f"policy.{i}.weight"].double()
            linear.bias.data = agent.state[f"policy.{i}.bias"].double()
            layers += [linear, nn.Tanh()]
        self.net = nn.Sequential(*layers[:-1])
        self.parameters = list(self.net.parameters())
        if not self.discrete:
            self.log_std = nn.Parameter(agent.state["policy.log_std"].double())
            self.parameters.append(self.log_std)

    def distribution(self, observations: torch.Tensor) -> torch.distributions.Distribution:
        if self.discrete:
            return torch.distributions.Categorical(logits=self.net(observations))
        normal = torch.distributions.Normal(self.net(observations), self.log_std.exp())
        return torch.distributions.Independent(normal, 1)

    def take(self, batch: Batch, normalize: bool = True) -> None:
        """Keep a batch of one, flat and in double precision."""
        self.observations = batch.observations[0].flatten(0, 1).double()
        self.actions = batch.actions[0].flatten(0, 1)
        self.old_log_probs = batch.log_probs[0].flatten().double()
        advantages = batch.advantages[0].flatten().double()
        self.advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8) if normalize else advantages

    def surrogate(self) -> torch.Tensor:
        ratio = (self.distribution(self.observations).log_prob(self.actions) - self.old_log_probs).exp()
        return (ratio * self.advantages).mean()

    def gradient(self, value: torch.Tensor, **how) -> torch.Tensor:
        return torch.cat([part.reshape(-1) for part in torch.autograd.grad(value, self.parameters, **how)])

    def flat(self) -> torch.Tensor:
        return nn.utils.parameters_to_vector(self.parameters).detach()

    def assign(self, vector: torch.Tensor) -> None:
        nn.utils.vector_to_parameters(vector, self.parameters)

    def direction(self, settings: NaturalSettings, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradient and the step to the edge of the trust region."""
        gradient = self.gradient(self.surrogate())
        moving = self.distribution(states)
        fixed = self.frozen(moving)
        slope = self.gradient(torch.distributions.kl_divergence(fixed, moving).mean(), create_graph=True)

        def product(v: torch.Tensor) -> torch.Tensor:
            return self.gradient(slope @ v, retain_graph=True) + settings.damping * v

        x, r, p = torch.zeros_like(gradient), gradient.clone(), gradient.clone()
        for _ in range(settings.cg_steps):
            image = product(p)
            length = (r @ r) / (p @ image)
            x, new = x + length * p, r - length * image
            p, r = new + (new @ new) / (r @ r) * p, new
        return gradient, (2 * settings.max_kl / (x @ product(x))).sqrt() * x

    def frozen(self, moving: torch.distributions.Distribution) -> torch.distributions.Distribution:
        if self.discrete:
            return torch.distributions.Categorical(logits=moving.logits.detach())
        normal = torch.distributions.Normal(moving.base_dist.loc.detach(), moving.base_dist.scale.detach())
        return torch.distributions.Independent(normal, 1)

    def trpo(self, settings: TRPOSettings, states: torch.Tensor) -> dict[str, float]:
        """Take the step; return what happened."""
        gradient, step = self.direction(settings, states)
        start, before = self.flat(), self.surrogate().item()
        old = self.frozen(self.distribution(self.observations))
        with torch.no_grad():
            for k in range(settings.backtracks):
                fraction = 0.5**k
                self.assign(start + fraction * step)
                gain = self.surrogate().item() - before
                kl = torch.distributions.kl_divergence(old, self.distribution(self.observations))
                expected = fraction * (gradient @ step).item()
                if kl.mean() <= settings.max_kl and gain > 0 and gain / expected > settings.accept_ratio:
                    return {
                        "step_fraction": fraction,
                        "surrogate_improvement": gain,
                        "predicted_improvement": expected,
                        "mean_kl": kl.mean().item(),
                        "max_kl": kl.max().item(),
                    }
        self.assign(start)
        return {"step_fraction": 0.0, "surrogate_improvement": 0.0, "predicted_improvement": 0.0, "mean_kl": 0.0}


def population(**how) -> tuple[Agent, Batch]:
    agents = Agent.stack([make_agent(seed, **how) for seed in SEEDS])
    return agents, make_batch(agents)


def flat_policy(agent: Agent) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in agent.policy_parameters.values()]).double()


def twins_of(agents: Agent, batch: Batch, settings: NaturalSettings, iteration: int, normalize: bool = True):
    for i, agent in enumerate(agents.unstack()):
        twin, own = Twin(agent), members(batch, [i])
        twin.take(own, normalize)
        states = fisher_states(own.observations.flatten(1, 2), settings.fisher_fraction, [SEEDS[i]], iteration)
        yield i, twin, states[0].double()


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize(("max_kl", "accept_ratio"), HARD)
@pytest.mark.parametrize("normalize", [True, False])
def test_trpo_equals_its_twin(discrete, max_kl, accept_ratio, normalize):
    """Wide bounds make the models poor, and then the line search has to work."""
    agents, batch = population(discrete=discrete)
    agents = replace(agents, normalize_advantages=normalize)
    settings = replace(QUICK, max_kl=max_kl, accept_ratio=accept_ratio)
    updated, info = trpo_update(agents, batch, settings, seeds=SEEDS, iteration=4)
    for i, twin, states in twins_of(agents, batch, settings, 4, normalize):
        for name, expected in twin.trpo(settings, states).items():
            np.testing.assert_allclose(getattr(info, name)[i], expected, rtol=1e-4, atol=1e-5, err_msg=name)
        torch.testing.assert_close(flat_policy(updated.unstack()[i]), twin.flat(), rtol=0, atol=1e-5)
    assert (info.update_norm > 0.01).all()


def test_the_line_search_is_exercised_above():
    agents, batch = population()
    infos = [
        trpo_update(agents, batch, replace(QUICK, max_kl=kl, accept_ratio=ratio), seeds=SEEDS, iteration=4)[1]
        for kl, ratio in HARD
    ]
    assert len(np.unique([info.step_fraction for info in infos])) >= 4


def test_natural_gradient_equals_its_twin():
    agents, batch = population()
    settings = replace(UPDATES["natural"][1], max_kl=0.5, cg_tolerance=0.0)
    updated, info = natural_update(agents, batch, settings, seeds=SEEDS, iteration=1)
    for i, twin, states in twins_of(agents, batch, settings, 1):
        _, step = twin.direction(settings, states)
        torch.testing.assert_close(flat_policy(updated.unstack()[i]), twin.flat() + step, rtol=0, atol=1e-5)
    assert info.step_fraction.tolist() == [1.0, 1.0, 1.0]
    assert (info.mean_kl > 0.1).all()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_plain_gradient_equals_its_twin(optimizer):
    """Two updates in a row, so that Adam's moments are carried over."""
    agents, batch = population()
    settings = VanillaSettings(value_epochs=1, minibatches=4, optimizer=optimizer, policy_learning_rate=0.01)
    once, info = vanilla_update(agents, batch, settings, seeds=SEEDS, iteration=0)
    twice, _ = vanilla_update(once, batch, settings, seeds=SEEDS, iteration=1)
    for i, twin, _ in twins_of(agents, batch, QUICK, 0):
        kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
        descent = kind(twin.parameters, lr=0.01, **({"eps": 1e-5} if optimizer == "adam" else {}))
        for expected in (once, twice):
            descent.zero_grad()
            (-twin.surrogate()).backward()
            descent.step()
            torch.testing.assert_close(flat_policy(expected.unstack()[i]), twin.flat(), rtol=0, atol=1e-5)
    assert (info.surrogate_improvement > 0).all()
    if optimizer == "sgd":
        np.testing.assert_allclose(info.predicted_improvement, 0.01 * info.gradient_norm**2, rtol=1e-3)


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("discrete", [False, True])
def test_a_member_does_not_depend_on_the_others(name, discrete):
    """To the last bit, with one member that needs a long line search and one that can take no step."""
    update, settings = UPDATES[name]
    agents, batch = population(discrete=discrete)
    batch.advantages[1] = 2.5
    together, info = update(agents, batch, settings, seeds=SEEDS, iteration=2)
    for i, agent in enumerate(agents.unstack()):
        alone, own = update(Agent.stack([agent]), members(batch, [i]), settings, seeds=[SEEDS[i]], iteration=2)
        for key, tensor in alone.state.items():
            assert torch.equal(tensor[0], together.state[key][i]), key
        for key in ("mean_kl", "gradient_norm", "surrogate_improvement", "update_norm"):
            assert own.columns()[key][0] == info.columns()[key][i], key


@pytest.mark.parametrize("name", UPDATES)
def test_the_critic_is_fitted_as_everywhere(name):
    update, settings = UPDATES[name]
    agents, batch = population()
    updated, _ = update(agents, batch, settings, seeds=SEEDS, iteration=3)
    rate = settings.value_learning_rate
    fitted = fit_critic(agents, batch, settings, rate=rate, seeds=SEEDS, iteration=3)
    assert all(torch.equal(updated.state[key], fitted.state[key]) for key in fitted.state if "value" in key)
    bare, own = population(critic=False)
    assert np.isnan(update(bare, own, settings, seeds=SEEDS, iteration=3)[1].value_loss).all()


def test_a_failing_line_search_restores():
    """An improvement ten times the predicted one is never reached; a member's failure is its own."""
    agents, batch = population()
    updated, info = trpo_update(agents, batch, replace(QUICK, accept_ratio=10.0), seeds=SEEDS, iteration=0)
    for key in agents.policy_parameters:
        assert torch.equal(updated.policy_parameters[key], agents.policy_parameters[key])
    assert info.line_search_failed.tolist() == [1, 1, 1]
    for name in ("step_fraction", "update_norm", "surrogate_improvement", "predicted_improvement", "mean_kl", "max_kl"):
        assert (np.abs(getattr(info, name)) < 1e-6).all(), name
    assert (info.gradient_norm > 0).all()
    assert (info.unusable_gradient == 0).all()


def test_one_try_of_a_step_that_is_too_long_fails():
    agents, batch = population()
    _, info = trpo_update(agents, batch, replace(QUICK, max_kl=10.0, backtracks=1), seeds=SEEDS, iteration=4)
    _, long = trpo_update(agents, batch, replace(QUICK, max_kl=10.0), seeds=SEEDS, iteration=4)
    assert (info.line_search_failed == (long.step_fraction < 1)).all()
    assert info.line_search_failed.any()
    assert not long.line_search_failed.any()


@pytest.mark.parametrize("name", UPDATES)
def test_advantages_that_are_all_equal_ask_for_no_step(name):
    update, settings = UPDATES[name]
    agents, batch = population()
    batch.advantages[1] = -3.0
    updated, info = update(agents, batch, settings, seeds=SEEDS, iteration=0)
    assert info.constant_minibatches.tolist() == [0, 1, 0]
    assert info.update_norm[1] == 0.0
    assert (info.update_norm[[0, 2]] > 0).all()
    for key, tensor in agents.policy_parameters.items():
        assert torch.equal(updated.policy_parameters[key][1], tensor[1])
    finite = {key: value for key, value in info.columns().items() if key not in ("clip_fraction",)}
    assert all(np.isfinite(value).all() for value in finite.values())


def test_a_kl_that_overflows_is_refused():
    """A bound so wide that the full steps leave float32; the search comes back to where numbers are finite."""
    agents, batch = population()
    settings = replace(QUICK, max_kl=1e12, backtracks=60)
    updated, info = trpo_update(agents, batch, settings, seeds=SEEDS, iteration=0)
    assert all(torch.isfinite(tensor).all() for tensor in updated.state.values())
    assert np.isfinite(info.mean_kl).all()
    assert (info.step_fraction < 1e-3).all()
    _, info = trpo_update(agents, batch, replace(settings, backtracks=2), seeds=SEEDS, iteration=0)
    assert info.line_search_failed.tolist() == [1, 1, 1]
    natural = replace(UPDATES["natural"][1], max_kl=1e12)
    updated, info = natural_update(agents, batch, natural, seeds=SEEDS, iteration=0)
    assert info.line_search_failed.tolist() == [1, 1, 1]
    assert all(torch.isfinite(tensor).all() for tensor in updated.state.values())


def test_a_parameter_that_overflows_is_refused_even_where_nothing_shows_it():
    """An infinite bias below a tanh leaves every output finite."""
    agents, batch = population()
    objective = Objective.of(agents, batch)
    start = objective.start(agents)
    full = full_step(objective, start, QUICK, seeds=SEEDS, iteration=0)
    vector = torch.zeros_like(full.vector)
    vector[:, OBSERVATIONS * HIDDEN[0]] = torch.tensor([1.0, 1e39, 2.0])
    taken = backtrack(objective, start, replace(full, vector=vector), lambda gain, *_: torch.isfinite(gain), tries=1)
    assert taken.fraction.tolist() == [1.0, 0.0, 1.0]
    assert torch.equal(taken.vector[1], start[1])
    _, info = trpo_update(agents, batch, replace(QUICK, max_kl=1e308), seeds=SEEDS, iteration=0)
    assert info.unusable_gradient.tolist() == [1, 1, 1]
    assert (info.update_norm == 0).all()


@pytest.mark.parametrize("name", UPDATES)
def test_a_gradient_that_is_not_finite_is_not_used(name):
    """An old log probability of minus infinity makes the ratio infinite."""
    update, settings = UPDATES[name]
    agents, batch = population()
    batch.log_probs[2, 0, 0] = -torch.inf
    updated, info = update(agents, batch, settings, seeds=SEEDS, iteration=0)
    assert info.unusable_gradient.tolist() == [0, 0, 1]
    assert info.update_norm[2] == 0.0
    assert (info.update_norm[:2] > 0).all()
    assert all(torch.isfinite(tensor).all() for tensor in updated.state.values())


def test_a_collapsed_deviation_does_no_harm():
    agents, _ = population()
    agents.state["policy.log_std"][0] = -60.0
    updated, info = trpo_update(agents, make_batch(agents), QUICK, seeds=SEEDS, iteration=0)
    assert info.unusable_gradient.tolist() == [1, 0, 0]
    assert info.update_norm[0] == 0
    assert all(torch.isfinite(tensor).all() for tensor in updated.state.values())


def test_what_is_predicted_holds_for_small_steps():
    agents, batch = population()
    settings = replace(QUICK, max_kl=1e-5, fisher_fraction=1.0, damping=0.0, cg_steps=60)
    _, info = trpo_update(agents, batch, settings, seeds=SEEDS, iteration=0)
    np.testing.assert_allclose(info.surrogate_improvement, info.predicted_improvement, rtol=0.02)
    np.testing.assert_allclose(info.quadratic_kl, 1e-5 * info.step_fraction**2, rtol=1e-4)
    np.testing.assert_allclose(info.mean_kl, info.quadratic_kl, rtol=0.05)
    assert (info.cg_residual < 0.1).all()


def test_the_quadratic_model_leaves_damping_out():
    agents, batch = population()
    settings = replace(QUICK, damping=0.5)
    updated, info = trpo_update(agents, batch, settings, seeds=SEEDS, iteration=0)
    objective = Objective.of(agents, batch)
    start = objective.start(agents)
    states = fisher_states(objective.observations, settings.fisher_fraction, SEEDS, 0)
    product = kl_fisher(agents.policy, objective.named(start), states)
    expected = quadratic_kl(product, objective.start(updated).double() - start.double())
    np.testing.assert_allclose(info.quadratic_kl, expected, rtol=1e-4)
    assert (info.quadratic_kl < settings.max_kl * info.step_fraction**2).all()


def test_states_of_the_fisher_matrix_are_keyed_and_distinct():
    observations = torch.arange(40.0).reshape(1, 40, 1).expand(2, 40, 1)
    chosen = fisher_states(observations, 0.26, [1, 2], 5)[..., 0]
    assert chosen.shape == (2, 10)
    assert all(len(row.unique()) == 10 for row in chosen)
    assert not torch.equal(chosen[0], chosen[1])
    assert torch.equal(fisher_states(observations[:1], 0.26, [2], 5)[0, :, 0], chosen[1])
    assert not torch.equal(fisher_states(observations[:1], 0.26, [2], 6)[0, :, 0], chosen[1])
    assert fisher_states(observations, 0.001, [1, 2], 5).shape == (2, 1, 1)
    assert torch.equal(fisher_states(observations, 1.0, [1, 2], 5), observations)


def test_any_module_is_updated():
    """A Gaussian whose deviation depends on the state: products by autograd, each member alone or together."""
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).standard_normal((4, OBSERVATIONS)).astype(np.float32)
    singles = [
        try_out(Agent.from_torch(nn.Linear(OBSERVATIONS, 2 * ACTIONS), distribution=spread), inputs, "a test's")
        for _ in range(2)
    ]
    agents = Agent.stack(singles)
    batch = make_batch(agents)
    updated, info = trpo_update(agents, batch, QUICK, seeds=SEEDS[:2], iteration=0)
    assert (info.surrogate_improvement > 0).all()
    for i, agent in enumerate(singles):
        alone, _ = trpo_update(Agent.stack([agent]), members(batch, [i]), QUICK, seeds=[SEEDS[i]], iteration=0)
        torch.testing.assert_close(flat_policy(alone.unstack()[0]), flat_policy(updated.unstack()[i]))


def spread(outputs: torch.Tensor) -> torch.distributions.Distribution:
    mean, raw = outputs.chunk(2, dim=-1)
    return torch.distributions.Independent(torch.distributions.Normal(mean, 0.1 + nn.functional.softplus(raw)), 1)


def test_a_distribution_without_a_kl_is_named():
    def unusual(outputs: torch.Tensor) -> torch.distributions.Distribution:
        return torch.distributions.StudentT(5.0, outputs)

    agents = Agent.stack([Agent.from_torch(nn.Linear(OBSERVATIONS, 1), distribution=unusual)])
    shape = (1, 1, 20)
    zeros = torch.zeros(shape)
    batch = Batch(
        torch.randn(*shape, OBSERVATIONS), torch.randn(*shape, 1), zeros, zeros, torch.randn(shape), zeros, zeros
    )
    with pytest.raises(InputError, match="KL"):
        trpo_update(agents, batch, QUICK, seeds=[1], iteration=0)
    _, info = vanilla_update(agents, batch, VanillaSettings(), seeds=[1], iteration=0)
    assert np.isnan(info.mean_kl).all()
    assert info.update_norm[0] > 0


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (TRPOSettings, {"max_kl": 0.0}),
        (TRPOSettings, {"max_kl": float("nan")}),
        (TRPOSettings, {"max_kl": float("inf")}),
        (TRPOSettings, {"fisher_fraction": 1.5}),
        (TRPOSettings, {"cg_steps": 0}),
        (TRPOSettings, {"damping": -0.1}),
        (TRPOSettings, {"backtracks": 0}),
        (TRPOSettings, {"accept_ratio": -1.0}),
        (TRPOSettings, {"minibatches": 0}),
        (VanillaSettings, {"policy_learning_rate": -1.0}),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, change):
    with pytest.raises(InputError, match=next(iter(change))):
        settings(**change)


def test_every_setting_has_a_default_from_table_1():
    assert dataclasses.asdict(TRPOSettings()) == {
        "value_learning_rate": 3e-4,
        "value_epochs": 10,
        "minibatches": 32,
        "value_clip": None,
        "adam_epsilon": 1e-5,
        "max_kl": 0.04,
        "fisher_fraction": 0.1,
        "cg_steps": 10,
        "cg_tolerance": 1e-6,
        "damping": 0.1,
        "backtracks": 10,
        "accept_ratio": 0.1,
    }
