"""Table 1 of the paper: what each task's agents were trained with, where it differs from the defaults.

The learning rates are the paper's table, not the released configuration files, which differ in several. Value clipping
is on for Humanoid and Walker2d (released configurations; the table is silent).
"""

from collections.abc import Mapping

from closerlook.errors import InputError

TASKS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5", "humanoid": "Humanoid-v5"}
"""The paper's tasks, by the short names that may be used for them. The paper's were version 2."""

_PPO: Mapping[str, Mapping[str, float | None]] = {
    "Humanoid-v5": {"policy_learning_rate": 2.5e-4, "value_learning_rate": 1e-4, "value_clip": 0.2},
    "Walker2d-v5": {"policy_learning_rate": 4e-4, "value_learning_rate": 3e-4, "value_clip": 0.2},
    "Hopper-v5": {"policy_learning_rate": 4.5e-4, "value_learning_rate": 2e-4, "value_clip": None},
}


def paper_ppo(environment: str) -> Mapping[str, float | None]:
    """Return the fields of `PPOSettings` that Table 1 gives for a task.

    Raises
    ------
    InputError
        Where the paper has no such task.
    """
    if environment not in _PPO:
        raise InputError(f"the paper has no settings for {environment}", f"its tasks are {', '.join(_PPO)}")
    return _PPO[environment]
