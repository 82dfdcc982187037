"""Every number of a landscape, by the schema's names, from what its jobs added up.

====== ==========================================
symbol meaning
====== ==========================================
G1, G2 points along the two axes
P      points of the plane, G1 G2
L      points of the line
S      streams of each point
K      streams of the held-out pairs
====== ==========================================
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.rewards import reward_unit
from closerlook.algorithms.rules import climbed_surrogate, rule_of
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.diagnostics.common.layout import Findings, interval, intervals
from closerlook.diagnostics.landscape.plan import Plan
from closerlook.measurements.episode_returns import LISTED, SUMS, exploded, unfinished
from closerlook.statistics.estimates import (
    FEWEST,
    NOTHING,
    Interval,
    mean_interval,
    skewed_jackknife,
    without_bias,
)
from closerlook.statistics.mean_returns import Means, gain_freedom, lower_tail, mean_returns, paired_gains, pairing_gain
from closerlook.statistics.student import t_probability, t_quantile
from closerlook.statistics.surfaces import (
    MOST_GROUPS,
    best_point,
    correlation,
    noise_fraction,
    rank_correlation,
    sign_agreement,
    stream_surfaces,
)

PAIRS_OF = ("batch", "heldout")
"""Whose pairs a surrogate is evaluated on: the step's own, or others."""
REGIONS = ("plane", "line")
TAIL = 0.05
FEWEST_OF_A_TAIL, FEWEST_FOR_ENDS = 20, 200
"""Episodes below which no tail is told, as it would be a part of a single one, and below which it has no interval."""
BUDGETS = (1, 10, 50, 500)
"""Streams of a point: 2,048, 20,480, about 1e5 and 1e6 pairs in the paper's regime, as its Figures 5, 6 and 7."""


@dataclass(frozen=True)
class Surfaces:
    """What the jobs of one agent answered.

    Parameters
    ----------
    batch, heldout : mapping
        Of `closerlook.measurements.surfaces.sample_surrogates`, the plane's points, then the line's.
    plane, line : mapping
        Sums over episodes, see `closerlook.measurements.episode_returns.sample_returns`.
    """

    batch: Mapping[str, np.ndarray]
    heldout: Mapping[str, np.ndarray]
    plane: Mapping[str, np.ndarray]
    line: Mapping[str, np.ndarray]

    @property
    def heldout_streams(self) -> np.ndarray:
        """Surrogates of each stream of the held-out pairs alone, (3, K, points)."""
        return self.heldout["stream_surrogates"]


def landscape_findings(agent: Agent, plan: Plan, surfaces: Surfaces | None) -> Findings:
    """Work out everything of one agent; NaN where its step leads nowhere.

    Parameters
    ----------
    agent : Agent
        Whose landscape.
    plan : Plan
        What was asked.
    surfaces : Surfaces or None
        What was found; None for a step that leads nowhere.
    """
    counts = _gone(surfaces)
    surfaces = _blank(plan) if surfaces is None else surfaces
    own = _own_surrogate(agent, plan)
    plane_size = len(plan.plane)
    parts = {
        "plane": np.stack([part["surrogates"][:, :plane_size] for part in (surfaces.batch, surfaces.heldout)]),
        "line": np.stack([part["surrogates"][:, plane_size:] for part in (surfaces.batch, surfaces.heldout)]),
    }
    sums = {"plane": surfaces.plane, "line": surfaces.line}
    origin = {"plane": _origin(plan.plane), "line": _origin(plan.line_points)}
    # reward less that at the agent itself, stream by stream where draws are shared
    gains = {
        where: paired_gains(sums[where]["returns"], sums[where]["episodes"], origin[where], paired=plan.paired)
        for where in REGIONS
    }
    heldout = {"plane": surfaces.heldout_streams[own, :, :plane_size]}
    heldout["line"] = surfaces.heldout_streams[own, :, plane_size:]
    both = {where: (parts[where][0, own], heldout[where]) for where in REGIONS}
    rises = {where: (_rise(one, origin[where]), _rise(other, origin[where])) for where, (one, other) in both.items()}
    found = _plane(plan, surfaces.plane, gains["plane"]) | _line(plan, surfaces.line, gains["line"])
    found |= _surrogates(plan, parts, own)
    found |= _agreement(origin, sums, gains, rises)
    kl = surfaces.batch["mean_kl"]
    found |= {"point_mean_kl": kl[:plane_size].reshape(_shape(plan)), "line_mean_kl": kl[plane_size:]}
    nulls = np.stack([part["clip_null"] for part in (surfaces.batch, surfaces.heldout)])
    found |= {"plane_clip_null": nulls[:, :plane_size].reshape(-1, *_shape(plan))}
    found |= {"line_clip_null": nulls[:, plane_size:]}
    found |= _step(agent, plan, surfaces, parts["line"])
    return found | _prediction(agent, plan, surfaces, parts["line"], gains["line"]) | counts


