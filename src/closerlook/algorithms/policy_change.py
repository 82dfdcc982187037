"""How far a policy is from the one that sampled a batch, and what the surrogates say of it.

====== ==============================
symbol meaning
====== ==============================
P      policies: a population of one here
N      pairs of the batch
D      policy parameters, flattened
====== ==============================
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from closerlook.algorithms.objective import Objective
from closerlook.errors import PolicyError, users_code
from closerlook.estimation.distributions import DiagonalGaussian, Distribution

SURROGATES = ("plain", "normalised", "clipped")
"""Surrogates: of advantages as they are, of standardised ones, of those and clipped as in PPO."""
TAIL = 0.99
"""Which quantile over states stands beside the mean and the largest divergence."""
CHANGES = (
    "mean_kl",
    "max_kl",
    "high_kl",
    "mean_reverse_kl",
    "max_reverse_kl",
    "high_reverse_kl",
    "max_ratio",
    "clip_fraction",
)
"""Of KL(old || new) and KL(new || old) in nats mean, largest and 99th percentile over the batch's states; the largest
ratio of new to old probability over its pairs, and the share of pairs whose ratio is further from 1 than epsilon."""


@dataclass(frozen=True)
class PolicyChange:
    """What a batch says of another policy.

    Parameters
    ----------
    surrogates : ndarray, (3,)
        In the order of `SURROGATES`; not finite where ratios overflow, NaN where the other policy is not one.
    change : ndarray, (8,)
        In the order of `CHANGES`; NaN where no formula is known for the KL, or where the other policy is not one.
    """

    surrogates: np.ndarray
    change: np.ndarray


NOT_A_POLICY = PolicyChange(np.full(len(SURROGATES), np.nan), np.full(len(CHANGES), np.nan))
"""Of parameters that are not finite, or that the agent's policy refuses."""


def policy_change(plain: Objective, normalised: Objective, start: Tensor, vector: Tensor, clip: float) -> PolicyChange:
    """Compare the policy that sampled a batch with another one, which may be none: it is not known then.

    Parameters
    ----------
    plain, normalised : Objective
        Of the batch, with advantages as they are and standardised, (1, N).
    start, vector : Tensor, (1, D)
        The old policy's flat parameters and the new one's.
    clip : float
        Epsilon of the clipped surrogate, and of the ratios counted.

    Raises
    ------
    PolicyError
        Where the old policy itself fails.
    """
    if not bool(torch.isfinite(vector).all()):
        return NOT_A_POLICY
    try:
        with users_code("the agent's policy", "look at its distribution", PolicyError):
            return _compare(plain, normalised, start, vector, clip)
    except PolicyError:
        if torch.equal(start, vector):
            raise
        return NOT_A_POLICY


@torch.no_grad()
def _compare(plain: Objective, normalised: Objective, start: Tensor, vector: Tensor, clip: float) -> PolicyChange:
    totals = np.zeros(len(SURROGATES))
    columns = []
    for raw, standard in zip(plain.parts(), normalised.parts(), strict=True):
        old, new = raw.distribution(start), raw.distribution(vector)
        log_probs = new.log_prob(raw.actions)
        gains = (raw.gains(log_probs), standard.gains(log_probs), standard.gains(log_probs, clip))
        totals += [float(gain.double().sum()) for gain in gains]
        ratio = torch.exp(log_probs - raw.old_log_probs)
        columns.append((divergence(old, new, like=ratio), divergence(new, old, like=ratio), ratio))
    forward, backward, ratios = (torch.cat(column, dim=1)[0].double().numpy() for column in zip(*columns, strict=True))
    outside = (np.abs(ratios - 1.0) > clip).mean() if not np.isnan(ratios).any() else np.nan
    change = [*_over_states(forward), *_over_states(backward), ratios.max(), outside]
    return PolicyChange(totals / ratios.size, np.array(change))


@torch.no_grad()
def smallest_deviation(objective: Objective, vector: Tensor) -> float:
    """Return the smallest standard deviation of an action component at any of the batch's states.

    NaN for a policy that is not Gaussian.
    """
    smallest = np.inf
    for part in objective.parts():
        distribution = part.distribution(vector)
        if not isinstance(distribution, DiagonalGaussian):
            return np.nan
        smallest = min(smallest, float(distribution.log_std.exp().min()))
    return smallest


def divergence(first: Distribution, second: Distribution, *, like: Tensor) -> Tensor:
    """Return KL(first || second) at each pair, in nats; NaN, shaped as `like`, where no formula is known."""
    try:
        return first.kl(second)
    except NotImplementedError:  # torch knows none for this pair of distributions
        return torch.full_like(like, torch.nan)


def _over_states(values: np.ndarray) -> tuple[float, float, float]:
    """Return mean, largest and 99th percentile; a percentile of what is not finite is not known."""
    high = np.quantile(values, TAIL) if np.isfinite(values).all() else np.nan
    return float(values.mean()), float(values.max()), float(high)
