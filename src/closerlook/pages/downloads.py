"""Files that a page carries within itself, as links to download them."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MIME = {".json": "application/json", ".csv": "text/csv", ".nc": "application/x-netcdf"}


@dataclass
class Room:
    """What a page may still take.

    Parameters
    ----------
    left : int
        Bytes.
    """

    left: int

    def take(self, size: int) -> bool:
        """Take so many bytes where they are there, and say whether they are."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


@dataclass(frozen=True)
class Download:
    """One file, or what a page says where it has no room for it.

    Parameters
    ----------
    name : str
        Of the file.
    run : str
        What the page calls its run.
    size : int
        In bytes.
    href : str
        The file as a data URL; empty: left out.
    """

    name: str
    run: str
    size: int
    href: str = ""

    @property
    def saved_as(self) -> str:
        """The name under which it is saved: that of the run before that of the file, so that no two are the same."""
        return "-".join([*self.run.strip("/").split("/"), self.name])

    @property
    def amount(self) -> str:
        """Its size for people."""
        return f"{self.size / 1e6:.1f} MB" if self.size >= 1e5 else f"{self.size / 1e3:.1f} kB"


def downloads(files: Iterable[tuple[str, Path]], room: Room) -> list[Download]:
    """Take files into a page, the smallest first, as long as there is room.

    Parameters
    ----------
    files : iterable of (str, Path)
        What the page calls the run of each, and the file.
    room : Room
        Of the page.

    Returns
    -------
    list of Download
        In the order given; those that found no room without their content.
    """
    listed = [(run, path, path.stat().st_size) for run, path in files]
    content: dict[Path, str] = {}
    for run, path, size in sorted(listed, key=lambda one: one[2]):
        # four characters for three bytes, and what the page writes around them
        if room.take(size * 4 // 3 + 2 * len(run) + 600):
            data = base64.b64encode(path.read_bytes()).decode()
            content[path] = f"data:{MIME[path.suffix]};base64,{data}"
    return [Download(path.name, run, size, content.get(path, "")) for run, path, size in listed]
