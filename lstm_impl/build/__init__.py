"""Compile the kernels of ``fused_cpu`` before they are first used."""

from pathlib import Path

from lstm_impl.availability import UnavailableError
from lstm_impl.registry import get_backend


def build() -> dict[str, Path]:
    """Compile the kernels for this CPU and for each installed framework.

    Kernels that were compiled before are kept. Without this function, they are compiled on first
    use: a backend that you name waits for the compiler, whereas ``backend="auto"`` of the Keras
    layer compiles in a background thread.

    Returns
    -------
    dict of str to Path
        The shared library of each backend, which was compiled here or fits from a prebuilt one:
        ``fused_cpu``, ``jax_fused_cpu``, and ``numpy_fused``, which ``torch_fused_cpu`` uses too.

    Raises
    ------
    UnavailableError
        If no library can be made, for example because there is no compiler. The message gives the
        reason for each backend.
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
