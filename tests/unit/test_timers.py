"""MuJoCo's timers are stopped while lanes step, and only then."""

import ctypes

import gymnasium
import mujoco
import numpy as np
import pytest

from closerlook.agents.environment import EnvironmentSpec
from closerlook.simulation import timers
from closerlook.simulation.mujoco_engine import MujocoEngine
from closerlook.simulation.timers import stopped_timers


def seconds_of_a_step() -> float:
    """Return what MuJoCo's timer counts of one step of somebody's own simulation."""
    data = gymnasium.make("Hopper-v5").unwrapped.data
    model = gymnasium.make("Hopper-v5").unwrapped.model
    mujoco.mj_step(model, data, 4)
    return float(data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration)


def test_timers_stand_still_within_and_go_on_after():
    assert seconds_of_a_step() > 0
    with stopped_timers():
        assert seconds_of_a_step() == 0
    with pytest.raises(KeyError), stopped_timers():
        raise KeyError
    assert seconds_of_a_step() > 0


def test_lanes_step_without_them_and_leave_them_to_others():
    engine = MujocoEngine(EnvironmentSpec("Hopper-v5"), 2)
    lanes = np.arange(2)
    engine.reset(lanes, [0, 1])
    before = float(engine._data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration)
    engine.step(lanes, np.zeros((2, 3), np.float32))
    assert float(engine._data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration) == before
    assert seconds_of_a_step() > 0


def test_a_library_without_that_clock_is_left_alone(monkeypatch):
    monkeypatch.setattr(timers._functions, "__file__", ctypes.util.find_library("m") or "libm.so.6")
    timers._clock.cache_clear()
    with stopped_timers():
        assert seconds_of_a_step() > 0
    timers._clock.cache_clear()
