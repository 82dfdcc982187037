"""Hand-written gradients against autograd, and layouts of flat vectors."""

import dataclasses

import numpy as np
import pytest
import torch

from batches import make_agent, make_batch
from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP, GaussianMLP
from closerlook.algorithms.adam import PopulationAdam
from closerlook.algorithms.critic import CriticByAutograd, CriticByHand, critic_learner, value_loss, value_slopes
from closerlook.algorithms.minibatches import deal, pairs_of, shuffle, standardize_each
from closerlook.algorithms.ppo import PPOSettings
from closerlook.algorithms.ppo_learners import PolicyByAutograd, PolicyByHand, policy_learner, surrogate_slopes
from closerlook.algorithms.surrogate import clipped_surrogate, standardize
from closerlook.nn.backward import CategoricalHead, FlatLayout, GaussianHead, LayerLayout, StackedMLP
from closerlook.nn.networks import MLP

POLICIES = 3


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_row_of_ones(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.ones_like(rows[..., :1])], axis=-1)


def test_flat_layout_by_hand() -> None:
    vectors = np.arange(14.0).reshape(2, 7)
    named = FlatLayout({"a": (2, 2), "b": (3,)}).named(vectors)
    assert named["a"][1].tolist() == [[7.0, 8.0], [9.0, 10.0]]
    assert named["b"][0].tolist() == [4.0, 5.0, 6.0]
    named["b"][0, 0] = -1.0
    assert vectors[0, 4] == -1.0


def test_layer_layout_puts_biases_beside_weights() -> None:
    network = MLP((2, 1, 3))
    layout = LayerLayout(network, {**network.parameter_shapes, "free": (2,)})
    vectors = np.arange(22.0).reshape(2, 11)
    named = layout.named(vectors)
    assert list(named) == ["0.weight", "0.bias", "1.weight", "1.bias", "free"]
    assert (named["0.weight"][0].tolist(), named["0.bias"][0].tolist()) == ([[0.0, 1.0]], [2.0])
    assert (named["1.weight"][0].tolist(), named["1.bias"][0].tolist()) == ([[3.0], [5.0], [7.0]], [4.0, 6.0, 8.0])
    assert named["free"][1].tolist() == [20.0, 21.0]
    assert all(np.shares_memory(view, vectors) for view in [*named.values(), *layout.layers(vectors)])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("sizes", [(4, 3), (4, 8, 1), (5, 16, 8, 3)])
def test_network_equals_autograd(activation, sizes) -> None:
    network = MLP(sizes, activation)
    layout = LayerLayout(network, network.parameter_shapes)
    vector, gradient = draw(POLICIES, layout.size), np.zeros((POLICIES, layout.size), np.float32)
    stacked = StackedMLP(network, layout.layers(vector), layout.layers(gradient))
    leaves = {name: torch.from_numpy(view.copy()).requires_grad_() for name, view in layout.named(vector).items()}
    for pairs in (7, 1, 64):
        rows, errors = draw(POLICIES, pairs, sizes[0], seed=1), draw(POLICIES, sizes[-1], pairs, seed=2)
        expected = network(leaves, torch.from_numpy(rows))
        outputs = stacked.forward(with_row_of_ones(rows))
        np.testing.assert_allclose(outputs.transpose(0, 2, 1), expected.detach(), rtol=1e-4, atol=1e-5)
        stacked.backward(errors)
        slopes = torch.autograd.grad(expected, list(leaves.values()), torch.from_numpy(errors).mT)
        for view, slope in zip(layout.named(gradient).values(), slopes, strict=True):
            np.testing.assert_allclose(view, slope, rtol=1e-4, atol=1e-4)


def test_network_answers_alike_with_and_without_gradients_and_inside_transforms() -> None:
    network, rows = MLP((4, 8, 2)), torch.from_numpy(draw(6, 5, 4))
    parameters = network.initialize(np.random.default_rng(0), "xavier", output_gain=1.0)
    expected = torch.stack([network(parameters, row) for row in rows])
    with torch.no_grad():
        torch.testing.assert_close(torch.stack([network(parameters, row) for row in rows]), expected)
        torch.testing.assert_close(torch.vmap(lambda row: network(parameters, row))(rows), expected)
        bfloat16 = {name: tensor.bfloat16() for name, tensor in parameters.items()}
        torch.testing.assert_close(network(bfloat16, rows[0].bfloat16()).float(), expected[0], rtol=0.1, atol=0.1)


