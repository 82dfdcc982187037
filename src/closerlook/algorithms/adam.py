"""Adam for a population: one stacked parameter vector (P, D), each policy with its own moments and step count."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from closerlook.nn.backward import Array, FlatLayout, Layout
from closerlook.nn.networks import Parameters

BETAS = (0.9, 0.999)

_BETAS = np.array(BETAS)[:, None]
_MOMENTS = ("exp_avg", "exp_avg_sq")


class PopulationAdam:
    """Parameters of a population while they are being optimized.

    Parameters, gradient and moments are flat NumPy arrays that are changed in place; `parameters` and `gradients` are
    views of the first two. The arithmetic uses only operations that are rounded once (no fused multiply-add), so that
    a policy's parameters do not depend, to the last bit, on which others are stacked beside it.

    Parameters
    ----------
    parameters : mapping of str to Tensor, (P, ...)
        Where to start; not modified.
    state : mapping of str to Tensor
        What `state` returned after the last update; empty at the start of training.
    epsilon : float
        Added to the root of the second moment.
    layout : Layout, optional
        Where each parameter lies in the vectors; default one after the other.

    References
    ----------
    Kingma and Ba, 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    def __init__(
        self, parameters: Parameters, state: Mapping[str, Tensor], epsilon: float, layout: Layout | None = None
    ) -> None:
        arrays = {name: tensor.detach().numpy() for name, tensor in parameters.items()}
        self._layout = layout or FlatLayout({name: array.shape[1:] for name, array in arrays.items()})
        self._epsilon = epsilon
        first = next(iter(arrays.values()))
        self.vector, self.gradient, self._first, self._second, self._scratch = np.zeros(
            (5, len(first), self._layout.size), first.dtype
        )
        self.gradients = self._tensors(self.gradient)
        self.parameters = {name: view.requires_grad_() for name, view in self._tensors(self.vector).items()}
        self._fill(self.vector, arrays)
        self._step = state["step"].numpy().copy() if state else np.zeros(len(first), np.int64)
        if state:
            for kind, moment in zip(_MOMENTS, (self._first, self._second), strict=True):
                self._fill(moment, {name: state[f"{kind}.{name}"].numpy() for name in arrays})

    def descend(self, losses: Tensor, rate: float, *, max_grad_norm: float | None = None) -> None:
        """Take one step down the gradient of each policy's loss, by autograd.

        Parameters
        ----------
        losses : Tensor, (P,)
            Computed from `parameters`.
        rate : float
            Learning rate.
        max_grad_norm : float, optional
            Longer gradients are shortened to this norm, each policy's own.
        """
        # losses of different policies share no parameter: the gradient of their sum is every policy's own
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        for place, gradient in zip(self.gradients.values(), gradients, strict=True):
            place.copy_(gradient)
        self.step(rate, max_grad_norm=max_grad_norm)

    def step(self, rate: float, *, max_grad_norm: float | None = None) -> None:
        """Take one step down `gradient`, which is used up.

        Parameters
        ----------
        rate : float
            Learning rate.
        max_grad_norm : float, optional
            Longer gradients are shortened to this norm, each policy's own.
        """
        gradient, scratch = self.gradient, self._scratch
        if max_grad_norm is not None:
            # torch's clip_grad_norm_: g min(1, c / (|g| + 1e-6))
            norm = np.sqrt(np.square(gradient).sum(1, keepdims=True))
            gradient *= np.minimum(max_grad_norm / (norm + 1e-6), 1.0)
        self._step += 1
        # algorithm 1: m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
        self._first *= BETAS[0]
        self._first += np.multiply(gradient, 1 - BETAS[0], out=scratch)
        self._second *= BETAS[1]
        gradient *= gradient
        self._second += np.multiply(gradient, 1 - BETAS[1], out=scratch)
        # bias corrections 1 - b1^t and 1 - b2^t
        first, second = 1 - np.power(_BETAS, self._step)
        # theta -= rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon), in torch's order of roundings
        np.sqrt(self._second, out=scratch)
        scratch /= np.sqrt(second).astype(scratch.dtype)[:, None]
        scratch += self._epsilon
        np.divide(self._first, scratch, out=scratch)
        scratch *= (rate / first).astype(scratch.dtype)[:, None]
        self.vector -= scratch

    def result(self) -> dict[str, Tensor]:
        """Return the parameters as they are now, apart from this optimizer."""
        return self._apart(self.vector)

    def state(self) -> dict[str, Tensor]:
        """Return moments and step counts: ``exp_avg.<name>``, ``exp_avg_sq.<name>`` (P, ...), ``step`` (P,)."""
        state = {"step": torch.from_numpy(self._step.copy())}
        for kind, moment in zip(_MOMENTS, (self._first, self._second), strict=True):
            state |= {f"{kind}.{name}": tensor for name, tensor in self._apart(moment).items()}
        return state

    def _tensors(self, vectors: Array) -> dict[str, Tensor]:
        return {name: torch.from_numpy(view) for name, view in self._layout.named(vectors).items()}

    def _fill(self, vectors: Array, arrays: Mapping[str, Array]) -> None:
        for name, view in self._layout.named(vectors).items():
            view[...] = arrays[name]

    def _apart(self, vectors: Array) -> dict[str, Tensor]:
        views = self._tensors(vectors).items()
        return {name: view.clone(memory_format=torch.contiguous_format) for name, view in views}
