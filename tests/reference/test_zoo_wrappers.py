"""Wrappers that the zoo's settings name: what they do, against what is said of them written out step by step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.atari_wrappers import MaxAndSkipEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

import closerlook as cl
from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError
from closerlook.simulation.engine import make_engine
from sb3_models import saved, train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LANE = np.array([0])
SKIP = "rl_zoo3.wrappers.FrameSkip"


class Counted(gymnasium.Env[Any, Any]):
    """Observes and rewards its steps; succeeds every third one."""

    observation_space: Any = Box(-1e6, 1e6, (1,), np.float64)
    action_space = Box(-10.0, 10.0, (1,), np.float32)
    ends = 10**9

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.last = 0, 0.0
        return self.see(), {}

    def see(self) -> Any:
        return np.array([100.0 * self.t + self.last])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t, self.last = self.t + 1, float(action[0])
        return self.see(), float(self.t), self.t == self.ends, False, {"is_success": self.t % 3 == 0}


class Ending(Counted):
    ends = 7


class Goals(Counted):
    """Observes a goal beside it."""

    observation_space = Dict(achieved=Box(-1e6, 1e6, (1,), np.float64), observation=Box(-1e6, 1e6, (1,), np.float64))

    def see(self) -> Any:
        return {"achieved": np.array([-1.0]), "observation": super().see()}


def limited(limit: int = 10) -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Counted(), limit)


def engine_of(name: str, *wrappers: tuple[str, Mapping[str, Any]], **arguments: Any) -> Any:
    return make_engine(EnvironmentSpec(f"test_zoo_wrappers:{name}", arguments, wrappers=wrappers), 1)


def walk(engine: Any, actions: list[float]) -> list[tuple[list[float], float, bool, bool]]:
    """Return what each step answers: observation, reward, terminated, truncated."""
    engine.reset(LANE, [0])
    steps = [engine.step(LANE, np.array([[action]], np.float32)) for action in actions]
    return [
        (step.observations[0].tolist(), float(step.rewards[0]), bool(step.terminated[0]), bool(step.truncated[0]))
        for step in steps
    ]


def test_actions_are_repeated_and_rewards_added_up() -> None:
    found = walk(engine_of("Ending", (SKIP, {"skip": 3})), [1.0, 2.0, 3.0])
    # 1 + 2 + 3, 4 + 5 + 6, then the seventh step ends the episode
    assert found == [([301.0], 6.0, False, False), ([602.0], 15.0, False, False), ([703.0], 7.0, True, False)]


@pytest.mark.parametrize(("limit", "skip", "steps"), [(10, 4, 3), (10, 5, 2), (3, 4, 1), (10, 1, 10)])
def test_a_time_limit_within_counts_steps_of_the_environment(limit: int, skip: int, steps: int) -> None:
    """As where the limit is under the repetition: the last action may be taken fewer times; then it goes on."""
    engine = engine_of("limited", (SKIP, {"skip": skip}), limit=limit)
    assert engine.time_limit == steps
    found = walk(engine, [0.0] * (steps + 1))
    assert found[steps - 1][0] == [100.0 * limit]
    assert sum(reward for _, reward, _, _ in found[:steps]) == sum(range(1, limit + 1))
    assert found[steps][0] == [100.0 * (limit + skip)]
    assert not any(terminated or truncated for *_, terminated, truncated in found)


def test_repetition_moves_as_the_librarys_own() -> None:
    """Of which the last observations of each action's are maximized, here those of the latest step."""

    theirs = MaxAndSkipEnv(Counted(), skip=4)
    theirs.reset(seed=0)
    found = walk(engine_of("Counted", (SKIP, {"skip": 4})), [1.0, 2.0, 3.0])
    expected = [theirs.step(np.array([action], np.float32)) for action in (1.0, 2.0, 3.0)]
    assert found == [(seen.tolist(), float(reward), end, cut) for seen, reward, end, cut, _ in expected]


def test_rewards_are_delayed_and_none_is_lost() -> None:
    wrapper = ("rl_zoo3.wrappers.DelayedRewardWrapper", {"delay": 3})
    assert [step[1] for step in walk(engine_of("Ending", wrapper), [0.0] * 7)] == [0, 0, 6, 0, 0, 15, 7]
    engine = engine_of("limited", wrapper, limit=5)
    assert engine.time_limit == 5
    assert [step[1] for step in walk(engine, [0.0] * 5)] == [0, 0, 6, 0, 9]


def test_actions_are_smoothed() -> None:
    found = walk(engine_of("Counted", ("ActionSmoothingWrapper", {"smoothing_coef": 0.75})), [4.0, 4.0, -8.0])
    assert [step[0][0] % 100 for step in found] == [1.0, 1.75, (0.75 * 1.75 - 2.0) % 100]


def test_successes_truncate() -> None:
    wrapper = ("TruncatedOnSuccessWrapper", {"reward_offset": -1.0})
    assert walk(engine_of("Counted", wrapper), [0.0] * 3)[1:] == [
        ([200.0], 1.0, False, False),
        ([300.0], 2.0, False, True),
    ]


@pytest.mark.parametrize(("name", "wrapper"), [("Counted", "HistoryWrapper"), ("Goals", "HistoryWrapperObsDict")])
def test_histories_are_of_observations_then_actions(name: str, wrapper: str) -> None:
    found = walk(engine_of(name, (f"rl_zoo3.wrappers.{wrapper}", {"horizon": 2})), [1.0, 2.0, 3.0])
    goal = [-1.0] if name == "Goals" else []
    assert [step[0] for step in found] == [
        [*goal, 0.0, 101.0, 0.0, 1.0],
        [*goal, 101.0, 202.0, 1.0, 2.0],
        [*goal, 202.0, 303.0, 2.0, 3.0],
    ]


