"""What settings would give the best length of a step, how far the quadratic model holds, and how often steps lose.

====== ==============================
symbol meaning
====== ==============================
R      updates, each from its batch
M      multiples of the step
====== ==============================
"""

from collections.abc import Mapping

import numpy as np

from closerlook.diagnostics.common.layout import Findings
from closerlook.measurements.policy_change import CHANGES
from closerlook.statistics.estimates import NOTHING, Interval, exact_share

MODEL_OFF = 1.25
"""Factor by which the quadratic model is off, either way, where it is said to hold no longer."""
ENDS = ("", "_low", "_high")


def step_settings(found: Mapping[str, np.ndarray], multiples: np.ndarray) -> Findings:
    """Work out settings for the best multiple, and the reach of the quadratic model.

    Parameters
    ----------
    found : mapping
        By the schema's names: ``best_multiple``, what the update is bound by, ``multiple_change``, ``quadratic_kl``.
    multiples : ndarray, (M,)
        Of the step, ascending.
    """
    settings: Findings = {}
    for end in ENDS:
        multiple = found[f"best_multiple{end}"]
        # a ratio's distance from 1 and Adam's steps grow with the length, the divergence with its square
        settings[f"suggested_learning_rate{end}"] = np.array(found["policy_learning_rate"] * multiple)
        settings[f"suggested_clip_epsilon{end}"] = np.array(found["clip_epsilon"] * multiple)
        settings[f"suggested_max_kl{end}"] = np.array(found["kl_bound"] * np.square(multiple))
    exact = found["multiple_change"][:, 0, CHANGES.index("mean_kl")]
    reach = model_reach(multiples, exact, found["quadratic_kl"])
    return {**settings, "model_multiple": np.array(reach)}


def model_reach(multiples: np.ndarray, exact: np.ndarray, quadratic: np.ndarray) -> float:
    """Return the shortest multiple at which the quadratic model is off by `MODEL_OFF`, either way.

    By interpolating the logarithm of their ratio, between those measured; the shortest multiple measured where it is
    off there already, or where an update's exact divergence is infinite, so that there is no interpolating; infinite
    where it holds at all of them, NaN where nothing is known.

    Parameters
    ----------
    multiples : ndarray, (M,)
        Ascending.
    exact : ndarray, (R, M)
        Mean KL of each update at each multiple.
    quadratic : ndarray, (R,)
        The model of each update's whole step; it goes with the square of the multiple.
    """
    known = ~np.isnan(exact).any(axis=1) & np.isfinite(quadratic) & (exact > 0).all(axis=1) & (quadratic > 0)
    if not known.any():
        return np.nan
    # m^2 times 1/2 d^T F d over the mean KL at m times the step: 1 where the model holds
    ratio = quadratic[known].mean() * np.square(multiples) / exact[known].mean(axis=0)
    with np.errstate(divide="ignore"):  # an infinite divergence is infinitely far off
        off, bound = np.abs(np.log(ratio)), np.log(MODEL_OFF)
    outside = np.flatnonzero(off >= bound)
    if not outside.size:
        return np.inf
    at = int(outside[0])
    if at == 0 or np.isinf(off[at]):
        return float(multiples[at])
    # log-log interpolation between the last multiple within the bound and the first beyond it
    share = (bound - off[at - 1]) / (off[at] - off[at - 1])
    logs = np.log(multiples)
    return float(np.exp(logs[at - 1] + share * (logs[at] - logs[at - 1])))


def fraction_worse(gains: np.ndarray) -> Interval:
    """Return the share of updates (R,) whose measured gain is a loss, with the exact binomial interval.

    Nothing where one has no number: the others are a selection.
    """
    if not gains.size or np.isnan(gains).any():
        return NOTHING
    # k of n updates: Clopper and Pearson's interval
    return exact_share(int((gains < 0).sum()), gains.size)
