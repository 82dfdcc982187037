"""The log of a training run: a row for each iteration and agent, numbers first, and in words what was unusual."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

Row = Mapping[str, Any]
"""One row: every column of `COLUMNS`; NaN where a number does not apply."""

COLUMNS: Mapping[str, str] = {
    "iteration": "updates made before this batch was sampled",
    "agent_seed": "which agent of the run",
    "environment_steps": "steps of this agent so far, this batch included",
    "mean_reward": "mean undiscounted return of the episodes that finished in this batch; empty where none did",
    "mean_length": "mean length of the episodes that finished in this batch, steps",
    "episodes": "how many episodes finished in this batch",
    "policy_loss": "minus the surrogate of the new policy on the batch (PPO: the clipped one), advantages standardized "
    "over it",
    "value_loss": "mean squared error of the new critic to its targets on the batch",
    "mean_kl": "KL(old || new), mean over the states of the batch, nats",
    "max_kl": "KL(old || new), largest over the states of the batch, nats",
    "max_ratio": "largest ratio of new to old probability over the pairs of the batch",
    "clip_fraction": "share of pairs whose ratio ended beyond the clipping bound (PPO)",
    "entropy": "mean entropy of the new policy, nats",
    "explained_variance_gae": "1 - Var[target - V_new] / Var[target] on the batch, target V_old + A",
    "explained_variance_returns": "1 - Var[target - V_new] / Var[target] on the batch, target discounted returns",
    "advantage_std": "standard deviation of the batch's advantages, in the critic's units",
    "action_std": "mean standard deviation of the new policy's action components",
    "constant_minibatches": "minibatches (PPO) or batches whose advantages were all equal and were taken as zero",
    "gradient_norm": "norm of the surrogate's gradient at the old policy (all but PPO)",
    "update_norm": "norm of the change in the policy's parameters (all but PPO)",
    "predicted_improvement": "improvement of the surrogate that the gradient expects of the step (all but PPO)",
    "surrogate_improvement": "actual improvement of the surrogate on the batch (all but PPO)",
    "quadratic_kl": "the quadratic model of the step's mean KL, nats (TRPO, natural)",
    "step_fraction": "the step as a share of the full one, 0 where none was taken (TRPO, natural)",
    "line_search_failed": "1 where a full step was there, and neither it nor a shorter one was accepted (TRPO, "
    "natural)",
    "unusable_gradient": "1 where no finite step came of the gradient (all but PPO)",
    "cg_residual": "what conjugate gradient left of the gradient, as a share of its norm (TRPO, natural)",
    "cg_steps": "steps of conjugate gradient (TRPO, natural)",
    "seconds_sampling": "a worker's seconds for the batch, shared equally among the agents it trained together",
    "seconds_update": "a worker's seconds for the update, shared equally among the agents it trained together",
    "notes": "in words, what was unusual about this iteration",
}
"""Each column of the log, in words. Columns of other algorithms are empty."""

_AFTER_CALLBACKS = ("seconds_sampling", "seconds_update", "notes")


def all_columns(more: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return every column of a log, with those that callbacks add before times and notes."""
    own = {name: words for name, words in COLUMNS.items() if name not in _AFTER_CALLBACKS}
    return {**own, **more, **{name: COLUMNS[name] for name in _AFTER_CALLBACKS}}


def numbers_of(columns: Iterable[str]) -> list[str]:
    """Return the columns that are numbers."""
    return [name for name in columns if name != "notes"]


_WHOLE = {"iteration", "agent_seed", "environment_steps", "episodes", "constant_minibatches", "cg_steps"} | {
    "line_search_failed",
    "unusable_gradient",
}


def log_rows(
    answers: Sequence[Mapping[str, np.ndarray]],
    agents: Sequence[int],
    first: int,
    columns: Iterable[str] = COLUMNS,
) -> list[dict[str, Any]]:
    """Return the log of a segment, a row for each iteration and agent, in that order.

    Parameters
    ----------
    answers : sequence of mapping of str to ndarray
        What each agent's segment answered.
    agents : sequence of int
        Numbers of the agents.
    first : int
        Iteration that the segment begins with.
    columns : iterable of str
        Which columns.
    """
    numbers = numbers_of(columns)
    # an agent that failed has fewer iterations: its rows end earlier
    longest = max(int(answer["done"]) for answer in answers) - first
    return [
        _row(answer, i, {"iteration": first + i, "agent_seed": number}, numbers)
        for i in range(longest)
        for number, answer in zip(agents, answers, strict=True)
        if first + i < answer["done"]
    ]


def _row(
    answer: Mapping[str, np.ndarray], place: int, start: Mapping[str, int], numbers: Sequence[str]
) -> dict[str, Any]:
    found = {name: answer[f"log.{name}"][place].item() for name in numbers if f"log.{name}" in answer}
    row: dict[str, Any] = {**dict.fromkeys(numbers, math.nan), **found, **start}
    return {**row, "notes": "; ".join(notes(row))}


def notes(row: Row) -> Iterator[str]:
    """Name what was unusual about an iteration; training goes on after each of these.

    Yields
    ------
    str
        Equal advantages count as zero. A KL or a ratio that overflows is a step too far: TRPO refuses it; PPO, which
        has taken it, goes on while its parameters are finite. Where no step was possible the old policy stays.
    """
    if row["constant_minibatches"] > 0:
        some = f" in {row['constant_minibatches']:.0f} minibatches" if math.isnan(row["update_norm"]) else ""
        yield f"advantages all equal{some}"
    for name, column in (("KL", "max_kl"), ("probability ratio", "max_ratio")):
        if not math.isfinite(row[column]):
            yield f"{name} overflows"
    if row["line_search_failed"] == 1:
        yield "no step accepted: the policy stays"
    if row["unusable_gradient"] == 1:
        yield "no finite step came of the gradient"


def header(columns: Iterable[str] = COLUMNS) -> str:
    """Return the first line of the log as text."""
    return ",".join(columns)


def as_line(row: Row, columns: Iterable[str] = COLUMNS) -> str:
    """Write a row as text: counts as integers, other numbers so that they read back the same, NaN as nothing.

    Parameters
    ----------
    row : mapping
        A number by column.
    columns : iterable of str
        In which order.
    """
    return ",".join(_as_text(name, row[name]) for name in columns)


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return ""
    return str(int(value)) if name in _WHOLE else repr(value)


def as_arrays(rows: Sequence[Row], columns: Iterable[str] = COLUMNS) -> dict[str, np.ndarray]:
    """Return the log by column.

    Parameters
    ----------
    rows : sequence of mapping
        A number by column each.
    columns : iterable of str
        Which of them.
    """
    return {name: np.array([row[name] for row in rows]) for name in columns}
