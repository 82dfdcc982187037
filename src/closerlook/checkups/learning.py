"""Checks of layers critic, update, gradient and network: what an update makes of its batch."""

import numpy as np

from closerlook.checkups.answer import Finding, Level
from closerlook.checkups.case import Case, gravest, power_of_two, shown
from closerlook.statistics.noise import true_cosine_at

NO_CRITIC = "Not judged: the agent has no critic."
USUAL_VALUE_COEFFICIENT = 0.5
GOOD_KL = 0.02
"""Between 0.015 and 0.03, where implementations of PPO stop an update."""
LARGE_MULTIPLE = 8.0
"""Of an update, at which it still gains most: it is far too short."""
WANTED_COSINE = 0.2
AMPLE_COSINE = 0.9
"""Of half a batch to the exact gradient, from which the other half would serve better as another update."""
WORN = 0.5
"""Part of what a fresh network's features explain, below which a critic's own are worn out."""


def _critic_numbers(case: Case, diagnosis: str) -> Finding | None:
    if not case.has_critic:
        return case.unknown(diagnosis, NO_CRITIC)
    return case.not_known(diagnosis, "returns_to_values")


def check_critic_scale(case: Case) -> Finding:
    """Judge whether returns are of a size that a critic can have."""
    none = _critic_numbers(case, "critic_scale")
    if none is not None:
        return none
    size = case.value("returns_rms")
    said = f"Discounted returns are of size {size:.3g}, values of {case.value('values_rms'):.3g}"
    evidence = ("returns_to_values", "returns_rms", "values_rms")
    apart, large = case.level("returns_to_values"), case.level("returns_rms")
    if apart == "problem" and large in {"problem", "watch"}:
        factor = f"{size:.1g}"
        statement = f"{said}: rewards are too {'large' if size > 1 else 'small'} for the critic to follow."
        advice = f"Scale rewards, by running statistics or by dividing them by about {float(factor):g}."
        settings = case.change("normalize_rewards", True, "returns are then of size 1")
        return case.finding("critic_scale", "problem", statement, evidence, advice=advice, settings=settings)
    if large in {"problem", "watch"}:
        return case.finding("critic_scale", "watch", f"{said}: rewards are of an unusual size.", evidence)
    return case.finding("critic_scale", "ok", f"{said}.", evidence)


def check_critic_useless(case: Case) -> Finding:
    """Judge the critic against a constant, and against a value fitted here."""
    none = _critic_numbers(case, "critic_useless")
    if none is not None:
        return none
    explained, fitted = case["critic_explained"], case["fitted_explained"]
    evidence = ("critic_explained", "fitted_explained", "critic_skill", "returns_to_values", "value_coefficient")
    apart = case.level("returns_to_values") == "problem"
    predictable = fitted.low > case.limits["fitted_explained"].problem[1]
    said = f"The critic explains {_share(explained.value)} of the returns' variance"
    said += f", a value fitted here {_share(fitted.value)}"
    blind = case.level("critic_explained") == "problem" and case.level("critic_skill") == "problem" and predictable
    if apart or blind:
        off = f"values are of size {case.value('values_rms'):.3g} where returns are {case.value('returns_rms'):.3g}"
        statement = f"{said}; {off}." if apart else f"{said}."
        before = case.settings.get("value_coefficient")
        if before == 0:
            advice = f"Raise {case.setting('value_coefficient')}: at 0 the critic is not fitted at all."
            settings = case.change("value_coefficient", USUAL_VALUE_COEFFICIENT, "the critic is fitted")
        else:
            advice = "Check that the critic's parameters are trained; fit it more, or give it a network of its own."
            settings = {}
        return case.finding("critic_useless", "problem", statement, evidence, advice=advice, settings=settings)
    if not predictable:
        words = f"{said}: returns can hardly be predicted from observations, so little can be asked of it."
        return case.finding("critic_useless", "ok", words, evidence)
    level: Level = "watch" if explained.high < 0.5 * fitted.low else "ok"
    return case.finding("critic_useless", level, f"{said}.", evidence)


def check_critic_late(case: Case) -> Finding:
    """Judge whether values are right but for their level, which trails a policy that got better."""
    none = _critic_numbers(case, "critic_late")
    if none is not None:
        return none
    ratio, level = case["returns_to_values"], case.level("returns_to_values")
    if level == "problem":
        return case.unknown("critic_late", "Not judged: values are of another size than returns altogether.")
    said = f"Returns are {shown(ratio)} times the size of values"
    evidence = ("returns_to_values", "critic_explained", "critic_skill")
    if level == "watch":
        statement = f"{said}: the critic trails the policy."
        advice = (
            f"Fit it more: a larger {case.setting('value_coefficient')}, or more passes ({case.setting('epochs')})."
        )
        return case.finding("critic_late", "watch", statement, evidence, advice=advice)
    return case.finding("critic_late", level, f"{said}.", evidence)


