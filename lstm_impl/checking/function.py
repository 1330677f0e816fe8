"""Let the gate check a function that computes one layer: ``x, h, c, weights`` to ``y, h, c``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lstm_impl.backend import Backend
from lstm_impl.call import Call, Outputs, RawGradients, Tensor, Upstream
from lstm_impl.cell import Cell
from lstm_impl.checking.arrays import ArrayKind, NotDifferentiableError
from lstm_impl.checking.layout import (
    CallLayout,
    TargetError,
    flatten,
    format_shapes,
    get_shape,
    name_results,
)
from lstm_impl.model import Model
from lstm_impl.spec import Array, FloatArray, LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload, select_differentiated


class TargetModel(Model):
    """Run a target as a model. If the target does not return y or a state, NaN takes its place."""

    backend: TargetBackend

    def probe(self, workload: Workload) -> bool:
        """Call the target once, and return whether its gradients can be computed.

        The call shows which of y and the final states the target returns, and in which layout.

        Raises
        ------
        TargetError
            If the call fails, or if an array does not have the shape that the declared layout
            implies.
        """
        raise NotImplementedError

    def _to_host(self, tensor: Tensor) -> Array:
        if isinstance(tensor, np.ndarray):
            return tensor.copy()
        raise TypeError(type(tensor).__name__)

    def _fill_missing(self, call: Call, results: dict[str, FloatArray]) -> Outputs:
        """Return named results as outputs. NaN fills what the target does not return."""
        timesteps, batch = call.x.shape[:2]
        shape = (timesteps, batch, self.spec.output_size)
        y = results.get("y", np.full(shape, np.nan))
        states = (self.spec.state_layers, batch, self.spec.hidden_size)
        if self.batch_major:
            states = (states[0], timesteps, states[2])
        empty = np.full(states, np.nan)
        return Outputs(y, tuple(results.get(name, empty) for name in self.spec.cell.states))


class TargetBackend(Backend):
    """Present a target to the gate as a backend.

    Parameters
    ----------
    label
        The name of the target in messages.
    nan_is_hidden
        Whether a NaN in the input may become a number.
    """

    strategy = "target"
    framework = "target"
    summary = "an implementation to check"
    cells = None
    bf32 = True
    bf16x3 = True

    def __init__(self, label: str, nan_is_hidden: bool = False) -> None:
        super().__init__()
        self.label, self._nan_is_hidden = label, nan_is_hidden

    @property
    def name(self) -> str:
        return self.label

    @property
    def hides_nan(self) -> bool:
        return self._nan_is_hidden

    no_gradients = (
        "NumPy cannot differentiate; name a function that computes gradients with --backward"
    )
    """The reason why gradients cannot be checked, for a target that does not train."""

    def prefers_batch_major(self) -> bool:
        """Return whether the target takes and returns sequences as ``[B, T, F]``."""
        return False


class FunctionModel(TargetModel):
    """Run a function with the weights of one layer in the function's own layout."""

    backend: FunctionBackend
    _arrays: ArrayKind
    _weights: LSTMWeights
    _placed: list[Tensor]

    def _open(self, weights: LSTMWeights) -> None:
        self._arrays = self.backend.kind(self.spec, self.device)
        self._set_weights(weights)

    def _to_device(self, array: Array) -> Tensor:
        return array

    def get_weights(self) -> LSTMWeights:
        return self._weights

    def _set_weights(self, weights: LSTMWeights) -> None:
        self._weights = weights
        packed = self.backend.pack(self.spec, weights)
        self._placed = [self._arrays.place(each) for each in packed]

    def synchronize(self) -> None:
        self._arrays.synchronize()

    # -- arguments. They form one list of tensors: x, the states, the weights, and perhaps the
    # lengths.

    def _list_tensors(self, call: Call) -> list[Tensor]:
        layout, place = self.backend.layout, self._arrays.place
        states = [each if layout.leading_axis else each[0] for each in call.states]
        lengths = [] if call.lengths is None else [place(call.lengths)]
        return [place(call.x), *map(place, states), *self._placed, *lengths]

    def _call(self, *leaves: Tensor) -> list[Tensor]:
        count = 1 + len(self.spec.cell.states)
        end = count + len(self._placed)
        lengths = leaves[end] if len(leaves) > end else None
        results = self.backend.compute(
            self.spec, leaves[0], leaves[1:count], leaves[count:end], lengths
        )
        return flatten(results)

    def _name_arrays(self, arrays: Sequence[FloatArray]) -> dict[str, FloatArray]:
        names = self.backend.returned or ()
        if len(names) != len(arrays):
            raise TargetError(
                f"a call returned {len(arrays)} arrays, {format_shapes(arrays)}; expected "
                f"{len(names)}, as the first call returned"
            )
        found = dict(zip(names, arrays, strict=True))
        for name in self.spec.cell.states:
            if name in found and found[name].ndim == 2:
                found[name] = found[name][None]
        return found

    def _infer(self, call: Call) -> Outputs:
        results = self._arrays.call(self._call, self._list_tensors(call))
        return self._fill_missing(
            call, self._name_arrays([self._arrays.to_numpy(each) for each in results])
        )

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        backend, spec = self.backend, self.spec
        leaves, returned = self._list_tensors(call), backend.returned or ()
        states = dict(zip(spec.cell.states, upstream.dstates, strict=True))
        flows = [upstream.dy if name == "y" else states[name] for name in returned]
        count = 1 + len(spec.cell.states)
        taken = backend.layout.takes_state(spec.cell)
        inputs = select_differentiated(gradients, 0, *(range(1, count) if taken else ()))
        chosen = [*inputs, *range(count, count + len(self._placed))]
        if backend.backward is not None:
            results: Sequence[Tensor]
            results, found = self._differentiate(leaves, flows, chosen)
        else:
            results, found = self._arrays.gradients(self._call, leaves, chosen, flows)
        named = self._name_arrays([self._arrays.to_numpy(each) for each in results])
        by_number = dict(zip(chosen, found, strict=True))
        outputs = self._fill_missing(call, named)
        dx = by_number.get(0)
        shape = call.states[0].shape
        missing = np.full(shape, np.nan)
        dstates = tuple(
            by_number[number].reshape(shape) if number in by_number else missing
            for number in range(1, count)
        )
        wanted = select_differentiated(gradients, "x", "state")
        return RawGradients(
            *outputs,
            dx if "x" in wanted else None,
            dstates if "state" in wanted else None,
            [by_number[number] for number in range(count, count + len(self._placed))],
        )

    def _differentiate(
        self, leaves: list[Tensor], flows: Sequence[FloatArray], chosen: Sequence[int]
    ) -> tuple[list[Tensor], list[FloatArray]]:
        """Call the target, and compute its gradients with the user's backward function.

        The backward function takes the same arguments and then the gradient of each result. It
        returns one gradient for each argument, in the same order, except for the lengths.
        """
        layout, cell = self.backend.layout, self.spec.cell
        names = ("x", *cell.states, *layout.parameters, "lengths")
        given = order_arguments(layout, cell, dict(zip(names, leaves, strict=False)))
        returned = self.backend.returned or ()
        squeeze = not layout.leading_axis
        placed = [
            self._arrays.place(flow[0] if squeeze and name != "y" else flow)
            for name, flow in zip(returned, flows, strict=True)
        ]
        results = flatten(self.backend.function(*given))
        assert self.backend.backward is not None
        found = flatten(self.backend.backward(*given, *placed))
        order = [
            each
            for name in layout.arguments
            for each in {"state": cell.states, "weights": layout.parameters}.get(name, (name,))
            if each != "lengths"
        ]
        if len(found) != len(order):
            raise TargetError(
                f"the backward function returned {len(found)} arrays, {format_shapes(found)}; "
                f"expected {len(order)}, the gradients of {', '.join(order)}"
            )
        gradients = {
            name: self._arrays.to_numpy(each) for name, each in zip(order, found, strict=True)
        }
        leaf_names = names[: len(leaves)]
        for name, leaf in zip(leaf_names, leaves, strict=True):
            if name in gradients and gradients[name].shape != get_shape(leaf):
                raise TargetError(
                    f"the backward function returned a gradient of {name} with shape "
                    f"{gradients[name].shape}; expected {get_shape(leaf)}"
                )
        return results, [gradients[leaf_names[number]] for number in chosen]

    # -- the first call

    def probe(self, workload: Workload) -> bool:
        inputs = workload.inputs(self.spec)
        x = np.swapaxes(inputs.x, 0, 1) if self.batch_major else inputs.x
        call = Call(x, tuple(inputs.state), inputs.lengths)
        leaves = self._list_tensors(call)
        backend = self.backend
        try:
            results = self._arrays.call(self._call, leaves)
        except Exception as error:
            given = ", ".join(
                f"{name} {get_shape(leaf)}"
                for name, leaf in zip(
                    ("x", *self.spec.cell.states, *backend.layout.parameters, "lengths"),
                    leaves,
                    strict=False,
                )
            )
            raise TargetError(
                f"{backend.name} raised {type(error).__name__}: {_first_line(error)}. It was "
                f"called with ({', '.join(backend.layout.arguments)}), where {given}"
            ) from error
        sizes = workload.timesteps, workload.batch
        backend.returned = name_results(backend.layout, self.spec, *sizes, results)
        backend.takes_state = backend.layout.takes_state(self.spec.cell)
        if backend.backward is None and not self._arrays.differentiates:
            return False
        try:
            ones = [np.ones(get_shape(each), np.float32) for each in results]
            if backend.backward is None:
                self._arrays.gradients(self._call, leaves, [len(call.states) + 1], ones)
        except NotDifferentiableError as error:
            backend.no_gradients = str(error)
            return False
        except Exception as error:
            raise TargetError(
                f"the gradient of {backend.name} raised {type(error).__name__}: "
                f"{_first_line(error)}"
            ) from error
        return True


