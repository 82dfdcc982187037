"""The states of MuJoCo simulations: everything that a step depends on, warm starts of the solver among it."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

_STATE = mujoco.mjtState
_OF_LANES = (_STATE.mjSTATE_FULLPHYSICS, _STATE.mjSTATE_WARMSTART, _STATE.mjSTATE_CTRL)
"""What differs between simulations of one model that nobody but actions and resets touches."""
_COLUMNS = {"qpos": _STATE.mjSTATE_QPOS, "qvel": _STATE.mjSTATE_QVEL, "ctrl": _STATE.mjSTATE_CTRL}


class LaneStates:
    """The states of many simulations of one model, a row each.

    Parameters
    ----------
    model, data : MjModel, MjData
        Of MuJoCo; every row begins as the state that the data is in.
    lanes : int
        How many, L.
    """

    def __init__(self, model: Any, data: Any, lanes: int) -> None:
        self.kind = sum(int(part) for part in _OF_LANES)
        self._model, self._data = model, data
        self._array = np.empty((lanes, mujoco.mj_stateSize(model, self.kind)))
        self.rows = list(self._array)
        for lane in range(lanes):
            self.take(lane)
        self._first = self._array[0].copy()
        self.columns = {name: self._part(part) for name, part in _COLUMNS.items()}

    def begin(self, lanes: NDArray[np.int64], coordinates: NDArray[np.float64]) -> None:
        """Make lanes as all were at first, at other positions and velocities (L, nq + nv).

        Parameters
        ----------
        lanes : ndarray, (L,), int64
            Which lanes.
        coordinates : ndarray, (L, nq + nv)
            Positions, then velocities.
        """
        self._array[lanes] = self._first
        for name, part in (("qpos", slice(self._model.nq)), ("qvel", slice(self._model.nq, None))):
            self.columns[name][lanes] = coordinates[:, part]

    def bring(self, lane: int) -> None:
        """Bring ``mjData`` into a lane's state."""
        mujoco.mj_setState(self._model, self._data, self.rows[lane], self.kind)

    def take(self, lane: int) -> None:
        """Make the state that ``mjData`` is in a lane's."""
        mujoco.mj_getState(self._model, self._data, self.rows[lane], self.kind)

    def _part(self, part: Any) -> NDArray[np.float64]:
        """Return the columns of one part, (L, size); the parts of a state lie in the order of their bits."""
        before = self.kind & (int(part) - 1)
        start = mujoco.mj_stateSize(self._model, before) if before else 0
        return self._array[:, start : start + mujoco.mj_stateSize(self._model, part)]


def copy_state(model: Any, source: Any, target: Any) -> None:
    """Put one ``mjData`` into the state of another, with what is derived from it.

    Parameters
    ----------
    model : MjModel
        Of both.
    source, target : MjData
        From which, into which.
    """
    mujoco.mj_copyData(target, model, source)
