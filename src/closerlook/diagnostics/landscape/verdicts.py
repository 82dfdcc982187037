"""What a landscape says of an agent's step, with the numbers it rests on.

The limits lie at the edge of what trained agents of the atlas show, or beyond it: docs/landscape.md has the ranges.
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
    collapsed,
    is_collapsed,
    judge_each,
    make_verdict,
    span,
    unmoved,
)
from closerlook.diagnostics.landscape.limits import Limits
from closerlook.diagnostics.landscape.options import NOWHERE
from closerlook.statistics.estimates import Interval

GONE = {
    "exploded_points": "of the plane exploded",
    "exploded_line_points": "of the line exploded",
    "unfinished_points": "of the plane had an episode that did not end",
    "unfinished_line_points": "of the line had an episode that did not end",
}
"""Points whose reward is not known, by what became of them."""
REWARDS = {"plane": "true_reward", "line": "line_reward"}


def verdicts(dataset: xr.Dataset, **given: float) -> list[Verdict]:
    """Judge each agent of a dataset of landscapes; of steps nothing is said where the first axis is another.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of this diagnostic.
    **given : float
        Limits in place of the usual ones, by the names of `Limits`.
    """
    of_steps = (_nowhere, _step, _points, _overfit, _length, _plane)
    judges = of_steps if dataset.attrs.get("axes", "step").startswith("step") else (_nowhere, _points, _plane)
    return judge_each(dataset, judges, Limits.of(given))


def _numbers(agent: xr.Dataset, name: str) -> tuple[float, float, float]:
    """Return a number with its interval; NaN of a dataset that is older than the variable."""
    value, low, high = (float(agent.get(f"{name}{end}", np.nan)) for end in ("", "_low", "_high"))
    return value, low, high


def _nowhere(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Say why nothing was looked at."""
    if not (bool(agent.get("failed_update", False)) or bool(agent["zero_update"])):
        return None
    directions, axes = np.atleast_2d(agent.get("directions", 0.0)), agent.attrs.get("axes", "step").split(", ")
    lost = next((axis for axis, way in zip(axes, directions, strict=False) if not way.any()), None)
    if lost == "step" or not np.isfinite(directions).all():
        return _no_step(name, agent, limits)
    if lost is None:
        return None
    what, hint = NOWHERE[lost]
    words = f"{what[0].upper()}{what[1:]}: there is no direction to measure along."
    return make_verdict(
        "axes", "problem", (name, words), {"update_norm": float(agent["full_update_norm"])}, f"G{hint[1:]}."
    )


