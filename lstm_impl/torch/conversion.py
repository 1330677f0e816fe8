"""Replace the LSTMs and GRUs of a PyTorch model by the layers of this package, and put them back.

A module keeps its identity and only changes its class. So its parameters, their names, the state of
the optimizer, hooks, the training mode and all attributes stay the same.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable
from typing import Any, Self, TypeVar

import torch

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.torch.fallback import obstacle_of_tensors
from lstm_impl.torch.layer import GRU, LSTM, RecurrentLayer

Model = TypeVar("Model", bound=torch.nn.Module)
PrintFunction = Callable[[str], object]


class AcceleratedLayer(RecurrentLayer):
    """Share what the modules have in common whose class ``accelerate`` has changed.

    Pickles and files of ``torch.save`` contain PyTorch's class, so that they load without this
    library. A copy by ``copy.deepcopy`` stays accelerated.
    """

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Return what a pickle contains: PyTorch's class and the state."""
        state = self.__getstate__()
        state.pop("_prepacked", None)
        # The first protocols of pickle write this for every object.
        return copyreg._reconstructor, (self.torch_module, object, None), state  # type: ignore[attr-defined]

    def __copy__(self) -> Self:
        return self._restore_copy(self.__getstate__())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return made

    def _restore_copy(self, state: dict[str, Any]) -> Self:
        made = type(self).__new__(type(self))
        made.__setstate__(state)
        return made


class AcceleratedLSTM(AcceleratedLayer, LSTM):
    """Compute a ``torch.nn.LSTM`` whose class ``accelerate`` has changed."""


class AcceleratedGRU(AcceleratedLayer, GRU):
    """Compute a ``torch.nn.GRU`` whose class ``accelerate`` has changed."""


_ACCELERATED = {each.torch_module: each for each in (AcceleratedLSTM, AcceleratedGRU)}
"""The class that replaces each class of PyTorch."""

_OWN = (LSTM, GRU, AcceleratedLSTM, AcceleratedGRU)
"""The classes of layers that ``decelerate`` turns into modules of PyTorch."""


def accelerate(model: Model, print_fn: PrintFunction | None = print) -> Model:
    """Replace every ``torch.nn.LSTM`` and ``GRU`` of a model by a layer of this package, in place.

    Parameters, their names, the state of the optimizer, hooks, the training mode,
    ``requires_grad``, types and options stay the same, and so does ``state_dict``. A seed gives the
    same dropout masks. Files of ``torch.save`` contain PyTorch's modules and load without this
    library.

    Parameters
    ----------
    model : torch.nn.Module
        A model that contains LSTMs or GRUs, or one of these.
    print_fn : callable or None
        A function that is called with one line for each LSTM and GRU, which says what the module is
        now or why it was kept. None prints nothing.

    Returns
    -------
    torch.nn.Module
        The same object.

    Raises
    ------
    TypeError
        If ``model`` is not a module of PyTorch.

    Notes
    -----
    A module that the kernels cannot compute stays the same. This is a module with ``proj_size``,
    with a type other than float32 and bfloat16, on a device other than a CPU, of a subclass, or
    with a ``forward`` of its own. The replacement is a ``torch.nn.RNNBase``, but not a
    ``torch.nn.LSTM`` or ``GRU``. Code that uses ``isinstance`` must test for the base class, or run
    before ``accelerate``.
    """
    return _convert(model, _accelerate, print_fn)


def decelerate(model: Model, print_fn: PrintFunction | None = print) -> Model:
    """Turn every layer of this package in a model into a ``torch.nn.LSTM`` or ``GRU``, in place.

    Parameters
    ----------
    model : torch.nn.Module
        A model that ``accelerate`` has changed, or that was made with ``lstm_impl.torch.LSTM`` or
        ``GRU``.
    print_fn : callable or None
        A function that is called with one line for each LSTM and GRU. None prints nothing.

    Returns
    -------
    torch.nn.Module
        The same object.

    Raises
    ------
    TypeError
        If ``model`` is not a module of PyTorch.
    """
    return _convert(model, _decelerate, print_fn)


def _convert(model: Model, convert: Callable[[Any], str], print_fn: PrintFunction | None) -> Model:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"the model is a {type(model).__name__}; expected a torch.nn.Module")
    lines = [
        f"{name or type(model).__name__}: {convert(module)}"
        for name, module in model.named_modules()
        if _is_recurrent(module)
    ]
    for line in lines or [f"{type(model).__name__}: it has no LSTM or GRU"]:
        if print_fn is not None:
            print_fn(line)
    return model


def _is_recurrent(module: Any) -> bool:
    """Return whether a module is an LSTM or GRU of PyTorch or of this package.

    It may have been compiled by TorchScript.
    """
    name = getattr(module, "original_name", type(module).__name__)  # TorchScript has the former.
    return isinstance(module, (*_ACCELERATED, RecurrentLayer)) or name in ("LSTM", "GRU")


def _accelerate(module: Any) -> str:
    """Accelerate a module if the kernels can compute it, and return a line about it."""
    if isinstance(module, RecurrentLayer):
        return f"it is lstm_impl.torch.{type(module).__name__} already"
    name = _qualified_name(module)
    if reason := _obstacle(module):
        return f"{name} is kept: {reason}"
    module.__class__ = made = _ACCELERATED[type(module)]
    return f"{name} is now lstm_impl.torch.{made.__name__}"


def _decelerate(module: Any) -> str:
    """Turn a layer of this package into one of PyTorch, and return a line about it."""
    if type(module) not in _OWN:
        return f"{_qualified_name(module)} is kept"
    name = type(module).__name__
    vars(module).pop("_prepacked", None)
    module.__class__ = made = module.torch_module
    module.flatten_parameters()  # PyTorch does this on a GPU.
    return f"lstm_impl.torch.{name} is now torch.nn.{made.__name__}"


def _obstacle(module: Any) -> str:
    """Return why a module of PyTorch cannot be replaced, or an empty string."""
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript has compiled it; accelerate the model instead of compiling it"
    if type(module) not in _ACCELERATED:
        return "its class may compute something else"
    if "forward" in vars(module):
        return "its forward was replaced by a function that may compute something else"
    weight = module.weight_ih_l0
    if reason := obstacle_of_tensors(weight.dtype, weight.device, module.proj_size):
        return reason
    available = library.available_to(library.C)
    return "" if available else str(available)


def _qualified_name(module: Any) -> str:
    kind = type(module)
    package = "torch.nn" if kind in _ACCELERATED else kind.__module__
    return f"{package}.{kind.__qualname__}"
