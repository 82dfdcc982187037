"""Which environment an imported agent runs in: by its name, the version that is there, and the wrappers around it."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
from gymnasium import spaces as gym_spaces
from gymnasium.envs.registration import EnvSpec

from closerlook.agents.environment import EnvironmentSpec, require_from_file
from closerlook.agents.importers.request import Settings
from closerlook.agents.importers.sb3_folder import Model, environment_in, keywords_of
from closerlook.agents.importers.spaces import Space
from closerlook.errors import InputError

Wrappers = tuple[tuple[str, Mapping[str, Any]], ...]
_MOST_STACKED = 100
"""Frames that are believed to be stacked."""

_AS_BEFORE: Mapping[str, Mapping[str, Any]] = {"Ant-v4": {"use_contact_forces": True}}
"""Arguments with which a version observes what earlier versions did."""


_STEPS_AS_BEFORE = {"Hopper-v5", "HalfCheetah-v5", "Swimmer-v5"}
"""Versions that move as the earlier ones did (Walker2d, Ant and Humanoid do not), and are simulated fastest."""


@dataclass(frozen=True)
class _Built:
    """An environment that can be built here."""

    spec: EnvironmentSpec
    observations: Any
    limit: int | None


def environment_of(
    model: Model, settings: Settings, spaces: Sequence[Space], given: EnvironmentSpec | None
) -> EnvironmentSpec | None:
    """Find the environment an agent is measured on.

    Parameters
    ----------
    model : Model
        Whose files may name it.
    settings : Settings
        The zoo's among them: wrappers and stacked frames. Told what was assumed.
    spaces : (Space, Space)
        Of observations and actions, as the agent has them.
    given : EnvironmentSpec or None
        What the caller wants.

    Returns
    -------
    EnvironmentSpec or None
        The one given, or the nearest to the one it was trained on that is there and fits; None where no name is known.
    """
    live = model.live.environment if model.live is not None else None
    if isinstance(live, str) and given is None:
        settings.missing["environment"] = live
        return None
    if isinstance(live, EnvironmentSpec) and given is None:
        return replace(live, wrappers=_completed(live.wrappers, _build(live), spaces[0]))
    named, source = _named(model)
    arguments = model.settings("env_kwargs.yml")
    if not arguments:
        written = model.settings("args.yml").get("env_kwargs")
        arguments = written if isinstance(written, dict) else {}
    wrappers = _wrappers(settings)
    if given is not None:
        if named is not None and given.id != named:
            settings.notices.append(f"it was trained on {named}, and is measured on {given.id}, as asked")
        built = _build(given) if given.trusted and ":" not in given.id else None
        return replace(given, wrappers=_completed(wrappers, built, spaces[0]))
    if named is None:
        settings.missing["environment"] = "the file does not say what it was trained on; give it (--env)"
        return None
    if source:
        settings.assumed["environment"] = f"{named} ({source})"
    wanted = EnvironmentSpec(named, dict(arguments), trusted=False)
    built = _nearest(wanted, wrappers, spaces[0])
    if built is None:
        settings.notices.append(_why_not(wanted))
        return replace(wanted, wrappers=wrappers)
    if built.spec.id != named:
        settings.notices.append(f"it was trained on {named}, which is not there; it is measured on {built.spec.id}")
    return replace(built.spec, wrappers=_completed(wrappers, built, spaces[0]))


def _why_not(wanted: EnvironmentSpec) -> str:
    """Say why an environment that a file names is not built."""
    try:
        require_from_file(wanted)
    except InputError as error:
        return str(error)
    return f"it was trained on {wanted.id}, of which no version here has its observations; give --env"


def _named(model: Model) -> tuple[str | None, str]:
    """Return the environment's id, and where it was taken from if not from the training's own arguments."""
    written = model.settings("args.yml").get("env")
    if isinstance(written, str):
        return written, ""
    for name in (model.name, *(folder.name for folder in model.near)):
        found = environment_in(name)
        if found is not None:
            return found, "by the file's name"
    return None, ""


def _wrappers(settings: Settings) -> Wrappers:
    """Return the wrappers the zoo's settings name: text, a list of names, or of mappings from a name to arguments."""
    said = settings.value("env_wrapper")
    listed = said if isinstance(said, list) else [said] if said else []
    found: list[tuple[str, Mapping[str, Any]]] = []
    for one in listed:
        entries = one if isinstance(one, dict) else {str(one): None}
        found += [(str(name), arguments if isinstance(arguments, dict) else {}) for name, arguments in entries.items()]
    stack = settings.value("frame_stack")
    if isinstance(stack, int) and not isinstance(stack, bool) and 1 < stack <= _MOST_STACKED:
        found.append(("VecFrameStack", {"n_stack": stack}))
    outer = settings.value("vec_env_wrapper")
    if isinstance(outer, str):
        found.append((outer, keywords_of("{}")))
    return tuple(found)


