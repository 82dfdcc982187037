"""Agents: any torch module, populations, what acts and what is differentiated agree."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent, Regime, moments
from closerlook.agents.normalization import Scaling
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, MLPValue
from closerlook.agents.rewards import reward_unit
from closerlook.agents.trial import try_out
from closerlook.algorithms.rules import assumptions
from closerlook.errors import InputError
from closerlook.nn.distributions import DiagonalGaussian
from closerlook.nn.networks import MLP
from closerlook.randomness import generator


def normal(outputs):
    return torch.distributions.Normal(outputs, 0.7)


def gaussian_agent(seed: int = 0) -> Agent:
    policy, value = GaussianMLP(MLP((4, 16, 2))), MLPValue(MLP((4, 16, 1)))
    parts = {
        "policy": policy.initialize(generator(seed, "policy"), "orthogonal"),
        "value": value.initialize(generator(seed, "value"), "orthogonal"),
    }
    return Agent(policy, value, state={}).with_state(parts)


def test_stack_and_unstack_are_inverse():
    agents = [gaussian_agent(seed) for seed in range(3)]
    population = Agent.stack(agents)
    assert population.population == 3
    assert population.policy_parameters["0.weight"].shape == (3, 16, 4)
    for one, back in zip(agents, population.unstack(), strict=True):
        assert back.population is None
        assert all(torch.equal(one.state[name], back.state[name]) for name in one.state)


def test_what_acts_is_what_is_differentiated():
    """With zero noise a Gaussian actor returns the mean; with noise, mean + std * noise."""
    population = Agent.stack([gaussian_agent(seed) for seed in range(2)])
    source = np.random.default_rng(0)
    observations = source.standard_normal((2, 5, 4)).astype(np.float32)
    noise = source.standard_normal((2, 5, 2))
    actions = population.policy.actor(population.policy_parameters)(observations, noise)
    distribution = population.policy.distribution(population.policy_parameters, torch.from_numpy(observations))
    np.testing.assert_allclose(actions, distribution.sample(torch.from_numpy(noise).float()).numpy(), atol=1e-6)
    assert actions.dtype == np.float32


def test_a_categorical_actor_follows_its_probabilities():
    policy = CategoricalMLP(MLP((3, 8, 4)))
    parameters = {
        name: tensor[None]
        for name, tensor in policy.network.initialize(generator(0, "x"), "orthogonal", output_gain=1.0).items()
    }
    observations = np.tile(np.array([0.3, -1.0, 0.5], np.float32), (1, 20_000, 1))
    noise = np.random.default_rng(0).random((1, 20_000, 1))
    actions = policy.actor(parameters)(observations, noise)
    expected = policy.distribution(parameters, torch.from_numpy(observations[:, :1])).log_probs.exp()[0, 0].numpy()
    np.testing.assert_allclose(np.bincount(actions[0], minlength=4) / 20_000, expected, atol=0.015)


class Branching(torch.nn.Module):
    """A module that vmap cannot batch: what it does depends on its data."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, observations):
        return self.linear(observations) * (2.0 if observations.sum().item() > 0 else 1.0)


@pytest.mark.parametrize("make", [lambda: torch.nn.Linear(3, 2), Branching])
def test_a_population_of_any_module_equals_its_members(make):
    agents = [Agent.from_torch(make(), distribution=normal) for _ in range(3)]
    population = Agent.stack(agents)
    observations = torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(0))
    together = population.policy.distribution(population.policy_parameters, observations)
    for i, agent in enumerate(agents):
        alone = agents[0].policy.distribution(agent.policy_parameters, observations[i])
        torch.testing.assert_close(together.mean[i], alone.mean)


def test_module_rows_do_not_depend_on_their_companions():
    module = torch.nn.Sequential(torch.nn.Linear(3, 50), torch.nn.Tanh(), torch.nn.Linear(50, 2))
    agent = Agent.stack([Agent.from_torch(module, distribution=normal)])
    source = np.random.default_rng(0)
    observations, noise = source.standard_normal((1, 70, 3)).astype(np.float32), source.standard_normal((1, 70, 2))
    actor = agent.policy.actor(agent.policy_parameters)
    together = actor(observations, noise)
    for rows in (slice(0, 1), slice(16, 19), slice(48, 70)):
        np.testing.assert_array_equal(actor(observations[:, rows], noise[:, rows]), together[:, rows])


