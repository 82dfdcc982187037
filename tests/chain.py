"""A chain of seven states whose every moment is known: an environment, an agent with a wrong critic, and the exact
answers by dynamic programming, which share no code with the library.

As users would name it: ``chain:make_chain``. States 0 to 6 in a row; actions go left, stay, go right, and slip; state 6
terminates, a time limit truncates, and streams are cut after `STEPS` pairs.

====== ==========================================================
symbol meaning
====== ==========================================================
n, A   states, actions
L      steps of the time limit; an episode's age is below it
T      pairs of a stream
D      policy parameters: weights (A, n), then biases (A,)
y      weight of a pair: an advantage, or a return
W      sum of ``(y - b) grad log pi`` over the rest of a stream
====== ==========================================================
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import TimeLimit

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import CategoricalMLP, MLPValue
from closerlook.nn.networks import MLP

STATES, ACTIONS, LIMIT, STEPS, GAMMA = 7, 3, 12, 32, 0.9
START = np.array([0.3, 0.3, 0.2, 0.1, 0.1, 0.0, 0.0])
LAST = STATES - 1
"""The state that terminates."""
SLIP = 0.2
"""Chance that an action is replaced by a random one."""
REWARDS = np.array([-0.2, 0.0, 0.3, -0.5, 0.2, 0.4, 2.0])
"""For arriving in each state; going left costs 0.1 more."""
DRAWS = np.random.default_rng(20)
WEIGHTS = 0.5 * DRAWS.standard_normal((ACTIONS, STATES)).astype(np.float32)
BIASES = np.array([-0.2, 0.0, 0.3], np.float32)
WRONG = DRAWS.standard_normal(STATES).astype(np.float32)
"""What the critic says of each state: about nothing that is true."""


def _moves() -> np.ndarray:
    """Return the chance of each next state, (A, n, n)."""
    sure = np.zeros((ACTIONS, STATES, STATES))
    for action, shift in enumerate((-1, 0, 1)):
        for state in range(STATES):
            sure[action, state, min(max(state + shift, 0), LAST)] = 1.0
    return (1 - SLIP) * sure + SLIP * sure.mean(axis=0)


MOVES = _moves()
EARNED = REWARDS - np.array([0.1, 0.0, 0.0])[:, None]
"""Mean reward by action and next state, (A, n)."""


def _law(chances: np.ndarray) -> tuple[list[float], float]:
    """Return the cumulated chances, and their sum, in plain numbers: the environment steps often."""
    return np.cumsum(chances).tolist(), float(chances.sum())


START_LAW, LAWS = _law(START), [[_law(chances) for chances in moves] for moves in MOVES]
SEEN = np.eye(STATES, dtype=np.float32)


class Chain(gymnasium.Env):
    """The chain without its time limit; rewards are noisy as asked."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.observation_space = Box(0.0, 1.0, (STATES,), np.float32)
        self.action_space = Discrete(ACTIONS)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self._draw(START_LAW)
        return self._observation(), {}

    def step(self, action):
        self.state = self._draw(LAWS[int(action)][self.state])
        reward = EARNED[int(action), self.state] + self.noise * self.np_random.standard_normal()
        return self._observation(), float(reward), self.state == LAST, False, {}

    def _draw(self, law: tuple[list[float], float]) -> int:
        return bisect_right(law[0], self.np_random.random() * law[1])

    def _observation(self) -> np.ndarray:
        return SEEN[self.state].copy()


def make_chain(**arguments) -> gymnasium.Env:
    return TimeLimit(Chain(**arguments), LIMIT)


def chain_agent(noise: float = 0.0, critic: np.ndarray = WRONG, **fields) -> Agent:
    """A policy that is linear in the state, and a critic that says what it is told."""
    state = {"policy.0.weight": WEIGHTS, "policy.0.bias": BIASES}
    state |= {"value.0.weight": np.asarray(critic, np.float32)[None], "value.0.bias": np.zeros(1, np.float32)}
    defaults = {
        "gamma": GAMMA,
        "gae_lambda": 0.8,
        "normalize_advantages": False,
        "regime": Regime(n_envs=2, n_steps=STEPS),
        "environment": EnvironmentSpec("chain:make_chain", {"noise": noise}),
    }
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
    policy, value = CategoricalMLP(MLP((STATES, ACTIONS))), MLPValue(MLP((STATES, 1)))
    return Agent(policy, value, tensors, **(defaults | fields))


def policy() -> np.ndarray:
    """Return the chances of actions in each state, (n, A)."""
    logits = (WEIGHTS + BIASES[:, None]).T.astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def scores() -> np.ndarray:
    """Return ``grad log pi`` of each state and action, (n, A, D)."""
    found = np.zeros((STATES, ACTIONS, (STATES + 1) * ACTIONS))
    for state, chances in enumerate(policy()):
        for action in range(ACTIONS):
            error = np.eye(ACTIONS)[action] - chances
            weights = np.zeros((ACTIONS, STATES))
            weights[:, state] = error
            found[state, action] = np.concatenate([weights.ravel(), error])
    return found


