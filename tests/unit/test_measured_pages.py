"""How the pages of the measured atlas write numbers of several seeds."""

import importlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

import older_tasks
import zoo_agents
from measured import COMPRESSED_ABOVE, DATA, DOCS, claimed, claims_text, endless, keep, load, median, replaced

import closerlook as cl
import learning
from closerlook.studies.claims import load_claims
from closerlook.studies.judging import Judgement

HDF5_FILE = h5py.File


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


def test_claims_of_logarithms_are_written_as_ratios():
    (claim,) = [one for one in load_claims() if one.name == "no-baseline-ends-lower"]
    found = Judgement(claim, "hopper, ppo", np.log(0.5), np.log(0.25), 0.0, 10, 0.1, "holds")
    line = claims_text([(claim, [found])]).splitlines()[-1]
    assert "below 0.2." in line
    assert "**yes**, 0.5 (0.25 to 1)" in line
    plain = replace(claim, log=False)
    assert claimed(-1234.5, plain) == "-1,230"


def test_what_an_estimator_that_was_mended_had_measured_is_on_no_page():
    old = load(DATA / "gradients-hopper-1e7.nc")
    assert old.attrs["measured_with_schema"] == 1
    assert np.isnan(old["cosine_to_true_gradient_corrected"]).all()
    assert np.isfinite(old["pairwise_cosine"]).all()


def test_a_dataset_that_is_kept_holds_the_same_in_less_room(tmp_path, monkeypatch):
    """In the same order, for the library's reader and for other programs', its large variables compressed alone."""
    dataset = cl.read_dataset(DATA / "v2" / "few-hopper-trpo.nc").assign(steady=("many", np.zeros(10_000)))
    keep(dataset, tmp_path / "kept.nc")
    kept = cl.read_dataset(tmp_path / "kept.nc")
    assert kept.identical(dataset)
    assert list(kept.variables) == list(dataset.variables)
    with xr.open_dataset(tmp_path / "kept.nc", engine="netcdf4") as seen:
        assert seen.load().identical(dataset)
    with h5py.File(tmp_path / "kept.nc") as file:
        ways = {name: (data.nbytes > COMPRESSED_ABOVE, data.compression, data.shuffle) for name, data in file.items()}
    assert ways["steady"] == (True, "gzip", True)
    assert {way for name, way in ways.items() if not ways[name][0]} == {(False, None, False)}
    # in HDF5's older format
    monkeypatch.setattr(h5py, "File", lambda *what, **how: HDF5_FILE(*what, **{**how, "libver": "earliest"}))
    keep(dataset, tmp_path / "older.nc")
    assert (tmp_path / "kept.nc").stat().st_size < 0.95 * (tmp_path / "older.nc").stat().st_size


@pytest.mark.parametrize("page", sorted(DOCS.glob("atlas_*.md")), ids=lambda path: path.stem)
def test_an_appendix_is_short_enough_to_be_read(page):
    assert page.stat().st_size <= 15_000


SLOW = {"atlas_gradients", "atlas_landscapes", "atlas_trust", "atlas_values"}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in sorted({*SLOW, "agreement", "alarms", "learning", "older_tasks", "sample_regimes", "zoo_agents"})
    ],
)
def test_a_page_is_what_its_script_makes(script, tmp_path, monkeypatch):
    module = importlib.import_module(script)
    monkeypatch.setattr(sys, "argv", [script])
    monkeypatch.setattr(module, "save_picture", lambda axis, *_: plt.close(axis.figure), raising=False)
    pages = {name: path for name, path in vars(module).items() if isinstance(path, Path) and path.suffix == ".md"}
    assert pages
    for name, path in pages.items():
        monkeypatch.setattr(module, name, Path(shutil.copy(path, tmp_path)))
    module.main()
    for path in pages.values():
        assert (tmp_path / path.name).read_text() == path.read_text(), f"run docs/{script}.py"


def test_columns_of_the_second_atlas_stand_beside_the_firsts():
    rng = np.random.default_rng(0)
    first, second = (rng.normal(level, 10.0, (n, 488)) for level, n in ((100.0, 10), (150.0, 6)))
    (row,) = learning.both_table({("hopper", "ppo"): first}, {("hopper", "ppo"): second}).splitlines()[2:]
    ends = [table[:, 478:488].mean(axis=1) for table in (second, first)]
    low, high = stats.ttest_ind(*ends, equal_var=False).confidence_interval()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["Hopper-v5, PPO", "6"]
    assert cells[-1] == f"{ends[0].mean() - ends[1].mean():+.0f} ({low:+.0f} to {high:+.0f})"
    assert 40 < low < high < 60


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


def test_tables_on_older_tasks_are_those_of_the_data():
    rows, text = json.loads(older_tasks.STORED.read_text()), older_tasks.PAGE.read_text()
    for task in older_tasks.STEPS:
        assert replaced(text, task, older_tasks.laid_out(rows, task)) == text, task
    assert replaced(text, "humanoid trained", older_tasks.trained(rows)) == text


def test_what_is_said_of_humanoids_actions_is_what_the_table_says():
    rows = older_tasks.trained(json.loads(older_tasks.STORED.read_text())).splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[7].split()[0] for row in cells if row[1] == "450"] == ["+0.15", "+0.09"]
    signs = [re.search(r"\((.)\S+ to (.)", row[4]).groups() for row in cells]
    unlike = [(at, cells[at][4]) for at, (low, high) in enumerate(signs) if low == high]
    assert unlike == [(5, "-21 (-41 to -0)")]


def test_humanoids_of_both_atlases_are_compared_by_seeds():
    rows = [
        {"column": f"humanoid-ppo{end}", "iteration": iteration, "seed": seed, "older": older, "deviation": wide}
        for end, shift, wide in (("", 0.0, 0.5), ("-v2", 30.0, 0.75))
        for iteration in (0, 150)
        for seed, older in enumerate([90.0 + shift, 100.0 + shift, 110.0 + shift])
    ]
    start, later = older_tasks.trained(rows).splitlines()[2:]
    # three of each, 10 apart: half the interval is 2.776 times the root of 2 * 100 / 3
    assert start == "| PPO | 0 | 100 | 130 | +30 (+7 to +53) | 0.50 | 0.75 | +0.25 |"
    assert later == start.replace("PPO | 0", " | 150")


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_an_episode_of_hopper_that_ends_by_a_fall_earns_one_more_in_v4(monkeypatch):
    monkeypatch.setitem(older_tasks.STEPS, "hopper", 32)
    agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    today, older = (older_tasks.earned("hopper", *acting) for _, *acting in older_tasks.ways("hopper", agent))
    assert older[0] - today[0] == pytest.approx(1.0, abs=1e-6)
    assert older[1] == today[1]


def test_humanoid_is_paid_for_clipped_actions_alone_in_the_older_way():
    agent = cl.load("atlas/humanoid-ppo-v2", iteration=0, seed=10)  # trained in the older way
    (_, as_is, here), (_, clipped, there) = older_tasks.ways("humanoid", agent)
    assert (as_is.action_transform, clipped.action_transform) == ("none", "clip")
    assert here == there
