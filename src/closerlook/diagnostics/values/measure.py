"""The measurement: values are fitted, critics updated, then a pool is sampled on which everything is judged.

::

    Plan --> fits, updates of the critic --> sums of the pool, restarts --> audit, baselines, sweep
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.rewards import reward_unit
from closerlook.algorithms.rules import rule_of
from closerlook.diagnostics.diagnostic import Answers, Cost, Stages, Statistics
from closerlook.diagnostics.subjects import Subject
from closerlook.diagnostics.values.audit import TARGET_ARRAYS, Judged, audit, audit_restarts, audit_training
from closerlook.diagnostics.values.baselines import compare_baselines, sweep_lambdas
from closerlook.diagnostics.values.options import BATCHES, CRITICS, FOLLOWED, TARGETS
from closerlook.diagnostics.values.plan import FEWEST_FITTED_STREAMS, Plan, pool_of
from closerlook.execution import Job, content_key, same_streams
from closerlook.measurements.critic_updates import sample_critic_update, updated_critic
from closerlook.measurements.fitted_values import OWN_TARGET, Critic, fit_values, fitted_critics
from closerlook.measurements.pooled import Pooled
from closerlook.measurements.restarted_values import JUDGED, sample_restarts
from closerlook.measurements.stream_sums import StreamStatistics
from closerlook.measurements.value_shards import spill
from closerlook.measurements.value_sums import sample_value_sums
from closerlook.statistics.value_errors import near_zero

VERSION = 4
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""
PURPOSE = "values"
FIT_PURPOSE = "values to fit"
UPDATE_PURPOSE = "values to update"
RESTART_PURPOSE = "values to go back to"
RESTARTS_OF_A_JOB = 8
TRIED_PASSES, USUAL_PASSES = 10, 25
"""Passes of a fit through its pairs: where it is tried, and about so many otherwise (`FitSettings.most_passes`)."""
FIRST_STREAMS = 64
"""Streams of the pool at the first interim analysis."""
JOB_STREAMS = 16
"""Streams of a job at every interim analysis."""


@dataclass(frozen=True)
class Critics:
    """What is judged beside the agent's own critic.

    Parameters
    ----------
    fit : mapping of str to ndarray
        What the fit answered; empty where none was asked for.
    fitted : mapping of str to Critic
        Values fitted to returns, by name.
    updated : list of Critic
        The agent's critic after each of some updates.
    """

    fit: Mapping[str, np.ndarray]
    fitted: Mapping[str, Critic]
    updated: list[Critic]


def cost(subject: Subject, plan: Plan) -> Cost:
    """Count pairs of pool, fit, updates and restarts.

    Parameters
    ----------
    subject : Subject
        The agent, its environment and names of its streams.
    plan : Plan
        What is measured, see `plan`.
    """
    pairs = plan.pairs(subject.agent)
    return Cost(pairs, pairs, plan.stored(subject.agent))


def together(subjects: Sequence[Subject], plan: Plan, workers: int) -> int:
    """Measure as many agents at a time as there are workers, so that few transitions lie on disk.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    plan : Plan
        What is measured, see `plan`.
    workers : int
        Processes.
    """
    return workers


def measure(subject: Subject, plan: Plan) -> Stages:
    """Fit values and update critics; then judge all of them on one pool, and at restarted states.

    Parameters
    ----------
    subject : Subject
        The agent, its environment and names of its streams.
    plan : Plan
        What is measured, see `plan`.

    Yields
    ------
    list of Job
        The fit (whose transitions are spilled to disk before it, and deleted after), then updates; sums over the
        streams of the pool; restarts.
    """
    fits = _fit_jobs(subject, plan)
    answers = yield fits
    for shard in _shard_keys(subject, plan):
        (subject.scratch / f"{shard}.npz").unlink(missing_ok=True)
    with suppress(OSError):  # other agents' transitions may still lie there
        subject.scratch.rmdir()
    # what was spilled is no longer needed: the fit's answer is stored by itself
    fit = answers[0] if fits else {}
    updates = yield _update_jobs(subject, plan)
    critics = Critics(fit, fitted_critics(fit), [updated_critic(subject.agent, answer) for answer in updates])
    sums = yield _sum_jobs(subject, plan, critics)
    restarts = yield _restart_jobs(subject, plan, critics)
    return _found(subject, plan, critics, updates, sums, restarts)


def labels(subjects: Sequence[Subject], plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name what lies along the dimensions.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    plan : Plan
        What is measured, see `plan`.
    """
    coordinates = {
        "size": [size.asked for size in plan.pool.sizes],
        "critic": list(CRITICS),
        "target": list(TARGETS),
        "judged": list(JUDGED),
        "true_gradient": [FOLLOWED],
        "baseline": list(plan.baselines),
        "batches": list(BATCHES),
        "lambda": list(plan.lambdas),
    }
    own = {subject.agent.gae_lambda for subject in subjects}
    attributes: dict[str, Any] = {"gae_lambda": own.pop()} if len(own) == 1 else {}
    attributes["value_target"] = ", ".join(sorted({subject.agent.value_target for subject in subjects}))
    return coordinates, attributes


