"""What an update did to the policy, over the whole of it, on the batch it was computed from; critics and networks.

====== ==================================
symbol meaning
====== ==================================
B      pairs of the batch, T times N
====== ==================================
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from closerlook.monitor.advantage_checks import check_advantages
from closerlook.monitor.batch import Batch
from closerlook.monitor.gradient_estimates import groups_of
from closerlook.monitor.policies import Critic, RowDistribution, RowPolicy, as_critic, as_policy, rows_of
from closerlook.monitor.recomputed import critic_values, in_parts, policy_log_probs, stored_distribution, values_of
from closerlook.monitor.shares import share_with_ends
from closerlook.monitor.suspects import Given
from closerlook.nn.distributions import DiagonalGaussian
from closerlook.nn.networks import MLP
from closerlook.statistics.splits import split_explained_variance
from closerlook.statistics.tails import effective_fraction, effective_rank, mean_largest_tail, outside, pareto_k

CLIP = 0.2
"""Epsilon where the batch does not say: the clip fraction then only says how far ratios went."""
MOST_ROWS = 2048
"""Rows whose features give a rank."""
CONSTANT = 1e-3
"""A hidden unit whose deviation over the batch is smaller than this part of its layer's size says nothing."""

CHANGE = {
    "mean_kl": "KL(old || new) over the whole update, mean over the states of the batch, nats",
    "max_kl": "KL(old || new) over the whole update, largest over the states of the batch, nats",
    "kl_p99": "KL(old || new) over the whole update, 99th percentile over the states of the batch, nats",
    "kl_k1": "mean of log pi_old - log pi_new over the pairs: KL by the actions taken, which may be negative",
    "kl_k3": "mean of r - 1 - log r over the pairs, r = pi_new / pi_old: KL by the actions taken, never negative",
    "max_ratio": "largest ratio of new to old probability over the pairs",
    "effective_pairs_fraction": "(sum r)^2 / (B sum r^2): share of the pairs that the new policy is judged by",
    "pareto_k": "shape of the ratios' upper tail: above 0.7 weighted means are not to be relied on",
    "clip_fraction_end": "share of pairs whose ratio ended further from 1 than epsilon, over the whole update",
    "clip_fraction_minibatches": "the trainer's own: mean over the minibatches of the update, while it went on",
    "surrogate_improvement": "mean of (r - 1) A, advantages standardized, after the whole update",
}
CRITIC = {
    "explained_variance_lambda": "1 - Var[y - V] / Var[y], y the lambda-returns, V the values stored",
    "explained_variance_returns": "1 - Var[y - V] / Var[y], y the discounted returns, bootstrapped at "
    "truncations and cuts",
    "explained_variance_lambda_after": "1 - Var[y - V] / Var[y], y the lambda-returns, V the critic after the "
    "update, on the batch it was fitted to",
    "value_error_lambda": "root mean squared error of V to the lambda-returns over their standard deviation",
}
POLICY = {
    "entropy": "mean entropy of the policy that sampled, nats",
    "action_std_low": "smallest, over components, of the mean standard deviation of the policy that sampled",
    "action_std_high": "largest, over components, of the mean standard deviation of the policy that sampled",
    "policy_constant_units": "share of the policy's hidden units that hardly vary over the batch",
    "policy_feature_rank": "directions that hold 99% of the singular values of the policy's last hidden layer",
    "critic_constant_units": "share of the critic's hidden units that hardly vary over the batch",
    "critic_feature_rank": "directions that hold 99% of the singular values of the critic's last hidden layer",
}


