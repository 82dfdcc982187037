"""The measurement: values are fitted, critics updated, then a pool is sampled on which everything is judged."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent, moments
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import own_seed, probe, sampling_part
from closerlook.algorithms.rules import rule_of
from closerlook.arguments import with_plain_values
from closerlook.diagnostics.common.checks import as_agents, tried
from closerlook.diagnostics.common.layout import Found
from closerlook.diagnostics.common.stages import Jobs, StageAnswers, answer_each
from closerlook.diagnostics.values.audit import (
    TARGET_ARRAYS,
    TARGETS,
    Judged,
    audit,
    audit_restarts,
    audit_training,
)
from closerlook.diagnostics.values.baselines import compare_baselines, sweep_lambdas
from closerlook.diagnostics.values.dataset import build_dataset, summary
from closerlook.diagnostics.values.request import Request, Wishes, prepare
from closerlook.execution import Job, JobCache, Progress, Silence, Within, content_key, crew_of, run_jobs
from closerlook.execution.threads import single_thread
from closerlook.measurements.critic_updates import sample_critic_update, updated_critic
from closerlook.measurements.fitted_values import Critic, fit_values, fitted_critics
from closerlook.measurements.pooled import Answers, Pooled
from closerlook.measurements.restarted_values import sample_restarts
from closerlook.measurements.stream_sums import Question, StreamRange
from closerlook.measurements.value_shards import spill
from closerlook.measurements.value_sums import ValueQuestion, sample_value_sums
from closerlook.results.store import RunFolder, versions
from closerlook.statistics.value_errors import near_zero

MEASUREMENT_VERSION = 2
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""

PURPOSE = "values"
FIT_PURPOSE = "values to fit"
UPDATE_PURPOSE = "values to update"
RESTART_PURPOSE = "values to go back to"
RESTARTS_OF_A_JOB = 8


@single_thread()
def value_prediction(  # noqa: PLR0913 - what a user may choose, each by name
    agent: Agent | Sequence[Agent],
    environment: str | EnvironmentSpec | None = None,
    *,
    pairs: int = 1_000_000,
    fit_pairs: int = 1_000_000,
    estimates: int = 10,
    sizes: Sequence[int] | None = None,
    lambdas: Sequence[float] | None = None,
    updates: int = 8,
    restarts: int = 32,
    restart_copies: int = 16,
    seed: int = 0,
    workers: int | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Measure how well an agent's critic predicts values, and what it is worth as a baseline.

    Three things are sampled. Pairs that a value V* is fitted to: the best critic there is for this policy. Batches
    that the agent's algorithm updates its critic on. And a pool on which the agent's critic, the updated ones and V*
    are judged, and on which gradient estimates with each baseline and each lambda are compared.

    Parameters
    ----------
    agent : Agent or sequence of Agent
        Several are measured one by one, with the same seed.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agent was trained on.
    pairs : int
        State-action pairs of the pool, rounded up to whole streams.
    fit_pairs : int
        Pairs that V* is fitted to, on disk while it is; 0: no V*, and nothing that needs it.
    estimates : int
        Disjoint gradient estimates of each size, at least.
    sizes : sequence of int, optional
        Pairs of a gradient estimate; default powers of two from 512, and the training batch.
    lambdas : sequence of float, optional
        The sweep; default 0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1. The agent's own always belongs to it.
    updates : int
        Independent updates of the critic that are judged, where the agent's algorithm is known.
    restarts, restart_copies : int
        States that the simulator is restarted from, and how often each: bias and noise are told apart there. 0: none.
    seed : int
        Root seed of the measurement.
    workers : int, optional
        Worker processes, default one per core. No number depends on it.
    out : str or Path, optional
        Folder for ``values.nc``, ``values.json`` and the finished jobs, from which the same call goes on.
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
        Where pairs are too few, agents differ in regime, returns do not come to an end, or the folder holds another
        run.
    NonFiniteError
        Where parameters, rewards, observations or values are not finite.

    References
    ----------
    Ilyas et al., 2020, "A Closer Look at Deep Policy Gradients", section 2.2, Figures 3, 4, 11 and 12.
    """
    agents = as_agents(agent)
    wishes = with_plain_values(
        Wishes(pairs, fit_pairs, estimates, sizes, lambdas, updates, restarts, restart_copies, seed)
    )
    request = prepare(agents, environment, wishes)
    agents = tried(agents, request.environment)
    how = (crew_of(workers), progress or Silence())
    if out is None:
        with TemporaryDirectory() as scratch:
            return _dataset(agents, request, _measure(agents, request, RunFolder(scratch), how))
    with RunFolder(out).open_for("values", request.settings(agents), resume=resume) as folder:
        dataset = _dataset(agents, request, _measure(agents, request, folder, how))
        folder.write_dataset("values.nc", dataset)
        folder.write_json("values.json", summary(dataset))
        folder.finish(sum(request.pairs(one) for one in agents))
    return dataset


