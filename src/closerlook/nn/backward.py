"""Forward and backward of a population's small networks by hand, in NumPy, in buffers that are used again.

Training takes hundreds of steps on a few dozen pairs for each batch; there an autograd tape costs several times the
arithmetic. Here the weights and the bias of a layer lie side by side, ``W = [weight | bias]``, its inputs have ones in
a last row, and pairs are columns, so that a layer is one product forward and two backward::

    Z = W H        dW = E H^T        E' = (weight^T E) * slope(H)

NumPy multiplies the matrices of each policy by a call of its own, so no number depends on how many policies are
stacked. Autograd is the twin of everything here, in the tests.

====== ==================================================
symbol meaning
====== ==================================================
P      policies of the population
M      pairs of a minibatch
I, O   inputs and outputs of one layer
A      action components, or actions to choose from
D      all parameters, flattened
====== ==================================================
"""

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from closerlook.nn.distributions import LOG_2PI
from closerlook.nn.networks import MLP

Array = NDArray[Any]


class Layout(Protocol):
    """Where parameters lie in flat vectors (P, D)."""

    @property
    def size(self) -> int:
        """How many numbers a vector has: D."""

    def named(self, vectors: Array) -> dict[str, Array]:
        """Return each parameter (P, ...) by name, as a view of the vectors (P, D)."""


class FlatLayout:
    """Parameters one after the other.

    Parameters
    ----------
    shapes : mapping of str to tuple
        Names, in order, and shapes without the population axis.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = dict(shapes)
        self.size = sum(prod(shape) for shape in self._shapes.values())

    def named(self, vectors: Array) -> dict[str, Array]:
        """Return each parameter (P, ...) by name, as a view of the vectors (P, D)."""
        views, start = {}, 0
        for name, shape in self._shapes.items():
            stop = start + prod(shape)
            views[name] = vectors[:, start:stop].reshape(len(vectors), *shape)
            start = stop
        return views


class LayerLayout:
    """A network's parameters layer by layer, weight and bias side by side; other parameters follow.

    Parameters
    ----------
    network : MLP
        The architecture.
    shapes : mapping of str to tuple
        Names and shapes of all parameters, the network's and free ones.
    """

    def __init__(self, network: MLP, shapes: Mapping[str, tuple[int, ...]]) -> None:
        # W = [weight | bias]: (O, I + 1) for each layer
        blocks = {str(layer): (o, i + 1) for layer, (i, o) in enumerate(pairwise(network.sizes))}
        free = {name: shape for name, shape in shapes.items() if name not in network.parameter_shapes}
        self._n_layers, self._names = network.n_layers, list(shapes)
        self._blocks = FlatLayout({**blocks, **free})
        self.size = self._blocks.size

    def layers(self, vectors: Array) -> list[Array]:
        """Return the blocks ``[weight | bias]`` (P, O, I + 1), first layer first, as views of the vectors (P, D)."""
        views = self._blocks.named(vectors)
        return [views[str(layer)] for layer in range(self._n_layers)]

    def named(self, vectors: Array) -> dict[str, Array]:
        """Return each parameter (P, ...) by name, as a view of the vectors (P, D)."""
        views = self._blocks.named(vectors)
        for layer in range(self._n_layers):
            block = views[str(layer)]
            views |= {f"{layer}.weight": block[..., :-1], f"{layer}.bias": block[..., -1]}
        return {name: views[name] for name in self._names}


class StackedMLP:
    """A population's networks and the gradient of a loss in their parameters.

    Parameters
    ----------
    network : MLP
        The architecture.
    layers : list of ndarray, (P, O, I + 1)
        Weights and biases; read anew at each call.
    gradients : list of ndarray, (P, O, I + 1)
        Where `backward` writes.
    """

    def __init__(self, network: MLP, layers: list[Array], gradients: list[Array]) -> None:
        self._tanh = network.activation == "tanh"
        self._layers, self._gradients = layers, gradients
        self._buffers: dict[int, _Buffers] = {}

    def forward(self, inputs: Array) -> Array:
        """Map inputs (P, M, I + 1), whose last column is ones, to outputs (P, O, M), valid until the next call."""
        pairs = inputs.shape[1]
        if pairs not in self._buffers:
            self._buffers[pairs] = _Buffers(self._layers, pairs)
        self._now = self._buffers[pairs]
        # columns are pairs, and the last row of H is ones
        self._inputs = [inputs.transpose(0, 2, 1), *self._now.hidden]
        for layer, hidden in enumerate(self._now.hidden):
            activated = np.matmul(self._layers[layer], self._inputs[layer], out=hidden[:, :-1])
            if self._tanh:
                np.tanh(activated, out=activated)
            else:
                np.maximum(activated, 0, out=activated)
        outputs: Array = np.matmul(self._layers[-1], self._inputs[-1], out=self._now.outputs)
        return outputs

    def backward(self, errors: Array) -> None:
        """Write the gradient of a loss whose derivative by the last outputs is `errors` (P, O, M)."""
        for layer in range(len(self._layers) - 1, 0, -1):
            # dW = E H^T, where H has the row of ones that biases are multiplied by
            np.matmul(errors, self._inputs[layer].transpose(0, 2, 1), out=self._gradients[layer])
            # E' = (weight^T E) * slope: the bias passes nothing on
            weight = self._layers[layer][..., :-1]
            errors = np.matmul(weight.transpose(0, 2, 1), errors, out=self._now.errors[layer - 1])
            errors *= self._slope(layer)
        np.matmul(errors, self._inputs[0].transpose(0, 2, 1), out=self._gradients[0])

    def _slope(self, layer: int) -> Array:
        """Differentiate the activation before a layer, given its own value."""
        activated, slope = self._inputs[layer][:, :-1], self._now.slopes[layer - 1]
        if self._tanh:
            np.multiply(activated, activated, out=slope)
            np.subtract(1, slope, out=slope)
        else:
            np.greater(activated, 0, out=slope)
        return slope


class _Buffers:
    """What is written at M pairs: hidden layers (P, O + 1, M), their errors and slopes (P, O, M), outputs (P, O, M)."""

    def __init__(self, layers: list[Array], pairs: int) -> None:
        def empty(layer: Array, more: int = 0) -> Array:
            return np.empty((len(layer), layer.shape[1] + more, pairs), layer.dtype)

        # the row of ones is written once: activations never touch it
        self.hidden = [empty(layer, 1) for layer in layers[:-1]]
        for hidden in self.hidden:
            hidden[:, -1] = 1
        self.errors, self.slopes = ([empty(layer) for layer in layers[:-1]] for _ in range(2))
        self.outputs = empty(layers[-1])


class Head(Protocol):
    """What a policy makes of its network's outputs."""

    def log_prob(self, outputs: Array, actions: Array) -> Array:
        """Log probabilities (P, M) of actions (P, M, ...) at outputs (P, A, M).

        Parameters
        ----------
        outputs : ndarray, (P, A, M)
            The network's outputs.
        actions : ndarray, (P, M, ...)
            As drawn.
        """

    def errors(self, slopes: Array, entropy: float) -> Array:
        """Differentiate ``sum_m (slopes_m log pi_m + entropy H_m)`` by the last outputs: (P, A, M).

        Where the distribution has parameters of its own, their gradient is written too.

        Parameters
        ----------
        slopes : ndarray, (P, M)
            Derivative of the loss by each pair's log probability.
        entropy : float
            Derivative of the loss by each pair's entropy.
        """


