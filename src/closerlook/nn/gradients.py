"""Weighted sums of score vectors: ``sum_t w_qt grad log pi(a_t | s_t)`` for many weightings of one stream.

For a known network a single backward pass is enough for any number of weightings, because backward is linear in the
weight of a pair: with the unit error ``e_t`` at a layer's output and its input ``h_t``, the layer's gradient under
weighting q is ``sum_t w_qt e_t h_t^T``, which is one matrix product for all q. Other policies go through autograd,
one backward pass for each weighting.

====== ===============================================
symbol meaning
====== ===============================================
T      pairs of the stream
N      pairs of one window: the first N of the stream
Q      weightings of one window
I, O   inputs and outputs of one layer
D      all policy parameters, flattened
====== ===============================================

Products are float32, as in training; sums over tiles of pairs and over streams are float64. One stream is one call,
of a shape of its own, so that no number depends on which streams were simulated together.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from closerlook.nn.networks import MLP, Parameters

PAIRS_AT_ONCE = 2048
"""Pairs of one matrix product: bounds memory, and float32 sums are no longer than this."""


class ScorePolicy(Protocol):
    """What `autograd_score_sums` asks of a policy."""

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map parameter names, in order, to shapes."""

    def distribution(self, parameters: Parameters, observations: Tensor) -> "HasLogProb":
        """Build action distributions at policy inputs [N, obs].

        Parameters
        ----------
        parameters : mapping of str to Tensor
            The policy's own, without a population axis.
        observations : Tensor, (N, I)
            Policy inputs.
        """


class HasLogProb(Protocol):
    """What it asks of a distribution."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density of the actions, [N]."""


HeadErrors = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""Maps a network's outputs [N, O] and actions to ``d log pi / d output`` [N, O], and to the derivative [N, A] with
respect to free parameters that follow the network's, or None."""


def gaussian_head(log_std: Tensor) -> HeadErrors:
    """Differentiate a diagonal Gaussian's log density by its mean and its free log standard deviation (A,)."""

    def errors(mean: Tensor, actions: Tensor) -> tuple[Tensor, Tensor | None]:
        # log pi = -1/2 sum z^2 - sum log sigma + const, z = (a - mu) / sigma:
        # d log pi / d mu = z / sigma,  d log pi / d log sigma = z^2 - 1
        inverse = torch.exp(-log_std)
        standard = (actions - mean) * inverse
        return standard * inverse, standard.square() - 1.0

    return errors


def categorical_head(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor | None]:
    """Differentiate a categorical log probability by its logits: one-hot less probability.

    Parameters
    ----------
    logits : Tensor, (N, O)
        The network's outputs.
    actions : Tensor, (N,)
        Numbers of the actions drawn.
    """
    # d log softmax(l)_a / d l = onehot(a) - softmax(l)
    chosen = torch.nn.functional.one_hot(actions.long(), logits.shape[-1])
    return chosen - torch.softmax(logits, dim=-1), None


@torch.no_grad()
def mlp_score_sums(
    network: MLP,
    parameters: Parameters,
    head: HeadErrors,
    observations: Tensor,
    actions: Tensor,
    windows: Sequence[Tensor],
) -> list[np.ndarray]:
    """Sum weighted scores of one stream for a policy that is an MLP with a known head.

    Parameters
    ----------
    network : MLP
        From policy inputs to the head's inputs.
    parameters : mapping of str to Tensor
        The policy's own, without a population axis.
    head : callable
        See `HeadErrors`.
    observations : Tensor, (T, I)
        Policy inputs.
    actions : Tensor, (T, A) or (T,)
        Actions as drawn.
    windows : sequence of Tensor, (Q, N) each
        Weights of the first N pairs; Q and N may differ between windows.

    Returns
    -------
    list of ndarray, (Q, D), float64
        Sums for each window, flat in the order of the policy's parameters, weights as (O, I).
    """
    size = sum(parameter.numel() for parameter in parameters.values())
    sums = [np.zeros((len(window), size)) for window in windows]
    # tiles bound memory, and how long sums in single precision become
    for start in range(0, len(observations), PAIRS_AT_ONCE):
        tile = slice(start, start + PAIRS_AT_ONCE)
        inputs, errors, free = unit_backward(network, parameters, head, observations[tile], actions[tile])
        for k, window in enumerate(windows):
            if window.shape[1] > start:
                sums[k] += _weighted(inputs, errors, free, window[:, tile])
    return sums


