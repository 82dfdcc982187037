"""Stored advantages and returns against the recursion that they should satisfy, step by step.

Generalized advantage estimates satisfy ``A_t - gamma lambda m_t A_{t+1} = delta_t`` with
``delta_t = r_t + gamma b_t - V_t``: m_t says whether the trace goes on past step t, b_t what stands for the value of
what follows it. Taken with the *stored* A_{t+1} this is local: where one step is wrong, one residual is large, however
far the error was carried.

====== =======================================================
symbol meaning
====== =======================================================
T, N   steps, environments; time is the first axis
r, V   rewards, values
b      value of what follows each step; NaN: not known
m      1 where the trace goes on, 0 where it ends
====== =======================================================
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TOLERANCE = 2e-5
"""Residuals smaller than this part of the sizes of what is added up are rounding of single precision."""
COARSE_STEPS = 4.0
"""Residuals of numbers stored in half precision are this many of its steps at most."""


@dataclass(frozen=True)
class Recursion:
    """How advantages follow from rewards and values; all (T, N) float64 but the factors.

    Parameters
    ----------
    rewards, values : ndarray, (T, N)
        r and V.
    following : ndarray, (T, N)
        b; NaN where it is not known: those steps are left out.
    traces : ndarray, (T, N)
        m.
    gamma, trace_decay : float
        Discount factor, and gamma times lambda.
    """

    rewards: FloatArray
    values: FloatArray
    following: FloatArray
    traces: FloatArray
    gamma: float
    trace_decay: float

    @property
    def deltas(self) -> FloatArray:
        """``r_t + gamma b_t - V_t``."""
        # delta_t, with b_t in place of V(s_{t+1})
        return self.rewards + self.gamma * self.following - self.values


@dataclass(frozen=True)
class Residuals:
    """How far stored advantages are from a recursion.

    Parameters
    ----------
    sizes : ndarray, (T, N)
        ``|A_t - gamma lambda m_t A_{t+1} - delta_t|`` over the tolerance: above 1 it is no rounding. NaN: not known.
    """

    sizes: FloatArray

    @property
    def known(self) -> int:
        """Steps that could be compared."""
        return int((~np.isnan(self.sizes)).sum())

    @property
    def wrong(self) -> int:
        """Steps whose residual is no rounding."""
        return int((self.sizes > 1).sum())

    @property
    def agree(self) -> bool:
        """Whether everything that can be compared agrees."""
        return self.known > 0 and self.wrong == 0

    @property
    def first(self) -> tuple[int, int] | None:
        """Step and environment of the first that differs: the earliest step, there the first environment."""
        # rows come in the order of steps: the earliest one first
        places = np.argwhere(self.sizes > 1)
        return (int(places[0, 0]), int(places[0, 1])) if len(places) else None


def following_rows(array: FloatArray, last: float | FloatArray) -> FloatArray:
    """Return what stands one step later, and `last` after the last step: (T, N).

    Parameters
    ----------
    array : ndarray, (T, N)
        Any numbers of steps.
    last : float or ndarray, (N,)
        What follows the last step.
    """
    final = np.broadcast_to(np.asarray(last, dtype=np.float64), array.shape[1:])
    return np.concatenate([array[1:], final[None]])


def residuals(advantages: FloatArray, recursion: Recursion, tolerance: float = TOLERANCE) -> Residuals:
    """Compare stored advantages (T, N) with a recursion.

    Parameters
    ----------
    advantages : ndarray, (T, N)
        As stored.
    recursion : Recursion
        What they should satisfy.
    tolerance : float
        Of the sizes of what is added up: what rounding may make of it.
    """
    # A_t - gamma lambda m_t A_{t+1} - delta_t, with the stored A_{t+1}
    after = recursion.trace_decay * recursion.traces * following_rows(advantages, 0.0)
    terms = (recursion.rewards, recursion.gamma * recursion.following, recursion.values, advantages, after)
    with np.errstate(all="ignore"):
        # a value can differ in rounding of what it was computed from: the largest in sight says how much
        scale = sum(np.abs(term) for term in terms) + _typical(recursion.values) + _typical(advantages)
        sizes = np.abs(advantages - after - recursion.deltas) / (tolerance * scale)
    return Residuals(np.where(scale == 0, 0.0, sizes))


def _typical(numbers: FloatArray) -> float:
    """Return a tenth of the root mean square of what is finite: near zero, rounding is that of larger numbers."""
    finite = numbers[np.isfinite(numbers)]
    return 0.1 * float(np.sqrt(np.square(finite).mean())) if finite.size else 0.0


def fit_terms(target: FloatArray, terms: list[FloatArray], tolerance: float = TOLERANCE) -> FloatArray | None:
    """Return weights with which terms (T, N) add up to a target exactly, or None where there are none.

    Least squares over the steps where all are known; the fit counts only where every residual is rounding, there are
    far more steps than terms, and the terms are not multiples of one another.

    Parameters
    ----------
    target : ndarray, (T, N)
        What the terms should add up to; NaN where it is not known.
    terms : list of ndarray, (T, N)
        The terms, NaN where they are not known.
    tolerance : float
        Residuals up to twice this part of the sizes of what is added up are rounding.
    """
    columns = np.stack([np.ravel(term) for term in terms], axis=1)
    wanted = np.ravel(target)
    known = np.isfinite(columns).all(axis=1) & np.isfinite(wanted)
    columns, wanted = columns[known], wanted[known]
    if len(wanted) < 4 * len(terms):
        return None
    sizes = np.sqrt(np.square(columns).mean(axis=0))
    if not (sizes > 0).all():
        return None
    # columns of like size make the tolerance of the rank mean something
    weights, _, rank, _ = np.linalg.lstsq(columns / sizes, wanted, rcond=1e-9)
    if rank < len(terms):
        return None
    weights = weights / sizes
    scale = np.abs(columns * weights).sum(axis=1) + np.abs(wanted) + _typical(wanted)
    exact = np.abs(columns @ weights - wanted) <= 2 * tolerance * scale
    return np.asarray(weights) if exact.all() else None


def backward_sums(deltas: FloatArray, decays: FloatArray) -> FloatArray:
    """Return ``A_t = delta_t + d_t A_{t+1}``, the last as it is: (T, N); NaN spreads backward to where d is 0.

    Parameters
    ----------
    deltas : ndarray, (T, N)
        delta.
    decays : ndarray, (T, N)
        d: gamma lambda where the trace goes on, 0 where it ends.
    """
    sums, following = np.empty_like(deltas), np.zeros(deltas.shape[1:])
    # where the decay is 0 nothing follows: 0 times NaN would be NaN
    for t in range(len(deltas) - 1, -1, -1):
        following = deltas[t] + np.where(decays[t] == 0, 0.0, decays[t] * following)
        sums[t] = following
    return sums


def coarsest_step(array: NDArray[Any]) -> float | None:
    """Return the relative step of half precision (float16, bfloat16) that all numbers are exact in; None: of neither.

    Numbers that small whole numbers could be are not taken for it.
    """
    numbers = array.astype(np.float64)[np.isfinite(array)]
    if array.dtype == np.float16:
        return float(np.finfo(np.float16).eps)
    if not numbers.size or np.array_equal(numbers * 16, np.round(numbers * 16)):
        return None
    single = numbers.astype(np.float32)
    # bfloat16 is float32 without the lower 16 bits of its mantissa: 8 bits of precision, so a relative step of 2^-7
    if np.array_equal(single, numbers) and not (single.view(np.uint32) & 0xFFFF).any():
        return 2.0**-7
    with np.errstate(over="ignore"):
        return float(np.finfo(np.float16).eps) if np.array_equal(numbers.astype(np.float16), numbers) else None