Tail = Callable[[str], np.ndarray]
"""From how a pair's trajectory ends to mean and mean square of the return after it: (2, n, L + 1), by state and age."""


@dataclass(frozen=True)
class Weight:
    """What pairs are weighted by: ``y = reward + bootstrap V(s') - V(s) + decay y'``, and a tail where it ends.

    Parameters
    ----------
    decay : float
        Of the next pair's weight: gamma lambda, gamma, or 1.
    critic : ndarray, (n,)
        V, by which rewards are turned into temporal differences; zero for returns.
    bootstrap : float
        gamma.
    tail : Tail
        What follows ``"truncated"`` and ``"cut"`` pairs.
    baseline : ndarray, (n,)
        b, taken off afterwards.
    """

    decay: float
    critic: np.ndarray
    bootstrap: float
    tail: Tail
    baseline: np.ndarray


@dataclass(frozen=True)
class Exact:
    """Moments of a stream.

    Parameters
    ----------
    gradient : ndarray, (D,)
        Mean of an estimate.
    variance : float
        Trace of its covariance, times its pairs.
    weight, square : float
        Mean of y over a stream's pairs, and of its square.
    by_state : ndarray, (n,)
        Mean of y in each state.
    """

    gradient: np.ndarray
    variance: float
    weight: float
    square: float
    by_state: np.ndarray


def no_tail(_: str) -> np.ndarray:
    """Nothing: what follows is bootstrapped."""
    return np.zeros((2, STATES, LIMIT + 1))


def advantages(critic: np.ndarray, gae_lambda: float, constant: float = 0.0) -> Weight:
    """Generalized advantage estimates."""
    return Weight(GAMMA * gae_lambda, np.asarray(critic, float), GAMMA, no_tail, np.full(STATES, constant))


def monte_carlo_returns(noise: float, baseline: np.ndarray | float = 0.0, horizon: int = 44) -> Weight:
    """Discounted returns, followed past limits and cuts for so many steps, less a baseline of the state."""
    after = GAMMA ** np.arange(1, 3)[:, None, None] * np.repeat(returns(horizon, noise)[:, :, None], LIMIT + 1, axis=2)
    return Weight(GAMMA, np.zeros(STATES), 0.0, lambda _: after, np.broadcast_to(baseline, STATES).astype(float))


def episode_returns(noise: float) -> Weight:
    """Undiscounted returns to the end of the episode, by termination or the limit."""
    rest = np.zeros((2, STATES, LIMIT + 1))
    for age in range(LIMIT - 1, -1, -1):
        rest[:, :, age] = _step_back(rest[:, :, age + 1], noise, 1.0)
    return Weight(1.0, np.zeros(STATES), 0.0, lambda end: rest if end == "cut" else no_tail(end), np.zeros(STATES))


def returns(horizon: int, noise: float) -> np.ndarray:
    """Return mean and mean square of the discounted return of so many steps from each state: (2, n)."""
    found = np.zeros((2, STATES))
    for _ in range(horizon):
        found = _step_back(found, noise, GAMMA)
    return found


def mean_episode_return(chances: np.ndarray) -> float:
    """Return the mean undiscounted return of an episode by a policy (n, A)."""
    move, earned = np.einsum("sa,ast->st", chances, MOVES), np.einsum("sa,ast,at->s", chances, MOVES, EARNED)
    rest = np.zeros(STATES)
    for _ in range(LIMIT):
        rest = earned + move @ (rest * (np.arange(STATES) != LAST))
    return float(START @ rest)


def _step_back(after: np.ndarray, noise: float, gamma: float) -> np.ndarray:
    """Return mean and mean square one step earlier, from those after it (2, n)."""
    alive = np.arange(STATES) != LAST
    mean, square = after[0] * alive, after[1] * alive
    first = EARNED + gamma * mean
    second = EARNED**2 + noise**2 + 2 * gamma * EARNED * mean + gamma**2 * square
    return np.stack([np.einsum("sa,ast,at->s", policy(), MOVES, moment) for moment in (first, second)])


def occupancy() -> np.ndarray:
    """Return how often each state is met at each step of a stream, by age: (T, n, L)."""
    found = np.zeros((STEPS, STATES, LIMIT))
    found[0, :, 0] = START
    move = np.einsum("sa,ast->st", policy(), MOVES)
    for step in range(STEPS - 1):
        after = np.einsum("sl,st->tl", found[step], move)
        over = after[LAST].sum() + after[:LAST, -1].sum()
        found[step + 1, :LAST, 1:] = after[:LAST, :-1]
        found[step + 1, :, 0] += over * START
    return found


