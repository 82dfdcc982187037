"""How often printed intervals hold the exact answer: 400 disjoint parts of one pool of streams of the chain.

`python tests/chain_coverage.py` measures all, or the kinds that are named, stores the result and writes the page in
docs/development.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

import chain
import chain_streams
from chain import GAMMA, STATES, STEPS, WRONG
from chain_policies import studies, surfaces, updates
from chain_streams import Streams, block_sums, gradient_answer, sample
from closerlook.diagnostics.common.layout import Findings
from closerlook.diagnostics.gradients.alternatives import alternatives, weightings
from closerlook.diagnostics.gradients.findings import gradient_findings
from closerlook.diagnostics.gradients.updates import find_updates
from closerlook.diagnostics.values.audit import Judged, audit, audit_restarts, audit_training
from closerlook.diagnostics.values.baselines import compare_baselines, sweep_lambdas
from closerlook.diagnostics.values.options import BASELINES, BATCHES
from closerlook.measurements.pooled import Pooled
from closerlook.measurements.stream_sums import StreamStatistics
from closerlook.measurements.value_sums import ValueStatistics
from closerlook.measurements.weightings import Weighting
from closerlook.statistics.pool import plan_pool
from closerlook.statistics.value_errors import calibration, near_zero
from coverage_page import EACH, LEVELS, OWN_LAMBDA, PARTS, SHORT, UPDATES, Coverage, Measured, parts_of, save, too_low

LAMBDAS = (0.0, 0.5, 0.8, 0.95, 1.0)
SIZES = [16, 64, 192]
BATCH = 64
RESTARTS, COPIES, STEP_BATCHES = 32, 16, 10

VALUE = chain.returns(400, 0.0)[0]
FITTED = VALUE + 0.1 * WRONG[::-1]
TO_OWN_TARGET = VALUE + 0.3 * WRONG
"""What fits might find, to returns and to V_old + A."""


def mean_cosine(estimates: np.ndarray, gradient: np.ndarray) -> float:
    """Return the mean cosine of estimates (n, D) to a gradient."""
    return float((estimates @ gradient / np.linalg.norm(estimates, axis=1)).mean() / np.linalg.norm(gradient))


def gradients(noise: float) -> Measured:
    """Measure gradient quality on each part, updates (signs of gradients) among it."""
    others = alternatives([1.0], ["returns"], normalize=False)
    pool = plan_pool(EACH * STEPS, 10, (STEPS, BATCH), SIZES)
    statistics = StreamStatistics(pool.prefixes, weightings(others), ("discounted_return", "episode_return"))
    kinds = [(WRONG, OWN_LAMBDA), (WRONG, 1.0), (np.zeros(STATES), 1.0)]
    exact = [chain.exact(chain.advantages(*kind), noise) for kind in kinds]
    true_gradients = [
        chain.exact(chain.monte_carlo_returns(noise), noise),
        chain.exact(chain.episode_returns(noise), noise),
    ]
    parts, estimates, steps = [], [], []
    batches = parts_of(sample(PARTS * STEP_BATCHES * 2, noise, 2))
    for streams, batch in zip(parts_of(sample(PARTS * EACH, noise, 1)), batches, strict=True):
        answer = gradient_answer(streams, kinds, pool.prefixes)
        pooled = Pooled([answer], pool, statistics)
        layers = {"0": slice(0, (STATES + 1) * chain.ACTIONS)}
        found = gradient_findings(pooled, others, layers, normalize=False)
        sums = batch.score_sums(batch.advantages(WRONG.astype(float), OWN_LAMBDA)).reshape(STEP_BATCHES, 2, -1).sum(1)
        steps.append(np.sign(sums))
        answers = [{"displacement": np.sign(one)[None], "mean_kl": np.zeros(1)} for one in sums]
        target = pooled.surrogate()
        shares, groups = pooled.all_in_the_rest(target), pooled.groups(target)
        parts.append(found | find_updates(answers, shares, groups, fresh_optimizer=True))
        asked = [(0, False), *((list(statistics.weightings).index(one.weighting), one.normalize) for one in others)]
        rows = [[pooled.estimates(size, place, normalize=norm) for size in pool.sizes] for place, norm in asked]
        estimates.append(rows)
    own = [exact[0].gradient, exact[0].gradient, exact[1].gradient, exact[2].gradient]
    every = [[np.concatenate([rows[a][s] for rows in estimates]) for s in range(len(SIZES))] for a in range(4)]
    corrected = np.array([[mean_cosine(one, own[a]) for one in every[a]] for a in range(4)])
    to_true_gradients = np.array(
        [[[mean_cosine(one, t.gradient) for one in every[a]] for t in true_gradients] for a in range(4)]
    )
    all_three = [exact[0].gradient, *(one.gradient for one in true_gradients)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    scale = exact[0].variance / (exact[0].gradient @ exact[0].gradient)
    per_trajectory = PARTS * EACH * STEPS / sum(float(np.sum(part["trajectories"])) for part in parts)
    known = {
        "true_cosine_corrected": corrected[0],
        "alternative_true_cosine_corrected": corrected[1:],
        "cosine_to_true_gradient_corrected": to_true_gradients[0],
        "alternative_cosine_to_true_gradient_corrected": to_true_gradients[1:],
        "cosine_between_true_gradients": np.array([chain.cosine(all_three[i], all_three[j]) for i, j in pairs]),
        "update_true_cosine_corrected": np.array([mean_cosine(np.concatenate(steps), exact[0].gradient)]),
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
    statistics = ValueStatistics((), own, complete, sweep)
    critics = {"critic": WRONG.astype(float), "zero": np.zeros(STATES), "fitted": FITTED}
    parts = []
    for streams in parts_of(sample(PARTS * EACH, noise, 3)):
        returns = streams.monte_carlo_returns()
        rows = [streams.advantages(critics[one.baseline], 1.0 if one.baseline == "zero" else OWN_LAMBDA) for one in own]
        rows += [returns - critics[name][streams.states] for name in names]
        swept = [streams.advantages(critics["critic"], one) for one in LAMBDAS] + [returns - FITTED[streams.states]]
        answer = block_sums(streams, rows, "streams") | block_sums(streams, swept, "sweep")
        found = compare_baselines(Pooled([answer], pool, statistics), statistics, BASELINES, normalize=False)
        parts.append(found | sweep_lambdas([answer], statistics, LAMBDAS, OWN_LAMBDA, BATCH))
    return Measured(parts, _exact_baselines(noise, critics) | _exact_sweep(noise))


def _exact_baselines(noise: float, critics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the ratios of variances, of which the mean baseline's is that of centered returns."""
    mean = chain.exact(chain.monte_carlo_returns(noise), noise).weight
    rows = {
        name: chain.exact(chain.monte_carlo_returns(noise, table), noise).variance for name, table in critics.items()
    }
    rows["mean"] = chain.exact(chain.monte_carlo_returns(noise, mean), noise).variance
    ratios = [rows.get(name, np.nan) / rows["mean"] for name in BASELINES]
    share = (rows["mean"] - rows["critic"]) / (rows["mean"] - rows["fitted"])
    return {
        "variance_ratio": np.array(ratios),
        "delivered_reduction": np.array(share),
        "excess_variance": np.array(rows["critic"] / rows["fitted"]),
    }


