"""A monitor: what is said of a batch and of an update, every k updates while an agent trains."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from closerlook.errors import InputError
from closerlook.monitor.batch import Batch
from closerlook.monitor.census import CENSUS, census
from closerlook.monitor.checks import CheckLevel, Findings
from closerlook.monitor.gradient_estimates import GRADIENT, PARTS, gradient_agreement, gradient_parts
from closerlook.monitor.levels import Levels, Limit, limits_from
from closerlook.monitor.lint import lint
from closerlook.monitor.policies import as_critic, as_policy
from closerlook.monitor.sinks import Measured, Sink, terminal
from closerlook.monitor.update_estimates import CHANGE, CRITIC, POLICY, critic_estimates, policy_change, policy_state
from closerlook.results.writing import write_bytes
from closerlook.statistics.batch_counts import TOP

NUMBERS: Mapping[str, str] = {
    **CENSUS,
    **CRITIC,
    **GRADIENT,
    **PARTS,
    **POLICY,
    **CHANGE,
    "policy_feature_rank_to_first": "policy_feature_rank over that of the first batch measured",
    "critic_feature_rank_to_first": "critic_feature_rank over that of the first batch measured",
    "faults": "checks of lint that are at watch or problem",
    "every": "k: one update in so many is measured",
    "seconds": "what measuring took",
}
"""Every number of a monitor, in words. Intervals have ``_low`` and ``_high`` added."""

MOST_EVERY = 1000
"""The largest k that a share of time chooses."""
SHARES = {"action_saturated_share", "clip_fraction_end"}
"""Shares of pairs that have limits, with intervals: in a batch of few pairs nearly all may be beyond one by chance."""
MOST_SAVED = 10
"""Batches that are not finite which one monitor saves at most, the first of each row of such."""


@dataclass
class Monitor:
    """Measure one update in k of any training loop, from its own batch; no environment step is made.

    Parameters
    ----------
    every : int
        k. Update 1 is measured, then update 1 + k ...
    sink : callable or sequence of callables
        Each is given a `Measured`: ``print``, `terminal`, `Csv`, `TensorBoard`, `Sb3Logger`, `Tracker`
        (`closerlook.monitor.sinks`), or any function.
    limits : mapping of str to (watch, problem) or Limit or None, optional
        In place of the usual ones (`closerlook.monitor.levels.LIMITS`); None takes one away.
    share_of_time : float, optional
        Choose k anew after each measurement so that measuring takes at most this share of the time; k is logged. What
        is measured does not depend on the clock, only when.
    save_to : str or Path
        Folder for batches in which something is not finite, with what lint says of them.
    clock : callable
        Returns seconds, for what measuring takes.

    Raises
    ------
    InputError
        Where an argument means nothing.

    Examples
    --------
    >>> import closerlook as cl
    >>> monitor = cl.Monitor(every=10, sink=print)
    >>> monitor.is_due
    True

    See Also
    --------
    closerlook.lint : what is recomputed, once.
    """

    every: int = 10
    sink: Sink | Sequence[Sink] = terminal
    limits: Mapping[str, Limit | tuple[float, float] | None] | None = None
    share_of_time: float | None = None
    save_to: str | Path = "closerlook-batches"
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        require_every(self.every)
        if self.share_of_time is not None and not 0 < self.share_of_time <= 1:
            raise InputError(
                f"share_of_time must be above 0 and at most 1 (got {self.share_of_time!r})", "give 0.05, for example"
            )
        self.sinks: tuple[Sink, ...] = (self.sink,) if callable(self.sink) else tuple(self.sink)
        self.levels = Levels(limits_from(self.limits))
        self.updates = 0
        self.last: Measured | None = None
        self._next, self._first_ranks = 1, dict[str, float]()
        self._told, self._saved = set[str](), 0
        self._since = (0, self.clock())

    @property
    def is_due(self) -> bool:
        """Whether the next update will be measured."""
        return self.updates + 1 >= self._next

    @property
    def level(self) -> CheckLevel:
        """The gravest standing level."""
        return self.levels.level

    def on_update(
        self,
        before: Any,
        after: Any,
        batch: Batch,
        rollout: Any = None,
        *,
        reported: Mapping[str, float] | None = None,
    ) -> Measured | None:
        """Take in an update.

        Parameters
        ----------
        before, after : policy, or (policy, critic)
            The agent before and after the update, of any kind that `Batch` takes; None where it is not known, or
            where the batch has the one before. One object that is both policy and critic is given alone.
        batch : Batch
            What the update was computed from.
        rollout : object, optional
            What the batch was made of; not used.
        reported : mapping of str to float, optional
            What the trainer says itself of the update: ``clip_fraction``.

        Returns
        -------
        Measured or None
            None where this update is not measured.
        """
        del rollout
        due = self.is_due
        self.updates += 1
        if not due:
            return None
        begun = self.clock()
        measured = self._measure(_with_agent(batch, before), after, dict(reported or {}))
        seconds = self.clock() - begun
        self._plan(begun, seconds)
        numbers = {**measured.numbers, "every": float(self.every), "seconds": seconds}
        self.last = Measured(**{**vars(measured), "numbers": numbers})
        for sink in self.sinks:
            sink(self.last)
        return self.last

    def skip_update(self) -> None:
        """Count an update that is not measured, where no batch was taken of it."""
        self.updates += 1
        if self.updates >= self._next:
            self._next = self.updates + 1

    def _plan(self, begun: float, seconds: float) -> None:
        """Say which update is measured next."""
        # s / (s + k u) = share, solved for k: u seconds an update, s a measurement
        updates, since = self._since
        if self.share_of_time is not None and self.updates > updates:
            # of k updates, each (begun - since) / n long, measuring once is the share s / (s + k u)
            each = max(begun - since, 1e-9) / (self.updates - updates)
            wanted = seconds * (1 - self.share_of_time) / (self.share_of_time * each)
            self.every = int(min(max(1, math.ceil(wanted)), MOST_EVERY))
        self._since = (self.updates, begun + seconds)
        self._next = self.updates + self.every

    def _measure(self, batch: Batch, after: Any, reported: dict[str, float]) -> Measured:
        numbers, notes, findings = measure(batch, after, reported)
        if numbers["not_finite"] > 0 and "not finite" not in self._told and self._saved < MOST_SAVED:
            self._saved += 1
            notes["saved"] = self._save(batch, findings)
        numbers |= ranks_to_first(numbers, self._first_ranks)
        changed = self.levels.take(numbers)
        said = [self._say(name, level, numbers[name]) for name, level in changed.items() if name != "faults"]
        # what was said of the last batch that was measured is not said again
        new = [note for key, note in notes.items() if key not in self._told and note]
        self._told = set(notes)
        return Measured(self.updates, numbers, self.level, changed, (*said, *new), findings)

    def _say(self, name: str, level: CheckLevel, value: float) -> str:
        advice = "" if level == "ok" else self.levels.limits[name].advice
        words = f"{level}: {name} is {value:.3g} ({NUMBERS.get(name, name)})"
        return f"{words}; {advice}" if advice else words

    def _save(self, batch: Batch, findings: Findings) -> str:
        """Write a batch and what lint says of it; the policy is left out where it cannot answer for such a batch."""
        file = Path(self.save_to) / f"batch-{self.updates:06d}.npz"
        for own in (batch, batch.replace(policy=None, critic=None)):
            try:
                own.save(file)
                write_bytes(file.with_suffix(".json"), json.dumps(findings.to_json(), indent=1).encode())
            except InputError as error:  # a full disk is no reason to end a training loop either
                said = f"the batch is not saved: {error.what}"
            else:
                return f"the batch is saved as {file}"
        return said


def require_every(every: Any) -> None:
    """Refuse a k that is none.

    Raises
    ------
    InputError
        Where it is no whole number of at least 1.
    """
    if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
        raise InputError(f"every must be a whole number of at least 1 (got {every!r})", "give 10, for example")


def measure(
    batch: Batch, after: Any = None, reported: Mapping[str, float] | None = None
) -> tuple[dict[str, float], dict[str, str], Findings]:
    """Measure one update from its batch: all that a `Monitor` says of it without having seen others.

    Parameters
    ----------
    batch : Batch
        With the policy that sampled it, and the critic.
    after : policy, or (policy, critic), optional
        The agent after the update.
    reported : mapping of str to float, optional
        What the trainer says itself of the update.

    Returns
    -------
    numbers : dict of str to float
        Of `NUMBERS`.
    notes : dict of str to str
        What is odd, in words, by what it is about.
    findings : Findings
        What lint says.
    """
    policy, critic = _split(after)
    counted = census(batch)
    told = {*CENSUS, *(f"{name}{end}" for name in SHARES for end in ("_low", "_high"))}
    numbers = {name: float(value) for name, value in counted.items() if np.ndim(value) == 0 and name in told}
    if batch.pairs * TOP < 0.5:
        # where 0.1% is no step, one of few has a large share as a rule
        numbers |= {name: np.nan for name in numbers if name.endswith("_top_share")}
    # lint first: its faults explain what is odd in the numbers below
    findings = _lint(batch, policy)
    numbers["faults"] = float(len(findings.faults))
    notes = {
        f"{check.check} {check.diagnosis}": f"lint: {check.check}: {check.statement}; {check.advice}"
        for check in findings.faults
    }
    if numbers["not_finite"] > 0:
        return numbers, {**notes, "not finite": ""}, findings
    for estimate in (
        partial(critic_estimates, batch, critic),
        partial(gradient_agreement, batch),
        partial(gradient_parts, batch),
        partial(policy_state, batch),
        partial(policy_change, batch, policy, dict(reported or {})),
    ):
        try:
            numbers |= estimate()
        except InputError as error:  # a training loop is not ended by who watches it
            notes[error.what] = f"not measured: {error.what}"
    return numbers, notes, findings


def _lint(batch: Batch, after: Any) -> Findings:
    """Recompute the batch, without policies that fail."""
    # with the policy after the update, else without it, else without policy and critic: whatever can be checked
    for own, new in ((batch, after), (batch, None)):
        with suppress(InputError):
            return lint(own, after=new)
    return lint(batch.replace(policy=None, critic=None))


def ranks_to_first(numbers: Mapping[str, float], first: dict[str, float]) -> dict[str, float]:
    """Return the ranks of features over those of the first batch, which are kept where there are none yet.

    Parameters
    ----------
    numbers : mapping of str to float
        Of a batch.
    first : dict of str to float
        Ranks of the first batch that had them; filled in.
    """
    found = {}
    for name in ("policy_feature_rank", "critic_feature_rank"):
        if name in numbers and not np.isnan(numbers[name]):
            begun = first.setdefault(name, numbers[name])
            found[f"{name}_to_first"] = numbers[name] / begun if begun > 0 else np.nan
    return found


def _split(agent: Any) -> tuple[Any, Any]:
    """Return policy and critic of what may be both."""
    if isinstance(agent, tuple | list):
        policy, critic = agent
        return policy, critic
    # policies of SB3 and agents of CleanRL hold their critic; closerlook's own agents too
    has_both = any(hasattr(agent, name) for name in ("predict_values", "get_value", "value_parameters"))
    return agent, agent if has_both else None


def _with_agent(batch: Batch, before: Any) -> Batch:
    policy, critic = _split(before)
    found: dict[str, Any] = {}
    if policy is not None:
        found["policy"] = as_policy(policy)
    if critic is not None:
        found["critic"] = as_critic(critic)
    return batch.replace(**found) if found else batch
