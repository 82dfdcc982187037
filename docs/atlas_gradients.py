"""Write atlas_gradients.md's tables and figures from the measured atlas: `python docs/atlas_gradients.py`.

With `--from DIR` the datasets in DIR (one folder for each column, as `closerlook gradients` leaves them) are taken into
docs/data first.
"""

import sys

import numpy as np
import xarray as xr
from limits import gradient_table
from measured import (
    DATA,
    DOCS,
    IMAGES,
    TASKS,
    at,
    endless,
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

from closerlook.diagnostics.gradients.figure import plot_gradient_quality

PAGE, LIMITS = DOCS / "atlas_gradients.md", DOCS / "gradients.md"
BATCH = 2048


def signal_table(datasets: dict[tuple[str, str], xr.Dataset]) -> str:
    """Lay out cosines, noise scale and trajectories of each column and iteration."""
    head = [
        "",
        "iteration",
        "to one another",
        "to the true gradient",
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
            of_all(at(dataset, iteration, "true_cosine_corrected", size=BATCH)),
            median(endless(at(dataset, iteration, "noise_scale_pairs")), 0),
            median(endless(at(dataset, iteration, "noise_scale_trajectories")), 0),
            median(at(dataset, iteration, "trajectories"), 0),
            median(at(dataset, iteration, "effective_sample_fraction")),
        ]
        for column, dataset in datasets.items()
        for iteration in iterations(dataset)
    ]
    return table(head, rows)


def of_all(values: np.ndarray, digits: int = 2) -> str:
    """Write the median over seeds where all are known: those whose signal is known have the larger cosines."""
    known = np.isfinite(values)
    return median(values, digits) if known.all() else f"-, {known.sum()} of {len(values)} known" if known.any() else "-"


def true_gradients_table(datasets: dict[tuple[str, str], xr.Dataset]) -> str:
    """Lay out how true gradients agree, and how estimates agree with them."""
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
                of_all(at(dataset, iteration, "cosine_to_true_gradient_corrected", true_gradient=target, size=BATCH))
                if target in dataset["true_gradient"].values
                else "-"
                for target in ("discounted_return", "episode_return")
            ),
            *(
                of_all(at(dataset, iteration, "cosine_between_true_gradients", true_gradient_pair=pair))
                if pair in dataset["true_gradient_pair"].values
                else "-"
                for pair in pairs
            ),
        ]
        for column, dataset in datasets.items()
        if dataset.sizes["true_gradient"]
        for iteration in iterations(dataset)
    ]
    measured = any(cell != "-" for row in rows for cell in row[2:])
    return table(head, rows) if measured else "Left out until they are measured anew, by estimators that were mended.\n"


def steps_table(datasets: dict[tuple[str, str], xr.Dataset]) -> str:
    """Lay out the cosines of updates by the pairs of their batch."""
    sizes = sorted({int(size) for dataset in datasets.values() for size in dataset["update_size"].values})
    head = ["", "iteration", *(f"{size:,} pairs" for size in sizes), f"to the gradient, {BATCH:,} pairs"]
    rows = [
        [
            heading(column) if iteration == iterations(dataset)[0] else "",
            str(iteration),
            *(median(at(dataset, iteration, "update_pairwise_cosine", update_size=size), 3) for size in sizes),
            of_all(at(dataset, iteration, "update_true_cosine_corrected", update_size=BATCH), 3),
        ]
        for column, dataset in datasets.items()
        for iteration in iterations(dataset)
    ]
    return table(head, rows)


def big_steps_table(name: str, label: str) -> str:
    """Lay out the updates of one agent from a very large batch, beside those of the training batch."""
    dataset = load(DATA / f"{name}.nc")
    head = ["", "pairs in a batch", "batches", "to one another", "to the gradient", "mean KL"]
    rows = [
        [
            label if place == 0 else "",
            f"{int(size):,}",
            str(int(dataset["update_batches"])),
            with_interval(here := dataset.sel(update_size=size), "update_pairwise_cosine"),
            f"{float(here['update_true_cosine_corrected']):.3f}",
            f"{float(here['update_mean_kl']):.4f}",
        ]
        for place, size in enumerate(dataset["update_size"].values)
    ]
    return table(head, rows)


def single_table(names: dict[str, str]) -> str:
    """Lay out single agents measured with very many pairs, one row for each size."""
    head = [
        "",
        "pairs in an estimate",
        "estimates",
        "to one another",
        "to the true gradient",
        "to the true discounted return",
        "to the true episode return",
    ]
    rows = []
    for name, label in names.items():
        path = DATA / f"gradients-{name}.nc"
        if not path.exists():
            continue
        dataset = load(path)
        for place, size in enumerate(dataset["size"].values):
            here = dataset.isel(size=place)
            true_gradients = [
                with_interval(here.sel(true_gradient=target), "cosine_to_true_gradient_corrected")
                if target in here["true_gradient"].values
                else "-"
                for target in ("discounted_return", "episode_return")
            ]
            rows.append([
                label if place == 0 else "", f"{int(size):,}", str(int(here["estimates"])),
                with_interval(here, "pairwise_cosine"), with_interval(here, "true_cosine_corrected"), *true_gradients,
            ])  # fmt: skip
    return table(head, rows)


def main() -> int:
    """Write tables and figures."""
    take_in_given(__doc__, "gradients")
    datasets, steps = found("gradients"), found("gradients-steps")
    large = {f"{task}-1e7": f"{TASKS[task]}, PPO, iteration 450, seed 0" for task in TASKS}
    page = PAGE.read_text()
    for name, content in (
        ("signal", signal_table(datasets)),
        ("true gradients", true_gradients_table(datasets)),
        ("steps", steps_table(steps)),
        ("bigsteps", big_steps_table("gradients-bigsteps-hopper-ppo", "Hopper-v5, PPO, iteration 450, seed 0")),
        ("large", single_table(large)),
    ):
        page = replaced(page, name, content)
    PAGE.write_text(page)
    LIMITS.write_text(replaced(LIMITS.read_text(), "limits", gradient_table(datasets, steps)))
    for (task, algorithm), dataset in datasets.items():
        save_picture(plot_gradient_quality(dataset), IMAGES / f"gradients-{task}-{algorithm}", 90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