def first_analysis(subjects: Sequence[Subject], options: Any) -> tuple[int, int]:
    """Return the pairs of the first interim analysis, and of one job.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.
    """
    n_steps = subjects[0].regime.n_steps
    least = options.estimates * max(n_steps, *(options.sizes or (512,)))
    return max(FIRST_STREAMS * n_steps, least), JOB_STREAMS * n_steps


def shrink(plan: Plan, pairs: int) -> Plan:
    """Return a plan of a smaller pool; fits, updates and restarts stay.

    Parameters
    ----------
    plan : Plan
        What is measured, see `plan`.
    pairs : int
        Of the pool.
    """
    return replace(plan, pool=replace(pool_of(plan.batch, plan.options, pairs), job_streams=JOB_STREAMS))


def _fit_jobs(subject: Subject, plan: Plan) -> list[Job]:
    """List the one job that fits values, with those that spill transitions for it; none where none are to be fitted."""
    if plan.fit_pool is None:
        return []
    keys, other = _shard_keys(subject, plan), _other_target(subject, plan)
    spills = [
        subject.job(
            "values to fit",
            spill,
            _pairs(streams, plan),
            {"sampling": subject.sampling, "streams": streams, **other},
            carried={"folder": str(subject.scratch), "key": key},
        )
        for streams, key in zip(_fit_streams(subject, plan), keys, strict=True)
        if not (subject.scratch / f"{key}.npz").exists()
    ]
    arguments = {
        "folder": str(subject.scratch),
        "keys": keys,
        "streams": plan.fit_pool.streams,
        "settings": plan.fit,
        "seed": subject.seed,
        **other,
    }
    key = content_key("fitted values", keys, plan.fit_pool.streams, plan.fit, subject.seed)
    name = f"fit of agent {subject.number}"
    return [Job(name, key, fit_values, arguments, plan.fit_pool.pairs, tuple(spills), _smaller_fit(subject, plan))]


def _smaller_fit(subject: Subject, plan: Plan) -> Callable[[Job, float], Job]:
    """Return how a fit to a share of the pairs is made, of few passes through them: how many it takes is not known."""
    pool = plan.fit_pool
    assert pool is not None
    fit = replace(plan.fit, most_passes=TRIED_PASSES)

    def smaller(_: Job, share: float) -> Job:
        streams = max(FEWEST_FITTED_STREAMS, round(pool.streams * share))
        job = _fit_jobs(subject, replace(plan, fit=fit, fit_pool=replace(pool, streams=streams)))[0]
        return replace(job, pairs=job.pairs * TRIED_PASSES / USUAL_PASSES)

    return smaller


def _fit_streams(subject: Subject, plan: Plan) -> list[Any]:
    ranges = [] if plan.fit_pool is None else plan.fit_pool.job_ranges
    return [subject.streams(FIT_PURPOSE, one.start, one.stop) for one in ranges]


def _other_target(subject: Subject, plan: Plan) -> dict[str, bool]:
    """Return what is asked beside the fit to returns: nothing, by names that stay as they were, or the own target."""
    return {"own_target": True} if plan.own_target(subject.agent) else {}


def _shard_keys(subject: Subject, plan: Plan) -> list[str]:
    """Name the files of transitions after everything that decides them."""
    what = [VERSION, subject.sampling, *_other_target(subject, plan)]
    return [subject.key("shard", [*what, part]) for part in _fit_streams(subject, plan)]


def _update_jobs(subject: Subject, plan: Plan) -> list[Job]:
    """List the jobs that update the critic, each on a batch of its own."""
    agent = subject.agent
    updates = plan.updates(agent)
    if not updates:
        return []
    envs = agent.regime.n_envs
    batches = [subject.streams(UPDATE_PURPOSE, at * envs, (at + 1) * envs) for at in range(updates)]
    return [
        subject.job(
            "critic update",
            sample_critic_update,
            _pairs(streams, plan),
            {"sampling": subject.sampling, "streams": streams, "rule": rule_of(agent)},
            state="optimizer",
            named_by=(VERSION,),
            smaller=same_streams,
        )
        for streams in batches
    ]


