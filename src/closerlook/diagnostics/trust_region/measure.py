"""The measurement: updates from fresh batches, and what each does to policy and reward, from jobs to a dataset."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import own_seed, probe, sampling_part
from closerlook.algorithms.rules import clip_of, rule_of
from closerlook.arguments import with_plain_values
from closerlook.diagnostics.common.checks import as_agents
from closerlook.diagnostics.common.layout import Found
from closerlook.diagnostics.common.point_jobs import joined, parts_of
from closerlook.diagnostics.common.stages import StageAnswers, Stages
from closerlook.diagnostics.trust_region.dataset import build_dataset, summary
from closerlook.diagnostics.trust_region.findings import find
from closerlook.diagnostics.trust_region.request import Request, Wishes, prepare
from closerlook.execution import Job, Progress, Silence, content_key, crew_of
from closerlook.execution.threads import single_thread
from closerlook.measurements.pooled import Answers
from closerlook.measurements.step_audits import audit_step
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.surfaces import Points, sample_point_returns
from closerlook.randomness import derive_seed
from closerlook.results.store import RunFolder, versions

MEASUREMENT_VERSION = 2
"""Raised whenever the same job would answer otherwise, so that no stored answer is taken for the new one."""

BATCH_PURPOSE = "trust region batch"
HELDOUT_PURPOSE = "trust region held out"
RETURNS_PURPOSE = "trust region returns"
MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)


@single_thread()
def trust_region(  # noqa: PLR0913 - what a user may choose, each by name
    agent: Agent | Sequence[Agent],
    environment: str | EnvironmentSpec | None = None,
    *,
    repeats: int = 10,
    pairs: int = 32_768,
    return_pairs: int = 20_000,
    multiples: Sequence[float] = MULTIPLES,
    step_pairs: int | None = None,
    algorithm: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Take an agent's update many times, each from a fresh batch, and measure what each does to policy and reward.

    Parameters
    ----------
    agent : Agent or sequence of Agent
        Several are measured one by one, with the same seed.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agent was trained on.
    repeats : int
        Independent updates: each has a batch, held-out pairs and streams for its true reward of its own.
    pairs : int
        Held-out state-action pairs of each update, rounded up to whole streams.
    return_pairs : int
        State-action pairs of each policy whose true reward is measured, rounded up to whole streams; each finishes its
        last episode. The agent and all multiples of one update share their random numbers. 0 for no true rewards.
    multiples : sequence of float
        Of each step at which divergences, surrogates and true reward are measured too; 1 is always among them.
    step_pairs : int, optional
        Pairs that an update is computed from, in whole streams, or the first pairs of one; default the agent's batch.
    algorithm : str, optional
        Whose update it is; default the agent's own.
    seed : int
        Root seed of the measurement.
    workers : int, optional
        Worker processes, default one per core. No number depends on it.
    out : str or Path, optional
        Folder for ``trust-region.nc``, ``trust-region.json`` and the finished jobs, from which the same call goes on.
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
        Where the agents differ in regime, a choice means nothing, or the folder holds another run.
    NonFiniteError
        Where the agent's own parameters, rewards or observations are not finite. Updates that overflow are counted.

    References
    ----------
    Ilyas et al., 2020, "A Closer Look at Deep Policy Gradients", appendix A.1.
    Schulman et al., 2015, "Trust Region Policy Optimization"; 2017, "Proximal Policy Optimization Algorithms".
    """
    agents = as_agents(agent)
    wishes = with_plain_values(Wishes(repeats, pairs, return_pairs, multiples, step_pairs, algorithm, seed))
    request = prepare(agents, environment, wishes)
    how = (crew_of(workers), progress or Silence())
    if out is None:
        with TemporaryDirectory() as scratch:
            return build_dataset(agents, _measure(agents, request, RunFolder(scratch), how), request)
    with RunFolder(out).open_for("trust-region", request.settings(agents), resume=resume) as folder:
        dataset = build_dataset(agents, _measure(agents, request, folder, how), request)
        folder.write_dataset("trust-region.nc", dataset)
        folder.write_json("trust-region.json", summary(dataset))
        folder.finish(request.pairs * len(agents))
    return dataset


