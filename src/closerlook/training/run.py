"""A training run: segments of all agents, one after the other, into a folder that can be taken up again.

::

    runs/hopper/
      run.json                      settings, versions, time
      training.csv                  one row for each iteration and agent (see `COLUMNS`)
      checkpoints/000150/03/        agent 3 after 150 updates
      jobs/                         finished segments of each agent

Checkpoint 0 holds the parameters before any update together with the statistics of the first rollout: without them a
frozen standardisation would be undefined.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.files import save_agent
from closerlook.agents.loading import checkpoint_folder
from closerlook.errors import NonFiniteError
from closerlook.execution import Job, JobCache, Progress, Silence, Within, content_key, default_workers, run_jobs
from closerlook.results.store import RunFolder
from closerlook.simulation.engine import describe_environment
from closerlook.training.segment import train_segment
from closerlook.training.settings import TrainSettings, agent_seed, initial_agents

VERSION = 1
"""Of the arithmetic of training: raised where the same settings would give other numbers."""

SEGMENT = 10
"""Iterations of a segment, at most: what a killed run loses."""

COLUMNS: Mapping[str, str] = {
    "iteration": "updates made before this batch was sampled",
    "agent_seed": "which agent of the run",
    "environment_steps": "steps of this agent so far, this batch included",
    "mean_reward": "mean undiscounted return of the episodes that finished in this batch; empty where none did",
    "mean_length": "mean length of those episodes, steps",
    "episodes": "how many they were",
    "policy_loss": "minus the clipped surrogate of the new policy on the batch, advantages standardised over it",
    "value_loss": "mean squared error of the new critic to V_old + A on the batch",
    "mean_kl": "KL(old || new), mean over the states of the batch, nats",
    "max_kl": "KL(old || new), largest over the states of the batch, nats",
    "max_ratio": "largest ratio of new to old probability over the pairs of the batch",
    "clip_fraction": "share of pairs whose ratio ended beyond the clipping bound",
    "entropy": "mean entropy of the new policy, nats",
    "explained_variance_gae": "1 - Var[target - V_new] / Var[target] on the batch, target V_old + A",
    "explained_variance_returns": "the same, target discounted returns",
    "advantage_std": "standard deviation of the batch's advantages, in the critic's units",
    "action_std": "mean standard deviation of the new policy's action components",
    "constant_minibatches": "minibatches whose advantages were all equal and were taken as zero",
    "seconds_sampling": "a worker's seconds for the batch, shared equally among the agents it trained together",
    "seconds_update": "the same, for the update",
}
"""Each column of the log, in words."""

_WHOLE = ("iteration", "agent_seed", "environment_steps", "episodes", "constant_minibatches")


@dataclass(frozen=True)
class TrainingRun:
    """What a training run left.

    Parameters
    ----------
    folder : Path
        Where it is on disk.
    agents : list of Agent
        The last checkpoint of each seed.
    log : dict of str to ndarray
        Columns of ``training.csv`` (see `COLUMNS`), one number for each iteration and agent.
    """

    folder: Path
    agents: list[Agent]
    log: dict[str, np.ndarray]


def train(
    settings: TrainSettings, *, out: str | Path, workers: int | None = None, progress: Progress | None = None
) -> TrainingRun:
    """Train agents, or go on where an earlier run with the same settings was ended.

    Parameters
    ----------
    settings : TrainSettings
        What to train, on what, for how long.
    out : str or Path
        Run folder.
    workers : int, optional
        Worker processes, default one per core. No number depends on it.
    progress : Progress, optional
        Told the environment steps still to make, and those made.

    Returns
    -------
    TrainingRun
        Folder, last agents, log.

    Raises
    ------
    InputError
        Where a setting means nothing, the folder holds another run, or the disk is full.
    NonFiniteError
        Where rewards, observations or parameters are not finite: names agent and iteration; the log and the last good
        state are on disk.
    """
    settings = settings.resolved()
    environment = describe_environment(settings.environment)
    with RunFolder(out).open_for("train", settings.to_json()) as folder:
        agents = initial_agents(settings, range(settings.seeds))
        plan = Plan(settings, environment, default_workers() if workers is None else workers, folder.jobs())
        heard = progress or Silence()
        heard.start(plan.missing_pairs(), "training")
        rows: list[dict[str, Any]] = []
        try:
            for number, (first, last) in enumerate(plan.segments):
                answers = plan.answer(number, agents, heard)
                agents = [with_answer(agent, answer) for agent, answer in zip(agents, answers, strict=True)]
                rows += log_rows(answers, first)
                folder.write_text("training.csv", as_csv(rows))
                _save_checkpoints(folder.path, settings, agents, answers, first, last)
        finally:
            heard.finish()
        folder.finish(settings.seeds * settings.iterations * settings.regime.batch_pairs)
    return TrainingRun(folder.path, agents, {name: np.array([row[name] for row in rows]) for name in COLUMNS})


def segment_bounds(settings: TrainSettings) -> list[tuple[int, int]]:
    """Cut a run at every checkpoint and every `SEGMENT` iterations."""
    last = settings.iterations
    cuts = sorted({*range(0, last, SEGMENT), *settings.checkpoints, last})
    return list(pairwise(cuts))


class Plan:
    """Who trains what: the segments, their names, and the split of agents over workers.

    Parameters
    ----------
    settings : TrainSettings
        Resolved settings.
    environment : mapping
        What `describe_environment` says of the environment.
    workers : int
        Worker processes.
    cache : JobCache
        Finished segments, one answer for each agent, so that a run goes on with any number of workers.
    """

    def __init__(self, settings: TrainSettings, environment: Mapping[str, Any], workers: int, cache: JobCache) -> None:
        self.settings, self.workers, self.cache = settings, workers, cache
        self.segments = segment_bounds(settings)
        self.seeds = [agent_seed(settings, number) for number in range(settings.seeds)]
        decided = {k: v for k, v in settings.to_json().items() if k not in {"seeds", "seed", "checkpoints", "preset"}}
        start = content_key("training", VERSION, torch.__version__, decided, environment)
        self.keys = [[content_key(start, seed, bounds) for seed in self.seeds] for bounds in self.segments]

    def missing_pairs(self) -> float:
        """Count the environment steps that no stored answer has."""
        pairs = self.settings.regime.batch_pairs
        return float(
            sum(
                (last - first) * pairs
                for (first, last), keys in zip(self.segments, self.keys, strict=True)
                for key in keys
                if self.cache.load(key) is None
            )
        )

    def answer(self, number: int, agents: Sequence[Agent], progress: Progress) -> list[dict[str, np.ndarray]]:
        """Train all agents through one segment: each one's answer, without the population axis."""
        found = {k: self.cache.load(key) for k, key in enumerate(self.keys[number])}
        missing = [k for k, answer in found.items() if answer is None]
        chunks = [chunk.tolist() for chunk in np.array_split(missing, self.workers) if chunk.size]
        jobs = [self._job(number, agents, chunk) for chunk in chunks]
        names = {job.key: [self.keys[number][k] for k in chunk] for job, chunk in zip(jobs, chunks, strict=True)}
        results = run_jobs(
            jobs,
            workers=min(self.workers, self.settings.seeds),
            cache=_EachAgent(self.cache, names),
            progress=Within(progress),
        )
        for chunk, result in zip(chunks, results, strict=True):
            found |= dict(zip(chunk, split(result), strict=True))
        return [answer for _, answer in sorted(found.items()) if answer is not None]

    def _job(self, number: int, agents: Sequence[Agent], chunk: Sequence[int]) -> Job:
        first, last = self.segments[number]
        return Job(
            name=f"training of agents {', '.join(str(k) for k in chunk)}, iterations {first} to {last - 1}",
            key=content_key([self.keys[number][k] for k in chunk]),
            function=train_segment,
            arguments={
                "agents": Agent.stack([agents[k] for k in chunk]),
                "settings": self.settings,
                "seeds": [self.seeds[k] for k in chunk],
                "first": first,
                "last": last,
            },
            pairs=float(len(chunk) * (last - first) * self.settings.regime.batch_pairs),
        )


