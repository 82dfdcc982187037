"""What ``closerlook landscape`` prints: tables of a dataset of landscapes; medians where it has several agents."""

import numpy as np
import xarray as xr
from rich.table import Table

from closerlook.diagnostics.landscape.verdicts import GONE
from closerlook.drawing.tables import make_table, number, several, with_interval

_PLAIN = "{:.4g}"


def tables_of(dataset: xr.Dataset) -> list[Table]:
    """Lay out reward and surrogate along the line, and how the two agree."""
    return [line_table(dataset), rises_table(dataset), agreement_table(dataset)]


def line_table(dataset: xr.Dataset) -> Table:
    """Lay out the true reward along the first axis."""
    first = dataset.attrs["axes"].split(", ")[0]
    pairs = f"{dataset.attrs['step_pairs']:,} pairs{several(dataset)}"
    title = f"{dataset.attrs['environment']}: along the {first}, from {pairs}"
    columns = ["multiple", "true\nreward", "gain", "95% interval", "lowest 5%", "common random\nnumbers save"]
    rows = []
    for value in dataset["line"].values:
        here = dataset.sel(line=value)
        gain = with_interval(here, "line_gain", _PLAIN)
        cells = [number(here["line_reward"], _PLAIN), *gain, number(here["line_lower_tail"], _PLAIN)]
        rows.append([f"{value:g}", *cells, number(here["crn_variance_reduction"], "{:.1f} times")])
    table = make_table(title, columns, rows)
    table.caption, table.caption_justify = _missing(dataset), "left"
    return table


def rises_table(dataset: xr.Dataset) -> Table:
    """Lay out how the surrogate that is climbed rises along the step, on whose pairs."""
    nulls = dataset["line_clip_null"].sel(pairs_of="heldout") if _is_clipped(dataset) else None
    columns = [
        "multiple",
        "on the step's\nown pairs",
        "on other\npairs",
        *([] if nulls is None else ["of it by\nchance"]),
    ]
    rows = []
    for value in dataset["line"].values:
        rises = [number(_rise(dataset, value, pairs), _PLAIN) for pairs in ("batch", "heldout")]
        rises += [] if nulls is None else [number(nulls.sel(line=value), _PLAIN)]
        rows.append([f"{value:g}", *rises])
    return make_table(f"Rise of the surrogate along the step{several(dataset)}", columns, rows)


def _is_clipped(dataset: xr.Dataset) -> bool:
    """Whether the surrogate climbed falls by chance alone, and by how much is known."""
    climbed = dataset["surrogate_name"].values[dataset["surrogate_kind"].values]
    return "line_clip_null" in dataset and bool(np.all(climbed == "clipped"))


def _missing(dataset: xr.Dataset) -> str | None:
    """Say how many points, of all agents, have no reward, and why; None where all have."""
    counts = {words: int(dataset[name].sum()) for name, words in GONE.items() if name in dataset}
    parts = [f"{count} {words}" for words, count in counts.items() if count]
    return f"Points without a reward: {', '.join(parts)}." if parts else None


def _rise(dataset: xr.Dataset, multiple: float, pairs: str) -> xr.DataArray:
    """Return the rise of the surrogate that each agent's algorithm climbs."""
    surrogates = dataset["line_surrogates"].isel(surrogate_name=dataset["surrogate_kind"]).sel(pairs_of=pairs)
    return surrogates.sel(line=multiple) - surrogates.sel(line=0.0)


def agreement_table(dataset: xr.Dataset) -> Table:
    """Lay out the agreement of surrogate and reward."""
    title = f"How surrogate and true reward agree{several(dataset)}"
    columns = ["where", "same sign", "95% interval", "ranks", "correlation", "95% interval"]
    words = {"plane": "plane", "line": "line"}
    rows = []
    for region, where in words.items():
        for pairs, whose in (("batch", "the step's own pairs"), ("heldout", "other pairs")):
            here = dataset.sel(region=region, pairs_of=pairs)
            if np.isfinite(here["sign_agreement"]).any():
                signs, linear = (with_interval(here, name, "{:.2f}") for name in ("sign_agreement", "correlation"))
                rows.append([f"{where}, {whose}", *signs, number(here["rank_correlation"], "{:.2f}"), *linear])
    return make_table(title, columns, rows)
