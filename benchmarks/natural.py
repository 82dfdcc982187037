"""What solving for the natural gradient of a large batch takes, guided by a sample of its states, beside without.

Agents are those of the atlas, late in training, where systems are hard to solve; batches are sampled anew. Times are of
the processor, the preparation of products and of the guide included. The goal is half the time.

    python benchmarks/natural.py
    python benchmarks/natural.py --agents hopper-ppo-v2 --states 65536 --rounds 1
"""

import argparse
import time

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.loading import load
from closerlook.algorithms.objective import Objective
from closerlook.execution.threads import single_thread
from closerlook.measurements import natural_comparison
from closerlook.measurements.policy_updates import sample_batch
from closerlook.measurements.stream_sums import StreamRange
from closerlook.simulation.records import Sampling

GOAL = 0.5
STEPS = 512
"""Of a stream."""


def seconds(objective: Objective, agents: Agent, large: int) -> tuple[float, float]:
    """Compare a step with the natural gradient; return the processor time, and the efficiency that was found."""
    natural_comparison.LARGE = large
    start = objective.start(agents)
    _, gradient = objective.gradient(start)
    before = time.process_time()
    found = natural_comparison.compare_with_natural(objective, start, gradient, 0.1)
    return time.process_time() - before, float(found["natural_efficiency"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=["hopper-ppo-v2", "walker2d-trpo-v2", "humanoid-ppo-v2"])
    parser.add_argument("--iteration", type=int, default=450)
    parser.add_argument("--states", type=int, default=262_144)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    guided = natural_comparison.LARGE
    for name in arguments.agents:
        agents = Agent.stack([load(f"atlas/{name}", iteration=arguments.iteration, seed=10)])
        streams = StreamRange(0, "benchmark", 0, arguments.states // STEPS)
        with single_thread():
            batch = sample_batch(agents, agents.environment, Sampling(STEPS), streams)
            objective = Objective.of(agents, batch)
            both = [
                (*seconds(objective, agents, guided), *seconds(objective, agents, arguments.states))
                for _ in range(arguments.rounds)
            ]
        ratio = float(np.median([with_guide / without for with_guide, _, without, _ in both]))
        _, efficiency, _, other = both[0]
        print(f"{name:16s} {ratio:5.2f} of the time without a guide  (goal {GOAL}: {ratio <= GOAL}), ", end="")
        print(f"efficiency of the gradient {efficiency:.6f} and {other:.6f}", flush=True)


if __name__ == "__main__":
    main()
