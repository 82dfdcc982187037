"""Write the tables, marks and the figure of learning.md from the logs of the atlas: `python docs/learning.py`."""

import csv
import gzip
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from measured import COLUMNS, TASKS, claims_text, gained, heading, replaced, save_picture, table

from closerlook.drawing.style import COLORS, INK, QUIET, RULE, STYLE, mean_with_interval
from closerlook.studies import training_variables
from closerlook.studies.claims import load_claims
from closerlook.studies.judging import judge
from closerlook.studies.training_rewards import final_rewards

DOCS = Path(__file__).parent
ATLAS = DOCS.parent / "atlas"
RELEASED = {
    ("hopper", "ppo"): (DOCS / "data" / "released_code_hopper.csv", "ppo"),
    ("hopper", "trpo"): (DOCS / "data" / "released_code_hopper.csv", "trpo"),
    ("humanoid", "trpo"): (DOCS / "data" / "released_code_humanoid_trpo.csv", "mean_reward"),
}
Curves = dict[tuple[str, str], np.ndarray]
"""Mean rewards (seeds, iterations) by column."""
STUDIES = {"no-baseline": "PPO, no baseline", "returns": "PPO, returns as value target", "ppo-m": "PPO-M"}
CLAIMED = {"no-baseline": "without a baseline", "returns": "with returns targets"}
"""Studies that claims are about, as those name them."""
RETURNS_TEXT = """## Critics trained on returns

PPO with Table 1's settings and `--value-target returns`, so that critics regress on discounted returns instead of
`V_old + A`. Are they better baselines? [The atlas, measured: values](atlas_values.md) says.

"""
PAGE, FIGURE = DOCS / "learning.md", DOCS / "images" / "learning.png"
MARKS = (50, 150, 300, 450, 488)
FIGURE_8 = {"hopper": (2000, 3000), "walker2d": (2000, 3500), "humanoid": (600, 1000)}
"""About where the curves of Figure 8 end, on the v2 tasks."""


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the columns of a log that say how agents learned."""
    with gzip.open(path, "rt", newline="") as file:
        lines = list(csv.DictReader(file))
    names = ("agent_seed", "iteration", "mean_reward")
    return {name: np.array([float(line[name] or "nan") for line in lines]) for name in names}


def curves(log: dict[str, np.ndarray]) -> np.ndarray:
    """Lay out the mean reward of every iteration of a log: (seeds, iterations)."""
    seeds, rows = np.unique(log["agent_seed"], return_inverse=True)
    iterations = log["iteration"].astype(int)
    table = np.full((len(seeds), iterations.max() + 1), np.nan)
    table[rows, iterations] = log["mean_reward"]
    return table


def released(path: Path, column: str) -> np.ndarray:
    """Read a curve of the released code, one seed: (1, iterations)."""
    with path.open(newline="") as file:
        return np.array([[float(row[column]) for row in csv.DictReader(file)]])


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


def both_table(first: Curves, second: Curves) -> str:
    """Lay out how the columns of the second atlas learned, and how much higher they end than the first's."""
    rows = []
    for name, own in second.items():
        ends = (before(table, MARKS[-1]) for table in (first[name], own))
        less = "paid otherwise" if name[0] == "humanoid" else gained(*ends)
        rows.append([heading(name), str(len(own)), *(cell(before(own, mark)) for mark in MARKS), less])
    head = ["", "seeds", *(f"iteration {mark}" for mark in MARKS), "less the first atlas there"]
    return table(head, rows)


