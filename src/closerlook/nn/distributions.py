"""Action distributions as small immutable batches: sample, log_prob, entropy and KL divergence.

Sampling takes its noise as an argument: nothing here draws a random number, so the caller decides which draws are
shared (see `closerlook.randomness`). ``...`` below is any batch shape: [N], [P, N].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import kl_divergence
from torch.utils._pytree import tree_map

LOG_2PI = 1.8378770664093453

NoiseKind = Literal["normal", "uniform", "seed"]


@dataclass(frozen=True)
class Noise:
    """The noise one action needs: `size` numbers, standard normal or uniform on [0, 1), or one integer seed.

    Parameters
    ----------
    kind : {"normal", "uniform", "seed"}
        Standard normal numbers, uniform ones on [0, 1), or an integer seed.
    size : int
        How many.
    """

    kind: NoiseKind
    size: int


class Distribution(Protocol):
    """A batch of action distributions."""

    @property
    def noise(self) -> Noise:
        """The noise one action needs."""

    def sample(self, noise: Tensor) -> Tensor:
        """Turn noise [..., size] into actions."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density (or mass) of the actions, [...]."""

    def entropy(self) -> Tensor:
        """Entropy in nats, [...]."""

    def kl(self, other: Any) -> Tensor:
        """KL(self || other) in nats, [...]."""

    def mode(self) -> Tensor:
        """Return the likeliest actions; the transformed mean where a normal distribution is squashed."""


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent normal action components.

    Parameters
    ----------
    mean : Tensor, (..., A)
        Means.
    log_std : Tensor, broadcastable to (..., A)
        Log standard deviations, state-independent in the paper's agents.
    """

    mean: Tensor
    log_std: Tensor

    @property
    def noise(self) -> Noise:
        """One standard normal number for each component."""
        return Noise("normal", self.mean.shape[-1])

    def mode(self) -> Tensor:
        """Return the means."""
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """Return ``mean + std * noise``, for standard normal noise [..., A]."""
        # a = mu + sigma eps, eps standard normal: reparameterized, so that equal noise means equal draws
        return self.mean + torch.exp(self.log_std) * noise

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density of actions [..., A], summed over components: [...]."""
        # log N(a; mu, sigma) = -sum_i (z_i^2 / 2 + log sigma_i + log(2 pi) / 2)
        standard = (actions - self.mean) * torch.exp(-self.log_std)
        return -(0.5 * standard.square() + self.log_std + 0.5 * LOG_2PI).sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropy in nats: [...]."""
        # H = sum_i (log sigma_i + (log 2 pi + 1) / 2)
        return (self.log_std + 0.5 * (LOG_2PI + 1.0)).expand_as(self.mean).sum(-1)

    def kl(self, other: "DiagonalGaussian") -> Tensor:
        """KL(self || other) in nats, in closed form: [...]."""
        # KL = sum_i [(sigma_1^2 / sigma_2^2 + (mu_1 - mu_2)^2 / sigma_2^2 - 1) / 2 + log sigma_2 - log sigma_1]
        variance_ratio = torch.exp(2 * (self.log_std - other.log_std))
        shift = ((self.mean - other.mean) * torch.exp(-other.log_std)).square()
        return (0.5 * (variance_ratio + shift - 1.0) + other.log_std - self.log_std).sum(-1)


@dataclass(frozen=True)
class SquashedGaussian:
    """``a = tanh(g)`` of independent normal components g, with the density that Stable-Baselines3 takes for it.

    Parameters
    ----------
    inner : DiagonalGaussian
        Of g.
    epsilon : float
        Added to the slope of tanh within the logarithm, where the exact density has 0.
    """

    inner: DiagonalGaussian
    epsilon: float = 1e-6

    @property
    def noise(self) -> Noise:
        """One standard normal number for each component."""
        return self.inner.noise

    def mode(self) -> Tensor:
        """Return the squashed means."""
        return torch.tanh(self.inner.mean)

    def sample(self, noise: Tensor) -> Tensor:
        """Return ``tanh(mean + std * noise)``."""
        return torch.tanh(self.inner.sample(noise))

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density of actions [..., A] in (-1, 1), those at the ends moved inside: [...]."""
        # log p(a) = log N(g) - sum log(1 - tanh(g)^2 + epsilon), g = artanh(a)
        edge = 1.0 - torch.finfo(actions.dtype).eps
        bounded = actions.clamp(-edge, edge)
        before = 0.5 * (bounded.log1p() - (-bounded).log1p())
        slope = 1.0 - torch.tanh(before).square()
        return self.inner.log_prob(before) - torch.log(slope + self.epsilon).sum(-1)

    def entropy(self) -> Tensor:
        """NaN, [...]: no formula is known."""
        return torch.full_like(self.inner.mean[..., 0], torch.nan)

    def kl(self, other: "SquashedGaussian") -> Tensor:
        """KL(self || other) in nats, which squashing leaves as it is: [...]."""
        # a bijection of the actions changes both densities by the same factor
        return self.inner.kl(other.inner)


