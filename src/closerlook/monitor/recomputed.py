"""What policy and critic say of a batch: from themselves, or from what a file holds in their place.

====== ==================================
symbol meaning
====== ==================================
T, N   steps, environments
A      components of an action, or choices
====== ==================================
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from closerlook.monitor.policies import ROWS, Critic, RowDistribution, RowPolicy, rows_of
from closerlook.nn.distributions import Categorical, DiagonalGaussian

if TYPE_CHECKING:
    from closerlook.monitor.batch import Batch

Array = np.ndarray


@torch.no_grad()
def in_parts(function: Callable[[slice], Tensor], rows: int) -> Tensor:
    """Evaluate a function of rows on some at a time.

    Parameters
    ----------
    function : callable
        Maps a slice of the rows to a tensor.
    rows : int
        How many there are.
    """
    return torch.cat([function(slice(start, start + ROWS)).cpu() for start in range(0, rows, ROWS)])


def log_probs_of(batch: "Batch", actions: Array | None = None, observations: Array | None = None) -> Array | None:
    """Return the policy's log-probabilities, (T, N) float64; None where they cannot be known.

    Parameters
    ----------
    batch : Batch
        Whose policy, or stored distributions.
    actions, observations : ndarray, optional
        In place of the batch's own.
    """
    actions = batch.actions if actions is None else actions
    if actions is None:
        return None
    policy, inputs = batch.policy, batch.observations if observations is None else observations
    if policy is not None and inputs is not None:
        found = policy_log_probs(policy, inputs, actions)
        return found.double().numpy().reshape(batch.rewards.shape)
    stored = stored_distribution(batch) if observations is None else None
    if stored is not None:
        return stored.log_prob(rows_of(actions).double()).numpy().reshape(batch.rewards.shape)
    same = actions is batch.actions and observations is None
    return batch.policy_log_probs.astype(np.float64) if same and batch.policy_log_probs is not None else None


def policy_log_probs(policy: RowPolicy, observations: Array, actions: Array) -> Tensor:
    """Return a policy's log-probabilities of actions, (T N,).

    Parameters
    ----------
    policy : RowPolicy
        At rows of observations.
    observations, actions : ndarray, (T, N, ...)
        Of a batch.
    """
    seen, taken = rows_of(observations, policy), rows_of(actions, policy)
    return in_parts(lambda part: policy(seen[part]).log_prob(taken[part]), len(seen))


def stored_distribution(batch: "Batch") -> RowDistribution | None:
    """Return the distributions that a file holds in place of the policy, float64."""
    if batch.policy_mean is not None and batch.policy_std is not None:
        return DiagonalGaussian(rows_of(batch.policy_mean).double(), rows_of(batch.policy_std).double().log())
    if batch.policy_logits is not None:
        return Categorical(rows_of(batch.policy_logits).double())
    return None


def values_of(batch: "Batch", observations: Array | None = None) -> Array | None:
    """Return the critic at the batch's observations, or at others, (T, N) float64; None where it is not known.

    Parameters
    ----------
    batch : Batch
        With a critic, or stored values of one.
    observations : ndarray, (T, N, ...), optional
        Others than the batch's own.
    """
    inputs = batch.observations if observations is None else observations
    if batch.critic is not None and inputs is not None:
        return critic_values(batch.critic, inputs).double().numpy().reshape(batch.rewards.shape)
    stored = batch.critic_values if observations is None else None
    return None if stored is None else stored.astype(np.float64)


def critic_values(critic: Critic, observations: Array) -> Tensor:
    """Return a critic's values, (T N,).

    Parameters
    ----------
    critic : Critic
        At rows of observations.
    observations : ndarray, (T, N, ...)
        Of a batch.
    """
    seen = rows_of(observations, critic)
    return in_parts(lambda part: critic(seen[part]), len(seen))


@torch.no_grad()
def describe_policy(batch: "Batch") -> dict[str, Any]:
    """Return, by names of fields, what can stand in for policy and critic in a file."""
    shape = batch.rewards.shape
    described: dict[str, Any] = {}
    if batch.critic is not None and batch.observations is not None:
        described["critic_values"] = values_of(batch)
    if batch.policy is None or batch.observations is None:
        return described
    seen = rows_of(batch.observations, batch.policy)
    parts = [batch.policy(seen[start : start + ROWS]) for start in range(0, len(seen), ROWS)]
    gaussian = [part for part in parts if isinstance(part, DiagonalGaussian)]
    categorical = [part for part in parts if isinstance(part, Categorical)]
    if len(gaussian) == len(parts):
        means = torch.cat([part.mean.cpu() for part in gaussian])
        stds = torch.cat([part.log_std.exp().expand_as(part.mean).cpu() for part in gaussian])
        return described | {
            "policy_mean": means.numpy().reshape(*shape, -1),
            "policy_std": stds.numpy().reshape(*shape, -1),
        }
    if len(categorical) == len(parts):
        logits = torch.cat([part.log_probs.cpu() for part in categorical])
        return described | {"policy_logits": logits.numpy().reshape(*shape, -1)}
    return described | {"policy_log_probs": log_probs_of(batch)}