def _nearest(wanted: EnvironmentSpec, wrappers: Wrappers, space: Space) -> _Built | None:
    """Return the wanted environment, else the version nearest to it that can be built and fits; later ones first."""
    for name in _versions(wanted.id):
        earlier = _AS_BEFORE.get(name, {}) if name != wanted.id else {}
        built = _build(replace(wanted, id=name, arguments={**earlier, **wanted.arguments}))
        if built is not None and _fits(built, wrappers, space):
            return built
    return None


def _versions(name: str) -> list[str]:
    found = re.fullmatch(r"(.+)-v([0-9]{1,9})", name)
    if found is None or ":" in name:
        return [name]
    own = int(found[2])
    there = {
        int(other[1])
        for entry in gymnasium.registry
        if (other := re.fullmatch(rf"{re.escape(found[1])}-v([0-9]{{1,9}})", entry))
    }
    later, before = sorted(v for v in there if v > own), sorted((v for v in there if v < own), reverse=True)
    names = [f"{found[1]}-v{version}" for version in (own, *later, *before)]
    return [names[0], *sorted(names[1:], key=lambda entry: entry not in _STEPS_AS_BEFORE)]


def _build(spec: EnvironmentSpec) -> _Built | None:
    """Build an environment of Gymnasium's registry, to look at its spaces; None where it cannot be, or must not."""
    if ":" in spec.id or spec.id not in gymnasium.registry:
        return None
    with warnings.catch_warnings(), suppress(Exception):  # its constructor is anybody's
        warnings.simplefilter("ignore")
        if not spec.trusted:
            require_from_file(spec)
        environment: gymnasium.Env[Any, Any] = gymnasium.make(spec.id, **spec.arguments)
        registered: EnvSpec = gymnasium.registry[spec.id]
        built = _Built(spec, environment.observation_space, registered.max_episode_steps)
        environment.close()
        return built
    return None


def _fits(built: _Built, wrappers: Wrappers, space: Space) -> bool:
    """Whether an environment's observations are as many as the agent's, wrappers taken off."""
    names = [name.rpartition(".")[2] for name, _ in wrappers]
    if any(name.startswith("HistoryWrapper") for name in names) or not built.observations.is_np_flattenable:
        return True
    here = gym_spaces.flatdim(built.observations) + names.count("TimeFeatureWrapper")
    return here * _stacked(wrappers) == space.flat


def _stacked(wrappers: Wrappers) -> int:
    """Return how many frames the agent sees at once; 1 where that is said badly, which whoever stacks them refuses."""
    said = [arguments.get("n_stack", 4) for name, arguments in wrappers if name.rpartition(".")[2] == "VecFrameStack"]
    return math.prod(number if isinstance(number, int) and 0 < number <= _MOST_STACKED else 1 for number in said)


def _completed(wrappers: Wrappers, built: _Built | None, space: Space) -> Wrappers:
    """Add what the library does by itself: time features know the time limit, images get their colors first."""
    if built is None:
        return wrappers
    completed = [
        (
            name,
            {**arguments, "max_steps": built.limit}
            if name.endswith("TimeFeatureWrapper") and built.limit
            else arguments,
        )
        for name, arguments in wrappers
    ]
    own = built.observations
    if space.kind == "Dict" and isinstance(own, gym_spaces.Dict):
        keys = [key for key, part in space.parts.items() if key in own.spaces and _is_turned(own[key], part)]
        return (*completed, ("VecTransposeImage", {"keys": keys})) if keys else tuple(completed)
    turned = _is_turned(own, space, _stacked(wrappers))
    return (*completed, ("VecTransposeImage", {})) if turned else tuple(completed)


def _is_turned(own: Any, space: Space, stacked: int = 1) -> bool:
    """Whether the agent sees an image of the environment with its colors first."""
    if own.shape is None or len(own.shape) != 3 or not space.is_image:
        return False
    height, width, colors = own.shape
    return space.shape == (colors * stacked, height, width) and space.shape != (height, width, colors * stacked)
