"""The measurement: from agents to jobs, from their answers to a dataset."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import own_seed, probe, sampling_part
from closerlook.algorithms.rules import rule_of
from closerlook.arguments import with_plain_values
from closerlook.diagnostics.common.checks import as_agents
from closerlook.diagnostics.common.layout import Found
from closerlook.diagnostics.gradients.alternatives import Baseline
from closerlook.diagnostics.gradients.dataset import summary
from closerlook.diagnostics.gradients.findings import find
from closerlook.diagnostics.gradients.looks import Target, half_width, looks, pairs_wanted
from closerlook.diagnostics.gradients.request import Advantages, Request, Wishes, prepare
from closerlook.diagnostics.gradients.steps import find_steps, step_jobs
from closerlook.execution import Job, JobCache, Progress, Within, content_key, crew_of, run_jobs
from closerlook.execution.threads import single_thread
from closerlook.measurements.pooled import Answers, Pooled
from closerlook.measurements.stream_sums import StreamRange, sample_sums
from closerlook.measurements.truths import Truth
from closerlook.nn.score_squares import layer_slices
from closerlook.results.store import RunFolder, versions

MEASUREMENT_VERSION = 5
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""

PURPOSE = "gradients"
How = tuple[int | None, JobCache | None, Progress | None]
"""Workers, where answers are kept, who is told how far it is."""
ANSWERS_IN_MEMORY = 2**29
"""Bytes of answers to be held at once; agents are measured in groups of so many."""


@single_thread()
def gradient_quality(  # noqa: PLR0913 - what a user may choose, each by name
    agent: Agent | Sequence[Agent],
    environment: str | EnvironmentSpec | None = None,
    *,
    pairs: int = 1_000_000,
    estimates: int = 10,
    sizes: Sequence[int] | None = None,
    advantages: Advantages | None = None,
    lambdas: Sequence[float] = (),
    baselines: Sequence[Baseline] = (),
    truths: Sequence[Truth] = (),
    computed_steps: bool = False,
    step_sizes: Sequence[int] | None = None,
    algo: str | None = None,
    precision: float | None = None,
    precision_size: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Measure how well disjoint estimates of the policy gradient agree, for estimates of several sizes.

    The estimate is the gradient, at the agent's parameters, of the surrogate ``mean(ratio * A)``: what the first step
    of its algorithm would follow. Agreement is the mean cosine similarity of all pairs of estimates: near 1 where
    estimates of that size hardly vary, near 0 where they are mostly noise. Small values are usual at the batch that
    trains an agent.

    Parameters
    ----------
    agent : Agent or sequence of Agent
        Several are measured one by one, with the same seed.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agent was trained on.
    pairs : int
        State-action pairs sampled of each agent, rounded up to whole streams. An agent whose training does not reset
        its environments at every iteration starts each stream after an unscored burn-in of random length, up to the
        time limit (1000 steps where there is none), which comes on top.
    estimates : int
        Disjoint estimates of each size, at least; every size gets as many as the pool has, up to 512.
    sizes : sequence of int, optional
        Pairs of an estimate: below a stream its first pairs, which is another estimand (early states, an earlier
        cut), above it whole streams, rounded down. Default powers of two from 128 to ``pairs / estimates``, the
        training batch, and the most streams that still give as many estimates.
    advantages : {"normalised", "raw"}, optional
        Standardised within each estimate's pairs, or not; default what the agent's algorithm does. Without a critic,
        discounted returns stand in for advantages.
    lambdas : sequence of float
        Also compare estimates by these lambdas of generalised advantage estimation, of the same pairs; refused where
        an agent has no critic.
    baselines : sequence of {"critic", "returns"}
        With ``"returns"``, also compare estimates with discounted returns in place of advantages.
    truths : sequence of {"discounted_return", "episode_return"}
        Also compare estimates with the gradients of true returns, beside that of the surrogate. Streams are then
        simulated on past their cut, and past time limits, which may nearly double the work.
    computed_steps : bool
        Also compare what the algorithm would do: the updates it makes of independent batches, as many as `estimates`,
        from streams of their own.
    step_sizes : sequence of int, optional
        Pairs of these batches; default the training batch, and four times, sixteen times ... as much, up to
        ``pairs / estimates``.
    algo : {"ppo", "trpo", "natural", "vanilla"}, optional
        Whose update, with its default settings; default the agent's own with the agent's settings, else PPO.
    precision : float, optional
        Sample only until half the 95% interval of the pairwise cosine at `precision_size` is at most this for every
        agent: in looks at pools of doubling size, up to `pairs`.
    precision_size : int, optional
        Pairs of an estimate; default the training batch.
    seed : int
        Root seed of the measurement.
    workers : int, optional
        Worker processes, default one per core. No number depends on it.
    out : str or Path, optional
        Folder for ``gradients.nc``, ``gradients.json`` and the finished jobs, from which the same call goes on.
    resume : bool
        Whether jobs that the folder holds are taken as done; else they are deleted, once what was asked makes sense.
    progress : Progress, optional
        Told how far the sampling has come.

    Returns
    -------
    xarray.Dataset
        Over ``size``, and ``agent`` where several were given; `closerlook.results.schema` defines each variable.

    Raises
    ------
    InputError
        Where pairs are too few for the sizes, agents differ in regime, or the folder holds another run.
    NonFiniteError
        Where parameters, rewards, observations or advantages are not finite.

    References
    ----------
    Ilyas et al., 2020, "A Closer Look at Deep Policy Gradients", section 2.1, Figures 1 and 9.
    """
    agents = as_agents(agent)
    wishes = with_plain_values(Wishes(
        pairs, estimates, sizes, advantages, lambdas, baselines, truths, computed_steps, step_sizes, algo, seed,
        precision, precision_size,
    ))  # fmt: skip
    request, crew = prepare(agents, environment, wishes), crew_of(workers)
    if out is None:
        with TemporaryDirectory() as scratch:
            cache = None if precision is None else RunFolder(scratch).jobs()
            return _sample(agents, request, wishes, (crew, cache, progress), lambda _: None)
    with RunFolder(out).open_for("gradients", request.settings(agents, wishes), resume=resume) as folder:

        def keep(found: xr.Dataset) -> None:
            folder.write_dataset("gradients.nc", found)
            folder.write_json("gradients.json", summary(found))

        dataset = _sample(agents, request, wishes, (crew, folder.jobs(), progress), keep)
        apart = request.pairs - request.pool.pairs
        folder.finish(int(dataset["pairs"].sum()) + apart * len(agents))
    return dataset


