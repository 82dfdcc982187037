"""What an environment answers, read field by field: an answer of another size or kind is named, never bent to fit.

Lists, tensors and arrays of one element are taken where they are right.
"""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from closerlook.errors import InputError

_REAL = "biuf"
"""Kinds of NumPy types whose values are real numbers."""
_STEP = "(observation, reward, terminated, truncated, info)"
_RESET = "(observation, info)"


def read_reset(answer: Any, name: str, size: int) -> NDArray[Any]:
    """Return the observation (size,) of a reset.

    Parameters
    ----------
    answer : object
        What ``reset`` returned.
    name : str
        Of the environment, for messages.
    size : int
        Numbers of an observation.

    Raises
    ------
    InputError
        Where it is not of that size, or not of real numbers; where the answer is not what Gymnasium asks for.
    """
    observation, _ = _fields(answer, f"reset() of {name}", _RESET)
    return read_observation(observation, f"reset() of {name}", size)


def read_step(answer: Any, name: str, size: int) -> tuple[NDArray[Any], float, bool, bool]:
    """Return observation (size,), reward, terminated and truncated of a step.

    Parameters
    ----------
    answer : object
        What ``step`` returned.
    name : str
        Of the environment, for messages.
    size : int
        Numbers of an observation.

    Raises
    ------
    InputError
        Where one of them is not what it has to be.
    """
    if type(answer) is not tuple or len(answer) != 5:
        answer = _fields(answer, f"step() of {name}", _STEP)
    observation, reward, terminated, truncated, _ = answer
    # the usual answers are taken as they are: this runs at every step
    if not (type(observation) is np.ndarray and observation.shape == (size,) and observation.dtype.kind in _REAL):
        observation = read_observation(observation, f"step() of {name}", size)
    if not isinstance(reward, float):
        reward = read_reward(reward, f"step() of {name}")
    if type(terminated) is not bool:
        terminated = read_flag(terminated, f"step() of {name}", "terminated")
    if type(truncated) is not bool:
        truncated = read_flag(truncated, f"step() of {name}", "truncated")
    return observation, reward, terminated, truncated


def read_observation(value: Any, where: str, size: int) -> NDArray[Any]:
    """Return an observation (size,) of real numbers, flattened.

    Parameters
    ----------
    value : object
        As it came.
    where : str
        What answered, for messages.
    size : int
        Numbers that it has to have.

    Raises
    ------
    InputError
        Naming what it was, and what it has to be.
    """
    array = _real_array(value)
    if array is None:
        raise _wrong(where, "an observation", value, f"{size} real numbers")
    if array.size != size:
        raise _wrong(where, "an observation", f"of shape {array.shape}", f"{size} numbers, as its observation_space")
    return array.reshape(-1)


def read_reward(value: Any, where: str) -> float:
    """Return a reward, which may be an array of one.

    Parameters
    ----------
    value : object
        As it came.
    where : str
        What answered, for messages.

    Raises
    ------
    InputError
        Naming what it was.
    """
    array = _real_array(value)
    if array is None or array.size != 1:
        raise _wrong(where, "a reward", value if array is None else f"of shape {array.shape}", "one real number")
    return float(array.reshape(-1)[0])


def read_flag(value: Any, where: str, field: str) -> bool:
    """Return whether something is so, which may be an array of one; 0 and 1 count.

    Parameters
    ----------
    value : object
        As it came.
    where : str
        What answered, for messages.
    field : str
        Which flag.

    Raises
    ------
    InputError
        Naming what it was.
    """
    array = _real_array(value)
    if array is None or array.size != 1 or array.reshape(-1)[0] not in (0, 1):
        raise _wrong(
            where, field, value if array is None or array.size == 1 else f"of shape {array.shape}", "a boolean"
        )
    return bool(array.reshape(-1)[0])


def _fields(answer: Any, where: str, expected: str) -> tuple[Any, ...]:
    count = expected.count(",") + 1
    if isinstance(answer, tuple | list) and len(answer) == count:
        return tuple(answer)
    found = f"{len(answer)} things" if isinstance(answer, tuple | list) else f"a {type(answer).__name__}"
    raise InputError(f"{where} gave {found}", f"return {expected}")


def _real_array(value: Any) -> NDArray[Any] | None:
    """Return an array of real numbers; None where it is something else."""
    try:
        array = np.asarray(value)
        if array.dtype == object and array.size and all(isinstance(one, Real) for one in array.flat):
            array = array.astype(np.float64)
    except Exception:  # what it is, is anybody's: a ragged list, a tensor that asks for a gradient
        return None
    return array if array.dtype.kind in _REAL else None


def _wrong(where: str, field: str, value: Any, expected: str) -> InputError:
    shown = value if isinstance(value, str) and value.startswith("of shape") else f"{value!r:.60}"
    return InputError(f"{where} gave {field} {shown}", f"it has to be {expected}")
