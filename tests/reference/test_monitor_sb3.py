"""The monitor inside Stable-Baselines3: healthy batches raise no alarm, training is the same, what it says is right."""

import gymnasium
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
        for check in ("advantages", "returns", "values", "log_probs"):
            assert measured.findings[check].level == "ok"
        # A2C's batches of ten pairs say nothing of the sign of an update
        assert measured.findings["update_sign"].level == ("not_enough_data" if kind == "a2c" else "ok")


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
    assert {"closerlook/mean_kl", "closerlook/level"} <= set(names)


def test_batches_of_a_model_before_and_after_its_update():
    model = model_of("ppo", "CartPole-v1", n_envs=3)
    model.learn(64 * 3)
    flattened = cl.Batch.from_sb3(model)
    assert not cl.lint(flattened.replace(policy=None, critic=None)).faults
    assert (flattened.steps, flattened.environments) == (64, 3)
    assert cl.lint(flattened)["log_probs"].level in {"problem", "watch"}  # the policy is the updated one
    with pytest.raises(cl.InputError, match="no rollout in its buffer"):
        cl.Batch.from_sb3(model_of("ppo"))


@pytest.mark.parametrize(
    ("env", "n_envs", "n_steps"), [("Pendulum-v1", 1, 8), ("Pendulum-v1", 3, 3), ("CartPole-v1", 3, 8)]
)
def test_a_buffer_is_the_same_before_and_after_its_update(env, n_envs, n_steps):
    """One number an action, and as many steps as numbers of an observation: nothing tells the axes but the buffer."""
    before = []

    class Take(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            before.append(cl.Batch.from_sb3(self.model).frozen())

    model = model_of("ppo", env, n_envs, n_steps=n_steps, batch_size=n_steps)
    after = cl.Batch.from_sb3(model.learn(n_envs * n_steps, callback=Take()))
    for name in ("observations", "actions", "values", "log_probs", "advantages", "returns"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before[0], name), err_msg=name)
    assert not cl.lint(before[0]).faults


class Masked(gymnasium.Wrapper):
    """An environment in which every action but the first is often forbidden."""

    def action_masks(self):
        return np.array([True, self.unwrapped.np_random.random() < 0.5])


class Choices(gymnasium.ActionWrapper):
    """CartPole by other kinds of actions, of which the first component counts."""

    def __init__(self, env, space):
        super().__init__(env)
        self.action_space = space

    def action(self, action):
        return int(action[0])


KINDS_OF_ACTIONS = {
    "masked": (contrib.MaskablePPO, Masked, {}, {}),
    "several choices": (sb3.PPO, Choices, {"space": gymnasium.spaces.MultiDiscrete([2, 3])}, {}),
    "several switches": (sb3.PPO, Choices, {"space": gymnasium.spaces.MultiBinary(2)}, {}),
}


@pytest.mark.parametrize("kind", KINDS_OF_ACTIONS)
def test_every_kind_of_actions_is_healthy(kind):
    algorithm, wrapper, arguments, settings = KINDS_OF_ACTIONS[kind]
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0, wrapper_class=wrapper, wrapper_kwargs=arguments)
    model, taken = algorithm("MlpPolicy", env, seed=0, device="cpu", **SMALL["ppo"], **settings), []
    model.learn(2 * 64 * 2, callback=MonitorCallback(cl.Monitor(every=1, sink=taken.append)))
    for measured in taken:
        assert not measured.findings.faults, str(measured.findings)
        assert measured.findings["log_probs"].level == measured.findings["values"].level == "ok"
        assert 0 < measured.numbers["mean_kl"] < 1


class Places(gymnasium.ObservationWrapper):
    """CartPole of five states, so that neighboring steps often have the same value."""

    observation_space = gymnasium.spaces.Discrete(5)

    def observation(self, observation):
        return int(np.clip(2 * observation[0] + 2, 0, 4))


def test_values_that_do_not_change_are_no_mistake():
    """Where V(s_t) and V(s_t+1) are the same, an advantage does not say which of them was taken."""
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0, wrapper_class=Places)
    model, taken = sb3.PPO("MlpPolicy", env, seed=0, device="cpu", n_steps=32, batch_size=32, n_epochs=2), []
    model.learn(6 * 64, callback=MonitorCallback(cl.Monitor(every=1, sink=taken.append)))
    for measured in taken:
        assert not measured.findings.faults, str(measured.findings)


def test_state_dependent_noise_is_healthy():
    model, taken = model_of("ppo", "Pendulum-v1", use_sde=True), []
    model.learn(2 * 64 * 2, callback=MonitorCallback(cl.Monitor(every=1, sink=taken.append)))
    for measured in taken:
        assert not measured.findings.faults, str(measured.findings)
        assert measured.findings["log_probs"].level == "ok"


def test_a_policy_with_a_memory_is_watched_as_far_as_its_batch_tells():
    model = contrib.RecurrentPPO("MlpLstmPolicy", "CartPole-v1", seed=0, n_steps=32, batch_size=32, n_epochs=1)
    taken = []
    model.learn(64, callback=MonitorCallback(cl.Monitor(every=1, sink=taken.append)))
    for measured in taken:
        assert not measured.findings.faults, str(measured.findings)
        assert measured.findings["advantages"].level == "ok"
        assert measured.findings["log_probs"].level == "unknown"
        assert not measured.statements
    assert "explained_variance_lambda" in taken[0].numbers
    assert "mean_kl" not in taken[0].numbers


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
