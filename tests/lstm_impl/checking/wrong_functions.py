"""Give wrong backends as plain functions: those of the gate's tests, and mistakes users made.

``WRONG`` has, for each, the function, how it is declared, and the names of the causes that are
right. Each function takes ``x, h, c, kernel, recurrent_kernel, bias`` and knows nothing of a
``Backend``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstm_impl import LSTMSpec, LSTMWeights, get_backend, reference
from lstm_impl.backends.others.numpy_loop import NumPyModel
from lstm_impl.call import Call, Upstream
from lstm_impl.weights import LayerWeights, LSTMState
from tests.bench.worker import test_wrong_backends as timed
from tests.lstm_impl.proof import test_check as gate_tests
from tests.lstm_impl.proof import test_wrong_kernels as kernel_tests

Function = Callable[..., Any]


@dataclass(frozen=True)
class WrongFunction:
    """Hold a wrong function, its gradients, more arguments of ``check`` and the right causes."""

    function: Function
    causes: tuple[str, ...]
    backward: Function | None = None
    options: dict[str, Any] = field(default_factory=dict)


def spec_like(x: Any, h: Any, dtype: str = "float32") -> LSTMSpec:
    return LSTMSpec(x.shape[-1], h.shape[-1], dtype=dtype)


def right(x: Any, h: Any, c: Any, *arrays: Any) -> Any:
    spec = spec_like(x, h)
    weights = LSTMWeights(((LayerWeights(*arrays),),))
    y, state = reference.forward(spec, weights, x, LSTMState(h[None], c[None]))
    return tuple(each.astype(np.float32) for each in (y, state.h[0], state.c[0]))


def right_gradients(x: Any, h: Any, c: Any, *rest: Any) -> Any:
    *arrays, dy, dh, dc = rest
    spec = spec_like(x, h)
    weights = LSTMWeights(((LayerWeights(*arrays),),))
    states = (LSTMState(each[0][None], each[1][None]) for each in ((h, c), (dh, dc)))
    given, flow = states
    _, _, found = reference.forward_and_gradients(spec, weights, x, dy, given, flow)
    return [found.x, found.state.h[0], found.state.c[0], *found.weights.arrays()]


def with_changed_weights(change: Callable[[LayerWeights], LayerWeights]) -> Function:
    def function(x: Any, h: Any, c: Any, *arrays: Any) -> Any:
        return right(x, h, c, *change(LayerWeights(*arrays)))

    return function


def with_changed_gradients(change: Callable[[Any], Any]) -> Function:
    """Return a backward function that changes the gradients of a right one."""

    def backward(x: Any, h: Any, c: Any, *rest: Any) -> Any:
        *arrays, dy, dh, dc = rest
        spec, weights = spec_like(x, h), LSTMWeights(((LayerWeights(*arrays),),))
        model = NumPyModel(get_backend("numpy"), spec, "cpu", False, weights)
        call = Call(x, (h[None], c[None]))
        raw = change(model._train("all", call, Upstream(dy, (dh[None], dc[None]))))
        return [raw.dx, *(each[0] for each in raw.dstates), *raw.weights.arrays()]

    return backward


def of_model(model: type[Any], dtype: str = "float32") -> tuple[Function, Function]:
    """Return the function and the gradients of a wrong model."""

    def made(x: Any, h: Any, *arrays: Any) -> Any:
        spec = spec_like(x, h, dtype)
        return model(spec, LSTMWeights(((LayerWeights(*arrays),),)))

    def single(array: Any) -> Any:
        return np.asarray(array, np.float32)

    def function(x: Any, h: Any, c: Any, *arrays: Any) -> Any:
        x, h, c, *rounded = map(single, (x, h, c, *arrays))
        y, states = made(x, h, *rounded)._infer(Call(x, (h[None], c[None])))
        return y, states[0][0], states[1][0]

    def backward(x: Any, h: Any, c: Any, *rest: Any) -> Any:
        x, h, c, *arrays, dy, dh, dc = map(single, (x, h, c, *rest))
        call, flow = Call(x, (h[None], c[None])), Upstream(dy, (dh[None], dc[None]))
        raw = made(x, h, *arrays)._train("all", call, flow)
        return [raw.dx, *(each[0] for each in raw.dstates), *raw.weights.arrays()]

    return function, backward


def of_timed(model: type[Any]) -> tuple[Function, Function]:
    """Return a model of the suite's attack tests, which keeps what it remembers."""
    kept: dict[Any, Any] = {}

    def made(x: Any, h: Any, *arrays: Any) -> Any:
        key = (x.shape, h.shape)
        weights = LSTMWeights(((LayerWeights(*arrays),),))
        if key not in kept:
            kept[key] = model(get_backend("numpy"), spec_like(x, h), "cpu", False, weights)
        kept[key]._set_weights(weights)
        return kept[key]

    def function(x: Any, h: Any, c: Any, *arrays: Any) -> Any:
        y, states = made(x, h, *arrays)._infer(Call(x, (h[None], c[None])))
        return y, states[0][0], states[1][0]

    def backward(x: Any, h: Any, c: Any, *rest: Any) -> Any:
        *arrays, dy, dh, dc = rest
        call, flow = Call(x, (h[None], c[None])), Upstream(dy, (dh[None], dc[None]))
        raw = made(x, h, *arrays)._train("all", call, flow)
        return [raw.dx, *(each[0] for each in raw.dstates), *raw.weights.arrays()]

    return function, backward


