"""The measurement: one pool of streams, reduced by workers to sums; every size's estimates follow from the same sums.

::

    Options --> Plan --> jobs of sums (and of updates) --> Pooled --> findings
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.algorithms.rules import rule_of
from closerlook.diagnostics.diagnostic import Cost, Stages
from closerlook.diagnostics.gradients.alternatives import Alternative, alternatives, weightings
from closerlook.diagnostics.gradients.findings import gradient_findings, true_gradient_pairs
from closerlook.diagnostics.gradients.options import Advantages, Options
from closerlook.diagnostics.gradients.updates import StepPlan, find_updates, plan_updates, step_jobs
from closerlook.diagnostics.subjects import Subject
from closerlook.errors import InputError
from closerlook.execution import Job
from closerlook.measurements.pooled import Pooled
from closerlook.measurements.stream_sums import StreamStatistics, sample_sums
from closerlook.measurements.true_returns import COVARIATES, TrueGradient, continuation_steps
from closerlook.nn.score_squares import layer_slices
from closerlook.statistics.pool import Pool, plan_pool

VERSION = 6
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""
PURPOSE = "gradients"
ANSWERS_IN_MEMORY = 2**29
"""Bytes of answers to be held at once; agents are measured in groups of so many."""
FIRST_ESTIMATES = 16
"""Estimates of the size in question at the first interim analysis."""
MUCH_MEMORY = 2_000_000_000
"""Bytes of one agent's answers from which on a warning is due."""
JOB_STREAMS = 16
"""Streams of a job at every interim analysis, so that none samples again what an earlier one has."""


@dataclass(frozen=True)
class Plan:
    """What is asked of each agent: how its pool is divided, and what is added up.

    Parameters
    ----------
    options : Options
        As asked.
    batch : (int, int)
        Pairs of a stream, and of a training batch.
    pool : Pool
        What is sampled, and the estimates of each size.
    advantages : {"normalized", "raw"}
        Of the agents' own estimates.
    others : tuple of Alternative
        Estimates of the same pairs made otherwise.
    true_gradients : tuple of TrueGradient
        Gradients of true returns.
    steps : StepPlan or None
        Batches that updates are computed from.
    """

    options: Options
    batch: tuple[int, int]
    pool: Pool
    advantages: Advantages
    others: tuple[Alternative, ...]
    true_gradients: tuple[TrueGradient, ...]
    steps: StepPlan | None

    @property
    def statistics(self) -> StreamStatistics:
        """What is asked of each stream."""
        return StreamStatistics(self.pool.prefixes, weightings(self.others), self.true_gradients)

    def answer_bytes(self, agent: Agent) -> int:
        """Estimate the memory of an agent's answers."""
        parameters = sum(tensor.numel() for tensor in agent.policy_parameters.values())
        rows = len(self.statistics.weightings) + (len(self.true_gradients) + COVARIATES if self.true_gradients else 0)
        return self.pool.answer_bytes(parameters, rows)


def plan(subjects: Sequence[Subject], options: Options) -> Plan:
    """Divide the pool, and say what is compared with what.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.

    Raises
    ------
    InputError
        Where pairs are too few for the sizes, agents differ in what they must share, or lack what is asked for.
    """
    agents = [subject.agent for subject in subjects]
    if options.lambdas and any(agent.value is None for agent in agents):
        what = "an agent without a critic has no lambda: it is measured with returns in place of advantages"
        raise InputError(what, "leave out the lambdas")
    endless = [agent.gamma for agent in agents if continuation_steps(agent.gamma) is None]
    if "discounted_return" in options.true_gradients and endless:
        what = f"discounted returns do not come to an end with gamma {endless[0]:g}"
        raise InputError(what, "leave out the true gradient discounted_return; episode_return needs no discount")
    advantages = _advantages(agents, options.advantages)
    others = alternatives(options.lambdas, options.baselines, normalize=advantages == "normalized")
    true_gradients = tuple(
        true_gradient for true_gradient in get_args(TrueGradient) if true_gradient in options.true_gradients
    )
    regime = subjects[0].regime
    batch = (regime.n_steps, regime.batch_pairs)
    pool = _pool(batch, options, options.pairs)
    planned = Plan(options, batch, pool, advantages, others, true_gradients, _updates(agents, options))
    needed = planned.answer_bytes(agents[0])
    if needed > MUCH_MEMORY:
        hint = "fewer --pairs, --sizes below a stream, --lambdas or --true-gradients take less"
        warnings.warn(f"what is kept of each agent takes about {needed / 1e9:.1f} GB of memory; {hint}", stacklevel=2)
    return planned


def cost(subject: Subject, plan: Plan) -> Cost:
    """Count pairs: of the pool, and of the batches that updates are computed from.

    Parameters
    ----------
    subject : Subject
        The agent, its environment and names of its streams.
    plan : Plan
        What is measured, see `plan`.
    """
    steps = 0 if plan.steps is None else plan.steps.streams * plan.steps.batches * plan.pool.n_steps
    return Cost(plan.pool.pairs + steps, plan.pool.pairs + steps, plan.answer_bytes(subject.agent))


