"""Multilayer perceptrons as pure functions of their parameters, which may carry a leading population axis.

====== ==================================================
symbol meaning
====== ==================================================
P      policies of a population (the leading axis, optional)
N      rows, for example state-action pairs
I, O   inputs and outputs of one layer
D      all parameters, flattened
====== ==================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Activation = Literal["tanh", "relu"]
Initialization = Literal["orthogonal", "xavier"]
Parameters = Mapping[str, Tensor]

TILE = 16
"""Rows of one matrix product while acting. The last bit of a row of a product depends on how many rows there are and,
in some libraries, on the row's place; so acting works on tiles of this many rows, padded, and whoever acts
keeps each stream at one place modulo `TILE`."""


@dataclass(frozen=True)
class MLP:
    """A fully connected network.

    Parameters
    ----------
    sizes : tuple of int
        Inputs, hidden units of each layer, outputs.
    activation : {"tanh", "relu"}
        Applied after every layer but the last.
    """

    sizes: tuple[int, ...]
    activation: Activation = "tanh"

    @property
    def n_layers(self) -> int:
        """Count the affine layers."""
        return len(self.sizes) - 1

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Map names, in order, to shapes: ``<layer>.weight`` (O, I) and ``<layer>.bias`` (O,)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (inputs, outputs) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            shapes[f"{layer}.weight"] = (outputs, inputs)
            shapes[f"{layer}.bias"] = (outputs,)
        return shapes

    def initialize(
        self, generator: np.random.Generator, scheme: Initialization, *, output_gain: float
    ) -> dict[str, Tensor]:
        """Draw initial parameters; biases are zero.

        Parameters
        ----------
        generator : numpy.random.Generator
            Where the draws come from.
        scheme : {"orthogonal", "xavier"}
            Orthogonal with gain sqrt(2) in hidden layers and `output_gain` in the last; or Xavier uniform, which
            ignores the gain (released code, models.py, ``initialize_weights``).
        output_gain : float
            Gain of the last layer: 0.01 for a policy, 1 for a value network.
        """
        parameters: dict[str, Tensor] = {}
        for layer in range(self.n_layers):
            # released code, models.py: gain sqrt(2) for hidden layers, the head's own for the last
            shape = (self.sizes[layer + 1], self.sizes[layer])
            gain = output_gain if layer == self.n_layers - 1 else 2**0.5
            weight = _orthogonal(generator, shape, gain) if scheme == "orthogonal" else _xavier(generator, shape)
            parameters[f"{layer}.weight"] = torch.from_numpy(weight.astype(np.float32))
            parameters[f"{layer}.bias"] = torch.zeros(shape[0])
        return parameters

    def __call__(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Map inputs [N, I] to outputs [N, O]; with stacked parameters [P, ...], [P, N, I] to [P, N, O]."""
        hidden = inputs
        for layer in range(self.n_layers):
            hidden = _affine(parameters[f"{layer}.weight"], parameters[f"{layer}.bias"], hidden)
            if layer < self.n_layers - 1:
                hidden = _tanh(hidden) if self.activation == "tanh" else torch.relu(hidden)
        return hidden

    def on_tiles(self, parameters: Mapping[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
        """Do the same in NumPy on tiles of rows, for the small batches of acting.

        Parameters
        ----------
        parameters : mapping of str to ndarray, (P, ...)
            Stacked parameters, always with the population axis; weights already transposed to (P, I, O).
        inputs : ndarray, (P, N, I), float32
            N rows for each policy.

        Returns
        -------
        ndarray, (P, N, O), float32
            Each row's output: the same bits for the same place modulo `TILE`, whatever N and the other rows are.
        """
        policies, rows, width = inputs.shape
        tiles = -(-rows // TILE)
        hidden = np.zeros((policies, tiles * TILE, width), np.float32)
        hidden[:, :rows] = inputs
        hidden = hidden.reshape(policies, tiles, TILE, width)
        for layer in range(self.n_layers):
            # weights are (I, O) here: rows of observations times columns of units
            hidden = np.matmul(hidden, parameters[f"{layer}.weight"][:, None])
            hidden += parameters[f"{layer}.bias"][:, None, None]
            if layer < self.n_layers - 1:
                hidden = np.tanh(hidden) if self.activation == "tanh" else np.maximum(hidden, 0)
        return hidden.reshape(policies, tiles * TILE, -1)[:, :rows]


def for_tiles(parameters: Parameters) -> dict[str, np.ndarray]:
    """Lay stacked parameters [P, ...] out for `MLP.on_tiles`: NumPy, weights transposed and contiguous."""
    return {
        name: np.ascontiguousarray(tensor.detach().mT.numpy() if name.endswith("weight") else tensor.detach().numpy())
        for name, tensor in parameters.items()
    }


def flatten(parameters: Parameters, names: Sequence[str], *, stacked: bool = False) -> Tensor:
    """Concatenate parameters in the order of `names`: [D], or [P, D] where they are stacked.

    Parameters
    ----------
    parameters : mapping of str to Tensor
        Parameters; those that are not named are left out.
    names : sequence of str
        In which order.
    stacked : bool
        Whether they have a leading population axis.
    """
    first = 1 if stacked else 0
    return torch.cat([parameters[name].flatten(first) for name in names], dim=-1)


def unflatten(vector: Tensor, shapes: Mapping[str, tuple[int, ...]], *, stacked: bool = False) -> dict[str, Tensor]:
    """Undo `flatten`: split [D] (or [P, D]) into named tensors of the given shapes, in the mapping's order.

    Parameters
    ----------
    vector : Tensor, (D,) or (P, D)
        Parameters one after the other.
    shapes : mapping of str to tuple
        Names, in order, and shapes without the population axis.
    stacked : bool
        Whether the vector has a leading population axis.
    """
    # an empty shape is one number
    sizes = [int(np.prod(shape, dtype=int)) for shape in shapes.values()]
    lead = vector.shape[:1] if stacked else ()
    parts = torch.split(vector, sizes, dim=-1)
    return {name: part.reshape(*lead, *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _affine(weight: Tensor, bias: Tensor, inputs: Tensor) -> Tensor:
    if weight.ndim == 2:
        return torch.nn.functional.linear(inputs, weight, bias)
    policies, rows = inputs.shape[:2]
    if policies >= 2 and rows >= 4:
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)
    # smaller stacked products take other paths through the library, whose last bits differ: pad, so that a policy's
    # numbers do not depend on how many others are beside it
    more = max(2 - policies, 0)
    inputs = torch.nn.functional.pad(inputs, (0, 0, 0, max(4 - rows, 0), 0, more))
    weight = torch.nn.functional.pad(weight, (0, 0, 0, 0, 0, more))
    bias = torch.nn.functional.pad(bias, (0, 0, 0, more))
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)[:policies, :rows]


def _tanh(values: Tensor) -> Tensor:
    """Take NumPy's tanh, several times as fast as torch's, where nothing is to be differentiated."""
    if torch.is_grad_enabled():
        return torch.tanh(values)
    try:
        return torch.from_numpy(np.tanh(values.numpy()))
    except (RuntimeError, TypeError):  # inside a transform of torch.func, or of a kind that NumPy has not
        return torch.tanh(values)


def _orthogonal(generator: np.random.Generator, shape: tuple[int, int], gain: float) -> np.ndarray:
    rows, columns = shape
    # QR of a Gaussian matrix, signs of R's diagonal taken off: Haar-distributed Q (Mezzadri, 2007)
    normal = generator.standard_normal((max(shape), min(shape)))
    q, r = np.linalg.qr(normal)
    q *= np.sign(np.diag(r))  # makes the draw uniform over orthogonal matrices
    return gain * (q if rows >= columns else q.T)


def _xavier(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    # Glorot and Bengio, 2010, eq. 16: U(-sqrt(6 / (n_in + n_out)), ...)
    bound = (6.0 / sum(shape)) ** 0.5
    return generator.uniform(-bound, bound, shape)
