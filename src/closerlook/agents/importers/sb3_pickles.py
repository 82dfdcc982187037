"""What Stable-Baselines3 pickles: arrays, running moments, schedules, episodes; read from their inert form.

Each function takes what `closerlook.agents.importers.plain_pickle.read_pickle` gives, and answers None (or raises a
ValueError) where it is anything else.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from closerlook.agents.importers.plain_pickle import Made, Name, Plain

_KINDS = {f"{kind}{size}" for kind in "fiu" for size in (1, 2, 4, 8)} | {"b1"}
_SCHEDULES_OF = {"stable_baselines3.common.utils", "rl_zoo3.utils", "utils.utils", "utils"}
"""Modules of the library and of its zoo, of all times, that schedules come from."""


@dataclass(frozen=True)
class Schedule:
    """A value that falls linearly from `start` to `end` while the progress goes to `end_fraction`, and stays there.

    Parameters
    ----------
    start, end : float
        Equal where it is constant.
    end_fraction : float
        Share of training after which `end` is reached.
    bounded : bool
        Whether it stays at `end` beyond; the zoo's own goes on, below zero where training overshoots.
    """

    start: float
    end: float
    end_fraction: float = 1.0
    bounded: bool = True

    @property
    def is_constant(self) -> bool:
        """Whether it never changes."""
        return self.start == self.end

    def at(self, progress_remaining: float) -> float:
        """Return the value where `progress_remaining` goes from 1 to 0 (and slightly below)."""
        done = 1.0 - progress_remaining
        if self.is_constant or (self.bounded and done > self.end_fraction):
            return self.end
        return self.start + done * (self.end - self.start) / self.end_fraction


@dataclass(frozen=True)
class RunningMoments:
    """Mean, variance (divisor n) and count, as the library's ``RunningMeanStd`` keeps them.

    Parameters
    ----------
    mean, var : ndarray
        Of the shape of what was seen.
    count : float
        How often.
    """

    mean: np.ndarray
    var: np.ndarray
    count: float


def array_of(plain: Plain) -> np.ndarray:
    """Return a NumPy array or scalar, or a plain number as one.

    Raises
    ------
    ValueError
        Where it is none, or its bytes are not as many as its shape says.
    """
    if isinstance(plain, bool | int | float):
        return np.asarray(plain)
    if not isinstance(plain, Made):
        raise ValueError("no array")
    if plain.is_a("scalar"):
        kind, content = plain.arguments
        return _array(content, kind, ()).reshape(())
    if plain.is_a("_frombuffer"):
        content, kind, shape, order = plain.arguments
        return _array(content, kind, shape, fortran=order == "F")
    if plain.is_a("_reconstruct") and isinstance(plain.state, tuple) and len(plain.state) == 5:
        _, shape, kind, fortran, content = plain.state
        return _array(content, kind, shape, fortran=bool(fortran))
    raise ValueError("no array")


def _array(content: Plain, kind: Plain, shape: Plain, *, fortran: bool = False) -> np.ndarray:
    if isinstance(content, Made) and content.is_a("encode", "bytes", "bytearray"):  # bytes, as old protocols had them
        text = content.arguments[0] if content.arguments else b""
        content = text.encode("latin1") if isinstance(text, str) else text
    if not isinstance(content, bytes) or not isinstance(shape, tuple):
        raise ValueError("no array")
    if not all(isinstance(side, int) and 0 <= side <= 2**40 for side in shape):
        raise ValueError("no shape")
    dtype = _dtype(kind)
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError("not as many numbers as the shape says")
    flat = np.frombuffer(content, dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))


def _dtype(plain: Plain) -> np.dtype[Any]:
    if not (isinstance(plain, Made) and plain.is_a("dtype") and plain.arguments):
        raise ValueError("no kind of numbers")
    kind = plain.arguments[0]
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError("no kind of numbers that is expected")
    order = plain.state[1] if isinstance(plain.state, tuple) and len(plain.state) > 1 else "<"
    return np.dtype(kind).newbyteorder(">" if order == ">" else "<")


def number_of(plain: Plain) -> float:
    """Return one number.

    Raises
    ------
    ValueError
        Where it is none.
    """
    values = array_of(plain)
    if values.size != 1:
        raise ValueError("no single number")
    return float(values.reshape(()))


def entries_of(plain: Plain) -> dict[Any, Plain]:
    """Return what a dictionary of any kind holds; nothing where it is none."""
    if isinstance(plain, dict):
        return plain
    if isinstance(plain, Made) and plain.is_a("OrderedDict", "dict"):
        pairs = plain.arguments[0] if plain.arguments else []
        listed = pairs if isinstance(pairs, list) else []
        early = {pair[0]: pair[1] for pair in listed if len(pair) == 2 and isinstance(pair[0], str)}
        return {**early, **plain.entries}
    return {}


def state_of(plain: Plain) -> dict[str, Plain]:
    """Return the attributes an object would have had; nothing where it would have had none."""
    state = plain.state if isinstance(plain, Made) else None
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):
        state = {**state[0], **(state[1] if isinstance(state[1], dict) else {})}
    return state if isinstance(state, dict) else {}


def moments_of(plain: Plain) -> RunningMoments | None:
    """Return running moments, None where it is something else.

    Raises
    ------
    ValueError
        Where they are no moments: not finite, negative, of different shapes.
    """
    if not (isinstance(plain, Made) and plain.is_a("RunningMeanStd")):
        return None
    state = state_of(plain)
    mean, var = (array_of(state.get(name)).astype(np.float64) for name in ("mean", "var"))
    count = number_of(state.get("count"))
    if mean.shape != var.shape or not (np.isfinite(mean).all() and np.isfinite(var).all() and (var >= 0).all()):
        raise ValueError("no moments")
    if not (math.isfinite(count) and count >= 0):
        raise ValueError("no count")
    return RunningMoments(mean, var, count)


def schedule_of(plain: Plain) -> Schedule | None:
    """Return a schedule of the library's (or of its zoo's); None for any other function."""
    if isinstance(plain, bool | int | float):
        return Schedule(float(plain), float(plain))
    if not isinstance(plain, Made):
        return None
    if isinstance(plain.of, Name) and plain.of.module in _SCHEDULES_OF:
        return _of_class(plain.of.name, state_of(plain))
    return _of_closure(plain)


def _of_class(name: str, state: dict[str, Plain]) -> Schedule | None:
    try:
        if name == "FloatSchedule":
            return schedule_of(state["value_schedule"])
        if name == "ConstantSchedule":
            value = number_of(state["val"])
            return Schedule(value, value)
        if name == "LinearSchedule":
            start, end, fraction = (number_of(state[key]) for key in ("start", "end", "end_fraction"))
            return Schedule(start, end, fraction)
        if name == "SimpleLinearSchedule":
            return Schedule(number_of(state["initial_value"]), 0.0, bounded=False)
    except (KeyError, ValueError):
        return None
    return None


def _of_closure(plain: Made) -> Schedule | None:
    """Recognize a function by where it was defined and by the names of what it closes over."""
    written = plain.state[-1] if isinstance(plain.state, tuple) and plain.state else None
    if isinstance(written, tuple):  # (attributes, slots)
        written = written[-1] if written else None
    if not isinstance(written, dict) or written.get("__module__", written.get("module")) not in _SCHEDULES_OF:
        return None
    cells = written.get("__closure__") or ()
    values = [cell.arguments[0] for cell in cells if isinstance(cell, Made) and cell.arguments]
    values = values or list(written.get("closure_values") or ())
    held = dict(zip(_free_names(plain), values, strict=False))
    made_by = str(written.get("__qualname__", written.get("qualname")))
    try:
        if made_by == "get_schedule_fn.<locals>.<lambda>":
            return schedule_of(held["value_schedule"])
        wanted = _CLOSURES.get(made_by)
        if wanted is None:
            return None
        numbers = [number_of(held[name]) for name in wanted]
    except (KeyError, ValueError):
        return None
    if len(numbers) == 3:
        start, end, fraction = numbers
        return Schedule(start, end, fraction)
    falls = made_by.startswith("linear")
    return Schedule(numbers[0], 0.0 if falls else numbers[0], bounded=not falls)


_CLOSURES = {
    "constant_fn.<locals>.func": ("val",),
    "get_linear_fn.<locals>.func": ("start", "end", "end_fraction"),
    "linear_schedule.<locals>.func": ("initial_value",),
}
"""What the library's functions (and the zoo's) close over."""


def _free_names(plain: Made) -> tuple[str, ...]:
    """Return the names a function closes over, which its code keeps before the last of its parts."""
    code = plain.arguments[0] if plain.arguments else None
    if not isinstance(code, Made):
        return ()
    names = [part for part in code.arguments if isinstance(part, tuple) and all(isinstance(n, str) for n in part)]
    return next((part for part in reversed(names) if part), ())


def episode_returns(plain: Plain) -> np.ndarray:
    """Return what the last episodes of training earned, as the library's monitor kept them, in order: (E,)."""
    items = plain.items if isinstance(plain, Made) and plain.is_a("deque") else plain
    if not isinstance(items, list):
        return np.empty(0)
    return np.array([number_of(item["r"]) for item in items if isinstance(item, dict) and "r" in item])
