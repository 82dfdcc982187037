"""MuJoCo's timers are stopped while lanes step, and only then."""

import gymnasium
import mujoco
import numpy as np
import pytest

from closerlook.agents.environment import EnvironmentSpec
from closerlook.simulation.mujoco_engine import MujocoEngine
from closerlook.simulation.timers import Clock, mujoco_clock


def seconds_of_a_step() -> float:
    """Return what MuJoCo's timer counts of one step of somebody's own simulation."""
    simulation = gymnasium.make("Hopper-v5").unwrapped
    mujoco.mj_step(simulation.model, simulation.data, 4)
    return float(simulation.data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration)


def test_timers_stand_still_within_and_go_on_after():
    assert seconds_of_a_step() > 0
    with mujoco_clock().stopped():
        assert seconds_of_a_step() == 0
    with pytest.raises(KeyError), mujoco_clock().stopped():
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


def test_they_go_on_when_the_last_of_several_is_done():
    clock = mujoco_clock()
    first, second = clock.stopped(), clock.stopped()  # of two threads: neither is within the other
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert seconds_of_a_step() == 0
    second.__exit__(None, None, None)
    assert seconds_of_a_step() > 0


def test_a_clock_that_is_not_found_stays():
    with Clock(None).stopped():
        assert seconds_of_a_step() > 0
