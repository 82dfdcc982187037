"""Every study of the paper at the smallest scale: all of it is drawn, and a second time answers at once."""

import json
import subprocess
import sys
import time

import pytest

from closerlook.studies.preset import preset_names


@pytest.mark.slow
def test_all_studies_at_the_smallest_scale(tmp_path):
    command = [sys.executable, "-m", "closerlook", "study", "all", "--scale", "smoke", "--out", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert set(found["figures"]) == set(preset_names())
    assert found["failed"] == {}
    assert all(files for files in found["figures"].values())
    assert (tmp_path / "report.html").stat().st_size < 8_000_000
    begun = time.monotonic()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == found
    # nothing is computed again: what is left is importing, and reading what was drawn; very far from the minutes before
    assert time.monotonic() - begun < 120
