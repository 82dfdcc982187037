"""How fast pairs are sampled and reduced, against the open-loop limit of MuJoCo measured in the same minutes.

Closed loop: a 64x64 Gaussian policy acts, once untrained (episodes of some 19 steps, so that resets weigh) and once
after short training; two worker processes sample streams, reduce them to sums and hand those
over; the time is that of the whole call, on workers that are already up. Open loop: `mujoco.rollout` on two threads
steps the same model under random controls, with no policy, no observations, no rewards and no resets. Each round
measures everything once, one after the other; what is printed are medians over rounds, and ratios within a round.

The open loop runs twice: on and on from a reset, where walkers soon lie on the floor among many contacts, and in
pieces as long as the policy's own episodes, each from a reset, so that both loops step the same kind of states. The
first is the limit the goals speak of, the second is the fairer one.

    python benchmarks/sampling.py                      all three tasks, both engines
    python benchmarks/sampling.py --tasks Hopper-v5 --rounds 3 --seconds 2
    python benchmarks/sampling.py --memory             peak memory as pairs grow
    python benchmarks/sampling.py --few                five members with one stream each, as in training
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import mujoco
import mujoco.rollout
import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.normalization import Scaling
from closerlook.agents.policies import GaussianMLP
from closerlook.execution import Job, close_pool, run_jobs
from closerlook.nn.networks import MLP
from closerlook.randomness import generator
from closerlook.simulation.engine import EngineChoice, make_engine
from closerlook.simulation.gymnasium_engine import build_environment
from closerlook.simulation.rollout import Sampling, rollout
from closerlook.simulation.timers import mujoco_clock
from closerlook.training import TrainSettings, train

TASKS = ("Hopper-v5", "Walker2d-v5", "Humanoid-v5")
WORKERS = 2
STREAMS = 64  # of one job, stepped together
JOBS = 8  # of one call: with one for each worker, a call would take as long as the slower of two
GOALS = {"mujoco": 0.90, "gymnasium": 0.55}
EXPECTED_RATE = {"Hopper-v5": 33e3, "Walker2d-v5": 22e3, "Humanoid-v5": 7.6e3}


def make_agent(task: str) -> Agent:
    """Return a fresh agent of Table 1's architecture that standardizes observations."""
    engine = make_engine(EnvironmentSpec(task), 1)
    size = engine.observation_size
    policy = GaussianMLP(MLP((size, 64, 64, engine.action_space.shape[0])))
    parameters = policy.initialize(generator(0, "benchmark"), "orthogonal")
    state = {f"policy.{name}": tensor for name, tensor in parameters.items()}
    state |= {
        "observations.count": torch.tensor(1e4, dtype=torch.float64),
        "observations.mean": torch.zeros(size, dtype=torch.float64),
        "observations.squares": torch.full((size,), 1e4, dtype=torch.float64),
    }
    return Agent(policy, None, state, observation_scaling=Scaling(clip=10.0))


