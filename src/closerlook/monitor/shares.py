"""How well a batch knows a share of pairs, of which those of an environment or a trajectory are alike."""

import numpy as np
from numpy.typing import NDArray

from closerlook.monitor.batch import Batch
from closerlook.monitor.gradient_estimates import groups_of
from closerlook.statistics.estimates import exact_share, mean_share
from closerlook.statistics.splits import FEWEST_GROUPS


def share_with_ends(name: str, events: NDArray[np.bool_], batch: Batch) -> dict[str, float]:
    """Return a share of a batch's pairs and the ends of its 95% interval, by name.

    Groups of environments or trajectories are the units. With fewer than `FEWEST_GROUPS` of them, or where they do not
    show how they vary (all that happened, or all that did not, is in one of them, or they are all alike), pairs are, as
    if they were independent: that says no more than that few pairs say little.

    Parameters
    ----------
    name : str
        Of the share.
    events : ndarray, (pairs,)
        Whether it is one of those that are counted, by pair, (T, N) flattened.
    batch : Batch
        Whose pairs.

    References
    ----------
    Cochran, 1977, "Sampling Techniques", chapter 9, for clusters as units.
    """
    groups = groups_of(batch).ravel()
    sizes = np.bincount(groups)
    happened = np.bincount(groups, weights=events)
    shares, both = happened / sizes, min(np.count_nonzero(happened), np.count_nonzero(sizes - happened))
    if len(sizes) < FEWEST_GROUPS or both < 2 or np.ptp(shares) == 0:
        found = exact_share(float(events.sum()), events.size)
    else:
        found = mean_share(shares, sizes)
    return {name: float(events.mean()), f"{name}_low": found.low, f"{name}_high": found.high}
