"""Any Gymnasium environment as lanes: a plain list of environments, stepped one after the other."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.utils import EzPickle
from gymnasium.wrappers import (
    FlattenObservation,
    NormalizeObservation,
    NormalizeReward,
    OrderEnforcing,
    PassiveEnvChecker,
    RecordEpisodeStatistics,
    TimeLimit,
)
from numpy.typing import NDArray

from closerlook.agents.environment import EnvironmentSpec, arrived, import_module, require_from_file, require_plain
from closerlook.errors import InputError, in_one_line, users_code
from closerlook.simulation.answers import read_reset, read_step
from closerlook.simulation.generators import find_generators, reseed
from closerlook.simulation.lanes import FloatArray, IntArray, StepResult
from closerlook.simulation.mujoco_state import copy_state
from closerlook.simulation.wrappers import wrap

AnyEnv = gymnasium.Env[Any, Any]

_STEPS_ONCE = {
    kind.step
    for kind in (
        gymnasium.Wrapper,
        gymnasium.ActionWrapper,
        gymnasium.ObservationWrapper,
        gymnasium.RewardWrapper,
        NormalizeObservation,
        NormalizeReward,
        RecordEpisodeStatistics,
    )
}
"""Ways to step that step what is wrapped exactly once."""

_NARROW = 2**31
"""Seeds below it are taken by everything that takes seeds."""
_STATISTICS = {
    NormalizeObservation: "take it off and give its obs_rms.mean and .var as observation_mean and observation_var of "
    "the agent, or set its update_running_mean to False once they are loaded",
    NormalizeReward: "take it off, as rewards are measured unscaled, or set its update_running_mean to False",
}
_NAMES = "give a Gymnasium id such as Hopper-v5, module:Id, or package.module:function"
_STEP = "fix its step(), which returns (observation, reward, terminated, truncated, info)"
_STEP_ON = (
    "let its step() go on past its own limit, or leave the limit to Gymnasium (max_episode_steps), which is lifted"
)
_OUTSIDE = 'give the agent action_transform="clip" or "squash", as its training did, or let step() take such actions'
_RESET = "fix its reset(), which returns (observation, info)"
_MODULES = f"{_NAMES}, and check the folder you are in"


def find_source(spec: EnvironmentSpec) -> EnvSpec | Callable[..., AnyEnv]:
    """Return what builds the environment: the registered specification, or the function named.

    Raises
    ------
    InputError
        Where there is no such id, module, or function, or arguments are no JSON values; where a file says what only a
        user may.
    """
    module_name, _, name = spec.id.rpartition(":")
    require_plain(spec)
    if not spec.trusted:
        require_from_file(spec)
    brought = arrived(spec.id)
    if brought is not None:
        return cast("Callable[..., AnyEnv]", brought)
    try:
        module = import_module(module_name) if module_name else None
        found = getattr(module, name, None)
        return cast("Callable[..., AnyEnv]", found) if callable(found) else gymnasium.spec(name)
    except gymnasium.error.Error as error:
        raise InputError(f"unknown environment {spec.id!r} ({str(error).rstrip('.')})", _NAMES) from error
    except (Exception, SystemExit) as error:  # a module is anybody's code
        reason = in_one_line(error)
        raise InputError(f"the module of environment {spec.id!r} cannot be imported ({reason})", _MODULES) from error


def is_mujoco(spec: EnvironmentSpec) -> bool:
    """Whether a registered environment is one of Gymnasium's MuJoCo ones; what a function would build is not known."""
    source = find_source(spec)
    made: Any = source.entry_point if isinstance(source, EnvSpec) else source
    with suppress(Exception):  # a module is anybody's code; building the environment tells what is wrong with it
        made = load_env_creator(made) if isinstance(made, str) else made
    return isinstance(made, type) and issubclass(made, MujocoEnv)


def is_gymnasiums_own(spec: EnvironmentSpec) -> bool:
    """Whether an environment is one of Gymnasium's, without wrappers of others: all these draw from ``np_random``."""
    source = find_source(spec)
    made = source.entry_point if isinstance(source, EnvSpec) and not source.additional_wrappers else None
    return isinstance(made, str) and made.startswith("gymnasium.envs.")


