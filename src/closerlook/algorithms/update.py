"""What happened in an update: measured over the whole update, from the old policy to the new, on the whole batch."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.critic import critic_values, value_loss
from closerlook.algorithms.minibatches import pairs_of
from closerlook.algorithms.objective import ROWS, Objective
from closerlook.algorithms.surrogate import deviation
from closerlook.errors import NonFiniteError
from closerlook.nn.distributions import DiagonalGaussian, Distribution, divergence


@dataclass(frozen=True)
class UpdateInfo:
    """One number for each policy of the population, (P,); NaN where it does not apply.

    Parameters
    ----------
    mean_kl, max_kl : ndarray
        KL(old || new) in nats: mean and largest over the states of the batch.
    max_ratio : ndarray
        Largest new-to-old probability ratio over the pairs of the batch.
    clip_fraction : ndarray
        Share of pairs whose ratio ended further from 1 than the clipping bound.
    entropy : ndarray
        Mean entropy of the new policy, nats; NaN where torch does not know it.
    policy_loss : ndarray
        Minus the clipped surrogate of the new policy, advantages standardized over the whole batch.
    value_loss : ndarray
        Mean squared error of the new critic to what it regresses on.
    explained_variance_gae, explained_variance_returns : ndarray
        ``1 - Var[target - V_new] / Var[target]`` for the targets ``V_old + A`` and discounted returns.
    advantage_std : ndarray
        Sample standard deviation of the advantages before standardization, in the units of the critic.
    action_std : ndarray
        Mean standard deviation of the new policy's action components; NaN for discrete actions.
    constant_minibatches : ndarray
        Minibatches whose advantages were all equal and were taken as zero.
    """

    mean_kl: np.ndarray
    max_kl: np.ndarray
    max_ratio: np.ndarray
    clip_fraction: np.ndarray
    entropy: np.ndarray
    policy_loss: np.ndarray
    value_loss: np.ndarray
    explained_variance_gae: np.ndarray
    explained_variance_returns: np.ndarray
    advantage_std: np.ndarray
    action_std: np.ndarray
    constant_minibatches: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Return the fields by name, each (P,) float64."""
        return {field.name: np.asarray(getattr(self, field.name), dtype=np.float64) for field in fields(self)}


@torch.no_grad()
def describe_update(before: Agent, after: Agent, batch: Batch, *, clip: float, constant: Tensor) -> UpdateInfo:
    """Measure an update on the batch it was computed from.

    Parameters
    ----------
    before, after : Agent
        The population before and after the update.
    batch : Batch
        What the update was computed from.
    clip : float
        PPO's bound on the ratio.
    constant : Tensor, (P,)
        How many minibatches had constant advantages.
    """
    policy = _describe_policy(Objective.of(before, batch), before, after, clip)
    whole = {"advantage_std": deviation(pairs_of(batch.advantages)), "constant_minibatches": constant}
    measured = policy | _describe_critic(after, batch) | whole
    return UpdateInfo(**{name: tensor.double().numpy() for name, tensor in measured.items()})


def _describe_policy(objective: Objective, before: Agent, after: Agent, clip: float) -> dict[str, Tensor]:
    ends = objective.start(before), objective.start(after)
    rows = [_compare(part, *ends, clip) for part in objective.parts()]
    kl, entropy, ratio, std, gains = (torch.cat(column, dim=1) for column in zip(*rows, strict=True))
    return {
        "mean_kl": kl.double().mean(1),
        "max_kl": kl.amax(1),
        "max_ratio": ratio.amax(1),
        "clip_fraction": ((ratio - 1.0).abs() > clip).double().mean(1),
        "entropy": entropy.double().mean(1),
        "policy_loss": -gains.double().mean(1),
        "action_std": std.double().mean(1),
    }


def _compare(part: Objective, before: Tensor, after: Tensor, clip: float) -> tuple[Tensor, ...]:
    """Return KL, entropy, ratio, mean action deviation and gain at some pairs, each (P, N)."""
    old, new = part.distribution(before), part.distribution(after)
    log_probs = new.log_prob(part.actions)
    ratio = torch.exp(log_probs - part.old_log_probs)
    return (
        divergence(old, new, like=ratio),
        new.entropy(),
        ratio,
        _action_std(new, like=ratio),
        part.gains(log_probs, clip),
    )


def _action_std(new: Distribution, *, like: Tensor) -> Tensor:
    if isinstance(new, DiagonalGaussian):
        return new.log_std.exp().mean(-1).expand_as(like)
    return torch.full_like(like, torch.nan)


def _describe_critic(after: Agent, batch: Batch) -> dict[str, Tensor]:
    names = ("value_loss", "explained_variance_gae", "explained_variance_returns")
    if after.value is None:
        return {name: torch.full((len(batch.values),), torch.nan) for name in names}
    values = critic_values(after, after.value_parameters, pairs_of(batch.observations), rows=ROWS)
    targets, weights = pairs_of(batch.value_targets), pairs_of(batch.value_weights)
    measured = (
        value_loss(values, values, targets, weights, None),
        explained_variance(pairs_of(batch.gae_targets), values),
        explained_variance(pairs_of(batch.returns), values),
    )
    return dict(zip(names, measured, strict=True))


def explained_variance(targets: Tensor, predictions: Tensor) -> Tensor:
    """Return ``1 - Var[targets - predictions] / Var[targets]`` over the last axis; NaN for constant targets.

    Parameters
    ----------
    targets, predictions : Tensor, (..., N)
        In the same units.
    """
    # EV = 1 - Var[y - V] / Var[y], both variances with divisor n - 1
    unexplained, total = deviation(targets - predictions).square(), deviation(targets).square()
    return torch.where(total > 0, 1.0 - unexplained / total, torch.nan)


def require_finite(agents: Agent, iteration: int) -> None:
    """Raise where a policy's parameters are not all finite.

    Parameters
    ----------
    agents : Agent
        A population after its update.
    iteration : int
        Updates made before, for the message.

    Raises
    ------
    NonFiniteError
        Naming the first such member of the population, the parameter and the iteration.
    """
    for name, tensor in agents.state.items():
        finite = torch.isfinite(tensor.reshape(len(tensor), -1)).all(1)
        if not finite.all():
            member = int(torch.nonzero(~finite)[0, 0])
            raise NonFiniteError(
                f"{name} of member {member} is not finite after the update of iteration {iteration}",
                "lower the learning rate, or look at the rewards of this iteration",
            )
