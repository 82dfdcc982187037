"""What a worker answers about policy gradients: streams are simulated, reduced to sums, and let go.

A few streams are in memory at any time, whatever the length of the range: observations never pile up.

====== ================================================
symbol meaning
====== ================================================
S      streams of the range
T      pairs of a stream
N      pairs of a beginning of a stream
W      weightings
====== ================================================
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import CategoricalMLP, GaussianMLP
from closerlook.algorithms.weightings import OWN, Weighting, Weights, weigh
from closerlook.errors import NonFiniteError
from closerlook.estimation.blocks import MOST_BLOCKS, BlockKeeper, Sums
from closerlook.estimation.gradients import autograd_score_sums, categorical_head, gaussian_head, mlp_score_sums
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.rollout import rollout

PAIRS_IN_MEMORY = 65_536
"""Pairs simulated before they are reduced: 91 MB of Humanoid's observations."""

FINISHED_STREAMS = 64
"""Streams, the first of the pool, that finish their last episode, so that its return is known: the mean return needs
no more, and a finish may take as many steps as the stream."""


@dataclass(frozen=True)
class StreamRange:
    """Which streams of a measurement a job simulates.

    Parameters
    ----------
    seed : int
        Root seed of the measurement.
    purpose : str
        What its draws are for.
    first, stop : int
        Streams from `first` up to `stop`, without it.
    """

    seed: int
    purpose: str
    first: int
    stop: int


def sample_sums(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    beginnings: Sequence[int] = (),
    lanes: int = 64,
    weightings: Sequence[Weighting] = (OWN,),
) -> dict[str, np.ndarray]:
    """Simulate streams of one agent and add up their weighted scores.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled; whether episodes are finished is decided here, see `FINISHED_STREAMS`.
    streams : StreamRange
        Which ones.
    beginnings : sequence of int
        Also add up the first N pairs, for each of these N < T, of the first `MOST_BLOCKS` streams, with advantages
        as they are if the stream is cut there.
    lanes : int
        Streams that step together; no number depends on it.
    weightings : sequence of Weighting
        Kinds of advantages.

    Returns
    -------
    dict of str to ndarray
        Blocks of sums (see `closerlook.estimation.blocks.Sums`) as ``streams.*``, and as ``first_<N>.*`` for the
        beginnings; for each stream ``trajectories`` (S,) it has pairs of, ``episodes`` (S,) that it began and
        finished, and the sum of their true ``returns`` (S,).

    Raises
    ------
    NonFiniteError
        Where rewards, observations or advantages are not finite.
    """
    tally = _Tally(tuple(beginnings), tuple(weightings))
    for group in _groups(streams, max(lanes, PAIRS_IN_MEMORY // sampling.n_steps)):
        finish = replace(sampling, finish_episodes=group.start < FINISHED_STREAMS)
        agents = Agent.stack([agent])
        sampled = rollout(
            agents, environment, finish, seeds=[streams.seed], purpose=streams.purpose, streams=group, lanes=lanes
        )
        tally.add(agents, sampled, group)
    return tally.answer()


def _groups(streams: StreamRange, size: int) -> Iterator[range]:
    """Split a range into groups to be in memory together, none across a limit that treats streams differently."""
    limits = [limit for limit in (FINISHED_STREAMS, MOST_BLOCKS) if streams.first < limit < streams.stop]
    for first, stop in pairwise([streams.first, *limits, streams.stop]):
        for start in range(first, stop, size):
            yield range(start, min(start + size, stop))


class _Tally:
    """The sums of a job, as its streams come in."""

    def __init__(self, beginnings: tuple[int, ...], weightings: tuple[Weighting, ...]) -> None:
        self.beginnings, self.weightings = beginnings, weightings
        self.keeper = BlockKeeper()
        self.first: dict[int, list[Sums]] = {pairs: [] for pairs in beginnings}
        self.episodes: list[np.ndarray] = []

    def add(self, agents: Agent, sampled: Rollout, group: range) -> None:
        """Reduce a population of one on a group of streams."""
        beginnings = self.beginnings if group.start < MOST_BLOCKS else ()
        weights = weigh(agents, sampled, self.weightings)
        _require_finite(weights, group)
        windows = [torch.stack([own.whole for own in weights])]
        windows += [torch.stack([own.if_cut(pairs) for own in weights]) for pairs in beginnings]
        for place, stream in enumerate(group):
            own = stream_sums(agents, sampled, place, stream, [window[:, place] for window in windows])
            self.keeper.add(own[0])
            for pairs, sums in zip(beginnings, own[1:], strict=True):
                self.first[pairs].append(sums.narrow())
        self.episodes.append(_episode_counts(sampled, finished=group.start < FINISHED_STREAMS))

    def answer(self) -> dict[str, np.ndarray]:
        """Lay everything out by name."""
        arrays = self.keeper.blocks.to_arrays("streams")
        for pairs, sums in self.first.items():
            arrays |= Sums.concatenate(sums).to_arrays(f"first_{pairs}") if sums else {}
        trajectories, episodes, returns = np.concatenate(self.episodes, axis=1)
        return arrays | {"trajectories": trajectories, "episodes": episodes, "returns": returns}


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
    """
    parameters = {name: tensor[0] for name, tensor in agents.policy_parameters.items()}
    with_ones = [torch.cat([weights, torch.ones_like(weights[:1])]) for weights in windows]
    observations, actions = (torch.from_numpy(a[0, place]) for a in (sampled.observations, sampled.actions))
    policy = agents.policy
    if isinstance(policy, GaussianMLP):
        head = gaussian_head(parameters["log_std"])
        scores = mlp_score_sums(policy.network, parameters, head, observations, actions, with_ones)
    elif isinstance(policy, CategoricalMLP):
        scores = mlp_score_sums(policy.network, parameters, categorical_head, observations, actions, with_ones)
    else:
        scores = autograd_score_sums(policy, parameters, observations, actions, with_ones)
    block = np.array([stream]), np.array([1])
    return [Sums(*block, s[None], _moments(w)[None]) for s, w in zip(scores, windows, strict=True)]


def _moments(weights: Tensor) -> np.ndarray:
    """Count the pairs of weights (W, N), and add up each weighting and its square: (1 + 2 W,)."""
    rows = weights.double().numpy()
    return np.array([rows.shape[1], *(moment for row in rows for moment in (row.sum(), np.square(row).sum()))])


def _require_finite(weights: Sequence[Weights], group: range) -> None:
    finite = torch.stack([torch.isfinite(own.whole).all(dim=-1) for own in weights]).all(dim=0)
    if not finite.all():
        stream = group[int(torch.nonzero(~finite)[0])]
        raise NonFiniteError(f"advantages in stream {stream} are not finite", "look at the critic and the reward scale")


def _episode_counts(sampled: Rollout, *, finished: bool) -> np.ndarray:
    """Count, for each stream, the trajectories in it, and the episodes begun in it and finished, with their returns.

    Episodes that began in the burn-in are longer than most (a long one is likelier to be cut into), so their returns
    do not count; nor does any of a stream whose last episode was not finished, else the short ones would. Where
    one was to be finished and was given up, the returns are NaN: not known. (3, S)
    """
    own = sampled.episodes
    begun = (own.start >= 0) & finished
    counted, given_up = begun & own.finished, begun & ~own.finished
    counts = np.zeros((3, sampled.n_streams))
    np.add.at(counts[0], own.stream, 1)
    np.add.at(counts[1], own.stream[counted], 1)
    np.add.at(counts[2], own.stream[counted], own.episode_return[counted])
    counts[2, own.stream[given_up]] = np.nan
    return counts
