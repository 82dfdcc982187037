"""Wrappers that other libraries train in, by the names they have there: what the environment of an imported agent does.

Only these are applied where a file names wrappers; nothing it names is imported.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray

from closerlook.errors import InputError
from closerlook.simulation.step_wrappers import (
    HINT,
    LONGEST,
    ActionSmoothing,
    Answer,
    AnyEnv,
    DelayedReward,
    FrameSkip,
    TruncatedOnSuccess,
    box_of,
    whole,
)


class _Stateful(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An observation that depends on the episode so far."""

    def observed(self, observation: Any, *, first: bool) -> Any:
        """Return what is seen in place of an observation."""
        raise NotImplementedError

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**options)
        return self.observed(observation, first=True), info

    def step(self, action: Any) -> Answer:
        """Take a step."""
        observation, *rest = self.env.step(action)
        return self.observed(observation, first=False), *rest


class TimeFeature(_Stateful):
    """Appends the share of the episode that is left, ``1 - t / T`` (sb3-contrib's ``TimeFeatureWrapper``).

    Parameters
    ----------
    env : gymnasium.Env
        With a Box of observations.
    max_steps : int
        T.
    test_mode : bool
        Whether the feature is always 1.
    """

    def __init__(self, env: AnyEnv, max_steps: int = 1000, test_mode: bool = False) -> None:
        super().__init__(env)
        space = box_of(env.observation_space, "TimeFeatureWrapper")
        self.observation_space = _bounded(np.append(space.low, 0.0), np.append(space.high, 1.0), space)
        self._steps, self._limit, self._constant = 0, whole(max_steps, "max_steps", LONGEST), bool(test_mode)

    def observed(self, observation: Any, *, first: bool) -> Any:
        """Append the feature; beyond the limit, where no agent was trained, it stays 0."""
        self._steps = 0 if first else self._steps + 1
        left = 1.0 if self._constant else max(0.0, 1.0 - self._steps / self._limit)
        return np.append(observation, left)


class FrameStack(_Stateful):
    """The last observations side by side, zeros before the first (``VecFrameStack``).

    Parameters
    ----------
    env : gymnasium.Env
        With a Box of observations.
    n_stack : int
        How many observations.
    """

    def __init__(self, env: AnyEnv, n_stack: int = 4) -> None:
        super().__init__(env)
        space, n_stack = box_of(env.observation_space, "VecFrameStack"), whole(n_stack, "n_stack")
        # images carry their colors on the shorter end
        self._axis = 0 if len(space.shape) == 3 and space.shape[0] < space.shape[-1] else -1
        self._zero, self._frames = np.zeros(space.shape, space.dtype), deque[Any](maxlen=n_stack)
        low, high = (np.concatenate([bound] * n_stack, self._axis) for bound in (space.low, space.high))
        self.observation_space = _bounded(low, high, space)

    def observed(self, observation: Any, *, first: bool) -> Any:
        """Append a frame, and forget the oldest."""
        if first:
            self._frames.extend([self._zero] * (self._frames.maxlen or 1))
        self._frames.append(observation)
        return np.concatenate(list(self._frames), self._axis)


class TransposeImage(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Images with their colors first (``VecTransposeImage``).

    Parameters
    ----------
    env : gymnasium.Env
        With images, or a Dict of observations with images among them.
    keys : sequence of str
        Which parts of a Dict are images.
    """

    def __init__(self, env: AnyEnv, keys: Sequence[str] = ()) -> None:
        super().__init__(env)
        self._keys = tuple(keys)
        space = env.observation_space
        if isinstance(space, Dict):
            turned = {key: _turned(part) if key in self._keys else part for key, part in space.spaces.items()}
            self.observation_space: Space[Any] = Dict(turned)
        else:
            self.observation_space = _turned(space)

    def observation(self, observation: Any) -> Any:
        """Turn an image, or the images among parts."""
        if not isinstance(observation, Mapping):
            return np.moveaxis(observation, -1, 0)
        return {key: np.moveaxis(part, -1, 0) if key in self._keys else part for key, part in observation.items()}


class MaskVelocity(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Velocities as zeros (the zoo's ``MaskVelocityWrapper``)."""

    _VELOCITIES: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "CartPole-v1": (1, 3),
        "MountainCar-v0": (1,),
        "MountainCarContinuous-v0": (1,),
        "Pendulum-v1": (2,),
        "LunarLander-v2": (2, 3, 5),
        "LunarLander-v3": (2, 3, 5),
        "LunarLanderContinuous-v2": (2, 3, 5),
        "LunarLanderContinuous-v3": (2, 3, 5),
    }

    def __init__(self, env: AnyEnv) -> None:
        super().__init__(env)
        name = env.spec.id if env.spec is not None else ""
        if name not in self._VELOCITIES:
            raise InputError(f"MaskVelocityWrapper knows no velocities of {name or 'the environment'}", HINT)
        self._mask = np.ones_like(box_of(env.observation_space, "MaskVelocityWrapper").low)
        self._mask[list(self._VELOCITIES[name])] = 0.0

    def observation(self, observation: Any) -> NDArray[Any]:
        """Mask them."""
        return np.asarray(observation * self._mask)