@dataclass(frozen=True)
class Categorical:
    """A choice among A actions, some of which may be masked.

    Parameters
    ----------
    logits : Tensor, (..., A)
        Unnormalized log probabilities; ``-inf`` where an action is masked: it is never drawn, and has no part in
        entropy, divergence and their gradients.
    """

    logits: Tensor

    @property
    def noise(self) -> Noise:
        """One uniform number."""
        return Noise("uniform", 1)

    def mode(self) -> Tensor:
        """Return the likeliest action, [...]; the first of equals."""
        return self.logits.argmax(-1)

    @property
    def log_probs(self) -> Tensor:
        """Normalized log probabilities, [..., A]."""
        return torch.log_softmax(self.logits, dim=-1)

    def sample(self, noise: Tensor) -> Tensor:
        """Invert the cumulative distribution at uniform noise [..., 1]: integer actions [...]."""
        # a = min{a : sum_{b <= a} p_b > u}
        cumulative = torch.softmax(self.logits.double(), dim=-1).cumsum(-1).contiguous()
        index = torch.searchsorted(cumulative, noise.double().contiguous(), right=True)
        # rounding may leave the last sum a little below 1: noise above it draws the last action that has a probability
        last = torch.searchsorted(cumulative, cumulative[..., -1:].contiguous())
        return torch.minimum(index, last).squeeze(-1).clamp(max=self.logits.shape[-1] - 1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log probability of integer actions [...]."""
        # log p_a = l_a - log sum_b exp l_b
        return self.log_probs.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats: [...]."""
        # H = -sum_a p_a log p_a
        return -self._expectation(self.log_probs)

    def kl(self, other: "Categorical") -> Tensor:
        """KL(self || other) in nats, infinite where `other` masks an action that is not masked here: [...]."""
        # KL(p, q) = sum_a p_a (log p_a - log q_a)
        return self._expectation(self.log_probs - other.log_probs)

    def _expectation(self, values: Tensor) -> Tensor:
        """Return the mean of values [..., A] over the actions: [...]."""
        probabilities = self.log_probs.exp()
        # sum_a p_a x_a with the limit p log p -> 0 as p -> 0: x_a is taken out before the product, for 0 times
        # infinity is NaN in the sum, and in its derivative too
        return (probabilities * values.masked_fill(probabilities == 0, 0.0)).sum(-1)


@dataclass(frozen=True)
class MultiCategorical:
    """Several independent choices.

    Parameters
    ----------
    logits : Tensor, (..., sum of sizes)
        Unnormalized log probabilities, one choice after the other.
    sizes : tuple of int
        Possibilities of each choice, K of them.
    """

    logits: Tensor
    sizes: tuple[int, ...]

    @property
    def choices(self) -> list[Categorical]:
        """Each choice by itself."""
        return [Categorical(part) for part in torch.split(self.logits, list(self.sizes), dim=-1)]

    @property
    def noise(self) -> Noise:
        """One uniform number for each choice."""
        return Noise("uniform", len(self.sizes))

    def mode(self) -> Tensor:
        """Return the likeliest of each choice, [..., K]."""
        return torch.stack([choice.mode() for choice in self.choices], dim=-1)

    def sample(self, noise: Tensor) -> Tensor:
        """Invert each cumulative distribution at its own uniform number, [..., K]."""
        drawn = [choice.sample(noise[..., k : k + 1]) for k, choice in enumerate(self.choices)]
        return torch.stack(drawn, dim=-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log probability of integer actions [..., K]: [...]."""
        # independent choices: log probabilities, entropies and divergences add up
        return self._total([choice.log_prob(actions[..., k]) for k, choice in enumerate(self.choices)])

    def entropy(self) -> Tensor:
        """Entropy in nats: [...]."""
        return self._total([choice.entropy() for choice in self.choices])

    def kl(self, other: "MultiCategorical") -> Tensor:
        """KL(self || other) in nats: [...]."""
        return self._total([mine.kl(its) for mine, its in zip(self.choices, other.choices, strict=True)])

    @staticmethod
    def _total(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts, dim=-1).sum(-1)


@dataclass(frozen=True)
class IndependentBernoulli:
    """Independent choices between 0 and 1.

    Parameters
    ----------
    logits : Tensor, (..., A)
        Log odds of 1.
    """

    logits: Tensor

    @property
    def noise(self) -> Noise:
        """One uniform number for each choice."""
        return Noise("uniform", self.logits.shape[-1])

    def mode(self) -> Tensor:
        """1 where it is likelier, [..., A]."""
        return (self.logits > 0).long()

    def sample(self, noise: Tensor) -> Tensor:
        """Return 1 where the uniform number is below its probability, [..., A]."""
        # a = 1 where u < s(l), s the logistic function
        return (noise < torch.sigmoid(self.logits.double())).long()

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log probability of zeros and ones [..., A]: [...]."""
        # log p = a log s(l) + (1 - a) log s(-l)
        return torch.nn.functional.logsigmoid(torch.where(actions > 0, self.logits, -self.logits)).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats: [...]."""
        # H = -sum_i [p log p + (1 - p) log(1 - p)] with p = s(l)
        return -self._mean_of(self.logits).sum(-1)

    def kl(self, other: "IndependentBernoulli") -> Tensor:
        """KL(self || other) in nats: [...]."""
        # sum_i [p log(p / q) + (1 - p) log((1 - p) / (1 - q))]
        return (self._mean_of(self.logits) - self._mean_of(other.logits)).sum(-1)

    def _mean_of(self, logits: Tensor) -> Tensor:
        """Return what the log probability by other log odds is on average over these choices, [..., A]."""
        one = torch.sigmoid(self.logits)
        log = torch.nn.functional.logsigmoid
        return one * log(logits) + (1.0 - one) * log(-logits)


@dataclass(frozen=True)
class AnyDistribution:
    """Any `torch.distributions` distribution whose batch shape is the rows.

    Sampling is row by row under a forked generator seeded with that row's noise, which is slow, and keyed like
    everything else. Normal and categorical distributions never come here: see `recognize`.

    Parameters
    ----------
    outputs : tensor or nested tensors
        What a module answered, rows first.
    build : callable
        Makes the torch distribution of outputs.
    rows : tuple of int
        (N,), or (P, N) of a population.
    """

    outputs: Any
    build: Callable[[Any], TorchDistribution]
    rows: tuple[int, ...]

    @property
    def inner(self) -> TorchDistribution:
        """The torch distribution of all rows."""
        return self.build(self.outputs)

    @property
    def noise(self) -> Noise:
        """One seed."""
        return Noise("seed", 1)

    def mode(self) -> Tensor:
        """Return the likeliest actions, as torch knows them.

        Raises
        ------
        NotImplementedError
            Where it does not.
        """
        return self.inner.mode

    def sample(self, noise: Tensor) -> Tensor:
        """Draw one action for each row [N] from its integer seed [N, 1]."""
        rows = []
        # torch's own samplers draw from its global generator: forked, so that the caller's is left as it was
        with torch.random.fork_rng(devices=[]):
            for row, seed in enumerate(noise.reshape(-1).tolist()):
                torch.default_generator.manual_seed(seed)  # torch.manual_seed takes time for all devices
                one = self.build(tree_map(lambda tensor, row=row: tensor[row : row + 1], self.outputs))
                rows.append(one.sample())
        return torch.cat(rows)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density of the actions, summed over whatever is not a row: [...]."""
        return self._per_row(self.inner.log_prob(actions))

    def entropy(self) -> Tensor:
        """Entropy in nats, NaN where torch does not know it: [...]."""
        try:
            return self._per_row(self.inner.entropy())
        except NotImplementedError:
            return torch.full(self.rows, torch.nan)

    def kl(self, other: "AnyDistribution") -> Tensor:
        """KL(self || other) in nats, where torch knows it: [...]."""
        return self._per_row(kl_divergence(self.inner, other.inner))

    def _per_row(self, values: Tensor) -> Tensor:
        return values.flatten(len(self.rows)).sum(-1) if values.ndim > len(self.rows) else values


OWN = (DiagonalGaussian, SquashedGaussian, Categorical, MultiCategorical, IndependentBernoulli)
"""Distributions that `recognize` passes as they are."""


def recognize(outputs: Any, build: Callable[[Any], Any], rows: tuple[int, ...]) -> Distribution:
    """Return `build(outputs)` in this module's terms: normal and categorical ones directly, others wrapped.

    Parameters
    ----------
    outputs : tensor or nested tensors
        What a module answered, rows first.
    build : callable
        Makes the torch distribution, or one of this module.
    rows : tuple of int
        (N,), or (P, N) of a population.

    Raises
    ------
    TypeError
        Where it is no distribution.
    ValueError
        Where the distribution's batch is not of these rows.
    """
    inner: object = build(outputs)
    if isinstance(inner, OWN):
        return inner
    if not isinstance(inner, TorchDistribution):
        raise TypeError(f"distribution gave a {type(inner).__name__}, not a torch.distributions.Distribution")
    if tuple(inner.batch_shape[: len(rows)]) != rows:
        raise ValueError(f"the distribution of {list(rows)} observations has the batch shape {list(inner.batch_shape)}")
    # Independent only says which axes are summed over: what is inside decides
    base: TorchDistribution = inner
    while isinstance(base, torch.distributions.Independent):
        base = base.base_dist
    if type(base) is torch.distributions.Normal and base.mean.ndim == len(rows) + 1:
        return DiagonalGaussian(base.mean, base.stddev.log())
    if type(base) is torch.distributions.Categorical and len(base.batch_shape) == len(rows):
        return Categorical(_logits(base))
    return AnyDistribution(outputs, build, rows)


def divergence(first: Distribution, second: Distribution, *, like: Tensor) -> Tensor:
    """Return KL(first || second) at each pair, in nats; NaN, shaped as `like`, where no formula is known.

    Parameters
    ----------
    first, second : Distribution
        Of the same kind and rows.
    like : Tensor
        Of the shape of the answer, (N,) or (P, N).
    """
    try:
        return first.kl(second)
    except NotImplementedError:  # torch knows none for this pair of distributions
        return torch.full_like(like, torch.nan)


def _logits(choice: torch.distributions.Categorical) -> Tensor:
    """Return logits; of one made from probabilities, -inf where they are zero, which torch takes for about 1e-7."""
    from_probabilities = "logits" not in vars(choice)
    logits = choice.logits
    return logits.masked_fill(choice.probs == 0, -torch.inf) if from_probabilities else logits