@pytest.mark.parametrize(
    ("wrappers", "told"),
    [
        ([("FrameSkip", {"skip": 10**9})], "FrameSkip does not fit .*skip must be a whole number from 1 to 100"),
        ([("FrameSkip", {"skip": True})], "whole number"),
        ([("FrameSkip", {"skip": 100}), (SKIP, {"skip": 100})], "FrameSkip is there 2 times"),
        ([("FrameSkip", {"frames": 2})], "does not fit"),
        ([("VecFrameStack", {"n_stack": "4"})], "n_stack must be a whole number"),
        ([("HistoryWrapper", {"horizon": 10**9})], "horizon must be a whole number from 1 to 100"),
        ([("HistoryWrapperObsDict", {})], "only known on a Dict with an observation"),
        ([("TimeFeatureWrapper", {"max_steps": 0})], "max_steps must be a whole number"),
        ([("ActionSmoothingWrapper", {"smoothing_coef": 2.0})], "smoothing_coef must be from 0 to 1"),
        ([("DelayedRewardWrapper", {"delay": 1.5})], "delay must be a whole number"),
        (
            [("stable_baselines3.common.atari_wrappers.AtariWrapper", {})],
            "AtariWrapper works on games of the Arcade Learning Environment",
        ),
        ([("ActionNoiseWrapper", {})], "draws noise that no seed decides"),
        ([("os.system", {})], "os.system is not known"),
    ],
)
def test_what_is_not_followed_is_refused_by_name(wrappers: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        engine_of("Counted", *wrappers)
    assert "\n" not in str(caught.value)


def test_settings_of_the_zoo_name_them(tmp_path: Path) -> None:
    model = train("PPO", lambda: gymnasium.make("Pendulum-v1"))
    path = saved(model, tmp_path / "Pendulum-v1.zip")
    (tmp_path / "config.yml").write_text("env_wrapper:\n- rl_zoo3.wrappers.FrameSkip:\n    skip: 2\n")
    agent = cl.load(path)
    assert isinstance(agent, cl.Agent)
    assert agent.environment is not None
    assert agent.environment.wrappers == ((SKIP, {"skip": 2}),)
    assert make_engine(agent.environment, 1).time_limit == 100
    for odd in ("n_stack: x", "n_stack: [1]", "n_stack: 1.0e+400", "skip: 2"):
        (tmp_path / "config.yml").write_text(f"env_wrapper:\n- VecFrameStack:\n    {odd}\n")
        with pytest.raises(InputError, match="VecFrameStack does not fit"):
            make_engine(cl.load(path, env="Pendulum-v1").environment, 1)


class FrameSkip(gymnasium.Wrapper[Any, Any, Any, Any]):
    """By the name, and with the argument, that the zoo's has."""

    def __init__(self, env: Any, skip: int) -> None:
        super().__init__(env)
        self._skip = skip


class Louder(gymnasium.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> Any:
        return 10 * reward


LIVE: dict[str, tuple[Any, Any]] = {
    "what only writes down": (
        lambda: DummyVecEnv([lambda: Monitor(gymnasium.wrappers.RecordEpisodeStatistics(pendulum()))]),
        ({}, ()),
    ),
    "a time limit of its own": (lambda: DummyVecEnv([lambda: pendulum(50)]), ({"max_episode_steps": 50}, ())),
    "none": (lambda: DummyVecEnv([lambda: pendulum().env]), ({"max_episode_steps": -1}, ())),
    "two that are followed": (
        lambda: VecFrameStack(DummyVecEnv([lambda: TimeFeatureWrapper(FrameSkip(pendulum(), 3), test_mode=True)]), 5),
        (
            {},
            (
                ("FrameSkip", {"skip": 3}),
                ("TimeFeatureWrapper", {"max_steps": 200, "test_mode": True}),
                ("VecFrameStack", {"n_stack": 5}),
            ),
        ),
    ),
    "one that is not": (lambda: DummyVecEnv([lambda: Louder(pendulum())]), "Louder"),
    "one of gymnasium's": (
        lambda: DummyVecEnv([lambda: gymnasium.wrappers.RescaleAction(pendulum(), np.float32(-1), np.float32(1))]),
        "RescaleAction",
    ),
    "within one that is followed": (lambda: DummyVecEnv([lambda: FrameSkip(Louder(pendulum()), 3)]), "Louder"),
}


def pendulum(limit: int | None = None) -> gymnasium.Env[Any, Any]:
    return gymnasium.make("Pendulum-v1", max_episode_steps=limit)


@pytest.mark.parametrize("what", LIVE)
def test_a_live_models_environment_is_measured_as_it_is_or_asked_for(what: str) -> None:
    make, expected = LIVE[what]
    agent = cl.from_sb3(PPO("MlpPolicy", make(), n_steps=8, batch_size=8, device="cpu"))
    assert agent.origin is not None
    if isinstance(expected, str):
        assert agent.environment is None
        assert f"from_sb3 does not follow {expected}" in agent.origin.missing["environment"]
    else:
        assert agent.environment is not None
        assert (dict(agent.environment.arguments), agent.environment.wrappers) == expected