def _share(value: float) -> str:
    if not np.isfinite(value) or abs(value) >= 100:
        return f"{value:.1e}"
    return f"{value:.0%}".replace("-0%", "0%") if abs(value) < 0.005 else f"{value:.0%}"


def check_value_share(case: Case) -> Finding:
    """Judge what a bounded joint gradient leaves to the policy."""
    if "value_coefficient" not in case.settings and "updates" not in case.not_sampled:
        statement = "Policy and critic have steps of their own."
        return case.finding("value_takes_the_step", "ok", statement)
    if "policy_norm_share" in case.numbers and "policy_gradient_to_epsilon" not in case.numbers:
        return case.finding(
            "value_takes_the_step", "ok", "Gradients of policy and critic are not bounded together, or short enough."
        )
    none = case.not_known("value_takes_the_step", "policy_gradient_to_epsilon")
    if none is not None:
        return none
    level, share = case.level("policy_gradient_to_epsilon"), case["policy_norm_share"].value
    left = case["policy_gradient_to_epsilon"].value
    said = f"The policy has {share:.2%} of the joint gradient's norm"
    evidence = ("policy_gradient_to_epsilon", "policy_norm_share", "gradient_scale", "value_coefficient")
    if level not in {"problem", "watch"}:
        return case.finding("value_takes_the_step", level, f"{said}; the optimizer makes that up.", evidence)
    statement = (
        f"{said}: after bounding, its components are {left:.2g} times the optimizer's epsilon, and its steps shrink."
    )
    before = case.settings["value_coefficient"]
    # the share left to the policy grows about as the coefficient falls: ten times epsilon is well above it
    to = float(f"{before * min(left / 10, 0.5):.1g}")
    settings = case.change("value_coefficient", to, "the policy's gradient is then well above epsilon")
    advice = "Scale rewards, bound both gradients apart, or weigh the critic's loss less."
    return case.finding("value_takes_the_step", level, statement, evidence, advice=advice, settings=settings)


def check_too_long(case: Case) -> Finding:
    """Judge how far an update goes: the KL at other states, and how far its optimizer may move a weight."""
    none = case.not_known("update_too_long", "heldout_kl")
    reach = case.level("update_reach") if "update_reach" in case.settings else "ok"
    if none is not None and reach != "problem":
        return none
    kl, level = case["heldout_kl"], case.level("heldout_kl")
    failed = case.value("updates_failed")
    said = f"An update changes the policy by a KL of {shown(kl, '.2g')} at other states"
    if failed > 0:
        said, level = f"{failed:.0%} of the updates end in numbers that are not finite", "problem"
    evidence = ("heldout_kl", "max_ratio", "clip_fraction", "update_reach", "learning_rate")
    if reach == "problem":
        said += (
            f"; its {case.value('updates_steps'):.0f} steps may move each weight by {case.value('update_reach'):.2g}"
        )
    level = gravest(level, reach)
    if level not in {"problem", "watch"}:
        return case.finding("update_too_long", level, f"{said}.", evidence)
    return case.finding("update_too_long", level, f"{said}.", evidence, **_shorter(case, reach))


def _shorter(case: Case, reach: str) -> dict[str, object]:
    """Advise a smaller learning rate: as far as the measured curve says, or as its reach."""
    rate = case.settings.get("learning_rate")
    if rate is None:
        return {"advice": "Take smaller updates: a smaller trust region, or fewer passes."}
    # for small steps KL grows with the square of the step
    by_kl = np.sqrt(GOOD_KL / case["heldout_kl"].value) if case["heldout_kl"].value > GOOD_KL else 1.0
    # the reach is linear in the rate
    by_reach = case.limits["update_reach"].usual[1] / case.value("update_reach") if reach == "problem" else 1.0
    to = float(f"{rate * min(by_kl, by_reach, 0.5):.1g}")
    curve = (
        f"at a quarter of the step the KL is {case['kl_at_quarter'].value:.2g}, at half {case['kl_at_half'].value:.2g}"
    )
    settings = case.change("learning_rate", to, curve)
    return {"advice": f"Lower {case.setting('learning_rate')} to {to:g}, or take fewer passes.", "settings": settings}


