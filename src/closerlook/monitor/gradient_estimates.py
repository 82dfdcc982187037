"""The policy gradient of a batch: how far parts of the batch agree on it, and what else pulls at the same parameters.

====== ==================================
symbol meaning
====== ==================================
K      groups of environments or trajectories
D      policy parameters, flattened
====== ==================================
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from closerlook.monitor.batch import Batch
from closerlook.monitor.policies import rows_of
from closerlook.statistics.batch_counts import trajectory_numbers
from closerlook.statistics.estimates import cosine_matrix, mean_pairwise_cosine
from closerlook.statistics.splits import FEWEST_GROUPS, group_units, split_noise_scale, split_true_cosine

MOST_GROUPS = 32
"""Groups that a batch is split into at most: each takes a backward pass."""
ENVIRONMENTS = 16
"""Environments from which on they are the units; below, trajectories are."""

GRADIENT = {
    "gradient_groups": "groups of environments or trajectories that the batch was split into",
    "pairwise_cosine": "mean cosine of two groups' policy gradients",
    "noise_scale_pairs": "simple noise scale: pairs at which noise and signal of the policy gradient are equal",
    "batch_true_cosine": "cosine of the whole batch's gradient to the exact one, from the cosines of its halves",
    "gradient_norm": "norm of the whole batch's policy gradient",
}
PARTS = {
    "surrogate_gradient_norm": "norm of the surrogate's gradient, over all parameters, at the policy that sampled",
    "value_gradient_norm": "norm of the value loss' gradient, over all parameters, times its coefficient, 1 "
    "where it is not known",
    "entropy_gradient_norm": "norm of the entropy's gradient, over all parameters, times its coefficient, 0 "
    "where it is not known",
    "surrogate_value_cosine": "cosine of the surrogate's gradient and that of the value loss, both as they descend",
    "surrogate_entropy_cosine": "cosine of the surrogate's gradient and the entropy's",
    "value_share_of_norm": "share of the value loss in the sum of squared norms",
    "gradient_cut": "share of the whole gradient's length that max_grad_norm cuts off",
    "cut_by_value": "share of the whole gradient's length that max_grad_norm cuts off because of the value loss",
}


def groups_of(batch: Batch) -> NDArray[np.int64]:
    """Put environments, or trajectories where environments are few, into groups: the number of each pair's, (T, N)."""
    ends = batch.ends
    if batch.environments >= ENVIRONMENTS or ends is None:
        # environments are independent; their trajectories are taken where environments are few
        units = np.broadcast_to(np.arange(batch.environments), batch.rewards.shape)
    else:
        units = trajectory_numbers(ends)
    sizes = np.bincount(units.ravel())
    return np.asarray(group_units(sizes, MOST_GROUPS)[units])


def weights_of(batch: Batch) -> NDArray[np.float64]:
    """Return advantages as the update weighs pairs with them, (T N,): standardized unless the update does not."""
    assert batch.advantages is not None
    own = batch.advantages.reshape(-1).astype(np.float64)
    if batch.normalize_advantages == "none":
        return own
    # (A - mean A) / (std A + 1e-8), the deviation with divisor n - 1 as in torch
    return np.asarray((own - own.mean()) / (own.std(ddof=1 if own.size > 1 else 0) + 1e-8))


def can_differentiate(batch: Batch) -> bool:
    """Whether the batch has what a policy gradient takes."""
    needed = (batch.policy, batch.observations, batch.actions, batch.advantages)
    has_all = all(part is not None for part in needed)
    return has_all and batch.policy is not None and bool(batch.policy.parameters)


def gradient_agreement(batch: Batch) -> dict[str, float]:
    """Estimate signal and noise of the policy gradient by splitting the batch; no environment step is made.

    Returns
    -------
    dict of str to float
        The numbers `GRADIENT`, intervals as ``_low`` and ``_high``; NaN with fewer than four groups.
    """
    if not can_differentiate(batch):
        return {}
    sums, pairs = group_gradients(batch, groups_of(batch))
    whole = sums.sum(axis=0) / pairs.sum()
    found = {"gradient_groups": float(len(sums)), "gradient_norm": float(np.linalg.norm(whole))}
    directed = sums[np.linalg.norm(sums, axis=1) > 0]
    if len(directed) < FEWEST_GROUPS or not np.isfinite(sums).all():
        return found | dict.fromkeys(("pairwise_cosine", "noise_scale_pairs", "batch_true_cosine"), np.nan)
    cosine, scale = mean_pairwise_cosine(cosine_matrix(directed)), split_noise_scale(sums, pairs).pairs
    intervals = {"pairwise_cosine": cosine, "noise_scale_pairs": scale, "batch_true_cosine": split_true_cosine(sums)}
    for name, interval in intervals.items():
        found |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return found


