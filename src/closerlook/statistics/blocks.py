"""Sums over blocks of streams: what lets one sampling pass answer for every number of pairs.

Per stream a worker takes ``sum A grad log pi`` for one kind of advantage A or several, ``sum grad log pi``, the number
of pairs and the first two moments of each A: an estimate of the gradient, with advantages standardized within its own
batch or raw, is a function of their sums over its streams. Neighboring streams are added up to blocks, in a binary
tree, so that a block's sum does not depend on how streams were dealt out to jobs: the first `MOST_BLOCKS` streams are
kept one by one, the next as many in pairs, the next twice as many in fours, and so on. Memory grows with the logarithm
of the pool, and every number of streams, up to a rounding that is small against it, still has hundreds of disjoint
estimates.

====== ================================================
symbol meaning
====== ================================================
n      blocks
W      weightings: advantages of one kind or several
Q      W + 1: the weightings, and ones
D      policy parameters, flattened
M      1 + 2 W moments: pairs, then sum and sum of squares of each weighting
====== ================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MOST_BLOCKS = 512
"""Streams that are kept one by one, and streams whose prefixes are kept; a power of two."""

_FIELDS = ("first", "streams", "scores", "moments")


@dataclass(frozen=True)
class Sums:
    """Sums over the pairs of n blocks of consecutive streams.

    Parameters
    ----------
    first, streams : ndarray, (n,), int64
        First stream of each block, and how many streams it holds.
    scores : ndarray, (n, Q, D), float64 or float32
        ``sum w_q grad log pi``: the weights are advantages, and ones (the last). Added up in float64; float32 is
        enough to keep them in.
    moments : ndarray, (n, M), float64
        Pairs; sum of advantages and sum of their squares, for each kind.
    """

    first: np.ndarray
    streams: np.ndarray
    scores: np.ndarray
    moments: np.ndarray

    def __len__(self) -> int:
        """Count the blocks."""
        return len(self.first)

    def __add__(self, right: "Sums") -> "Sums":
        """Join each block with the one that follows it."""
        # sums of neighboring blocks add up, in float64
        return Sums(self.first, self.streams + right.streams, self.scores + right.scores, self.moments + right.moments)

    def select(self, rows: Sequence[int]) -> "Sums":
        """Return the same with some of the weightings only."""
        moments = [0, *(1 + 2 * row + k for row in rows for k in (0, 1))]
        return Sums(self.first, self.streams, self.scores[:, [*rows, -1]], self.moments[:, moments])

    def narrow(self) -> "Sums":
        """Return the same with scores in float32, to keep."""
        return Sums(self.first, self.streams, self.scores.astype(np.float32), self.moments)

    def to_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return arrays by name: a part of what a job answers with."""
        return {f"{name}.{field}": getattr(self, field) for field in _FIELDS}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray], name: str) -> "Sums":
        """Undo `to_arrays`.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            What a job answered with, these sums' arrays among them.
        name : str
            Under which they were put there.
        """
        return Sums(*(arrays[f"{name}.{field}"] for field in _FIELDS))

    @staticmethod
    def concatenate(parts: Sequence["Sums"]) -> "Sums":
        """Put blocks after one another."""
        return Sums(*(np.concatenate([getattr(part, field) for part in parts]) for field in _FIELDS))


def total(parts: Sequence[Sums], first: int, streams: int) -> tuple[np.ndarray, np.ndarray]:
    """Add up the blocks of consecutive streams, one after the other: scores (Q, D) and moments (M,), float64.

    Parameters
    ----------
    parts : sequence of Sums
        Blocks, in the order of their streams; the sum does not depend on how they are divided into parts.
    first, streams : int
        The first stream, and how many.

    Raises
    ------
    ValueError
        Where the blocks do not make up exactly those streams.
    """
    found = 0
    scores, moments = np.zeros(parts[0].scores.shape[1:]), np.zeros(parts[0].moments.shape[1:])
    for part in parts:
        # blocks are halves of a binary tree, so that one either lies within the range of streams or outside it
        inside = (part.first >= first) & (part.first + part.streams <= first + streams)
        for row in np.flatnonzero(inside):  # row by row, as nothing of the size of the pool is to be copied
            scores += part.scores[row]
            moments += part.moments[row]
        found += int(part.streams[inside].sum())
    if found != streams:
        raise ValueError(f"no blocks make up streams {first} to {first + streams - 1}")
    return scores, moments


