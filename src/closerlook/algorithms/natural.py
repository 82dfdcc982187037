"""The natural policy gradient on the population axis, and the trust-region step that TRPO searches along.

Every detail is numbered, with its source, in ``docs/trpo.md``.

====== ==================================================
symbol meaning
====== ==================================================
P      policies of the population
M      states that the Fisher matrix is estimated from
D      all policy parameters, flattened
====== ==================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, Policy
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.critic import fit_critic
from closerlook.algorithms.objective import Objective
from closerlook.algorithms.settings import CriticFields, require_numbers
from closerlook.algorithms.steps import GradientInfo, describe_step
from closerlook.algorithms.update import require_finite
from closerlook.errors import InputError
from closerlook.nn.curvature import (
    VectorProduct,
    categorical_fisher,
    conjugate_gradient,
    damped,
    dot,
    gaussian_fisher,
    kl_fisher,
)
from closerlook.nn.networks import Parameters
from closerlook.randomness import generator

Accept = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Decides on trial steps from the surrogate's gain, the gain predicted by its gradient, and the mean KL, (P,) each."""


@dataclass(frozen=True)
class NaturalSettings(CriticFields):
    """Settings of a natural-gradient update; the defaults are Table 1's columns for TRPO, for Walker2d.

    See Also
    --------
    closerlook.TRPOSettings : the same with a line search.
    closerlook.TrainSettings : where they belong.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.NaturalSettings(max_kl=0.01).cg_steps
    10
    """

    max_kl: float = 0.04
    """Mean KL from the old policy to the new that the full step is scaled to, by the quadratic model."""
    fisher_fraction: float = 0.1
    """Share of the batch's states that the Fisher matrix is estimated from."""
    cg_steps: int = 10
    """Steps of conjugate gradient, at most."""
    cg_tolerance: float = 1e-6
    """Conjugate gradient stops earlier where the residual, relative to the gradient, is as small as this; 0: never."""
    damping: float = 0.1
    """Multiple of the identity added to the Fisher matrix."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        super().__post_init__()
        require_numbers(self, ("max_kl", "fisher_fraction", "cg_steps"), positive=True)
        require_numbers(self, ("cg_tolerance", "damping"), positive=False)
        if self.fisher_fraction > 1:
            raise InputError(f"fisher_fraction must be at most 1 (got {self.fisher_fraction})", "give 0.1, for example")


@dataclass(frozen=True)
class NaturalInfo(GradientInfo):
    """What happened in an update along the natural gradient, beside what `GradientInfo` says.

    Parameters
    ----------
    quadratic_kl : ndarray
        Half the step's square under the undamped Fisher matrix of the update's own states, nats: what the quadratic
        model says the step's mean KL is.
    step_fraction : ndarray
        The step taken as a share of the full one: 1, 1/2, 1/4 ...; 0 where none was.
    line_search_failed : ndarray
        1 where there was a full step, and neither it nor a shorter one was accepted: the policy is as before.
    cg_residual : ndarray
        What conjugate gradient left of the gradient, as a share of its norm, under the damped Fisher matrix.
    cg_steps : ndarray
        Steps conjugate gradient took.
    """

    quadratic_kl: np.ndarray
    step_fraction: np.ndarray
    line_search_failed: np.ndarray
    cg_residual: np.ndarray
    cg_steps: np.ndarray


@dataclass(frozen=True)
class FullStep:
    """The step to the edge of the trust region by the quadratic model, for each policy.

    Parameters
    ----------
    vector : Tensor, (P, D), float64
        The step; zero where there is none.
    surrogate : Tensor, (P,), float64
        The surrogate at the old policy.
    gradient : Tensor, (P, D), float64
        Its gradient there.
    predicted : Tensor, (P,), float64
        Gradient times step.
    quadratic_kl : Tensor, (P,), float64
        The undamped quadratic model of the mean KL.
    unusable : Tensor, (P,), bool
        Where there is a gradient, and no finite step of finite length came of it.
    residual, cg_steps : Tensor, (P,)
        See `closerlook.nn.curvature.Solution`.
    """

    vector: Tensor
    surrogate: Tensor
    gradient: Tensor
    predicted: Tensor
    quadratic_kl: Tensor
    unusable: Tensor
    residual: Tensor
    cg_steps: Tensor


@dataclass(frozen=True)
class TakenStep:
    """Where each policy ended: flat parameters (P, D), the share of the full step, and the surrogate's gain (P,).

    Parameters
    ----------
    vector : Tensor, (P, D)
        Flat parameters.
    fraction : Tensor, (P,)
        The step taken as a share of the full one; 0 where none was.
    gain : Tensor, (P,)
        By how much the surrogate rose on the batch.
    """

    vector: Tensor
    fraction: Tensor
    gain: Tensor


def natural_update(
    agents: Agent, batch: Batch, settings: NaturalSettings, *, seeds: Sequence[int], iteration: int
) -> tuple[Agent, NaturalInfo]:
    """Update the critics of a population, then move each policy one full step along its natural gradient.

    Nothing is searched: the step is taken whatever it does to the surrogate, unless its parameters or its mean KL are
    not finite. Results and errors are those of `closerlook.algorithms.trpo.trpo_update`.

    Parameters
    ----------
    agents : Agent
        A population of P.
    batch : Batch
        What to compute the update from, (P, S, T).
    settings : NaturalSettings
        How.
    seeds : sequence of int, (P,)
        Each member's own; the critic's minibatches and the states of the Fisher matrix are keyed by them.
    iteration : int
        Updates made before: keys the same draws.

    References
    ----------
    Kakade, 2001, "A Natural Policy Gradient".
    """

    def accept(gain: Tensor, _predicted: Tensor, kl: Tensor) -> Tensor:
        return torch.isfinite(gain) & torch.isfinite(kl)

    return searched_update(agents, batch, settings, accept, tries=1, seeds=seeds, iteration=iteration)


def searched_update(
    agents: Agent,
    batch: Batch,
    settings: NaturalSettings,
    accept: Accept,
    *,
    tries: int,
    seeds: Sequence[int],
    iteration: int,
) -> tuple[Agent, NaturalInfo]:
    """Update the critics, then move each policy along its natural gradient as far as `accept` lets it.

    Parameters
    ----------
    agents : Agent
        A population of P.
    batch : Batch
        What to compute the update from, (P, S, T).
    settings : NaturalSettings
        How.
    accept : callable
        Decides on trial steps, see `Accept`.
    tries : int
        Trial steps: the full one and its halvings.
    seeds : sequence of int, (P,)
        Each member's own; the critic's minibatches and the states of the Fisher matrix are keyed by them.
    iteration : int
        Updates made before: keys the same draws.
    """
    rate = settings.value_learning_rate
    updated = fit_critic(agents, batch, settings, rate=rate, seeds=seeds, iteration=iteration)
    # the batch's advantages are those of the critic before its update
    objective = Objective.of(agents, batch)
    start = objective.start(agents)
    full = full_step(objective, start, settings, seeds=seeds, iteration=iteration)
    taken = backtrack(objective, start, full, accept, tries=tries)
    updated = updated.with_state({"policy": objective.named(taken.vector)})
    require_finite(updated, iteration)
    return updated, _describe(agents, updated, batch, objective, full, taken)


def full_step(
    objective: Objective, start: Tensor, settings: NaturalSettings, *, seeds: Sequence[int], iteration: int
) -> FullStep:
    """Scale the natural gradient to the edge of the trust region.

    Parameters
    ----------
    objective : Objective
        The surrogate on the batch.
    start : Tensor, (P, D)
        The old policies' flat parameters.
    settings : NaturalSettings
        Its ``max_kl``, Fisher fraction, damping and conjugate gradient.
    seeds : sequence of int, (P,)
        Each policy's own: they choose the states.
    iteration : int
        Which update this is.

    Raises
    ------
    InputError
        Where torch knows no KL for the policy's distribution.
    """
    # g = grad L at the old policy, in float64; F from a fraction of the states (Table 1: 0.1)
    surrogate, gradient = objective.gradient(start)
    states = fisher_states(objective.observations, settings.fisher_fraction, seeds, iteration)
    product = damped(policy_fisher(objective.policy, objective.named(start), states), settings.damping)
    # x = (F + damping)^-1 g
    found = conjugate_gradient(product, gradient, steps=settings.cg_steps, tolerance=settings.cg_tolerance)
    square = dot(found.vector, found.image)
    # beta = sqrt(2 delta / x^T (F + damping) x): the damped quadratic model meets the KL bound (S15, appendix C)
    scale = torch.sqrt(2 * settings.max_kl / square)
    vector = scale.unsqueeze(-1) * found.vector
    usable = (square > 0) & torch.isfinite(square) & torch.isfinite(vector).all(-1)
    vector = torch.where(usable.unsqueeze(-1), vector, 0.0)
    # x^T F x = x^T (F + damping) x - damping |x|^2, what the KL itself is to second order
    undamped = scale.square() * (square - settings.damping * dot(found.vector, found.vector))
    return FullStep(
        vector=vector,
        surrogate=surrogate,
        gradient=gradient,
        predicted=dot(gradient, vector),
        quadratic_kl=torch.where(usable, 0.5 * undamped, 0.0),
        unusable=~usable & (gradient != 0).any(-1),
        residual=found.residual,
        cg_steps=found.steps,
    )


def fisher_states(observations: Tensor, fraction: float, seeds: Sequence[int], iteration: int) -> Tensor:
    """Choose states for the Fisher matrix without replacement, each policy its own: (P, N, obs) to (P, M, obs).

    M is the whole part of the fraction of N, and at least 1; the choice is keyed (seed, "fisher", iteration).

    Parameters
    ----------
    observations : Tensor, (P, N, obs)
        States of the batch.
    fraction : float
        Above 0, at most 1.
    seeds : sequence of int, (P,)
        Each policy's own.
    iteration : int
        Updates made before.
    """
    pairs = observations.shape[1]
    # M = max(1, floor(fraction N)), drawn without replacement
    count = max(1, int(fraction * pairs))
    if count == pairs:
        return observations
    chosen = [generator(seed, "fisher", stream=iteration).choice(pairs, count, replace=False) for seed in seeds]
    return observations[torch.arange(len(seeds)).unsqueeze(1), torch.from_numpy(np.sort(np.stack(chosen)))]


def policy_fisher(policy: Policy, parameters: Parameters, observations: Tensor) -> VectorProduct:
    """Prepare Fisher-vector products in the fastest way there is for a policy.

    Parameters
    ----------
    policy : Policy
        The architecture.
    parameters : mapping of str to Tensor, (P, ...)
        Where the curvature is taken.
    observations : Tensor, (P, M, obs)
        States that the Fisher matrix is the mean over.

    Raises
    ------
    InputError
        Where torch knows no KL for the policy's distribution.
    """
    # a closed form of F where there is one; else two passes of autograd through the KL
    if isinstance(policy, GaussianMLP):
        return gaussian_fisher(policy.network, parameters, observations)
    if isinstance(policy, CategoricalMLP):
        return categorical_fisher(policy.network, parameters, observations)
    try:
        return kl_fisher(policy, parameters, observations)
    except NotImplementedError as error:
        raise InputError("the policy's distribution has no KL divergence that torch knows", "use PPO") from error


def backtrack(objective: Objective, start: Tensor, full: FullStep, accept: Accept, *, tries: int) -> TakenStep:
    """Try the full step and its halvings, each policy for itself, and keep the first that is accepted.

    A trial whose parameters are not finite is refused; a policy with nothing accepted keeps its parameters.

    Parameters
    ----------
    objective : Objective
        The surrogate on the batch.
    start : Tensor, (P, D)
        The old policies' flat parameters.
    full : FullStep
        The step to try first.
    accept : callable
        See `Accept`.
    tries : int
        Trials in all.
    """
    vector, (fraction, gain) = start.clone(), torch.zeros(2, len(start), dtype=torch.float64)
    waiting = torch.nonzero((full.vector != 0).any(-1)).squeeze(-1)
    for k in range(tries):
        if len(waiting) == 0:
            break
        # theta_k = theta_old + 2^-k step; accepted where surrogate gain and KL are good, each policy for itself
        share = 0.5**k
        before = start[waiting]
        trial = (before.double() + share * full.vector[waiting]).to(start.dtype)
        surrogate, kl = objective.members(waiting).compare(before, trial)
        gained = surrogate - full.surrogate[waiting]
        good = accept(gained, share * full.predicted[waiting], kl) & torch.isfinite(trial).all(-1)
        done = waiting[good]
        vector[done], fraction[done], gain[done] = trial[good], share, gained[good]
        waiting = waiting[~good]
    return TakenStep(vector, fraction, gain)


def _describe(
    before: Agent, after: Agent, batch: Batch, objective: Objective, full: FullStep, taken: TakenStep
) -> NaturalInfo:
    base = describe_step(
        before,
        after,
        batch,
        objective,
        gradient=full.gradient,
        unusable=full.unusable,
        predicted=taken.fraction * full.predicted,
        gain=taken.gain,
    )
    tried = (full.vector != 0).any(-1)
    own = {
        "quadratic_kl": taken.fraction.square() * full.quadratic_kl,
        "step_fraction": taken.fraction,
        "line_search_failed": tried & (taken.fraction == 0),
        "cg_residual": full.residual,
        "cg_steps": full.cg_steps,
    }
    return NaturalInfo(**base.columns(), **{name: tensor.double().numpy() for name, tensor in own.items()})