def _dataset(agents: Sequence[Agent], request: Request, found: Sequence[Found]) -> xr.Dataset:
    coordinates = {"lambda": list(request.lambdas)}
    attributes = {"environment": request.environment.id, "seed": request.seed}
    return build_dataset(agents, found, coordinates, request.pool, attributes)


def _measure(agents: Sequence[Agent], request: Request, folder: RunFolder, how: tuple[int, Progress]) -> list[Found]:
    """Measure agents, as many at a time as there are workers, so that few transitions lie on disk."""
    workers, progress = how
    progress.start(sum(request.pairs(agent) for agent in agents), "values")
    found: list[Found] = []
    for first in range(0, len(agents), max(1, workers)):
        group = [
            _Subject(first + at, agent, request, folder) for at, agent in enumerate(agents[first : first + workers])
        ]
        stages = _Stages(folder.jobs(), workers, Within(progress))
        with _scratch(folder.path / "shards"):
            fits = stages.fit(group)
        updates = stages.run([subject.update_jobs() for subject in group])
        plans = [subject.plan(fit, update) for subject, fit, update in zip(group, fits, updates, strict=True)]
        answers = stages.run([plan.jobs() for plan in plans])
        restarts = stages.run([plan.restart_jobs() for plan in plans])
        found += [plan.found(*both) for plan, *both in zip(plans, answers, restarts, strict=True)]
    progress.finish()
    return found


@contextmanager
def _scratch(path: Path) -> Iterator[None]:
    """Delete a folder once everything in it has been used; after an interruption it stays, to go on from."""
    yield
    rmtree(path, ignore_errors=True)


class _Stages:
    """Runs the jobs of several subjects together, one kind after the other."""

    def __init__(self, cache: JobCache, workers: int, progress: Progress) -> None:
        self._cache, self._workers, self._progress = cache, workers, progress

    def run(self, jobs: Jobs) -> StageAnswers:
        """Answer the jobs of each subject."""
        return answer_each(jobs, self._cache, self._workers, self._progress)

    def fit(self, group: "Sequence[_Subject]") -> StageAnswers:
        """Sample what is to be fitted to and not yet on disk, then fit; what was fitted before needs neither."""
        missing = [subject for subject in group if not subject.is_fitted(self._cache)]
        spills = [job for subject in missing for job in subject.spill_jobs()]
        run_jobs(spills, workers=self._workers, progress=self._progress)
        saved = sum(subject.fit_pairs for subject in group) - sum(job.pairs for job in spills)
        self._progress.skip(saved)
        return self.run([subject.fit_jobs() for subject in group])


