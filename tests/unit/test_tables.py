"""Tables as a terminal of 80 columns shows them."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from closerlook.diagnostics import all_diagnostics
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
