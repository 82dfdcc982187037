"""How populations of agents end: means, interquartile means, and profiles over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from closerlook.results.training_log import read_training_log
from closerlook.statistics.estimates import Interval, mean_interval
from closerlook.statistics.seeds import interquartile_mean
from closerlook.studies.columns import Column
from closerlook.studies.training_rewards import final_rewards
from closerlook.studies.units import Training


@dataclass(frozen=True)
class Ending:
    """How the agents of one task and algorithm end.

    Parameters
    ----------
    task, algorithm : str
        Theirs.
    rewards : ndarray, (n,)
        What each seed ends with; NaN where its last iterations finished no episode.
    """

    task: str
    algorithm: str
    rewards: np.ndarray

    @property
    def mean(self) -> Interval:
        """Mean over seeds, Student's t."""
        return mean_interval(self.rewards)

    @property
    def middle(self) -> Interval:
        """Interquartile mean over seeds."""
        return interquartile_mean(self.rewards)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "task": self.task,
            "algorithm": self.algorithm,
            "seeds": int(np.isfinite(self.rewards).sum()),
            **_fields("mean", self.mean),
            **_fields("interquartile_mean", self.middle),
        }


def _fields(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def endings(columns: Sequence[Column]) -> list[Ending]:
    """Read from their logs how agents that a study trained end.

    Parameters
    ----------
    columns : sequence of Column
        Finished; those whose agents came from elsewhere are left out.
    """
    found = []
    for column in columns:
        agents = column.agents
        if not isinstance(agents, Training):
            continue
        log = read_training_log(agents.folder)
        if log is not None:
            # a run that holds more seeds than were asked for, as the atlas may
            rewards = final_rewards(log)
            own = np.isin(rewards["agent_seed"].values, agents.settings.numbers)
            found.append(Ending(agents.task, agents.algorithm, np.asarray(rewards["final_reward"].values)[own]))
    return found