def _rise(surrogates: np.ndarray, origin: int) -> np.ndarray:
    """Return how much higher surrogates (..., points) are than at the agent itself."""
    return np.asarray(surrogates - surrogates[..., [origin]])


def _gone(surfaces: Surfaces | None) -> Findings:
    """Count the points whose reward is not known, by what became of them; none where nothing was looked at."""
    counts = {
        f"{fate.__name__}{place}": 0 if surfaces is None else int(fate(getattr(surfaces, where)).sum())
        for fate in (exploded, unfinished)
        for where, place in (("plane", "_points"), ("line", "_line_points"))
    }
    return {name: np.array(count) for name, count in counts.items()}


def _own_surrogate(agent: Agent, plan: Plan) -> int:
    """Return which surrogate is climbed, by its place."""
    return climbed_surrogate(agent, rule_of(agent, plan.options.algorithm))


def _origin(points: np.ndarray) -> int:
    return int(np.flatnonzero((points == 0).all(axis=1))[0])


def _shape(plan: Plan) -> tuple[int, int]:
    first, second = plan.multiples
    return len(first), len(second)


def _laid_out(name: str, means: Means, shape: tuple[int, ...]) -> Findings:
    """Lay out numbers of all points, with their intervals."""
    ends = {"": means.value, "_low": means.low, "_high": means.high}
    return {f"{name}{end}": np.asarray(values).reshape(shape) for end, values in ends.items()}


def _plane(plan: Plan, sums: Mapping[str, np.ndarray], gains: Means) -> Findings:
    shape = _shape(plan)
    rewards = mean_returns(sums["returns"], sums["episodes"], sums["squares"])
    by_budget = []
    # the first streams of a large budget are those of a smaller one
    for streams in budgets(plan):
        part = {name: sums[name][:, :streams] for name in ("returns", "episodes", "squares")}
        by_budget.append(mean_returns(part["returns"], part["episodes"], part["squares"]))
    together = Means(*(np.array([getattr(one, end) for one in by_budget]) for end in ("value", "low", "high")))
    return {
        **_laid_out("true_reward", rewards, shape),
        **_laid_out("reward_gain", gains, shape),
        **_laid_out("reward_at_budget", together, (len(by_budget), *shape)),
        "episodes_per_point": sums["episodes"].sum(axis=1).reshape(shape),
    }


def budgets(plan: Plan) -> list[int]:
    """Return the smaller budgets of a point that its streams hold, and its own, in streams."""
    return sorted({streams for streams in BUDGETS if streams < plan.plane_streams} | {plan.plane_streams})


def _line(plan: Plan, sums: Mapping[str, np.ndarray], gains: Means) -> Findings:
    rewards = mean_returns(sums["returns"], sums["episodes"], sums["squares"])
    shape = (len(plan.line),)
    origin = _origin(plan.line_points)
    nothing = Means(*(np.full(shape, np.nan) for _ in range(3)))
    saved = pairing_gain(sums["returns"], sums["episodes"], origin) if plan.paired else nothing
    points = range(len(plan.line))
    tails = [_tail_parts(sums, point, plan.line_streams) for point in points]
    return {
        "line_episode_length": _lengths(sums),
        **_laid_out("line_reward", rewards, shape),
        **_laid_out("line_gain", gains, shape),
        **_laid_out("crn_variance_reduction", saved, shape),
        **intervals("line_lower_tail", [tail_interval(tail) for tail in tails]),
        **intervals("line_tail_gain", [_tail_gain(tail, tails[origin]) for tail in tails]),
    }


