"""One LSTM, many implementations, behind one interface.

>>> import lstm_impl
>>> spec = lstm_impl.LSTMSpec(input_size=2, hidden_size=3)
>>> weights = lstm_impl.LSTMWeights.random(spec, seed=0)
>>> model = lstm_impl.get_backend("numpy").build(spec, weights)
>>> y, state = model.forward([[[0.0, 1.0]]])
>>> y.shape
(1, 1, 3)

Importing this package imports no framework.
"""

from lstm_impl.backend import (
    Availability,
    Backend,
    Model,
    Step,
    UnavailableError,
    get_backend,
    list_backends,
)
from lstm_impl.spec import GATES, PRECISIONS, LSTMSpec, UnsupportedError
from lstm_impl.state import LSTMGradients, LSTMState
from lstm_impl.weights import LayerWeights, LSTMWeights
from lstm_impl.workload import Inputs, Workload, dropout_masks

__all__ = [
    "GATES",
    "PRECISIONS",
    "Availability",
    "Backend",
    "Inputs",
    "LSTMGradients",
    "LSTMSpec",
    "LSTMState",
    "LSTMWeights",
    "LayerWeights",
    "Model",
    "Step",
    "UnavailableError",
    "UnsupportedError",
    "Workload",
    "dropout_masks",
    "get_backend",
    "list_backends",
]
