"""The six v5 locomotion tasks as lanes: many ``mjData`` of one model stepped in one plain loop.

Everything but ``mj_step`` itself is done for all lanes at once by `closerlook.simulation.tasks`. Model, spaces and
default arguments come from the environment that the installed Gymnasium builds, so nothing of it is repeated here.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from typing import Any, cast

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.seeding import np_random
from numpy.typing import NDArray

from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError
from closerlook.simulation.gymnasium_engine import build_environment, find_source
from closerlook.simulation.lanes import FloatArray, IntArray, StepResult
from closerlook.simulation.mujoco_state import get_state, set_state
from closerlook.simulation.tasks import TASKS, Fields, Task

_BESIDE_THE_TASK = frozenset({"xml_file", "frame_skip", "default_camera_config", "max_episode_steps"})
"""Arguments honoured through the model that Gymnasium builds, or that change nothing here."""


@dataclass(frozen=True)
class _Template:
    """What the lanes share."""

    model: Any
    task: Task
    frame_skip: int
    seconds: float
    time_limit: int | None
    action_space: gymnasium.spaces.Space[Any]


def supports(spec: EnvironmentSpec) -> bool:
    """Whether this engine has the environment and honours its arguments."""
    source = find_source(spec)
    if not isinstance(source, EnvSpec) or source.additional_wrappers or not isinstance(source.entry_point, str):
        return False
    task = TASKS.get(source.entry_point)
    if task is None:
        return False
    return {*source.kwargs, *spec.arguments} <= _BESIDE_THE_TASK | {field.name for field in dataclass_fields(task)}


class MujocoEngine:
    """Lanes of one of the six tasks.

    Parameters
    ----------
    spec : EnvironmentSpec
        One that `supports` accepts.
    lanes : int
        How many ``mjData``.

    Raises
    ------
    InputError
        Where Gymnasium refuses the arguments.
    """

    def __init__(self, spec: EnvironmentSpec, lanes: int) -> None:
        template = _template(spec.id, json.dumps(spec.to_json()["arguments"], sort_keys=True))
        self._model, self._task, self._frame_skip = template.model, template.task, template.frame_skip
        self._seconds = template.seconds
        self.time_limit, self.action_space = template.time_limit, template.action_space
        self._data = [mujoco.MjData(self._model) for _ in range(lanes)]
        self._columns = _Columns(self._data, self._task.fields)
        self._controls = [data.ctrl for data in self._data]
        self._states = [(data.qpos, data.qvel) for data in self._data]
        self._initial = self._data[0].qpos.copy(), self._data[0].qvel.copy()
        self._positions = np.zeros(lanes)
        self.observation_size = self._try_out(spec)

    def reset(self, lanes: IntArray, seeds: Sequence[int]) -> FloatArray:
        """Begin episodes; see `closerlook.simulation.lanes.Engine`."""
        chosen = lanes.tolist()
        for lane, seed in zip(chosen, seeds, strict=True):
            self._reset_one(lane, seed)
        fields = self._columns.gather(chosen)
        self._positions[lanes] = self._task.positions(fields)
        return self._task.observe(fields)

    def step(self, lanes: IntArray, actions: NDArray[Any]) -> StepResult:
        """Step lanes; see `closerlook.simulation.lanes.Engine`."""
        everyone = len(lanes) == len(self._data)
        chosen = None if everyone else lanes.tolist()
        self._simulate(chosen, actions)
        fields = self._columns.gather(chosen)
        where: Any = slice(None) if everyone else lanes
        positions = self._task.positions(fields).copy()
        velocities = (positions - self._positions[where]) / self._seconds
        self._positions[where] = positions
        rewards, terminated = self._task.judge(fields, velocities, actions)
        return StepResult(self._task.observe(fields), rewards, terminated, np.zeros(len(lanes), np.bool_))

    def save(self, lane: int) -> tuple[NDArray[np.float64], float]:
        """Return a lane's state: everything that a step depends on; see `closerlook.simulation.lanes.Engine`."""
        return get_state(self._model, self._data[lane]), float(self._positions[lane])

    def restore(self, lane: int, saved: tuple[NDArray[np.float64], float], seed: int) -> None:
        """Put a lane into a saved state; these tasks draw nothing but at resets."""
        state, self._positions[lane] = saved
        set_state(self._model, self._data[lane], state)

    def close(self) -> None:
        """Let go of the lanes."""
        self._data, self._controls = [], []

    def _try_out(self, spec: EnvironmentSpec) -> int:
        """Evaluate the task once, so that arguments it cannot use are told now; return the observation size."""
        fields, actions = self._columns.gather([0]), np.zeros((1, self._model.nu), np.float32)
        try:
            self._task.judge(fields, np.zeros(1), actions)
            return int(self._task.observe(fields).shape[1])
        except (TypeError, ValueError) as error:
            raise _unusable(spec, error) from error

    def _simulate(self, chosen: list[int] | None, actions: NDArray[Any]) -> None:
        data = self._data if chosen is None else [self._data[lane] for lane in chosen]
        controls = self._controls if chosen is None else [self._controls[lane] for lane in chosen]
        step, model, frame_skip = mujoco.mj_step, self._model, self._frame_skip
        finish = mujoco.mj_rnePostConstraint if self._task.needs_contact_forces else None
        for one, control, action in zip(data, controls, actions.astype(np.float64), strict=True):
            control[:] = action
            step(model, one, frame_skip)
            if finish is not None:
                finish(model, one)

    def _reset_one(self, lane: int, seed: int) -> None:
        """Draw an initial state from the generator of a seed, positions first."""
        generator, _ = np_random(seed)
        scale, (positions, velocities), (qpos, qvel) = self._task.reset_noise_scale, self._initial, self._states[lane]
        mujoco.mj_resetData(self._model, self._data[lane])
        qpos[:] = positions + generator.uniform(-scale, scale, positions.size)
        if self._task.normal_velocity_noise:
            qvel[:] = velocities + scale * generator.standard_normal(velocities.size)
        else:
            qvel[:] = velocities + generator.uniform(-scale, scale, velocities.size)
        mujoco.mj_forward(self._model, self._data[lane])


