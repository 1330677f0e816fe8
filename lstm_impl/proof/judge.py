"""Compute the results that count as right, with the float64 reference or a backend proven by it."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lstm_impl.reference as reference
from lstm_impl.proof.comparison import collect_results
from lstm_impl.proof.rounding import estimate_deviations
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs

SHARED_PRODUCT = 1e8
"""The operations of a timestep's products from which several threads are worthwhile, about 5 ms on
one core. OpenBLAS uses several threads for smaller products too, and its threads wait in a busy
loop. Next to another thread pool, 960 timesteps of 2e6 operations took 13 s with two threads and
0.5 s with one."""


@dataclass(frozen=True)
class Judge:
    """Compute the results that count as right.

    Attributes
    ----------
    name
        The name of the judge in records.
    run
        A function of weights, inputs, and the gradient of the final state or None for no gradients.
        It returns arrays by the names that ``collect_results`` gives.
    estimate
        A function of a spec and of the same arguments. It returns the standard deviations of the
        results by rounding. They do not depend on the backend that is judged, so a caller may keep
        them.
    """

    name: str
    run: Callable[[LSTMWeights, Inputs, LSTMState | None], dict[str, FloatArray]]
    estimate: Callable[[LSTMSpec, LSTMWeights, Inputs, LSTMState | None], dict[str, FloatArray]] = (
        estimate_deviations
    )


def limit_threads(spec: LSTMSpec, batch: int) -> contextlib.AbstractContextManager[object]:
    """Limit NumPy's products to one thread if the products of a timestep are small.

    This needs threadpoolctl, which the library does not require. Without it, the results are the
    same, but a small network can take longer to check.
    """
    rows = max(spec.input_size, spec.output_size) + spec.hidden_size
    pools = _find_thread_pools()
    if pools is None or 2.0 * batch * rows * spec.gate_columns >= SHARED_PRODUCT:
        return contextlib.nullcontext()
    return pools.limit(limits=1, user_api="blas")  # type: ignore[no-any-return]


@functools.cache
def _find_thread_pools() -> Any:
    """Find NumPy's thread pools, only once. With a framework loaded, that takes milliseconds.

    Returns
    -------
    threadpoolctl.ThreadpoolController or None
        The pools; None without threadpoolctl.
    """
    if importlib.util.find_spec("threadpoolctl") is None:
        return None
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


def make_numpy_judge(spec: LSTMSpec) -> Judge:
    """Return the float64 NumPy reference as a judge."""

    def run(
        weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None
    ) -> dict[str, FloatArray]:
        x, dy, state = inputs.x, inputs.dy, inputs.state
        rest: Any = (inputs.lengths, inputs.masks, inputs.resets, inputs.reset_to)
        with limit_threads(spec, x.shape[1]):
            if dstate is None:
                return collect_results(*reference.forward(spec, weights, x, state, *rest), None)
            return collect_results(
                *reference.forward_and_gradients(spec, weights, x, dy, state, dstate, *rest)
            )

    return Judge("float64 NumPy reference", run)