def test_given_statistics_are_frozen_and_exact():
    mean, variance = np.array([1.0, -2.0, 0.5]), np.array([4.0, 0.25, 1.0])
    agent = Agent.from_torch(
        torch.nn.Linear(3, 2), distribution=normal, observation_mean=mean, observation_var=variance
    )
    found = moments(Agent.stack([agent]), "observations")
    np.testing.assert_allclose(found.mean[0], mean, rtol=1e-12)
    np.testing.assert_allclose(found.variance[0], variance, rtol=1e-12)
    assert agent.observation_scaling == Scaling()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation_mean": [0.0, 0.0, 0.0]}, "give both or neither"),
        ({"observation_mean": [0.0], "observation_var": [1.0], "observation_size": 3}, "the agent has 3"),
        ({"observation_mean": [0.0] * 3, "observation_var": [1.0, -1.0, 1.0]}, "negative"),
        ({"reward_var": -1.0}, "reward_var is not finite, or a variance is negative"),
        ({"reward_var": [1.0, 2.0]}, "the agent has 1"),
        ({"reward_scaling": Scaling()}, "reward_var"),
    ],
)
def test_bad_statistics_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Agent.from_torch(torch.nn.Linear(3, 2), distribution=normal, **arguments)


def test_rewards_are_divided_by_the_root_of_the_given_variance():
    agent = Agent.from_torch(torch.nn.Linear(3, 2), distribution=normal, reward_var=4.0)
    assert reward_unit(agent) == pytest.approx(2.0, rel=1e-7)
    assert agent.reward_scaling == Scaling()
    given = Scaling(epsilon=5.0, epsilon_on="variance", clip=10.0)
    other = Agent.from_torch(torch.nn.Linear(3, 2), distribution=normal, reward_var=4.0, reward_scaling=given)
    assert reward_unit(other) == pytest.approx(3.0, rel=1e-12)


def test_what_torch_modules_do_not_say_is_told():
    bare = assumptions(Agent.from_torch(torch.nn.Linear(3, 2), distribution=normal, gamma=0.9))
    assert bare["gae_lambda"] == "0.95"
    assert "gamma" not in bare
    assert bare["regime"] == "batches of 1 x 2048 steps from resets"
    assert "PPO" in bare["updates"]
    fields = {"gamma": 0.9, "gae_lambda": 0.9, "normalize_advantages": True, "bootstrap": "correct"}
    fields |= {"value_target": "gae", "action_transform": "clip", "regime": Regime(), "algorithm": "ppo"}
    whole = Agent.from_torch(torch.nn.Linear(3, 2), distribution=normal, reward_var=1.0, **fields)
    assert assumptions(whole) == {}
    assert list(assumptions(replace(whole, algorithm="a2c"))) == ["updates"]


def test_the_given_module_is_not_touched():
    module = torch.nn.Linear(3, 2).train()
    agent = Agent.from_torch(module, distribution=normal)
    agent.policy_parameters["weight"].add_(1.0)
    assert module.training
    assert not torch.equal(module.weight, agent.policy_parameters["weight"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"action_transform": "clipped"}, "action_transform of the agent is 'clipped'; choose from none, clip, squash"),
        ({"bootstrap": "wrong"}, "bootstrap of the agent is 'wrong'"),
        ({"value_target": "td"}, "value_target of the agent is 'td'"),
        ({"gamma": 1.5}, r"gamma of the agent must be from 0 to 1 \(got 1\.5\)"),
        ({"gae_lambda": float("nan")}, "gae_lambda of the agent must be from 0 to 1"),
        ({"environment": "Hopper-v5"}, r"environment of the agent is a str; name it by closerlook\.EnvironmentSpec"),
        ({"reward_scaling": Scaling()}, "rewards of the agent are scaled, and its state has no moments of returns"),
        ({"observation_scaling": Scaling()}, "observation_scaling is given without the statistics"),
    ],
)
def test_fields_that_mean_nothing_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        Agent.from_torch(torch.nn.Linear(3, 2), distribution=normal, **fields)


