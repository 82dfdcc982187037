"""Coverage of what is measured of policies that moved: updates, landscapes, and studies of sample regimes.

Measurements of parts of one pool, as in `chain_coverage`, which see.
"""

from collections.abc import Mapping

import numpy as np

import chain
from chain import STEPS, WRONG
from chain_streams import Streams, sample
from closerlook.diagnostics.common.layout import Findings
from closerlook.diagnostics.landscape import findings as landscape
from closerlook.diagnostics.trust_region.findings import SHARES, SKEWED, over_known
from closerlook.diagnostics.trust_region.step_settings import fraction_worse
from closerlook.statistics.estimates import Interval, agreement, mean_interval, mean_share
from closerlook.statistics.mean_returns import mean_returns, paired_gains, pairing_gain
from closerlook.statistics.surfaces import (
    best_point,
    correlation,
    noise_fraction,
    rank_correlation,
    sign_agreement,
    stream_surfaces,
)
from closerlook.studies.sample_regime import MEANS, Regimes, mean_of, rewards_of
from coverage_page import EACH, OWN_LAMBDA, PARTS, UPDATES, Measured, parts_of

LENGTHS = (0.05, 0.15, 0.5)
"""Of steps: mean divergences of about 0.05, 0.4 and 2.5, the last with nearly all ratios clipped."""
ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))


def updates(noise: float) -> Measured:
    """Measure averages over few updates: steps of three lengths along an estimate of the gradient, from two streams."""
    streams = sample(PARTS * UPDATES * 2, noise, 6)
    rng, gains, parts = np.random.default_rng(9), [], []
    for at in range(PARTS):
        each = [streams[2 * one : 2 * one + 2] for one in range(at * UPDATES, (at + 1) * UPDATES)]
        found: list[dict[str, Interval]] = []
        for length in LENGTHS:
            rows = [_step(own, noise, length) for own in each]
            columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
            gains.append(columns.pop("gain"))
            measured = gains[-1] + 0.1 * rng.standard_normal(UPDATES)
            found.append({
                **{f"average of {name}": _average(name, column) for name, column in columns.items()},
                "mean_multiple_gain": over_known(measured, np.ones(UPDATES, bool)),
                "fraction_worse": fraction_worse(measured),
            })  # fmt: skip
        parts.append(_rows(found))
    mean_gain = np.mean(np.reshape(gains, (PARTS, len(LENGTHS), UPDATES)), axis=(0, 2))
    return Measured(parts, {"mean_multiple_gain": mean_gain})


def _average(name: str, values: np.ndarray) -> Interval:
    return mean_share(values) if name in SHARES else mean_interval(values, skewed=name in SKEWED)


def _step(own: Streams, noise: float, length: float) -> dict[str, float]:
    """Take one step from two streams, and look at it there; its gain is exact."""
    chances = chain.policy()
    advantages = own.advantages(WRONG.astype(float), OWN_LAMBDA)
    advantages = advantages - advantages.mean()
    step = length * own.score_sums(advantages).sum(axis=0) / np.sqrt(noise**2 + 1)
    moved = chances * np.exp(chain.scores() @ step)
    moved /= moved.sum(axis=1, keepdims=True)
    ratios = (moved / chances)[own.states, own.actions]
    kl = (chances * np.log(chances / moved)).sum(axis=1)[own.states]
    return {
        "max_ratio": ratios.max(),
        "mean_kl_batch": kl.mean(),
        "max_kl_batch": kl.max(),
        "clip_fraction": (np.abs(ratios - 1) > 0.2).mean(),
        "update_norm": float(np.linalg.norm(step)),
        "surrogate_rise": (ratios * advantages).mean(),
        "gain": chain.mean_episode_return(moved) - chain.mean_episode_return(chances),
    }


def _rows(found: list[dict[str, Interval]]) -> Findings:
    """Lay intervals of several settings out by name."""
    each = [_found(one) for one in found]
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def _found(intervals: Mapping[str, Interval]) -> Findings:
    return {f"{name}{end}": np.array(getattr(one, field)) for name, one in intervals.items() for end, field in ENDS}


POINTS = np.linspace(-1.0, 2.0, 7)
"""Multiples of a step, the agent itself among them."""
AGENT = 2


def _promised(own: Streams, moved: np.ndarray) -> Interval:
    """Return what the plain surrogate of held-out pairs predicts of a policy, in units of episode return."""
    advantages = own.advantages(WRONG.astype(float), OWN_LAMBDA)
    ratios = (moved / chain.policy())[own.states, own.actions]
    episodes = own.episodes()[0].size
    return landscape._times(landscape._mean(((ratios - 1) * advantages).mean(axis=1)), len(own) * STEPS / episodes)


