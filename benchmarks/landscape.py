"""How fast a plane of policies is sampled beside a single one, in one process, in simulated steps a second.

A job of a landscape steps some points with some streams of each as one population; beside it as many streams of the
agent alone, each to the end of its last episode in both. Times are of the processor, so that other programs hardly
matter. `copies` is a plane whose points are all the agent itself: the same states, so that only the population
differs. `plane` is a real one, 0 to 3 times the agent's step and a random direction of norm 2: its policies fall
sooner, or later, and in other positions. The goal is 0.85 of the single policy's rate.

    python benchmarks/landscape.py
    python benchmarks/landscape.py --agents walker2d-ppo --jobs 4 --rounds 3
"""

import argparse
import time

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import sampling_part
from closerlook.agents.loading import find_agents
from closerlook.algorithms.rules import rule_of
from closerlook.measurements.point_parts import parts_of
from closerlook.measurements.policy_updates import sample_steps
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.surfaces import Points, random_direction, sample_point_returns
from closerlook.simulation.records import Sampling

GOAL = 0.85
AGENTS = ("walker2d-ppo", "humanoid-ppo-v2")
SAMPLING = Sampling(2048)
STREAMS, GRID = 10, 13


def directions_of(agent: Agent, environment: EnvironmentSpec) -> np.ndarray:
    """Return the agent's step and a random direction, (2, D)."""
    part = StreamRange(0, "benchmark step", 0, 1)
    step = sample_steps(agent, environment, SAMPLING, part, [SAMPLING.n_steps], rule_of(agent))["displacement"][0]
    return np.array([step, random_direction(agent, 0, 1)])


def rate(agent: Agent, environment: EnvironmentSpec, jobs: list[tuple[np.ndarray, np.ndarray, int]]) -> float:
    """Return simulated steps a second of some jobs: directions, multiples (P, 2) and streams of each point."""
    steps, before = 0.0, time.process_time()
    for directions, multiples, streams in jobs:
        part = StreamRange(0, "benchmark returns", 0, streams)
        points, seeds = Points(directions, multiples), [0] * len(multiples)
        bare = sampling_part(agent)
        found = sample_point_returns(bare, environment, SAMPLING, part, points, seeds, list_episodes=False)
        steps += np.nansum(found["steps"])
    return steps / (time.process_time() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=AGENTS)
    parser.add_argument("--iteration", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=3, help="jobs of the plane that are sampled, spread over it")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    axis = np.linspace(0, 3, GRID)
    plane = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    parts = [points for points, _ in parts_of(len(plane), STREAMS)]
    chosen = [parts[round(at)] for at in np.linspace(0, len(parts) - 2, arguments.jobs)]
    for name in arguments.agents:
        agent = find_agents(f"atlas/{name}", iteration=arguments.iteration)[0]
        environment = agent.environment
        directions = directions_of(agent, environment)
        multiples = [plane[points.start : points.stop] for points in chosen]
        real = [(directions, these, STREAMS) for these in multiples]
        copies = [(directions, 0 * these, STREAMS) for these in multiples]
        single = [(directions, np.zeros((1, 2)), STREAMS * len(these)) for these in multiples]
        ratios = []
        for _ in range(arguments.rounds):
            alone = rate(agent, environment, single)
            ratios.append((rate(agent, environment, copies) / alone, rate(agent, environment, real) / alone))
        for what, middle in zip(("copies", "plane"), np.median(ratios, axis=0), strict=True):
            print(f"{name:14s} {what:7s} {middle:5.3f} of the single rate  (goal {GOAL}: {middle >= GOAL})", flush=True)


if __name__ == "__main__":
    main()
