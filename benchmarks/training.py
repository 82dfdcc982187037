"""How fast ten agents train, against the sampling of the same agents alone, measured in the same minutes.

Training is a whole call: rollouts, updates, log and checkpoints, two workers with five agents each. Sampling is the
closed loop alone, of the same agents on the same two workers: each on six streams at once, so that the simulator is
kept as busy as it can be, and each on one, as in training. Each round measures everything, one after the other; what is
printed are medians over rounds, and ratios of the two within a round.

    python benchmarks/training.py                               PPO and TRPO with the paper's settings for Walker2d
    python benchmarks/training.py --algorithms ppo --rounds 3 --iterations 5
    python benchmarks/training.py --alone                       half the agents in this process, by the processor's time
    python benchmarks/training.py --peer sb3="python train_with_sb3.py"

A peer is a command that trains in its own way, as two processes at once, and whose last printed number is its steps per
second; it is run once a round. The names released (the paper's own code) and sb3 have goals for PPO.
"""

import argparse
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.execution import Job, close_pool, run_jobs
from closerlook.simulation.rollout import Sampling, rollout
from closerlook.training import TrainSettings, train
from closerlook.training.segment import gather, train_segment
from closerlook.training.settings import agent_seed, initial_agents

WORKERS = 2
STREAMS = {"sampling": 6, "sampling one stream each": 1}
GOALS = {
    "ppo": {"sampling": 0.65, "released": 3.5, "sb3": 5.0},
    "trpo": {"sampling": 0.65},
}

Ways = dict[str, Callable[[], float]]
"""What is measured, by name: each answers with steps per second."""


def settings_for(algorithm: str, environment: str, seeds: int, iterations: int) -> TrainSettings:
    """Take the paper's settings, for some iterations."""
    settings = TrainSettings.of_preset("paper", environment, algorithm, seeds=seeds)
    return TrainSettings.of_preset(
        "paper", environment, algorithm, seeds=seeds, steps=iterations * settings.regime.batch_pairs, checkpoints=(0,)
    )


def train_once(settings: TrainSettings) -> tuple[float, list[Agent]]:
    """Train into a folder that is thrown away: steps per second of the whole call, and the agents."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        agents = train(settings, out=folder, workers=WORKERS).agents
        seconds = time.perf_counter() - start
    return settings.seeds * settings.iterations * settings.regime.batch_pairs / seconds, agents


def sample(agents: Agent, streams: int, pairs: int) -> dict[str, np.ndarray]:
    """One job: about so many pairs of each agent in the closed loop alone."""
    seeds = list(range(agents.population or 1))
    sampling = Sampling(pairs // streams)
    result = rollout(agents, agents.environment, sampling, seeds=seeds, purpose="benchmark", streams=range(streams))
    return {"pairs": np.array(result.pairs)}


def sample_once(agents: list[Agent], streams: int, pairs: int) -> float:
    """Sample the agents on all workers: pairs per second of the whole call."""
    jobs = [
        Job(
            name=f"sample {k}",
            key=f"sample-{k}",
            function=sample,
            arguments={"agents": Agent.stack(agents[k::WORKERS]), "streams": streams, "pairs": pairs},
            pairs=float(pairs),
        )
        for k in range(WORKERS)
    ]
    start = time.perf_counter()
    results = run_jobs(jobs, workers=WORKERS)
    return sum(float(result["pairs"]) for result in results) / (time.perf_counter() - start)


def peer_rate(command: str) -> float:
    """Run a peer; return the last number it prints."""
    printed = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"\d+(?:\.\d+)?", printed)[-1])


def together(algorithm: str, chosen: argparse.Namespace) -> Ways:
    """Two workers, by the clock."""
    settings = settings_for(algorithm, chosen.env, chosen.seeds, chosen.iterations)
    _, agents = train_once(settings_for(algorithm, chosen.env, chosen.seeds, 1))
    pairs = settings.iterations * settings.regime.batch_pairs
    ways: Ways = {"training": lambda: train_once(settings)[0]}
    ways |= {name: partial(sample_once, agents, streams, pairs) for name, streams in STREAMS.items()}
    return ways | {name: partial(peer_rate, command) for name, command in chosen.peer}


def alone(algorithm: str, chosen: argparse.Namespace) -> Ways:
    """One worker's agents in this process, by the time of the processor."""
    settings = settings_for(algorithm, chosen.env, chosen.seeds // WORKERS, chosen.iterations).resolved()
    numbers = range(settings.seeds)
    seeds, start = [agent_seed(settings, k) for k in numbers], Agent.stack(initial_agents(settings, numbers))
    warm, _, _ = gather(start, settings, seeds, 0)
    pairs = settings.iterations * settings.regime.batch_pairs

    def rate(work: Callable[[], object]) -> float:
        begun = time.process_time()
        work()
        return settings.seeds * pairs / (time.process_time() - begun)

    ways: Ways = {"training": lambda: rate(lambda: train_segment(start, settings, seeds, 0, settings.iterations))}
    return ways | {name: partial(rate, partial(sample, warm, streams, pairs)) for name, streams in STREAMS.items()}


def measure(algorithm: str, ways: Ways, chosen: argparse.Namespace) -> None:
    """Print the medians of one algorithm."""
    rounds = [{name: run() for name, run in ways.items()} for _ in range(chosen.rounds)]
    goals = GOALS.get(algorithm, {})
    rates = {name: np.array([found[name] for found in rounds]) for name in ways}
    print(f"{chosen.env:12} {algorithm:5} {np.median(rates['training']):8.0f} steps/s")
    for name, others in rates.items():
        ratios = rates["training"] / others
        if name != "training":
            print(
                f"   {np.median(ratios):6.3f} times {name} ({ratios.min():.3f} to {ratios.max():.3f}), which does "
                f"{np.median(others):8.0f}" + (f"   goal {goals[name]:.2f}" if name in goals else ""),
                flush=True,
            )


def peer(text: str) -> tuple[str, str]:
    name, _, command = text.partition("=")
    return name, command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", default=("ppo", "trpo"))
    parser.add_argument("--env", default="Walker2d-v5")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--peer", action="append", type=peer, default=[], metavar="NAME=COMMAND")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for algorithm in chosen.algorithms:
        measure(algorithm, (alone if chosen.alone else together)(algorithm, chosen), chosen)
    close_pool()


if __name__ == "__main__":
    main()
