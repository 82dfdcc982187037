"""Agents of long episodes: what they earn is known from few pairs, and that they do well is no problem."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import CategoricalMLP, MLPValue
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.landscape import landscape
from closerlook.diagnostics.landscape.verdicts import verdicts as landscape_verdicts
from closerlook.diagnostics.trust_region import trust_region
from closerlook.diagnostics.trust_region.verdicts import verdicts as trust_verdicts
from closerlook.diagnostics.values import value_prediction
from closerlook.diagnostics.values.verdicts import verdicts as value_verdicts
from closerlook.measurements.episode_returns import sample_returns
from closerlook.measurements.stream_sums import StreamRange, episode_counts
from closerlook.nn.networks import MLP, flatten
from closerlook.randomness import generator
from closerlook.simulation.records import FEW_EPISODES, Sampling
from closerlook.simulation.rollout import rollout
from small_agents import gaussian_agent

LIMIT = 40
CARTPOLE = EnvironmentSpec("CartPole-v1")
HUMANOID = EnvironmentSpec("Humanoid-v5")


class Lasting(gymnasium.Env[np.ndarray, np.ndarray]):
    """Of every four episodes one lasts for 36 steps, three for 4; each step earns 1."""

    observation_space = Box(-1, 1, (2,), np.float64)
    action_space = Box(-1, 1, (1,), np.float32)
    lengths = (36, 4, 4, 4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = self.lengths[int(self.np_random.integers(4))]
        return np.zeros(2), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left -= 1
        return np.zeros(2), 1.0, self.left == 0, False, {}


def lasting() -> gymnasium.Env:
    return TimeLimit(Lasting(), LIMIT)


def balanced(*, n_steps: int = 32, critic: bool = False) -> Agent:
    """A linear policy that keeps the pole up for all 500 steps."""
    policy, value = CategoricalMLP(MLP((4, 2))), MLPValue(MLP((4, 4, 1)))
    gain = torch.tensor([[1.0, 2.0, 40.0, 10.0]])
    state = {"policy.0.weight": torch.cat([-gain, gain]), "policy.0.bias": torch.zeros(2)}
    if critic:
        state |= {f"value.{name}": x for name, x in value.initialize(generator(0, "test"), "xavier").items()}
    regime = Regime(8, n_steps, reset_each_iteration=False)
    return Agent(policy, value if critic else None, state, algorithm="ppo", regime=regime, environment=CARTPOLE)


def levels(found: list[dict]) -> dict[str, str]:
    return {verdict["area"]: verdict["level"] for verdict in found}


def test_episodes_of_burn_in_and_scored_steps_are_those_of_one_run_from_the_reset():
    """The obvious twin: streams as long as burn-in and scored steps together, from a reset."""
    agent, environment = gaussian_agent(11, 3), EnvironmentSpec("Hopper-v5")
    names = {"seeds": [3], "purpose": "test"}
    streams, sampling = range(6), Sampling(40, burn_in=90, finish_episodes=True)
    counts = episode_counts(rollout(agent, environment, sampling, streams=streams, **names), finished=True)
    assert counts["earlier_episodes"].sum() > 0 < counts["episodes"].sum()
    for stream in streams:
        burnt = int(generator(3, "test", stream=stream, kind="burn-in").integers(91))
        whole = Sampling(burnt + 40, finish_episodes=True)
        own = rollout(agent, environment, whole, streams=[stream], **names).episodes
        before = own.start < burnt
        for name, chosen in (("earlier_", before), ("", ~before)):
            assert counts[f"{name}episodes"][stream] == chosen.sum()
            assert counts[f"{name}returns"][stream] == pytest.approx(own.episode_return[chosen].sum())


def test_true_rewards_count_no_episode_that_began_in_the_burn_in():
    agent, environment, streams = gaussian_agent(11, 3), EnvironmentSpec("Hopper-v5"), range(4)
    own = flatten(agent.policy_parameters, list(agent.policy.parameter_shapes)).double().numpy()[None]
    sampling, part = Sampling(40, burn_in=90), StreamRange(3, "test", streams.start, streams.stop)
    found, left_out = sample_returns(agent, own, environment, sampling, part, [3]), 0
    for stream in streams:
        burnt = int(generator(3, "test", stream=stream, kind="burn-in").integers(91))
        whole = Sampling(burnt + 40, finish_episodes=True)
        all_of_them = rollout(agent, environment, whole, seeds=[3], purpose="test", streams=[stream]).episodes
        begun = all_of_them.episode_return[all_of_them.start >= burnt]
        left_out += len(all_of_them.start) - len(begun)
        assert found["episodes"][0, stream] == len(begun)
        assert found["returns"][0, stream] == pytest.approx(begun.sum())
    assert left_out > 0


def test_the_mean_of_all_episodes_of_streams_is_not_that_of_long_ones():
    """12 steps an episode on average; one that is cut into by the burn-in's end lasts for 27."""
    agent = gaussian_agent(2, 1)
    sampling = Sampling(1, burn_in=LIMIT, finish_episodes=True)
    where = EnvironmentSpec("test_long_episodes:lasting")
    sampled = rollout(agent, where, sampling, seeds=[0], purpose="test", streams=range(600))
    counts = {name: values.sum() for name, values in episode_counts(sampled, finished=True).items()}
    episodes = counts["episodes"] + counts["earlier_episodes"]
    assert (counts["returns"] + counts["earlier_returns"]) / episodes == pytest.approx(12.0, rel=0.1)
    own = sampled.episodes
    assert own.episode_return[own.start < 0].mean() > 20


