"""How coverage is counted, what of it stands in docs/development, and what the page says of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chain_streams import Streams
from closerlook.diagnostics.common.layout import Findings

PARTS, EACH = 400, 64
"""Disjoint parts, and streams of each."""
LEVELS = {"strong": 0.5, "weak": 2.5}
"""Noise of a reward: the signal of a part outweighs its noise 24 times, or drowns in it."""
OWN_LAMBDA, UPDATES = 0.8, 8
DOCS = Path(__file__).parents[1] / "docs"
PAGE, DATA = DOCS / "development" / "coverage.md", DOCS / "data" / "coverage.json"
ENOUGH, ENOUGH_OF_ONE = 0.925, 0.9
"""Of a variable, and of any of its elements: of many that cover 95% one does as little in 400 parts, by chance."""
SHORT = {
    ("updates", "average of max_ratio"): (
        "of the longest of three steps, of a mean divergence of 2.5, where nearly all ratios are clipped, the largest "
        "ratio takes two values, and eight updates may miss the rarer one; of shorter steps it covers as it should."
    ),
}
"""Variables that cover less, by kind and name, and why."""

Coverage = dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Measured:
    """Of each part what was found, and what is true: of all parts alike, or of each.

    Parameters
    ----------
    parts : list of mappings
        By the schema's names.
    true_gradients : mapping
        Arrays of a variable's own shape, or with an axis of parts before it. Of others it is the mean over parts.
    """

    parts: list[Findings]
    true_gradients: Mapping[str, np.ndarray]

    def coverage(self) -> dict[str, tuple[float, float, float]]:
        """Return the share of intervals that hold the truth, the least over a variable's elements, and the blank ones.

        A part without an interval says nothing, and is not wrong.
        """
        names = sorted(name[:-4] for name in self.parts[0] if name.endswith("_low"))
        found = {}
        for name in names:
            value, low, high = (np.stack([part[name + end] for part in self.parts]) for end in ("", "_low", "_high"))
            if np.isnan(low).all():
                continue
            known = np.isfinite(value)
            mean = np.where(known, value, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            truth = self.true_gradients.get(name, mean)
            room = 1e-9 * np.maximum(1.0, np.abs(truth))
            holds = ~(low > truth + room) & ~(high < truth - room)
            told = ~np.isnan(low).all(axis=0)
            share = holds.reshape(PARTS, -1)[:, told.ravel()].mean(axis=0)
            blank = np.isnan(value).reshape(PARTS, -1)[:, told.ravel()].mean()
            found[name] = float(share.mean()), float(share.min()), float(blank)
        return found


def parts_of(streams: Streams) -> list[Streams]:
    """Divide streams among the parts."""
    each = len(streams) // PARTS
    return [streams[at * each : (at + 1) * each] for at in range(PARTS)]


def load() -> dict[str, dict[str, Coverage]]:
    """Read what was measured: by kind, level and variable its coverage, the least of its elements, and blank parts."""
    return json.loads(DATA.read_text()) if DATA.exists() else {}


def save(kind: str, measured: Mapping[str, Coverage]) -> None:
    """Store what was measured of one kind, and write the page."""
    found = load() | {kind: {level: dict(of_level) for level, of_level in measured.items()}}
    rounded = json.loads(json.dumps(found), parse_float=lambda number: round(float(number), 4))
    DATA.write_text(json.dumps(rounded, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page())


def too_low(found: Mapping[str, Mapping[str, Coverage]]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what covers less than it should at some level."""
    for kind, levels in found.items():
        for name in dict.fromkeys(name for of_level in levels.values() for name in of_level):
            cells = [of_level[name] for of_level in levels.values() if name in of_level]
            if any(mean < ENOUGH or least < ENOUGH_OF_ONE for mean, least, _ in cells):
                yield kind, name


def page() -> str:
    """Lay out the page: its head as it is, and tables of what is stored."""
    found, rows = load(), []
    for kind, levels in found.items():
        for name in levels["strong"]:
            cells = [levels[level].get(name, (np.nan,) * 3) for level in LEVELS]
            told = [f"{100 * mean:.1f}% | {100 * least:.1f}% | {100 * blank:.0f}%" for mean, least, blank in cells]
            rows.append(f"| {kind} | {name if ' ' in name else f'`{name}`'} | {' | '.join(told)} |")
    head = PAGE.read_text().split("<!-- table -->")[0]
    columns = "| of | variable | strong signal | least | blank | weak signal | least | blank |\n" + "|---" * 8 + "|\n"
    lines = [f"- `{name}` ({kind}): {why}" for (kind, name), why in SHORT.items()] or ["None."]
    short = "## What covers less\n\n" + "\n".join(lines) + "\n"
    return f"{head}<!-- table -->\n\n{columns}" + "\n".join(rows) + f"\n\n{short}"
