"""Surrogates and true rewards at points around an agent: its parameters plus multiples of some directions.

====== ==========================================
symbol meaning
====== ==========================================
P      points
A      axes
D      policy parameters, flattened
N      pairs of a batch
S      streams
====== ==========================================
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.objective import Objective
from closerlook.algorithms.surrogate import SURROGATES, deviation
from closerlook.measurements.episode_returns import sample_returns
from closerlook.measurements.policy_change import CHANGES, policy_change
from closerlook.measurements.policy_updates import sample_batch
from closerlook.measurements.stream_sums import StreamRange
from closerlook.nn.networks import flatten
from closerlook.randomness import generator
from closerlook.simulation.records import Sampling

RANDOM_NORM = 2.0
"""Length of a random direction (Ilyas et al., 2020, section 2.3)."""


@dataclass(frozen=True)
class Points:
    """Where surfaces are evaluated.

    Parameters
    ----------
    directions : ndarray, (A, D)
        Of the axes.
    multiples : ndarray, (P, A)
        How far along each.
    """

    directions: np.ndarray
    multiples: np.ndarray

    def parameters(self, agent: Agent) -> np.ndarray:
        """Return the points as flat policy parameters, (P, D) float64."""
        # theta + sum_a m_a d_a
        return np.asarray(flat_parameters(agent) + self.multiples @ self.directions)


def flat_parameters(agent: Agent) -> np.ndarray:
    """Return a single agent's policy parameters, flat in the policy's order: (D,) float64."""
    return flatten(agent.policy_parameters, list(agent.policy.parameter_shapes)).double().numpy()


def random_direction(agent: Agent, seed: int, axis: int) -> np.ndarray:
    """Return a Gaussian direction of norm `RANDOM_NORM`, (D,); it depends on seed, axis and the number D alone.

    Parameters
    ----------
    agent : Agent
        A single one.
    seed : int
        Root seed.
    axis : int
        Its number.
    """
    # a Gaussian vector has no preferred direction; its length is set to the paper's
    drawn = generator(seed, "landscape directions", stream=axis).standard_normal(len(flat_parameters(agent)))
    return np.asarray(drawn * (RANDOM_NORM / np.linalg.norm(drawn)))


def filter_normalized(agent: Agent, direction: np.ndarray) -> np.ndarray:
    """Scale each filter of a direction (D,) to the norm of the agent's own.

    A filter is a row of a weight matrix: what goes into one unit; biases and other vectors are one each. Where the
    agent's is zero, so is the direction's.

    Parameters
    ----------
    agent : Agent
        A single one.
    direction : ndarray, (D,)
        Any direction.

    References
    ----------
    Li et al., 2018, "Visualizing the Loss Landscape of Neural Nets", section 4.
    """
    parts, start = [], 0
    for own in agent.policy_parameters.values():
        rows = own.double().numpy().reshape(len(own) if own.ndim > 1 else 1, -1)
        # d_f <- d_f |theta_f| / |d_f|
        part = direction[start : start + rows.size].reshape(rows.shape)
        parts.append((part * _norm(rows) / _norm(part)).ravel())
        start += rows.size
    return np.concatenate(parts)


def _norm(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(rows, axis=1, keepdims=True))


def sample_surrogates(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    points: Points,
    clip: float,
) -> dict[str, np.ndarray]:
    """Sample a batch as training would and evaluate surrogates at points around the agent that sampled it.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled.
    streams : StreamRange
        Of the batch.
    points : Points
        Where.
    clip : float
        Epsilon of the clipped surrogate.

    Returns
    -------
    dict of str to ndarray
        ``surrogates`` (3, P), in the order of `SURROGATES`; not finite where probability ratios overflow.
        ``stream_surrogates`` (3, S, P), of each stream's pairs alone, advantages standardized over the batch.
        ``mean_kl`` (P,), of the agent's policy to the point's; ``clip_null`` (P,), what the clipped surrogate would
        rise by if advantages had nothing to do with ratios. ``deviation``, of the batch's advantages.
    """
    agents = Agent.stack([agent])
    batch = sample_batch(agents, environment, sampling, streams)
    # one batch, three surrogates: advantages as they are, normalized, and clipped
    plain = Objective.of(replace(agents, normalize_advantages=False), batch)
    normalized = Objective.of(replace(agents, normalize_advantages=True), batch)
    start, vectors = plain.start(agents), torch.from_numpy(points.parameters(agent)).float()
    count = streams.stop - streams.first
    found, changes = np.empty((len(SURROGATES), len(vectors))), np.empty((len(CHANGES), len(vectors)))
    by_stream = np.empty((len(SURROGATES), count, len(vectors)))
    standardize = agent.normalize_advantages
    for at, vector in enumerate(vectors):
        there = policy_change(plain, normalized, start, vector[None], clip, standardize=standardize, streams=count)
        found[:, at], changes[:, at] = there.surrogates, there.change
        by_stream[:, :, at] = there.by_stream
    return {
        "surrogates": found,
        "stream_surrogates": by_stream,
        "mean_kl": changes[CHANGES.index("mean_kl")],
        "clip_null": changes[CHANGES.index("clip_null")],
        "deviation": deviation(plain.advantages)[0].numpy(),
    }


def sample_point_returns(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    points: Points,
    seeds: Sequence[int],
    *,
    list_episodes: bool,
) -> dict[str, np.ndarray]:
    """Simulate the policies at some points: see `closerlook.measurements.episode_returns.sample_returns`.

    Parameters
    ----------
    agent : Agent
        A single one: everything but the policies' parameters.
    environment : EnvironmentSpec
        Where they act.
    sampling : Sampling
        How each stream is sampled.
    streams : StreamRange
        Which ones; its seed is not used.
    points : Points
        P of them.
    seeds : sequence of int, length P
        Root seed of each point: the same for all, and equal streams share their draws.
    list_episodes : bool
        Whether each episode is listed too.
    """
    parameters = points.parameters(agent)
    return sample_returns(agent, parameters, environment, sampling, streams, seeds, list_episodes=list_episodes)
