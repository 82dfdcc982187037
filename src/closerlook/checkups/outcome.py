"""Checks of layers load, reward and end: is it the trained agent, what does it earn, and what is left to do."""

from collections.abc import Sequence

import numpy as np

from closerlook.checkups.answer import Finding
from closerlook.checkups.case import Case, shown

ENOUGH = 0.6
"""Share of the checks that has to be judged before an agent is called healthy."""
FEWEST_SEEDS = 3
"""Of which a deviation is told."""
SEED_ERROR = 0.1
"""Of the mean over seeds, relative to what they earn above random actions, at which settings can be compared."""
FEWEST_OF_RECORD = 20
"""Episodes of a record that a slope is judged from."""


def check_identity(case: Case) -> Finding:
    """Judge whether what was loaded is what was trained: sampled returns against their own record."""
    identity, reasons = case.identity
    evidence = ("sampled_return", "random_return")
    said = "; ".join(reasons) if reasons else "no return was recorded to compare with"
    missing = next(iter(case.missing.items()), None)
    advice = "Give the statistics it was trained with (--normalize FILE), its own environment (--env), or --set."
    if missing is not None:
        advice = f"{missing[1][:1].upper()}{missing[1][1:]}."
    if identity == "unlike":
        name = f" What is missing: {missing[0]}." if missing else ""
        statement = f"What was loaded does not act as the agent that was trained: {said}.{name}"
        return case.finding("not_the_trained_agent", "problem", statement, evidence, advice=advice)
    if identity == "changed":
        statement = f"It earns another mean than its record, within what single episodes earned: {said}."
        words = "The last updates may have changed it: look at the returns after them, or at an earlier checkpoint."
        return case.finding("not_the_trained_agent", "watch", statement, evidence, advice=words)
    if missing is not None:
        statement = f"The file does not say everything ({missing[0]}): {missing[1]}."
        return case.finding("not_the_trained_agent", "watch", statement, evidence, advice=advice)
    if identity == "unknown":
        return case.unknown("not_the_trained_agent", f"Not judged: {said}.")
    return case.finding("not_the_trained_agent", "ok", f"It is the agent that was trained: {said}.", evidence)


def check_learned(case: Case) -> Finding:
    """Judge whether the agent earns more than random actions."""
    none = case.not_known("not_learned", "return_effect")
    if none is not None:
        return none
    effect, evidence = case["return_effect"], ("return_effect", "sampled_return", "mode_return", "random_return")
    earns = f"It earns {shown(case['sampled_return'])}, random actions {shown(case['random_return'])}"
    level = "ok" if case.is_solved else case.level("return_effect")
    if level == "problem" and effect.high < -case.limits["return_effect"].problem[0]:
        statement = f"{earns}: surely less. Training has led it away from reward."
        advice = (
            "Look for a sign: advantages, rewards or the loss. closerlook lint recomputes a training batch "
            "(--batch FILE.npz)."
        )
        return case.finding("not_learned", "problem", statement, evidence, advice=advice)
    if level == "problem":
        return case.finding("not_learned", "problem", f"{earns}: no more than chance.", evidence)
    if level == "not_enough_data":
        return case.finding("not_learned", level, f"{earns}: whether that is more is not certain.", evidence)
    words = "little more" if level == "watch" else "clearly more"
    return case.finding("not_learned", level, f"{earns}: {words}.", evidence)


def check_solved(case: Case) -> Finding:
    """Say whether the task is solved, so that weak gradients are to be expected."""
    none = case.not_known("solved", "sampled_return")
    if none is not None:
        return none
    if case.solved_at is None:
        return case.unknown("solved", "Not judged: no return is known at which this task is solved.")
    evidence = ("sampled_return", "share_to_limit")
    if case.is_solved:
        statement = f"It earns {shown(case['sampled_return'])}, which counts as solved ({case.solved_at:g})."
        return case.finding("solved", "ok", f"{statement} Weak gradients are to be expected.", evidence)
    statement = f"It earns {shown(case['sampled_return'])} of {case.solved_at:g} that count as solved."
    return case.finding("solved", "ok", statement, evidence)


def check_more_steps(case: Case) -> Finding:
    """Judge from the record of training whether returns were still rising."""
    record = np.asarray(case.record, dtype=np.float64)
    if len(record) < FEWEST_OF_RECORD:
        return case.unknown("more_steps", "Not judged: no record of training's last episodes is there.")
    time = np.arange(len(record)) - (len(record) - 1) / 2
    slope = float(time @ record / (time @ time))
    residual = record - record.mean() - slope * time
    error = np.sqrt(float(residual @ residual) / (len(record) - 2) / float(time @ time))
    # three standard errors: episodes that follow one another are not quite independent
    if slope > 3 * error and not case.is_solved:
        statement = (
            f"Returns were still rising when training ended, by {slope * len(record):.3g} over {len(record)} episodes."
        )
        advice = "Train longer before anything else is changed."
        return case.finding("more_steps", "watch", statement, advice=advice)
    return case.finding("more_steps", "ok", f"Returns did not surely rise over the last {len(record)} episodes.")


def check_more_seeds(case: Case) -> Finding:
    """Judge how differently agents of other seeds end, and say how many would tell settings apart."""
    ends = np.asarray(case.seed_returns, dtype=np.float64)
    if len(ends) < FEWEST_SEEDS:
        return case.unknown("more_seeds", "Not judged: one agent does not tell how others from other seeds end.")
    none = case.not_known("more_seeds", "seed_spread")
    if none is not None:
        return none
    spread = case.value("seed_spread")
    said = (
        f"{len(ends)} seeds end at {ends.min():.4g} to {ends.max():.4g}: a deviation of {spread:.0%} of what they earn"
    )
    # s / sqrt(n) = error, solved for n
    wanted = int(np.ceil((spread / SEED_ERROR) ** 2))
    if case.level("seed_spread") != "watch" or wanted <= len(ends):
        return case.finding("more_seeds", "ok", f"{said} above random actions.", ("seed_spread",))
    advice = f"Compare settings by {wanted} seeds or more: their mean is then known to {SEED_ERROR:.0%}."
    return case.finding("more_seeds", "watch", f"{said} above random actions.", ("seed_spread",), advice=advice)


def conclude(case: Case, findings: Sequence[Finding]) -> Finding:
    """Say that an agent is healthy where enough was judged and nothing speaks against it.

    Parameters
    ----------
    case : Case
        The agent's numbers and settings.
    findings : sequence of Finding
        What the checks found.
    """
    judged = [found for found in findings if found.level in {"ok", "watch", "problem"}]
    faults = [found for found in judged if found.level == "problem"]
    if faults:
        words = f"Not healthy: {len(faults)} of {len(judged)} checks found a problem."
        return case.finding("healthy", "unknown", words)
    watched = sum(found.level == "watch" for found in judged)
    also = f", {watched} to watch" if watched else ""
    said = f"None of {len(judged)} checks found a problem{also}"
    leaning = [found.diagnosis for found in findings if found.level == "not_enough_data" and _leans(case, found)]
    if leaning:
        return case.unknown("healthy", f"{said}; {', '.join(leaning)} would be one if its number were certain.")
    if len(judged) < ENOUGH * len(findings) or "return_effect" not in case.numbers:
        return case.unknown("healthy", f"{said}; {len(findings) - len(judged)} were not judged.")
    return case.finding("healthy", "ok", f"{said}.")


def _leans(case: Case, found: Finding) -> bool:
    name = next(iter(found.evidence), "")
    return name in case.limits and case.limits[name].leans_to_problem(case[name])
