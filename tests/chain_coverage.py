"""How often printed intervals hold the exact answer: 400 disjoint parts of one pool of streams of the chain.

`python tests/chain_coverage.py` writes the page in docs/development from what it measures.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import chain
import chain_streams
from chain import GAMMA, STATES, STEPS, WRONG
from chain_streams import Streams, block_sums, gradient_answer, sample
from closerlook.diagnostics.common.layout import Found
from closerlook.diagnostics.gradients.alternatives import alternatives, weightings
from closerlook.diagnostics.gradients.findings import find
from closerlook.diagnostics.gradients.steps import find_steps
from closerlook.diagnostics.landscape import findings as landscape
from closerlook.diagnostics.trust_region.findings import NEVER_NEGATIVE
from closerlook.diagnostics.values.audit import Judged, audit, audit_restarts, audit_training
from closerlook.diagnostics.values.baselines import BATCHES, compare_baselines, sweep_lambdas
from closerlook.measurements.pooled import Pooled
from closerlook.measurements.stream_sums import Question
from closerlook.measurements.value_sums import ValueQuestion
from closerlook.measurements.weightings import Weighting
from closerlook.statistics.estimates import Interval, mean_interval
from closerlook.statistics.mean_returns import mean_returns, paired_gains, pairing_gain
from closerlook.statistics.pool import plan_pool
from closerlook.statistics.surfaces import (
    best_point,
    correlation,
    noise_share,
    rank_correlation,
    sign_agreement,
    stream_surfaces,
)
from closerlook.statistics.value_errors import calibration

PARTS, EACH = 400, 64
"""Disjoint parts, and streams of each."""
LEVELS = {"strong": 0.5, "weak": 2.5}
"""Noise of a reward: the signal of a part outweighs its noise 24 times, or drowns in it."""
LAMBDAS, OWN_LAMBDA = (0.0, 0.5, 0.8, 0.95, 1.0), 0.8
SIZES = [16, 64, 192]
BATCH = 64
RESTARTS, COPIES, UPDATES, STEP_BATCHES = 32, 16, 8, 10
PAGE = Path(__file__).parents[1] / "docs" / "development" / "coverage.md"

VALUE = chain.returns(400, 0.0)[0]
FITTED = VALUE + 0.1 * WRONG[::-1]
"""What a fit might find."""


@dataclass(frozen=True)
class Measured:
    """Of each part what was found, and what is true: of all parts alike, or of each.

    Parameters
    ----------
    parts : list of mappings
        By the schema's names.
    truths : mapping
        Arrays of a variable's own shape, or with an axis of parts before it. Of others it is the mean over parts.
    """

    parts: list[Found]
    truths: Mapping[str, np.ndarray]

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
            truth = self.truths[name] if name in self.truths else np.nanmean(value, axis=0)
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


def mean_cosine(estimates: np.ndarray, gradient: np.ndarray) -> float:
    """Return the mean cosine of estimates (n, D) to a gradient."""
    return float((estimates @ gradient / np.linalg.norm(estimates, axis=1)).mean() / np.linalg.norm(gradient))


def gradients(noise: float) -> Measured:
    """Measure gradient quality on each part, computed steps (signs of gradients) among it."""
    others = alternatives([1.0], ["returns"], normalize=False)
    pool = plan_pool(EACH * STEPS, 10, (STEPS, BATCH), SIZES)
    question = Question(pool.beginnings, weightings(others), ("discounted_return", "episode_return"))
    kinds = [(WRONG, OWN_LAMBDA), (WRONG, 1.0), (np.zeros(STATES), 1.0)]
    exact = [chain.exact(chain.advantages(*kind), noise) for kind in kinds]
    truths = [chain.exact(chain.complete_returns(noise), noise), chain.exact(chain.episode_returns(noise), noise)]
    parts, estimates, steps = [], [], []
    batches = parts_of(sample(PARTS * STEP_BATCHES * 2, noise, 2))
    for streams, batch in zip(parts_of(sample(PARTS * EACH, noise, 1)), batches, strict=True):
        answer = gradient_answer(streams, kinds, pool.beginnings)
        pooled = Pooled([answer], pool, question)
        layers = {"0": slice(0, (STATES + 1) * chain.ACTIONS)}
        found = find(pooled, others, layers, normalize=False)
        sums = batch.score_sums(batch.advantages(WRONG.astype(float), OWN_LAMBDA)).reshape(STEP_BATCHES, 2, -1).sum(1)
        steps.append(np.sign(sums))
        answers = [{"displacement": np.sign(one)[None], "mean_kl": np.zeros(1)} for one in sums]
        target = pooled.surrogate()
        shares, groups = pooled.all_in_the_rest(target), pooled.groups(target)
        parts.append(found | find_steps(answers, shares, groups, fresh_optimizer=True))
        asked = [(0, False), *((list(question.weightings).index(one.weighting), one.normalize) for one in others)]
        rows = [[pooled.estimates(size, place, normalize=norm) for size in pool.sizes] for place, norm in asked]
        estimates.append(rows)
    own = [exact[0].gradient, exact[0].gradient, exact[1].gradient, exact[2].gradient]
    every = [[np.concatenate([rows[a][s] for rows in estimates]) for s in range(len(SIZES))] for a in range(4)]
    corrected = np.array([[mean_cosine(one, own[a]) for one in every[a]] for a in range(4)])
    to_truths = np.array([[[mean_cosine(one, t.gradient) for one in every[a]] for t in truths] for a in range(4)])
    all_three = [exact[0].gradient, *(one.gradient for one in truths)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    scale = exact[0].variance / (exact[0].gradient @ exact[0].gradient)
    per_trajectory = PARTS * EACH * STEPS / sum(float(np.sum(part["trajectories"])) for part in parts)
    known = {
        "true_cosine_corrected": corrected[0],
        "alternative_true_cosine_corrected": corrected[1:],
        "cosine_to_truth_corrected": to_truths[0],
        "alternative_cosine_to_truth_corrected": to_truths[1:],
        "cosine_between_truths": np.array([chain.cosine(all_three[i], all_three[j]) for i, j in pairs]),
        "step_true_cosine_corrected": np.array([mean_cosine(np.concatenate(steps), exact[0].gradient)]),
        "noise_scale_pairs": np.array(scale),
        "layer_noise_scale_pairs": np.array([scale]),
        "noise_scale_trajectories": np.array(scale / per_trajectory),
        **{f"pairs_for_pairwise_cosine_{word}": np.array(scale * c / (1 - c)) for c, word in COSINES_ASKED},
        **{f"pairs_for_true_cosine_{word}": np.array(scale * c**2 / (1 - c**2)) for c, word in COSINES_ASKED},
    }
    return Measured(parts, known)


COSINES_ASKED = ((0.5, "half"), (0.9, "nine_tenths"))


def baselines(noise: float) -> Measured:
    """Measure baselines and the sweep over lambda on each part."""
    names = ("zero", "critic", "fitted")
    own = tuple(Weighting(baseline=name) for name in ("critic", "zero", "fitted"))
    complete = tuple(Weighting(baseline=name, complete=True) for name in names)
    sweep = (*(Weighting(gae_lambda=one) for one in LAMBDAS), Weighting(baseline="fitted", complete=True))
    pool = plan_pool(EACH * STEPS, 10, (STEPS, BATCH), SIZES[1:])
    question = ValueQuestion((), own, complete, sweep)
    critics = {"critic": WRONG.astype(float), "zero": np.zeros(STATES), "fitted": FITTED}
    parts = []
    for streams in parts_of(sample(PARTS * EACH, noise, 3)):
        returns = streams.complete_returns()
        rows = [streams.advantages(critics[one.baseline], 1.0 if one.baseline == "zero" else OWN_LAMBDA) for one in own]
        rows += [returns - critics[name][streams.states] for name in names]
        swept = [streams.advantages(critics["critic"], one) for one in LAMBDAS] + [returns - FITTED[streams.states]]
        answer = block_sums(streams, rows, "streams") | block_sums(streams, swept, "sweep")
        found = compare_baselines(Pooled([answer], pool, question), question, normalize=False)
        parts.append(found | sweep_lambdas([answer], question, LAMBDAS, OWN_LAMBDA, BATCH))
    return Measured(parts, _exact_baselines(noise, critics) | _exact_sweep(noise))


def _exact_baselines(noise: float, critics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the ratios of variances, of which the mean baseline's is that of centred returns."""
    mean = chain.exact(chain.complete_returns(noise), noise).weight
    rows = {name: chain.exact(chain.complete_returns(noise, table), noise).variance for name, table in critics.items()}
    rows["mean"] = chain.exact(chain.complete_returns(noise, mean), noise).variance
    ratios = [rows.get(name, np.nan) / rows["mean"] for name in ("zero", "mean", "critic", "fitted", "optimal")]
    share = (rows["mean"] - rows["critic"]) / (rows["mean"] - rows["fitted"])
    return {
        "variance_ratio": np.array(ratios),
        "delivered_reduction": np.array(share),
        "excess_variance": np.array(rows["critic"] / rows["fitted"]),
    }