def _measure(agents: Sequence[Agent], request: Request, folder: RunFolder, how: tuple[int, Progress]) -> list[Found]:
    workers, progress = how
    subjects = [_Subject(number, agent, request) for number, agent in enumerate(agents)]
    first = [subject.audit_jobs() for subject in subjects]

    def second(audits: StageAnswers) -> list[list[Job]]:
        return [subject.reward_jobs(own) for subject, own in zip(subjects, audits, strict=True)]

    stages = Stages(folder.jobs(), workers, progress)
    stages.announce(request.pairs * len(agents), "trust region", first, second)
    try:
        audits = stages.run(first)
        rewards = stages.run(second(audits))
    finally:
        progress.finish()
    return [
        find(subject.agent, request, own, subject.joined(own, earned))
        for subject, own, earned in zip(subjects, audits, rewards, strict=True)
    ]


class _Subject:
    """One agent and its jobs."""

    def __init__(self, number: int, agent: Agent, request: Request) -> None:
        self.number, self.agent, self.request = number, agent, request
        self.seed = own_seed(request.seed, agent)
        self.rule = rule_of(agent, request.wishes.algorithm)
        self.key = [MEASUREMENT_VERSION, versions(), probe(agent), request.description, agent.normalize_advantages]

    def audit_jobs(self) -> list[Job]:
        """List one job for each update."""
        return [self._audit_job(repeat) for repeat in range(self.request.wishes.repeats)]

    def _audit_job(self, repeat: int) -> Job:
        request = self.request
        n_envs, held = request.step.n_envs, request.heldout_streams
        sampling = (replace(request.sampling, n_steps=request.step.n_steps), request.sampling)
        streams = (
            StreamRange(self.seed, BATCH_PURPOSE, repeat * n_envs, (repeat + 1) * n_envs),
            StreamRange(self.seed, HELDOUT_PURPOSE, repeat * held, (repeat + 1) * held),
        )
        arguments: dict[str, Any] = {
            "agent": self.agent,
            "environment": request.environment,
            "sampling": sampling,
            "streams": streams,
            "rule": self.rule,
            "multiples": request.multiples.tolist(),
            "clip": clip_of(self.rule.settings),
        }
        decided = [value for name, value in arguments.items() if name not in {"agent", "environment"}]
        key = content_key("trust region audit beside chance", *self.key, *decided, self.agent.part("optimizer.policy"))
        return Job(f"update {repeat} of agent {self.number}", key, audit_step, arguments, request.audit_pairs)

    def reward_jobs(self, audits: Answers) -> list[Job]:
        """List the jobs of the true rewards of all updates."""
        return [job for repeat, audit in enumerate(audits) for job in self._reward_jobs(repeat, audit)]

    def _reward_jobs(self, repeat: int, audit: Any) -> list[Job]:
        """List those of one update: the agent itself, then each multiple; none where the update failed."""
        request, jobs = self.request, []
        if not self._measurable(audit):
            return []
        seed = derive_seed(self.seed, RETURNS_PURPOSE, stream=repeat)
        for points, part in parts_of(1 + len(request.multiples), request.return_streams):
            multiples = np.concatenate([[0.0], request.multiples])[points.start : points.stop, None]
            chosen = Points(audit["displacement"][None], multiples)
            streams = StreamRange(self.seed, RETURNS_PURPOSE, part.start, part.stop)
            key = content_key("trust region returns", *self.key, request.sampling, streams, chosen, seed)
            arguments: dict[str, Any] = {
                "agent": sampling_part(self.agent),
                "environment": request.environment,
                "sampling": request.sampling,
                "streams": streams,
                "points": chosen,
                "seeds": [seed] * len(points),
                "list_episodes": False,
            }
            name = f"true rewards of update {repeat} of agent {self.number}"
            pairs = len(points) * len(part) * request.sampling.n_steps
            jobs.append(Job(name, key, sample_point_returns, arguments, pairs))
        return jobs

    def _measurable(self, audit: Any) -> bool:
        return self.request.return_streams > 0 and bool(np.isfinite(audit["displacement"]).all())

    def joined(self, audits: Answers, answers: Answers) -> list[Any]:
        """Put the sums over episodes of each update together, (1 + M, S) each; None where there are none."""
        left, whole = iter(answers), []
        points, streams = 1 + len(self.request.multiples), self.request.return_streams
        count = sum(1 for _ in parts_of(points, streams))
        for audit in audits:
            own = list(islice(left, count)) if self._measurable(audit) else []
            whole.append(joined(own, points, streams) if own else None)
        return whole
