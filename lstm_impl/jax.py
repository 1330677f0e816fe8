"""Offer the kernels of ``fused_cpu`` in JAX, as pure functions and as modules for Flax.

>>> import lstm_impl.jax
>>> from flax import nnx
>>> cell = nnx.OptimizedLSTMCell(16, 32, rngs=nnx.Rngs(0))
>>> y = lstm_impl.jax.LSTM(cell)(x)  # as nnx.RNN(cell)(x)
>>> y = lstm_impl.jax.GRU(nnx.GRUCell(16, 32, rngs=nnx.Rngs(0)))(x)

``LinenLSTM`` and ``LinenGRU`` take cells of ``flax.linen``. ``read_cell``, ``write_cell``,
``read_linen_cell`` and ``make_linen_cell`` convert weights.

Importing this module imports JAX, and the modules and conversions import Flax. Importing
``lstm_impl`` imports neither.
"""

import importlib
from typing import Any

from lstm_impl.backends.jax.fused_layer import fused_gru_layer, fused_layer

_OF_FLAX = {
    "GRU": "flax_layer",
    "LSTM": "flax_layer",
    "LinenGRU": "linen_layer",
    "LinenLSTM": "linen_layer",
    "make_linen_cell": "flax_weights",
    "read_cell": "flax_weights",
    "read_linen_cell": "flax_weights",
    "write_cell": "flax_weights",
}
"""The modules that have the names that need Flax."""

__all__ = [*_OF_FLAX, "fused_gru_layer", "fused_layer"]


def __getattr__(name: str) -> Any:
    if name not in _OF_FLAX:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"lstm_impl.backends.jax.{_OF_FLAX[name]}")
    return getattr(module, name)