def _step(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge whether the whole step raises the true reward."""
    gain, low, high = _numbers(agent, "full_update_realized_improvement")
    if not np.isfinite(gain):
        return None
    base = float(agent["line_reward"].sel(line=0.0))
    evidence = {"full_update_realized_improvement": gain, "low": low, "high": high, "reward": base}
    predicted = float(agent["full_update_predicted_improvement"].sel(pairs_of="batch"))
    evidence |= {"full_update_predicted_improvement": predicted}
    evidence |= {"probability_worse": float(agent["probability_worse"])}
    change = f"the whole step changes the mean return by {gain:+.3g} ({span(low, high)}) from {base:.4g}"
    if low == high == 0:
        steps = float(agent["line_episode_length"].sel(line=0.0)) if "line_episode_length" in agent else np.nan
        level, more, advice = unmoved(steps, int(agent.attrs.get("time_limit", 0)))
        words = f"The whole step changes no return, which is {base:.4g} on average.{more}"
        return make_verdict("step", level, (name, words), evidence, advice)
    streams = agent.attrs["line_pairs_per_point"] // agent.attrs["stream_pairs"]
    if streams < limits.enough_streams:
        words = f"Of this batch, {change}: from {streams} streams, too few to trust the interval."
        return make_verdict("step", "not_enough_data", (name, words), evidence, _more_pairs(agent, limits))
    if low > 0:
        return make_verdict("step", "ok", (name, f"Of this batch, {change}."), evidence, "")
    if high < 0:
        words = f"Of this batch, {change}, while the surrogate predicts {as_text(predicted, '+.3g')}."
        advice = "Compute steps from more pairs (--step-pairs), or make them shorter: see where the reward peaks."
        if _numbers(agent, "heldout_improvement_ratio")[1] >= limits.kept_elsewhere:
            advice = (
                "The surrogate rises on other pairs too, so more pairs would not help: a shorter step may, or another "
            )
            advice += "critic, lambda or discount, which make the surrogate."
        return make_verdict("step", "problem", (name, words), evidence, advice)
    words = f"Of this batch, {change}: too few pairs to tell a gain from a loss; {bounds(low, high)}."
    return make_verdict("step", "not_enough_data", (name, words), evidence, "More --line-pairs would tell.")


def _more_pairs(agent: xr.Dataset, limits: Limits) -> str:
    return f"Give {limits.enough_streams * agent.attrs['stream_pairs']:,.0f} --line-pairs or more."


def _no_step(name: str, agent: xr.Dataset, limits: Limits) -> Verdict:
    """Say why there is no step to look along."""
    failed, std = bool(agent.get("failed_update", False)), float(agent.get("action_std", np.nan))
    words = "The update ends with parameters that are not finite" if failed else "The update does not move the policy"
    advice = "Lower the learning rate, or look at the rewards of a batch." if failed else ""
    evidence = {"update_norm": np.nan if failed else 0.0, "action_std": std}
    if is_collapsed(std, limits.deterministic_std):
        advice = "Add an entropy bonus, or bound the standard deviation from below."
        return make_verdict("step", "problem", (name, f"{words}; {collapsed(std)}."), evidence, advice)
    words += ": there is no direction to measure along."
    return make_verdict("step", "problem", (name, words), evidence, advice or "Look at the advantages of a batch.")


def _points(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Name the points whose reward is not known."""
    counts = {key: int(agent[key]) for key in GONE if key in agent}
    lost = {where: _lost(agent, where) for where in REWARDS}
    if not any(counts.values()):
        return None
    parts = [f"{counts[key]} {words}" for key, words in GONE.items() if counts.get(key)]
    words = f"Of {agent['true_reward'].size} points of the plane and {agent['line_reward'].size} of the line, "
    words += f"{' and '.join(parts)}: their reward is not known."
    level: Level = "problem" if max(lost.values()) > limits.most_gone else "watch"
    advice = "Give a smaller --range; where episodes do not end, set a time limit."
    return make_verdict("points", level, (name, words), {key: float(value) for key, value in counts.items()}, advice)


def _lost(agent: xr.Dataset, where: str) -> float:
    """Return the share of points of plane or line whose reward is not known."""
    return float(np.isnan(agent[REWARDS[where]]).mean())


def _overfit(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge how much of the surrogate's rise is of the batch alone; datasets of earlier versions do not tell."""
    evidence, clipped_note = {}, ""
    climbed = agent["surrogate_name"].values[int(agent["surrogate_kind"])]
    if "line_clip_null" in agent and climbed == "clipped" and 1.0 in agent["line"].values:
        line = agent["line_surrogates"].sel(surrogate_name="clipped", pairs_of="heldout")
        evidence["clipped_heldout"] = float(line.sel(line=1.0) - line.sel(line=0.0))
        evidence["clip_null_heldout"] = float(agent["line_clip_null"].sel(line=1.0, pairs_of="heldout"))
        clipped_note = (
            f" Clipped, it changes by {as_text(evidence['clipped_heldout'], '+.2g')} there, where chance alone gives "
        )
        clipped_note += f"{as_text(evidence['clip_null_heldout'], '+.2g')}."
    ratio = Interval(*_numbers(agent, "heldout_improvement_ratio"))
    return judge_heldout(name, ratio, evidence, "Give more --heldout-pairs.", limits, clipped_note=clipped_note)


def _length(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge the length of the step."""
    best, low, high = _numbers(agent, "best_step")
    known = agent["line"].values[np.isfinite(agent["line_reward"].values)]
    nearest, furthest = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if not np.isfinite(best) or furthest <= 1 or _lost(agent, "line") > limits.most_gone:
        return None
    evidence = {"best_step": best, "low": low, "high": high}
    place = f"at {best:g} times the step (95%: {low:g} to {high:g})"
    if high < 1:
        level: Level = "watch" if high <= limits.too_long else "ok"
        words = f"The reward peaks {place}: the step {'is too long' if level == 'watch' else 'goes beyond it'}."
        advice = f"A learning rate, clip or trust region that gives {max(high, 0.05):g} times the step, or less."
        return make_verdict("step length", level, (name, words), evidence, advice)
    if low == furthest:
        words = f"The reward still rises at {furthest:g} times the step, the furthest measured: the step is short."
        return make_verdict("step length", "ok", (name, words), evidence, "A longer step in this direction would pay.")
    if low > 1:
        words = f"The reward peaks {place}: the step is short."
        return make_verdict("step length", "ok", (name, words), evidence, "A longer step in this direction would pay.")
    if (low, high) == (nearest, furthest):
        words = f"The reward seems to peak {place}: too few pairs to say where."
        return make_verdict("step length", "not_enough_data", (name, words), evidence, "Give more --line-pairs.")
    return make_verdict("step length", "ok", (name, f"The reward peaks {place}."), evidence, "")


def _plane(name: str, agent: xr.Dataset, limits: Limits) -> Verdict | None:
    """Judge whether surrogate and reward agree around the agent."""
    if agent.sizes["random"] < 2 or _lost(agent, "plane") > limits.most_gone:
        return None
    here = agent.sel(region="plane", pairs_of="batch")
    value, low, high = _numbers(here, "correlation")
    noise = float(agent["noise_fraction"].isel(usual_budget=0))
    evidence = {"correlation": value, "low": low, "high": high, "noise_fraction_of_one_stream": noise}
    evidence["points"] = float(here.get("agreement_points", np.isfinite(agent["true_reward"]).sum()))
    if not np.isfinite([value, low, high]).all():
        words = "Whether surrogate and reward agree on the plane cannot be told: noise hides how the reward varies."
        return make_verdict("agreement", "not_enough_data", (name, words), evidence, "Give more --pairs.")
    text = f"Over the plane, surrogate and reward have a correlation of {value:.2f} ({low:.2f} to {high:.2f})"
    if low >= limits.aligned:
        return _aligned(name, agent["true_reward"].size, text, evidence, limits)
    if high <= 0:
        return _opposed(name, agent, text, evidence, limits)
    if low <= 0:
        words = f"{text}: too few pairs to say whether they agree."
        return make_verdict("agreement", "not_enough_data", (name, words), evidence, "Give more --pairs.")
    words = f"{text}: they agree in part, as is usual for trained agents."
    return make_verdict("agreement", "ok", (name, words), evidence, "Steps from more pairs may agree better.")


def _aligned(name: str, points: int, text: str, evidence: dict[str, float], limits: Limits) -> Verdict:
    """Judge a plane on which surrogate and reward rise together, where both are known."""
    missing = points - int(evidence["points"])
    if missing > limits.few_gone * points:
        words = f"{text} where both are known; {missing} of {points} points are not, which may be those that differ."
        return make_verdict("agreement", "watch", (name, words), evidence, "Give a smaller --range.")
    return make_verdict("agreement", "ok", (name, f"{text}: they point the same way."), evidence, "")


def _opposed(name: str, agent: xr.Dataset, text: str, evidence: dict[str, float], limits: Limits) -> Verdict:
    """Judge a plane on which the surrogate falls where the reward rises: it may only punish the distance."""
    along, low, high = _numbers(agent.sel(region="line", pairs_of="batch"), "correlation")
    evidence = {**evidence, "correlation_along_the_step": along, "line_low": low, "line_high": high}
    loses = float(agent["full_update_realized_improvement_high"]) < 0
    if high <= 0 and loses:
        words = f"{text}, along the step alone {along:.2f}: where the surrogate rises, the reward falls."
        return make_verdict("agreement", "problem", (name, words), evidence, "Take shorter steps, from more pairs.")
    words = f"{text}: away from the agent the surrogate falls where the reward rises"
    words += f"; along the step alone it is {along:.2f}." if np.isfinite(along) else "."
    level: Level = "watch" if evidence["high"] < limits.opposed else "ok"
    words += f" {'Lower' if level == 'watch' else 'Not lower'} than trained agents of the atlas show."
    advice = "A clipped surrogate falls with distance, whatever the reward does: look at the plain one, or nearer."
    return make_verdict("agreement", level, (name, words), evidence, advice)
