"""The monitor inside Stable-Baselines3: healthy batches raise no alarm, training is the same, what it says is right."""

import numpy as np
import pytest
import torch

sb3 = pytest.importorskip("stable_baselines3")
contrib = pytest.importorskip("sb3_contrib")

from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.env_util import make_vec_env  # noqa: E402
from stable_baselines3.common.vec_env import VecNormalize  # noqa: E402

import closerlook as cl  # noqa: E402
from closerlook.adapters.sb3 import MonitorCallback  # noqa: E402

SMALL = {"ppo": {"n_steps": 64, "batch_size": 64, "n_epochs": 2}, "a2c": {}, "trpo": {"n_steps": 64, "batch_size": 64}}
KINDS = {"ppo": sb3.PPO, "a2c": sb3.A2C, "trpo": contrib.TRPO}


def model_of(kind, env="CartPole-v1", n_envs=2, *, normalize=False, **settings):
    made = make_vec_env(env, n_envs=n_envs, seed=0)
    made = VecNormalize(made) if normalize else made
    return KINDS[kind]("MlpPolicy", made, seed=0, device="cpu", **{**SMALL[kind], **settings})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("env", "normalize"), [("CartPole-v1", False), ("Pendulum-v1", True)])
def test_healthy_training_raises_no_alarm(kind, env, normalize):
    taken = []
    model = model_of(kind, env, normalize=normalize)
    model.learn(4 * model.n_steps * 2, callback=MonitorCallback(cl.Monitor(every=1, sink=taken.append)))
    assert len(taken) == 4
    for measured in taken:
        assert not measured.findings.faults, str(measured.findings)
        for check in ("advantages", "returns", "values", "log_probs", "update_sign"):
            assert measured.findings[check].level == "ok"


def test_training_is_the_same_when_watched():
    trained = []
    for callback in (None, MonitorCallback(cl.Monitor(every=1, sink=()))):
        model = model_of("ppo")  # which seeds the generator that all models share
        trained.append(model.learn(512, callback=callback).policy)
    for one, two in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        assert torch.equal(one, two)


def test_truncations_are_told_from_terminations():
    class Keep(BaseCallback):
        def _on_step(self):
            return True

    taken = []
    model = model_of("ppo", "Pendulum-v1", n_steps=256)
    model.learn(512, callback=[Keep(), MonitorCallback(cl.Monitor(every=1, sink=taken.append))])
    assert taken[0].numbers["truncated_share"] == 1.0
    assert taken[0].numbers["episode_length"] == 200.0


def test_what_is_reported_is_in_the_models_log():
    model = model_of("ppo")
    names = []
    model.set_logger(
        type("Log", (sb3.common.logger.Logger,), {"dump": lambda self, step=0: names.extend(self.name_to_value)})(
            None, []
        )
    )
    model.learn(256, callback=MonitorCallback(cl.Monitor(every=1, sink=())), log_interval=1)
    assert "closerlook/mean_kl" in names


def test_batches_of_a_model_before_and_after_its_update():
    model = model_of("ppo", "CartPole-v1", n_envs=3)
    model.learn(64 * 3)
    flattened = cl.Batch.from_sb3(model)
    assert not cl.lint(flattened.replace(policy=None, critic=None)).faults
    assert (flattened.steps, flattened.environments) == (64, 3)
    assert cl.lint(flattened)["log_probs"].level in {"problem", "watch"}  # the policy is the updated one
    with pytest.raises(cl.InputError, match="no rollout in its buffer"):
        cl.Batch.from_sb3(model_of("ppo"))


def test_monitored_numbers_are_the_models_own():
    """SB3's clip fraction is the mean over minibatches; its explained variance has the same definition."""
    model, taken = model_of("ppo", n_steps=128), []
    model.learn(128 * 2 * 2, callback=MonitorCallback(cl.Monitor(every=1, sink=taken.append)))
    logged = model.logger.name_to_value
    assert taken[-1].numbers["clip_fraction_minibatches"] == pytest.approx(logged["train/clip_fraction"])
    assert taken[-1].numbers["explained_variance_lambda"] == pytest.approx(logged["train/explained_variance"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0"])
@pytest.mark.parametrize(("n_envs", "normalize"), [(1, False), (4, True)])
def test_many_healthy_batches_raise_no_alarm(kind, env, n_envs, normalize):
    """Twelve updates each: 216 batches, and not one false alarm."""
    taken = []
    model = model_of(kind, env, n_envs, normalize=normalize)
    model.learn(12 * model.n_steps * n_envs, callback=MonitorCallback(cl.Monitor(every=1, sink=taken.append)))
    assert np.array([not measured.findings.faults for measured in taken]).all()
    assert len(taken) == 12