def train_agent(task: str, iterations: int) -> Agent:
    """Return an agent that has learned to stay up for a while: most of an experiment's pairs come from such."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings.of_preset("paper", task, "ppo", seeds=1, steps=iterations * 2048)
        return train(settings, out=folder).agents[0]


def sample_and_reduce(agent: Agent, task: str, first: int, n_steps: int, engine: str) -> dict[str, np.ndarray]:
    """One job: sample `STREAMS` streams, answer with sums."""
    choice: EngineChoice = "fastest" if engine == "mujoco" else "gymnasium"
    streams = range(first, first + STREAMS)
    result = rollout(
        agent, EnvironmentSpec(task), Sampling(n_steps), seeds=[0], purpose="benchmark", streams=streams, engine=choice
    )
    return {
        "pairs": np.array(result.pairs),
        "rewards": result.rewards.sum(),
        "observations": result.observations.sum(axis=(0, 1, 2), dtype=np.float64),
        "episodes": np.array(len(result.episodes.length)),
    }


def closed_loop(agent: Agent, task: str, n_steps: int, engine: str) -> float:
    """Pairs per second of a whole call."""
    pairs = float(STREAMS * n_steps)
    jobs = [
        Job(
            name=f"{task} {k}",
            key=f"{task}-{engine}-{n_steps}-{k}",
            function=sample_and_reduce,
            arguments={"agent": agent, "task": task, "first": k * STREAMS, "n_steps": n_steps, "engine": engine},
            pairs=pairs,
        )
        for k in range(JOBS)
    ]
    start = time.perf_counter()
    results = run_jobs(jobs, workers=WORKERS)
    return sum(float(result["pairs"]) for result in results) / (time.perf_counter() - start)


class OpenLoop:
    """`mujoco.rollout` on two threads under standard normal controls: `rollouts` of `n_steps` each from a reset."""

    def __init__(self, task: str, rollouts: int, n_steps: int) -> None:
        environment = build_environment(EnvironmentSpec(task))[0].unwrapped
        self.model, self.frame_skip = environment.model, environment.frame_skip
        self.data = [mujoco.MjData(self.model) for _ in range(WORKERS)]
        full = mujoco.mjtState.mjSTATE_FULLPHYSICS
        self.states = np.zeros((rollouts, mujoco.mj_stateSize(self.model, full)))
        for seed, state in enumerate(self.states):
            environment.reset(seed=seed)
            mujoco.mj_getState(self.model, environment.data, state, full)
        controls = np.random.default_rng(0).standard_normal((rollouts, n_steps, self.model.nu))
        self.controls = np.repeat(controls, self.frame_skip, axis=1)
        self.pool = mujoco.rollout.Rollout(nthread=WORKERS)

    def rate(self) -> float:
        """Control steps per second."""
        start = time.perf_counter()
        with mujoco_clock().stopped():  # as closed loops have it
            self.pool.rollout(self.model, self.data, self.states, self.controls)
        return self.controls.shape[0] * self.controls.shape[1] / self.frame_skip / (time.perf_counter() - start)


def measure(task: str, rounds: int, seconds: float, iterations: int) -> None:
    """Print the medians of one task."""
    n_steps = max(50, int(seconds * EXPECTED_RATE[task] / (JOBS * STREAMS)))
    agent = train_agent(task, iterations) if iterations else make_agent(task)
    probe = sample_and_reduce(agent, task, 0, 200, "mujoco")
    episode = max(1, round(float(probe["pairs"] / probe["episodes"])))
    measures: dict[str, Callable[[], float]] = {
        "on and on": OpenLoop(task, JOBS * STREAMS, n_steps).rate,
        "same episodes": OpenLoop(task, JOBS * STREAMS * n_steps // episode, episode).rate,
        "mujoco": lambda: closed_loop(agent, task, n_steps, "mujoco"),
        "gymnasium": lambda: closed_loop(agent, task, n_steps, "gymnasium"),
    }
    for engine in GOALS:
        closed_loop(agent, task, 20, engine)
    rates = np.array([[run() for run in measures.values()] for _ in range(rounds)])
    medians = dict(zip(measures, np.median(rates, axis=0), strict=True))
    who = f"policy trained for {iterations} iterations" if iterations else "untrained policy"
    print(f"{task}, {who}: pairs per second, medians of {rounds} rounds; episodes of {episode} steps", flush=True)
    print(f"  open loop: {medians['on and on']:.0f} on and on, {medians['same episodes']:.0f} in episodes")
    for column, engine in enumerate(GOALS, start=2):
        first, second = (rates[:, column] / rates[:, limit] for limit in (0, 1))
        print(
            f"  {engine:10} {medians[engine]:8.0f}   ratio {np.median(first):.3f} ({first.min():.3f} to "
            f"{first.max():.3f}), goal {GOALS[engine]:.2f}   to the same episodes {np.median(second):.3f}"
        )


def measure_memory() -> None:
    """Print the peak memory of one worker that samples and reduces more and more streams."""
    for jobs in (1, 4, 16):
        command = [sys.executable, __file__, "--memory-of", str(jobs)]
        peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        print(f"Hopper-v5    {jobs * STREAMS * 512:8d} pairs   peak memory {peak} MiB")


def peak_memory(jobs: int) -> int:
    """Sample and reduce in this process; return its peak memory in MiB."""
    agent = make_agent("Hopper-v5")
    for job in range(jobs):
        sample_and_reduce(agent, "Hopper-v5", job * STREAMS, 512, "mujoco")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure_few(task: str = "Hopper-v5", members: int = 5, n_steps: int = 1000) -> None:
    """Print the rate of a training-like rollout, one stream each, in this process; and of many streams there."""
    single = make_agent(task)
    options: dict[str, Any] = {"purpose": "benchmark"}
    rates = []
    for agents, streams in ((Agent.stack([single] * members), 1), (single, STREAMS)):
        seeds = list(range(agents.population or 1))
        updates = {"update_observations": streams == 1}
        start = time.perf_counter()
        result = rollout(
            agents, EnvironmentSpec(task), Sampling(n_steps), seeds=seeds, streams=range(streams), **options, **updates
        )
        rates.append(result.pairs / (time.perf_counter() - start))
    print(f"{task:12} {members} members x 1 stream {rates[0]:8.0f} pairs/s   {STREAMS} streams {rates[1]:8.0f}", end="")
    print(f"   ratio {rates[0] / rates[1]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement, roughly")
    parser.add_argument("--iterations", type=int, default=50, help="of training, for the trained policy")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--few", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.memory_of:
        print(peak_memory(chosen.memory_of))
    elif chosen.memory:
        measure_memory()
    elif chosen.few:
        measure_few()
    else:
        for task in chosen.tasks:
            for iterations in (0, chosen.iterations):
                measure(task, chosen.rounds, chosen.seconds, iterations)
        close_pool()


if __name__ == "__main__":
    main()
