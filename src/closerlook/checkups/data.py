"""Checks of layers inputs, steps, batch, actions and scales: what goes into an update."""

import numpy as np

from closerlook.checkups.answer import Finding, Level
from closerlook.checkups.case import Case, gravest, power_of_two, shown
from closerlook.statistics.estimates import Interval

ONE_IN_MANY = 0.999
"""Share of the states at which the same action is the likeliest: the policy does not look."""
USUAL_ENTROPY_COEFFICIENT = 0.01


def check_inputs(case: Case) -> Finding:
    """Judge the spread of every input, and whether the first layer still answers."""
    none = case.not_known("broken_inputs", "input_spread_high")
    if none is not None:
        return none
    evidence = ("input_spread_high", "input_spread_low", "saturated_units", "input_top_share")
    worst, narrow = int(np.argmax(case.spreads)), int(np.argmin(case.spreads))
    levels = {name: case.level(name) for name in ("input_spread_high", "saturated_units")}
    low = case.level("input_spread_low") if case.standardized else "ok"
    faults = [name for name, level in levels.items() if level == "problem"]
    feature = case.features[worst]
    said = f"Input {feature} has a deviation of {case.value('input_spread_high'):.3g}"
    flat = case.value("saturated_units")
    if np.isfinite(flat):
        said += f"; {flat:.0%} of the first layer's units are saturated"
    alone = case.level("input_top_share") == "watch"
    if alone:
        top = case.features[int(np.argmax(case.shares))] if len(case.shares) else feature
        said += f"; input {top} is {case.value('input_top_share'):.1%} of what the first layer sees"
    if faults:
        size = case.value("input_spread_high")
        advice = f"Standardize observations, or divide input {feature} by {size:.2g} where it is made."
        change = case.change("normalize_inputs", True, "every input then has deviation 1")
        return case.finding("broken_inputs", "problem", f"{said}.", evidence, advice=advice, settings=change)
    if low == "watch":
        own = f"standardized input {case.features[narrow]} hardly varies ({case.value('input_spread_low'):.2g})"
        return case.finding("broken_inputs", "watch", f"{own[:1].upper()}{own[1:]}.", evidence)
    level: Level = "watch" if alone or "watch" in levels.values() else "ok"
    return case.finding("broken_inputs", level, f"{said}.", evidence)


def check_steps(case: Case) -> Finding:
    """Judge whether numbers are finite, and whether a few steps decide everything."""
    if case.non_finite:
        advice = "Find where it first appears: closerlook lint names step and environment in a training batch."
        return case.finding("broken_steps", "problem", f"{case.non_finite}.", advice=advice)
    finite = next((check for check in case.lint or () if check.check == "finite" and check.level == "problem"), None)
    if finite is not None:
        return case.finding(
            "broken_steps", "problem", f"{_sentence(finite.statement)}", advice=_sentence(finite.advice)
        )
    none = case.not_known("broken_steps", "return_variance_top_share")
    if none is not None:
        return none
    evidence = ("return_variance_top_share", "critic_loss_top_share", "reward_top_share")
    levels = [case.level(name) for name in evidence[:2]]
    shares = f"{case.value(evidence[0]):.0%} of the returns' variance"
    if np.isfinite(case.value(evidence[1])):
        shares += f" and {case.value(evidence[1]):.0%} of the critic's loss"
    said = f"The most extreme 0.1% of the steps hold {shares}."
    if "problem" in levels:
        advice = "Look at those steps; clip or scale their rewards."
        change = case.change("normalize_rewards", True, "rewards are then scaled, and clipped at 10 deviations")
        return case.finding("broken_steps", "problem", said, evidence, advice=advice, settings=change)
    return case.finding("broken_steps", "watch" if "watch" in levels else "ok", said, evidence)


