"""Stored log-probabilities and values against the policy and the critic that should have given them.

====== ==================================
symbol meaning
====== ==================================
T, N   steps, environments
A      components of an action
====== ==================================
"""

from collections.abc import Iterator

import numpy as np

from closerlook.monitor.batch import Batch
from closerlook.monitor.checks import Check, ok, unknown
from closerlook.monitor.recomputed import log_probs_of, values_of
from closerlook.statistics.recursions import FloatArray, coarsest_step, fit_terms

ROUNDING = 5e-4
"""Log-probabilities nearer than this, times 1 and their size, are equal but for single precision."""
VALUE_ROUNDING = 1e-4
"""Values nearer than this, times their size, are equal but for single precision."""
HALF = 0.05
"""Log-probabilities nearer than this, times 1 and their size, may have been computed in half precision."""

LOG_PROBS = {
    "clipped_actions_stored": (
        "the stored actions are clipped, their log-probabilities those of the actions before clipping",
        "store the action that was sampled, and clip only what the environment is given",
    ),
    "log_probs_of_clipped_actions": (
        "the log-probabilities are those of clipped actions, the stored actions are not clipped",
        "take the log-probability of the action that was sampled",
    ),
    "squash_correction_missing": (
        "the log-probabilities lack the correction for tanh",
        "subtract sum log(1 - tanh(u)^2) from the Gaussian's log-probability",
    ),
    "squash_correction_twice": (
        "the log-probabilities hold a correction for tanh that the policy's do not",
        "let the stored ones and those of the update be of the same distribution",
    ),
    "scale_correction_missing": (
        "the log-probabilities differ from the policy's by one constant, as where an action's rescaling is left out",
        "take both on the same side of the rescaling",
    ),
    "raw_observations": (
        "the log-probabilities are the policy's at observations before normalization",
        "store the observations that the policy was given",
    ),
    "log_probs_shifted": (
        "the log-probabilities are those of a neighboring step",
        "store observation, action and log-probability of one step in one row",
    ),
    "environments_interleaved": (
        "the log-probabilities are those of other environments' rows",
        "flatten all arrays in the same order",
    ),
    "half_precision": (
        "the log-probabilities were computed or stored in half precision",
        "take log-probabilities in single precision, in sampling as in the update",
    ),
    "another_policy": (
        "the log-probabilities are another policy's",
        "store log-probabilities of the policy that samples, and update it only after the batch is full",
    ),
}


def check_log_probs(batch: Batch) -> Check:
    """Recompute log-probabilities: the ratio before the first step has to be 1."""
    if batch.log_probs is None:
        return unknown("log_probs", "log_probs")
    stored = batch.log_probs.astype(np.float64)
    found = log_probs_of(batch)
    if found is None:
        return unknown("log_probs", "policy with observations and actions, or what it says of them")
    if not np.isfinite(stored).all():
        return unknown("log_probs", "log_probs that are finite")
    return _compare_log_probs(batch, stored, found)


def _compare_log_probs(batch: Batch, stored: FloatArray, found: FloatArray) -> Check:
    if _equal(stored, found).all():
        low, high = _ratios(found - stored)
        return ok("log_probs", "stored log-probabilities are the policy's", ratio_low=low, ratio_high=high)
    for name, other in _explanations(batch, stored, found):
        if _equal(stored, other).mean() > _ENOUGH:
            return _log_prob_fault(name, stored, found)
    coarse = coarsest_step(stored) is not None
    near = np.abs(found - stored) <= HALF * (1 + np.abs(stored))
    if near.all() and (coarse or abs(float((found - stored).mean())) < 0.1 * HALF):
        return _log_prob_fault("half_precision", stored, found, level="watch")
    return _log_prob_fault("another_policy", stored, found)


_ENOUGH = 0.999
"""Share of rows that an explanation has to explain: densities at bounds are on the edge of single precision."""


def _equal(stored: FloatArray, found: FloatArray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(found - stored) <= ROUNDING * (1 + np.abs(stored)))


def _ratios(logs: FloatArray) -> tuple[float, float]:
    with np.errstate(over="ignore"):
        return float(np.exp(logs.min())), float(np.exp(logs.max()))