class _Columns:
    """Gathers fields of many ``mjData`` into one array, used again at the next call, of which each is some columns."""

    def __init__(self, data: Sequence[Any], names: Sequence[str]) -> None:
        self._views = [[getattr(one, name).reshape(-1) for name in names] for one in data]
        ends = np.cumsum([view.size for view in self._views[0]]).tolist()
        self._columns = [(name, slice(*ends)) for name, *ends in zip(names, [0, *ends[:-1]], ends, strict=True)]
        self._buffer = np.empty((len(data), ends[-1]))
        self._every = [view for views in self._views for view in views]

    def gather(self, chosen: Sequence[int] | None) -> Fields:
        """Return fields (L, size) of the chosen lanes, or of all where None."""
        picked = self._every if chosen is None else [view for lane in chosen for view in self._views[lane]]
        gathered = self._buffer if chosen is None else self._buffer[: len(chosen)]
        np.concatenate(picked, out=gathered.reshape(-1))
        return {name: gathered[:, columns] for name, columns in self._columns}


@lru_cache(maxsize=8)
def _template(environment_id: str, arguments: str) -> _Template:
    """Take model and settings from the environment that Gymnasium builds; compiling a model costs tens of steps."""
    spec = EnvironmentSpec(environment_id, json.loads(arguments))
    source = cast("EnvSpec", find_source(spec))
    built, time_limit = build_environment(spec)
    environment = cast("MujocoEnv", built.unwrapped)
    arguments_in_force = {**source.kwargs, **spec.arguments}
    try:
        task = _make_task(environment, arguments_in_force, TASKS[cast("str", source.entry_point)])
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(spec, error) from error
    template = _Template(
        model=environment.model,
        task=task,
        frame_skip=environment.frame_skip,
        seconds=float(environment.dt),
        time_limit=time_limit,
        action_space=environment.action_space,
    )
    built.close()
    return template


def _make_task(environment: MujocoEnv, arguments: dict[str, Any], task: type[Task]) -> Task:
    """Build the array functions with the constructor's defaults overlaid by the arguments."""
    defaults = {name: p.default for name, p in inspect.signature(type(environment)).parameters.items()}
    names = {field.name for field in dataclass_fields(task)}
    settings = {name: value for name, value in {**defaults, **arguments}.items() if name in names}
    model = environment.model
    if "main_body" in names:
        settings["main_body"] = int(model.body(settings["main_body"]).id)
    if "body_mass" in names:
        settings["body_mass"] = model.body_mass.copy()
    return task(**settings)


def _unusable(spec: EnvironmentSpec, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(
        f"environment {spec.id!r} cannot be used with the arguments {dict(spec.arguments)} ({reason})",
        "give them as Gymnasium's documentation describes them",
    )
