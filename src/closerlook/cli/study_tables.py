"""What a study prints: its plan, its settings, how agents end, claims, sample regimes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from closerlook.cli.console import usual_rate
from closerlook.drawing.tables import make_table
from closerlook.statistics.seeds import FEWEST
from closerlook.studies.endings import Ending
from closerlook.studies.judging import FEWEST_SEEDS
from closerlook.studies.study import Row, Study
from closerlook.studies.units import Takes, Training

MARKS = {
    "holds": "holds",
    "does_not_hold": "does not hold",
    "not_enough_data": "not enough data",
    "not_tested": "not tested",
}
CLAIM_MARKS = {**MARKS, "not_enough_data": "open"}
CLAIM_HEADS = ["", "verdict", "value", "95% interval", "seeds", "p"]
MOST_PLACE = 14
"""Characters of a place in a table of claims, beyond which it wraps: the others are 66 at most, and a terminal 80."""
MOST_NAMED = 4
"""Figures of a part that are named in a table."""


def seconds_of(takes: Takes, environment: str, workers: int) -> float:
    """Return what one part takes, about, at the usual speed.

    Parameters
    ----------
    takes : Takes
        Its work.
    environment : str
        Decides the usual speed.
    workers : int
        Processes.
    """
    return takes.work / usual_rate(environment, workers, takes.trained)


def plan_summary(study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    """Write a plan as JSON values.

    Parameters
    ----------
    study : Study
        What is planned.
    rows : sequence of Row
        What each part takes.
    """
    parts: list[dict[str, Any]] = [
        {
            "label": row.label,
            "figures": list(row.figures),
            "state": row.state,
            "pairs": row.takes.pairs if row.takes else None,
            "core_hours": seconds_of(row.takes, row.environment, 1) / 3600 if row.takes else None,
            "bytes": row.takes.bytes if row.takes else None,
        }
        for row in rows
    ]
    totals = {key: sum(part[key] or 0.0 for part in parts) for key in ("pairs", "core_hours", "bytes")}
    return {"study": [figure.preset.name for figure in study.figures], "scale": study.scale, **totals, "parts": parts}


def plan_table(study: Study, rows: Sequence[Row]) -> Table:
    """Lay a plan out.

    Parameters
    ----------
    study : Study
        What is planned.
    rows : sequence of Row
        What each part takes.
    """
    found = plan_summary(study, rows)
    cells = [
        [part["label"], figures_in_short(part["figures"]), *_amounts(part), part["state"]] for part in found["parts"]
    ]
    table = make_table(
        f"scale {study.scale}",
        ["", "figures", "pairs", "core-hours", "disk", "state"],
        [*cells, ["in all", "", *_amounts(found), ""]],
    )
    table.caption = "Core-hours at the usual speed of one core; disk as answers are kept, about."
    table.caption_justify = "left"
    return table


def _amounts(part: Mapping[str, Any]) -> list[str]:
    return [
        _short(part["pairs"]),
        f"{part['core_hours']:,.2f}" if part["core_hours"] < 10 else f"{part['core_hours']:,.0f}",
        _bytes(part["bytes"]),
    ]


def _short(pairs: float) -> str:
    return f"{pairs:.3g}".replace("e+0", "e").replace("e+", "e") if pairs >= 1e6 else f"{pairs:,.0f}"


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


LEFT_OUT = ("environment", "environment_arguments", "algorithm", "seed", "checkpoints", "total_iterations")
"""Settings that are not told in the table of settings."""


def settings_table(agents: Sequence[Training]) -> Table:
    """Lay out what agents are trained with: Table 1 of the paper.

    Parameters
    ----------
    agents : sequence of Training
        A column each.
    """
    each = [{name.split(".")[-1]: value for name, value in one.settings.to_json().items()} for one in agents]
    names = [name for name in dict.fromkeys(name for one in each for name in one) if name not in LEFT_OUT]
    heads = [f"{one.task}\n{one.algorithm.upper()}" for one in agents]
    rows = [[name.replace("_", " "), *(_setting(one.get(name, "")) for one in each)] for name in names]
    return make_table("What agents are trained with", ["", *heads], rows)


def _setting(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple | list):
        return " ".join(map(_setting, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def endings_table(endings: Sequence[Ending]) -> Table:
    """Lay out how agents end.

    Parameters
    ----------
    endings : sequence of Ending
        Of each task and algorithm.
    """
    rows = []
    for one in endings:
        found = one.to_json()
        cells = [
            cell
            for name in ("mean", "interquartile_mean")
            for cell in (_whole(found[name]), _between(found[f"{name}_low"], found[f"{name}_high"]))
        ]
        rows.append([f"{one.task}, {one.algorithm.upper()}", str(found["seeds"]), *cells])
    names = ["", "seeds", "mean", "95% interval", "middle half", "95% interval"]
    table = make_table("How agents end, mean reward of the last ten iterations", names, rows)
    table.caption = f"Student's t over seeds; of the middle half from {FEWEST} seeds on."
    table.caption_justify = "left"
    return table


def _whole(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "-"


def _between(low: float, high: float) -> str:
    return f"{low:,.0f} to {high:,.0f}" if math.isfinite(low) else "-"


def claims_tables(claims: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Lay judged claims out: a table for each that was tested, below its statement, and the names of the others.

    Parameters
    ----------
    claims : sequence of mapping
        See `closerlook.studies.judging.judged`.
    """
    groups = {name: [one for one in claims if one["id"] == name] for name in dict.fromkeys(one["id"] for one in claims)}
    tested = {name: own for name, own in groups.items() if own[0]["mark"] != "not_tested"}
    cells = {name: _claim_cells(own) for name, own in tested.items()}
    every = [CLAIM_HEADS, *(row for rows in cells.values() for row in rows)]
    tables = []
    for name, own in tested.items():
        table = make_table("", CLAIM_HEADS, cells[name])
        table.title = Text.assemble((name, "bold"), f"  {own[0]['statement']} ({'; '.join(_claim_notes(own))})")
        # one width for all, so that columns stand below one another
        for place, column in enumerate(table.columns):
            column.width = max(len(row[place]) for row in every)
        table.columns[0].width, table.columns[0].overflow = MOST_PLACE, "fold"
        tables.append(table)
    if tables:
        note = f"By the interval of each row alone, from {FEWEST_SEEDS} seeds on; open: not enough data. p: Holm's."
        tables[-1].caption, tables[-1].caption_justify = note, "left"
    if len(tested) < len(groups):
        names = ", ".join(name for name in groups if name not in tested)
        rest = make_table("Not tested by these data", [""], [[names]])
        rest.show_header = False
        tables.append(rest)
    return tables