def _explanations(batch: Batch, stored: FloatArray, found: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    actions = batch.actions
    continuous = actions is not None and actions.dtype.kind == "f"
    if continuous and actions is not None and batch.action_low is not None and batch.action_high is not None:
        wide = actions.reshape(*batch.rewards.shape, -1)
        # log pi(a) of the action before clipping differs from that of the stored, clipped one only where it is at a
        # bound
        clipped = np.clip(wide, batch.action_low, batch.action_high)
        at_bound = ((wide == batch.action_low) | (wide == batch.action_high)).any(-1)
        # only a clipped action can have the density of another: at a bound
        yield "clipped_actions_stored", np.where(at_bound & ~(clipped != wide).any(-1), stored, found)
        if (clipped != wide).any():
            other = log_probs_of(batch, clipped.reshape(actions.shape).astype(actions.dtype))
            if other is not None:
                yield "log_probs_of_clipped_actions", other
    if continuous and actions is not None and np.abs(actions).max() <= 1:
        # tanh: log pi(a) = log N(u) - sum log(1 - tanh(u)^2 + eps), eps 0 or 1e-6 as libraries have it
        wide = actions.reshape(*batch.rewards.shape, -1).astype(np.float64)
        for epsilon in (0.0, 1e-6):
            correction = np.log(np.maximum(1 - np.square(wide), 1e-12) + epsilon).sum(-1)
            yield "squash_correction_missing", found + correction
            yield "squash_correction_twice", found - correction
    # rescaling by h adds -sum log h to every log density: one constant
    constant = float(np.median(stored - found))
    if continuous and np.abs(constant) > ROUNDING:
        yield "scale_correction_missing", found + constant
    if batch.raw_observations is not None:
        other = log_probs_of(batch, observations=batch.raw_observations)
        if other is not None:
            yield "raw_observations", other
    yield from _displaced(stored, found)


def _displaced(stored: FloatArray, found: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """List rows in other places; a row beyond the end of the batch says nothing."""
    steps, environments = found.shape
    for shift in (1, -1):
        moved = np.roll(found, shift, axis=0)
        moved[0 if shift == 1 else -1] = stored[0 if shift == 1 else -1]
        if steps > 2:
            yield "log_probs_shifted", moved
    if min(found.shape) > 1:
        yield "environments_interleaved", found.reshape(environments, steps).T
        yield "environments_interleaved", found.T.reshape(steps, environments)


def _log_prob_fault(name: str, stored: FloatArray, found: FloatArray, level: str = "problem") -> Check:
    says, hint = LOG_PROBS[name]
    differs = ~_equal(stored, found)
    step, environment = np.argwhere(differs)[0]
    low, high = _ratios(found - stored)
    return Check(
        check="log_probs",
        level=level,  # type: ignore[arg-type]
        diagnosis=name,
        statement=f"{says}: before the first step of the update ratios are {low:.3g} to {high:.3g}, not 1",
        advice=hint,
        evidence={
            "steps_that_differ": int(differs.sum()),
            "steps_checked": differs.size,
            "ratio_low": low,
            "ratio_high": high,
        },
        first_step=int(step),
        first_environment=int(environment),
    )


VALUES = {
    "values_shifted": ("the values are those of a neighboring step", "store V(s_t) in the row of s_t"),
    "raw_observations": (
        "the values are the critic's at observations before normalization",
        "store the observations that the critic was given",
    ),
    "environments_interleaved": ("the values are those of other environments' rows", "flatten all arrays alike"),
    "values_in_other_units": (
        "the values are the critic's in other units",
        "say in which units values are: the critic's own, or those of the rewards",
    ),
    "another_critic": ("the values are another critic's", "store values of the critic that the batch is sampled with"),
}


def check_values(batch: Batch) -> Check:
    """Recompute values from the critic."""
    if batch.values is None:
        return unknown("values", "values")
    stored, found = batch.values.astype(np.float64), values_of(batch)
    if found is None:
        return unknown("values", "critic with observations, or what it says of them")
    if not (np.isfinite(stored).all() and np.isfinite(found).all()):
        return unknown("values", "values that are finite")
    return _compare_values(batch, stored, found)


def _compare_values(batch: Batch, stored: FloatArray, found: FloatArray) -> Check:
    if _near(stored, found).all():
        return ok("values", "stored values are the critic's")
    for name, other in _other_values(batch, stored, found):
        if _near(stored, other).all():
            return _value_fault(name, stored, found)
    # V_stored = a V + c exactly: the same critic in other units
    weights = fit_terms(stored, [found, np.ones_like(found)], VALUE_ROUNDING)
    if weights is not None and weights[0] > 0:
        # trainers that standardize returns keep values in the rewards' units beside a critic in its own
        return _value_fault("values_in_other_units", stored, found, level="ok")
    if coarsest_step(stored) is not None and (np.abs(found - stored) <= 0.02 * (np.abs(stored) + found.std())).all():
        return ok("values", "stored values are the critic's, in half precision")
    return _value_fault("another_critic", stored, found)


def _near(stored: FloatArray, found: FloatArray) -> np.ndarray:
    return np.asarray(
        np.abs(found - stored) <= VALUE_ROUNDING * (np.abs(stored) + 0.1 * np.sqrt(np.square(found).mean()) + 1e-6)
    )


def _other_values(batch: Batch, stored: FloatArray, found: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    for name, other in _displaced(stored, found):
        yield name.replace("log_probs", "values"), other
    if batch.raw_observations is not None:
        other_values = values_of(batch, batch.raw_observations)
        if other_values is not None:
            yield "raw_observations", other_values


def _value_fault(name: str, stored: FloatArray, found: FloatArray, level: str = "problem") -> Check:
    says, hint = VALUES[name]
    differs = ~_near(stored, found)
    step, environment = np.argwhere(differs)[0]
    return Check(
        check="values",
        level=level,  # type: ignore[arg-type]
        diagnosis=name,
        statement=f"{says}: they differ at {int(differs.sum()):,} of {differs.size:,} steps",
        advice=hint,
        evidence={
            "steps_that_differ": int(differs.sum()),
            "steps_checked": differs.size,
            "largest_difference": float(np.abs(found - stored).max()),
        },
        first_step=int(step),
        first_environment=int(environment),
    )
