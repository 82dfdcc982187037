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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.rewards import frozen_rewards
from closerlook.algorithms.batch import Evaluation
from closerlook.algorithms.returns import advantages_if_cut, gae
from closerlook.measurements.true_returns import discounted_returns
from closerlook.simulation.records import Rollout


@dataclass(frozen=True)
class Weighting:
    """One kind of advantage.

    Parameters
    ----------
    gae_lambda : float or None
        None: the agent's own.
    baseline : str
        ``"critic"``, the agent's own; ``"zero"``, discounted returns in place of advantages; or the name of another
        that is given beside them.
    complete : bool
        Whether advantages are the Monte Carlo return less the baseline: simulated on past cuts and time limits instead
        of bootstrapped, lambda 1. Baselines of the state do not change what these estimate.
    """

    gae_lambda: float | None = None
    baseline: str = "critic"
    complete: bool = False


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
        See `closerlook.algorithms.returns.advantages_if_cut`.
    """

    whole: Tensor
    ends: Tensor
    decay: float
    stand_in: Tensor | None

    def if_cut(self, pairs: int) -> Tensor:
        """Return the weights (S, N) of the first pairs, as they are if the streams are cut after them."""
        return advantages_if_cut(self.whole, self.ends, pairs, self.decay, self.stand_in)


@torch.no_grad()
def weigh(
    agents: Agent, sampled: Rollout, critics: Mapping[str, Evaluation], weightings: Sequence[Weighting]
) -> list[Weights]:
    """Weigh the pairs of a population of one by each weighting.

    Parameters
    ----------
    agents : Agent
        The population.
    sampled : Rollout
        Its streams; with a continuation where a weighting is complete.
    critics : mapping of str to Evaluation
        The baselines by name, the agent's own as ``critic``.
    weightings : sequence of Weighting
        Which ones.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told in words by whoever adds up
        scaled = torch.from_numpy(frozen_rewards(agents, sampled.rewards)[0].astype(np.float32))
        returns = None
        if any(weighting.complete for weighting in weightings):
            returns = discounted_returns(agents, sampled, scaled=True).float()
        # the baseline zero: V = 0 everywhere, so that A is the return
        own = critics["critic"]
        zero = Evaluation(torch.zeros_like(own.values), torch.zeros_like(own.following), own.ends)
        known = {**critics, "zero": zero}
        return [_weigh(agents, sampled, (scaled, returns), known, weighting) for weighting in weightings]


def gae_targets(agents: Agent, sampled: Rollout, critic: Evaluation) -> Tensor:
    """Return what critics regress on by generalized advantage estimation, (S, T), in the critic's units.

    Parameters
    ----------
    agents : Agent
        A population of one.
    sampled : Rollout
        Its streams.
    critic : Evaluation
        The agent's own critic there.
    """
    (own,) = weigh(agents, sampled, {"critic": critic}, [OWN])
    # the critic's target is its own value and the advantage
    return critic.values[0] + own.whole


def _weigh(
    agents: Agent,
    sampled: Rollout,
    rewards: tuple[Tensor, Tensor | None],
    critics: Mapping[str, Evaluation],
    weighting: Weighting,
) -> Weights:
    scaled, returns = rewards
    has_critic = agents.value is not None or weighting.baseline != "critic"
    name = weighting.baseline if has_critic else "zero"
    values, following = critics[name].values[0], critics[name].following[0]
    ends = torch.from_numpy((sampled.terminated | sampled.truncated)[0])
    if weighting.complete:
        assert returns is not None
        # A_t = G_t - b(s_t), with decay 0: a later cut changes nothing
        return Weights(returns - values, ends, 0.0, None)  # a cut takes nothing from a Monte Carlo return
    own_lambda = agents.gae_lambda if weighting.gae_lambda is None else weighting.gae_lambda
    # returns in place of advantages are GAE with V = 0 and lambda 1
    gae_lambda = 1.0 if name == "zero" else own_lambda
    # eq. 16 of Schulman et al. (2016), by the critic or the baseline in its place
    advantages = gae(scaled, values, following, critics[name].ends[0], gamma=agents.gamma, gae_lambda=gae_lambda)
    # with the released code's bootstrap the last value stands in for itself where a stream is cut
    stand_in = agents.gamma * (values - following) if agents.bootstrap == "paper" else None
    return Weights(advantages, ends, agents.gamma * gae_lambda, stand_in)
