"""How much of a surrogate's rise other pairs find again, and what is made of that.

Judged by the unclipped surrogate of standardized advantages, whichever is climbed: a step that has nothing to do with
the gradient keeps nothing of its rise there, on average. A clipped surrogate would fall by chance alone.
"""

from collections.abc import Mapping

import numpy as np

from closerlook.diagnostics.common.limits import StepLimits
from closerlook.diagnostics.common.verdict import Verdict, as_text, make_verdict, span
from closerlook.statistics.estimates import Interval

AREA = "overfitting"
MORE = "Larger batches, or fewer epochs and a smaller learning rate, would raise it."


def judge_heldout(
    name: str,
    ratio: Interval,
    evidence: Mapping[str, float],
    more_pairs: str,
    limits: StepLimits,
    *,
    clipped_note: str = "",
) -> Verdict | None:
    """Judge how much of the surrogate's rise is of the batch alone; None where that is not known.

    Parameters
    ----------
    name : str
        Of the agent.
    ratio : Interval
        Rise on other pairs over that on the step's own.
    evidence : mapping of str to float
        What the ratio is of.
    more_pairs : str
        The options that would tell more, in words.
    limits : StepLimits
        Of the diagnostic.
    clipped_note : str
        A sentence on the surrogate that is climbed, where that is another.
    """
    if not np.isfinite(ratio.value):
        return None
    share, low, high = ratio.value, ratio.low, ratio.high
    evidence = {"heldout_improvement_ratio": share, "low": low, "high": high, **evidence}
    fall = f"nothing is found again: on others it falls by {-100 * share:.0f}% of that"
    again = f"{100 * share:.0f}% is found again on others" if share > 0 else fall
    ends = "no interval from so few" if np.isnan(low) else f"{span(low, high, '.0f', 100)}%"
    words = f"Of the unclipped surrogate's rise on the step's own pairs, {again} ({ends}).{clipped_note}"
    advice = MORE if share < limits.kept_elsewhere else ""
    if high < limits.heldout_fall:
        return make_verdict(AREA, "watch", (name, f"{words} Chance alone would lose nothing."), evidence, advice)
    if not low >= limits.heldout_fall:
        known = f" At most {as_text(100 * high, '.0f')}% is." if np.isfinite(high) else ""
        words = f"{words}{known} Too few pairs to say whether it falls there."
        return make_verdict(AREA, "not_enough_data", (name, words), evidence, more_pairs)
    words += " Trained agents of the atlas keep as little." if share < limits.kept_elsewhere else ""
    return make_verdict(AREA, "ok", (name, words), evidence, advice)
