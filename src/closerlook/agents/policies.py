"""Policies and value functions: the parts of an agent that have parameters, apart from the parameters themselves.

An architecture here is immutable and holds no numbers; parameters are passed in, so one architecture serves one
agent or a population of P agents (parameters with a leading axis), and an update is a function of parameters.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from closerlook.agents.modules import copy_module, trainable
from closerlook.errors import InputError, PolicyError, users_code
from closerlook.nn.distributions import (
    AnyDistribution,
    Categorical,
    DiagonalGaussian,
    Distribution,
    Noise,
    recognize,
)
from closerlook.nn.networks import MLP, TILE, Initialization, Parameters, for_tiles

Actor = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Maps policy inputs (P, N, obs) float32 and noise (P, N, size) to actions (P, N, A) float32 or (P, N) int64. A row's
action depends, to the last bit, on its own input, noise and place modulo `TILE`, never on other rows."""


class Policy(Protocol):
    """What the rest of the library asks of a policy."""

    @property
    def observation_size(self) -> int | None:
        """Components of a policy input; None where only the environment says."""

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map parameter names, in order, to shapes without the population axis."""

    @property
    def noise(self) -> Noise:
        """The noise one action needs."""

    def distribution(self, parameters: Parameters, observations: Tensor) -> Distribution:
        """Build action distributions at policy inputs [N, obs], or [P, N, obs] with stacked parameters [P, ...].

        Parameters
        ----------
        parameters : mapping of str to Tensor, (...) or (P, ...)
            The policy's, stacked for a population.
        observations : Tensor, (N, obs) or (P, N, obs)
            Policy inputs.
        """

    def actor(self, parameters: Parameters) -> Actor:
        """Prepare stacked parameters [P, ...] for acting."""


class Value(Protocol):
    """What the rest of the library asks of a critic."""

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map parameter names, in order, to shapes without the population axis."""

    def __call__(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Values [N] at observations [N, obs], or [P, N] from [P, N, obs] with stacked parameters."""


@dataclass(frozen=True)
class GaussianMLP:
    """A diagonal Gaussian whose mean is an MLP and whose log standard deviation is a free vector (Table 1)."""

    network: MLP

    @property
    def observation_size(self) -> int:
        """Components of a policy input."""
        return self.network.sizes[0]

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map parameter names, in order, to shapes: the network's, then ``log_std`` (A,)."""
        return {**self.network.parameter_shapes, "log_std": (self.network.sizes[-1],)}

    @property
    def noise(self) -> Noise:
        """One standard normal number for each action component."""
        return Noise("normal", self.network.sizes[-1])

    def initialize(self, generator: np.random.Generator, scheme: Initialization) -> dict[str, Tensor]:
        """Draw initial parameters: head gain 0.01, log standard deviation 0.

        Parameters
        ----------
        generator : numpy.random.Generator
            Where the draws come from.
        scheme : {"orthogonal", "xavier"}
            See `closerlook.nn.networks.MLP.initialize`.
        """
        parameters = self.network.initialize(generator, scheme, output_gain=0.01)
        return {**parameters, "log_std": torch.zeros(self.network.sizes[-1])}

    def distribution(self, parameters: Parameters, observations: Tensor) -> DiagonalGaussian:
        """Build the action distributions at policy inputs.

        Parameters
        ----------
        parameters : mapping of str to Tensor, (...) or (P, ...)
            The policy's, stacked for a population.
        observations : Tensor, (N, obs) or (P, N, obs)
            Policy inputs.
        """
        log_std = parameters["log_std"]
        return DiagonalGaussian(
            self.network(parameters, observations), log_std if log_std.ndim == 1 else log_std.unsqueeze(1)
        )

    def actor(self, parameters: Parameters) -> Actor:
        """Prepare stacked parameters for acting in NumPy."""
        # a = mu + sigma eps
        arrays = for_tiles({name: parameters[name] for name in self.network.parameter_shapes})
        std = np.exp(parameters["log_std"].detach().numpy())[:, None]

        def act(observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
            mean = self.network.on_tiles(arrays, observations)
            return np.asarray(mean + std * noise.astype(np.float32))

        return act


@dataclass(frozen=True)
class CategoricalMLP:
    """A choice among A actions whose logits are an MLP."""

    network: MLP

    @property
    def observation_size(self) -> int:
        """Components of a policy input."""
        return self.network.sizes[0]

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map parameter names, in order, to shapes."""
        return self.network.parameter_shapes

    @property
    def noise(self) -> Noise:
        """One uniform number."""
        return Noise("uniform", 1)

    def initialize(self, generator: np.random.Generator, scheme: Initialization) -> dict[str, Tensor]:
        """Draw initial parameters: head gain 0.01.

        Parameters
        ----------
        generator : numpy.random.Generator
            Where the draws come from.
        scheme : {"orthogonal", "xavier"}
            See `closerlook.nn.networks.MLP.initialize`.
        """
        return self.network.initialize(generator, scheme, output_gain=0.01)

    def distribution(self, parameters: Parameters, observations: Tensor) -> Categorical:
        """Build the action distributions at policy inputs.

        Parameters
        ----------
        parameters : mapping of str to Tensor, (...) or (P, ...)
            The policy's, stacked for a population.
        observations : Tensor, (N, obs) or (P, N, obs)
            Policy inputs.
        """
        return Categorical(self.network(parameters, observations))

    def actor(self, parameters: Parameters) -> Actor:
        """Prepare stacked parameters for acting in NumPy."""
        arrays = for_tiles(parameters)

        def act(observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
            logits = torch.from_numpy(self.network.on_tiles(arrays, observations))
            return Categorical(logits).sample(torch.from_numpy(noise)).numpy()

        return act


@dataclass(frozen=True)
class MLPValue:
    """A critic that is an MLP with one output."""

    network: MLP

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map parameter names, in order, to shapes."""
        return self.network.parameter_shapes

    def initialize(self, generator: np.random.Generator, scheme: Initialization) -> dict[str, Tensor]:
        """Draw initial parameters: head gain 1.

        Parameters
        ----------
        generator : numpy.random.Generator
            Where the draws come from.
        scheme : {"orthogonal", "xavier"}
            See `closerlook.nn.networks.MLP.initialize`.
        """
        return self.network.initialize(generator, scheme, output_gain=1.0)

    def __call__(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Values at observations."""
        return self.network(parameters, observations).squeeze(-1)


@dataclass(frozen=True)
class ModulePolicy:
    """Any torch module as a policy.

    Parameters
    ----------
    module : torch.nn.Module
        Maps policy inputs [N, obs] to whatever `build` takes: a tensor with rows first, or several; those after the
        first may be one for all rows. Its parameters that require no gradient are part of the architecture.
    build : callable
        Maps the module's output to a `torch.distributions` distribution whose batch shape begins with the rows, or to
        one of `closerlook.nn.distributions`.
    observation_size : int or None
        Components of a policy input; None where only the environment says.
    size_is_given : bool
        Whether the user said so; else it was read off the module's first layer, and the environment knows better.
    example : Tensor or None, (K, obs), float32
        Policy inputs that the environment gives: what has to be known of the module's answers is found at them. None:
        not tried yet, see `closerlook.agents.trial`.
    example_recurs : bool
        Whether the environment gives the same ones each time, so that answers at them can name the policy.
    """

    module: torch.nn.Module = field(repr=False)
    build: Callable[[Any], Any] = field(repr=False)
    observation_size: int | None
    size_is_given: bool = True
    example: Tensor | None = field(default=None, repr=False, compare=False)
    example_recurs: bool = field(default=True, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Send what is given to other processes, and nothing that was found or that calls left behind."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map names of the parameters that require a gradient, in the module's order, to shapes."""
        return {name: tuple(parameter.shape) for name, parameter in trainable(self.module).items()}

    @property
    def noise(self) -> Noise:
        """Found by asking the module for the distribution of one observation of the environment.

        Raises
        ------
        InputError
            Where the policy was not tried yet.
        """
        if self.example is None:
            what = "the agent's policy has not been tried on its environment's observations, so its noise is not known"
            raise InputError(what, "give it to a diagnostic or to a rollout, which try it")
        parameters = {name: p.detach() for name, p in trainable(self.module).items()}
        with torch.no_grad():
            probe = self.distribution(parameters, self.example[:1])
        return probe.noise

    def distribution(self, parameters: Parameters, observations: Tensor) -> Distribution:
        """Build the action distributions at policy inputs.

        Parameters
        ----------
        parameters : mapping of str to Tensor, (...) or (P, ...)
            The module's, stacked for a population.
        observations : Tensor, (N, obs) or (P, N, obs)
            Policy inputs.
        """
        answers = self.answers(parameters, observations)
        with self._users_code():
            return recognize(answers, self.build, tuple(observations.shape[:-1]))

    def answers(self, parameters: Parameters, observations: Tensor) -> Any:
        """Return what the module answers, in the precision of the observations, with a row of each tensor for each.

        Parameters
        ----------
        parameters : mapping of str to Tensor, (...) or (P, ...)
            The module's, stacked for a population.
        observations : Tensor, (N, obs) or (P, N, obs)
            Policy inputs.
        """

        def rows_alone(parameters: Parameters, observations: Tensor) -> Any:
            leaves, form = tree_flatten(self._called.answer(parameters, observations))
            each = [
                _for_each(leaf, len(observations)) if one_for_all else leaf
                for leaf, one_for_all in zip(leaves, shared, strict=True)
            ]
            return tree_unflatten(each, form)

        with self._users_code():
            shared = self._shared(observations)
            return _call(rows_alone, parameters, observations)

    @cached_property
    def _called(self) -> "_Called":
        return _Called(self.module)

    def _shared(self, observations: Tensor) -> list[bool]:
        """Whether each tensor that the module answers is one for all rows, like a deviation that no state changes."""
        if "_found_shared" not in vars(self):
            rows = observations.detach().flatten(0, -2) if self.example is None else self.example
            vars(self)["_found_shared"] = self._find_shared(rows)
        return vars(self)["_found_shared"]  # type: ignore[no-any-return]

    @torch.no_grad()
    def _find_shared(self, rows: Tensor) -> list[bool]:
        own = trainable(self.module)
        # answered for 2 and for 3 rows: a tensor whose shape does not change is one for all rows
        several = [rows[torch.arange(count) % len(rows)] for count in (2, 3)]
        few, more = (tree_leaves(self._called.answer(own, some)) for some in several)
        for one, other in zip(few, more, strict=True):
            if not isinstance(one, Tensor):
                raise TypeError(f"forward() answered a {type(one).__name__}, not tensors that distribution takes")
            if one.shape != other.shape and (one.shape[:1], other.shape[:1]) != ((2,), (3,)):
                raise InputError(
                    f"the agent's policy answers 2 observations with {list(one.shape)}, 3 with {list(other.shape)}",
                    "return a row for each, [N, A], or one tensor for all",
                )
        return [one.shape == other.shape for one, other in zip(few, more, strict=True)]

    def _users_code(self) -> AbstractContextManager[None]:
        size = "obs" if self.observation_size is None else self.observation_size
        return users_code("the agent's policy", f"it has to take observations [N, {size}]", PolicyError)

    def actor(self, parameters: Parameters) -> Actor:
        """Prepare stacked parameters for acting: one call of the module for each policy and tile of rows."""
        # one policy at a time, so that no number depends on how many there are
        each = [{name: tensor[i] for name, tensor in parameters.items()} for i in range(_population(parameters))]

        def act(observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                rows = [self._act_on_tiles(p, o, n) for p, o, n in zip(each, observations, noise, strict=True)]
            return np.stack(rows)

        return act

    def _act_on_tiles(self, parameters: Parameters, observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
        actions = []
        for start in range(0, len(observations), TILE):
            stop = min(start + TILE, len(observations))
            # padded with a row that the environment gave: of any other the module may know no answer
            padding = ((0, TILE - (stop - start)), (0, 0))
            inputs = torch.from_numpy(np.pad(observations[start:stop], padding, mode="edge"))
            distribution = self.distribution(parameters, inputs)
            seeds_only = isinstance(distribution, AnyDistribution)
            tile_noise = torch.from_numpy(np.pad(noise[start:stop], padding, mode="edge"))
            with self._users_code():
                sample = distribution.sample(tile_noise[: stop - start] if seeds_only else tile_noise.to(torch.float32))
            actions.append(sample[: stop - start].numpy())
        return np.concatenate(actions)


class _Called:
    """A copy of a module to call: what forward() leaves on it (a cache, a product) stays off the one that travels.

    Parameters
    ----------
    module : torch.nn.Module
        Called in the precision of its first parameter, whatever that of its inputs and of the parameters given.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = copy_module(module)
        self._dtypes = {name: parameter.dtype for name, parameter in module.named_parameters()}
        self._dtype = next((dtype for dtype in self._dtypes.values() if dtype.is_floating_point), torch.float32)

    def answer(self, parameters: Parameters, observations: Tensor) -> Any:
        """Return what the module answers to rows [N, obs], in their precision."""
        # a module in double precision is fed doubles; its answers return in the precision of the observations
        own = {name: tensor.to(self._dtypes[name]) for name, tensor in parameters.items()}
        # a copy of the observations: forward() may change what it is given in place
        answer = functional_call(self._module, own, (observations.to(self._dtype, copy=True),))
        if observations.dtype == self._dtype:
            return answer
        return tree_map(
            lambda leaf: leaf.to(observations.dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf,
            answer,
        )


@dataclass(frozen=True)
class ModuleValue:
    """Any torch module as a critic: maps observations [N, obs] to values [N] or [N, 1]."""

    module: torch.nn.Module = field(repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Send the module to other processes, without what calls left behind."""
        return {"module": self.module}

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map names of the parameters that require a gradient, in the module's order, to shapes."""
        return {name: tuple(parameter.shape) for name, parameter in trainable(self.module).items()}

    def __call__(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Values at observations."""
        rows = observations.shape[:-1]
        with users_code("the agent's critic", f"it has to take observations [N, {observations.shape[-1]}]"):
            values: object = _call(self._called.answer, parameters, observations)
            if not isinstance(values, Tensor):
                raise TypeError(f"forward() answered a {type(values).__name__}, not a tensor")
            if values.shape not in (rows, (*rows, 1)):
                raise InputError(
                    f"the agent's critic answers observations {list(observations.shape)} with {list(values.shape)}",
                    "return one value for each, [N] or [N, 1]",
                )
        return values.reshape(rows)

    @cached_property
    def _called(self) -> _Called:
        return _Called(self.module)


def _call(rows_alone: Callable[[Parameters, Tensor], Any], parameters: Parameters, observations: Tensor) -> Any:
    """Run a module with the given parameters; a population [P, N, obs] through vmap, else one by one."""
    if observations.ndim == 2:
        return rows_alone(parameters, observations)
    try:
        return torch.func.vmap(rows_alone)(dict(parameters), observations)
    except RuntimeError:  # data-dependent control flow and some operators have no batching rule
        each = [
            rows_alone({name: tensor[i] for name, tensor in parameters.items()}, rows)
            for i, rows in enumerate(observations)
        ]
        return tree_map(lambda *tensors: torch.stack(tensors), *each)


def _for_each(leaf: Tensor, rows: int) -> Tensor:
    """Repeat a tensor without rows, or with one that stands for all, so that it has as many as there are."""
    # (1, A) and (A,) both stand for every row
    own = leaf.shape[1:] if leaf.ndim > 1 and len(leaf) == 1 else leaf.shape or (1,)
    return leaf.expand(rows, *own)


def _population(parameters: Mapping[str, Tensor]) -> int:
    return next(iter(parameters.values())).shape[0]