def group_gradients(batch: Batch, groups: NDArray[np.int64]) -> tuple[np.ndarray, np.ndarray]:
    """Return each group's sum of ``A grad log pi``, (K, D) float64, and its pairs (K,).

    Parameters
    ----------
    batch : Batch
        With policy, observations, actions and advantages.
    groups : ndarray, (T, N), int
        The group of each pair, from 0 on.
    """
    assert batch.policy is not None
    assert batch.observations is not None
    assert batch.actions is not None
    seen, taken = rows_of(batch.observations, batch.policy), rows_of(batch.actions, batch.policy)
    weights = torch.from_numpy(weights_of(batch)).to(seen.device, next(iter(batch.policy.parameters.values())).dtype)
    parameters = list(batch.policy.parameters.values())
    sums, flat = [], groups.reshape(-1)
    for group in range(int(flat.max()) + 1):
        own = torch.from_numpy(np.flatnonzero(flat == group)).to(seen.device)
        # s_k = sum over the group of A grad log pi
        objective = (weights[own] * batch.policy(seen[own]).log_prob(taken[own])).sum()
        sums.append(flat_gradient(objective, parameters).double().numpy())
    return np.stack(sums), np.bincount(flat)


def flat_gradient(objective: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return a gradient, flat on the CPU; zero where a parameter is not used.

    Parameters
    ----------
    objective : Tensor, ()
        What is differentiated.
    parameters : sequence of Tensor
        By what, in this order.
    """
    if not objective.requires_grad:
        return torch.zeros(sum(parameter.numel() for parameter in parameters))
    # a parameter that the objective does not depend on has no gradient: zero
    parts = torch.autograd.grad(objective, list(parameters), allow_unused=True)
    filled = [torch.zeros_like(p) if part is None else part for p, part in zip(parameters, parts, strict=True)]
    return torch.cat([part.reshape(-1).cpu() for part in filled])


def gradient_parts(batch: Batch) -> dict[str, float]:
    """Compare the gradients of surrogate, value loss and entropy at the start of the update, on the whole batch.

    Returns
    -------
    dict of str to float
        The numbers `PARTS` that the batch has what it takes for.
    """
    if not can_differentiate(batch) or batch.critic is None or batch.returns is None:
        return {}
    assert batch.policy is not None
    assert batch.observations is not None
    assert batch.actions is not None
    # parameters that both use are differentiated once
    both = [*batch.policy.parameters.values(), *batch.critic.parameters.values()]
    parameters = list({id(tensor): tensor for tensor in both}.values())
    seen, taken = rows_of(batch.observations, batch.policy), rows_of(batch.actions, batch.policy)
    kind = {"device": seen.device, "dtype": parameters[0].dtype}
    weights, returns = (torch.as_tensor(a, **kind) for a in (weights_of(batch), batch.returns.reshape(-1)))
    # what is descended is L = -mean A log pi + c_v (V - y)^2 - c_e H: each part as it pulls, so upwards
    surrogate = flat_gradient((weights * batch.policy(seen).log_prob(taken)).mean(), parameters)
    weight = 1.0 if batch.value_coefficient is None else batch.value_coefficient
    value = -weight * flat_gradient((batch.critic(seen) - returns).square().mean(), parameters)
    entropy = (batch.entropy_coefficient or 0.0) * flat_gradient(batch.policy(seen).entropy().mean(), parameters)
    return _compare(surrogate.double(), value.double(), entropy.double(), batch.max_grad_norm)


def _compare(surrogate: Tensor, value: Tensor, entropy: Tensor, limit: float | None) -> dict[str, float]:
    norms = [float(part.norm()) for part in (surrogate, value, entropy)]
    squares = sum(norm**2 for norm in norms if np.isfinite(norm))
    found = {
        "surrogate_gradient_norm": norms[0],
        "value_gradient_norm": norms[1],
        "entropy_gradient_norm": norms[2],
        "surrogate_value_cosine": _cosine(surrogate, value),
        "surrogate_entropy_cosine": _cosine(surrogate, entropy),
        "value_share_of_norm": norms[1] ** 2 / squares if squares > 0 else np.nan,
    }
    if limit is not None:
        # max_grad_norm bounds |g_surrogate + g_value + g_entropy|: 1 - bound / norm of it is cut off
        whole = float((surrogate + value + torch.nan_to_num(entropy)).norm())
        found["gradient_cut"] = 1 - min(1.0, limit / whole) if whole > 0 else 0.0
        found["cut_by_value"] = found["gradient_cut"] * found["value_share_of_norm"]
    return found


def _cosine(one: Tensor, other: Tensor) -> float:
    norms = float(one.norm() * other.norm())
    return float(one @ other) / norms if norms > 0 else np.nan
