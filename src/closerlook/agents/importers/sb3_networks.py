"""The actor-critic networks of Stable-Baselines3, built from the shapes of their weights.

Where actor and critic are plain perceptrons apart from one another, they become the policies that closerlook trains
itself. Otherwise they become torch modules, of which every part that both use is named ``shared.*`` in both.

====== ============================
symbol meaning
====== ============================
N      observations
obs    components of one, flattened
L      width of the last hidden layer
A      action components
====== ============================
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from closerlook.agents.importers.sb3_modules import (
    Branch,
    Description,
    GaussianBranch,
    Images,
    Several,
    Shared,
    StateDependentBranch,
    head_of,
    weights_below,
)
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, MLPValue, ModulePolicy, ModuleValue, Policy, Value
from closerlook.errors import InputError
from closerlook.nn.networks import MLP

_WIDEST, _MOST_LAYERS = 100_000, 98
_HINT = "give the model itself: closerlook.from_sb3(model), or a function of yours by closerlook.Agent.from_torch"
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    name.lower(): getattr(nn, name)
    for name in (
        *("Tanh", "ReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "LeakyReLU", "ReLU6", "Sigmoid", "Softplus"),
        *("Softsign", "Hardtanh", "Hardswish", "Identity", "LogSigmoid", "Tanhshrink"),
    )
}


@dataclass(frozen=True)
class Networks:
    """Actor and critic.

    Parameters
    ----------
    policy, value : Policy, Value
        Architectures.
    names : mapping of str to str
        The library's name of each parameter, by its name in `closerlook.agents.agent.State`.
    """

    policy: Policy
    value: Value
    names: Mapping[str, str]


def build_networks(weights: Mapping[str, Tensor], described: Description) -> Networks:
    """Build actor and critic.

    Parameters
    ----------
    weights : mapping of str to Tensor
        By the library's names; those that it holds twice may be there twice.
    described : Description
        The rest.

    Raises
    ------
    InputError
        Where they are no networks of the library's own, or do not fit the spaces.
    """
    try:
        _require_fit(weights, described)
        # plain perceptrons become our own, which are faster; all else a torch module with the library's layers
        plain = not any(name.startswith(("features_", "pi_", "vf_", "mlp_extractor.shared_")) for name in weights)
        simple = described.actions.kind in {"Box", "Discrete"} and not described.state_dependent
        if plain and simple and described.activation in {"tanh", "relu"} and described.observations.kind != "Dict":
            networks = _plain_networks(weights, described)
        else:
            networks = _module_networks(weights, described)
        # weights that no layer takes say that the network is another than was thought
        foreign = set(weights) - set(networks.names.values()) - _doubles(weights)
        if foreign:
            raise KeyError(min(foreign))
        for own, name in networks.names.items():
            part, _, local = own.partition(".")
            network: Any = networks.policy if part == "policy" else networks.value
            if tuple(weights[name].shape) != network.parameter_shapes[local]:
                raise KeyError(name)
    except (KeyError, ValueError, IndexError, RuntimeError, TypeError) as error:
        named = error.args[0] if isinstance(error, KeyError) and error.args else "its layers"
        what = f"the policy is not one of the library's own, or does not fit its spaces ({str(named)[:80]})"
        raise InputError(what, _HINT) from None
    return networks


def unique_names(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the library's names of parameters in the order of its optimizer: each once."""
    doubles = _doubles(weights)
    return [name for name in weights if name not in doubles]


def _doubles(weights: Mapping[str, Tensor]) -> set[str]:
    """Return names under which parameters stand a second time: features that both branches use, or the actor's."""
    # the state dict lists a shared extractor under three names
    twice = {name for name in weights if name.startswith("pi_features_extractor.")}
    return twice | {name for name in weights if name.startswith("vf_features_extractor.") and _is_shared(weights)}


def _is_shared(weights: Mapping[str, Tensor]) -> bool:
    # shared extractors are equal to the last bit; extractors of their own began differently
    own = weights_below(weights, "vf_features_extractor.")
    common = weights_below(weights, "features_extractor.")
    return all(name in common and torch.equal(tensor, common[name]) for name, tensor in own.items())


def _require_fit(weights: Mapping[str, Tensor], described: Description) -> None:
    actions = described.actions
    outputs = {"Box": actions.flat, "Discrete": sum(actions.sizes), "MultiDiscrete": sum(actions.sizes)}
    answered = weights["action_net.weight"].shape[0]
    if answered != outputs.get(actions.kind, len(actions.sizes)) or weights["value_net.weight"].shape[0] != 1:
        raise KeyError("action_net.weight")
    if described.activation not in _ACTIVATIONS:
        what = f"the activation function {described.activation[:60]!r} is not known"
        raise InputError(what, f"give a known one by --set activation_fn=..., such as tanh or relu; or {_HINT}")