def _lengths(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the mean steps of an episode of each point."""
    count = sums["episodes"].sum(axis=1)
    return np.asarray(sums["steps"].sum(axis=1) / np.where(count > 0, count, np.nan))


@dataclass(frozen=True)
class Tail:
    """The mean of the lowest returns at a point.

    Parameters
    ----------
    value : float
        Less its bias.
    without : ndarray, (G,)
        As it is without each group of streams in turn.
    freedom : int
        Episodes of the tail, or groups if fewer, less one: groups that hold none of the tail say nothing of its spread.
    """

    value: float
    without: np.ndarray
    freedom: int


def _tail_parts(sums: Mapping[str, np.ndarray], point: int, streams: int) -> Tail:
    """Return the mean of the lowest returns at a point; NaN where an episode, or a stream, of it is not known.

    The lowest of few returns are not low enough: a bias of order 1 over the episodes, which the jackknife takes off.
    """
    mine = sums["episode_policy"] == point
    values, stream = sums["episode_return"][mine], sums["episode_stream"][mine]
    groups = min(streams, MOST_GROUPS)
    unknown = np.full(groups, np.nan)
    # those that exploded on some streams list none there
    if not np.isfinite(sums["returns"][point]).all() or len(values) < FEWEST_OF_A_TAIL:
        return Tail(np.nan, unknown, 0)
    # a quantile's mean is biased by the order of 1/n: taken off by the jackknife over groups of streams
    tail, group = lower_tail(values, TAIL), stream.astype(np.int64) * groups // streams
    without = np.array([lower_tail(values[group != one], TAIL) for one in range(groups)])
    debiased = without_bias(tail, without) if groups >= FEWEST else tail
    # only the episodes in the tail vary it: they are its degrees of freedom
    freedom = min(int(np.ceil(TAIL * len(values))), groups) - 1
    return Tail(debiased, without if len(values) >= FEWEST_FOR_ENDS else unknown, freedom)


def tail_interval(tail: Tail) -> Interval:
    """Return the mean of the lowest returns with its jackknife interval."""
    return skewed_jackknife(tail.value, tail.without, freedom=tail.freedom)


def _tail_gain(tail: Tail, base: Tail) -> Interval:
    """Return how much higher a tail is than the agent's: equal groups of streams are left out of both at once."""
    return tail_interval(Tail(tail.value - base.value, tail.without - base.without, min(tail.freedom, base.freedom)))


def _surrogates(plan: Plan, parts: Mapping[str, np.ndarray], own: int) -> Findings:
    shape = _shape(plan)
    plane = parts["plane"].reshape(len(PAIRS_OF), len(SURROGATES), *shape)
    return {
        "surrogate": plane[0, own],
        "surrogates": plane,
        "line_surrogates": parts["line"],
        "surrogate_kind": np.array(own),
    }


def _agreement(
    origin: Mapping[str, int],
    sums: Mapping[str, Mapping[str, np.ndarray]],
    gains: Mapping[str, Means],
    rises: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Findings:
    """Compare surrogate and reward over plane and line: each statistic over (region, pairs_of)."""
    shape = (len(REGIONS), len(PAIRS_OF))
    signs, decided, points = [], [], []
    ranks: list[Interval] = []
    linear: list[Interval] = []
    for where in REGIONS:
        usable = _usable(sums[where])
        for rise in rises[where]:  # of the batch (points,), as it is; of other pairs (K, points), one draw of them
            known = usable & np.isfinite(np.atleast_2d(rise)).all(axis=0)
            # one surface for each stream of draws, whose mean is the measured one: what varies between them is its
            # noise
            surfaces = stream_surfaces(sums[where]["returns"][known], sums[where]["episodes"][known])
            some, sure = known.sum() >= FEWEST, rise.ndim == 1 or len(rise) >= FEWEST
            signs.append(sign_agreement(gains[where], rise if rise.ndim == 1 else _means(rise)))
            rank = rank_correlation(surfaces, rise[..., known]) if some else NOTHING
            ranks.append(rank if sure else Interval(rank.value, np.nan, np.nan))
            linear.append(correlation(surfaces, rise[..., known]) if some and sure else NOTHING)
            points.append(int(known.sum()))
        decided.append(_decided(gains[where], origin[where]))
    return {
        **intervals("sign_agreement", signs, shape),
        **intervals("rank_correlation", ranks, shape),
        **intervals("correlation", linear, shape),
        **_relief(sums["plane"]),
        "fraction_significant": np.array(decided),
        "agreement_points": np.array(points).reshape(shape),
    }


def _usable(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return at which points the mean return is known."""
    return np.asarray(np.isfinite(sums["returns"]).all(axis=1) & (sums["episodes"].sum(axis=1) > 0))


def _means(rows: np.ndarray) -> Means:
    """Return the mean of independent rows (K, points) with its interval, at each point."""
    found = [_mean(column) for column in rows.T]
    return Means(*(np.array([getattr(one, end) for one in found]) for end in ("value", "low", "high")))


def _decided(gains: Means, origin: int) -> float:
    """Return the share of points, other than the agent itself, whose gain is above or below zero for certain."""
    others = np.isfinite(gains.value) & (np.arange(len(gains.value)) != origin)
    # the 95% interval lies on one side of zero
    sure = (gains.low > 0) | (gains.high < 0)
    return float(sure[others].mean()) if others.any() else np.nan


def _relief(sums: Mapping[str, np.ndarray]) -> Findings:
    """Return how much of the plane would be noise at each of the usual budgets, own streams or not."""
    usable = _usable(sums)
    if usable.sum() < FEWEST:
        return intervals("noise_fraction", [NOTHING] * len(BUDGETS))
    # the plane's own points, for every usual budget: noise falls as one over the streams
    surfaces = stream_surfaces(sums["returns"][usable], sums["episodes"][usable])
    return intervals("noise_fraction", [noise_fraction(surfaces, streams) for streams in BUDGETS])


def _step(agent: Agent, plan: Plan, surfaces: Surfaces, surrogates: np.ndarray) -> Findings:
    """Return where surrogate and reward peak along the first axis."""
    sums, line = surfaces.line, plan.line
    usable = np.flatnonzero(_usable(sums))
    found = {"best_step": np.nan, "best_step_low": np.nan, "best_step_high": np.nan}
    if len(usable):
        rows = stream_surfaces(sums["returns"][usable], sums["episodes"][usable])
        best, candidates = best_point(rows, paired=plan.paired)
        # multiples that no other is significantly above
        maybe = line[usable][candidates]
        found = {"best_step": line[usable][best], "best_step_low": maybe.min(), "best_step_high": maybe.max()}
    numbers = {name: np.array(value, np.float64) for name, value in found.items()}
    peaks = [_peak(line, rise) for rise in surrogates[:, _own_surrogate(agent, plan)]]
    return numbers | {"surrogate_best_step": np.array(peaks)}


def _peak(line: np.ndarray, rise: np.ndarray) -> float:
    finite = np.isfinite(rise)
    return float(line[finite][np.argmax(rise[finite])]) if finite.any() else np.nan


def _prediction(agent: Agent, plan: Plan, surfaces: Surfaces, surrogates: np.ndarray, gains: Means) -> Findings:
    """Return what the whole step predicts, in units of episode return, what came of it, and what others predict."""
    whole = np.flatnonzero((plan.line == 1.0) & (plan.options.axes[0] == "step"))
    if not whole.size:
        return {
            **intervals("full_update_predicted_improvement", [NOTHING] * len(PAIRS_OF)),
            **interval("full_update_realized_improvement", NOTHING),
            **interval("heldout_improvement_ratio", NOTHING),
            "probability_worse": np.array(np.nan),
        }
    at, origin, sums = int(whole[0]), _origin(plan.line_points), surfaces.line
    plain, normalized = SURROGATES.index("plain"), SURROGATES.index("normalized")
    # mean steps of an episode: a gain per pair, times the pairs of an episode, is a gain per episode to first order
    # (performance difference lemma, Kakade and Langford, 2002)
    length = _lengths(sums)[origin]
    on_batch = surrogates[0, :, at] - surrogates[0, :, origin]
    others = surfaces.heldout_streams[:, :, len(plan.plane) :]
    others = others[:, :, at] - others[:, :, origin]
    # rise on held-out pairs over the rise on the step's own, where that is a rise
    per_rise = 1 / on_batch[normalized] if on_batch[normalized] > 0 else np.nan
    predicted = Interval(float(on_batch[plain]), np.nan, np.nan), _mean(others[plain])
    gain = Interval(float(gains.value[at]), float(gains.low[at]), float(gains.high[at]))
    freedom = gain_freedom(sums["returns"], sums["episodes"], origin, paired=plan.paired)
    return {
        **intervals(
            "full_update_predicted_improvement", [_times(one, reward_unit(agent) * length) for one in predicted]
        ),
        **interval("full_update_realized_improvement", gain),
        **interval("heldout_improvement_ratio", _times(_mean(others[normalized]), per_rise)),
        "probability_worse": np.array(_chance_below_zero(gain, float(freedom[at]))),
    }


def _mean(values: np.ndarray) -> Interval:
    """Return the mean of streams with its interval; NaN where one of them is not finite."""
    return mean_interval(values) if np.isfinite(values).all() else NOTHING


def _times(one: Interval, factor: float) -> Interval:
    """Multiply by what is not negative."""
    return Interval(one.value * factor, one.low * factor, one.high * factor)


def _chance_below_zero(gain: Interval, freedom: float) -> float:
    """Return the chance of a loss, given the mean and interval of a gain: Student's t, no gain preferred before."""
    reach = gain.value - gain.low
    if reach == 0 and gain.value != 0:
        return float(gain.value < 0)
    if not reach > 0:
        return np.nan
    # P(gain < 0) = F_t(-gain / s), s from the interval's half length t s
    error = reach / t_quantile(0.975, freedom)
    return float(t_probability(-gain.value / error, freedom))


def _blank(plan: Plan) -> Surfaces:
    """Return answers of which nothing is known."""
    sizes = ((len(plan.plane), plan.plane_streams), (len(plan.line), plan.line_streams))
    plane, line = (
        {name: np.full(size, np.nan) for name in SUMS} | {name: np.empty(0) for name in LISTED} for size in sizes
    )
    points = len(plan.plane) + len(plan.line)
    none = {name: np.full(points, np.nan) for name in ("mean_kl", "clip_null")}
    none["surrogates"] = np.full((len(SURROGATES), points), np.nan)
    none["stream_surrogates"] = np.full((len(SURROGATES), FEWEST, points), np.nan)
    return Surfaces(none, none, plane, line)
