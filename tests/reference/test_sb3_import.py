"""What is read of Stable-Baselines3's files beside networks: settings, statistics, environments, and what is asked."""

import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import TQC, MaskablePPO, RecurrentPPO
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import closerlook as cl
from closerlook.agents.importers.request import read_setting
from closerlook.agents.importers.sb3_folder import environment_in, keywords_of, normalization_of
from closerlook.agents.importers.sb3_pickles import Schedule
from closerlook.cli import main
from closerlook.errors import InputError
from closerlook.simulation.engine import make_engine
from sb3_models import Toy, saved, train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def load(path: Path, **options: Any) -> cl.Agent:
    agent = cl.load(path, **options)
    assert isinstance(agent, cl.Agent)
    return agent


def normalized() -> VecNormalize:
    return VecNormalize(DummyVecEnv([Toy] * 2), gamma=0.9, clip_obs=5.0)


@pytest.fixture(scope="module")
def plain() -> Any:
    return train("PPO", Toy)


def edited(path: Path, **changes: Any) -> Path:
    """Change plain values of a model's JSON."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["data"] = json.dumps({**json.loads(members["data"]), **changes}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_statistics_are_the_environments(tmp_path: Path) -> None:
    model = train("PPO", normalized, gamma=0.9)
    agent = load(saved(model, tmp_path / "model.zip"), env="Pendulum-v1")
    env = model.get_vec_normalize_env()
    rows = np.random.default_rng(0).normal(size=(7, 3)) * 3
    assert agent.observation_scaling is not None
    assert agent.reward_scaling is not None
    assert agent.observation_scaling.clip == 5.0
    from closerlook.simulation.acting import ObservationFilter  # noqa: PLC0415

    ours = ObservationFilter.of(cl.Agent.stack([agent]), running=False).all_rows(rows[None])[0]
    np.testing.assert_allclose(ours, env.normalize_obs(rows), rtol=1e-6)
    assert agent.origin is not None
    assert agent.origin.observations_seen == pytest.approx(env.obs_rms.count)


def test_flags_that_may_have_been_turned_off_to_evaluate_are_asked_for(tmp_path: Path) -> None:
    model = train("PPO", normalized, gamma=0.9)
    model.get_vec_normalize_env().norm_reward = False
    path = saved(model, tmp_path / "model.zip")
    with pytest.raises(InputError, match="norm_reward"):
        load(path, env="Pendulum-v1")
    assert load(path, env="Pendulum-v1", settings={"norm_reward": False}).reward_scaling is None
    assert load(path, env="Pendulum-v1", settings={"norm_reward": True}).reward_scaling is not None
    (tmp_path / "config.yml").write_text("normalize: true\n")
    assert load(path, env="Pendulum-v1").reward_scaling is not None
    (tmp_path / "config.yml").write_text('normalize: "dict(norm_obs=True, norm_reward=False)"\n')
    assert load(path, env="Pendulum-v1").reward_scaling is None


def test_statistics_that_are_elsewhere_are_asked_for(tmp_path: Path) -> None:
    path = saved(train("PPO", normalized, gamma=0.9), tmp_path / "model.zip")
    elsewhere = tmp_path / "elsewhere.pkl"
    (tmp_path / "vecnormalize.pkl").rename(elsewhere)
    with pytest.raises(InputError, match="--normalize"):
        load(path, env="Pendulum-v1")
    assert load(path, env="Pendulum-v1", normalize=elsewhere).observation_scaling is not None
    assert load(path, env="Pendulum-v1", anyway=True).observation_scaling is None


def test_schedules_of_somebodys_own_are_asked_for(tmp_path: Path) -> None:
    model = train("PPO", Toy, learning_rate=lambda p: 1e-3 * p + 1e-4, clip_range=lambda p: 0.1 + 0.1 * p)
    path = saved(model, tmp_path / "model.zip")
    with pytest.raises(InputError, match=r"clip_range.*--set clip_range="):
        load(path, env="Pendulum-v1")
    agent = load(path, env="Pendulum-v1", settings={"clip_range": 0.15})
    assert agent.algorithm_settings["clip"] == 0.15
    # the optimizer knows what it was last stepped with
    assert agent.algorithm_settings["learning_rate"] == pytest.approx(model.policy.optimizer.param_groups[0]["lr"])
    live = cl.from_sb3(model, env="Pendulum-v1")
    assert live.algorithm_settings["clip"] == pytest.approx(model.clip_range(model._current_progress_remaining))


def test_settings_are_the_files(plain: Any, tmp_path: Path) -> None:
    agent = load(saved(plain, tmp_path / "model.zip"), env="Pendulum-v1")
    assert agent.algorithm == "sb3-ppo"
    expected = {
        "epochs": 3,
        "batch_size": 24,
        "clip": 0.2,
        "value_clip": None,
        "max_grad_norm": 0.5,
        "optimizer": "adam",
    }
    assert expected.items() <= dict(agent.algorithm_settings).items()
    assert (agent.regime.n_envs, agent.regime.n_steps) == (2, 32)
    assert (agent.gamma, agent.gae_lambda, agent.normalize_advantages) == (0.99, 0.95, True)
    with pytest.raises(InputError, match="nonsense is not a setting"):
        load(tmp_path / "model.zip", env="Pendulum-v1", settings={"nonsense": 1})
    assert load(tmp_path / "model.zip", env="Pendulum-v1", settings={"gamma": 0.5}).gamma == 0.5


def test_values_of_the_file_that_mean_nothing_are_refused(plain: Any, tmp_path: Path) -> None:
    path = saved(plain, tmp_path / "model.zip")
    for changes in ({"gamma": "x"}, {"gamma": 2.0}, {"n_steps": 0}, {"ent_coef": 1e400}, {"n_epochs": 1.5}):
        with pytest.raises(InputError, match=next(iter(changes))):
            load(
                edited(path, **{"gamma": 0.9, "n_steps": 32, "ent_coef": 0.0, "n_epochs": 3, **changes}),
                env="Pendulum-v1",
            )


def test_schedules_that_overshot_stay_at_their_last_value_above_zero(plain: Any, tmp_path: Path) -> None:
    model = train("PPO", Toy)
    (tmp_path / "config.yml").write_text("clip_range: lin_0.2\n")
    path = edited(
        saved(model, tmp_path / "model.zip"),
        clip_range={":type:": "x", ":serialized:": "gAR9lC4="},
        _current_progress_remaining=-0.016,
        _total_timesteps=6400,
    )
    agent = load(path, env="Pendulum-v1")
    # a batch of 64 pairs is 0.01 of training, so the last progress above zero was 0.004
    assert agent.algorithm_settings["clip"] == pytest.approx(0.2 * 0.004)
    assert agent.origin is not None
    assert "last value above 0" in agent.origin.assumed["clip_range"]


def test_schedules() -> None:
    assert Schedule(1.0, 0.0, 0.5).at(0.75) == 0.5
    assert Schedule(1.0, 0.0, 0.5).at(0.2) == 0.0
    assert Schedule(1.0, 0.0, bounded=False).at(-0.1) == pytest.approx(-0.1)
    assert Schedule(0.3, 0.3).at(-1.0) == 0.3


def test_old_versions_of_environments_meet_the_nearest(tmp_path: Path) -> None:
    model = train("PPO", lambda: gym.make("LunarLanderContinuous-v3"), n_steps=8)
    path = saved(model, tmp_path / "LunarLanderContinuous-v2.zip")
    agent = load(path)
    assert agent.environment is not None
    assert agent.origin is not None
    assert agent.environment.id == "LunarLanderContinuous-v3"
    assert any("which is not there" in notice for notice in agent.origin.notices)
    assert "by the file's name" in agent.origin.assumed["environment"]
    with pytest.raises(InputError, match="environment"):
        load(path.rename(tmp_path / "model.zip"))


def test_wrappers_are_applied_by_name(tmp_path: Path) -> None:
    def made() -> Any:
        return VecFrameStack(DummyVecEnv([lambda: TimeFeatureWrapper(gym.make("Pendulum-v1"))] * 2), 3)

    model = train("PPO", made)
    path = saved(model, tmp_path / "Pendulum-v1.zip")
    (tmp_path / "config.yml").write_text(
        "env_wrapper: sb3_contrib.common.wrappers.TimeFeatureWrapper\nframe_stack: 3\n"
    )
    agent = load(path)
    assert agent.environment is not None
    engine, theirs = make_engine(agent.environment, 1), made()
    theirs.seed(7)
    seen = [theirs.reset()[0]]
    ours = [engine.reset(np.array([0]), [7])[0]]
    for action in np.linspace(-1, 1, 5, dtype=np.float32):
        seen.append(theirs.step(np.full((2, 1), action))[0][0])
        ours.append(engine.step(np.array([0]), np.full((1, 1), action)).observations[0])
    np.testing.assert_allclose(ours, seen, rtol=1e-6)
    live = cl.from_sb3(model)
    assert live.environment is not None
    assert [name for name, _ in live.environment.wrappers] == ["TimeFeatureWrapper", "VecFrameStack"]


class Own(BaseFeaturesExtractor):
    """A features extractor of somebody's own."""

    def __init__(self, space: Any) -> None:
        super().__init__(space, 5)
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layer(observations)