def _exact_sweep(noise: float) -> dict[str, np.ndarray]:
    truth = chain.exact(chain.complete_returns(noise, FITTED), noise).gradient
    length = truth @ truth
    bias, variance, cosines = [], [], []
    for one in LAMBDAS:
        mean = chain.exact(chain.advantages(WRONG, one), noise).weight
        own = chain.exact(chain.advantages(WRONG, one, mean), noise)
        bias.append(np.square(own.gradient - truth).sum() / length)
        variance.append(own.variance / BATCH / length)
        lengths = [own.gradient @ own.gradient + own.variance / BATCH / times for times in BATCHES]
        cosines.append([own.gradient @ truth / np.sqrt(length * square) for square in lengths])
    table = np.array(cosines).T
    return {
        "lambda_squared_bias": np.array(bias),
        "lambda_variance": np.array(variance),
        "lambda_cosine": table,
        "best_lambda": np.array(LAMBDAS)[table.argmax(axis=1)],
    }


CUT = chain.Weight(GAMMA, np.zeros(STATES), 0.0, chain.no_tail, np.zeros(STATES))
"""Discounted returns that stop at limits and cuts."""


def values(noise: float) -> Measured:
    """Measure errors of values on each part: those of the critic, of a fit, and of updates that differ at random."""
    rng, parts = np.random.default_rng(4), []
    pool = parts_of(sample(PARTS * EACH, noise, 5))
    for streams in pool:
        returns, updates = streams.complete_returns(), WRONG + 0.2 * rng.standard_normal((UPDATES, STATES))
        critic = WRONG[streams.states].astype(float)
        targets = {
            "gae": critic + streams.advantages(WRONG.astype(float), OWN_LAMBDA),
            "returns": returns,
            "cut_returns": streams.cut_returns(),
        }
        updated = np.stack([table[streams.states] for table in updates])
        judged = Judged(critic, FITTED[streams.states], updated, targets, returns, 1.0, None)
        batch = sample(2 * UPDATES, noise, int(rng.integers(2**31)))
        answers = []
        for at, table in enumerate(updates):
            own = batch[2 * at : 2 * at + 2]
            said = table[own.states].ravel()
            gae = (WRONG[own.states] + own.advantages(WRONG.astype(float), OWN_LAMBDA)).ravel()
            both = {"complete_returns": own.complete_returns().ravel(), "cut_returns": own.cut_returns().ravel()}
            answers.append({"values": said, "gae_targets": gae, **both})
        parts.append(audit(judged) | audit_training(answers) | _restarts(streams, noise, updates, rng))
    often = chain.occupancy().sum(axis=(0, 2)) / STEPS
    moments = chain.returns(88, noise)
    noise_of_returns = often @ (moments[1] - moments[0] ** 2)
    bias = np.array([often @ (table - moments[0]) ** 2 for table in (WRONG, FITTED)])
    bias = np.append(bias, bias[0] + 0.2**2 * (often.sum()))
    advantage, cut = (chain.exact(one, noise) for one in (chain.advantages(WRONG, OWN_LAMBDA), CUT))
    by_state = np.stack([WRONG + advantage.by_state, chain.returns(44, noise)[0], cut.by_state])
    binned = [
        [calibration(WRONG[part.states].astype(float), row[part.states]).targets for row in by_state] for part in pool
    ]
    wanted = np.array([[[one.value for one in row] for row in rows] for rows in binned])
    known = {
        "calibration_target": wanted,
        "return_noise": noise_of_returns,
        "squared_bias": bias,
        "mean_squared_error": bias + noise_of_returns,
    }
    return Measured(parts, {name: np.array(value) for name, value in known.items()})


