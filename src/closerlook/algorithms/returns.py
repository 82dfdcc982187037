"""Advantages and returns from rewards and values, with terminated, truncated and cut streams told apart.

====== ====================================================================================
symbol meaning
====== ====================================================================================
T      time steps of a stream, always the last axis
...    any leading axes: streams, or policies and streams
====== ====================================================================================

A step t *ends* where the next step of the stream does not follow from it: the episode terminated, a time limit
truncated it, or the stream was cut there (its last step). After a termination nothing follows, so the value of what
follows is zero; after a truncation or a cut something would have followed, and its value stands in for it.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    ends: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalized advantage estimates.

    ``delta_t = r_t + gamma V(s_{t+1}) - V(s_t)`` and ``A_t = delta_t + gamma lambda A_{t+1}``, where the sum stops
    at the end of an episode or of the stream.

    Parameters
    ----------
    rewards, values : Tensor, (..., T)
        Rewards, and the critic at the state each was earned in, in the same units.
    next_values : Tensor, (..., T)
        The critic at the state that followed: 0 after a termination; after a truncation or a cut, the value of the
        state the episode would have gone on from, not of the next episode's first.
    ends : Tensor, (..., T), bool
        Whether the next step of the stream does not follow from this one; the last step counts as such anyway.
    gamma, gae_lambda : float
        Discount factor, and lambda.

    Returns
    -------
    Tensor, (..., T)
        Advantages.

    References
    ----------
    Schulman et al., 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", eq. 16.
    """
    # eq. 16: A_t = sum_k (gamma lambda)^k delta_{t+k}, delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
    deltas = rewards + gamma * next_values - values
    return discounted_sums(deltas, ends, gamma * gae_lambda)


def discounted_sums(rewards: Tensor, ends: Tensor, discount: float, tail: Tensor | None = None) -> Tensor:
    """Return ``R_t = r_t + discount * R_{t+1}``, starting anew at every end.

    Parameters
    ----------
    rewards : Tensor, (..., T)
        What is summed.
    ends : Tensor, (..., T), bool
        Where the next step does not follow.
    discount : float
        Weight of each further step.
    tail : Tensor, (..., T), optional
        What follows step t where t is an end, already discounted to step t + 1; default 0.

    Returns
    -------
    Tensor, (..., T)
        The sums.
    """
    following = np.zeros(rewards.shape[:-1], rewards.numpy().dtype)
    steps, stops = _time_first(rewards), _time_first(ends)
    after = np.zeros_like(steps) if tail is None else _time_first(tail)
    # R_t = r_t + discount R_{t+1} within an episode; at an end R_{t+1} is the tail, zero after a termination
    for t in range(len(steps) - 1, -1, -1):
        np.copyto(following, after[t], where=stops[t])
        following *= discount
        following += steps[t]
        steps[t] = following
    return torch.from_numpy(np.moveaxis(steps, 0, -1).copy())


def advantages_if_cut(
    advantages: Tensor, ends: Tensor, steps: int, decay: float, stand_in: Tensor | None = None
) -> Tensor:
    """Return the advantages that the first steps of streams have if the streams are cut after them.

    With ``A_t = sum_k decay^k delta_{t+k}`` nothing but the terms from the cut on is missing, where no episode ended
    in between: ``A_t - decay^(steps - t) A_steps``. The critic at the cut stands in for what followed, as in `gae`.

    Parameters
    ----------
    advantages : Tensor, (..., T)
        Of the whole streams, as `gae` returns them.
    ends : Tensor, (..., T), bool
        Steps that ended an episode.
    steps : int
        Steps before the cut, less than T.
    decay : float
        ``gamma * lambda``; lambda is 1 for returns.
    stand_in : Tensor, (..., T), optional
        What the last step before a cut there gains where something else than the critic at the cut stands in for
        what followed.

    Returns
    -------
    Tensor, (..., steps)
        Advantages.
    """
    # where an episode ends between t and the cut, A_t does not reach the cut at all
    ended_later = ends[..., :steps].flip(-1).cumsum(-1).flip(-1) > 0
    # A_t - decay^(N - t) A_N, in double precision as powers of decay span many magnitudes
    powers = decay ** torch.arange(steps, 0, -1, dtype=torch.float64)
    missing = powers * advantages[..., steps : steps + 1].double()
    if stand_in is not None:
        powers = decay ** torch.arange(steps - 1, -1, -1, dtype=torch.float64)
        missing = missing - powers * stand_in[..., steps - 1 : steps].double()
    missing = missing.to(advantages.dtype)
    return advantages[..., :steps] - torch.where(ended_later, 0.0, missing)


def _time_first(tensor: Tensor) -> NDArray[Any]:
    """Copy (..., T) to (T, ...), so that a step of all streams lies together."""
    return np.moveaxis(tensor.numpy(), -1, 0).copy()