def policy_change(batch: Batch, after: Any, reported: dict[str, float] | None = None) -> dict[str, float]:
    """Compare the policy after an update with the one that sampled the batch.

    Parameters
    ----------
    batch : Batch
        With the policy, or what a file holds in its place, for the KL; with log-probabilities.
    after : policy
        The policy after the update, of any kind that `Batch` takes.
    reported : dict of str to float, optional
        What the trainer says itself: ``clip_fraction`` averaged over minibatches.

    Returns
    -------
    dict of str to float
        The numbers `CHANGE` that the batch has what it takes for.
    """
    if after is None or batch.observations is None or batch.actions is None or batch.log_probs is None:
        return {}
    new = as_policy(after)
    # log r = log pi_new(a | s) - log pi_old(a | s)
    log_ratio = policy_log_probs(new, batch.observations, batch.actions).double().numpy() - batch.log_probs.reshape(-1)
    found = _kl(batch, new)
    with np.errstate(over="ignore"):
        ratio = np.exp(log_ratio)
        # Schulman (2020): k1 = -log r is unbiased, k3 = r - 1 - log r is unbiased too, never negative and less noisy
        found |= {
            "kl_k1": float(-log_ratio.mean()),
            "kl_k3": float((ratio - 1 - log_ratio).mean()),
            "max_ratio": float(ratio.max()),
            "effective_pairs_fraction": effective_fraction(ratio),
            "pareto_k": pareto_k(ratio),
        }
    found |= _clip_fraction(ratio, batch)
    if batch.advantages is not None:
        weights = batch.advantages.reshape(-1).astype(np.float64)
        found["surrogate_improvement"] = float(
            ((ratio - 1) * (weights - weights.mean())).mean() / (weights.std() + 1e-8)
        )
    if reported and "clip_fraction" in reported:
        found["clip_fraction_minibatches"] = float(reported["clip_fraction"])
    return found


def _clip_fraction(ratio: NDArray[np.float64], batch: Batch) -> dict[str, float]:
    if np.isnan(ratio).any():
        return {"clip_fraction_end": np.nan}
    return share_with_ends("clip_fraction_end", outside(ratio, CLIP if batch.clip is None else batch.clip), batch)


def _kl(batch: Batch, new: RowPolicy) -> dict[str, float]:
    """Return analytic KL over the states; nothing where the old policy is not known, NaN where no formula is."""
    assert batch.observations is not None
    seen, old = rows_of(batch.observations, new), batch.policy
    stored = stored_distribution(batch)
    if old is None and stored is None:
        return {}

    def each(part: slice) -> Tensor:
        after = new(seen[part])
        before = old(seen[part]) if old is not None else _rows_of_stored(stored, part)
        return before.kl(after).double()

    kl = in_parts(each, len(seen)).numpy()
    return dict(zip(("mean_kl", "max_kl", "kl_p99"), mean_largest_tail(kl), strict=True))


def _rows_of_stored(stored: RowDistribution | None, part: slice) -> Any:
    if isinstance(stored, DiagonalGaussian):
        return DiagonalGaussian(stored.mean[part], stored.log_std[part])
    assert stored is not None
    return type(stored)(stored.logits[part])  # type: ignore[attr-defined, call-arg]


def critic_estimates(batch: Batch, after: Any = None) -> dict[str, float]:
    """Compare values with what they should predict, from pooled sums over the whole batch.

    Parameters
    ----------
    batch : Batch
        With values, and advantages or what they follow from.
    after : critic, optional
        The critic after the update.

    Returns
    -------
    dict of str to float
        The numbers `CRITIC`, intervals over environments or trajectories as ``_low`` and ``_high``.
    """
    targets = _targets(batch)
    if batch.values is None or not targets:
        return {}
    groups, values = groups_of(batch).reshape(-1), batch.values.reshape(-1).astype(np.float64)
    found: dict[str, float] = {}
    judged = {f"explained_variance_{name}": (values, target) for name, target in targets.items()}
    critic = None if after is None else as_critic(after)
    if "lambda" in targets and critic is not None and batch.observations is not None:
        new = critic_values(critic, batch.observations).double().numpy()
        own = values_of(batch)
        # a critic in other units than the values stored cannot be compared with the same targets
        if own is None or np.allclose(own, batch.values, rtol=1e-3, atol=1e-3):
            judged["explained_variance_lambda_after"] = (new, targets["lambda"])
    for name, (predicted, target) in judged.items():
        interval = split_explained_variance(predicted, target, groups)
        found |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    if "lambda" in targets:
        # root mean squared error of V to y, in standard deviations of y
        known = np.isfinite(targets["lambda"])
        errors, spread = (targets["lambda"] - values)[known], targets["lambda"][known].std()
        found["value_error_lambda"] = float(np.sqrt(np.square(errors).mean()) / spread) if spread > 0 else np.nan
    return found


