"""Compute an LSTM or a GRU with many implementations behind one interface.

>>> import lstm_impl
>>> spec = lstm_impl.LSTMSpec(input_size=2, hidden_size=3)
>>> weights = lstm_impl.LSTMWeights.random(spec, seed=0)
>>> model = lstm_impl.get_backend("numpy").build(spec, weights)
>>> y, state = model.forward([[[0.0, 1.0]]])
>>> y.shape
(1, 1, 3)

Importing this package imports no framework. A framework is imported when one of its backends builds
a model.
"""

from typing import TYPE_CHECKING, Any

from lstm_impl.availability import Availability, Package, UnavailableError
from lstm_impl.backend import Backend
from lstm_impl.build import build
from lstm_impl.call import Call, Outputs, RawGradients, Request, Step, Upstream
from lstm_impl.evidence import Event, Evidence, Profile
from lstm_impl.frameworks import Framework
from lstm_impl.model import Model
from lstm_impl.registry import get_backend, list_backends
from lstm_impl.spec import (
    GATES,
    PRECISIONS,
    LSTMSpec,
    Refusal,
    RefusalReason,
    UnsupportedError,
    find_refusal_code,
)
from lstm_impl.tuning import tune
from lstm_impl.weights import LayerWeights, LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, Workload, dropout_masks

if TYPE_CHECKING:
    from lstm_impl.checking import CheckResult, check

__all__ = [
    "GATES",
    "PRECISIONS",
    "Availability",
    "Backend",
    "Call",
    "CheckResult",
    "Event",
    "Evidence",
    "Framework",
    "Inputs",
    "LSTMGradients",
    "LSTMSpec",
    "LSTMState",
    "LSTMWeights",
    "LayerWeights",
    "Model",
    "Outputs",
    "Package",
    "Profile",
    "RawGradients",
    "Refusal",
    "RefusalReason",
    "Request",
    "Step",
    "UnavailableError",
    "UnsupportedError",
    "Upstream",
    "Workload",
    "build",
    "check",
    "dropout_masks",
    "find_refusal_code",
    "get_backend",
    "list_backends",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import ``check`` or ``CheckResult`` on first use, because their module imports backends."""
    if name in ("CheckResult", "check"):
        from lstm_impl import checking

        found = globals()[name] = getattr(checking, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all public names, including those that have not been imported yet."""
    return sorted({*globals(), *__all__})
