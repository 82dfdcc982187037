"""One update of an imported agent equals the library's own, parameter by parameter: same batch, same order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sb3_contrib.common.utils
import torch
from gymnasium import spaces
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

import closerlook as cl
from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.joint import JointInfo
from closerlook.algorithms.rules import UPDATES, rule_of
from closerlook.randomness import generator
from sb3_models import PAIRS, Toy, saved, train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SEED = 5
IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)


def tf_like() -> Any:
    return {"optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"alpha": 0.99, "eps": 1e-5}}


CASES: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "ppo": ("PPO", None, None, {"ent_coef": 0.01}),
    "ppo, held values": ("PPO", None, None, {"clip_range_vf": 0.05, "clip_range": 0.02, "vf_coef": 0.7}),
    "ppo, short gradients": ("PPO", None, None, {"max_grad_norm": 0.01, "normalize_advantage": False}),
    "ppo, early stop": ("PPO", None, None, {"target_kl": 1e-3, "n_epochs": 8}),
    "ppo, squashed": (
        "PPO",
        None,
        None,
        {"use_sde": True, "ent_coef": 0.1, "policy_kwargs": {"squash_output": True, "log_std_init": -1.0}},
    ),
    "ppo, shared": (
        "PPO",
        IMAGE,
        spaces.Discrete(3),
        {"policy": "CnnPolicy", "policy_kwargs": {"features_extractor_kwargs": {"features_dim": 8}}},
    ),
    "ppo, choices": ("PPO", spaces.Discrete(4), spaces.MultiDiscrete([3, 2]), {"ent_coef": 0.05}),
    "ppo, less entropy": ("PPO", None, spaces.Discrete(3), {"ent_coef": -0.05}),
    "a2c": ("A2C", None, None, {"ent_coef": 0.01}),
    "a2c, less entropy": ("A2C", None, None, {"ent_coef": -0.3}),
    "a2c, as in tensorflow": (
        "A2C",
        None,
        spaces.Discrete(3),
        {"normalize_advantage": True, "policy_kwargs": tf_like()},
    ),
    "a2c, adam": ("A2C", None, None, {"use_rms_prop": False}),
    "trpo": ("TRPO", None, None, {"target_kl": 0.01}),
    "trpo, sub-sampled": (
        "TRPO",
        None,
        spaces.Discrete(3),
        {"sub_sampling_factor": 2, "line_search_shrinking_factor": 0.5, "target_kl": 0.3, "batch_size": 24},
    ),
    "trpo, shared": (
        "TRPO",
        IMAGE,
        spaces.Discrete(3),
        {"policy": "CnnPolicy", "policy_kwargs": {"features_extractor_kwargs": {"features_dim": 8}}},
    ),
}


class Orders:
    """Gives the library's permutations and first guesses the numbers that ours are."""

    def __init__(self, kind: str, iteration: int, deviations: int) -> None:
        self._deviations = deviations  # parameters that come first there and last here
        self._names = iter([("minibatches", epoch) for epoch in range(100)] if kind != "TRPO" else self._of_trpo())
        self._iteration = iteration
        self._last = generator(SEED, "minibatches", stream=iteration)

    @staticmethod
    def _of_trpo() -> Iterator[tuple[str, int]]:
        yield "minibatches", 0
        yield from (("value minibatches", epoch) for epoch in range(100))

    def permutation(self, count: int) -> np.ndarray:
        purpose, epoch = next(self._names)
        self._last = generator(SEED, purpose, stream=self._iteration, episode=epoch)
        return self._last.permutation(count)

    def randn_like(self, like: torch.Tensor) -> torch.Tensor:
        drawn = self._last.standard_normal(len(like)).astype(np.float32)
        return torch.from_numpy(np.roll(drawn, self._deviations))


