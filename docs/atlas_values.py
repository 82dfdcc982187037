"""Write atlas_values.md's tables and figures from the measured atlas: `python docs/atlas_values.py`.

With `--from DIR` the datasets in DIR (one folder for each column, as `closerlook values` leaves them) are taken into
docs/data first.
"""

import argparse
import sys
from pathlib import Path

import xarray as xr
from measured import (
    DATA,
    DOCS,
    IMAGES,
    at,
    claims_on,
    claims_text,
    found,
    heading,
    iterations,
    median,
    replaced,
    table,
    take_in,
    with_interval,
)

from closerlook.figures import plot_value_prediction, save_figure
from closerlook.results import value_variables
from closerlook.studies.claims import judge

PAGE = DOCS / "atlas_values.md"
SIZES = (2048, 8192)
Column = tuple[str, str]


def rows_of(datasets: dict[Column, xr.Dataset], cells) -> list[list[str]]:
    """Lay out a row for each column and iteration."""
    return [
        [heading(column) if iteration == iterations(dataset)[0] else "", str(iteration), *cells(dataset, iteration)]
        for column, dataset in datasets.items()
        for iteration in iterations(dataset)
    ]


def errors_table(datasets: dict[Column, xr.Dataset]) -> str:
    """Lay out mean relative errors of the updated critic."""
    head = [
        "",
        "iteration",
        "own target, training",
        "own target, held out",
        "complete returns",
        "V*, complete returns",
        "cut returns",
        "explained variance",
        "V*",
    ]

    def cells(dataset: xr.Dataset, iteration: int) -> list[str]:
        error = "mean_relative_error"
        return [
            median(at(dataset, iteration, f"train_{error}", target="gae"), 3),
            median(at(dataset, iteration, error, critic="updated", target="gae"), 3),
            median(at(dataset, iteration, error, critic="updated", target="returns"), 3),
            median(at(dataset, iteration, "noise_floor_mre"), 3),
            median(at(dataset, iteration, error, critic="updated", target="cut_returns"), 2),
            median(at(dataset, iteration, "explained_variance", critic="updated", target="returns"), 3),
            median(at(dataset, iteration, "fitted_explained_variance"), 3),
        ]

    return table(head, rows_of(datasets, cells))


def baselines_table(datasets: dict[Column, xr.Dataset]) -> str:
    """Lay out pairwise cosines by baseline, and variances at lambda 1."""
    names = ("zero", "mean", "critic", "fitted")
    words = {"zero": "zero", "mean": "constant", "critic": "critic", "fitted": "V*"}
    head = ["", "iteration", *(f"{words[name]}, {size:,}" for size in SIZES for name in names)]

    def cells(dataset: xr.Dataset, iteration: int) -> list[str]:
        variable = "baseline_pairwise_cosine"
        return [
            median(at(dataset, iteration, variable, baseline=name, size=size), 3) for size in SIZES for name in names
        ]

    return table(head, rows_of(datasets, cells))


def variances_table(datasets: dict[Column, xr.Dataset]) -> str:
    """Lay out what baselines do at lambda 1, and which lambda serves best."""
    head = [
        "",
        "iteration",
        "zero / constant",
        "critic / constant",
        "V* / constant",
        "delivered",
        "critic / V*",
        "best lambda, one batch",
        "ten",
        "gain, one batch",
    ]

    def cells(dataset: xr.Dataset, iteration: int) -> list[str]:
        ratios = [at(dataset, iteration, "variance_ratio", baseline=name) for name in ("zero", "critic", "fitted")]
        return [
            median(ratios[0], 1),
            *(median(ratio, 3) for ratio in ratios[1:]),
            median(at(dataset, iteration, "delivered_reduction"), 3),
            median(at(dataset, iteration, "excess_variance"), 2),
            *(median(at(dataset, iteration, "best_lambda", batches=times)) for times in (1, 10)),
            median(at(dataset, iteration, "lambda_gain", batches=1)),
        ]

    return table(head, rows_of(datasets, cells))


def saturation_table() -> str:
    """Lay out V* of one agent by the pairs it was fitted to."""
    head = ["fitted to", "error to complete returns", "explained variance", "variance at lambda 1, over the constant's"]
    rows = []
    for path in sorted(DATA.glob("values-fit-*.nc"), key=lambda path: int(path.stem.rpartition("-")[2])):
        dataset = xr.load_dataset(path, engine="h5netcdf")
        rows.append([
            f"{int(dataset['fitted_pairs']):,}",
            with_interval(dataset, "noise_floor_mre"),
            with_interval(dataset, "fitted_explained_variance"),
            with_interval(dataset.sel(baseline="fitted"), "variance_ratio"),
        ])  # fmt: skip
    return table(head, rows)


def main() -> int:
    """Write tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path)
    chosen = parser.parse_args()
    if chosen.source is not None:
        take_in(chosen.source, "values")
    datasets = found("values")
    names = {variable.name for variable in value_variables.VARIABLES}
    returns = {
        (f"{task} with returns targets", "ppo"): xr.load_dataset(path, engine="h5netcdf")
        for task in ("hopper", "walker2d")
        if (path := DATA / f"values-{task}-returns.nc").exists()
    }
    claims = claims_on(names)
    judged = [
        (claim, judge(claim, {**datasets, **returns} if claim.statistic == "contrast" else datasets))
        for claim in claims
    ]
    page = PAGE.read_text()
    for name, content in (
        ("errors", errors_table(datasets)),
        ("baselines", baselines_table(datasets)),
        ("variances", variances_table(datasets)),
        ("saturation", saturation_table()),
        ("claims", claims_text(judged)),
    ):
        page = replaced(page, name, content)
    PAGE.write_text(page)
    for (task, algorithm), dataset in datasets.items():
        save_figure(plot_value_prediction(dataset), IMAGES / f"values-{task}-{algorithm}", ("png",), dpi=90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
