"""Batches of this library's own training, whose rollouts keep everything that a check may ask."""

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch as UpdateBatch
from closerlook.algorithms.batch import evaluate_critic
from closerlook.monitor.batch import Batch
from closerlook.simulation.records import Rollout


def batches_of(before: Agent, batch: UpdateBatch, rollout: Rollout) -> list[Batch]:
    """Return the batch of each member of a population.

    Parameters
    ----------
    before : Agent
        The population that sampled.
    batch : closerlook.algorithms.batch.Batch
        What its update is computed from, (P, S, T).
    rollout : Rollout
        What that was made of.
    """
    following = evaluate_critic(before, rollout, before.bootstrap).following.numpy()
    return [
        _batch_of(agent, batch, rollout, following[number], number) for number, agent in enumerate(before.unstack())
    ]


def _batch_of(agent: Agent, batch: UpdateBatch, rollout: Rollout, following: np.ndarray, number: int) -> Batch:
    def steps_first(array: object) -> np.ndarray:
        return np.swapaxes(np.asarray(array)[number], 0, 1)

    terminated, truncated = steps_first(rollout.terminated), steps_first(rollout.truncated)
    ends, paper = terminated | truncated, agent.bootstrap == "paper"
    returns = steps_first(batch.returns).astype(np.float64)
    rewards = steps_first(rollout.rewards)
    if agent.reward_scaling is not None:
        # r_t = R_t - gamma R_{t+1}: the scaled rewards themselves are not kept
        after = np.concatenate([returns[1:], np.zeros_like(returns[:1])])
        tail = np.zeros_like(returns) if paper else following.T
        stops = ends.copy()
        stops[-1] = True
        rewards = returns - agent.gamma * np.where(stops, tail, after)
    return Batch(
        rewards=rewards,
        raw_rewards=steps_first(rollout.rewards),
        observations=steps_first(batch.observations),
        actions=steps_first(batch.actions),
        log_probs=steps_first(batch.log_probs),
        values=steps_first(batch.values),
        last_values=following.T[-1],
        truncation_values=np.where(truncated, following.T, np.nan),
        terminated=terminated,
        truncated=truncated,
        advantages=steps_first(batch.advantages),
        returns=steps_first(batch.value_targets),
        gamma=agent.gamma,
        gae_lambda=1.0 if agent.value is None else agent.gae_lambda,
        truncation="terminate" if paper else "bootstrap",
        normalize_advantages=None if agent.normalize_advantages else "none",
        clip=agent.algorithm_settings.get("clip"),
        policy=agent,
        critic=agent if agent.value is not None else None,
    )
