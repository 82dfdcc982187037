"""What a pair's score is weighted by in gradients of the returns themselves: true gradients that trust no critic.

The agent's surrogate discounts, bootstraps by its critic and stops at cuts; these returns do not select on what came
out: they are simulated on past a cut or a time limit for a number of steps decided beforehand, or to the end of the
episode. What depends on the state and the time alone may be subtracted from them without moving the gradient's mean:
`covariates` are what the measurement fits such a baseline from, on its whole pool.

====== ==========================================
symbol meaning
====== ==========================================
S      streams
T      pairs of a stream
K      true gradients
F      covariates
====== ==========================================
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.rewards import frozen_rewards
from closerlook.algorithms.batch import Evaluation
from closerlook.algorithms.returns import discounted_sums
from closerlook.simulation.records import Rollout

TrueGradient = Literal["discounted_return", "episode_return"]
"""``discounted_return``: the true reward from the pair on, discounted by the agent's gamma, lambda 1, without a factor
gamma^t; complete but for 1% of its weight. ``episode_return``: the undiscounted true reward from the pair to the end
of its episode."""

FOLLOWED: TrueGradient = "discounted_return"
"""What Monte Carlo returns, by which critics are judged, are called where several true gradients are."""
REMAINDER = 0.01
"""Weight, relative to the first, of the reward at which a discounted return is broken off."""
LONGEST_CONTINUATION = 20_000
COVARIATES = 2
TIME_UNIT = 1000.0
"""Steps to which the covariate of time is relative, to keep the numbers of a size."""


def continuation_steps(gamma: float) -> int | None:
    """Return for how many steps a discounted return is simulated on: ``ceil(log 0.01 / log gamma)``.

    Returns
    -------
    int or None
        None where that is more than 20,000: the return would not come to an end.
    """
    if not 0.0 < gamma < 1.0:
        return 0 if gamma == 0.0 else None
    # gamma^n = 0.01: what comes after n steps weighs 1% of the first reward
    steps = math.ceil(math.log(REMAINDER) / math.log(gamma))
    return steps if steps <= LONGEST_CONTINUATION else None


def true_returns(agents: Agent, sampled: Rollout, true_gradients: Sequence[TrueGradient]) -> Tensor:
    """Return the true returns from each pair on, of a population of one: (K, S, T), float64.

    Parameters
    ----------
    agents : Agent
        Whose gamma discounts.
    sampled : Rollout
        With a continuation for ``discounted_return``, and finished episodes for ``episode_return``.
    true_gradients : sequence of TrueGradient
        Which returns.
    """
    found: dict[TrueGradient, Callable[[Agent, Rollout], Tensor]] = {
        "discounted_return": discounted_returns,
        "episode_return": _undiscounted,
    }
    returns = [found[true_gradient](agents, sampled) for true_gradient in true_gradients]
    return torch.stack(returns) if returns else torch.zeros(0, *sampled.rewards.shape[1:], dtype=torch.float64)


def discounted_returns(agents: Agent, sampled: Rollout, *, scaled: bool = False) -> Tensor:
    """Return the Monte Carlo discounted return from each pair on, of a population of one: (S, T), float64.

    Parameters
    ----------
    agents : Agent
        Whose gamma discounts.
    sampled : Rollout
        With a continuation.
    scaled : bool
        Whether rewards are as the critic sees them, scaled and clipped, or true.
    """
    at = sampled.boundaries
    own, further = sampled.rewards, at.continuation_rewards
    if scaled:
        own, further = frozen_rewards(agents, own), frozen_rewards(agents, further[None])[0]
    rewards = torch.from_numpy(own[0])
    tail = torch.zeros_like(rewards)
    # tail = sum_k gamma^k r_{T+k} of the rewards simulated past the end
    powers = agents.gamma ** np.arange(further.shape[1])
    tail[torch.from_numpy(at.stream), torch.from_numpy(at.time)] = torch.from_numpy(further @ powers)
    return discounted_sums(rewards, _ends(sampled), agents.gamma, tail)


def cut_off_returns(agents: Agent, sampled: Rollout) -> Tensor:
    """Return discounted returns that stop with zero at cuts and time limits, in the critic's units: (S, T), float64.

    As the released code has them (agent.py, ``get_returns``): short of what comes after, the more the later the pair.

    Parameters
    ----------
    agents : Agent
        A population of one.
    sampled : Rollout
        What it did.
    """
    return discounted_sums(torch.from_numpy(frozen_rewards(agents, sampled.rewards)[0]), _ends(sampled), agents.gamma)


def _undiscounted(_: Agent, sampled: Rollout) -> Tensor:
    own, rewards = sampled.episodes, torch.from_numpy(sampled.rewards[0])
    tail = torch.zeros_like(rewards)
    # only the last episode of a stream has a return past its cut
    tail[:, -1].index_add_(0, torch.from_numpy(own.stream), torch.from_numpy(own.return_beyond))
    return discounted_sums(rewards, _ends(sampled), 1.0, tail)


def _ends(sampled: Rollout) -> Tensor:
    ends = torch.from_numpy((sampled.terminated | sampled.truncated)[0])
    ends[:, -1] = True
    return ends


def incomplete_returns(
    sampled: Rollout, sampling_continuation: int, true_gradients: Sequence[TrueGradient]
) -> np.ndarray:
    """Count, by true gradient and stream, the returns that could not be followed to where they were to end: (K, S).

    A continuation breaks off where the environment itself truncates and cannot go on; an episode's finish is given
    up where it may never end.

    Parameters
    ----------
    sampled : Rollout
        Of a population of one.
    sampling_continuation : int
        Steps for which returns were to be followed past truncations and cuts.
    true_gradients : sequence of str
        Which returns, K of them.
    """
    at, own = sampled.boundaries, sampled.episodes
    # neither terminated nor followed for as long as was asked
    short = ~at.continuation_terminated & (at.continuation_length < sampling_continuation)
    rows = {"discounted_return": at.stream[short], "episode_return": own.stream[~own.finished]}
    counts = [np.bincount(rows[true_gradient], minlength=sampled.n_streams) for true_gradient in true_gradients]
    return np.array(counts, np.int64).reshape(len(true_gradients), sampled.n_streams)


def covariates(sampled: Rollout, critic: Evaluation) -> Tensor:
    """Return what a baseline for the returns may be made of: time since the reset and the critic, (F, S, T).

    The time is in units of 1000 steps; the critic is as the agent has it, zero where there is none.

    Parameters
    ----------
    sampled : Rollout
        Of a population of one.
    critic : Evaluation
        What its critic says of the pairs.
    """
    elapsed = np.zeros(sampled.rewards.shape[1:], np.float32)
    time = np.arange(sampled.n_steps)
    for stream, start in zip(sampled.episodes.stream, sampled.episodes.start, strict=True):  # in the order of time
        first = max(int(start), 0)
        # the start of an episode that began in the burn-in is negative: the time since its reset is counted from there
        elapsed[stream, first:] = (time[first:] - start) / TIME_UNIT
    return torch.stack([torch.from_numpy(elapsed), critic.values[0]])
