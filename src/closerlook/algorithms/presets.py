"""Other sets of defaults: Table 1 of the paper, by task and algorithm, and PPO-M.

The learning rates are the paper's table, not the released configuration files, which differ in several. Where the table
is silent, the released code speaks: initial weights, annealing, and value clipping for Humanoid and Walker2d.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from closerlook.errors import InputError

PresetName = Literal["paper", "ppo-m"]
"""``paper``: Table 1. ``ppo-m``: PPO without the optimizations the table does not call part of the algorithm."""

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
    name : {"paper", "ppo-m"}
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
    if name != "paper":
        raise InputError(f"there is no preset {name!r}", "choose paper or ppo-m, or none")
    if environment not in _PPO:
        raise InputError(f"the paper has no settings for {environment}", f"its tasks are {', '.join(_PPO)}")
    if algorithm == "ppo":
        return Preset({}, _PPO[environment])
    if algorithm == "trpo":
        return Preset(_PLAIN, _TRPO[environment])
    raise InputError(f"the paper has no settings for {algorithm}", "its algorithms are ppo and trpo")
