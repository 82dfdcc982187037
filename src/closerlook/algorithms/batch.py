"""From a rollout to what an update is computed from: log probabilities, values, advantages, returns.

====== ==========================================
symbol meaning
====== ==========================================
P      policies of the population
S      streams of each policy
T      steps of each stream
K      boundaries: truncated steps and cut ends
====== ==========================================
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent, Bootstrap
from closerlook.algorithms.returns import discounted_sums, gae
from closerlook.nn.networks import TILE
from closerlook.simulation.rollout import Rollout


@dataclass(frozen=True)
class Batch:
    """What an update is computed from; every tensor begins with (P, S, T).

    Parameters
    ----------
    observations : Tensor, (P, S, T, obs)
        Policy inputs: standardized, clipped.
    actions : Tensor, (P, S, T, A) or (P, S, T)
        Actions as the policy drew them.
    log_probs : Tensor, (P, S, T)
        Their log probabilities under the policy that drew them.
    values : Tensor, (P, S, T)
        The critic before the update, in the units of the (scaled) rewards; zero without a critic.
    advantages : Tensor, (P, S, T)
        Generalized advantage estimates, not standardized; discounted returns where there is no critic.
    returns : Tensor, (P, S, T)
        Discounted returns in the units of the critic, bootstrapped where `Bootstrap` says so.
    value_weights : Tensor, (P, S, T)
        1 for the steps that count in the value loss, else 0.
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    value_weights: Tensor

    def of_policies(self, which: slice) -> "Batch":
        """Take some of the population."""
        return replace(self, **{name: tensor[which] for name, tensor in vars(self).items()})

    @property
    def gae_targets(self) -> Tensor:
        """``V_old + A_GAE``, (P, S, T)."""
        return self.values + self.advantages

    @property
    def value_targets(self) -> Tensor:
        """What the critic regresses on: `gae_targets`, (P, S, T)."""
        return self.gae_targets


@dataclass(frozen=True)
class ReturnsBatch(Batch):
    """A batch whose critic regresses on discounted returns."""

    @property
    def value_targets(self) -> Tensor:
        """What the critic regresses on: `returns`, (P, S, T)."""
        return self.returns


@dataclass(frozen=True)
class Evaluation:
    """What a population's critics say of a rollout; every tensor is (P, S, T).

    Parameters
    ----------
    values : Tensor
        The critic at each state, in the units of the (scaled) rewards; zero without a critic.
    following : Tensor
        What stands for the value of what follows each step: 0 after a termination, see `Bootstrap` for the rest.
    ends : Tensor, bool
        Steps that the next step of the stream does not follow from; the last of a stream among them.
    """

    values: Tensor
    following: Tensor
    ends: Tensor


@torch.no_grad()
def evaluate_critic(agents: Agent, rollout: Rollout, bootstrap: Bootstrap) -> Evaluation:
    """Evaluate a population's critics on its rollout, each stream by calls of its own, of a fixed shape.

    Parameters
    ----------
    agents : Agent
        A population of P.
    rollout : Rollout
        Its streams.
    bootstrap : {"correct", "paper"}
        What follows a truncation or a cut.
    """
    values = _values(agents, torch.from_numpy(rollout.observations))
    following, ends = _following_values(agents, rollout, values, bootstrap)
    return Evaluation(values, following, ends)