def build_environment(spec: EnvironmentSpec) -> tuple[AnyEnv, int | None]:
    """Build one environment without its time limit, order enforcement and checks.

    Parameters
    ----------
    spec : EnvironmentSpec
        ``max_episode_steps`` among its arguments sets the time limit, as in `gymnasium.make`.

    Returns
    -------
    gymnasium.Env, int or None
        The environment, and the time limit that was taken off it.

    Raises
    ------
    InputError
        Where it is unknown or its constructor refuses the arguments.
    """
    source = find_source(spec)
    try:
        if isinstance(source, EnvSpec):
            built, limit = _from_registry(source, dict(spec.arguments))
        else:
            built, limit = _bare(source(**spec.arguments))
        # wrappers of other libraries stand where those libraries put them, inside of the flattening
        wrapped, limit = wrap(built, limit, spec.wrappers)
        return _flat(wrapped), limit
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the constructor is anybody's code
        raise InputError(
            f"environment {spec.id!r} cannot be built ({in_one_line(error)})",
            f"check its arguments {dict(spec.arguments)}",
        ) from error


def _flat(environment: AnyEnv) -> AnyEnv:
    """Show observations as numbers: choices as one-hot codes, the parts of several side by side."""
    space = environment.observation_space
    return environment if isinstance(space, Box) or not space.is_np_flattenable else FlattenObservation(environment)


def _from_registry(source: EnvSpec, arguments: dict[str, Any]) -> tuple[AnyEnv, int | None]:
    # the limit is taken off and counted by the lockstep, so that episodes can go on past it
    limit = arguments.pop("max_episode_steps", source.max_episode_steps)
    source = copy.deepcopy(source)
    source.order_enforce = False
    env, inner = _bare(gymnasium.make(source, max_episode_steps=-1, disable_env_checker=True, **arguments))
    return env, inner if limit in (None, -1) else int(limit)


def _bare(env: AnyEnv) -> tuple[AnyEnv, int | None]:
    """Take time limits, order enforcement and checks off an environment, under wrappers that step once a step too."""
    if not isinstance(env, gymnasium.Env):
        raise TypeError(f"a {type(env).__name__} is not a gymnasium.Env")
    bare, limits = _without_limits(env)
    # limits within wrappers that step once for each step count the same steps
    for layer in _layers(bare):
        if type(layer).step not in _STEPS_ONCE:  # a limit within counts other steps, as where actions are repeated
            break
        assert isinstance(layer, gymnasium.Wrapper)
        layer.env, inner = _without_limits(layer.env)
        limits += inner
    return bare, min(limits, default=None)


def _without_limits(env: AnyEnv) -> tuple[AnyEnv, list[int]]:
    """Take off the outermost wrappers that only limit or check, and return the limits."""
    limits = []
    while isinstance(env, TimeLimit | OrderEnforcing | PassiveEnvChecker):
        if isinstance(env, TimeLimit):
            limits.append(env._max_episode_steps)
        env = env.env
    return env, limits


