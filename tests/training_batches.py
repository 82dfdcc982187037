"""Healthy training batches made by slow, obvious loops, of three kinds of environments; faults are one line away."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.distributions import Categorical, Independent, Normal

import closerlook as cl

KINDS = ("continuous", "discrete", "time_limit")


class Policy(torch.nn.Module):
    """A small Gaussian or categorical policy."""

    def __init__(self, sizes: tuple[int, int], *, discrete: bool) -> None:
        super().__init__()
        self.discrete = discrete
        self.net = torch.nn.Sequential(torch.nn.Linear(sizes[0], 8), torch.nn.Tanh(), torch.nn.Linear(8, sizes[1]))
        self.log_std = torch.nn.Parameter(torch.full((sizes[1],), -0.2))

    def forward(self, x):
        out = self.net(x)
        return Categorical(logits=out) if self.discrete else Independent(Normal(out, self.log_std.exp()), 1)


@dataclass
class Made:
    """A batch and what a fault needs besides."""

    batch: cl.Batch
    final_values: np.ndarray


def slow_gae(rewards, values, following, terminated, ends, gamma, lam):
    """``A_t = delta_t + gamma lambda A_{t+1}``, one environment and one step after the other."""
    advantages = np.zeros_like(values, dtype=np.float64)
    for i in range(rewards.shape[1]):
        after = 0.0
        for t in reversed(range(len(rewards))):
            value_after = 0.0 if terminated[t, i] else following[t, i]
            delta = rewards[t, i] + gamma * value_after - values[t, i]
            after = delta + (0.0 if ends[t, i] else gamma * lam * after)
            advantages[t, i] = after
    return advantages


def make(kind="continuous", seed=0, steps=48, environments=3, gamma=0.97, lam=0.9) -> Made:
    """Let a small policy act in a noisy linear world whose episodes end by themselves, by a limit, or both."""
    draws = np.random.default_rng(seed)
    torch.manual_seed(seed)
    discrete = kind == "discrete"
    policy, critic = Policy((4, 3 if discrete else 2), discrete=discrete), torch.nn.Linear(4, 1)
    limit = 11 if kind == "time_limit" else 10**6
    chance = 0.0 if kind == "time_limit" else 0.08
    state = draws.normal(size=(environments, 4)).astype(np.float32)
    age = np.zeros(environments, dtype=int)
    rows = {name: [] for name in ("observations", "actions", "applied_actions", "log_probs", "rewards", "values")}
    rows |= {name: [] for name in ("terminated", "truncated", "next_observations", "final_values", "episode_starts")}
    for _ in range(steps):
        with torch.no_grad():
            seen = torch.from_numpy(state)
            distribution = policy(seen)
            action = distribution.sample()
            rows["log_probs"].append(distribution.log_prob(action).numpy())
            rows["values"].append(critic(seen)[:, 0].numpy())
        rows["episode_starts"].append(age == 0)
        acted = action.numpy()
        applied = acted if discrete else np.clip(acted, -1, 1)
        push = applied[:, None] - 1.0 if discrete else applied[:, :1]
        following = (0.9 * state + 0.3 * push + 0.3 * draws.normal(size=state.shape)).astype(np.float32)
        age += 1
        terminated = draws.random(environments) < chance
        truncated = (age >= limit) & ~terminated
        with torch.no_grad():
            rows["final_values"].append(critic(torch.from_numpy(following))[:, 0].numpy())
        for name, array in (("observations", state), ("actions", acted), ("applied_actions", applied)):
            rows[name].append(array)
        rows["rewards"].append((1.0 + state[:, 0] + 0.2 * push[:, 0]).astype(np.float32))
        rows["terminated"].append(terminated)
        rows["truncated"].append(truncated)
        rows["next_observations"].append(following)
        over = terminated | truncated
        age = np.where(over, 0, age)
        reset = draws.normal(size=state.shape).astype(np.float32) + 2.0
        state = np.where(over[:, None], reset, following)
    held = {name: np.stack(array) for name, array in rows.items()}
    final = held.pop("final_values")
    ends = held["terminated"] | held["truncated"]
    advantages = slow_gae(held["rewards"], held["values"], final, held["terminated"], ends, gamma, lam)
    bounds = {} if discrete else {"action_low": [-1.0, -1.0], "action_high": [1.0, 1.0]}
    batch = cl.Batch(
        **held,
        raw_observations=3.0 * held["observations"] + 1.0,
        advantages=advantages.astype(np.float32),
        returns=(advantages + held["values"]).astype(np.float32),
        last_values=final[-1],
        truncation_values=np.where(held["truncated"], final, np.nan),
        gamma=gamma,
        gae_lambda=lam,
        policy=policy,
        critic=critic,
        **bounds,
    )
    return Made(batch, final)
