"""How the pages of the measured atlas write numbers of several seeds."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

import zoo_agents
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


def zoo_record(found: float, recorded: float, **fields: Any) -> dict[str, Any]:
    """An agent of the zoo that earns something, to within 1, where random actions earn nothing."""
    returns = {"sampled": found, "recorded": recorded}
    ends = {
        f"{name}_return{end}": value + off
        for name, value in returns.items()
        for end, off in (("", 0.0), ("_low", -1.0), ("_high", 1.0))
    }
    common = {
        "environment": "A-v0",
        "recorded_acting": "sampled",
        "random_return": 0.0,
        "reasons": [],
        "version": "1.0",
    }
    return {**ends, **common, "identity": "same", "share_clipped": 0.0, **fields}


def test_the_page_of_the_zoo_is_written_by_its_data():
    assert zoo_agents.page(json.loads(zoo_agents.RECORD.read_text())) == zoo_agents.PAGE.read_text()


def test_limits_are_chosen_on_one_half_and_judge_the_other():
    """Agents 10% off their records, and others' records twice as high: a limit between tells all apart."""
    record = {f"{at}/A": zoo_record(90.0 * (1 + at % 2 + at // 2), 100.0 * (1 + at % 2 + at // 2)) for at in range(4)}
    halves = zoo_agents.judged(record)
    assert [len(own) for own, _, _ in halves] == [2, 2]
    assert all(0.05 < gap < 0.1 for own, _, _ in halves for gap in own)  # less the interval
    assert all(gap > 0.2 for _, others, _ in halves for gap in others)
    assert "0 of 2" in zoo_agents.held_out(record)
    # one that is half off is an error of either half that judges it, and Ant has no part
    record |= {"9/A": zoo_record(50.0, 100.0, share_clipped=0.3), "9/Ant-v3": zoo_record(0.0, 100.0)}
    assert zoo_agents.errors(0.25, *zoo_agents.judged(record)[0][:2])[0] == 1
    assert zoo_agents.is_another(record["0/A"], record["1/A"])
    assert not zoo_agents.is_another(record["0/A"], zoo_record(1.0, 500.0, environment="B-v0"))