def _targets(batch: Batch) -> dict[str, NDArray[np.float64]]:
    """Return lambda-returns and discounted returns, (B,); NaN where they are not known."""
    needed = (batch.advantages, batch.values, batch.gamma, batch.gae_lambda, batch.ends)
    if any(part is None for part in needed):
        return {}
    raw = check_advantages(batch).raw
    given = Given.of(batch)
    found = {"returns": given.discounted_returns(bootstrapped=True).reshape(-1)}
    return found if raw is None else {"lambda": (raw + given.values).reshape(-1), **found}


def policy_state(batch: Batch) -> dict[str, float]:
    """Describe the policy and the critic that sampled: entropy, deviations, hidden units.

    Returns
    -------
    dict of str to float
        The numbers `POLICY` that the batch has what it takes for.
    """
    found: dict[str, float] = {}
    if batch.policy is not None and batch.observations is not None:
        seen, policy = rows_of(batch.observations, batch.policy), batch.policy
        found["entropy"] = float(in_parts(lambda part: policy(seen[part]).entropy(), len(seen)).double().mean())
        with torch.no_grad():
            some = policy(seen[:MOST_ROWS])
        if isinstance(some, DiagonalGaussian):
            std = some.log_std.detach().exp().expand_as(some.mean).double().mean(0)
            found |= {"action_std_low": float(std.min()), "action_std_high": float(std.max())}
    for name, network in (("policy", batch.policy), ("critic", batch.critic)):
        if network is not None and batch.observations is not None:
            found |= {f"{name}_{key}": value for key, value in hidden_units(network, batch.observations).items()}
    return found


@torch.no_grad()
def hidden_units(function: RowPolicy | Critic, observations: np.ndarray) -> dict[str, float]:
    """Count hidden units that hardly vary over a batch, and the rank of the last hidden layer's features.

    Parameters
    ----------
    function : RowPolicy or Critic
        Whose layers.
    observations : ndarray, (T, N, ...)
        Of a batch.
    """
    seen = rows_of(observations, function)
    layers = activations(function, seen[:: max(1, len(seen) // MOST_ROWS)][:MOST_ROWS])
    # fewer rows than units say of neither how many directions there are
    if not layers or len(layers[-1]) < layers[-1].shape[1]:
        return {}
    # a unit whose deviation over the batch is a thousandth of the layer's root mean square hardly tells states apart
    constant = [layer.std(axis=0) <= CONSTANT * np.sqrt(np.square(layer).mean()) for layer in layers]
    if not all(np.isfinite(layer).all() for layer in layers):
        return {}
    return {
        "constant_units": float(np.concatenate(constant).mean()),
        "feature_rank": float(effective_rank(layers[-1])),
    }


ACTIVATIONS = (
    *(torch.nn.ReLU, torch.nn.Tanh, torch.nn.ELU, torch.nn.GELU, torch.nn.SiLU, torch.nn.LeakyReLU, torch.nn.Sigmoid),
    *(torch.nn.Softplus, torch.nn.Mish, torch.nn.SELU),
)


@torch.no_grad()
def activations(function: RowPolicy | Critic, seen: Tensor) -> list[np.ndarray]:
    """Return what hidden layers answer, each (rows, units), in the order in which they are run.

    Parameters
    ----------
    function : RowPolicy or Critic
        Whose network is run.
    seen : tensor of shape (rows, features)
        Observations as the network takes them.
    """
    network = function.network
    if isinstance(network, MLP):
        return _of_mlp(network, function, seen)
    if network is None:
        return []
    layers: list[np.ndarray] = []

    def keep(module: torch.nn.Module, inputs: Any, output: Tensor) -> None:
        del module, inputs
        if len(output) == len(seen):
            layers.append(output.reshape(len(seen), -1).double().cpu().numpy())

    hooks = [module.register_forward_hook(keep) for module in network.modules() if isinstance(module, ACTIVATIONS)]
    try:
        function(seen)
    finally:
        for hook in hooks:
            hook.remove()
    return layers


def _of_mlp(network: MLP, function: RowPolicy | Critic, seen: Tensor) -> list[np.ndarray]:
    hidden, layers = seen, []
    for layer in range(network.n_layers - 1):
        weight, bias = (function.parameters[f"{layer}.{part}"] for part in ("weight", "bias"))
        hidden = torch.nn.functional.linear(hidden, weight, bias)
        hidden = torch.tanh(hidden) if network.activation == "tanh" else torch.relu(hidden)
        layers.append(hidden.double().numpy())
    return layers
