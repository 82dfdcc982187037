"""How a pool of streams is divided into disjoint estimates of many sizes.

A stream is what one environment gives to one training batch; the numbers here are pairs, unless they say streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from closerlook.errors import InputError
from closerlook.statistics.blocks import MOST_BLOCKS, count_blocks, partition

SMALLEST_SIZE = 128
"""The first of the default sizes."""
PAIRS_OF_A_JOB = 131_072
"""Pairs of one job, at most: some seconds of simulation."""


@dataclass(frozen=True)
class Size:
    """One number of pairs, and the disjoint estimates it gets.

    Parameters
    ----------
    asked, used : int
        Pairs as asked, and as taken.
    streams : int
        Streams an estimate is taken from.
    count : int
        Estimates.
    is_prefix : bool
        Whether an estimate is the beginning of a stream, rather than whole streams.
    """

    asked: int
    used: int
    streams: int
    count: int
    is_prefix: bool = False


@dataclass(frozen=True)
class Pool:
    """What is sampled of each agent, and how it is divided.

    Parameters
    ----------
    n_steps, streams : int
        Pairs of a stream, and streams.
    sizes : tuple of Size
        In rising order.
    job_streams : int or None
        Streams of a job; None: as suits the pool. Pools of which one begins the other need the same to share jobs.
    """

    n_steps: int
    streams: int
    sizes: tuple[Size, ...]
    job_streams: int | None = None

    @property
    def pairs(self) -> int:
        """State-action pairs of the pool."""
        return self.streams * self.n_steps

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Sizes below a stream."""
        return tuple(size.used for size in self.sizes if size.is_prefix)

    @property
    def job_ranges(self) -> list[range]:
        """Aligned ranges of streams, a power of two of them, for the jobs: enough for many workers, none too short."""
        if self.job_streams is not None:
            step = self.job_streams
            return [range(first, min(first + step, self.streams)) for first in range(0, self.streams, step)]
        most = max(32, _power_of_two(PAIRS_OF_A_JOB // self.n_steps))
        step = min(most, max(16, _power_of_two(self.streams // 8)))
        return [range(first, min(first + step, self.streams)) for first in range(0, self.streams, step)]

    def answer_bytes(self, parameters: int, weightings: int = 1) -> int:
        """Estimate the memory of one agent's answers.

        Parameters
        ----------
        parameters : int
            Of the policy.
        weightings : int
            Kinds of advantages that scores are weighted by.
        """
        # sum over streams of 1 / (streams of its block) counts the blocks; each holds D numbers of 4 bytes for every
        # row
        prefixes = len(self.prefixes) * min(self.streams, MOST_BLOCKS)
        return int((prefixes + count_blocks(self.streams)) * parameters * (weightings + 1) * 4)


def plan_pool(pairs: int, estimates: int, batch: tuple[int, int], sizes: Sequence[int] | None) -> Pool:
    """Divide a pool of pairs into estimates.

    Parameters
    ----------
    pairs : int
        The pool, rounded up to whole streams.
    estimates : int
        Disjoint estimates wanted at least; every size gets as many as the pool has, up to 512.
    batch : (int, int)
        Pairs of a stream, and of a training batch.
    sizes : sequence of int or None
        Pairs of an estimate. Below a stream: the first pairs of one. From there on: whole streams, rounded down.
        Default: powers of two from 128, the training batch, and the most streams that still give as many estimates as
        wanted, as far as the pool allows.

    Raises
    ------
    InputError
        Where the pool is too small for the sizes, with the pairs it would take.
    """
    n_steps, batch_pairs = batch
    _require_sensible(pairs, estimates, sizes)
    streams = max(1, -(-pairs // n_steps))
    wanted = sorted(set(sizes)) if sizes is not None else _default_sizes(pairs // estimates, batch_pairs)
    found = [_size(asked, n_steps, streams, estimates) for asked in wanted]
    if sizes is not None and None in found:
        needed = estimates * max(1, wanted[-1] // n_steps) * n_steps
        what = f"{pairs:,} pairs are too few for {estimates} estimates of {wanted[-1]:,} pairs"
        raise InputError(what, f"give --pairs {needed} or more, or smaller sizes")
    # several sizes may be rounded to the same streams: one of them stands for all
    usable = {size.used: size for size in found if size is not None}
    if not usable:
        what = f"{pairs:,} pairs are too few for {estimates} disjoint estimates from streams of {n_steps:,} pairs"
        raise InputError(what, f"give --pairs {estimates * max(n_steps, SMALLEST_SIZE)} or more")
    own = _size(batch_pairs, n_steps, streams, estimates)
    if sizes is None and own is not None:  # a neighbor that was rounded to the same streams stands back
        usable[own.used] = own
    if sizes is None:
        largest = _largest(n_steps, streams, estimates)
        usable = usable if largest is None else {largest.used: largest} | usable
    chosen = usable.values() if sizes is None else [size for size in found if size is not None]
    return Pool(n_steps, streams, tuple(sorted(chosen, key=lambda size: size.asked)))


def _require_sensible(pairs: int, estimates: int, sizes: Sequence[int] | None) -> None:
    if pairs < 1:
        raise InputError(f"pairs must be at least 1 (got {pairs})", "give --pairs 1e6, for example")
    if not 2 <= estimates <= MOST_BLOCKS:
        raise InputError(f"estimates must be from 2 to {MOST_BLOCKS} (got {estimates})", "give 10, for example")
    if sizes is not None and (not sizes or min(sizes) < 2):
        raise InputError(f"sizes must be at least 2 pairs each (got {list(sizes)})", "give sizes of 2 pairs or more")


def _default_sizes(largest: int, batch_pairs: int) -> list[int]:
    powers = [2**k for k in range(SMALLEST_SIZE.bit_length() - 1, largest.bit_length()) if 2**k <= largest]
    return sorted({*powers, *([batch_pairs] if batch_pairs <= largest else [])})


def _size(asked: int, n_steps: int, streams: int, estimates: int) -> Size | None:
    """Say what the pool has for one size; None where that is not enough."""
    if asked < n_steps:
        count = min(streams, MOST_BLOCKS)
        return Size(asked, asked, 1, count, is_prefix=True) if count >= estimates else None
    found = partition(streams, asked // n_steps, estimates)
    return None if found is None else Size(asked, found.streams * n_steps, found.streams, found.count)


def _largest(n_steps: int, streams: int, estimates: int) -> Size | None:
    """Return the largest size of whole streams that the pool has enough estimates of; None where it has not one."""
    found = partition(streams, streams // estimates, estimates) if streams >= estimates else None
    return None if found is None else Size(found.streams * n_steps, found.streams * n_steps, found.streams, found.count)


def _power_of_two(number: int) -> int:
    """Return the largest power of two up to a number, at least 1."""
    return int(1 << (max(1, number).bit_length() - 1))