@pytest.mark.parametrize(
    ("burn_in", "streams", "limit", "few"),
    [(500, 156, 500, True), (500, 157, 500, False), (0, 1, 500, False), (1000, 10_000, None, True)],
)
def test_few_begin_where_pairs_have_no_room_for_ten_of_the_longest(burn_in, streams, limit, few):
    assert FEW_EPISODES == 10
    assert Sampling(32, burn_in=burn_in).begins_few(streams, limit) == few


@pytest.mark.parametrize("pairs", [256, 512])
def test_the_return_of_a_long_episode_is_known_from_few_pairs(pairs):
    found = gradient_quality(balanced(), pairs=pairs, estimates=2, sizes=[32], workers=1)
    assert float(found["mean_episode_return"]) == 500.0


def test_true_rewards_of_long_episodes_are_known_from_one_stream():
    asked = {"algorithm": "ppo", "repeats": 4, "pairs": 64, "return_pairs": 32, "multiples": (2.0,), "workers": 1}
    found = trust_region(balanced(), **asked)
    assert (found["return_episodes"] == 1).all()
    assert (found["true_reward_before"] == 500).all()
    assert (found["mean_episode_length"] == 500).all()
    verdict = {one["area"]: one for one in trust_verdicts(found)}
    assert "true reward" not in verdict
    assert verdict["improvement"]["level"] == "watch"
    assert "Every episode lasts to the time limit of 500 steps" in verdict["improvement"]["statement"]
    assert "problem" not in levels(trust_verdicts(found)).values()


def test_landscapes_of_long_episodes_are_known_from_one_stream():
    asked = {"pairs": 32, "line_pairs": 96, "grid": 3, "heldout_pairs": 64, "range": (0, 2), "workers": 1}
    found = landscape(balanced(), algorithm="ppo", **asked)
    assert (found["line_reward"] == 500).all()
    assert (found["line_episode_length"] == 500).all()
    told = levels(landscape_verdicts(found))
    assert told["step"] == "watch"
    assert "problem" not in told.values()


def test_long_episodes_of_a_humanoid_are_known_from_pools_shorter_than_one():
    """One stream of 16 pairs, and a limit of 1000: what an untrained one earns before it falls."""
    agent = gaussian_agent(348, 17, regime=Regime(2, 16, reset_each_iteration=False), algorithm="ppo")
    found = gradient_quality(replace(agent, environment=HUMANOID), pairs=32, estimates=2, sizes=[16], workers=1)
    assert 0 < float(found["mean_episode_return"]) < 500


def test_returns_that_are_all_equal_are_no_problem_where_lasting_is_rewarded():
    """Of a pole that is kept up for good, past its limit too, every discounted return is the same."""
    asked = {"pairs": 640, "fit_pairs": 0, "restarts": 0, "updates": 0, "sizes": [64], "lambdas": [1], "workers": 1}
    found = value_prediction(balanced(critic=True), **asked)
    assert float(found["mean_episode_return"]) == 500.0
    equal = found.assign(explained_variance=found["explained_variance"].where(found["target"] != "returns"))
    told = value_verdicts(equal)[0]
    assert (told["level"], "all equal" in told["statement"]) == ("watch", True)
    for unpaid in (0.0, np.nan):
        nothing = equal.assign(mean_episode_return=equal["mean_episode_return"] * unpaid)
        assert value_verdicts(nothing)[0]["level"] == "problem"
