"""Fisher-vector products against dense Hessians, conjugate gradient against direct solution, the quadratic model."""

from functools import partial

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP, GaussianMLP
from closerlook.nn import curvature
from closerlook.nn.curvature import (
    LinearizedMLP,
    categorical_fisher,
    conjugate_gradient,
    damped,
    fisher_of_many,
    gaussian_fisher,
    kl_fisher,
    quadratic_kl,
)
from closerlook.nn.distributions import DiagonalGaussian
from closerlook.nn.networks import MLP, flatten, unflatten
from closerlook.randomness import generator

FISHERS = {GaussianMLP: gaussian_fisher, CategoricalMLP: categorical_fisher}


def population(policy, members: int = 3, dtype=torch.float64) -> dict[str, torch.Tensor]:
    """Draw stacked parameters away from any special point, so that no term of a formula is zero by chance."""
    shapes = policy.parameter_shapes
    return {
        name: torch.from_numpy(
            np.stack([0.5 * generator(seed, name).standard_normal(shape) for seed in range(members)])
        ).to(dtype)
        for name, shape in shapes.items()
    }


def normals(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense_fisher(policy, parameters, observations) -> torch.Tensor:
    """Hessian of the mean KL at the policy itself, for one member, by autograd."""
    names = list(policy.parameter_shapes)
    fixed = policy.distribution(parameters, observations)

    def mean_kl(vector: torch.Tensor) -> torch.Tensor:
        moved = policy.distribution(unflatten(vector, policy.parameter_shapes), observations)
        return fixed.kl(moved).mean()

    return torch.autograd.functional.hessian(mean_kl, flatten(parameters, names))


def member(parameters: dict[str, torch.Tensor], i: int) -> dict[str, torch.Tensor]:
    return {name: tensor[i] for name, tensor in parameters.items()}


@pytest.mark.parametrize("kind", [GaussianMLP, CategoricalMLP])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_products_equal_a_dense_hessian(kind, activation):
    policy = kind(MLP((4, 6, 5, 3), activation))
    parameters, observations = population(policy), normals(3, 7, 4)
    size = flatten(parameters, list(parameters), stacked=True).shape[1]
    vectors = normals(3, size, seed=1)
    dense = torch.stack([dense_fisher(policy, member(parameters, i), observations[i]) for i in range(3)])
    expected = torch.einsum("pij,pj->pi", dense, vectors)
    fast = FISHERS[kind](policy.network, parameters, observations)
    torch.testing.assert_close(fast(vectors), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(kl_fisher(policy, parameters, observations)(vectors), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(quadratic_kl(fast, vectors), 0.5 * (vectors * expected).sum(-1))


@pytest.mark.parametrize("states", [5, 6, 12, 20])  # no pair of blocks, one alone, two, and some left over
@pytest.mark.parametrize("policies", [1, 2])
@pytest.mark.parametrize("kind", [GaussianMLP, CategoricalMLP])
def test_products_block_by_block_are_those_of_all_states(kind, policies, states, monkeypatch):
    monkeypatch.setattr(curvature, "BLOCK", 3)
    policy = kind(MLP((4, 6, 3)))
    parameters, observations = population(policy, policies), normals(policies, states, 4)
    size = flatten(parameters, list(parameters), stacked=True).shape[1]
    vectors = normals(policies, size, seed=1)
    for prepare in (partial(FISHERS[kind], policy.network), partial(kl_fisher, policy)):
        prepared = []

        def noted(of, where, prepare=prepare, prepared=prepared):
            prepared.append(tuple(where.shape[:2]))
            return prepare(of, where)

        product = fisher_of_many(noted, parameters, observations)
        torch.testing.assert_close(product(vectors), prepare(parameters, observations)(vectors), rtol=1e-12, atol=1e-12)
        assert max(rows for _, rows in prepared) <= 5
        assert sum(a * b for a, b in prepared) == policies * states


def test_products_equal_a_dense_outer_product_of_scores():
    """Fisher's own definition: the mean over states and actions of grad log p grad log p^T."""
    policy = CategoricalMLP(MLP((3, 4, 3)))
    parameters, observations = population(policy, 1), normals(1, 5, 3)
    names = list(parameters)
    vector = flatten(member(parameters, 0), names)

    def log_probs(flat):
        return policy.distribution(unflatten(flat, policy.parameter_shapes), observations[0]).log_probs

    scores = torch.autograd.functional.jacobian(log_probs, vector)  # states, actions, D
    outer = torch.einsum("sa,sai,saj->ij", log_probs(vector).exp(), scores, scores) / 5
    product = categorical_fisher(policy.network, parameters, observations)
    v = normals(1, len(vector), seed=2)
    torch.testing.assert_close(product(v)[0], outer @ v[0], rtol=1e-9, atol=1e-9)


def test_pushing_and_pulling_equal_torch():
    network = MLP((4, 6, 3))
    parameters, inputs = population(CategoricalMLP(network), 1), normals(1, 5, 4)
    tangents = {name: torch.sin(tensor * 7) for name, tensor in parameters.items()}
    linear = LinearizedMLP(network, parameters, inputs)
    names = list(parameters)
    outputs, pushed = torch.autograd.functional.jvp(
        lambda *tensors: network(dict(zip(names, tensors, strict=True)), inputs),
        tuple(parameters.values()),
        tuple(tangents.values()),
    )
    torch.testing.assert_close(linear.outputs, outputs)
    torch.testing.assert_close(linear.push(tangents), pushed)
    errors = normals(1, 5, 3, seed=3)
    _, pull = torch.func.vjp(lambda p: network(p, inputs), parameters)
    for name, gradient in linear.pull(errors).items():
        torch.testing.assert_close(gradient, pull(errors)[0][name])


def make_normal(outputs):
    return torch.distributions.Normal(outputs, 0.5 + outputs.square())


def three_layers() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


@pytest.mark.parametrize("make", [lambda: torch.nn.Linear(3, 2), three_layers])
def test_any_module_has_products(make):
    """A Gaussian whose deviation depends on the state, which no closed form here covers."""
    torch.manual_seed(0)
    agents = Agent.stack([Agent.from_torch(make().double(), distribution=make_normal) for _ in range(2)])
    observations = normals(2, 6, 3)
    product = kl_fisher(agents.policy, agents.policy_parameters, observations)
    v = normals(2, sum(t[0].numel() for t in agents.policy_parameters.values()), seed=1)
    for i, agent in enumerate(agents.unstack()):
        dense = dense_fisher(agent.policy, agent.policy_parameters, observations[i])
        torch.testing.assert_close(product(v)[i], dense @ v[i], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", [GaussianMLP, CategoricalMLP])
@pytest.mark.parametrize("sizes", [(11, 64, 64, 3), (17, 64, 64, 6), (4, 32, 1)])
def test_a_member_is_the_same_to_the_last_bit_in_any_company(kind, sizes):
    policy = kind(MLP(sizes))
    parameters, observations = population(policy, 4, torch.float32), normals(4, 204, sizes[0], dtype=torch.float32)
    vectors = normals(4, sum(t[0].numel() for t in parameters.values()), seed=1)
    together = FISHERS[kind](policy.network, parameters, observations)(vectors)
    for company in ([0], [3], [1, 2], [0, 1, 2]):
        some = {name: tensor[company] for name, tensor in parameters.items()}
        product = FISHERS[kind](policy.network, some, observations[company])
        assert torch.equal(product(vectors[company]), together[company])


def spd(members: int, size: int, condition: float) -> torch.Tensor:
    """Draw symmetric positive definite matrices with the given condition number."""
    bases = torch.linalg.qr(normals(members, size, size))[0]
    eigenvalues = torch.logspace(0, float(np.log10(condition)), size, dtype=torch.float64)
    return bases @ torch.diag(eigenvalues) @ bases.mT


def times(matrices: torch.Tensor):
    return lambda v: torch.einsum("pij,pj->pi", matrices, v)


def test_conjugate_gradient_equals_a_direct_solution():
    matrices, b = spd(3, 12, 50.0), normals(3, 12, seed=4)
    found = conjugate_gradient(times(matrices), b, steps=40, tolerance=1e-12)
    np.testing.assert_allclose(found.vector, np.linalg.solve(matrices, b[..., None])[..., 0], rtol=1e-9, atol=1e-11)
    assert (found.residual < 1e-11).all()
    torch.testing.assert_close(found.image, times(matrices)(found.vector))


def test_the_residual_is_what_is_left():
    matrices, b = spd(2, 30, 1e4), normals(2, 30, seed=4)
    found = conjugate_gradient(times(matrices), b, steps=5, tolerance=0.0)
    left = b - times(matrices)(found.vector)
    torch.testing.assert_close(found.residual, left.norm(dim=1) / b.norm(dim=1))
    assert (found.residual > 1e-3).all()
    assert found.steps.tolist() == [5, 5]


def test_each_member_stops_for_itself():
    """With a matrix of k distinct eigenvalues k steps suffice; the others go on, and none changes another."""
    size = 20
    eigenvalues = torch.stack([torch.ones(size), torch.tensor([1.0, 5.0]).repeat(10), torch.arange(1.0, size + 1)])
    matrices = torch.diag_embed(eigenvalues.double())
    b = normals(3, size, seed=5)
    together = conjugate_gradient(times(matrices), b, steps=15, tolerance=1e-8)
    assert together.steps.tolist()[:2] == [1, 2]
    assert together.steps[2] > 10
    for i in range(3):
        alone = conjugate_gradient(times(matrices[i : i + 1]), b[i : i + 1], steps=15, tolerance=1e-8)
        assert torch.equal(alone.vector[0], together.vector[i])


def test_conjugate_gradient_keeps_what_it_has_where_the_matrix_fails():
    matrices = torch.stack([torch.eye(3), torch.zeros(3, 3), -torch.eye(3), torch.full((3, 3), torch.nan)])
    b = torch.ones(4, 3)
    found = conjugate_gradient(times(matrices), b, steps=5)
    assert torch.equal(found.vector, torch.tensor([1.0, 0.0, 0.0, 0.0]).unsqueeze(1).expand(4, 3))
    assert found.steps.tolist() == [1, 0, 0, 0]
    assert found.residual[0] == 0.0
    nothing = conjugate_gradient(times(matrices[:1]), torch.zeros(1, 3), steps=5)
    assert (nothing.vector == 0).all()
    assert nothing.residual.item() == 0.0


def test_the_inverse_as_preconditioner_solves_in_a_step():
    matrices, b = spd(3, 12, 1e4), normals(3, 12, seed=4)
    found = conjugate_gradient(times(matrices), b, steps=40, precondition=times(torch.linalg.inv(matrices)))
    assert found.steps.tolist() == [1, 1, 1]
    torch.testing.assert_close(found.vector, torch.linalg.solve(matrices, b))


def test_a_rough_preconditioner_that_is_another_each_time_saves_steps_and_changes_no_solution():
    matrices, b = spd(3, 60, 1e4), normals(3, 60, seed=4)
    # L (1 + E) L^T, with eigenvalues of E between -1/2 and 1/2: nearly as a sample's matrix is to that of all
    noise, root = normals(3, 60, 60, seed=9), torch.linalg.cholesky(matrices)
    noise = noise + noise.mT
    near = root @ (torch.eye(60) + 0.5 * noise / torch.linalg.matrix_norm(noise, 2)[:, None, None]) @ root.mT

    def rough(vector):
        return conjugate_gradient(times(near), vector, steps=200, tolerance=0.1).vector

    guided = conjugate_gradient(times(matrices), b, steps=200, tolerance=1e-10, precondition=rough)
    plain = conjugate_gradient(times(matrices), b, steps=200, tolerance=1e-10)
    torch.testing.assert_close(guided.vector, torch.linalg.solve(matrices, b), rtol=1e-6, atol=1e-8)
    assert (guided.steps < plain.steps / 3).all()
    assert (guided.residual < 1e-9).all()


def test_a_policy_whose_preconditioner_fails_keeps_what_it_has_and_others_go_on():
    matrices, b = spd(3, 12, 1e3), normals(3, 12, seed=4)
    calls = []

    def failing(vector):
        calls.append(vector)
        return torch.stack([vector[0], vector[1] * (torch.nan if len(calls) > 3 else 1.0), 0.0 * vector[2]])

    found = conjugate_gradient(times(matrices), b, steps=40, precondition=failing)
    alone = conjugate_gradient(times(matrices[:2]), b[:2], steps=3, precondition=lambda vector: vector)
    torch.testing.assert_close(found.vector[0], torch.linalg.solve(matrices[0], b[0]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.vector[1], alone.vector[1])
    assert (found.vector[2] == 0).all()
    assert found.steps.tolist()[1:] == [3, 0]


def test_damping_adds_a_multiple_of_the_identity():
    matrices, v = spd(2, 5, 10.0), normals(2, 5, seed=1)
    torch.testing.assert_close(damped(times(matrices), 0.3)(v), times(matrices)(v) + 0.3 * v)


class Shifted:
    """A Gaussian of fixed deviation whose mean is linear in its parameters: its KL is a quadratic."""

    parameter_shapes = {"matrix": (2, 3)}  # noqa: RUF012

    def distribution(self, parameters, observations):
        mean = observations @ parameters["matrix"].mT
        return DiagonalGaussian(mean, torch.full((2,), 0.3, dtype=mean.dtype))


def test_the_quadratic_model_is_exact_for_a_quadratic():
    policy, observations = Shifted(), normals(2, 9, 3)
    parameters, step = {"matrix": normals(2, 2, 3, seed=1)}, 5 * normals(2, 6, seed=2)
    moved = {"matrix": parameters["matrix"] + step.reshape(2, 2, 3)}
    before, after = (policy.distribution(p, observations) for p in (parameters, moved))
    product = kl_fisher(policy, parameters, observations)
    torch.testing.assert_close(quadratic_kl(product, step), before.kl(after).mean(-1))
