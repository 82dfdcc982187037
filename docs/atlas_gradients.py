"""Write atlas_gradients.md's tables and figures from the measured atlas: `python docs/atlas_gradients.py`.

With `--from DIR` the datasets in DIR (one folder for each column, as `closerlook gradients` leaves them) are taken into
docs/data first.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xarray as xr

from closerlook.figures import plot_gradient_quality, save_figure
from closerlook.studies.claims import Judgement, judge, load_claims

DOCS = Path(__file__).parent
DATA, IMAGES, PAGE = DOCS / "data", DOCS / "images", DOCS / "atlas_gradients.md"
TASKS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5", "humanoid": "Humanoid-v5"}
COLUMNS = [(task, algorithm) for task in TASKS for algorithm in ("ppo", "trpo")]
BATCH = 2048


def take_in(folder: Path) -> None:
    """Copy datasets into docs/data."""
    for source in sorted(folder.glob("*/gradients.nc")):
        dataset = xr.load_dataset(source, engine="h5netcdf")
        dataset.to_netcdf(DATA / f"gradients-{source.parent.name}.nc", engine="h5netcdf")


def found(prefix: str = "") -> dict[tuple[str, str], xr.Dataset]:
    """Load the datasets of the columns that were measured."""
    paths = {(task, algorithm): DATA / f"gradients-{prefix}{task}-{algorithm}.nc" for task, algorithm in COLUMNS}
    return {column: xr.load_dataset(path, engine="h5netcdf") for column, path in paths.items() if path.exists()}


def heading(column: tuple[str, str]) -> str:
    """Write ``("hopper", "ppo")`` as ``Hopper-v5, PPO``."""
    return f"{TASKS[column[0]]}, {column[1].upper()}"


def at(dataset: xr.Dataset, iteration: int, name: str, **where: object) -> np.ndarray:
    """Return a variable of the agents at one iteration."""
    data = dataset[name].sel(where) if where else dataset[name]
    return np.asarray(data.values[dataset["iteration"].values == iteration], dtype=np.float64)


def median(values: np.ndarray, digits: int = 2) -> str:
    """Write the median over seeds, those left out that have no number, and the range between the quartiles."""
    known = values[~np.isnan(values)]
    if not len(known):
        return "-"
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    return f"{number(middle, digits)} ({number(low, digits)} to {number(high, digits)})"


def number(value: float, digits: int) -> str:
    """Write a number; large ones to three figures, in thousands."""
    if np.isinf(value):
        return "no end"
    if digits:
        return f"{value:.{digits}f}"
    return f"{value / 1000:,.3g}k" if value >= 10_000 else f"{value:,.0f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def iterations(dataset: xr.Dataset) -> list[int]:
    """List the iterations that were measured."""
    return sorted(set(dataset["iteration"].values.tolist()))


def signal_table(datasets: dict[tuple[str, str], xr.Dataset]) -> str:
    """Lay out cosines, noise scale and trajectories of each column and iteration."""
    head = [
        "",
        "iteration",
        "to one another",
        "to the truth",
        "noise scale, pairs",
        "in trajectories",
        "trajectories in 2e5 pairs",
        "effective fraction",
    ]
    rows = [
        [
            heading(column) if iteration == iterations(dataset)[0] else "",
            str(iteration),
            median(at(dataset, iteration, "pairwise_cosine", size=BATCH), 3),
            median(at(dataset, iteration, "true_cosine_corrected", size=BATCH)),
            median(at(dataset, iteration, "noise_scale_pairs"), 0),
            median(at(dataset, iteration, "noise_scale_trajectories"), 0),
            median(at(dataset, iteration, "trajectories"), 0),
            median(at(dataset, iteration, "effective_sample_fraction")),
        ]
        for column, dataset in datasets.items()
        for iteration in iterations(dataset)
    ]
    return table(head, rows)


def truths_table(datasets: dict[tuple[str, str], xr.Dataset]) -> str:
    """Lay out how truths agree, and how estimates agree with them."""
    head = [
        "",
        "iteration",
        "estimate and discounted return",
        "estimate and episode return",
        "surrogate and discounted return",
        "discounted and episode return",
    ]
    pairs = ("surrogate and discounted_return", "discounted_return and episode_return")
    rows = [
        [
            heading(column) if iteration == iterations(dataset)[0] else "",
            str(iteration),
            *(
                median(at(dataset, iteration, "cosine_to_truth_corrected", truth=truth, size=BATCH))
                for truth in dataset["truth"].values
            ),
            *(median(at(dataset, iteration, "cosine_between_truths", truth_pair=pair)) for pair in pairs),
        ]
        for column, dataset in datasets.items()
        if dataset.sizes["truth"]
        for iteration in iterations(dataset)
    ]
    return table(head, rows)


def steps_table(datasets: dict[tuple[str, str], xr.Dataset]) -> str:
    """Lay out the cosines of computed steps by the pairs of their batch."""
    sizes = sorted({int(size) for dataset in datasets.values() for size in dataset["step_size"].values})
    head = ["", "iteration", *(f"{size:,} pairs" for size in sizes), f"to the gradient, {BATCH:,} pairs"]
    rows = [
        [
            heading(column) if iteration == iterations(dataset)[0] else "",
            str(iteration),
            *(median(at(dataset, iteration, "step_pairwise_cosine", step_size=size), 3) for size in sizes),
            median(at(dataset, iteration, "step_true_cosine_corrected", step_size=BATCH), 3),
        ]
        for column, dataset in datasets.items()
        for iteration in iterations(dataset)
    ]
    return table(head, rows)


def single_table(names: dict[str, str]) -> str:
    """Lay out single agents measured with very many pairs, one row for each size."""
    head = [
        "",
        "pairs in an estimate",
        "estimates",
        "to one another",
        "to the truth",
        "to the true discounted return",
        "to the true episode return",
    ]
    rows = []
    for name, label in names.items():
        path = DATA / f"gradients-{name}.nc"
        if not path.exists():
            continue
        dataset = xr.load_dataset(path, engine="h5netcdf")
        for place, size in enumerate(dataset["size"].values):
            here = dataset.isel(size=place)
            truths = [
                with_interval(here.sel(truth=truth), "cosine_to_truth_corrected")
                if truth in here["truth"].values
                else "-"
                for truth in ("discounted_return", "episode_return")
            ]
            rows.append([
                label if place == 0 else "", f"{int(size):,}", str(int(here["estimates"])),
                with_interval(here, "pairwise_cosine"), with_interval(here, "true_cosine_corrected"), *truths,
            ])  # fmt: skip
    return table(head, rows)


def with_interval(here: xr.Dataset, name: str) -> str:
    """Write a number with its interval."""
    value, low, high = (float(here[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return "-" if np.isnan(value) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def claims_table(judgements: list[Judgement]) -> str:
    """Lay out one claim's judgements."""
    rows = [
        [one.where, f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})", str(one.seeds), f"**{one.mark}**"]
        for one in judgements
    ]
    return table(["where", "statistic, 95% interval", "seeds", "mark"], rows)