def test_networks_of_somebodys_own_come_from_the_live_model(tmp_path: Path) -> None:
    model = train("PPO", Toy, policy_kwargs={"features_extractor_class": Own})
    with pytest.raises(InputError, match="somebody's own"):
        load(saved(model, tmp_path / "model.zip"), env="Pendulum-v1")
    agent = cl.from_sb3(model, env="Pendulum-v1")
    rows = torch.randn(9, 3)
    with torch.no_grad():
        distribution = model.policy.get_distribution(rows)
        actions = distribution.get_actions()
        ours = agent.policy.distribution(agent.policy_parameters, rows).log_prob(actions)
        np.testing.assert_allclose(ours, distribution.log_prob(actions), rtol=1e-6, atol=1e-6)
        assert agent.value is not None
        values = agent.value(agent.value_parameters, rows)
        np.testing.assert_allclose(values, model.policy.predict_values(rows)[:, 0], rtol=1e-6, atol=1e-6)


def test_live_models_are_as_their_files(plain: Any, tmp_path: Path) -> None:
    read, live = load(saved(plain, tmp_path / "model.zip"), env="Pendulum-v1"), cl.from_sb3(plain, env="Pendulum-v1")
    assert read.state.keys() == live.state.keys()
    assert all(torch.equal(read.state[name], live.state[name]) for name in read.state)
    assert dict(read.algorithm_settings) == dict(live.algorithm_settings)
    with pytest.raises(InputError, match="Stable-Baselines3"):
        cl.from_sb3(object())


