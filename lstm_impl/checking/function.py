"""Let the gate drive a function that computes one layer: ``x, h, c, weights`` to ``y, h, c``."""

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
    array_shape,
    flatten,
    name_results,
    shapes_found,
)
from lstm_impl.model import Model
from lstm_impl.spec import Array, FloatArray, LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload, differentiated


class TargetModel(Model):
    """A model of a target, whose results may lack y or a state: those are NaN here."""

    backend: TargetBackend

    def probe(self, workload: Workload) -> bool:
        """Call the target once, and return whether its gradients can be computed.

        The call shows which of y and the final states the target returns, and in which layout.
        Raises TargetError if the call fails, or if an array has another shape than the declared
        layout says.
        """
        raise NotImplementedError

    def _to_host(self, tensor: Tensor) -> Array:
        if isinstance(tensor, np.ndarray):
            return tensor.copy()
        raise TypeError(type(tensor).__name__)

    def _complete(self, call: Call, results: dict[str, FloatArray]) -> Outputs:
        """Return named results as outputs, NaN where the target returns nothing."""
        timesteps, batch = call.x.shape[:2]
        shape = (timesteps, batch, self.spec.output_size)
        y = results.get("y", np.full(shape, np.nan))
        states = (self.spec.state_layers, batch, self.spec.hidden_size)
        if self.batch_major:
            states = (states[0], timesteps, states[2])
        empty = np.full(states, np.nan)
        return Outputs(y, tuple(results.get(name, empty) for name in self.spec.cell.states))


class TargetBackend(Backend):
    """A target as a backend of the gate.

    label: how the target is named. explicit: how to differentiate it where no framework does.
    nan_is_hidden: whether NaN in an input may become a number.
    """

    strategy = "target"
    framework = "target"
    summary = "an implementation to check"
    cells = None
    bf32 = True

    def __init__(self, label: str, nan_is_hidden: bool = False) -> None:
        super().__init__()
        self.label, self._nan_is_hidden = label, nan_is_hidden

    @property
    def name(self) -> str:
        return self.label

    @property
    def hides_nan(self) -> bool:
        return self._nan_is_hidden

    no_gradients = "NumPy differentiates nothing; --backward names a function that does"
    """Why gradients cannot be checked, where the model does not train."""

    def prefers_batch_major(self) -> bool:
        """Return whether its sequences are ``[B, T, F]``."""
        return False


