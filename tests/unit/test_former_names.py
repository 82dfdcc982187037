"""Files of earlier versions are read with today's names, and nothing but the table of former names knows the others."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import closerlook as cl
from closerlook.cli import main
from closerlook.errors import InputError
from closerlook.results.former_names import FORMER_LABELS, FORMER_NAMES, FORMER_SETTINGS
from closerlook.results.reading import read_dataset
from closerlook.results.schema import SCHEMA_VERSION
from closerlook.results.store import RunFolder
from closerlook.studies.schema import every_variable

ROOT = Path(__file__).parents[2]
STORED = sorted((ROOT / "docs" / "data").glob("*.nc"))
FIRST = {path.stem.split("-")[0]: path for path in reversed(STORED)}.values()
TABLE = "src/closerlook/results/former_names.py"
THIS = "tests/unit/test_former_names.py"
WORDS = [
    r"\btruths\b",
    r"\bV\\?\*(?! to everybody)",
    r"computed[_ -]steps?",
    r"\bnormalis|\bstandardis|\brealis(ed|e)\b|\bcolour|optimis(er|e)\b|neighbour|\bcentred\b",
    r"\b(loss_share|chance_of_loss|pairing_saving|decided_share|noise_share|rise_found_again)\b",
    r"\bhigh_(reverse_)?kl\b",
    r"\bcomplete_(returns|pairwise)",
    r"\b[Cc]omplete returns?\b",
    r"--long\b",
    r"\b(policy_look|Wishes)\b",
]
"""What style asks to be called otherwise."""
MEANT = {"normalised", "truths", "computed_steps", "--long"}
"""Former names of options and values that are still understood, or answered with the new name."""


def lines_of_the_project():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    files = tracked or [str(path.relative_to(ROOT)) for path in ROOT.glob("src/**/*") if path.is_file()]
    for name in files:
        if name.endswith((".py", ".md", ".yaml", ".html")) and name not in {TABLE, THIS, "CHANGELOG.md"}:
            for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
                yield f"{name}:{number}", line


def test_no_former_name_is_left():
    former = rf"\b(?:{'|'.join(re.escape(name) for name in [*FORMER_NAMES, *FORMER_LABELS] if '_' in name)})\b"
    found = [
        f"{where}: {match[0]}"
        for where, line in lines_of_the_project()
        for match in re.finditer("|".join([former, *WORDS]), line)
        if match[0] not in MEANT and not any(f'"{meant}"' in line for meant in MEANT)
    ]
    assert found == []


def test_former_names_become_names_that_are_defined():
    defined = every_variable()
    dims = {dim for variable in defined.values() for dim in variable.dims}
    assert set(FORMER_NAMES.values()) <= {*defined, *dims}
    assert not set(FORMER_NAMES) & {*defined, *dims}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path in FIRST else pytest.mark.slow) for path in STORED],
)
def test_stored_datasets_have_todays_names_and_the_same_numbers(path):
    defined = every_variable()
    known = {*defined, *(dim for variable in defined.values() for dim in variable.dims)}
    with xr.open_dataset(path, engine="netcdf4") as stored:
        found = read_dataset(path)
        assert set(map(str, found.data_vars)) <= known
        assert set(map(str, found.dims)) <= known
        assert found.attrs["schema_version"] == SCHEMA_VERSION
        assert len(found.variables) == len(stored.variables)
        for old, new in FORMER_NAMES.items():
            if old in stored.data_vars:
                np.testing.assert_array_equal(stored[old].values, found[new].values)
    text = [str(value) for one in found.coords.values() if one.dtype.kind in "OU" for value in one.values.ravel()]
    assert not {*text, *map(str, found.attrs.values())} & {*FORMER_LABELS, *FORMER_NAMES}


def test_a_dataset_of_an_earlier_version_is_not_judged_by_half(tmp_path):
    with xr.open_dataset(ROOT / "docs/data/gradients-hopper-ppo.nc", engine="netcdf4") as stored:
        with pytest.raises(InputError, match=r"closerlook\.read_dataset"):
            cl.verdicts(stored)
        stored.load().assign_attrs(schema_version=99).to_netcdf(tmp_path / "later.nc", engine="netcdf4")
    with pytest.raises(InputError, match="version 99 of the schema, newer than"):
        read_dataset(tmp_path / "later.nc")
    with pytest.raises(InputError, match="there is no file"):
        read_dataset(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("not a dataset")
    with pytest.raises(InputError, match="is not a netCDF file"):
        read_dataset(tmp_path / "text.nc")


def test_settings_of_earlier_runs_are_those_of_today(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("run.json", {"kind": "train", "settings": {"algo": "ppo", "seeds": 2}, "finished": True})
    record = folder.read_record()
    assert record is not None
    assert record["settings"] == {"algorithm": "ppo", "seeds": 2}
    assert FORMER_SETTINGS["algo"] == "algorithm"


@pytest.mark.parametrize(
    ("former", "now"),
    [
        (["--truths", "discounted_return"], "--true-gradients"),
        (["--computed-steps"], "--updates"),
        (["--step-sizes=512"], "--update-sizes"),
        (["--long"], "--allow-long"),
    ],
)
def test_former_options_answer_with_the_new_name(former, now, capsys):
    assert main(["gradients", str(ROOT / "atlas/hopper-ppo"), *former]) == 2
    said = capsys.readouterr().err
    assert said == f"closerlook: there is no option {former[0].split('=')[0]}; it is now {now}\n"


def test_former_keywords_answer_with_the_new_name():
    agent = cl.load(ROOT / "atlas/hopper-ppo", iteration=0, seed=0)
    with pytest.raises(InputError, match="it is called true_gradients"):
        cl.gradient_quality(agent, truths=("discounted_return",))


def test_the_former_spelling_of_a_value_is_understood():
    from closerlook.diagnostics.gradients.options import Options  # noqa: PLC0415

    assert Options.of({"advantages": "normalised"}).advantages == "normalized"
