"""What stands out among divergences and probability ratios: tails, how many pairs they are worth, how heavy they are.

====== ==================================
symbol meaning
====== ==================================
n      ratios
m      of them, the largest, in the tail
k      shape of the generalized Pareto law
====== ==================================
"""

import numpy as np
from numpy.typing import NDArray

TAIL = 0.99
"""Which quantile over states stands beside the mean and the largest divergence."""
FEWEST_IN_TAIL = 5
PRIOR_WEIGHT, PRIOR_SHAPE = 10.0, 0.5
"""The weak prior on k of Vehtari et al.: so many draws around this value."""


def mean_largest_tail(values: np.ndarray) -> tuple[float, float, float]:
    """Return mean, largest and 99th percentile; a percentile of what is not finite is not known.

    Parameters
    ----------
    values : ndarray, (n,)
        Of each state.
    """
    high = np.quantile(values, TAIL) if np.isfinite(values).all() else np.nan
    return float(values.mean()), float(values.max()), float(high)


def outside(ratios: np.ndarray, clip: float) -> NDArray[np.bool_]:
    """Return which ratios (n,) are further from 1 than epsilon.

    Parameters
    ----------
    ratios : ndarray, (n,)
        Of new to old probability.
    clip : float
        Epsilon.
    """
    return np.asarray(np.abs(ratios - 1.0) > clip)


def share_outside(ratios: np.ndarray, clip: float) -> float:
    """Return the share of ratios (n,) further from 1 than epsilon; unknown where one of them is.

    Parameters
    ----------
    ratios : ndarray, (n,)
        Of new to old probability.
    clip : float
        Epsilon.
    """
    # fraction of |r - 1| > epsilon
    return float(outside(ratios, clip).mean()) if not np.isnan(ratios).any() else np.nan


def effective_fraction(ratios: np.ndarray) -> float:
    """Return ``(sum w)^2 / (n sum w^2)``: the share of the pairs that ratios of 1 would need for the same variance.

    References
    ----------
    Kish, 1965, "Survey Sampling", section 11.7.
    """
    # Kish: (sum w)^2 / sum w^2 is the number of equal weights with the same variance
    wide = np.asarray(ratios, dtype=np.float64)
    squares = float(np.square(wide).sum())
    return float(wide.sum() ** 2 / (wide.size * squares)) if squares > 0 and np.isfinite(squares) else np.nan


def pareto_k(ratios: np.ndarray) -> float:
    """Estimate the shape k of the upper tail of ratios (n,); NaN where there are too few, or the tail is flat.

    Below 0.5 the variance of weighted means is finite; beyond 0.7 they are not to be relied on. The tail has
    ``m = min(n / 5, 3 sqrt(n))`` ratios.

    References
    ----------
    Zhang and Stephens, 2009, "A New and Efficient Estimation Method for the Generalized Pareto Distribution"; Vehtari,
    Simpson, Gelman, Yao and Gabry, 2024, "Pareto Smoothed Importance Sampling", section 3 and appendix G.
    """
    ordered = np.sort(np.asarray(ratios, dtype=np.float64))
    n = len(ordered)
    # Vehtari et al., appendix G: M = min(S / 5, 3 sqrt(S)) largest
    m = int(min(0.2 * n, 3 * np.sqrt(n)))
    if m < FEWEST_IN_TAIL or not np.isfinite(ordered).all():
        return np.nan
    # over the largest ratio that is not in the tail, which is the threshold u
    exceedances = ordered[-m:] - ordered[-m - 1]
    if exceedances[0] < 0 or exceedances[_quartile(m)] <= 0:
        return np.nan
    return generalized_pareto_shape(exceedances)


def generalized_pareto_shape(exceedances: np.ndarray) -> float:
    """Estimate k from exceedances (m,) in rising order.

    The posterior mean of ``theta`` over a grid of points stands for its estimate:
    ``k(theta) = mean log(1 - theta x)``, profile log-likelihood ``m (log(-theta / k) - k - 1)``; then k is drawn
    towards 0.5 by a weak prior.

    References
    ----------
    Zhang and Stephens, 2009, "A New and Efficient Estimation Method for the Generalized Pareto Distribution".
    """
    m = len(exceedances)
    # Zhang and Stephens, eq. 6: theta_j = 1 / x_max + (1 - sqrt(m / (j - 1/2))) / (3 x_(1/4)), m = 30 + sqrt(n)
    points = 30 + int(np.sqrt(m))
    quartile = exceedances[_quartile(m)]
    grid = 1 / exceedances[-1] + (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * quartile)
    # profile log-likelihood: l(theta) = n (log(-theta / k) - k - 1), k(theta) = mean log(1 - theta x)
    shapes = np.log1p(-grid[:, None] * exceedances).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihoods = m * (np.log(-grid / shapes) - shapes - 1)
    # posterior weights w_j = 1 / sum_i exp(l_i - l_j) are the likelihoods over their sum
    weights = np.exp(np.nan_to_num(likelihoods - np.nanmax(likelihoods), nan=-np.inf))
    theta = float(grid @ weights / weights.sum())
    k = float(np.log1p(-theta * exceedances).mean())
    # Vehtari et al., appendix G: k' = (n k + 10 x 0.5) / (n + 10)
    return (m * k + PRIOR_WEIGHT * PRIOR_SHAPE) / (m + PRIOR_WEIGHT)


def _quartile(m: int) -> int:
    """Return the place of the first quartile among m numbers in rising order."""
    return int(m / 4 + 0.5) - 1


def effective_rank(features: np.ndarray, share: float = 0.99) -> int:
    """Return how many directions hold a share of the sum of singular values of features (n, D).

    Parameters
    ----------
    features : ndarray, (n, D)
        Outputs of a layer of D units at n observations.
    share : float
        Of the sum of singular values.

    References
    ----------
    Kumar, Agarwal, Ghosh and Levine, 2021, "Implicit Under-Parameterization Inhibits Data-Efficient Deep RL", eq. 1,
    with delta 0.01.
    """
    # srank_delta = min{k : sum_{i <= k} sigma_i >= (1 - delta) sum_i sigma_i}
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    if not values.sum() > 0:
        return 0
    return int(np.searchsorted(np.cumsum(values) / values.sum(), share) + 1)
