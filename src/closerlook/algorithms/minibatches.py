"""Shuffled minibatches of a population's batch: each policy in an order of its own.

====== ===================================
symbol meaning
====== ===================================
P      policies of the population
S, T   streams of each policy, their steps
N      pairs of a batch, S T
M      pairs of a minibatch
====== ===================================
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from closerlook.algorithms.surrogate import standardize
from closerlook.nn.backward import Array
from closerlook.randomness import generator


def pairs_of(tensor: Tensor) -> Tensor:
    """Join streams and steps: (P, S, T, ...) to (P, N, ...), N = S T."""
    return tensor.flatten(1, 2)


def with_ones(inputs: Tensor) -> Tensor:
    """Append a column of ones, which biases are multiplied by: (P, N, I) to (P, N, I + 1)."""
    return torch.nn.functional.pad(inputs, (0, 1), value=1.0)


def shuffle(
    columns: Sequence[Tensor], seeds: Sequence[int], purpose: str, *, iteration: int, epoch: int
) -> list[Array]:
    """Put pairs into the order in which a pass through the batch takes them.

    Parameters
    ----------
    columns : sequence of Tensor, (P, N, ...)
        What belongs to each pair.
    seeds : sequence of int, (P,)
        Each policy's own seed; its order is keyed (seed, purpose, iteration, epoch).
    purpose : str
        What the minibatches are for.
    iteration, epoch : int
        Which update, and which pass through its batch.
    """
    policies, pairs = columns[0].shape[:2]
    orders = [generator(seed, purpose, stream=iteration, episode=epoch).permutation(pairs) for seed in seeds]
    # policy p's pairs are rows p N to (p + 1) N - 1 of the flattened columns
    rows = np.stack(orders) + pairs * np.arange(policies)[:, None]
    return [column.flatten(0, 1).numpy().take(rows, axis=0) for column in columns]


def deal(columns: Sequence[Array], count: int) -> Iterator[list[Array]]:
    """Deal pairs into minibatches, in order.

    Parameters
    ----------
    columns : sequence of ndarray, (P, N, ...)
        What belongs to each pair.
    count : int
        Minibatches, whatever N is; the first N mod count hold one pair more, and empty ones are left out.

    Yields
    ------
    list of ndarray, (P, M, ...)
        The same columns of one minibatch.
    """
    for first, minibatches, size in _groups(columns[0].shape[1], count):
        for start in range(first, first + minibatches * size, size):
            yield [column[:, start : start + size] for column in columns]


def standardize_each(advantages: Array, count: int) -> tuple[Array, Array]:
    """Standardize advantages (P, N) within each minibatch that `deal` makes of them.

    Parameters
    ----------
    advantages : ndarray, (P, N)
        In the order in which they are dealt.
    count : int
        Minibatches, see `deal`.

    Returns
    -------
    standardized : ndarray, (P, N)
        As `closerlook.algorithms.surrogate.standardize` returns them.
    constant : ndarray, (P,), int64
        How many minibatches had advantages that were all equal.
    """
    standardized, constant = np.empty_like(advantages), np.zeros(len(advantages), np.int64)
    # minibatches of one size at a time, as rows of one tensor
    for first, minibatches, size in _groups(advantages.shape[1], count):
        part = slice(first, first + minibatches * size)
        rows = torch.from_numpy(advantages[:, part].reshape(len(advantages), minibatches, size))
        values, equal = standardize(rows)
        standardized[:, part] = values.flatten(1).numpy()
        constant += equal.sum(1).numpy()
    return standardized, constant


def _groups(pairs: int, count: int) -> list[tuple[int, int, int]]:
    """Return runs of minibatches of one size: first pair, minibatches, pairs of each."""
    # N = count size + longer: the first `longer` minibatches hold one pair more
    size, longer = divmod(pairs, count)
    groups = [(0, longer, size + 1), (longer * (size + 1), count - longer, size)]
    return [group for group in groups if group[1] and group[2]]
