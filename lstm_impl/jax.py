"""Offer the kernels of ``fused_cpu`` in JAX, as a pure function and as a module for Flax.

>>> import lstm_impl.jax
>>> from flax import nnx
>>> cell = nnx.OptimizedLSTMCell(16, 32, rngs=nnx.Rngs(0))
>>> y = lstm_impl.jax.LSTM(cell)(x)  # as nnx.RNN(cell)(x)

Importing this module imports JAX, and ``LSTM`` imports Flax. Importing ``lstm_impl`` imports
neither.
"""

from typing import Any

from lstm_impl.backends.jax.fused_layer import fused_gru_layer, fused_layer

__all__ = ["LSTM", "fused_gru_layer", "fused_layer"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name != "LSTM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lstm_impl.backends.jax.flax_layer import LSTM

    return LSTM
