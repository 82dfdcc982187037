"""Corners of the tasks that trajectories hardly reach."""

import numpy as np
import pytest

from closerlook.simulation.tasks import Ant, Hopper

SHARED = {
    "forward_reward_weight": 1.0,
    "ctrl_cost_weight": 0.0,
    "reset_noise_scale": 0.0,
    "exclude_current_positions_from_observation": True,
    "healthy_reward": 1.0,
    "terminate_when_unhealthy": True,
}


@pytest.mark.parametrize(
    ("at", "value", "healthy"),
    [
        (0, 9.0, True),
        (1, 0.7, False),
        (1, 50.0, True),
        (2, 0.15, False),
        (2, 0.05, True),
        (2, -0.25, False),
        (5, 0.1, False),
        (6, 0.2, False),
        (11, np.nan, False),
        (0, np.nan, True),
    ],
)
def test_a_hopper_is_healthy_inside_open_ranges(at, value, healthy):
    """The angle is held by its own range below and by the state's above; the height by its own alone."""
    ranges = {"healthy_z_range": [0.7, np.inf], "healthy_angle_range": [-0.2, 0.3], "healthy_state_range": [-9, 0.1]}
    state = np.zeros((2, 12))
    state[:, 1] = 1.0
    state[1, at] = value
    fields = {"qpos": state[:, :6], "qvel": state[:, 6:]}
    rewards, terminated = Hopper(**SHARED, **ranges).judge(fields, np.zeros(2), np.zeros((2, 3), np.float32))
    assert terminated.tolist() == [False, not healthy]
    assert rewards.tolist() == [1.0, float(healthy)]


@pytest.mark.parametrize(
    ("height", "speed", "healthy"), [(0.2, 0, True), (1.0, 0, True), (1.01, 0, False), (0.5, np.inf, False)]
)
def test_an_ant_is_healthy_inside_a_closed_range_while_all_is_finite(height, speed, healthy):
    ant = Ant(
        **SHARED,
        contact_cost_weight=0.0,
        healthy_z_range=[0.2, 1.0],
        contact_force_range=[-1, 1],
        include_cfrc_ext_in_observation=False,
        main_body=1,
    )
    fields = {"qpos": np.array([[0, 0, height]]), "qvel": np.array([[speed]]), "cfrc_ext": np.zeros((1, 6))}
    _, terminated = ant.judge(fields, np.zeros(1), np.zeros((1, 8), np.float32))
    assert terminated.tolist() == [not healthy]
