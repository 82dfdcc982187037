"""Blocks of streams: nothing is lost, nothing depends on how streams were dealt out, every size has its estimates."""

import numpy as np
import pytest

from closerlook.errors import InputError
from closerlook.statistics import blocks
from closerlook.statistics.blocks import BlockKeeper, Sums, block_streams, count_blocks, partition, total
from closerlook.statistics.pool import plan_pool


def stream(number: int) -> Sums:
    draws = np.random.default_rng(number)
    scores = draws.standard_normal((1, 2, 5)).astype(np.float32).astype(float)
    return Sums(np.array([number]), np.array([1]), scores, draws.standard_normal((1, 3)))


def kept(first: int, stop: int) -> Sums:
    keeper = BlockKeeper()
    for number in range(first, stop):
        keeper.add(stream(number))
    return keeper.blocks


@pytest.fixture
def few_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "MOST_BLOCKS", 8)


@pytest.mark.parametrize("streams", [0, 1, 7, 8, 9, 16, 17, 100, 1024, 1025])
def test_blocks_are_counted_as_if_stream_by_stream(few_blocks, streams):
    assert count_blocks(streams) == pytest.approx(sum(1 / block_streams(stream) for stream in range(streams)))


def test_blocks_are_counted_at_once_however_many_there_are():
    assert count_blocks(10**15) < 512 + 256 * np.log2(10**15 / 512) + 1


def test_blocks_double_as_streams_go_on(few_blocks):
    sizes = [block_streams(number) for number in (0, 7, 8, 15, 16, 31, 32, 63, 64)]
    assert sizes == [1, 1, 2, 2, 4, 4, 8, 8, 16]
    assert kept(0, 64).streams.tolist() == [1] * 8 + [2] * 4 + [4] * 4 + [8] * 4


def test_a_range_that_begins_inside_a_block(few_blocks):
    found = kept(9, 15)
    assert list(zip(found.first.tolist(), found.streams.tolist(), strict=True)) == [(9, 1), (10, 2), (12, 2), (14, 1)]


@pytest.mark.parametrize("step", [8, 16, 32])
def test_jobs_of_any_length_give_the_same_bytes(few_blocks, step):
    whole = kept(0, 61)
    parts = Sums.concatenate([kept(first, min(first + step, 61)) for first in range(0, 61, step)])
    for field in ("first", "streams", "scores", "moments"):
        assert getattr(whole, field).tobytes() == getattr(parts, field).tobytes()
    assert whole.streams.sum() == 61


