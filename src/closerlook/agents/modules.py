"""A user's torch modules, as they are taken over: copied, freed of what only trains them, checked."""

import copy
import copyreg
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from closerlook.errors import InputError, users_code

_WRAPPERS = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
_PRECISIONS = (torch.float32, torch.float64)
_MOST_NAMED = 4


def take_over(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """Return a copy of a module that can be called with other parameters: in evaluation mode, on the CPU.

    What only speeds up or spreads out (`torch.compile`, `DataParallel`) is taken off.

    Parameters
    ----------
    module : torch.nn.Module
        The user's; it is not touched.
    name : str
        What it is, for messages: ``"policy"`` or ``"critic"``.

    Raises
    ------
    InputError
        Where it is no module, cannot be copied, is compiled by torch.jit or quantized, or has parameters without shape,
        without numbers, in half precision or with hooks on their gradients.
    """
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"the {name} is a {type(module).__name__}", "give a torch.nn.Module")
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        what = f"the {name} is compiled by torch.jit, so that its parameters cannot be exchanged for others"
        raise InputError(what, "give the module that it was made from")
    quantized = [type(part).__name__ for part in module.modules() if ".quantized" in type(part).__module__]
    if quantized:
        what = f"the {name} is quantized ({quantized[0]}), and whole numbers have no gradient"
        raise InputError(what, "give the module that it was made from")
    _require_numbers(module, name)
    with users_code(f"the copy of the {name}", "keep what cannot be copied (files, environments, locks) out of it"):
        copied = _without_wrappers(copy_module(module))
    _tell_of_training_mode(copied, name)
    _tell_of_frozen(copied, name)
    for part in copied.modules():
        if isinstance(part, torch.nn.Embedding | torch.nn.EmbeddingBag):
            part.sparse = False  # the same gradient, all of it
    _let_travel(copied)
    return copied.eval().cpu()


def copy_module(module: torch.nn.Module) -> torch.nn.Module:
    """Copy a module deeply, even where it keeps tensors that were computed, like a product or a cache of forward().

    Those are what `copy.deepcopy` refuses; they become plain numbers.
    """
    # deepcopy refuses tensors that were computed from others (old weight_norm): a detached copy takes their place
    kept = [tensor for part in module.modules() for tensor in vars(part).values() if isinstance(tensor, Tensor)]
    return copy.deepcopy(module, {id(tensor): tensor.detach().clone() for tensor in kept if not tensor.is_leaf})


def trainable(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that training moves, by name, in the module's order."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def fixed(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return what else decides what a module answers, by name: frozen parameters and buffers."""
    frozen = {name: tensor.detach() for name, tensor in module.named_parameters() if not tensor.requires_grad}
    return frozen | dict(module.named_buffers())


def inputs_of_first_layer(module: torch.nn.Module) -> int | None:
    """Return how many numbers the first layer takes, None where that does not say how many an observation has."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            return layer.in_features
        if isinstance(layer, torch.nn.RNNBase | torch.nn.RNNCellBase):
            return layer.input_size
        if isinstance(layer, _ConvNd | torch.nn.Embedding | torch.nn.EmbeddingBag | torch.nn.Bilinear):
            return None
    return None


def named(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _require_numbers(module: torch.nn.Module, name: str) -> None:
    for own, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise InputError(f"{own} of the {name} has no shape yet", "call the module once on an observation first")
        if parameter.is_meta:
            raise InputError(f"{own} of the {name} is on the device meta, without numbers", "load its weights first")
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            what = f"{own} of the {name} has a hook on its gradient, which is not followed"
            raise InputError(what, "take the hook off (its handle's remove()), or let forward() do what it does")
        if parameter.requires_grad and parameter.dtype not in _PRECISIONS:
            kind = str(parameter.dtype).removeprefix("torch.")
            what = f"{own} of the {name} is {kind}, too coarse or no number to take gradients of"
            raise InputError(what, f"give the {name} in single precision, {name}.float()")


def _let_travel(module: torch.nn.Module) -> None:
    """Let parametrized parts be pickled, which torch refuses."""
    # torch gives each parametrized part a class of its own, which raises when asked for its state
    for part in module.modules():
        if parametrize.is_parametrized(part):
            copyreg.pickle(type(part), _parametrized_form)


def _parametrized_form(part: Any) -> tuple[Callable[..., Any], tuple[type, Mapping[str, Any]]]:
    return _parametrized_anew, (parametrize.type_before_parametrizations(part), vars(part))


def _parametrized_anew(kind: type[torch.nn.Module], held: Mapping[str, Any]) -> Any:
    """Build a parametrized part of what it was before and what it holds, as torch does when it copies one."""
    part: Any = kind.__new__(kind)
    vars(part).update(held)
    parametrize._inject_new_class(part)
    for name in part.parametrizations:
        parametrize._inject_property(part, name)
    _let_travel(part)
    return part


def _without_wrappers(module: torch.nn.Module) -> torch.nn.Module:
    """Replace wrappers, at the top and within, by what they hold; torch.compile's keeps it as ``_orig_mod``."""
    # torch.compile keeps the module as _orig_mod, DataParallel as module; names of parameters are those within
    while isinstance(module, _WRAPPERS) or "_orig_mod" in dict(module.named_children()):
        module = module.module if isinstance(module, _WRAPPERS) else module.get_submodule("_orig_mod")
    for name, child in module.named_children():
        bare = _without_wrappers(child)
        if bare is not child:
            setattr(module, name, bare)
    return module


def _tell_of_training_mode(module: torch.nn.Module, name: str) -> None:
    """Say so where evaluation mode, which a module is measured in, answers otherwise than the mode it is in."""
    parts = {own: part for own, part in module.named_modules() if part.training}
    dropped = [own or name for own, part in parts.items() if isinstance(part, _DropoutNd) and part.p > 0]
    averaged = [own or name for own, part in parts.items() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if dropped or averaged:
        warnings.warn(
            f"the {name} is measured in evaluation mode, as after {name}.eval(), "
            f"which changes what {named(dropped + averaged)} does",
            stacklevel=4,
        )


def _tell_of_frozen(module: torch.nn.Module, name: str) -> None:
    frozen = [own for own, parameter in module.named_parameters() if not parameter.requires_grad]
    if frozen and trainable(module):
        is_are = "is" if len(frozen) == 1 else "are"
        what = f"{named(frozen)} of the {name} {is_are} frozen (requires_grad=False)"
        warnings.warn(f"{what}: left out of gradients and updates", stacklevel=4)