class GymnasiumEngine:
    """Lanes of any Gymnasium environment with a Box of observations and a Box or a Discrete space of actions.

    Parameters
    ----------
    spec : EnvironmentSpec
        What to build.
    lanes : int
        How many copies.

    Raises
    ------
    InputError
        Where the environment cannot be built, or has other spaces; later, where it raises anything or answers
        otherwise than `gymnasium.Env` says.
    """

    def __init__(self, spec: EnvironmentSpec, lanes: int) -> None:
        self._name = f"environment {spec.id!r}"
        built = [build_environment(spec) for _ in range(lanes)]
        self._environments = [environment for environment, _ in built]
        self.time_limit = built[0][1]
        first = self._environments[0]
        _require_forgetful(spec, first)
        self._past_limit = np.zeros(lanes, np.bool_)
        self._narrow_seeds = False  # until a reset refuses one of 63 bits
        self.action_space = first.action_space
        self.observation_size = _observation_size(spec, first)
        self._to_actions = _action_reader(spec, self.action_space)

    def reset(self, lanes: IntArray, seeds: Sequence[int]) -> FloatArray:
        """Begin episodes; see `closerlook.simulation.lanes.Engine`.

        Parameters
        ----------
        lanes : ndarray, (L,), int64
            Which lanes.
        seeds : sequence of int, (L,)
            Of their episodes.
        """
        observations = np.empty((len(lanes), self.observation_size))
        self._past_limit[lanes] = False
        with users_code(self._name, _RESET):
            for row, (lane, seed) in enumerate(zip(lanes.tolist(), seeds, strict=True)):
                answer = self._reset(self._environments[lane], seed)
                observations[row] = read_reset(answer, self._name, self.observation_size)
        return observations

    def _reset(self, environment: AnyEnv, seed: int) -> Any:
        """Reset an environment; one that refuses seeds of 63 bits, as NumPy's older generators do, by their last 31."""
        if self._narrow_seeds:
            return environment.reset(seed=seed % _NARROW)
        try:
            return environment.reset(seed=seed)
        except Exception as error:
            # environments that hand seeds to older generators refuse more than 31 bits
            if seed < _NARROW:
                raise
            try:
                answer = environment.reset(seed=seed % _NARROW)
            except Exception:
                raise error from None
            self._narrow_seeds = True
            return answer

    def step(self, lanes: IntArray, actions: NDArray[Any]) -> StepResult:
        """Step lanes; see `closerlook.simulation.lanes.Engine`.

        Parameters
        ----------
        lanes : ndarray, (L,), int64
            Which lanes, in rising order.
        actions : ndarray, (L, A) or (L,)
            As the environment takes them.
        """
        observations, rewards = np.empty((len(lanes), self.observation_size)), np.empty(len(lanes))
        terminated, truncated = np.empty(len(lanes), np.bool_), np.empty(len(lanes), np.bool_)
        environments, name, size = self._environments, self._name, self.observation_size
        taken = self._to_actions(actions)
        row = 0
        try:
            with users_code(name, _STEP_ON if self._past_limit[lanes].any() else _STEP):
                for row, (lane, action) in enumerate(zip(lanes.tolist(), taken, strict=True)):
                    answer = read_step(environments[lane].step(action), name, size)
                    observations[row], rewards[row], terminated[row], truncated[row] = answer
        except InputError as error:
            space = self.action_space
            if error.__cause__ is None or not isinstance(space, Box) or space.contains(taken[row]):
                raise
            raise InputError(f"{error.what}, at an action outside of its action space", _OUTSIDE) from error.__cause__
        self._past_limit[lanes] |= truncated
        return StepResult(observations, rewards, terminated, truncated)

    def save(self, lane: int) -> AnyEnv:
        """Return a copy of a lane's environment; see `closerlook.simulation.lanes.Engine`."""
        return self._copy(self._environments[lane])

    def restore(self, lane: int, saved: AnyEnv, seed: int) -> None:
        """Put a copy of a saved environment on a lane, with generators of its own.

        Parameters
        ----------
        lane : int
            Where.
        saved : gymnasium.Env
            What `save` returned.
        seed : int
            Of what is drawn from there on.
        """
        self._environments[lane] = copied = self._copy(saved)
        reseed(copied, seed)

    def _copy(self, environment: AnyEnv) -> AnyEnv:
        """Copy an environment in the state it is in.

        One that is pickled by its constructor's arguments would be built anew, in another state; of those only
        MuJoCo's own are known to hold nothing but the simulator's state.
        """
        try:
            copied = copy.deepcopy(environment)
        except Exception as error:  # what an environment holds is anybody's
            raise self._not_copied(in_one_line(error)) from error
        # deepcopy makes a new mjData: its state, and what is derived from it, are copied over
        if isinstance(environment, MujocoEnv) and isinstance(copied, MujocoEnv):
            copy_state(environment.model, environment.data, copied.data)
        elif any(isinstance(layer, EzPickle) for layer in _layers(environment)):
            raise self._not_copied("a copy would be built anew, by EzPickle")
        # a generator that a closure holds is the same object in the copy
        shared = {id(source) for source in find_generators(environment)}
        if any(id(source) in shared for source in find_generators(copied)):
            raise self._not_copied("copies would draw from one random generator, which a function of it holds")
        return copied

    def _not_copied(self, reason: str) -> InputError:
        what = f"{self._name} cannot be copied, so not be restarted ({reason})"
        return InputError(what, "leave restarts out (--restarts 0), or give it a __deepcopy__")

    def close(self) -> None:
        """Close every environment."""
        with users_code(self._name, "fix its close()"):
            for environment in self._environments:
                environment.close()


