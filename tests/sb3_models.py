"""Small models of Stable-Baselines3 and sb3-contrib for tests, trained and saved in the test."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

PAIRS = 64


class Toy(gymnasium.Env[Any, Any]):
    """Rewards for actions near a simple function of the observation; episodes of 20 steps."""

    def __init__(self, observations: spaces.Space[Any] | None = None, actions: spaces.Space[Any] | None = None) -> None:
        self.observation_space = observations or spaces.Box(-1.0, 1.0, (3,))
        self.action_space = actions or spaces.Box(-2.0, 1.0, (2,))
        self._steps = 0

    def _observe(self) -> Any:
        self.observation_space._np_random = self.np_random
        if isinstance(self.observation_space, spaces.Dict):
            return {key: self._draw(part) for key, part in self.observation_space.spaces.items()}
        return self._draw(self.observation_space)

    def _draw(self, space: spaces.Space[Any]) -> Any:
        if isinstance(space, spaces.Discrete):
            return int(self.np_random.integers(space.n))
        if isinstance(space, spaces.MultiDiscrete):
            return self.np_random.integers(space.nvec)
        if isinstance(space, spaces.MultiBinary):
            return self.np_random.integers(2, size=space.shape).astype(np.int8)
        assert isinstance(space, spaces.Box)
        if space.dtype == np.uint8:
            return self.np_random.integers(256, size=space.shape).astype(np.uint8)
        return self.np_random.uniform(-1.0, 1.0, space.shape).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._observe(), -float(np.square(np.asarray(action, dtype=float)).sum()), self._steps >= 20, False, {}


def train(
    kind: str, environment: Callable[[], Any], *, policy: str = "MlpPolicy", steps: int = 1, **settings: Any
) -> Any:
    """Train a model for some batches on one thread."""
    torch.set_num_threads(1)
    algorithm = getattr(stable_baselines3, kind, None) or getattr(sb3_contrib, kind)
    common = {"n_steps": PAIRS // 2, "seed": 0, "device": "cpu", "learning_rate": 1e-3}
    if kind == "PPO":
        common |= {"batch_size": 24, "n_epochs": 3}  # the last minibatch of a pass is short
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = environment()
        env = made if isinstance(made, VecEnv) else DummyVecEnv([environment] * 2)
        model = algorithm(policy, env, **{**common, **settings})
        model.learn(steps * PAIRS)
    return model


def saved(model: Any, path: Path) -> Path:
    """Save a model, and the statistics of its environment beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    normalize = model.get_vec_normalize_env()
    if normalize is not None:
        normalize.save(str(path.parent / "vecnormalize.pkl"))
    return path
