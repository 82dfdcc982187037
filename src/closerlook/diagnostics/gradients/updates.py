"""Updates: how much the updates agree that an agent's algorithm makes of independent batches.

====== ============================================
symbol meaning
====== ============================================
n      batches
B      sizes of a batch
D      policy parameters, flattened
====== ============================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from closerlook.agents.agent import Regime
from closerlook.algorithms.rules import rule_of
from closerlook.arguments import LARGEST_BATCH
from closerlook.diagnostics.common.layout import Findings, intervals
from closerlook.diagnostics.subjects import Subject
from closerlook.execution import Job, same_streams
from closerlook.measurements.policy_updates import sample_steps
from closerlook.statistics.estimates import agreement
from closerlook.statistics.true_gradients import Shares, cosine_to_sampled

STEPS_VERSION = 2
"""Raised whenever the same job would answer otherwise."""
PURPOSE = "steps"
GROWTH = 4
"""Ratio of neighboring default sizes."""


@dataclass(frozen=True)
class StepPlan:
    """Which batches updates are computed from.

    Parameters
    ----------
    sizes : tuple of int
        Pairs of a batch, in rising order.
    streams : int
        Streams of the largest.
    batches : int
        Independent batches of each size.
    algorithm : str or None
        Whose update; None: the agent's own.
    """

    sizes: tuple[int, ...]
    streams: int
    batches: int
    algorithm: str | None


def plan_updates(
    regime: Regime, most: int, batches: int, sizes: Sequence[int] | None, algorithm: str | None
) -> StepPlan:
    """Choose the sizes of the batches.

    Parameters
    ----------
    regime : Regime
        How the agent gathers a batch.
    most : int
        Pairs of the largest default size, about.
    batches : int
        Independent batches of each size.
    sizes : sequence of int or None
        Pairs of a batch: below a stream the first pairs of one, above whole streams, rounded down. Default the
        training batch, and four times, sixteen times ... as much.
    algorithm : str or None
        Whose update.
    """
    wanted = sorted(set(sizes)) if sizes is not None else _default_sizes(regime.batch_pairs, most)
    # below a stream as asked, above it whole streams
    used = sorted({size if size < regime.n_steps else size // regime.n_steps * regime.n_steps for size in wanted})
    return StepPlan(tuple(used), max(1, used[-1] // regime.n_steps), batches, algorithm)


def _default_sizes(batch: int, most: int) -> list[int]:
    sizes = [batch]
    while sizes[-1] * GROWTH <= min(most, LARGEST_BATCH):
        sizes.append(sizes[-1] * GROWTH)
    return sizes


def step_jobs(subject: Subject, plan: StepPlan) -> list[Job]:
    """List one agent's jobs: one for each batch.

    Parameters
    ----------
    subject : Subject
        Its agent with the optimizer's state, where that was kept.
    plan : StepPlan
        Which batches.
    """
    rule = rule_of(subject.agent, plan.algorithm)
    return [
        subject.job(
            "steps",
            sample_steps,
            plan.streams * subject.sampling.n_steps,
            {
                "sampling": subject.sampling,
                "streams": subject.streams(PURPOSE, batch * plan.streams, (batch + 1) * plan.streams),
                "sizes": plan.sizes,
                "rule": rule,
            },
            state="optimizer.policy",
            named_by=(STEPS_VERSION,),
            smaller=same_streams,
        )
        for batch in range(plan.batches)
    ]


def find_updates(
    answers: Sequence[Mapping[str, np.ndarray]],
    gradient: Shares,
    groups: tuple[np.ndarray, np.ndarray],
    *,
    fresh_optimizer: bool,
) -> Findings:
    """Compare the updates with one another, and with the gradient of the surrogate.

    Parameters
    ----------
    answers : sequence of mappings
        Of one agent's jobs.
    gradient : Shares
        The surrogate's gradient, from streams that no update has seen: all of it in the rest.
    groups : (ndarray, (K, D), ndarray, (K,))
        Its sums over equal groups of these streams, and their pairs.
    fresh_optimizer : bool
        Whether the optimizer began without a memory.
    """
    # Delta theta of each independent batch, (batches, sizes, D)
    steps = np.array([answer["displacement"] for answer in answers], np.float64)
    agreed = [agreement(steps[:, at]) for at in range(steps.shape[1])]
    cosines = [
        cosine_to_sampled(steps[steps[:, at].any(axis=1), at], gradient, *groups) for at in range(steps.shape[1])
    ]
    return {
        **intervals("update_pairwise_cosine", [one.cosine for one in agreed]),
        **intervals("update_true_cosine", [one.plain for one in cosines]),
        **intervals("update_true_cosine_corrected", [one.corrected for one in cosines]),
        "mean_update_norm": np.array([one.norm for one in agreed]),
        "zero_updates_by_size": np.array([one.zeros for one in agreed]),
        "update_mean_kl": np.mean([answer["mean_kl"] for answer in answers], axis=0),
        "update_batches": np.array(len(answers)),
        "fresh_optimizer": np.array(fresh_optimizer),
    }
