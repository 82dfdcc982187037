"""One update equals that of Stable-Baselines3 (PPO) and sb3-contrib (TRPO): same weights, batch, order and settings.

Where the libraries differ by design, the difference is named beside the setting or the patch that switches it off.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.policies import GaussianMLP, MLPValue
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.ppo import PPOSettings, ppo_update
from closerlook.algorithms.trpo import TRPOSettings, trpo_update
from closerlook.nn.networks import MLP
from closerlook.randomness import generator
from training_environments import Target

sb3 = pytest.importorskip("stable_baselines3")
contrib = pytest.importorskip("sb3_contrib")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ENVS, STEPS, HIDDEN, MINIBATCHES, SEED = 2, 256, [16, 16], 8, 5
PAIRS = ENVS * STEPS
RATE, EPOCHS = 3e-3, 6
LAYERS = {"policy": ("mlp_extractor.policy_net", "action_net"), "value": ("mlp_extractor.value_net", "value_net")}
COMMON = {
    "n_steps": STEPS,
    "batch_size": PAIRS // MINIBATCHES,  # theirs is a size, ours a number: the same where it divides the batch
    "learning_rate": RATE,  # one optimizer and one rate for both networks there, one for each here
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "policy_kwargs": {
        "net_arch": {"pi": HIDDEN, "vf": HIDDEN},
        "activation_fn": torch.nn.Tanh,
        "optimizer_kwargs": {"eps": 1e-5},
    },
    "seed": 0,
    "device": "cpu",
}


def sampled_model(kind: Any, **settings: Any) -> Any:
    """Make a model of theirs, with some training behind it, and let it sample the batch."""
    model = kind("MlpPolicy", sb3.common.vec_env.DummyVecEnv([Target] * ENVS), **COMMON, **settings)
    model.learn(2 * PAIRS)
    _, callback = model._setup_learn(PAIRS)
    callback.on_training_start({}, {})
    model.collect_rollouts(model.env, callback, model.rollout_buffer, n_rollout_steps=STEPS)
    model.policy.optimizer.state.clear()  # both begin with moments of zero
    return model


def parameters_of(model: Any, part: str) -> dict[str, torch.Tensor]:
    """Return one of their networks by our names."""
    found = {name: tensor.detach().clone() for name, tensor in model.policy.named_parameters()}
    body, head = LAYERS[part]
    places = [*(f"{body}.{2 * layer}" for layer in range(len(HIDDEN))), head]
    own = {f"{i}.{kind}": found[f"{place}.{kind}"] for i, place in enumerate(places) for kind in ("weight", "bias")}
    return own | ({"log_std": found["log_std"]} if part == "policy" else {})


def our_twin(model: Any) -> tuple[Agent, Batch]:
    """Return their agent and batch as ours."""
    inputs, outputs = model.observation_space.shape[0], model.action_space.shape[0]
    agent = Agent(GaussianMLP(MLP((inputs, *HIDDEN, outputs))), MLPValue(MLP((inputs, *HIDDEN, 1))), {})
    agent = agent.with_state({part: parameters_of(model, part) for part in LAYERS})
    buffer = model.rollout_buffer

    def column(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values.swapaxes(0, 1)))[None]  # (T, S) there

    batch = Batch(
        observations=column(buffer.observations),
        actions=column(buffer.actions),
        log_probs=column(buffer.log_probs),
        values=column(buffer.values),
        advantages=column(buffer.advantages),
        returns=column(buffer.returns),
        value_weights=torch.ones(1, ENVS, STEPS),
    )
    torch.testing.assert_close(batch.value_targets, batch.returns)  # theirs are V + A too
    return Agent.stack([agent]), batch


def orders(purpose: str) -> list[np.ndarray]:
    """Return the order of the pairs in each of our epochs."""
    return [generator(SEED, purpose, stream=0, episode=epoch).permutation(PAIRS) for epoch in range(EPOCHS)]


def trained_in_order(model: Any, order: Sequence[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run their update with the pairs in a given order, instead of one from the global generator."""
    waiting: Iterator[np.ndarray] = iter(order)
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "permutation", lambda _: next(waiting))
        model.train()
    assert next(waiting, None) is None
    return model


