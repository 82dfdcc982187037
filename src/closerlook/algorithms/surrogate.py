"""The objectives that policy-gradient updates climb, and the standardized advantages they are made of.

====== ==================================================
symbol meaning
====== ==================================================
...    any leading axes, for example policies [P]
N      state-action pairs over which advantages are standardized
====== ==================================================
"""

import torch
from torch import Tensor

EPSILON = 1e-8
"""Added to the standard deviation (released code, steps.py, ``adv_normalize``)."""
SURROGATES = ("plain", "normalized", "clipped")
"""Surrogates: of advantages as they are; of standardized ones; clipped as in PPO, of those that the agent uses."""


def standardize(advantages: Tensor) -> tuple[Tensor, Tensor]:
    """Standardize advantages over their last axis: mean 0, sample standard deviation (divisor n - 1) 1.

    Parameters
    ----------
    advantages : Tensor, (..., N)
        Advantage estimates.

    Returns
    -------
    standardized : Tensor, (..., N)
        Zero where all N are equal: a batch that prefers no action over another asks for no change.
    constant : Tensor, (...), bool
        Where that was so.
    """
    # A' = (A - mean A) / (std A + 1e-8), eq. 14 of Ilyas et al.; equal ones would be rounding over 1e-8
    constant = advantages.amax(-1) == advantages.amin(-1)
    centered = advantages - advantages.mean(-1, keepdim=True)
    standardized = centered / (deviation(advantages).to(advantages.dtype).unsqueeze(-1) + EPSILON)
    return torch.where(constant.unsqueeze(-1), 0.0, standardized), constant


def deviation(values: Tensor) -> Tensor:
    """Sample standard deviation (divisor n - 1) over the last axis, in float64; 0 for a single number.

    Spelled out because the last bits of torch's own depend on how many rows there are.
    """
    doubled = values.double()
    squares = (doubled - doubled.mean(-1, keepdim=True)).square().sum(-1)
    return (squares / max(values.shape[-1] - 1, 1)).sqrt()


def clipped_surrogate(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """PPO's clipped objective, for each pair.

    ``min(r A, clamp(r, 1 - clip, 1 + clip) A)`` with ``r`` the ratio of new to old probability.

    Parameters
    ----------
    log_probs, old_log_probs, advantages : Tensor, (..., N)
        Log probabilities under the new and the old policy, and (standardized) advantages.
    clip : float
        How far from 1 the ratio still counts.

    Returns
    -------
    Tensor, (..., N)
        To be maximized.

    References
    ----------
    Schulman et al., 2017, "Proximal Policy Optimization Algorithms", eq. 7.
    """
    # eq. 7: min(r A, clip(r, 1 - eps, 1 + eps) A), r = pi(a | s) / pi_old(a | s) = exp(log pi - log pi_old)
    ratio = torch.exp(log_probs - old_log_probs)
    return torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages)
