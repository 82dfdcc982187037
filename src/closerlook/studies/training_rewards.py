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
    """Return what each seed of a training run ends with.

    Parameters
    ----------
    log : mapping of str to array_like, (n I,)
        Columns ``iteration``, ``agent_seed`` and ``mean_reward`` of a training log; NaN where no episode ended.

    Returns
    -------
    xarray.Dataset
        ``final_reward`` by agent, NaN where none of the last ten iterations has one, with the coordinates
        ``agent_seed`` and ``iteration``, the number of iterations trained.
    """
    iteration, seed = (np.asarray(log[name]).astype(int) for name in ("iteration", "agent_seed"))
    reward = np.asarray(log["mean_reward"], dtype=np.float64)
    trained, seeds = int(iteration.max()) + 1, np.unique(seed)
    late = (iteration >= trained - LAST) & np.isfinite(reward)
    ends = [reward[late & (seed == one)] for one in seeds]
    means = np.array([end.mean() if len(end) else np.nan for end in ends])
    coordinates = {"iteration": ("agent", np.full(len(seeds), trained)), "agent_seed": ("agent", seeds)}
    return validate(xr.Dataset({"final_reward": ("agent", means)}, coordinates), VARIABLES)
