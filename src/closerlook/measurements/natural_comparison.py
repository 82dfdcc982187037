"""How near a step comes to the natural gradient of its whole batch, solved to the end."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from closerlook.algorithms.natural import policy_fisher
from closerlook.algorithms.objective import Objective
from closerlook.errors import InputError
from closerlook.nn.curvature import VectorProduct, conjugate_gradient, damped, dot, fisher_of_many
from closerlook.randomness import generator

SOLVED_STEPS = 200
"""Steps of conjugate gradient that count as solving the system to the end."""
SOLVED_TOLERANCE = 1e-5
SAMPLED_STATES = 8192
"""States of a large batch whose Fisher matrix is near enough to that of all of them to guide the solution."""
SAMPLED_TOLERANCE = 0.1
"""To which the system of those states is solved: solved better, it guides hardly better."""
LARGE = 8
"""Times as many states, from which on that takes less than to go without."""
LEAST_DAMPING = 0.1
"""Below it the sample's own system takes so many products that going without takes less."""


def compare_with_natural(objective: Objective, start: Tensor, step: Tensor, damping: float) -> dict[str, np.ndarray]:
    """Compare a step (1, D) with the natural gradient of the whole batch, solved to the end.

    Parameters
    ----------
    objective : Objective
        The surrogate on the batch.
    start : Tensor, (1, D)
        Flat parameters of the policy that sampled it.
    step : Tensor, (1, D)
        d, the change of the parameters.
    damping : float
        Added to the diagonal of F.

    Returns
    -------
    dict of str to ndarray
        ``natural_residual``: how much of the gradient's length the step leaves unexplained under the damped Fisher
        matrix F of all the batch's states, whatever the step's own length: sine of the angle between g and F d.
        ``natural_efficiency``: the gain that the gradient predicts of the step, as a share of what it predicts of the
        solution of ``F x = g`` of the same length under F: the cosine of d and x under F. NaN for a zero step, a zero
        gradient, and where no KL is known.
    """
    unknown = {"natural_residual": np.array(np.nan), "natural_efficiency": np.array(np.nan)}
    _, gradient = objective.gradient(start)
    product = batch_fisher(objective, start)
    if product is None or not (bool(torch.isfinite(step).all()) and bool(step.any()) and bool(gradient.any())):
        return unknown
    whole = damped(product, damping)
    # x solves (F + damping) x = g to the end, with all states of the batch
    guided = _solved_on_some(objective, start, damping)
    found = conjugate_gradient(whole, gradient, steps=SOLVED_STEPS, tolerance=SOLVED_TOLERANCE, precondition=guided)
    image = whole(step)
    # cos(g, F d) for the residual; for the efficiency g . d / g . (x |d|_F / |x|_F) = x^T F d / (|x|_F |d|_F), as g = F
    # x
    along = dot(gradient, image) / (dot(gradient, gradient) * dot(image, image)).sqrt()
    # |d|_F |x|_F, the lengths under the damped Fisher matrix
    lengths = (dot(step, image) * dot(found.vector, found.image)).sqrt()
    return {
        "natural_residual": np.array(float((1.0 - along.square()).clamp(min=0.0).sqrt())),
        "natural_efficiency": np.array(float(dot(found.image, step) / lengths)),
    }


def _solved_on_some(objective: Objective, start: Tensor, damping: float) -> VectorProduct | None:
    """Prepare rough solutions with the Fisher matrix of some states of a large batch; None where they save nothing.

    F of a sample of the states is near F of all, so that its inverse is a preconditioner.
    """
    count = objective.observations.shape[1]
    if count < LARGE * SAMPLED_STATES or damping < LEAST_DAMPING:
        return None
    # drawn: one state in so many would be the same steps of every stream, and F of those is another one
    chosen = np.sort(generator(0, "states that guide a solution").choice(count, SAMPLED_STATES, replace=False))
    product = batch_fisher(objective, start, objective.observations[:, chosen])
    if product is None:
        return None
    some = damped(product, damping)
    return lambda vector: conjugate_gradient(some, vector, steps=SOLVED_STEPS, tolerance=SAMPLED_TOLERANCE).vector


def batch_fisher(objective: Objective, start: Tensor, states: Tensor | None = None) -> VectorProduct | None:
    """Prepare products with the Fisher matrix of a batch's states; None where no KL is known.

    Parameters
    ----------
    objective : Objective
        With the states.
    start : Tensor, (1, D)
        Flat parameters at which the curvature is taken.
    states : Tensor, (1, M, obs), optional
        Some of the states; by default all.
    """
    states = objective.observations if states is None else states
    try:
        return fisher_of_many(partial(policy_fisher, objective.policy), objective.named(start), states)
    except InputError:
        return None