@pytest.mark.parametrize("wanted", range(1, 14))
def test_every_partition_is_made_of_whole_blocks(few_blocks, wanted):
    pool = kept(0, 53)
    found = partition(53, wanted, 4)
    assert found is not None
    assert found.count >= 4
    assert wanted * 0.5 < found.streams <= wanted
    for i in range(found.count):
        scores, moments = total([pool], i * found.streams, found.streams)
        own = [stream(n) for n in range(i * found.streams, (i + 1) * found.streams)]
        np.testing.assert_allclose(scores, sum(s.scores[0] for s in own), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(moments, sum(s.moments[0] for s in own), rtol=1e-12, atol=1e-12)


def test_blocks_that_do_not_fit_are_refused(few_blocks):
    with pytest.raises(ValueError, match="no blocks make up streams 9 to 9"):
        total([kept(0, 12)], 9, 1)


def test_too_small_a_pool_has_no_partition():
    assert partition(53, 14, 4) is None


@pytest.mark.parametrize("pool", [40, 489, 512, 1025, 4883, 60_000])
@pytest.mark.parametrize("estimates", [2, 10, 30])
def test_a_pool_that_is_large_enough_always_has_a_partition(pool, estimates):
    most = pool // estimates
    for streams in {1, min(3, most), max(1, most // 3), most}:
        found = partition(pool, streams, estimates)
        assert found is not None
        assert found.count >= estimates
        assert found.streams > streams * (1 - estimates / 256)


def used(pool):
    return [(size.asked, size.used, size.count, size.is_prefix) for size in pool.sizes]


def test_default_sizes():
    pool = plan_pool(100_000, 10, (2048, 2048), None)
    assert pool.streams == 49
    first = [(size, size, 49, True) for size in (128, 256, 512, 1024)]
    assert used(pool) == [*first, (2048, 2048, 49, False), (4096, 4096, 24, False), (8192, 8192, 12, False)]


def test_the_largest_size_with_enough_estimates_is_among_the_default_sizes():
    pool = plan_pool(1_000_000, 10, (2048, 2048), None)
    assert used(pool)[-2:] == [(65_536, 65_536, 15, False), (98_304, 98_304, 10, False)]
    large = plan_pool(10_000_000, 10, (2048, 2048), None).sizes[-1]
    assert large.asked == large.used > 524_288
    assert large.count >= 10
    rounded = plan_pool(11 * 500, 5, (500, 500), None)  # two streams, which a power of two has already
    assert [(size.asked, size.used) for size in rounded.sizes if size.used >= 500] == [(500, 500), (1024, 1000)]


def test_the_training_batch_is_among_the_default_sizes():
    pool = plan_pool(60_000, 10, (500, 2000), None)
    assert (2000, 2000) in [(size.asked, size.used) for size in pool.sizes]
    assert len({size.used for size in pool.sizes}) == len(pool.sizes)
    assert all(size.used % 500 == 0 for size in pool.sizes if not size.is_prefix)


@pytest.mark.parametrize("n_envs", [51, 101, 103, 205])
@pytest.mark.parametrize("n_steps", [20, 2048])
def test_a_batch_of_many_streams_keeps_its_name_among_the_default_sizes(n_envs, n_steps):
    """Rounded down to whole blocks it has other pairs, which a power of two may be rounded to as well."""
    batch = n_envs * n_steps
    pool = plan_pool(40 * batch, 10, (n_steps, batch), None)
    (own,) = (size for size in pool.sizes if size.asked == batch)
    assert batch * (1 - 10 / 256) < own.used <= batch
    assert own.count >= 10
    assert len({size.used for size in pool.sizes}) == len(pool.sizes)


def test_asked_sizes_are_rounded_down_to_streams():
    pool = plan_pool(1_000_000, 10, (2048, 2048), [100_000, 300])
    assert used(pool) == [(300, 300, 489, True), (100_000, 98_304, 10, False)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100_000, 10, (2048, 2048), [128, 20_000]), "give --pairs 184320 or more"),
        ((10_000, 10, (2048, 2048), [128]), "give --pairs 20480 or more"),
        ((10_000, 10, (2048, 2048), None), "give --pairs 20480 or more"),
        ((500, 10, (16, 64), None), "give --pairs 1280 or more"),
        ((0, 10, (16, 64), None), "pairs must be at least 1"),
        ((1000, 1, (16, 64), None), "estimates must be from 2 to"),
        ((1000, 2, (16, 64), [1, 64]), "sizes must be at least 2 pairs each"),
        ((1000, 2, (16, 64), []), "sizes must be at least 2 pairs each"),
    ],
)
def test_unusable_requests_name_the_mend(arguments, message):
    with pytest.raises(InputError, match=message):
        plan_pool(*arguments)


def test_the_pairs_named_are_enough():
    for sizes in ([128, 20_000], [128]):
        needed = 10 * max(1, max(sizes) // 2048) * 2048
        assert len(plan_pool(needed, 10, (2048, 2048), sizes).sizes) == len(sizes)


def test_jobs_are_aligned_and_cover_the_pool():
    for pairs in (3000, 100_000, 1_000_000, 10_000_000):
        pool = plan_pool(pairs, 2, (2048, 2048), [2, 128])
        ranges = pool.job_ranges
        assert [number for own in ranges for number in own] == list(range(pool.streams))
        step = len(ranges[0])
        assert all(own.start % step == 0 for own in ranges)
        assert len(ranges) == 1 or step & (step - 1) == 0
        assert step * 2048 <= 131_072
