"""Fitting a population's critics to their value targets, the same for every algorithm."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.policies import MLPValue
from closerlook.algorithms.adam import PopulationAdam
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.minibatches import deal, pairs_of, shuffle, with_ones
from closerlook.nn.backward import Array, LayerLayout, StackedMLP
from closerlook.nn.networks import Parameters


class CriticSettings(Protocol):
    """What fitting a critic asks of an algorithm's settings; each field is described there."""

    @property
    def value_epochs(self) -> int: ...  # noqa: D102

    @property
    def minibatches(self) -> int: ...  # noqa: D102

    @property
    def value_clip(self) -> float | None: ...  # noqa: D102

    @property
    def adam_epsilon(self) -> float: ...  # noqa: D102


def fit_critic(
    agents: Agent, batch: Batch, settings: CriticSettings, *, rate: float, seeds: Sequence[int], iteration: int
) -> Agent:
    """Descend the squared error to ``V_old + A`` for some epochs of minibatches.

    Parameters
    ----------
    agents : Agent
        A population; returned as it is where it has no critic.
    batch : Batch
        Observations, old values, targets and the weight of each pair.
    settings : CriticSettings
        Epochs, minibatches, clipping, Adam's epsilon.
    rate : float
        Learning rate.
    seeds : sequence of int, (P,)
        Each policy's own.
    iteration : int
        Which update this is.
    """
    if agents.value is None:
        return agents
    learner = critic_learner(agents, settings)
    columns = [pairs_of(c) for c in (batch.observations, batch.values, batch.value_targets, batch.value_weights)]
    # observations are laid out once, not in every minibatch
    columns[0] = learner.prepare(columns[0])
    with np.errstate(all="ignore"):  # what is not finite is found, and named, after the update
        for epoch in range(settings.value_epochs):
            shuffled = shuffle(columns, seeds, "value minibatches", iteration=iteration, epoch=epoch)
            for pairs in deal(shuffled, settings.minibatches):
                learner.descend(pairs, rate)
    adam = learner.adam
    return agents.with_state({"value": adam.result(), "optimizer.value": adam.state()})


class CriticLearner(Protocol):
    """Critics of a population while they are being fitted."""

    adam: PopulationAdam

    def prepare(self, observations: Tensor) -> Tensor:
        """Lay observations (P, N, obs) out as `descend` takes them."""

    def descend(self, pairs: Sequence[Array], rate: float) -> None:
        """Take one step on a minibatch: prepared observations, old values, targets, weights (P, M).

        Parameters
        ----------
        pairs : sequence of ndarray, (P, M, ...)
            Prepared observations, old values, targets, weights.
        rate : float
            Learning rate.
        """


def critic_learner(agents: Agent, settings: CriticSettings) -> CriticLearner:
    """Choose the fastest way to fit a population's critics.

    Parameters
    ----------
    agents : Agent
        A population with critics.
    settings : CriticSettings
        Clipping and Adam's epsilon.
    """
    if isinstance(agents.value, MLPValue):
        return CriticByHand(agents, settings)
    return CriticByAutograd(agents, settings)


class CriticByAutograd:
    """Fits critics of any kind.

    Parameters
    ----------
    agents : Agent
        A population with critics.
    settings : CriticSettings
        Clipping and Adam's epsilon.
    """

    def __init__(self, agents: Agent, settings: CriticSettings) -> None:
        assert agents.value is not None
        self._value, self._clip = agents.value, settings.value_clip
        self.adam = PopulationAdam(agents.value_parameters, agents.part("optimizer.value"), settings.adam_epsilon)

    def prepare(self, observations: Tensor) -> Tensor:
        """Leave observations as they are."""
        return observations

    def descend(self, pairs: Sequence[Array], rate: float) -> None:
        """Take one step on a minibatch.

        Parameters
        ----------
        pairs : sequence of ndarray, (P, M, ...)
            Prepared observations, old values, targets, weights.
        rate : float
            Learning rate.
        """
        observations, old_values, targets, weights = (torch.from_numpy(column) for column in pairs)
        values = self._value(self.adam.parameters, observations)
        self.adam.descend(value_loss(values, old_values, targets, weights, self._clip), rate)


