"""The page of ``closerlook demo``: what was done, what the curve means, what the numbers say, how to go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from closerlook.report.page import image_data, render
from closerlook.results.naming import agent_name, nearest_to_batch
from closerlook.results.store import RunFolder


@dataclass(frozen=True)
class Demo:
    """All the page is made of.

    Parameters
    ----------
    folder : Path
        Holds ``training/`` and ``gradients/``, each with its ``run.json`` and figure.
    dataset : xarray.Dataset
        Gradient quality of agents at two iterations or more.
    verdicts : sequence of mapping
        What was said of them.
    """

    folder: Path
    dataset: xr.Dataset
    verdicts: Sequence[Mapping[str, Any]]


def demo_page(demo: Demo) -> str:
    """Write the page as HTML."""
    dataset, attributes = demo.dataset, demo.dataset.attrs
    iterations = dataset["iteration"].values
    first, last = dataset.isel(agent=iterations == iterations.min()), dataset.isel(agent=iterations == iterations.max())
    ends = [_at_batch(part) for part in (first, last)]
    records = [RunFolder(demo.folder / part).read_json("run.json") or {} for part in ("training", "gradients")]
    return render(
        "demo.html.j2",
        {
            "title": f"closerlook demo: {attributes['environment']}",
            "environment": attributes["environment"],
            "algorithm": str(attributes["algorithm"]).upper(),
            "agents": _in_words(len(np.unique(dataset["agent_seed"].values))),
            "iterations": int(iterations.max()),
            "batch": f"{attributes['batch_pairs']:,}",
            "stream": f"{attributes['stream_pairs']:,}",
            "pairs": f"{int(dataset['pairs'].values.max()):,}",
            "returns": _change([f"{float(part['mean_episode_return'].mean()):,.0f}" for part in (first, last)]),
            "cosines": _change([_decimals(end) for end in ends]),
            "angles": _change([f"{np.degrees(np.arccos(np.clip(end, -1, 1))):.0f}°" for end in ends]),
            "fell": ends[1] < ends[0],
            "columns": _columns(dataset),
            "rows": [_row(dataset.isel(agent=i)) for i in range(dataset.sizes["agent"])],
            "verdicts": demo.verdicts,
            "training_figure": image_data(demo.folder / "training" / "training.svg"),
            "gradients_figure": image_data(demo.folder / "gradients" / "gradients.svg"),
            "folder": demo.folder,
            "seed": attributes["seed"],
            "versions": _versions(records[-1]),
            "seconds": f"{sum(record.get('wall_seconds', 0.0) for record in records):,.0f} seconds",
        },
    )


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


def _versions(record: Mapping[str, Any]) -> str:
    named = {"closerlook": "closerlook", "mujoco": "MuJoCo", "gymnasium": "Gymnasium", "torch": "PyTorch"}
    known = record.get("versions", {})
    return ", ".join(f"{label} {known[name]}" for name, label in named.items() if name in known)
