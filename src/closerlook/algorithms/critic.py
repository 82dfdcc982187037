"""Fitting a population's critics to their value targets, the same for every algorithm."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.adam import PopulationAdam
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.minibatches import minibatches, pairs_of
from closerlook.estimation.networks import Parameters


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
    columns = [pairs_of(c) for c in (batch.observations, batch.values, batch.value_targets, batch.value_weights)]
    adam = PopulationAdam(agents.value_parameters, agents.part("optimizer.value"), settings.adam_epsilon)
    for epoch in range(settings.value_epochs):
        deal = minibatches(columns, settings.minibatches, seeds, "value minibatches", iteration=iteration, epoch=epoch)
        for observations, old_values, targets, weights in deal:
            values = agents.value(adam.parameters, observations)
            adam.descend(value_loss(values, old_values, targets, weights, settings.value_clip), rate)
    return agents.with_state({"value": adam.result(), "optimizer.value": adam.state()})


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
    errors = (values - targets).square()
    if clip is not None:
        held = old_values + (values - old_values).clamp(-clip, clip)
        errors = torch.maximum(errors, (held - targets).square())
    return (errors * weights).sum(-1) / weights.sum(-1).clamp(min=1.0)


@torch.no_grad()
def critic_values(agents: Agent, parameters: Parameters, observations: Tensor, *, rows: int = 8192) -> Tensor:
    """Evaluate the critic at observations (P, N, obs), some rows at a time to bound memory: (P, N)."""
    assert agents.value is not None
    return torch.cat([agents.value(parameters, part) for part in torch.split(observations, rows, dim=1)], dim=1)
