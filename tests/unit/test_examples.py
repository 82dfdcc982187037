"""Every public name shows an example that runs, and says what else to look at."""

import doctest
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import closerlook as cl

ROOT = Path(__file__).parents[2]
WITH_PEERS = {"from_sb3"}


@pytest.mark.parametrize("name", cl.__all__)
def test_examples_run(name, monkeypatch):
    """As a reader would run them in a clone."""
    if name in WITH_PEERS:
        pytest.importorskip("stable_baselines3", exc_type=ImportError)
    monkeypatch.chdir(ROOT)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
    (example,) = finder.find(getattr(cl, name), name, globs={})
    assert example.examples
    said: list[str] = []
    runner.run(example, out=said.append)
    plt.close("all")
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", cl.__all__)
def test_examples_name_what_else_to_look_at(name):
    text = getattr(cl, name).__doc__
    assert "See Also\n" in text
    section = text.split("See Also\n")[1].split("\n\n")[0].strip().splitlines()[1:]
    assert section
    for line in section:
        other = line.split(" : ")[0].strip().removeprefix("closerlook.")
        assert other in cl.__all__
        assert other != name
