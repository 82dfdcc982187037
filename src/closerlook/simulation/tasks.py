"""Gymnasium's v5 locomotion tasks as functions of arrays of MuJoCo's fields: observation, reward, termination.

A task holds the constructor arguments that matter to it, by Gymnasium's own names and with the values that the
installed Gymnasium gives them; no default is written here. The functions take the fields of L lanes after a step, each
(L, size), and keep Gymnasium's order of operations and number types, so that their results are its results to the
last bit.

====== ==============================
symbol meaning
====== ==============================
L      lanes
A      actuators
====== ==============================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from closerlook.simulation.lanes import BoolArray, FloatArray

Fields = Mapping[str, FloatArray]
"""Fields of MuJoCo's ``mjData`` by name, each (L, size): matrices of one lane are flattened."""

Range = Sequence[float]


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """What the six tasks share: to run along x without spending too much control.

    Parameters
    ----------
    forward_reward_weight, ctrl_cost_weight : float
        Weights of the velocity along x, and of the sum of squared actions.
    reset_noise_scale : float
        Size of the noise on the initial state.
    exclude_current_positions_from_observation : bool
        Whether the coordinates that do not matter to the dynamics are hidden.
    """

    forward_reward_weight: float
    ctrl_cost_weight: float
    reset_noise_scale: float
    exclude_current_positions_from_observation: bool

    fields: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    """What to gather after each step."""
    needs_contact_forces: ClassVar[bool] = False
    """Whether ``mj_rnePostConstraint`` must follow the step, which computes ``cfrc_ext``."""
    normal_velocity_noise: ClassVar[bool] = False
    """Whether the noise on the initial velocities is normal rather than uniform."""
    hidden_positions: ClassVar[int] = 1

    def positions(self, fields: Fields) -> FloatArray:
        """Where each lane is along x, (L,)."""
        # x of the root joint
        return fields["qpos"][:, 0]

    def observe(self, fields: Fields) -> FloatArray:
        """Observations, (L, obs)."""
        return np.concatenate((self._visible(fields["qpos"]), fields["qvel"]), axis=1)

    def judge(self, fields: Fields, velocities: FloatArray, actions: NDArray[Any]) -> tuple[FloatArray, BoolArray]:
        """Judge actions (L, A) that led to these fields at these mean velocities along x (L,).

        Parameters
        ----------
        fields : Fields
            MuJoCo's fields of the lanes after the step.
        velocities : ndarray, (L,)
            Mean velocities along x over the step.
        actions : ndarray, (L, A)
            As they were given.

        Returns
        -------
        ndarray, (L,), float64
            Rewards.
        ndarray, (L,), bool
            Whether the task ends here.
        """
        # r = w_f v_x - w_c |a|^2
        rewards = self.forward_reward_weight * velocities - self._control_cost(actions)
        return rewards, np.zeros(len(rewards), dtype=np.bool_)

    def _control_cost(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return the weighted sum of squares (L,), in the precision of the actions."""
        return np.asarray(self.ctrl_cost_weight * np.square(actions).sum(axis=1))

    def _visible(self, qpos: FloatArray) -> FloatArray:
        return qpos[:, self.hidden_positions :] if self.exclude_current_positions_from_observation else qpos


@dataclass(frozen=True, eq=False, kw_only=True)
class HalfCheetah(Task):
    """HalfCheetah-v5."""

    normal_velocity_noise = True


@dataclass(frozen=True, eq=False, kw_only=True)
class Swimmer(Task):
    """Swimmer-v5."""

    hidden_positions = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Walker2d(Task):
    """Walker2d-v5: also rewarded for being healthy, and ends when it is not.

    Parameters
    ----------
    healthy_reward : float
        Reward of each step that ends healthy.
    terminate_when_unhealthy : bool
        Whether an unhealthy state ends the episode.
    healthy_z_range, healthy_angle_range : pair of float
        Open intervals of the torso's height and angle in which it is healthy.
    """

    healthy_reward: float
    terminate_when_unhealthy: bool
    healthy_z_range: Range
    healthy_angle_range: Range

    def observe(self, fields: Fields) -> FloatArray:
        """Observations, (L, obs): velocities clipped to 10."""
        return np.concatenate((self._visible(fields["qpos"]), _clipped(fields["qvel"], (-10.0, 10.0))), axis=1)

    def judge(self, fields: Fields, velocities: FloatArray, actions: NDArray[Any]) -> tuple[FloatArray, BoolArray]:
        """Rewards and terminations; see `Task.judge`."""
        # r = w_f v_x + r_h [healthy] - w_c |a|^2
        healthy = self.healthy(fields)
        earned = self.forward_reward_weight * velocities + healthy * self.healthy_reward
        return earned - self._control_cost(actions), _ends(healthy, self.terminate_when_unhealthy)

    def healthy(self, fields: Fields) -> BoolArray:
        """Whether height and angle are in their ranges, (L,)."""
        # height of the torso, and its angle, within their ranges
        qpos = fields["qpos"]
        return _between(qpos[:, 1], self.healthy_z_range) & _between(qpos[:, 2], self.healthy_angle_range)


@dataclass(frozen=True, eq=False, kw_only=True)
class Hopper(Walker2d):
    """Hopper-v5.

    Parameters
    ----------
    healthy_state_range : pair of float
        Open interval in which every further position and velocity is healthy.
    """

    healthy_state_range: Range

    def healthy(self, fields: Fields) -> BoolArray:
        """Whether height, angle and everything else are in their ranges, (L,)."""
        state = np.concatenate((fields["qpos"][:, 1:], fields["qvel"]), axis=1)
        ranges = (self.healthy_z_range, self.healthy_angle_range, self.healthy_state_range)
        low, high = _hopper_limits(state.shape[1], *(tuple(one) for one in ranges))
        return np.asarray(((low < state) & (state < high)).all(axis=1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Ant(Task):
    """Ant-v5.

    Parameters
    ----------
    contact_cost_weight : float
        Weight of the sum of squared, clipped contact forces.
    healthy_reward, terminate_when_unhealthy, healthy_z_range
        As in `Walker2d`; the interval is closed.
    contact_force_range : pair of float
        What contact forces are clipped to.
    include_cfrc_ext_in_observation : bool
        Whether the contact forces are observed.
    main_body : int
        The body whose x is rewarded.
    """

    contact_cost_weight: float
    healthy_reward: float
    terminate_when_unhealthy: bool
    healthy_z_range: Range
    contact_force_range: Range
    include_cfrc_ext_in_observation: bool
    main_body: int

    fields = ("qpos", "qvel", "xpos", "cfrc_ext")
    needs_contact_forces = True
    normal_velocity_noise = True
    hidden_positions = 2

    def positions(self, fields: Fields) -> FloatArray:
        """Where the main body is along x, (L,)."""
        return fields["xpos"][:, 3 * self.main_body]

    def observe(self, fields: Fields) -> FloatArray:
        """Observations, (L, obs); the world's own contact forces, six zeros, are left out."""
        parts = [self._visible(fields["qpos"]), fields["qvel"]]
        if self.include_cfrc_ext_in_observation:
            parts.append(_clipped(fields["cfrc_ext"][:, 6:], self.contact_force_range))
        return np.concatenate(parts, axis=1)

    def judge(self, fields: Fields, velocities: FloatArray, actions: NDArray[Any]) -> tuple[FloatArray, BoolArray]:
        """Rewards and terminations; see `Task.judge`."""
        # r = w_f v_x + r_h [healthy] - w_c |a|^2 - w_k |clip(f)|^2, f the contact forces
        healthy = self._healthy(fields)
        earned = velocities * self.forward_reward_weight + healthy * self.healthy_reward
        forces = _clipped(fields["cfrc_ext"], self.contact_force_range)
        contact = self.contact_cost_weight * np.square(forces).sum(axis=1)
        return earned - (self._control_cost(actions) + contact), _ends(healthy, self.terminate_when_unhealthy)

    def _healthy(self, fields: Fields) -> BoolArray:
        qpos, (low, high) = fields["qpos"], self.healthy_z_range
        finite = np.isfinite(qpos).all(axis=1) & np.isfinite(fields["qvel"]).all(axis=1)
        return np.asarray(finite & (low <= qpos[:, 2]) & (qpos[:, 2] <= high))


@dataclass(frozen=True, eq=False, kw_only=True)
class Humanoid(Task):
    """Humanoid-v5.

    Parameters
    ----------
    contact_cost_weight, contact_cost_range : float, pair of float
        Weight of the sum of squared contact forces, and what the cost is clipped to.
    healthy_reward, terminate_when_unhealthy, healthy_z_range
        As in `Walker2d`.
    include_cinert_in_observation, include_cvel_in_observation : bool
        Whether inertias and velocities of the bodies are observed.
    include_qfrc_actuator_in_observation, include_cfrc_ext_in_observation : bool
        Whether actuator and contact forces are observed.
    body_mass : ndarray, (bodies,)
        The center of mass is what is rewarded.
    """

    contact_cost_weight: float
    contact_cost_range: Range
    healthy_reward: float
    terminate_when_unhealthy: bool
    healthy_z_range: Range
    include_cinert_in_observation: bool
    include_cvel_in_observation: bool
    include_qfrc_actuator_in_observation: bool
    include_cfrc_ext_in_observation: bool
    body_mass: FloatArray

    fields = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext", "xipos", "ctrl")
    needs_contact_forces = True
    hidden_positions = 2

    def positions(self, fields: Fields) -> FloatArray:
        """Where the center of mass is along x, (L,)."""
        # center of mass: sum_b m_b x_b / sum_b m_b
        bodies = fields["xipos"].reshape(len(fields["xipos"]), -1, 3)
        weighted: FloatArray = np.einsum("b,lbj->lj", self.body_mass, bodies) / self.body_mass.sum()
        return weighted[:, 0]

    def observe(self, fields: Fields) -> FloatArray:
        """Observations, (L, obs): without the world's own rows and the root's actuator forces, which are zero."""
        parts = [self._visible(fields["qpos"]), fields["qvel"]]
        optional = (
            (self.include_cinert_in_observation, "cinert", 10),
            (self.include_cvel_in_observation, "cvel", 6),
            (self.include_qfrc_actuator_in_observation, "qfrc_actuator", 6),
            (self.include_cfrc_ext_in_observation, "cfrc_ext", 6),
        )
        parts += [fields[name][:, start:] for included, name, start in optional if included]
        return np.concatenate(parts, axis=1)

    def judge(self, fields: Fields, velocities: FloatArray, actions: NDArray[Any]) -> tuple[FloatArray, BoolArray]:
        """Rewards and terminations; see `Task.judge`. Control is charged on the controls, in double precision."""
        # r = w_f v_x + r_h [healthy] - w_c |ctrl|^2 - clip(w_k |f|^2)
        healthy = self._healthy(fields)
        earned = self.forward_reward_weight * velocities + healthy * self.healthy_reward
        contact = self.contact_cost_weight * np.square(fields["cfrc_ext"]).sum(axis=1)
        costs = self._control_cost(fields["ctrl"]) + _clipped(contact, self.contact_cost_range)
        return earned - costs, _ends(healthy, self.terminate_when_unhealthy)

    def _healthy(self, fields: Fields) -> BoolArray:
        return _between(fields["qpos"][:, 2], self.healthy_z_range)


TASKS: Mapping[str, type[Task]] = {
    f"gymnasium.envs.mujoco.{module}_v5:{task.__name__}Env": task
    for module, task in {
        "hopper": Hopper,
        "walker2d": Walker2d,
        "humanoid": Humanoid,
        "half_cheetah": HalfCheetah,
        "ant": Ant,
        "swimmer": Swimmer,
    }.items()
}
"""The tasks, by the entry point Gymnasium registers for their environments."""


@lru_cache(maxsize=16)
def _hopper_limits(
    width: int, z: tuple[float, ...], angle: tuple[float, ...], state: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return open bounds of height, angle and everything else; the angle keeps to its own and to the state's."""
    (z_low, z_high), (angle_low, angle_high), (state_low, state_high) = z, angle, state
    low, high = np.full(width, float(state_low)), np.full(width, float(state_high))
    low[:2], high[:2] = (z_low, max(angle_low, state_low)), (z_high, min(angle_high, state_high))
    return low, high


def _between(values: FloatArray, interval: Range) -> BoolArray:
    low, high = interval
    return np.asarray((low < values) & (values < high))


def _ends(healthy: BoolArray, terminate_when_unhealthy: bool) -> BoolArray:
    return ~healthy if terminate_when_unhealthy else np.zeros(len(healthy), dtype=np.bool_)


def _clipped(values: FloatArray, interval: Range) -> FloatArray:
    low, high = interval
    return np.minimum(np.maximum(values, low), high)  # half the time of np.clip on few rows
