"""What a measurement of trust regions says of an agent's update, with the numbers it rests on.

The limits lie at the edge of what trained agents of the atlas show, or beyond it: docs/trust-region.md has the ranges.
What is within them is usual, not good.
"""

import numpy as np
import xarray as xr

from closerlook.diagnostics.common.heldout import judge_heldout
from closerlook.diagnostics.common.verdict import (
    Level,
    Verdict,
    as_text,
    bounds,
    is_collapsed,
    judge_each,
    make_verdict,
    span,
    unmoved,
)
from closerlook.diagnostics.trust_region.limits import Limits
from closerlook.statistics.estimates import Interval

EPISODES_WANTED = 10
"""Episodes that should begin in the pairs a true reward is measured from, where none did."""


def verdicts(dataset: xr.Dataset, **given: float) -> list[Verdict]:
    """Judge each agent of a dataset of trust regions.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of this diagnostic.
    **given : float
        Limits in place of the usual ones, by the names of `Limits`.
    """
    first = (_failures, _collapsed, _bound, _clipping, _model, _line_search, _natural)
    judges = (*first, _rewards, _improvement, _overfit, _length)
    return judge_each(dataset, judges, Limits.of(given))


def _average(agent: xr.Dataset, name: str) -> tuple[float, float, float]:
    here = agent.sel(quantity=name)
    value, low, high = (float(here[f"average{end}"]) for end in ("", "_low", "_high"))
    return value, low, high


def _as_text(agent: xr.Dataset, name: str, form: str) -> str:
    """Write the mean over updates of a variable, in words where one of them is not finite."""
    return as_text(_average(agent, name)[0], form, overflown=bool(np.isinf(agent[name].values).any()))


