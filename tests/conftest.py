"""What all tests share: each process of pytest keeps to cores of its own."""

import gc
import os
from collections.abc import Iterator

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Deal the cores out to the processes that test at the same time, and so to the commands which they start.

    Commands then start no pool beside another process of pytest that has work for the core: tests of pools ask for
    `workers=2`. Slow tests, which also wait, kill and measure, share all cores.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ or not hasattr(os, "sched_setaffinity"):
        return
    if config.option.markexpr != "not slow":
        return
    cores, processes = sorted(os.sched_getaffinity(0)), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    own = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % processes
    os.sched_setaffinity(0, cores[own::processes] or cores)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end: modules and tests, half a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Figures are files and no pictures: what is computed, or printed, is in question."""
    from quick_figures import quickly_drawn  # noqa: PLC0415 - few tests draw, and matplotlib takes its time

    with quickly_drawn():
        yield