@pytest.mark.parametrize("sizes", [(0, 64), (1, 64.0), (1, -1)])
def test_a_regime_of_no_pairs_is_refused(sizes):
    with pytest.raises(InputError, match="of the regime must be"):
        Regime(*sizes)


class Answers(torch.nn.Module):
    """Answers what it is told to, of a mean and a deviation that no state changes."""

    def __init__(self, answer):
        super().__init__()
        self.linear, self.log_std = torch.nn.Linear(3, 2), torch.nn.Parameter(torch.tensor([-0.5, 0.3]))
        self.answer = answer

    def forward(self, observations):
        return self.answer(self.linear(observations), self.log_std)


SHARED = {
    "vector": lambda mean, log_std: (mean, log_std),
    "row": lambda mean, log_std: (mean, log_std[None]),
    "one": lambda mean, log_std: (mean, log_std[:1]),
    "number": lambda mean, log_std: (mean, log_std[0]),
    "rows": lambda mean, log_std: (mean, log_std.expand_as(mean)),
    "within": lambda mean, log_std: (torch.stack([mean, log_std.expand_as(mean)], 1),),
}
"""Ways to answer a deviation that no state changes; the last is one tensor [N, 2, A]."""


@pytest.mark.parametrize("family", [torch.distributions.Laplace, torch.distributions.Normal])
@pytest.mark.parametrize("way", SHARED)
def test_what_a_module_answers_for_all_rows_is_each_row_s(way, family):
    def build(outputs):
        mean, log_std = outputs if len(outputs) == 2 else outputs[0].unbind(-2)
        return torch.distributions.Independent(family(mean, log_std.exp()), 1)

    agents = [Agent.from_torch(Answers(SHARED[way]), distribution=build) for _ in range(3)]
    population = try_out(Agent.stack(agents), np.eye(3, dtype=np.float32), "here")
    rows = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))
    actions = torch.ones(3, 5, 2)
    together = population.policy.distribution(population.policy_parameters, rows).log_prob(actions)
    acted = population.policy.actor(population.policy_parameters)(rows.numpy(), noise_of(population.policy, (3, 5)))
    assert acted.shape == (3, 5, 2)
    for i, agent in enumerate(agents):
        state = agent.policy_parameters
        mean = torch.nn.functional.linear(rows[i], state["linear.weight"], state["linear.bias"])
        log_std = state["log_std"][:1] if way in {"one", "number"} else state["log_std"]
        by_hand = family(mean, log_std.exp()).log_prob(actions[i]).sum(-1)
        alone = agents[0].policy.distribution(state, rows[i])
        torch.testing.assert_close(alone.log_prob(actions[i]), by_hand)
        torch.testing.assert_close(together[i], by_hand)
        if family is torch.distributions.Normal:
            assert isinstance(alone, DiagonalGaussian)


def noise_of(policy, lanes):
    source = np.random.default_rng(0)
    shape = (*lanes, policy.noise.size)
    return source.integers(2**31, size=shape) if policy.noise.kind == "seed" else source.standard_normal(shape)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda mean, _: mean.T, r"answers 2 observations with \[2, 2\], 3 with \[2, 3\]; return a row for each"),
        (lambda mean, _: mean[:-1], "answers 2 observations with"),
    ],
)
def test_answers_that_are_no_rows_are_refused(answer, message):
    agent = Agent.from_torch(Answers(answer), distribution=normal)
    with pytest.raises(InputError, match=message):
        agent.policy.distribution(agent.policy_parameters, torch.zeros(8, 3))


def test_a_distribution_of_other_than_the_rows_is_refused():
    agent = Agent.from_torch(Answers(lambda mean, _: mean), distribution=lambda mean: normal(mean[None]))
    with pytest.raises(InputError, match=r"the agent's policy failed .*of \[8\] observations has the batch shape"):
        agent.policy.distribution(agent.policy_parameters, torch.zeros(8, 3))
