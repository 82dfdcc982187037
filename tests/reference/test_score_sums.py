"""Weighted score sums against their slow twin: plain autograd in float64, one pair at a time."""

import numpy as np
import pytest
import torch
from torch import Tensor

from closerlook.agents.policies import CategoricalMLP, GaussianMLP, ModulePolicy
from closerlook.nn import gradients
from closerlook.nn.gradients import autograd_score_sums, categorical_head, gaussian_head, mlp_score_sums
from closerlook.nn.networks import MLP, flatten

PAIRS = 70


def slow_twin(policy, parameters, observations, actions, windows) -> list[np.ndarray]:
    """Differentiate one log probability after the other, in float64."""
    leaves = {name: p.double().requires_grad_() for name, p in parameters.items()}
    scores = []
    for observation, action in zip(observations.double(), actions, strict=True):
        wide = action.double() if action.is_floating_point() else action
        log_prob = policy.distribution(leaves, observation[None]).log_prob(wide[None]).sum()
        gradient = torch.autograd.grad(log_prob, list(leaves.values()))
        scores.append(flatten(dict(zip(leaves, gradient, strict=True)), list(leaves)))
    stacked = torch.stack(scores)
    return [(window.double() @ stacked[: window.shape[1]]).numpy() for window in windows]


def relative_error(fast: np.ndarray, slow: np.ndarray) -> float:
    return float(np.abs(fast - slow).max() / np.abs(slow).max())


def gaussian(activation, generator):
    policy = GaussianMLP(MLP((5, 16, 8, 3), activation))
    parameters = policy.initialize(generator, "orthogonal")
    parameters["log_std"] = torch.tensor([0.3, -0.5, 0.1])
    parameters["2.weight"] *= 50
    return policy, parameters, gaussian_head(parameters["log_std"])


def categorical(activation, generator):
    policy = CategoricalMLP(MLP((5, 16, 4), activation))
    parameters = policy.initialize(generator, "xavier")
    return policy, parameters, categorical_head


def draw(policy, parameters, generator) -> tuple[Tensor, Tensor]:
    observations = torch.from_numpy(generator.standard_normal((PAIRS, 5)).astype(np.float32))
    noise = generator.random if policy.noise.kind == "uniform" else generator.standard_normal
    drawn = torch.from_numpy(noise((PAIRS, policy.noise.size)).astype(np.float32))
    return observations, policy.distribution(parameters, observations).sample(drawn)


def weights(generator) -> list[Tensor]:
    shapes = [(3, PAIRS), (2, 17), (1, 40)]
    return [torch.from_numpy(generator.standard_normal(shape).astype(np.float32)) for shape in shapes]


@pytest.mark.parametrize("make", [gaussian, categorical])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("tile", [2048, 32])
def test_hand_written_backward_agrees_with_autograd(monkeypatch, make, activation, tile):
    monkeypatch.setattr(gradients, "PAIRS_AT_ONCE", tile)
    generator = np.random.default_rng(1)
    policy, parameters, head = make(activation, generator)
    observations, actions = draw(policy, parameters, generator)
    windows = weights(generator)
    fast = mlp_score_sums(policy.network, parameters, head, observations, actions, windows)
    generic = autograd_score_sums(policy, parameters, observations, actions, windows)
    slow = slow_twin(policy, parameters, observations, actions, windows)
    for f, g, s in zip(fast, generic, slow, strict=True):
        assert f.dtype == np.float64
        assert f.shape == s.shape
        assert relative_error(f, s) < 1e-5
        assert relative_error(g, s) < 1e-5


def test_layout_is_the_policys_own():
    policy, parameters, head = gaussian("tanh", np.random.default_rng(2))
    observations, actions = torch.ones(1, 5), torch.full((1, 3), 2.0)
    (total,) = mlp_score_sums(policy.network, parameters, head, observations, actions, [torch.ones(1, 1)])
    mean = policy.network(parameters, observations)
    std = torch.exp(parameters["log_std"])
    np.testing.assert_allclose(total[0, -3:], (((2 - mean) / std) ** 2 - 1)[0], rtol=1e-5)
    np.testing.assert_allclose(total[0, -6:-3], ((2 - mean) / std**2)[0], rtol=1e-5)
    assert total.shape[1] == sum(np.prod(shape) for shape in policy.parameter_shapes.values())


def test_any_module_and_any_distribution():
    module = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    policy = ModulePolicy(module, lambda out: torch.distributions.Gamma(out[..., :1].exp(), out[..., 1:].exp()), 5)
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    generator = np.random.default_rng(3)
    observations = torch.from_numpy(generator.standard_normal((PAIRS, 5)).astype(np.float32))
    actions = torch.from_numpy(generator.gamma(1.0, size=(PAIRS, 1)).astype(np.float32))
    windows = weights(generator)
    fast = autograd_score_sums(policy, parameters, observations, actions, windows)
    slow = slow_twin(policy, parameters, observations, actions, windows)
    assert all(relative_error(f, s) < 1e-5 for f, s in zip(fast, slow, strict=True))


def test_a_parameter_that_does_not_matter_gets_zeros():
    class Idle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = torch.nn.Linear(5, 2), torch.nn.Linear(5, 2)

        def forward(self, x):
            return self.used(x)

    policy = ModulePolicy(Idle(), lambda out: torch.distributions.Categorical(logits=out), 5)
    parameters = {name: p.detach() for name, p in policy.module.named_parameters()}
    (total,) = autograd_score_sums(
        policy, parameters, torch.ones(4, 5), torch.zeros(4, dtype=torch.int64), [torch.ones(1, 4)]
    )
    assert np.abs(total[0, :12]).max() > 0
    assert not total[0, 12:].any()
