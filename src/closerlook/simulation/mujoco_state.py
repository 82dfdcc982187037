"""The state of a MuJoCo simulation: everything that a step depends on, warm starts of the solver among it."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

_EVERYTHING = mujoco.mjtState.mjSTATE_INTEGRATION


def get_state(model: Any, data: Any) -> NDArray[np.float64]:
    """Return the state that ``mjData`` is in."""
    state = np.empty(mujoco.mj_stateSize(model, _EVERYTHING))
    mujoco.mj_getState(model, data, state, _EVERYTHING)
    return state


def set_state(model: Any, data: Any, state: NDArray[np.float64]) -> None:
    """Put ``mjData`` into a state; what is derived from it comes with the next step."""
    mujoco.mj_setState(model, data, state, _EVERYTHING)


def copy_state(model: Any, source: Any, target: Any) -> None:
    """Put one ``mjData`` into the state of another, with what is derived from it."""
    mujoco.mj_copyData(target, model, source)
