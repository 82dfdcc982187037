"""Write atlas_trust.md's tables and figures from the measured atlas: `python docs/atlas_trust.py`.

With `--from DIR` the datasets in DIR (one folder for each column, as `closerlook trust-region` leaves them) are taken
into docs/data first.
"""

import sys

import xarray as xr
from limits import trust_table
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
)

from closerlook.diagnostics.trust_region import variables as trust_variables
from closerlook.diagnostics.trust_region.figure import plot_trust_region
from closerlook.studies.claims import load_claims
from closerlook.studies.judging import judge

PAGE = DOCS / "atlas_trust.md"
LIMITS = DOCS / "trust-region.md"
Column = tuple[str, str]


def rows_of(datasets: dict[Column, xr.Dataset], names: dict[str, tuple[str, int]]) -> str:
    """Lay out medians over seeds of means over updates, a row for each column and iteration."""
    rows = []
    for column, dataset in datasets.items():
        for iteration in iterations(dataset):
            cells = [
                median(at(dataset, iteration, "average", quantity=name), digits).split(" (")[0]
                for name, (_, digits) in names.items()
            ]
            first = heading(column) if iteration == iterations(dataset)[0] else ""
            rows.append([first, str(iteration), *cells])
    return table(["", "iteration", *(words for words, _ in names.values())], rows)


POLICY = {
    "mean_kl_heldout": ("mean KL, others", 3),
    "max_kl_heldout": ("worst KL, others", 2),
    "quadratic_kl": ("quadratic model", 3),
    "max_ratio": ("largest ratio", 1),
    "clip_fraction": ("outside 1 ± 0.2", 2),
}
STEPS = {
    "normalized_rise": ("unclipped surrogate's rise, batch", 3),
    "normalized_rise_heldout": ("on others", 3),
    "surrogate_rise_heldout": ("the one climbed, on others", 3),
    "clip_null_heldout": ("of it by chance, where clipped", 4),
    "step_fraction": ("share of the full step", 2),
    "natural_efficiency": ("efficiency", 2),
}
REWARD = {
    "surrogate_improvement": ("by the surrogate", 1),
    "surrogate_improvement_heldout": ("on others", 1),
    "true_improvement": ("true improvement", 1),
}


def lengths(datasets: dict[Column, xr.Dataset]) -> str:
    """Lay out the true gain of multiples of the step, medians over seeds."""
    rows = []
    multiples = next(iter(datasets.values()))["multiple"].values
    for column, dataset in datasets.items():
        for iteration in iterations(dataset):
            gains = [median(at(dataset, iteration, "mean_multiple_gain", multiple=one), 1) for one in multiples]
            rows.append([heading(column) if iteration == iterations(dataset)[0] else "", str(iteration), *gains])
    return table(["", "iteration", *(f"{one:g} times the step" for one in multiples)], rows)


def main() -> int:
    """Write tables and figures."""
    take_in_given(__doc__, "trust-region")
    datasets = found("trust-region")
    names = {variable.name for variable in trust_variables.VARIABLES}
    judged = [(claim, judge(claim, datasets)) for claim in claims_on(names)]
    page = PAGE.read_text()
    big = {
        (task, "ppo"): load(path)
        for task in ("hopper", "walker2d")
        if (path := DATA / f"trust-region-big-{task}-ppo.nc").exists()
    }
    sides = (found("gradients"), found("values"))
    related = [
        (claim, judge(claim, side, datasets))
        for claim in load_claims()
        for side in sides
        if claim.statistic == "relation" and claim.variable in next(iter(side.values()))
    ]
    for name, content in (
        ("policy", rows_of(datasets, POLICY)),
        ("steps", rows_of(datasets, STEPS)),
        ("reward", rows_of(datasets, REWARD)),
        ("lengths", lengths(datasets)),
        ("big", rows_of(big, {**POLICY, **REWARD}) if big else "Not measured.\n"),
        ("claims", claims_text(judged)),
        ("relations", claims_text(related)),
    ):
        page = replaced(page, name, content)
    PAGE.write_text(page)
    LIMITS.write_text(replaced(LIMITS.read_text(), "limits", trust_table(datasets)))
    for (task, algorithm), dataset in datasets.items():
        first = dataset.isel(agent=dataset["agent_seed"].values == 0)
        save_picture(plot_trust_region(first), IMAGES / f"trust-{task}-{algorithm}", 90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