def _exact_sweep(noise: float) -> dict[str, np.ndarray]:
    truth = chain.exact(chain.monte_carlo_returns(noise, FITTED), noise).gradient
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
        returns, updates = streams.monte_carlo_returns(), WRONG + 0.2 * rng.standard_normal((UPDATES, STATES))
        critic = WRONG[streams.states].astype(float)
        targets = {
            "gae": critic + streams.advantages(WRONG.astype(float), OWN_LAMBDA),
            "returns": returns,
            "cut_off_returns": streams.cut_off_returns(),
        }
        updated = np.stack([table[streams.states] for table in updates])
        judged = Judged(
            own=critic,
            fitted=FITTED[streams.states],
            own_target=TO_OWN_TARGET[streams.states],
            updated=updated,
            targets=targets,
            true_returns=returns,
            divisor=1.0,
            value_clip=None,
        )
        batch = sample(2 * UPDATES, noise, int(rng.integers(2**31)))
        answers = []
        for at, table in enumerate(updates):
            own = batch[2 * at : 2 * at + 2]
            said = table[own.states].ravel()
            gae = (WRONG[own.states] + own.advantages(WRONG.astype(float), OWN_LAMBDA)).ravel()
            both = {
                "monte_carlo_returns": own.monte_carlo_returns().ravel(),
                "cut_off_returns": own.cut_off_returns().ravel(),
            }
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


def _restarts(streams: Streams, noise: float, updates: np.ndarray, rng: np.random.Generator) -> Findings:
    """Go on from one state of each of a few streams."""
    some = streams[:RESTARTS]
    states = some.states[np.arange(RESTARTS), rng.integers(STEPS, size=RESTARTS)]
    follow = chain_streams.follow(rng, np.repeat(states, COPIES + 1), noise, 88).reshape(RESTARTS, COPIES + 1)
    said = np.stack([WRONG[states], FITTED[states]], axis=1)
    answer = {"returns": follow[:, 1:], "own_returns": follow[:, 0], "values": said, "stream": np.arange(RESTARTS)}
    return audit_restarts([answer | {"updated_values": updates[:, states].T}], near_zero(streams.monte_carlo_returns()))


KINDS: dict[str, Callable[[float], Measured]] = {
    "gradients": gradients,
    "baselines and lambda": baselines,
    "errors of values": values,
    "updates": updates,
    "landscapes": surfaces,
    "studies": studies,
}


def measure(kind: str, levels: Iterable[str] = tuple(LEVELS)) -> dict[str, Coverage]:
    """Measure one kind at some levels."""
    return {level: KINDS[kind](LEVELS[level]).coverage() for level in levels}


def main(kinds: Sequence[str]) -> int:
    """Measure, store and write the page; fail where something covers less than it should and is not listed."""
    measured = {kind: measure(kind) for kind in kinds or KINDS}
    for kind, found in measured.items():
        save(kind, found)
    low = [one for one in too_low(measured) if one not in SHORT]
    sys.stdout.write("".join(f"{kind}: {name} covers too little\n" for kind, name in low))
    return int(bool(low))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
