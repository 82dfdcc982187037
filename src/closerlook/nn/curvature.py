"""Curvature of the mean KL divergence around a policy: Fisher-vector products, conjugate gradient, quadratic model.

At the policy itself the Hessian of ``mean_s KL(pi_theta(s) || pi_theta'(s))`` in theta' is the Fisher matrix
``F = mean_s J(s)^T M(s) J(s)``, with J the Jacobian of the distribution's parameters and M their own Fisher matrix:
the term with the network's second derivatives vanishes, because the gradient of the KL is zero there. So for a known
network a product costs one pass of tangents forward and one of errors backward. Other policies go through autograd.

====== ==================================================
symbol meaning
====== ==================================================
P      policies of the population
M      states that the mean is taken over
I, O   inputs and outputs of the network
D      all policy parameters, flattened
====== ==================================================

No function here mixes members of a population.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from closerlook.nn.networks import MLP, Parameters, flatten, unflatten

VectorProduct = Callable[[Tensor], Tensor]
"""Multiplies each policy's vector by its own symmetric matrix: (P, D) to (P, D), the vectors' precision kept."""
BLOCK = 4096
"""States whose activations stay in a processor's cache from one layer to the next."""


class KLPolicy(Protocol):
    """What `kl_fisher` asks of a policy."""

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map parameter names, in order, to shapes without the population axis."""

    def distribution(self, parameters: Parameters, observations: Tensor) -> Any:
        """Build distributions that have ``kl`` at policy inputs [P, M, I].

        Parameters
        ----------
        parameters : mapping of str to Tensor, (P, ...)
            Stacked parameters.
        observations : Tensor, (P, M, I)
            Policy inputs.
        """


class LinearizedMLP:
    """A population's networks around fixed parameters and inputs, to first order.

    Parameters
    ----------
    network : MLP
        The architecture.
    parameters : mapping of str to Tensor, (P, ...)
        Stacked parameters; those that are not the network's are ignored.
    inputs : Tensor, (P, M, I)
        Where to linearize.
    """

    def __init__(self, network: MLP, parameters: Parameters, inputs: Tensor) -> None:
        self._weights = [parameters[f"{layer}.weight"].detach() for layer in range(network.n_layers)]
        self._inputs = [inputs]
        self._slopes: list[Tensor] = []
        # one forward pass keeps what both passes need: inputs of layers, and slopes of activations
        for layer in range(network.n_layers):
            self.outputs = _matmul(self._inputs[-1], self._weights[layer].mT)
            self.outputs += parameters[f"{layer}.bias"].detach().unsqueeze(1)
            if layer < network.n_layers - 1:
                activated, slope = _activate(network, self.outputs)
                self._inputs.append(activated)
                self._slopes.append(slope)

    def push(self, tangents: Parameters) -> Tensor:
        """Return how the outputs move, (P, M, O), when the parameters move by `tangents` (P, ...): ``J v``."""
        moved = _matmul(self._inputs[0], tangents["0.weight"].mT) + tangents["0.bias"].unsqueeze(1)
        for layer in range(1, len(self._weights)):
            # tangent of h_l = phi(W_l h_{l-1} + b_l): dz = W dh + dW h + db, dh = phi'(z) dz
            moved = moved * self._slopes[layer - 1]
            moved = _matmul(moved, self._weights[layer].mT)
            moved += _matmul(self._inputs[layer], tangents[f"{layer}.weight"].mT)
            moved += tangents[f"{layer}.bias"].unsqueeze(1)
        return moved

    def pull(self, errors: Tensor) -> dict[str, Tensor]:
        """Return the gradient (P, ...) of the sum of outputs times `errors` (P, M, O): ``J^T e``."""
        gradients = {}
        for layer in range(len(self._weights) - 1, -1, -1):
            gradients[f"{layer}.weight"] = _matmul(errors.mT, self._inputs[layer])
            gradients[f"{layer}.bias"] = errors.sum(1)
            # e_{l-1} = (W_l^T e_l) phi'(z_{l-1})
            if layer > 0:
                errors = _matmul(errors, self._weights[layer]) * self._slopes[layer - 1]
        return gradients


@torch.no_grad()
def gaussian_fisher(network: MLP, parameters: Parameters, observations: Tensor) -> VectorProduct:
    """Prepare Fisher-vector products of a diagonal Gaussian whose mean is a network and whose log std is free.

    The Fisher matrix of a Gaussian's mean is ``1 / std**2``, that of its log standard deviation 2, and they do not
    mix.

    Parameters
    ----------
    network : MLP
        The mean.
    parameters : mapping of str to Tensor, (P, ...)
        The network's, and ``log_std`` (P, A).
    observations : Tensor, (P, M, I)
        States that the Fisher matrix is the mean over.

    Returns
    -------
    callable
        Multiplies vectors whose order is the network's parameters, then ``log_std``.
    """
    linear = LinearizedMLP(network, parameters, observations)
    log_std = parameters["log_std"].detach()
    # F v = mean_s J^T diag(1 / sigma^2) J v for the mean's parameters, and 2 v for log sigma: E (z^2 - 1)^2 = 2
    weight = torch.exp(-2 * log_std).unsqueeze(1) / observations.shape[1]
    shapes = {**network.parameter_shapes, "log_std": tuple(log_std.shape[1:])}

    @torch.no_grad()
    def product(vector: Tensor) -> Tensor:
        tangents = unflatten(vector.to(log_std.dtype), shapes, stacked=True)
        pulled = linear.pull(linear.push(tangents) * weight)
        pulled["log_std"] = 2 * tangents["log_std"]
        return flatten(pulled, list(shapes), stacked=True).to(vector.dtype)

    return product


@torch.no_grad()
def categorical_fisher(network: MLP, parameters: Parameters, observations: Tensor) -> VectorProduct:
    """Do the same for a choice among actions whose logits are a network: ``M = diag(p) - p p^T``.

    Parameters
    ----------
    network : MLP
        The logits.
    parameters : mapping of str to Tensor, (P, ...)
        The network's.
    observations : Tensor, (P, M, I)
        States that the Fisher matrix is the mean over.
    """
    linear = LinearizedMLP(network, parameters, observations)
    probabilities = torch.softmax(linear.outputs, dim=-1)
    shapes = network.parameter_shapes

    @torch.no_grad()
    def product(vector: Tensor) -> Tensor:
        moved = linear.push(unflatten(vector.to(probabilities.dtype), shapes, stacked=True))
        # (diag(p) - p p^T) u = p * (u - p . u)
        centered = moved - (probabilities * moved).sum(-1, keepdim=True)
        pulled = linear.pull(probabilities * centered / observations.shape[1])
        return flatten(pulled, list(shapes), stacked=True).to(vector.dtype)

    return product


@torch.enable_grad()
def kl_fisher(policy: KLPolicy, parameters: Parameters, observations: Tensor) -> VectorProduct:
    """Do the same for any policy whose KL can be differentiated: autograd, twice backwards through the mean KL.

    Parameters
    ----------
    policy : KLPolicy
        Any policy; the vectors' order is that of its ``parameter_shapes``.
    parameters : mapping of str to Tensor, (P, ...)
        Stacked parameters.
    observations : Tensor, (P, M, I)
        States that the Fisher matrix is the mean over.

    Raises
    ------
    NotImplementedError
        Where no formula is known for the KL of the policy's distributions.
    """
    shapes = policy.parameter_shapes
    leaves = {name: parameters[name].detach().clone().requires_grad_() for name in shapes}
    with torch.no_grad():
        fixed = policy.distribution({name: leaf.detach() for name, leaf in leaves.items()}, observations)
    # Hessian-vector product of D(theta') = mean_s KL(pi_theta(s), pi_theta'(s)) at theta' = theta: grad (grad D . v)
    divergence = fixed.kl(policy.distribution(leaves, observations)).mean(-1)
    # grad D, kept with its graph: it is differentiated once more along every vector
    slopes = torch.autograd.grad(divergence.sum(), list(leaves.values()), create_graph=True, materialize_grads=True)
    slope = torch.cat([part.flatten(1) for part in slopes], dim=1)

    @torch.enable_grad()
    def product(vector: Tensor) -> Tensor:
        along = (slope * vector.to(slope.dtype)).sum()
        parts = torch.autograd.grad(along, list(leaves.values()), retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten(1) for part in parts], dim=1).to(vector.dtype)

    return product


def fisher_of_many(
    prepare: Callable[[Parameters, Tensor], VectorProduct], parameters: Parameters, observations: Tensor
) -> VectorProduct:
    """Prepare products with the Fisher matrix of more states than the cache holds, a pair of blocks at a time.

    Parameters
    ----------
    prepare : callable
        Prepares products with the Fisher matrix of some states, from stacked parameters and observations.
    parameters : mapping of str to Tensor, (P, ...)
        Stacked parameters.
    observations : Tensor, (P, M, ...)
        States that the Fisher matrix is the mean over; what `prepare` makes of them where they fill no pair of blocks.
    """
    policies, states = observations.shape[:2]
    whole = states // (2 * BLOCK)
    if whole == 0:
        return prepare(parameters, observations)
    in_pairs = whole * 2 * BLOCK
    # each policy twice, a block for either: one policy alone would cost as much (see _matmul)
    twice = {name: one.repeat_interleave(2, 0) for name, one in parameters.items()}
    pairs = observations[:, :in_pairs].reshape(policies, whole, 2, BLOCK, *observations.shape[2:]).unbind(1)
    products = [prepare(twice, pair.flatten(0, 1)) for pair in pairs]
    rest = prepare(parameters, observations[:, in_pairs:]) if in_pairs < states else None

    def product(vector: Tensor) -> Tensor:
        vectors = vector.repeat_interleave(2, 0)
        # M F v = sum over blocks of BLOCK F_b v, and what is left over
        moved = torch.stack([one(vectors) for one in products]).sum(0)  # (2 P, D)
        total = BLOCK * moved.reshape(policies, 2, -1).sum(1)
        if rest is not None:
            total = total + (states - in_pairs) * rest(vector)
        return total / states

    return product


def damped(product: VectorProduct, damping: float) -> VectorProduct:
    """Add `damping` times the identity to a matrix.

    Parameters
    ----------
    product : callable
        Multiplies vectors (P, D) by each policy's matrix.
    damping : float
        What is added to the diagonal.
    """
    return lambda vector: product(vector) + damping * vector


@dataclass(frozen=True)
class Solution:
    """What conjugate gradient found for ``A x = b``, for each policy.

    Parameters
    ----------
    vector : Tensor, (P, D)
        The approximate x.
    image : Tensor, (P, D)
        Its product ``A x``, computed afresh.
    residual : Tensor, (P,)
        ``|b - A x| / |b|``, from that product and not from the recurrence; 0 where b is 0.
    steps : Tensor, (P,), int64
        Steps taken.
    """

    vector: Tensor
    image: Tensor
    residual: Tensor
    steps: Tensor


def conjugate_gradient(
    product: VectorProduct,
    target: Tensor,
    *,
    steps: int,
    tolerance: float = 1e-6,
    precondition: VectorProduct | None = None,
) -> Solution:
    """Solve ``A x = b`` for each policy of a population by conjugate gradient from zero.

    A policy stops, and keeps what it has, when its residual is small enough, or when the curvature along its search
    direction is not positive and finite; the others go on.

    Parameters
    ----------
    product : callable
        Multiplies by each policy's symmetric positive definite A.
    target : Tensor, (P, D)
        Each policy's b; its precision is that of the recurrences.
    steps : int
        At most so many.
    tolerance : float
        Stop at ``|b - A x| <= tolerance |b|`` by the recurrence; 0 takes every step.
    precondition : callable, optional
        Multiplies vectors (P, D) by about the inverse of each policy's A: the nearer, the fewer steps. It may be
        another matrix each time.

    References
    ----------
    Hestenes and Stiefel, 1952, "Methods of Conjugate Gradients for Solving Linear Systems"; where a preconditioner is
    given, Notay, 2000, "Flexible Conjugate Gradients", with one direction kept.
    """
    # x_0 = 0, r_0 = b, z_0 = M r_0, d_0 = z_0; without a preconditioner M = 1 and z = r
    solution, residual = torch.zeros_like(target), target.clone()
    shaped = residual if precondition is None else precondition(residual)
    direction = shaped.clone()
    square, along = dot(residual, residual), dot(residual, shaped)
    # stop at |r|^2 <= tolerance^2 |b|^2
    enough = tolerance**2 * square
    active = torch.isfinite(square)
    taken = torch.zeros(len(target), dtype=torch.int64)
    for _ in range(steps):
        active = active & (square > enough)
        if not active.any():
            break
        image = product(direction)
        curvature = dot(direction, image)
        active = active & (curvature > 0) & torch.isfinite(curvature)
        # alpha = r . z / (d . A d);  x += alpha d;  r' = r - alpha A d
        length = torch.where(active, along / curvature, 0.0).unsqueeze(-1)
        # a stopped policy must stay as it is even where its product is not finite: 0 times infinity is not 0
        moving = active.unsqueeze(-1)
        solution = torch.where(moving, solution + length * direction, solution)
        before, residual = residual, torch.where(moving, residual - length * image, residual)
        shaped = residual if precondition is None else precondition(residual)
        following = dot(residual, shaped)
        # beta = (r' - r) . z' / (r . z), where r . z' is 0 if M is the same matrix each time;  d = z' + beta d
        turned = following if precondition is None else dot(residual - before, shaped)
        direction = torch.where(moving, shaped + (turned / along).unsqueeze(-1) * direction, direction)
        along = torch.where(active, following, along)
        square = torch.where(active, dot(residual, residual), square)
        taken += active
    # the recurrence's residual drifts from the true one: what is reported is computed afresh
    image = product(solution)
    norm = dot(target, target).sqrt()
    left = dot(target - image, target - image).sqrt()
    return Solution(solution, image, torch.where(norm == 0, 0.0, left / norm), taken)


def quadratic_kl(product: VectorProduct, step: Tensor) -> Tensor:
    """Return the quadratic model ``step^T F step / 2`` of the mean KL after a step (P, D), in nats: (P,).

    Parameters
    ----------
    product : callable
        Multiplies vectors (P, D) by each policy's Fisher matrix F, undamped.
    step : Tensor, (P, D)
        Change of the parameters.
    """
    # D(theta + d) = 1/2 d^T F d + O(|d|^3): D and its gradient vanish at theta
    return 0.5 * dot(step, product(step))


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Return the inner product of each policy's vectors (P, D): (P,).

    Parameters
    ----------
    left, right : Tensor, (P, D)
        A vector of each policy.
    """
    return (left * right).sum(-1)


def _activate(network: MLP, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the activation, and its derivative."""
    if network.activation == "tanh":
        activated = torch.tanh(values)
        return activated, 1.0 - activated.square()
    return torch.relu(values), (values > 0).to(values.dtype)


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    """Multiply stacked matrices; one alone is done twice, since the library's path for it differs in the last bit."""
    if len(left) > 1:
        return torch.bmm(left, right)
    return torch.bmm(left.expand(2, -1, -1), right.expand(2, -1, -1))[:1]
