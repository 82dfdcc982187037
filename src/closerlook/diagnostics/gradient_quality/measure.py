"""The measurement: from agents to jobs, from their answers to a dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import observation_size, probe, sampling_part
from closerlook.algorithms.stream_sums import Question, StreamRange, sample_sums
from closerlook.algorithms.truths import COVARIATES, Truth, continuation_steps
from closerlook.diagnostics.gradient_quality.alternatives import Alternative, Baseline, alternatives, weightings
from closerlook.diagnostics.gradient_quality.dataset import build_dataset, summary
from closerlook.diagnostics.gradient_quality.findings import Found, find, truth_pairs
from closerlook.diagnostics.gradient_quality.pooled import Pooled
from closerlook.errors import InputError, NonFiniteError
from closerlook.estimation.pool import Pool, plan_pool
from closerlook.estimation.score_squares import layer_slices
from closerlook.execution import Job, JobCache, Progress, Within, content_key, run_jobs
from closerlook.results.store import RunFolder, versions
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.records import Sampling

Advantages = Literal["normalised", "raw"]
"""Whether advantages are standardised within the pairs of each estimate, or taken as they are."""

MEASUREMENT_VERSION = 4
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""

PURPOSE = "gradients"
LONGEST_BURN_IN = 1000
"""Upper bound of the unscored start of a stream where the environment has no time limit."""
ANSWERS_IN_MEMORY = 2**29
"""Bytes of answers to be held at once; agents are measured in groups of so many."""


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
    seed: int = 0,
    workers: int | None = None,
    out: str | Path | None = None,
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
        cut), above it whole streams, rounded down. Default powers of two from 128 to ``pairs / estimates``, and the
        training batch.
    advantages : {"normalised", "raw"}, optional
        Standardised within each estimate's pairs, or not; default what the agent's algorithm does. Without a critic,
        discounted returns stand in for advantages.
    lambdas : sequence of float
        Also compare estimates by these lambdas of generalised advantage estimation, of the same pairs.
    baselines : sequence of {"critic", "zero"}
        With ``"zero"``, also compare estimates with discounted returns in place of advantages.
    truths : sequence of {"discounted_return", "episode_return"}
        Also compare estimates with the gradients of true returns, beside that of the surrogate. Streams are then
        simulated on past their cut, and past time limits, which may nearly double the work.
    seed : int
        Root seed of the measurement.
    workers : int, optional
        Worker processes, default one per core. No number depends on it.
    out : str or Path, optional
        Folder for ``gradients.nc``, ``gradients.json`` and the finished jobs, from which the same call goes on.
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
    agents = [agent] if isinstance(agent, Agent) else list(agent)
    agents = [one for given in agents for one in given.unstack()]
    measurement = _prepare(
        agents, environment, (advantages, lambdas, baselines, truths), seed, plan=(pairs, estimates, sizes)
    )
    if out is None:
        found = _measure(agents, measurement, workers, None, progress)
        return measurement.dataset(agents, found)
    with RunFolder(out).open_for("gradients", measurement.settings(agents, (pairs, estimates, sizes))) as folder:
        found = _measure(agents, measurement, workers, folder.jobs(), progress)
        dataset = measurement.dataset(agents, found)
        folder.write_dataset("gradients.nc", dataset)
        folder.write_json("gradients.json", summary(dataset))
        folder.finish(measurement.pool.pairs * len(agents))
    return dataset


@dataclass(frozen=True)
class _Measurement:
    """All that is the same for every agent of a call."""

    environment: EnvironmentSpec
    description: Mapping[str, Any]
    pool: Pool
    advantages: Advantages
    others: tuple[Alternative, ...]
    truths: tuple[Truth, ...]
    seed: int

    @property
    def question(self) -> Question:
        """What is asked of each stream."""
        return Question(self.pool.beginnings, weightings(self.others), self.truths)

    def settings(self, agents: Sequence[Agent], plan: tuple[int, int, Sequence[int] | None]) -> dict[str, Any]:
        """Return what decides the results, for the run folder."""
        pairs, estimates, sizes = plan
        return {
            "agents": [content_key(probe(agent)) for agent in agents],
            "environment": self.environment.to_json(),
            "pairs": pairs,
            "estimates": estimates,
            "sizes": None if sizes is None else list(sizes),
            "advantages": self.advantages,
            "alternatives": [other.name for other in self.others],
            "truths": list(self.truths),
            "seed": self.seed,
        }

    def dataset(self, agents: Sequence[Agent], found: Sequence[Found]) -> xr.Dataset:
        """Label what was found of the agents."""
        coordinates: dict[str, list[str]] = {
            "alternative": [other.name for other in self.others],
            "truth": list(self.truths),
            "truth_pair": [" and ".join(pair) for pair in truth_pairs(self.truths)],
            "layer": list(layer_slices(agents[0].policy.parameter_shapes)),
        }
        attributes = {"environment": self.environment.id, "advantages": self.advantages, "seed": self.seed}
        return build_dataset(agents, found, coordinates, self.pool, attributes)


def _prepare(
    agents: Sequence[Agent],
    environment: str | EnvironmentSpec | None,
    estimator: tuple[Advantages | None, Sequence[float], Sequence[Baseline], Sequence[Truth]],
    seed: int,
    plan: tuple[int, int, Sequence[int] | None],
) -> _Measurement:
    """Check what was asked, before anything is simulated."""
    if not agents:
        raise InputError("there is no agent to measure", "give at least one")
    advantages, lambdas, baselines, truths = estimator
    _require_known(truths, agents)
    if advantages not in (None, "normalised", "raw"):
        raise InputError(f"advantages cannot be {advantages!r}", "give normalised or raw")
    if len({agent.regime for agent in agents}) > 1:
        raise InputError("the agents gather their batches differently (n_envs, n_steps)", "measure them one by one")
    for agent in agents:
        _require_finite(agent)
    if len({tuple(agent.policy.parameter_shapes.items()) for agent in agents}) > 1:
        raise InputError("the agents' policies are built differently", "measure them one by one")
    spec = _environment(agents, environment)
    normalise = {agent.normalize_advantages for agent in agents}
    if advantages is None and len(normalise) > 1:
        raise InputError("some of the agents standardise advantages, some do not", "give advantages")
    chosen: Advantages = advantages or ("normalised" if normalise == {True} else "raw")
    others = alternatives(lambdas, baselines, normalize=chosen == "normalised")
    pairs, estimates, sizes = plan
    regime = agents[0].regime
    pool = plan_pool(pairs, estimates, (regime.n_steps, regime.batch_pairs), sizes)
    description = describe_environment(spec)
    _require_fit(agents, description)
    asked = tuple(truth for truth in get_args(Truth) if truth in truths)
    return _Measurement(spec, description, pool, chosen, others, asked, seed)


def _require_known(truths: Sequence[Truth], agents: Sequence[Agent]) -> None:
    unknown = [truth for truth in truths if truth not in get_args(Truth)]
    if unknown:
        raise InputError(f"there is no truth {unknown[0]!r}", f"choose from {' and '.join(get_args(Truth))}")
    endless = [agent.gamma for agent in agents if continuation_steps(agent.gamma) is None]
    if "discounted_return" in truths and endless:
        what = f"discounted returns do not come to an end with gamma {endless[0]:g}"
        raise InputError(what, "leave out the truth discounted_return; episode_return needs no discount")


def _require_fit(agents: Sequence[Agent], description: Mapping[str, Any]) -> None:
    there = description["observation_size"]
    for agent in agents:
        taken = observation_size(agent.policy)
        if taken != there:
            what = f"observations of {description['id']} have {there} components, the agent's policy takes {taken}"
            raise InputError(what, "give the environment it was trained on")


def _environment(agents: Sequence[Agent], environment: str | EnvironmentSpec | None) -> EnvironmentSpec:
    if isinstance(environment, EnvironmentSpec):
        return environment
    if environment is not None:
        return EnvironmentSpec(environment)
    first = agents[0].environment
    if first is None:
        raise InputError("the agent does not say what it was trained on", "give the environment (--env)")
    if any(agent.environment != first for agent in agents):
        raise InputError("the agents were trained on different environments", "give the environment (--env)")
    return first


def _require_finite(agent: Agent) -> None:
    for name, tensor in agent.state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NonFiniteError(f"{name} of the agent is not finite", "choose another checkpoint")


def _measure(
    agents: Sequence[Agent],
    measurement: _Measurement,
    workers: int | None,
    cache: JobCache | None,
    progress: Progress | None,
) -> list[Found]:
    """Sample and reduce; agents in groups, so that the answers held at once are bounded."""
    pool, groups = measurement.pool, list(_in_groups(agents, measurement))
    several = progress is not None and len(groups) > 1
    if progress is not None and several:
        progress.start(pool.pairs * len(agents), "gradients")
        inner: Progress | None = Within(progress)
    else:
        inner = progress  # told by run_jobs what is still to do, finished jobs left out
    found = []
    for group in groups:
        jobs = [_jobs(number, agent, measurement) for number, agent in group]
        flat = [job for own in jobs for job in own]
        answers = iter(run_jobs(flat, workers=workers, cache=cache, progress=inner, label="gradients"))
        for (_, agent), own in zip(group, jobs, strict=True):
            pooled = Pooled([next(answers) for _ in own], pool, measurement.question)
            layers = layer_slices(agent.policy.parameter_shapes)
            normalize = measurement.advantages == "normalised"
            found.append(find(pooled, measurement.others, layers, normalize=normalize))
    if progress is not None and several:
        progress.finish()
    return found


def _in_groups(agents: Sequence[Agent], measurement: _Measurement) -> Iterator[list[tuple[int, Agent]]]:
    group: list[tuple[int, Agent]] = []
    held = 0
    width = len(weightings(measurement.others)) + (len(measurement.truths) + COVARIATES if measurement.truths else 0)
    for number, agent in enumerate(agents):
        parameters = sum(tensor.numel() for tensor in agent.policy_parameters.values())
        size = measurement.pool.answer_bytes(parameters, width)
        if group and held + size > ANSWERS_IN_MEMORY:
            yield group
            group, held = [], 0
        group.append((number, agent))
        held += size
    yield group


def _jobs(number: int, agent: Agent, measurement: _Measurement) -> list[Job]:
    """List one agent's jobs: the same ones in every run that asks for the same."""
    pool, limit = measurement.pool, measurement.description["time_limit"]
    burn_in = 0 if agent.regime.reset_each_iteration else int(limit or LONGEST_BURN_IN)
    sampling = Sampling(pool.n_steps, burn_in=burn_in)
    bare, identity = sampling_part(agent), probe(agent)
    jobs = []
    for streams in pool.job_ranges:
        part = StreamRange(measurement.seed, PURPOSE, streams.start, streams.stop)
        asked = (measurement.description, sampling, part, measurement.question)
        jobs.append(
            Job(
                name=f"gradients of agent {number}, streams {streams.start} to {streams.stop - 1}",
                key=content_key("gradients", MEASUREMENT_VERSION, versions(), identity, *asked),
                function=sample_sums,
                arguments={
                    "agent": bare,
                    "environment": measurement.environment,
                    "sampling": sampling,
                    "streams": part,
                    "question": measurement.question,
                },
                pairs=len(streams) * pool.n_steps,
            )
        )
    return jobs