def check_too_short(case: Case) -> Finding:
    """Judge whether an update hardly moves, though further on it would gain more."""
    none = case.not_known("update_too_short", "heldout_kl")
    if none is not None:
        return none
    kl, best = case["heldout_kl"], case.value("best_multiple")
    level = case.limits["heldout_kl_low"].level(kl)
    said = f"An update changes the policy by a KL of {shown(kl, '.2g')}; "
    gains = best > 0 and case["best_gain"].low > 0
    said += f"at {best:g} times its step it gains most" if gains else "whether a longer one gains more is not known"
    evidence = ("heldout_kl", "best_multiple", "heldout_gain", "learning_rate")
    far = gains and best >= LARGE_MULTIPLE
    if level not in {"problem", "watch"} or case.is_solved:
        level = "watch" if far and level == "ok" and not case.is_solved else "ok" if case.is_solved else level
    elif not far:
        level = "watch"
    if level not in {"problem", "watch"}:
        return case.finding("update_too_short", level, f"{said}.", evidence)
    rate = case.settings.get("learning_rate")
    factor = best if far else 4.0
    settings = (
        case.change("learning_rate", float(f"{rate * factor:.1g}"), f"steps {factor:g} times as long") if rate else {}
    )
    advice = f"Take longer steps: {factor:g} times the learning rate, or more passes."
    return case.finding("update_too_short", level, f"{said}.", evidence, advice=advice, settings=settings)


def check_clip(case: Case) -> Finding:
    """Judge whether clipping holds back an update that would gain more."""
    if "clip" not in case.settings:
        return case.finding("clip_too_tight", "ok", "The update clips no ratios.")
    none = case.not_known("clip_too_tight", "clip_fraction")
    if none is not None:
        return none
    tight, fraction = case.level("clip"), case.level("clip_fraction")
    said = f"Ratios are clipped at {case.value('clip'):g} from 1; {shown(case['clip_fraction'], '.0%')} end beyond it"
    evidence = ("clip", "clip_fraction", "best_multiple", "heldout_kl")
    longer = case.value("best_multiple") > 1 and case["best_gain"].low > 0
    level: Level = "problem" if tight == "problem" and longer else "ok"
    if level == "ok" and (tight in {"problem", "watch"} or (fraction in {"problem", "watch"} and longer)):
        level = "watch"
    if level == "ok":
        return case.finding("clip_too_tight", level, f"{said}.", evidence)
    settings = case.change("clip", 0.2, f"the update gains most at {case.value('best_multiple'):g} times its step")
    return case.finding("clip_too_tight", level, f"{said}.", evidence, advice="Clip less tightly.", settings=settings)


def check_signal(case: Case) -> Finding:
    """Judge whether some episodes earn more than others."""
    none = case.not_known("no_signal", "distinct_returns")
    if none is not None:
        return none
    evidence = ("distinct_returns", "episode_length", "sampled_return")
    if case.level("distinct_returns") == "problem" and not case.is_solved:
        statement = (
            f"Every episode earns the same ({case.value('sampled_return'):.4g}): no action is better than another."
        )
        advice = "Reward what leads to the goal, explore more, or start nearer to it; larger batches do not help alone."
        return case.finding("no_signal", "problem", statement, evidence, advice=advice)
    return case.finding("no_signal", "ok", "Episodes earn different returns.", evidence)


def check_gradient(case: Case) -> Finding:
    """Judge how well a batch knows the gradient."""
    none = case.not_known("batch_too_small", "noise_scale_pairs") if "direction" not in case.numbers else None
    if none is not None:
        return none
    cosine, level = case["batch_true_cosine"], case.level("batch_true_cosine")
    scale = case["noise_scale_pairs"]
    evidence = ("batch_true_cosine", "noise_scale_pairs", "batch_pairs")
    if np.isnan(scale.value):
        statement = "The gradient cannot be told from noise with these pairs."
        return case.finding("batch_too_small", "ok" if case.is_solved else "not_enough_data", statement, evidence)
    said = f"A batch's gradient has a cosine of {shown(cosine, '.2f')} to the exact one"
    if level in {"unknown", "not_enough_data"}:
        return case.finding("batch_too_small", "not_enough_data", f"{said}.", evidence)
    if level == "ok" or case.is_solved:
        return case.finding("batch_too_small", "ok", f"{said}{_half_would_do(case)}.", evidence)
    # cos^2 = n / (n + B)
    # solved for n: n = B cos^2 / (1 - cos^2)
    wanted = scale.value * WANTED_COSINE**2 / (1 - WANTED_COSINE**2)
    to = int(power_of_two(case.value("n_steps") * wanted / case.value("batch_pairs")))
    settings = case.change("n_steps", to, f"a cosine of {WANTED_COSINE:g} to the exact gradient")
    advice = f"Take {wanted / case.value('batch_pairs'):.0f} times as many steps, or environments."
    return case.finding("batch_too_small", level, f"{said}.", evidence, advice=advice, settings=settings)


