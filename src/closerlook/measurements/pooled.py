"""What the answers of one agent's jobs add up to: estimates of every size, and what they are compared with.

====== =========================================================
symbol meaning
====== =========================================================
n      estimates of one size
b      blocks of the pool that belong to no estimate
W      weightings
K, F   true gradients, covariates of their baseline
Q      W + K + F + 1: rows of sums, weighted by each, and by ones
D      policy parameters, flattened
====== =========================================================
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from closerlook.measurements.stream_sums import FINISHED_STREAMS, StreamStatistics
from closerlook.measurements.true_returns import COVARIATES
from closerlook.simulation.records import Sampling
from closerlook.statistics.blocks import Sums, partition, total
from closerlook.statistics.estimates import gradient_estimate
from closerlook.statistics.noise import Squares, pair_variance
from closerlook.statistics.pool import Pool, Size
from closerlook.statistics.true_gradients import Shares

Answers = Sequence[Mapping[str, np.ndarray]]

MOST_GROUPS = 128
"""Groups of streams that the variance of a gradient is estimated from, about."""


@dataclass(frozen=True)
class Target:
    """A gradient that estimates are compared with, as a combination of the rows of sums.

    Parameters
    ----------
    name : str
        ``surrogate``, or a true gradient.
    coefficients : ndarray, (Q,)
        Its sum over any pairs is ``coefficients @ scores``, its baseline taken off.
    """

    name: str
    coefficients: np.ndarray


class Pooled:
    """The sums of one agent's pool.

    Parameters
    ----------
    answers : sequence of mappings
        Of its jobs, in the order of their streams.
    pool : Pool
        How it is divided.
    statistics : StreamStatistics
        What was asked.
    """

    def __init__(self, answers: Answers, pool: Pool, statistics: StreamStatistics) -> None:
        self.pool, self.statistics, self._answers = pool, statistics, answers
        self._streams = [Sums.from_arrays(answer, "streams") for answer in answers]
        self._shares: dict[Hashable, Shares] = {}  # the latest of each target: small sizes divide the pool alike

    def of_streams(self, name: str) -> np.ndarray:
        """Put an array of all streams, or of the first ones, together."""
        return np.concatenate([answer[name] for answer in self._answers if name in answer])

    def mean_episode_return(self, sampling: Sampling, time_limit: int | None) -> float:
        """Return the true return of an episode, undiscounted; NaN where it is not known.

        Of the episodes that began in the scored steps of the first streams; where those have room for few, also of
        all that began in the burn-in before them. Of either, the mean is total return over their number: which episode
        is the last of a stream follows from those before it alone, so none is preferred for its length.

        Parameters
        ----------
        sampling : Sampling
            How streams were sampled.
        time_limit : int or None
            Of the environment, in steps.
        """
        # Wald: E sum_{i <= N} G_i = E N E G where N >= i is known from the episodes before i
        episodes, returns = self.of_streams("episodes").sum(), self.of_streams("returns").sum()
        if sampling.begins_few(min(self.pool.streams, FINISHED_STREAMS), time_limit):
            episodes += self.of_streams("earlier_episodes").sum()
            returns += self.of_streams("earlier_returns").sum()
        return float(returns / episodes) if episodes else np.nan

    def moments(self) -> np.ndarray:
        """Return the moments of the pool: pairs, then sum and sum of squares for each row of weights."""
        # N, then sum w and sum w^2 of every row
        return np.asarray(np.sum([part.moments.sum(axis=0) for part in self._streams], axis=0))

    def estimates(self, size: Size, place: int, *, normalize: bool) -> np.ndarray:
        """Return the disjoint estimates of one size, by the weighting at a place: (n, D), float64.

        Parameters
        ----------
        size : Size
            Of the estimates.
        place : int
            Of the weighting among those asked for.
        normalize : bool
            Whether advantages are normalized within each estimate.
        """
        name = f"first_{size.used}"
        first = [Sums.from_arrays(answer, name) for answer in self._answers if f"{name}.first" in answer]
        parts = first if size.is_prefix else self._streams
        estimates = np.empty((size.count, parts[0].scores.shape[-1]))
        # estimate i is of streams i s to (i + 1) s - 1: disjoint, so independent
        for i in range(size.count):
            scores, moments = total(parts, i * size.streams, size.streams)
            own = moments[[0, 1 + 2 * place, 2 + 2 * place]]
            estimates[i] = gradient_estimate(scores[[place, -1]], own, normalize=normalize)
        return estimates

    def means(self, size: Size, target: Target) -> np.ndarray:
        """Return the disjoint estimates of a target of one size of whole streams: (n, D), float64.

        Parameters
        ----------
        size : Size
            Of the estimates: whole streams.
        target : Target
            Which gradient.
        """
        found = np.empty((size.count, self._parameters))
        for i in range(size.count):
            scores, moments = total(self._streams, i * size.streams, size.streams)
            # sum_t w_t g_t / N with w = coefficients . rows, linear in the stored sums
            found[i] = target.coefficients @ scores / moments[0]
        return found

    def by_weights(self, place: int, *, centered: bool) -> Target:
        """Return the gradient by one weighting as it is, or less its mean in the pool.

        Parameters
        ----------
        place : int
            Of the weighting among those asked for.
        centered : bool
            Whether its mean in the pool is taken off.
        """
        moments = self.moments()
        # sum (A - m) g = sum A g - m sum g, with m the pool's mean of A
        coefficients = np.zeros(self._rows)
        coefficients[place] = 1.0
        coefficients[-1] = -moments[1 + 2 * place] / moments[0] if centered else 0.0
        return Target(f"weighting {place}", coefficients)

    def surrogate(self, place: int = 0) -> Target:
        """Return the gradient of the surrogate by one weighting, its advantages centered in the pool."""
        return replace(self.by_weights(place, centered=True), name="surrogate")

    def true_gradients(self) -> list[Target]:
        """Return the gradients of the returns, less the baseline that fits them best in the pool.

        A baseline of the state and the time moves no gradient's mean. It is fitted by least squares to the pool's own
        returns, which moves it by a part of the order of 1 over the pool's trajectories.
        """
        if not self.statistics.true_gradients:
            return []
        crossed = self.of_streams("crossed").sum(axis=0)
        known = 1 + COVARIATES
        scale = 1.0 / np.sqrt(np.maximum(np.diag(crossed)[:known], np.finfo(float).tiny))
        scaled = crossed[:known, :known] * np.outer(scale, scale)
        fitted = np.linalg.lstsq(scaled, crossed[:known, known:] * scale[:, None], rcond=1e-10)[0] * scale[:, None]
        first = len(self.statistics.weightings)
        targets = []
        for k, true_gradient in enumerate(self.statistics.true_gradients):
            coefficients = np.zeros(self._rows)
            coefficients[first + k] = 1.0
            coefficients[first + len(self.statistics.true_gradients) : -1] = -fitted[1:, k]
            coefficients[-1] = -fitted[0, k]
            targets.append(Target(true_gradient, coefficients))
        return targets

    def shares(self, size: Size, target: Target, directed: np.ndarray) -> Shares:
        """Divide a target's sum over the pool among the estimates of one size, and what is left.

        Parameters
        ----------
        size : Size
            Of the estimates.
        target : Target
            What is summed.
        directed : ndarray, (n,), bool
            Which estimates have a direction; the others' streams are left to the rest.
        """
        # two sizes of equal streams and equal directed estimates divide the pool alike
        key = (size.streams, target.coefficients.tobytes(), directed.tobytes())
        if key not in self._shares:
            if len(self._shares) > len(self.statistics.true_gradients):
                del self._shares[next(iter(self._shares))]
            self._shares[key] = self._divided(size, target, directed)
        return self._shares[key]

    def _divided(self, size: Size, target: Target, directed: np.ndarray) -> Shares:
        place = np.cumsum(directed) - 1
        own, pairs = np.zeros((int(directed.sum()), self._parameters)), np.zeros(int(directed.sum()))
        rest, rest_pairs, squares, pairs_squares = np.zeros(self._parameters), 0.0, 0.0, 0.0
        for first, count, total_of_block in self._blocks(target):
            estimate = first // size.streams
            # streams of no estimate, or of one without a direction, make up the rest
            if estimate < size.count and directed[estimate]:
                own[place[estimate]] += total_of_block
                pairs[place[estimate]] += count
            else:
                rest += total_of_block
                rest_pairs += count
                squares += total_of_block @ total_of_block
                pairs_squares += count**2
        return Shares(own, pairs, rest, rest_pairs, squares, pairs_squares)

    def all_in_the_rest(self, target: Target) -> Shares:
        """Return a target's sum over the pool for estimates from other streams, which own none of it."""
        size = self.pool.sizes[0]
        return self.shares(size, target, np.zeros(size.count, np.bool_))

    def groups(self, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Return a target's sums over groups of streams of one size (K, D), and their pairs (K,)."""
        streams = self.pool.streams
        # about 128 groups of whole blocks: more would cost memory, fewer degrees of freedom
        found = partition(streams, max(1, streams // MOST_GROUPS), min(streams, MOST_GROUPS))
        assert found is not None
        sums, pairs = np.zeros((found.count, self._parameters)), np.zeros(found.count)
        for first, count, total_of_block in self._blocks(target):
            group = first // found.streams
            if group < found.count:
                sums[group] += total_of_block
                pairs[group] += count
        return sums, pairs

    def squares(self, target: Target, layers: Sequence[slice]) -> list[Squares]:
        """Return the squared scores of the first streams, advantages centered as in the target, for each layer.

        Parameters
        ----------
        target : Target
            Whose last coefficient is minus the mean of the advantages, or 0.
        layers : sequence of slice
            Where each layer's parameters lie.
        """
        squares, lengths = self.of_streams("squares"), self.of_streams("squared_lengths")
        streams, mean = len(squares), -target.coefficients[-1]
        # sum (A - m)^2 |g|^2 = sum A^2 |g|^2 - 2 m sum A |g|^2 + m^2 sum |g|^2, by pair and by trajectory
        by_pair, by_trajectory = (squares.sum(axis=0)[:, at : at + 3] @ [1, -2 * mean, mean**2] for at in (0, 3))
        total = np.sum([own for first, _, own in self._blocks(target) if first < streams], axis=0)
        counts = (
            float(streams * self.pool.n_steps),
            float(self.of_streams("trajectories")[:streams].sum()),
            float(lengths.sum()),
        )
        return [
            Squares(float(single), float(together), float(total[part] @ total[part]), *counts)
            for single, together, part in zip(by_pair, by_trajectory, layers, strict=True)
        ]

    def pair_variance(self, target: Target) -> tuple[float, np.ndarray]:
        """Return the variance of what single pairs of the first streams contribute, and the same without each block."""
        squares, mean = self.of_streams("squares"), -target.coefficients[-1]
        # sum over layers of sum (A - m)^2 |g|^2 for each stream
        single = squares[:, :, :3].sum(axis=1) @ [1, -2 * mean, mean**2]
        found = [(first, pairs, own) for first, pairs, own in self._blocks(target) if first < len(squares)]
        starts = [first for first, _, _ in found]
        sums, pairs = np.array([own for _, _, own in found]), np.array([count for _, count, _ in found])
        return pair_variance(np.add.reduceat(single, starts), sums, pairs)

    def _blocks(self, target: Target) -> Iterator[tuple[int, float, np.ndarray]]:
        """Yield the first stream, the pairs and the target's sum (D,) of every block."""
        for part in self._streams:
            # only the rows that the target is made of, in double precision
            rows = np.flatnonzero(target.coefficients)
            for at in range(len(part)):
                combined = target.coefficients[rows] @ part.scores[at, rows].astype(np.float64)
                yield int(part.first[at]), float(part.moments[at, 0]), combined

    @property
    def _rows(self) -> int:
        return int(self._streams[0].scores.shape[1])

    @property
    def _parameters(self) -> int:
        return int(self._streams[0].scores.shape[2])
