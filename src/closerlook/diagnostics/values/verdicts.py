"""What the numbers of one dataset say about critics, in words: with evidence, and with what a change would buy.

A relative error to the returns is no verdict: part of it is noise that no critic can predict. What is judged is how
much the critic delivers of the variance reduction that is possible, and what it leaves; whether it fits its own target
rather than the returns; and whether another lambda would serve better. The limits are from the atlas
(docs/atlas_values.md).
"""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from closerlook.diagnostics.common.labels import each_agent
from closerlook.diagnostics.common.verdict import Level, Verdict, make_verdict
from closerlook.diagnostics.values.limits import Limits
from closerlook.diagnostics.values.options import FOLLOWED

AREA = "values"


def audited(dataset: xr.Dataset) -> str:
    """Say which critic the fixed numbers are of: the updated one where any agent has it, else the one as it is."""
    known = np.isfinite(dataset["mean_relative_error"].sel(critic="updated", target="gae")).any()
    return "updated" if bool(known) else "as_is"


def verdicts(dataset: xr.Dataset, **given: float) -> list[Verdict]:
    """Judge each agent of a dataset.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of this diagnostic.
    **given : float
        Limits in place of the usual ones, by the names of `Limits`.

    Returns
    -------
    list of dict
        One of the critic's worth as a baseline for each agent, and more where it chases its own target, where another
        lambda would be better, or where the environment could not be followed far enough to judge it.
    """
    limits = Limits.of(given)
    return [verdict for name, agent in each_agent(dataset) for verdict in _judge(agent, name, limits)]


def _judge(agent: xr.Dataset, name: str, limits: Limits) -> Iterator[Verdict]:
    yield from _judge_critic(agent, name, limits)
    yield from _judge_returns(agent, name, limits)


def _judge_returns(agent: xr.Dataset, name: str, limits: Limits) -> Iterator[Verdict]:
    """Complain where Monte Carlo returns are not complete; datasets of earlier versions do not count them."""
    if "incomplete_returns" not in agent:
        return
    short, all_of_them = float(agent["incomplete_returns"].sel(true_gradient=FOLLOWED)), float(agent["trajectories"])
    if short < limits.incomplete_returns * all_of_them:
        return
    evidence = {"incomplete_returns": short, "trajectories": all_of_them}
    statement = (
        f"After {short:,.0f} of {all_of_them:,.0f} trajectories the environment could not go on past its own limit: "
        "Monte Carlo returns are short there, and whatever is judged by them (errors to returns, the fitted value, "
        "baselines, lambdas) is judged by too little."
    )
    advice = "Leave the limit to Gymnasium (max_episode_steps, or the wrapper TimeLimit): it is lifted to go on."
    yield _verdict(name, "problem", statement, evidence, advice)


def _judge_critic(agent: xr.Dataset, name: str, limits: Limits) -> Iterator[Verdict]:
    evidence = _evidence(agent)
    if not np.isfinite(evidence["explained_variance_returns"]):
        yield _without_critic(agent, name, evidence)
        return
    yield _judge_worth(name, evidence, limits)
    # a critic may fit V_old + A by repeating itself: then it explains its target, not the returns
    if _chases(evidence, limits):
        yield _verdict(
            name,
            "watch",
            f"The critic fits its own target (it explains {evidence['explained_variance_gae']:.0%} of its variance), "
            f"not the returns ({evidence['explained_variance_returns']:.0%}, of {evidence['possible']:.0%} possible): "
            "its target is mostly its own prediction.",
            evidence,
            "Train it on returns (--value-target returns), or with a lambda nearer to 1, and compare.",
        )
    yield from _judge_lambda(agent, name, limits)


def _evidence(agent: xr.Dataset) -> dict[str, float]:
    kind = audited(agent)
    explained = agent["explained_variance"].sel(critic=kind)
    numbers = {
        "explained_variance_gae": explained.sel(target="gae"),
        "explained_variance_returns": explained.sel(target="returns"),
        "explained_variance_returns_high": agent["explained_variance_high"].sel(critic=kind, target="returns"),
        "possible": agent["fitted_explained_variance"],
        "returns_mre": agent["mean_relative_error"].sel(critic=kind, target="returns"),
        "noise_floor_mre": agent["noise_floor_mre"],
    }
    for end in ("", "_low", "_high"):
        numbers[f"delivered_reduction{end}"] = agent[f"delivered_reduction{end}"]
        numbers[f"excess_variance{end}"] = agent[f"excess_variance{end}"]
        numbers[f"variance_ratio{end}"] = agent[f"variance_ratio{end}"].sel(baseline="critic")
    numbers["possible_variance_ratio"] = agent["variance_ratio"].sel(baseline="fitted")
    return {key: float(value) for key, value in numbers.items()}


def _without_critic(agent: xr.Dataset, name: str, evidence: Mapping[str, float]) -> Verdict:
    if not _has_critic(agent):
        ratio = evidence["possible_variance_ratio"]
        gain = f" A well-fitted one would take off {1 - ratio:.0%} of the variance." if ratio < 1 else ""
        statement = f"There is no critic; returns stand in for advantages.{gain}"
        return _verdict(name, "watch", statement, evidence, "Train with a critic (--baseline value).")
    statement = "The returns are all equal: there is nothing for a critic to predict."
    advice = "Look at the rewards: are they always the same?"
    mean = float(agent["mean_episode_return"])
    if not np.isfinite(mean) or mean == 0:
        return _verdict(name, "problem", statement, evidence, advice)
    # so are those of an agent that always lasts to the end of a task that rewards lasting
    solved = "If they count steps and episodes last to their limit, the agent has solved its task."
    return _verdict(name, "watch", statement, evidence, f"{advice} {solved}")


