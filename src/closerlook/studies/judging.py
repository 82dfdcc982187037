"""What data say of claims: statistics over seeds with intervals, and marks by the claims' own rules.

====== ==================================
symbol meaning
====== ==================================
n      seeds
I      iterations
====== ==================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import stats

from closerlook.statistics.estimates import plain_jackknife
from closerlook.statistics.student import t_probability, t_quantile
from closerlook.studies.claims import Claim
from closerlook.studies.found import Found
from closerlook.studies.relations import FEWEST_SEEDS as FEWEST_RELATED
from closerlook.studies.relations import common, rank_relation, relation_chance

Mark = Literal["holds", "does not hold", "not enough data"]
Datasets = Mapping[tuple[str, str], xr.Dataset]
"""Datasets of several agents, with the coordinates ``iteration`` and ``agent_seed``, by task and algorithm."""

FEWEST_SEEDS = 5
"""With fewer nothing is decided: Student's t of three or four rests on their being normal, and a single agent's own
interval is an illustration."""
FEWEST_EQUAL = 6
"""Seeds that must be there where all are equal, before they decide anything: their interval has no width, and fewer are
on one side of the bound by chance in more than 5% of studies (sign test, 2 / 2^n)."""
MISSING = 0.1
"""Share of seeds without a number above which nothing is judged: those that have one are not any seeds."""


class Numbers(NamedTuple):
    """A statistic over seeds.

    Parameters
    ----------
    value, low, high : float
        Its value, and the ends of its 95% interval.
    seeds : int
        It rests on.
    freedom : float or None
        Degrees of freedom of the interval, where they are not one less than the seeds.
    """

    value: float
    low: float
    high: float
    seeds: int
    freedom: float | None = None


NOTHING = Numbers(np.nan, np.nan, np.nan, 0)


@dataclass(frozen=True)
class Judgement:
    """What data say of a claim, in one place.

    Parameters
    ----------
    claim : Claim
        The claim.
    where : str
        Task, algorithm and iterations, with commas between them.
    value, low, high : float
        The statistic and its 95% interval.
    seeds : int
        Seeds it rests on: of the smaller group for a contrast, 1 for a single agent.
    p : float
        Two-sided, of the statistic being the bound; of seeds that are all equal the sign test's. NaN where neither is
        known, or of a single agent.
    mark : {"holds", "does not hold", "not enough data"}
        The verdict of the rule.
    """

    claim: Claim
    where: str
    value: float
    low: float
    high: float
    seeds: int
    p: float
    mark: Mark


def judged(claims: Sequence[Claim], found: Sequence[Found]) -> list[dict[str, Any]]:
    """Judge claims by all that was found, as JSON values.

    Parameters
    ----------
    claims : sequence of Claim
        What is claimed.
    found : sequence of Found
        Datasets, see `closerlook.studies.found.find_results`.

    Returns
    -------
    list of dict
        ``{id, statement, source, task, algorithm, where, mark, value, low, high, seeds, p, p_holm, rule, written,
        measured}``; mark is ``holds``, ``does_not_hold``, ``not_enough_data`` or ``not_tested``, by the 95% interval of
        that row alone; ``p_holm`` is ``p`` with all rows taken into account. One for each place where a claim was
        judged; one, without a place, where it was nowhere.
    """
    rows: list[dict[str, Any]] = []
    for claim in claims:
        beside = claim.beside.get("variable", "")
        own: list[dict[str, Any]] = []
        for group, days in _groups(found):
            datasets = {place: one.dataset for place, one in group.items() if claim.variable in one.dataset}
            kinds = {one.kind for one in group.values()}
            # the other side of a relation is what another diagnostic found of the same agents
            others = {
                (one.task, one.algorithm): one.dataset
                for one in found
                if beside in one.dataset and one.kind not in kinds
            }
            own += [_row(one, days) for one in judge(claim, datasets, others)]
        rows += own or [_row(Judgement(claim, "", np.nan, np.nan, np.nan, 0, np.nan, "not enough data"), {})]
    return with_holm(rows)


def with_holm(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of claims with ``p_holm``: their ``p`` with all of these rows taken into account.

    Parameters
    ----------
    rows : sequence of mapping
        With ``p``, None where there is none.
    """
    adjusted = holm([np.nan if row["p"] is None else row["p"] for row in rows])
    return [{**row, "p_holm": _known(p)} for row, p in zip(rows, adjusted, strict=True)]


