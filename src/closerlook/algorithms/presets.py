"""Other sets of defaults: Table 1 of the paper, by task and algorithm, and PPO-M.

The learning rates are the paper's table, not the released configuration files, which differ in several. Where the table
is silent, the released code speaks: initial weights, annealing, and value clipping for Humanoid and Walker2d.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from closerlook.errors import InputError

PresetName = Literal["paper", "paper-v2", "ppo-m"]
"""``paper``: Table 1. ``paper-v2``: the same as the paper's code and engine had it. ``ppo-m``: PPO without the
optimizations the table does not call part of the algorithm."""

_PPO: Mapping[str, Mapping[str, float | None]] = {
    "Humanoid-v5": {"policy_learning_rate": 2.5e-4, "value_learning_rate": 1e-4, "value_clip": 0.2},
    "Walker2d-v5": {"policy_learning_rate": 4e-4, "value_learning_rate": 3e-4, "value_clip": 0.2},
    "Hopper-v5": {"policy_learning_rate": 4.5e-4, "value_learning_rate": 2e-4, "value_clip": None},
}
_TRPO: Mapping[str, Mapping[str, float | None]] = {
    "Humanoid-v5": {"max_kl": 0.07, "value_learning_rate": 3e-4},
    "Walker2d-v5": {"max_kl": 0.04, "value_learning_rate": 3e-4},
    "Hopper-v5": {"max_kl": 0.13, "value_learning_rate": 2e-4},
}
_PLAIN: Mapping[str, Any] = {
    "initialization": "xavier",
    "observation_clip": None,
    "normalize_rewards": False,
    "reward_clip": None,
}
"""Observations standardized but not clipped, rewards as they are: TRPO's columns, and PPO-M."""


_AS_RUN: Mapping[str, Any] = {"bootstrap": "paper"}
"""What the released code does whatever the task: time limits count as terminations, and the last value of a batch
stands in for the one that would follow it."""
_AS_RUN_IN: Mapping[str, Mapping[str, Any]] = {"Humanoid-v5": {"action_transform": "clip"}}
"""What the engine of its day did: until MuJoCo 2.2.1 controls were clamped in place, and Humanoid-v2 charged for them
after that."""


@dataclass(frozen=True)
class Preset:
    """What a preset sets; everything else keeps its default.

    Parameters
    ----------
    training : mapping
        Fields of `closerlook.training.TrainSettings`.
    update : mapping
        Fields of the algorithm's settings.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    update: Mapping[str, Any] = field(default_factory=dict)


def find_preset(name: str, environment: str, algorithm: str) -> Preset:
    """Look a preset up.

    Parameters
    ----------
    name : {"paper", "paper-v2", "ppo-m"}
        Which one.
    environment : str
        Gymnasium id. PPO-M is for any; its learning rates are Table 1's on the paper's tasks.
    algorithm : str
        Algorithm.

    Raises
    ------
    InputError
        Where there is no such preset, or it says nothing of the environment or the algorithm.
    """
    if name == "ppo-m":
        if algorithm != "ppo":
            raise InputError(
                f"preset ppo-m is a kind of PPO, not of {algorithm}", "leave --algorithm out, or take another preset"
            )
        return Preset(_PLAIN, {**_PPO.get(environment, {}), "value_clip": None, "anneal": False})
    if name not in {"paper", "paper-v2"}:
        raise InputError(f"there is no preset {name!r}", "choose paper, paper-v2 or ppo-m, or none")
    if environment not in _PPO:
        raise InputError(f"the paper has no settings for {environment}", f"its tasks are {', '.join(_PPO)}")
    as_run = {**_AS_RUN, **_AS_RUN_IN.get(environment, {})} if name == "paper-v2" else {}
    if algorithm == "ppo":
        return Preset(as_run, _PPO[environment])
    if algorithm == "trpo":
        return Preset({**_PLAIN, **as_run}, _TRPO[environment])
    raise InputError(f"the paper has no settings for {algorithm}", "its algorithms are ppo and trpo")
