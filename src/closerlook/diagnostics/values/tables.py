"""What ``closerlook values`` prints: tables of a dataset of value prediction; medians where it has several agents."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.table import Table

from closerlook.drawing.tables import make_table, number, several, with_interval
from closerlook.results.naming import nearest_to_batch

_TARGETS = {
    "gae": "its own target, V_old + A",
    "returns": "Monte Carlo returns",
    "cut_off_returns": "returns cut as the released code does",
}


def tables_of(dataset: xr.Dataset) -> list[Table]:
    """Lay out everything that was measured."""
    tables = [errors_table(dataset), baselines_table(dataset)]
    return [*tables, lambdas_table(dataset)] if np.isfinite(dataset["lambda_cosine"]).any() else tables


def errors_table(dataset: xr.Dataset) -> Table:
    """Lay out how well the critic predicts."""
    known = bool(np.isfinite(dataset["mean_relative_error"].sel(critic="updated")).any())
    kind = "updated" if known else "as_is"
    title = f"{dataset.attrs['environment']}: how well the critic predicts{several(dataset)}"
    columns = ["judged by", "mean relative\nerror", "95% interval", "median", "explained\nvariance"]
    return make_table(title, columns, _error_rows(dataset, kind))


def _error_rows(dataset: xr.Dataset, kind: str) -> Iterator[list[str]]:
    for target, words in _TARGETS.items():
        rows = {
            "training pairs": ("train_", {"target": target}),
            "held-out pairs": ("", {"target": target, "critic": kind}),
        }
        for where, (prefix, chosen) in rows.items():
            here = dataset.sel(chosen)
            if np.isfinite(here[f"{prefix}mean_relative_error"]).any():
                yield [
                    f"{words}, {where}",
                    *with_interval(here, f"{prefix}mean_relative_error"),
                    number(here[f"{prefix}median_relative_error"]),
                    number(here[f"{prefix}explained_variance"]),
                ]
    if np.isfinite(dataset["noise_floor_mre"]).any():
        floor = with_interval(dataset, "noise_floor_mre")
        yield [
            "fitted value, by Monte Carlo returns",
            *floor,
            "",
            number(dataset["fitted_explained_variance"]),
        ]
    if "own_target_mre" in dataset and np.isfinite(dataset["own_target_mre"]).any():
        error = with_interval(dataset, "own_target_mre")
        explained = number(dataset["own_target_explained_variance"])
        yield ["value fitted to V_old + A, by Monte Carlo returns", *error, "", explained]
    if np.isfinite(dataset["exact_noise_floor_mre"]).any():
        yield [
            "the exact value, from restarts",
            *with_interval(dataset, "exact_noise_floor_mre"),
            "",
            "",
        ]


NO_OPTIMAL = "No baseline is fitted for least variance: none of torch modules, nor without --fit-pairs."


def baselines_table(dataset: xr.Dataset) -> Table:
    """Lay out what each baseline does to gradient estimates of the training batch."""
    used, batch = dataset["pairs_used"].values, nearest_to_batch(dataset)
    title = f"Gradient estimates of {used[batch]:,} pairs by baseline{several(dataset)}"
    columns = ["baseline", "cosine to\none another", "95% interval", "the same at\nlambda 1", "variance at\nlambda 1"]
    words = {
        "zero": "zero",
        "mean": "constant mean",
        "critic": "the critic",
        "fitted": "fitted value",
        "optimal": "fitted for least variance",
        "own_target": "fitted to V_old + A",
    }
    known = dataset.isel(size=batch)
    rows = [_baseline_row(known.sel(baseline=name), words[name]) for name in dataset["baseline"].values]
    table = make_table(title, columns, [row for row in rows if any(cell != "-" for cell in row[1:])])
    if dataset["variance_ratio"].sel(baseline="optimal").isnull().all() and len(table.rows) > 1:
        table.caption, table.caption_justify = NO_OPTIMAL, "left"
    return table


def _baseline_row(here: xr.Dataset, label: str) -> list[str]:
    own = with_interval(here, "baseline_pairwise_cosine")
    return [label, *own, number(here["monte_carlo_pairwise_cosine"]), number(here["variance_ratio"], "{:.3f}")]


def lambdas_table(dataset: xr.Dataset) -> Table:
    """Lay out bias, variance and what they come to, by lambda."""
    title = f"Gradient estimates by lambda, against the gradient of Monte Carlo returns{several(dataset)}"
    columns = ["lambda", "squared bias", "variance of\none batch", "cosine of\none batch", "of ten"]
    own = dataset.attrs.get("gae_lambda")
    rows = []
    for value in dataset["lambda"].values:
        here = dataset.sel({"lambda": value})
        cells = [number(here[name], "{:.3g}") for name in ("lambda_squared_bias", "lambda_variance")]
        cells += [number(here["lambda_cosine"].sel(batches=times)) for times in (1, 10)]
        rows.append([f"{value:g}{'*' if value == own else ''}", *cells])
    return make_table(f"{title} (*: the agent's)", columns, rows)