class GaussianHead:
    """Means from the network, and free log standard deviations.

    Parameters
    ----------
    log_std, gradient : ndarray, (P, A)
        The free parameters, read anew at each call, and where their gradient is written.
    """

    def __init__(self, log_std: Array, gradient: Array) -> None:
        self._log_std, self._gradient = log_std, gradient

    def log_prob(self, outputs: Array, actions: Array) -> Array:
        """Log densities (P, M) of actions (P, M, A) at means (P, A, M).

        Parameters
        ----------
        outputs : ndarray, (P, A, M)
            Means.
        actions : ndarray, (P, M, A)
            As drawn.
        """
        # log pi = -1/2 sum_i z_i^2 - sum_i (log sigma_i + 1/2 log 2 pi)
        self._inverse = np.exp(-self._log_std)[:, :, None]
        self._standard = actions.transpose(0, 2, 1) - outputs
        self._standard *= self._inverse
        self._squares = np.square(self._standard)
        constant = (self._log_std + 0.5 * LOG_2PI).sum(1)
        densities: Array = self._squares.sum(1)
        densities *= -0.5
        densities -= constant[:, None]
        return densities

    def errors(self, slopes: Array, entropy: float) -> Array:
        """Differentiate by the means; a pair's entropy grows by 1 with each log standard deviation.

        Parameters
        ----------
        slopes : ndarray, (P, M)
            Derivative of the loss by each pair's log probability.
        entropy : float
            Derivative of the loss by each pair's entropy.
        """
        # d log pi / d log sigma = z^2 - 1, weighted by the slopes; d H / d log sigma = 1 for each pair
        self._squares -= 1
        np.matmul(self._squares, slopes[:, :, None], out=self._gradient[:, :, None])
        self._gradient += entropy * slopes.shape[1]
        # d log pi / d mu = z / sigma
        self._standard *= self._inverse
        self._standard *= slopes[:, None]
        return self._standard


class CategoricalHead:
    """Logits from the network."""

    def log_prob(self, outputs: Array, actions: Array) -> Array:
        """Log probabilities (P, M) of actions (P, M) at logits (P, A, M).

        Parameters
        ----------
        outputs : ndarray, (P, A, M)
            Logits.
        actions : ndarray, (P, M)
            Numbers of the actions drawn.
        """
        # log softmax, the largest logit taken off so that nothing overflows
        shifted = outputs - outputs.max(1, keepdims=True)
        self._log_probs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        self._chosen = actions[:, None] == np.arange(outputs.shape[1])[:, None]
        return np.asarray(np.where(self._chosen, self._log_probs, 0).sum(1))

    def errors(self, slopes: Array, entropy: float) -> Array:
        """Differentiate by the logits.

        Parameters
        ----------
        slopes : ndarray, (P, M)
            Derivative of the loss by each pair's log probability.
        entropy : float
            Derivative of the loss by each pair's entropy.
        """
        probabilities = np.exp(self._log_probs)
        # d log pi / d l = onehot(a) - p
        errors: Array = (self._chosen - probabilities) * slopes[:, None]
        if entropy:
            # d H / d l_i = -p_i (log p_i - sum_j p_j log p_j)
            expected = (probabilities * self._log_probs).sum(1, keepdims=True)
            errors -= entropy * probabilities * (self._log_probs - expected)
        return errors
