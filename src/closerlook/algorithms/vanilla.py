"""The plain policy gradient on the population axis: one step a batch, by Adam or by gradient ascent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.adam import PopulationAdam
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.critic import fit_critic
from closerlook.algorithms.objective import Objective
from closerlook.algorithms.settings import CriticFields, require_numbers
from closerlook.algorithms.steps import GradientInfo, describe_step
from closerlook.algorithms.update import require_finite
from closerlook.nn.curvature import dot
from closerlook.nn.networks import flatten


@dataclass(frozen=True)
class VanillaSettings(CriticFields):
    """Settings of a plain policy-gradient update.

    See Also
    --------
    closerlook.TrainSettings : where they belong.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.VanillaSettings(optimizer="sgd").policy_learning_rate
    0.0003
    """

    policy_learning_rate: float = 3e-4
    """Learning rate of the policy's one step."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """What makes a step of the gradient: Adam, or the gradient times the learning rate."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        super().__post_init__()
        require_numbers(self, ("policy_learning_rate",), positive=False)


def vanilla_update(
    agents: Agent, batch: Batch, settings: VanillaSettings, *, seeds: Sequence[int], iteration: int
) -> tuple[Agent, GradientInfo]:
    """Update the critics of a population, then take one step up each policy's surrogate.

    At the old policy the surrogate's gradient is the policy gradient. Constant advantages, and a gradient that is
    not finite, count as a gradient of zero; Adam may still move by its momentum. A member's result does not depend
    on who else is in the population.

    Parameters
    ----------
    agents : Agent
        A population of P.
    batch : Batch
        What to compute the update from, (P, S, T).
    settings : VanillaSettings
        How.
    seeds : sequence of int, (P,)
        Each member's own; the critic's minibatches are keyed by them.
    iteration : int
        Updates made before: keys the same draws.

    Returns
    -------
    agents : Agent
        Updated parameters and optimizer state; everything else as it was.
    info : GradientInfo
        What happened, measured over the whole update on the whole batch.

    Raises
    ------
    NonFiniteError
        Where a parameter is no longer finite.

    References
    ----------
    Sutton et al., 2000, "Policy Gradient Methods for Reinforcement Learning with Function Approximation".
    """
    rate = settings.value_learning_rate
    updated = fit_critic(agents, batch, settings, rate=rate, seeds=seeds, iteration=iteration)
    objective = Objective.of(agents, batch)
    start = objective.start(agents)
    surrogate, gradient = objective.gradient(start)
    unusable = ~torch.isfinite(gradient).all(-1)
    # a gradient that is not finite counts as none, for this policy alone
    usable = torch.where(unusable.unsqueeze(-1), 0.0, gradient).to(start.dtype)
    updated = _climb(updated, objective, usable, settings)
    require_finite(updated, iteration)
    end = objective.start(updated)
    info = describe_step(
        agents,
        updated,
        batch,
        objective,
        gradient=gradient,
        unusable=unusable,
        predicted=dot(gradient, end.double() - start.double()),
        gain=objective.surrogate(end) - surrogate,
    )
    return updated, info


def _climb(agents: Agent, objective: Objective, gradient: Tensor, settings: VanillaSettings) -> Agent:
    if settings.optimizer == "sgd":
        # theta + rate grad L
        vector = objective.start(agents) + settings.policy_learning_rate * gradient
        return agents.with_state({"policy": objective.named(vector)})
    adam = PopulationAdam(agents.policy_parameters, agents.part("optimizer.policy"), settings.adam_epsilon)
    parameters = flatten(adam.parameters, list(adam.parameters), stacked=True)
    # a loss that is linear in the parameters: its gradient is minus the one that is known already
    adam.descend(-dot(gradient, parameters), settings.policy_learning_rate)
    return agents.with_state({"policy": adam.result(), "optimizer.policy": adam.state()})
