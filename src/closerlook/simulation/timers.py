"""MuJoCo's timers, stopped while lanes step.

MuJoCo reads the clock many times a step, which is a tenth of the time that a step of the models here takes, and keeps
sums that nobody reads. Without a clock (``mjcb_time``, a global of the library that its Python package always sets) it
does neither; states do not depend on it.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from mujoco import _functions


@contextmanager
def stopped_timers() -> Iterator[None]:
    """Take MuJoCo's clock away from this process, and give it back however the block ends."""
    clock = _clock()
    if clock is None:
        yield
        return
    before, clock.value = clock.value, None
    try:
        yield
    finally:
        clock.value = before


@cache
def _clock() -> ctypes.c_void_p | None:
    """Find where the library keeps its clock, None where it is not to be found."""
    try:
        return ctypes.c_void_p.in_dll(ctypes.CDLL(_functions.__file__), "mjcb_time")
    except (OSError, ValueError):
        return None
