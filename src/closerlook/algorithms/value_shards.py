"""Transitions that values are fitted to: written to disk by whoever sampled them, read back a window at a time.

====== ==========================================
symbol meaning
====== ==========================================
S      streams of a shard
T      pairs of a stream
N      pairs of a window
====== ==========================================
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.stream_scores import stream_squared_norms
from closerlook.algorithms.stream_sums import StreamRange
from closerlook.algorithms.truths import continuation_steps, discounted_returns
from closerlook.errors import InputError
from closerlook.results.store import JobFiles
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout

WINDOW_BYTES = 400 * 2**20
"""Transitions in memory at once; shuffling them takes as much again."""
HELD_OUT_STREAMS = 100
"""Streams, at most about, that tell when to stop."""
SHARE_HELD_OUT = 10
"""One stream in so many is held out, where that makes no more than `HELD_OUT_STREAMS`."""


def with_complete_returns(sampling: Sampling, gamma: float) -> Sampling:
    """Ask for discounted returns that go on past cuts and time limits.

    Raises
    ------
    InputError
        Where gamma is so near to 1 that they do not come to an end.
    """
    steps = continuation_steps(gamma)
    if steps is None:
        what = f"discounted returns do not come to an end with gamma {gamma:g}, so values have nothing to be judged by"
        raise InputError(what, "measure an agent with a smaller gamma")
    return replace(sampling, continuation_steps=steps)


def spill(
    agent: Agent, environment: EnvironmentSpec, sampling: Sampling, streams: StreamRange, folder: str, key: str
) -> dict[str, np.ndarray]:
    """Simulate streams and write what a value is fitted to.

    Leaves in the folder, under the key, ``observations`` (S, T, obs) float32 as the networks see them; ``returns``
    (S, T) float32, complete discounted returns in the units of the critic; ``norms`` (S, T) float32, the squared norm
    of each score, where it can be had; ``numbers`` (S,), the streams.

    Returns
    -------
    dict of str to ndarray
        ``pairs``: how many there are.
    """
    files = JobFiles(Path(folder))
    agents, numbers = Agent.stack([agent]), range(streams.first, streams.stop)
    asked = with_complete_returns(sampling, agent.gamma)
    sampled = rollout(agents, environment, asked, seeds=[streams.seed], purpose=streams.purpose, streams=numbers)
    norms = [stream_squared_norms(agents, sampled, place) for place in range(len(numbers))]
    known = [one for one in norms if one is not None]
    arrays = {
        "observations": sampled.observations[0],
        "returns": discounted_returns(agents, sampled, scaled=True).float().numpy(),
        "numbers": np.array(numbers),
    }
    files.save(key, arrays | ({"norms": torch.stack(known).numpy()} if known else {}))
    return {"pairs": np.array(sampled.pairs)}


@dataclass(frozen=True)
class Transitions:
    """Pairs that a value is fitted to.

    Parameters
    ----------
    observations : ndarray, (N, obs), float32
        Inputs of the networks.
    returns : ndarray, (N,), float32
        Targets.
    norms : ndarray, (N,), float32, or None
        Squared norms of the scores.
    """

    observations: np.ndarray
    returns: np.ndarray
    norms: np.ndarray | None

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.returns)

    @staticmethod
    def concatenate(parts: Sequence["Transitions"]) -> "Transitions":
        """Put pairs after one another."""
        norms = [part.norms for part in parts if part.norms is not None]
        return Transitions(
            np.concatenate([part.observations for part in parts]),
            np.concatenate([part.returns for part in parts]),
            np.concatenate(norms) if len(norms) == len(parts) else None,
        )


class Shards:
    """The shards of one fit.

    Parameters
    ----------
    folder : str
        Where they are.
    keys : sequence of str
        Their names, in the order of their streams.
    streams : int
        How many streams they hold in all.
    """

    def __init__(self, folder: str, keys: Sequence[str], streams: int) -> None:
        self._files, self._keys = JobFiles(Path(folder)), list(keys)
        self._step = max(min(SHARE_HELD_OUT, streams), -(-streams // HELD_OUT_STREAMS))

    def held_out(self) -> Transitions:
        """Return the pairs of the streams that are held out."""
        return Transitions.concatenate([self._read(key, held_out=True) for key in self._keys])

    def windows(self, order: Sequence[int]) -> Iterator[Transitions]:
        """Yield the other pairs, as many shards at a time as memory allows, in an order of shards."""
        parts: list[Transitions] = []
        for at in order:
            part = self._read(self._keys[at], held_out=False)
            if parts and sum(one.observations.nbytes for one in (*parts, part)) > WINDOW_BYTES:
                yield Transitions.concatenate(parts)
                parts = []
            parts.append(part)
        yield Transitions.concatenate(parts)

    def __len__(self) -> int:
        """Count the shards."""
        return len(self._keys)

    def _read(self, key: str, *, held_out: bool) -> Transitions:
        found = self._files.load(key)
        if found is None:
            what = f"transitions in {self._files.path} are missing or damaged"
            raise InputError(what, "give the same command again, they will be sampled anew")
        chosen = (found["numbers"] % self._step == self._step - 1) == held_out
        width = found["observations"].shape[-1]
        norms = found["norms"][chosen].reshape(-1) if "norms" in found else None
        return Transitions(
            found["observations"][chosen].reshape(-1, width), found["returns"][chosen].reshape(-1), norms
        )