class History(_Stateful):
    """The last observations and actions, zeros before the first (the zoo's ``HistoryWrapper``).

    Parameters
    ----------
    env : gymnasium.Env
        With Boxes of observations and actions.
    horizon : int
        How many of each.
    """

    def __init__(self, env: AnyEnv, horizon: int = 2) -> None:
        super().__init__(env)
        horizon = whole(horizon, "horizon")
        seen, done = box_of(env.observation_space, "HistoryWrapper"), box_of(env.action_space, "HistoryWrapper")
        low, high = (
            np.concatenate([np.repeat(getattr(part, end), horizon) for part in (seen, done)]) for end in ("low", "high")
        )
        self.observation_space = _bounded(low, high, seen)
        self._seen, self._done = (np.zeros((horizon, *part.shape), np.float32) for part in (seen, done))
        self._last: Any = None

    def step(self, action: Any) -> Answer:
        """Take a step, and remember the action."""
        self.remember(action)
        return super().step(action)

    def remember(self, action: Any) -> None:
        """Take note of the action of the step that is taken."""
        self._last = action

    def observed(self, observation: Any, *, first: bool) -> Any:
        """Append observation and action, and forget the oldest."""
        if first:
            self._seen[:], self._done[:] = 0.0, 0.0
        else:
            self._done[:-1], self._done[-1] = self._done[1:].copy(), self._last
        self._seen[:-1], self._seen[-1] = self._seen[1:].copy(), observation
        return np.concatenate([self._seen.reshape(-1), self._done.reshape(-1)])


class HistoryOfPart(_Stateful):
    """The same of the part ``observation`` of a Dict (the zoo's ``HistoryWrapperObsDict``).

    Parameters
    ----------
    env : gymnasium.Env
        With a Dict of observations and a Box of actions.
    horizon : int
        How many of each.
    """

    def __init__(self, env: AnyEnv, horizon: int = 2) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, Dict) or "observation" not in space.spaces:
            raise InputError("HistoryWrapperObsDict is only known on a Dict with an observation in it", HINT)
        self._part = History(_Part(env, space["observation"]), horizon)
        self.observation_space = Dict({**space.spaces, "observation": self._part.observation_space})

    def step(self, action: Any) -> Answer:
        """Take a step, and remember the action."""
        self._part.remember(action)
        return super().step(action)

    def observed(self, observation: Any, *, first: bool) -> Any:
        """Put the history in the place of the part."""
        return {**observation, "observation": self._part.observed(observation["observation"], first=first)}


class _Part(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment as one that has a part of its observations alone; to look at, not to be stepped."""

    def __init__(self, env: AnyEnv, space: Space[Any]) -> None:
        super().__init__(env)
        self.observation_space = space


KNOWN: Mapping[str, Callable[..., AnyEnv]] = {
    "TimeFeatureWrapper": TimeFeature,
    "VecFrameStack": FrameStack,
    "VecTransposeImage": TransposeImage,
    "MaskVelocityWrapper": MaskVelocity,
    "HistoryWrapper": History,
    "HistoryWrapperObsDict": HistoryOfPart,
    "FrameSkip": FrameSkip,
    "DelayedRewardWrapper": DelayedReward,
    "ActionSmoothingWrapper": ActionSmoothing,
    "TruncatedOnSuccessWrapper": TruncatedOnSuccess,
    "Monitor": lambda env: env,  # only writes down what happens
}
"""By the last part of their names there."""


_NOT_MEASURED: Mapping[str, str] = {
    "AtariWrapper": "works on games of the Arcade Learning Environment, which are not measured",
    "ActionNoiseWrapper": "draws noise that no seed decides",
}
"""Wrappers that people train in and that are refused, and why."""


def wrap(
    env: AnyEnv, limit: int | None, wrappers: Sequence[tuple[str, Mapping[str, Any]]]
) -> tuple[AnyEnv, int | None]:
    """Put wrappers around an environment, the innermost first, and return it with its time limit outside of them.

    Parameters
    ----------
    env : gymnasium.Env
        The innermost, its time limit taken off.
    limit : int or None
        Which that was.
    wrappers : sequence of (str, mapping)
        Names as the library has them, and arguments.

    Raises
    ------
    InputError
        Where one is not known, is there twice, or does not take its arguments or the environment.
    """
    names = [name.rpartition(".")[2] for name, _ in wrappers]
    for last, (name, arguments) in zip(names, wrappers, strict=True):
        if names.count(last) > 1 and last != "Monitor":  # each may do a hundred times what the next one does
            raise InputError(f"the wrapper {name[:80]} is there {names.count(last)} times", HINT)
        made = KNOWN.get(last)
        if made is None:
            raise InputError(f"the wrapper {name[:80]} {_NOT_MEASURED.get(last, 'is not known')}", HINT)
        try:
            env = made(env, **arguments)
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(f"the wrapper {name[:80]} does not fit ({str(error)[:80]})", HINT) from None
        if isinstance(env, FrameSkip | DelayedReward):
            limit = env.lift(limit)
    return env, limit


def _turned(space: Space[Any]) -> Box:
    box = box_of(space, "VecTransposeImage")
    return _bounded(np.moveaxis(box.low, -1, 0), np.moveaxis(box.high, -1, 0), box)


def _bounded(low: NDArray[Any], high: NDArray[Any], like: Box) -> Box:
    """Return a box of the numbers of another one."""
    kind: Any = like.dtype
    box: Box = Box(low.astype(kind), high.astype(kind), dtype=kind)
    return box