def _layers(environment: AnyEnv) -> Iterator[AnyEnv]:
    """Yield an environment's wrappers, outermost first, and itself."""
    while isinstance(environment, gymnasium.Wrapper):
        yield environment
        environment = environment.env
    yield environment


def _require_forgetful(spec: EnvironmentSpec, environment: AnyEnv) -> None:
    """Refuse wrappers whose statistics go on across resets: what a lane earned would depend on what ran on it before.

    Raises
    ------
    InputError
        Where there is one, saying how to give its statistics.
    """
    for layer in _layers(environment):
        if isinstance(layer, NormalizeObservation | NormalizeReward) and layer.update_running_mean:
            raise InputError(
                f"{type(layer).__name__} of environment {spec.id!r} remembers across resets, so that what it answers "
                "depends on the episodes before",
                _STATISTICS[NormalizeObservation if isinstance(layer, NormalizeObservation) else NormalizeReward],
            )


def _observation_size(spec: EnvironmentSpec, environment: AnyEnv) -> int:
    space = environment.observation_space
    if not isinstance(space, Box):
        raise InputError(
            f"environment {spec.id!r} has observations of type {type(space).__name__}, only Box is supported",
            "wrap it in gymnasium.wrappers.FlattenObservation inside a function and name that",
        )
    size = int(np.prod(space.shape, dtype=int))
    if size == 0:
        raise InputError(f"observations of environment {spec.id!r} have no components", "name one that tells something")
    return size


def _action_reader(
    spec: EnvironmentSpec, space: gymnasium.spaces.Space[Any]
) -> Callable[[NDArray[Any]], Sequence[Any] | NDArray[Any]]:
    """Return what turns rows of actions into what the environments' ``step`` takes."""
    if isinstance(space, Discrete):
        kind, start, n = space.dtype.type, int(space.start), int(space.n)

        def choose(actions: NDArray[Any]) -> list[Any]:
            if actions.size and not (actions.min() >= 0 and actions.max() < n):
                wrong = actions[(actions < 0) | (actions >= n)][0]
                what = f"the policy chose action {wrong}, and environment {spec.id!r} has those from 0 to {n - 1}"
                raise InputError(what, "give a distribution over as many actions as there are")
            return [kind(action + start) for action in actions.tolist()]

        return choose
    if isinstance(space, Box):
        shape, dtype = space.shape, space.dtype
        if 0 in shape:
            raise InputError(f"actions of environment {spec.id!r} have no components", "name one with a choice to make")
        return lambda actions: actions.reshape(-1, *shape).astype(dtype, copy=False)
    if isinstance(space, MultiDiscrete | MultiBinary):
        several, offset = space.shape, getattr(space, "start", 0)
        each: Any = space.nvec if isinstance(space, MultiDiscrete) else 2

        def choose_each(actions: NDArray[Any]) -> NDArray[Any]:
            own, there = actions[0].size if len(actions) else 0, int(np.prod(several))
            if len(actions) and own != there:
                what = f"the policy makes {own} choices, environment {spec.id!r} takes {there}"
                raise InputError(what, "give a distribution over as many choices as there are")
            choices = actions.reshape(-1, *several)
            beyond = (choices < 0) | (choices >= each)
            if beyond.any():
                what = f"the policy chose {choices[beyond][0]:g}, and environment {spec.id!r} takes less there"
                raise InputError(what, "give a distribution over as many choices as there are, others masked")
            return np.asarray(choices.astype(space.dtype) + offset)

        return choose_each
    raise InputError(
        f"environment {spec.id!r} has actions of type {type(space).__name__}, which is not supported",
        "wrap it in an environment with one of these and name that",
    )
