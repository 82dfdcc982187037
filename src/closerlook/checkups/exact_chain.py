"""A chain of three states that linear algebra answers: what ``closerlook selfcheck`` holds measurements against.

====== ==============================
symbol meaning
====== ==============================
n, A   states, actions
D      policy parameters, flattened
====== ==============================
"""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import CategoricalMLP, MLPValue
from closerlook.nn.networks import MLP

Array = NDArray[np.float64]

STATES, ACTIONS, GAMMA = 3, 2, 0.8
START = np.array([0.6, 0.3, 0.1])
MOVES = np.array(
    [
        [[0.5, 0.3, 0.1], [0.2, 0.4, 0.2], [0.1, 0.3, 0.3]],
        [[0.1, 0.5, 0.3], [0.4, 0.1, 0.4], [0.3, 0.2, 0.2]],
    ]
)
"""Chance of each next state by action and state, (A, n, n); what is missing to 1 ends the episode."""
REWARDS = np.array([[1.0, -0.5, 0.3], [0.2, 0.8, -0.4]])
"""By action and state, (A, n)."""
WEIGHTS = np.array([[0.4, -0.6, 0.2], [-0.3, 0.5, 0.1]], np.float32)


class Chain(gymnasium.Env[Any, Any]):
    """Observes the state, one of n."""

    def __init__(self) -> None:
        self.observation_space = Box(0.0, 1.0, (STATES,), np.float32)
        self.action_space = Discrete(ACTIONS)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Draw a first state.

        Parameters
        ----------
        seed : int, optional
            Of the generator, as Gymnasium's.
        options : dict, optional
            Not used.
        """
        super().reset(seed=seed)
        self._state = int(self.np_random.choice(STATES, p=START))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Draw the next state, or the end."""
        chances, reward = MOVES[int(action), self._state], float(REWARDS[int(action), self._state])
        # P(end | s, a) = 1 - sum_t P(t | s, a); given that it goes on, t has probability P(t) / sum P
        ended = self.np_random.random() >= chances.sum()
        if not ended:
            self._state = int(self.np_random.choice(STATES, p=chances / chances.sum()))
        return self._observation(), reward, bool(ended), False, {}

    def _observation(self) -> Any:
        return np.eye(STATES, dtype=np.float32)[self._state]


def make_chain() -> Chain:
    """Build the environment."""
    return Chain()


def chain_agent() -> Agent:
    """Return an agent whose policy is linear in the state, and whose critic is right."""
    state = {
        "policy.0.weight": torch.from_numpy(WEIGHTS.copy()),
        "policy.0.bias": torch.zeros(ACTIONS),
        "value.0.weight": torch.from_numpy(values(GAMMA).astype(np.float32))[None],
        "value.0.bias": torch.zeros(1),
    }
    return Agent(
        CategoricalMLP(MLP((STATES, ACTIONS))),
        MLPValue(MLP((STATES, 1))),
        state,
        gamma=GAMMA,
        gae_lambda=0.9,
        normalize_advantages=False,
        regime=Regime(2, 32),
        environment=EnvironmentSpec("closerlook.checkups.exact_chain:make_chain"),
    )


def policy() -> Array:
    """Return the chances of actions, (n, A)."""
    # softmax: pi(a|s) = exp(W_as) / sum_b exp(W_bs)
    odds = np.exp(WEIGHTS.T.astype(np.float64))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def values(gamma: float) -> Array:
    """Return V, (n,): ``V = r + gamma P V``."""
    chances = policy()
    # under the policy: P(t|s) = sum_a pi(a|s) P(t|s, a), r(s) = sum_a pi(a|s) r(s, a); then (I - gamma P) V = r
    moves, rewards = np.einsum("sa,ast->st", chances, MOVES), np.einsum("sa,as->s", chances, REWARDS)
    return np.asarray(np.linalg.solve(np.eye(STATES) - gamma * moves, rewards))


def gradient(steps: int) -> Array:
    """Return the mean of ``sum_t (G_t - V) grad log pi`` over a stream from a reset, with new episodes as old ones end.

    Parameters
    ----------
    steps : int
        Of the stream.

    Returns
    -------
    ndarray, (D,)
        ``sum_t sum_s mu_t(s) sum_a pi(a|s) (Q(s, a) - V(s)) grad log pi(a|s)``, weights before biases.
    """
    chances, known = policy(), values(GAMMA)
    # A(s, a) = r(s, a) + gamma sum_t P(t|s, a) V(t) - V(s)
    best = REWARDS.T + GAMMA * np.einsum("ast,t->sa", MOVES, known) - known[:, None]
    moves = np.einsum("sa,ast->st", chances, MOVES)
    moves = moves + (1 - moves.sum(axis=1, keepdims=True)) * START  # an episode that ended begins anew
    found, at = np.zeros(ACTIONS * STATES + ACTIONS), START.copy()
    for _ in range(steps):
        for state in range(STATES):
            for action in range(ACTIONS):
                error = np.eye(ACTIONS)[action] - chances[state]
                slope = np.concatenate([np.outer(error, np.eye(STATES)[state]).ravel(), error])
                found += at[state] * chances[state, action] * best[state, action] * slope
        at = at @ moves
    return found
