"""The random generators that an environment holds: found wherever they are, and set to begin anew.

A copy of an environment goes on drawing what its original would have drawn. Restarts of a state are to differ by luck,
so that every generator of a copy gets a seed of its own.
"""

import functools
import random
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from gymnasium.utils.seeding import np_random

from closerlook.randomness import derive_seed

Source = np.random.Generator | np.random.RandomState | random.Random | torch.Generator
"""What draws random numbers from a seed."""

_LEAVES = (str, bytes, bytearray, int, float, complex, np.generic, torch.Tensor, ModuleType, type, type(None))


def find_generators(root: object) -> list[Source]:
    """Return every generator that can be reached from an object, each once, in the order of its attributes.

    Attributes, lists, tuples, dictionaries, wrapped environments, bound methods and what functions close over are
    followed; modules and classes, which copies share with everything else, are not.
    """
    found: list[Source] = []
    seen: set[int] = set()
    waiting: list[object] = [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, _LEAVES) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Source):
            # depth first in a fixed order: the number of a generator names its seed
            found.append(one)
        else:
            waiting.extend(reversed(list(_inside(one))))
    return found


def _inside(one: Any) -> Iterator[object]:
    if isinstance(one, dict):
        yield from one.values()
    elif isinstance(one, list | tuple | deque):
        yield from one
    elif isinstance(one, np.ndarray):
        yield from one.flat if one.dtype == object else ()
    elif isinstance(one, FunctionType):
        for cell in one.__closure__ or ():
            with suppress(ValueError):  # it is empty yet
                yield cell.cell_contents
    elif isinstance(one, MethodType | BuiltinMethodType):
        yield one.__self__
    elif isinstance(one, functools.partial):
        yield from (one.func, one.args, one.keywords)
    else:
        with suppress(Exception):  # it is anybody's object
            yield from vars(one).values()
        for kind in type(one).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                with suppress(Exception):
                    yield getattr(one, name)


def reseed(environment: Any, seed: int) -> None:
    """Set every generator of an environment to begin anew, each from a named seed.

    Parameters
    ----------
    environment : gymnasium.Env
        Its ``np_random`` goes on as after ``reset(seed=seed)``; others are keyed by the seed and their order.
    seed : int
        From 0 on.
    """
    inner, fresh = environment.unwrapped, np_random(seed)[0]
    # Gymnasium's own generator first; all others are numbered in the order in which they are found
    own = inner.np_random
    if isinstance(own, np.random.Generator) and type(own.bit_generator) is type(fresh.bit_generator):
        own.bit_generator.state = fresh.bit_generator.state  # in place: others may hold the same generator
    else:
        own = inner.np_random = fresh
    for number, source in enumerate(find_generators(environment)):
        if source is not own:
            _begin_anew(source, derive_seed(seed, "generator of an environment", stream=number))


def _begin_anew(source: Source, seed: int) -> None:
    if isinstance(source, np.random.Generator):
        source.bit_generator.state = type(source.bit_generator)(seed).state
    elif isinstance(source, np.random.RandomState):
        source.set_state(np.random.RandomState(np.random.MT19937(seed)).get_state())
    elif isinstance(source, torch.Generator):
        source.manual_seed(seed)
    else:
        source.seed(seed)