def together(subjects: Sequence[Subject], plan: Plan, workers: int) -> int:
    """Say how many agents' answers may be held at once.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    plan : Plan
        What is measured, see `plan`.
    workers : int
        Processes.
    """
    return max(1, ANSWERS_IN_MEMORY // max(1, plan.answer_bytes(subjects[0].agent)))


def measure(subject: Subject, plan: Plan) -> Stages:
    """Sample, and reduce: all jobs of one agent are independent, so there is one stage.

    Parameters
    ----------
    subject : Subject
        The agent, its environment and names of its streams.
    plan : Plan
        What is measured, see `plan`.

    Yields
    ------
    list of Job
        Sums over the streams of the pool, then the updates.
    """
    sums = _sum_jobs(subject, plan)
    updates = step_jobs(subject, plan.steps) if plan.steps is not None else []
    answers = yield [*sums, *updates]
    pooled = Pooled(answers[: len(sums)], plan.pool, plan.statistics)
    layers = layer_slices(subject.agent.policy.parameter_shapes)
    found = gradient_findings(pooled, plan.others, layers, normalize=plan.advantages == "normalized")
    mean_return = pooled.mean_episode_return(subject.sampling, subject.description["time_limit"])
    found["mean_episode_return"] = np.array(mean_return)
    found["pairs_used"] = np.array([size.used for size in plan.pool.sizes])
    found["is_prefix"] = np.array([size.is_prefix for size in plan.pool.sizes])
    if plan.steps is None:
        return found
    fresh = rule_of(subject.agent, plan.steps.algorithm).fresh_optimizer
    gradient = pooled.surrogate()
    shares, groups = pooled.all_in_the_rest(gradient), pooled.groups(gradient)
    return found | find_updates(answers[len(sums) :], shares, groups, fresh_optimizer=fresh)


def labels(subjects: Sequence[Subject], plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name what lies along the dimensions.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    plan : Plan
        What is measured, see `plan`.
    """
    agents = [subject.agent for subject in subjects]
    coordinates: dict[str, Any] = {
        "size": [size.asked for size in plan.pool.sizes],
        "alternative": [other.name for other in plan.others],
        "true_gradient": list(plan.true_gradients),
        "true_gradient_pair": [" and ".join(pair) for pair in true_gradient_pairs(plan.true_gradients)],
        "layer": list(layer_slices(agents[0].policy.parameter_shapes)),
    }
    attributes: dict[str, Any] = {"advantages": plan.advantages}
    if plan.options.precision is not None:
        attributes["precision_size"] = judged_size(subjects, plan.options)
    if plan.steps is not None:
        coordinates["update_size"] = list(plan.steps.sizes)
        algorithms = {rule_of(agent, plan.steps.algorithm).algorithm for agent in agents}
        attributes["step_algorithm"] = ", ".join(sorted(algorithms))
    return coordinates, attributes


def judged_size(subjects: Sequence[Subject], options: Options) -> int:
    """Return the pairs of the estimates whose interval is sampled to.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.
    """
    return options.precision_size or subjects[0].regime.batch_pairs


def first_analysis(subjects: Sequence[Subject], options: Options) -> tuple[int, int]:
    """Return the pairs of the first interim analysis, and of one job.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.
    """
    # enough for every size to have its estimates at the first analysis already
    n_steps = subjects[0].regime.n_steps
    size = judged_size(subjects, options)
    least = options.estimates * max(n_steps, size, *(options.sizes or ()))
    return max(FIRST_ESTIMATES * max(size, n_steps), least), JOB_STREAMS * n_steps


def shrink(plan: Plan, pairs: int) -> Plan:
    """Return a plan of fewer pairs; updates, which have streams of their own, stay.

    Parameters
    ----------
    plan : Plan
        What is measured, see `plan`.
    pairs : int
        Of the pool.
    """
    return replace(plan, pool=_pool(plan.batch, plan.options, pairs))


def _pool(batch: tuple[int, int], options: Options, pairs: int) -> Pool:
    """Divide the pool; the size whose interval is sampled to is among the sizes, default or asked for."""
    pool = plan_pool(pairs, options.estimates, batch, options.sizes or None)
    if options.precision is None:
        return pool
    size = options.precision_size or batch[1]
    sizes = [one.asked for one in pool.sizes]
    if size not in sizes:
        pool = plan_pool(pairs, options.estimates, batch, [*sizes, size])
    return replace(pool, job_streams=JOB_STREAMS)


def _updates(agents: Sequence[Agent], options: Options) -> StepPlan | None:
    if not (options.updates or options.update_sizes or options.algorithm):
        return None
    for agent in agents:
        rule_of(agent, options.algorithm)
    most = options.pairs // options.estimates
    return plan_updates(agents[0].regime, most, options.estimates, options.update_sizes or None, options.algorithm)


def _advantages(agents: Sequence[Agent], asked: Advantages | None) -> Advantages:
    normalize = {agent.normalize_advantages for agent in agents}
    if asked is None and len(normalize) > 1:
        raise InputError("some of the agents standardize advantages, some do not", "give advantages")
    return asked or ("normalized" if normalize == {True} else "raw")


def _sum_jobs(subject: Subject, plan: Plan) -> list[Job]:
    return [
        subject.job(
            "gradients",
            sample_sums,
            len(streams) * plan.pool.n_steps,
            {
                "sampling": subject.sampling,
                "streams": subject.streams(PURPOSE, streams.start, streams.stop),
                "statistics": plan.statistics,
            },
            named_by=(VERSION,),
        )
        for streams in plan.pool.job_ranges
    ]