@pytest.mark.parametrize("entropy", [0.0, 0.3])
@pytest.mark.parametrize("discrete", [False, True])
def test_heads_equal_autograd(discrete, entropy) -> None:
    pairs, size = 9, 4
    outputs, log_std, slopes = draw(POLICIES, size, pairs), draw(POLICIES, size, seed=1), draw(POLICIES, pairs, seed=2)
    leaves = {"0.weight": torch.zeros(POLICIES, size, 1), "0.bias": torch.zeros(POLICIES, size)}
    tensors = [torch.from_numpy(array).requires_grad_() for array in (outputs, log_std)]
    gradient = np.zeros_like(log_std)
    if discrete:
        actions = np.random.default_rng(3).integers(size, size=(POLICIES, pairs))
        head = CategoricalHead()
        distribution = CategoricalMLP(MLP((1, size))).distribution(leaves, torch.zeros(POLICIES, pairs, 1))
        distribution = dataclasses.replace(distribution, logits=tensors[0].mT)
    else:
        actions = draw(POLICIES, pairs, size, seed=3)
        head = GaussianHead(log_std, gradient)
        policy = GaussianMLP(MLP((1, size)))
        distribution = policy.distribution({**leaves, "log_std": tensors[1]}, torch.zeros(POLICIES, pairs, 1))
        distribution = dataclasses.replace(distribution, mean=tensors[0].mT)
    expected = distribution.log_prob(torch.from_numpy(actions))
    np.testing.assert_allclose(head.log_prob(outputs, actions), expected.detach(), rtol=1e-4, atol=1e-5)
    objective = (expected * torch.from_numpy(slopes)).sum() + entropy * distribution.entropy().sum()
    by_outputs, by_log_std = torch.autograd.grad(objective, tensors, allow_unused=True)
    np.testing.assert_allclose(head.errors(slopes, entropy), by_outputs, rtol=1e-4, atol=1e-5)
    if not discrete:
        np.testing.assert_allclose(gradient, by_log_std, rtol=1e-4, atol=1e-4)


def test_slopes_of_the_surrogate_equal_autograd() -> None:
    log_probs, old, advantages = 0.4 * draw(2, 500), 0.4 * draw(2, 500, seed=1), draw(2, 500, seed=2)
    leaf = torch.from_numpy(log_probs).requires_grad_()
    surrogate = clipped_surrogate(leaf, torch.from_numpy(old), torch.from_numpy(advantages), 0.2)
    (expected,) = torch.autograd.grad(surrogate.sum(), leaf)
    slopes = surrogate_slopes(log_probs, old, advantages, 0.2)
    assert 0.1 < (slopes == 0).mean() < 0.9
    np.testing.assert_allclose(slopes, expected, rtol=1e-5)


