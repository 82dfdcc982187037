"""Imported policies answer what Stable-Baselines3's own answer: log probabilities, values, modes, entropies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

import closerlook as cl
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, ModulePolicy
from closerlook.nn.distributions import SquashedGaussian
from sb3_models import Toy, saved, train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

N = 40
IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)
PARTS = spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2, 2)), "b": spaces.Discrete(3), "c": IMAGE})
GSDE = {"use_sde": True, "policy_kwargs": {"log_std_init": -1.0}}
CASES: dict[str, tuple[Any, Any, str, dict[str, Any]]] = {
    "gaussian": (None, None, "MlpPolicy", {}),
    "relu, uneven": (
        None,
        None,
        "MlpPolicy",
        {"policy_kwargs": {"net_arch": {"pi": [8], "vf": [9, 7]}, "activation_fn": torch.nn.ReLU}},
    ),
    "elu": (None, None, "MlpPolicy", {"policy_kwargs": {"net_arch": [6, 5], "activation_fn": torch.nn.ELU}}),
    "linear": (None, None, "MlpPolicy", {"policy_kwargs": {"net_arch": []}}),
    "categorical": (None, spaces.Discrete(4), "MlpPolicy", {}),
    "several": (None, spaces.MultiDiscrete([3, 2, 4]), "MlpPolicy", {}),
    "binary": (None, spaces.MultiBinary(3), "MlpPolicy", {}),
    "state-dependent": (None, None, "MlpPolicy", GSDE),
    "state-dependent, thin": (
        None,
        None,
        "MlpPolicy",
        {"use_sde": True, "policy_kwargs": {"full_std": False, "use_expln": True, "log_std_init": 0.3}},
    ),
    "squashed": (
        None,
        None,
        "MlpPolicy",
        {"use_sde": True, "policy_kwargs": {"squash_output": True, "log_std_init": -1.0}},
    ),
    "one choice seen": (spaces.Discrete(5), None, "MlpPolicy", {}),
    "choices seen": (spaces.MultiDiscrete([3, 2]), spaces.Discrete(2), "MlpPolicy", {}),
    "bits seen": (spaces.MultiBinary(4), None, "MlpPolicy", {}),
    "images": (
        IMAGE,
        spaces.Discrete(3),
        "CnnPolicy",
        {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}}},
    ),
    "images, apart": (
        IMAGE,
        None,
        "CnnPolicy",
        {"policy_kwargs": {"share_features_extractor": False, "features_extractor_kwargs": {"features_dim": 8}}},
    ),
    "parts": (PARTS, None, "MultiInputPolicy", {"policy_kwargs": {"features_extractor_kwargs": {"cnn_output_dim": 8}}}),
}


def observations_of(space: Any, model: Any, rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    """Draw observations as the library's policy takes them, and flattened as ours does."""
    env = Toy(space)
    env.reset(seed=int(rng.integers(1000)))
    drawn = [env._observe() for _ in range(N)]
    flat = np.stack([spaces.flatten(env.observation_space, one) for one in drawn])
    turn = lambda image: np.moveaxis(image, -1, 0) if np.ndim(image) == 3 else image  # noqa: E731
    if isinstance(env.observation_space, spaces.Dict):
        theirs: Any = {key: np.stack([turn(one[key]) for one in drawn]) for key in env.observation_space.spaces}
        return theirs, np.stack(
            [spaces.flatten(model.observation_space, {k: v[i] for k, v in theirs.items()}) for i in range(N)]
        )
    theirs = np.stack([turn(one) for one in drawn])
    return theirs, theirs.reshape(N, -1) if isinstance(space, spaces.Box) else flat


@pytest.mark.parametrize("name", CASES)
def test_imported_policies_answer_as_the_library(name: str, tmp_path: Path) -> None:
    seen, done, policy, settings = CASES[name]
    model = train("PPO", lambda: Toy(seen, done), policy=policy, **settings)
    agent = cl.load(saved(model, tmp_path / "model.zip"), anyway=True)
    assert isinstance(agent, cl.Agent)
    theirs, flat = observations_of(seen, model, np.random.default_rng(1))
    tensors = model.policy.obs_to_tensor(theirs)[0]
    with torch.no_grad():
        if model.use_sde:
            model.policy.reset_noise(N)
        actions = model.policy.get_distribution(tensors).get_actions()
        values, log_probs, entropy = model.policy.evaluate_actions(tensors, actions)
        mode = model.policy.get_distribution(tensors).mode()
        rows = torch.from_numpy(flat.astype(np.float32))
        distribution = agent.policy.distribution(agent.policy_parameters, rows)
        ours = distribution.log_prob(actions)
        assert agent.value is not None
        our_values = agent.value(agent.value_parameters, rows)
    exact = {"rtol": 1e-6, "atol": 2e-6}
    np.testing.assert_allclose(ours, log_probs, **exact)
    np.testing.assert_allclose(our_values, values[:, 0], **exact)
    np.testing.assert_allclose(distribution.mode(), mode, **exact)
    if entropy is None:
        assert isinstance(distribution, SquashedGaussian)
        assert distribution.entropy().isnan().all()
    else:
        np.testing.assert_allclose(distribution.entropy(), entropy, **exact)
    kinds = {"gaussian": GaussianMLP, "relu, uneven": GaussianMLP, "linear": GaussianMLP, "categorical": CategoricalMLP}
    if name in kinds or name in {"elu", "images"}:
        assert isinstance(agent.policy, kinds.get(name, ModulePolicy))


@pytest.mark.parametrize("name", ["squashed", "several", "binary", "images", "parts", "one choice seen"])
def test_imported_policies_run_in_the_environment(name: str, tmp_path: Path) -> None:
    seen, done, policy, settings = CASES[name]
    model = train("PPO", lambda: Toy(seen, done), policy=policy, **settings)
    path = saved(model, tmp_path / "model.zip")
    made = f"test_sb3_networks:make_{name.split(maxsplit=1)[0]}"
    agent = cl.load(path, env=made, anyway=True)
    found = cl.gradient_quality(agent, made, pairs=64, sizes=[32], estimates=2, seed=0, workers=1)
    assert np.isfinite(found.pairwise_cosine.values).all()


def make_squashed() -> Toy:
    return Toy(*CASES["squashed"][:2])


def make_several() -> Toy:
    return Toy(*CASES["several"][:2])


def make_binary() -> Toy:
    return Toy(*CASES["binary"][:2])


def make_images() -> Toy:
    return Toy(*CASES["images"][:2])


def make_parts() -> Toy:
    return Toy(*CASES["parts"][:2])


def make_one() -> Toy:
    return Toy(*CASES["one choice seen"][:2])
