"""Draw the packages and their imports, from the import graph: `python docs/development/picture.py`."""

import sys
import tomllib
from pathlib import Path

import grimp
import matplotlib.pyplot as plt

from closerlook.drawing.style import COLORS, INK, QUIET, STYLE

ROOT = Path(__file__).parents[2]
PICTURE = Path(__file__).parent / "packages.svg"


def layers() -> list[list[str]]:
    """Read the layers that imports must respect, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [[name.strip() for name in line.split("|")] for line in listed]


def imports(names: list[str]) -> set[tuple[str, str]]:
    """Return which package imports which, of those named."""
    graph = grimp.build_graph("closerlook")
    found = set()
    for module in graph.modules:
        own = module.split(".")[1:2]
        for other in graph.find_modules_directly_imported_by(module):
            to = other.split(".")[1:2]
            if own and to and own != to and own[0] in names and to[0] in names:
                found.add((own[0], to[0]))
    return found


def direct(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Leave out an import where others lead to the same package: what is drawn is the transitive reduction."""
    reached: dict[str, set[str]] = {}

    def below(name: str) -> set[str]:
        if name not in reached:
            reached[name] = set().union(*({to} | below(to) for own, to in edges if own == name))
        return reached[name]

    return {
        (own, to) for own, to in edges if not any(to in below(other) for one, other in edges if one == own != other)
    }


def main() -> int:
    """Draw one row a layer, a box a package, a line an import."""
    rows = layers()
    names = [name for row in rows for name in row]
    places = {
        name: ((at + 0.5) / len(row), -float(level)) for level, row in enumerate(rows) for at, name in enumerate(row)
    }
    with plt.rc_context({**STYLE, "svg.hashsalt": "packages"}):
        figure, axis = plt.subplots(figsize=(8, 0.62 * len(rows) + 0.4))
        for importer, imported in sorted(direct(imports(names))):
            (x, y), (to_x, to_y) = places[importer], places[imported]
            bend = 0.12 if abs(y - to_y) > 1 else 0.0
            axis.annotate(
                "",
                (to_x, to_y + 0.2),
                (x, y - 0.2),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": QUIET,
                    "alpha": 0.8,
                    "lw": 0.8,
                    "connectionstyle": f"arc3,rad={bend}",
                },
            )
        for name, (x, y) in places.items():
            box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": COLORS[0]}
            axis.text(x, y, name, ha="center", va="center", color=INK, bbox=box)
        axis.set_xlim(0, 1)
        axis.set_ylim(-len(rows) + 0.4, 0.6)
        axis.axis("off")
        figure.tight_layout(pad=0.2)
        figure.savefig(PICTURE, metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
