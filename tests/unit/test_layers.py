"""Importing the package, its figures and its help costs what it must and no more."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import closerlook

ENGINES = {"torch", "mujoco", "gymnasium", "ray"}
SHOWN = [
    f"diagnostics.{package}.{part}"
    for package in ("gradients", "values", "landscape", "trust_region")
    for part in ("variables", "verdicts", "summary", "tables", "figure", "panels")
]
HEAVY = ENGINES | {"matplotlib", "scipy", "xarray", "pandas", "numpy"}


def imported_by(statement):
    command = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_importing_the_package_imports_nothing_heavy():
    assert not imported_by("import closerlook") & HEAVY


def test_what_shows_results_stands_without_the_engines():
    modules = ["results.store", "results.schema", "drawing.style", "pages.report", "pages.demo", *SHOWN]
    assert not imported_by("import " + ", ".join(f"closerlook.{module}" for module in modules)) & ENGINES


def test_help_does_not_wait_for_the_engines():
    assert not imported_by("import closerlook.cli; closerlook.cli.main(['--help'])") & (ENGINES | {"xarray"})


def test_every_public_name_is_there_and_described():
    for name in closerlook.__all__:
        assert getattr(closerlook, name).__doc__
    assert set(closerlook.__all__) <= set(dir(closerlook))


def test_every_public_name_is_on_the_page():
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    listed = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith("::: closerlook.")}
    assert listed == set(closerlook.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = closerlook.no_such_name


def test_the_walk_of_an_observation_is_short_and_names_what_is_there():
    page = (Path(__file__).parents[2] / "docs/development/architecture.md").read_text()
    files = re.findall(r"^\| \d+ \| `(\S+)` \|", page, re.MULTILINE)
    assert 10 < len(files) <= 15
    assert len(set(files)) == len(files)
    assert all((Path(closerlook.__file__).parent / name).exists() for name in files)


def test_every_room_is_on_the_page():
    page = (Path(__file__).parents[2] / "docs/development/architecture.md").read_text()
    rooms = {path.name for path in Path(closerlook.__file__).parent.iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"`{room}/`" not in page} == set()
