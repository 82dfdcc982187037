"""How agents end, from the logs of their training.

====== ==================================
symbol meaning
====== ==================================
n      seeds
I      iterations
====== ==================================
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from closerlook.results.schema import validate
from closerlook.studies.training_variables import VARIABLES

LAST = 10
"""Iterations whose mean is how an agent ends."""


def final_rewards(log: Mapping[str, Any]) -> xr.Dataset:
    """Return what each seed of a training run ends with, and what it had on the way.

    Parameters
    ----------
    log : mapping of str to array_like, (n I,)
        Columns ``iteration``, ``agent_seed`` and ``mean_reward`` of a training log; NaN where no episode ended.

    Returns
    -------
    xarray.Dataset
        ``final_reward`` by agent, NaN where none of the last ten iterations has one, and ``training_reward``, with the
        coordinates ``agent_seed`` and ``iteration``, the number of iterations trained.
    """
    iteration, seed = (np.asarray(log[name]).astype(int) for name in ("iteration", "agent_seed"))
    reward = np.asarray(log["mean_reward"], dtype=np.float64)
    trained, seeds = int(iteration.max()) + 1, np.unique(seed)
    known = np.isfinite(reward)
    spans = {"final_reward": known & (iteration >= trained - LAST), "training_reward": known}
    rows = {name: [reward[span & (seed == one)] for one in seeds] for name, span in spans.items()}
    means = {name: np.array([row.mean() if len(row) else np.nan for row in own]) for name, own in rows.items()}
    coordinates = {"iteration": ("agent", np.full(len(seeds), trained)), "agent_seed": ("agent", seeds)}
    return validate(xr.Dataset({name: ("agent", own) for name, own in means.items()}, coordinates), VARIABLES)
