"""The measurement: a step is computed, then surrogates and true rewards at all points around the agent.

::

    Plan --> step (and gradient) --> directions --> surrogates, rewards of the plane, rewards of the line --> findings
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from closerlook.agents.agent import Regime
from closerlook.algorithms.rules import clip_of, rule_of
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.diagnostics.common.verdict import collapsed, is_collapsed
from closerlook.diagnostics.diagnostic import Answers, Cost, Stages, Statistics, UnmeasurableError
from closerlook.diagnostics.landscape.findings import BUDGETS, PAIRS_OF, REGIONS, Surfaces, budgets, landscape_findings
from closerlook.diagnostics.landscape.limits import Limits
from closerlook.diagnostics.landscape.options import ANOTHER_BATCH, NOWHERE
from closerlook.diagnostics.landscape.plan import SURROGATE_COST, Plan
from closerlook.diagnostics.subjects import Subject
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import Job, same_streams
from closerlook.measurements.point_parts import joined, one_point, parts_of
from closerlook.measurements.policy_updates import sample_attempt
from closerlook.measurements.pooled import Pooled
from closerlook.measurements.stream_sums import StreamStatistics, sample_sums
from closerlook.measurements.surfaces import (
    Points,
    filter_normalized,
    flat_parameters,
    random_direction,
    sample_point_returns,
    sample_surrogates,
)
from closerlook.randomness import derive_seed
from closerlook.statistics.pool import Pool, plan_pool

VERSION = 3
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""
STEP_PURPOSE = "landscape step"
HELDOUT_PURPOSE = "landscape held out"
GRADIENT_PURPOSE = "landscape gradient"
RETURNS_PURPOSE = "landscape returns"
STREAM_BYTES = 24.0
"""Of what is kept of a stream at a point, about: its return, and its pairs."""
FIRST_STREAMS = 16
"""Streams of each point of the line at the first interim analysis: those of one job."""


@dataclass(frozen=True)
class Way:
    """Where the axes of one agent lead.

    Parameters
    ----------
    step : ndarray, (D,)
        The update.
    directions : ndarray, (2, D)
        What one multiple of each axis adds to the parameters.
    mean_kl, action_std : float
        Of the step; of the policy's smallest action component.
    lost_axis : str or None
        The first axis along which there is nowhere to go.
    """

    step: np.ndarray
    directions: np.ndarray
    mean_kl: float
    action_std: float
    lost_axis: str | None

    @property
    def failed_update(self) -> bool:
        """Whether the update ended with parameters that are not finite."""
        return not np.isfinite(self.step).all()

    @property
    def leads_nowhere(self) -> bool:
        """Whether an axis leads nowhere, or one knows not where, so that there is nothing to look at."""
        return self.lost_axis is not None or not np.isfinite(self.directions).all()

    @property
    def refusal(self) -> InputError:
        """What to say where it leads nowhere."""
        is_known = is_collapsed(self.action_std, Limits().deterministic_std) and self.lost_axis not in {
            "difference",
            "filter",
        }
        collapse = f" ({collapsed(self.action_std)})" if is_known else ""
        if self.failed_update and self.lost_axis is None:
            what = f"the update of the agent ends with parameters that are not finite{collapse}"
            return NonFiniteError(what, ANOTHER_BATCH)
        what, hint = NOWHERE[self.lost_axis or "step"]
        return InputError(f"{what}{collapse}", hint)


def cost(subject: Subject, plan: Plan) -> Cost:
    """Count pairs, and surrogates at all points.

    Parameters
    ----------
    subject : Subject
        The agent, its environment and names of its streams.
    plan : Plan
        What is measured, see `plan`.
    """
    return Cost(plan.pairs, plan.work, plan.pairs / subject.regime.n_steps * STREAM_BYTES)


def measure(subject: Subject, plan: Plan) -> Stages:
    """Find where the axes lead, then evaluate surrogates and true rewards at all points.

    Parameters
    ----------
    subject : Subject
        The agent, its environment and names of its streams.
    plan : Plan
        What is measured, see `plan`.

    Yields
    ------
    list of Job
        The step, then the gradient's pool; surrogates on both batches, then true rewards of plane and line.

    Raises
    ------
    UnmeasurableError
        Where an axis leads nowhere.
    """
    answers = yield [_step_job(subject, plan), *_gradient_jobs(subject, plan)]
    way = _way(subject, plan, answers)
    if way.leads_nowhere:
        raise UnmeasurableError(way.refusal, _found(subject, plan, way, None))
    surrogates = _surrogate_jobs(subject, plan, way)
    plane = _reward_jobs(subject, plan, way, "plane")
    line = _reward_jobs(subject, plan, way, "line")
    answers = yield [*surrogates, *plane, *line]
    first, second = len(surrogates), len(surrogates) + len(plane)
    batch, heldout = _surrogates(plan, answers[:first])
    surfaces = Surfaces(
        batch,
        heldout,
        joined(answers[first:second], len(plan.plane), plan.plane_streams),
        joined(answers[second:], len(plan.line), plan.line_streams),
    )
    return _found(subject, plan, way, surfaces)


def labels(subjects: Sequence[Subject], plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name what lies along the dimensions.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    plan : Plan
        What is measured, see `plan`.
    """
    n_steps, options = plan.sampling.n_steps, plan.options
    shapes = subjects[0].agent.policy.parameter_shapes
    coordinates = {
        "step": plan.multiples[0],
        "random": plan.multiples[1],
        "line": plan.line,
        "budget": [streams * n_steps for streams in budgets(plan)],
        "usual_budget": [streams * n_steps for streams in BUDGETS],
        "pairs_of": list(PAIRS_OF),
        "region": list(REGIONS),
        "surrogate_name": list(SURROGATES),
    }
    return coordinates, {
        "axes": ", ".join(options.axes),
        "draws": options.draws,
        "step_algorithm": options.algorithm or "the agent's own",
        "step_pairs": plan.step.batch_pairs,
        "pairs_per_point": plan.plane_streams * n_steps,
        "line_pairs_per_point": plan.line_streams * n_steps,
        "time_limit": int(subjects[0].description["time_limit"] or 0),
        "parameter_names": json.dumps({name: list(shape) for name, shape in shapes.items()}),
    }


