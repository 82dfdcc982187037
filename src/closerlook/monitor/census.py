"""What is in a batch, counted: numbers that are not finite, few steps that decide, bounds that are met, episodes.

====== ==================================
symbol meaning
====== ==================================
T, N   steps, environments
D, A   dimensions of an observation, of an action
====== ==================================
"""

from typing import Any

import numpy as np

from closerlook.monitor.batch import Batch
from closerlook.monitor.finite_checks import not_finite
from closerlook.monitor.recomputed import describe_policy
from closerlook.monitor.shares import share_with_ends
from closerlook.statistics.batch_counts import beyond, clip_share, episode_parts, top_share

CENSUS = {
    "not_finite": "numbers of the batch that are not finite",
    "not_finite_share": "share of numbers that are not finite, among the fields of the batch that have such",
    "return_variance_top_share": "share of the returns' squared deviations from the 0.1% of steps that have most",
    "critic_loss_top_share": "share of the squared errors of values to returns from the 0.1% of steps with most",
    "reward_top_share": "share of the sum of squared rewards from the 0.1% of steps that have most",
    "observation_spread_low": "smallest standard deviation of an observation's dimension",
    "observation_spread_high": "largest standard deviation of an observation's dimension",
    "observation_clip_share": "largest share, over dimensions, of observations at the bound they are clipped to",
    "action_saturated_share": "largest share, over dimensions, of actions at or beyond the bounds of the action space",
    "action_std_to_range_low": "smallest ratio, over dimensions, of the policy's mean deviation to the action range",
    "action_std_to_range_high": "largest ratio, over dimensions, of the policy's mean deviation to the action range",
    "episodes": "episodes that ended in the batch",
    "distinct_returns": "different sums of rewards among whole episodes",
    "reward_variation_share": "share of the batch's episodes, parts included, whose rewards are not all equal",
    "terminated_share": "share of the ends that are terminations",
    "truncated_share": "share of the ends that are truncations",
    "episode_length": "mean steps of whole episodes",
    "episode_length_to_steps": "mean steps of whole episodes, over the steps that each environment has in the batch",
    "environments_without_end": "share of the environments in which no episode ended",
}
"""Numbers of a census, in words."""


def census(batch: Batch) -> dict[str, Any]:
    """Count what is in a batch.

    Returns
    -------
    dict
        The numbers of `CENSUS` that the batch has, NaN where nothing can be said; and by dimension, as arrays,
        ``observation_spread_by_dimension``, ``observation_clip_share_by_dimension``,
        ``action_saturated_share_by_dimension`` (with the interval of its largest, ``action_saturated_share_low`` and
        ``_high``), ``action_std_to_range_by_dimension``, and of Gaussian policies
        ``action_std_by_dimension``, ``action_entropy_by_dimension`` in nats; ``not_finite_places``, by field rows of
        (step, environment, dimensions ...).

    See Also
    --------
    closerlook.lint : what is wrong with it.
    closerlook.Monitor : both, while an agent trains.

    Examples
    --------
    >>> import closerlook as cl
    >>> counted = cl.census(cl.Batch(rewards=[[1.0], [1.0], [5.0]], done=[[False], [True], [False]]))
    >>> counted["episodes"], counted["not_finite"]
    (1.0, 0.0)
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return _count(batch)


def _count(batch: Batch) -> dict[str, Any]:
    return _finite(batch) | _tails(batch) | _observations(batch) | _actions(batch) | _episodes(batch)


def _finite(batch: Batch) -> dict[str, Any]:
    found = not_finite(batch)
    count = sum(len(places) for places in found.values())
    size = sum(getattr(batch, name).size for name in found)
    return {
        "not_finite": float(count),
        "not_finite_share": count / size if size else 0.0,
        "not_finite_places": found,
    }


def _tails(batch: Batch) -> dict[str, Any]:
    # rewards as the environment gave them, where they are known: scaling hides what stands out
    rewards = batch.rewards if batch.raw_rewards is None else batch.raw_rewards
    found = {"reward_top_share": top_share(np.square(rewards, dtype=np.float64))}
    if batch.returns is not None:
        returns = batch.returns.astype(np.float64)
        found["return_variance_top_share"] = top_share(np.square(returns - returns.mean()))
        if batch.values is not None:
            found["critic_loss_top_share"] = top_share(np.square(returns - batch.values))
    return found


def _observations(batch: Batch) -> dict[str, Any]:
    if batch.observations is None or batch.observations.dtype.kind != "f":
        return {}
    rows = batch.observations.reshape(batch.pairs, -1)
    spread, clipped = rows.std(axis=0, dtype=np.float64), clip_share(rows)
    if not spread.size:
        return {}
    return {
        "observation_spread_low": float(spread.min()),
        "observation_spread_high": float(spread.max()),
        "observation_clip_share": float(clipped.max()),
        "observation_spread_by_dimension": spread,
        "observation_clip_share_by_dimension": clipped,
    }


def _actions(batch: Batch) -> dict[str, Any]:
    if batch.actions is None or batch.actions.dtype.kind != "f":
        return {}
    found: dict[str, Any] = {}
    std = batch.policy_std if batch.policy_std is not None else describe_policy(batch).get("policy_std")
    if std is not None:
        std = std.reshape(batch.pairs, -1).astype(np.float64)
        found["action_std_by_dimension"] = std.mean(axis=0)
        # H_i = log sigma_i + log(2 pi e) / 2
        found["action_entropy_by_dimension"] = (np.log(std) + 0.5 * np.log(2 * np.pi * np.e)).mean(axis=0)
    if batch.action_low is None or batch.action_high is None:
        return found
    taken = batch.actions if batch.applied_actions is None else batch.applied_actions
    at_bounds = beyond(taken.reshape(batch.pairs, -1), batch.action_low, batch.action_high)
    saturated = at_bounds.mean(axis=0)
    found |= share_with_ends("action_saturated_share", at_bounds[:, int(saturated.argmax())], batch)
    found["action_saturated_share_by_dimension"] = saturated
    span = batch.action_high.astype(np.float64) - batch.action_low
    if std is not None and std.shape[1] == span.size and np.isfinite(span).all():
        ratio = found["action_std_by_dimension"] / span
        found |= {
            "action_std_to_range_low": float(ratio.min()),
            "action_std_to_range_high": float(ratio.max()),
            "action_std_to_range_by_dimension": ratio,
        }
    return found


def _episodes(batch: Batch) -> dict[str, Any]:
    ends = batch.ends
    if ends is None:
        return {}
    # without flags of starts it is not known whether the first step begins an episode: it counts as if not
    begins = np.zeros(batch.environments, bool) if batch.episode_starts is None else batch.episode_starts[0]
    rewards = batch.rewards if batch.raw_rewards is None else batch.raw_rewards
    parts = episode_parts(rewards.astype(np.float64), ends, begins)
    ended, whole = int(parts.ended.sum()), parts.whole
    length = float(parts.length[whole].mean()) if whole.any() else np.nan
    found = {
        "episodes": float(ended),
        "distinct_returns": float(len(np.unique(parts.total[whole]))) if whole.any() else np.nan,
        "reward_variation_share": float(parts.varies.mean()),
        "episode_length": length,
        "episode_length_to_steps": length / batch.steps,
        "environments_without_end": float((~ends.any(axis=0)).mean()),
    }
    if batch.terminated is not None and batch.truncated is not None and ended:
        found["terminated_share"] = float(batch.terminated.sum() / ended)
        found["truncated_share"] = float(batch.truncated.sum() / ended)
    return found
