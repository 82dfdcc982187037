"""Write replication.md: what the paper's statements come to on the measured atlases: `python docs/replication.py`.

Every number is judged or computed here from the datasets in docs/data and the logs of the atlases.
"""

import json
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from audits import Logs, audit_pictures, audit_table, audited
from curves import curve_pictures, measured_curves
from findings import FINDINGS, WORDS, at_iterations, findings, listed
from lines import line_pictures, measured_lines
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from measured import COLUMNS, DATA, DOCS, TASKS, claimed, current, replaced, rule, save_picture, table
from pictures import Picture, beside
from planes import measured_planes, plane_pictures

from closerlook.agents.loading import atlas_folder
from closerlook.drawing.style import INK, STYLE
from closerlook.results.training_log import read_training_log
from closerlook.studies.claims import Claim, load_claims
from closerlook.studies.found import Found, find_results
from closerlook.studies.judging import judged, with_holm
from closerlook.studies.preset import load_preset
from closerlook.studies.training_rewards import final_rewards
from learning import CLAIMED, read

PAGE, README = DOCS / "replication.md", DOCS.parent / "README.md"
DECIDED = ("holds", "does_not_hold")
FIRST_SCREEN = (0, 3, 4, 5, 7)
"""Findings that stand in README too."""
BOTH = ("gradients", "trust-region")
"""Diagnostics of which all six columns were measured."""
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Gradient estimates": (
        "correlation-near-zero",
        "correlation-zero-or-negative",
        "correlation-decays",
        "correlation-decays-late",
        "complexity-hopper-walker2d",
        "complexity-walker2d-humanoid",
        "complexity-hopper-humanoid",
        "far-from-the-true-gradient",
        "more-pairs-help",
        "trajectories-fall",
        "trajectories-are-the-samples",
        "steps-near-zero",
        "steps-decay",
    ),
    "Value prediction": (
        "critic-fits-its-target",
        "critic-misses-returns-as-released",
        "critic-misses-returns",
        "true-value-beats-critic",
        "critic-beats-zero",
        "critic-nearer-to-zero",
        "critic-help-does-not-grow",
        "no-baseline-ends-lower",
        "no-baseline-ends-lower-walker2d",
        "no-baseline-ends-lower-humanoid",
        "returns-target-leaves-less-unexplained",
        "returns-target-ends-higher",
        "returns-target-ends-higher-walker2d",
    ),
    "Surrogate and true reward": (
        "jagged-at-2k",
        "smooth-at-1m",
        "early-updates-gain",
        "directions-lower-the-reward",
        "disagree-late",
        "disagree-late-climbed",
        "trpo-agrees-again-at-many",
        "trpo-gains-at-many",
        "ppo-loses-at-many",
    ),
    "Trust regions": (
        "bound-holds-on-other-states",
        "worst-state-exceeds-bound",
        "ratios-leave-the-clip",
        "quadratic-model-not-below",
        "quadratic-model-not-above",
    ),
    "Training": ("ppo-more-sample-efficient", "best-rate-higher-where-few", "large-batches-deteriorate"),
}
"""The paper's statements, in its order; those of our own are on the pages of the measured atlas."""
HUMANOID_LINES = ("10,240 pairs a point, few only; of the second atlas 20,480, both", "1e6 pairs a point")
PARTS = {"gradients": ("ppo", "trpo"), "values": ("hopper", "walker2d"), "landscape": ("few", "many")}
"""What stands for the gap in a picture's name, by its kind."""
PICTURES: Mapping[str, tuple[str, str, str]] = {
    "table1": ("learning.png", "1e6 steps of ten seeds", "1e6 steps"),
    "fig1": ("gradients-humanoid-{}.png", "2e5 pairs of ten seeds", "1e7 pairs"),
    "fig2": ("gradients-humanoid-{}.png", "2e5 pairs of ten seeds, 1e7 of one", "1e7 pairs"),
    "fig3": ("", "every iteration", "every iteration"),
    "fig4": (
        "values-{}-ppo.png",
        "2e5 pairs, a fitted value from 3e5; of the second atlas 1e5 and 1e6",
        "a fitted value from 5e6 pairs",
    ),
    "fig5": ("landscape-few-humanoid-trpo.png", "10,240 pairs a point", "2,000, 20,000 and 100,000 pairs a point"),
    "fig6": ("landscape-few-humanoid-trpo.png", *HUMANOID_LINES),
    "fig7": ("landscape-few-humanoid-ppo.png", *HUMANOID_LINES),
    "fig8": ("learning.png", "ten seeds", "24 seeds, 10 shown"),
    "fig9": ("gradients-walker2d-{}.png", "2e5 pairs of ten seeds", "1e6 pairs"),
    "fig10": ("gradients-hopper-{}.png", "2e5 pairs of ten seeds, 1e7 of one", "1e6 pairs"),
    "fig11": ("", "every iteration", "every iteration"),
    "fig12": ("", "every iteration", "every iteration"),
    "fig13": ("landscape-few-humanoid-trpo.png", *HUMANOID_LINES),
    "fig14": ("landscape-few-humanoid-ppo.png", *HUMANOID_LINES),
    "fig15": ("landscape-{}-walker2d-trpo.png", "20,480 pairs a point", "1e6 pairs a point"),
    "fig16": ("landscape-{}-walker2d-ppo.png", "20,480 pairs a point, one of 1e6", "1e6 pairs a point"),
    "fig17": ("landscape-{}-hopper-trpo.png", "20,480 pairs a point", "1e6 pairs a point"),
    "fig18": ("landscape-{}-hopper-ppo.png", "20,480 pairs a point", "1e6 pairs a point"),
    "fig19": ("landscape-few-walker2d-trpo.png", "20,480 pairs a point", "2,000 to 100,000 pairs a point"),
    "fig20": ("landscape-few-hopper-trpo.png", "20,480 pairs a point", "2,000 to 100,000 pairs a point"),
    "sample-regime": ("sample-regime-humanoid.png", "our grid, four seeds", "2e3 to 2e4 pairs, eight agents"),
}
"""Of each of the paper's figures: our picture, what it is made from, and what the paper's is made from."""