def holm(p: ArrayLike) -> list[float]:
    """Adjust probabilities of error for being many: Holm's step-down procedure; NaN stays, and does not count.

    Parameters
    ----------
    p : array_like, (m,)
        Of each test alone.

    Returns
    -------
    list of float, (m,)
        At most 5% of all such families have any true null hypothesis among those of 0.05 and less.

    References
    ----------
    Holm, 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    # p~_(i) = max over j <= i of min(1, (m - j + 1) p_(j))
    steps = np.minimum(1.0, values[order] * np.arange(len(order), 0, -1))
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.maximum.accumulate(steps)
    return [float(one) for one in adjusted]


Days = Mapping[str, str | None]
"""Of the datasets of a group, by task and algorithm as they stand in `Judgement.where`."""


def _groups(found: Sequence[Found]) -> list[tuple[Mapping[tuple[str, str], Found], Days]]:
    """Sort datasets so that those of one group are of one diagnostic and of different places.

    A further dataset of the same place is in a group of its own.
    """
    groups: dict[tuple[str, int], dict[tuple[str, str], Found]] = {}
    for one in found:
        at = 0
        while (one.task, one.algorithm) in groups.get((one.kind, at), {}):
            at += 1
        groups.setdefault((one.kind, at), {})[one.task, one.algorithm] = one
    return [(group, {f"{t}, {a}": one.measured for (t, a), one in group.items()}) for group in groups.values()]


def _row(one: Judgement, days: Days) -> dict[str, Any]:
    """Write a judgement as JSON values."""
    claim, parts = one.claim, one.where.split(", ")
    task, algorithm = (parts[0], parts[1]) if len(parts) > 1 else (None, None)
    # a contrast is of two tasks: the later of both days
    tasks = task.split(" against ") if task else []
    measured = [day for name in tasks if (day := days.get(f"{name}, {algorithm}"))]
    return {
        "id": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "task": task,
        "algorithm": algorithm,
        "where": ", ".join(parts[2:]) or None,
        "mark": one.mark.replace(" ", "_") if one.where else "not_tested",
        "value": _known(one.value),
        "low": _known(one.low),
        "high": _known(one.high),
        "seeds": one.seeds,
        "p": _known(one.p),
        "rule": claim.rule_in_words.replace("`", ""),
        "written": claim.written or None,
        "measured": max(measured) if measured else None,
    }


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def judge(claim: Claim, datasets: Datasets, others: Datasets | None = None) -> list[Judgement]:
    """Judge a claim wherever the data have its variable.

    Parameters
    ----------
    claim : Claim
        What is claimed.
    datasets : mapping
        By task and algorithm.
    others : mapping, optional
        What another diagnostic measured of the same agents: the other side of a relation.

    Returns
    -------
    list of Judgement
        One for each task and algorithm, or pair of them: each seed counts by its mean over the iterations. One for each
        agent and iteration, where the claim is of single ones.
    """
    datasets = {place: _of_agents(dataset) for place, dataset in datasets.items()}
    if claim.statistic == "relation":
        others = {place: _of_agents(dataset) for place, dataset in (others or {}).items()}
        return _relations(claim, datasets, others)
    if claim.statistic == "single":
        return [one for place, dataset in _meant(claim, datasets).items() for one in _singles(claim, place, dataset)]
    if claim.statistic == "study":
        return [one for place, dataset in _meant(claim, datasets).items() for one in _study(claim, place, dataset)]
    if claim.statistic == "contrast":
        return _contrasts(claim, datasets)
    if claim.statistic == "fraction":
        return _fractions(claim, datasets)
    found: list[Judgement] = []
    for (task, algorithm), dataset in _meant(claim, datasets).items():
        if claim.statistic == "change":
            before, after = (_values(claim, dataset, iteration) for iteration in claim.iterations)
            # seed by seed, so that what agents differ in throughout cancels
            both = [after[seed] - before[seed] for seed in before if seed in after]
            where = f"iterations {claim.iterations[0]} to {claim.iterations[1]}"
        else:
            both, where = _averaged(claim, dataset)
        found += _over_seeds(claim, f"{task}, {algorithm}, {where}", both)
    return found


def _averaged(claim: Claim, dataset: xr.Dataset) -> tuple[list[float], str]:
    """Return each seed's mean over the iterations that were measured, and which those are, in words."""
    rows = {iteration: row for iteration in claim.iterations if (row := _values(claim, dataset, iteration))}
    if not rows:
        return [], ""
    seeds = sorted({seed for row in rows.values() for seed in row})
    # a seed without a number at one of them has none: a mean over other iterations is another quantity
    means = [float(np.mean([row.get(seed, np.nan) for row in rows.values()])) for seed in seeds]
    there = list(rows)
    return means, f"iteration {there[0]}" if len(there) == 1 else f"mean of iterations {', '.join(map(str, there))}"


