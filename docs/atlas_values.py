"""Write atlas_values.md's tables and figures from the measured atlas: `python docs/atlas_values.py`.

With `--from DIR` the datasets in DIR (one folder for each column, as `closerlook values` leaves them) are taken into
docs/data first.
"""

import sys

import xarray as xr
from limits import value_table
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
    load,
    median,
    replaced,
    save_picture,
    table,
    take_in_given,
    with_interval,
)

from closerlook.diagnostics.gradients import variables as gradient_variables
from closerlook.diagnostics.values import variables as value_variables
from closerlook.diagnostics.values.figure import plot_value_prediction
from closerlook.results.naming import agent_name
from closerlook.studies.judging import judge

PAGE, LIMITS = DOCS / "atlas_values.md", DOCS / "values.md"
SIZES = (2048, 8192)
Column = tuple[str, str]
RESTARTS = ("hopper restarts", "ppo")
TARGETS = {("hopper", "ppo"): ("hopper with returns targets", "ppo")}
TARGETS[("walker2d", "ppo")] = ("walker2d with returns targets", "ppo")
"""Agents by the target of their critic: `V_old + A`, and returns."""


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
        "Monte Carlo returns",
        "fitted value, Monte Carlo returns",
        "returns cut off",
        "explained variance",
        "fitted value",
    ]

    def cells(dataset: xr.Dataset, iteration: int) -> list[str]:
        error = "mean_relative_error"
        return [
            median(at(dataset, iteration, f"train_{error}", target="gae"), 3),
            median(at(dataset, iteration, error, critic="updated", target="gae"), 3),
            median(at(dataset, iteration, error, critic="updated", target="returns"), 3),
            median(at(dataset, iteration, "noise_floor_mre"), 3),
            median(at(dataset, iteration, error, critic="updated", target="cut_off_returns"), 2),
            median(at(dataset, iteration, "explained_variance", critic="updated", target="returns"), 3),
            median(at(dataset, iteration, "fitted_explained_variance"), 3),
        ]

    return table(head, rows_of(datasets, cells))


def baselines_table(datasets: dict[Column, xr.Dataset]) -> str:
    """Lay out pairwise cosines by baseline, and variances at lambda 1."""
    names = ("zero", "critic", "fitted")
    words = {"zero": "zero", "critic": "critic", "fitted": "fitted value"}
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
        "fitted value / constant",
        "delivered",
        "critic / fitted value",
        "best lambda, one batch",
        "ten",
    ]

    def cells(dataset: xr.Dataset, iteration: int) -> list[str]:
        names = ("zero", "critic", "fitted")
        ratios = [at(dataset, iteration, "variance_ratio", baseline=name) for name in names]
        return [
            median(ratios[0], 1),
            *(median(ratio, 3) for ratio in ratios[1:]),
            median(at(dataset, iteration, "delivered_reduction"), 3),
            median(at(dataset, iteration, "excess_variance"), 2),
            *(median(at(dataset, iteration, "best_lambda", batches=times)) for times in (1, 10)),
        ]

    return table(head, rows_of(datasets, cells))


def saturation_table() -> str:
    """Lay out the fitted value of one agent by the pairs it was fitted to."""
    head = [
        "fitted to",
        "error to Monte Carlo returns",
        "explained variance",
        "variance at lambda 1, over the constant's",
    ]
    rows = []
    for path in sorted(DATA.glob("values-fit-*.nc"), key=lambda path: int(path.stem.rpartition("-")[2])):
        dataset = load(path)
        rows.append([
            f"{int(dataset['fitted_pairs']):,}",
            with_interval(dataset, "noise_floor_mre"),
            with_interval(dataset, "fitted_explained_variance"),
            with_interval(dataset.sel(baseline="fitted"), "variance_ratio"),
        ])  # fmt: skip
    return table(head, rows)


