"""Which engine runs an environment, and what a result must record of the environment it came from."""

import hashlib
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, MultiBinary, MultiDiscrete

from closerlook.agents.environment import EnvironmentSpec
from closerlook.simulation.gymnasium_engine import (
    AnyEnv,
    GymnasiumEngine,
    build_environment,
    find_source,
    is_mujoco,
)
from closerlook.simulation.lanes import BoolArray, Engine, FloatArray, IntArray, StepResult
from closerlook.simulation.mujoco_engine import MujocoEngine, supports
from closerlook.simulation.replays import require_repeatable

__all__ = [
    "BoolArray",
    "Engine",
    "EngineChoice",
    "FloatArray",
    "IntArray",
    "StepResult",
    "describe_environment",
    "lanes_at_once",
    "lend_engine",
    "make_engine",
]

EngineChoice = Literal["fastest", "gymnasium"]
"""The MuJoCo engine where it is supported, or the Gymnasium engine in any case; the numbers are the same."""

LANES = 64
"""Lanes that step together where nothing speaks for fewer: steps of numpy are shared by so many."""
_LANES_OF_SIMULATORS = 32
"""Where each lane is a MuJoCo environment with data of its own: those of 64 do not fit a processor's cache."""
_MOST_KEPT = 2
_kept: dict[str, Engine] = {}


def make_engine(spec: EnvironmentSpec, lanes: int, choice: EngineChoice = "fastest") -> Engine:
    """Build lanes of an environment: the MuJoCo engine where it is supported, else the Gymnasium engine.

    Parameters
    ----------
    spec : EnvironmentSpec
        The environment and its constructor arguments.
    lanes : int
        How many copies.
    choice : {"fastest", "gymnasium"}
        Whether the Gymnasium engine is wanted in any case.

    Raises
    ------
    InputError
        Where the environment is unknown, cannot be built, or has spaces that are not supported.
    """
    fast = choice == "fastest" and supports(spec)
    return MujocoEngine(spec, lanes) if fast else GymnasiumEngine(spec, lanes)


def lanes_at_once(spec: EnvironmentSpec, choice: EngineChoice = "fastest") -> int:
    """Return how many streams of a policy are fastest stepped together; errors as for `make_engine`.

    Parameters
    ----------
    spec : EnvironmentSpec
        The environment.
    choice : {"fastest", "gymnasium"}
        Which engine.
    """
    own = choice == "fastest" and supports(spec)
    return _LANES_OF_SIMULATORS if not own and is_mujoco(spec) else LANES


@contextmanager
def lend_engine(spec: EnvironmentSpec, lanes: int, choice: EngineChoice = "fastest") -> Iterator[Engine]:
    """Lend an engine, one that an earlier borrower gave back if there is one: building lanes takes many steps' time.

    Only lanes of the six MuJoCo tasks are kept, on either engine: a reset leaves nothing in them, while an environment
    of somebody's may remember, or be defined anew under the same name. After an error the engine is closed, not kept.
    Errors as for `make_engine`.

    Parameters
    ----------
    spec : EnvironmentSpec
        The environment.
    lanes : int
        How many.
    choice : {"fastest", "gymnasium"}
        Which engine.
    """
    name = json.dumps([spec.to_json(), lanes, choice], sort_keys=True, default=repr)
    engine = _kept.pop(name, None) or make_engine(spec, lanes, choice)
    try:
        yield engine
    except BaseException:
        engine.close()
        raise
    if not supports(spec):
        engine.close()
        return
    _kept[name] = engine
    while len(_kept) > _MOST_KEPT:
        _kept.pop(next(iter(_kept))).close()


def describe_environment(spec: EnvironmentSpec) -> dict[str, Any]:
    """Describe an environment as JSON values, for the keys and the records of results.

    Returns
    -------
    dict
        ``id``, ``arguments``, ``engine``, ``observation_size``, ``action_space``, ``time_limit``, ``versions`` of the
        simulators, and ``source``: a fingerprint of the code (and of the model file) behind it.

    Raises
    ------
    InputError
        As `make_engine`; and where what the environment answers depends on the episodes before.
    """
    engine = make_engine(spec, 2)
    if isinstance(engine, GymnasiumEngine):
        require_repeatable(engine, spec.id)
    environment, _ = build_environment(spec)
    packages = ["gymnasium", "numpy"] + (["mujoco"] if isinstance(environment.unwrapped, MujocoEnv) else [])
    described = {
        **spec.to_json(),
        "engine": "mujoco" if isinstance(engine, MujocoEngine) else "gymnasium",
        "observation_size": engine.observation_size,
        "action_space": _describe_space(engine.action_space),
        "time_limit": engine.time_limit,
        "versions": {package: version(package) for package in packages},
        "source": _fingerprint(spec, environment),
    }
    engine.close()
    environment.close()
    return described


def _describe_space(space: Any) -> dict[str, Any]:
    if isinstance(space, Box):
        bounds = {"low": np.ravel(space.low).tolist(), "high": np.ravel(space.high).tolist()}
        # how actions come into other types has changed: no answer stored before is taken for one of now
        conversion = {} if space.dtype == np.float32 else {"conversion": "within the box, in its own type"}
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds, **conversion}
    if isinstance(space, MultiDiscrete):
        return {"type": "MultiDiscrete", "n": np.ravel(space.nvec).tolist(), "start": np.ravel(space.start).tolist()}
    if isinstance(space, MultiBinary):
        return {"type": "MultiBinary", "n": [2] * int(np.prod(space.shape))}
    return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}


def _fingerprint(spec: EnvironmentSpec, environment: AnyEnv) -> str:
    """Hash the files that define the environment's class, its wrappers, its factory and its model."""
    digest = hashlib.blake2b(digest_size=16)
    source = find_source(spec)
    definitions: list[Any] = [source]
    if isinstance(source, EnvSpec):
        definitions = [source.entry_point] if callable(source.entry_point) else []
        registered = [source.entry_point, source.kwargs, source.additional_wrappers, source.max_episode_steps]
        digest.update(json.dumps(registered, sort_keys=True, default=repr).encode())
    layer: Any = environment
    while layer is not environment.unwrapped:
        definitions.append(type(layer))
        layer = layer.env
    for definition in [*definitions, *type(environment.unwrapped).__mro__]:
        if definition is not object:
            digest.update(_code(definition))
    if isinstance(environment.unwrapped, MujocoEnv):
        digest.update(Path(environment.unwrapped.fullpath).read_bytes())
    return digest.hexdigest()


def _code(definition: Any) -> bytes:
    """Return a definition's name and the file that holds it, whose constants it may use; else its own source."""
    name = getattr(definition, "__qualname__", repr(definition)).encode()
    with suppress(OSError, TypeError):
        return name + Path(inspect.getfile(definition)).read_bytes()
    with suppress(OSError, TypeError):
        return inspect.getsource(definition).encode()
    return name
