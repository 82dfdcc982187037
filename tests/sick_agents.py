"""Agents of Stable-Baselines3 that are ill in a known way, and healthy ones, trained in the test."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from closerlook.monitor.batch import Batch

CARTPOLE = "CartPole-v1"
HUGE = 1e6


def large_rewards() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TransformReward(gymnasium.make(CARTPOLE), lambda reward: 1e4 * reward)


def huge_feature() -> gymnasium.Env[Any, Any]:
    """The cart's position comes in millionths."""
    made = gymnasium.make(CARTPOLE)
    scale = np.array([HUGE, 1, 1, 1], np.float32)
    space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    return gymnasium.wrappers.TransformObservation(made, lambda seen: (seen * scale).astype(np.float32), space)


class Flipped(PPO):
    """Its advantages have the wrong sign."""

    def collect_rollouts(self, *arguments: Any, **keywords: Any) -> bool:
        going = super().collect_rollouts(*arguments, **keywords)
        self.rollout_buffer.advantages *= -1
        return going


@dataclass(frozen=True)
class Patient:
    """A trained agent.

    Parameters
    ----------
    file : Path
        Of the model.
    env : str or None
        What it is to be measured on.
    batch : Path or None
        A batch of its training.
    """

    file: Path
    env: str | None = None
    batch: Path | None = None


def _train(
    folder: Path,
    env: Any = CARTPOLE,
    *,
    kind: Any = PPO,
    steps: int = 20_000,
    envs: int = 1,
    before: Callable[[Any], None] | None = None,
    normalize: bool = False,
    **settings: Any,
) -> Any:
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = make_vec_env(env, n_envs=envs, seed=0)
        made = VecNormalize(made, gamma=settings.get("gamma", 0.99)) if normalize else made
        model = kind("MlpPolicy", made, seed=0, device="cpu", **settings)
        if before is not None:
            before(model)
        model.learn(steps)
        model.save(folder / "model.zip")
    return model


SHORT = {"n_steps": 1024, "n_epochs": 6}


def _freeze_critic(model: Any) -> None:
    for module in (model.policy.mlp_extractor.value_net, model.policy.value_net):
        for parameter in module.parameters():
            parameter.requires_grad = False


def flipped_advantages(folder: Path, steps: int = 10240) -> Patient:
    model = _train(folder, kind=Flipped, steps=steps, **SHORT)
    buffer = model.rollout_buffer
    buffer.reset()  # the batch as the update sees it, with the policy that sampled it
    callback = model._init_callback(None)
    model.collect_rollouts(model.env, callback, buffer, n_rollout_steps=model.n_steps)
    Batch.from_sb3(model).save(folder / "batch.npz")
    return Patient(folder / "model.zip", CARTPOLE, folder / "batch.npz")


def large_learning_rate(folder: Path, steps: int = 10240) -> Patient:
    _train(folder, learning_rate=3e-2, steps=steps, **{**SHORT, "n_epochs": 10})
    return Patient(folder / "model.zip", CARTPOLE)


def frozen_critic(folder: Path, steps: int = 20480) -> Patient:
    _train(folder, before=_freeze_critic, steps=steps, **SHORT)
    return Patient(folder / "model.zip", CARTPOLE)


def rewards_times_1e4(folder: Path, steps: int = 20480) -> Patient:
    _train(folder, large_rewards, steps=steps, **SHORT)
    return Patient(folder / "model.zip", "sick_agents:large_rewards")


def gamma_one_half(folder: Path, steps: int = 20480) -> Patient:
    _train(folder, gamma=0.5, steps=steps, **SHORT)
    return Patient(folder / "model.zip", CARTPOLE)


def thirty_two_steps(folder: Path, steps: int = 10240) -> Patient:
    _train(folder, n_steps=32, batch_size=32, n_epochs=10, steps=steps)
    return Patient(folder / "model.zip", CARTPOLE)


def feature_times_1e6(folder: Path, steps: int = 10240) -> Patient:
    _train(folder, huge_feature, steps=steps, **SHORT)
    return Patient(folder / "model.zip", "sick_agents:huge_feature")


def entropy_collapsed(folder: Path, steps: int = 6144) -> Patient:
    """One action has all probability from early on, so that nothing else is ever tried."""

    def push(model: Any) -> None:
        with torch.no_grad():
            model.policy.action_net.bias[0] += 20.0

    _train(folder, before=push, steps=steps, **SHORT)
    return Patient(folder / "model.zip", CARTPOLE)


PENDULUM = {"gamma": 0.9, "learning_rate": 1e-3, "n_steps": 256, "batch_size": 128, "n_epochs": 10}


def statistics_dropped(folder: Path) -> Patient:
    _train(folder, "Pendulum-v1", envs=4, steps=61_440, normalize=True, **PENDULUM)
    return Patient(folder / "model.zip", "Pendulum-v1")


def healthy_ppo(folder: Path, steps: int = 20480) -> Patient:
    _train(folder, steps=steps, **SHORT)
    return Patient(folder / "model.zip", CARTPOLE)


def healthy_a2c(folder: Path) -> Patient:
    _train(folder, kind=A2C, envs=8, steps=60_000)
    return Patient(folder / "model.zip", CARTPOLE)


def healthy_pendulum(folder: Path) -> Patient:
    model = _train(folder, "Pendulum-v1", envs=4, steps=61_440, normalize=True, **PENDULUM)
    model.get_vec_normalize_env().save(str(folder / "vecnormalize.pkl"))
    return Patient(folder / "model.zip", "Pendulum-v1")


def large_entropy_bonus(folder: Path, steps: int = 20480) -> Patient:
    _train(folder, ent_coef=10.0, steps=steps, **SHORT)
    return Patient(folder / "model.zip", CARTPOLE)


def mountain_car(folder: Path, steps: int = 2048) -> Patient:
    _train(folder, "MountainCar-v0", steps=steps, **SHORT)
    return Patient(folder / "model.zip", "MountainCar-v0")


def large_batch(folder: Path, steps: int = 32_768) -> Patient:
    """Of its pairs half the environments would make twice the updates."""
    _train(folder, envs=16, steps=steps, n_steps=1024, batch_size=256, n_epochs=4)
    return Patient(folder / "model.zip", CARTPOLE)


SICK: dict[str, tuple[Callable[..., Patient], str]] = {
    "flipped advantages": (flipped_advantages, "wrong_advantages"),
    "learning rate times 100": (large_learning_rate, "update_too_long"),
    "frozen critic": (frozen_critic, "critic_useless"),
    "rewards times 1e4": (rewards_times_1e4, "critic_scale"),
    "gamma 0.5": (gamma_one_half, "horizon_too_short"),
    "32 steps": (thirty_two_steps, "batch_too_short"),
    "feature times 1e6": (feature_times_1e6, "broken_inputs"),
    "entropy collapsed": (entropy_collapsed, "exploration_collapsed"),
    "statistics dropped": (statistics_dropped, "not_the_trained_agent"),
    "large entropy bonus": (large_entropy_bonus, "exploration_too_wide"),
    "MountainCar": (mountain_car, "no_signal"),
}
"""How each is made, and what is wrong with it."""
HEALTHY: dict[str, Callable[..., Patient]] = {
    "PPO on CartPole": healthy_ppo,
    "A2C on CartPole": healthy_a2c,
    "PPO on Pendulum": healthy_pendulum,
}
