"""What the numbers of one dataset say about an agent, in words: with evidence, and with what a change would buy.

A small cosine at the training batch is no verdict: healthy agents have it, late in training or on a hard task, and
learn by the sum of many updates. What is judged is whether the batch carries any measurable direction, and whether
more pairs would.
"""

from typing import Any

import numpy as np
import xarray as xr

AREA = "gradients"
WIDEST = 0.2
"""Longest interval of a cosine that a verdict rests on."""
CLEAR = 0.5
"""Cosine from which two batches point largely the same way."""


def verdicts(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Judge each agent of a dataset at its training batch.

    Returns
    -------
    list of dict
        For each agent ``{area, level, statement, evidence, advice}``; level is ``ok``, ``watch``, ``problem`` or
        ``not_enough_data``.
    """
    if "agent" not in dataset.dims:
        return [_judge(dataset, "")]
    return [_judge(dataset.isel(agent=i), _name(dataset.isel(agent=i))) for i in range(dataset.sizes["agent"])]


def _name(agent: xr.Dataset) -> str:
    iteration, seed = int(agent["iteration"]), int(agent["agent_seed"])
    parts = [f"iteration {iteration}" if iteration >= 0 else "", f"seed {seed}" if seed >= 0 else ""]
    return ", ".join(part for part in parts if part) or f"agent {int(agent['agent'])}"


def _judge(agent: xr.Dataset, name: str) -> dict[str, Any]:
    batch = int(agent.attrs["batch_pairs"])
    at = np.flatnonzero(agent["pairs_used"].values == batch)
    if not len(at):
        statement = f"Estimates of the training batch's {batch:,} pairs were not measured."
        pairs = int(agent["pairs"])
        advice = f"Give more --pairs (10 estimates take {10 * batch:,}; there were {pairs:,})."
        return _verdict(name, "not_enough_data", statement, {"pairs": pairs, "batch_pairs": batch}, advice)
    here = agent.isel(size=int(at[0]))
    evidence = _evidence(here, batch)
    if here["zero_gradients"] > 0 and not np.isfinite(here["pairwise_cosine"]):
        statement = f"{int(here['zero_gradients'])} of {int(here['estimates'])} estimates are exactly zero."
        advice = "Look at the rewards and the critic: advantages that are all equal leave nothing to follow."
        return _verdict(name, "problem", statement, evidence, advice)
    if not evidence["width"] <= WIDEST:
        return _too_wide(agent, name, evidence)
    return _judge_direction(agent, name, evidence)


def _evidence(here: xr.Dataset, batch: int) -> dict[str, float]:
    low, high = float(here["pairwise_cosine_low"]), float(here["pairwise_cosine_high"])
    return {
        "batch_pairs": batch,
        "estimates": int(here["estimates"]),
        "pairwise_cosine": float(here["pairwise_cosine"]),
        "pairwise_cosine_low": low,
        "pairwise_cosine_high": high,
        "width": high - low,
        "zero_gradients": int(here["zero_gradients"]),
    }


def _too_wide(agent: xr.Dataset, name: str, evidence: dict[str, float]) -> dict[str, Any]:
    statement = f"The cosine at the training batch ({_shown(evidence)}) is not known well enough to judge."
    width = evidence["width"]
    times = (width / WIDEST) ** 2 if np.isfinite(width) else 4.0  # an interval narrows with the root of the estimates
    pairs = int(np.ceil(times * float(agent["pairs"]) / 1000) * 1000)
    return _verdict(name, "not_enough_data", statement, evidence, f"Give about {pairs:,} --pairs.")


def _judge_direction(agent: xr.Dataset, name: str, evidence: dict[str, float]) -> dict[str, Any]:
    batch, low = int(evidence["batch_pairs"]), evidence["pairwise_cosine_low"]
    larger = _first_clear(agent, batch)
    buys = (
        f"Estimates of {larger:,} pairs reach a cosine of {CLEAR}."
        if larger is not None
        else f"No size up to {int(agent['pairs_used'].max()):,} pairs reaches a cosine of {CLEAR}."
    )
    evidence |= {"pairs_with_cosine_half": np.nan if larger is None else larger}
    if low >= CLEAR:
        statement = f"Two training batches give largely the same direction (cosine {_shown(evidence)})."
        return _verdict(name, "ok", statement, evidence, "Nothing to do; a smaller batch may serve as well.")
    if low > 0:
        statement = f"Training batches share a direction under much noise (cosine {_shown(evidence)}); that is usual."
        return _verdict(name, "ok", statement, evidence, buys)
    statement = (
        f"Two training batches have no measurable direction in common (cosine {_shown(evidence)}). Healthy agents "
        "show this too, late in training or on hard tasks: an update is then mostly noise, and progress an average."
    )
    return _verdict(name, "watch", statement, evidence, buys)


def _first_clear(agent: xr.Dataset, batch: int) -> int | None:
    """Return the smallest measured size above the batch whose cosine reaches `CLEAR`."""
    used, cosine = agent["pairs_used"].values, agent["pairwise_cosine"].values
    found = used[(used > batch) & (cosine >= CLEAR)]
    return int(found.min()) if len(found) else None


def _shown(evidence: dict[str, float]) -> str:
    low, high = evidence["pairwise_cosine_low"], evidence["pairwise_cosine_high"]
    return f"{evidence['pairwise_cosine']:.3f}, 95% interval {low:.3f} to {high:.3f}"


def _verdict(name: str, level: str, statement: str, evidence: dict[str, float], advice: str) -> dict[str, Any]:
    known = {key: (None if not np.isfinite(value) else value) for key, value in evidence.items()}
    text = f"{name}: {statement}" if name else statement
    return {"area": AREA, "level": level, "statement": text, "evidence": known, "advice": advice}
