"""One stream's scores, reduced: their weighted sums, and their squares.

====== ===========================================
symbol meaning
====== ===========================================
N      pairs of a window: the first of the stream
W      weightings
L      layers of the policy
====== ===========================================
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, Policy
from closerlook.errors import NonFiniteError
from closerlook.nn.gradients import (
    HeadErrors,
    autograd_score_sums,
    categorical_head,
    gaussian_head,
    mlp_score_sums,
)
from closerlook.nn.score_squares import autograd_score_squares, mlp_score_squares, mlp_squared_norms
from closerlook.simulation.records import Rollout
from closerlook.statistics.blocks import Sums


def has_known_network(policy: Policy) -> bool:
    """Whether a policy's scores are added up by hand, or by autograd."""
    return isinstance(policy, GaussianMLP | CategoricalMLP)


def stream_sums(agents: Agent, sampled: Rollout, place: int, stream: int, windows: Sequence[Tensor]) -> list[Sums]:
    """Add up the scores of one stream of a population of one, weighted by each weighting and by ones.

    Parameters
    ----------
    agents : Agent
        A population of one.
    sampled : Rollout
        What it did.
    place, stream : int
        The stream's position in the rollout, and its number.
    windows : sequence of Tensor, (W, N) each
        For each, the first N pairs are added up.

    Raises
    ------
    NonFiniteError
        Where a user's policy has a score that is not finite.
    """
    # weights of one beside the advantages: sum grad log pi, which a mean is taken off by later
    with_ones = [torch.cat([weights, torch.ones_like(weights[:1])]) for weights in windows]
    parameters, observations, actions = _stream(agents, sampled, place)
    policy = agents.policy
    if isinstance(policy, GaussianMLP | CategoricalMLP):
        head = _head(policy, parameters)
        scores = mlp_score_sums(policy.network, parameters, head, observations, actions, with_ones)
    else:
        scores = autograd_score_sums(policy, parameters, observations, actions, with_ones)
        if not all(np.isfinite(one).all() for one in scores):
            densities = policy.distribution(parameters, observations).log_prob(actions)
            at = torch.nonzero(~torch.isfinite(densities)).flatten().tolist()
            where = f"the log probability of the action of step {at[0]}" if at else "the score"
            what = f"{where} in stream {stream} is not finite"
            raise NonFiniteError(what, "look at what the policy's distribution makes of the observations there")
    block = np.array([stream]), np.array([1])
    return [Sums(*block, s[None], _moments(w)[None]) for s, w in zip(scores, windows, strict=True)]


def _stream(agents: Agent, sampled: Rollout, place: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return the policy's parameters, and the inputs and actions of one stream."""
    parameters = {name: tensor[0] for name, tensor in agents.policy_parameters.items()}
    return parameters, torch.from_numpy(sampled.observations[0, place]), torch.from_numpy(sampled.actions[0, place])


def _head(policy: GaussianMLP | CategoricalMLP, parameters: dict[str, Tensor]) -> HeadErrors:
    return gaussian_head(parameters["log_std"]) if isinstance(policy, GaussianMLP) else categorical_head


def stream_squares(agents: Agent, sampled: Rollout, place: int, advantages: Tensor) -> dict[str, np.ndarray]:
    """Add up the squares of one stream of a population of one, layer by layer and trajectory by trajectory.

    Parameters
    ----------
    agents : Agent
        A population of one.
    sampled : Rollout
        What it did.
    place : int
        The stream's position in the rollout.
    advantages : Tensor, (T,)
        A of its pairs.

    Returns
    -------
    dict of str to ndarray
        ``squares`` (1, L, 6), see `closerlook.nn.score_squares`; ``squared_lengths`` (1,), the sum over the
        trajectories of the squared number of their pairs.
    """
    policy = agents.policy
    parameters, observations, actions = _stream(agents, sampled, place)
    own = sampled.episodes.stream == place
    starts = np.maximum(sampled.episodes.start[own], 0)
    if isinstance(policy, GaussianMLP | CategoricalMLP):
        head = _head(policy, parameters)
        squares = mlp_score_squares(policy.network, parameters, head, observations, actions, advantages, starts)
    else:
        squares = autograd_score_squares(policy, parameters, observations, actions, advantages, starts)
    # n_i, pairs of each trajectory in the stream
    lengths = np.diff([*starts, sampled.n_steps])
    return {"squares": squares[None], "squared_lengths": np.square(lengths).sum(keepdims=True).astype(np.float64)}


def _moments(weights: Tensor) -> np.ndarray:
    """Count the pairs of weights (W, N), and add up each weighting and its square: (1 + 2 W,)."""
    rows = weights.double().numpy()
    return np.array([rows.shape[1], *(moment for row in rows for moment in (row.sum(), np.square(row).sum()))])


def stream_squared_norms(agents: Agent, sampled: Rollout, place: int) -> Tensor | None:
    """Return ``|grad log pi|^2`` of each pair of one stream, (T,); None for a network that is not known.

    Parameters
    ----------
    agents : Agent
        A population of one.
    sampled : Rollout
        What it did.
    place : int
        The stream's position in the rollout.
    """
    policy = agents.policy
    if not isinstance(policy, GaussianMLP | CategoricalMLP):
        return None
    parameters, observations, actions = _stream(agents, sampled, place)
    return mlp_squared_norms(policy.network, parameters, _head(policy, parameters), observations, actions)
