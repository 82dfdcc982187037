"""True rewards of many policies of one architecture: all run as one population, answered with sums over episodes.

====== ==========================================
symbol meaning
====== ==========================================
P      policies
S      streams of each
D      policy parameters, flattened
E      episodes of all
====== ==========================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import NonFiniteError, PolicyError
from closerlook.measurements.stream_sums import StreamRange
from closerlook.nn.networks import flatten, unflatten
from closerlook.simulation.engine import LANES
from closerlook.simulation.records import Episodes, Sampling
from closerlook.simulation.rollout import rollout_episodes

SUMS = ("returns", "squares", "episodes", "steps")
"""What a stream's episodes are added up to."""
LISTED = ("episode_return", "episode_policy", "episode_stream")
"""What each episode is listed by."""


def with_parameters(agent: Agent, parameters: np.ndarray) -> Agent:
    """Return a population that differs from an agent in its policies' parameters (P, D) alone, without critics.

    Parameters
    ----------
    agent : Agent
        A single one.
    parameters : ndarray, (P, D)
        In the policy's order; rounded to single precision.
    """
    count = len(parameters)
    # statistics of observations stay the agent's; critics and optimizers play no part in rewards
    kept = {name: tensor for name, tensor in agent.state.items() if name.startswith("observations.")}
    state = {name: tensor.unsqueeze(0).expand(count, *tensor.shape).contiguous() for name, tensor in kept.items()}
    vectors = torch.from_numpy(np.ascontiguousarray(_rounded(parameters)))
    own = unflatten(vectors, agent.policy.parameter_shapes, stacked=True)
    state |= {f"policy.{name}": tensor for name, tensor in own.items()}
    return replace(agent, value=None, reward_scaling=None, state=state, population=count)


def sample_returns(
    agent: Agent,
    parameters: np.ndarray,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    seeds: Sequence[int],
    *,
    list_episodes: bool = True,
) -> dict[str, np.ndarray]:
    """Simulate streams of many policies, each stream to the end of its last episode.

    Parameters
    ----------
    agent : Agent
        A single one: everything but the policies' parameters.
    parameters : ndarray, (P, D)
        Theirs, in the policy's order.
    environment : EnvironmentSpec
        Where they act.
    sampling : Sampling
        How each stream is sampled.
    streams : StreamRange
        Which ones; its seed is not used.
    seeds : sequence of int, length P
        Root seed of each policy: the same for all, and equal streams share their draws.
    list_episodes : bool
        Whether each episode is listed too, for quantiles of returns.

    Returns
    -------
    dict of str to ndarray
        ``returns``, ``squares``, ``episodes`` and ``steps``, (P, S): sums over the episodes that began in a stream's
        scored steps, their number, and the steps they took. All are NaN for a policy that explodes: its parameters,
        actions, rewards or observations are not finite, or the agent's policy fails there. Returns and squares alone
        are NaN where an episode was given up before its end: see `exploded` and `unfinished`. ``episode_return``,
        ``episode_policy`` and ``episode_stream``, (E,): each of them, or none.

    Raises
    ------
    PolicyError
        Where the policy fails at the agent's own parameters.
    """
    finished = replace(sampling, finish_episodes=True)
    numbers = range(streams.first, streams.stop)
    # parameters that are not finite cannot be run: NaN from the start
    usable = np.flatnonzero(np.isfinite(_rounded(parameters)).all(axis=1))
    groups = _groups(agent, parameters, usable, (environment, finished, streams, seeds))
    answer = {name: np.full((len(parameters), len(numbers)), np.nan) for name in SUMS}
    listed: dict[str, list[np.ndarray]] = {name: [] for name in LISTED}
    for policies, own in groups:
        # sums over episodes that began in the scored steps, stream by stream
        begun = own.start >= 0  # one cut into by the burn-in's end is longer than most
        earned = np.where(own.finished[begun], own.episode_return[begun], np.nan)  # one given up is not known
        places = (policies[own.policy[begun]], own.stream[begun])
        summed = (earned, earned**2, np.ones(len(earned)), own.length[begun].astype(np.float64))
        for name, terms in zip(SUMS, summed, strict=True):
            answer[name][policies] = 0.0
            np.add.at(answer[name], places, terms)
        for name, column in zip(LISTED, (earned, places[0], places[1] + streams.first), strict=True):
            listed[name].append(column if list_episodes else column[:0])
    return answer | {name: np.concatenate([np.empty(0), *parts]) for name, parts in listed.items()}


def exploded(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return which policies explode on any stream: (P,) bool."""
    return np.asarray(np.isnan(sums["episodes"]).any(axis=1))


def unfinished(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return which policies do not explode but have an episode that was given up: (P,) bool."""
    return np.asarray(np.isnan(sums["returns"]).any(axis=1) & ~exploded(sums))


def _groups(
    agent: Agent,
    parameters: np.ndarray,
    usable: np.ndarray,
    how: tuple[EnvironmentSpec, Sampling, StreamRange, Sequence[int]],
) -> list[tuple[np.ndarray, Episodes]]:
    """Simulate some policies together, or each alone where one explodes; those that do are left out."""
    environment, sampling, streams, seeds = how
    if not len(usable):
        return []
    own = [seeds[at] for at in usable]
    try:
        return [(usable, _episodes(agent, parameters[usable], environment, sampling, streams, own))]
    except (NonFiniteError, PolicyError) as error:
        # one that explodes ends the whole population's run: each alone tells which it was
        if len(usable) > 1:
            return [group for at in usable for group in _groups(agent, parameters, np.array([at]), how)]
        if isinstance(error, PolicyError) and _is_own(agent, parameters[usable[0]]):
            raise
        return []


def _is_own(agent: Agent, vector: np.ndarray) -> bool:
    own = flatten(agent.policy_parameters, list(agent.policy.parameter_shapes)).numpy()
    return np.array_equal(own, _rounded(vector))


def _rounded(parameters: np.ndarray) -> np.ndarray:
    """Return parameters as policies have them, in single precision: what does not fit is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(parameters, np.float32)


def _episodes(
    agent: Agent,
    parameters: np.ndarray,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    seeds: Sequence[int],
) -> Episodes:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found, and said
        return rollout_episodes(
            with_parameters(agent, parameters),
            environment,
            sampling,
            seeds=seeds,
            purpose=streams.purpose,
            streams=range(streams.first, streams.stop),
            lanes=max(1, LANES // len(parameters)),
        )