def _claim_cells(own: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Write place, verdict, number, interval, seeds and p of a claim's rows."""
    # what all rows have is told once, above them
    places = ["task", "algorithm", *(key for key in ("where", "measured") if len({one[key] for one in own}) > 1)]
    return [
        [
            ", ".join(str(one[key]) for key in places if one[key]),
            CLAIM_MARKS[one["mark"]],
            "" if one["value"] is None else f"{one['value']:.3g}",
            "" if one["low"] is None else f"{one['low']:.3g} to {one['high']:.3g}",
            str(one["seeds"] or ""),
            "" if one["p_holm"] is None else f"{one['p_holm']:.2g}",
        ]
        for one in own
    ]


def _claim_notes(own: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of which iterations and days the rows of a claim are, where all are of the same, and of what its rule is."""
    where, measured = ({one[key] for one in own} for key in ("where", "measured"))
    return [
        *(str(one) for one in where if one and len(where) == 1),
        *(["logarithms"] if ", logarithm" in own[0]["rule"] else []),
        f"rule of {own[0]['written'] or 'no day'}",
        *(f"data of {one}" for one in measured if one and len(measured) == 1),
    ]


def figures_in_short(names: Sequence[str]) -> str:
    """Write some figures in little room: ``1 2 9 table1``; of many the first."""
    short = [name.removeprefix("fig") for name in names]
    return " ".join([*short[:MOST_NAMED], f"+{len(short) - MOST_NAMED}"] if len(short) > MOST_NAMED + 1 else short)


def table_of(dataset: Any) -> Table:
    """Lay out every regime."""
    title = f"{dataset.attrs['environment']}: {dataset.attrs['steps']:,} steps, {dataset.sizes['regime_seed']} seeds"
    columns = ["pairs an\niteration", "learning\nrate", "final", "95% interval", "peak", "decline", "cosine"]
    rows = []
    for batch in dataset["batch_pairs"].values:
        for rate in dataset["learning_rate"].values:
            here = dataset.sel(batch_pairs=batch, learning_rate=rate)
            value = {name: float(here[f"regime_{name}_mean"]) for name in ("final", "peak", "decline", "cosine")}
            low, high = (float(here[f"regime_final_mean{end}"]) for end in ("_low", "_high"))
            cells = [f"{value['final']:,.0f}", f"{low:,.0f} to {high:,.0f}", f"{value['peak']:,.0f}"]
            cells += [f"{value['decline']:,.0f}", f"{value['cosine']:.2f}"]
            rows.append([f"{batch:,}", f"{rate:.3g}", *(cell if "nan" not in cell else "-" for cell in cells)])
    failed = int(dataset["regime_failed"].sum()) if "regime_failed" in dataset else 0
    table = make_table(title, columns, rows)
    table.caption = (
        f"{failed} of {len(rows)} settings failed with numbers that are not finite (dashes)." if failed else None
    )
    return table
