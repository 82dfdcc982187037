"""PPO on the population axis against an obvious single-agent update written with torch.nn and torch.optim."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, MLPValue
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.critic import value_loss
from closerlook.algorithms.ppo import PPOSettings, ppo_update
from closerlook.algorithms.surrogate import clipped_surrogate, standardize
from closerlook.algorithms.update import explained_variance
from closerlook.errors import InputError, NonFiniteError
from closerlook.nn.networks import MLP
from closerlook.randomness import generator

OBSERVATIONS, ACTIONS, HIDDEN = 5, 3, (16, 16)
SEEDS = [11, 22, 33]
QUICK = PPOSettings(policy_epochs=3, value_epochs=2, minibatches=7, total_iterations=10)


def make_agent(seed: int, *, discrete: bool = False, critic: bool = True) -> Agent:
    network = MLP((OBSERVATIONS, *HIDDEN, ACTIONS))
    policy = CategoricalMLP(network) if discrete else GaussianMLP(network)
    value = MLPValue(MLP((OBSERVATIONS, *HIDDEN, 1))) if critic else None
    rng = np.random.default_rng(seed)
    parts = {"policy": policy.initialize(rng, "orthogonal")}
    if value is not None:
        parts["value"] = value.initialize(rng, "orthogonal")
    return Agent(policy, value, {}).with_state(parts)


def make_batch(agents: Agent, *, streams: int = 2, steps: int = 50, seed: int = 0) -> Batch:
    """Draw a batch; member i's numbers depend on i and the seed alone."""
    members = [_member_batch(agent, streams, steps, seed + i) for i, agent in enumerate(agents.unstack())]
    return Batch(*(torch.stack(columns) for columns in zip(*members, strict=True)))


def _member_batch(agent: Agent, streams: int, steps: int, seed: int) -> tuple[torch.Tensor, ...]:
    shape = (streams, steps)
    draw = torch.Generator().manual_seed(seed)
    observations = torch.randn(*shape, OBSERVATIONS, generator=draw)
    with torch.no_grad():
        distribution = agent.policy.distribution(agent.policy_parameters, observations.flatten(0, 1))
        noise = torch.randn(streams * steps, ACTIONS, generator=draw)
        if isinstance(agent.policy, CategoricalMLP):
            noise = torch.rand(streams * steps, 1, generator=draw)
        actions = distribution.sample(noise)
        log_probs = distribution.log_prob(actions).reshape(shape)
    values, advantages, returns = (torch.randn(shape, generator=draw) for _ in range(3))
    weights = (torch.rand(shape, generator=draw) > 0.1).float()
    return (observations, actions.unflatten(0, shape), log_probs, values, advantages, returns, weights)


def member_of(batch: Batch, members: list[int]) -> Batch:
    return Batch(**{field.name: getattr(batch, field.name)[members] for field in dataclasses.fields(batch)})


