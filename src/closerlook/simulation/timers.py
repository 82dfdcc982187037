"""MuJoCo's timers, stopped while lanes step.

MuJoCo reads the clock many times a step, which is a tenth of the time that a step of the models here takes, and keeps
sums that nobody reads. Without a clock (``mjcb_time``, a global of the library that its Python package always sets) it
does neither; states do not depend on it.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module


class Clock:
    """The clock of this process's MuJoCo: taken away while anybody, in any thread, wants it away.

    Parameters
    ----------
    place : ctypes.c_void_p or None
        Where the library keeps it; None where it is not to be found, and then stays.
    """

    def __init__(self, place: ctypes.c_void_p | None) -> None:
        self._place, self._lock = place, threading.Lock()
        self._stopped_by = 0
        self._usual: int | None = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Take it away, and give it back however the block ends, unless others want it away still."""
        if self._place is None:
            yield
            return
        with self._lock:
            if not self._stopped_by:
                self._usual, self._place.value = self._place.value, None
            self._stopped_by += 1
        try:
            yield
        finally:
            with self._lock:
                self._stopped_by -= 1
                if not self._stopped_by:
                    self._place.value = self._usual


@cache
def mujoco_clock() -> Clock:
    """Find MuJoCo's clock, through a module of its package, which is bound to the library."""
    try:
        library = ctypes.CDLL(import_module("mujoco._functions").__file__)
        return Clock(ctypes.c_void_p.in_dll(library, "mjcb_time"))
    except (ImportError, OSError, ValueError):
        return Clock(None)