def first_atlas() -> list[Found]:
    """Find all that was measured of seeds 0 to 9, which many rules were learnt from."""
    paths = [
        *(
            DATA / f"{kind}-{task}-{algorithm}.nc"
            for kind in ("gradients", "trust-region")
            for task, algorithm in COLUMNS
        ),
        *sorted(DATA.glob("gradients-steps-*.nc")),
        *sorted(DATA.glob("landscape-few-*.nc")),
        *sorted(DATA.glob("landscape-many-*.nc")),
        *sorted(DATA.glob("trust-region-big-*.nc")),
        *(DATA / f"values-{task}-ppo.nc" for task in ("hopper", "walker2d", "humanoid")),
        *(DATA / f"values-{task}-returns.nc" for task in ("hopper", "walker2d")),
        *sorted(DATA.glob("sample-regime-*.nc")),
    ]
    found = [replace(one, dataset=current(one.dataset)) for one in find_results(paths)]
    for task, algorithm in COLUMNS:
        found += _ends(task, algorithm, read_training_log(atlas_folder() / f"{task}-{algorithm}"))
    for study, words in CLAIMED.items():
        for path in sorted(DATA.glob(f"*-{study}.csv.gz")):
            task = path.name.split("-")[0]
            found += _ends(f"{task} {words}", "ppo", read(path))
    return found


def second_atlas() -> list[Found]:
    """Find what was measured of seeds 10 to 19, for which the rules were written before."""
    paths = [path for column in COLUMNS for path in sorted((DATA / "v2").glob(f"*-{'-'.join(column)}.nc"))]
    found = find_results(paths)
    for task, algorithm in COLUMNS:
        found += _ends(task, algorithm, read_training_log(atlas_folder() / f"{task}-{algorithm}-v2"))
    return found


def all_pictures(audits: Logs) -> list[Picture]:
    """List the pictures of the second atlas, whose logs are given."""
    return [
        *audit_pictures(audits),
        *curve_pictures(measured_curves()),
        *line_pictures(measured_lines()),
        *plane_pictures(measured_planes()),
    ]


def _ends(task: str, algorithm: str, log: Mapping[str, Any] | None) -> list[Found]:
    return [] if log is None else [Found("train", task, algorithm, final_rewards(log), None, Path())]


