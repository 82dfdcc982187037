"""Numbers of what else could have been chosen: another lambda, and other seeds.

====== ==========================================
symbol meaning
====== ==========================================
S, T   streams, and pairs of each
L      lambdas
D      policy parameters, flattened
====== ==========================================
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from closerlook.agents.loading import run_folder
from closerlook.errors import InputError
from closerlook.results.training_log import read_training_log
from closerlook.statistics.estimates import Interval
from closerlook.statistics.lambda_sweep import best_lambda, compare, gain_of_best

LAMBDAS = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)
"""That the agent's own is compared with."""
LAST = 0.1
"""Part of a training run's iterations, the last ones, that say how it ends."""


def lambda_numbers(
    joined: Mapping[str, np.ndarray], own: float, batch_pairs: int, confidence: float
) -> dict[str, Interval]:
    """Say how much better a batch's gradient would be by the best of some lambdas; empty where that is not known.

    Parameters
    ----------
    joined : mapping of str to ndarray
        ``gradients``, ``true_gradients`` (S, D) and ``lambda_gradients`` (S, L, D), see
        `closerlook.checkups.sampling.sample_streams`; ``rewards`` (S, T).
    own : float
        The agent's lambda.
    batch_pairs : int
        State-action pairs of a training batch.
    confidence : float
        Of the gain's interval, from 0 to 1.

    Returns
    -------
    dict of str to Interval
        ``lambda_gain``, the cosine to the gradient of Monte Carlo returns by the best lambda over that by the agent's
        own, chosen by one half of the streams and measured by the other; and ``best_lambda``.
    """
    if "lambda_gradients" not in joined:
        return {}
    pairs = float(joined["rewards"].shape[1])
    others = np.moveaxis(joined["lambda_gradients"], 1, 0)
    means = [rows.astype(np.float64) / pairs for rows in (*others, joined["gradients"])]
    true = joined["true_gradients"].astype(np.float64) / pairs
    if not (np.isfinite(true).all() and all(np.isfinite(rows).all() for rows in means)):
        return {}
    parts = (slice(None), slice(0, None, 2), slice(1, None, 2))
    compared = [[compare(rows[part], true[part], pairs) for rows in means] for part in parts]
    best = best_lambda(compared[0], batch_pairs)
    if best.place is None:
        return {}
    gain = gain_of_best(compared[1:], len(LAMBDAS), batch_pairs, confidence=confidence)
    chosen = (*LAMBDAS, own)[best.place]
    return {"lambda_gain": gain, "best_lambda": Interval(chosen, chosen, chosen)}


def returns_of_seeds(source: str | Path) -> tuple[float, ...]:
    """Return what the agents of a training run's seeds earned over its last iterations; none where it says nothing.

    Parameters
    ----------
    source : str or Path
        The run's name, as `closerlook.load` takes it; other names say nothing.
    """
    folder, log = run_folder(source), None
    if folder is not None:
        with suppress(InputError):  # a checkup does without
            log = read_training_log(folder)
    if log is None:
        return ()
    times = np.unique(log["iteration"])
    late = log["iteration"] >= times[-max(1, round(LAST * len(times)))]
    ends = [log["mean_reward"][late & (log["agent_seed"] == seed)] for seed in np.unique(log["agent_seed"])]
    return tuple(float(np.nanmean(own)) for own in ends if np.isfinite(own).any())


def seed_numbers(ends: Sequence[float], random: float) -> dict[str, Interval]:
    """Say how differently seeds end: their deviation over what they earn, on average, above random actions.

    Parameters
    ----------
    ends : sequence of float
        Mean return of each seed's agent.
    random : float
        Mean return of random actions.
    """
    own = np.asarray(ends, dtype=np.float64)
    earned = float(own.mean() - random) if len(own) else np.nan
    if len(own) < 2 or not earned > 0:
        return {}
    spread = float(own.std(ddof=1) / earned)
    return {"seed_spread": Interval(spread, spread, spread)}