def exact(weight: Weight, noise: float) -> Exact:
    """Work out the moments of the sum over a stream of ``(y - b) grad log pi``, step by step from its end.

    Of each state and age: mean and mean square of y, and means of W, y W and ``|W|^2``.
    """
    parameters = (STATES + 1) * ACTIONS
    grid = (STATES, LIMIT)
    now = [np.zeros(grid), np.zeros(grid), np.zeros((*grid, parameters)), np.zeros((*grid, parameters)), np.zeros(grid)]
    visits, sums = occupancy(), np.zeros((2, STATES))
    for step in range(STEPS - 1, -1, -1):
        now = _earlier(weight, noise, now, last=step == STEPS - 1)
        sums += np.stack([(visits[step] * now[0]).sum(axis=1), (visits[step] * now[1]).sum(axis=1)])
    mean = START @ now[2][:, 0]
    variance = START @ now[4][:, 0] - mean @ mean
    often = visits.sum(axis=(0, 2))
    by_state = np.divide(sums[0], often, out=np.zeros(STATES), where=often > 0)
    return Exact(mean / STEPS, float(variance / STEPS), sums[0].sum() / STEPS, sums[1].sum() / STEPS, by_state)


def _earlier(weight: Weight, noise: float, after: list[np.ndarray], *, last: bool) -> list[np.ndarray]:
    """Step back over all states, actions, next states and ages at once; `earlier_one_by_one` is its twin."""
    chances, g = policy()[:LAST, :, None] * MOVES.transpose(1, 0, 2)[:LAST], scores()[:LAST]
    fresh = [START @ one[:, 0] for one in after]  # of the reset that follows an end
    arrived, age = np.arange(STATES)[:, None], np.arange(LIMIT)
    own = EARNED + weight.bootstrap * weight.critic * (arrived.T != LAST) - weight.critic[:LAST, None, None]
    limit = (arrived != LAST) & (age + 1 == LIMIT)
    ends = limit | (arrived == LAST) | last
    tail = np.where(limit, weight.tail("truncated")[:, :, 1:], weight.tail("cut")[:, :, 1:]) * (arrived != LAST)
    # of the rest, by next state and age: what lies there where the stream goes on, else what a reset begins
    m, m2, w, y_rest, rest_square = (np.roll(one, -1, axis=1) for one in after)
    mean, square = np.where(ends, tail, [weight.decay * m, weight.decay**2 * m2])
    tail_w = np.where(ends[..., None], tail[0][..., None] * fresh[2], weight.decay * y_rest)
    rest, rest_square = np.where(ends[..., None], fresh[2], w), np.where(ends, fresh[4], rest_square)
    # by state, action, next state and age, and by parameter
    own, base = own[..., None], weight.baseline[:LAST, None, None, None]
    y, y2 = own + mean, own**2 + noise**2 + 2 * own * mean + square
    y_w, grad = own[..., None] * rest + tail_w, g[:, :, None, None]
    parts = (
        y,
        y2,
        (y - base)[..., None] * grad + rest,
        (y2 - base * y)[..., None] * grad + y_w,
        (y2 - 2 * base * y + base**2) * np.square(grad).sum(-1) + 2 * (grad * (y_w - base[..., None] * rest)).sum(-1)
        + rest_square,
    )  # fmt: skip
    found = [np.zeros_like(one) for one in after]
    for total, part in zip(found, parts, strict=True):
        total[:LAST] = np.einsum("sat,satl...->sl...", chances, part)
    return found


def earlier_one_by_one(weight: Weight, noise: float, after: list[np.ndarray], *, last: bool) -> list[np.ndarray]:
    """Step back over one state, age, action and next state after the other: the twin of `_earlier`."""
    chances, gradients = policy(), scores()
    fresh = [START @ one[:, 0] for one in after]  # of the reset that follows an end
    found = [np.zeros_like(one) for one in after]
    for state in range(LAST):
        base = weight.baseline[state]
        for age in range(LIMIT):
            for action in range(ACTIONS):
                g = gradients[state, action]
                for arrived in range(STATES):
                    chance = chances[state, action] * MOVES[action, state, arrived]
                    if chance == 0:
                        continue
                    own = EARNED[action, arrived] - weight.critic[state]
                    own += weight.bootstrap * weight.critic[arrived] * (arrived != LAST)
                    truncated = arrived != LAST and age + 1 == LIMIT
                    if arrived == LAST or truncated or last:
                        end = "truncated" if truncated else "cut"
                        tail = np.zeros(2) if arrived == LAST else weight.tail(end)[:, arrived, age + 1]
                        y, y_w = own + tail[0], (own + tail[0]) * fresh[2]
                        square = own**2 + noise**2 + 2 * own * tail[0] + tail[1]
                        rest, rest_square = fresh[2], fresh[4]
                    else:
                        m, m2, w, y_rest, rest_square = (one[arrived, age + 1] for one in after)
                        y, rest = own + weight.decay * m, w
                        square = own**2 + noise**2 + 2 * own * weight.decay * m + weight.decay**2 * m2
                        y_w = own * w + weight.decay * y_rest
                    parts = (
                        y,
                        square,
                        (y - base) * g + rest,
                        (square - base * y) * g + y_w,
                        (square - 2 * base * y + base**2) * (g @ g) + 2 * g @ (y_w - base * rest) + rest_square,
                    )
                    for total, part in zip(found, parts, strict=True):
                        total[state, age] += chance * part
    return found


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Return the cosine between two vectors."""
    return float(left @ right / np.sqrt(left @ left) / np.sqrt(right @ right))
