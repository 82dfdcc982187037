"""Gradient quality measured the obvious way, beside the library: agreement and cost.

The obvious way: one Gymnasium environment, a fresh rollout for each estimate, actions drawn one by one, advantages by a
loop, the gradient of the surrogate by autograd. It shares nothing with the library but the agent's networks. Both give
the mean pairwise cosine of estimates of one training batch with its jackknife interval; they agree if the difference
is within the two intervals together (its half-width: the root of the sum of squares). Costs are processor seconds for
each pair.

    python benchmarks/naive.py
    python benchmarks/naive.py --agents atlas/hopper-ppo --iteration 150 --estimates 20
"""

import argparse
import time

import gymnasium
import numpy as np
import torch

from closerlook.agents.agent import Agent, moments
from closerlook.agents.loading import find_agents
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.measurements.stream_sums import StreamRange, sample_sums
from closerlook.simulation.records import Sampling
from closerlook.statistics.estimates import Interval, cosine_matrix, mean_pairwise_cosine


class Obvious:
    """One agent in one environment."""

    def __init__(self, agent: Agent) -> None:
        assert agent.environment is not None
        self.agent = agent
        self.env = gymnasium.make(agent.environment.id)
        population = Agent.stack([agent])
        seen = moments(population, "observations")
        self.mean, self.scale = seen.mean[0], np.sqrt(seen.variance[0])
        self.reward_scale = 1.0
        if agent.reward_scaling is not None:
            self.reward_scale = float(np.sqrt(moments(population, "returns").variance[0, 0]))

    def see(self, observation: np.ndarray) -> torch.Tensor:
        """Standardize an observation."""
        scaled = (observation - self.mean) / (self.scale + 1e-8)
        clip = self.agent.observation_scaling.clip if self.agent.observation_scaling else None
        return torch.tensor(scaled if clip is None else np.clip(scaled, -clip, clip), dtype=torch.float32)

    def value(self, observation: torch.Tensor) -> float:
        """Ask the critic."""
        assert self.agent.value is not None
        with torch.no_grad():
            return float(self.agent.value(self.agent.value_parameters, observation[None])[0])

    def estimate(self, pairs: int, seed: int) -> np.ndarray:
        """Sample a batch from a reset and differentiate its surrogate."""
        torch.manual_seed(seed)
        agent, inputs, actions, deltas, ends = self.agent, [], [], [], []
        observation = self.see(self.env.reset(seed=seed)[0])
        for _ in range(pairs):
            with torch.no_grad():
                output = agent.policy.distribution(agent.policy_parameters, observation[None])
                action = (output.mean + output.log_std.exp() * torch.randn_like(output.mean))[0]
            raw, reward, terminated, truncated, _ = self.env.step(action.numpy())
            following = self.see(raw)
            clip = agent.reward_scaling.clip if agent.reward_scaling else None
            reward = reward / self.reward_scale if clip is None else np.clip(reward / self.reward_scale, -clip, clip)
            after = 0.0 if terminated else self.value(following)
            deltas.append(reward + agent.gamma * after - self.value(observation))
            ends.append(terminated or truncated)
            inputs.append(observation)
            actions.append(action)
            observation = self.see(self.env.reset()[0]) if ends[-1] else following
        return self._gradient(torch.stack(inputs), torch.stack(actions), deltas, ends)

    def _gradient(self, inputs: torch.Tensor, actions: torch.Tensor, deltas: list, ends: list) -> np.ndarray:
        advantages, following = np.zeros(len(deltas)), 0.0
        for t in reversed(range(len(deltas))):
            following = deltas[t] + self.agent.gamma * self.agent.gae_lambda * following * (not ends[t])
            advantages[t] = following
        weights = torch.tensor((advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8))
        leaves = {name: p.clone().requires_grad_() for name, p in self.agent.policy_parameters.items()}
        log_probs = self.agent.policy.distribution(leaves, inputs).log_prob(actions)
        (torch.exp(log_probs - log_probs.detach()) * weights).mean().backward()
        return np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves.values()]).astype(np.float64)


def written(found: Interval) -> str:
    return f"{found.value:6.3f} ({found.low:6.3f} to {found.high:6.3f})"


def compare(name: str, iteration: int, seed: int, estimates: int) -> None:
    (agent,) = find_agents(name, iteration=iteration, seed=seed)
    batch, obvious = agent.regime.batch_pairs, Obvious(agent)
    begun = time.process_time()
    mine = mean_pairwise_cosine(cosine_matrix(np.array([obvious.estimate(batch, 1000 + k) for k in range(estimates)])))
    slow = (time.process_time() - begun) / (estimates * batch)
    dataset = gradient_quality(agent, pairs=estimates * batch, estimates=estimates, sizes=[batch], seed=17)
    ours = Interval(*(float(dataset[f"pairwise_cosine{end}"][0]) for end in ("", "_low", "_high")))
    begun = time.process_time()
    sample_sums(agent, agent.environment, Sampling(batch), StreamRange(17, "gradients", 64, 96))
    fast = (time.process_time() - begun) / (32 * batch)
    room = np.hypot(mine.high - mine.low, ours.high - ours.low) / 2
    agrees = abs(mine.value - ours.value) <= room
    print(f"{name} at {iteration}, seed {seed}, {estimates} estimates of {batch:,} pairs")
    print(f"  obvious {written(mine)}   library {written(ours)}   agree: {agrees}")
    print(
        f"  microseconds a pair: obvious {1e6 * slow:.0f}, library {1e6 * fast:.0f}, ratio {slow / fast:.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=("atlas/hopper-ppo", "atlas/walker2d-ppo"))
    parser.add_argument("--iteration", nargs="+", type=int, default=(0, 150))
    parser.add_argument("--agent-seed", type=int, default=0)
    parser.add_argument("--estimates", type=int, default=40)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in chosen.agents:
        for iteration in chosen.iteration:
            compare(name, iteration, chosen.agent_seed, chosen.estimates)


if __name__ == "__main__":
    main()
