"""What a worker answers about critics and baselines: streams are simulated, judged, reduced, and let go.

====== ================================================
symbol meaning
====== ================================================
S      streams of the range
T      pairs of a stream
J      streams that critics are judged on
C      critics that are judged
W      weightings
====== ================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.batch import Evaluation, evaluate_critic
from closerlook.measurements.fitted_values import Critic
from closerlook.measurements.stream_scores import stream_sums
from closerlook.measurements.stream_sums import (
    FINISHED_STREAMS,
    PAIRS_IN_MEMORY,
    StreamRange,
    episode_counts,
    require_finite_weights,
    stream_groups,
)
from closerlook.measurements.true_returns import FOLLOWED, cut_off_returns, discounted_returns, incomplete_returns
from closerlook.measurements.value_shards import with_monte_carlo_returns
from closerlook.measurements.weightings import Weighting, Weights, gae_targets, weigh
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics.blocks import MOST_BLOCKS, BlockKeeper, Sums

JUDGED_PAIRS = 2**20
"""Pairs, those of the first streams of the pool, that critics are judged on one by one: medians and calibration need
them at once, four bytes for each critic and target."""
FEWEST_JUDGED_STREAMS = 64
"""Streams judged however long they are."""


def judged_streams(n_steps: int) -> int:
    """Return how many streams of so many pairs critics are judged on, at most."""
    # medians and calibration need every number at once: so many as fit into memory
    return max(FEWEST_JUDGED_STREAMS, JUDGED_PAIRS // n_steps)


@dataclass(frozen=True)
class ValueStatistics:
    """What is asked of each stream.

    Parameters
    ----------
    prefixes : tuple of int
        As in `closerlook.measurements.stream_sums.StreamStatistics`; of the estimates by the agent's own lambda.
    own : tuple of Weighting
        Estimates as the agent's algorithm would make them, by baseline.
    complete : tuple of Weighting
        Estimates by Monte Carlo returns, by baseline.
    sweep : tuple of Weighting
        Estimates by lambda, and the true gradient they are compared with, last.
    sweep_block : int
        Streams whose sums by lambda are kept together, a power of two.
    """

    prefixes: tuple[int, ...]
    own: tuple[Weighting, ...]
    complete: tuple[Weighting, ...]
    sweep: tuple[Weighting, ...]
    sweep_block: int = 1

    @property
    def fine(self) -> tuple[Weighting, ...]:
        """Weightings whose sums are kept stream by stream."""
        return (*self.own, *self.complete)


def sample_value_sums(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    statistics: ValueStatistics,
    critics: Mapping[str, Critic],
    updated: Sequence[Critic],
) -> dict[str, np.ndarray]:
    """Simulate streams of one agent, judge critics on them, and add up scores weighted by what critics say.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled; how far it goes on past a cut is decided here.
    streams : StreamRange
        Which ones.
    statistics : ValueStatistics
        What is asked of each.
    critics : mapping of str to Critic
        The baselines that weightings name, beside the agent's own.
    updated : sequence of Critic
        The agent's own critic after updates on batches of its own: judged, not used as baselines.

    Returns
    -------
    dict of str to ndarray
        Blocks of sums as ``streams.*`` (W weightings: own, then complete), ``first_<N>.*`` (own) and ``sweep.*``; for
        each stream ``trajectories``, ``episodes``, ``returns``, and ``incomplete``, how many Monte Carlo returns could
        not be followed to their end, (S,). Of the first streams ``values`` (J, C, T) float32: the agent's critic if it
        has one, then those of `critics`, then `updated`; ``gae_targets``, ``monte_carlo_returns``, ``cut_off_returns``
        (J, T) in the critic's units; ``true_returns`` (J, T).
    """
    tally = _Tally(statistics, critics, updated)
    asked = with_monte_carlo_returns(sampling, agent.gamma)
    agents = Agent.stack([agent])
    for group in stream_groups(streams, max(64, PAIRS_IN_MEMORY // sampling.n_steps)):
        wanted = Sampling(
            asked.n_steps, asked.burn_in, asked.continuation_steps, finish_episodes=group.start < FINISHED_STREAMS
        )
        sampled = rollout(agents, environment, wanted, seeds=[streams.seed], purpose=streams.purpose, streams=group)
        tally.add(agents, sampled, group)
    return tally.answer()


class _Tally:
    """The sums of a job, as its streams come in."""

    def __init__(self, statistics: ValueStatistics, critics: Mapping[str, Critic], updated: Sequence[Critic]) -> None:
        self._statistics, self._critics, self._updated = statistics, critics, updated
        self._keeper, self._sweep = BlockKeeper(), BlockKeeper(statistics.sweep_block)
        self._first: dict[int, list[Sums]] = {pairs: [] for pairs in statistics.prefixes}
        self._streams: dict[str, list[np.ndarray]] = {}

    def add(self, agents: Agent, sampled: Rollout, group: range) -> None:
        """Reduce a population of one on a group of streams."""
        statistics = self._statistics
        judged = {"critic": evaluate_critic(agents, sampled, agents.bootstrap)}
        # every critic's own V(s_t) and V(s_{t+1}) on the same pairs
        judged |= {name: critic.judge(agents, sampled) for name, critic in self._critics.items()}
        weights = weigh(agents, sampled, judged, [*statistics.fine, *statistics.sweep])
        require_finite_weights(weights, group)
        self._add_scores(agents, sampled, group, weights)
        count = judged_streams(sampled.n_steps) - group.start
        if count > 0:
            found = self._judgements(agents, sampled, judged)
            self._keep({name: array[:count] for name, array in found.items()})
        further = sampled.boundaries.continuation_rewards.shape[1]
        self._keep({"incomplete": incomplete_returns(sampled, further, (FOLLOWED,))[0]})
        self._keep(episode_counts(sampled, finished=group.start < FINISHED_STREAMS))

    def _add_scores(self, agents: Agent, sampled: Rollout, group: range, weights: Sequence[Weights]) -> None:
        prefixes = self._statistics.prefixes if group.start < MOST_BLOCKS else ()
        # kept stream by stream: the weightings by baseline; in blocks: those by lambda
        fine, own = len(self._statistics.fine), len(self._statistics.own)
        windows = [torch.stack([one.whole for one in weights])]
        windows += [torch.stack([one.if_cut(pairs) for one in weights[:own]]) for pairs in prefixes]
        for place, stream in enumerate(group):
            whole, *first = stream_sums(agents, sampled, place, stream, [window[:, place] for window in windows])
            self._keeper.add(whole.select(range(fine)))
            if len(weights) > fine:
                self._sweep.add(whole.select(range(fine, len(weights))))
            for pairs, sums in zip(prefixes, first, strict=True):
                self._first[pairs].append(sums.narrow())

    def _judgements(self, agents: Agent, sampled: Rollout, judged: Mapping[str, Evaluation]) -> dict[str, np.ndarray]:
        """Return what critics say of every pair, and what they are judged by."""
        values = [one.values[0] for name, one in judged.items() if name != "critic" or agents.value is not None]
        values += [critic.judge(agents, sampled).values[0] for critic in self._updated]
        return {
            "values": _as_rows(values, sampled),
            "gae_targets": gae_targets(agents, sampled, judged["critic"]).numpy(),
            "monte_carlo_returns": discounted_returns(agents, sampled, scaled=True).float().numpy(),
            "cut_off_returns": cut_off_returns(agents, sampled).float().numpy(),
            "true_returns": discounted_returns(agents, sampled).float().numpy(),
        }

    def _keep(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            self._streams.setdefault(name, []).append(array)

    def answer(self) -> dict[str, np.ndarray]:
        """Lay everything out by name."""
        arrays = self._keeper.blocks.to_arrays("streams")
        if self._statistics.sweep:
            arrays |= self._sweep.blocks.to_arrays("sweep")
        for pairs, sums in self._first.items():
            arrays |= Sums.concatenate(sums).to_arrays(f"first_{pairs}") if sums else {}
        return arrays | {name: np.concatenate(parts) for name, parts in self._streams.items()}


def _as_rows(values: Sequence[Tensor], sampled: Rollout) -> np.ndarray:
    """Stack values (C of (S, T)) to (S, C, T); of no critic to none."""
    if not values:
        return np.zeros((sampled.n_streams, 0, sampled.n_steps), np.float32)
    return torch.stack(list(values), dim=1).numpy()
