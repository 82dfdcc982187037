"""Proximal policy optimization on the population axis: (agents, batch, settings) -> (updated agents, what happened).

Every detail is numbered, with its source, in ``docs/ppo.md``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.critic import fit_critic
from closerlook.algorithms.minibatches import deal, pairs_of, shuffle, standardize_each
from closerlook.algorithms.ppo_learners import policy_learner
from closerlook.algorithms.settings import require_numbers
from closerlook.algorithms.update import UpdateInfo, describe_update, require_finite
from closerlook.nn.networks import Parameters

Watch = Callable[[int, Callable[[], Parameters]], None]
"""Told after every minibatch how many the policies have taken, and how to read their parameters as they are then."""


@dataclass(frozen=True)
class PPOSettings:
    """Settings of a PPO update; the defaults are Table 1's column for Hopper.

    See Also
    --------
    closerlook.TrainSettings : where they belong.

    Examples
    --------
    >>> import closerlook as cl
    >>> settings = cl.PPOSettings(total_iterations=100)
    >>> settings.rate(settings.policy_learning_rate, 50) == settings.policy_learning_rate / 2
    True
    """

    policy_learning_rate: float = 4.5e-4
    """Adam's learning rate for the policy, at the first iteration."""
    value_learning_rate: float = 2e-4
    """Adam's learning rate for the critic, at the first iteration."""
    anneal: bool = True
    """Let both rates fall linearly, from the first iteration to 0 after the last."""
    total_iterations: Annotated[int, tyro.conf.Suppress] = 488
    """Iterations over which the rates fall; training sets it from its steps."""
    policy_epochs: int = 10
    """Passes of the policy through a batch."""
    value_epochs: int = 10
    """Passes of the critic through a batch."""
    minibatches: int = 32
    """Minibatches of a pass, whatever the size of the batch."""
    clip: float = 0.2
    """How far from 1 the probability ratio still counts in the surrogate."""
    value_clip: float | None = None
    """How far a value may move before the worse of clipped and unclipped error counts; none: as far as it goes."""
    entropy_coefficient: float = 0.0
    """Weight of the policy's entropy in the objective."""
    max_grad_norm: float | None = None
    """Longer policy gradients are shortened to this norm; none: never."""
    adam_epsilon: float = 1e-5
    """Added to the root of Adam's second moments."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        counts = ("total_iterations", "minibatches")
        positive = ("clip", "value_clip", "max_grad_norm", "adam_epsilon", *counts)
        not_negative = ("policy_learning_rate", "value_learning_rate", "policy_epochs", "value_epochs")
        require_numbers(self, positive, positive=True)
        require_numbers(self, not_negative, positive=False)

    def rate(self, initial: float, iteration: int) -> float:
        """Return the learning rate of an iteration, counted from 0.

        Parameters
        ----------
        initial : float
            The rate of the first iteration.
        iteration : int
            Updates made before.
        """
        # released code, LambdaLR: rate_k = rate_0 (1 - k / n), k updates made of n
        return initial * max(0.0, 1.0 - iteration / self.total_iterations) if self.anneal else initial


def ppo_update(
    agents: Agent,
    batch: Batch,
    settings: PPOSettings,
    *,
    seeds: Sequence[int],
    iteration: int,
    watch: Watch | None = None,
) -> tuple[Agent, UpdateInfo]:
    """Update the critics, then the policies, of a population; neither sees the other's update.

    A member's result does not depend on who else is in the population.

    Parameters
    ----------
    agents : Agent
        A population of P.
    batch : Batch
        What to compute the update from, (P, S, T).
    settings : PPOSettings
        How.
    seeds : sequence of int, (P,)
        Each member's own; the minibatches are keyed by them.
    iteration : int
        Updates made before: it decides the learning rates and the minibatches.
    watch : callable, optional
        Told of every minibatch of the policies; it changes nothing.

    Returns
    -------
    agents : Agent
        Updated parameters and optimizer state; everything else as it was.
    info : UpdateInfo
        What happened, measured over the whole update on the whole batch.

    Raises
    ------
    NonFiniteError
        Where a parameter is no longer finite.

    References
    ----------
    Schulman et al., 2017, "Proximal Policy Optimization Algorithms"; Table 1 of "A Closer Look at Deep Policy
    Gradients" and steps.py of its released code.
    """
    # released code, take_steps: critic first; advantages are those from before its update
    value_rate = settings.rate(settings.value_learning_rate, iteration)
    updated = fit_critic(agents, batch, settings, rate=value_rate, seeds=seeds, iteration=iteration)
    updated, constant = _improve_policy(updated, batch, settings, seeds, iteration, watch)
    require_finite(updated, iteration)
    return updated, describe_update(agents, updated, batch, clip=settings.clip, constant=constant)


def _improve_policy(
    agents: Agent,
    batch: Batch,
    settings: PPOSettings,
    seeds: Sequence[int],
    iteration: int,
    watch: Watch | None,
) -> tuple[Agent, Tensor]:
    """Climb the clipped surrogate; also count each member's minibatches of constant advantages, (P,)."""
    learner = policy_learner(agents, settings)
    columns = [pairs_of(c) for c in (batch.observations, batch.actions, batch.log_probs, batch.advantages)]
    columns[0] = learner.prepare(columns[0])
    rate = settings.rate(settings.policy_learning_rate, iteration)
    constant, taken = np.zeros(len(seeds), np.int64), 0
    with np.errstate(all="ignore"):  # what is not finite is found, and named, after the update
        for epoch in range(settings.policy_epochs):
            # advantages are standardized within each minibatch (released code, ppo_step), so after the shuffle
            *shuffled, advantages = shuffle(columns, seeds, "minibatches", iteration=iteration, epoch=epoch)
            standardized, equal = standardize_each(advantages, settings.minibatches)
            constant += equal
            shuffled.append(standardized if agents.normalize_advantages else advantages)
            for pairs in deal(shuffled, settings.minibatches):
                learner.climb(pairs, rate)
                taken += 1
                if watch is not None:
                    watch(taken, learner.adam.result)
    changes = {"policy": learner.adam.result(), "optimizer.policy": learner.adam.state()}
    return agents.with_state(changes), torch.from_numpy(constant)
