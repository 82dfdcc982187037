"""TRPO as sb3-contrib makes it: sub-sampled pairs, a line search of its own factor, then the critic by minibatches.

====== ==========================================
symbol meaning
====== ==========================================
N      pairs of a batch
D      parameters of the policy, flattened
====== ==========================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.joint import SHARED, Optimizer, OptimizerFields
from closerlook.algorithms.minibatches import pairs_of
from closerlook.algorithms.settings import require_numbers
from closerlook.algorithms.update import UpdateInfo, describe_update, require_finite
from closerlook.errors import InputError
from closerlook.nn.distributions import DiagonalGaussian, Distribution, IndependentBernoulli, SquashedGaussian
from closerlook.nn.networks import flatten, unflatten
from closerlook.randomness import generator

_TOLERANCE = 1e-10
"""Squared norm of the residual at which conjugate gradient stops."""
_FIRST_GUESS = 1e-4
"""Deviation of the random vector that it begins with."""


@dataclass(frozen=True)
class ContribTRPOSettings(OptimizerFields):
    """Settings of the library's TRPO, by its defaults; the optimizer is the critic's."""

    learning_rate: float = 1e-3
    """Of the critic."""
    batch_size: int = 128
    """Pairs of a minibatch of the critic."""
    critic_updates: int = 10
    """Passes of the critic through a batch."""
    target_kl: float = 0.01
    """Mean KL from the new policy to the old, of one action component, that a step is scaled to and stays below."""
    cg_steps: int = 15
    """Steps of conjugate gradient, at most."""
    damping: float = 0.1
    """Multiple of the identity added to the Fisher matrix."""
    shrinking: float = 0.8
    """Factor between one trial of the line search and the next."""
    backtracks: int = 10
    """Trials of the line search."""
    sub_sampling: int = 1
    """Every how many-th pair of the shuffled batch the policy's step is computed from."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        super().__post_init__()
        names = ("batch_size", "target_kl", "cg_steps", "shrinking", "backtracks", "sub_sampling")
        require_numbers(self, names, positive=True)
        require_numbers(self, ("damping", "critic_updates"), positive=False)


@dataclass(frozen=True)
class ContribTRPOInfo(UpdateInfo):
    """What happened in the library's TRPO, beside what `UpdateInfo` says.

    Parameters
    ----------
    quadratic_kl : ndarray
        Half the step's square under the undamped Fisher matrix, nats of one action component.
    step_fraction : ndarray
        The step taken as a share of the full one; 0 where none was.
    line_search_failed : ndarray
        1 where no trial was accepted.
    predicted_improvement, surrogate_improvement : ndarray
        Of the surrogate, by its gradient and by itself, on the pairs the step was computed from.
    """

    quadratic_kl: np.ndarray
    step_fraction: np.ndarray
    line_search_failed: np.ndarray
    predicted_improvement: np.ndarray
    surrogate_improvement: np.ndarray


def contrib_trpo_update(
    agents: Agent, batch: Batch, settings: ContribTRPOSettings, *, seeds: Sequence[int], iteration: int
) -> tuple[Agent, ContribTRPOInfo]:
    """Update the policies of a population, then their critics.

    Parameters
    ----------
    agents : Agent
        A population of P.
    batch : Batch
        What to compute the update from, (P, S, T).
    settings : ContribTRPOSettings
        How.
    seeds : sequence of int, (P,)
        Each member's own; orders of pairs and first guesses are keyed by them.
    iteration : int
        Updates made before: keys the same draws.

    Returns
    -------
    agents : Agent
        Updated parameters and optimizer state.
    info : ContribTRPOInfo
        What happened.

    Raises
    ------
    InputError
        Where no formula is known for the KL of the policy's distribution.
    NonFiniteError
        Where a parameter is no longer finite.

    References
    ----------
    ``sb3_contrib/trpo/trpo.py``, ``train``, of version 2.9.
    """
    members, infos = [], []
    for place, (agent, seed) in enumerate(zip(agents.unstack(), seeds, strict=True)):
        own = batch.of_policies(slice(place, place + 1))
        policy, happened = _step_policy(agent, own, settings, seed, iteration)
        members.append(_fit_critic(policy, own, settings, seed, iteration))
        infos.append(happened)
    updated = Agent.stack(members)
    require_finite(updated, iteration)
    constant = torch.zeros(len(members), dtype=torch.int64)
    base = describe_update(agents, updated, batch, clip=np.inf, constant=constant)
    return updated, ContribTRPOInfo(
        **base.columns(), **{name: np.array([info[name] for info in infos]) for name in infos[0]}
    )