def claims_text(datasets: dict[tuple[str, str], xr.Dataset], steps: dict[tuple[str, str], xr.Dataset]) -> str:
    """Write every claim with its rule and its judgements."""
    parts = []
    for claim in load_claims():
        judgements = judge(claim, steps if claim.variable.startswith("step") else datasets)
        marks = [one.mark for one in judgements]
        count = ", ".join(
            f"{mark} {marks.count(mark)}" for mark in ("holds", "does not hold", "not enough data") if mark in marks
        )
        pairs = (
            ""
            if claim.size is None
            else f" at {claim.size:,} pairs"
            if isinstance(claim.size, int)
            else f", {claim.size[1]:,} less {claim.size[0]:,} pairs"
        )
        what = f"`{claim.variable}`{pairs}{', logarithm' if claim.log else ''}"
        rule = f"{what}: {claim.statistic} {claim.rule} {claim.bound:g}"
        body = claims_table(judgements) if judgements else "Not measured.\n"
        parts.append(f"### {claim.statement}\n\n{claim.source}. Rule: {rule}. {count or ''}\n\n{body}")
    return "\n".join(parts)


def replaced(text: str, name: str, content: str) -> str:
    """Put content between its marks in the page."""
    start, stop = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = text.split(start)
    return head + start + "\n" + content + "\n" + stop + rest.split(stop, 1)[1]


def main() -> int:
    """Write tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path)
    chosen = parser.parse_args()
    if chosen.source is not None:
        take_in(chosen.source)
    datasets, steps = found(), found("steps-")
    large = {f"{task}-1e7": f"{TASKS[task]}, PPO, iteration 450, seed 0" for task in TASKS}
    page = PAGE.read_text()
    for name, content in (
        ("signal", signal_table(datasets)),
        ("truths", truths_table(datasets)),
        ("steps", steps_table(steps)),
        ("large", single_table(large)),
        ("claims", claims_text(datasets, steps)),
    ):
        page = replaced(page, name, content)
    PAGE.write_text(page)
    for (task, algorithm), dataset in datasets.items():
        save_figure(plot_gradient_quality(dataset), IMAGES / f"gradients-{task}-{algorithm}", ("png",), dpi=90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
