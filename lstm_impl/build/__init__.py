"""Compile the op of ``fused_cpu`` ahead of its first use."""

from __future__ import annotations

from pathlib import Path

from lstm_impl.availability import UnavailableError
from lstm_impl.registry import get_backend


def build() -> Path:
    """Compile the op of ``fused_cpu`` for this TensorFlow and CPU, unless that was done before.

    Without it the op is compiled on first use: at once by a backend that is named, in a background
    thread by ``backend="auto"`` of the Keras layer.

    Returns
    -------
    Path
        The shared library: the compiled one, or a prebuilt one that fits.

    Raises
    ------
    UnavailableError
        If TensorFlow, its headers or a compiler is missing, or the compiler fails.
    """
    backend = get_backend("fused_cpu")
    if not (available := backend.availability("cpu")):
        raise UnavailableError(f"fused_cpu: {available}")
    from lstm_impl.backends.fused_cpu import library

    return library.build()
