"""The measurement: a step is computed, then surrogates and true rewards at all points, from jobs to a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import own_seed, probe, sampling_part
from closerlook.algorithms.rules import clip_of, rule_of
from closerlook.arguments import with_plain_values
from closerlook.diagnostics.common.checks import as_agents
from closerlook.diagnostics.common.layout import Found
from closerlook.diagnostics.common.point_jobs import joined, parts_of
from closerlook.diagnostics.common.stages import StageAnswers, Stages
from closerlook.diagnostics.common.verdict import collapsed, is_collapsed
from closerlook.diagnostics.landscape.dataset import build_dataset, summary
from closerlook.diagnostics.landscape.findings import Surfaces, find
from closerlook.diagnostics.landscape.request import (
    ANOTHER_BATCH,
    NOWHERE,
    SURROGATE_COST,
    Request,
    Wishes,
    prepare,
)
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import Job, Progress, Silence, content_key, crew_of
from closerlook.execution.threads import single_thread
from closerlook.measurements.computed_steps import sample_attempt
from closerlook.measurements.pooled import Answers, Pooled
from closerlook.measurements.stream_sums import Question, StreamRange, sample_sums
from closerlook.measurements.surfaces import (
    Points,
    filter_normalized,
    flat_parameters,
    random_direction,
    sample_point_returns,
    sample_surrogates,
)
from closerlook.randomness import derive_seed
from closerlook.results.store import RunFolder, versions
from closerlook.simulation.records import Sampling
from closerlook.statistics.pool import Pool, plan_pool

MEASUREMENT_VERSION = 2
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""

STEP_PURPOSE = "landscape step"
HELDOUT_PURPOSE = "landscape held out"
GRADIENT_PURPOSE = "landscape gradient"
RETURNS_PURPOSE = "landscape returns"


@single_thread()
def landscape(  # noqa: PLR0913 - what a user may choose, each by name
    agent: Agent | Sequence[Agent],
    environment: str | EnvironmentSpec | None = None,
    *,
    pairs: int = 20_000,
    line_pairs: int | None = None,
    heldout_pairs: int = 65_536,
    gradient_pairs: int = 200_000,
    grid: int = 13,
    range: tuple[float, float] = (0.0, 3.0),  # noqa: A002 - the name users know it by
    axes: Sequence[str] = ("step", "random"),
    step_pairs: int | None = None,
    algorithm: str | None = None,
    towards: Agent | Sequence[Agent] = (),
    draws: str = "common",
    seed: int = 0,
    workers: int | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Measure surrogate and true reward on a plane through an agent's parameters, and along its first axis.

    Parameters
    ----------
    agent : Agent or sequence of Agent
        Several are measured one by one, with the same seed.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agent was trained on.
    pairs : int
        State-action pairs of each point of the plane, rounded up to whole streams; each finishes its last episode.
    line_pairs : int, optional
        The same of each point of the line along the first axis; default ten times `pairs`.
    heldout_pairs : int
        Pairs that the step has not seen, on which surrogates are evaluated as well.
    gradient_pairs : int
        Pairs that the axis ``gradient`` is estimated from.
    grid : int
        Points along each axis.
    range : (float, float)
        Multiples along each axis, from and to; it must hold 0, which is added where the grid misses it.
    axes : sequence of str
        One for a line, two for a plane: ``step``, ``gradient``, ``random``, ``filter``, ``difference``.
    step_pairs : int, optional
        Pairs that the step is computed from, in whole streams, or the first pairs of one; default the agent's batch.
    algorithm : str, optional
        Whose update the step is; default the agent's own.
    towards : Agent or sequence of Agent
        Whose policy parameters the axis ``difference`` leads to; all else stays the agent's own.
    draws : {"common", "independent"}
        Whether all points share their random numbers, or have their own.
    seed : int
        Root seed of the measurement.
    workers : int, optional
        Worker processes, default one per core. No number depends on it.
    out : str or Path, optional
        Folder for ``landscape.nc``, ``landscape.json`` and the finished jobs, from which the same call goes on.
    resume : bool
        Whether jobs that the folder holds are taken as done; else they are deleted, once what was asked makes sense.
    progress : Progress, optional
        Told how far the sampling has come.

    Returns
    -------
    xarray.Dataset
        `closerlook.results.schema` defines each variable; over ``agent`` where several were given.

    Raises
    ------
    InputError
        Where the agents differ in regime, a choice means nothing, an axis leads nowhere, of every agent, or the folder
        holds another run.
    NonFiniteError
        Where the agent's own parameters, rewards or observations are not finite, or every agent's updated ones. Points
        that explode are NaN.

    References
    ----------
    Ilyas et al., 2020, "A Closer Look at Deep Policy Gradients", section 2.3, Figures 5, 6, 7 and 13 to 20.
    """
    agents = as_agents(agent)
    given = (pairs, line_pairs, heldout_pairs, gradient_pairs, grid, range, axes)
    wishes = with_plain_values(Wishes(*given, step_pairs, algorithm, draws, seed))
    request = prepare(agents, environment, as_agents(towards), wishes)
    how = (crew_of(workers), progress or Silence())
    if out is None:
        with TemporaryDirectory() as scratch:
            return build_dataset(agents, _measure(agents, request, RunFolder(scratch), how), request)
    with RunFolder(out).open_for("landscape", request.settings(agents), resume=resume) as folder:
        dataset = build_dataset(agents, _measure(agents, request, folder, how), request)
        folder.write_dataset("landscape.nc", dataset)
        folder.write_json("landscape.json", summary(dataset))
        folder.finish(request.pairs * len(agents))
    return dataset


