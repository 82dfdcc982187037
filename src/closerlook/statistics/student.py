"""Student's t distribution, without the second that importing all of ``scipy.stats`` takes every command."""

from typing import Any

import numpy as np
from scipy import special


def t_quantile(level: Any, freedom: Any) -> Any:
    """Return below what a number of Student's t distribution lies with this probability.

    Parameters
    ----------
    level : float or ndarray
        The probability, above 0.
    freedom : float or ndarray
        Degrees of freedom; infinitely many are the normal distribution.

    Returns
    -------
    float or ndarray
        To the last bit what ``scipy.stats.t.ppf`` returns; NaN where there is no degree of freedom.
    """
    # F^-1_nu(level)
    return special.stdtrit(np.asarray(freedom, np.float64), level)


def t_probability(number: Any, freedom: Any) -> Any:
    """Return the probability of less than a number under Student's t distribution, as ``scipy.stats.t.cdf``.

    Parameters
    ----------
    number : float or ndarray
        Any number.
    freedom : float or ndarray
        Degrees of freedom; infinitely many are the normal distribution.
    """
    return special.stdtr(np.asarray(freedom, np.float64), number)
