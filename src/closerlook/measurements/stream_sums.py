"""What a worker answers about policy gradients: streams are simulated, reduced to sums, and let go.

A few streams are in memory at any time, whatever the length of the range: observations never pile up.

====== ================================================
symbol meaning
====== ================================================
S      streams of the range
T      pairs of a stream
N      pairs of a beginning of a stream
W      weightings
K, F   true gradients and their covariates
R      streams whose squares are added up
L      layers of the policy
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
from closerlook.algorithms.batch import Evaluation, evaluate_critic
from closerlook.errors import InputError, NonFiniteError
from closerlook.measurements.stream_scores import has_known_network, stream_squares, stream_sums
from closerlook.measurements.true_returns import (
    TrueGradient,
    continuation_steps,
    covariates,
    incomplete_returns,
    true_returns,
)
from closerlook.measurements.weightings import OWN, Weighting, Weights, weigh
from closerlook.simulation.engine import LANES
from closerlook.simulation.records import Episodes, Rollout, Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics.blocks import MOST_BLOCKS, BlockKeeper, Sums

PAIRS_IN_MEMORY = 65_536
"""Pairs simulated before they are reduced: 91 MB of Humanoid's observations."""

FINISHED_STREAMS = 64
"""Streams, the first of the pool, that finish their last episode, so that its return is known: the mean return needs
no more, and a finish may take as many steps as the stream."""
SQUARED_PAIRS = 65_536
"""Pairs, the first of the pool, whose squares are added up: to tell where noise comes from needs no more. Counted in
pairs, as so many streams that are short would tell nothing."""
SQUARED_BY_AUTOGRAD = 8_192
"""The same where the gradient of every pair has to be built."""
FEWEST_SQUARED = 4
"""Streams whose squares are added up however long they are."""


