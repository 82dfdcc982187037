"""Who trains what: the segments of a run, what of them is stored, and the split of agents over workers.

A finished segment's answer holds the agent's state and its rows of the log. Once every agent's answer to the next
segment is stored, and the checkpoints are written, the state is let go and the rows stay: the disk holds two states of
each agent, however long the run is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.files import load_agent
from closerlook.agents.loading import checkpoint_folder
from closerlook.errors import InputError
from closerlook.execution import Job, Progress, SharedCache, Within, content_key, pieces, run_jobs
from closerlook.training.callback import Callback
from closerlook.training.segment import train_segment
from closerlook.training.settings import TrainSettings, agent_seed

VERSION = 1
"""Of the arithmetic of training: raised where the same settings would give other numbers."""

SEGMENT = 10
"""Iterations of a segment, at most: what a killed run loses."""

Answer = dict[str, np.ndarray]
"""What `train_segment` says of one agent, without the population axis."""


def segment_bounds(settings: TrainSettings) -> list[tuple[int, int]]:
    """Cut a run at every checkpoint and every `SEGMENT` iterations."""
    last = settings.iterations
    # cut at every checkpoint too: a segment's end is a state that is kept
    cuts = sorted({*range(0, last, SEGMENT), *settings.checkpoints, last})
    return list(pairwise(cuts))


class Plan:
    """The segments of a run, by number, and the agents still to be trained through each.

    Parameters
    ----------
    settings : TrainSettings
        Resolved settings.
    environment : mapping
        What `describe_environment` says of the environment.
    workers : int
        Worker processes.
    cache : SharedCache
        Finished segments, one answer for each agent, so that a run goes on with any number of workers.
    folder : Path
        The run's, where its checkpoints are.
    callbacks : sequence of Callback
        Who hears of every update.
    """

    def __init__(
        self,
        settings: TrainSettings,
        environment: Mapping[str, Any],
        workers: int,
        cache: SharedCache,
        folder: Path,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.callbacks = tuple(callbacks)
        self.settings, self.workers, self.cache, self.folder = settings, workers, cache, folder
        self.segments = segment_bounds(settings)
        self.numbers = list(settings.numbers)
        self.seeds = [agent_seed(settings, number) for number in self.numbers]
        # agent k does not depend on how many there are, nor on which checkpoints are kept
        others = {"seeds", "seed", "first_seed", "checkpoints"}
        decided = {k: v for k, v in settings.to_json().items() if k not in others}
        decided |= {"callbacks": [callback.identity() for callback in callbacks]} if callbacks else {}
        start = content_key("training", VERSION, torch.__version__, decided, environment)
        self.keys = [[content_key(start, seed, bounds) for seed in self.seeds] for bounds in self.segments]
        self.reached: list[set[int]] = [set() for _ in self.seeds]
        """Iterations after which each agent was stored, whether or not its state was let go since."""
        missing = [self._missing(at) for at in range(settings.seeds)]
        self.work = [[k for k, own in enumerate(missing) if j in own] for j in range(len(self.segments))]

    def _missing(self, at: int) -> set[int]:
        """Find the segments that an agent has to be trained through, from the last to the first.

        A segment's state is needed where the next one has to be computed from it, where a checkpoint of it is not
        written yet, and at the end of the run.
        """
        missing: set[int] = set()
        # backwards: a segment's state is needed only where the next one is missing, or where its checkpoint is not on
        # disk
        for j in reversed(range(len(self.segments))):
            answer = self.cache.load(self.keys[j][at])
            if answer is None:
                missing.add(j)
                continue
            self.reached[at].add(int(answer["done"]))
            is_last = j == len(self.segments) - 1
            if not has_state(answer) and (j + 1 in missing or is_last or not self._is_saved(j, at)):
                missing.add(j)
        return missing

    def _is_saved(self, segment: int, at: int) -> bool:
        first, last = self.segments[segment]
        ends = {last, *([0] if first == 0 else [])} & set(self.settings.checkpoints)
        return all(_is_whole(checkpoint_folder(self.folder, it, self.numbers[at])) for it in ends)

    def missing_pairs(self) -> float:
        """Count the environment steps still to be made."""
        pairs = self.settings.regime.batch_pairs
        return float(
            sum(
                (last - first) * pairs * len(some) for (first, last), some in zip(self.segments, self.work, strict=True)
            )
        )

    def answer(self, number: int, agents: Sequence[Agent], progress: Progress) -> list[Answer]:
        """Train those who need it through one segment, and return every agent's answer.

        Parameters
        ----------
        number : int
            Of the segment.
        agents : sequence of Agent
            All of the run, as they are before it.
        progress : Progress
            Told of finished jobs.

        Raises
        ------
        InputError
            Where what was stored as the plan was made has gone: no agent is trained on from an older state.
        """
        missing = self.work[number]
        first, _ = self.segments[number]
        for k in missing:
            if number > 0 and agents[k].iteration != first:
                raise self._gone(f"the state of agent {self.numbers[k]} after {first} iterations")
        # no number of an agent depends on which others it is trained with
        split_in = pieces(self.workers, self.folder)
        chunks = [chunk.tolist() for chunk in np.array_split(missing, split_in) if chunk.size]
        jobs = [self._job(number, agents, chunk) for chunk in chunks]
        names = {job.key: [self.keys[number][k] for k in chunk] for job, chunk in zip(jobs, chunks, strict=True)}
        results = run_jobs(
            jobs,
            workers=min(self.workers, self.settings.seeds),
            cache=_EachAgent(self.cache, names),
            progress=Within(progress),
        )
        fresh = {
            k: own
            for chunk, result in zip(chunks, results, strict=True)
            for k, own in zip(chunk, split(result), strict=True)
        }
        return [fresh[k] if k in fresh else self._stored(number, k) for k in range(self.settings.seeds)]

    def _stored(self, number: int, agent: int) -> Answer:
        answer = self.cache.load(self.keys[number][agent])
        if answer is None:
            raise self._gone("agent {} through iterations {} to {}".format(self.numbers[agent], *self.segments[number]))
        return answer

    def _gone(self, what: str) -> InputError:
        return InputError(
            f"{what} was stored in {self.folder} when this run began, and is gone", "give the same command again"
        )

    def prune(self, number: int) -> None:
        """Let the states of a segment go, and keep its rows of the log."""
        for key in self.keys[number]:
            answer = self.cache.load(key)
            if answer is not None and has_state(answer):
                self.cache.save(key, {name: array for name, array in answer.items() if not is_state(name)})

    def _job(self, number: int, agents: Sequence[Agent], chunk: Sequence[int]) -> Job:
        first, last = self.segments[number]
        agents_named = ", ".join(str(self.numbers[k]) for k in chunk)
        return Job(
            name=f"training of agents {agents_named}, iterations {first} to {last - 1}",
            key=content_key([self.keys[number][k] for k in chunk]),
            function=train_segment,
            arguments={
                "agents": Agent.stack([agents[k] for k in chunk]),
                "settings": self.settings,
                "seeds": [self.seeds[k] for k in chunk],
                "first": first,
                "last": last,
                "callbacks": self.callbacks,
            },
            pairs=float(len(chunk) * (last - first) * self.settings.regime.batch_pairs),
        )


@dataclass(frozen=True)
class _EachAgent:
    """Stores a chunk's answer as one answer for each of its agents."""

    inner: SharedCache
    names: Mapping[str, Sequence[str]]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.inner.folder

    def for_others(self) -> "_EachAgent":
        """Return the same for who does not own the folder."""
        return _EachAgent(self.inner.for_others(), self.names)

    def load(self, key: str) -> Answer | None:
        """Put the answers of a chunk's agents together, where all of them are there with their states."""
        answers = [self.inner.load(name) for name in self.names[key]]
        whole = [answer for answer in answers if answer is not None and has_state(answer)]
        return joined(whole) if len(whole) == len(answers) else None

    def save(self, key: str, result: Mapping[str, np.ndarray]) -> None:
        for name, answer in zip(self.names[key], split(result), strict=True):
            self.inner.save(name, answer)


