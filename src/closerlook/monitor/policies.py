"""Policies and critics of any library as functions of rows of observations, with the parameters they depend on.

====== ==================================
symbol meaning
====== ==================================
B      rows: pairs of a batch, flattened
====== ==================================
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence
from torch.distributions import Distribution as TorchDistribution
from torch.func import functional_call

from closerlook.agents.agent import Agent
from closerlook.errors import InputError, PolicyError, users_code
from closerlook.nn.distributions import Categorical, DiagonalGaussian
from closerlook.nn.networks import MLP

ROWS = 8192
"""Rows that a network is given at once."""


class RowDistribution(Protocol):
    """What is asked of the action distributions of B rows."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density or mass of the actions, (B,)."""

    def entropy(self) -> Tensor:
        """Entropy in nats, (B,); NaN where it is not known."""

    def kl(self, other: Any) -> Tensor:
        """KL(self || other) in nats, (B,); NaN where no formula is known."""


@dataclass(frozen=True)
class AnyRows:
    """A distribution of torch or of another library, or several side by side, whose batch begins with the rows.

    Parameters
    ----------
    inner : object
        The distribution.
    rows : int
        B.
    """

    inner: Any
    rows: int

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density or mass, summed over whatever is not a row: (B,)."""
        if any(isinstance(part, Bernoulli) for part in _torch_parts(self.inner)):
            actions = actions.float()  # which torch asks of switches
        with users_code("the distribution of the batch's policy", "let log_prob take rows of actions", PolicyError):
            return _per_row(self.inner.log_prob(actions), self.rows)

    def entropy(self) -> Tensor:
        """Entropy in nats, NaN where it is not known: (B,)."""
        try:
            entropy = self.inner.entropy()
        except NotImplementedError:
            entropy = None
        return self._unknown() if entropy is None else _per_row(entropy, self.rows)

    def kl(self, other: "AnyRows") -> Tensor:
        """KL(self || other) in nats, NaN where torch knows no formula: (B,)."""
        parts = zip(_torch_parts(self.inner), _torch_parts(other.inner), strict=True)
        try:
            return torch.stack([_per_row(kl_divergence(one, two), self.rows) for one, two in parts]).sum(0)
        except (NotImplementedError, RuntimeError):
            return self._unknown()

    def _unknown(self) -> Tensor:
        return torch.full((self.rows,), torch.nan)


def _per_row(values: Tensor, rows: int) -> Tensor:
    return values.reshape(rows, -1).sum(-1)


def _torch_parts(inner: Any) -> list[Any]:
    """Return the torch distributions that a library's own is made of."""
    inner = inner if isinstance(inner, TorchDistribution) else getattr(inner, "distribution", None)
    return list(inner) if isinstance(inner, list | tuple) else [inner]


def as_distribution(answer: Any, rows: int) -> RowDistribution:
    """Return what a policy answered in this package's terms: Gaussian and categorical, or wrapped.

    Parameters
    ----------
    answer : object
        What the policy returned.
    rows : int
        B, of the observations it was given.

    Raises
    ------
    InputError
        Where it is no distribution.
    """
    if isinstance(answer, DiagonalGaussian | Categorical | AnyRows):
        return answer
    # libraries keep one object whose parts change with every call: the copy keeps those of this call
    inner = answer if isinstance(answer, TorchDistribution) else copy.copy(answer)
    squashed = hasattr(inner, "bijector")
    parts = [inner] if squashed else _torch_parts(inner)
    base = parts[0] if len(parts) == 1 else None
    while isinstance(base, torch.distributions.Independent):
        base = base.base_dist
    if type(base) is torch.distributions.Normal and base.mean.ndim == 2:
        return DiagonalGaussian(base.mean, base.stddev.log())
    if type(base) is torch.distributions.Categorical and base.logits.ndim == 2:
        return Categorical(base.logits)
    if not hasattr(inner, "log_prob"):
        raise InputError(
            f"the policy answers with a {type(answer).__name__}", "return a torch.distributions distribution"
        )
    return AnyRows(inner, rows)


