"""What watching costs: training with the monitor at its defaults against training without, paired runs of PPO.

Each round trains two models from the same seed, one with the callback and one without, an update of the one and then an
update of the other, in an order that alternates: both make the same updates in the same seconds. The ratio is that of
their processor times on one thread over all updates. Beside it stands what the callback's own methods took in the
watched training, over the rest of it, which the noise of a busy machine changes least. Printed are medians over rounds,
with ranges. The goal is 1.05 or less. It wants Stable-Baselines3.

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


class Timed(MonitorCallback):
    """The callback, with the processor time of its own methods, those of every step included."""

    own = 0.0

    def on_step(self) -> bool:  # noqa: D102 - as the base's
        begun = time.process_time()
        goes_on = super().on_step()
        self.own += time.process_time() - begun
        return goes_on

    def on_rollout_end(self) -> None:  # noqa: D102 - as the base's
        begun = time.process_time()
        super().on_rollout_end()
        self.own += time.process_time() - begun

    def on_training_end(self) -> None:  # noqa: D102 - as the base's
        begun = time.process_time()
        super().on_training_end()
        self.own += time.process_time() - begun


def ratios(env: str, seed: int, updates: int, every: int) -> tuple[float, float]:
    """Train two models side by side: the watched one's time over the other's, and over its own less the callback's."""
    models = {watched: PPO("MlpPolicy", env, n_steps=STEPS, seed=seed, device="cpu") for watched in (True, False)}
    watch, taken = Timed(Monitor(every=every, sink=())), dict.fromkeys(models, 0.0)
    for update in range(updates):
        for watched in (True, False) if update % 2 else (False, True):
            begun = time.process_time()
            models[watched].learn(STEPS, callback=watch if watched else None, reset_num_timesteps=False)
            taken[watched] += time.process_time() - begun
    return taken[True] / taken[False], taken[True] / (taken[True] - watch.own)


def in_words(values: np.ndarray) -> str:
    return f"{np.median(values):.3f} ({values.min():.3f} to {values.max():.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=("CartPole-v1", "Hopper-v5", "Humanoid-v5"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--every", type=int, default=10)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for env in chosen.envs:
        found = np.array([ratios(env, seed, chosen.updates, chosen.every) for seed in range(chosen.rounds)])
        paired, own = map(in_words, found.T)
        print(f"{env:14} watched over unwatched {paired}, over itself without {own}, goal {GOAL}", flush=True)


if __name__ == "__main__":
    main()
