"""Rewards as critic and advantages see them: divided by the running deviation of the discounted return, then clipped.

Not centered, which would change what is optimal. True reward is never touched. As the paper's released code does it
(torch_utils.py, ``RewardFilter`` and ``RunningStat``; custom_env.py resets the return with the environment).

====== ============================
symbol meaning
====== ============================
P      policies of the population
S      streams of each policy
T      steps of each stream
====== ============================
"""

import numpy as np

from closerlook.agents.agent import Agent, moments
from closerlook.agents.normalization import RunningMoments, Scaling


def scaled_rewards(
    rewards: np.ndarray, ends: np.ndarray, returns: RunningMoments, scaling: Scaling, gamma: float
) -> tuple[np.ndarray, RunningMoments]:
    """Scale rewards by moments that move with every step.

    ``G = gamma G + r`` is pushed onto the moments, ``r`` is divided by the deviation they then have, and ``G`` is 0
    again where an episode ends and at the start of a stream.

    Parameters
    ----------
    rewards : ndarray, (P, S, T)
        True rewards.
    ends : ndarray, (P, S, T), bool
        Steps that ended an episode, terminated or truncated.
    returns : RunningMoments
        Moments (P,), (P, 1) of the discounted return so far; not modified.
    scaling : Scaling
        Epsilon and clip.
    gamma : float
        Discount factor.

    Returns
    -------
    scaled : ndarray, (P, S, T), float64
        Scaled, clipped rewards. Where S > 1, the streams of a step are taken in their order.
    returns : RunningMoments
        The moments after the last step.
    """
    variances = np.empty(rewards.shape)
    after = RunningMoments(returns.count.copy(), returns.mean.copy(), returns.squares.copy())
    for policy in range(len(rewards)):
        start = (float(returns.count[policy]), float(returns.mean[policy, 0]), float(returns.squares[policy, 0]))
        variances[policy], end = _variances(rewards[policy], ends[policy], start, gamma)
        after.count[policy], after.mean[policy, 0], after.squares[policy, 0] = end
    return scaling.bounded(rewards / scaling.divisor(variances)), after


def _variances(
    rewards: np.ndarray, ends: np.ndarray, start: tuple[float, float, float], gamma: float
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Follow one policy's moments through its rewards (S, T): the variance after each step, and the last moments.

    Plain floats: a loop over a few numbers is faster so than in NumPy, and rounds alike for every population.
    """
    count, mean, squares = start
    discounted = [0.0] * len(rewards)
    variances = []
    for step_rewards, step_ends in zip(rewards.T.tolist(), ends.T.tolist(), strict=True):
        for stream, (reward, end) in enumerate(zip(step_rewards, step_ends, strict=True)):
            value = discounted[stream] * gamma + reward
            count += 1.0
            change = value - mean
            mean += change / count
            squares += change * (value - mean)
            variances.append(squares / (count - 1.0) if count > 1.0 else mean * mean)
            discounted[stream] = 0.0 if end else value
    return np.array(variances).reshape(rewards.T.shape).T, (count, mean, squares)


def frozen_rewards(agents: Agent, rewards: np.ndarray) -> np.ndarray:
    """Scale a population's rewards (P, S, T) by its stored moments, which stay as they are.

    Rewards pass unchanged where the agents do not scale them; an agent that has not yet seen a reward only clips them.

    Parameters
    ----------
    agents : Agent
        A population of P.
    rewards : ndarray, (P, S, T)
        True rewards.
    """
    if agents.reward_scaling is None:
        return rewards
    stored = moments(agents, "returns")
    # r / (sd of the discounted return + epsilon), then clipped; not centered
    divisor = np.where(stored.count > 0, agents.reward_scaling.divisor(stored.variance)[:, 0], 1.0)
    return agents.reward_scaling.bounded(rewards / divisor[:, None, None])


def reward_unit(agent: Agent) -> float:
    """Return what the agent's rewards are divided by before its critic sees them; clipping is left out."""
    if agent.reward_scaling is None:
        return 1.0
    stored = moments(Agent.stack([agent]), "returns")
    return float(agent.reward_scaling.divisor(stored.variance)[0, 0]) if stored.count[0] > 0 else 1.0
