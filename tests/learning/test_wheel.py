"""The wheel alone, in a new environment and an empty folder, does what the README promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path) -> str:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_wheel_runs_the_demo(tmp_path):
    wheels, home, empty = tmp_path / "wheels", tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ROOT, cwd=tmp_path)
    (wheel,) = wheels.glob("closerlook-*.whl")
    run(sys.executable, "-m", "venv", home, cwd=tmp_path)
    python = home / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    program = home / "bin" / "closerlook"
    assert "closerlook" in run(program, "--version", cwd=empty)
    run(program, "demo", "--out", "demo", cwd=empty)
    page = (empty / "demo" / "report.html").read_text()
    assert "Hopper-v5" in page
    assert len(list((empty / "demo").iterdir())) >= 3
