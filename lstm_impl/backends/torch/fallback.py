"""Say why the kernels of ``fused_cpu`` cannot compute a module of PyTorch, and warn once.

Importing this module imports PyTorch.
"""

import functools
import logging
from typing import Any

import torch

from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.torch.fused_layer import COMPUTE_DTYPES

logger = logging.getLogger(__name__)

DEVICES = ("cpu", "meta")
"""Types of devices on which the kernels compute, or PyTorch computes shapes."""


def obstacle(dtype: Any, device: Any, proj_size: int, module: str) -> str:
    """Return why the kernels cannot compute a call here, or an empty string.

    Compiles them first, where that was not done. module: what computes in their place, the name of
    a class in ``torch.nn``.
    """
    return obstacle_of_tensors(dtype, device, proj_size) or problem_of_kernels(module)


def obstacle_of_tensors(dtype: Any, device: Any, proj_size: int) -> str:
    """Return why the kernels cannot compute with such tensors, or an empty string."""
    if proj_size:
        return f"the kernels have no proj_size, which is {proj_size}"
    if device.type not in DEVICES:
        return f"the kernels are for a CPU, not {device.type}"
    if dtype not in COMPUTE_DTYPES:
        return library.unsupported_type(str(dtype).removeprefix("torch."))
    return ""


# Dynamo, which cannot trace these functions, calls them once for each program.
@torch.compiler.assume_constant_result
def problem_of_kernels(module: str) -> str:
    """Return why the kernels cannot be loaded, or an empty string; log it once as a warning."""
    usable = library.usable(library.C, c_interface.kernels, f"torch.nn.{module} computes")
    return "" if usable else str(usable)


@torch.compiler.assume_constant_result
def warn_once(why_not: str, module: str) -> None:
    """Log why PyTorch's own code computes, once for each reason and module."""
    if not problem_of_kernels(module):  # else that was logged
        _warn(why_not, module)


@functools.cache
def _warn(why_not: str, module: str) -> None:
    logger.warning(
        "lstm_impl.torch.%s: %s; torch.nn.%s computes in their place", module, why_not, module
    )