def test_unpacked_models_and_folders_are_read(plain: Any, tmp_path: Path) -> None:
    path = saved(plain, tmp_path / "ppo-Pendulum-v1.zip")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "ppo-Pendulum-v1")
    agents = [load(where) for where in (path, tmp_path / "ppo-Pendulum-v1", tmp_path)]
    assert all(agent.environment is not None and agent.environment.id == "Pendulum-v1" for agent in agents)
    (tmp_path / "results.json").write_text('{"mean_reward": -150.0, "std_reward": 20.0, "n_eval_episodes": 4}')
    agent = load(tmp_path)
    assert agent.origin is not None
    assert agent.origin.recorded[-1].standard_error == pytest.approx(10.0)
    assert agent.origin.recorded[-1].acting == "mode"


@pytest.mark.parametrize(
    ("kind", "policy", "environment", "said"),
    [
        (SAC, "MlpPolicy", "Pendulum-v1", "SAC"),
        (TQC, "MlpPolicy", "Pendulum-v1", "TQC"),
        (DQN, "MlpPolicy", "CartPole-v1", "DQN"),
        (MaskablePPO, "MlpPolicy", "CartPole-v1", "MaskablePPO"),
        (RecurrentPPO, "MlpLstmPolicy", "CartPole-v1", "RecurrentPPO"),
    ],
)
def test_what_is_not_measured_gets_one_line(
    kind: Any, policy: str, environment: str, said: str, tmp_path: Path
) -> None:
    small = {"buffer_size": 10} if kind in {SAC, TQC, DQN} else {"n_steps": 8}
    kind(policy, environment, device="cpu", **small).save(tmp_path / "model.zip")
    with pytest.raises(InputError, match=said):
        load(tmp_path / "model.zip")


def test_files_of_other_kinds_get_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/code/__torch__.py", "")
        archive.writestr("script/data.pkl", "")
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "weights.pth")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04N.")
    for name, said in (
        ("script.pt", "TorchScript"),
        ("weights.pth", "weights"),
        ("model.onnx", "ONNX"),
        ("model.pkl", "pickle"),
    ):
        with pytest.raises(InputError, match=said):
            load(tmp_path / name)


def test_the_command_inspects(plain: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(PPO("MlpPolicy", "Pendulum-v1", n_steps=8, device="cpu"), tmp_path / "Pendulum-v1.zip")
    assert main(["inspect", str(path), "--episodes", "2", "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["identity"] == "unknown"
    assert found["algorithm"] == "sb3-ppo"
    assert (tmp_path / "out" / "inspect.json").exists()


def test_small_readers() -> None:
    assert environment_in("ppo-Hopper-v3") == "Hopper-v3"
    assert environment_in("LunarLander-v2_1") == "LunarLander-v2"
    assert environment_in("best_model") is None
    assert keywords_of("dict(a=1, b=[2])") == {"a": 1, "b": [2]}
    assert keywords_of("dict(a=f())") == {}
    assert normalization_of({"normalize": "{'norm_reward': False}"}) == {"norm_obs": True, "norm_reward": False}
    assert normalization_of({}) == {}
    assert read_setting("clip_range=0.2") == ("clip_range", 0.2)
    assert read_setting("norm_reward = true") == ("norm_reward", True)
    with pytest.raises(InputError, match="name=value"):
        read_setting("clip_range")
