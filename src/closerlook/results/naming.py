"""What agents and sizes of a dataset are called and where they are, the same in pages, tables and figures."""

import numpy as np
import xarray as xr


def agent_name(agent: xr.Dataset, otherwise: str = "") -> str:
    """Name one agent of a dataset by its iteration and seed, where it has them.

    Parameters
    ----------
    agent : xarray.Dataset
        Of a single agent.
    otherwise : str
        The name of one that has neither.
    """
    numbers = {"iteration": int(agent["iteration"]), "seed": int(agent["agent_seed"])}
    return ", ".join(f"{word} {number}" for word, number in numbers.items() if number >= 0) or otherwise


def nearest_to_batch(dataset: xr.Dataset, sizes: str = "pairs_used") -> int:
    """Return the place, among some sizes in pairs, of the one nearest to the training batch.

    Parameters
    ----------
    dataset : xarray.Dataset
        With the attribute ``batch_pairs``.
    sizes : str
        Name of the variable or coordinate of sizes.
    """
    return int(np.abs(dataset[sizes].values - dataset.attrs["batch_pairs"]).argmin())
