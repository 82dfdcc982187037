"""How well critics predict: their errors on held-out pairs, on the batch they were updated on, and what noise leaves.

====== ==========================================
symbol meaning
====== ==========================================
J      streams that critics are judged on
C      critics that are judged
U      updates
T      pairs of a stream
====== ==========================================
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from closerlook.diagnostics.common.layout import Findings, interval, intervals
from closerlook.diagnostics.values.options import CRITICS, TARGETS
from closerlook.measurements.restarted_values import JUDGED, SINGLE
from closerlook.statistics.estimates import NOTHING, Interval
from closerlook.statistics.student import t_quantile
from closerlook.statistics.value_errors import (
    calibration,
    explained_variance,
    floor_of_returns,
    mean_over_streams,
    mean_squared_error,
    median_interval,
    near_zero,
    relative_errors,
    released_errors,
    split_error,
    unexplained_ratio,
)

TARGET_ARRAYS = ("gae_targets", "monte_carlo_returns", "cut_off_returns")
"""What answers of jobs call them."""

Measure = Callable[[np.ndarray, str], Interval]
"""From values (J, T), and the name of the target they are judged by, to a number."""
Scale = Literal["plain", "logarithm", "unexplained"]
"""On which an interval is symmetric, or nearly: see `mean_of_intervals`."""


@dataclass(frozen=True)
class Judged:
    """What critics say of held-out pairs, and what they are judged by.

    Parameters
    ----------
    own : ndarray, (J, T), or None
        The agent's critic.
    fitted : ndarray, (J, T), or None
        the fitted value.
    own_target : ndarray, (J, T), or None
        The value fitted to V_old + A.
    updated : ndarray, (U, J, T)
        The agent's critic after each update.
    targets : mapping of str to ndarray, (J, T)
        By `TARGETS`, in the critic's units.
    true_returns : ndarray, (J, T)
        In true reward.
    divisor : float
        What true rewards are divided by.
    value_clip : float or None
        Of the agent's value loss.
    """

    own: np.ndarray | None
    fitted: np.ndarray | None
    own_target: np.ndarray | None
    updated: np.ndarray
    targets: Mapping[str, np.ndarray]
    true_returns: np.ndarray
    divisor: float
    value_clip: float | None


def audit(judged: Judged) -> Findings:
    """Return every number about held-out pairs, by the schema's names."""
    least = {name: near_zero(target) for name, target in judged.targets.items()}

    def over(measure: Measure, targets: Sequence[str], scale: Scale = "logarithm") -> list[Interval]:
        return [_of_critic(judged, kind, measure, name, scale) for kind in CRITICS for name in targets]

    def mean(values: np.ndarray, name: str) -> Interval:
        return mean_over_streams(relative_errors(values, judged.targets[name], least[name]))

    def median(values: np.ndarray, name: str) -> Interval:
        return median_interval(relative_errors(values, judged.targets[name], least[name]))

    def explained(values: np.ndarray, name: str) -> Interval:
        return explained_variance(values, judged.targets[name])

    def released(values: np.ndarray, name: str) -> Interval:
        old = values if judged.own is None else judged.own
        return mean_over_streams(released_errors(values, judged.targets[name], old, judged.value_clip, least[name]))

    def true(values: np.ndarray, _: str) -> Interval:
        returns = judged.true_returns
        # V is in units of scaled rewards: times their divisor it is in true reward
        return mean_over_streams(relative_errors(values * judged.divisor, returns, near_zero(returns)))

    def explained_true(values: np.ndarray, _: str) -> Interval:
        return explained_variance(values * judged.divisor, judged.true_returns)

    both = (len(CRITICS), len(TARGETS))
    return {
        **intervals("mean_relative_error", over(mean, TARGETS), both),
        **intervals("median_relative_error", over(median, TARGETS), both),
        **intervals("explained_variance", over(explained, TARGETS, "unexplained"), both),
        **intervals("relative_error_as_released", over(released, TARGETS[:1])),
        **intervals("mean_relative_error_true_reward", over(true, ("returns",))),
        **intervals("explained_variance_true_reward", over(explained_true, ("returns",), "unexplained")),
        "judged_pairs": np.array(judged.true_returns.size),
        **_of_fitted(judged, mean, explained),
        **_of_calibration(judged),
    }


def _of_critic(judged: Judged, kind: str, measure: Measure, target: str, scale: Scale) -> Interval:
    """Measure the critic as it is, or the mean over its updates."""
    if kind == "as_is":
        return NOTHING if judged.own is None else measure(judged.own, target)
    return mean_of_intervals([measure(values, target) for values in judged.updated], scale)


