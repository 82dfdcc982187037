"""What the numbers of one dataset say about an agent, in words: with evidence, and with what a change would buy.

A small cosine at the training batch is no verdict: healthy agents have it, late in training or on a hard task, and
learn by the sum of many updates. What is judged is whether there is a signal at all, how many batches it takes to see
it, and whether that is more than trained agents usually take. The limits are from the atlas (docs/atlas_gradients.md).
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from closerlook.diagnostics.common.labels import batch_place, each_agent
from closerlook.diagnostics.common.verdict import Level, Verdict, make_verdict, span
from closerlook.diagnostics.gradients.limits import Limits
from closerlook.results.naming import nearest_to_batch
from closerlook.statistics.noise import true_cosine_at

AREA = "gradients"
USUAL = (2, 700)
"""Training batches in the noise scale of the trained agents of the atlas, about."""
USUAL_ESTIMATES = 10
"""Estimates that the pairs are told for where the training batch was not measured."""


def verdicts(dataset: xr.Dataset, **given: float) -> list[Verdict]:
    """Judge each agent of a dataset at its training batch.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of this diagnostic.
    **given : float
        Limits in place of the usual ones, by the names of `Limits`.

    Returns
    -------
    list of dict
        For each agent ``{area, level, statement, evidence, advice}``; level is ``ok``, ``watch``, ``problem`` or
        ``not_enough_data``. One more where most of its updates do not move.
    """
    limits = Limits.of(given)
    return [
        verdict
        for name, agent in each_agent(dataset)
        for verdict in (_judge(agent, name, limits), *_judge_steps(agent, name, limits))
    ]


def _judge(agent: xr.Dataset, name: str, limits: Limits) -> Verdict:
    batch, pairs = int(agent.attrs["batch_pairs"]), int(agent["pairs"])
    at = batch_place(agent)
    if at is None:
        statement = f"Estimates of the training batch's {batch:,} pairs were not measured.{_at_most(agent, batch)}"
        advice = _how_to_measure(batch, pairs)
        return _verdict(name, "not_enough_data", statement, {"pairs": pairs, "batch_pairs": batch}, advice)
    here = agent.isel(size=at)
    evidence = _evidence(here, batch)
    if here["zero_gradients"] > 0 and not np.isfinite(here["pairwise_cosine"]):
        statement = f"{int(here['zero_gradients'])} of {int(here['estimates'])} estimates are exactly zero."
        advice = "Look at the rewards and the critic: advantages that are all equal leave nothing to follow."
        return _verdict(name, "problem", statement, evidence, advice)
    return _judge_noise(name, evidence, limits)


def _at_most(agent: xr.Dataset, batch: int) -> str:
    """Say what the noise scale still tells of a batch: how near to the true gradient it is at most."""
    low = float(agent["noise_scale_pairs_low"])
    if not np.isfinite(low):
        return ""
    cosine = float(true_cosine_at(np.array(batch), low))
    return f" By the noise scale their cosine to the true gradient is at most {cosine:.2f}."


def _how_to_measure(batch: int, pairs: int) -> str:
    needed = USUAL_ESTIMATES * batch
    if pairs >= needed:
        return f"Leave {batch:,} among the --sizes, or ask for fewer --estimates."
    return f"Give more --pairs ({USUAL_ESTIMATES} estimates take {needed:,}; there were {pairs:,})."


def _evidence(here: xr.Dataset, batch: int) -> dict[str, float]:
    intervals = ("pairwise_cosine", "true_cosine_corrected", "noise_scale_pairs")
    numbers = {f"{name}{end}": float(here[f"{name}{end}"]) for name in intervals for end in ("", "_low", "_high")}
    scale = numbers["noise_scale_pairs"]
    return {
        "pairs": int(here["pairs"]),
        "batch_pairs": batch,
        "pairs_used": int(here["pairs_used"]),
        "estimates": int(here["estimates"]),
        "zero_gradients": int(here["zero_gradients"]),
        **numbers,
        "pairs_for_true_cosine_half": float(here["pairs_for_true_cosine_half"]),
        "true_cosine_of_twice_the_batch": float(true_cosine_at(np.array(2.0 * batch), scale)),
    }


def _judge_noise(name: str, evidence: dict[str, float], limits: Limits) -> Verdict:
    batch, low, high = (evidence[key] for key in ("batch_pairs", "noise_scale_pairs_low", "noise_scale_pairs_high"))
    if np.isnan(low):
        statement = f"{int(evidence['estimates'])} estimates are too few to tell signal from noise."
        return _verdict(name, "not_enough_data", statement, evidence, "Give more --pairs.")
    # even the most favorable end of the interval is beyond what trained agents show
    if np.isfinite(low) and low > limits.unusual_noise * batch:
        statement = (
            f"Unusually little signal: it takes at least {low / batch:,.0f} training batches for the gradient to "
            f"outweigh its noise. Trained agents mostly take {USUAL[0]} to {USUAL[1]}."
        )
        advice = "Look at the reward, its scale and the critic before the algorithm; a larger batch alone buys little."
        return _verdict(name, "watch", statement, evidence, advice)
    # an infinite upper end: the pool is compatible with no signal at all
    if not np.isfinite([high, evidence["true_cosine_corrected"]]).all():
        least = "more pairs than were sampled"
        if np.isfinite(low):
            cosine = float(true_cosine_at(np.array(batch), low))
            least = f"at least {low:,.0f} pairs, so that a batch's cosine to the true gradient is at most {cosine:.2f}"
        statement = (
            f"No direction can be told from noise in these {evidence['pairs']:,.0f} pairs; the noise scale is {least}."
        )
        return _verdict(
            name, "not_enough_data", statement, evidence, f"Give about {4 * evidence['pairs']:,.0f} --pairs."
        )
    return _judge_signal(name, evidence, limits)


def _judge_signal(name: str, evidence: dict[str, float], limits: Limits) -> Verdict:
    batch, scale = evidence["batch_pairs"], evidence["noise_scale_pairs"]
    cosine, low = evidence["true_cosine_corrected"], evidence["true_cosine_corrected_low"]
    shown = f"{cosine:.2f} ({span(low, evidence['true_cosine_corrected_high'], '.2f')})"
    half, twice = evidence["pairs_for_true_cosine_half"], evidence["true_cosine_of_twice_the_batch"]
    used = int(evidence["pairs_used"])
    whose = "One training batch" if used == batch else f"One training batch (as of {used:,} pairs)"
    # the whole interval, not the estimate, has to be beyond a limit
    if low >= limits.clear_cosine:
        statement = f"{whose} points along the true gradient, cosine {shown}: signal outweighs noise."
        return _verdict(name, "ok", statement, evidence, "A smaller batch may serve as well.")
    times, points = scale / batch, f"{whose} points along the true gradient with a cosine of {shown}"
    statement = f"{points}; signal and noise are about equal."
    if times > 1:
        usual = f" That is usual: trained agents learn with {USUAL[0]} to {USUAL[1]}."
        usual = usual if USUAL[0] <= times <= USUAL[1] else ""
        statement = f"{points}; noise outweighs signal {times:,.1f} to 1.{usual}"
    advice = f"Twice the pairs per batch would make it {twice:.2f}; a cosine of 0.5 takes about {half:,.0f} pairs."
    return _verdict(name, "ok", statement, evidence, advice)


def _judge_steps(agent: xr.Dataset, name: str, limits: Limits) -> list[Verdict]:
    """Complain where most updates do not move, at the batch nearest to the agent's own."""
    if "update_size" not in agent.dims:
        return []
    at = nearest_to_batch(agent, "update_size")
    stuck, batches = int(agent["zero_updates_by_size"][at]), int(agent["update_batches"])
    if stuck <= limits.stuck_updates * batches:
        return []
    statement = f"{stuck} of {batches} updates do not move the policy."
    advice = (
        "For TRPO, look at the line search: a smaller max_kl or more conjugate-gradient steps; else at the rewards."
    )
    evidence = {"zero_updates_by_size": stuck, "update_batches": batches, "update_size": int(agent["update_size"][at])}
    return [_verdict(name, "problem", statement, evidence, advice)]


def _verdict(name: str, level: Level, statement: str, evidence: Mapping[str, float], advice: str) -> Verdict:
    return make_verdict(AREA, level, (name, statement), evidence, advice)
