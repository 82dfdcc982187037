"""What a pair's score is weighted by: advantages of several kinds, all from one rollout.

Every policy gradient here is a mean of ``A_t grad log pi(a_t | s_t)`` over the pairs of a batch; they differ in A.

====== ==========================================
symbol meaning
====== ==========================================
S      streams
T      pairs of a stream
N      pairs of a beginning of a stream
====== ==========================================
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.rewards import frozen_rewards
from closerlook.algorithms.batch import Evaluation
from closerlook.estimation.returns import advantages_if_cut, gae
from closerlook.simulation.records import Rollout


@dataclass(frozen=True)
class Weighting:
    """One kind of advantage.

    Parameters
    ----------
    gae_lambda : float or None
        None: the agent's own.
    baseline : bool
        Whether the agent's critic is the baseline; without it, discounted returns take the place of advantages.
    """

    gae_lambda: float | None = None
    baseline: bool = True


OWN = Weighting()
"""The advantages of the agent's own surrogate."""


@dataclass(frozen=True)
class Weights:
    """The weights of a group of streams.

    Parameters
    ----------
    whole : Tensor, (S, T)
        As the streams are.
    ends : Tensor, (S, T), bool
        Steps that ended an episode.
    decay : float
        What the terms of later steps are discounted by: ``gamma * lambda``.
    stand_in : Tensor, (S, T), or None
        See `closerlook.estimation.returns.advantages_if_cut`.
    """

    whole: Tensor
    ends: Tensor
    decay: float
    stand_in: Tensor | None

    def if_cut(self, pairs: int) -> Tensor:
        """Return the weights (S, N) of the first pairs, as they are if the streams are cut after them."""
        return advantages_if_cut(self.whole, self.ends, pairs, self.decay, self.stand_in)


@torch.no_grad()
def weigh(agents: Agent, sampled: Rollout, critic: Evaluation, weightings: Sequence[Weighting]) -> list[Weights]:
    """Weigh the pairs of a population of one, judged by its critic, by each weighting."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told in words by whoever adds up
        scaled = torch.from_numpy(frozen_rewards(agents, sampled.rewards)[0].astype(np.float32))
        return [_weigh(agents, sampled, scaled, critic, weighting) for weighting in weightings]


def _weigh(agents: Agent, sampled: Rollout, scaled: Tensor, critic: Evaluation, weighting: Weighting) -> Weights:
    judged = weighting.baseline and agents.value is not None
    own_lambda = agents.gae_lambda if weighting.gae_lambda is None else weighting.gae_lambda
    gae_lambda = own_lambda if judged else 1.0
    both = (critic.values[0], critic.following[0])
    values, following = both if judged else (torch.zeros_like(tensor) for tensor in both)
    advantages = gae(scaled, values, following, critic.ends[0], gamma=agents.gamma, gae_lambda=gae_lambda)
    # with the released code's bootstrap the last value stands in for itself where a stream is cut
    stand_in = agents.gamma * (values - following) if agents.bootstrap == "paper" else None
    ends = torch.from_numpy((sampled.terminated | sampled.truncated)[0])
    return Weights(advantages, ends, agents.gamma * gae_lambda, stand_in)
