"""Compile the kernels of ``fused_cpu`` ahead of their first use."""

from pathlib import Path

from lstm_impl.availability import UnavailableError
from lstm_impl.registry import get_backend


def build() -> dict[str, Path]:
    """Compile the kernels for this CPU and each framework here, unless that was done before.

    Without it they are compiled on first use: at once by a backend that is named, in a background
    thread by ``backend="auto"`` of the Keras layer.

    Returns
    -------
    dict of str to Path
        By backend the shared library, the compiled one or a prebuilt one that fits: ``fused_cpu``,
        ``jax_fused_cpu``, and ``numpy_fused``, which ``torch_fused_cpu`` uses too.

    Raises
    ------
    UnavailableError
        If there is no compiler, or it fails.
    """
    from lstm_impl.backends.fused_cpu import library

    found, reasons = {}, []
    for binding in (library.C, library.TENSORFLOW, library.JAX):
        available = get_backend(binding.backend).availability("cpu")
        if available:
            found[binding.backend] = library.build(binding)
        else:
            reasons.append(f"{binding.backend}: {available}")
    if not found:
        raise UnavailableError("; ".join(reasons))
    return found
