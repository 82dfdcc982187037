"""How far a policy is from the one that sampled a batch, and what the surrogates say of it.

====== ==============================
symbol meaning
====== ==============================
P      policies: a population of one here
N      pairs of the batch
S      streams they come from, N / S pairs each, one after the other
D      policy parameters, flattened
====== ==============================
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.objective import Objective
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.errors import PolicyError, users_code
from closerlook.measurements.natural_comparison import batch_fisher
from closerlook.nn.curvature import dot, quadratic_kl
from closerlook.nn.distributions import Categorical, DiagonalGaussian, divergence
from closerlook.statistics.tails import mean_largest_tail, share_outside

CHANGES = (
    "mean_kl",
    "max_kl",
    "kl_p99",
    "mean_reverse_kl",
    "max_reverse_kl",
    "reverse_kl_p99",
    "max_ratio",
    "clip_fraction",
    "clip_null",
)
"""Of KL(old || new) and KL(new || old) in nats mean, largest and 99th percentile over the batch's states; the largest
ratio of new to old probability over its pairs, and the share of pairs whose ratio is further from 1 than epsilon; and
`clip_null`, the rise of the clipped surrogate if advantages had nothing to do with ratios."""


@dataclass(frozen=True)
class PolicyChange:
    """What a batch says of another policy.

    Parameters
    ----------
    surrogates : ndarray, (3,)
        In the order of `SURROGATES`; not finite where ratios overflow, NaN where the other policy is not one.
    change : ndarray, (9,)
        In the order of `CHANGES`; NaN where no formula is known for the KL, or where the other policy is not one.
    by_stream : ndarray, (3, S)
        The surrogates of each stream's pairs alone, advantages standardized over all.
    """

    surrogates: np.ndarray
    change: np.ndarray
    by_stream: np.ndarray


@dataclass(frozen=True)
class ComparisonBatch:
    """A batch of pairs that policies are compared on with the one that sampled it.

    Parameters
    ----------
    plain, normalized, objective : Objective
        Its surrogate: of advantages as they are, standardized, and as the agent's algorithm has them.
    start : Tensor, (1, D)
        Flat parameters of the policy that sampled it.
    clip : float
        Epsilon.
    standardize : bool
        Whether the agent's algorithm standardizes advantages.
    """

    plain: Objective
    normalized: Objective
    objective: Objective
    start: Tensor
    clip: float
    standardize: bool

    @classmethod
    def at(cls, agents: Agent, batch: Batch, clip: float) -> "ComparisonBatch":
        """Prepare a batch that a population of one sampled.

        Parameters
        ----------
        agents : Agent
            A population of one.
        batch : Batch
            That it sampled.
        clip : float
            Epsilon.
        """
        both = {
            normalize: Objective.of(replace(agents, normalize_advantages=normalize), batch)
            for normalize in (False, True)
        }
        own = both[agents.normalize_advantages]
        return cls(both[False], both[True], own, own.start(agents), clip, agents.normalize_advantages)

    def change(self, vector: Tensor) -> PolicyChange:
        """Compare the policy with flat parameters (1, D)."""
        objectives = (self.plain, self.normalized)
        return policy_change(*objectives, self.start, vector, self.clip, standardize=self.standardize)

    def slopes(self, displacement: Tensor) -> list[float]:
        """Return a step (1, D) times the gradients of the plain and the normalized surrogate."""
        gradients = (one.gradient(self.start)[1] for one in (self.plain, self.normalized))
        return [float(dot(gradient, displacement)) for gradient in gradients]

    def quadratic_kl(self, displacement: Tensor) -> float:
        """Return the quadratic model of the mean KL after a step (1, D); NaN where no KL is known."""
        product = batch_fisher(self.objective, self.start)
        return np.nan if product is None else float(quadratic_kl(product, displacement))


def policy_change(
    plain: Objective,
    normalized: Objective,
    start: Tensor,
    vector: Tensor,
    clip: float,
    *,
    standardize: bool = True,
    streams: int = 1,
) -> PolicyChange:
    """Compare the policy that sampled a batch with another one, which may be none: it is not known then.

    Parameters
    ----------
    plain, normalized : Objective
        Of the batch, with advantages as they are and standardized, (1, N).
    start, vector : Tensor, (1, D)
        The old policy's flat parameters and the new one's.
    clip : float
        Epsilon of the clipped surrogate, and of the ratios counted.
    standardize : bool
        Whether the clipped surrogate's advantages are standardized: whether the agent's algorithm does.
    streams : int
        S.

    Raises
    ------
    PolicyError
        Where the old policy itself fails.
    """
    # parameters that are not finite are no policy
    if not bool(torch.isfinite(vector).all()):
        return _not_a_policy(streams)
    try:
        with users_code("the agent's policy", "look at its distribution", PolicyError):
            return _compare((plain, normalized, normalized if standardize else plain), start, vector, clip, streams)
    except PolicyError:
        if torch.equal(start, vector):
            raise
        return _not_a_policy(streams)


def _not_a_policy(streams: int) -> PolicyChange:
    """Return what is said of parameters that are not finite, or that the agent's policy refuses: nothing."""
    count = len(SURROGATES)
    return PolicyChange(np.full(count, np.nan), np.full(len(CHANGES), np.nan), np.full((count, streams), np.nan))