def _sum_jobs(subject: Subject, plan: Plan, critics: Critics) -> list[Job]:
    """List the jobs of the pool."""
    statistics = plan.statistics(subject.agent, list(critics.fitted))
    everybody = (*critics.fitted.values(), *critics.updated)
    return [
        subject.job(
            "values",
            sample_value_sums,
            len(streams) * plan.pool.n_steps,
            {
                "sampling": subject.sampling,
                "streams": subject.streams(PURPOSE, streams.start, streams.stop),
                "statistics": statistics,
            },
            carried={"critics": dict(critics.fitted), "updated": critics.updated},
            named_by=(VERSION, list(critics.fitted), [critic.parameters for critic in everybody]),
        )
        for streams in plan.pool.job_ranges
    ]


def _restart_jobs(subject: Subject, plan: Plan, critics: Critics) -> list[Job]:
    """List the jobs that restart the simulator."""
    wanted, copies = plan.options.restarts, plan.options.restart_copies
    fitted = {name: critic for name, critic in critics.fitted.items() if name == "fitted"}
    parameters = [[critic.parameters for critic in some] for some in (fitted.values(), critics.updated)]
    parts = [(first, min(first + RESTARTS_OF_A_JOB, wanted)) for first in range(0, wanted, RESTARTS_OF_A_JOB)]
    return [
        subject.job(
            "restarts",
            sample_restarts,
            (stop - first) * plan.restart_pairs(subject.agent),
            {
                "sampling": subject.sampling,
                "streams": subject.streams(RESTART_PURPOSE, first, stop),
                "copies": copies,
            },
            carried={"critics": fitted, "updated": critics.updated},
            named_by=(VERSION, parameters),
        )
        for first, stop in parts
    ]


def _found(
    subject: Subject, plan: Plan, critics: Critics, updates: Answers, sums: Answers, restarts: Answers
) -> Statistics:
    """Work out every number of the dataset."""
    agent = subject.agent
    statistics = plan.statistics(agent, list(critics.fitted))
    pooled = Pooled(sums, plan.pool, StreamStatistics(statistics.prefixes, statistics.fine))
    judged = _judged(agent, critics, pooled)
    found = _of_the_pool(pooled, critics.fit) | audit(judged) | audit_training(updates)
    mean_return = pooled.mean_episode_return(subject.sampling, subject.description["time_limit"])
    found["mean_episode_return"] = np.array(mean_return)
    found["update_fresh_optimizer"] = np.array(bool(updates) and not agent.part("optimizer.value"))
    found |= audit_restarts(restarts, near_zero(judged.targets["returns"]))
    found |= compare_baselines(pooled, statistics, plan.baselines, normalize=agent.normalize_advantages)
    batch = agent.regime.batch_pairs
    return found | sweep_lambdas(sums, statistics, plan.lambdas, agent.gae_lambda, batch)


def _judged(agent: Agent, critics: Critics, pooled: Pooled) -> Judged:
    # critics first: the agent's own if it has one, fitted ones, then those after updates
    values = np.moveaxis(pooled.of_streams("values"), 1, 0)
    names = [*(["critic"] if agent.value is not None else []), *critics.fitted]
    known = dict(zip(names, values, strict=False))
    return Judged(
        own=known.get("critic"),
        fitted=known.get("fitted"),
        own_target=known.get(OWN_TARGET),
        updated=values[len(names) :],
        targets={name: pooled.of_streams(array) for name, array in zip(TARGETS, TARGET_ARRAYS, strict=True)},
        true_returns=pooled.of_streams("true_returns"),
        divisor=reward_unit(agent),
        value_clip=dict(agent.algorithm_settings).get("value_clip"),
    )


def _of_the_pool(pooled: Pooled, fit: Mapping[str, np.ndarray]) -> Statistics:
    sizes = pooled.pool.sizes
    return {
        "pairs_used": np.array([size.used for size in sizes]),
        "is_prefix": np.array([size.is_prefix for size in sizes]),
        "pairs": np.array(pooled.pool.pairs),
        "streams": np.array(pooled.pool.streams),
        "trajectories": np.array(int(pooled.of_streams("trajectories").sum())),
        "estimates": np.array([size.count for size in sizes]),
        "incomplete_returns": np.array([int(pooled.of_streams("incomplete").sum())]),
        "fitted_pairs": np.array(int(fit["pairs"]) if fit else 0),
    }


def _pairs(streams: Any, plan: Plan) -> int:
    return int((streams.stop - streams.first) * plan.pool.n_steps)