def block_streams(stream: int) -> int:
    """Return how many streams the block holds that a stream is kept in."""
    # streams 0 to 511 alone, 512 to 1023 in pairs, 1024 to 2047 in fours ...: 2^k where 2^(k-1) <= stream / 512 < 2^k
    return 1 << (stream // MOST_BLOCKS).bit_length()


def count_blocks(streams: int) -> float:
    """Return in how many blocks the first streams of a pool are kept; a block that is not full counts in part."""
    found, first, size = 0.0, 0, 1
    while first < streams:  # blocks of so many streams begin where those of half as many end
        found += (min(size * MOST_BLOCKS, streams) - first) / size
        first, size = size * MOST_BLOCKS, 2 * size
    return found


class BlockKeeper:
    """Adds neighboring streams up to the blocks they are kept in, stream by stream, in order.

    Streams from the middle of a block give smaller blocks; a range of streams that is aligned to its length gives
    whole blocks up to that length.

    Parameters
    ----------
    least : int
        Streams of the smallest blocks, a power of two: more than 1 where only the sums of many are wanted.
    """

    def __init__(self, least: int = 1) -> None:
        self._least = least
        self._closed: list[Sums] = []
        self._open: list[Sums] = []

    def add(self, stream: Sums) -> None:
        """Take in the next stream: one block of one stream, in float64."""
        size = max(self._least, block_streams(int(stream.first[0])))
        block = stream
        # as in a binary counter: two finished halves of a block become one, until it is as long as it is kept
        while self._open and block.streams[0] < size and _joins(self._open[-1], block):
            block = self._open.pop() + block
        self._open.append(block)
        if block.streams[0] == size:
            self._closed += [one.narrow() for one in self._open]
            self._open = []

    @property
    def blocks(self) -> Sums:
        """The blocks so far, in order, scores in float32."""
        return Sums.concatenate([*self._closed, *(one.narrow() for one in self._open)])


def _joins(left: Sums, right: Sums) -> bool:
    """Whether two blocks are the halves of one of the tree."""
    # neighbors of equal length, the left one aligned to twice that length
    size = int(left.streams[0])
    return size == right.streams[0] and int(left.first[0]) % (2 * size) == 0


@dataclass(frozen=True)
class Partition:
    """Disjoint estimates that a pool yields at one size.

    Parameters
    ----------
    streams : int
        Streams of one estimate; 1 also where it is the beginning of a stream.
    count : int
        Estimates.
    """

    streams: int
    count: int


def partition(pool: int, streams: int, estimates: int) -> Partition | None:
    """Say which estimates of at most so many streams a pool yields, from the blocks that are kept.

    Parameters
    ----------
    pool : int
        Streams of the pool.
    streams : int
        Streams wanted for each estimate, at least 1.
    estimates : int
        Estimates wanted at least, at least 1.

    Returns
    -------
    Partition or None
        As near to `streams` as leaves whole blocks for enough estimates (the part that is rounded off is less than
        estimates / 256), then as many estimates as possible; None where the pool is too small.
    """
    if pool < streams * estimates:
        return None
    found: list[Partition] = []
    # an estimate of s streams is made of whole blocks of 2^k: s is rounded down to a multiple of 2^k, and streams up to
    # 512 2^k are kept in blocks no longer than that
    block = 1
    while block <= streams:
        used = streams // block * block
        found.append(Partition(used, min(pool, MOST_BLOCKS * block) // used))
        block *= 2
    enough = [option for option in found if option.count >= estimates]
    return max(enough, key=lambda option: (option.streams, option.count), default=None)