def _measure(agents: Sequence[Agent], request: Request, folder: RunFolder, how: tuple[int, Progress]) -> list[Found]:
    workers, progress = how
    subjects = [_Subject(number, agent, request) for number, agent in enumerate(agents)]
    first = [subject.first_jobs() for subject in subjects]

    def plan(answers: StageAnswers) -> list[_Plan]:
        return [subject.plan(own) for subject, own in zip(subjects, answers, strict=True)]

    stages = Stages(folder.jobs(), workers, progress)
    cost = request.cost * len(agents)
    stages.announce(cost, "landscape", first, lambda answers: [one.jobs() for one in plan(answers)])
    try:
        planned = plan(stages.run(first))
        _require_a_way(planned)
        answers = stages.run([one.jobs() for one in planned])
    finally:
        progress.finish()
    return [one.found(own) for one, own in zip(planned, answers, strict=True)]


def _require_a_way(planned: "Sequence[_Plan]") -> None:
    """Refuse agents of whom none has a step to go along."""
    if not all(plan.nowhere for plan in planned):
        return
    first, one = planned[0], len(planned) == 1
    if first.failed_step and first.lost_axis is None:
        what = "the update of the agent ends" if one else "the updates of all agents end"
        raise NonFiniteError(f"{what} with parameters that are not finite{first.collapse}", ANOTHER_BATCH)
    what, mend = NOWHERE[first.lost_axis or "step"]
    raise InputError(f"{what if one else f'no agent has a way to go: of the first, {what}'}{first.collapse}", mend)