def check_batch(case: Case) -> Finding:
    """Judge a training batch by its recomputation, which no chance is in."""
    if case.lint is None:
        return case.unknown("wrong_advantages", "Not judged: no training batch was given (--batch FILE.npz).")
    faults = [check for check in case.lint if check.level == "problem" and check.check != "finite"]
    if faults:
        first = faults[0]
        where = ""
        if first.first_step is not None:
            where = f", first at step {first.first_step} of environment {first.first_environment}"
        said = f"{_sentence(first.statement)[:-1]}{where}."
        others = [check.check.replace("_", " ") for check in faults[1:]]
        more = f" Wrong too: {', '.join(others)}." if others else ""
        found = case.finding("wrong_advantages", "problem", f"{said}{more}", advice=_sentence(first.advice))
        return _with_evidence(found, dict(first.evidence))
    watched = [check for check in case.lint if check.level == "watch"]
    if watched:
        return case.finding(
            "wrong_advantages", "watch", _sentence(watched[0].statement), advice=_sentence(watched[0].advice)
        )
    sure = [check.check for check in case.lint if check.level == "ok"]
    if not sure:
        return case.unknown("wrong_advantages", "Not judged: the batch lacks what its recomputation takes.")
    return case.finding("wrong_advantages", "ok", f"Recomputed and right: {', '.join(sure)}.".replace("_", " "))


def _with_evidence(found: Finding, evidence: dict[str, float]) -> Finding:
    return Finding(**{**vars(found), "evidence": evidence})


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def check_collapsed(case: Case) -> Finding:
    """Judge whether the policy still tries anything else."""
    name = "entropy_share" if "entropy_share" in case.numbers else "std_to_range_low"
    none = case.not_known("exploration_collapsed", name)
    if none is not None:
        return none
    level, found = case.level(name), case[name]
    kind = "Entropy is {} of its largest" if name == "entropy_share" else "The smallest deviation is {} of its range"
    said = kind.format(shown(found))
    same = case.value("mode_action_share")
    if same >= ONE_IN_MANY:
        said += f", and one action is the likeliest at {same:.1%} of the states"
    evidence = (name, "mode_action_share", "entropy_coefficient")
    if level == "problem" and case.is_solved:
        return case.finding("exploration_collapsed", "watch", f"{said}: it will not learn more.", evidence)
    if level in {"problem", "watch"}:
        before = case.settings.get("entropy_coefficient")
        negative = before is not None and before < 0
        to = 0.0 if negative else USUAL_ENTROPY_COEFFICIENT
        effect = "entropy is no longer lowered" if negative else "a bonus keeps entropy from falling"
        advice = "Start anew with an entropy bonus: what no longer varies does not come back by itself."
        settings = case.change("entropy_coefficient", to, effect) if (before or 0.0) < USUAL_ENTROPY_COEFFICIENT else {}
        words = "nothing else is tried any more" if level == "problem" else "little else is tried"
        statement = f"{said}: {words}."
        return case.finding("exploration_collapsed", level, statement, evidence, advice=advice, settings=settings)
    return case.finding("exploration_collapsed", level, f"{said}.", evidence)


def check_wide(case: Case) -> Finding:
    """Judge whether noise covers what was learned: wide, and the likeliest actions earn far more."""
    discrete = "entropy_share" in case.numbers
    name = "entropy_share" if discrete else "std_to_range_high"
    none = case.not_known("exploration_too_wide", name)
    if none is not None:
        return none
    width = case.limits["entropy_share_high" if discrete else name].level(case[name])
    cost, costly = case["noise_cost"], case.level("noise_cost")
    said = f"{'Entropy' if discrete else 'The largest deviation'} is {shown(case[name])} of its "
    said += "largest" if discrete else "range"
    if np.isfinite(cost.value):
        said += f"; drawing actions loses {cost.value:.0%} of what the likeliest earn above random ones"
    evidence = (name, "noise_cost", "sampled_return", "mode_return", "entropy_coefficient")
    before = case.settings.get("entropy_coefficient")
    settings = case.change("entropy_coefficient", before / 10, "noise is kept up less") if before and before > 0 else {}
    level: Level = "watch" if width in {"problem", "watch"} else "ok"
    # choices are even at the start: without a bonus that keeps them so, the policy has hardly moved, and why is told by
    # its updates
    unmoved = discrete and before == 0
    level = "problem" if width == costly == "problem" and not unmoved else level
    if level != "ok" and unmoved:
        said += "; no bonus keeps it there: the policy has hardly moved from its start"
        return case.finding("exploration_too_wide", level, f"{said}.", evidence, advice="See what its updates do.")
    if level != "ok":
        advice = "Lower the entropy bonus or the initial deviation; judge the agent by its likeliest actions."
        return case.finding("exploration_too_wide", level, f"{said}.", evidence, advice=advice, settings=settings)
    return case.finding("exploration_too_wide", width if width == "not_enough_data" else "ok", f"{said}.", evidence)