class Twin:
    """One agent as plain modules, updated as a textbook would."""

    def __init__(self, agent: Agent) -> None:
        self.discrete = isinstance(agent.policy, CategoricalMLP)
        self.mean = self._network(agent.part("policy"), ACTIONS)
        self.value = self._network(agent.part("value"), 1)
        self.log_std = nn.Parameter(agent.state.get("policy.log_std", torch.zeros(0)).clone())
        self.policy_parameters = [*self.mean.parameters(), *([] if self.discrete else [self.log_std])]
        self.policy_adam = torch.optim.Adam(self.policy_parameters, eps=1e-5)
        self.value_adam = torch.optim.Adam(self.value.parameters(), eps=1e-5)

    @staticmethod
    def _network(state: dict[str, torch.Tensor], outputs: int) -> nn.Sequential:
        sizes = (OBSERVATIONS, *HIDDEN, outputs)
        layers: list[nn.Module] = []
        for i in range(3):
            linear = nn.Linear(sizes[i], sizes[i + 1])
            linear.weight.data, linear.bias.data = state[f"{i}.weight"].clone(), state[f"{i}.bias"].clone()
            layers += [linear, nn.Tanh()]
        return nn.Sequential(*layers[:-1])

    def distribution(self, observations: torch.Tensor) -> torch.distributions.Distribution:
        if self.discrete:
            return torch.distributions.Categorical(logits=self.mean(observations))
        normal = torch.distributions.Normal(self.mean(observations), self.log_std.exp())
        return torch.distributions.Independent(normal, 1)

    def update(self, batch: Batch, settings: PPOSettings, seed: int, iteration: int) -> None:
        obs, actions, old, values, advantages, _, weights = (
            getattr(batch, field.name)[0].flatten(0, 1) for field in dataclasses.fields(batch)
        )
        left = 1 - iteration / settings.total_iterations
        for adam, rate in (
            (self.policy_adam, settings.policy_learning_rate),
            (self.value_adam, settings.value_learning_rate),
        ):
            adam.param_groups[0]["lr"] = rate * left
        for index in self._deal(len(obs), settings, settings.value_epochs, "value minibatches", seed, iteration):
            self._value_step(obs[index], values[index], advantages[index], weights[index], settings)
        for index in self._deal(len(obs), settings, settings.policy_epochs, "minibatches", seed, iteration):
            self._policy_step(obs[index], actions[index], old[index], advantages[index], settings)

    @staticmethod
    def _deal(pairs: int, settings: PPOSettings, epochs: int, purpose: str, seed: int, iteration: int) -> list:
        orders = [
            generator(seed, purpose, stream=iteration, episode=epoch).permutation(pairs) for epoch in range(epochs)
        ]
        return [part for order in orders for part in np.array_split(order, settings.minibatches)]

    def _value_step(self, obs, values, advantages, weights, settings: PPOSettings) -> None:
        predictions = self.value(obs).squeeze(-1)
        targets = values + advantages
        errors = (predictions - targets) ** 2
        if settings.value_clip is not None:
            near = torch.clamp(predictions, values - settings.value_clip, values + settings.value_clip)
            errors = torch.max(errors, (near - targets) ** 2)
        self.value_adam.zero_grad()
        errors[weights > 0].mean().backward()
        self.value_adam.step()

    def _policy_step(self, obs, actions, old, advantages, settings: PPOSettings) -> None:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        distribution = self.distribution(obs)
        ratio = (distribution.log_prob(actions) - old).exp()
        bounded = torch.clamp(ratio, 1 - settings.clip, 1 + settings.clip)
        loss = -torch.min(ratio * advantages, bounded * advantages).mean()
        loss = loss - settings.entropy_coefficient * distribution.entropy().mean()
        self.policy_adam.zero_grad()
        loss.backward()
        if settings.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.policy_parameters, settings.max_grad_norm)
        self.policy_adam.step()

    def state(self) -> dict[str, torch.Tensor]:
        state = {} if self.discrete else {"policy.log_std": self.log_std.detach()}
        for part, network in (("policy", self.mean), ("value", self.value)):
            for i in range(3):
                state[f"{part}.{i}.weight"] = network[2 * i].weight.detach()
                state[f"{part}.{i}.bias"] = network[2 * i].bias.detach()
        return state


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"value_clip": 0.2, "policy_learning_rate": 3e-3},
        {"entropy_coefficient": 0.05, "max_grad_norm": 0.1},
        {"minibatches": 32, "anneal": True},
    ],
)
def test_updates_equal_a_plain_twin(discrete: bool, changes: dict) -> None:
    settings = dataclasses.replace(QUICK, **changes)
    agent = make_agent(1, discrete=discrete)
    population, twin = Agent.stack([agent]), Twin(agent)
    for iteration in range(3):
        batch = make_batch(population, seed=iteration)
        population, info = ppo_update(population, batch, settings, seeds=SEEDS[:1], iteration=iteration)
        twin.update(batch, settings, SEEDS[0], iteration)
    for name, expected in twin.state().items():
        torch.testing.assert_close(population.state[name][0], expected, rtol=0, atol=1e-5)
    assert info.max_ratio[0] > 1.001


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("steps", [2, 50, 1024])
def test_a_member_does_not_depend_on_its_companions(discrete: bool, steps: int) -> None:
    agents = [make_agent(i, discrete=discrete) for i in range(3)]
    population = Agent.stack(agents)
    batch = make_batch(population, steps=steps)
    settings = dataclasses.replace(QUICK, max_grad_norm=0.5, value_clip=0.2)
    together, together_info = ppo_update(population, batch, settings, seeds=SEEDS, iteration=4)
    for members in ([0], [1], [2], [2, 0]):
        seeds = [SEEDS[i] for i in members]
        part, info = ppo_update(
            Agent.stack([agents[i] for i in members]), member_of(batch, members), settings, seeds=seeds, iteration=4
        )
        for name, tensor in part.state.items():
            assert torch.equal(tensor, together.state[name][members]), name
        for name, column in info.columns().items():
            np.testing.assert_array_equal(column, together_info.columns()[name][members], err_msg=name)


def test_the_same_update_twice_and_the_inputs_untouched() -> None:
    population = Agent.stack([make_agent(1)])
    before = {name: tensor.clone() for name, tensor in population.state.items()}
    batch = make_batch(population)
    first, _ = ppo_update(population, batch, QUICK, seeds=[1], iteration=0)
    second, _ = ppo_update(population, batch, QUICK, seeds=[1], iteration=0)
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert all(torch.equal(before[name], population.state[name]) for name in before)


def test_optimiser_state_is_carried_by_name() -> None:
    population = Agent.stack([make_agent(1)])
    updated, _ = ppo_update(population, make_batch(population), QUICK, seeds=[1], iteration=0)
    assert updated.state["optimizer.policy.step"].tolist() == [QUICK.policy_epochs * QUICK.minibatches]
    assert updated.state["optimizer.value.step"].tolist() == [QUICK.value_epochs * QUICK.minibatches]
    for part in ("policy", "value"):
        for name, tensor in population.part(part).items():
            for kind in ("exp_avg", "exp_avg_sq"):
                assert updated.state[f"optimizer.{part}.{kind}.{name}"].shape == tensor.shape