def _places(weights: Mapping[str, Tensor], prefix: str) -> list[int]:
    """Return where the layers of a perceptron stand, every second place: the activations stand between."""
    # layers of a Sequential with an activation after each: 0, 2, 4 ...
    places = sorted(int(found[1]) for name in weights if (found := re.fullmatch(rf"{prefix}(\d+)\.weight", name)))
    if places != list(range(0, 2 * len(places), 2)) or len(places) > _MOST_LAYERS:
        raise KeyError(prefix)
    return places


def _plain_networks(weights: Mapping[str, Tensor], described: Description) -> Networks:
    """Build a Gaussian or categorical perceptron, and the critic's."""
    names: dict[str, str] = {}
    built: dict[str, MLP] = {}
    for part, body, head in (("policy", "policy_net", "action_net"), ("value", "value_net", "value_net")):
        layers = [*(f"mlp_extractor.{body}.{at}" for at in _places(weights, rf"mlp_extractor\.{body}\.")), head]
        sizes = [weights[f"{layers[0]}.weight"].shape[1], *(weights[f"{layer}.weight"].shape[0] for layer in layers)]
        if sizes[0] != described.observations.flat or max(sizes) > _WIDEST:
            raise KeyError(layers[0])
        built[part] = MLP(tuple(sizes), "tanh" if described.activation == "tanh" else "relu")
        names |= {
            f"{part}.{at}.{kind}": f"{layer}.{kind}" for at, layer in enumerate(layers) for kind in ("weight", "bias")
        }
    gaussian = described.actions.kind == "Box"
    policy = GaussianMLP(built["policy"]) if gaussian else CategoricalMLP(built["policy"])
    return Networks(policy, MLPValue(built["value"]), names | ({"policy.log_std": "log_std"} if gaussian else {}))


def _module_networks(weights: Mapping[str, Tensor], described: Description) -> Networks:
    """Build actor and critic as torch modules."""
    shared_features = _is_shared(weights)
    common = _features(weights_below(weights, "features_extractor."), described) if shared_features else nn.Identity()
    width: int = described.observations.flat
    if shared_features:
        width = getattr(common, "width", width)
    net, width = _perceptron(weights, "shared_net", described, width)
    shared = Shared(common, net)
    branches = {}
    for part, features_name, body_name, head_name in (
        ("policy", "features_extractor.", "policy_net", "action_net"),
        ("value", "vf_features_extractor.", "value_net", "value_net"),
    ):
        own = nn.Identity() if shared_features else _features(weights_below(weights, features_name), described)
        inputs: Any = width if shared_features else own.width
        body, latent = _perceptron(weights, body_name, described, inputs)
        head = nn.Linear(latent, weights[f"{head_name}.weight"].shape[0])
        branches[part] = (shared, own, body, head)
    names = {"shared.features.": "features_extractor.", "shared.net.": "mlp_extractor.shared_net."}
    actor = _actor(branches["policy"], weights, described)
    critic = Branch(*branches["value"])
    own_names = {
        "policy": {"features.": "features_extractor.", "body.": "mlp_extractor.policy_net.", "head.": "action_net."},
        "value": {"features.": "vf_features_extractor.", "body.": "mlp_extractor.value_net.", "head.": "value_net."},
    }
    found = {
        f"{part}.{name}": _renamed(name, {**names, **own_names[part]})
        for part, module in (("policy", actor), ("value", critic))
        for name, _ in module.named_parameters()
    }
    policy = ModulePolicy(actor.eval(), head_of(described), described.observations.flat)
    return Networks(policy, ModuleValue(critic.eval()), found)


def _features(weights: Mapping[str, Tensor], described: Description) -> Any:
    space = described.observations
    if space.kind == "Dict":
        return Several(described, weights)
    if weights:
        return Images(space.shape, weights, divides=space.is_image and described.divides_images)
    flat = nn.Identity()
    flat.width = space.flat  # type: ignore[assignment]
    return flat


def _perceptron(
    weights: Mapping[str, Tensor], name: str, described: Description, width: int
) -> tuple[nn.Sequential, int]:
    """Build hidden layers, each followed by the activation function, and return them with the width of the last."""
    layers: list[nn.Module] = []
    prefix = f"mlp_extractor.{name}."
    for at in _places(weights, re.escape(prefix)):
        outputs, inputs = weights[f"{prefix}{at}.weight"].shape
        if inputs != width or outputs > _WIDEST:
            raise KeyError(f"{prefix}{at}.weight")
        layers += [nn.Linear(inputs, outputs), _ACTIVATIONS[described.activation]()]
        width = outputs
    return nn.Sequential(*layers), width


def _actor(parts: tuple[Any, ...], weights: Mapping[str, Tensor], described: Description) -> Branch:
    if described.actions.kind != "Box":
        return Branch(*parts)
    log_std = weights["log_std"]
    if not described.state_dependent:
        return GaussianBranch(*parts, log_std=log_std)
    head = parts[-1]
    if log_std.shape not in {(head.in_features, head.out_features), (head.in_features, 1)}:
        raise KeyError("log_std")
    return StateDependentBranch(*parts, log_std=log_std, softened=described.softened)


def _renamed(name: str, prefixes: Mapping[str, str]) -> str:
    for ours, theirs in prefixes.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name
