"""Every number of a measurement of trust regions, by the schema's names, from what its jobs answered.

====== ==================================================
symbol meaning
====== ==================================================
R      updates, each from a batch of its own
W      pairs looked at: 2, the batch's own and held-out ones
K      stages of an update
M      multiples of its step
====== ==================================================
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.rewards import reward_unit
from closerlook.algorithms.contrib_trpo import ContribTRPOSettings
from closerlook.algorithms.joint import JointSettings
from closerlook.algorithms.natural import NaturalSettings
from closerlook.algorithms.ppo import PPOSettings
from closerlook.algorithms.rules import Rule, climbed_surrogate, rule_of
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.diagnostics.common.layout import Findings, interval, intervals
from closerlook.diagnostics.trust_region.plan import Plan
from closerlook.diagnostics.trust_region.step_settings import fraction_worse, step_settings
from closerlook.measurements.policy_change import CHANGES
from closerlook.measurements.step_audits import OF_JOINT_UPDATES, stages_of
from closerlook.statistics.estimates import FEWEST, NOTHING, Interval, mean_interval, mean_share, ratio_of_means
from closerlook.statistics.mean_returns import paired_gains
from closerlook.statistics.surfaces import best_point

Sums = Mapping[str, np.ndarray]
"""Sums over episodes of one update: the agent itself, then each multiple, (1 + M, S)."""

PAIRS_OF = ("batch", "heldout")
"""Whose pairs: the update's own, or others by the same policy."""
NORMALIZED = SURROGATES.index("normalized")
"""The unclipped surrogate of standardized advantages, by which all algorithms are compared."""
AVERAGED = (
    "mean_kl_batch",
    "max_kl_batch",
    "mean_kl_heldout",
    "max_kl_heldout",
    "mean_reverse_kl_heldout",
    "max_ratio",
    "clip_fraction",
    "clip_fraction_heldout",
    "quadratic_kl",
    "quadratic_kl_heldout",
    "quadratic_kl_own",
    "predicted_improvement",
    "surrogate_improvement",
    "surrogate_improvement_heldout",
    "true_improvement",
    "surrogate_rise",
    "surrogate_rise_heldout",
    "update_norm",
    "step_fraction",
    "cg_residual",
    "natural_residual",
    "natural_efficiency",
    "normalized_rise",
    "normalized_rise_heldout",
    "clip_null",
    "clip_null_heldout",
)
"""Numbers of each update whose mean over updates has an interval."""
SKEWED = {
    *(name for name in AVERAGED if "kl" in name or "rise" in name or "improvement" in name),
    "max_ratio",
    "update_norm",
    "cg_residual",
    "natural_residual",
    "clip_null",
    "clip_null_heldout",
}
"""Those whose few updates are skewed, gains in true reward among them."""
POSITIVE = {
    *(name for name in AVERAGED if "kl" in name),
    *("max_ratio", "update_norm", "cg_residual", "natural_residual"),
}
"""Those that are never negative."""
SHARES = {"clip_fraction", "clip_fraction_heldout", "step_fraction"}
"""Those that are between 0 and 1."""
OF_UPDATES = {
    "quadratic_kl_own": "quadratic_kl",
    "step_fraction": "step_fraction",
    "line_search_failed": "line_search_failed",
    "cg_residual": "cg_residual",
    "cg_steps": "cg_steps",
}
"""What an update along the natural gradient tells of itself, by the names here."""


def trust_region_findings(
    agent: Agent, plan: Plan, audits: Sequence[Mapping[str, np.ndarray]], rewards: Sequence[Any]
) -> Findings:
    """Work out everything of one agent.

    Parameters
    ----------
    agent : Agent
        Whose updates.
    plan : Plan
        What was asked.
    audits : sequence of mappings, length R
        Of `closerlook.measurements.step_audits.audit_step`.
    rewards : sequence of mappings or None, length R
        Sums over episodes, see `closerlook.measurements.episode_returns.sample_returns`; None where there are none.
    """
    rule = rule_of(agent, plan.options.algorithm)
    stacked = {name: np.stack([audit[name] for audit in audits]) for name in audits[0]}
    own = climbed_surrogate(agent, rule)
    found = _policy(stacked, plan) | _surrogates(stacked, own, plan) | _algorithm(stacked, rule)
    found |= _exploration(agent, stacked, plan.description["action_space"])
    found |= _stages(stacked, own, stages_of(rule, plan.step.batch_pairs))
    gains = [_gains(sums, plan) for sums in rewards]
    asked = np.array([sums is not None for sums in rewards])
    found |= _rewards(gains, asked, plan) | _predictions(agent, stacked, rewards, plan)
    found |= _along(found, asked, rule, plan) | _agreement(stacked, found["multiple_gain"], asked)
    found |= step_settings(found, plan.multiples)
    return found | intervals("average", [_average(name, found[name], asked) for name in AVERAGED])


