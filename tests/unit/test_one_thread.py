"""No number depends on how many threads a machine has: sums of products keep one order here as in the workers."""

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import closerlook as cl
from closerlook.execution.jobs import Silence
from environments import linear_quadratic_agent
from small_measurements import ASKED


class Watch(Silence):
    """Notes how many threads mathematics libraries may use as the work ends."""

    def __init__(self):
        self.threads = []

    def finish(self):
        self.threads += [library["num_threads"] for library in threadpool_info()]


@pytest.mark.parametrize("name", ASKED)
def test_measurements_hold_the_process_to_one_thread(name):
    watch = Watch()
    with threadpool_limits(2):
        getattr(cl, name)(linear_quadratic_agent(gamma=0.9), workers=1, progress=watch, **ASKED[name])
        after = {library["num_threads"] for library in threadpool_info()}
    assert set(watch.threads) == {1}
    assert 2 in after