def _is_whole(checkpoint: Path) -> bool:
    try:
        load_agent(checkpoint)
    except InputError:
        return False
    return True


def split(result: Mapping[str, np.ndarray]) -> list[Answer]:
    """Take a chunk's answer (P, ...) apart, one answer for each agent."""
    return [{name: np.asarray(array[k]) for name, array in result.items()} for k in range(len(result["done"]))]


def joined(answers: Sequence[Answer]) -> Answer:
    """Put the answers of a chunk's agents together (P, ...)."""
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def is_state(name: str) -> bool:
    """Whether an array of an answer is a part of an agent's state."""
    return name.startswith(("state.", "first."))


def has_state(answer: Mapping[str, np.ndarray]) -> bool:
    """Whether an answer still has the agent's state."""
    return any(is_state(name) for name in answer)


def with_answer(agent: Agent, answer: Mapping[str, np.ndarray], part: str = "state") -> Agent:
    """Return a single agent with the state a segment's answer holds (or with its ``first`` one).

    Parameters
    ----------
    agent : Agent
        A single one.
    answer : mapping of str to ndarray
        What a segment answered.
    part : {"state", "first"}
        The last state, or the first.
    """
    prefix = f"{part}."
    state = {
        name.removeprefix(prefix): torch.from_numpy(np.array(array))
        for name, array in answer.items()
        if name.startswith(prefix)
    }
    return replace(agent, state=state, iteration=int(answer["done"]) if part == "state" else 0)