def surfaces(noise: float) -> Measured:
    """Measure rewards along a step, on common random numbers, against surrogates with and without noise."""
    step = chain.exact(chain.monte_carlo_returns(0.0), 0.0).gradient
    odds = [chain.policy() * np.exp(4 * multiple * chain.scores() @ step / np.linalg.norm(step)) for multiple in POINTS]
    tables = [one / one.sum(axis=1, keepdims=True) for one in odds]
    exact = np.array([chain.mean_episode_return(table) for table in tables])
    rise = np.sin(1.2 * POINTS) + 0.3 * POINTS
    pools = [parts_of(sample(PARTS * EACH, noise, 7, table)) for table in tables]
    lowest = [
        landscape.lower_tail(np.concatenate([one.episodes()[0] for one in pool]), landscape.TAIL) for pool in pools
    ]
    rng, parts = np.random.default_rng(8), []
    for at in range(PARTS):
        rows = [pool[at].episodes() for pool in pools]
        sums = np.stack([[np.bincount(stream, value**k, EACH) for value, stream in rows] for k in (1, 0, 2)])
        listing = [np.concatenate(column) for column in zip(*rows, strict=True)]
        whose = np.repeat(np.arange(len(POINTS)), [len(value) for value, _ in rows])
        listed = {
            "episode_return": listing[0],
            "episode_stream": listing[1],
            "episode_policy": whose,
            "returns": sums[0],
        }
        gains, own = paired_gains(sums[0], sums[1], AGENT), stream_surfaces(sums[0], sums[1])
        tails = [landscape._tail_parts(listed, point, EACH) for point in range(len(POINTS))]
        others = rise + 2.0 * rng.standard_normal((EACH, len(POINTS)))
        best, candidates = best_point(own)
        means = {
            "line_reward": mean_returns(*sums),
            "line_gain": gains,
            "crn_variance_reduction": pairing_gain(sums[0], sums[1], AGENT),
        }
        found = {f"{name}{end}": getattr(one, field) for name, one in means.items() for end, field in ENDS}
        inside = POINTS[candidates]
        found |= _found({
            "correlation": correlation(own, rise),
            "correlation with held-out pairs": correlation(own, others),
            "rank_correlation": rank_correlation(own, rise),
            "sign_agreement": sign_agreement(gains, rise - rise[AGENT]),
            "noise_fraction": noise_fraction(own, 4),
            "best_step": Interval(POINTS[best], inside.min(), inside.max()),
            "predicted_improvement of held-out pairs": _promised(pools[AGENT][at], tables[-1]),
        })  # fmt: skip
        tail = [landscape.tail_interval(one) for one in tails]
        gained = [landscape._tail_gain(one, tails[AGENT]) for one in tails]
        for name, row in (("line_lower_tail", tail), ("line_tail_gain", gained)):
            found |= {f"{name}{end}": np.array([getattr(one, field) for one in row]) for end, field in ENDS}
        parts.append(found)
    alike = np.sign(exact - exact[AGENT]) == np.sign(rise - rise[AGENT])
    known = {
        "line_reward": exact,
        "line_gain": exact - exact[AGENT],
        "line_lower_tail": np.array(lowest),
        "line_tail_gain": np.array(lowest) - lowest[AGENT],
        "correlation": np.corrcoef(exact, rise)[0, 1],
        "correlation with held-out pairs": np.corrcoef(exact, rise)[0, 1],
        "sign_agreement": alike[np.arange(len(POINTS)) != AGENT].mean(),
        "best_step": POINTS[exact.argmax()],
    }
    return Measured(parts, {name: np.array(value) for name, value in known.items()})


SEEDS = 8
BATCH = 4
"""Streams of a window of a seed's learning curve."""


def studies(noise: float) -> Measured:
    """Measure means over seeds whose rewards rise along the step, and fall beyond; seeds differ in talent."""
    step = chain.exact(chain.monte_carlo_returns(0.0), 0.0).gradient
    odds = [chain.policy() * np.exp(4 * multiple * chain.scores() @ step / np.linalg.norm(step)) for multiple in POINTS]
    curve = [
        sample(PARTS * SEEDS * BATCH, noise, 30 + at, one / one.sum(1, keepdims=True)) for at, one in enumerate(odds)
    ]
    regimes = Regimes("hopper", (STEPS * BATCH,), (1e-3,), SEEDS, STEPS * BATCH * len(POINTS))
    steps = np.repeat(STEPS * BATCH * np.arange(1, len(POINTS) + 1), SEEDS)
    rng, parts = np.random.default_rng(10), []
    for at in range(PARTS):
        talent = 0.3 * rng.standard_normal(SEEDS)
        windows = [_seed_means(window[at * SEEDS * BATCH : (at + 1) * SEEDS * BATCH]) for window in curve]
        log = {
            "environment_steps": steps,
            "agent_seed": np.tile(np.arange(SEEDS), len(POINTS)),
            "episodes": np.concatenate([episodes for _, episodes in windows]),
            "mean_reward": np.concatenate([means + talent for means, _ in windows]),
        }
        own = curve[AGENT][at * SEEDS * BATCH : (at + 1) * SEEDS * BATCH]
        sums = own.score_sums(own.advantages(WRONG.astype(float), OWN_LAMBDA)).reshape(SEEDS, BATCH, -1)
        found = rewards_of(log, regimes) | {"regime_cosine": np.array([agreement(one).cosine.value for one in sums])}
        means = {f"{name}_mean": mean_of(found[name], found.get(f"{name}_without")) for name in MEANS}
        parts.append(_found(means))
    return Measured(parts, {})


def _seed_means(window: Streams) -> tuple[np.ndarray, np.ndarray]:
    """Return each seed's mean episode return, and how many episodes that is of: (SEEDS,) each."""
    returns, stream = window.episodes()
    totals, episodes = (np.bincount(stream // BATCH, weights, SEEDS) for weights in (returns, None))
    return totals / episodes, episodes
