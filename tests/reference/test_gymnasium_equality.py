"""The MuJoCo engine against Gymnasium's own environments, step by step: the same numbers, not nearly the same."""

import json
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from closerlook.agents.environment import EnvironmentSpec
from closerlook.simulation.engine import describe_environment, make_engine
from closerlook.simulation.mujoco_engine import MujocoEngine
from closerlook.simulation.rollout import Sampling, rollout
from small_agents import gaussian_agent

Chooser = Callable[[np.ndarray], np.ndarray]

ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "Hopper-v5": [
        {"forward_reward_weight": 2.0, "ctrl_cost_weight": 0.1, "healthy_reward": 0.5, "reset_noise_scale": 0.05},
        {"terminate_when_unhealthy": False, "exclude_current_positions_from_observation": False, "frame_skip": 3},
        {"healthy_state_range": [-2.0, 2.0], "healthy_z_range": [0.8, 1.6], "healthy_angle_range": [-0.1, 0.3]},
    ],
    "Walker2d-v5": [
        {"forward_reward_weight": 0.3, "ctrl_cost_weight": 0.1, "healthy_reward": 2.5, "reset_noise_scale": 0.05},
        {"terminate_when_unhealthy": False, "exclude_current_positions_from_observation": False},
        {"healthy_z_range": [1.0, 1.5], "healthy_angle_range": [-0.3, 0.3]},
    ],
    "Humanoid-v5": [
        {"contact_cost_weight": 1e-3, "contact_cost_range": [0.5, 3.0], "healthy_reward": 1.0},
        {"terminate_when_unhealthy": False, "exclude_current_positions_from_observation": False},
        {"include_cinert_in_observation": False, "include_cfrc_ext_in_observation": False, "ctrl_cost_weight": 1.0},
        {"include_cvel_in_observation": False, "include_qfrc_actuator_in_observation": False},
        {"healthy_z_range": [1.2, 1.5], "reset_noise_scale": 0.1, "forward_reward_weight": 3.0},
    ],
    "HalfCheetah-v5": [
        {"forward_reward_weight": 0.1, "ctrl_cost_weight": 0.5, "reset_noise_scale": 0.3},
        {"exclude_current_positions_from_observation": False},
    ],
    "Ant-v5": [
        {"contact_cost_weight": 0.01, "contact_force_range": [-0.5, 2.0], "main_body": "front_left_leg"},
        {"terminate_when_unhealthy": False, "include_cfrc_ext_in_observation": False, "main_body": 3},
        {"healthy_z_range": [0.4, 0.8], "exclude_current_positions_from_observation": False, "ctrl_cost_weight": 1},
    ],
    "Swimmer-v5": [
        {"forward_reward_weight": 0.1, "ctrl_cost_weight": 0.5, "reset_noise_scale": 0.3},
        {"exclude_current_positions_from_observation": False},
    ],
}

COMPETENT = {
    "Hopper-v5": (5338, 11, 0.3),
    "Walker2d-v5": (4088, 17, 0.3),
    "Humanoid-v5": (995, 45, 0.3),
    "HalfCheetah-v5": (0, 17, 0.3),
    "Ant-v5": (63, 27, 0.1),
    "Swimmer-v5": (0, 8, 0.5),
}
"""Linear policies by seed, first observed numbers used, and scale; they outlive chance: found by search."""


def choose_at_random(environment: gymnasium.Env, seed: int = 0) -> Chooser:
    """Actions well past their bounds now and then."""
    generator, scale = np.random.default_rng(seed), environment.action_space.high[0]
    size = environment.action_space.shape[0]
    return lambda observations: (scale * generator.normal(size=(len(observations), size))).astype(np.float32)


def choose_competently(environment: gymnasium.Env, name: str) -> Chooser:
    """Linear, saturated actions."""
    seed, used, scale = COMPETENT[name]
    weights = np.random.default_rng(seed).normal(size=(used, environment.action_space.shape[0])) * scale
    bound = environment.action_space.high[0]
    return lambda observations: (np.clip(observations[:, :used] @ weights, -1, 1) * bound).astype(np.float32)


