"""Shuffled minibatches of a population's batch: each policy in an order of its own."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from closerlook.randomness import generator


def pairs_of(tensor: Tensor) -> Tensor:
    """Join streams and steps: (P, S, T, ...) to (P, N, ...), N = S T."""
    return tensor.flatten(1, 2)


def minibatches(
    columns: Sequence[Tensor], count: int, seeds: Sequence[int], purpose: str, *, iteration: int, epoch: int
) -> Iterator[list[Tensor]]:
    """Shuffle pairs and deal them into minibatches.

    Parameters
    ----------
    columns : sequence of Tensor, (P, N, ...)
        What belongs to each pair.
    count : int
        Minibatches, whatever N is; the first N mod count hold one pair more, and empty ones are left out.
    seeds : sequence of int, (P,)
        Each policy's own seed; its order is keyed (seed, purpose, iteration, epoch).
    purpose : str
        What the minibatches are for.
    iteration, epoch : int
        Which update, and which pass through its batch.

    Yields
    ------
    list of Tensor, (P, M, ...)
        The same columns of one minibatch.
    """
    n_pairs = columns[0].shape[1]
    orders = [generator(seed, purpose, stream=iteration, episode=epoch).permutation(n_pairs) for seed in seeds]
    order = torch.from_numpy(np.stack(orders))
    policies = torch.arange(len(seeds)).unsqueeze(1)
    shuffled = [column[policies, order].tensor_split(count, dim=1) for column in columns]
    for parts in zip(*shuffled, strict=True):
        if parts[0].shape[1] > 0:
            yield list(parts)
