"""Batches of this library's own training are healthy, whatever the settings; scripts in CleanRL's style too."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from cleanrl_style import Args, train

import closerlook as cl
from closerlook.agents.agent import Agent
from closerlook.monitor.own_training import batches_of
from closerlook.training import segment
from closerlook.training.settings import TrainSettings, agent_seed, initial_agents
from training_batches import slow_gae

SETTINGS = {
    "defaults": {},
    "released code": {"bootstrap": "paper"},
    "time limits": {"environment": "tiny_environments:limited_corridor", "environment_arguments": {"limit": 7}},
    "time limits, released code": {
        "environment": "tiny_environments:limited_corridor",
        "environment_arguments": {"limit": 7},
        "bootstrap": "paper",
    },
    "plain rewards": {"normalize_rewards": False},
    "no critic": {"baseline": "none"},
    "returns as targets": {"value_target": "returns"},
    "TRPO": {"algorithm": "trpo"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_own_training_is_healthy(name):
    fields = {"environment": "environments:make_linear_quadratic", "steps": 640, "n_steps": 40, "n_envs": 4, "seeds": 2}
    settings = TrainSettings(**{**fields, "hidden": (8,), **SETTINGS[name]}).resolved()
    seeds = [agent_seed(settings, k) for k in range(2)]
    agents = Agent.stack(initial_agents(settings, range(2)))
    for iteration in range(2):
        before, batch, _, sampled = segment.gather(agents, settings, seeds, iteration)
        agents, _ = segment.improve(before, batch, settings, seeds, iteration)
        for own, after in zip(batches_of(before, batch, sampled), agents.unstack(), strict=True):
            found = cl.lint(own, after=after)
            assert not found.faults, str(found)
            assert found["advantages"].level == found["log_probs"].level == found["returns"].level == "ok"
            measured = cl.Monitor(every=1, sink=()).on_update(None, after, own)
            assert measured.numbers["mean_kl"] >= 0
            assert measured.numbers["gradient_groups"] >= 4


class Script(torch.nn.Module):
    """An agent as CleanRL's scripts have it."""

    def __init__(self):
        super().__init__()
        self.critic, self.actor = torch.nn.Linear(3, 1), torch.nn.Linear(3, 2)

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        action = probs.sample() if action is None else action
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


def script_variables(seed):
    """Local variables of such a script after it computed advantages, by a slow loop."""
    torch.manual_seed(seed)
    agent = Script()
    obs, rewards = torch.randn(32, 2, 3), torch.randn(32, 2)
    dones, next_done = (torch.rand(32, 2) < 0.1).float(), (torch.rand(2) < 0.5).float()
    with torch.no_grad():
        actions, logprobs, _, values = agent.get_action_and_value(obs)
        values, next_value = values[..., 0], agent.get_value(torch.randn(2, 3)).reshape(1, -1)
    ends = torch.cat([dones[1:], next_done[None]]).bool().numpy()
    following = torch.cat([values[1:], next_value]).numpy()
    advantages = slow_gae(rewards.numpy(), values.numpy(), following, ends, ends, 0.99, 0.95)
    advantages = torch.from_numpy(advantages).float()
    args = SimpleNamespace(gamma=0.99, gae_lambda=0.95, clip_coef=0.2, norm_adv=True, vf_coef=0.5, max_grad_norm=0.5)
    names = ("agent", "obs", "rewards", "dones", "next_done", "actions", "logprobs", "values", "next_value", "args")
    own = locals()
    return {**{name: own[name] for name in names}, "advantages": advantages, "returns": advantages + values, "i": 3}


@pytest.mark.parametrize("seed", range(6))
def test_scripts_are_healthy(seed):
    batch = cl.Batch.from_cleanrl(script_variables(seed))
    found = cl.lint(batch)
    assert not found.faults, str(found)
    assert found["advantages"].level == found["log_probs"].level == found["values"].level == "ok"
    assert batch.value_coefficient == 0.25
    assert batch.normalize_advantages == "minibatch"


def test_what_a_script_gets_wrong_is_found():
    variables = script_variables(0)
    shifted = {**variables, "dones": torch.roll(variables["dones"], 1, 0)}
    assert cl.lint(cl.Batch.from_cleanrl(shifted))["advantages"].diagnosis == "flags_shifted"
    with pytest.raises(cl.InputError, match="no rewards among the variables"):
        cl.Batch.from_cleanrl({"obs": np.ones(3)})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", SETTINGS)
def test_many_batches_of_own_training_raise_no_alarm(name, seed):
    """Eight settings, two runs of two agents, twelve updates each: 384 batches, and not one false alarm."""
    fields = {
        "environment": "environments:make_linear_quadratic",
        "steps": 1920,
        "n_steps": 40,
        "n_envs": 4,
        "seeds": 2,
    }
    settings = TrainSettings(**{**fields, "hidden": (8,), "seed": seed, **SETTINGS[name]}).resolved()
    seeds = [agent_seed(settings, k) for k in range(2)]
    agents = Agent.stack(initial_agents(settings, range(2)))
    for iteration in range(12):
        before, batch, _, sampled = segment.gather(agents, settings, seeds, iteration)
        agents, _ = segment.improve(before, batch, settings, seeds, iteration)
        for own, after in zip(batches_of(before, batch, sampled), agents.unstack(), strict=True):
            found = cl.lint(own, after=after)
            assert not found.faults, str(found)


@pytest.mark.slow
@pytest.mark.parametrize("environments", [1, 4])
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0"])
def test_many_batches_of_scripts_raise_no_alarm(env_id, environments):
    """Three environments, one of them or four, 36 updates each: 216 batches, and not one false alarm."""
    args = Args(env_id=env_id, num_envs=environments, num_steps=256, minibatch_size=64, update_epochs=2)
    for _, (batch, _, agent) in zip(range(36), train(args), strict=False):
        found = cl.lint(batch, after=agent)
        assert not found.faults, str(found)
        assert found["advantages"].level == found["log_probs"].level == found["values"].level == "ok"
