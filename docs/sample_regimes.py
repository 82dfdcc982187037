"""Write sample_regimes.md's tables and figures from the measured studies: `python docs/sample_regimes.py`.

With `--from DIR` the datasets in DIR (one folder for each task, as `closerlook study sample-regime` leaves them) are
taken into docs/data first.
"""

import math
import sys

import xarray as xr
from measured import (
    DATA,
    DOCS,
    IMAGES,
    TASKS,
    claims_on,
    claims_text,
    load,
    replaced,
    save_picture,
    table,
    take_in_given,
)

from closerlook.studies import regime_variables
from closerlook.studies.judging import judge
from closerlook.studies.regime_figure import plot_sample_regime

PAGE = DOCS / "sample_regimes.md"
HEAD = ["pairs of an iteration", "learning rate", "final reward", "peak", "decline", "cosine"]


def with_interval(here: xr.Dataset, name: str, digits: int) -> str:
    """Write the mean over seeds with its interval."""
    value, low, high = (float(here[f"regime_{name}_mean{end}"]) for end in ("", "_low", "_high"))
    return "-" if math.isnan(value) else f"{value:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def regimes(dataset: xr.Dataset) -> str:
    """Lay out every regime."""
    rows = []
    for batch in dataset["batch_pairs"].values:
        for place, rate in enumerate(dataset["learning_rate"].values):
            here = dataset.sel(batch_pairs=batch, learning_rate=rate)
            numbers = [with_interval(here, name, 0) for name in ("final", "peak", "decline")]
            first = f"{batch:,}" if place == 0 else ""
            rows.append([first, f"{rate:.3g}", *numbers, with_interval(here, "cosine", 2)])
    return table(HEAD, rows)


def title(dataset: xr.Dataset) -> str:
    """Say what was trained."""
    seeds = dataset.sizes["regime_seed"]
    return f"### {dataset.attrs['environment']}, {seeds} seeds, {dataset.attrs['steps']:,} steps\n\n"


def main() -> int:
    """Write tables and figures."""
    take_in_given(__doc__, "sample-regime")
    paths = {task: DATA / f"sample-regime-{task}.nc" for task in TASKS}
    datasets = {task: load(path) for task, path in paths.items() if path.exists()}
    claims = claims_on(variable.name for variable in regime_variables.VARIABLES)
    judged = [(claim, judge(claim, {(task, "ppo"): data for task, data in datasets.items()})) for claim in claims]
    page = PAGE.read_text()
    for name, content in (
        ("regimes", "\n".join(title(dataset) + regimes(dataset) for dataset in datasets.values())),
        ("claims", claims_text(judged)),
        ("figures", "".join(f"![{TASKS[task]}](images/sample-regime-{task}.png)\n" for task in datasets)),
    ):
        page = replaced(page, name, content)
    PAGE.write_text(page)
    for task, dataset in datasets.items():
        save_picture(plot_sample_regime(dataset), IMAGES / f"sample-regime-{task}", 80)
    return 0


if __name__ == "__main__":
    sys.exit(main())
