"""What may listen to training: every update, with the batch it was computed from."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.errors import InputError
from closerlook.simulation.records import Rollout

if TYPE_CHECKING:
    from closerlook.training.settings import TrainSettings


class Callback:
    """Hears of every update of a run, and may add columns to its log; the agents stay the same.

    One travels to each worker, which trains some of the agents through some iterations: what is to be kept from one
    update to the next belongs into the log, or on disk. `closerlook.CriticAudit` is one; users may give their own.

    See Also
    --------
    closerlook.CriticAudit : one that judges critics.
    closerlook.TrustRegionAudit : one that measures updates.
    closerlook.TrainingMonitor : one that measures what any training loop's batch tells.

    Examples
    --------
    >>> import closerlook as cl
    >>> class Largest(cl.Callback):
    ...     columns = {"largest_advantage": "largest advantage of the batch"}
    ...
    ...     def on_update(self, before, after, batch, rollout):
    ...         return {"largest_advantage": batch.advantages.amax(dim=(1, 2)).double().numpy()}
    >>> list(Largest().columns)
    ['largest_advantage']
    """

    columns: ClassVar[Mapping[str, str]] = {}
    """What it adds to the log: a name and, in words, what that is."""

    def check(self, settings: "TrainSettings") -> None:
        """Refuse a run that it has nothing to say of.

        Raises
        ------
        InputError
            With what is wrong, before anything is simulated.
        """

    def start(self, settings: "TrainSettings", seeds: Sequence[int]) -> None:
        """Hear what is trained, and each agent's own root seed, before the first update in this process.

        Parameters
        ----------
        settings : TrainSettings
            What is trained.
        seeds : sequence of int
            Each agent's own root seed.
        """

    def on_update(self, before: Agent, after: Agent, batch: Batch, rollout: Rollout) -> Mapping[str, np.ndarray]:
        """Hear of an update.

        Parameters
        ----------
        before, after : Agent
            The population of P before and after it, with the same statistics; ``after.iteration`` counts it.
        batch : Batch
            What it was computed from, (P, S, T).
        rollout : Rollout
            What that was made of.

        Returns
        -------
        mapping of str to ndarray, (P,)
            Its columns of the log.
        """
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Return what tells it from other callbacks, as JSON values: a run with it is not the same as one without."""
        kind = type(self)
        return {"callback": f"{kind.__module__}.{kind.__qualname__}", "columns": list(self.columns)}


def columns_of(callbacks: Sequence[Callback]) -> dict[str, str]:
    """Return the columns of all callbacks.

    Raises
    ------
    InputError
        Where two of them add the same.
    """
    found: dict[str, str] = {}
    for callback in callbacks:
        twice = [name for name in callback.columns if name in found]
        if twice:
            raise InputError(f"two callbacks add the column {twice[0]!r}", "give one of them, or rename its column")
        found |= callback.columns
    return found
