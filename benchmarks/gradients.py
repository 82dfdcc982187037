"""What gradients cost beside the sampling they come from, in one process, as the median of ratios.

A round samples the same streams once as they are and once reduced to sums: weighted scores for whole streams; also for
beginnings of 128, 256, 512 and 1024 pairs, as in the first 512 streams of a pool (a small part of a large one); also
weighted by true returns, whose continuation both simulate; and with the squares that the first 32 streams of a pool
give. Times are of the processor, so that other programs hardly matter. The goal is a ratio of at most 1.10.

    python benchmarks/gradients.py
    python benchmarks/gradients.py --tasks Hopper-v5 --rounds 3 --streams 16
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import GaussianMLP, MLPValue
from closerlook.algorithms.stream_sums import Question, StreamRange, sample_sums
from closerlook.algorithms.truths import continuation_steps
from closerlook.estimation.networks import MLP
from closerlook.randomness import generator
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout

TASKS = ("Hopper-v5", "Walker2d-v5", "Humanoid-v5")
N_STEPS = 2048
BEGINNINGS = (128, 256, 512, 1024)
GOAL = 1.10
LATER = 64  # streams from here on finish no episodes, as most of a pool


def make_agent(task: str) -> Agent:
    """Make a fresh agent of Table 1's architecture, with a critic."""
    described = describe_environment(EnvironmentSpec(task))
    size, actions = described["observation_size"], described["action_space"]["shape"][0]
    policy, value = GaussianMLP(MLP((size, 64, 64, actions))), MLPValue(MLP((size, 64, 64, 1)))
    draws = generator(0, "benchmark")
    state = {f"policy.{name}": tensor for name, tensor in policy.initialize(draws, "orthogonal").items()}
    state |= {f"value.{name}": tensor for name, tensor in value.initialize(draws, "orthogonal").items()}
    return Agent(policy, value, state, environment=EnvironmentSpec(task))


def seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def measure(task: str, streams: int, rounds: int) -> None:
    agent, plain = make_agent(task), Sampling(N_STEPS)
    spec, population = EnvironmentSpec(task), Agent.stack([agent])
    to_the_end = replace(plain, finish_episodes=True)
    beyond = replace(to_the_end, continuation_steps=continuation_steps(agent.gamma) or 0)
    both = Question(truths=("discounted_return", "episode_return"))
    ways = {  # the sums, and what is simulated for them
        "whole streams": (LATER, Question(), plain),
        "and beginnings": (LATER, Question(BEGINNINGS), plain),
        "and true returns": (LATER, both, beyond),
        "first streams": (0, Question(BEGINNINGS), to_the_end),
    }
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (first, question, sampling) in ways.items():
            part = StreamRange(0, "benchmark", first, first + streams)
            alone = seconds(
                lambda part=part, sampling=sampling: rollout(
                    population, spec, sampling, seeds=[0], purpose="benchmark", streams=range(part.first, part.stop)
                )
            )
            reduced = seconds(lambda part=part, question=question: sample_sums(agent, spec, plain, part, question))
            ratios[name].append(reduced / alone)
    for name, found in ratios.items():
        middle = float(np.median(found))
        print(
            f"{task:12s} {name:16s} {middle:5.3f} times sampling alone  (goal {GOAL:.2f}: {middle <= GOAL})", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for task in arguments.tasks:
        measure(task, arguments.streams, arguments.rounds)


if __name__ == "__main__":
    main()
