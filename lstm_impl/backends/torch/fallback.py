"""Say why the kernels of ``fused_cpu`` cannot compute a PyTorch module, and warn once.

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
"""The types of devices on which the kernels compute, or on which PyTorch computes only shapes."""

"""What computes in place of the kernels, for warnings."""


def obstacle(dtype: Any, device: Any, proj_size: int, module: str) -> str:
    """Return why the kernels cannot compute a call here, or an empty string.

    This compiles the kernels first if necessary. ``module`` is the name of the class of
    ``torch.nn`` that computes if they cannot be used.
    """
    return obstacle_of_tensors(dtype, device, proj_size) or problem_of_kernels(module)


def obstacle_of_tensors(dtype: Any, device: Any, proj_size: int) -> str:
    """Return why the kernels cannot compute with tensors of this kind, or an empty string."""
    if proj_size:
        return f"the kernels do not support proj_size, which is {proj_size}"
    if device.type not in DEVICES:
        return f"the kernels run on a CPU, and this call is on {device.type}"
    if dtype not in COMPUTE_DTYPES:
        return library.unsupported_type(str(dtype).removeprefix("torch."))
    return ""


# Dynamo cannot trace these functions. It calls them once for each program.
@torch.compiler.assume_constant_result
def problem_of_kernels(module: str) -> str:
    """Return why the kernels cannot be loaded, or an empty string. Log the reason once."""
    usable = library.usable(library.C, c_interface.kernels, f"torch.nn.{module} computes")
    return "" if usable else str(usable)


@torch.compiler.assume_constant_result
def warn_once(why_not: str, module: str) -> None:
    """Log why PyTorch's own code computes, once for each reason and module."""
    if not problem_of_kernels(module):  # Otherwise the library has logged a warning.
        _warn(why_not, module)


@functools.cache
def _warn(why_not: str, module: str) -> None:
    logger.warning(
        "lstm_impl.torch.%s: %s; torch.nn.%s computes in their place", module, why_not, module
    )
