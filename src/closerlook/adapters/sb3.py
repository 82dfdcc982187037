"""The monitor as a callback of Stable-Baselines3 and sb3-contrib, for all on-policy algorithms."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from closerlook.monitor.batch import Batch
from closerlook.monitor.monitor import Monitor
from closerlook.monitor.sinks import Sb3Logger
from closerlook.monitor.sources import agent_of_sb3


class MonitorCallback(BaseCallback):
    """Measure one update in k of a model that learns, and log it with the model's own numbers.

    Nothing of the training changes: no random number is drawn, no environment step made.

    Parameters
    ----------
    monitor : Monitor, optional
        What measures; default ``Monitor(every=10)`` whose only sink is the model's logger.
    to_logger : bool
        Whether numbers go to the model's logger too, below ``closerlook/``.
    verbose : int
        Of the callback.

    Examples
    --------
    >>> from stable_baselines3 import PPO
    >>> from closerlook.adapters.sb3 import MonitorCallback
    >>> model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64, device="cpu")
    >>> callback = MonitorCallback()
    >>> _ = model.learn(128, callback=callback)
    >>> callback.monitor.updates
    2
    """

    def __init__(self, monitor: Monitor | None = None, *, to_logger: bool = True, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.monitor = Monitor(every=10, sink=()) if monitor is None else monitor
        self.to_logger = to_logger
        self._batch: Batch | None = None
        self._truncated: list[np.ndarray] = []
        self._rewards: list[np.ndarray] = []
        self._collected = False

    def _on_step(self) -> bool:
        if self.monitor.is_due:
            infos = self.locals["infos"]
            limits = [bool(done and info.get("TimeLimit.truncated", False)) for done, info in self._ends(infos)]
            self._truncated.append(np.array(limits))
            # the algorithm adds the value of final observations to this array afterwards
            self._rewards.append(np.array(self.locals["rewards"]))
        return True

    def _ends(self, infos: Any) -> Any:
        return zip(self.locals["dones"], infos, strict=True)

    def _on_rollout_end(self) -> None:
        self._collected = True
        steps = self.model.rollout_buffer.buffer_size  # type: ignore[attr-defined]
        if self.monitor.is_due and len(self._truncated) == steps:
            self._batch = _with_truncations(Batch.from_sb3(self.model), self._truncated, self._rewards).frozen()
        self._truncated, self._rewards = [], []

    def _on_rollout_start(self) -> None:
        self._take_in()

    def _on_training_end(self) -> None:
        self._take_in()

    def _take_in(self) -> None:
        """Measure the update that followed the last rollout."""
        if not self._collected:
            return
        self._collected, batch, self._batch = False, self._batch, None
        if batch is None:
            self.monitor.skip_update()
            return
        measured = self.monitor.on_update(None, agent_of_sb3(self.model), batch, reported=self._reported())
        if measured is not None and self.to_logger:
            Sb3Logger(self.model)(measured)

    def _reported(self) -> Mapping[str, float]:
        """Return what the model says itself of its last update."""
        logged = self.model.logger.name_to_value
        return {"clip_fraction": float(logged["train/clip_fraction"])} if "train/clip_fraction" in logged else {}


def _with_truncations(batch: Batch, truncated: list[np.ndarray], rewards: list[np.ndarray]) -> Batch:
    """Take the value of final observations out of the rewards again, and say which ends were truncations."""
    assert batch.done is not None
    assert batch.gamma is not None
    cut, plain = np.stack(truncated), np.stack(rewards).astype(batch.rewards.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        boundary = np.where(cut, (batch.rewards - plain) / batch.gamma, np.nan)
    if batch.gamma == 0:
        boundary = np.where(cut, 0.0, np.nan)
    changes = {"truncated": cut, "terminated": batch.done & ~cut, "done": batch.done}
    return batch.replace(rewards=plain, truncation_values=boundary, truncation="bootstrap", **changes)
