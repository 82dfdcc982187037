"""Limits of verdicts against the trained agents of the atlas: these are usual, so few of them are to be watched."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest
import xarray as xr

from closerlook.diagnostics import verdicts

DATA = Path(__file__).parents[2] / "docs" / "data"


def levels(kind: str) -> dict[str, Counter[str]]:
    """Count the levels of each area over all agents of the atlas."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(DATA.glob(f"{kind}-*.nc")):
        for verdict in verdicts(xr.load_dataset(path, engine="h5netcdf")):
            found[verdict["area"]][verdict["level"]] += 1
    return found


@pytest.mark.parametrize(("kind", "most", "areas"), [("trust-region", 0.1, 8), ("landscape", 0.125, 4)])
def test_few_agents_of_the_atlas_are_watched_in_any_area(kind, most, areas):
    """Of 16 landscapes, two are an eighth."""
    found = levels(kind)
    assert len(found) == areas
    for area, counts in found.items():
        assert (counts["watch"] + counts["problem"]) / counts.total() <= most, area
