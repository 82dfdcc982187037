"""Squares of score vectors, layer by layer: what tells where a gradient estimate's noise comes from.

For a pair with advantage A, ``A g`` is its contribution to the gradient, ``g = grad log pi``. Six sums over a stream
give, for every constant that is subtracted from its advantages, the second moment of what single pairs contribute, and
of what whole trajectories do. No gradient of a single pair is ever built for a known network: that of a layer is an
outer product, whose square is the product of two squares.

====== ===========================================
symbol meaning
====== ===========================================
T      pairs of the stream
L      layers; free parameters count as one
I, O   inputs and outputs of a layer
D      policy parameters, flattened
====== ===========================================
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from closerlook.nn.gradients import PAIRS_AT_ONCE, HeadErrors, ScorePolicy, unit_backward
from closerlook.nn.networks import MLP, Parameters

PAIRS_OF_AUTOGRAD = 64
"""Single pairs' gradients that are in memory at once, where autograd has to build them."""


def layer_slices(shapes: Mapping[str, Sequence[int]]) -> dict[str, slice]:
    """Say where each layer's parameters lie in the flat vector: the neighbors that share a name up to the last dot."""
    found: dict[str, slice] = {}
    start = 0
    # weight and bias of a layer follow one another in the flat vector
    for name, shape in shapes.items():
        layer = name.rpartition(".")[0] or name
        stop = start + int(np.prod(shape))
        found[layer] = slice(found[layer].start if layer in found else start, stop)
        start = stop
    return found


@torch.no_grad()
def mlp_score_squares(
    network: MLP,
    parameters: Parameters,
    head: HeadErrors,
    observations: Tensor,
    actions: Tensor,
    advantages: Tensor,
    starts: Sequence[int],
) -> np.ndarray:
    """Add up the squares of one stream for a policy that is an MLP with a known head.

    Parameters
    ----------
    network, parameters, head
        See `closerlook.nn.gradients.mlp_score_sums`.
    observations, actions : Tensor, (T, I) and (T, A) or (T,)
        The stream.
    advantages : Tensor, (T,)
        Weights A.
    starts : sequence of int
        First steps of the trajectories, rising, the first 0.

    Returns
    -------
    ndarray, (L, 6), float64
        For each layer, over pairs ``sum A^2 |g|^2, sum A |g|^2, sum |g|^2``; over trajectories of n pairs with sums
        ``s = sum A g`` and ``o = sum g``: ``sum |s|^2 / n, sum s.o / n, sum |o|^2 / n``.
    """
    tiles = [
        unit_backward(
            network, parameters, head, observations[at : at + PAIRS_AT_ONCE], actions[at : at + PAIRS_AT_ONCE]
        )
        for at in range(0, len(observations), PAIRS_AT_ONCE)
    ]
    layers = []
    for k in range(network.n_layers):
        inputs, errors = torch.cat([tile[0][k] for tile in tiles]), torch.cat([tile[1][k] for tile in tiles])
        # a bias is a weight whose input is always 1
        ones = torch.ones_like(inputs[:, :1])
        layers.append(_factored(torch.cat([inputs, ones], dim=1), errors, advantages, starts))
    free = [tile[2] for tile in tiles if tile[2] is not None]
    if free:
        layers.append(_factored(torch.ones_like(observations[:, :1]), torch.cat(free), advantages, starts))
    return np.array(layers)


@torch.no_grad()
def mlp_squared_norms(
    network: MLP, parameters: Parameters, head: HeadErrors, observations: Tensor, actions: Tensor
) -> Tensor:
    """Return ``|grad log pi|^2`` of each pair of one stream, (T,), for a policy that is an MLP with a known head.

    Parameters
    ----------
    network : MLP
        From policy inputs to the head's inputs.
    parameters : mapping of str to Tensor
        The policy's own, without a population axis.
    head : callable
        See `closerlook.nn.gradients.HeadErrors`.
    observations : Tensor, (T, I)
        The stream's policy inputs.
    actions : Tensor, (T, A) or (T,)
        Its actions as drawn.
    """
    norms = []
    for at in range(0, len(observations), PAIRS_AT_ONCE):
        tile = slice(at, at + PAIRS_AT_ONCE)
        inputs, errors, free = unit_backward(network, parameters, head, observations[tile], actions[tile])
        # |e h^T|^2 = |e|^2 |h|^2, and |e|^2 for the bias
        layers = [e.square().sum(1) * (rows.square().sum(1) + 1.0) for rows, e in zip(inputs, errors, strict=True)]
        layers += [] if free is None else [free.square().sum(1)]
        norms.append(torch.stack(layers).sum(0))
    return torch.cat(norms)


