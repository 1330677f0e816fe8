"""Compile the kernels of ``fused_cpu`` before they are first used."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_impl.availability import UnavailableError
from lstm_impl.registry import get_backend

if TYPE_CHECKING:
    from lstm_impl.backends.fused_cpu.library import Binding


def build(backends: Iterable[str] | None = None) -> dict[str, Path]:
    """Compile the kernels for this CPU and for each installed framework.

    Kernels that were compiled before are kept. Without this function, they are compiled on first
    use: a backend that you name waits for the compiler, whereas ``backend="auto"`` of the Keras
    layer compiles in a background thread.

    Parameters
    ----------
    backends
        The ids of the backends that the kernels are for. A backend without kernels needs nothing.
        None means every installed framework.

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
    UnsupportedError
        If there is no backend of a given name.
    """
    from lstm_impl.backends.fused_cpu import library

    bindings = [library.C, library.TENSORFLOW, library.JAX]
    if backends is not None:
        wanted = {_find_binding(name) for name in backends}
        bindings = [each for each in bindings if each in wanted]
    found, reasons = {}, []
    for binding in bindings:
        available = get_backend(binding.backend).availability("cpu")
        if available:
            found[binding.backend] = library.build(binding)
        else:
            reasons.append(f"{binding.backend}: {available}")
    if not found and bindings:
        raise UnavailableError("; ".join(reasons))
    return found


def uses_kernels(backend: str) -> bool:
    """Return whether a backend calls the kernels. Raise UnsupportedError for an unknown name."""
    return _find_binding(backend) is not None


def must_compile() -> bool:
    """Return whether the first use of a backend with kernels would compile them.

    The result is False where the kernels cannot be compiled, because these backends then compute
    nothing. The bindings of TensorFlow and JAX are not looked for, since that would import these
    frameworks. Compiling a binding takes a small part of the time that the kernels take.
    """
    from lstm_impl.backends.fused_cpu import library

    return bool(library.available_to(library.C)) and library.find_compiled(library.C) is None


def _find_binding(backend: str) -> "Binding | None":
    """Return the binding through which a backend calls the kernels, or None if it has none."""
    from lstm_impl.backends.fused_cpu.library import KernelBackend

    found = get_backend(backend)
    return found.binding if isinstance(found, KernelBackend) else None