def check_saturated(case: Case) -> Finding:
    """Judge whether means of actions are outside their box: noise there changes nothing."""
    if "entropy_share" in case.numbers:
        return case.finding("actions_saturated", "ok", "Actions are choices: nothing can be outside of a box.")
    none = case.not_known("actions_saturated", "mean_outside")
    if none is not None:
        return none
    level, found = case.level("mean_outside"), case["mean_outside"]
    said = f"Means of actions are outside their box at {shown(found, '.0%')} of the states, over all actions."
    evidence = ("mean_outside", "std_to_range_low")
    if level not in {"problem", "watch"}:
        return case.finding("actions_saturated", level, said, evidence)
    advice = (
        "Standardize observations, lower the learning rate, or squash actions; check the units of the action space."
    )
    return case.finding("actions_saturated", level, said, evidence, advice=advice)


def check_horizon(case: Case) -> Finding:
    """Judge how far the discount lets it see, against an episode."""
    length = case["episode_length"]
    horizon = case.value("horizon_steps")
    level = case.level("horizon_steps")
    ratio = horizon / length.value if length.value > 0 else np.nan
    said = f"With gamma {case.value('gamma'):g} it sees about {horizon:.3g} steps ahead"
    if np.isfinite(ratio):
        said += f"; episodes last {length.value:.0f}"
    if level == "problem" and ratio >= case.limits["horizon_to_episode"].problem[0]:
        level = "watch"
    evidence = ("horizon_steps", "gamma", "episode_length")
    if level == "ok":
        return case.finding("horizon_too_short", level, f"{said}.", evidence)
    steps = 100.0 if not np.isfinite(ratio) else min(max(length.value, 20.0), 100.0)
    to = round(1 - 1 / steps, 3)
    settings = case.change("gamma", to, f"about {steps:.0f} steps ahead count")
    advice = f"Raise {case.setting('gamma')} to {to:g}."
    return case.finding("horizon_too_short", level, f"{said}.", evidence, advice=advice, settings=settings)


def check_batch_size(case: Case) -> Finding:
    """Judge pairs of a batch, against an episode, where an update passes through it more than once."""
    pairs, epochs = case.value("batch_pairs"), case.value("epochs")
    length = case["episode_length"].value
    said = f"A batch has {pairs:,.0f} steps"
    said += f", an episode about {length:,.0f}" if np.isfinite(length) else ""
    evidence = ("batch_pairs", "n_steps", "epochs", "episode_length")
    if not epochs > 1:
        words = f"{said}; an update takes one step from it, so that its noise averages out over updates"
        return case.finding("batch_too_short", "ok", f"{words}.", evidence)
    level = case.level("batch_pairs")
    if np.isfinite(length) and length > 0:
        level = gravest(level, case.limits["batch_to_episode"].level(Interval(*[pairs / length] * 3)))
    if level == "ok":
        return case.finding("batch_too_short", level, f"{said}.", evidence)
    usual = case.limits["batch_pairs"].usual[0]
    wanted = power_of_two(max(usual, min(length, 2048) if np.isfinite(length) else usual))
    to = int(power_of_two(case.value("n_steps") * wanted / pairs))
    settings = case.change("n_steps", to, f"a batch then has {to * pairs / case.value('n_steps'):,.0f} steps")
    statement = f"{said}, and {epochs:.0f} passes are made through it: an update follows the chance of a few steps."
    advice = f"Raise {case.setting('n_steps')} to {to}, or use more environments."
    return case.finding("batch_too_short", level, statement, evidence, advice=advice, settings=settings)
