"""The name of an environment: what is needed to build it again in another process."""

import importlib
import multiprocessing
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import gymnasium
import numpy as np

from closerlook.arguments import SHORT_NAMES, is_finite
from closerlook.errors import InputError

LARGEST = 1e6
"""Largest magnitude of an argument that a file may give a task."""

_Bounds = tuple[float, float]
_FREE: _Bounds = (-LARGEST, LARGEST)
_NUMBERS: Mapping[str, _Bounds] = {
    "forward_reward_weight": _FREE,
    "ctrl_cost_weight": _FREE,
    "contact_cost_weight": _FREE,
    "healthy_reward": _FREE,
    "reset_noise_scale": (0.0, LARGEST),
}
_WHOLE: Mapping[str, _Bounds] = {"frame_skip": (1, 1000), "max_episode_steps": (1, 10**9), "main_body": (0, 1000)}
_PAIRS = (
    "healthy_z_range",
    "healthy_angle_range",
    "healthy_state_range",
    "contact_force_range",
    "contact_cost_range",
)
_FLAGS = (
    "terminate_when_unhealthy",
    "exclude_current_positions_from_observation",
    "include_cfrc_ext_in_observation",
    "include_cinert_in_observation",
    "include_cvel_in_observation",
    "include_qfrc_actuator_in_observation",
)
FROM_FILES = frozenset({*_NUMBERS, *_WHOLE, *_PAIRS, *_FLAGS})
"""Arguments of the six MuJoCo tasks that a file may give them. None names a file or a program, none makes a step
endless. Every other argument, and any of another environment, has to be given by the user."""

_LONGEST_NAME = 500
"""Characters of an environment's id."""

_arrived: dict[str, Any] = {}
"""What came along with the names of environments, in a process that cannot import it."""


Wrappers = tuple[tuple[str, Mapping[str, Any]], ...]
"""Names of wrappers with their arguments."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """An environment by name.

    A name travels to another process with what stands behind it there: what a script or a notebook has registered,
    and what it defines itself (``"__main__:function"``).

    Parameters
    ----------
    id : str
        A Gymnasium id (``"Hopper-v5"``), ``"module:Id"`` (the module is imported first), or
        ``"package.module:function"`` where the function returns a `gymnasium.Env`.
    arguments : mapping of str to JSON value
        Passed to the constructor.
    trusted : bool
        False for a name read from a file: it may not make Python import code.
    wrappers : tuple of (str, mapping)
        Wrappers of other libraries around it, the innermost first, by name and arguments: see
        `closerlook.simulation.wrappers`.

    Raises
    ------
    InputError
        Where the id is no text, or the arguments have no names.

    See Also
    --------
    closerlook.gradient_quality : takes one in place of an id.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.EnvironmentSpec("Hopper-v5", {"healthy_reward": 2.0}).id
    'Hopper-v5'
    """

    id: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = field(default=True, compare=False)
    wrappers: Wrappers = ()

    def __post_init__(self) -> None:
        """Refuse what is no name; NumPy's numbers among the arguments become Python's own."""
        name: object = self.id
        if not isinstance(name, str) or not name:
            raise InputError(
                f"the id of an environment must be a text (got {name!r:.60})",
                "give its Gymnasium id, or module:function",
            )
        if len(name) > _LONGEST_NAME:
            what = f"the id of an environment has {len(name):,} characters ({name[:60]!r}...)"
            raise InputError(what, f"give one of {_LONGEST_NAME} at most")
        arguments: object = self.arguments
        if not isinstance(arguments, Mapping) or not all(isinstance(key, str) for key in arguments):
            what = f"arguments of environment {name!r} are {arguments!r:.60}"
            raise InputError(what, "give a dictionary of them by name")
        object.__setattr__(self, "arguments", _plain(arguments))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with what the name stands for, where the other process might not know it."""
        return _arrive, (self.id, dict(self.arguments), self.trusted, _luggage(self), self.wrappers)

    def to_json(self) -> dict[str, Any]:
        """Return what `EnvironmentSpec(**...)` takes."""
        plain = {"id": self.id, "arguments": dict(self.arguments)}
        wrappers = [[name, dict(arguments)] for name, arguments in self.wrappers]
        return {**plain, "wrappers": wrappers} if wrappers else plain


