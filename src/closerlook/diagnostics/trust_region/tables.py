"""What ``closerlook trust-region`` prints: tables of a dataset; medians where it has several agents."""

import numpy as np
import xarray as xr
from rich.table import Table

from closerlook.drawing.tables import make_table, number, several, with_interval

_PLAIN = "{:.3g}"
_ROWS = {
    "mean_kl_batch": "mean KL, the batch's states, nats",
    "mean_kl_heldout": "mean KL, other states",
    "mean_reverse_kl_heldout": "mean KL(new || old), other states",
    "max_kl_batch": "largest KL, the batch's states",
    "max_kl_heldout": "largest KL, other states",
    "quadratic_kl": "quadratic model of the mean KL",
    "max_ratio": "largest probability ratio",
    "clip_fraction": "share of ratios outside 1 +- epsilon",
    "surrogate_rise": "rise of the surrogate climbed",
    "surrogate_rise_heldout": "the same on other pairs",
    "clip_null_heldout": "of it by chance, where clipped",
    "normalized_rise": "rise of the unclipped, normalized surrogate",
    "normalized_rise_heldout": "the same on other pairs",
    "predicted_improvement": "improvement predicted by the gradient",
    "surrogate_improvement": "improvement predicted by the surrogate",
    "surrogate_improvement_heldout": "the same on other pairs",
    "true_improvement": "true improvement of the mean return",
    "step_fraction": "share of the full step taken",
    "cg_residual": "gradient left unsolved on its own states",
    "natural_residual": "gradient left unsolved on the whole batch",
    "natural_efficiency": "predicted gain, share of the natural gradient's",
}


def tables_of(dataset: xr.Dataset) -> list[Table]:
    """Lay out means over updates, and what multiples of the step do."""
    return [averages_table(dataset), multiples_table(dataset)]


def averages_table(dataset: xr.Dataset) -> Table:
    """Lay out means over updates."""
    attributes = dataset.attrs
    pairs = f"each from {attributes['step_pairs']:,} pairs{several(dataset)}"
    title = f"{attributes['environment']}: {dataset.sizes['repeat']} updates, {pairs}"
    rows = []
    measured = {name: words for name, words in _ROWS.items() if name in dataset["quantity"]}
    for name, words in measured.items():
        here = dataset.sel(quantity=name)
        if np.isfinite(here["average"]).any():
            rows.append([words, *with_interval(here, "average", _PLAIN)])
    return make_table(title, ["at the whole step", "mean", "95% interval"], rows)


def multiples_table(dataset: xr.Dataset) -> Table:
    """Lay out divergence, surrogate and true reward over multiples of the step."""
    title = f"At multiples of the step, means over updates{several(dataset)}"
    columns = [
        "multiple",
        "mean KL\nof others",
        "surrogate's\nrise",
        "on other\npairs",
        "gain in\ntrue reward",
        "95% interval",
    ]
    rows = []
    for value in dataset["multiple"].values:
        here = dataset.sel(multiple=value)
        divergence = here["multiple_change"].sel(pairs_of="heldout", change="mean_kl").mean("repeat")
        rises = [here["multiple_surrogate_rise"].sel(pairs_of=pairs).mean("repeat") for pairs in ("batch", "heldout")]
        cells = [number(one, _PLAIN) for one in (divergence, *rises)]
        rows.append([f"{value:g}", *cells, *with_interval(here, "mean_multiple_gain", _PLAIN)])
    table = make_table(title, columns, rows)
    table.caption, table.caption_justify = _unknown(dataset), "left"
    return table


def _unknown(dataset: xr.Dataset) -> str | None:
    """Say how many updates, of all agents, have no reward at which multiples; None where all have."""
    if "unknown_gains" not in dataset:
        return None
    counts = dataset["unknown_gains"].sum([dim for dim in ("agent",) if dim in dataset.dims])
    parts = [f"{int(count)} at {float(count['multiple']):g}" for count in counts if count]
    return f"Updates whose reward is not known, by multiple: {', '.join(parts)}." if parts else None