class _Subject:
    """One agent, and the jobs that say where its axes lead."""

    def __init__(self, number: int, agent: Agent, request: Request) -> None:
        self.number, self.agent, self.request = number, agent, request
        self.seed = own_seed(request.seed, agent)
        self.rule = rule_of(agent, request.wishes.algorithm)
        self.key = [MEASUREMENT_VERSION, versions(), probe(agent), request.description, agent.normalize_advantages]

    def first_jobs(self) -> list[Job]:
        """List the job of the step, then those of the gradient's pool."""
        return [self._step_job(), *self._gradient_jobs()]

    def _step_job(self) -> Job:
        regime = self.request.step
        part, sampling = StreamRange(self.seed, STEP_PURPOSE, 0, regime.n_envs), self.sampling(regime)
        key = content_key("landscape step", *self.key, sampling, part, self.rule, self.agent.part("optimizer.policy"))
        arguments = self.arguments(sampling, part) | {"agent": self.agent, "rule": self.rule}
        return Job(f"step of agent {self.number}", key, sample_attempt, arguments, regime.batch_pairs)

    def _gradient_jobs(self) -> list[Job]:
        request, jobs = self.request, []
        if not request.uses_gradient:
            return []
        n_steps = request.sampling.n_steps
        for streams in self._gradient_pool.job_ranges:
            part = StreamRange(self.seed, GRADIENT_PURPOSE, streams.start, streams.stop)
            key = content_key("landscape gradient", *self.key, request.sampling, part)
            arguments = self.arguments(request.sampling, part)
            jobs.append(Job(f"gradient of agent {self.number}", key, sample_sums, arguments, len(streams) * n_steps))
        return jobs

    @property
    def _gradient_pool(self) -> Pool:
        """The pool of the gradient's axis, as two halves: no pool is of one estimate."""
        n_steps = self.request.sampling.n_steps
        half = max(1, self.request.streams(self.request.wishes.gradient_pairs) // 2) * n_steps
        return plan_pool(2 * half, 2, (n_steps, n_steps), [half])

    def arguments(self, sampling: Sampling, part: StreamRange) -> dict[str, Any]:
        environment = self.request.environment
        bare = sampling_part(self.agent)
        return {"agent": bare, "environment": environment, "sampling": sampling, "streams": part}

    def sampling(self, regime: Regime) -> Sampling:
        """Return how the streams of a batch are sampled."""
        return replace(self.request.sampling, n_steps=regime.n_steps)

    def plan(self, answers: Answers) -> "_Plan":
        """Return what is to be evaluated, now that it is known where the axes lead."""
        step = np.asarray(answers[0]["displacement"], np.float64)
        directions = [self._direction(axis, at, step, answers[1:]) for at, axis in enumerate(self.request.wishes.axes)]
        if len(directions) == 1:
            directions.append(np.zeros_like(step))
        return _Plan(self, step, np.array(directions), float(answers[0]["mean_kl"]), float(answers[0]["action_std"]))

    def _direction(self, axis: str, at: int, step: np.ndarray, gradient: Answers) -> np.ndarray:
        """Return what one multiple of an axis adds to the parameters: (D,)."""
        request = self.request
        if axis == "step":
            return step
        if axis == "gradient":
            return np.asarray(self._gradient(gradient) * np.linalg.norm(step))
        if axis == "difference":
            towards = request.towards[self.number if len(request.towards) > 1 else 0]
            return np.asarray(flat_parameters(towards) - flat_parameters(self.agent))
        drawn = random_direction(self.agent, self.seed, at)
        return drawn if axis == "random" else filter_normalized(self.agent, drawn)

    def _gradient(self, answers: Answers) -> np.ndarray:
        """Return the direction of the surrogate's gradient, (D,) of norm 1, or zero."""
        pool = self._gradient_pool
        pooled = Pooled(answers, pool, Question())
        found = pooled.estimates(pool.sizes[0], 0, normalize=self.agent.normalize_advantages).mean(axis=0)
        length = np.linalg.norm(found)
        return np.asarray(found / length if length > 0 else found)


@dataclass(frozen=True)
class _Plan:
    """The points of one agent, and the jobs that evaluate them."""

    subject: _Subject
    step: np.ndarray
    directions: np.ndarray
    step_kl: float
    action_std: float

    @property
    def lost_axis(self) -> str | None:
        """The first axis along which there is nowhere to go, None where there is none."""
        axes = self.subject.request.wishes.axes
        return next((axis for axis, way in zip(axes, self.directions, strict=False) if not way.any()), None)

    @property
    def zero_step(self) -> bool:
        """Whether an axis leads nowhere."""
        return self.lost_axis is not None

    @property
    def failed_step(self) -> bool:
        """Whether the update ended with parameters that are not finite."""
        return not np.isfinite(self.step).all()

    @property
    def nowhere(self) -> bool:
        """Whether an axis leads nowhere, or one knows not where, so that there is nothing to look at."""
        return self.zero_step or not np.isfinite(self.directions).all()

    @property
    def collapse(self) -> str:
        """Name a policy that has all but stopped to explore, for messages on its update."""
        told = is_collapsed(self.action_std) and self.lost_axis not in {"difference", "filter"}
        return f" ({collapsed(self.action_std)})" if told else ""

    def jobs(self) -> list[Job]:
        """List the jobs of both surrogates, then of the plane's rewards, then of the line's; none where all is lost."""
        if self.nowhere:
            return []
        request = self.subject.request
        plane = self._reward_jobs(request.plane, request.plane_streams, "plane")
        return [*self._surrogate_jobs(), *plane, *self._reward_jobs(request.line_points, request.line_streams, "line")]

    def _surrogate_jobs(self) -> list[Job]:
        request, own = self.subject.request, self.subject
        heldout = Regime(request.streams(request.wishes.heldout_pairs), request.sampling.n_steps)
        multiples = np.concatenate([request.plane, request.line_points])
        clip = clip_of(own.rule.settings)
        jobs = []
        for purpose, regime in ((STEP_PURPOSE, request.step), (HELDOUT_PURPOSE, heldout)):
            part, sampling = StreamRange(own.seed, purpose, 0, regime.n_envs), own.sampling(regime)
            for these in request.surrogate_parts(regime.batch_pairs):
                points = Points(self.directions, multiples[these.start : these.stop])
                key = content_key("landscape surrogates beside chance", *own.key, sampling, part, points, clip)
                arguments = own.arguments(sampling, part) | {"points": points, "clip": clip}
                name = f"surrogates of agent {own.number} ({purpose})"
                cost = regime.batch_pairs * (1 + SURROGATE_COST * len(these))
                jobs.append(Job(name, key, sample_surrogates, arguments, cost))
        return jobs

    def _surrogates(self, answers: Answers) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Put the points of the step's pairs together, and those of the others."""
        request = self.subject.request
        own = len(request.surrogate_parts(request.step.batch_pairs))
        names = ("surrogates", "stream_surrogates", "mean_kl", "clip_null")
        batch, heldout = (
            {name: np.concatenate([part[name] for part in parts], axis=-1) for name in names}
            for parts in (answers[:own], answers[own:])
        )
        return batch, heldout

    def _reward_jobs(self, multiples: np.ndarray, streams: int, what: str) -> list[Job]:
        request, own, jobs = self.subject.request, self.subject, []
        for points, part in parts_of(len(multiples), streams):
            chosen = Points(self.directions, multiples[points.start : points.stop])
            these = StreamRange(own.seed, RETURNS_PURPOSE, part.start, part.stop)
            seeds = [self._seed(point, what) for point in points]
            key = content_key("landscape returns", *own.key, request.sampling, these, chosen, seeds, what)
            arguments = own.arguments(request.sampling, these) | {"points": chosen, "seeds": seeds}
            arguments["list_episodes"] = what == "line"
            name = f"{what} of agent {own.number}, points {points.start} to {points.stop - 1}"
            pairs = len(points) * len(part) * request.sampling.n_steps
            jobs.append(Job(name, key, sample_point_returns, arguments, pairs))
        return jobs

    def _seed(self, point: int, what: str) -> int:
        seed = self.subject.seed
        return seed if self.subject.request.paired else derive_seed(seed, f"landscape {what}", stream=point)

    def found(self, answers: Answers) -> Found:
        """Work out every number of the dataset."""
        request = self.subject.request
        theta = flat_parameters(self.subject.agent)
        base = {"theta": theta, "directions": self.directions, "full_step_norm": np.array(np.linalg.norm(self.step))}
        base |= {"full_step_mean_kl": np.array(self.step_kl), "action_std": np.array(self.action_std)}
        base |= {"zero_step": np.array(self.zero_step), "failed_step": np.array(self.failed_step)}
        return base | find(self.subject.agent, request, None if self.nowhere else self._surfaces(answers))

    def _surfaces(self, answers: Answers) -> Surfaces:
        """Tell the answers of surrogates, plane and line apart, and put each together."""
        request = self.subject.request
        sizes = ((len(request.plane), request.plane_streams), (len(request.line), request.line_streams))
        plane_jobs, line_jobs = (sum(1 for _ in parts_of(*size)) for size in sizes)
        plane, line = len(answers) - plane_jobs - line_jobs, len(answers) - line_jobs
        batch, heldout = self._surrogates(answers[:plane])
        return Surfaces(batch, heldout, joined(answers[plane:line], *sizes[0]), joined(answers[line:], *sizes[1]))
