"""Whether training makes agents better."""

from pathlib import Path

import numpy as np
import pytest

from closerlook.algorithms.ppo import PPOSettings
from closerlook.training import TrainSettings, train


def rewards(settings: TrainSettings, out: Path) -> np.ndarray:
    """Train and return mean episode rewards, (iterations, agents)."""
    return train(settings, out=out, workers=1).log["mean_reward"].reshape(settings.iterations, settings.seeds)


@pytest.mark.parametrize(("name", "start", "end"), [("target", 5.0, 10.0), ("bits", 6.0, 7.5)])
def test_ppo_learns_a_toy(tmp_path: Path, name: str, start: float, end: float) -> None:
    settings = TrainSettings(
        environment=f"training_environments:make_{name}",
        seeds=2,
        steps=15 * 512,
        n_envs=16,
        n_steps=32,
        hidden=(16,),
        gamma=0.0,
        checkpoints=(),
        ppo=PPOSettings(policy_learning_rate=1e-2, value_learning_rate=3e-3, policy_epochs=5, value_epochs=5),
    )
    curve = rewards(settings, tmp_path)
    assert (curve[0] < start).all(), curve[0]
    assert (curve[-3:].mean(0) > end).all(), curve[-3:]


@pytest.mark.slow
def test_ppo_learns_to_hop(tmp_path: Path) -> None:
    settings = TrainSettings(environment="hopper", seeds=2, steps=40 * 2048, checkpoints=())
    curve = rewards(settings, tmp_path)
    assert (curve[0] < 40).all()
    assert (curve[-5:].mean(0) > 200).all()
    assert (np.diff(curve.reshape(4, 10, 2).mean(1)[:3], axis=0) > 0).all()
