"""What watching costs: training with the monitor at its defaults against training without, paired runs of PPO.

Each round trains twice with the same seed, with and without the callback, in an order that alternates, and takes the
ratio of their processor times on one thread, which other work on the machine hardly changes; what is printed is the
median ratio over rounds and its range. The goal is 1.05 or less. It wants Stable-Baselines3.

    python benchmarks/monitor.py                                CartPole-v1, Hopper-v5, Humanoid-v5
    python benchmarks/monitor.py --envs Hopper-v5 --rounds 3 --updates 20
"""

import argparse
import time

import numpy as np
import torch
from stable_baselines3 import PPO

from closerlook.adapters.sb3 import MonitorCallback
from closerlook.monitor.monitor import Monitor

STEPS = 2048
GOAL = 1.05


def seconds(env: str, seed: int, updates: int, monitor: Monitor | None) -> float:
    """Return the processor time of a training, watched or not."""
    model = PPO("MlpPolicy", env, n_steps=STEPS, seed=seed, device="cpu")
    callback = None if monitor is None else MonitorCallback(monitor)
    begun = time.process_time()
    model.learn(updates * STEPS, callback=callback)
    return time.process_time() - begun


def ratio(env: str, seed: int, updates: int, every: int) -> float:
    """Train twice; which comes first alternates with the seed."""
    taken = {}
    for watched in (True, False) if seed % 2 else (False, True):
        taken[watched] = seconds(env, seed, updates, Monitor(every=every, sink=()) if watched else None)
    return taken[True] / taken[False]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=("CartPole-v1", "Hopper-v5", "Humanoid-v5"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--every", type=int, default=10)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for env in chosen.envs:
        ratios = np.array([ratio(env, seed, chosen.updates, chosen.every) for seed in range(chosen.rounds)])
        spread = f"{ratios.min():.3f} to {ratios.max():.3f}"
        print(f"{env:14} watched over unwatched {np.median(ratios):.3f} ({spread}), goal {GOAL}", flush=True)


if __name__ == "__main__":
    main()
