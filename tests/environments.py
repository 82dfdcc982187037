"""Environments whose policy gradients are known in closed form, and agents for them.

As users would name them: ``environments:make_bandit``, ``environments:make_linear_quadratic`` (functions that return an
environment), ``environments:Bandit-v0`` (a registered id), ``environments:bandit_agent`` (a function that returns an
agent).
"""

from dataclasses import replace

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit

from closerlook.agents.agent import Agent, Regime, moments_state
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.normalization import RunningMoments, Scaling
from closerlook.agents.policies import GaussianMLP, ModuleValue
from closerlook.nn.networks import MLP

CONTEXT, ACTIONS = 4, 3
TARGET = np.array([[0.5, -0.3, 0.2, 0.0], [0.1, 0.4, -0.2, 0.3], [-0.6, 0.0, 0.1, 0.2]])
OFFSET = np.array([0.3, -0.2, 0.4])


class Bandit(gymnasium.Env):
    """One step: a context x ~ N(0, I), an action a, the reward ``-|a - M x - d|^2 / 2 + noise``.

    For the policy ``a ~ N(W x + b, diag(s^2))`` the gradient of the expected reward is ``M - W`` with respect to W,
    ``d - b`` to b, ``-s^2`` to log s.
    """

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.observation_space = Box(-np.inf, np.inf, (CONTEXT,), np.float64)
        self.action_space = Box(-np.inf, np.inf, (ACTIONS,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.context = self.np_random.standard_normal(CONTEXT)
        return self.context.copy(), {}

    def step(self, action):
        miss = np.asarray(action, dtype=np.float64) - TARGET @ self.context - OFFSET
        reward = -0.5 * float(miss @ miss) + self.noise * float(self.np_random.standard_normal())
        return self.context.copy(), reward, True, False, {}


class Indifferent(Bandit):
    """Rewards nothing."""

    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, 0.0, *rest


def make_indifferent(**arguments) -> gymnasium.Env:
    return Indifferent(**arguments)


HORIZON = 8
DYNAMICS = np.array([[0.9, 0.2, 0.0], [0.0, 0.8, 0.1], [0.1, 0.0, 0.7]])
CONTROL = np.array([[0.5, 0.0], [0.2, 0.4], [0.0, 0.6]])
START = np.array([1.0, -0.5, 0.5])


def quadratic_step(state: np.ndarray, action: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
    """Return ``F x + B a + 0.1 w`` and the cost ``(|x|^2 + |a|^2 / 10) / HORIZON``.

    Row by row, in plain numbers: products of arrays as small as these take three times as long, and tests wait for it.
    """
    x, y, z = state.tolist()
    a, b = action.tolist()
    next_state = [
        f[0] * x + f[1] * y + f[2] * z + c[0] * a + c[1] * b + 0.1 * w
        for f, c, w in zip(ROWS, CONTROL_ROWS, noise.tolist(), strict=True)
    ]
    return np.array(next_state), (x * x + y * y + z * z + 0.1 * (a * a + b * b)) / HORIZON


ROWS, CONTROL_ROWS = DYNAMICS.tolist(), CONTROL.tolist()


class LinearQuadratic(gymnasium.Env):
    """`HORIZON` steps of ``x' = F x + B a + 0.1 w``, the reward ``-(|x|^2 + |a|^2 / 10) / HORIZON + noise``."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = Box(-np.inf, np.inf, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = START + 0.3 * self.np_random.standard_normal(3)
        self.time = 0
        return self.state.copy(), {}

    def step(self, action):
        draws = self.np_random.standard_normal(4)
        self.state, cost = quadratic_step(self.state, action, draws[1:])
        self.time += 1
        return self.state, self.noise * float(draws[0]) - cost, self.time == HORIZON, False, {}


def make_bandit(**arguments) -> gymnasium.Env:
    return Bandit(**arguments)


def make_linear_quadratic(**arguments) -> gymnasium.Env:
    return LinearQuadratic(**arguments)


gymnasium.register("Bandit-v0", entry_point="environments:Bandit")
gymnasium.register("LinearQuadratic-v0", entry_point="environments:LinearQuadratic")


def _agent(sizes: tuple[int, int], environment: str, seed: int, fields: dict) -> Agent:
    policy = GaussianMLP(MLP(sizes))
    draws = np.random.default_rng(seed)
    parameters = {
        name: torch.from_numpy((0.2 * draws.standard_normal(shape)).astype(np.float32))
        for name, shape in policy.parameter_shapes.items()
    }
    defaults = {
        "gamma": 1.0,
        "normalize_advantages": False,
        "regime": Regime(n_envs=1, n_steps=64),
        "environment": EnvironmentSpec(environment),
    }
    state = {f"policy.{name}": tensor for name, tensor in parameters.items()}
    return Agent(policy, None, state, **(defaults | fields))


def bandit_agent(seed: int = 0, **fields) -> Agent:
    """A linear Gaussian policy without a critic: returns, here rewards, stand in for advantages."""
    return _agent((CONTEXT, ACTIONS), "environments:make_bandit", seed, fields)


FEW_STEPS = {"policy_epochs": 3, "minibatches": 8, "policy_learning_rate": 2.6e-3}
"""Of PPO: an update about as long as that of the defaults, of a thirteenth of their steps."""


def linear_quadratic_agent(seed: int = 0, **fields) -> Agent:
    """A linear Gaussian policy without a critic."""
    return _agent((3, 2), "environments:make_linear_quadratic", seed, fields)


def with_scaled_rewards(own: Agent, divisor: float) -> Agent:
    """Divide an agent's rewards by a number, through its moments."""
    count = 101.0
    values = RunningMoments(np.array(count), np.zeros(1), np.full(1, divisor**2 * (count - 1)))
    return own.with_state({"returns": moments_state(values)}, reward_scaling=Scaling(epsilon=0.0))


def expected_reward(own: Agent) -> float:
    """Expected reward of a linear Gaussian policy on `Bandit`."""
    parameters = {name: tensor.double().numpy() for name, tensor in own.policy_parameters.items()}
    miss = np.square(parameters["0.weight"] - TARGET).sum() + np.square(parameters["0.bias"] - OFFSET).sum()
    return -0.5 * float(miss + np.exp(2 * parameters["log_std"]).sum())


def bandit_gradient(agent: Agent) -> np.ndarray:
    """Gradient of the expected reward, flat in the policy's order."""
    parameters = {name: tensor.double().numpy() for name, tensor in agent.policy_parameters.items()}
    parts = [TARGET - parameters["0.weight"], OFFSET - parameters["0.bias"], -np.exp(2 * parameters["log_std"])]
    return np.concatenate([part.ravel() for part in parts])


def linear_quadratic_gradient(agent: Agent) -> np.ndarray:
    """Gradient of the expected undiscounted episode return, over the pairs of an episode, flat."""
    parameters = {name: tensor.double().requires_grad_() for name, tensor in agent.policy_parameters.items()}
    gradient = torch.autograd.grad(linear_quadratic_return(parameters), list(parameters.values()))
    return np.concatenate([part.numpy().ravel() for part in gradient]) / HORIZON


def linear_quadratic_return(parameters) -> torch.Tensor:
    """Expected undiscounted episode return: the state's mean and covariance follow a recursion in closed form."""
    gain, offset, log_std = (parameters[name].double() for name in ("0.weight", "0.bias", "log_std"))
    f, b = torch.from_numpy(DYNAMICS), torch.from_numpy(CONTROL)
    mean, covariance = torch.from_numpy(START), 0.09 * torch.eye(3, dtype=torch.float64)
    noise = torch.diag(torch.exp(2 * log_std))
    expected = torch.zeros((), dtype=torch.float64)
    for _ in range(HORIZON):
        action = gain @ mean + offset
        action_covariance = gain @ covariance @ gain.T + noise
        states = mean @ mean + torch.trace(covariance)
        expected = expected - (states + 0.1 * (action @ action + torch.trace(action_covariance))) / HORIZON
        closed = f + b @ gain
        covariance = closed @ covariance @ closed.T + b @ noise @ b.T + 0.01 * torch.eye(3, dtype=torch.float64)
        mean = f @ mean + b @ action
    return expected


DISCOUNT = 0.9


class EndlessQuadratic(gymnasium.Env):
    """``x' = F x + B a + 0.1 w`` for ever from the start, the reward ``-(|x|^2 + |a|^2 / 10) / 8 + noise``."""

    def __init__(self, noise: float = 0.0, scale: float = 1.0) -> None:
        self.noise, self.scale = noise, scale
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = Box(-np.inf, np.inf, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 0.3 * self.np_random.standard_normal(3)
        return self.state.copy(), {}

    def step(self, action):
        draws = self.np_random.standard_normal(4)
        self.state, cost = quadratic_step(self.state, action, draws[1:])
        return self.state, self.scale * (self.noise * float(draws[0]) - cost), False, False, {}


def make_endless_quadratic(**arguments) -> gymnasium.Env:
    return EndlessQuadratic(**arguments)


def quadratic_value(agent: Agent, gamma: float = DISCOUNT) -> tuple[np.ndarray, np.ndarray, float]:
    """Discounted value of a linear Gaussian policy on `EndlessQuadratic`: ``-(x' P x + 2 p' x + c)``.

    P, p and c solve linear equations, found here by iterating them.
    """
    parameters = {name: tensor.double().numpy() for name, tensor in agent.policy_parameters.items()}
    gain, offset, spread = parameters["0.weight"], parameters["0.bias"], np.exp(2 * parameters["log_std"])
    closed, push = DYNAMICS + CONTROL @ gain, CONTROL @ offset
    noise = CONTROL @ np.diag(spread) @ CONTROL.T + 0.01 * np.eye(3)
    matrix, vector, constant = np.zeros((3, 3)), np.zeros(3), 0.0
    for _ in range(2000):
        cost = (np.eye(3) + 0.1 * gain.T @ gain) / HORIZON
        linear = 0.1 * gain.T @ offset / HORIZON
        fixed = 0.1 * (offset @ offset + spread.sum()) / HORIZON
        constant = fixed + gamma * (push @ matrix @ push + 2 * vector @ push + np.trace(matrix @ noise) + constant)
        vector = linear + gamma * closed.T @ (matrix @ push + vector)
        matrix = cost + gamma * closed.T @ matrix @ closed
    return matrix, vector, constant


class QuadraticCritic(torch.nn.Module):
    """The exact value, plus what is asked: a part of it, a constant, a frozen random function of the state."""

    def __init__(self, value: tuple[np.ndarray, np.ndarray, float], *, share=1.0, constant=0.0, wild=0.0) -> None:
        super().__init__()
        matrix, vector, self.constant = value
        self.matrix = torch.nn.Parameter(torch.from_numpy(matrix).float())
        self.vector = torch.nn.Parameter(torch.from_numpy(vector).float())
        self.share, self.added, self.wild = share, constant, wild

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quadratic = ((x @ self.matrix) * x).sum(-1) + 2 * x @ self.vector + self.constant
        return -self.share * quadratic + self.added + self.wild * torch.sin(1000.0 * x).sum(-1)


def make_limited_quadratic(**arguments) -> gymnasium.Env:
    """Return the same with episodes of 500 steps."""
    return TimeLimit(EndlessQuadratic(**arguments), 500)


def endless_quadratic_agent(critic: torch.nn.Module | None = None, noise: float = 0.0, **fields) -> Agent:
    """The policy of `linear_quadratic_agent` on `EndlessQuadratic`, with any critic; without: returns."""
    arguments = {"noise": noise, **fields.pop("arguments", {})}
    spec = EnvironmentSpec("environments:make_endless_quadratic", arguments)
    agent = linear_quadratic_agent(seed=9, gamma=DISCOUNT, environment=spec, **fields)  # one that comes to rest
    agent = agent.with_state({"policy": {"log_std": agent.state["policy.log_std"] - 1.0}})
    if critic is None:
        return agent
    value = ModuleValue(critic)
    state = {f"value.{name}": tensor.detach().clone() for name, tensor in critic.named_parameters()}
    return replace(agent, value=value, state={**agent.state, **state})
