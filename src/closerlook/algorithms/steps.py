"""What happened in an update that is one step along one gradient, whichever way the step was made of it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.objective import Objective
from closerlook.algorithms.update import UpdateInfo, describe_update
from closerlook.nn.curvature import dot


@dataclass(frozen=True)
class GradientInfo(UpdateInfo):
    """What happened in an update of one gradient, beside what `UpdateInfo` says.

    Nothing is clipped: ``clip_fraction`` is NaN, and ``policy_loss`` is minus the plain surrogate.

    Parameters
    ----------
    gradient_norm : ndarray
        Norm of the surrogate's gradient at the old policy.
    update_norm : ndarray
        Norm of the change in the policy's parameters.
    predicted_improvement : ndarray
        Gradient times step.
    surrogate_improvement : ndarray
        How much the surrogate rose, on the batch, over the step.
    unusable_gradient : ndarray
        1 where the gradient was not finite, or no finite step came of it.
    """

    gradient_norm: np.ndarray
    update_norm: np.ndarray
    predicted_improvement: np.ndarray
    surrogate_improvement: np.ndarray
    unusable_gradient: np.ndarray


def describe_step(
    before: Agent,
    after: Agent,
    batch: Batch,
    objective: Objective,
    *,
    gradient: Tensor,
    unusable: Tensor,
    predicted: Tensor,
    gain: Tensor,
) -> GradientInfo:
    """Measure an update of one gradient on the batch it was computed from.

    Parameters
    ----------
    before, after : Agent
        The population before and after the update.
    batch : Batch
        What the update was computed from.
    objective : Objective
        Its surrogate.
    gradient : Tensor, (P, D)
        The surrogate's gradient at `before`.
    unusable : Tensor, (P,), bool
        Where it could not be used.
    predicted, gain : Tensor, (P,)
        Improvement by the gradient, and by the surrogate.
    """
    # nothing is clipped: with an infinite bound the policy's loss is minus the plain surrogate
    base = describe_update(before, after, batch, clip=torch.inf, constant=objective.constant)
    step = objective.start(after).double() - objective.start(before).double()
    own = {
        "clip_fraction": torch.full_like(predicted, torch.nan),
        "gradient_norm": dot(gradient, gradient).sqrt(),
        "update_norm": dot(step, step).sqrt(),
        "predicted_improvement": predicted,
        "surrogate_improvement": gain,
        "unusable_gradient": unusable,
    }
    return GradientInfo(**base.columns() | {name: tensor.double().numpy() for name, tensor in own.items()})