@torch.no_grad()
def _compare(
    objectives: tuple[Objective, Objective, Objective], start: Tensor, vector: Tensor, clip: float, streams: int
) -> PolicyChange:
    totals, gained = np.zeros(len(SURROGATES)), []
    columns = []
    null = 0.0
    for raw, standard, own in zip(*(one.parts() for one in objectives), strict=True):
        old, new = raw.distribution(start), raw.distribution(vector)
        log_probs = new.log_prob(raw.actions)
        gains = (raw.gains(log_probs), standard.gains(log_probs), own.gains(log_probs, clip))
        totals += [float(gain.double().sum()) for gain in gains]
        gained.append(torch.cat(gains).double())
        # the ratios r = pi_new(a | s) / pi_old(a | s) of the pairs
        ratio = torch.exp(log_probs - raw.old_log_probs)
        null += float(clip_pessimism(ratio, own.advantages, clip).double().sum())
        columns.append((divergence(old, new, like=ratio), divergence(new, old, like=ratio), ratio))
    forward, backward, ratios = (torch.cat(column, dim=1)[0].double().numpy() for column in zip(*columns, strict=True))
    outside = share_outside(ratios, clip)
    change = [*mean_largest_tail(forward), *mean_largest_tail(backward), ratios.max(), outside, null / ratios.size]
    # pairs lie stream after stream, so that rows of N / S are streams
    by_stream = torch.cat(gained, dim=1).reshape(len(SURROGATES), streams, -1).mean(dim=-1)
    return PolicyChange(totals / ratios.size, np.array(change), by_stream.numpy())


def clip_pessimism(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return what clipping takes from each pair, on average, where the sign of its advantage is a fair coin.

    The clipped surrogate takes the smaller of two gains. So it falls as soon as ratios leave ``1 +- clip``, also where
    advantages have nothing to do with them: a fall by no more than this says nothing of overfitting.

    Parameters
    ----------
    ratio, advantages : Tensor, (..., N)
        Of new to old probability, and A.
    clip : float
        Epsilon.

    Returns
    -------
    Tensor, (..., N)
        Never positive.
    """
    # with sign s = +-1, each with probability 1/2:
    # E[min(r s|A|, clamp(r, 1 - eps, 1 + eps) s|A|)] = -|A|/2 ((r - 1 - eps)+ + (1 - eps - r)+)
    outside = (ratio - 1.0 - clip).clamp(min=0.0) + (1.0 - clip - ratio).clamp(min=0.0)
    return -0.5 * advantages.abs() * outside


@torch.no_grad()
def smallest_deviations(objective: Objective, vector: Tensor) -> np.ndarray:
    """Return the smallest standard deviation of each action component over the batch's states, (A,).

    A single NaN for a policy that is not Gaussian.

    Parameters
    ----------
    objective : Objective
        With the batch's states.
    vector : Tensor, (1, D)
        Flat parameters.
    """
    smallest = []
    for part in objective.parts():
        distribution = part.distribution(vector)
        if not isinstance(distribution, DiagonalGaussian):
            return np.array([np.nan])
        deviations = distribution.log_std.expand_as(distribution.mean).exp()
        smallest.append(deviations.reshape(-1, deviations.shape[-1]).amin(dim=0).numpy())
    return np.asarray(np.min(smallest, axis=0))


@torch.no_grad()
def entropy_share(objective: Objective, vector: Tensor) -> float:
    """Return the mean entropy over the batch's states, as a share of the largest; NaN where not discrete.

    Parameters
    ----------
    objective : Objective
        With the batch's states.
    vector : Tensor, (1, D)
        Flat parameters.
    """
    entropies, largest = [], np.nan
    for part in objective.parts():
        distribution = part.distribution(vector)
        if not isinstance(distribution, Categorical):
            return np.nan
        entropies.append(distribution.entropy().flatten())
        # the uniform distribution's entropy
        largest = np.log(distribution.logits.shape[-1])
    return float(torch.cat(entropies).double().mean() / largest) if largest > 0 else np.nan
