"""A training batch recomputed: exact, no statistics. What differs is named, and the usual mistake that explains it."""

from typing import Any

from closerlook.monitor.advantage_checks import check_advantages, check_normalization, check_returns
from closerlook.monitor.batch import Batch
from closerlook.monitor.checks import Findings
from closerlook.monitor.finite_checks import check_finite
from closerlook.monitor.log_prob_checks import check_log_probs, check_values
from closerlook.monitor.row_checks import check_autoreset, check_flags, check_sign


def lint(batch: Batch, *, after: Any = None) -> Findings:
    """Recompute what a training batch holds.

    Parameters
    ----------
    batch : Batch
        The batch, before the update or with what was stored before it.
    after : policy, optional
        The policy after the update, for the sign of the update; of any kind that `Batch` takes.

    Returns
    -------
    Findings
        Checks ``finite, flags, autoreset, values, advantages, returns, normalization, log_probs, update_sign``: each
        ``ok``, ``watch``, ``problem``, or ``unknown`` where the batch lacks what it takes; with the first step and
        environment that differ, and the mistake that explains it as `diagnosis`.

    Examples
    --------
    >>> import numpy as np
    >>> import closerlook as cl
    >>> rewards, values = np.ones((3, 1)), np.full((3, 1), 2.0)
    >>> done = np.array([[False], [True], [False]])
    >>> advantages = np.array([[-0.001], [-1.0], [0.5]])  # what gamma 0.5 and lambda 1 give is another first
    >>> batch = cl.Batch(rewards=rewards, values=values, done=done, terminated=done, last_values=[3.0],
    ...                  advantages=advantages, gamma=0.5, gae_lambda=1.0)
    >>> found = cl.lint(batch)
    >>> found["advantages"].level, found["advantages"].first_step
    ('problem', 0)

    See Also
    --------
    closerlook.Monitor : the same and more while an agent trains.
    """
    recomputed = check_advantages(batch)
    return Findings(
        (
            check_finite(batch),
            check_flags(batch),
            check_autoreset(batch),
            check_values(batch),
            recomputed.check,
            check_returns(batch, recomputed),
            check_normalization(batch, recomputed),
            check_log_probs(batch),
            check_sign(batch, after),
        )
    )