class CriticByHand:
    """Fits critics that are MLPs, without autograd.

    Parameters
    ----------
    agents : Agent
        A population whose critics are `MLPValue`.
    settings : CriticSettings
        Clipping and Adam's epsilon.
    """

    def __init__(self, agents: Agent, settings: CriticSettings) -> None:
        assert isinstance(agents.value, MLPValue)
        self._clip = settings.value_clip
        network, parameters = agents.value.network, agents.value_parameters
        layout = LayerLayout(network, agents.value.parameter_shapes)
        self.adam = PopulationAdam(parameters, agents.part("optimizer.value"), settings.adam_epsilon, layout)
        self._network = StackedMLP(network, layout.layers(self.adam.vector), layout.layers(self.adam.gradient))

    def prepare(self, observations: Tensor) -> Tensor:
        """Add the column of ones that biases are multiplied by."""
        return with_ones(observations)

    def descend(self, pairs: Sequence[Array], rate: float) -> None:
        """Take one step on a minibatch.

        Parameters
        ----------
        pairs : sequence of ndarray, (P, M, ...)
            Prepared observations, old values, targets, weights.
        rate : float
            Learning rate.
        """
        observations, old_values, targets, weights = pairs
        values = self._network.forward(observations)[:, 0]
        slopes = value_slopes(values, old_values, targets, weights, self._clip)
        self._network.backward(slopes[:, None])
        self.adam.step(rate)


def value_loss(values: Tensor, old_values: Tensor, targets: Tensor, weights: Tensor, clip: float | None) -> Tensor:
    """Weighted mean squared error over the last axis, optionally the worse of clipped and unclipped.

    Parameters
    ----------
    values, old_values, targets, weights : Tensor, (..., N)
        Critic now and before the update, what it regresses on, and how much each pair counts.
    clip : float or None
        A pair whose value moved further than this from the old one is judged by the worse of where it is and where
        the bound is.

    Returns
    -------
    Tensor, (...)
        Zero where no pair counts.
    """
    # mean_w max((V - y)^2, (V_old + clip(V - V_old, -c, c) - y)^2), released code, value_loss_gae
    errors = (values - targets).square()
    if clip is not None:
        held = old_values + (values - old_values).clamp(-clip, clip)
        errors = torch.maximum(errors, (held - targets).square())
    return (errors * weights).sum(-1) / weights.sum(-1).clamp(min=1.0)


def value_slopes(values: Array, old_values: Array, targets: Array, weights: Array, clip: float | None) -> Array:
    """Differentiate `value_loss` by the values: (..., N).

    Parameters
    ----------
    values, old_values, targets, weights : ndarray, (..., N)
        See `value_loss`.
    clip : float or None
        See `value_loss`.
    """
    errors = values - targets
    slopes = errors * weights
    if clip is not None:
        moved = values - old_values
        # the clipped error passes no slope where the value is held, so only the unclipped one, where it is the larger,
        # does
        held = old_values + np.clip(moved, -clip, clip) - targets
        slopes *= (np.abs(moved) <= clip) | (np.square(errors) >= np.square(held))
    # d/dV of the weighted mean square: 2 w (V - y) / sum w
    slopes *= 2.0 / np.maximum(weights.sum(-1, keepdims=True), 1.0)
    return slopes


@torch.no_grad()
def critic_values(agents: Agent, parameters: Parameters, observations: Tensor, *, rows: int = 8192) -> Tensor:
    """Evaluate the critic at observations (P, N, obs), some rows at a time to bound memory: (P, N).

    Parameters
    ----------
    agents : Agent
        A population with critics.
    parameters : mapping of str to Tensor, (P, ...)
        The critics' parameters, not necessarily the agents' own.
    observations : Tensor, (P, N, obs)
        Policy inputs.
    rows : int
        Observations evaluated at a time.
    """
    assert agents.value is not None
    return torch.cat([agents.value(parameters, part) for part in torch.split(observations, rows, dim=1)], dim=1)
