"""What baselines take off the variance of gradient estimates whose mean they leave alone.

====== ==========================================
symbol meaning
====== ==========================================
K      equal groups of streams
D      policy parameters, flattened
====== ==========================================
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from closerlook.statistics.estimates import NOTHING, Interval, skewed_jackknife
from closerlook.statistics.ratios import ANYTHING, ratio


@dataclass(frozen=True)
class Reduction:
    """Variances against that of a reference.

    Parameters
    ----------
    ratios : mapping of str to Interval
        Each baseline's variance over the reference's.
    delivered : Interval
        Of the reduction that the best achieves, the share that the judged one does: 1 all of it, 0 none, negative
        where it adds noise. NaN where the best achieves none.
    excess : Interval
        The judged one's variance over the best one's: so many times as many pairs does it take.
    """

    ratios: dict[str, Interval]
    delivered: Interval
    excess: Interval


def reduce_variance(means: Mapping[str, np.ndarray], reference: str, judged: str, best: str) -> Reduction:
    """Compare the traces of covariances, jackknifed over groups of streams that all share.

    Parameters
    ----------
    means : mapping of str to ndarray, (K, D)
        By baseline, the gradient's means over the same groups.
    reference, judged, best : str
        Names among them; `judged` or `best` may be missing.

    Notes
    -----
    Traces are unbiased; ratios of them have a bias of order 1 / K, taken off in ``delivered`` alone. Intervals of
    ratios are made for skewed numbers, that of ``delivered`` is Fieller's.

    References
    ----------
    Greensmith et al., 2004, "Variance Reduction Techniques for Gradient Estimates in Reinforcement Learning".
    """
    # tr Cov of each baseline's estimates, on the same groups: what groups share cancels in the ratios
    traces = {name: _traces(rows) for name, rows in means.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {name: _interval(trace / traces[reference]) for name, trace in traces.items()}
        if judged not in traces or best not in traces:
            return Reduction(ratios, NOTHING, NOTHING)
        excess = _interval(traces[judged] / traces[best])
    # (Var_reference - Var_judged) / (Var_reference - Var_best): what the best takes off may be nothing, hence Fieller
    share = ratio([traces[reference] - traces[judged]], [traces[reference] - traces[best]], ANYTHING)
    return Reduction(ratios, share, excess)


def _interval(ratio: np.ndarray) -> Interval:
    return skewed_jackknife(float(ratio[0]), ratio[1:], least=0.0)


def _traces(rows: np.ndarray) -> np.ndarray:
    """Return the trace of the rows' sample covariance: of all, and without each, (1 + K,)."""
    count = len(rows)
    centered = rows - rows.mean(axis=0)
    squares = np.square(centered).sum(axis=1)
    # tr Cov = sum_k |x_k - m|^2 / (K - 1); without k the mean moves by (m - x_k) / (K - 1), so that
    # the sum of squares becomes sum - |x_k - m|^2 K / (K - 1), over K - 2
    total = squares.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (total - squares * count / (count - 1)) / (count - 2)
        return np.concatenate([[total / (count - 1)], without])