def order_arguments(layout: CallLayout, cell: Cell, by_name: Mapping[str, Any]) -> list[Any]:
    """Return the arguments of a call in the order of its layout, with groups as one argument."""
    groups = {
        "state": tuple(by_name[name] for name in cell.states),
        "weights": [by_name[name] for name in layout.parameters],
    }
    return [groups.get(name, by_name.get(name)) for name in layout.arguments]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


class FunctionBackend(TargetBackend):
    """Present a function to the gate, with its kind of arrays and its layout."""

    model = FunctionModel

    def __init__(
        self,
        label: str,
        function: Callable[..., Any],
        kind: type[ArrayKind],
        layout: CallLayout,
        backward: Callable[..., Any] | None = None,
        nan_is_hidden: bool = False,
    ) -> None:
        super().__init__(label, nan_is_hidden)
        self.function, self.kind, self.layout, self.backward = function, kind, layout, backward

    def prefers_batch_major(self) -> bool:
        return self.layout.batch_major

    def compute(
        self,
        spec: LSTMSpec,
        x: Tensor,
        states: Sequence[Tensor],
        weights: Sequence[Tensor],
        lengths: Tensor | None,
    ) -> object:
        """Call the function, and return its results in whatever structure it nests them."""
        names = ("x", *spec.cell.states, *self.layout.parameters, "lengths")
        by_name = dict(zip(names, (x, *states, *weights, lengths), strict=True))
        return self.function(*order_arguments(self.layout, spec.cell, by_name))

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.num_layers > 1 or spec.bidirectional:
            return "a function computes one layer in one direction"
        return ""

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        return [array for cell in weights.cells() for array in self.layout.pack(spec.cell, cell)]

    def unpack(
        self, spec: LSTMSpec, arrays: Sequence[FloatArray], gradient: bool = False
    ) -> LSTMWeights:
        count = len(self.layout.parameters)
        cells = [
            self.layout.unpack(spec.cell, arrays[first : first + count], gradient)
            for first in range(0, len(arrays), count)
        ]
        return LSTMWeights.from_cells(spec, cells)
