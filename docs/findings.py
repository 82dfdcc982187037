"""What stands out, in ten lines: sentences with the numbers of the second atlas, and beside them the first's."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from measured import TASKS

from closerlook.studies.found import Found

Rows = Sequence[Mapping[str, Any]]
Atlas = tuple[Sequence[Found], Rows]
"""What was measured of an atlas, and how statements are judged by it."""
WORDS = {"holds": "**yes**", "does_not_hold": "**no**", "not_enough_data": "open", "not_tested": "not tested"}
GAMMA = 0.99
LATE = 150
"""Iteration from which on agents are trained."""


@dataclass(frozen=True)
class Finding:
    """One line.

    Parameters
    ----------
    words : str
        With ``{}`` where the numbers are.
    numbers : callable
        Writes an atlas' numbers; nothing where they were not measured of it.
    """

    words: str
    numbers: Callable[[Sequence[Found], Rows], str]

    def line(self, second: Atlas, first: Atlas, *, beside: bool = True) -> str:
        """Write the numbers of the second atlas, where it has some, into the sentence; the first's beside, if asked."""
        new, old = self.numbers(*second), self.numbers(*first)
        if not new:
            return f"{self.words.format(old or 'not measured')} (First atlas.)"
        return f"{self.words.format(new)} First atlas: {old}." if old and beside else self.words.format(new)


def of(dataset: xr.Dataset, name: str, **where: Any) -> np.ndarray:
    """Return a variable of trained agents."""
    data = dataset[name].sel(where).values.astype(np.float64)
    return np.asarray(data[dataset["iteration"].values >= LATE])


def means_of(dataset: xr.Dataset, *quantities: str) -> np.ndarray:
    """Return the means of quantities over the trained agents that have all of them; NaN where none has."""
    if not set(quantities) <= set(dataset["quantity"].values):
        return np.full(len(quantities), np.nan)
    values = np.stack([of(dataset, "average", quantity=quantity) for quantity in quantities])
    known = values[:, np.isfinite(values).all(axis=0)]
    return known.mean(axis=1) if known.size else np.full(len(quantities), np.nan)


def errors_of(dataset: xr.Dataset) -> tuple[float, float]:
    """Return the updated critic's mean relative error to returns that are cut, and to those that are not."""
    both = [
        of(dataset, "mean_relative_error", critic="updated", target=name) for name in ("cut_off_returns", "returns")
    ]
    return float(np.nanmean(both[0])), float(np.nanmean(both[1]))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write the least and the largest of some numbers, once where they are written alike."""
    return " to ".join(dict.fromkeys(f"{end:.{digits}f}" for end in (min(values), max(values))))


def tally(_: Sequence[Found], rows: Rows) -> str:
    """Count the tests of statements, and how they come out."""
    counts = {mark: sum(row["mark"] == mark for row in rows) for mark in WORDS}
    known = [row for row in rows if row["p_holm"] is not None]
    sure = {mark: sum(row["mark"] == mark and row["p_holm"] < 0.05 for row in known) for mark in WORDS}
    tested = len(rows) - counts["not_tested"]
    return (
        f"{tested} tests, {counts['holds']} yes and {counts['does_not_hold']} no ({sure['holds']} and "
        f"{sure['does_not_hold']} with all tests taken into account), {counts['not_enough_data']} open"
        if tested
        else ""
    )


def outcome(name: str) -> Callable[[Sequence[Found], Rows], str]:
    """Return a writer of how many columns a statement comes out how in, and of the numbers between which it does."""

    def write(_: Sequence[Found], rows: Rows) -> str:
        own = [row for row in rows if row["id"] == name and row["task"] is not None]
        told = ", ".join(filter(None, (counted(own, mark) for mark in WORDS)))
        known = [row["value"] for row in own if row["value"] is not None]
        between = f"; means of {short(min(known))} to {short(max(known))}" if known else ""
        return f"{told} of {len(own)} columns{between}" if own else ""

    return write


def counted(rows: Rows, mark: str) -> str:
    """Write in how many rows a statement comes out so; and of a yes or no, where these are fewer, by Holm's p."""
    own = [row for row in rows if row["mark"] == mark]
    sure = sum(row["p_holm"] is not None and row["p_holm"] < 0.05 for row in own)
    decided = mark in ("holds", "does_not_hold")
    fewer = f" ({sure or 'none'} with all tests taken into account)" if decided and sure < len(own) else ""
    return f"{WORDS[mark].strip('*')} in {len(own)}{fewer}" if own else ""