@dataclass(frozen=True)
class StreamStatistics:
    """What is asked of each stream.

    Parameters
    ----------
    prefixes : sequence of int
        Also add up the first N pairs, for each of these N < T, of the first `MOST_BLOCKS` streams, with advantages
        as they are if the stream is cut there.
    weightings : sequence of Weighting
        Kinds of advantages, the agent's own first.
    true_gradients : sequence of TrueGradient
        Returns that scores are weighted by as well, for whole streams.
    """

    prefixes: tuple[int, ...] = ()
    weightings: tuple[Weighting, ...] = (OWN,)
    true_gradients: tuple[TrueGradient, ...] = ()


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
    statistics: StreamStatistics = StreamStatistics(),
    lanes: int | None = None,
) -> dict[str, np.ndarray]:
    """Simulate streams of one agent and add up their weighted scores.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled; how far it goes on past a cut is decided here, by the question.
    streams : StreamRange
        Which ones.
    statistics : StreamStatistics
        What is asked of each.
    lanes : int or None
        Streams that step together; no number depends on it. None: as many as is fastest.

    Returns
    -------
    dict of str to ndarray
        Blocks of sums (see `closerlook.statistics.blocks.Sums`) as ``streams.*``, weighted by the weightings, then the
        true gradients and their covariates where there are any; as ``first_<N>.*`` for the prefixes, by the weightings.
        For each stream ``trajectories`` (S,) it has pairs of, ``episodes`` (S,) that it began and finished, and the
        sum of their true ``returns`` (S,); the same of those that began in the burn-in as ``earlier_episodes`` and
        ``earlier_returns``. Of the first streams, ``squares`` (R, L, 6), see
        `closerlook.nn.score_squares`, and ``squared_lengths`` (R,), the sum over their trajectories of the
        squared number of pairs. With true gradients, for each stream ``crossed`` (S, 1 + F + K, 1 + F + K): the
        products of one, covariates and true gradients, summed over its pairs; and ``incomplete`` (S, K).

    Raises
    ------
    NonFiniteError
        Where rewards, observations or advantages are not finite.
    """
    tally = _Tally(statistics)
    # a group of streams is simulated, reduced, and let go
    for group in stream_groups(streams, max(LANES, PAIRS_IN_MEMORY // sampling.n_steps)):
        agents = Agent.stack([agent])
        asked = _with_the_rest(sampling, agent, statistics, group)
        sampled = rollout(
            agents, environment, asked, seeds=[streams.seed], purpose=streams.purpose, streams=group, lanes=lanes
        )
        tally.add(agents, sampled, group)
    return tally.answer()


def _with_the_rest(sampling: Sampling, agent: Agent, statistics: StreamStatistics, group: range) -> Sampling:
    """Say how far streams are simulated on past their cut."""
    # the end of an episode is known only by simulating it: for returns of whole episodes, and for the mean return
    finish = "episode_return" in statistics.true_gradients or group.start < FINISHED_STREAMS
    further = continuation_steps(agent.gamma) if "discounted_return" in statistics.true_gradients else 0
    if further is None:
        what = f"discounted returns do not come to an end with gamma {agent.gamma:g}"
        raise InputError(what, "leave out the true gradient discounted_return; episode_return needs no discount")
    return replace(sampling, finish_episodes=finish, continuation_steps=further)


def squared_streams(n_steps: int, *, known: bool) -> int:
    """Return of how many streams, the first of the pool, squares are added up: whole blocks of the pool.

    Parameters
    ----------
    n_steps : int
        Pairs of a stream.
    known : bool
        Whether the policy's network is one of ours, so that no gradient of a single pair has to be built.
    """
    # whole blocks of the pool: beyond 512 streams those are of a power of two
    wanted = max(FEWEST_SQUARED, -(-(SQUARED_PAIRS if known else SQUARED_BY_AUTOGRAD) // n_steps))
    return wanted if wanted <= MOST_BLOCKS else 1 << (wanted - 1).bit_length()


def stream_groups(streams: StreamRange, size: int) -> Iterator[range]:
    """Split a range into groups to be in memory together, none across a limit that treats streams differently.

    Parameters
    ----------
    streams : StreamRange
        The whole range.
    size : int
        Streams of a group, at most.
    """
    # streams beyond a limit are treated otherwise: a group lies on one side of it
    limits = [limit for limit in (FINISHED_STREAMS, MOST_BLOCKS) if streams.first < limit < streams.stop]
    for first, stop in pairwise([streams.first, *limits, streams.stop]):
        for start in range(first, stop, size):
            yield range(start, min(start + size, stop))


class _Tally:
    """The sums of a job, as its streams come in."""

    def __init__(self, statistics: StreamStatistics) -> None:
        self.statistics = statistics
        self.keeper = BlockKeeper()
        self.first: dict[int, list[Sums]] = {pairs: [] for pairs in statistics.prefixes}
        self.streams: dict[str, list[np.ndarray]] = {}

    def add(self, agents: Agent, sampled: Rollout, group: range) -> None:
        """Reduce a population of one on a group of streams."""
        prefixes = self.statistics.prefixes if group.start < MOST_BLOCKS else ()
        critic = evaluate_critic(agents, sampled, agents.bootstrap)
        weights = weigh(agents, sampled, {"critic": critic}, self.statistics.weightings)
        require_finite_weights(weights, group)
        whole = torch.stack([own.whole for own in weights])
        windows = [torch.cat([whole, self._true_gradients(agents, sampled, critic)])]
        # prefixes have advantages as they are where the stream is cut there
        windows += [torch.stack([own.if_cut(pairs) for own in weights]) for pairs in prefixes]
        for place, stream in enumerate(group):
            own = stream_sums(agents, sampled, place, stream, [window[:, place] for window in windows])
            self.keeper.add(own[0])
            for pairs, sums in zip(prefixes, own[1:], strict=True):
                self.first[pairs].append(sums.narrow())
            if stream < squared_streams(sampled.rewards.shape[-1], known=has_known_network(agents.policy)):
                self._keep(stream_squares(agents, sampled, place, whole[0, place]))
        self._keep(episode_counts(sampled, finished=group.start < FINISHED_STREAMS))

    def _true_gradients(self, agents: Agent, sampled: Rollout, critic: Evaluation) -> Tensor:
        """Return the rows of weights that true gradients are made of, (K + F, S, T); none without true gradients."""
        true_gradients = self.statistics.true_gradients
        if not true_gradients:
            return torch.zeros(0, *sampled.rewards.shape[1:])
        returns, others = true_returns(agents, sampled, true_gradients), covariates(sampled, critic)
        # rows of one, covariates and returns: their products are the normal equations of the baseline
        table = torch.cat([torch.ones_like(returns[:1]), others.double(), returns]).numpy()
        crossed = np.array([table[:, s] @ table[:, s].T for s in range(sampled.n_streams)])
        steps = sampled.boundaries.continuation_rewards.shape[1]
        self._keep({"crossed": crossed, "incomplete": incomplete_returns(sampled, steps, true_gradients).T})
        return torch.cat([returns.float(), others])

    def _keep(self, arrays: dict[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            self.streams.setdefault(name, []).append(array)

    def answer(self) -> dict[str, np.ndarray]:
        """Lay everything out by name."""
        arrays = self.keeper.blocks.to_arrays("streams")
        for pairs, sums in self.first.items():
            arrays |= Sums.concatenate(sums).to_arrays(f"first_{pairs}") if sums else {}
        return arrays | {name: np.concatenate(parts) for name, parts in self.streams.items()}


def require_finite_weights(weights: Sequence[Weights], group: range) -> None:
    """Check the weights of a group of streams.

    Parameters
    ----------
    weights : sequence of Weights
        Of the group, (S, T) each.
    group : range
        Numbers of its streams, for the message.

    Raises
    ------
    NonFiniteError
        Naming the first stream with a weight that is not finite.
    """
    finite = torch.stack([torch.isfinite(own.whole).all(dim=-1) for own in weights]).all(dim=0)
    if not finite.all():
        stream = group[int(torch.nonzero(~finite)[0])]
        raise NonFiniteError(f"advantages in stream {stream} are not finite", "look at the critic and the reward scale")


def episode_counts(sampled: Rollout, *, finished: bool) -> dict[str, np.ndarray]:
    """Count, for each stream, the trajectories in it, and the episodes begun in it and finished, with their returns.

    Episodes that began in the burn-in are counted apart, all of them: the one that the burn-in's end cuts into is
    longer than most (a long one is likelier to be cut into), together with those before it they are as any others. None
    counts of a stream whose last episode was not finished, else the short ones would. Where one was to be finished and
    was given up, the returns are NaN: not known. (S,) each: ``trajectories``, ``episodes``, ``returns``,
    ``earlier_episodes`` and ``earlier_returns``.

    Parameters
    ----------
    sampled : Rollout
        Of a population of one.
    finished : bool
        Whether streams were to finish their last episode.
    """
    own, earlier = sampled.episodes, sampled.earlier_episodes
    trajectories = np.bincount(own.stream, minlength=sampled.n_streams).astype(np.float64)
    begun = own.start >= 0
    # length-biased: an episode is cut into by the end of the burn-in in proportion to its length
    cut_into = [(earlier, np.ones(len(earlier.start), np.bool_)), (own, ~begun)]
    episodes, returns = _added_up([(own, begun)], sampled.n_streams, finished=finished)
    earlier_episodes, earlier_returns = _added_up(cut_into, sampled.n_streams, finished=finished)
    return {
        "trajectories": trajectories,
        "episodes": episodes,
        "returns": returns,
        "earlier_episodes": earlier_episodes,
        "earlier_returns": earlier_returns,
    }


def _added_up(parts: Sequence[tuple[Episodes, np.ndarray]], streams: int, *, finished: bool) -> np.ndarray:
    """Return number and summed returns of some episodes by stream, (2, S); zero where streams were not finished."""
    counts = np.zeros((2, streams))
    for own, chosen in parts if finished else ():
        # the mean over those that ended in time would be of the short ones: one that was given up spoils it
        counted, given_up = chosen & own.finished, chosen & ~own.finished
        np.add.at(counts[0], own.stream[counted], 1)
        np.add.at(counts[1], own.stream[counted], own.episode_return[counted])
        counts[1, own.stream[given_up]] = np.nan
    return counts
