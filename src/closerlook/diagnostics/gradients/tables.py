"""What ``closerlook gradients`` prints: tables of a dataset of gradient quality."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from rich.table import Table

from closerlook.diagnostics.common.labels import batch_place
from closerlook.drawing.tables import make_table
from closerlook.results.naming import agent_name, nearest_to_batch


def tables_of(dataset: xr.Dataset) -> list[Table]:
    """Lay out everything that was measured."""
    tables = [table_of(dataset), noise_table(dataset), layers_table(dataset)]
    tables += [true_gradients_table(dataset)] if dataset.sizes["true_gradient"] else []
    tables += [steps_table(dataset)] if "update_size" in dataset.dims else []
    return [*tables, alternatives_table(dataset)]


def table_of(dataset: xr.Dataset) -> Table:
    """Lay out one agent by size; several at the training batch."""
    environment = dataset.attrs["environment"]
    if "agent" not in dataset.dims:
        title = f"{environment}: cosine similarity of gradient estimates (*: of the training batch)"
        columns = [
            "pairs",
            "estimates",
            "to one\nanother",
            "95% interval",
            "to the true\ngradient",
            "95% interval",
        ]
        return make_table(title, columns, _rows_by_size(dataset))
    used, batch = dataset["pairs_used"].values, nearest_to_batch(dataset)
    title = f"{environment}: cosine similarity of gradient estimates of {used[batch]:,} pairs"
    columns = ["agent", "return", "to one another", "to the true gradient", "noise\nscale"]
    return make_table(title, columns, _rows_by_agent(dataset, batch))


def _rows_by_size(agent: xr.Dataset) -> Iterator[list[str]]:
    batch = batch_place(agent)
    for at in range(agent.sizes["size"]):
        here = agent.isel(size=at)
        mark = "*" if at == batch else ""
        yield [f"{int(here['pairs_used']):,}{mark}", f"{int(here['estimates'])}", *_cosines(here)]


def _rows_by_agent(dataset: xr.Dataset, batch: int) -> Iterator[list[str]]:
    for number in range(dataset.sizes["agent"]):
        agent = dataset.isel(agent=number)
        here = agent.isel(size=batch)
        mean_return = float(agent["mean_episode_return"])
        yield [
            agent_name(agent, f"agent {number}"),
            f"{mean_return:,.0f}" if np.isfinite(mean_return) else "-",
            _short(here, "pairwise_cosine"),
            _short(here, "true_cosine_corrected"),
            _pairs(agent["noise_scale_pairs"]),
        ]


def _cosines(here: xr.Dataset) -> list[str]:
    cells = []
    for name in ("pairwise_cosine", "true_cosine_corrected"):
        cells += [_number(here[name]), f"{_number(here[f'{name}_low'])} to {_number(here[f'{name}_high'])}"]
    return cells


def _short(here: xr.Dataset, name: str) -> str:
    value, low, high = (_number(here[f"{name}{end}"], digits=2) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def noise_table(dataset: xr.Dataset) -> Table:
    """Lay out signal and noise: medians over agents where there are several."""
    several = "agent" in dataset.dims
    title = "Signal and noise, medians over agents" if several else "Signal and noise"
    rows = [[label, *(_pairs(dataset[f"{name}{end}"]) for end in ("", "_low", "_high"))] for name, label in _NOISE]
    for name, label in _SHARES:
        ends = [_number(dataset[f"{name}{end}"].median()) if f"{name}{end}" in dataset else "" for end in _INTERVAL]
        rows.append([label, _number(dataset[name].median()), *ends])
    return make_table(title, ["", "value", "95% from", "to"], rows)


_NOISE = (
    ("noise_scale_pairs", "noise scale: pairs at which noise equals signal"),
    ("noise_scale_trajectories", "the same, in trajectories"),
    ("pairs_for_pairwise_cosine_half", "pairs for a cosine of 0.5 to one another"),
    ("pairs_for_true_cosine_half", "pairs for a cosine of 0.5 to the true gradient"),
    ("pairs_for_true_cosine_nine_tenths", "pairs for a cosine of 0.9 to the true gradient"),
)
_INTERVAL = ("_low", "_high")
_SHARES = (
    ("effective_sample_fraction", "effective sample fraction"),
    ("between_trajectory_share", "share of the noise between trajectories"),
)


def layers_table(dataset: xr.Dataset) -> Table:
    """Lay out signal and noise of each layer of the policy, medians over agents where there are several."""
    scales = [f"layer_noise_scale_pairs{end}" for end in ("", "_low", "_high")]
    rows = [
        [
            name,
            _number(here["layer_noise_fraction"].median()),
            *(_pairs(here[scale]) for scale in scales),
            _number(here["layer_between_trajectory_share"].median()),
        ]
        for name in dataset["layer"].values.tolist()
        for here in [dataset.sel(layer=name)]
    ]
    several = ", medians over agents" if "agent" in dataset.dims else ""
    columns = ["layer", "share of\nthe noise", "noise scale", "95% from", "to", "between\ntrajectories"]
    return make_table(f"Signal and noise by layer{several}", columns, rows)


def true_gradients_table(dataset: xr.Dataset) -> Table:
    """Lay out how estimates of the training batch compare with other true gradients, and those with one another."""
    batch = nearest_to_batch(dataset)
    rows = [
        [
            f"estimates and {name.replace('_', ' ')}",
            *_medians(dataset.isel(size=batch).sel(true_gradient=name), "cosine_to_true_gradient_corrected"),
        ]
        for name in dataset["true_gradient"].values.tolist()
    ]
    rows += [
        [name.replace("_", " "), *_medians(dataset.sel(true_gradient_pair=name), "cosine_between_true_gradients")]
        for name in dataset["true_gradient_pair"].values.tolist()
    ]
    several = ", medians over agents" if "agent" in dataset.dims else ""
    return make_table(f"Other true gradients{several}", ["gradients of", "cosine", "95% from", "to"], rows)


def _medians(here: xr.Dataset, name: str) -> list[str]:
    return [_number(here[f"{name}{end}"].median()) for end in ("", "_low", "_high")]


def steps_table(dataset: xr.Dataset) -> Table:
    """Lay out the updates by the pairs of their batch, medians over agents where there are several."""
    several = ", medians over agents" if "agent" in dataset.dims else ""
    rows = [
        [
            f"{int(size):,}",
            *(
                text
                for name in ("update_pairwise_cosine", "update_true_cosine_corrected")
                for text in _medians(dataset.sel(update_size=size), name)
            ),
        ]
        for size in dataset["update_size"].values
    ]
    title = f"Updates of {dataset.attrs['step_algorithm']}{several}"
    return make_table(title, ["pairs", "to one another", "95% from", "to", "to the gradient", "95% from", "to"], rows)


def alternatives_table(dataset: xr.Dataset) -> Table:
    """Lay out, for each alternative, the cosine at the training batch and at the largest size, means over agents."""
    used, batch = dataset["pairs_used"].values, nearest_to_batch(dataset)
    own = f"as measured ({dataset.attrs['advantages']})"
    means = {own: dataset["pairwise_cosine"]}
    means |= {
        name: dataset["alternative_pairwise_cosine"].sel(alternative=name)
        for name in dataset["alternative"].values.tolist()
    }
    rows = [
        [name, *(_number(cosine.isel(size=at).mean()) for at in (batch, len(used) - 1))]
        for name, cosine in means.items()
    ]
    columns = ["advantages", f"{used[batch]:,} pairs", f"{used[-1]:,} pairs"]
    return make_table("The same pairs, estimated otherwise", columns, rows)


def _pairs(values: xr.DataArray) -> str:
    """Write a number of pairs, or the median of several; what is not known as a dash."""
    value = float(values.median(skipna=True)) if values.size else np.nan
    return "no end" if np.isinf(value) else f"{value:,.0f}" if np.isfinite(value) else "-"


def _number(value: Any, digits: int = 3) -> str:
    return f"{float(value):.{digits}f}" if np.isfinite(value) else "-"