def most_seeds(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out rows of a place that another one of the same statement and place rests on more seeds for."""
    best: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        if row["seeds"] > best.setdefault(place_of(row), row)["seeds"]:
            best[place_of(row)] = row
    return with_holm(list(best.values()))


def place_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return statement, task and algorithm of a row."""
    return row["id"], str(row["task"]), str(row["algorithm"])


def cell(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write verdicts of one statement in one column; blank where there is none."""
    return ", ".join(dict.fromkeys(WORDS[row["mark"]] for row in rows))


def in_column(row: Mapping[str, Any], column: tuple[str, str]) -> bool:
    """Say whether a row belongs below a task and an algorithm: contrasts stand below the second of a pair."""
    if row["task"] is None:
        return False
    task = row["task"].split(" against ")[-1].split(" ")[0]
    return task == column[0] and column[1] == row["algorithm"].split(" against ")[0]


def below(rows: Sequence[Mapping[str, Any]], name: str, column: tuple[str, str]) -> list[Mapping[str, Any]]:
    """Return a statement's rows below a column: of the plain task where there are some, else of what is unusual."""
    own = [row for row in rows if row["id"] == name and in_column(row, column)]
    plain = [row for row in own if row["task"] in TASKS or " against " in row["task"]]
    return plain or own


def is_meant(claim: Claim, column: tuple[str, str]) -> bool:
    """Say whether a statement is made of a task and an algorithm; contrasts stand below the second of two tasks."""
    tasks = claim.tasks[-1:] if claim.statistic == "contrast" else claim.tasks
    algorithms = claim.algorithms[:1] if claim.statistic == "contrast" else claim.algorithms
    of_task = not tasks or column[0] in {task.split()[0] for task in tasks}
    return of_task and (not algorithms or column[1] in algorithms)


def overview(rows: Sequence[Mapping[str, Any]], claims: Mapping[str, Claim]) -> str:
    """Lay out one verdict for each statement, task and algorithm."""
    if all(row["task"] is None for row in rows):
        trained = sum((atlas_folder() / f"{task}-{algorithm}-v2").is_dir() for task, algorithm in COLUMNS)
        return f"Nothing of it has been measured yet; columns trained: {trained} of {len(COLUMNS)}.\n"
    head = ["", *(f"{task.capitalize()} {algorithm.upper()}" for task, algorithm in COLUMNS)]
    lines = []
    for section, names in SECTIONS.items():
        lines.append([f"*{section}*", *[""] * len(COLUMNS)])
        for name in names:
            link = f"[{short(claims[name])}](#{name})"
            cells = [cell(below(rows, name, column)) for column in COLUMNS]
            # what is tested somewhere is not tested elsewhere; of nothing that is tested one word is enough
            meant = [is_meant(claims[name], column) for column in COLUMNS]
            missing = [WORDS["not_tested"] if own else "" for own in (meant if any(cells) else [True])]
            lines.append([link, *(one or other for one, other in zip_longest(cells, missing, fillvalue=""))])
    return table(head, lines)


def short(claim: Claim) -> str:
    """Write a statement without how it is read as a number."""
    first, _, rest = claim.statement.rstrip(".").partition("; ")
    return f"{first}: {rest.removeprefix('here ')}" if rest.startswith("here ") else first


def details(rows: Sequence[Mapping[str, Any]], claims: Mapping[str, Claim], found: Sequence[Found]) -> str:
    """Write every statement with the paper's number, its rule, and what was found where."""
    if all(row["task"] is None for row in rows):
        return "Not measured yet.\n"
    parts = []
    for section, names in SECTIONS.items():
        parts.append(f"### {section}\n")
        for name in names:
            claim, own = claims[name], [row for row in rows if row["id"] == name]
            said = f"; the paper: {claim.paper}" if claim.paper else ""
            parts.append(f'<a id="{name}"></a>\n\n**{claim.statement}** {claim.source}{said}. *{rule(claim)}*\n')
            judged_rows = [
                [
                    place(row, claim, found),
                    WORDS[row["mark"]],
                    claimed(row["value"], claim),
                    "-" if row["low"] is None else f"{claimed(row['low'], claim)} to {claimed(row['high'], claim)}",
                    str(row["seeds"]),
                    chance(row["p_holm"]),
                ]
                for row in own
                if row["task"] is not None
            ]
            head = ["where", "verdict", "number", "95% interval", "seeds", "p (Holm)"]
            parts.append(table(head, judged_rows) if judged_rows else "Not tested yet.\n")
    return "\n".join(parts)


def place(row: Mapping[str, Any], claim: Claim, found: Sequence[Found]) -> str:
    """Write where a row is of: how many pairs an unusual update is from, and other iterations than the statement's."""
    words = [re.sub(r" (few|many)$", "", row["task"]), row["algorithm"]]
    if words[0] != row["task"]:
        whose = [one for one in found if (one.task, one.algorithm) == (row["task"], row["algorithm"])]
        pairs = {one.dataset.attrs["step_pairs"] for one in whose if claim.variable in one.dataset}
        words.append(f"from {listed(f'{one:,}' for one in sorted(pairs))} pairs")
    iterations = tuple(map(int, re.findall(r"\d+", row["where"] or "")))
    if claim.statistic == "level" and iterations and iterations != tuple(claim.iterations):
        words.append(at_iterations(iterations))
    return ", ".join(words)


def chance(p: float | None) -> str:
    """Write a probability."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def so_far(verdicts: Sequence[Mapping[str, Any]], explored: Sequence[Mapping[str, Any]]) -> str:
    """Say how far the second atlas is measured, and where both atlases decide, how often they say the same."""
    # how agents learn is known of a column as soon as it is trained
    measured = {
        section.lower(): sum(any(below(verdicts, name, column) for name in names) for column in COLUMNS)
        for section, names in SECTIONS.items()
        if section != "Training"
    }
    if not any(measured.values()):
        return "Nothing of the second atlas has been measured yet.\n"
    before = {place_of(row): row["mark"] for row in explored if row["mark"] in DECIDED}
    both = [row for row in verdicts if row["mark"] in DECIDED and place_of(row) in before]
    same = sum(row["mark"] == before[place_of(row)] for row in both)
    counts = ", ".join(f"{section} in {count}" for section, count in measured.items())
    return (
        f"Measured of the second atlas' {len(COLUMNS)} columns: {counts}. Where both atlases decide, they say the same "
        f"in {same} of {len(both)} places.\n"
    )


def index(pictures: Sequence[Picture]) -> str:
    """Lay out the paper's figures: pictures, the first atlas' and the second's, command, and size beside the paper's.

    Parameters
    ----------
    pictures : sequence of Picture
        The second atlas'.
    """
    rows = []
    for name, (picture, ours, theirs) in PICTURES.items():
        preset = load_preset(name, "paper")
        first = [picture.format(part) for part in parts_of(picture)] if picture else []
        names = [*first, *beside(name, pictures)]
        missing = [one for one in names if not (DOCS / "images" / one).exists()]
        if missing:
            sys.exit(f"docs/images/{missing[0]} is not there")
        links = ", ".join(f"[{place}](images/{one})" for place, one in enumerate(names, 1))
        rows.append([preset.figure, preset.title, links or "-", f"`closerlook study {name}`", ours, theirs])
    return table(["", "what it shows", "pictures", "command", "ours", "the paper's"], rows)


def parts_of(picture: str) -> tuple[str, ...]:
    """Return what stands in a picture's name for each of its parts."""
    if "{}" not in picture:
        return ("",)
    return PARTS[picture.partition("-")[0]]


def by_another_hand() -> str:
    """Lay out what a script that shares no code with the library reaches, and what it costs; `benchmarks/plain.py`."""
    told = json.loads((DATA / "plain.json").read_text())
    numbers = [row for row in told if "id" in row]
    rows = [
        [row["what"], TASKS[row["task"]], *(ends_of(row[whose]) for whose in ("plain", "library")), yes(row["agrees"])]
        for row in numbers
    ]
    costs = [
        f"{TASKS[row['task']]} {1e6 * row['plain']:,.0f} and {1e6 * row['library']:,.0f}"
        for row in told
        if "batches" in row
    ]
    head = ["", "task", "plain script", "library", "within both intervals"]
    return (
        f"{table(head, rows)}\nProcessor time of a pair, plain script and library, microseconds: {'; '.join(costs)}.\n"
    )


def ends_of(found: Sequence[float]) -> str:
    """Write a number and its interval."""
    return "{:.3f} ({:.3f} to {:.3f})".format(*found)


def yes(agrees: bool) -> str:
    """Write a yes or a no."""
    return "yes" if agrees else "no"


COLORS = {"holds": "#2f7d4f", "does_not_hold": "#b5452c", "not_enough_data": "#c9ced6"}
SYMBOLS = {"holds": "yes", "does_not_hold": "no", "not_enough_data": "open"}


def draw(atlases: Mapping[str, Sequence[Mapping[str, Any]]], claims: Mapping[str, Claim]) -> Axes:
    """Draw one field for each statement, task and algorithm, in a panel for each atlas."""
    tested = {row["id"] for rows in atlases.values() for row in rows if row["task"] is not None}
    names = [name for section in SECTIONS.values() for name in section if name in tested]
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(14.0, 0.27 * len(names) + 1.3), layout="constrained")
        panels = figure.subplots(1, len(atlases), sharey=True)
        for axis, (title, rows) in zip(panels, atlases.items(), strict=True):
            for down, name in enumerate(names):
                for across, column in enumerate(COLUMNS):
                    for row in below(rows, name, column)[:1]:
                        _field(axis, across, down, row["mark"])
            axis.set(xlim=(0, len(COLUMNS)), ylim=(len(names), 0))
            axis.set_title(title, loc="left", pad=34)
            heads = [f"{task.capitalize()}\n{algorithm.upper()}" for task, algorithm in COLUMNS]
            axis.set_xticks(np.arange(len(COLUMNS)) + 0.5, heads)
            axis.xaxis.tick_top()
            axis.tick_params(length=0, labelsize=8.5)
            axis.tick_params(axis="x", labelsize=7.5)
            axis.spines[:].set_visible(False)
        labels = [textwrap.shorten(short(claims[name]), 92, placeholder=" ...") for name in names]
        panels[0].set_yticks(np.arange(len(names)) + 0.5, labels)
    first: Axes = panels[0]
    return first


def _field(axis: Axes, across: int, down: int, mark: str) -> None:
    axis.add_patch(Rectangle((across + 0.03, down + 0.06), 0.94, 0.88, color=COLORS[mark], linewidth=0))
    ink = INK if mark == "not_enough_data" else "white"
    axis.text(across + 0.5, down + 0.5, SYMBOLS[mark], ha="center", va="center", color=ink, size=8)


def texts_of(
    page: str,
    readme: str,
    first: Sequence[Found],
    second: Sequence[Found],
    audits: Logs,
    pictures: Sequence[Picture],
) -> tuple[str, str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Put all that is found into the page, and a part into README; return both, and what the atlases come to.

    Parameters
    ----------
    page, readme : str
        As they were.
    first, second : sequence of Found
        What was measured of the two atlases.
    audits : mapping of (str, str) to mapping
        Logs of the second's columns.
    pictures : sequence of Picture
        The second's.
    """
    claims = {claim.name: claim for claim in load_claims()}
    named = {name for names in SECTIONS.values() for name in names}
    asked = [claim for name, claim in claims.items() if name in named]
    explored, verdicts = (most_seeds(judged(asked, found)) for found in (first, second))
    atlases, progress = ((second, verdicts), (first, explored)), so_far(verdicts, explored)
    told = findings(*atlases)
    for name, content in (
        ("findings", "".join(f"{place}. {line}\n" for place, line in enumerate(told, 1))),
        ("so far", progress),
        ("index", index(pictures)),
        ("audits", audit_table(audits)),
        ("plain", by_another_hand()),
        ("verdicts", overview(verdicts, claims)),
        ("explored", overview(explored, claims)),
        ("details of the second", details(verdicts, claims, second)),
        ("details of the first", details(explored, claims, first)),
    ):
        page = replaced(page, name, content)
    short_answer = "".join(f"- {FINDINGS[place].line(*atlases, beside=False)}\n" for place in FIRST_SCREEN)
    readme = replaced(replaced(readme, "answer", short_answer), "so far", progress)
    return page, readme, explored, verdicts


def main() -> int:
    """Write the page."""
    audits = audited()
    pictures = all_pictures(audits)
    for picture in pictures:
        picture.save()
    texts = PAGE.read_text(), README.read_text()
    page, readme, explored, verdicts = texts_of(*texts, first_atlas(), second_atlas(), audits, pictures)
    PAGE.write_text(page)
    README.write_text(readme)
    claims = {claim.name: claim for claim in load_claims()}
    atlases = {"Second atlas: verdicts": verdicts, "First atlas: an exploration": explored}
    save_picture(draw(atlases, claims), DOCS / "images" / "replication", 90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
