"""Who is measured: agents, their environment and all that follows from both, resolved once, before anything is planned.

::

    agents, environment, seed --> Subject --> plan --> jobs

A `Subject` is a value: what is below it takes it as it is, and asks nothing again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import own_seed, probe, sampling_part
from closerlook.diagnostics.common.checks import find_environment, require_alike, require_fit, sampling_of, tried
from closerlook.execution import Job, content_key
from closerlook.measurements.stream_sums import StreamRange
from closerlook.results.store import versions
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.records import Sampling

Function = Callable[..., dict[str, np.ndarray]]


@dataclass(frozen=True)
class Subject:
    """One agent in its environment, with the draws that measure it.

    Parameters
    ----------
    number : int
        Its place among the agents of the call.
    agent : Agent
        With its optimizer's state, where that was kept.
    environment : EnvironmentSpec
        Where it acts.
    description : mapping
        What that is, for keys.
    sampling : Sampling
        How its streams are sampled: as training gathers them, from a reset or after a burn-in of random length.
    root_seed : int
        Of the measurement.
    seed : int
        Root seed of this agent's draws.
    identity : mapping
        Everything its pairs and advantages depend on.
    scratch : Path
        Folder for transitions that are needed for a while.
    """

    number: int
    agent: Agent
    environment: EnvironmentSpec
    description: Mapping[str, Any]
    sampling: Sampling
    root_seed: int
    seed: int
    identity: Mapping[str, Any]
    scratch: Path

    @cached_property
    def sampler(self) -> Agent:
        """The agent as far as sampling needs it, always the same object, which its jobs share as they travel."""
        return sampling_part(self.agent)

    @property
    def regime(self) -> Regime:
        """How the agent's training gathers a batch."""
        return self.agent.regime

    def streams(self, purpose: str, first: int, stop: int) -> StreamRange:
        """Name streams of this agent.

        Parameters
        ----------
        purpose : str
            What they are sampled for: streams of other purposes are independent.
        first, stop : int
            Numbers of the first stream, and of the one after the last.
        """
        return StreamRange(self.seed, purpose, first, stop)

    def in_streams_of(self, n_steps: int) -> Sampling:
        """Return how streams of another length are sampled."""
        return replace(self.sampling, n_steps=n_steps)

    def for_returns(self, streams: int) -> Sampling:
        """Return how streams are sampled of which episodes alone are wanted: those that begin in the scored steps.

        From a reset each where few may begin otherwise, so that long episodes count too: see `Sampling.begins_few`.

        Parameters
        ----------
        streams : int
            How many there are.
        """
        few = self.sampling.begins_few(streams, self.description["time_limit"])
        return replace(self.sampling, burn_in=0) if few else self.sampling

    def key(self, kind: str, decides: Sequence[Any]) -> str:
        """Name what follows from this agent, its environment, and all else that decides it.

        Parameters
        ----------
        kind : str
            What follows.
        decides : sequence of object
            All else that decides it, as JSON takes it.
        """
        agent = self.agent
        return content_key(kind, versions(), self.identity, self.description, agent.normalize_advantages, decides)

    def job(
        self, kind: str, function: Function, pairs: float, asked: Mapping[str, Any], *, state: str = "", **more: Any
    ) -> Job:
        """Make a job about this agent, named after everything that decides its answer.

        Parameters
        ----------
        kind : str
            What is asked and in which version, as part of the key.
        function : callable
            See `closerlook.measurements`; called with ``agent``, ``environment`` and all of `asked`.
        pairs : float
            What it simulates.
        asked : mapping
            Arguments that decide the answer.
        state : str
            Which part of the optimizer's state the answer depends on, ``"optimizer.policy"``; the agent travels with
            all of it then. Empty: none of it.
        **more
            ``carried``: further arguments, whose contents `named_by` tells, a sequence of what may be part of a key;
            ``before``: jobs whose work on disk this one needs; ``smaller``: see `closerlook.execution.Job`.
        """
        # the name of an answer: what is asked, and the part of the agent's state that its sampling does not hold
        decides = [dict(asked), self.agent.part(state) if state else None, *more.get("named_by", ())]
        arguments = {
            # jobs that only sample do not carry the optimizer's moments
            "agent": self.agent if state else self.sampler,
            "environment": self.environment,
            **asked,
            **more.get("carried", {}),
        }
        streams = asked.get("streams")
        which = f", streams {streams.first} to {streams.stop - 1}" if isinstance(streams, StreamRange) else ""
        name = f"{kind} of agent {self.number}{which}"
        key, before = self.key(kind, decides), tuple(more.get("before", ()))
        return Job(name, key, function, arguments, pairs, before, more.get("smaller"))


def resolve(agents: Sequence[Agent], environment: object, seed: int, scratch: Path) -> list[Subject]:
    """Check agents and environment, and work out what follows from them.

    Parameters
    ----------
    agents : sequence of Agent
        To be measured.
    environment : EnvironmentSpec, str or None
        What was asked for; None: what the agents were trained on.
    seed : int
        Root seed of the measurement.
    scratch : Path
        Folder for what jobs leave on disk for others.

    Raises
    ------
    InputError
        Where there are no agents, they differ in what they must share, or do not fit the environment.
    NonFiniteError
        Where a parameter is not finite.
    """
    require_alike(agents)
    spec = find_environment(agents, environment)
    description = describe_environment(spec)
    require_fit(agents, description)
    agents = tried(agents, spec)
    sampling = sampling_of(agents, description)
    return [
        Subject(number, agent, spec, description, sampling, seed, own_seed(seed, agent), probe(agent), scratch)
        for number, agent in enumerate(agents)
    ]