def mean_of_intervals(found: Sequence[Interval], scale: Scale = "plain") -> Interval:
    """Average numbers that share their pairs: as wide as one of them, and wider where they differ from each other.

    Both widths are taken on the scale that the single intervals are made on, so that the ends stay possible: half of
    one interval, the mean over updates; and Student's t with U - 1 degrees of freedom times the standard error of the
    mean over updates. They are independent, so that their squares add up.

    Parameters
    ----------
    found : sequence of Interval, U
        One of each update.
    scale : {"plain", "logarithm", "unexplained"}
        Of the single intervals; unexplained: the logarithm of 1 less the number. Plain where logarithms are not known.

    Returns
    -------
    Interval
        NaN without updates; without ends for one, which does not say how updates differ.
    """
    if not found:
        return NOTHING
    rows = np.array([[one.value, one.low, one.high] for one in found])
    value, count = float(rows[:, 0].mean()), len(rows)
    if count == 1:
        return Interval(value, np.nan, np.nan)
    if scale == "unexplained":
        # an explained variance is 1 less a positive ratio, whose logarithm has the symmetric interval
        rest = mean_of_intervals([Interval(1 - one.value, 1 - one.high, 1 - one.low) for one in found], "logarithm")
        return Interval(value, 1 - rest.high, 1 - rest.low)
    logarithmic = scale == "logarithm" and bool((rows > 0).all())
    middles, lows, highs = (np.log(rows) if logarithmic else rows).T
    # noise of the pool, common to all updates, and the scatter of the updates: independent, so halves add up as squares
    spread = t_quantile(0.975, count - 1) * middles.std(ddof=1) / np.sqrt(count)
    below, above = (float(np.hypot(half.mean(), spread)) for half in (middles - lows, highs - middles))
    if logarithmic:
        return Interval(value, value * float(np.exp(-below)), value * float(np.exp(above)))
    return Interval(value, value - below, value + above)


def _of_fitted(judged: Judged, mean: Measure, explained: Measure) -> Findings:
    values, other = judged.fitted, judged.own_target
    floor, possible = (NOTHING if values is None else measure(values, "returns") for measure in (mean, explained))
    error, found = (NOTHING if other is None else measure(other, "returns") for measure in (mean, explained))
    ratio = NOTHING
    if values is not None and other is not None:
        ratio = unexplained_ratio(values, other, judged.targets["returns"])
    return {
        **interval("noise_floor_mre", floor),
        **interval("fitted_explained_variance", possible),
        **interval("own_target_mre", error),
        **interval("own_target_explained_variance", found),
        **interval("own_target_unexplained_ratio", ratio),
    }


def _of_calibration(judged: Judged) -> Findings:
    bins = [None if judged.own is None else calibration(judged.own, judged.targets[name]) for name in TARGETS]
    known = [one for one in bins if one is not None]
    count = len(known[0].predicted) if known else 10
    predicted = [np.full(count, np.nan) if one is None else one.predicted for one in bins]
    targets = [own for one in bins for own in ([NOTHING] * count if one is None else one.targets)]
    shape = (len(TARGETS), count)
    return {"calibration_predicted": np.array(predicted), **intervals("calibration_target", targets, shape)}


def audit_training(answers: Sequence[Mapping[str, np.ndarray]]) -> Findings:
    """Return how well the critic fits the very batches it was updated on; NaN without updates."""
    # one number for each update: a mean over its own batch, which has no streams to spare
    measures: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "train_mean_relative_error": lambda v, y: float(relative_errors(v, y, near_zero(y)).mean()),
        "train_median_relative_error": lambda v, y: float(np.median(relative_errors(v, y, near_zero(y)))),
        "train_explained_variance": lambda v, y: explained_variance(v[None], y[None]).value,
    }
    found: Findings = {}
    for name, measure in measures.items():
        rows = [[measure(answer["values"], answer[target]) for answer in answers] for target in TARGET_ARRAYS]
        found |= intervals(name, [mean_over_streams(np.array(row)[:, None]) if row else NOTHING for row in rows])
    return found


def audit_restarts(answers: Sequence[Mapping[str, np.ndarray]], least: float) -> Findings:
    """Return bias and noise at states that were restarted from; NaN where none were asked for.

    Parameters
    ----------
    answers : sequence of mappings
        See `closerlook.measurements.restarted_values.sample_restarts`.
    least : float
        Of the Monte Carlo returns of held-out pairs, see `near_zero`.
    """
    nothing = [NOTHING] * len(JUDGED)
    if not answers:
        empty = interval("exact_noise_floor_mre", NOTHING) | interval("return_noise", NOTHING)
        return empty | intervals("squared_bias", nothing) | intervals("mean_squared_error", nothing)
    names = ("returns", "own_returns", "values", "updated_values", "stream")
    returns, own, single, updated, streams = (np.concatenate([answer[name] for answer in answers]) for name in names)
    # E (V - G)^2 = (V - v)^2 + Var(G | s): bias by critic, noise common to all
    splits = [split_error(values, returns, streams) for values in (*single.T, *updated.T)]
    totals = [mean_squared_error(values, own, streams) for values in (*single.T, *updated.T)]
    return {
        **interval("exact_noise_floor_mre", floor_of_returns(returns, streams, least)),
        **interval("return_noise", splits[0].noise),
        **intervals("squared_bias", _updates_together([split.bias for split in splits])),
        **intervals("mean_squared_error", _updates_together(totals, "logarithm")),
    }


def _updates_together(found: Sequence[Interval], scale: Scale = "plain") -> list[Interval]:
    """Return numbers of single critics as they are, then the mean over updated ones."""
    return [*found[: len(SINGLE)], mean_of_intervals(found[len(SINGLE) :], scale)]
