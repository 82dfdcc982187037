"""Which stream runs on which lane, and at which place of the policy's tiles."""

from collections import defaultdict
from collections.abc import Sequence

from closerlook.nn.networks import TILE


class StreamQueue:
    """Hands out one policy's streams, each with a row of the policy's input at its own place modulo `TILE`.

    A stream's place follows from its key alone, so what a policy answers there does not depend, to the last bit, on
    which other streams run, nor on how many (see `closerlook.nn.networks.TILE`).

    Parameters
    ----------
    streams : sequence of int
        The keys of the streams.
    lanes : int
        How many are to run together.
    """

    def __init__(self, streams: Sequence[int], lanes: int) -> None:
        self._keys = list(streams)
        self._waiting = list(range(len(streams)))
        self.rows = TILE * _tiles(streams, lanes)
        self._free: dict[int, list[int]] = {place: list(range(place, self.rows, TILE))[::-1] for place in range(TILE)}

    def take(self) -> tuple[int, int] | None:
        """Return the next stream, as an index into `streams`, that has a free row, and that row; None: none has."""
        for at, stream in enumerate(self._waiting):
            free = self._free[self._keys[stream] % TILE]
            if free:
                del self._waiting[at]
                return stream, free.pop()
        return None

    def release(self, row: int) -> None:
        """Give back the row of a stream that is done."""
        self._free[row % TILE].append(row)


def _tiles(streams: Sequence[int], lanes: int) -> int:
    """Return the fewest tiles on which as many streams as there are lanes find a row."""
    counts: dict[int, int] = defaultdict(int)
    for key in streams:
        counts[key % TILE] += 1
    wanted, tiles = min(lanes, len(streams)), 1
    while sum(min(count, tiles) for count in counts.values()) < wanted:
        tiles += 1
    return tiles
