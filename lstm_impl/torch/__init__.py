"""Offer ``torch.nn.LSTM`` and ``torch.nn.GRU`` with the kernels of ``fused_cpu``, for a CPU.

>>> import lstm_impl.torch
>>> layer = lstm_impl.torch.LSTM(16, 32, num_layers=2, bidirectional=True)
>>> theirs = torch.nn.LSTM(16, 32, num_layers=2, bidirectional=True)
>>> layer.load_state_dict(theirs.state_dict())  # The other direction works too.

``lstm_impl.torch.GRU`` takes the place of ``torch.nn.GRU`` in the same way.

``accelerate(model)`` replaces the LSTMs and GRUs of an existing model by these layers, and
``decelerate(model)`` makes them PyTorch's own again.

Importing this package imports PyTorch. Importing ``lstm_impl`` does not. A program that
``torch.export`` has saved can be loaded after this package was imported.
"""

from lstm_impl.backends.torch.fused_layer import fused_gru_layer, fused_layer
from lstm_impl.torch.conversion import AcceleratedGRU, AcceleratedLSTM, accelerate, decelerate
from lstm_impl.torch.layer import GRU, LSTM

__all__ = [
    "GRU",
    "LSTM",
    "AcceleratedGRU",
    "AcceleratedLSTM",
    "accelerate",
    "decelerate",
    "fused_gru_layer",
    "fused_layer",
]
