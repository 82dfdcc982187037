"""Transitions that values are fitted to: written to disk by whoever sampled them, read back a window at a time.

====== ==========================================
symbol meaning
====== ==========================================
S      streams of a shard
T      pairs of a stream
N      pairs of a window
====== ==========================================
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.batch import evaluate_critic
from closerlook.errors import InputError
from closerlook.measurements.stream_scores import stream_squared_norms
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.true_returns import continuation_steps, discounted_returns
from closerlook.measurements.weightings import gae_targets
from closerlook.results.answers import JobFiles
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout

WINDOW_BYTES = 400 * 2**20
"""Observations in memory at once. Beside them a shard is read, and there are those of the streams held out."""
HELD_OUT_STREAMS = 100
"""Streams, at most about, that tell when to stop."""
SHARE_HELD_OUT = 10
"""One stream in so many is held out, where that makes no more than `HELD_OUT_STREAMS`."""


def with_monte_carlo_returns(sampling: Sampling, gamma: float) -> Sampling:
    """Ask for discounted returns that go on past cuts and time limits.

    Parameters
    ----------
    sampling : Sampling
        How streams are sampled otherwise.
    gamma : float
        The agent's discount.

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
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    folder: str,
    key: str,
    *,
    own_target: bool = False,
) -> dict[str, np.ndarray]:
    """Simulate streams and write what a value is fitted to.

    Leaves in the folder, under the key, ``observations`` (S, T, obs) float32 as the networks see them; ``returns``
    (S, T) float32, Monte Carlo discounted returns in the units of the critic; ``norms`` (S, T) float32, the squared
    norm of each score, where it can be had; ``gae_targets`` (S, T) float32, where they are asked for; ``numbers`` (S,),
    the streams.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled.
    streams : StreamRange
        Which ones.
    folder : str
        Where to write.
    key : str
        Under which name.
    own_target : bool
        Whether the agent's critic is asked for its own target, V_old + A.

    Returns
    -------
    dict of str to ndarray
        ``pairs``: how many there are.
    """
    files = JobFiles(Path(folder))
    agents, numbers = Agent.stack([agent]), range(streams.first, streams.stop)
    asked = with_monte_carlo_returns(sampling, agent.gamma)
    sampled = rollout(agents, environment, asked, seeds=[streams.seed], purpose=streams.purpose, streams=numbers)
    # |grad log pi|^2 of every pair: weights of the optimal baseline's fit
    norms = [stream_squared_norms(agents, sampled, place) for place in range(len(numbers))]
    known = [one for one in norms if one is not None]
    arrays = {
        "observations": sampled.observations[0],
        "returns": discounted_returns(agents, sampled, scaled=True).float().numpy(),
        "numbers": np.array(numbers),
    }
    arrays |= {"norms": torch.stack(known).numpy()} if known else {}
    if own_target:
        arrays["gae_targets"] = gae_targets(agents, sampled, evaluate_critic(agents, sampled, agents.bootstrap)).numpy()
    files.save(key, arrays)
    return {"pairs": np.array(sampled.pairs)}


@dataclass(frozen=True)
class Transitions:
    """Pairs that a value is fitted to.

    Parameters
    ----------
    observations : ndarray, (N, obs), float32
        Inputs of the networks.
    targets : ndarray, (N,), float32
        What is fitted.
    norms : ndarray, (N,), float32, or None
        Squared norms of the scores.
    """

    observations: np.ndarray
    targets: np.ndarray
    norms: np.ndarray | None

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.targets)


_Shard = Mapping[str, np.ndarray]
"""What `spill` wrote."""