def _factored(inputs: Tensor, errors: Tensor, advantages: Tensor, starts: Sequence[int]) -> list[float]:
    """Add up the squares of gradients that are outer products of errors (T, O) and inputs (T, I)."""
    # |e_t h_t^T|^2 = |e_t|^2 |h_t|^2, so no (O, I) matrix of a single pair is needed
    squares = errors.double().square().sum(1) * inputs.double().square().sum(1)
    weighted = errors * advantages[:, None]
    found = _pair_sums(squares, advantages)
    trajectories = np.zeros(3)
    for first, stop in pairwise([*starts, len(inputs)]):
        rows = slice(first, stop)
        # s = sum_t A_t e_t h_t^T and o = sum_t e_t h_t^T of one trajectory
        sums = torch.stack([weighted[rows].T, errors[rows].T]) @ inputs[rows]
        trajectories += _products(*sums.double()) / (stop - first)
    return [*found, *trajectories]


def _pair_sums(squares: Tensor, advantages: Tensor) -> list[float]:
    wide = advantages.double()
    return [float((wide.square() * squares).sum()), float((wide * squares).sum()), float(squares.sum())]


def _products(left: Tensor, right: Tensor) -> np.ndarray:
    return np.array([float((a * b).sum()) for a, b in ((left, left), (left, right), (right, right))])


def autograd_score_squares(
    policy: ScorePolicy,
    parameters: Parameters,
    observations: Tensor,
    actions: Tensor,
    advantages: Tensor,
    starts: Sequence[int],
) -> np.ndarray:
    """Do the same for any policy, by the gradient of every single pair: slow.

    Parameters
    ----------
    policy : ScorePolicy
        Any policy.
    parameters : mapping of str to Tensor
        Its own, without a population axis.
    observations : Tensor, (T, I)
        The stream's policy inputs.
    actions : Tensor, (T, A) or (T,)
        Its actions as drawn.
    advantages : Tensor, (T,)
        Weights A.
    starts : sequence of int
        First steps of the trajectories, rising, the first 0.
    """
    leaves = {name: parameters[name].detach().clone().requires_grad_() for name in policy.parameter_shapes}
    slices = list(layer_slices(policy.parameter_shapes).values())
    pairs, sums = np.zeros((len(slices), 3)), np.zeros((len(starts), 2, slices[-1].stop))
    trajectory = np.searchsorted(starts, np.arange(len(observations)), side="right") - 1
    for at in range(0, len(observations), PAIRS_OF_AUTOGRAD):
        tile = slice(at, at + PAIRS_OF_AUTOGRAD)
        log_probs = policy.distribution(leaves, observations[tile]).log_prob(actions[tile])
        scores = torch.stack([_flat_gradient(one, list(leaves.values())) for one in log_probs]).double()
        own = advantages[tile].double()
        pairs += [_pair_sums(scores[:, part].square().sum(1), own) for part in slices]
        np.add.at(sums, trajectory[tile], torch.stack([scores * own[:, None], scores], dim=1).numpy())
    # sums over sqrt(n): their products are |s|^2 / n, s.o / n and |o|^2 / n
    lengths = np.diff([*starts, len(observations)])
    scaled = torch.from_numpy(sums / np.sqrt(lengths)[:, None, None])
    between = [_products(scaled[:, 0, part], scaled[:, 1, part]) for part in slices]
    return np.concatenate([pairs, between], axis=1)


def _flat_gradient(log_prob: Tensor, leaves: list[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(log_prob, leaves, retain_graph=True, allow_unused=True)
    pairs = zip(gradients, leaves, strict=True)
    return torch.cat([(torch.zeros_like(leaf) if g is None else g).flatten() for g, leaf in pairs])