class _Called(torch.nn.Module):
    """A function of a module, as a module: so that it can be run with other parameters."""

    def __init__(self, module: torch.nn.Module, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.module = module
        self.call = (call,)  # hidden from torch: as a second submodule its parameters would not be replaced

    def forward(self, observations: Tensor) -> Any:
        """Run the function."""
        return self.call[0](observations)


@dataclass(frozen=True)
class _Rows:
    """A function of rows of observations.

    Parameters
    ----------
    call : callable
        Maps observations (B, ...) to what is asked.
    parameters : mapping of str to Tensor
        What it depends on, for gradients; empty where that is not known.
    module : torch.nn.Module or None
        Whose parameters these are, where they may change.
    network : torch.nn.Module or `MLP` or None
        Whose hidden units it uses.
    """

    call: Callable[[Tensor], Any]
    parameters: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    module: torch.nn.Module | None = field(default=None, repr=False)
    network: torch.nn.Module | MLP | None = field(default=None, repr=False)

    def frozen(self) -> Self:
        """Return the same function as it is now, whatever becomes of the module's parameters."""
        if self.module is None:
            return self
        called = _Called(self.module, self.call)
        changing = {**dict(called.named_buffers()), **dict(called.named_parameters())}
        state = {name: tensor.detach().clone() for name, tensor in changing.items()}
        own = {name: state[f"module.{name}"].requires_grad_() for name in self.parameters}
        return replace(self, call=lambda x: functional_call(called, state, (x,)), parameters=own, module=None)


@dataclass(frozen=True)
class RowPolicy(_Rows):
    """A policy as a function of rows; its answer is a distribution of any kind."""

    def __call__(self, observations: Tensor) -> RowDistribution:
        """Return the action distributions at observations (B, ...)."""
        with users_code("the batch's policy", "let it map observations (B, ...) to a distribution", PolicyError):
            return as_distribution(self.call(observations), len(observations))


@dataclass(frozen=True)
class Critic(_Rows):
    """A critic as a function of rows; its answer is (B,) or (B, 1)."""

    def __call__(self, observations: Tensor) -> Tensor:
        """Return the values (B,) of observations (B, ...)."""
        with users_code("the batch's critic", "let it map observations (B, ...) to values (B,)"):
            values: Tensor = self.call(observations)
            return values.reshape(len(observations))


def as_policy(given: Any) -> RowPolicy:
    """Take a policy of any kind for what it is.

    Known are: policies of Stable-Baselines3 (``get_distribution``), agents of CleanRL's scripts (``actor_mean`` and
    ``actor_logstd``, or ``actor``), `closerlook.Agent`, and anything that maps observations to a distribution.

    Raises
    ------
    InputError
        Where it cannot be called.
    """
    if isinstance(given, RowPolicy):
        return given
    if isinstance(given, Agent):
        own, policy = _leaves(given.policy_parameters), given.policy
        network = getattr(policy, "network", None) or getattr(policy, "module", None)
        return RowPolicy(lambda observations: policy.distribution(own, observations), own, network=network)
    # Stable-Baselines3's policies
    if hasattr(given, "get_distribution"):
        return RowPolicy(given.get_distribution, *_module_of(given))
    # CleanRL's ppo_continuous_action.py
    if hasattr(given, "actor_mean") and hasattr(given, "actor_logstd"):
        return RowPolicy(lambda x: DiagonalGaussian(given.actor_mean(x), given.actor_logstd), *_module_of(given))
    # CleanRL's ppo.py and ppo_atari.py
    if hasattr(given, "actor") and hasattr(given, "get_action_and_value"):
        return RowPolicy(lambda x: Categorical(given.actor(_features(given, x))), *_module_of(given))
    if not callable(given):
        raise InputError(
            f"policy must be a function or a module (got a {type(given).__name__})",
            "give a function or a module of observations",
        )
    return RowPolicy(given, *_module_of(given))


def as_critic(given: Any) -> Critic | None:
    """Take a critic of any kind for what it is; None where an agent has none.

    Raises
    ------
    InputError
        Where it cannot be called.
    """
    if isinstance(given, Critic):
        return given
    if isinstance(given, Agent):
        value = given.value
        if value is None:
            return None
        own = _leaves(given.value_parameters)
        network = getattr(value, "network", None) or getattr(value, "module", None)
        return Critic(lambda observations: value(own, observations), own, network=network)
    for name in ("predict_values", "get_value"):
        if hasattr(given, name):
            return Critic(getattr(given, name), *_module_of(given))
    if not callable(given):
        raise InputError(
            f"critic must be a function or a module (got a {type(given).__name__})",
            "give a function or a module of observations",
        )
    return Critic(given, *_module_of(given))


def _features(agent: Any, observations: Tensor) -> Tensor:
    """Return what the actor of a CleanRL script takes: images go through a network that the critic shares."""
    # CleanRL's ppo_atari.py divides pixels before its network
    network = getattr(agent, "network", None)
    return observations if network is None else network(observations / 255.0)


def _leaves(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in parameters.items()}


def _module_of(given: Any) -> tuple[dict[str, Tensor], torch.nn.Module | None, torch.nn.Module | None]:
    """Return the parameters that training changes, the module they are in, and the one whose hidden units are used."""
    if not isinstance(given, torch.nn.Module):
        return {}, None, None
    return {name: tensor for name, tensor in given.named_parameters() if tensor.requires_grad}, given, given


def rows_of(array: np.ndarray, like: RowPolicy | Critic | None = None) -> Tensor:
    """Flatten (T, N, ...) to a tensor (T N, ...), on the device of what it is for; double precision becomes single.

    Parameters
    ----------
    array : ndarray, (T, N, ...)
        Of a batch.
    like : RowPolicy or Critic, optional
        What it is for: its parameters' device and precision are taken.
    """
    flat = np.ascontiguousarray(array.reshape(-1, *array.shape[2:]))
    tensor = torch.from_numpy(flat.astype(np.float32) if flat.dtype.kind == "f" else flat)
    first = next(iter(like.parameters.values()), None) if like is not None else None
    if first is None:
        return tensor
    return tensor.to(first.device, first.dtype if tensor.is_floating_point() else tensor.dtype)