def _failures(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge updates that came to nothing."""
    count = agent.sizes["repeat"]
    numbers = {key: int(agent[key]) for key in ("failed_updates", "constant_advantages", "zero_updates")}
    evidence = {key: float(value) for key, value in numbers.items()} | {"updates": float(count)}
    overflown = int(agent.get("overflown_advantages", 0))
    if overflown:
        words = f"In {overflown} of {count} batches advantages are too large for a number."
        advice = "Look at the rewards of a batch, and scale them: one is huge."
        return make_verdict("update", "problem", (name, words), evidence | {"overflown": float(overflown)}, advice)
    if numbers["failed_updates"]:
        words = f"{numbers['failed_updates']} of {count} updates ended with parameters that are not finite."
        advice = "Lower the learning rate, or look at the rewards of a batch: one may be huge."
        return make_verdict("update", "problem", (name, words), evidence, advice)
    if numbers["constant_advantages"]:
        words = f"In {numbers['constant_advantages']} of {count} updates no minibatch has two advantages that differ:"
        words += " nothing to climb."
        advice = "Look at the rewards: they may not depend on what the agent does. Minibatches of one pair have nothing"
        advice += " to compare either: take fewer."
        return make_verdict("update", "problem", (name, words), evidence, advice)
    if numbers["zero_updates"]:
        words = f"{numbers['zero_updates']} of {count} updates did not move the policy."
        advice = "For TRPO, see how far the line search backs off; else look at the learning rate."
        return make_verdict("update", "problem", (name, words), evidence, advice)
    return None


def _collapsed(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge the standard deviation of the policy, and what overflowed for want of it."""
    std = float(agent["action_std"])
    if is_collapsed(std, limits.deterministic_std):
        words = f"The smallest standard deviation of an action component is {std:.2g}: the policy is almost"
        words += " deterministic, and every divergence and ratio is huge."
        advice = "Add an entropy bonus, or bound the standard deviation from below."
        return make_verdict("exploration", "problem", (name, words), {"action_std": std}, advice)
    whole = agent[["max_kl_batch", "max_kl_heldout", "max_ratio", "max_ratio_heldout"]].to_array()
    moved = np.isfinite(agent["update_norm"].values)
    overflown = int((np.isposinf(whole.values) & moved).any(axis=0).sum())
    if overflown:
        words = f"In {overflown} of {agent.sizes['repeat']} updates a divergence or a ratio is too large for a number."
        advice = "Take shorter steps: a smaller learning rate, clip or trust region."
        return make_verdict("overflow", "problem", (name, words), {"updates": float(overflown)}, advice)
    little = _little_exploration(agent, limits)
    if little:
        words, evidence = little
        advice = "Usual for an agent that has finished learning; before, add an entropy bonus, or bound the deviation."
        return make_verdict("exploration", "watch", (name, words), evidence, advice)
    return None


def _little_exploration(agent: xr.Dataset, limits: Limits) -> tuple[str, dict[str, float]] | None:
    """Say that next to nothing is explored, with the number; None where that is not so, or not known."""
    share, entropy = (float(agent.get(name, np.nan)) for name in ("action_std_share", "entropy_share"))
    if share < limits.little_std:
        words = f"The smallest standard deviation of an action component is {float(agent['action_std']):.2g}, "
        return f"{words}{100 * share:.2g}% of its range: there is almost no exploration.", {"action_std_share": share}
    if entropy < limits.little_entropy:
        words = f"The mean entropy of actions is {100 * entropy:.2g}% of the largest: there is almost no exploration."
        return words, {"entropy_share": entropy}
    return None


def _rewards(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Name updates whose true reward is not known although it was asked for."""
    if agent.attrs.get("return_pairs", 0) == 0:
        return None
    moved = agent["update_norm"].values > 0
    unknown = int((moved & np.isnan(agent["true_improvement"].values)).sum())
    if not unknown:
        return _longer(name, agent)
    if "return_episodes" in agent and bool((agent["return_episodes"] == 0).any()):
        return _none_began(name, agent)
    words = f"The true reward of {unknown} of {agent.sizes['repeat']} updates is not known: an episode was given up, "
    words += "or came to numbers that are not finite, before or after the update."
    advice = "Give the environment a time limit if episodes may never end; else look at its rewards."
    return make_verdict("true reward", "problem", (name, words), {"unknown": float(unknown)}, advice)


def _none_began(name: str, agent: xr.Dataset) -> Verdict:
    """Say how many pairs would do where none of an update's episodes began in what was sampled."""
    none, limit = int((agent["return_episodes"] == 0).sum()), int(agent.attrs.get("time_limit", 0))
    words = f"For {none} of {agent.sizes['repeat']} updates no episode began in the pairs sampled: they are long."
    advice = f"Give {EPISODES_WANTED * limit:,} --return-pairs or more." if limit else "Give more --return-pairs."
    return make_verdict("true reward", "not_enough_data", (name, words), {"without_episodes": float(none)}, advice)


def _longer(name: str, agent: xr.Dataset) -> Verdict | None:
    """Name multiples of the step at which the reward of some updates is not known."""
    counts = {f"{float(one['multiple']):g}": float(one) for one in agent.get("unknown_gains", ()) if one}
    if not counts:
        return None
    words = f"At {', '.join(counts)} times the step the true reward of up to {max(counts.values()):.0f} of "
    words += f"{agent.sizes['repeat']} updates is not known: of such steps no mean is given, and none is called best."
    evidence = {f"unknown_at_{multiple}": count for multiple, count in counts.items()}
    return make_verdict("true reward", "watch", (name, words), evidence, "Give smaller --multiples.")


def _bound(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge whether the bound on the mean KL holds on states that the update has not seen."""
    bound = float(agent["kl_bound"])
    value, low, high = _average(agent, "mean_kl_heldout")
    if not (np.isfinite(bound) and np.isfinite(value)):
        return None
    worst = _average(agent, "max_kl_heldout")[0]
    own = _average(agent, "mean_kl_batch")[0]
    evidence = {"kl_bound": bound, "mean_kl_batch": own, "mean_kl_heldout": value, "low": low, "high": high}
    evidence |= {"max_kl_heldout": worst}
    words = f"The mean KL is {_as_text(agent, 'mean_kl_batch', '.3g')} on the batch and {value:.3g} "
    words += (
        f"({span(low, high, '.3g')}) on other states, bound {bound:g}; at the worst state, which theory bounds, it is "
    )
    words += f"{_as_text(agent, 'max_kl_heldout', '.3g')}" + (
        f", {worst / bound:.0f} times that." if worst < np.inf else "."
    )
    level: Level = "ok" if not low > limits.beyond_bound * bound else "watch"
    advice = "" if level == "ok" else "Larger batches, or a smaller bound (max_kl), hold on other states too."
    return make_verdict("trust region", level, (name, words), evidence, advice)


def _clipping(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge how near clipping keeps the policy."""
    epsilon = float(agent["clip_epsilon"])
    value, low, high = _average(agent, "clip_fraction")
    if not (np.isfinite(epsilon) and np.isfinite(value)):
        return None
    ratio, kl = _average(agent, "max_ratio")[0], _average(agent, "mean_kl_batch")[0]
    worst = _average(agent, "max_kl_batch")[0]
    evidence = {"clip_fraction": value, "low": low, "high": high, "max_ratio": ratio, "mean_kl_batch": kl}
    evidence |= {"max_kl_batch": worst, "clip_epsilon": epsilon}
    words = f"{100 * value:.0f}% ({span(low, high, '.0f', 100)}) of ratios end outside 1 +- {epsilon:g}, the "
    words += (
        f"largest at {_as_text(agent, 'max_ratio', '.3g')}: clipping bounds the objective, not the policy. Mean KL "
    )
    words += f"{_as_text(agent, 'mean_kl_batch', '.2g')}, worst {_as_text(agent, 'max_kl_batch', '.2g')}."
    level: Level = "watch" if low > limits.many_outside else "ok"
    words += " More than trained agents usually show." if level == "watch" else ""
    advice = "" if level == "ok" else "Fewer epochs or a smaller learning rate would keep the policy nearer."
    return make_verdict("clipping", level, (name, words), evidence, advice)


def _model(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge the quadratic model of the mean KL."""
    quadratic, exact = (agent[key].values for key in ("quadratic_kl", "mean_kl_batch"))
    usable = np.isfinite(quadratic) & np.isfinite(exact) & (exact > 0)
    if not usable.any():
        return None
    ratio = float(quadratic[usable].sum() / exact[usable].sum())
    evidence = {"ratio": ratio, "quadratic_kl": float(quadratic[usable].mean()), "mean_kl": float(exact[usable].mean())}
    words = f"The quadratic model gives {ratio:.2f} times the mean KL of the same states."
    level: Level = "ok" if limits.model_least <= ratio <= limits.model_most else "watch"
    advice = "" if level == "ok" else "The step leaves the region in which the model holds: take shorter ones."
    return make_verdict("quadratic model", level, (name, words), evidence, advice)


def _line_search(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge how far the line search backs off."""
    fraction, failed = agent["step_fraction"].values, agent["line_search_failed"].values
    if not np.isfinite(fraction).any():
        return None
    whole, lost = float((fraction == 1).mean()), float(np.nanmean(failed))
    evidence = {"step_fraction": float(np.nanmean(fraction)), "full_steps": whole, "failed": lost}
    words = (
        f"The line search takes the full step in {100 * whole:.0f}% of updates, none in {100 * lost:.0f}%; on average "
    )
    words += f"{evidence['step_fraction']:.2f} of it."
    level: Level = (
        "watch" if lost > limits.failed_searches or evidence["step_fraction"] < limits.least_step_fraction else "ok"
    )
    advice = "" if level == "ok" else "The quadratic model overshoots: more states for the Fisher matrix, more damping."
    return make_verdict("line search", level, (name, words), evidence, advice)


def _natural(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge what few steps of conjugate gradient on few states leave of the natural gradient."""
    value, low, high = _average(agent, "natural_efficiency")
    if not (np.isfinite(value) and np.isfinite(agent["cg_residual"].values).any()):
        return None
    residual, whole = _average(agent, "cg_residual")[0], _average(agent, "natural_residual")[0]
    evidence = {"natural_efficiency": value, "low": low, "high": high, "cg_residual": residual}
    evidence |= {"natural_residual": whole}
    words = f"The step has {100 * value:.0f}% ({span(low, high, '.0f', 100)}) of the predicted gain of the natural "
    words += (
        f"gradient solved to the end on the whole batch; of the gradient {as_text(residual, '.2f')} is left on "
        f"its own states, {as_text(whole, '.2f')} on all."
    )
    level: Level = "watch" if high < limits.efficient else "ok"
    advice = "" if level == "ok" else "More steps of conjugate gradient (cg_steps), or a larger fisher_fraction."
    return make_verdict("natural gradient", level, (name, words), evidence, advice)


def _improvement(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge whether an update raises the true reward, and how much of what is predicted comes."""
    gain, low, high = _average(agent, "true_improvement")
    if not np.isfinite(gain):
        return None
    predicted, slope, other = (
        _average(agent, key)[0]
        for key in ("surrogate_improvement", "predicted_improvement", "surrogate_improvement_heldout")
    )
    before = float(agent["true_reward_before"].mean())
    evidence = {"true_improvement": gain, "low": low, "high": high, "surrogate_improvement": predicted}
    evidence |= {"predicted_improvement": slope, "surrogate_improvement_heldout": other, "reward": before}
    words = f"An update changes the mean return by {gain:+.3g} ({span(low, high)}) from {before:.4g}; the "
    names = ("surrogate_improvement", "surrogate_improvement_heldout", "predicted_improvement")
    first, second, third = (_as_text(agent, key, "+.3g") for key in names)
    words += f"surrogate predicts {first} on its batch, {second} on other pairs, the gradient {third}."
    if low == high == 0:
        steps = float(agent["mean_episode_length"].mean()) if "mean_episode_length" in agent else np.nan
        level, more, advice = unmoved(steps, int(agent.attrs.get("time_limit", 0)))
        words = f"No update changes any return, which is {before:.4g} on average.{more}"
        return make_verdict("improvement", level, (name, words), evidence, advice)
    if abs(predicted) > abs(before) > 0:
        words += " A prediction beyond the return itself is of its batch alone, to first order: no step keeps it."
    if agent.sizes["repeat"] < limits.enough_updates:
        words += f" {agent.sizes['repeat']} updates are too few to trust the interval."
        advice = f"Give {limits.enough_updates:g} --repeats or more."
        return make_verdict("improvement", "not_enough_data", (name, words), evidence, advice)
    if low > 0:
        return make_verdict("improvement", "ok", (name, words), evidence, "")
    if high < 0:
        advice = "Larger batches, or shorter steps: see at which multiple of the step the reward peaks."
        return make_verdict("improvement", "problem", (name, words), evidence, advice)
    words += f" Too few pairs to tell a gain from a loss; {bounds(low, high)}."
    advice = "More --repeats and --return-pairs would tell a gain from a loss."
    return make_verdict("improvement", "not_enough_data", (name, words), evidence, advice)


def _overfit(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge how much of the surrogate's rise is of the batch alone; datasets of earlier versions do not tell."""
    numbers = [float(agent.get(f"mean_heldout_improvement_ratio{end}", np.nan)) for end in ("", "_low", "_high")]
    if not np.isfinite(numbers[0]):
        return None
    evidence = {key: _average(agent, key)[0] for key in ("normalized_rise", "normalized_rise_heldout")}
    clipped_note = ""
    if np.isfinite(float(agent["clip_epsilon"])):
        clipped, null = _average(agent, "surrogate_rise_heldout"), _average(agent, "clip_null_heldout")
        evidence |= {"surrogate_rise_heldout": clipped[0], "clip_null_heldout": null[0]}
        clipped_note = f" Clipped, it changes by {as_text(clipped[0], '+.2g')} there, where chance alone gives "
        clipped_note += f"{as_text(null[0], '+.2g')}."
    return judge_heldout(
        name, Interval(*numbers), evidence, "Give more --repeats and --pairs.", limits, clipped_note=clipped_note
    )


def _length(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge the length of the step, and name the setting that would give the best one."""
    best, low, high = (float(agent[f"best_multiple{end}"]) for end in ("", "_low", "_high"))
    furthest = float(agent["multiple"].where(np.isfinite(agent["mean_multiple_gain"])).max())
    if not np.isfinite(best) or not furthest > 1:
        return None
    evidence = {"best_multiple": best, "low": low, "high": high}
    evidence |= {"surrogate_best_multiple_heldout": float(agent["surrogate_best_multiple"].sel(pairs_of="heldout"))}
    span = f"at {best:g} times the step (95%: {low:g} to {high:g})"
    if (low, high) == (0.0, furthest):
        words = f"Averaged over updates the reward is highest {span}: too few pairs to say where."
        advice = "More --repeats and --return-pairs would tell."
        return make_verdict("step length", "not_enough_data", (name, words), evidence, advice)
    words = f"Averaged over updates the reward is highest {span}."
    if high < 1:
        advice = f"Shorter steps pay: {_setting(agent, max(best, 0.25))}."
        return make_verdict("step length", "watch", (name, words), evidence, advice)
    advice = f"Longer steps pay: {_setting(agent, best)}." if low > 1 else ""
    return make_verdict("step length", "ok", (name, words), evidence, advice)


def _setting(agent: xr.Dataset, multiple: float) -> str:
    """Return which setting gives about so many times the step: see `step_settings`."""
    rate, bound, clip = (float(agent[name]) for name in ("policy_learning_rate", "kl_bound", "clip_epsilon"))
    if np.isfinite(bound):
        return f"a max_kl of about {bound * multiple**2:.2g} instead of {bound:g}"
    if np.isfinite(rate):
        words = f"a policy_learning_rate of about {rate * multiple:.2g} instead of {rate:.2g} at this iteration"
        return f"{words}, or a clip of about {clip * multiple:.2g} instead of {clip:g}" if np.isfinite(clip) else words
    return f"about {multiple:g} times the learning rate"