@dataclass(frozen=True)
class _EachAgent:
    """Stores a chunk's answer as one answer for each of its agents."""

    inner: JobCache
    names: Mapping[str, Sequence[str]]

    def load(self, key: str) -> None:
        """Find nothing: only what is missing was put into chunks."""

    def save(self, key: str, result: Mapping[str, np.ndarray]) -> None:
        for name, answer in zip(self.names[key], split(result), strict=True):
            self.inner.save(name, answer)


def split(result: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Take a chunk's answer (P, ...) apart, one answer for each agent."""
    return [{name: np.asarray(array[k]) for name, array in result.items()} for k in range(len(result["done"]))]


def with_answer(agent: Agent, answer: Mapping[str, np.ndarray], part: str = "state") -> Agent:
    """Return a single agent with the state a segment's answer holds (or with its ``first`` one)."""
    prefix = f"{part}."
    state = {
        name.removeprefix(prefix): torch.from_numpy(np.array(array))
        for name, array in answer.items()
        if name.startswith(prefix)
    }
    return replace(agent, state=state, iteration=int(answer["done"]) if part == "state" else 0)


def log_rows(answers: Sequence[Mapping[str, np.ndarray]], first: int) -> list[dict[str, Any]]:
    """Return the log of a segment, a row for each iteration and agent, in that order."""
    longest = max(int(answer["done"]) for answer in answers) - first
    return [
        {"iteration": first + i, "agent_seed": number}
        | {name: answer[f"log.{name}"][i].item() for name in COLUMNS if f"log.{name}" in answer}
        for i in range(longest)
        for number, answer in enumerate(answers)
        if first + i < answer["done"]
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as text: counts as integers, other numbers so that they read back the same, NaN as nothing."""
    lines = [",".join(COLUMNS)]
    lines += [",".join(_as_text(name, row[name]) for name in COLUMNS) for row in rows]
    return "\n".join(lines) + "\n"


def _as_text(name: str, value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN
        return ""
    return str(int(value)) if name in _WHOLE else repr(value)


def _save_checkpoints(
    run: Path,
    settings: TrainSettings,
    agents: Sequence[Agent],
    answers: Sequence[Mapping[str, np.ndarray]],
    first: int,
    last: int,
) -> None:
    """Save what is asked for at the two ends of a segment; stop where an agent failed, its last good state saved."""
    for number, (agent, answer) in enumerate(zip(agents, answers, strict=True)):
        if first == 0 and 0 in settings.checkpoints:
            save_agent(with_answer(agent, answer, "first"), checkpoint_folder(run, 0, number))
        done = int(answer["done"])
        if (done == last and last in settings.checkpoints) or (str(answer["failure"]) and done > 0):
            save_agent(agent, checkpoint_folder(run, done, number))
    for failing in _failures(answers):
        raise failing


def _failures(answers: Sequence[Mapping[str, np.ndarray]]) -> Iterator[NonFiniteError]:
    for number, answer in enumerate(answers):
        if str(answer["failure"]):
            what, mend = str(answer["failure"]).split("\n", 1)
            where = f"agent seed {number}, iteration {int(answer['done'])}"
            yield NonFiniteError(f"{where}: {what}", f"{mend}; the last good checkpoint of every agent is kept")