def _half_would_do(case: Case) -> str:
    """Say that half a batch knows the gradient as well, where it surely does."""
    batch, scale = case.value("batch_pairs"), case["noise_scale_pairs"].high
    half = float(true_cosine_at(np.array(batch / 2), scale)) if np.isfinite(scale) else 0.0
    if not half >= AMPLE_COSINE:
        return ""
    return f", half a batch's is at least {half:.2f}: two batches half as large make two updates of the same pairs"


def check_direction(case: Case) -> Finding:
    """Judge whether the surrogate's gradient, which trusts the critic, leads up the Monte Carlo returns."""
    found = case["direction"]
    if "direction" not in case.numbers:
        return case.not_known("wrong_direction", "direction") or case.unknown("wrong_direction", "Not judged.")
    said = f"The surrogate's gradient has a cosine of {shown(found, '.2f')} to that of Monte Carlo returns"
    if np.isnan(found.value):
        statement = "Whether the surrogate's gradient leads up is not known: there is too much noise."
        return case.finding("wrong_direction", "ok" if case.is_solved else "not_enough_data", statement, ("direction",))
    if found.high < 0:
        advice = "Look at the critic and lambda first: with lambda 1 the critic cannot mislead the gradient."
        settings = {case.setting("gae_lambda"): {"from": None, "to": 1.0, "effect": "no bias by the critic"}}
        return case.finding(
            "wrong_direction", "problem", f"{said}: it leads down.", ("direction",), advice=advice, settings=settings
        )
    return case.finding("wrong_direction", "ok" if found.low > 0 else "not_enough_data", f"{said}.", ("direction",))


def check_lambda(case: Case) -> Finding:
    """Judge whether another lambda would make a batch's gradient much better, by another half of the streams."""
    if not case.has_critic:
        return case.unknown("lambda_off", NO_CRITIC)
    none = case.not_known("lambda_off", "lambda_gain")
    if none is not None:
        return none
    gain, best = case["lambda_gain"], case.value("best_lambda")
    level, own = case.level("lambda_gain"), case.value("gae_lambda")
    evidence = ("lambda_gain", "best_lambda", "gae_lambda")
    # not surely better is no reason to sample more: what is lost is little, and a lambda is soon tried
    if not gain.low > case.limits["lambda_gain"].watch[1] or best == own:
        return case.finding("lambda_off", "ok", f"No other lambda is surely better than {own:g}.", evidence)
    said = f"With lambda {best:g} a batch's gradient has {shown(gain)} times the cosine to that of Monte Carlo returns"
    advice = f"Try {case.setting('gae_lambda')} {best:g}; closerlook values AGENT sweeps it."
    change = case.change("gae_lambda", best, f"a batch knows the gradient {gain.value:.2g} times as well")
    level = "problem" if level == "problem" else "watch"
    return case.finding(
        "lambda_off", level, f"{said} that it has with {own:g}.", evidence, advice=advice, settings=change
    )


def check_network(case: Case) -> Finding:
    """Judge whether hidden units still answer, and whether the critic's tell apart what fresh ones do."""
    none = case.not_known("network_worn_out", "policy_constant_units")
    if none is not None:
        return none
    names = [name for name in ("policy_constant_units", "critic_constant_units") if name in case.numbers]
    levels = [case.level(name) for name in names]
    said = f"{case.value('policy_constant_units'):.0%} of the policy's hidden units hardly vary"
    said += f", {case.value('critic_constant_units'):.0%} of the critic's" if len(names) > 1 else ""
    evidence = (*names, "policy_feature_rank", "critic_features_explained", "fitted_explained")
    own, fresh = case["critic_features_explained"], case["fitted_explained"]
    if fresh.low > case.limits["fitted_explained"].problem[1] and own.high < WORN * fresh.low:
        said += (
            f"; from the critic's last layer a fit explains {_share(own.value)} of the returns' variance, from one that"
        )
        statement = f"{said} was never trained {_share(fresh.value)}."
        advice = "Start the critic anew, with a smaller learning rate: its network no longer tells states apart."
        return case.finding("network_worn_out", "problem", statement, evidence, advice=advice)
    if "problem" in levels or "watch" in levels:
        advice = "Start anew with a smaller learning rate, or with standardized observations."
        return case.finding("network_worn_out", gravest(*levels), f"{said}.", evidence, advice=advice)
    return case.finding("network_worn_out", "ok", f"{said}.", evidence)