def _skewed(values: np.ndarray) -> Interval:
    """Return the mean of numbers (R,) that are skewed."""
    return mean_interval(values, skewed=True)


def _average(name: str, values: np.ndarray, asked: np.ndarray) -> Interval:
    """Return the mean of a number over updates (R,), with the interval that fits its kind."""
    if name == "true_improvement":
        return over_known(values, asked)
    # fractions between 0 and 1 by their log-odds, skewed numbers by the widest of three intervals
    least = 0.0 if name in POSITIVE else -np.inf
    return mean_share(values) if name in SHARES else mean_interval(values, skewed=name in SKEWED, least=least)


def _policy(stacked: Mapping[str, np.ndarray], plan: Plan) -> Findings:
    """Return how far the whole step moves the policy, in every measure, (R,) each; and all multiples."""
    whole = stacked["multiple_change"][:, :, plan.whole]
    found: Findings = {"multiple_change": stacked["multiple_change"].swapaxes(2, 3)}
    for place, pairs in enumerate(PAIRS_OF):
        for at, name in enumerate(CHANGES):
            found[change_name(name, pairs)] = whole[:, place, at]
    found["quadratic_kl"], found["quadratic_kl_heldout"] = stacked["quadratic_kl"].T
    return found


def change_name(name: str, pairs: str) -> str:
    """Name a measure of the whole step's change: those of divergence say whose states, the others only if held out.

    Parameters
    ----------
    name : str
        Of a measure.
    pairs : {"batch", "heldout"}
        On which pairs.
    """
    return f"{name}_{pairs}" if "kl" in name or pairs == "heldout" else name


def _surrogates(stacked: Mapping[str, np.ndarray], own: int, plan: Plan) -> Findings:
    """Return how far two surrogates rise: the one that is climbed, in its own unit, and the unclipped normalized one.

    What is found again on other pairs is judged by the latter: a clipped one falls there by chance alone.
    """
    # L(theta + m step) - L(theta), of each surrogate, on both batches
    rises = stacked["multiple_surrogates"] - stacked["base_surrogates"][:, :, None]
    found: Findings = {"surrogate_kind": np.array(own)}
    for name, kind in (("surrogate_rise", own), ("normalized_rise", NORMALIZED)):
        found[f"multiple_{name}"] = rises[..., kind]
        found[name], found[f"{name}_heldout"] = rises[:, :, plan.whole, kind].T
    ratio = ratio_of_means(found["normalized_rise_heldout"], found["normalized_rise"])
    return found | interval("mean_heldout_improvement_ratio", ratio)


def _kl_bound(rule: Rule) -> float:
    """Return what the step's mean KL is bounded by, NaN where it is not."""
    settings = rule.settings
    if isinstance(settings, ContribTRPOSettings):
        return settings.target_kl
    return settings.max_kl if isinstance(settings, NaturalSettings) else np.nan


def _algorithm(stacked: Mapping[str, np.ndarray], rule: Rule) -> Findings:
    """Return what the update is bound by, and what it tells of itself."""
    settings = rule.settings
    rate, clip, minibatches = np.nan, np.nan, 1
    if isinstance(settings, PPOSettings):
        rate = settings.rate(settings.policy_learning_rate, rule.iteration)
        clip, minibatches = settings.clip, settings.minibatches * settings.policy_epochs
    elif isinstance(settings, JointSettings):
        rate, clip = settings.learning_rate, settings.clip if settings.clip is not None else np.nan
    constant = stacked["update_constant_minibatches"] >= max(minibatches, 1)
    overflown = ~(stacked["advantage_deviation"] <= np.finfo(np.float32).max)  # and so equal, or all zero, to an update
    constant = (constant | (stacked["advantage_deviation"] == 0)) & ~overflown
    # |theta_new - theta_old|
    norm = np.sqrt(np.square(stacked["displacement"]).sum(axis=1))
    joint = {name: stacked[f"update_{name}"] for name in OF_JOINT_UPDATES if f"update_{name}" in stacked}
    return {
        **joint,
        "kl_bound": np.array(_kl_bound(rule)),
        "clip_epsilon": np.array(clip),
        "policy_learning_rate": np.array(rate),
        "update_norm": norm,
        "zero_updates": np.array((norm == 0).sum()),
        "failed_updates": np.array(np.isnan(norm).sum()),
        "constant_advantages": np.array(constant.sum()),
        "overflown_advantages": np.array(overflown.sum()),
        "natural_residual": stacked["natural_residual"],
        "natural_efficiency": stacked["natural_efficiency"],
        **{name: stacked[f"update_{own}"] for name, own in OF_UPDATES.items()},
    }