def assert_equal(agents: Agent, model: Any, part: str, before: Agent) -> None:
    ours, theirs, start = agents.part(part), parameters_of(model, part), before.part(part)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name][0], tensor, atol=1e-4, rtol=0.0)
    moved = max(float((theirs[name] - start[name][0]).abs().max()) for name in theirs)
    assert moved > 0.01  # a hundred times the tolerance


@pytest.mark.parametrize("part", ["policy", "value"])
@pytest.mark.parametrize("entropy", [0.0, 0.01])
def test_ppo(part: str, entropy: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sampled_model(
        sb3.PPO,
        n_epochs=EPOCHS,
        clip_range=0.2,
        clip_range_vf=None,  # theirs takes the clipped error, ours the worse of both
        max_grad_norm=float("inf"),  # theirs is over both networks together, ours over the policy alone
        vf_coef=1.0,  # one loss there, two here
        ent_coef=entropy,
    )
    agents, batch = our_twin(model)
    settings = PPOSettings(
        policy_learning_rate=RATE,
        value_learning_rate=RATE,
        anneal=False,
        policy_epochs=EPOCHS,
        value_epochs=EPOCHS,
        minibatches=MINIBATCHES,
        entropy_coefficient=entropy,
    )
    updated, info = ppo_update(agents, batch, settings, seeds=[SEED], iteration=0)
    # one order for both networks there, one for each here; neither network sees the other, so one is looked at a time
    order = orders({"policy": "minibatches", "value": "value minibatches"}[part])
    assert_equal(updated, trained_in_order(model, order, monkeypatch), part, agents)
    assert info.clip_fraction[0] > 0.01  # the clipping was at work


@pytest.mark.parametrize("max_kl", [0.01, 0.04, 0.13])
def test_trpo(max_kl: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sampled_model(
        contrib.TRPO,
        target_kl=max_kl,
        cg_max_steps=10,
        cg_damping=0.1,
        line_search_shrinking_factor=0.5,  # 0.8 there by default
        line_search_max_iter=10,
        n_critic_updates=EPOCHS,
        sub_sampling_factor=1,  # it thins the gradient too, our fraction the Fisher matrix alone
    )
    agents, batch = our_twin(model)
    settings = TRPOSettings(
        max_kl=max_kl,
        fisher_fraction=1.0,
        cg_tolerance=0.0,  # relative here; absolute there, and too small to matter
        accept_ratio=0.0,  # there any gain is accepted
        value_learning_rate=RATE,
        value_epochs=EPOCHS,
        minibatches=MINIBATCHES,
    )
    updated, info = trpo_update(agents, batch, settings, seeds=[SEED], iteration=0)
    with_our_start_and_kl(monkeypatch)
    # the critic after the policy there, before it here: neither sees the other
    order = [np.arange(PAIRS), *orders("value minibatches")]
    trained_in_order(model, order, monkeypatch)
    for part in LAYERS:
        assert_equal(updated, model, part, agents)
    assert info.step_fraction[0] > 0


def with_our_start_and_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off four more differences of theirs.

    Their conjugate gradient begins at noise, ours at zero; its recurrences are float32, ours float64 around products in
    float32. Their KL is a mean over the components of the action, ours the sum, which is the KL. Their search judges
    steps by KL(new || old), ours by KL(old || new).
    """
    utils, trpo = contrib.common.utils, contrib.trpo.trpo
    kl: Callable[..., torch.Tensor] = trpo.kl_divergence
    solve: Callable[..., torch.Tensor] = trpo.conjugate_gradient_solver

    def solve_wide(product: Callable[..., torch.Tensor], target: torch.Tensor, **options: Any) -> torch.Tensor:
        return solve(lambda vector: product(vector.float()).double(), target.double(), **options).float()

    monkeypatch.setattr(utils.th, "randn_like", torch.zeros_like)
    monkeypatch.setattr(trpo, "conjugate_gradient_solver", solve_wide)
    monkeypatch.setattr(trpo, "kl_divergence", lambda new, old: kl(old, new).sum(-1))