class _Subject:
    """One agent, and the jobs that prepare its measurement."""

    def __init__(self, number: int, agent: Agent, request: Request, folder: RunFolder) -> None:
        self.number, self.agent, self.request = number, agent, request
        self.seed = own_seed(request.seed, agent)
        self._shards = folder.path.resolve() / "shards"
        self.key = [MEASUREMENT_VERSION, versions(), probe(agent), request.description, request.sampling]

    @property
    def fit_pairs(self) -> int:
        """Pairs that V* is fitted to."""
        return 0 if self.request.fit_pool is None else self.request.fit_pool.pairs

    def is_fitted(self, cache: JobCache) -> bool:
        """Whether there is nothing left to fit."""
        return all(cache.load(job.key) is not None for job in self.fit_jobs())

    def spill_jobs(self) -> list[Job]:
        """List the jobs whose transitions are not yet on disk."""
        named = zip(self._ranges(), self._shard_keys(), strict=True)
        return [self._spill(part, key) for part, key in named if not (self._shards / f"{key}.npz").exists()]

    def _ranges(self) -> list[StreamRange]:
        pool = self.request.fit_pool
        ranges = [] if pool is None else pool.job_ranges
        return [StreamRange(self.seed, FIT_PURPOSE, one.start, one.stop) for one in ranges]

    def _shard_keys(self) -> list[str]:
        return [content_key("shard", *self.key, part) for part in self._ranges()]

    def _spill(self, part: StreamRange, key: str) -> Job:
        arguments = {**self.where(part), "folder": str(self._shards), "key": key}
        return Job(f"values to fit of agent {self.number}", key, spill, arguments, _pairs(part, self.request))

    def where(self, part: StreamRange) -> dict[str, Any]:
        """Return the arguments that every job of this agent has."""
        return {
            "agent": sampling_part(self.agent),
            "environment": self.request.environment,
            "sampling": self.request.sampling,
            "streams": part,
        }

    def fit_jobs(self) -> list[Job]:
        """List the one job that fits values; none where none are to be fitted."""
        request, keys = self.request, self._shard_keys()
        if request.fit_pool is None:
            return []
        arguments = {
            "folder": str(self._shards),
            "keys": keys,
            "streams": request.fit_pool.streams,
            "settings": request.fit,
            "seed": self.seed,
        }
        key = content_key("fitted values", keys, request.fit_pool.streams, request.fit, self.seed)
        return [Job(f"fit of agent {self.number}", key, fit_values, arguments)]

    def update_jobs(self) -> list[Job]:
        """List the jobs that update the critic, each on a batch of its own."""
        agent, request = self.agent, self.request
        updates = request.updates(agent)
        if not updates:
            return []
        rule = rule_of(agent)
        envs = agent.regime.n_envs
        parts = [StreamRange(self.seed, UPDATE_PURPOSE, at * envs, (at + 1) * envs) for at in range(updates)]
        state = {name: tensor for name, tensor in agent.state.items() if name.startswith("optimizer.")}
        return [
            Job(
                f"update of agent {self.number}'s critic",
                content_key("critic update", *self.key, part, rule, state),
                sample_critic_update,
                {**self.where(part), "agent": agent, "rule": rule},
                _pairs(part, request),
            )
            for part in parts
        ]

    def plan(self, fits: Answers, updates: Answers) -> "_Plan":
        """Return what is to be sampled, now that values are fitted and critics updated."""
        fit = fits[0] if fits else {}
        return _Plan(self, fit, fitted_critics(fit), updates)