WEIGHTS = {
    "input_and_forget_gate_swapped": "exchanged gates",
    "forget_gate_and_candidate_swapped": "exchanged gates",
    "candidate_and_output_gate_swapped": "exchanged gates",
    "input_and_output_gate_swapped": "exchanged gates",
    "forget_bias_dropped": "forget bias",
    "bias_dropped": "biases",
    "recurrent_kernel_transposed": "transposed kernel",
    "recurrence_dropped": "missing product",
}

GRADIENTS = {
    "bias_step_doubled": "scaled gradient",
    "kernel_gradient_dropped": "missing gradient",
    "recurrent_gradient_negated": "scaled gradient",
    "dx_reversed_in_time": "exchanged gradients",
    "dh_and_dc_swapped": "exchanged gradients",
    "state_gradient_cut": "missing gradient",
    "dx_is_nan": "not finite",
}

KERNELS = {
    "last_recurrent_row": "dropped rows",
    "last_4_recurrent_rows": "dropped rows",
    "last_32_recurrent_rows": "dropped rows",
    "last_row_in_training": "dropped rows",
    "last_input_row": "dropped rows",
    "first_column": "dropped columns",
    "last_column_of_f": "dropped columns",
    "last_column_of_o": "dropped columns",
    "sums_in_bfloat16": "lower precision",
    "cell_in_bfloat16": "lower precision",
    "one_gate_of_a_kernel_smaller": "scaled gradient",
    "one_gate_of_a_recurrent_kernel_smaller": "scaled gradient",
    "tanh_clamped_at_4": "another cell",
    "no_gradient_of_open_gates": "wrong derivative",
    "gradients_clipped_at_100": "clipped gradients",
    "inputs_clipped_at_100": "changed input",
    "small_inputs_are_zero": "changed input",
    "recurrent_weights_clipped_at_1": "clipped weights",
    "nan_is_zero": "changed input",
    "nan_is_zero_in_training": "changed input",
    "infinity_is_1": "changed input",
    "nan_in_all_sequences": "changed results",
}

TIMED = {
    "raises_forget_biases": "forget bias",
    "zeros_for_zeros": "changed results",
    "zeros_for_zero_sequences": "changed results",
    "repeats": "changed results",
    "repeats_later": "changed results",
    "last_gradient_dropped": "missing gradient",
    "keeps_the_first_state": "state",
}
"""Of the attack tests those that are wrong in the function itself. The others update weights, keep
results back, overwrite memory or are wrong in some timed calls only."""

STREAMS = {
    "StateNotKept": "state",
    "CellNotKept": "state",
    "StateKeptOfTheBeginning": "state",
    "StateOfAnotherSequence": "state",
    "StateInFewerDigits": "lower precision",
    "EveryOtherChunk": "earlier results",
}


def of_stream(model: type[Any]) -> Function:
    """Return a model of a stream that is wrong in ``_stream``."""
    kept: dict[Any, Any] = {}

    def function(x: Any, h: Any, c: Any, *arrays: Any) -> Any:
        key = (x.shape, h.shape)
        if key not in kept:
            kept[key] = model(spec_like(x, h))
        kept[key]._set_weights(LSTMWeights(((LayerWeights(*arrays),),)))
        y, states = kept[key]._stream(Call(x, (h[None], c[None])))
        return y, states[0][0], states[1][0]

    return function


def every_function() -> Iterator[tuple[str, WrongFunction]]:
    for name, cause in WEIGHTS.items():
        change = gate_tests.WEIGHT_MUTATIONS[name]
        yield name, WrongFunction(with_changed_weights(change), (cause,))
    for name, cause in GRADIENTS.items():
        backward = with_changed_gradients(gate_tests.GRADIENT_MUTATIONS[name])
        yield name, WrongFunction(right, (cause,), backward)
    for name, cause in KERNELS.items():
        model, dtypes, workload, _ = kernel_tests.WRONG[name]
        function, gradients = of_model(model, dtypes[0])
        sizes = {"input_size": 5, "hidden_size": 36, "batch": 4, "timesteps": 6}
        options = {"dtype": dtypes[0], **sizes}
        given = gradients if workload.training else None
        yield name, WrongFunction(function, (cause,), given, options)
    for name, cause in TIMED.items():
        wrong = timed.WRONG[name]
        function, gradients = of_timed(wrong.model)
        given = gradients if wrong.workloads[0].training else None
        yield name, WrongFunction(function, (cause,), given)
    for name, cause in STREAMS.items():
        stream = next(each for each in gate_tests.WRONG_STREAMS if each.__name__ == name)
        yield name, WrongFunction(of_stream(stream), (cause,))


WRONG = dict(every_function())