def _exploration(agent: Agent, stacked: Mapping[str, np.ndarray], space: Mapping[str, Any]) -> Findings:
    """Return what is left of a policy's randomness, as it is and beside what its actions can be."""
    deviations, share = stacked["action_deviations"].min(axis=0), np.nan
    if space["type"] == "Box":
        ranges = np.array(space["high"]) - np.array(space["low"])
        # tanh brings a deviation of s in the middle of its range to half the range times s
        ranges = np.full_like(ranges, 2.0) if agent.action_transform == "squash" else ranges
        share = float(np.min(deviations / ranges)) if np.isfinite(ranges).all() else np.nan
    entropies = {"entropy_share": np.array(stacked["entropy_share"].mean())}
    return {"action_std": np.array(deviations.min()), "action_std_share": np.array(share), **entropies}


def _stages(stacked: Mapping[str, np.ndarray], own: int, stages: Sequence[int]) -> Findings:
    """Return how all of it grows over the minibatches of an update; one stage, its end, where it is a single step."""
    if not stages:
        return {}
    rises = stacked["stage_surrogates"] - stacked["base_surrogates"][:, :, None]
    return {
        "stage_change": stacked["stage_change"].swapaxes(2, 3),
        "stage_surrogate_rise": rises[..., own],
        "stage_normalized_rise": rises[..., NORMALIZED],
    }