def compare(
    name: str, arguments: dict[str, Any], make_chooser: Callable[[gymnasium.Env], Chooser], steps: int, patience: int
) -> int:
    """Step 3 lanes and 3 environments side by side; lanes are reset when over or after `patience` steps.

    Returns the longest episode.
    """
    environments = [gymnasium.make(name, max_episode_steps=-1, **arguments) for _ in range(3)]
    engine = make_engine(EnvironmentSpec(name, arguments), 3)
    assert isinstance(engine, MujocoEngine)
    choose, lanes, seeds = make_chooser(environments[0]), np.arange(3), iter(range(2**62, 2**63))
    observations, ages, longest = np.zeros((3, engine.observation_size)), np.full(3, patience), 0
    for step in range(-(-steps // 3)):
        for lane in np.flatnonzero(ages >= patience).tolist():
            seed, ages[lane] = next(seeds), 0
            expected, _ = environments[lane].reset(seed=seed)
            observations[lane] = engine.reset(np.array([lane]), [seed])[0]
            assert observations[lane].tobytes() == expected.tobytes()
        moved = lanes if step % 7 else lanes[1:]
        actions = choose(observations[moved])
        result = engine.step(moved, actions)
        for at, lane in enumerate(moved):
            expected, reward, terminated, truncated, _ = environments[lane].step(actions[at])
            assert result.observations[at].tobytes() == expected.tobytes(), (step, lane)
            assert (result.terminated[at], result.truncated[at]) == (terminated, truncated), (step, lane)
            assert abs(result.rewards[at] - reward) <= 1e-12, (step, lane)
        observations[moved], ages[moved] = result.observations, ages[moved] + 1
        longest = max(longest, int(ages.max()))
        ages[moved[result.terminated]] = patience
    return longest


@pytest.mark.parametrize("name", ARGUMENTS)
def test_random_actions(name):
    compare(name, {}, choose_at_random, steps=240, patience=60)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_competent_actions(name):
    longest = compare(name, {}, lambda environment: choose_competently(environment, name), steps=360, patience=300)
    assert longest > 50


@pytest.mark.parametrize(("name", "arguments"), [(name, one) for name, each in ARGUMENTS.items() for one in each])
def test_arguments(name, arguments):
    compare(name, arguments, choose_at_random, steps=90, patience=25)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_ten_thousand_steps(name):
    compare(name, {}, choose_at_random, steps=10_000, patience=1000)
    compare(name, {}, lambda environment: choose_competently(environment, name), steps=10_000, patience=1000)
    for arguments in ARGUMENTS[name]:
        compare(name, arguments, choose_at_random, steps=2_000, patience=200)


@pytest.mark.parametrize("name", ["Hopper-v5", "Ant-v5", "Humanoid-v5"])
def test_whole_rollouts_are_the_same_on_either_engine(name):
    spec = EnvironmentSpec(name, {"max_episode_steps": 12, "reset_noise_scale": 0.05})
    engine = make_engine(spec, 1)
    agent = gaussian_agent(engine.observation_size, engine.action_space.shape[0], action_transform="clip")
    sampling = Sampling(40, burn_in=5, continuation_steps=6, finish_episodes=True)
    results = []
    for choice in ("fastest", "gymnasium"):
        where = {"streams": range(5), "lanes": 3, "engine": choice}
        results.append(rollout(agent, spec, sampling, seeds=[1], purpose="test", **where))
    ours, theirs = results
    assert ours.truncated.any()
    for field in ("observations", "actions", "rewards", "terminated", "truncated"):
        assert getattr(ours, field).tobytes() == getattr(theirs, field).tobytes(), field
    assert ours.boundaries.continuation_rewards.tobytes() == theirs.boundaries.continuation_rewards.tobytes()
    assert ours.episodes.episode_return.tobytes() == theirs.episodes.episode_return.tobytes()


@pytest.mark.parametrize(
    ("name", "arguments", "engine"),
    [
        ("Hopper-v5", {"frame_skip": 2}, "mujoco"),
        ("Hopper-v5", {"max_episode_steps": 50}, "mujoco"),
        ("Hopper-v5", {"width": 100}, "gymnasium"),
        ("Hopper-v4", {}, "gymnasium"),
        ("CartPole-v1", {}, "gymnasium"),
        ("gymnasium.envs.mujoco.hopper_v5:HopperEnv", {}, "gymnasium"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_which_engine_runs_what(name, arguments, engine):
    described = describe_environment(EnvironmentSpec(name, arguments))
    assert described["engine"] == engine
    assert json.loads(json.dumps(described)) == described
    limits = {"CartPole-v1": 500, "gymnasium.envs.mujoco.hopper_v5:HopperEnv": None}
    assert described["time_limit"] == arguments.get("max_episode_steps", limits.get(name, 1000))


def test_a_description_tells_models_and_sources_apart():
    names = ["Hopper-v5", "Walker2d-v5", "CartPole-v1", "tiny_environments:Corridor", "tiny_environments:Drift"]
    sources = {describe_environment(EnvironmentSpec(name))["source"] for name in names}
    assert len(sources) == len(names)
