"""The monitor as a callback of this library's own training: numbers are columns of the log, levels follow from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.monitor.checks import CheckLevel
from closerlook.monitor.levels import LIMITS, Levels, Limit, limits_from
from closerlook.monitor.monitor import NUMBERS, SHARES, measure, ranks_to_first, require_every
from closerlook.monitor.own_training import batches_of
from closerlook.monitor.sinks import LABELS
from closerlook.simulation.records import Rollout
from closerlook.training.callback import Callback

PREFIX = "monitor_"
_LIMITED = [name.removesuffix("_to_first") for name in LIMITS]
_UNLIMITED = ("gradient_groups", "cut_by_value", "policy_feature_rank", "critic_feature_rank")
_ENDS = {"_low": "lower end of the 95% interval of", "_high": "upper end of the 95% interval of"}
_OF_GRADIENT = ("batch_true_cosine", "pairwise_cosine", "noise_scale_pairs")
_WITH_ENDS = ("explained_variance_returns", *sorted(SHARES), *_OF_GRADIENT)
WATCHED: Mapping[str, str] = {
    **{name: NUMBERS[name] for name in (*_LIMITED, *LABELS, *_UNLIMITED, *_WITH_ENDS)},
    **{f"{name}{end}": f"{words} {name}" for name in _WITH_ENDS for end, words in _ENDS.items()},
}
"""What training logs of a monitor's numbers: those that have limits, those that a line shows, the gradient's."""


class TrainingMonitor(Callback):
    """Measure one update in k of `closerlook.train`, in columns ``monitor_...`` of the log; the agents stay the same.

    Nothing is sampled. Whether an update is measured depends on its number alone, so that no number depends on workers
    or on where a run was taken up again. In updates that are not measured the columns are empty.

    Parameters
    ----------
    every : int
        k. The first update is measured, then update 1 + k ...

    Raises
    ------
    InputError
        Where k is no whole number of at least 1.

    See Also
    --------
    closerlook.Monitor : the same in any training loop, and every number of it.
    closerlook.train : takes it among its callbacks; `level_changes` of this module says which levels changed when.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.TrainingMonitor(every=10).columns["monitor_mean_kl"]
    'KL(old || new) over the whole update, mean over the states of the batch, nats'
    """

    columns: ClassVar[Mapping[str, str]] = {f"{PREFIX}{name}": words for name, words in WATCHED.items()}

    def __init__(self, every: int = 10) -> None:
        require_every(every)
        self.every = int(every)

    def on_update(self, before: Agent, after: Agent, batch: Batch, rollout: Rollout) -> dict[str, np.ndarray]:
        """Measure one update of every agent, if it is one of those that are measured."""
        if ((after.iteration or 1) - 1) % self.every:
            return {column: np.full(after.population or 1, np.nan) for column in self.columns}
        own = batches_of(before, batch, rollout)
        found = [measure(one, agent)[0] for one, agent in zip(own, after.unstack(), strict=True)]
        return {f"{PREFIX}{name}": np.array([numbers.get(name, np.nan) for numbers in found]) for name in WATCHED}

    def identity(self) -> dict[str, Any]:
        """Return what tells it from other callbacks, k included."""
        return super().identity() | {"every": self.every}


@dataclass(frozen=True)
class LevelChange:
    """A level of a number that changed while an agent was trained.

    Parameters
    ----------
    agent_seed, iteration : int
        Of the row of the log.
    name : str
        The number.
    level : str
        What it is at from then on.
    value : float
        What it was in that row.
    """

    agent_seed: int
    iteration: int
    name: str
    level: CheckLevel
    value: float


def level_changes(
    log: Mapping[str, np.ndarray], limits: Mapping[str, Limit | tuple[float, float] | None] | None = None
) -> Iterator[LevelChange]:
    """Yield the levels that changed, agent after agent, from the log of a training that was watched.

    Parameters
    ----------
    log : mapping of str to ndarray
        `closerlook.training.TrainingRun.log`, or the columns of ``training.csv``.
    limits : mapping of str to (watch, problem) or Limit or None, optional
        In place of the usual ones, as of `closerlook.Monitor`.

    Raises
    ------
    InputError
        Where a limit is none.
    """
    wanted = limits_from(limits)
    for seed in np.unique(log["agent_seed"]):
        levels, first = Levels(wanted), dict[str, float]()
        for row in np.flatnonzero(log["agent_seed"] == seed):
            numbers = {name: float(log[f"{PREFIX}{name}"][row]) for name in WATCHED}
            numbers |= ranks_to_first(numbers, first)
            for name, level in levels.take(numbers).items():
                yield LevelChange(int(seed), int(log["iteration"][row]), name, level, numbers[name])
