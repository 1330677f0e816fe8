"""Offer the kernels of ``fused_cpu`` in JAX, as pure functions and as modules for Flax.

>>> import lstm_impl.jax
>>> from flax import nnx
>>> cell = nnx.OptimizedLSTMCell(16, 32, rngs=nnx.Rngs(0))
>>> y = lstm_impl.jax.LSTM(cell)(x)  # as nnx.RNN(cell)(x)
>>> y = lstm_impl.jax.GRU(nnx.GRUCell(16, 32, rngs=nnx.Rngs(0)))(x)

Importing this module imports JAX, and ``LSTM`` and ``GRU`` import Flax. Importing ``lstm_impl``
imports neither.
"""

from typing import Any

from lstm_impl.backends.jax.fused_layer import fused_gru_layer, fused_layer

__all__ = ["GRU", "LSTM", "fused_gru_layer", "fused_layer"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name not in ("GRU", "LSTM"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lstm_impl.backends.jax import flax_layer

    return getattr(flax_layer, name)