def test_rates_fall_linearly_to_zero() -> None:
    settings = PPOSettings(total_iterations=4)
    assert [settings.rate(1.0, i) for i in (0, 1, 3, 4, 9)] == [1.0, 0.75, 0.25, 0.0, 0.0]
    assert dataclasses.replace(settings, anneal=False).rate(1.0, 3) == 1.0


def test_info_is_measured_from_old_to_new_policy_on_the_whole_batch() -> None:
    agent = make_agent(1)
    population = Agent.stack([agent])
    batch = make_batch(population)
    updated, info = ppo_update(population, batch, QUICK, seeds=[1], iteration=0)
    observations, actions = batch.observations[0].flatten(0, 1), batch.actions[0].flatten(0, 1)
    old, new = (
        torch.distributions.Independent(torch.distributions.Normal(d.mean, d.log_std.exp()), 1)
        for d in (one.policy.distribution(one.policy_parameters, observations) for one in (agent, updated.unstack()[0]))
    )
    kl = torch.distributions.kl_divergence(old, new)
    ratio = (new.log_prob(actions) - old.log_prob(actions)).exp()
    assert info.mean_kl[0] == pytest.approx(kl.mean().item(), rel=1e-3)
    assert info.max_kl[0] == pytest.approx(kl.max().item(), rel=1e-3)
    assert info.max_ratio[0] == pytest.approx(ratio.max().item(), rel=1e-4)
    assert info.entropy[0] == pytest.approx(new.entropy().mean().item(), rel=1e-5)
    assert info.action_std[0] == pytest.approx(updated.state["policy.log_std"].exp().mean().item(), rel=1e-5)
    assert info.advantage_std[0] == pytest.approx(batch.advantages.std().item(), rel=1e-5)


def test_constant_advantages_change_no_policy_and_are_counted() -> None:
    population = Agent.stack([make_agent(1)])
    batch = dataclasses.replace(make_batch(population), advantages=torch.full((1, 2, 50), 0.1))
    updated, info = ppo_update(population, batch, QUICK, seeds=[1], iteration=0)
    assert all(torch.equal(updated.state[n], t) for n, t in population.state.items() if n.startswith("policy."))
    assert info.constant_minibatches[0] == QUICK.policy_epochs * QUICK.minibatches


def test_minibatches_of_one_pair_are_constant() -> None:
    population = Agent.stack([make_agent(1)])
    settings = dataclasses.replace(QUICK, minibatches=32)
    _, info = ppo_update(population, make_batch(population, steps=5), settings, seeds=[1], iteration=0)
    assert info.constant_minibatches[0] == settings.policy_epochs * 10


def test_an_agent_without_critic_keeps_none() -> None:
    population = Agent.stack([make_agent(1, critic=False)])
    updated, info = ppo_update(population, make_batch(population), QUICK, seeds=[1], iteration=0)
    assert not updated.part("value")
    assert np.isnan(info.value_loss[0])


def test_parameters_that_are_not_finite_stop_the_update() -> None:
    population = Agent.stack([make_agent(1), make_agent(2)])
    batch = make_batch(population)
    advantages = batch.advantages.clone()
    advantages[1, 0, 3] = torch.nan
    with pytest.raises(NonFiniteError, match="member 1 is not finite after the update of iteration 3"):
        ppo_update(population, dataclasses.replace(batch, advantages=advantages), QUICK, seeds=[1, 2], iteration=3)


@pytest.mark.parametrize(
    "wrong", [{"clip": 0.0}, {"minibatches": 0}, {"policy_learning_rate": -1.0}, {"value_clip": float("nan")}]
)
def test_settings_that_mean_nothing_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        PPOSettings(**wrong)


def test_standardised_advantages_by_hand() -> None:
    standardized, constant = standardize(torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1]]))
    torch.testing.assert_close(standardized, torch.tensor([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    assert constant.tolist() == [False, True]


def test_clipped_surrogate_by_hand() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    surrogate = clipped_surrogate(ratio.log(), torch.zeros(4), advantages, 0.2)
    torch.testing.assert_close(surrogate, torch.tensor([1.2, -1.5, 0.5, -0.8]))


def test_value_loss_by_hand() -> None:
    values, old, targets = torch.tensor([1.0, 0.0, 7.0]), torch.zeros(3), torch.tensor([2.0, 1.0, 0.0])
    weights = torch.tensor([1.0, 1.0, 0.0])
    assert value_loss(values, old, targets, weights, None).item() == pytest.approx(1.0)
    assert value_loss(values, old, targets, weights, 0.2).item() == pytest.approx((1.8**2 + 1.0) / 2)
    assert value_loss(values, old, targets, torch.zeros(3), None).item() == 0.0


def test_explained_variance_by_hand() -> None:
    targets = torch.tensor([[0.0, 2.0], [0.0, 2.0], [3.0, 3.0]])
    predictions = torch.tensor([[5.0, 7.0], [0.0, 0.0], [1.0, 2.0]])
    measured = explained_variance(targets, predictions)
    assert measured[:2].tolist() == [1.0, 0.0]
    assert torch.isnan(measured[2])
