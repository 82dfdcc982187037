"""The parts of Stable-Baselines3's actor-critic networks as torch modules, on flattened observations.

====== ============================
symbol meaning
====== ============================
N      observations
obs    components of one, flattened
F      features
L      width of the last hidden layer
A      action components
====== ============================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from closerlook.agents.importers.sb3_pickles import RunningMoments
from closerlook.agents.importers.spaces import Space
from closerlook.errors import InputError
from closerlook.nn.distributions import (
    Categorical,
    DiagonalGaussian,
    Distribution,
    IndependentBernoulli,
    MultiCategorical,
    SquashedGaussian,
)

EPSILON = 1e-6
"""Of the library: added to the variance of state-dependent noise, and within the logarithm of a squashed density."""
_CONVOLUTIONS = ((8, 4), (4, 2), (3, 1))
"""Kernel and stride of each of the library's three (NatureCNN)."""


@dataclass(frozen=True)
class Description:
    """What a file says of its networks beside their weights.

    Parameters
    ----------
    observations, actions : Space
        Spaces.
    activation : str
        Between layers, by the name of its torch class.
    state_dependent : bool
        Whether the noise is (gSDE).
    squashed : bool
        Whether actions are squashed by tanh.
    softened : bool
        Whether standard deviations grow slower than exponentially (expln).
    divides_images : bool
        Whether images are divided by 255.
    moments : mapping
        Running moments by which parts of a Dict of observations are standardized first.
    clip : float
        Bound of those.
    epsilon : float
        Added to their variances.
    """

    observations: Space
    actions: Space
    activation: str = "tanh"
    state_dependent: bool = False
    squashed: bool = False
    softened: bool = False
    divides_images: bool = True
    moments: Mapping[str, RunningMoments] | None = None
    clip: float = 10.0
    epsilon: float = 1e-8

    def in_words(self) -> str:
        """Say what kind of policy it is."""
        kind = {
            "Box": "Gaussian",
            "Discrete": "categorical",
            "MultiDiscrete": "several categorical",
            "MultiBinary": "Bernoulli",
        }[self.actions.kind]
        noise = "state-dependent " if self.state_dependent else ""
        return f"{'squashed ' if self.squashed else ''}{noise}{kind} over {self.observations}"


@dataclass(frozen=True)
class Head:
    """Turns what an actor answers into distributions.

    Parameters
    ----------
    kind : str
        Which.
    sizes : tuple of int
        Possibilities of each choice.
    """

    kind: Literal["gaussian", "squashed", "categorical", "several", "binary"]
    sizes: tuple[int, ...] = ()

    def __call__(self, outputs: Any) -> Distribution:
        """Build the distributions of rows."""
        if self.kind == "categorical":
            return Categorical(outputs)
        if self.kind == "several":
            return MultiCategorical(outputs, self.sizes)
        if self.kind == "binary":
            return IndependentBernoulli(outputs)
        inner = DiagonalGaussian(*outputs)
        return inner if self.kind == "gaussian" else SquashedGaussian(inner, EPSILON)


class Images(nn.Module):
    """The library's convolutional network (NatureCNN, after Mnih et al., 2015), on flattened images.

    Parameters
    ----------
    shape : tuple of int
        Of an image, channels first.
    weights : mapping of str to Tensor
        The network's own, by the library's names.
    divides : bool
        Whether numbers are divided by 255.
    """

    def __init__(self, shape: tuple[int, ...], weights: Mapping[str, Tensor], *, divides: bool) -> None:
        super().__init__()
        self._shape, self._divisor = shape, 255.0 if divides else 1.0
        layers: list[nn.Module] = []
        for at, (kernel, stride) in enumerate(_CONVOLUTIONS):
            outputs, inputs, *sides = weights[f"cnn.{2 * at}.weight"].shape
            if sides != [kernel, kernel]:
                raise KeyError("another convolution")
            layers += [nn.Conv2d(inputs, outputs, kernel, stride), nn.ReLU()]
        self.cnn = nn.Sequential(*layers, nn.Flatten())
        outputs, inputs = weights["linear.0.weight"].shape
        self.linear = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())
        self.width = outputs

    def forward(self, flat: Tensor) -> Tensor:
        """Map [N, C H W] to features [N, F]."""
        answered: Tensor = self.linear(self.cnn(flat.reshape(-1, *self._shape) / self._divisor))
        return answered


