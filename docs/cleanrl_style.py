"""A training in the style of CleanRL's scripts: names, order and updates as there, for what is measured on its batches.

Two things are as this library's agents have them: a step that a time limit cut off is followed by the value of its
final observation, and the optimizer begins anew with each update.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch.distributions import Categorical, Independent, Normal

import closerlook as cl


@dataclass(frozen=True)
class Args:
    """What such a script is told."""

    env_id: str = "Pendulum-v1"
    seed: int = 0
    num_envs: int = 4
    num_steps: int = 512
    learning_rate: float = 1e-3
    gamma: float = 0.9
    gae_lambda: float = 0.95
    minibatch_size: int = 128
    update_epochs: int = 10
    norm_adv: bool = True
    clip_coef: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 1.0
    max_grad_norm: float = 0.5


class Agent(torch.nn.Module):
    """Actor and critic, the actor's deviation a parameter of its own where actions are numbers."""

    def __init__(self, seen: Space[Any], actions: Space[Any]) -> None:
        super().__init__()
        self.critic = _network(int(np.prod(seen.shape)), 1)
        if isinstance(actions, Box):
            self.actor_mean = _network(int(np.prod(seen.shape)), actions.shape[0])
            self.actor_logstd = torch.nn.Parameter(torch.zeros(1, actions.shape[0]))
        else:
            self.actor = _network(int(np.prod(seen.shape)), int(actions.n))

    def answer(self, x: torch.Tensor) -> Any:
        """Return what the distribution of actions is made from."""
        if hasattr(self, "actor"):
            return self.actor(x)
        mean = self.actor_mean(x)
        return mean, self.actor_logstd.expand_as(mean)

    def get_value(self, x: torch.Tensor) -> torch.Tensor:
        """Return values, (B, 1)."""
        return self.critic(x)

    def get_action_and_value(self, x: torch.Tensor, action: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Return actions, their log-probabilities, entropies and values."""
        probs = distribution(self.answer(x))
        action = probs.sample() if action is None else action
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


def _network(inputs: int, outputs: int) -> torch.nn.Sequential:
    hidden = [torch.nn.Linear(inputs, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh()]
    return torch.nn.Sequential(*hidden, torch.nn.Linear(64, outputs))


def distribution(answer: Any) -> torch.distributions.Distribution:
    """Make the distribution of what the policy answered: logits, or means and logarithms of deviations."""
    if isinstance(answer, tuple):
        return Independent(Normal(answer[0], answer[1].exp()), 1)
    return Categorical(logits=answer)


class _Actor(torch.nn.Module):
    """The policy alone."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        for name, part in [*agent.named_children(), *agent.named_parameters(recurse=False)]:
            if name != "critic":
                setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> Any:
        """Return what the distribution of actions is made from."""
        return Agent.answer(self, x)  # type: ignore[arg-type]


def as_agent(agent: Agent, args: Args) -> cl.Agent:
    """Return the script's agent as this library's, as it is now; its update has the same loss."""
    settings = {
        "learning_rate": args.learning_rate,
        "epochs": args.update_epochs,
        "batch_size": args.minibatch_size,
        "clip": args.clip_coef,
        "value_coefficient": 0.5 * args.vf_coef,  # of half the mean squared error
        "entropy_coefficient": args.ent_coef,
        "max_grad_norm": args.max_grad_norm,
    }
    return cl.Agent.from_torch(
        _Actor(agent),
        agent.critic,
        distribution=distribution,
        gamma=args.gamma,
        gae_lambda=args.gae_lambda,
        action_transform="clip" if hasattr(agent, "actor_mean") else "none",
        algorithm="sb3-ppo",
        algorithm_settings=settings,
        regime=cl.Regime(n_envs=args.num_envs, n_steps=args.num_steps, reset_each_iteration=False),
        environment=cl.EnvironmentSpec(args.env_id),
    )


def train(args: Args) -> Iterator[tuple[cl.Batch, cl.Agent, Agent]]:
    """Yield, of each update, its batch, the agent that sampled it, and the script's own after it."""
    torch.manual_seed(args.seed)
    envs = SyncVectorEnv([lambda: gymnasium.make(args.env_id)] * args.num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    agent = Agent(envs.single_observation_space, envs.single_action_space)
    next_obs = torch.as_tensor(envs.reset(seed=args.seed)[0]).float()
    next_done = torch.zeros(args.num_envs)
    shape = (args.num_steps, args.num_envs)
    while True:
        obs = torch.zeros(*shape, *envs.single_observation_space.shape)
        actions = torch.zeros(*shape, *envs.single_action_space.shape)
        logprobs, rewards, dones, values, advantages = torch.zeros(5, *shape)
        for t in range(args.num_steps):
            obs[t], dones[t] = next_obs, next_done
            with torch.no_grad():
                actions[t], logprobs[t], _, value = agent.get_action_and_value(next_obs)
            values[t] = value[:, 0]
            next_obs, rewards[t], next_done = _step(envs, actions[t], agent, args)
        with torch.no_grad():
            next_value = agent.get_value(next_obs).reshape(1, -1)
        lastgaelam = torch.zeros(args.num_envs)
        for t in reversed(range(args.num_steps)):
            nextnonterminal = 1.0 - (next_done if t == args.num_steps - 1 else dones[t + 1])
            nextvalues = next_value[0] if t == args.num_steps - 1 else values[t + 1]
            delta = rewards[t] + args.gamma * nextvalues * nextnonterminal - values[t]
            lastgaelam = delta + args.gamma * args.gae_lambda * nextnonterminal * lastgaelam
            advantages[t] = lastgaelam
        returns, truncation = advantages + values, "in_rewards"
        batch = cl.Batch.from_cleanrl(locals()).frozen()
        before = as_agent(agent, args)
        _update(agent, args, obs, actions, logprobs, advantages, returns)
        yield batch, before, agent


def _step(envs: SyncVectorEnv, action: torch.Tensor, agent: Agent, args: Args) -> tuple[torch.Tensor, ...]:
    """Return observations, rewards and ends; a time limit's rewards hold the value of the final observation."""
    space = envs.single_action_space
    taken = action.numpy().clip(space.low, space.high) if isinstance(space, Box) else action.long().numpy()
    seen, reward, terminated, truncated, infos = envs.step(taken)
    reward, cut = reward.astype(np.float32), truncated & ~terminated
    if cut.any():
        final = torch.as_tensor(np.stack(infos["final_obs"][cut]).astype(np.float32))
        reward[cut] += args.gamma * agent.get_value(final)[:, 0].detach().numpy()
    ended = torch.as_tensor(terminated | truncated).float()
    return torch.as_tensor(seen).float(), torch.as_tensor(reward), ended


def _update(agent: Agent, args: Args, *batch: torch.Tensor) -> None:
    obs, actions, logprobs, advantages, returns = (part.flatten(0, 1) for part in batch)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    for _ in range(args.update_epochs):
        for own in torch.randperm(len(obs)).split(args.minibatch_size):
            _, newlogprob, entropy, newvalue = agent.get_action_and_value(obs[own], actions[own])
            ratio, mb_advantages = (newlogprob - logprobs[own]).exp(), advantages[own]
            if args.norm_adv:
                mb_advantages = (mb_advantages - mb_advantages.mean()) / (mb_advantages.std() + 1e-8)
            clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
            pg_loss = -torch.min(mb_advantages * ratio, mb_advantages * clipped).mean()
            v_loss = 0.5 * (newvalue[:, 0] - returns[own]).square().mean()
            loss = pg_loss - args.ent_coef * entropy.mean() + args.vf_coef * v_loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()
