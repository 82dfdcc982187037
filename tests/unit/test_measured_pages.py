"""How the pages of the measured atlas write numbers of several seeds."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from limits import gradient_table, value_table
from measured import DOCS, endless, found, median, replaced


def test_a_median_says_of_how_many_seeds_it_is():
    values = np.arange(1.0, 6.0)
    assert median(values) == "3.00 (2.00 to 4.00)"
    assert median(np.array([np.nan, *values])) == "3.00 (2.00 to 4.00), 5 of 6"
    assert median(np.full(3, np.nan)) == "-"


def test_quartiles_are_numpys():
    values = np.random.default_rng(0).lognormal(5, 1, 10)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    assert median(values) == f"{middle:.2f} ({low:.2f} to {high:.2f})"


@pytest.mark.parametrize(
    ("missing", "written"),
    [
        (1, "350 (225 to 475)"),
        (2, "350 (225 to no end)"),
        (3, "no end (225 to no end)"),
        (6, "no end (no end to no end)"),
    ],
)
def test_a_noise_scale_that_is_missing_is_infinite(missing, written):
    scales = np.arange(100.0, 700.0, 100.0)
    scales[6 - missing :] = np.nan
    assert median(endless(scales), 0) == written


LIMITS = {
    "gradients.md": lambda: gradient_table(found("gradients"), found("gradients-steps")),
    "values.md": lambda: value_table(found("values")),
}


@pytest.mark.parametrize("page", [pytest.param("gradients.md", marks=pytest.mark.slow), "values.md"])
def test_limits_of_verdicts_stand_beside_what_the_atlas_shows(page):
    text = (DOCS / page).read_text()
    assert replaced(text, "limits", LIMITS[page]()) == text, f"run the page's script in docs: {page}"