def _sample(
    agents: Sequence[Agent], request: Request, wishes: Wishes, how: How, keep: Callable[[xr.Dataset], None]
) -> xr.Dataset:
    """Sample as many pairs as were asked for, or until the interval in question is narrow enough.

    What every look found is kept, so that an interruption of a later one leaves it.
    """
    target, progress = wishes.target(agents[0].regime.batch_pairs), how[2]
    if target is None:
        dataset = request.dataset(agents, _measure(agents, request, *how))
        keep(dataset)
        return dataset
    n_steps = agents[0].regime.n_steps
    least = wishes.estimates * max(n_steps, target.size, *(wishes.sizes or ()))
    planned = (
        prepare(agents, request.environment, replace(wishes, pairs=pairs))
        for pairs in looks(target, n_steps, least, wishes.pairs)
    )
    plan = [replace(look, steps=request.steps) for look in planned]  # default sizes of steps grow with the pairs
    if progress is not None:
        progress.outlook(*(look.pairs * len(agents) for look in (plan[0], plan[-1])))
    for look in plan:
        dataset, width = _look(agents, look, target, how)
        keep(dataset)
        if width <= target.half_width:
            break
        if progress is not None:
            progress.note(_how_it_goes(look.pool.pairs, width, target, wishes.pairs))
    return dataset


def _look(agents: Sequence[Agent], look: Request, target: Target, how: How) -> tuple[xr.Dataset, float]:
    """Measure with the pairs of one look: what was found, and how narrow the interval in question is."""
    dataset = look.dataset(agents, _measure(agents, look, *how))
    width = half_width(dataset, target)
    return dataset.assign_attrs(
        precision=target.half_width,
        precision_size=target.size,
        half_width=width,
        precision_reached=int(width <= target.half_width),
    ), width


