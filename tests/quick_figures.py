"""Figures that are files and no pictures, for tests of what is computed, and of what lies where: drawing takes seconds.

That every figure can be drawn is held by `test_figures`, and by the walk through the README.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

PLACES = ("drawing.style", "cli.demo", "cli.train", "studies.pictures")
"""Modules that save figures, by the name that they know it under."""


@contextmanager
def quickly_drawn() -> Iterator[None]:
    """Have commands in this process lay figures out, and leave files that say so."""
    with pytest.MonkeyPatch.context() as patch:
        for place in PLACES:
            patch.setattr(f"closerlook.{place}.save_figure", quickly_saved)
        yield


def quickly_saved(ax: Any, path: str | Path, formats: Iterable[str] = ("svg", "png"), **_: Any) -> list[Path]:
    """Stand in for `closerlook.save_figure`."""
    plt.close(ax.get_figure(root=True))
    files = [Path(path).with_name(f"{Path(path).name}.{suffix}") for suffix in formats]
    for file in files:
        file.write_text("a picture")
    return files
