"""Which engine runs an environment, and what a result must record of the environment it came from."""

import hashlib
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box

from closerlook.agents.environment import EnvironmentSpec
from closerlook.simulation.gymnasium_engine import AnyEnv, GymnasiumEngine, build_environment, find_source
from closerlook.simulation.lanes import BoolArray, Engine, FloatArray, IntArray, StepResult
from closerlook.simulation.mujoco_engine import MujocoEngine, supports

__all__ = [
    "BoolArray",
    "Engine",
    "FloatArray",
    "IntArray",
    "StepResult",
    "describe_environment",
    "make_engine",
]


def make_engine(spec: EnvironmentSpec, lanes: int) -> Engine:
    """Build lanes of an environment: the MuJoCo engine where it is supported, else the Gymnasium engine.

    Parameters
    ----------
    spec : EnvironmentSpec
        The environment and its constructor arguments.
    lanes : int
        How many copies.

    Raises
    ------
    InputError
        Where the environment is unknown, cannot be built, or has spaces that are not supported.
    """
    return MujocoEngine(spec, lanes) if supports(spec) else GymnasiumEngine(spec, lanes)


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
        As `make_engine`.
    """
    engine = make_engine(spec, 1)
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
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}


def _fingerprint(spec: EnvironmentSpec, environment: AnyEnv) -> str:
    """Hash the files that define the environment's class, its wrappers, its factory and its model."""
    digest = hashlib.blake2b(digest_size=16)
    source = find_source(spec)
    definitions: list[Any] = [] if isinstance(source, EnvSpec) else [source]
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
    try:
        return inspect.getsource(definition).encode()
    except (OSError, TypeError):  # built in an interactive session, or not written in Python
        return repr(getattr(definition, "__qualname__", definition)).encode()
