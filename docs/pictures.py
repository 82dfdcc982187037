"""The pictures of the second atlas, each with the paper's figures that it stands beside."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from matplotlib.axes import Axes
from measured import IMAGES, save_picture

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Picture:
    """One picture.

    Parameters
    ----------
    stem : str
        What it is of, like ``lines-hopper-ppo``.
    figures : tuple of str
        Of the paper, as studies are named.
    plot : callable
        Draws it.
    dpi : int
        Dots per inch it is saved with.
    """

    stem: str
    figures: tuple[str, ...]
    plot: Callable[[], Axes]
    dpi: int

    @property
    def file(self) -> str:
        """Its file's name."""
        return f"{self.stem}-v2.png"

    def save(self, folder: Path = IMAGES) -> None:
        """Draw it into a folder."""
        save_picture(self.plot(), (folder / self.file).with_suffix(""), self.dpi)


def figures_of(shown: Shown, figures: Mapping[str, Sequence[Shown]]) -> tuple[str, ...]:
    """Return the figures that show something, from what each of them shows."""
    return tuple(figure for figure, own in figures.items() if shown in own)


def beside(figure: str, pictures: Iterable[Picture]) -> list[str]:
    """List the files of the pictures that stand beside one of the paper's figures."""
    return [picture.file for picture in pictures if figure in picture.figures]