def short(value: float) -> str:
    """Write a number to two digits; from a hundred on, in whole ones."""
    return f"{value:.2g}" if abs(value) < 99.5 else f"{value:,.0f}"


def late_updates(found: Sequence[Found], rows: Rows) -> str:
    """Write what updates from a training batch bring late in training, and those from many pairs."""
    told, last = outcome("directions-lower-the-reward")(found, rows), ""
    for algorithm, what, name in (("trpo", "raise", "trpo-gains-at-many"), ("ppo", "lower", "ppo-loses-at-many")):
        columns = outcome(name)(found, rows).partition(";")[0]
        known = [one for one in found if (one.kind, one.algorithm) == ("trust-region", algorithm)]
        gains = list(filter(None, (late_gains(one) for one in known if one.task.endswith(" many"))))
        if told and columns and gains:
            # all of an algorithm are measured alike: one sentence tells of them
            (where,) = {where for where, _ in gains}
            of_many = "" if where == last else f"Of updates {where}, "
            means = ", ".join(of_task for _, of_task in gains)
            told += f". {of_many}{algorithm.upper()}'s {what} it: {columns}; means {means}"
            last = where
    return told


def late_gains(one: Found) -> tuple[str, str] | None:
    """Write what late updates were made from, and what they bring on a task, the mean of each iteration."""
    means = one.dataset["average"].sel(quantity="true_improvement").groupby("iteration").mean(skipna=False)
    means = means[means["iteration"] >= LATE].dropna("iteration")
    if not means.size:
        return None
    where = f"from {one.dataset.attrs['step_pairs']:,} pairs, {at_iterations(means['iteration'].values)}"
    return where, f"of {listed(map(short, means.values))} on {one.task.split()[0].capitalize()}"


def at_iterations(numbers: Collection[int]) -> str:
    """Write where something was measured."""
    return f"at iteration{'s' * (len(numbers) > 1)} {listed(numbers)}"


def listed(several: Iterable[object]) -> str:
    """Write a list in words."""
    *others, last = map(str, several)
    return f"{', '.join(others)} and {last}" if others else last


def prediction(found: Sequence[Found], _: Rows) -> str:
    """Write by how much the noise scale's cosines miss the measured ones: at the median, and in nine cases of ten."""
    names = ("pairwise_cosine", "predicted_pairwise_cosine")
    both = [[data[name].values[:, ~data["is_prefix"].values].ravel() for name in names] for data in gradients_of(found)]
    if not both:
        return ""
    measured, predicted = np.concatenate(both, axis=1)
    known = np.isfinite(measured) & np.isfinite(predicted)
    if not known.any():
        return ""
    off = np.abs(measured - predicted)[known]
    return (
        f"{np.median(off):.3f} at the median, by less than {np.quantile(off, 0.9):.3f} in nine cases of ten, where "
        f"cosines are {np.median(measured[known]):.3f} at the median"
    )


def gradients_of(found: Sequence[Found]) -> list[xr.Dataset]:
    """Return what was measured of gradients, computed updates left out."""
    return [one.dataset for one in found if one.kind == "gradients" and "update_size" not in one.dataset.dims]


def fractions(found: Sequence[Found], _: Rows) -> str:
    """Write how much a pair counts, beside an independent one: means of columns."""
    own = [float(np.nanmean(of(data, "effective_sample_fraction"))) for data in gradients_of(found)]
    return spread(own) if own else ""


def errors(found: Sequence[Found], _: Rows) -> str:
    """Write how far critics are from returns that are cut, and from those that are not."""
    told = []
    for task in TASKS:
        own = [errors_of(one.dataset) for one in found if one.kind == "values" and one.task == task]
        if own:
            cut, whole = ([pair[place] for pair in own] for place in (0, 1))
            told.append(f"by {spread(cut)} and {spread(whole)} on {task.capitalize()}")
    return ", ".join(told)


def costs(_: Sequence[Found], rows: Rows) -> str:
    """Write by how much agents end lower without a baseline."""
    lost = [row for row in rows if row["id"].startswith("no-baseline-ends-lower") and row["task"] is not None]
    told = []
    for row in lost:
        # what it costs is one over the ratio, whose ends change places
        factor, *ends = (None if row[end] is None else 1 / np.exp(row[end]) for end in ("value", "high", "low"))
        interval = "" if None in ends else f" ({ends[0]:.1f} to {ends[1]:.1f})"
        told.append(f"{factor:.1f}{interval} on {row['task'].split()[0].capitalize()}")
    return ", ".join(told)


