"""What tables share: their look, numbers, intervals, and medians over agents."""

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from rich.table import Table


def make_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Lay out a table whose first column is text and whose others are numbers.

    Parameters
    ----------
    title : str
        Above the table.
    columns : sequence of str
        Their heads.
    rows : iterable of sequence of str
        A cell for each column.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        first = number == 0  # wraps where room is short: numbers never do
        table.add_column(column, justify="left" if first else "right", header_style="dim", no_wrap=not first)
    for row in rows:
        table.add_row(*row)
    return table


def several(dataset: xr.Dataset) -> str:
    """Say whether numbers are medians over agents."""
    return f", medians of {dataset.sizes['agent']} agents" if "agent" in dataset.dims else ""


def with_interval(here: xr.Dataset, name: str, form: str = "{:.3f}") -> list[str]:
    """Write a number, and its interval; a dash where either is not known.

    Parameters
    ----------
    here : xarray.Dataset
        Where the variable and its ends have one number each, or several whose median is meant.
    name : str
        Of the variable.
    form : str
        Format of a number.
    """
    low, high = (number(here[f"{name}{end}"], form) for end in ("_low", "_high"))
    return [number(here[name], form), "-" if low == high == "-" else f"{low} to {high}"]


def number(values: xr.DataArray, form: str = "{:.3f}") -> str:
    """Write a number, or the median of several; what is not known as a dash.

    Parameters
    ----------
    values : DataArray
        One number or several.
    form : str
        Format of a number.
    """
    value = float(values.median(skipna=True)) if values.size else np.nan
    return form.format(value) if np.isfinite(value) else "-"
