"""Streams keep to their place of the policy's tiles, whatever else runs."""

import pytest

from closerlook.nn.networks import TILE
from closerlook.simulation.placement import StreamQueue


@pytest.mark.parametrize(
    ("streams", "lanes", "tiles"),
    [
        ([5], 1, 1),
        (range(8), 8, 1),
        (range(40), 32, 2),
        (range(0, 40 * TILE, TILE), 3, 3),
        ([*range(0, 4 * TILE, TILE), 1], 2, 1),
    ],
)
def test_every_stream_is_handed_out_once_at_its_place(streams, lanes, tiles):
    queue = StreamQueue(streams, lanes)
    assert queue.rows == tiles * TILE
    served, running = [], {}
    while len(served) < len(streams):
        while len(running) < lanes and (taken := queue.take()) is not None:
            stream, row = taken
            assert row % TILE == streams[stream] % TILE
            assert row not in running
            assert row < queue.rows
            running[row] = stream
        row, stream = running.popitem()
        queue.release(row)
        served.append(stream)
    assert sorted(served) == list(range(len(streams)))
    assert queue.take() is None
