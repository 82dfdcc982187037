"""One step up PPO's clipped surrogate on a minibatch, by hand for MLPs and by autograd for any other policy.

====== ===================================
symbol meaning
====== ===================================
P      policies of the population
M      pairs of a minibatch
====== ===================================
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP, GaussianMLP
from closerlook.algorithms.adam import PopulationAdam
from closerlook.algorithms.minibatches import with_ones
from closerlook.algorithms.surrogate import clipped_surrogate
from closerlook.errors import InputError
from closerlook.nn.backward import Array, CategoricalHead, GaussianHead, Head, LayerLayout, StackedMLP
from closerlook.nn.distributions import AnyDistribution


class ClimbSettings(Protocol):
    """What a step asks of PPO's settings; each field is described there."""

    @property
    def clip(self) -> float: ...  # noqa: D102

    @property
    def entropy_coefficient(self) -> float: ...  # noqa: D102

    @property
    def max_grad_norm(self) -> float | None: ...  # noqa: D102

    @property
    def adam_epsilon(self) -> float: ...  # noqa: D102


class PolicyLearner(Protocol):
    """Policies of a population while they are being improved."""

    adam: PopulationAdam

    def prepare(self, observations: Tensor) -> Tensor:
        """Lay observations (P, N, obs) out as `climb` takes them."""

    def climb(self, pairs: Sequence[Array], rate: float) -> None:
        """Take one step on a minibatch: prepared observations, actions, old log probabilities, advantages (P, M).

        Parameters
        ----------
        pairs : sequence of ndarray, (P, M, ...)
            Prepared observations, actions, old log probabilities, advantages.
        rate : float
            Learning rate.
        """


def policy_learner(agents: Agent, settings: ClimbSettings) -> PolicyLearner:
    """Choose the fastest way to improve a population's policies.

    Parameters
    ----------
    agents : Agent
        A population of P.
    settings : ClimbSettings
        Clipping, entropy, bound on the gradient, Adam's epsilon.
    """
    if isinstance(agents.policy, GaussianMLP | CategoricalMLP):
        return PolicyByHand(agents, settings)
    return PolicyByAutograd(agents, settings)


class PolicyByAutograd:
    """Improves policies of any kind.

    Parameters
    ----------
    agents : Agent
        A population of P.
    settings : ClimbSettings
        Clipping, entropy, bound on the gradient, Adam's epsilon.
    """

    def __init__(self, agents: Agent, settings: ClimbSettings) -> None:
        self._policy, self._settings = agents.policy, settings
        self.adam = PopulationAdam(agents.policy_parameters, agents.part("optimizer.policy"), settings.adam_epsilon)

    def prepare(self, observations: Tensor) -> Tensor:
        """Leave observations as they are."""
        return observations

    def climb(self, pairs: Sequence[Array], rate: float) -> None:
        """Take one step on a minibatch.

        Parameters
        ----------
        pairs : sequence of ndarray, (P, M, ...)
            Prepared observations, actions, old log probabilities, advantages.
        rate : float
            Learning rate.

        Raises
        ------
        InputError
            Where the entropy is weighted, and torch knows no entropy of the policy.
        """
        observations, actions, old_log_probs, advantages = (torch.from_numpy(column) for column in pairs)
        distribution, weight = self._policy.distribution(self.adam.parameters, observations), self._settings
        objective = clipped_surrogate(distribution.log_prob(actions), old_log_probs, advantages, weight.clip).mean(-1)
        if weight.entropy_coefficient:
            entropy = distribution.entropy()
            if isinstance(distribution, AnyDistribution) and entropy.isnan().all():
                what = (
                    f"entropy_coefficient is {weight.entropy_coefficient:g}, and torch knows no entropy of the policy"
                )
                raise InputError(what, "leave the coefficient out of the agent's settings")
            objective = objective + weight.entropy_coefficient * entropy.mean(-1)
        self.adam.descend(-objective, rate, max_grad_norm=weight.max_grad_norm)


class PolicyByHand:
    """Improves policies that are MLPs, without autograd.

    Parameters
    ----------
    agents : Agent
        A population of `GaussianMLP` or `CategoricalMLP` policies.
    settings : ClimbSettings
        Clipping, entropy, bound on the gradient, Adam's epsilon.
    """

    def __init__(self, agents: Agent, settings: ClimbSettings) -> None:
        assert isinstance(agents.policy, GaussianMLP | CategoricalMLP)
        self._settings = settings
        network, parameters = agents.policy.network, agents.policy_parameters
        layout = LayerLayout(network, agents.policy.parameter_shapes)
        self.adam = PopulationAdam(parameters, agents.part("optimizer.policy"), settings.adam_epsilon, layout)
        self._network = StackedMLP(network, layout.layers(self.adam.vector), layout.layers(self.adam.gradient))
        self._head = self._make_head(layout)

    def _make_head(self, layout: LayerLayout) -> Head:
        free, slopes = layout.named(self.adam.vector), layout.named(self.adam.gradient)
        return GaussianHead(free["log_std"], slopes["log_std"]) if "log_std" in free else CategoricalHead()

    def prepare(self, observations: Tensor) -> Tensor:
        """Add the column of ones that biases are multiplied by."""
        return with_ones(observations)

    def climb(self, pairs: Sequence[Array], rate: float) -> None:
        """Take one step on a minibatch.

        Parameters
        ----------
        pairs : sequence of ndarray, (P, M, ...)
            Prepared observations, actions, old log probabilities, advantages.
        rate : float
            Learning rate.
        """
        observations, actions, old_log_probs, advantages = pairs
        log_probs = self._head.log_prob(self._network.forward(observations), actions)
        count = log_probs.shape[1]
        slopes = surrogate_slopes(log_probs, old_log_probs, advantages, self._settings.clip)
        # Adam descends: the loss is minus the mean over the minibatch
        slopes *= -1.0 / count
        self._network.backward(self._head.errors(slopes, -self._settings.entropy_coefficient / count))
        self.adam.step(rate, max_grad_norm=self._settings.max_grad_norm)


def surrogate_slopes(log_probs: Array, old_log_probs: Array, advantages: Array, clip: float) -> Array:
    """Differentiate `clipped_surrogate` by the log probabilities: the ratio times the advantage, or 0 where clipped.

    Parameters
    ----------
    log_probs, old_log_probs, advantages : ndarray, (P, M)
        Log probabilities under the new and the old policy, and (standardized) advantages.
    clip : float
        How far from 1 the ratio still counts.
    """
    # d min(r A, clip(r) A) / d log pi = r A where the unclipped term is the smaller one, else 0: clip(r) is constant
    # there
    ratio = np.exp(log_probs - old_log_probs)
    gains = ratio * advantages
    gains *= gains <= np.minimum(np.maximum(ratio, 1.0 - clip), 1.0 + clip) * advantages
    return np.asarray(gains)
