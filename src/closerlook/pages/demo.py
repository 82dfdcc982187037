"""The page of ``closerlook demo``: a report, with what was done and what the curve means on top, and how to go on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from closerlook.pages.report import report_page
from closerlook.pages.runs import find
from closerlook.results.naming import agent_name, nearest_to_batch


def demo_page(folder: Path) -> str:
    """Write the page as HTML.

    Parameters
    ----------
    folder : Path
        Holds ``training/`` and ``gradients/``, of agents at two iterations or more.

    Raises
    ------
    InputError
        Where one of them is not finished, or is not what it should be.
    """
    found = find([folder / "training", folder / "gradients"])
    dataset = next(run.dataset for run in found.runs if run.dataset is not None)
    return report_page(found, "demo.html.j2", {**_words(dataset), "folder": str(folder)})


def _words(dataset: xr.Dataset) -> dict[str, Any]:
    attributes, iterations = dataset.attrs, dataset["iteration"].values
    first, last = dataset.isel(agent=iterations == iterations.min()), dataset.isel(agent=iterations == iterations.max())
    ends = [_at_batch(part) for part in (first, last)]
    return {
        "title": f"closerlook demo: {attributes['environment']}",
        "environment": attributes["environment"],
        "algorithm": str(attributes["algorithm"]).upper(),
        "agents": _in_words(len(np.unique(dataset["agent_seed"].values))),
        "iterations": int(iterations.max()),
        "batch": f"{attributes['batch_pairs']:,}",
        "pairs": f"{int(dataset['pairs'].values.max()):,}",
        "returns": _change([f"{float(part['mean_episode_return'].mean()):,.0f}" for part in (first, last)]),
        "cosines": _change([_decimals(end) for end in ends]),
        "angles": _change([f"{np.degrees(np.arccos(np.clip(end, -1, 1))):.0f}°" for end in ends]),
        "fell": ends[1] < ends[0],
        "columns": _columns(dataset),
        "rows": [_row(dataset.isel(agent=i)) for i in range(dataset.sizes["agent"])],
    }


def _at_batch(agents: xr.Dataset) -> float:
    """Mean cosine over agents at the size nearest to the training batch."""
    return float(agents["pairwise_cosine"].isel(size=nearest_to_batch(agents)).mean())


def _columns(dataset: xr.Dataset) -> list[str]:
    used = dataset["pairs_used"].values
    return [
        "agent",
        "mean episode return",
        "episodes in the pool",
        f"cosine at {used[nearest_to_batch(dataset)]:,} pairs",
        "95% interval",
        f"cosine at {used[-1]:,} pairs",
    ]


def _row(agent: xr.Dataset) -> list[str]:
    at = agent.isel(size=nearest_to_batch(agent))
    return [
        agent_name(agent),
        f"{float(agent['mean_episode_return']):,.0f}",
        f"{int(agent['trajectories']):,}",
        _decimals(float(at["pairwise_cosine"])),
        f"{_decimals(float(at['pairwise_cosine_low']))} to {_decimals(float(at['pairwise_cosine_high']))}",
        _decimals(float(agent["pairwise_cosine"].values[-1])),
    ]


def _decimals(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "-"


def _change(both: Sequence[str]) -> dict[str, str]:
    return {"before": both[0], "after": both[1]}


def _in_words(count: int) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six")
    return words[count] if count < len(words) else str(count)