def draw(columns: Curves, reference: Curves, second: Curves) -> None:
    """Draw a panel for each column: seeds, means with intervals of both atlases, Figure 8's ends, the released code."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(9.6, 5.4), sharex=True, layout="constrained")
        for axis, (name, own) in zip(axes.T.ravel(), columns.items(), strict=True):
            axis.plot(np.arange(9, own.shape[1]), smoothed(own).T, color=QUIET, linewidth=0.6, alpha=0.5)
            for color, table in ((COLORS[0], own), (COLORS[2], second.get(name))):
                if table is not None:
                    steps, (mean, low, high) = np.arange(9, table.shape[1]), mean_with_interval(smoothed(table))
                    axis.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
                    axis.plot(steps, mean, color=color, linewidth=1.8, gid="mean")
            axis.plot([505, 505], FIGURE_8[name[0]], color=INK, linewidth=3, solid_capstyle="butt", clip_on=False)
            if name in reference:
                theirs = smoothed(reference[name])[0]
                axis.plot(np.arange(9, 9 + len(theirs)), theirs, color=COLORS[1], linewidth=1.2)
            axis.set_title(heading(name).replace(", ", " · "), loc="left", size=9.5)
            axis.set(xlim=(0, 510), ylim=(0, None))
            axis.grid(axis="y", color=RULE, linewidth=0.6)
        figure.supxlabel("iteration of 2,048 steps", size=9)
        figure.supylabel("mean episode return, running mean of 10", size=9)
        save_picture(axis, FIGURE.with_suffix(""), 130)


def smoothed(table: np.ndarray) -> np.ndarray:
    """Return running means of ten iterations, for each seed."""
    return np.array([np.convolve(row, np.ones(10) / 10, "valid") for row in table])


def studied(study: str) -> dict[str, dict[str, np.ndarray]]:
    """Read the logs of a study by task, of those tasks that there are."""
    paths = {task: DOCS / "data" / f"{task}-{study}.csv.gz" for task in TASKS}
    return {task: read(path) for task, path in paths.items() if path.exists()}


def study_table(study: str, logs: dict[str, dict[str, np.ndarray]]) -> str:
    """Lay out the tasks of a study; nothing while there are none."""
    rows = {f"{TASKS[task]}, {STUDIES[study]}": curves(log) for task, log in logs.items()}
    return table_of(rows) if rows else ""


def marks(ends: dict[tuple[str, str], xr.Dataset], study: str) -> str:
    """Write the claims about how the agents of a study end, and what their logs say."""
    names = {variable.name for variable in training_variables.VARIABLES}
    claims = [one for one in load_claims() if one.variable in names and one.tasks]
    claims = [one for one in claims if one.tasks[0].endswith(CLAIMED[study])]
    return claims_text((claim, judge(claim, ends)) for claim in claims)


def main() -> int:
    """Write the tables and the figure."""
    logs = {name: read(ATLAS / "-".join(name) / "training.csv.gz") for name in COLUMNS}
    columns = {name: curves(log) for name, log in logs.items()}
    again = {name: ATLAS / f"{'-'.join(name)}-v2" / "training.csv.gz" for name in columns}
    second = {name: curves(read(path)) for name, path in again.items() if path.exists()}
    reference = {name: released(*where) for name, where in RELEASED.items()}
    studies = {study: studied(study) for study in STUDIES}
    ends = {name: final_rewards(log) for name, log in logs.items()}
    for study, words in CLAIMED.items():
        ends |= {(f"{task} {words}", "ppo"): final_rewards(log) for task, log in studies[study].items()}
    page = replaced(PAGE.read_text(), "atlas", table_of({heading(name): own for name, own in columns.items()}))
    page = replaced(page, "second", both_table(columns, second))
    page = replaced(page, "released", table_of({f"released code, {heading(n)}": own for n, own in reference.items()}))
    for study in ("no-baseline", "ppo-m"):
        page = replaced(page, study, study_table(study, studies[study]))
    page = replaced(page, "no-baseline claims", marks(ends, "no-baseline"))
    returns = study_table("returns", studies["returns"])
    page = replaced(page, "returns", RETURNS_TEXT + returns + "\n" + marks(ends, "returns") if returns else "")
    PAGE.write_text(page)
    draw(columns, reference, second)
    return 0


if __name__ == "__main__":
    sys.exit(main())
