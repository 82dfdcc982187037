"""How fast an imported agent of Stable-Baselines3 samples, beside the same network as an agent trained here.

Both take turns in one process; what is printed is the median ratio of their speeds, with the quartiles.
"""

import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
from stable_baselines3 import PPO

import closerlook as cl
from closerlook.execution.threads import single_thread
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout

ENVIRONMENT, ROUNDS, STREAMS, STEPS = "Hopper-v5", 9, 64, 256


def imported_agent() -> cl.Agent:
    """Make a model, save it, and read it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / f"{ENVIRONMENT}.zip"
        PPO("MlpPolicy", gymnasium.make(ENVIRONMENT), n_steps=64, device="cpu", seed=0).save(path)
        agent = cl.load(path)
    assert isinstance(agent, cl.Agent)
    return agent


def seconds(agent: cl.Agent, seed: int) -> float:
    """Time one rollout."""
    started = time.perf_counter()
    rollout(
        agent, cl.EnvironmentSpec(ENVIRONMENT), Sampling(STEPS), seeds=[seed], purpose="bench", streams=range(STREAMS)
    )
    return time.perf_counter() - started


@single_thread()
def main() -> None:
    """Print the ratio."""
    imported = imported_agent()
    own = replace(imported, origin=None, algorithm=None, algorithm_settings={}, action_transform="none")
    for agent in (own, imported):
        seconds(agent, 0)
    ratios = [seconds(own, turn) / seconds(imported, turn) for turn in range(ROUNDS)]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    print(f"{ENVIRONMENT}: an imported agent samples at {middle:.2f} ({low:.2f} to {high:.2f}) of one trained here")


if __name__ == "__main__":
    main()
