"""What a simulator offers the closed loop: many copies of one environment, the lanes, stepped together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class StepResult:
    """What one step of L lanes gave.

    Parameters
    ----------
    observations : ndarray, (L, obs), float64
        The states reached; of an episode that ended here, its last, not the next one's first.
    rewards : ndarray, (L,), float64
        True rewards.
    terminated, truncated : ndarray, (L,), bool
        Whether the environment itself ended the episode; a time limit is not the engine's business.
    """

    observations: FloatArray
    rewards: FloatArray
    terminated: BoolArray
    truncated: BoolArray


class Engine(Protocol):
    """Lanes 0 to n - 1 of one environment; a lane is reset, then stepped, and knows no time limit."""

    @property
    def observation_size(self) -> int:
        """Components of a flattened observation."""

    @property
    def action_space(self) -> gymnasium.spaces.Space[Any]:
        """A Box, a Discrete, MultiDiscrete or MultiBinary space."""

    @property
    def time_limit(self) -> int | None:
        """Steps after which an episode is to be truncated by the caller; None: never."""

    def reset(self, lanes: IntArray, seeds: Sequence[int]) -> FloatArray:
        """Begin an episode on the given lanes as ``gymnasium.make(id).reset(seed=seed)`` would: (L, obs).

        Parameters
        ----------
        lanes : ndarray, (L,), int64
            Which lanes.
        seeds : sequence of int, (L,)
            Of their episodes.
        """

    def step(self, lanes: IntArray, actions: NDArray[Any]) -> StepResult:
        """Step the given lanes, in ascending order, with actions (L, A), or (L,) where they are discrete.

        Parameters
        ----------
        lanes : ndarray, (L,), int64
            Which lanes, in rising order.
        actions : ndarray, (L, A) or (L,)
            As the environment takes them.
        """

    def save(self, lane: int) -> Any:
        """Return the state a lane is in."""

    def restore(self, lane: int, saved: Any, seed: int) -> None:
        """Put a lane into a saved state; what the environment draws from there on is named by the seed.

        Parameters
        ----------
        lane : int
            Where.
        saved : object
            What `save` returned.
        seed : int
            Of what is drawn from there on.
        """

    def close(self) -> None:
        """Let go of everything."""
