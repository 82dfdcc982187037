"""How fast ten agents train, against the sampling of the same agents alone, measured in the same minutes.

Training is a whole call: rollouts, updates, log and checkpoints, two workers with five agents each. Sampling is the
closed loop alone, on the same two workers: the same agents, each on more streams at once, so that the simulator is kept
as busy as it can be. Each round measures both, one after the other; what is printed are medians over rounds, and ratios
of the two within a round.

    python benchmarks/training.py                               PPO and TRPO with the paper's settings for Walker2d
    python benchmarks/training.py --algorithms ppo --rounds 3 --iterations 5
    python benchmarks/training.py --alone                       half the agents in this process, by the processor's time
    python benchmarks/training.py --peer sb3="python train_with_sb3.py"

A peer is a command that trains in its own way, as two processes at once, and whose last printed number is its steps per
second; it is run once a round.
"""

import argparse
import re
import subprocess
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.execution import Job, close_pool, run_jobs
from closerlook.simulation.rollout import Sampling, rollout
from closerlook.training import TrainSettings, train
from closerlook.training.segment import gather, train_segment
from closerlook.training.settings import agent_seed, initial_agents

WORKERS = 2
LANES = 6  # of each agent while sampling alone
GOAL = 0.65


def settings_for(algorithm: str, env: str, seeds: int, iterations: int) -> TrainSettings:
    """Take the paper's settings, for some iterations."""
    settings = TrainSettings.of_preset("paper", env, algorithm, seeds=seeds)
    return TrainSettings.of_preset(
        "paper", env, algorithm, seeds=seeds, steps=iterations * settings.regime.batch_pairs, checkpoints=(0,)
    )


def train_once(settings: TrainSettings) -> tuple[float, list[Agent]]:
    """Train into a folder that is thrown away: steps per second of the whole call, and the agents."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        agents = train(settings, out=folder, workers=WORKERS).agents
        seconds = time.perf_counter() - start
    return settings.seeds * settings.iterations * settings.regime.batch_pairs / seconds, agents


def sample(agents: Agent, n_steps: int) -> dict[str, np.ndarray]:
    """One job: the closed loop alone."""
    seeds = list(range(agents.population or 1))
    sampling, streams = Sampling(n_steps), range(LANES)
    result = rollout(agents, agents.environment, sampling, seeds=seeds, purpose="benchmark", streams=streams)
    return {"pairs": np.array(result.pairs)}


def sample_once(agents: list[Agent], n_steps: int) -> float:
    """Sample the agents on all workers: pairs per second of the whole call."""
    chunks = [Agent.stack(agents[k::WORKERS]) for k in range(WORKERS)]
    jobs = [
        Job(
            name=f"sample {k}",
            key=f"sample-{k}",
            function=sample,
            arguments={"agents": chunk, "n_steps": n_steps},
            pairs=float(n_steps),
        )
        for k, chunk in enumerate(chunks)
    ]
    start = time.perf_counter()
    results = run_jobs(jobs, workers=WORKERS)
    return sum(float(result["pairs"]) for result in results) / (time.perf_counter() - start)


def measure_alone(algorithm: str, chosen: argparse.Namespace) -> None:
    """Print the ratio for one worker's agents in this process, by the time of the processor."""
    settings = settings_for(algorithm, chosen.env, chosen.seeds // WORKERS, chosen.iterations).resolved()
    numbers = range(settings.seeds)
    seeds, start = [agent_seed(settings, k) for k in numbers], Agent.stack(initial_agents(settings, numbers))
    warm, _, _ = gather(start, settings, seeds, 0)
    n_steps, ratios = settings.iterations * settings.regime.n_steps // LANES, []
    for _ in range(chosen.rounds):
        begun = time.process_time()
        train_segment(start, settings, seeds, 0, settings.iterations)
        between = time.process_time()
        pairs = int(sample(warm, n_steps)["pairs"])
        whole = settings.seeds * settings.iterations * settings.regime.batch_pairs
        ratios.append((time.process_time() - between) / pairs * whole / (between - begun))
    print(
        f"{chosen.env:12} {algorithm:5} {settings.seeds} agents alone {np.median(ratios):6.3f} times sampling "
        f"({min(ratios):.3f} to {max(ratios):.3f})   goal {GOAL:.2f}",
        flush=True,
    )


def peer_rate(command: str) -> float:
    """Run a peer; return the last number it prints."""
    printed = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"\d+(?:\.\d+)?", printed)[-1])


def measure(algorithm: str, chosen: argparse.Namespace) -> None:
    """Print the medians of one algorithm."""
    settings = settings_for(algorithm, chosen.env, chosen.seeds, chosen.iterations)
    _, agents = train_once(settings_for(algorithm, chosen.env, chosen.seeds, 1))
    n_steps = settings.iterations * settings.regime.n_steps // LANES
    measures: dict[str, Callable[[], float]] = {"sampling": lambda: sample_once(agents, n_steps)}
    measures |= {name: lambda command=command: peer_rate(command) for name, command in chosen.peer}
    rounds = [(train_once(settings)[0], {name: run() for name, run in measures.items()}) for _ in range(chosen.rounds)]
    rate = np.median([ours for ours, _ in rounds])
    print(f"{chosen.env:12} {algorithm:5} {chosen.seeds} agents {rate:8.0f} steps/s")
    for name in measures:
        ratios = [ours / others[name] for ours, others in rounds]
        goal = f"   goal {GOAL:.2f}" if name == "sampling" else ""
        print(
            f"   {np.median(ratios):6.3f} times {name} ({min(ratios):.3f} to {max(ratios):.3f}), which does "
            f"{np.median([others[name] for _, others in rounds]):8.0f}{goal}",
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
        (measure_alone if chosen.alone else measure)(algorithm, chosen)
    close_pool()


if __name__ == "__main__":
    main()