class FunctionModel(TargetModel):
    """A function with one layer's weights in its own layout."""

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

    # -- arguments: leaf tensors in one list, x first, then the states, the weights and the lengths

    def _leaves(self, call: Call) -> list[Tensor]:
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

    def _named(self, arrays: Sequence[FloatArray]) -> dict[str, FloatArray]:
        names = self.backend.returned or ()
        if len(names) != len(arrays):
            raise TargetError(
                f"a call returned {shapes_found(arrays)}; the first one returned {len(names)} "
                "arrays"
            )
        found = dict(zip(names, arrays, strict=True))
        for name in self.spec.cell.states:
            if name in found and found[name].ndim == 2:
                found[name] = found[name][None]
        return found

    def _infer(self, call: Call) -> Outputs:
        results = self._arrays.call(self._call, self._leaves(call))
        return self._complete(call, self._named([self._arrays.to_numpy(each) for each in results]))

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        backend, spec = self.backend, self.spec
        leaves, returned = self._leaves(call), backend.returned or ()
        states = dict(zip(spec.cell.states, upstream.dstates, strict=True))
        flows = [upstream.dy if name == "y" else states[name] for name in returned]
        count = 1 + len(spec.cell.states)
        taken = backend.layout.takes_state(spec.cell)
        inputs = differentiated(gradients, 0, *(range(1, count) if taken else ()))
        chosen = [*inputs, *range(count, count + len(self._placed))]
        if backend.backward is not None:
            results: Sequence[Tensor]
            results, found = self._differentiate(leaves, flows, chosen)
        else:
            results, found = self._arrays.gradients(self._call, leaves, chosen, flows)
        named = self._named([self._arrays.to_numpy(each) for each in results])
        by_number = dict(zip(chosen, found, strict=True))
        outputs = self._complete(call, named)
        dx = by_number.get(0)
        shape = call.states[0].shape
        missing = np.full(shape, np.nan)
        dstates = tuple(
            by_number[number].reshape(shape) if number in by_number else missing
            for number in range(1, count)
        )
        wanted = differentiated(gradients, "x", "state")
        return RawGradients(
            *outputs,
            dx if "x" in wanted else None,
            dstates if "state" in wanted else None,
            [by_number[number] for number in range(count, count + len(self._placed))],
        )

    def _differentiate(
        self, leaves: list[Tensor], flows: Sequence[FloatArray], chosen: Sequence[int]
    ) -> tuple[list[Tensor], list[FloatArray]]:
        """Call the target's own backward function: its arguments, then the results' gradients.

        It returns a gradient for each argument, in the same order; lengths have none.
        """
        layout, cell = self.backend.layout, self.spec.cell
        names = ("x", *cell.states, *layout.parameters, "lengths")
        given = given_arguments(layout, cell, dict(zip(names, leaves, strict=False)))
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
                f"the backward function returned {len(found)} arrays, {shapes_found(found)}; "
                f"expected a gradient of each of {', '.join(order)}"
            )
        gradients = {
            name: self._arrays.to_numpy(each) for name, each in zip(order, found, strict=True)
        }
        leaf_names = names[: len(leaves)]
        for name, leaf in zip(leaf_names, leaves, strict=True):
            if name in gradients and gradients[name].shape != array_shape(leaf):
                raise TargetError(
                    f"the backward function returned a gradient {gradients[name].shape} of {name}; "
                    f"expected {array_shape(leaf)}"
                )
        return results, [gradients[leaf_names[number]] for number in chosen]

    # -- the first call

    def probe(self, workload: Workload) -> bool:
        inputs = workload.inputs(self.spec)
        x = np.swapaxes(inputs.x, 0, 1) if self.batch_major else inputs.x
        call = Call(x, tuple(inputs.state), inputs.lengths)
        leaves = self._leaves(call)
        backend = self.backend
        try:
            results = self._arrays.call(self._call, leaves)
        except Exception as error:
            given = ", ".join(
                f"{name} {array_shape(leaf)}"
                for name, leaf in zip(
                    ("x", *self.spec.cell.states, *backend.layout.parameters, "lengths"),
                    leaves,
                    strict=False,
                )
            )
            raise TargetError(
                f"{backend.name} raised {type(error).__name__}: {_first_line(error)}; it was "
                f"called with {', '.join(backend.layout.arguments)}, where {given}"
            ) from error
        sizes = workload.timesteps, workload.batch
        backend.returned = name_results(backend.layout, self.spec, *sizes, results)
        backend.takes_state = backend.layout.takes_state(self.spec.cell)
        if backend.backward is None and not self._arrays.differentiates:
            return False
        try:
            ones = [np.ones(array_shape(each), np.float32) for each in results]
            if backend.backward is None:
                self._arrays.gradients(self._call, leaves, [len(call.states) + 1], ones)
        except NotDifferentiableError as error:
            backend.no_gradients = str(error)
            return False
        except Exception as error:
            raise TargetError(
                f"{backend.name}: its gradient raised {type(error).__name__}: {_first_line(error)}"
            ) from error
        return True


def given_arguments(layout: CallLayout, cell: Cell, by_name: Mapping[str, Any]) -> list[Any]:
    """Return the arguments of a call in the order of its layout, groups of arrays together."""
    groups = {
        "state": tuple(by_name[name] for name in cell.states),
        "weights": [by_name[name] for name in layout.parameters],
    }
    return [groups.get(name, by_name.get(name)) for name in layout.arguments]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


class FunctionBackend(TargetBackend):
    """A function, its kind of arrays and its layout."""

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
        """Call the function; return its results, however they are nested."""
        names = ("x", *spec.cell.states, *self.layout.parameters, "lengths")
        by_name = dict(zip(names, (x, *states, *weights, lengths), strict=True))
        return self.function(*given_arguments(self.layout, spec.cell, by_name))

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
