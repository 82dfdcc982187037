"""Counter-based randomness: every draw is named, so no result depends on the order in which draws are made.

A draw is named by (root seed, purpose, stream, episode, kind). The name is the key and the counter of a Philox
4x64 generator (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"): two names never share numbers,
and the same name gives the same numbers in any process, in any order.
"""

import hashlib
import threading
from functools import lru_cache
from operator import index
from typing import Literal

import numpy as np

Kind = Literal["reset", "action", "burn-in", "other"]

_KIND_CODES: dict[Kind, int] = {"reset": 0, "action": 1, "burn-in": 2, "other": 3}
_WORD = 2**64
_scratch = threading.local()


@lru_cache(maxsize=256)
def _word(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(
    seed: int, purpose: str, *, stream: int = 0, episode: int = 0, kind: Kind = "other"
) -> np.random.Generator:
    """Return the generator of one named sequence of draws.

    Parameters
    ----------
    seed : int
        Root seed; any integer, taken modulo 2**64.
    purpose : str
        What the draws are for, for example ``"gradients"``.
    stream, episode : int
        Which stream, and which episode of it.
    kind : {"reset", "action", "burn-in", "other"}
        Which sort of draw.

    Returns
    -------
    numpy.random.Generator
        A Philox generator at the start of its sequence.
    """
    fresh = np.random.Generator(np.random.Philox(key=0))
    rekey(fresh, seed, purpose, stream=stream, episode=episode, kind=kind)
    return fresh


def rekey(
    used: np.random.Generator, seed: int, purpose: str, *, stream: int = 0, episode: int = 0, kind: Kind = "other"
) -> None:
    """Set a generator that `generator` made to the start of another named sequence, at a fifth of the cost.

    Parameters
    ----------
    used : numpy.random.Generator
        What `generator` returned.
    seed : int
        Root seed.
    purpose : str
        What the draws are for.
    stream, episode : int
        Whose draws they are.
    kind : str
        What is drawn, see `Kind`.
    """
    # Philox: key and counter name the sequence, so that no state has to be computed from a seed
    used.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {
            "counter": (0, int(episode), int(stream), _KIND_CODES[kind]),
            "key": (index(seed) % _WORD, _word(purpose)),
        },
        "buffer": (0, 0, 0, 0),
        "buffer_pos": 4,  # nothing left in the buffer
        "has_uint32": 0,
        "uinteger": 0,
    }


def derive_seed(seed: int, purpose: str, *, stream: int = 0, episode: int = 0, kind: Kind = "other") -> int:
    """Return a named non-negative integer below 2**63, for libraries that take a seed rather than a generator.

    An environment's episode is reset with such a seed, so ``gymnasium.make(id).reset(seed=...)`` replays it.

    Parameters
    ----------
    seed : int
        Root seed.
    purpose : str
        What the seed is for.
    stream, episode : int
        Whose seed it is.
    kind : str
        What is drawn with it, see `Kind`.
    """
    if not hasattr(_scratch, "generator"):
        _scratch.generator = generator(0, "")
    rekey(_scratch.generator, seed, purpose, stream=stream, episode=episode, kind=kind)
    return int(_scratch.generator.integers(2**63))
