"""The six v5 locomotion tasks as lanes: states of one model, each brought into one ``mjData``, stepped, taken out.

A lane is a row of numbers: time, positions, velocities, the solver's warm start and the controls are all that a step of
these models depends on. With one ``mjData`` for all of them its kilobytes of work space stay in the processor's
cache, where those of 64 would not. Everything but the step itself is done for all lanes at once by
`closerlook.simulation.tasks`. Model, spaces and default arguments come from the environment that the installed
Gymnasium builds, so nothing of it is repeated here.
"""

import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from itertools import pairwise
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
from closerlook.simulation.mujoco_state import LaneStates
from closerlook.simulation.tasks import TASKS, Fields, Task
from closerlook.simulation.timers import mujoco_clock

_BESIDE_THE_TASK = frozenset({"xml_file", "frame_skip", "default_camera_config", "max_episode_steps"})
"""Arguments honored through the model that Gymnasium builds, or that change nothing here."""


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
    """Whether this engine has the environment and honors its arguments."""
    source = find_source(spec)
    if (
        spec.wrappers
        or not isinstance(source, EnvSpec)
        or source.additional_wrappers
        or not isinstance(source.entry_point, str)
    ):
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
        How many states.

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
        self._data = mujoco.MjData(self._model)
        self._initial = np.concatenate((self._data.qpos, self._data.qvel))
        self._states = LaneStates(self._model, self._data, lanes)
        self._fields = _Fields(self._states, self._data, self._task.fields)
        self._positions = np.zeros(lanes)
        self.observation_size = self._try_out(spec)

    def reset(self, lanes: IntArray, seeds: Sequence[int]) -> FloatArray:
        """Begin episodes; see `closerlook.simulation.lanes.Engine`.

        Parameters
        ----------
        lanes : ndarray, (L,), int64
            Which lanes.
        seeds : sequence of int, (L,)
            Of their episodes.
        """
        noise = np.array([self._draw_noise(np_random(seed)[0]) for seed in seeds])
        self._states.begin(lanes, self._initial + noise)
        for lane in lanes.tolist():
            self._derive(lane)
        fields = self._fields.of(lanes)
        self._positions[lanes] = self._task.positions(fields)
        return self._task.observe(fields)

    def step(self, lanes: IntArray, actions: NDArray[Any]) -> StepResult:
        """Step lanes; see `closerlook.simulation.lanes.Engine`.

        Parameters
        ----------
        lanes : ndarray, (L,), int64
            Which lanes, in rising order.
        actions : ndarray, (L, A)
            As the environment takes them.
        """
        where: Any = slice(None) if len(lanes) == len(self._positions) else lanes
        self._states.columns["ctrl"][where] = actions
        with mujoco_clock().stopped():
            self._simulate(range(len(self._positions)) if isinstance(where, slice) else lanes.tolist())
        fields = self._fields.of(where)
        positions = self._task.positions(fields)
        # mean velocity over the frames of a step, as Gymnasium's tasks have it
        velocities = (positions - self._positions[where]) / self._seconds
        self._positions[where] = positions
        rewards, terminated = self._task.judge(fields, velocities, actions)
        return StepResult(self._task.observe(fields), rewards, terminated, np.zeros(len(lanes), np.bool_))

    def save(self, lane: int) -> tuple[NDArray[np.float64], float]:
        """Return a lane's state: everything that a step depends on; see `closerlook.simulation.lanes.Engine`."""
        return self._states.rows[lane].copy(), float(self._positions[lane])

    def restore(self, lane: int, saved: tuple[NDArray[np.float64], float], seed: int) -> None:
        """Put a lane into a saved state; these tasks draw nothing but at resets.

        Parameters
        ----------
        lane : int
            Where.
        saved : (ndarray, float)
            What `save` returned: the state's row, and the position along x.
        seed : int
            Not used.
        """
        self._states.rows[lane][:], self._positions[lane] = saved

    def close(self) -> None:
        """Let go of nothing: what an engine holds is small."""

    def _try_out(self, spec: EnvironmentSpec) -> int:
        """Evaluate the task once, so that arguments it cannot use are told now; return the observation size."""
        fields, actions = self._fields.of(np.array([0])), np.zeros((1, self._model.nu), np.float32)
        try:
            self._draw_noise(np_random(0)[0])
            self._task.judge(fields, np.zeros(1), actions)
            return int(self._task.observe(fields).shape[1])
        except (TypeError, ValueError, OverflowError) as error:
            raise _unusable(spec, error) from error

    def _simulate(self, lanes: Iterable[int]) -> None:
        """Step lanes one after the other under their controls."""
        # local names: this loop runs once for every lane and step
        bring, take, rows, kind = mujoco.mj_setState, mujoco.mj_getState, self._states.rows, self._states.kind
        step, model, data, frame_skip = mujoco.mj_step, self._model, self._data, self._frame_skip
        finish = mujoco.mj_rnePostConstraint if self._task.needs_contact_forces else None
        keep = self._fields.keep if self._fields.derived else None
        for lane in lanes:
            row = rows[lane]
            bring(model, data, row, kind)
            step(model, data, frame_skip)
            take(model, data, row, kind)
            if finish is not None:
                finish(model, data)
            if keep is not None:
                keep(lane)

    def _draw_noise(self, source: np.random.Generator) -> FloatArray:
        """Draw what a reset adds to the initial positions, then to the velocities, (nq + nv,)."""
        # in the order in which Gymnasium's reset_model draws
        scale, nq, nv = self._task.reset_noise_scale, int(self._model.nq), int(self._model.nv)
        if not self._task.normal_velocity_noise:
            return source.uniform(-scale, scale, nq + nv)
        return np.concatenate((source.uniform(-scale, scale, nq), scale * source.standard_normal(nv)))

    def _derive(self, lane: int) -> None:
        """Find what follows from the positions and velocities that a lane begins with; no force has been felt yet."""
        self._states.bring(lane)
        mujoco.mj_forward(self._model, self._data)
        # no step has been made, so no contact force has been felt
        self._data.cfrc_ext[:] = 0.0
        self._states.take(lane)
        self._fields.keep(lane)


class _Fields:
    """Fields of ``mjData`` for many lanes: those of the state are read from it, derived ones kept after each step."""

    def __init__(self, states: LaneStates, data: Any, names: Sequence[str]) -> None:
        self._state = {name: states.columns[name] for name in names if name in states.columns}
        self.derived = [name for name in names if name not in states.columns]
        views = [getattr(data, name).reshape(-1) for name in self.derived]
        ends = np.cumsum([0, *(view.size for view in views)]).tolist()
        self._columns = {name: slice(*part) for name, part in zip(self.derived, pairwise(ends), strict=True)}
        self._kept = np.zeros((len(states.rows), ends[-1]))
        self._rows, self._views = list(self._kept), views

    def keep(self, lane: int) -> None:
        """Keep the derived fields as they are now as those of a lane."""
        if self.derived:
            np.concatenate(self._views, out=self._rows[lane])

    def of(self, lanes: Any) -> Fields:
        """Return fields (L, size) of some lanes."""
        kept = {name: self._kept[lanes, columns] for name, columns in self._columns.items()}
        return {name: columns[lanes] for name, columns in self._state.items()} | kept


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