def _restarts(streams: Streams, noise: float, updates: np.ndarray, rng: np.random.Generator) -> Found:
    """Go on from one state of each of a few streams."""
    some = streams[:RESTARTS]
    states = some.states[np.arange(RESTARTS), rng.integers(STEPS, size=RESTARTS)]
    follow = chain_streams.follow(rng, np.repeat(states, COPIES + 1), noise, 88).reshape(RESTARTS, COPIES + 1)
    said = np.stack([WRONG[states], FITTED[states]], axis=1)
    answer = {"returns": follow[:, 1:], "own_returns": follow[:, 0], "values": said, "stream": np.arange(RESTARTS)}
    return audit_restarts([answer | {"updated_values": updates[:, states].T}], 0.01)


def updates(noise: float) -> Measured:
    """Measure averages over few updates: long steps along an estimate of the gradient, from two streams each."""
    chances, gradients_of = chain.policy(), chain.scores()
    streams, rows = sample(PARTS * UPDATES * 2, noise, 6), []
    for at in range(PARTS * UPDATES):
        own = streams[2 * at : 2 * at + 2]
        advantages = own.advantages(WRONG.astype(float), OWN_LAMBDA)
        step = 0.5 * own.score_sums(advantages - advantages.mean()).sum(axis=0) / np.sqrt(noise**2 + 1)
        moved = chances * np.exp(gradients_of @ step)
        moved /= moved.sum(axis=1, keepdims=True)
        ratios = (moved / chances)[own.states, own.actions]
        kl = (chances * np.log(chances / moved)).sum(axis=1)[own.states]
        rows.append({
            "max_ratio": ratios.max(),
            "mean_kl_batch": kl.mean(),
            "max_kl_batch": kl.max(),
            "clip_fraction": (np.abs(ratios - 1) > 0.2).mean(),
            "update_norm": np.linalg.norm(step),
            "surrogate_rise": (ratios * (advantages - advantages.mean())).mean(),
        })  # fmt: skip
    parts = []
    for at in range(PARTS):
        some = {name: np.array([row[name] for row in rows[at * UPDATES : (at + 1) * UPDATES]]) for name in rows[0]}
        means = {name: mean_interval(column, skewed=name in NEVER_NEGATIVE) for name, column in some.items()}
        parts.append(_found({f"average of {name}": one for name, one in means.items()}))
    return Measured(parts, {})