@pytest.mark.parametrize("clip", [None, 0.2])
def test_slopes_of_the_value_loss_equal_autograd(clip) -> None:
    values, old, targets = (0.5 * draw(3, 400, seed=seed) for seed in range(3))
    weights = (draw(3, 400, seed=3) > -1).astype(np.float32)
    weights[2] = 0.0
    leaf = torch.from_numpy(values).requires_grad_()
    losses = value_loss(leaf, *(torch.from_numpy(column) for column in (old, targets, weights)), clip)
    (expected,) = torch.autograd.grad(losses.sum(), leaf)
    np.testing.assert_allclose(value_slopes(values, old, targets, weights, clip), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("changes", [{}, {"entropy_coefficient": 0.1, "max_grad_norm": 0.05, "clip": 0.01}])
@pytest.mark.parametrize("discrete", [False, True])
def test_policy_steps_equal_autograd(discrete, changes) -> None:
    agents = Agent.stack([make_agent(seed, discrete=discrete) for seed in range(POLICIES)])
    batch, settings = make_batch(agents), PPOSettings(**changes)
    columns = [pairs_of(c) for c in (batch.observations, batch.actions, batch.log_probs, batch.advantages)]
    by_hand, by_autograd = PolicyByHand(agents, settings), PolicyByAutograd(agents, settings)
    for learner in (by_hand, by_autograd):
        columns[0] = learner.prepare(pairs_of(batch.observations))
        for pairs in deal(shuffle(columns, [1, 2, 3], "test", iteration=0, epoch=0), 7):
            learner.climb(pairs, 1e-3)
    for name, expected in by_autograd.adam.result().items():
        torch.testing.assert_close(by_hand.adam.result()[name], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("clip", [None, 0.05])
def test_critic_steps_equal_autograd(clip) -> None:
    agents = Agent.stack([make_agent(seed) for seed in range(POLICIES)])
    batch, settings = make_batch(agents), PPOSettings(value_clip=clip)
    columns = [pairs_of(c) for c in (batch.observations, batch.values, batch.value_targets, batch.value_weights)]
    by_hand, by_autograd = CriticByHand(agents, settings), CriticByAutograd(agents, settings)
    for learner in (by_hand, by_autograd):
        columns[0] = learner.prepare(pairs_of(batch.observations))
        for pairs in deal(shuffle(columns, [1, 2, 3], "test", iteration=0, epoch=0), 7):
            learner.descend(pairs, 1e-3)
    for name, expected in by_autograd.adam.state().items():
        torch.testing.assert_close(by_hand.adam.state()[name], expected, rtol=1e-3, atol=1e-5)


def test_known_networks_go_by_hand_and_others_by_autograd() -> None:
    agent = make_agent(0)
    module = Agent.from_torch(
        torch.nn.Linear(5, 3),
        torch.nn.Linear(5, 1),
        distribution=lambda mean: torch.distributions.Independent(torch.distributions.Normal(mean, 1.0), 1),
    )
    for one, policy, critic in ((agent, PolicyByHand, CriticByHand), (module, PolicyByAutograd, CriticByAutograd)):
        population = Agent.stack([one])
        assert isinstance(policy_learner(population, PPOSettings()), policy)
        assert isinstance(critic_learner(population, PPOSettings()), critic)


def test_adam_equals_torch_in_any_layout() -> None:
    network = MLP((3, 4, 2))
    start = {name: torch.from_numpy(draw(2, *shape)) for name, shape in network.parameter_shapes.items()}
    leaves = [tensor.clone().requires_grad_() for tensor in start.values()]
    twin = torch.optim.Adam(leaves, lr=0.01, eps=1e-5)
    layouts = [None, LayerLayout(network, network.parameter_shapes)]
    adams = [PopulationAdam(start, {}, 1e-5, layout) for layout in layouts]
    for step in range(5):
        gradients = [draw(*leaf.shape, seed=step) for leaf in leaves]
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = torch.from_numpy(gradient)
        twin.step()
        for k, adam in enumerate(adams):
            for place, gradient in zip(adam.gradients.values(), gradients, strict=True):
                place.copy_(torch.from_numpy(gradient))
            adam.step(0.01)
            adams[k] = PopulationAdam(adam.result(), adam.state(), 1e-5, layouts[k])
    for name, leaf in zip(start, leaves, strict=True):
        torch.testing.assert_close(adams[0].result()[name], leaf.detach(), rtol=1e-5, atol=1e-6)
        assert torch.equal(adams[0].result()[name], adams[1].result()[name])


@pytest.mark.parametrize(("pairs", "count"), [(12, 4), (13, 4), (3, 8), (64, 1)])
def test_minibatches_are_dealt_as_array_split_does(pairs, count) -> None:
    columns = [np.arange(2 * pairs).reshape(2, pairs), draw(2, pairs, 3)]
    expected = [[part for part in np.array_split(c, count, axis=1) if part.size] for c in columns]
    dealt = list(deal(columns, count))
    assert len(dealt) == min(pairs, count)
    for minibatch, *parts in zip(dealt, *expected, strict=True):
        for column, part in zip(minibatch, parts, strict=True):
            np.testing.assert_array_equal(column, part)


@pytest.mark.parametrize(("pairs", "count"), [(12, 4), (13, 4), (3, 8)])
def test_advantages_are_standardised_within_each_minibatch(pairs, count) -> None:
    advantages = draw(2, pairs)
    advantages[1, :4] = 0.5
    standardized, constant = standardize_each(advantages, count)
    together, alone = [], []
    for (part,) in deal([advantages], count):
        values, equal = standardize(torch.from_numpy(part))
        together.append(values)
        alone.append(equal)
    torch.testing.assert_close(torch.from_numpy(standardized), torch.cat(together, dim=1))
    assert constant.tolist() == torch.stack(alone).sum(0).tolist()


def test_shuffles_are_the_policies_own() -> None:
    columns = [torch.arange(20).reshape(2, 10), torch.arange(40).reshape(2, 10, 2)]
    both = shuffle(columns, [5, 6], "test", iteration=1, epoch=2)
    second = shuffle([column[1:] for column in columns], [6], "test", iteration=1, epoch=2)
    np.testing.assert_array_equal(both[0][1:], second[0])
    np.testing.assert_array_equal(both[1][..., 0], 2 * both[0])
    assert sorted(both[0][0].tolist()) == list(range(10))
    assert both[0][0].tolist() != (both[0][1] - 10).tolist()
