"""A diagnostic that one folder adds gets everything, and so does one of another package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import closerlook as cl
import closerlook.diagnostics as diagnostics
from closerlook.cli import main
from closerlook.cli.commands import commands
from closerlook.diagnostics.budget import fit_to
from closerlook.diagnostics.options import document
from closerlook.diagnostics.subjects import resolve
from closerlook.errors import InputError
from closerlook.execution import Silence
from closerlook.studies.schema import every_variable
from environments import linear_quadratic_agent

FOLDER = Path(__file__).parents[1] / "fifth"


@pytest.fixture
def fifth(monkeypatch):
    """The folder, beside those of the other diagnostics."""
    monkeypatch.setattr(diagnostics, "__path__", [*diagnostics.__path__, str(FOLDER)])
    diagnostics.all_diagnostics.cache_clear()
    commands.cache_clear()
    yield diagnostics.find_diagnostic("episode-length")
    diagnostics.all_diagnostics.cache_clear()
    commands.cache_clear()
    sys.modules.pop("closerlook.diagnostics.episode_length", None)


def test_python_function_several_agents_and_files(fifth, tmp_path):
    agents = [linear_quadratic_agent(), linear_quadratic_agent()]
    found = cl.run("episode-length", agents, pairs=400, seed=3, workers=1, out=tmp_path)
    assert found.sizes["agent"] == 2
    assert found.attrs["diagnostic"] == "episode-length"
    assert (found["episode_length_low"] <= found["episode_length_high"]).all()
    again = cl.run(fifth, agents, options={"pairs": 400}, seed=3, workers=1)
    assert found.identical(again)
    with xr.open_dataset(tmp_path / "episode-length.nc", engine="netcdf4") as stored:
        np.testing.assert_array_equal(stored["episode_length"], found["episode_length"])
    told = json.loads((tmp_path / "episode-length.json").read_text())
    assert told["verdicts"] == cl.verdicts(found)
    assert cl.verdicts(found, shortest=1e9)[0]["level"] == "watch"
    with pytest.raises(InputError, match="pairs must be at least 2"):
        cl.run(fifth, agents, pairs=1)
    with pytest.raises(InputError, match="there is no option 'pair'; it is called pairs"):
        cl.run(fifth, agents, pair=1)


class _Interrupted(Silence):
    def __init__(self):
        self.pairs = 0.0

    def advance(self, pairs):
        self.pairs += pairs
        raise KeyboardInterrupt


class _Counted(Silence):
    def __init__(self):
        self.pairs = 0.0

    def advance(self, pairs):
        self.pairs += pairs


def test_an_interruption_is_taken_up_again(fifth, tmp_path):
    agent, asked = linear_quadratic_agent(), {"pairs": 400, "workers": 1, "out": tmp_path}
    first, second = _Interrupted(), _Counted()
    with pytest.raises(KeyboardInterrupt):
        cl.run(fifth, agent, progress=first, **asked)
    resumed = cl.run(fifth, agent, progress=second, **asked)
    assert 0 < first.pairs < 400
    assert first.pairs + second.pairs == fifth.cost(None, fifth.plan(_subjects(agent), _options(fifth, 400))).pairs
    assert resumed.identical(cl.run(fifth, agent, pairs=400, workers=1))


def _options(fifth, pairs):
    return fifth.Options(pairs=pairs)


def _subjects(agent):
    return resolve([agent], None, 0, Path())


def test_it_samples_to_a_precision_and_to_a_budget(fifth):
    agent = linear_quadratic_agent()
    found = cl.run(fifth, agent, pairs=100_000, precision=5.0, workers=1)
    assert found.attrs["precision_reached"] == 1
    assert found.attrs["half_width"] <= 5.0
    within = fit_to(fifth, _subjects(agent), _options(fifth, 100_000), 5000)
    assert 4000 <= within.pairs <= 5000
    with pytest.raises(InputError, match="takes at least"):
        fit_to(fifth, _subjects(agent), _options(fifth, 100_000), 1)


def test_command_figure_and_documentation(fifth, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["episode-length", "--help"])
    assert "State-action pairs sampled of each agent." in capsys.readouterr().out
    asked = ["episode-length", "environments:linear_quadratic_agent", "--pairs", "4e2", "--workers", "1", "--json"]
    assert main([*asked, "--out", "here"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["episode_length"] > 0
    files = {path.name for path in Path("here").iterdir()}
    assert {f"episode-length.{suffix}" for suffix in ("nc", "json", "svg", "png")} | {"run.json"} <= files
    assert json.loads(Path("here/run.json").read_text())["settings"]["pairs"] == 400
    assert "episode_length_low" in every_variable()
    assert "pairs : int\n    State-action pairs sampled of each agent. Default: 10000." in document(fifth.Options)
    main([])
    assert "how long are episodes?" in capsys.readouterr().out


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_another_package_adds_one_by_an_entry_point(workers, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(FOLDER / "episode_length", site / "lengths_of_others")
    info = site / "lengths_of_others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lengths-of-others\nVersion: 1.0\n")
    point = "[closerlook.diagnostics]\nepisode-length = lengths_of_others:DIAGNOSTIC\n"
    (info / "entry_points.txt").write_text(point)
    paths = [str(site), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    asked = ["episode-length", "environments:linear_quadratic_agent", "--pairs", "400", "--workers", workers, "--json"]
    ran = subprocess.run(
        [sys.executable, "-m", "closerlook", *asked, "--out", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["episode_length"] > 0
    assert (tmp_path / "out" / "episode-length.png").exists()
