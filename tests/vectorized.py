"""Gradient estimates of the analytic environments drawn directly as arrays: the same distribution, without an engine.

Thousands of disjoint estimates take a second here, which is what coverage of an interval takes to see.
"""

import numpy as np

import environments as known
from closerlook.agents.agent import Agent


def bandit_estimates(
    generator: np.random.Generator, agent: Agent, shape: tuple[int, int], *, noise: float, normalize: bool
) -> np.ndarray:
    """Draw (estimates, pairs) of the bandit: gradient estimates (estimates, D)."""
    contexts = generator.standard_normal((*shape, known.CONTEXT))
    actions, scores = _act(generator, agent, contexts)
    miss = actions - contexts @ known.TARGET.T - known.OFFSET
    rewards = -0.5 * np.square(miss).sum(-1) + noise * generator.standard_normal(shape)
    return _average(scores, rewards, normalize)


def linear_quadratic_estimates(
    generator: np.random.Generator, agent: Agent, shape: tuple[int, int], *, noise: float, normalize: bool
) -> np.ndarray:
    """Draw (estimates, pairs), whole episodes, of the linear-quadratic environment: (estimates, D)."""
    scores, returns = linear_quadratic_pairs(generator, agent, shape, noise=noise)
    return _average(scores, returns, normalize)


def linear_quadratic_pairs(
    generator: np.random.Generator, agent: Agent, shape: tuple[int, int], *, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the same pair by pair: scores (estimates, pairs, D), undiscounted returns (estimates, pairs)."""
    episodes = (shape[0], shape[1] // known.HORIZON)
    states = known.START + 0.3 * generator.standard_normal((*episodes, 3))
    rewards, scores = [], []
    for _ in range(known.HORIZON):
        actions, score = _act(generator, agent, states)
        cost = np.square(states).sum(-1) + 0.1 * np.square(actions).sum(-1)
        rewards.append(-cost / known.HORIZON + noise * generator.standard_normal(episodes))
        scores.append(score)
        states = states @ known.DYNAMICS.T + actions @ known.CONTROL.T
        states = states + 0.1 * generator.standard_normal(states.shape)
    returns = np.cumsum(np.stack(rewards, -1)[..., ::-1], axis=-1)[..., ::-1]
    return np.stack(scores, 2).reshape(*shape, -1), returns.reshape(shape)


def _act(generator: np.random.Generator, agent: Agent, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw actions (..., A) and return them with their scores (..., D)."""
    weight, bias, log_std = (tensor.double().numpy() for tensor in agent.policy_parameters.values())
    noise = generator.standard_normal((*inputs.shape[:-1], len(bias)))
    error = noise / np.exp(log_std)
    outer = (error[..., :, None] * inputs[..., None, :]).reshape(*inputs.shape[:-1], -1)
    return inputs @ weight.T + bias + np.exp(log_std) * noise, np.concatenate([outer, error, noise**2 - 1], axis=-1)


def _average(scores: np.ndarray, advantages: np.ndarray, normalize: bool) -> np.ndarray:
    if normalize:
        centered = advantages - advantages.mean(-1, keepdims=True)
        advantages = centered / advantages.std(-1, ddof=1, keepdims=True)
    return np.einsum("np,npd->nd", advantages, scores) / scores.shape[1]