def _found(intervals: Mapping[str, Interval]) -> Found:
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {
        f"{name}{end}": np.array(getattr(one, field)) for name, one in intervals.items() for end, field in ends.items()
    }


POINTS = np.linspace(-1.0, 2.0, 7)
"""Multiples of a step, the agent itself among them."""
AGENT = 2


def surfaces(noise: float) -> Measured:
    """Measure rewards along a step, on shared draws, against a surrogate that is known and one that is noisy."""
    step = chain.exact(chain.complete_returns(0.0), 0.0).gradient
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
            "pairing_saving": pairing_gain(sums[0], sums[1], AGENT),
        }
        found = {f"{name}{end}": getattr(one, field) for name, one in means.items() for end, field in ENDS}
        inside = POINTS[candidates]
        found |= _found({
            "correlation": correlation(own, rise),
            "correlation with held-out pairs": correlation(own, others),
            "rank_correlation": rank_correlation(own, rise),
            "sign_agreement": sign_agreement(gains, rise - rise[AGENT]),
            "noise_share": noise_share(own, 4),
            "best_step": Interval(POINTS[best], inside.min(), inside.max()),
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


ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))
KINDS: dict[str, Callable[[float], Measured]] = {
    "gradients": gradients,
    "baselines and lambda": baselines,
    "errors of values": values,
    "updates": updates,
    "landscapes": surfaces,
}


def main() -> int:
    """Write the page."""
    rows = []
    for kind, measure in KINDS.items():
        both = {level: measure(noise).coverage() for level, noise in LEVELS.items()}
        for name in both["strong"]:
            cells = [both[level].get(name, (np.nan,) * 3) for level in LEVELS]
            told = [f"{100 * mean:.1f}% | {100 * least:.1f}% | {100 * blank:.0f}%" for mean, least, blank in cells]
            rows.append(f"| {kind} | {name if ' ' in name else f'`{name}`'} | {' | '.join(told)} |")
            sys.stdout.write(rows[-1] + "\n")
    head = PAGE.read_text().split("<!-- table -->")[0]
    columns = "| of | variable | strong signal | least | blank | weak signal | least | blank |\n" + "|---" * 8 + "|\n"
    PAGE.write_text(head + "<!-- table -->\n\n" + columns + "\n".join(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
