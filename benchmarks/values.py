"""What baselines, critics and a sweep of lambda cost beside sampling the pairs they need, in one process.

Sampled are the pairs that the fitted value is fitted to, and the pool on which everything is judged, both with Monte
Carlo returns. The whole measurement spills, fits, judges eight updated critics, and adds up scores by every baseline
and nine lambdas. Times are of the processor, so that other programs hardly matter. The goal is a ratio of at most 1.5.

    python benchmarks/values.py
    python benchmarks/values.py --tasks Hopper-v5 --rounds 3 --streams 32
"""

import argparse
import time
from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.diagnostics.values import value_prediction
from closerlook.measurements.value_shards import with_monte_carlo_returns
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from gradients import N_STEPS, TASKS, make_agent

GOAL = 1.5


def sampling_alone(agent: Agent, task: str, streams: int) -> float:
    """Sample the fit's pairs, the updates' and the pool's."""
    population, plain = Agent.stack([agent]), with_monte_carlo_returns(Sampling(N_STEPS), agent.gamma)
    before = time.process_time()
    for purpose, count in (("fit", streams), ("updates", 8), ("pool", streams)):
        wanted = replace(plain, finish_episodes=purpose == "pool")
        for first in range(0, count, 32):
            part = range(first, min(first + 32, count))
            rollout(population, EnvironmentSpec(task), wanted, seeds=[0], purpose=purpose, streams=part)
    return time.process_time() - before


def everything(agent: Agent, streams: int) -> float:
    before = time.process_time()
    pairs = streams * N_STEPS
    with TemporaryDirectory() as folder:
        value_prediction(agent, pairs=pairs, fit_pairs=pairs, restarts=0, workers=1, out=folder)
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for task in arguments.tasks:
        agent = replace(make_agent(task), algorithm="ppo")
        rounds = range(arguments.rounds)
        ratios = [everything(agent, arguments.streams) / sampling_alone(agent, task, arguments.streams) for _ in rounds]
        middle = float(np.median(ratios))
        print(f"{task:12s} {middle:5.3f} times sampling alone  (goal {GOAL:.1f}: {middle <= GOAL})", flush=True)


if __name__ == "__main__":
    main()