def restarts_table(dataset: xr.Dataset) -> str:
    """Lay out errors, floors, bias and noise of each agent whose states the simulator was restarted from."""
    head = ["", "critic's error", "fitted value's error", "exact floor", "floor / critic's error"]
    head += ["critic's squared bias", "fitted value's squared bias", "return noise"]
    rows = []
    for place in range(dataset.sizes["agent"]):
        agent = dataset.isel(agent=place)
        critic = agent.sel(critic="as_is", target="returns")
        share = float(agent["exact_noise_floor_mre"] / critic["mean_relative_error"])
        rows.append([
            agent_name(agent),
            with_interval(critic, "mean_relative_error"),
            with_interval(agent, "noise_floor_mre"),
            with_interval(agent, "exact_noise_floor_mre"),
            f"{share:.0%}",
            *(with_interval(agent.sel(judged=who), "squared_bias", 4) for who in ("critic", "fitted")),
            with_interval(agent, "return_noise", 4),
        ])  # fmt: skip
    return table(head, rows)


def targets_section(datasets: dict[Column, xr.Dataset]) -> str:
    """Write how agents compare whose critics have other targets; nothing while they were not measured."""
    rows = []
    for own, other in TARGETS.items():
        if other in datasets and own in datasets:
            for iteration in iterations(datasets[other]):
                for words, column in (("V_old + A", own), ("returns", other)):
                    cells = targets_cells(datasets[column], iteration)
                    rows.append([heading(own), str(iteration), words, *cells])
    if not rows:
        return ""
    head = ["", "iteration", "critic trained on", "error to Monte Carlo returns", "explained variance"]
    return TARGETS_TEXT + table([*head, "fitted value's", "delivered", "critic / fitted value"], rows)


TARGETS_TEXT = """## Value targets

Agents whose critics regress on `V_old + A`, as the paper's do, beside agents trained with `--value-target returns` and
the same settings otherwise (judged on 1e5 held-out pairs, beside a value fitted to 3e5), each by critics of its own, as
they are. *Explained variance* is of Monte Carlo returns. Ten seeds of each tell them apart almost nowhere.

"""


def targets_cells(dataset: xr.Dataset, iteration: int) -> list[str]:
    """Write what a critic's target may change."""
    place = {"critic": "as_is", "target": "returns"}
    return [
        median(at(dataset, iteration, "mean_relative_error", **place), 3),
        median(at(dataset, iteration, "explained_variance", **place), 3),
        median(at(dataset, iteration, "fitted_explained_variance"), 3),
        median(at(dataset, iteration, "delivered_reduction"), 3),
        median(at(dataset, iteration, "excess_variance"), 2),
    ]


def more_datasets() -> dict[Column, xr.Dataset]:
    """Load what was measured beside the atlas, as claims name it."""
    paths = {other: DATA / f"values-{own}-returns.nc" for (own, _), other in TARGETS.items()}
    paths[RESTARTS] = DATA / "values-restarts-hopper.nc"
    return {column: load(path) for column, path in paths.items() if path.exists()}


def main() -> int:
    """Write tables and figures."""
    take_in_given(__doc__, "values")
    datasets = found("values")
    names = {variable.name for variable in value_variables.VARIABLES} - {
        one.name for one in gradient_variables.VARIABLES
    }
    more = more_datasets()
    judged = [(claim, judge(claim, {**datasets, **more} if claim.tasks else datasets)) for claim in claims_on(names)]
    page = PAGE.read_text()
    for name, content in (
        ("errors", errors_table(datasets)),
        ("restarts", restarts_table(more[RESTARTS])),
        ("baselines", baselines_table(datasets)),
        ("variances", variances_table(datasets)),
        ("saturation", saturation_table()),
        ("targets", targets_section({**datasets, **more})),
        ("claims", claims_text(judged)),
    ):
        page = replaced(page, name, content)
    PAGE.write_text(page)
    LIMITS.write_text(replaced(LIMITS.read_text(), "limits", value_table(datasets)))
    for (task, algorithm), dataset in datasets.items():
        save_picture(plot_value_prediction(dataset), IMAGES / f"values-{task}-{algorithm}", 90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