def _has_critic(agent: xr.Dataset) -> bool:
    """Whether an agent has one: what all have in common does not say where only some do."""
    kinds = agent.attrs["baseline"]
    return kinds == "critic" or (kinds != "none" and bool(np.isfinite(agent["calibration_predicted"]).any()))


def _judge_worth(name: str, evidence: Mapping[str, float], limits: Limits) -> Verdict:
    share, low, high = (evidence[f"delivered_reduction{end}"] for end in ("", "_low", "_high"))
    excess, least = evidence["excess_variance"], evidence["excess_variance_low"]
    if not np.isfinite(low) or excess < 1 / limits.as_good:  # worse than the critic, the fitted value says nothing
        return _judge_alone(name, evidence, limits)
    what = f"{share:.0%} ({low:.0%} to {high:.0%}) of the variance that a well-fitted value takes off gradients"
    advice = f"With the fitted value in its place the same noise would take {1 / excess:.0%} of the pairs."
    if excess <= limits.as_good:
        advice = "The fitted value is no better; one fitted to more pairs (--fit-pairs) might be."
    # a negative share of what the fitted value takes off is variance put on; the ratio beside a constant has the wider
    # interval
    if evidence["variance_ratio_low"] > limits.harmful or high < 1 - limits.harmful:
        statement = f"The critic is harmful: with it gradients have {_against_constant(evidence)}."
        return _verdict(name, "problem", statement, evidence, advice)
    if high < limits.useless:
        return _verdict(name, "problem", f"The critic is useless as a baseline: it takes off {what}.", evidence, advice)
    if low < limits.useless:
        statement = f"The critic takes off at most {high:.0%} of the variance that a well-fitted value takes off "
        statement += f"gradients (estimated: {share:.0%}): too few pairs to say more."
        return _verdict(name, "not_enough_data", statement, evidence, "Give more --pairs.")
    left = f"what varies with it is {excess:.1f} times what varies with the fitted value"
    if high < limits.good or least > limits.costly:
        return _verdict(name, "watch", f"The critic leaves much: it takes off {what}, but {left}.", evidence, advice)
    return _verdict(name, "ok", f"The critic is good: it takes off {what}; {left}.", evidence, advice)


def _against_constant(evidence: Mapping[str, float]) -> str:
    ratio, low, high = (evidence[f"variance_ratio{end}"] for end in ("", "_low", "_high"))
    return f"{ratio:.2f} times the variance that they have with a constant baseline ({low:.2f} to {high:.2f})"


def _judge_alone(name: str, evidence: Mapping[str, float], limits: Limits) -> Verdict:
    """Judge where nothing says what is possible: by a constant baseline, which any critic should beat."""
    low, high = (evidence[f"variance_ratio{end}"] for end in ("_low", "_high"))
    if not np.isfinite(low):
        words = "Too few streams to tell variances apart."
        return _verdict(name, "not_enough_data", words, evidence, "Give more --pairs.")
    statement = f"With the critic gradients have {_against_constant(evidence)}."
    advice = "Give --fit-pairs, to know what is possible."
    if np.isfinite(evidence["possible_variance_ratio"]):
        advice = "What the fitted value takes off cannot be told from nothing: more --pairs may tell."
    if evidence["excess_variance"] < 1 / limits.as_good:
        statement += " The fitted value takes off less: it is fitted to too few pairs to say what is possible."
        advice = "Give more --fit-pairs."
    level: Level = "problem" if low > 1 else "ok" if high < 1 else "not_enough_data"
    return _verdict(name, level, statement, evidence, advice)


def _chases(evidence: Mapping[str, float], limits: Limits) -> bool:
    fits = evidence["explained_variance_gae"] >= limits.fits_own_target
    return fits and evidence["explained_variance_returns_high"] < limits.misses_returns * evidence["possible"]


def _judge_lambda(agent: xr.Dataset, name: str, limits: Limits) -> Iterator[Verdict]:
    """Complain where another lambda serves clearly better at the training batch."""
    own = agent.attrs.get("gae_lambda")
    here = agent.sel(batches=1)
    best, gain, least = (float(here[key]) for key in ("best_lambda", "lambda_gain", "lambda_gain_low"))
    if own is None or not np.isfinite(least) or least <= limits.lambda_gain or best == own:
        return
    side = "high" if best < own else "low"
    evidence = {
        "gae_lambda": own,
        "best_lambda": best,
        "best_lambda_low": float(here["best_lambda_low"]),
        "best_lambda_high": float(here["best_lambda_high"]),
        "lambda_gain": gain,
        "lambda_gain_low": least,
        "lambda_gain_high": float(here["lambda_gain_high"]),
    }
    statement = (
        f"Lambda {own:g} is too {side} for this batch: with {best:g} estimates point {gain:.2f} times as much along "
        "the gradient of the returns."
    )
    among = f"{evidence['best_lambda_low']:g} to {evidence['best_lambda_high']:g}"
    advice = f"Try --gae-lambda {best:g}; {among} serve about as well."
    yield _verdict(name, "watch", statement, evidence, advice)


def _verdict(name: str, level: Level, statement: str, evidence: Mapping[str, float], advice: str) -> Verdict:
    return make_verdict(AREA, level, (name, statement), evidence, advice)