@torch.no_grad()
def make_batch(
    agents: Agent,
    rollout: Rollout,
    rewards: np.ndarray,
    *,
    bootstrap: Bootstrap | None = None,
    gae_lambda: float | None = None,
) -> Batch:
    """Evaluate a population on its rollout.

    Each stream is evaluated by calls of its own, of a fixed shape, so that no number depends on which other streams
    are in the rollout.

    Parameters
    ----------
    agents : Agent
        A population of P.
    rollout : Rollout
        Its streams.
    rewards : ndarray, (P, S, T)
        Rewards as the critic sees them: scaled and clipped.
    bootstrap : {"correct", "paper"}, optional
        What follows a truncation or a cut; default what the agents say.
    gae_lambda : float, optional
        Instead of the agents' own.
    """
    bootstrap = agents.bootstrap if bootstrap is None else bootstrap
    observations, actions = torch.from_numpy(rollout.observations), torch.from_numpy(rollout.actions)
    scaled = torch.from_numpy(np.ascontiguousarray(rewards, dtype=np.float32))
    log_probs = _log_probs(agents, observations, actions)
    critic = evaluate_critic(agents, rollout, bootstrap)
    values, following, ends = critic.values, critic.following, critic.ends
    own_lambda = agents.gae_lambda if gae_lambda is None else gae_lambda
    # without a critic V is zero and lambda 1: GAE is then the discounted return itself
    advantages = gae(
        scaled, values, following, ends, gamma=agents.gamma, gae_lambda=1.0 if agents.value is None else own_lambda
    )
    # released code: discounted returns stop with zero at every end
    tail = torch.zeros_like(values) if bootstrap == "paper" else following
    # released code: steps that end an episode, in either way, are left out of the value loss
    weights = torch.ones_like(values)
    if bootstrap == "paper":
        weights[torch.from_numpy(rollout.terminated | rollout.truncated)] = 0.0
    kind = ReturnsBatch if agents.value_target == "returns" else Batch
    return kind(
        observations=observations,
        actions=actions,
        log_probs=log_probs,
        values=values,
        advantages=advantages,
        returns=discounted_sums(scaled, ends, agents.gamma, tail),
        value_weights=weights,
    )


def _log_probs(agents: Agent, observations: Tensor, actions: Tensor) -> Tensor:
    parameters = agents.policy_parameters
    streams = [
        agents.policy.distribution(parameters, observations[:, s]).log_prob(actions[:, s])
        for s in range(observations.shape[1])
    ]
    return torch.stack(streams, dim=1)


def _values(agents: Agent, observations: Tensor) -> Tensor:
    if agents.value is None:
        return torch.zeros(observations.shape[:3])
    parameters = agents.value_parameters
    return torch.stack([agents.value(parameters, observations[:, s]) for s in range(observations.shape[1])], dim=1)


def _following_values(agents: Agent, rollout: Rollout, values: Tensor, bootstrap: Bootstrap) -> tuple[Tensor, Tensor]:
    """Return the critic at the state after each step (0 where the episode terminated), and where streams end."""
    terminated, truncated = torch.from_numpy(rollout.terminated), torch.from_numpy(rollout.truncated)
    ends = terminated | truncated
    ends[..., -1] = True
    # V(s_{t+1}) within a stream; 0 at every end, before truncations and cuts get their own
    following = torch.zeros_like(values)
    following[..., :-1] = values[..., 1:]
    following[ends] = 0.0
    if bootstrap == "paper":
        # released code: V(s_T) stands in for V(s_{T+1}) at the cut, and nothing at time limits
        cut = ~(terminated | truncated)[..., -1]
        following[..., -1] = torch.where(cut, values[..., -1], 0.0)
    elif agents.value is not None:
        at = rollout.boundaries
        where = tuple(torch.from_numpy(index) for index in (at.policy, at.stream, at.time))
        following[where] = _boundary_values(agents, at.policy, at.observations)
    return following, ends


def _boundary_values(agents: Agent, policies: np.ndarray, observations: np.ndarray) -> Tensor:
    """Evaluate the critic at boundary observations (K, obs), each alone in a padded tile: (K,)."""
    values = torch.zeros(len(observations))
    assert agents.value is not None
    for k, (policy, observation) in enumerate(zip(policies, observations, strict=True)):
        # each alone in a tile of its own: a row's bits do not depend on which other boundaries there are
        tile = torch.from_numpy(observation).repeat(TILE, 1)  # no zeros: to those a critic may have no answer
        own = {name: tensor[policy] for name, tensor in agents.value_parameters.items()}
        values[k] = agents.value(own, tile)[0]
    return values
