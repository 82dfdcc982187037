"""Limits of verdicts against the trained agents of the atlas: these are usual, so few of them are to be watched."""

import re
from collections import Counter, defaultdict
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from closerlook.diagnostics import all_diagnostics, verdicts
from closerlook.diagnostics.common.limits import StepLimits
from closerlook.errors import InputError
from closerlook.results.reading import read_dataset

DATA = Path(__file__).parents[2] / "docs" / "data"


def levels(kind: str) -> dict[str, Counter[str]]:
    """Count the levels of each area over all agents of the atlas."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in datasets(kind):
        for verdict in verdicts(one):
            found[verdict["area"]][verdict["level"]] += 1
    return found


@pytest.mark.parametrize(("kind", "most", "areas"), [("trust-region", 0.1, 8), ("landscape", 0.125, 4)])
def test_few_agents_of_the_atlas_are_watched_in_any_area(kind, most, areas):
    """Of 16 landscapes, two are an eighth."""
    found = levels(kind)
    assert len(found) == areas
    for area, counts in found.items():
        assert (counts["watch"] + counts["problem"]) / counts.total() <= most, area


def datasets(kind: str) -> list[xr.Dataset]:
    return [dataset(path) for path in sorted(DATA.glob(f"{kind}-*.nc"))]


@cache
def dataset(path: Path) -> xr.Dataset:
    return read_dataset(path)


def words_on(name: str) -> str:
    """Return what is said of the limits of a diagnostic."""
    return " ".join(what for *_, what in all_diagnostics()[name].Limits.described())


def test_numbers_in_the_words_on_landscapes_are_those_of_the_data():
    found = [*datasets("landscape-few"), *datasets("landscape-many")]
    planes = np.concatenate([one["correlation"].sel(region="plane", pairs_of="batch").values for one in found])
    long = np.concatenate([one["best_step_high"].values for one in found]) <= 0.5
    words = words_on("landscape")
    assert f"than any of the atlas, {np.nanmin(planes):.2f} to {np.nanmax(planes):.2f}." in words
    assert f"so is {long.sum()} of {long.size} of the atlas" in words


def test_numbers_in_the_words_on_trust_regions_are_those_of_the_data():
    found = datasets("trust-region")

    def mean(one: xr.Dataset, name: str) -> np.ndarray:
        return one["average"].sel(quantity=name).values

    model = np.concatenate([(one["quadratic_kl"].sum("repeat") / one["mean_kl_batch"].sum("repeat")) for one in found])
    beyond = np.nanmax(np.concatenate([mean(one, "mean_kl_heldout") / one["kl_bound"].values for one in found]))
    outside = max(np.nanmax(mean(one, "clip_fraction")) for one in found if np.isfinite(one["clip_epsilon"]).all())
    words = words_on("trust-region")
    off = int(((model < 0.5) | (model > 2.0)).sum())
    assert f"as for all but {off} of {len(model)} agents" in words
    assert f"atlas: up to {beyond:.2f}" in words
    assert f"(Humanoid, iteration 150: {outside:.2f})" in words


def test_no_agent_of_the_atlas_is_below_the_limit_of_overfitting():
    ratios = [one["heldout_improvement_ratio"] for one in datasets("landscape")]
    ratios += [one["mean_heldout_improvement_ratio"] for one in datasets("trust-region") if "normalized_rise" in one]
    assert min(float(one.min()) for one in ratios) > StepLimits().heldout_fall


def test_as_many_relations_as_the_page_says_were_tried():
    page = " ".join((DATA.parent / "atlas_trust.md").read_text().split())
    shown = page.split("<!-- relations -->")[1].split("<!-- end of relations -->")[0]
    found = re.findall(r": (open|\*\*yes\*\*|\*\*no\*\*), [-\d.]+( \()?", shown)
    assert len(found) == 12
    assert "Twelve relations were tried, seven of them" in page
    assert sum(bool(interval) for _, interval in found) == 7  # with fewer than five seeds there is none
    assert "none is known to hold" in page
    assert not any("yes" in verdict for verdict, _ in found)


STORED = {
    "gradients": "gradients-hopper-ppo",
    "values": "values-hopper-ppo",
    "landscape": "landscape-few-hopper-ppo",
    "trust-region": "trust-region-hopper-trpo",
}
"""A dataset of each diagnostic."""
MOVED = {
    "gradients": {"unusual_noise": 0.0},
    "values": {"useless": 2.0},
    "landscape": {"enough_streams": 1e9},
    "trust-region": {"beyond_bound": 0.0},
}
"""For each, a limit at which what was well is not."""


@pytest.mark.parametrize("name", STORED)
def test_limits_are_arguments(name):
    stored = dataset(DATA / f"{STORED[name]}.nc")
    usual = {field: default for field, default, _ in all_diagnostics()[name].Limits.described()}
    assert verdicts(stored, **usual) == verdicts(stored)
    before, after = ([one["level"] for one in verdicts(stored, **given)] for given in ({}, MOVED[name]))
    assert before.count("ok") > after.count("ok")


@pytest.mark.parametrize("name", STORED)
def test_every_limit_is_looked_at(name):
    """A limit that no line of the verdicts reads would be an argument that does nothing."""
    folder = Path(import_module(all_diagnostics()[name].Limits.__module__).__file__).parent
    lines = (folder / "verdicts.py").read_text() + (folder.parent / "common" / "heldout.py").read_text()
    assert [field for field, *_ in all_diagnostics()[name].Limits.described() if f"limits.{field}" not in lines] == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"unusual_nois": 3.0}, "there is no limit 'unusual_nois'; choose from unusual_noise"),
        ({"unusual_noise": "3"}, "limit unusual_noise must be a finite number (got '3')"),
        ({"unusual_noise": True}, "limit unusual_noise must be a finite number (got True)"),
        ({"unusual_noise": float("nan")}, "limit unusual_noise must be a finite number (got nan)"),
    ],
)
def test_a_limit_that_is_none_is_refused(given, says):
    with pytest.raises(InputError) as caught:
        verdicts(dataset(DATA / "gradients-hopper-ppo.nc"), **given)
    assert says in str(caught.value)