def falls(found: Sequence[Found], _: Rows) -> str:
    """Write how far the clipped surrogate falls on other pairs, and how far clipping alone would make it fall."""
    regions = [one for one in found if one.kind == "trust-region" and one.algorithm == "ppo"]
    told = []
    for task in TASKS:
        pairs = [
            means_of(one.dataset, "surrogate_rise_heldout", "clip_null_heldout") for one in regions if one.task == task
        ]
        told += [f"{-rise:.4f} beside {-null:.4f} on {task.capitalize()}" for rise, null in pairs if np.isfinite(rise)]
    return ", ".join(told)


def cut_error(gamma: float, steps: Sequence[int]) -> float:
    """Return the mean relative error of an exact critic against returns that stop, rewards being all alike.

    Parameters
    ----------
    gamma : float
        Discount factor.
    steps : sequence of int
        Lengths of the stretches that a batch's returns stop at the end of.
    """
    # V = r / (1 - gamma); with k steps left G = r (1 - gamma^k) / (1 - gamma); |V - G| / G = gamma^k / (1 - gamma^k)
    left = np.concatenate([np.arange(1, length + 1) for length in steps]).astype(np.float64)
    return float((gamma**left / (1 - gamma**left)).mean())


def bootstrap_coverage(signal: float, repeats: int = 400, estimates: int = 10, size: int = 400) -> float:
    """Return how often a bootstrap interval over pairs of estimates holds their expected cosine, in simulation.

    Parameters
    ----------
    signal : float
        The expected cosine, about.
    repeats : int
        Simulated studies.
    estimates, size : int
        Estimates of a study, and their parameters.
    """
    rng = np.random.default_rng(0)
    first, second = np.triu_indices(estimates, 1)
    # g = mu + noise of unit length on average; |mu|^2 / (|mu|^2 + 1) = signal
    mean = np.zeros(size)
    mean[0] = np.sqrt(signal / (1 - signal))
    rows = mean + rng.standard_normal((repeats, estimates, size)) / np.sqrt(size)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    cosines = np.einsum("rid,rjd->rij", rows, rows)[:, first, second]
    drawn = cosines[:, rng.integers(len(first), size=(500, len(first)))].mean(axis=2)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    truth = cosines.mean()  # over all studies: far nearer to the expectation than one of them
    return float(np.mean((low <= truth) & (truth <= high)))


FINDINGS = (
    Finding(
        "The paper's statements, and questions it raises, each for every task and algorithm that it was made for: {}.",
        tally,
    ),
    Finding(
        "Gradient estimates of a training batch hardly agree once agents have learned something: {}.",
        outcome("correlation-near-zero"),
    ),
    Finding("Their agreement falls as training goes on: {}.", outcome("correlation-decays")),
    Finding(
        "One number, the noise scale, describes the whole curve of agreement against pairs: from one stream of 2,048 "
        "pairs on, over all agents that have one, measured and predicted cosines differ by {}.",
        prediction,
    ),
    Finding(
        "Pairs of a trajectory are nearly as good as independent ones: {} of them count (means of columns). The number "
        "of samples is not the number of trajectories.",
        fractions,
    ),
    Finding(
        f"The paper's critics err by 50%: on Hopper and Walker2d most of such an error is the cut return, on Humanoid "
        f"the smaller part. An exact critic of rewards that are all alike errs by {cut_error(GAMMA, [2048]):.2f} where "
        f"returns are cut once in 2,048 steps, by {cut_error(GAMMA, [1000, 1000, 48]):.2f} where time limits at 1,000 "
        f"cut them too. Against returns that stop at the batch's end, and against returns that are followed to their "
        f"end, critics err {{}}.",
        errors,
    ),
    Finding(
        "Training without a baseline costs a factor, of geometric means of final reward, of {}: not almost ten.", costs
    ),
    Finding(
        "An update from a training batch lowers the true reward late in training: {}.",
        late_updates,
    ),
    Finding(
        "PPO's clipped surrogate falls on pairs it was not made from, but no further than clipping alone makes it, "
        "with advantages that do not depend on ratios: {}. No overfitting is seen in the fall.",
        falls,
    ),
)
"""What stands out, but for what is of no atlas."""


def findings(second: Atlas, first: Atlas) -> list[str]:
    """Write what stands out, each line with its numbers."""
    covered = [bootstrap_coverage(signal) for signal in (0.02, 0.1, 0.5)]
    return [
        *(finding.line(second, first) for finding in FINDINGS),
        f"Intervals by bootstrap over the pairs of ten estimates, if these are what the paper resampled, hold the "
        f"truth in {min(covered):.0%} to {max(covered):.0%} of simulated studies (noise alike in all directions), not "
        f"in 95%: pairs that share an estimate are not independent.",
    ]