class Several(nn.Module):
    """Features of each part of a Dict of observations, side by side, in the order of the flattened parts.

    Parameters
    ----------
    described : Description
        Spaces, distribution and the like.
    weights : mapping of str to Tensor
        The extractor's, by the library's names.
    """

    def __init__(self, described: Description, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.extractors = nn.ModuleDict()
        self._widths: list[int] = []
        self._keys = list(described.observations.parts)
        self.width = 0
        for key, part in described.observations.parts.items():
            own = weights_below(weights, f"extractors.{key}.")
            convolutional = part.is_image or (len(part.shape) == 3 and bool(own))
            net = Images(part.shape, own, divides=part.is_image and described.divides_images) if convolutional else None
            self.extractors[key] = net or nn.Flatten()
            self._widths.append(part.flat)
            self.width += net.width if net is not None else part.flat
            moments = (described.moments or {}).get(key)
            if moments is not None:
                self._standardize(key, moments, described)
        self._clip = described.clip

    def _standardize(self, key: str, moments: RunningMoments, described: Description) -> None:
        mean = torch.from_numpy(moments.mean.reshape(-1).copy())
        divisor = torch.from_numpy(np.sqrt(moments.var.reshape(-1) + described.epsilon))
        if len(mean) != described.observations.parts[key].flat:
            raise InputError(f"the statistics of observation {key[:40]!r} are of another size", "give the right ones")
        self.register_buffer(f"mean_{self._keys.index(key)}", mean)
        self.register_buffer(f"divisor_{self._keys.index(key)}", divisor)

    def forward(self, flat: Tensor) -> Tensor:
        """Map [N, obs] to features [N, F]."""
        features = []
        for at, (key, part) in enumerate(zip(self._keys, torch.split(flat, self._widths, dim=-1), strict=True)):
            mean = getattr(self, f"mean_{at}", None)
            if mean is not None:
                standard = (part.double() - mean) / getattr(self, f"divisor_{at}")
                part = standard.clamp(-self._clip, self._clip).float()  # noqa: PLW2901
            features.append(self.extractors[key](part))
        return torch.cat(features, dim=-1)


class Shared(nn.Module):
    """What actor and critic have in common: features, and the layers that versions before 1.8 could share.

    Parameters
    ----------
    features : Module
        Maps flat observations to features.
    net : Module
        The layers in common.
    """

    def __init__(self, features: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.features, self.net = features, net

    def forward(self, flat: Tensor) -> Tensor:
        """Map [N, obs] to [N, F]."""
        answered: Tensor = self.net(self.features(flat))
        return answered


class Branch(nn.Module):
    """An actor or a critic.

    Parameters
    ----------
    shared : Shared
        What it has in common with the other.
    features : Module
        Its own extractor of features.
    body : Module
        Its own hidden layers.
    head : Linear
        Its last layer.
    """

    def __init__(self, shared: Shared, features: nn.Module, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.shared, self.features, self.body, self.head = shared, features, body, head

    def latent(self, flat: Tensor) -> Tensor:
        """Map [N, obs] to the last hidden layer [N, L]."""
        answered: Tensor = self.body(self.features(self.shared(flat)))
        return answered

    def forward(self, flat: Tensor) -> Any:
        """Map [N, obs] to what the head answers."""
        return self.head(self.latent(flat))


class GaussianBranch(Branch):
    """An actor with a free log standard deviation (A,).

    Parameters
    ----------
    *parts
        See `Branch`.
    log_std : Tensor, (A,)
        Where the free parameter begins.
    """

    def __init__(self, *parts: Any, log_std: Tensor) -> None:
        super().__init__(*parts)
        self.log_std = nn.Parameter(log_std.clone())

    def forward(self, flat: Tensor) -> Any:
        """Map [N, obs] to means [N, A] and the log standard deviations."""
        return self.head(self.latent(flat)), self.log_std


class StateDependentBranch(GaussianBranch):
    """An actor whose noise is a random linear function of its last hidden layer (gSDE), marginally normal.

    Parameters
    ----------
    *parts
        See `Branch`.
    log_std : Tensor, (L, A) or (L, 1)
        Where the free parameter begins.
    softened : bool
        Whether deviations are ``expln`` of it rather than its exponential.
    """

    def __init__(self, *parts: Any, log_std: Tensor, softened: bool) -> None:
        super().__init__(*parts, log_std=log_std)
        self._softened = softened

    def forward(self, flat: Tensor) -> Any:
        """Map [N, obs] to means and log standard deviations [N, A]."""
        latent = self.latent(flat)
        return self.head(latent), deviations_of(latent, self.log_std, self.head.out_features, softened=self._softened)


def deviations_of(latent: Tensor, log_std: Tensor, actions: int, *, softened: bool) -> Tensor:
    """Return the log standard deviations of state-dependent noise, [N, A].

    Parameters
    ----------
    latent : Tensor, (N, L)
        The last hidden layer.
    log_std : Tensor, (L, A) or (L, 1)
        Of the noise of each weight.
    actions : int
        A.
    softened : bool
        Whether deviations grow like a logarithm above 1 (expln; Ruckstiess et al., 2008) instead of exponentially.
    """
    log_std = log_std.expand(-1, actions)
    std = torch.exp(log_std)
    if softened:
        above = torch.log1p(log_std.clamp(min=0.0) + EPSILON) + 1.0
        std = torch.where(log_std <= 0, torch.exp(log_std.clamp(max=0.0)), above)
    # sigma_j^2 = sum_i z_i^2 s_ij^2 + epsilon; the features are not changed through the noise
    variance = latent.detach().square() @ std.square()
    return 0.5 * torch.log(variance + EPSILON)


def weights_below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the weights whose names begin so, without that beginning.

    Parameters
    ----------
    weights : mapping of str to Tensor
        All of them.
    prefix : str
        How the names begin.
    """
    return {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}


def head_of(described: Description) -> Head:
    """Return what makes distributions of what the actor answers."""
    if described.actions.kind == "Box":
        return Head("squashed" if described.squashed else "gaussian")
    kind: Literal["several", "binary"] = "several" if described.actions.kind == "MultiDiscrete" else "binary"
    return Head("categorical" if described.actions.kind == "Discrete" else kind, described.actions.sizes)