@dataclass(frozen=True)
class _Plan:
    """The measurement of one agent."""

    subject: _Subject
    fit: Mapping[str, np.ndarray]
    critics: Mapping[str, Critic]
    updates: Answers

    @property
    def updated(self) -> list[Critic]:
        """The agent's critic after each update."""
        return [updated_critic(self.subject.agent, answer) for answer in self.updates]

    @property
    def question(self) -> ValueQuestion:
        """What is asked of each stream."""
        return self.subject.request.question(self.subject.agent, list(self.critics))

    def jobs(self) -> list[Job]:
        """List the jobs of the pool."""
        subject, request = self.subject, self.subject.request
        updated = self.updated
        asked = {"question": self.question, "critics": dict(self.critics), "updated": updated}
        jobs = []
        for streams in request.pool.job_ranges:
            part = StreamRange(subject.seed, PURPOSE, streams.start, streams.stop)
            parameters = [critic.parameters for critic in (*self.critics.values(), *updated)]
            key = content_key("values", *subject.key, part, self.question, list(self.critics), parameters)
            arguments = {**subject.where(part), **asked}
            name = f"values of agent {subject.number}, streams {streams.start} to {streams.stop - 1}"
            jobs.append(Job(name, key, sample_value_sums, arguments, _pairs(part, request)))
        return jobs

    def restart_jobs(self) -> list[Job]:
        """List the jobs that restart the simulator."""
        subject, request = self.subject, self.subject.request
        copies, updated, jobs = request.wishes.restart_copies, self.updated, []
        fitted = {name: critic for name, critic in self.critics.items() if name == "fitted"}
        for first in range(0, request.wishes.restarts, RESTARTS_OF_A_JOB):
            stop = min(first + RESTARTS_OF_A_JOB, request.wishes.restarts)
            part = StreamRange(subject.seed, RESTART_PURPOSE, first, stop)
            parameters = [[critic.parameters for critic in critics] for critics in (fitted.values(), updated)]
            key = content_key("restarts of all generators", *subject.key, part, copies, parameters)
            arguments = {**subject.where(part), "critics": fitted, "copies": copies, "updated": updated}
            pairs = (stop - first) * request.restart_pairs(subject.agent)
            jobs.append(Job(f"restarts of agent {subject.number}", key, sample_restarts, arguments, pairs))
        return jobs

    def found(self, answers: Answers, restarts: Answers) -> Found:
        """Work out every number of the dataset."""
        agent, request, question = self.subject.agent, self.subject.request, self.question
        pooled = Pooled(answers, request.pool, Question(question.beginnings, question.fine))
        judged = self._judged(pooled)
        found = _of_the_pool(pooled, self.fit) | audit(judged) | audit_training(self.updates)
        found["update_fresh_optimizer"] = np.array(bool(self.updates) and not agent.part("optimizer.value"))
        found |= audit_restarts(restarts, near_zero(judged.targets["returns"]))
        found |= compare_baselines(pooled, question, normalize=agent.normalize_advantages)
        batch = agent.regime.batch_pairs
        return found | sweep_lambdas(answers, question, request.lambdas, agent.gae_lambda, batch)

    def _judged(self, pooled: Pooled) -> Judged:
        agent = self.subject.agent
        values = np.moveaxis(pooled.of_streams("values"), 1, 0)
        names = [*(["critic"] if agent.value is not None else []), *self.critics]
        known = dict(zip(names, values, strict=False))
        return Judged(
            own=known.get("critic"),
            fitted=known.get("fitted"),
            updated=values[len(names) :],
            targets={name: pooled.of_streams(array) for name, array in zip(TARGETS, TARGET_ARRAYS, strict=True)},
            true_returns=pooled.of_streams("true_returns"),
            divisor=reward_divisor(agent),
            value_clip=dict(agent.algorithm_settings).get("value_clip"),
        )


def _of_the_pool(pooled: Pooled, fit: Mapping[str, np.ndarray]) -> Found:
    trajectories, episodes, returns = (
        pooled.of_streams(name).sum() for name in ("trajectories", "episodes", "returns")
    )
    return {
        "pairs": np.array(pooled.pool.pairs),
        "streams": np.array(pooled.pool.streams),
        "trajectories": np.array(int(trajectories)),
        "mean_episode_return": np.array(returns / episodes if episodes else np.nan),
        "estimates": np.array([size.count for size in pooled.pool.sizes]),
        "incomplete_returns": np.array([int(pooled.of_streams("incomplete").sum())]),
        "fitted_pairs": np.array(int(fit["pairs"]) if fit else 0),
    }


def reward_divisor(agent: Agent) -> float:
    """Return what a single agent's critic sees true rewards divided by."""
    if agent.reward_scaling is None:
        return 1.0
    stored = moments(Agent.stack([agent]), "returns")
    return float(agent.reward_scaling.divisor(stored.variance)[0, 0]) if stored.count[0] > 0 else 1.0


def _pairs(part: StreamRange, request: Request) -> int:
    return (part.stop - part.first) * request.pool.n_steps
