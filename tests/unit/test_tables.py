"""Tables as a terminal of 80 columns shows them."""

import io
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from closerlook.diagnostics import all_diagnostics
from closerlook.diagnostics.landscape.tables import rises_table
from closerlook.drawing.tables import with_interval
from closerlook.results.reading import read_dataset

DATA = Path(__file__).parents[2] / "docs" / "data"
NAMES = [
    "gradients-hopper-ppo",
    "gradients-walker2d-1e7",
    "v2/updates-hopper-ppo",
    "values-hopper-ppo",
    "landscape-many-hopper-ppo",
    "landscape-few-hopper-trpo",
    "trust-region-hopper-ppo",
    "v2/few-walker2d-trpo",
]


def test_what_is_not_known_is_one_dash():
    dataset = xr.Dataset({"x": 1.0, "x_low": np.nan, "x_high": np.nan, "y": 1.0, "y_low": 0.5, "y_high": 1.5})
    assert with_interval(dataset, "x", "{:.1f}") == ["1.0", "-"]
    assert with_interval(dataset, "y", "{:.1f}") == ["1.0", "0.5 to 1.5"]


def test_rises_on_the_steps_own_pairs_and_on_others_stand_below_their_heads():
    dataset = read_dataset(DATA / "landscape-few-hopper-ppo.nc").isel(agent=0)
    own, other = (list(column.cells)[-1] for column in rises_table(dataset).columns[1:3])
    line = dataset["line_surrogates"].isel(surrogate_name=int(dataset["surrogate_kind"]))
    for cell, pairs in ((own, "batch"), (other, "heldout")):
        here = line.sel(pairs_of=pairs)
        assert float(cell) == pytest.approx(float(here[-1] - here.sel(line=0.0)), rel=1e-3)


def printed(table) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_no_number_of_a_measurement_is_cut_off(name):
    dataset = read_dataset(DATA / f"{name}.nc")
    for table in all_diagnostics()[dataset.attrs["diagnostic"]].tables(dataset):
        text = printed(table)
        assert "…" not in text, text
        assert all(next(iter(column.cells), "").split(" ")[0] in text for column in table.columns)