def _step_policy(
    agent: Agent, batch: Batch, settings: ContribTRPOSettings, seed: int, iteration: int
) -> tuple[Agent, dict[str, float]]:
    """Step along the natural gradient, as far as the line search lets it."""
    columns = [pairs_of(c)[0] for c in (batch.observations, batch.actions, batch.log_probs, batch.advantages)]
    draws = generator(seed, "minibatches", stream=iteration)
    # slices of the shuffled batch, as the library takes them
    order = torch.from_numpy(draws.permutation(len(columns[0])))[:: settings.sub_sampling]
    observations, actions, old_log_probs, advantages = (column[order] for column in columns)
    if agent.normalize_advantages:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    shapes = agent.policy.parameter_shapes
    names, start = list(shapes), {name: t.detach() for name, t in agent.policy_parameters.items()}
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    with torch.no_grad():
        old = agent.policy.distribution(start, observations)
    new = agent.policy.distribution(leaves, observations)
    # L = mean A r and its gradient at the old policy; `divergence` is the gradient of the mean KL, zero there but
    # differentiable once more: F v = grad (grad KL . v)
    surrogate = (advantages * torch.exp(new.log_prob(actions) - old_log_probs)).mean()
    gradient = _flat_gradient(surrogate, leaves)
    divergence = _flat_gradient(_mean_kl(new, old), leaves, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        along = _flat_gradient((divergence * vector).sum(), leaves)
        return along + settings.damping * vector

    # the library begins at a small random vector rather than at zero
    guess = torch.from_numpy(draws.standard_normal(len(gradient)).astype(np.float32)) * _FIRST_GUESS
    direction = _conjugate_gradient(product, gradient, guess, settings.cg_steps)
    # step = sqrt(2 delta / x^T (F + damping) x) x
    square = float(direction @ product(direction))
    length = np.sqrt(2.0 * settings.target_kl / square) if square > 0 else 0.0
    flat = flatten(start, names)
    happened = {"quadratic_kl": 0.0, "step_fraction": 0.0, "predicted_improvement": 0.0, "surrogate_improvement": 0.0}
    share, before = 1.0, float(surrogate.detach())
    for _ in range(settings.backtracks if length else 0):
        trial = unflatten(flat + share * length * direction, shapes)
        with torch.no_grad():
            tried = agent.policy.distribution(trial, observations)
            after = float((advantages * torch.exp(tried.log_prob(actions) - old_log_probs)).mean())
            kl = float(_mean_kl(tried, old))
        if kl < settings.target_kl and after > before:
            # half the squared length of the step taken under F without damping
            undamped = square - settings.damping * float(direction @ direction)
            happened = {
                "quadratic_kl": 0.5 * (share * length) ** 2 * undamped,
                "step_fraction": share,
                "predicted_improvement": share * length * float(gradient @ direction),
                "surrogate_improvement": after - before,
            }
            # what both use is the critic's too
            common = {name: tensor for name, tensor in trial.items() if name.startswith(SHARED)}
            changes = {"policy": trial, "value": common if agent.value is not None else {}}
            return agent.with_state(changes), {**happened, "line_search_failed": 0.0}
        share *= settings.shrinking
    return agent, {**happened, "line_search_failed": float(length > 0)}


def _mean_kl(first: Distribution, second: Distribution) -> Tensor:
    """Return the mean KL as the library takes it: of each component of an action, where they are of one kind.

    A bound on it so allows as many times more of the KL of the whole action as there are components.
    """
    averaged = isinstance(first, DiagonalGaussian | SquashedGaussian | IndependentBernoulli)
    try:
        return first.kl(second).mean() / (first.noise.size if averaged else 1)
    except NotImplementedError as error:
        raise InputError("the policy's distribution has no KL divergence that torch knows", "use PPO") from error


def _flat_gradient(value: Tensor, leaves: dict[str, Tensor], *, create_graph: bool = False) -> Tensor:
    wanted = list(leaves.values())
    parts = torch.autograd.grad(value, wanted, retain_graph=True, create_graph=create_graph, materialize_grads=True)
    return torch.cat([part.reshape(-1) for part in parts])


def _conjugate_gradient(product: Callable[[Tensor], Tensor], target: Tensor, guess: Tensor, steps: int) -> Tensor:
    """Solve ``product(x) = target`` from a first guess (Hestenes and Stiefel, 1952)."""
    solution = guess.clone()
    residual = target - product(solution)
    direction, square = residual.clone(), residual @ residual
    for _ in range(steps):
        if square < _TOLERANCE:
            break
        image = product(direction)
        # alpha = r . r / (d . A d), beta = r' . r' / (r . r), as in torch's float32
        step = square / (direction @ image)
        solution = solution + step * direction
        residual = residual - step * image
        next_square = residual @ residual
        direction = residual + (next_square / square) * direction
        square = next_square
    return solution.detach()


def _fit_critic(agent: Agent, batch: Batch, settings: ContribTRPOSettings, seed: int, iteration: int) -> Agent:
    """Descend the critic's squared error; what the policy uses too stays as it is."""
    if agent.value is None:
        return agent
    optimizer = Optimizer(agent, settings)
    observations, targets = pairs_of(batch.observations)[0], pairs_of(batch.gae_targets)[0]
    # layers that the policy uses too are the policy's to move
    own = {name: tensor for name, tensor in optimizer.part("value").items() if not name.startswith(SHARED)}
    for epoch in range(settings.critic_updates):
        draws = generator(seed, "value minibatches", stream=iteration, episode=epoch)
        for chosen in torch.split(torch.from_numpy(draws.permutation(len(targets))), settings.batch_size):
            values = agent.value(optimizer.part("value"), observations[chosen])
            slopes = torch.autograd.grad((targets[chosen] - values).square().mean(), list(own.values()))
            optimizer.step({f"value.{name}": slope for name, slope in zip(own, slopes, strict=True)})
    changes = optimizer.changes()
    return agent.with_state({part: changes[part] for part in ("value", "optimizer.value")})
