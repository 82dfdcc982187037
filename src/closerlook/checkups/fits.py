"""Returns predicted by a ridge regression on features that were never trained, or on those of a network.

====== ==================================
symbol meaning
====== ==================================
S, K   streams, and pairs of each
F      features
====== ==================================
"""

import numpy as np

from closerlook.randomness import generator

FEATURES, RIDGE = 128, 1e-2
"""Random units of a fitted value, and how much weights are held to 0, relative to the features' variance."""


def fitted_values(inputs: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Predict the returns of each half of the streams from inputs, by what is fitted to the other half.

    Parameters
    ----------
    inputs : ndarray, (S, K, obs)
        What networks see at K pairs of each stream.
    returns : ndarray, (S, K)
        Monte Carlo discounted returns.

    Returns
    -------
    ndarray, (S, K)
        From the standardized inputs, random units of tanh of them and a constant.
    """
    draws = generator(0, "checkup fitted value")
    mean, std = inputs.mean((0, 1)), inputs.std((0, 1))
    standard = (inputs - mean) / np.where(std > 0, std, 1.0)
    size = standard.shape[-1]
    # random features (Rahimi and Recht, 2007): phi(x) = (x, tanh(W x + b), 1) with W ~ N(0, 1 / obs), never trained
    weights = draws.standard_normal((size, FEATURES)) / np.sqrt(max(size, 1))
    hidden = np.tanh(standard @ weights + draws.standard_normal(FEATURES))
    few = standard if size <= FEATURES else standard[..., :0]
    return _cross_fitted(np.concatenate([few, hidden, np.ones((*hidden.shape[:2], 1))], axis=-1), returns)


def cross_fitted(features: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Predict the returns of each half of the streams from features, standardized, by a fit to the other half: (S, K).

    Parameters
    ----------
    features : ndarray, (S, K, F)
        What a layer answers at K pairs of each stream.
    returns : ndarray, (S, K)
        Monte Carlo discounted returns.
    """
    mean, std = features.mean((0, 1)), features.std((0, 1))
    standard = (features - mean) / np.where(std > 0, std, 1.0)
    return _cross_fitted(np.concatenate([standard, np.ones((*standard.shape[:2], 1))], axis=-1), returns)


def _cross_fitted(features: np.ndarray, returns: np.ndarray) -> np.ndarray:
    found = np.zeros_like(returns)
    # cross-fitting: no stream is predicted by what was fitted to it
    even = np.arange(len(returns)) % 2 == 0
    for own in (even, ~even):
        known, goal = features[~own].reshape(-1, features.shape[-1]), returns[~own].ravel()
        level = goal.mean() if goal.size else 0.0
        # (X'X + n c I) w = X'(G - mean G)
        gram = known.T @ known + RIDGE * len(known) * np.eye(features.shape[-1])
        found[own] = features[own] @ np.linalg.solve(gram, known.T @ (goal - level)) + level
    return found
