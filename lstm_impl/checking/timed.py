"""Let a benchmark measure a target next to the built-in backends.

The check copies every input to the framework and every result back. A timed call must not: its
inputs are on the device before the clock starts, and its results stay there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from lstm_impl.backend import Backend
from lstm_impl.call import Call, Outputs, RawGradients, States, Tensor, Upstream
from lstm_impl.cell import Cell, get_cell
from lstm_impl.checking.function import FunctionBackend, FunctionModel, TargetBackend, TargetModel
from lstm_impl.checking.target import Declaration, Target, load_target
from lstm_impl.model import Model
from lstm_impl.spec import Array, LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload, select_differentiated

PROBE = Workload(2, 3, "inference")
"""A small call that shows which results a target returns, and in which order."""


class TimedModel(FunctionModel):
    """A function or layer whose inputs and results stay on the device.

    A function of JAX is compiled, since nobody calls one often without ``jax.jit``. Functions of
    other frameworks are called as they are: their authors compile them where they want that.
    """

    returned: Sequence[str] = ()
    """What the target returns, in order: y and every state."""

    _last: Sequence[Tensor] = ()

    def _open(self, weights: LSTMWeights) -> None:
        super()._open(weights)
        self._infer_compiled = self._arrays.compile(self._call_with_leading_axis)
        self._train_compiled: dict[str, Any] = {}

    def _to_device(self, array: Array) -> Tensor:
        return self._arrays.place(array)

    def _to_host(self, tensor: Tensor) -> Array:
        return tensor.copy() if isinstance(tensor, np.ndarray) else self._arrays.to_numpy(tensor)

    def synchronize(self) -> None:
        self._arrays.synchronize(self._last)

    def _without_leading_axis(self, states: States) -> States:
        """Return the states as the target takes them: ``[B, H]``, or ``[L*D, B, H]``."""
        return states if self.backend.layout.leading_axis else tuple(each[0] for each in states)

    def _call_with_leading_axis(self, *leaves: Tensor) -> list[Tensor]:
        """Call the target, and return its states with the axes of every model, ``[L*D, B, H]``."""
        named = zip(self.returned, self._call(*leaves), strict=True)
        return [
            each[None] if name != "y" and len(each.shape) == 2 else each for name, each in named
        ]

    def _leaves(self, call: Call) -> list[Tensor]:
        lengths = [] if call.lengths is None else [call.lengths]
        return [call.x, *self._without_leading_axis(call.states), *self._placed, *lengths]

    def _outputs(self, results: Sequence[Tensor]) -> Outputs:
        named = dict(zip(self.returned, results, strict=True))
        return Outputs(named["y"], tuple(named[name] for name in self.spec.cell.states))

    def _infer(self, call: Call) -> Outputs:
        self._last = self._arrays.call(self._infer_compiled, self._leaves(call))
        return self._outputs(self._last)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        leaves, count = self._leaves(call), 1 + len(call.states)
        flows = {
            "y": upstream.dy,
            **dict(zip(self.spec.cell.states, upstream.dstates, strict=True)),
        }
        given = [flows[name] for name in self.returned]
        inputs = select_differentiated(gradients, 0, *range(1, count))
        chosen = [*inputs, *range(count, count + len(self._placed))]
        step = self._train_compiled.get(gradients)
        if step is None:
            step = self._compile_training(len(leaves), chosen)
            self._train_compiled[gradients] = step
        self._last = step(*leaves, *given)
        end = len(self.returned)
        results, found = self._last[:end], self._last[end:]
        by_number = dict(zip(chosen, found, strict=True))
        wanted = select_differentiated(gradients, "x", "state")
        return RawGradients(
            *self._outputs(results),
            by_number[0] if "x" in wanted else None,
            self._dstates(by_number, count) if "state" in wanted else None,
            [by_number[number] for number in range(count, count + len(self._placed))],
        )

    def _compile_training(self, leaves: int, chosen: Sequence[int]) -> Any:
        """Return a function of the leaves and the upstream gradients: results, then gradients."""

        def step(*tensors: Tensor) -> list[Tensor]:
            results, found = self._arrays.differentiate(
                self._call_with_leading_axis, tensors[:leaves], chosen, tensors[leaves:]
            )
            return [*results, *found]

        return self._arrays.compile(step)

    def _dstates(self, by_number: Mapping[int, Tensor], count: int) -> States:
        found = [by_number[number] for number in range(1, count)]
        return tuple(each[None] if len(each.shape) == 2 else each for each in found)


class TimedTarget(Backend):
    """A target as a backend of the suite, under a name of its own.

    target: as the user named it. cell: the cell that it computes. declared: what the user said of
    it. ``timed_backend`` makes a subclass for each target.
    """

    framework: ClassVar[str] = "target"
    summary: ClassVar[str] = "an implementation that was checked"
    bf32: ClassVar[bool] = True
    target: ClassVar[str]
    cell: ClassVar[Cell]
    declared: ClassVar[Declaration]
    _loaded: ClassVar[Target | None] = None

    def load(self) -> Target:
        """Import the target once in a process. Raises TargetError."""
        kind = type(self)
        if kind._loaded is None:
            kind._loaded = load_target(self.target, self.cell, self.declared)
        return kind._loaded

    @property
    def hides_nan(self) -> bool:
        return self.declared.hides_nan

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if reason := super().refusal(spec, workload):
            return reason
        found = self.load()
        if found.spec is not None and found.spec != spec:
            return f"it computes only {found.spec}"
        several = spec.num_layers > 1 or spec.bidirectional
        if several and not found.layers and found.spec is None:
            return "it computes one layer in one direction"
        if workload is None:
            return ""
        if workload.batch_major != found.backend(spec).prefers_batch_major():
            axes = "[T, B, in]" if workload.batch_major else "[B, T, in]"
            return f"its sequences are {axes}"
        if workload.min_length is not None and not found.padded:
            return "it takes no lengths"
        return "it takes no masks of dropout" if workload.dropout else ""

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        inner = self.load().backend(spec)
        if not isinstance(inner, FunctionBackend):
            return inner.build(spec, weights, device, batch_major=batch_major)
        returned = self._probe(inner, spec, weights, device, batch_major)
        # The target returns everything, so that the gate judges it as it judges every backend.
        inner.returned = None
        model = TimedModel(inner, spec, device, batch_major, weights)
        model.returned = returned
        return model

    def _probe(
        self,
        inner: TargetBackend,
        spec: LSTMSpec,
        weights: LSTMWeights,
        device: str,
        batch_major: bool,
    ) -> Sequence[str]:
        """Call the target once, and return the names of its results in order.

        Raises UnsupportedError if it does less than an LSTM's step.
        """
        model = inner.build(spec, weights, device, batch_major=batch_major)
        assert isinstance(model, TargetModel)
        model.probe(replace(PROBE, batch_major=batch_major))
        returned = inner.returned or ()
        missing = [name for name in ("y", *spec.cell.states) if name not in returned]
        if missing or not inner.takes_state:
            lacks = f"returns no {missing[0]}" if missing else "takes no initial state"
            raise UnsupportedError(
                f"{inner.name} {lacks}, so that it does less work than the backends next to it; "
                "a timed function takes x and the states, and returns y and the states"
            )
        return returned


def timed_backend(
    strategy: str, target: str, cell: str, declared: Mapping[str, Any], folder: str
) -> type[TimedTarget]:
    """Return the class of a backend that measures a target.

    Parameters
    ----------
    strategy
        The name of the backend in results.
    target
        As ``lstm_impl.check`` takes it. A file's path is absolute.
    cell
        The name of the cell.
    declared
        The fields of ``Declaration``, without those that are found out.
    folder
        Where modules are imported from: the folder in which the user typed the command.
    """
    if folder not in sys.path:
        sys.path.insert(0, folder)
    fields = {
        "strategy": strategy,
        "target": target,
        "cell": get_cell(cell),
        "cells": (cell,),
        "declared": Declaration(**declared),
    }
    return type("CheckedTarget", (TimedTarget,), fields)
