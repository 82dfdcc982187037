"""Whether a set of tensors is the whole state of an agent: names, shapes, types, finite numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.errors import InputError, NonFiniteError

_HINT = "use another copy of it, or train it again"
_NOT_NEGATIVE = ("count", "squares", "step")


def check_state(agent: Agent, state: Mapping[str, Tensor], where: str) -> None:
    """Check a single agent's state against its architecture.

    Parameters
    ----------
    agent : Agent
        Architecture and scalings; its own state is not looked at.
    state : mapping of str to Tensor
        What to check.
    where : str
        What the error names, for example a file.

    Raises
    ------
    InputError
        Where a tensor is missing, is not the agent's, or has another shape or type.
    NonFiniteError
        Where a number is not finite.
    """
    expected = _expected(agent, state)
    for what, names in (("lacks", expected.keys() - state.keys()), ("holds a foreign", state.keys() - expected.keys())):
        if names:
            raise InputError(f"{where} {what} {sorted(names)[0][:80]}", _HINT)
    for name, (shape, dtypes) in expected.items():
        _check(name, state[name], shape, dtypes, where)


def _expected(agent: Agent, state: Mapping[str, Tensor]) -> dict[str, tuple[tuple[int, ...], set[torch.dtype]]]:
    """Map each name to its shape and the types it may have."""
    numbers = {torch.float32}
    parts = {"policy": agent.policy.parameter_shapes}
    if agent.value is not None:
        parts["value"] = agent.value.parameter_shapes
    expected = {f"{part}.{name}": (shape, numbers) for part, shapes in parts.items() for name, shape in shapes.items()}
    for part, shapes in parts.items():
        optimizer = f"optimizer.{part}"
        if any(name.startswith(f"{optimizer}.") for name in state):
            expected[f"{optimizer}.step"] = ((), {torch.int64})
            for kind in ("exp_avg", "exp_avg_sq"):
                expected |= {f"{optimizer}.{kind}.{name}": (shape, numbers) for name, shape in shapes.items()}
    first = next(iter(agent.policy.parameter_shapes.values()))
    for name, used, size in (
        ("observations", agent.observation_scaling is not None, first[-1]),
        ("returns", agent.reward_scaling is not None, 1),
    ):
        if used:
            expected |= {f"{name}.{field}": ((size,), {torch.float64}) for field in ("mean", "squares")}
            expected[f"{name}.count"] = ((), {torch.float64})
    return expected


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], dtypes: set[torch.dtype], where: str) -> None:
    if tuple(tensor.shape) != shape:
        raise InputError(f"{where}: {name} has shape {tuple(tensor.shape)}, not {shape}", _HINT)
    if tensor.dtype not in dtypes:
        raise InputError(f"{where}: {name} has type {tensor.dtype}", _HINT)
    if not torch.isfinite(tensor).all():
        raise NonFiniteError(f"{where}: {name} is not finite", "use an earlier checkpoint")
    if (name.rsplit(".", 1)[-1] in _NOT_NEGATIVE or ".exp_avg_sq." in name) and (tensor < 0).any():
        raise InputError(f"{where}: {name} has negative numbers", _HINT)
