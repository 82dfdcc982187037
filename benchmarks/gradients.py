"""What a whole measurement of gradients costs beside the sampling it comes from, in one process, as paired rounds.

A round samples a pool of streams alone, and then measures the same pool as a user would: `gradient_quality` from the
agent to `gradients.nc`, with prefixes, squares, estimates of all sizes, true gradients from everybody else and
intervals. Printed are the medians over rounds of seconds and of the ratio within a round, with the smallest and the
largest; then the ratio of the measurement to the sampling inside it, which no change of the machine's pace between the
two touches, but which does not see that jobs of few streams sample more slowly. Small pools are the dearest for each
pair: the first 512 streams are kept one by one, with their prefixes, and the first 32 are squared. With
--true-gradients both sides also simulate on past every cut. Times are of the processor, so that other programs hardly
matter. The goal is a ratio of at most 1.10.

    python benchmarks/gradients.py                                          a few minutes
    python benchmarks/gradients.py --agents atlas/humanoid-ppo-v2 --pairs 1e6 --rounds 5
    python benchmarks/gradients.py --agents Hopper-v5 --true-gradients              a fresh agent, whose episodes are
    short
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.loading import find_agents
from closerlook.agents.policies import GaussianMLP, MLPValue
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.measurements import stream_sums
from closerlook.measurements.stream_sums import FINISHED_STREAMS, PAIRS_IN_MEMORY, StreamRange, stream_groups
from closerlook.measurements.true_returns import TrueGradient, continuation_steps
from closerlook.nn.networks import MLP
from closerlook.randomness import generator
from closerlook.simulation.engine import LANES, describe_environment
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.rollout import rollout

TASKS = ("Hopper-v5", "Walker2d-v5", "Humanoid-v5")
AGENTS = ("atlas/hopper-ppo", "atlas/walker2d-ppo", "atlas/humanoid-ppo-v2")
N_STEPS = 2048
GOAL = 1.10


def make_agent(task: str) -> Agent:
    """Make a fresh agent of Table 1's architecture, with a critic."""
    described = describe_environment(EnvironmentSpec(task))
    size, actions = described["observation_size"], described["action_space"]["shape"][0]
    policy, value = GaussianMLP(MLP((size, 64, 64, actions))), MLPValue(MLP((size, 64, 64, 1)))
    draws = generator(0, "benchmark")
    state = {f"policy.{name}": tensor for name, tensor in policy.initialize(draws, "orthogonal").items()}
    state |= {f"value.{name}": tensor for name, tensor in value.initialize(draws, "orthogonal").items()}
    return Agent(policy, value, state, environment=EnvironmentSpec(task))


def find_agent(name: str, iteration: int, seed: int | None = None) -> Agent:
    """Load an agent of a run folder, its first if no seed is given; what is no folder is the task of a fresh one."""
    if not Path(name).exists():
        return make_agent(name)
    return find_agents(name, iteration=iteration, seed=seed)[0]


def seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def sample_alone(agent: Agent, pairs: int, *, true_gradients: bool) -> None:
    """Sample the streams of a measurement, followed as far as it follows them, and do nothing with them."""
    assert agent.environment is not None
    population, n_steps = Agent.stack([agent]), agent.regime.n_steps
    plain = Sampling(n_steps, continuation_steps=(continuation_steps(agent.gamma) or 0) if true_gradients else 0)
    whole = StreamRange(0, "gradients", 0, -(-pairs // n_steps))
    for group in stream_groups(whole, max(LANES, PAIRS_IN_MEMORY // n_steps)):
        asked = replace(plain, finish_episodes=true_gradients or group.start < FINISHED_STREAMS)
        rollout(population, agent.environment, asked, seeds=[0], purpose="gradients", streams=group, lanes=LANES)


class Inside:
    """Processor seconds of the sampling inside measurements."""

    def __init__(self) -> None:
        self.spent = 0.0
        stream_sums.rollout = self.rollout  # type: ignore[attr-defined]

    def rollout(self, *arguments: Any, **options: Any) -> Rollout:
        """Sample, and add up the time it took."""
        before = time.process_time()
        result = rollout(*arguments, **options)
        self.spent += time.process_time() - before
        return result


def measure(agent: Agent, pairs: int, *, true_gradients: bool) -> None:
    """Measure the pool, from the agent to the files."""
    with TemporaryDirectory() as folder:
        gradient_quality(
            agent, pairs=pairs, true_gradients=get_args(TrueGradient) if true_gradients else (), workers=1, out=folder
        )


def compare(name: str, agent: Agent, pairs: int, rounds: int, *, true_gradients: bool) -> None:
    alone, whole, own = [], [], []
    measure(agent, 16 * agent.regime.n_steps, true_gradients=true_gradients)  # what only the first call loads
    for _ in range(rounds):
        alone.append(seconds(lambda: sample_alone(agent, pairs, true_gradients=true_gradients)))
        inside = Inside()
        whole.append(seconds(lambda: measure(agent, pairs, true_gradients=true_gradients)))
        own.append(inside.spent)
    ratios = np.array(whole) / np.array(alone)
    within = float(np.median(np.array(whole) / np.array(own)))
    middle = float(np.median(ratios))
    print(
        f"{name:20s} {pairs:,} pairs{', with true gradients' if true_gradients else ''}: sampling "
        f"{np.median(alone):.1f} s, measurement {np.median(whole):.1f} s, ratio {middle:.3f} ({ratios.min():.3f} to "
        f"{ratios.max():.3f})  (goal {GOAL:.2f}: {middle <= GOAL}); to the sampling inside it {within:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=AGENTS)
    parser.add_argument("--iteration", type=int, default=450)
    parser.add_argument("--agent-seed", type=int)
    parser.add_argument("--pairs", type=float, default=131_072)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--true-gradients", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in chosen.agents:
        agent = find_agent(name, chosen.iteration, chosen.agent_seed)
        compare(name, agent, int(chosen.pairs), chosen.rounds, true_gradients=chosen.true_gradients)


if __name__ == "__main__":
    main()
