"""Adam for a population: one stacked parameter vector [P, D], each policy with its own moments and step count."""

from collections.abc import Mapping

import torch
from torch import Tensor

from closerlook.estimation.networks import Parameters, flatten, unflatten

BETAS = (0.9, 0.999)


class PopulationAdam:
    """Parameters of a population while they are being optimised.

    The arithmetic uses only operations that are rounded once (no fused multiply-add), so that a policy's parameters
    do not depend, to the last bit, on which others are stacked beside it.

    Parameters
    ----------
    parameters : mapping of str to Tensor, (P, ...)
        Where to start; not modified.
    state : mapping of str to Tensor
        What `state` returned after the last update; empty at the start of training.
    epsilon : float
        Added to the root of the second moment.

    References
    ----------
    Kingma and Ba, 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    def __init__(self, parameters: Parameters, state: Mapping[str, Tensor], epsilon: float) -> None:
        self._shapes = {name: tuple(tensor.shape[1:]) for name, tensor in parameters.items()}
        self._epsilon = epsilon
        self._vector = flatten(parameters, list(self._shapes), stacked=True)
        self._first = self._moment(state, "exp_avg")
        self._second = self._moment(state, "exp_avg_sq")
        self._step = state["step"].clone() if state else torch.zeros(len(self._vector), dtype=torch.int64)
        views = unflatten(self._vector, self._shapes, stacked=True)
        self.parameters = {name: view.detach().requires_grad_() for name, view in views.items()}

    def _moment(self, state: Mapping[str, Tensor], kind: str) -> Tensor:
        if not state:
            return torch.zeros_like(self._vector)
        return flatten(state, [f"{kind}.{name}" for name in self._shapes], stacked=True)

    def descend(self, losses: Tensor, rate: float, *, max_grad_norm: float | None = None) -> None:
        """Take one step down the gradient of each policy's loss.

        Parameters
        ----------
        losses : Tensor, (P,)
            Computed from `parameters`.
        rate : float
            Learning rate.
        max_grad_norm : float, optional
            Longer gradients are shortened to this norm, each policy's own.
        """
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        with torch.no_grad():
            gradient = torch.cat([part.flatten(1) for part in gradients], dim=1)
            if max_grad_norm is not None:
                norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
                gradient *= (max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
            self._apply(gradient, rate)

    def _apply(self, gradient: Tensor, rate: float) -> None:
        self._step += 1
        self._first.mul_(BETAS[0]).add_(gradient * (1 - BETAS[0]))
        self._second.mul_(BETAS[1]).add_(gradient.square_().mul_(1 - BETAS[1]))
        corrections = [(1 - beta ** self._step.double()).unsqueeze(1) for beta in BETAS]
        divisor = self._second.sqrt().div_(corrections[1].sqrt().float()).add_(self._epsilon)
        self._vector.sub_(self._first.div(divisor).mul_((rate / corrections[0]).float()))

    def result(self) -> dict[str, Tensor]:
        """Return the parameters as they are now, apart from this optimiser."""
        return {name: tensor.detach().clone() for name, tensor in self.parameters.items()}

    def state(self) -> dict[str, Tensor]:
        """Return moments and step counts: ``exp_avg.<name>``, ``exp_avg_sq.<name>`` (P, ...), ``step`` (P,)."""
        state = {"step": self._step.clone()}
        for kind, vector in (("exp_avg", self._first), ("exp_avg_sq", self._second)):
            for name, part in unflatten(vector, self._shapes, stacked=True).items():
                state[f"{kind}.{name}"] = part.clone()
        return state