def first_analysis(subjects: Sequence[Subject], options: Any) -> tuple[int, int]:
    """Return the pairs of each point of the line at the first interim analysis, and those of one job.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.
    """
    pairs = FIRST_STREAMS * subjects[0].regime.n_steps
    return pairs, pairs


def shrink(plan: Plan, line_pairs: int) -> Plan:
    """Return a plan of fewer pairs along the line.

    Parameters
    ----------
    plan : Plan
        What is measured, see `plan`.
    line_pairs : int
        Of each point of the line.
    """
    return replace(plan, options=replace(plan.options, line_pairs=line_pairs))


def _step_job(subject: Subject, plan: Plan) -> Job:
    return subject.job(
        "step",
        sample_attempt,
        plan.step.batch_pairs,
        {
            "sampling": subject.in_streams_of(plan.step.n_steps),
            "streams": subject.streams(STEP_PURPOSE, 0, plan.step.n_envs),
            "rule": rule_of(subject.agent, plan.options.algorithm),
        },
        state="optimizer.policy",
        named_by=("landscape", VERSION),
        smaller=same_streams,
    )


def _gradient_pool(plan: Plan) -> Pool:
    """Return the pool of the gradient's axis, as two halves: no pool is of one estimate."""
    n_steps = plan.sampling.n_steps
    # two disjoint halves: their mean is the gradient, and an estimate has to be of whole streams
    half = max(1, plan.streams(plan.options.gradient_pairs) // 2) * n_steps
    return plan_pool(2 * half, 2, (n_steps, n_steps), [half])


def _gradient_jobs(subject: Subject, plan: Plan) -> list[Job]:
    if not plan.uses_gradient:
        return []
    return [
        subject.job(
            "gradient",
            sample_sums,
            len(streams) * plan.sampling.n_steps,
            {
                "sampling": plan.sampling,
                "streams": subject.streams(GRADIENT_PURPOSE, streams.start, streams.stop),
            },
            named_by=("landscape", VERSION),
        )
        for streams in _gradient_pool(plan).job_ranges
    ]


def _way(subject: Subject, plan: Plan, answers: Answers) -> Way:
    """Say where the axes lead, now that the step is known."""
    step = np.asarray(answers[0]["displacement"], np.float64)
    axes = plan.options.axes
    directions = [_direction(subject, plan, axis, at, step, answers[1:]) for at, axis in enumerate(axes)]
    lost = next((axis for axis, way in zip(axes, directions, strict=True) if not way.any()), None)
    if len(directions) == 1:
        directions.append(np.zeros_like(step))
    return Way(step, np.array(directions), float(answers[0]["mean_kl"]), float(answers[0]["action_std"]), lost)


def _direction(subject: Subject, plan: Plan, axis: str, at: int, step: np.ndarray, gradient: Answers) -> np.ndarray:
    """Return what one multiple of an axis adds to the parameters: (D,)."""
    if axis == "step":
        return step
    if axis == "gradient":
        pool = _gradient_pool(plan)
        pooled = Pooled(gradient, pool, StreamStatistics())
        normalize = subject.agent.normalize_advantages
        found = pooled.estimates(pool.sizes[0], 0, normalize=normalize).mean(axis=0)
        # the gradient is as long as the step, so that multiples of both compare
        length = np.linalg.norm(found)
        return np.asarray((found / length if length > 0 else found) * np.linalg.norm(step))
    if axis == "difference":
        towards = plan.towards[subject.number if len(plan.towards) > 1 else 0]
        return np.asarray(flat_parameters(towards) - flat_parameters(subject.agent))
    drawn = random_direction(subject.agent, subject.seed, at)
    return drawn if axis == "random" else filter_normalized(subject.agent, drawn)


def _surrogate_jobs(subject: Subject, plan: Plan, way: Way) -> list[Job]:
    """List the jobs of the step's own pairs, then those of held-out pairs."""
    heldout = Regime(plan.streams(plan.options.heldout_pairs), plan.sampling.n_steps)
    multiples = np.concatenate([plan.plane, plan.line_points])
    clip = clip_of(rule_of(subject.agent, plan.options.algorithm).settings)
    return [
        subject.job(
            "surrogates",
            sample_surrogates,
            regime.batch_pairs * (1 + SURROGATE_COST * len(these)),
            {
                "sampling": subject.in_streams_of(regime.n_steps),
                "streams": subject.streams(purpose, 0, regime.n_envs),
                "points": Points(way.directions, multiples[these.start : these.stop]),
                "clip": clip,
            },
            named_by=(VERSION,),
        )
        for purpose, regime in ((STEP_PURPOSE, plan.step), (HELDOUT_PURPOSE, heldout))
        for these in plan.surrogate_parts(regime.batch_pairs)
    ]


def _surrogates(plan: Plan, answers: Answers) -> list[dict[str, np.ndarray]]:
    """Put the points of the step's pairs together, and those of the others."""
    own = len(plan.surrogate_parts(plan.step.batch_pairs))
    names = ("surrogates", "stream_surrogates", "mean_kl", "clip_null")
    return [
        {name: np.concatenate([part[name] for part in parts], axis=-1) for name in names}
        for parts in (answers[:own], answers[own:])
    ]


def _reward_jobs(subject: Subject, plan: Plan, way: Way, what: str) -> list[Job]:
    """List the jobs of the true rewards of the plane, or of the line, which lists its episodes."""
    multiples, streams = {
        "plane": (plan.plane, plan.plane_streams),
        "line": (plan.line_points, plan.line_streams),
    }[what]
    sampling = subject.for_returns(streams)

    def seed(point: int) -> int:
        # common random numbers: all points have the root seed of the agent, so equal streams are equal draws
        return subject.seed if plan.paired else derive_seed(subject.seed, f"landscape {what}", stream=point)

    return [
        subject.job(
            f"{what}, points {points.start} to {points.stop - 1},",
            sample_point_returns,
            len(points) * len(part) * plan.sampling.n_steps,
            {
                "sampling": sampling,
                "streams": subject.streams(RETURNS_PURPOSE, part.start, part.stop),
                "points": Points(way.directions, multiples[points.start : points.stop]),
                "seeds": [seed(point) for point in points],
                "list_episodes": what == "line",
            },
            named_by=(VERSION,),
            smaller=one_point,
        )
        for points, part in parts_of(len(multiples), streams)
    ]


def _found(subject: Subject, plan: Plan, way: Way, surfaces: Surfaces | None) -> Statistics:
    """Work out every number of the dataset."""
    base = {
        "theta": flat_parameters(subject.agent),
        "directions": way.directions,
        "full_update_norm": np.array(np.linalg.norm(way.step)),
        "full_update_mean_kl": np.array(way.mean_kl),
        "action_std": np.array(way.action_std),
        "zero_update": np.array(way.lost_axis is not None),
        "failed_update": np.array(way.failed_update),
    }
    return base | landscape_findings(subject.agent, plan, surfaces)