class _Buffer:
    """Pairs of shards, copied one after the other into memory that is taken once and used again."""

    def __init__(self, pairs: int, target: str) -> None:
        self._room, self._count, self._target, self._all_normed = pairs, 0, target, True
        self._arrays: dict[str, np.ndarray] = {}

    def has_room(self, pairs: int) -> bool:
        """Whether so many pairs still go in; into an empty one always do."""
        return self._count == 0 or self._count + pairs <= self._room

    def add(self, shard: _Shard, chosen: np.ndarray) -> None:
        """Copy the pairs of the chosen streams (S,) of a shard."""
        pairs = int(chosen.sum()) * shard[self._target].shape[1]
        # weights are used only where all shards have them
        self._all_normed &= "norms" in shard
        for name in ("observations", self._target, *(["norms"] if self._all_normed else [])):
            place = self._place(name, shard[name], pairs)
            np.compress(chosen, shard[name], axis=0, out=place.reshape(-1, *shard[name].shape[1:]))
        self._count += pairs

    def _place(self, name: str, array: np.ndarray, pairs: int) -> np.ndarray:
        """Return where so many pairs of an array (S, T, ...) go; where it is too small, it grows."""
        stop = self._count + pairs
        old = self._arrays.get(name)
        if old is None or len(old) < stop:
            new = np.empty((max(self._room, stop), *array.shape[2:]), array.dtype)
            if old is not None and self._count:
                new[: self._count] = old[: self._count]
            self._arrays[name] = new
        return self._arrays[name][self._count : stop]

    def taken(self) -> Transitions:
        """Return what is in it, not copied."""
        norms = self._arrays["norms"][: self._count] if self._all_normed else None
        observations, targets = (self._arrays[name][: self._count] for name in ("observations", self._target))
        return Transitions(observations, targets, norms)

    def clear(self) -> None:
        """Begin anew."""
        self._count, self._all_normed = 0, True


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
    target : {"returns", "gae_targets"}
        What is fitted.
    """

    def __init__(self, folder: str, keys: Sequence[str], streams: int, target: str = "returns") -> None:
        self._files, self._keys, self._streams, self._target = JobFiles(Path(folder)), list(keys), streams, target
        # read once more for every pass, compared with their digests once
        self._compared = set[str]()
        # one stream in ten, and no more than about a hundred
        self._step = max(min(SHARE_HELD_OUT, streams), -(-streams // HELD_OUT_STREAMS))

    def held_out(self) -> Transitions:
        """Return the pairs of the streams that are held out."""
        buffer: _Buffer | None = None
        for key in self._keys:
            shard, chosen = self._read(key, held_out=True)
            if buffer is None:
                buffer = _Buffer(self._streams // self._step * shard["returns"].shape[1], self._target)
            buffer.add(shard, chosen)
        assert buffer is not None
        return buffer.taken()

    def windows(self, order: Sequence[int]) -> Iterator[Transitions]:
        """Yield the other pairs, as many shards at a time as memory allows, in an order of shards.

        The memory of a window is used again for the next: what is to be kept must be copied.
        """
        buffer: _Buffer | None = None
        for at in order:
            shard, chosen = self._read(self._keys[at], held_out=False)
            n_steps, width = shard["observations"].shape[1:]
            if buffer is None:
                most = min(self._streams * n_steps, WINDOW_BYTES // (width * shard["observations"].itemsize))
                buffer = _Buffer(most, self._target)
            if not buffer.has_room(int(chosen.sum()) * n_steps):
                yield buffer.taken()
                buffer.clear()
            buffer.add(shard, chosen)
            del shard
        assert buffer is not None
        yield buffer.taken()

    def __len__(self) -> int:
        """Count the shards."""
        return len(self._keys)

    def _read(self, key: str, *, held_out: bool) -> tuple[_Shard, np.ndarray]:
        """Return a shard, and which of its streams are meant (S,)."""
        found = self._files.load(key, compared=key in self._compared)
        if found is None:
            self._files.discard(key)
            what = f"transitions in {self._files.path} are missing or damaged"
            raise InputError(what, "give the same command again, they will be sampled anew")
        self._compared.add(key)
        # one stream in so many is held out by its number alone, so the same ones whatever the shards
        return found, (found["numbers"] % self._step == self._step - 1) == held_out