def _how_it_goes(pairs: int, width: float, target: Target, most: int) -> str:
    known = f"after {pairs:,} pairs the cosine at {target.size:,} is known to {width:.3f} either way"
    if pairs >= most:
        return f"{known}, not to {target.half_width:g}: --pairs is reached"
    needed = pairs_wanted(pairs, width, target)
    guess = f"about {needed:,.0f} will do" if np.isfinite(needed) else "more are needed"
    return f"{known}; {guess}" + (f", and --pairs stops at {most:,}" if needed > most else "")


def _measure(
    agents: Sequence[Agent],
    request: Request,
    workers: int | None,
    cache: JobCache | None,
    progress: Progress | None,
) -> list[Found]:
    """Sample and reduce; agents in groups, so that the answers held at once are bounded."""
    groups = list(_in_groups(agents, request))
    several = progress is not None and len(groups) > 1
    if progress is not None and several:
        progress.start(request.pairs * len(agents), "gradients")
        inner: Progress | None = Within(progress)
    else:
        inner = progress  # told by run_jobs what is still to do, finished jobs left out
    found = []
    for group in groups:
        jobs = [(_jobs(number, agent, request), _step_jobs(number, agent, request)) for number, agent in group]
        flat = [job for sums, steps in jobs for job in (*sums, *steps)]
        answers = iter(run_jobs(flat, workers=workers, cache=cache, progress=inner, label="gradients"))
        for (_, agent), (sums, steps) in zip(group, jobs, strict=True):
            found.append(_find(agent, request, [next(answers) for _ in sums], [next(answers) for _ in steps]))
    if progress is not None and several:
        progress.finish()
    return found


def _find(agent: Agent, request: Request, sums: Answers, steps: Answers) -> Found:
    """Merge the answers of one agent's jobs."""
    pooled = Pooled(sums, request.pool, request.question)
    layers = layer_slices(agent.policy.parameter_shapes)
    found = find(pooled, request.others, layers, normalize=request.advantages == "normalised")
    if request.steps is None:
        return found
    fresh = rule_of(agent, request.steps.algorithm).fresh_optimizer
    gradient = pooled.surrogate()
    shares, groups = pooled.all_in_the_rest(gradient), pooled.groups(gradient)
    return found | find_steps(steps, shares, groups, fresh_optimizer=fresh)


def _step_jobs(number: int, agent: Agent, request: Request) -> list[Job]:
    if request.steps is None:
        return []
    where = request.environment, request.description
    return step_jobs(number, agent, where, request.sampling, own_seed(request.seed, agent), request.steps)


def _in_groups(agents: Sequence[Agent], request: Request) -> Iterator[list[tuple[int, Agent]]]:
    group: list[tuple[int, Agent]] = []
    held = 0
    for number, agent in enumerate(agents):
        size = request.answer_bytes(agent)
        if group and held + size > ANSWERS_IN_MEMORY:
            yield group
            group, held = [], 0
        group.append((number, agent))
        held += size
    yield group


def _jobs(number: int, agent: Agent, request: Request) -> list[Job]:
    """List one agent's jobs: the same ones in every run that asks for the same."""
    pool, sampling = request.pool, request.sampling
    bare, identity, seed = sampling_part(agent), probe(agent), own_seed(request.seed, agent)
    jobs = []
    for streams in pool.job_ranges:
        part = StreamRange(seed, PURPOSE, streams.start, streams.stop)
        asked = (request.description, sampling, part, request.question)
        jobs.append(
            Job(
                name=f"gradients of agent {number}, streams {streams.start} to {streams.stop - 1}",
                key=content_key("gradients", MEASUREMENT_VERSION, versions(), identity, *asked),
                function=sample_sums,
                arguments={
                    "agent": bare,
                    "environment": request.environment,
                    "sampling": sampling,
                    "streams": part,
                    "question": request.question,
                },
                pairs=len(streams) * pool.n_steps,
            )
        )
    return jobs