def unit_backward(
    network: MLP, parameters: Parameters, head: HeadErrors, observations: Tensor, actions: Tensor
) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Return each layer's inputs [N, I] and unit errors [N, O], first layer first, and the free derivative.

    Parameters
    ----------
    network : MLP
        From policy inputs to the head's inputs.
    parameters : mapping of str to Tensor
        The policy's own, without a population axis.
    head : callable
        See `HeadErrors`.
    observations : Tensor, (N, I)
        Policy inputs.
    actions : Tensor, (N, A) or (N,)
        Actions as drawn.
    """
    inputs = [observations]
    for layer in range(network.n_layers - 1):
        inputs.append(_activate(network, _affine(parameters, layer, inputs[-1])))
    error, free = head(_affine(parameters, network.n_layers - 1, inputs[-1]), actions)
    # e_{l-1} = (W_l^T e_l) * phi'(h_l), the error of log pi itself: no pair is weighted yet
    errors = [error]
    for layer in range(network.n_layers - 1, 0, -1):
        error = (error @ parameters[f"{layer}.weight"]) * _slope(network, inputs[layer])
        errors.append(error)
    return inputs, errors[::-1], free


def _affine(parameters: Parameters, layer: int, inputs: Tensor) -> Tensor:
    # z = W h + b
    return torch.nn.functional.linear(inputs, parameters[f"{layer}.weight"], parameters[f"{layer}.bias"])


def _activate(network: MLP, values: Tensor) -> Tensor:
    return torch.tanh(values) if network.activation == "tanh" else torch.relu(values)


def _slope(network: MLP, activated: Tensor) -> Tensor:
    """Differentiate the activation, given its own value."""
    # tanh' = 1 - tanh^2; relu' is 1 where the unit is on
    return 1.0 - activated.square() if network.activation == "tanh" else (activated > 0).to(activated.dtype)


def _weighted(inputs: list[Tensor], errors: list[Tensor], free: Tensor | None, weights: Tensor) -> np.ndarray:
    """Contract unit errors and inputs of a tile with weights [Q, N]: (Q, D)."""
    count, pairs = weights.shape
    parts = []
    # dW_q = sum_t w_qt e_t h_t^T and db_q = sum_t w_qt e_t
    for rows, error in zip(inputs, errors, strict=True):
        weighted = (weights[:, None, :] * error[:pairs].T).flatten(0, 1)  # [Q * O, N]: one product for every q
        parts += [(weighted @ rows[:pairs]).reshape(count, -1), weighted.sum(1).reshape(count, -1)]
    if free is not None:
        parts.append(weights @ free[:pairs])
    return torch.cat(parts, dim=1).numpy()


def autograd_score_sums(
    policy: ScorePolicy, parameters: Parameters, observations: Tensor, actions: Tensor, windows: Sequence[Tensor]
) -> list[np.ndarray]:
    """Do the same for any policy: one backward pass for each weighting of each window and tile.

    A parameter that the policy's distribution does not depend on gets zeros.

    Parameters
    ----------
    policy : ScorePolicy
        Any policy.
    parameters : mapping of str to Tensor
        Its own, without a population axis.
    observations : Tensor, (T, I)
        Policy inputs.
    actions : Tensor, (T, A) or (T,)
        Actions as drawn.
    windows : sequence of Tensor, (Q, N) each
        Weights of the first N pairs; Q and N may differ between windows.
    """
    leaves = {name: parameters[name].detach().clone().requires_grad_() for name in policy.parameter_shapes}
    size = sum(leaf.numel() for leaf in leaves.values())
    sums = [np.zeros((len(window), size)) for window in windows]
    for start in range(0, len(observations), PAIRS_AT_ONCE):
        tile = slice(start, start + PAIRS_AT_ONCE)
        log_probs = policy.distribution(leaves, observations[tile]).log_prob(actions[tile])
        for k, window in enumerate(windows):
            for q, weights in enumerate(window[:, tile] if window.shape[1] > start else ()):
                # vector-Jacobian product: sum_t w_qt grad log pi_t in one backward pass
                sums[k][q] += _backward(log_probs[: len(weights)], weights, list(leaves.values()))
    return sums


def _backward(log_probs: Tensor, weights: Tensor, leaves: list[Tensor]) -> np.ndarray:
    # weights are the upstream gradient: sum_t w_t d log pi_t / d theta
    gradients = torch.autograd.grad(log_probs, leaves, weights, retain_graph=True, allow_unused=True)
    pairs = zip(gradients, leaves, strict=True)
    return torch.cat([(torch.zeros_like(leaf) if g is None else g).flatten() for g, leaf in pairs]).numpy()
