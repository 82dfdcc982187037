"""The measurement: updates from fresh batches, then what each does to policy and reward.

::

    Plan --> audits of updates --> true rewards along each --> findings
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from closerlook.algorithms.rules import clip_of, rule_of
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.diagnostics.diagnostic import Answers, Cost, Stages
from closerlook.diagnostics.subjects import Subject
from closerlook.diagnostics.trust_region.findings import AVERAGED, PAIRS_OF, trust_region_findings
from closerlook.diagnostics.trust_region.plan import Plan
from closerlook.execution import Job, same_streams
from closerlook.measurements.point_parts import joined, one_point, parts_of
from closerlook.measurements.policy_change import CHANGES
from closerlook.measurements.step_audits import audit_step, stages_of
from closerlook.measurements.surfaces import Points, sample_point_returns
from closerlook.randomness import derive_seed

VERSION = 5
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""
BATCH_PURPOSE = "trust region batch"
HELDOUT_PURPOSE = "trust region held out"
RETURNS_PURPOSE = "trust region returns"


def cost(subject: Subject, plan: Plan) -> Cost:
    """Count pairs, without what finishes episodes.

    Parameters
    ----------
    subject : Subject
        The agent, its environment and names of its streams.
    plan : Plan
        What is measured, see `plan`.
    """
    return Cost(plan.pairs, plan.pairs)


def measure(subject: Subject, plan: Plan) -> Stages:
    """Make updates, each from a batch of its own, and measure the true reward along each.

    Nothing is shared between updates, so that they are independent.

    Parameters
    ----------
    subject : Subject
        The agent, its environment and names of its streams.
    plan : Plan
        What is measured, see `plan`.

    Yields
    ------
    list of Job
        An audit of each update; then the true rewards of its multiples, none where it failed.
    """
    audits = yield [_audit_job(subject, plan, repeat) for repeat in range(plan.options.repeats)]
    measured = [_reward_jobs(subject, plan, repeat, audit) for repeat, audit in enumerate(audits)]
    answers: Answers = yield [job for jobs in measured for job in jobs]
    left = iter(answers)
    points, streams = 1 + len(plan.multiples), plan.return_streams
    rewards = [joined(list(islice(left, len(jobs))), points, streams) if jobs else None for jobs in measured]
    return trust_region_findings(subject.agent, plan, audits, rewards)


def labels(subjects: Sequence[Subject], plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name what lies along the dimensions.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    plan : Plan
        What is measured, see `plan`.
    """
    rule = rule_of(subjects[0].agent, plan.options.algorithm)
    stages = stages_of(rule, plan.step.batch_pairs)
    n_steps = plan.sampling.n_steps
    coordinates = {
        "repeat": np.arange(plan.options.repeats),
        "multiple": plan.multiples,
        "pairs_of": list(PAIRS_OF),
        "change": list(CHANGES),
        "quantity": list(AVERAGED),
        "surrogate_name": list(SURROGATES),
        **({"stage": stages} if stages else {}),
    }
    return coordinates, {
        "step_algorithm": plan.options.algorithm or "the agent's own",
        "step_pairs": plan.step.batch_pairs,
        "heldout_pairs": plan.heldout_streams * n_steps,
        "return_pairs": plan.return_streams * n_steps,
        "minibatches": int(getattr(rule.settings, "minibatches", 1)),
        "time_limit": int(subjects[0].description["time_limit"] or 0),
    }


def first_analysis(subjects: Sequence[Subject], options: Any) -> tuple[int, int]:
    """Return the updates of the first interim analysis, and what their number is rounded up to.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.
    """
    return 8, 1


def shrink(plan: Plan, repeats: int) -> Plan:
    """Return a plan of fewer updates.

    Parameters
    ----------
    plan : Plan
        What is measured, see `plan`.
    repeats : int
        Updates.
    """
    return replace(plan, options=replace(plan.options, repeats=repeats))


def _audit_job(subject: Subject, plan: Plan, repeat: int) -> Job:
    rule = rule_of(subject.agent, plan.options.algorithm)
    n_envs, held = plan.step.n_envs, plan.heldout_streams
    return subject.job(
        "update",
        audit_step,
        plan.audit_pairs,
        {
            "sampling": (subject.in_streams_of(plan.step.n_steps), subject.sampling),
            "streams": (
                subject.streams(BATCH_PURPOSE, repeat * n_envs, (repeat + 1) * n_envs),
                subject.streams(HELDOUT_PURPOSE, repeat * held, (repeat + 1) * held),
            ),
            "rule": rule,
            "multiples": plan.multiples.tolist(),
            "clip": clip_of(rule.settings),
        },
        state="optimizer.policy",
        named_by=("trust region", VERSION),
        smaller=same_streams,
    )


def _reward_jobs(subject: Subject, plan: Plan, repeat: int, audit: Any) -> list[Job]:
    """List the jobs of one update: the agent itself, then each multiple; none where the update failed."""
    if plan.return_streams == 0 or not np.isfinite(audit["displacement"]).all():
        return []
    seed = derive_seed(subject.seed, RETURNS_PURPOSE, stream=repeat)
    multiples = np.concatenate([[0.0], plan.multiples])
    sampling = subject.for_returns(plan.return_streams)
    return [
        subject.job(
            f"true rewards of update {repeat}",
            sample_point_returns,
            len(points) * len(part) * subject.sampling.n_steps,
            {
                "sampling": sampling,
                "streams": subject.streams(RETURNS_PURPOSE, part.start, part.stop),
                "points": Points(audit["displacement"][None], multiples[points.start : points.stop, None]),
                "seeds": [seed] * len(points),
                "list_episodes": False,
            },
            named_by=(VERSION,),
            smaller=one_point,
        )
        for points, part in parts_of(len(multiples), plan.return_streams)
    ]
