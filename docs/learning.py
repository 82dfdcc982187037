"""Write the tables and the figure of learning.md from the logs of the atlas: `python docs/learning.py`."""

import csv
import gzip
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from closerlook.figures.drawing import COLOURS, INK, QUIET, RULE, STYLE, mean_with_interval

DOCS = Path(__file__).parent
ATLAS = DOCS.parent / "atlas"
RELEASED = {
    "hopper-ppo": (DOCS / "data" / "released_code_hopper.csv", "ppo"),
    "hopper-trpo": (DOCS / "data" / "released_code_hopper.csv", "trpo"),
    "humanoid-trpo": (DOCS / "data" / "released_code_humanoid_trpo.csv", "mean_reward"),
}
STUDIES = {"no-baseline": "PPO, no baseline", "ppo-m": "PPO-M"}
PAGE, FIGURE = DOCS / "learning.md", DOCS / "images" / "learning.png"
MARKS = (50, 150, 300, 450, 488)
TASKS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5", "humanoid": "Humanoid-v5"}
FIGURE_8 = {"hopper": (2000, 3000), "walker2d": (2000, 3500), "humanoid": (600, 1000)}
"""About where the curves of Figure 8 end, on the v2 tasks."""


def curves(path: Path) -> np.ndarray:
    """Read the mean reward of every iteration of a log: (seeds, iterations)."""
    with gzip.open(path, "rt", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [(int(line["agent_seed"]), int(line["iteration"]), float(line["mean_reward"] or "nan")) for line in lines]
    seeds, iterations = (sorted({row[at] for row in rows}) for at in (0, 1))
    table = np.full((len(seeds), len(iterations)), np.nan)
    for seed, iteration, reward in rows:
        table[seeds.index(seed), iteration] = reward
    return table


def released(path: Path, column: str) -> np.ndarray:
    """Read a curve of the released code, one seed: (1, iterations)."""
    with path.open(newline="") as file:
        return np.array([[float(row[column]) for row in csv.DictReader(file)]])


def heading(name: str) -> str:
    """Write ``hopper-ppo`` as ``Hopper-v5, PPO``."""
    task, algorithm = name.split("-")
    return f"{TASKS[task]}, {algorithm.upper()}"


def before(table: np.ndarray, mark: int) -> np.ndarray:
    """Average the ten iterations before a mark, for each seed."""
    return np.asarray(np.nanmean(table[:, mark - 10 : mark], axis=1))


def cell(values: np.ndarray) -> str:
    """Write the mean over seeds with its 95% interval, Student's t."""
    mean, low, high = (float(x[0]) for x in mean_with_interval(values[:, None]))
    return f"{mean:,.0f}" if len(values) == 1 else f"{mean:,.0f} ({low:,.0f} to {high:,.0f})"


def table_of(rows: dict[str, np.ndarray]) -> str:
    """Lay curves out as a Markdown table, one row each."""
    head = (
        "| | seeds | " + " | ".join(f"iteration {mark}" for mark in MARKS) + " |\n" + "|---" * (2 + len(MARKS)) + "|\n"
    )
    return head + "".join(
        f"| {name} | {len(own)} | " + " | ".join(cell(before(own, mark)) for mark in MARKS) + " |\n"
        for name, own in rows.items()
    )


def draw(columns: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> None:
    """Draw a panel for each column: seeds, mean, interval, where Figure 8 ends, and the released code."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(9.6, 5.4), sharex=True, layout="constrained")
        for axis, (name, own) in zip(axes.T.ravel(), columns.items(), strict=True):
            task, algorithm = name.split("-")
            smooth = np.array([np.convolve(row, np.ones(10) / 10, "valid") for row in own])
            steps = np.arange(9, own.shape[1])
            axis.plot(steps, smooth.T, color=QUIET, linewidth=0.6, alpha=0.5)
            mean, low, high = mean_with_interval(smooth)
            axis.fill_between(steps, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
            axis.plot(steps, mean, color=COLOURS[0], linewidth=1.8)
            axis.plot([505, 505], FIGURE_8[task], color=INK, linewidth=3, solid_capstyle="butt", clip_on=False)
            if name in reference:
                theirs = np.convolve(reference[name][0], np.ones(10) / 10, "valid")
                axis.plot(np.arange(9, 9 + len(theirs)), theirs, color=COLOURS[1], linewidth=1.2)
            axis.set_title(f"{TASKS[task]} · {algorithm.upper()}", loc="left", size=9.5)
            axis.set(xlim=(0, 510), ylim=(0, None))
            axis.grid(axis="y", color=RULE, linewidth=0.6)
        figure.supxlabel("iteration of 2,048 steps", size=9)
        figure.supylabel("mean episode return, running mean of 10", size=9)
        figure.savefig(FIGURE, dpi=130)


def replaced(text: str, name: str, table: str) -> str:
    """Put a table between its marks in the page."""
    start, stop = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = text.split(start)
    return head + start + "\n" + table + "\n" + stop + rest.split(stop, 1)[1]


def main() -> int:
    """Write the tables and the figure."""
    columns = {
        f"{task}-{how}": curves(ATLAS / f"{task}-{how}" / "training.csv.gz")
        for task in TASKS
        for how in ("ppo", "trpo")
    }
    reference = {name: released(*where) for name, where in RELEASED.items()}
    studies = {
        f"{TASKS[task]}, {what}": curves(DOCS / "data" / f"{task}-{study}.csv.gz")
        for study, what in STUDIES.items()
        for task in TASKS
    }
    page = replaced(PAGE.read_text(), "atlas", table_of({heading(name): own for name, own in columns.items()}))
    page = replaced(page, "released", table_of({f"released code, {heading(n)}": own for n, own in reference.items()}))
    for study, what in STUDIES.items():
        page = replaced(page, study, table_of({name: own for name, own in studies.items() if name.endswith(what)}))
    PAGE.write_text(page)
    draw(columns, reference)
    return 0


if __name__ == "__main__":
    sys.exit(main())