def _of_agents(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset of several agents, of one where a single one was measured."""
    whose = ["iteration", "agent_seed"]
    if "agent" in dataset.dims or not set(whose) <= set(dataset.coords):
        return dataset
    return dataset.reset_coords(whose).expand_dims("agent").set_coords(whose)


def _over_seeds(claim: Claim, where: str, values: Sequence[float]) -> list[Judgement]:
    """Judge the mean or the median over seeds; nothing where there is none, not known where none has a number."""
    known = _finite(values)
    if not values:
        return []
    if claim.statistic == "median" and known:
        p = float(stats.binomtest(int(np.sum(np.array(known) > claim.bound)), len(known)).pvalue)
        return [_mark(claim, where, _median(known), p=p, complete=_complete(values))]
    return [_mark(claim, where, _mean(known) if known else NOTHING, complete=_complete(values))]


def _contrasts(claim: Claim, datasets: Datasets) -> list[Judgement]:
    """Judge the difference of the means over seeds between two tasks, or between two algorithms on each task."""
    pairs: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {}
    if len(claim.tasks) == 2:
        one, other = claim.tasks
        for algorithm in sorted({algorithm for _, algorithm in datasets}):
            pairs[f"{one} against {other}, {algorithm}"] = (one, algorithm), (other, algorithm)
    else:
        one, other = claim.algorithms
        for task in dict.fromkeys(task for task, _ in datasets):
            pairs[f"{task}, {one} against {other}"] = (task, one), (task, other)
    found = []
    for names, pair in pairs.items():
        groups = [_averaged(claim, datasets[place]) for place in pair if place in datasets]
        if len(groups) == 2 and all(values for values, _ in groups):
            (left, where), (right, _) = groups
            numbers, complete = _contrast(_finite(left), _finite(right)), _complete(left) and _complete(right)
            found.append(_mark(claim, f"{names}, {where}", numbers, complete=complete))
    return found


def _fractions(claim: Claim, datasets: Datasets) -> list[Judgement]:
    """Judge how far a variable is on the way from one place in it to another: 0 at the first, 1 at the second."""
    found = []
    for (task, algorithm), dataset in _meant(claim, datasets).items():
        rows = [_averaged(replace(claim, where={**claim.where, **place}), dataset) for place in ({}, *claim.between)]
        if not all(values for values, _ in rows):
            continue
        values = np.array([row for row, _ in rows])
        known = values[:, np.isfinite(values).all(axis=0)]
        where, complete = f"{task}, {algorithm}, {rows[0][1]}", _complete(values)
        found.append(_mark(claim, where, _way(known) if known.shape[1] else NOTHING, complete=complete))
    return found


def _way(values: np.ndarray) -> Numbers:
    """Return ``(mean x - mean a) / (mean b - mean a)`` of (3, n), seeds last, and its interval: x, a, b by seed.

    No number where the two ends are not known to differ: the way from one to the other is nowhere then.
    """
    apart, n = _mean((values[2] - values[1]).tolist()), values.shape[1]
    if not (n >= FEWEST_SEEDS and (apart.low > 0 or apart.high < 0)):
        return NOTHING._replace(seeds=n)

    def fraction(x: np.ndarray) -> np.ndarray:
        return np.asarray((x[0] - x[1]) / (x[2] - x[1]))

    without = (values.sum(axis=1, keepdims=True) - values) / (n - 1)
    one = plain_jackknife(float(fraction(values.mean(axis=1))), fraction(without))
    return Numbers(one.value, one.low, one.high, n)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)]


def _complete(values: ArrayLike) -> bool:
    """Whether so few seeds lack a number that the others stand for all; seeds are the last axis."""
    # seeds that have a number are not any seeds: a claim is not judged on them where many have none
    known = np.isfinite(np.atleast_2d(values)).all(axis=0)
    return bool(np.mean(~known) <= MISSING)


def _meant(claim: Claim, datasets: Datasets) -> Datasets:
    """Leave out the datasets of tasks and algorithms that the claim is not about."""
    return {
        (task, name): data
        for (task, name), data in datasets.items()
        if (not claim.tasks or task in claim.tasks) and (not claim.algorithms or name in claim.algorithms)
    }


def _study(claim: Claim, place: tuple[str, str], dataset: xr.Dataset) -> list[Judgement]:
    """Judge a study's variable by its mean over seeds, and over all along that the claim does not name."""
    if claim.variable not in dataset:
        return []
    places = (claim.where, *({**claim.where, **other} for other in claim.against))
    if any(label not in dataset[dim].values for where in places for dim, label in where.items()):
        return []
    rows = [_over_the_rest(claim, dataset[claim.variable], where) for where in places]
    values = rows[0] - (np.mean(rows[1:], axis=0) if len(rows) > 1 else 0.0)
    known, named = values[np.isfinite(values)], f"{place[0]}, {place[1]}"
    if not len(known):
        return [_mark(claim, f"{named}, not known everywhere", NOTHING)]
    if f"{claim.variable}_without" in dataset and not claim.against:  # seeds that choose for one another
        without = _over_the_rest(claim, dataset[f"{claim.variable}_without"], claim.where)
        one = plain_jackknife(float(values.mean()), without)
        numbers = Numbers(one.value, one.low, one.high, len(known))
    else:
        numbers = _mean(known.tolist())
    return [_mark(claim, named, numbers, complete=_complete(values.tolist()))]


def _over_the_rest(claim: Claim, data: xr.DataArray, where: Mapping[str, Any]) -> np.ndarray:
    """Return a study's variable at a place by seed, mean over what is not named."""
    values = data.sel(dict(where)).transpose("regime_seed", ...).values
    flat = values.reshape(len(values), -1)
    return np.asarray((np.log(flat) if claim.log else flat).mean(axis=1))


def _relations(claim: Claim, datasets: Datasets, others: Datasets) -> list[Judgement]:
    """Judge by the rank correlation over seeds, mean over iterations, of two quantities of the same agents."""
    beside = replace(claim, against=(), **{"size": None, "where": {}, **claim.beside})
    found = []
    for place, dataset in _meant(claim, datasets).items():
        if place not in others:
            continue
        rows = [[_values(one, data, iteration) for iteration in claim.iterations] for one, data in (
            (claim, dataset), (beside, others[place])
        )]  # fmt: skip
        both = np.concatenate(common(*rows))
        first, second = np.split(both[:, np.isfinite(both).all(axis=0)], 2)
        if first.shape[1] > 2:
            what = rank_relation(first, second)
            numbers, where = Numbers(what.value, what.low, what.high, first.shape[1]), f"{place[0]}, {place[1]}"
            p = relation_chance(first, second, claim.bound)
            found.append(_mark(claim, where, numbers, fewest=FEWEST_RELATED, complete=_complete(both), p=p))
    return found


def _singles(claim: Claim, place: tuple[str, str], dataset: xr.Dataset) -> list[Judgement]:
    """Return each agent's own variable with its interval, which decides nothing; what is subtracted counts as known."""
    names = [f"{claim.variable}{end}" for end in ("", "_low", "_high")]
    places = [{"variable": name, **claim.where} for name in names]
    places += [{"variable": claim.variable, **claim.where, **other} for other in claim.against]
    columns = [values for values in (_at(claim, dataset, where) for where in places) if values is not None]
    if len(columns) < len(places):
        return []
    # less the mean of what it is compared with; the ends of the interval move along
    taken = np.mean(columns[3:], axis=0) if claim.against else np.zeros(len(columns[0]))
    labels = zip(dataset["iteration"].values.tolist(), dataset["agent_seed"].values.tolist(), strict=True)
    found = []
    for at, (iteration, seed) in enumerate(labels):
        value, low, high = (float(column[at] - taken[at]) for column in columns[:3])
        if iteration in claim.iterations:  # also one without a number: those that have one are not any agents
            where = f"{place[0]}, {place[1]}, iteration {iteration}, seed {seed}"
            found.append(Judgement(claim, where, value, low, high, 1, np.nan, "not enough data"))
    return found


def _values(claim: Claim, dataset: xr.Dataset, iteration: int) -> dict[int, float]:
    """Return what a claim is about at one iteration by seed; not finite for those that have none."""
    chosen = dataset["iteration"].values == iteration
    own = _at(claim, dataset, {"variable": claim.variable, **claim.where})
    others = [_at(claim, dataset, {"variable": claim.variable, **claim.where, **other}) for other in claim.against]
    if own is None or any(other is None for other in others):
        return {}
    values = own[chosen] - (np.mean([other[chosen] for other in others if other is not None], axis=0) if others else 0)
    seeds = dataset["agent_seed"].values[chosen].tolist()
    return {seed: float(value) for seed, value in zip(seeds, values, strict=True)}


def _at(claim: Claim, dataset: xr.Dataset, place: Mapping[str, Any]) -> np.ndarray | None:
    """Return a variable at a place by agent, its logarithm where the claim says so; None where the data lack it."""
    where = dict(place)
    name = where.pop("variable")
    if name not in dataset:
        return None
    data = dataset[name]
    if any(label not in dataset[dim].values for dim, label in where.items() if dim in data.dims):
        return None
    data = data.sel({dim: label for dim, label in where.items() if dim in data.dims}).astype(np.float64)
    if claim.log:
        with np.errstate(divide="ignore", invalid="ignore"):
            data = np.log(data)
    dim = next((str(dim) for dim in data.dims if str(dim).endswith("size")), None)
    if dim is not None and claim.size is not None:
        sizes = claim.size if isinstance(claim.size, tuple) else (claim.size,)
        if not set(sizes) <= set(dataset[dim].values.tolist()):
            return None
        parts = [data.sel({dim: size}) for size in sizes]
        data = parts[0] if len(parts) == 1 else parts[1] - parts[0]
    return np.asarray(data.values)


def _mean(values: Sequence[float]) -> Numbers:
    """Return a mean over seeds with its interval, Student's t, and the number of seeds."""
    n = len(values)
    if n < 2:
        return Numbers(float(np.mean(values)), np.nan, np.nan, n)
    # Student's t over seeds
    reach = float(t_quantile(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Numbers(float(np.mean(values)), float(np.mean(values)) - reach, float(np.mean(values)) + reach, n)


def _median(values: Sequence[float]) -> Numbers:
    """Return a median over seeds with the interval of the sign test, which fewer than six seeds have not."""
    # the sign test's interval: order statistics, whatever the distribution
    interval: Any = stats.quantile_test(values, p=0.5).confidence_interval()
    return Numbers(float(np.median(values)), float(interval.low), float(interval.high), len(values))


def _contrast(left: Sequence[float], right: Sequence[float]) -> Numbers:
    """Return a difference of two means with its interval, Welch's t, and the seeds of the smaller group."""
    if not (left and right):
        return NOTHING
    value, n = float(np.mean(left) - np.mean(right)), min(len(left), len(right))
    if n < 2:
        return Numbers(value, np.nan, np.nan, n)
    test = stats.ttest_ind(left, right, equal_var=False)
    interval = test.confidence_interval()
    return Numbers(value, float(interval.low), float(interval.high), n, float(test.df))


def _mark(
    claim: Claim,
    where: str,
    numbers: Numbers,
    *,
    fewest: int = FEWEST_SEEDS,
    complete: bool = True,
    p: float | None = None,
) -> Judgement:
    """Decide by the rule; p is that of the t whose interval this is, where it is not given."""
    value, low, high, seeds, freedom = numbers
    # seeds that are all equal have an interval of no width: their side of the bound alone decides
    if p is None and high - low <= 1e-9 * abs(value):
        fewest, p = max(fewest, FEWEST_EQUAL), 2.0 ** (1 - seeds) if value != claim.bound else 1.0
        low, high = (low, high) if seeds >= FEWEST_EQUAL else (np.nan, np.nan)
    if p is None:
        freedom = seeds - 1 if freedom is None else freedom
        with np.errstate(divide="ignore", invalid="ignore"):
            # |m - b| / se, where the interval reaches t_0.975 se to either side
            t = abs(value - claim.bound) / ((high - low) / 2 / t_quantile(0.975, freedom))
        p = float(2 * t_probability(-t, freedom))
    inside, outside = (high < claim.bound, low > claim.bound)
    if claim.rule == "above":
        inside, outside = outside, inside
    known = seeds >= fewest and complete
    mark: Mark = "holds" if known and inside else "does not hold" if known and outside else "not enough data"
    return Judgement(claim, where, value, low, high, seeds, p, mark)