def _plain(value: Any) -> Any:
    """Return a value with NumPy's numbers as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return type(value)(map(_plain, value)) if type(value) in {list, tuple} else value


def require_plain(spec: EnvironmentSpec) -> None:
    """Check that the arguments of an environment can be kept with results, and be told from one another by name.

    Raises
    ------
    InputError
        Where one is not a JSON value.
    """
    for name, value in spec.arguments.items():
        other = _not_json(value)
        if other is not None:
            what = f"argument {name} of environment {spec.id!r} is or holds a {type(other).__name__}"
            hint = "give numbers, texts, flags and lists of them, or name a function that builds the environment"
            raise InputError(what, hint)


def _not_json(value: Any) -> Any:
    """Return the first thing in a value that JSON has no form for, None where there is none."""
    if isinstance(value, Mapping):
        value = list(value.values()) if all(isinstance(key, str) for key in value) else value
    if isinstance(value, list | tuple):
        return next((found for found in map(_not_json, value) if found is not None), None)
    return None if isinstance(value, bool | int | float | str) else value


def _luggage(spec: EnvironmentSpec) -> Any:
    """Return what an id stands for here: a registered specification, or what the calling script itself defines."""
    module, _, name = spec.id.rpartition(":")
    if module and not (spec.trusted and _is_of_this_process(module)):
        return None
    own = getattr(sys.modules.get(module), name, None) if module else None
    if callable(own):
        return own
    registered = gymnasium.registry.get(name)
    if registered is not None and isinstance(registered.entry_point, str):
        module, _, name = registered.entry_point.partition(":")
        if _is_of_this_process(module):  # "__main__:Id" is another module there
            return replace(registered, entry_point=getattr(sys.modules.get(module), name, None))
    return registered


def _is_of_this_process(module: str) -> bool:
    """Whether other processes cannot import a module, or are not to: what it defines travels by value."""
    return module == "__main__" or module in cloudpickle.list_registry_pickle_by_value()


def _arrive(
    name: str, arguments: Mapping[str, Any], trusted: bool, luggage: Any, wrappers: Wrappers
) -> EnvironmentSpec:
    """Make the name of what has come along stand for the same here; what is known here already stays as it is."""
    elsewhere = multiprocessing.parent_process() is not None  # nobody but a worker's jobs registers anything in it
    if isinstance(luggage, gymnasium.envs.registration.EnvSpec):
        if elsewhere or luggage.id not in gymnasium.registry:
            gymnasium.registry[luggage.id] = luggage
    elif luggage is not None and elsewhere:
        _arrived[name] = luggage
    return EnvironmentSpec(name, arguments, trusted, wrappers)


def arrived(name: str) -> Any:
    """Return what came along with the name of an environment, None where nothing did."""
    return _arrived.get(name)


def is_argument_from_file(name: str, value: object) -> bool:
    """Whether a value read from a file may be given to one of the six tasks as the argument of this name.

    Parameters
    ----------
    name : str
        Of the argument.
    value : object
        As it was read.
    """
    if name in _FLAGS:
        return isinstance(value, bool)
    if name in _PAIRS:
        pair = value if isinstance(value, list | tuple) else ()
        return len(pair) == 2 and all(_is_within(one, _FREE) for one in pair) and pair[0] <= pair[1]
    if name in _WHOLE:
        return isinstance(value, int) and _is_within(value, _WHOLE[name])
    return name in _NUMBERS and _is_within(value, _NUMBERS[name])


_BEFORE = {f"{task.removesuffix('-v5')}-v4" for task in SHORT_NAMES.values()}
"""The version of the six tasks before, which Gymnasium still has."""
_OF_BEFORE = "use_contact_forces"
"""An argument that only they have: whether forces are observed."""


def require_from_file(spec: EnvironmentSpec) -> None:
    """Check that what a file says of an environment runs no code of its choosing, opens nothing and comes to an end.

    Raises
    ------
    InputError
        Where it names a module, or arguments that are not known to be harmless; the user may give it by ``--env``.
    """
    module = spec.id.rpartition(":")[0]
    if module:
        raise InputError(
            f"a file names the environment {spec.id!r}, which would run code of the module {module}",
            f"if you know that module, allow it by --env {spec.id}",
        )
    task, before = spec.id in SHORT_NAMES.values(), spec.id in _BEFORE
    for name, value in spec.arguments.items():
        known = before and name == _OF_BEFORE and isinstance(value, bool)
        if not known and not ((task or before) and is_argument_from_file(name, value)):
            raise InputError(
                f"a file gives environment {spec.id!r} the argument {name!r:.40}, which is not known to be harmless",
                f"give --env {spec.id} to measure without it, or in Python env=closerlook.EnvironmentSpec(...) with it",
            )


def _is_within(value: object, bounds: _Bounds) -> bool:
    return is_finite(value) and bounds[0] <= value <= bounds[1]  # type: ignore[operator]


def import_module(name: str) -> ModuleType:
    """Import a module of the user's; the folder the program was started in counts, as it does for a script."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(name)
