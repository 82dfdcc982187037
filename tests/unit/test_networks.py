"""Networks: one set of parameters or a population, torch or NumPy tiles, alone or in company."""

import numpy as np
import pytest
import torch

from closerlook.nn.networks import MLP, flatten, for_tiles, unflatten
from closerlook.randomness import generator


def module_of(network: MLP, parameters: dict[str, torch.Tensor]) -> torch.nn.Sequential:
    """Build the same network of torch's own layers."""
    layers: list[torch.nn.Module] = []
    for layer in range(network.n_layers):
        linear = torch.nn.Linear(network.sizes[layer], network.sizes[layer + 1])
        linear.load_state_dict({"weight": parameters[f"{layer}.weight"], "bias": parameters[f"{layer}.bias"]})
        layers += [linear, torch.nn.Tanh() if network.activation == "tanh" else torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def draw(network: MLP, seed: int = 0) -> dict[str, torch.Tensor]:
    parameters = network.initialize(generator(seed, "test"), "orthogonal", output_gain=1.0)
    return {
        name: tensor + 0.1 * torch.sin(torch.arange(tensor.numel())).reshape(tensor.shape)
        for name, tensor in parameters.items()
    }


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_forward_equals_torch_layers(activation):
    network = MLP((11, 64, 64, 3), activation)
    parameters, inputs = draw(network), torch.randn(20, 11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(parameters, inputs), module_of(network, parameters)(inputs))


def test_a_population_equals_its_members():
    network = MLP((5, 16, 2))
    members = [draw(network, seed) for seed in range(3)]
    stacked = {name: torch.stack([member[name] for member in members]) for name in members[0]}
    inputs = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([network(member, rows) for member, rows in zip(members, inputs, strict=True)])
    torch.testing.assert_close(network(stacked, inputs), expected)


@pytest.mark.parametrize("sizes", [(11, 64, 64, 3), (348, 64, 64, 17), (17, 64, 64, 6), (4, 32, 1)])
def test_rows_on_tiles_do_not_depend_on_their_companions(sizes):
    network = MLP(sizes)
    stacked = {name: torch.stack([tensor, 2 * tensor]) for name, tensor in draw(network).items()}
    arrays = for_tiles(stacked)
    inputs = np.random.default_rng(0).standard_normal((2, 70, sizes[0])).astype(np.float32)
    together = network.on_tiles(arrays, inputs)
    for start, stop in ((0, 1), (16, 18), (32, 70), (48, 49)):
        np.testing.assert_array_equal(network.on_tiles(arrays, inputs[:, start:stop]), together[:, start:stop])
    alone = network.on_tiles({name: array[1:] for name, array in arrays.items()}, inputs[1:])
    np.testing.assert_array_equal(alone, together[1:])
    np.testing.assert_allclose(together, network(stacked, torch.from_numpy(inputs)).numpy(), atol=2e-5)


def test_orthogonal_initialization_has_its_gain():
    parameters = MLP((8, 64, 64, 2)).initialize(generator(0, "test"), "orthogonal", output_gain=0.01)
    first, middle, last = (parameters[f"{layer}.weight"].double() for layer in range(3))
    torch.testing.assert_close(first.T @ first, 2 * torch.eye(8).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(middle @ middle.T, 2 * torch.eye(64).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(last @ last.T, 1e-4 * torch.eye(2).double(), atol=1e-8, rtol=0)
    assert not any(parameters[f"{layer}.bias"].any() for layer in range(3))


def test_xavier_initialization_fills_its_bounds():
    weight = MLP((100, 200)).initialize(generator(0, "test"), "xavier", output_gain=0.01)["0.weight"]
    bound = (6 / 300) ** 0.5
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize("stacked", [False, True])
def test_flatten_and_back(stacked):
    network = MLP((3, 4, 2))
    parameters = draw(network)
    if stacked:
        parameters = {name: torch.stack([tensor, -tensor]) for name, tensor in parameters.items()}
    vector = flatten(parameters, list(network.parameter_shapes), stacked=stacked)
    back = unflatten(vector, network.parameter_shapes, stacked=stacked)
    assert vector.shape == ((2, 26) if stacked else (26,))
    assert all(torch.equal(parameters[name], back[name]) for name in parameters)