def batch_of(model: Any, agent: Agent) -> Batch:
    """Return what the library sampled as a batch of ours."""
    buffer = model.rollout_buffer

    def column(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values.swapaxes(0, 1)))[None]  # (T, S) there

    seen = column(buffer.observations)
    if isinstance(model.observation_space, spaces.Discrete):
        seen = torch.nn.functional.one_hot(seen.long().squeeze(-1), int(model.observation_space.n)).float()
    actions = column(buffer.actions)
    if isinstance(model.action_space, spaces.Discrete):
        actions = actions.squeeze(-1).long()
    elif isinstance(model.action_space, spaces.MultiDiscrete):
        actions = actions.long()
    values, advantages = column(buffer.values), column(buffer.advantages)
    return Batch(
        observations=seen.float().flatten(3),
        actions=actions,
        log_probs=column(buffer.log_probs),
        values=values,
        advantages=advantages,
        returns=column(buffer.returns),
        value_weights=torch.ones_like(values),
    )


def sample(model: Any) -> None:
    """Let a model sample its next batch, without updating."""
    _, callback = model._setup_learn(PAIRS)
    callback.on_training_start({}, {})
    model.collect_rollouts(model.env, callback, model.rollout_buffer, n_rollout_steps=model.n_steps)


def both_updates(name: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> tuple[Any, Agent, Any]:
    """Make the same update there and here: their model, our agent, and what we say happened."""
    kind, seen, done, settings = CASES[name]
    model = train(kind, lambda: Toy(seen, done), steps=2, **settings)
    model._current_progress_remaining = 1.0
    sample(model)
    agent = cl.load(saved(model, tmp_path / "model.zip"), anyway=True)
    assert isinstance(agent, Agent)
    rule = rule_of(agent)
    assert not rule.fresh_optimizer
    orders = Orders(kind, rule.iteration, model.policy.log_std.numel() if hasattr(model.policy, "log_std") else 0)
    patch.setattr(np.random, "permutation", orders.permutation)
    if kind == "TRPO":
        patch.setattr(sb3_contrib.common.utils.th, "randn_like", orders.randn_like)
    batch = batch_of(model, agent)
    model.train()
    agents = Agent.stack([agent])
    updated, info = UPDATES[rule.algorithm](agents, batch, rule.settings, seeds=[SEED], iteration=rule.iteration)
    return model, updated.unstack()[0], info


@pytest.mark.parametrize("name", CASES)
def test_updates_equal_the_library(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, agent, info = both_updates(name, tmp_path, monkeypatch)
    theirs = dict(model.policy.named_parameters())
    again = cl.load(saved(model, tmp_path / "after.zip"), anyway=True)
    assert isinstance(again, Agent)
    compared = 0
    for ours, tensor in again.state.items():
        if ours.startswith("optimizer.") and ours.endswith("step"):
            assert int(agent.state[ours]) == int(tensor), ours
        if ours.startswith(("policy.", "value.", "optimizer.")):
            np.testing.assert_allclose(agent.state[ours], tensor, rtol=1e-5, atol=1e-6, err_msg=ours)
            compared += ours.startswith(("policy.", "value."))
    assert compared >= len(theirs)
    told = [notice for notice in again.origin.notices if "ent_coef" in notice] if again.origin is not None else []
    assert told == (
        [f"its ent_coef is {model.ent_coef:g}: updates lower entropy, as the library does with it"]
        if "less entropy" in name
        else []
    )
    if name == "ppo, early stop":
        assert info.minibatches[0] < 8 * 3
    if isinstance(info, JointInfo) and name.startswith("ppo"):
        assert 0.0 < info.policy_norm_share[0] <= (1.5 if "shared" in name else 1.0)


def test_the_critic_takes_the_step_where_rewards_are_large(tmp_path: Path) -> None:
    class Rich(Toy):
        def step(self, action: Any) -> Any:
            observation, reward, *rest = super().step(action)
            return observation, 1e4 * reward, *rest

    model = train("PPO", Rich, steps=2)
    sample(model)
    agent = cl.load(saved(model, tmp_path / "model.zip"), anyway=True)
    assert isinstance(agent, Agent)
    rule, agents = rule_of(agent), Agent.stack([agent])
    _, info = UPDATES[rule.algorithm](agents, batch_of(model, agent), rule.settings, seeds=[0], iteration=0)
    assert info.policy_norm_share[0] < 1e-3
    assert info.gradient_scale[0] < 1e-3
    assert info.mean_kl[0] < 1e-3
