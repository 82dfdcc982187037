"""What policy-gradient steps climb: the surrogate of a population on its whole batch, its gradient, and the KL moved.

====== ==================================================
symbol meaning
====== ==================================================
P      policies of the population
N      state-action pairs of a batch
D      all policy parameters, flattened
====== ==================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.policies import Policy
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.minibatches import pairs_of
from closerlook.algorithms.surrogate import clipped_surrogate, standardize
from closerlook.nn.distributions import Distribution
from closerlook.nn.networks import flatten, unflatten

ROWS = 8192
"""Pairs evaluated at a time, to bound memory."""


@dataclass(frozen=True)
class Objective:
    """The surrogate ``mean(ratio * A)`` of each policy on its own pairs, as a function of flat parameters.

    Parameters
    ----------
    policy : Policy
        The architecture.
    observations : Tensor, (P, N, obs)
        Policy inputs.
    actions : Tensor, (P, N, A) or (P, N)
        Actions as drawn.
    old_log_probs : Tensor, (P, N)
        Their log probabilities under the policy that drew them.
    advantages : Tensor, (P, N)
        Advantages, standardized over the batch where the agents ask for it.
    constant : Tensor, (P,), bool
        Where they were standardized from advantages that were all equal, and so are zero.
    """

    policy: Policy
    observations: Tensor
    actions: Tensor
    old_log_probs: Tensor
    advantages: Tensor
    constant: Tensor

    @classmethod
    def of(cls, agents: Agent, batch: Batch) -> "Objective":
        """Take a population's batch.

        Parameters
        ----------
        agents : Agent
            A population of P.
        batch : Batch
            Its own, (P, S, T).
        """
        advantages, (standardized, constant) = pairs_of(batch.advantages), standardize(pairs_of(batch.advantages))
        if not agents.normalize_advantages:
            standardized, constant = advantages, torch.zeros_like(constant)
        return cls(
            policy=agents.policy,
            observations=pairs_of(batch.observations),
            actions=pairs_of(batch.actions),
            old_log_probs=pairs_of(batch.log_probs),
            advantages=standardized,
            constant=constant,
        )

    def start(self, agents: Agent) -> Tensor:
        """Return the agents' policy parameters, flat: (P, D)."""
        return flatten(agents.policy_parameters, list(self.policy.parameter_shapes), stacked=True)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """Split flat parameters (P, D) by name."""
        return unflatten(vector, self.policy.parameter_shapes, stacked=True)

    def members(self, which: Tensor) -> "Objective":
        """Take some of the population, by index."""
        names = ("observations", "actions", "old_log_probs", "advantages", "constant")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def gradient(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return the surrogate (P,) and its gradient (P, D), both float64, at flat parameters (P, D)."""
        total = torch.zeros(len(vector), dtype=torch.float64)
        gradient = torch.zeros_like(vector, dtype=torch.float64)
        for part in self.parts():
            # grad of sum_t r_t A_t over a part of the pairs; parts add up in float64
            leaf = vector.detach().clone().requires_grad_()
            gains = part.gains(part.distribution(leaf).log_prob(part.actions))
            (slope,) = torch.autograd.grad(gains.sum(), leaf)
            gradient += slope
            total += gains.detach().double().sum(-1)
        return total / self.advantages.shape[1], gradient / self.advantages.shape[1]

    @torch.no_grad()
    def surrogate(self, vector: Tensor) -> Tensor:
        """Return the surrogate at flat parameters (P, D): (P,) float64."""
        total = torch.zeros(len(vector), dtype=torch.float64)
        for part in self.parts():
            total += part.gains(part.distribution(vector).log_prob(part.actions)).double().sum(-1)
        return total / self.advantages.shape[1]

    @torch.no_grad()
    def compare(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Return the surrogate at `after` and the mean KL(before || after), (P,) float64, for flat parameters (P, D).

        Either is NaN or infinite where it overflows.

        Parameters
        ----------
        before, after : Tensor, (P, D)
            Flat parameters.
        """
        total, divergence = torch.zeros(2, len(after), dtype=torch.float64)
        for part in self.parts():
            # L(after) = mean r A and mean_s KL(pi_before(s), pi_after(s)), in one pass over the pairs
            moved = part.distribution(after)
            total += part.gains(moved.log_prob(part.actions)).double().sum(-1)
            divergence += part.distribution(before).kl(moved).double().sum(-1)
        return total / self.advantages.shape[1], divergence / self.advantages.shape[1]

    def distribution(self, vector: Tensor) -> Distribution:
        """Return what the policies with flat parameters (P, D) do at the batch's states."""
        return self.policy.distribution(self.named(vector), self.observations)

    def gains(self, log_probs: Tensor, clip: float = torch.inf) -> Tensor:
        """Return ``ratio * A`` of each pair, clipped as in PPO where `clip` is finite: (P, N).

        Parameters
        ----------
        log_probs : Tensor, (P, N)
            Of the pairs' actions under the policy in question.
        clip : float
            How far from 1 a ratio still counts.
        """
        # an infinite bound leaves the plain r A
        return clipped_surrogate(log_probs, self.old_log_probs, self.advantages, clip)

    def parts(self) -> Iterator["Objective"]:
        """Cut the pairs into parts of a fixed size, to bound memory."""
        # parts of a fixed size, so that sums do not depend on how much memory there is
        names = ("observations", "actions", "old_log_probs", "advantages")
        for parts in zip(*(torch.split(getattr(self, name), ROWS, dim=1) for name in names), strict=True):
            yield replace(self, **dict(zip(names, parts, strict=True)))
