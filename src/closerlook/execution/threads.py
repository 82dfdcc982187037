"""One thread for each process: workers share the cores among them, and sums keep one order."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from threadpoolctl import threadpool_limits

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
)
_held = ContextVar("held", default=False)
"""Whether this process is held to one thread already: finding all libraries again takes as long as a small job."""


@contextmanager
def single_thread_environment() -> Iterator[None]:
    """Set the variables that mathematics libraries read as they load, here and in processes started meanwhile."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def single_thread() -> Iterator[None]:
    """Hold this process to one thread, or a function it decorates: the order in which products sum depends on it."""
    if _held.get():
        yield
        return
    before = _held.set(True)
    try:
        with single_thread_environment(), threadpool_limits(1), _single_torch_thread():
            yield
    finally:
        _held.reset(before)


@contextmanager
def _single_torch_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