def _gains(sums: Sums | None, plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gain in true reward of all multiples of one update, with interval, (M,) each."""
    if sums is None:
        nothing = np.full(len(plan.multiples), np.nan)
        return nothing, nothing, nothing
    # policy 0 is the agent itself; the others are multiples of the step, on the same draws
    means = paired_gains(sums["returns"], sums["episodes"], 0).at(slice(1, None))
    return means.value, means.low, means.high


def _rewards(gains: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], asked: np.ndarray, plan: Plan) -> Findings:
    """Return the gains of all updates (R, M), and their means; `asked` are those whose rewards were sampled, (R,)."""
    ends = {end: np.stack([gain[at] for gain in gains]) for at, end in enumerate(("", "_low", "_high"))}
    whole = {f"true_improvement{end}": values[:, plan.whole] for end, values in ends.items()}
    over_updates = [over_known(column, asked) for column in ends[""].T]
    all_of_them = {f"multiple_gain{end}": values for end, values in ends.items()}
    # updates that ended finite and have no reward at that multiple
    unknown = (~np.isfinite(ends[""]) & asked[:, None]).sum(axis=0)
    found = {**whole, **all_of_them, **intervals("mean_multiple_gain", over_updates), "unknown_gains": unknown}
    return found | interval("fraction_worse", fraction_worse(whole["true_improvement"][asked]))


def _agreement(stacked: Mapping[str, np.ndarray], gains: np.ndarray, asked: np.ndarray) -> Findings:
    """Return at which share of the multiples a surrogate and the true reward move the same way: gains (R, M)."""
    rises = stacked["multiple_surrogates"] - stacked["base_surrogates"][:, :, None]
    # 1 where sign(L(theta + m step) - L(theta)) = sign(J(theta + m step) - J(theta)), 0 where not, 1/2 where one is 0
    same = (1 + np.sign(rises) * np.sign(gains)[:, None, :, None]) / 2
    shares = same.mean(axis=2)  # (R, pairs_of, surrogate_name)
    found = [over_known(column, asked, mean_share) for column in shares.reshape(len(shares), -1).T]
    return intervals("agreement_along_update", found, shares.shape[1:])


def over_known(values: np.ndarray, asked: np.ndarray, mean: Callable[[np.ndarray], Interval] = _skewed) -> Interval:
    """Return the mean over updates (R,), nothing where one that was asked has no number: the others are a selection.

    Parameters
    ----------
    values : ndarray, (R,)
        One number for each update.
    asked : ndarray, (R,), bool
        Updates that should have one.
    mean : callable
        Gives the mean, with the interval that fits the numbers.
    """
    return NOTHING if np.isnan(values[asked]).any() else mean(values)


def _predictions(
    agent: Agent, stacked: Mapping[str, np.ndarray], rewards: Sequence[Sums | None], plan: Plan
) -> Findings:
    """Return what gradient and plain surrogate predict of each whole step, in units of episode return, (R,) each.

    A pair's mean gain times the mean length of an episode: to first order, and by discounted advantages.
    """
    # a mean over pairs in scaled reward, times the divisor of rewards and the length of an episode, is a gain per
    # episode
    lengths = np.array([_length(sums) for sums in rewards])
    unit = reward_unit(agent) * lengths
    plain = SURROGATES.index("plain")
    rises = stacked["multiple_surrogates"][:, :, plan.whole, plain] - stacked["base_surrogates"][:, :, plain]
    # g . Delta theta, g the gradient of the plain surrogate
    slopes = stacked["slopes"][..., plain]
    return {
        "true_reward_before": np.array([_reward(sums) for sums in rewards]),
        "mean_episode_length": lengths,
        "return_episodes": np.array([_fewest_episodes(sums) for sums in rewards]),
        "predicted_improvement": slopes[:, 0] * unit,
        "predicted_improvement_heldout": slopes[:, 1] * unit,
        "surrogate_improvement": rises[:, 0] * unit,
        "surrogate_improvement_heldout": rises[:, 1] * unit,
    }


def _length(sums: Sums | None) -> float:
    return np.nan if sums is None else _ratio(sums["steps"][0].sum(), sums["episodes"][0].sum())


def _reward(sums: Sums | None) -> float:
    return np.nan if sums is None else _ratio(sums["returns"][0].sum(), sums["episodes"][0].sum())


def _fewest_episodes(sums: Sums | None) -> float:
    """Return the episodes at the point of an update that has fewest."""
    return np.nan if sums is None else float(sums["episodes"].sum(axis=1).min())


def _ratio(over: float, under: float) -> float:
    """Divide, where something was counted."""
    return float(over / under) if under != 0 else np.nan


def _along(found: Findings, asked: np.ndarray, rule: Rule, plan: Plan) -> Findings:
    """Return at which multiple reward and surrogate are highest, and at which the divergence meets its bound."""
    best = {"best_multiple": np.nan, "best_multiple_low": np.nan, "best_multiple_high": np.nan}
    known = found["unknown_gains"] == 0
    if asked.sum() >= FEWEST and known.any():
        # not to move at all, a gain of 0 exactly, is one of the choices
        points = np.concatenate([[0.0], plan.multiples[known]])
        at, maybe = best_point(np.pad(found["multiple_gain"][asked][:, known], ((0, 0), (1, 0))))
        best = {"best_multiple": points[at], "best_multiple_low": points[maybe].min()}
        best["best_multiple_high"] = points[maybe].max()
    moved = np.isfinite(found["update_norm"])
    # mean over updates of the mean KL on held-out states, at each multiple
    kl = np.array([over_known(column, moved).value for column in found["multiple_change"][:, 1, 0].T])
    along = np.moveaxis(found["multiple_surrogate_rise"], 0, -1)
    rises = [[over_known(updates, moved).value for updates in row] for row in along]
    bound = _kl_bound(rule)
    return {
        **{name: np.array(value) for name, value in best.items()},
        "surrogate_best_multiple": np.array([_peak(plan.multiples, np.array(rise)) for rise in rises]),
        "bound_multiple": np.array(crossing(plan.multiples, kl, bound)),
    }


def _peak(multiples: np.ndarray, rises: np.ndarray) -> float:
    """Return where a surrogate is highest: 0 where it rises nowhere, NaN where it is not known."""
    finite = np.isfinite(rises)
    if not finite.any():
        return np.nan
    at = int(np.argmax(np.where(finite, rises, -np.inf)))
    return float(multiples[at]) if rises[at] > 0 else 0.0


def crossing(multiples: np.ndarray, kl: np.ndarray, bound: float) -> float:
    """Return the multiple at which the mean KL meets its bound, by interpolating logarithms; NaN outside.

    Parameters
    ----------
    multiples : ndarray, (M,)
        Of the step, rising.
    kl : ndarray, (M,)
        Mean KL at each, nats.
    bound : float
        Nats.
    """
    known = np.isfinite(kl) & (kl > 0)
    logs = np.log(kl[known])
    if not (np.isfinite(bound) and len(logs) > 1 and (np.diff(logs) > 0).all()):
        return np.nan
    # log KL is about linear in the log of the multiple, as KL grows with its square
    found = np.interp(np.log(bound), logs, np.log(multiples[known]), left=np.nan, right=np.nan)
    return float(np.exp(found))
