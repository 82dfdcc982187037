"""Write atlas_landscapes.md's tables and figures from the measured atlas: `python docs/atlas_landscapes.py`.

With `--from DIR` the datasets in DIR (one folder for each, few-hopper-ppo ..., as `closerlook landscape` leaves them)
are taken into docs/data first, without the parameters they were measured at.
"""

import sys

import numpy as np
import xarray as xr
from limits import landscape_table
from measured import (
    COLUMNS,
    DATA,
    DOCS,
    IMAGES,
    heading,
    iterations,
    load,
    replaced,
    save_picture,
    table,
    take_in_given,
)

from closerlook.diagnostics.landscape.budget_figure import plot_budgets
from closerlook.diagnostics.landscape.figure import plot_landscape

PAGE = DOCS / "atlas_landscapes.md"
LIMITS = DOCS / "landscape.md"
STEPS = ("few", "many")
BUDGET = 2048
MILLION = ("walker2d", "ppo")
MILLION_DATA = DATA / f"landscape-million-{'-'.join(MILLION)}.nc"
Column = tuple[str, str]


def found() -> dict[tuple[str, Column], xr.Dataset]:
    """Load what was measured, by the steps' pairs and the column."""
    paths = {
        (steps, (task, algorithm)): DATA / f"landscape-{steps}-{task}-{algorithm}.nc"
        for task, algorithm in COLUMNS
        for steps in STEPS
    }
    return {key: load(path) for key, path in paths.items() if path.exists()}


def number(agent: xr.Dataset, name: str, digits: int, **where: object) -> str:
    """Write a number of one agent with its interval."""
    value, low, high = (float(agent[f"{name}{end}"].sel(where)) for end in ("", "_low", "_high"))
    return "-" if np.isnan(value) else f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def agent_at(dataset: xr.Dataset, iteration: int) -> xr.Dataset:
    """Return the agent of one iteration."""
    return dataset.isel(agent=int(np.flatnonzero(dataset["iteration"].values == iteration)[0]))


def each(datasets: dict[tuple[str, Column], xr.Dataset], cells) -> list[list[str]]:
    """Lay out a row for each dataset and iteration."""
    rows = []
    for (_, column), dataset in datasets.items():
        for place, iteration in enumerate(iterations(dataset)):
            agent = agent_at(dataset, iteration)
            pairs = f"{heading(column)}, {dataset.attrs['step_pairs']:,} pairs"
            rows.append([pairs if place == 0 else "", str(iteration), *cells(agent)])
    return rows


def agreement(datasets: dict[tuple[str, Column], xr.Dataset]) -> str:
    """Lay out how surrogate and reward agree over the plane and along the step."""
    head = ["", "iteration", "correlation, plane", "held-out surrogate", "along the step"]

    def cells(agent: xr.Dataset) -> list[str]:
        places = (("plane", "batch"), ("plane", "heldout"), ("line", "batch"))
        return [number(agent, "correlation", 2, region=region, pairs_of=pairs) for region, pairs in places]

    return table(head, each(datasets, cells))


def steps(datasets: dict[tuple[str, Column], xr.Dataset]) -> str:
    """Lay out what whole steps predict and bring."""
    head = ["", "iteration", "predicted", "on other pairs", "realized", "found again"]

    def cells(agent: xr.Dataset) -> list[str]:
        predicted = [
            f"{float(agent['full_update_predicted_improvement'].sel(pairs_of=pairs)):+.1f}"
            for pairs in ("batch", "heldout")
        ]
        return [*predicted, number(agent, "full_update_realized_improvement", 1), found_again(agent)]

    return table(head, each(datasets, cells))


def found_again(agent: xr.Dataset) -> str:
    """Write how much of the surrogate's rise other pairs find again, with its interval where it was measured."""
    value, low, high = (100 * float(agent[f"heldout_improvement_ratio{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.0f}%" if np.isnan(low) else f"{value:.0f}% ({low:.0f} to {high:.0f})"


def noise(datasets: dict[tuple[str, Column], xr.Dataset]) -> str:
    """Lay out how much of a plane is noise, and what shared draws save."""
    multiples = (0.1, 1.0)
    head = ["", "iteration", f"noise, {BUDGET:,}", *(f"saving, {one:g} step" for one in multiples)]

    def cells(agent: xr.Dataset) -> list[str]:
        share = number(agent, "noise_fraction", 2, usual_budget=BUDGET)
        return [share, *(number(agent, "crn_variance_reduction", 0, line=one) for one in multiples)]

    return table(head, each(datasets, cells))


def budgets_of_a_million(few: xr.Dataset, million: xr.Dataset) -> str:
    """Lay out what 20,480 pairs a point told of the noise at other budgets, and what a million tell of it."""
    head = ["pairs a point", "noise, told from 20,480", "told from a million", "within", "1 - r² to the largest plane"]
    told = agent_at(few, int(million["iteration"]))
    whole = million["reward_at_budget"].isel(budget=-1).values.ravel()
    rows = []
    for budget in million["usual_budget"].values.tolist():
        where = {"usual_budget": budget}
        share, low, high = (
            float(million["noise_fraction"].sel(where)),
            *(float(told[f"noise_fraction_{end}"].sel(where)) for end in ("low", "high")),
        )
        plane = million["reward_at_budget"].sel(budget=budget).values.ravel()
        other = "-" if budget == million["budget"].values[-1] else f"{1 - np.corrcoef(plane, whole)[0, 1] ** 2:.3f}"
        numbers = [number(one, "noise_fraction", 3, **where) for one in (told, million)]
        rows.append([f"{budget:,}", *numbers, "yes" if low <= share <= high else "no", other])
    return table(head, rows)


def main() -> int:
    """Write tables and figures."""
    take_in_given(__doc__, "landscape")
    datasets = found()
    million = load(MILLION_DATA)
    page = PAGE.read_text()
    for name, content in (
        ("agreement", agreement(datasets)),
        ("steps", steps(datasets)),
        ("noise", noise(datasets)),
        ("million", budgets_of_a_million(datasets["few", MILLION], million)),
        ("figures", "".join(f"![{steps_of} pairs]({image_of(steps_of, column)})\n" for steps_of, column in datasets)),
    ):
        page = replaced(page, name, content)
    PAGE.write_text(page)
    LIMITS.write_text(replaced(LIMITS.read_text(), "limits", landscape_table(datasets)))
    for (steps_of, column), dataset in datasets.items():
        save_picture(plot_landscape(dataset), DOCS / image_of(steps_of, column, suffix=""), 70)
    save_picture(plot_budgets(million), DOCS / image_of("budgets", MILLION, suffix=""), 70)
    return 0


def image_of(steps_of: str, column: Column, suffix: str = ".png") -> str:
    """Return where a figure is, from the page."""
    return f"{IMAGES.name}/landscape-{steps_of}-{column[0]}-{column[1]}{suffix}"


if __name__ == "__main__":
    sys.exit(main())
