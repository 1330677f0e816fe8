"""Define the Keras layers for Keras on JAX or PyTorch."""

from __future__ import annotations

import functools
import importlib
from dataclasses import replace
from typing import Any

import keras

import lstm_impl.keras.base as base
from lstm_impl.call import Tensor
from lstm_impl.cell import DEFAULT
from lstm_impl.keras.choice import AUTO, KERAS, Arguments, Choice, LayerCall, Shape, needs_keras
from lstm_impl.model import NO_RESETS
from lstm_impl.registry import get_backend
from lstm_impl.spec import (
    PRECISIONS,
    Refusal,
    UnsupportedError,
    find_refusal_code,
    require_choice,
)
from lstm_impl.tuning import Decision
from lstm_impl.workload import RESET_TO

_THEIRS = keras.config.backend()
"""Keras's backend in this process: ``jax`` or ``torch``."""

_computing: Any = importlib.import_module(f"lstm_impl.keras.on_{_THEIRS}")


class PeerLayer(base.BackendLayer):
    """Compute a recurrent layer of Keras with a backend of this library on JAX or PyTorch."""

    _tanh = (*base.TANH, *_computing.TANH)
    _sigmoid = (*base.SIGMOID, *_computing.SIGMOID)

    def _begin(self, name: str) -> str:
        """Use the backend of the given name, and return its canonical id."""
        if name not in (AUTO, KERAS):
            name = get_backend(name).name
            _refuse(name, self._arguments())
        self._memory = base.CallMemory()
        return name

    def _note(self) -> str:
        return f"Keras runs on {_THEIRS} in this process"

    # -- the choice

    def _call_to_come(self, training: bool) -> LayerCall:
        return self._describe_call(None, training, masked=False)

    def _describe_call(self, sequences: Tensor | None, training: bool, masked: bool) -> LayerCall:
        program = sequences is not None and _computing.becomes_program(sequences)
        sizes: Shape = (None, None, None) if sequences is None else sequences.shape
        device = "gpu" if _computing.on_gpu() else "cpu"
        compiled = program and _THEIRS == "jax"
        step = program and _computing.in_keras_step()
        how = device, bool(training), program, compiled
        return LayerCall(*how, *sizes, masked, keras_step=step)

    def _choose(self, call: LayerCall) -> Choice:
        """Choose a backend, or raise UnsupportedError if the requested one cannot compute it."""
        arguments = self._arguments()
        if self.backend == KERAS:
            return Choice(KERAS, "it was requested by name")
        if self.backend != AUTO:
            # Attributes such as unroll may have changed since the backend was requested.
            _refuse(self.backend, arguments)
            return Choice(self.backend, "it was requested by name")
        return choose(arguments, call)

    def _choose_for_resets(self, call: LayerCall) -> Choice:
        """Choose what computes a call with resets. Raise UnsupportedError if nothing can."""
        picked = self._choose(call)
        if self.backend == AUTO:
            if picked.backend == _computing.FUSED or _can_use_kernels(self._arguments(), call):
                return Choice(_computing.FUSED, "it takes resets")
            self._require_loop_with_resets()
            return Choice(_computing.BACKEND, f"{_computing.LOOP} takes resets")
        if self.backend == KERAS or not get_backend(self.backend).takes_resets:
            raise UnsupportedError(
                f"backend={self.backend!r} cannot compute this call: {NO_RESETS}"
            )
        return picked

    # -- the computation

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
        resets: Tensor | None = None,
        reset_to: str = "zeros",
    ) -> Any:
        """Compute the layer. This overrides Keras's method.

        resets: bool ``[B, T]``. A sequence starts over before a step that is True, which is where
        an episode begins. No gradient flows past it. A reset at a masked step changes nothing.
        reset_to: the state from which it starts over, ``zeros``, or ``initial_state``.

        Raises UnsupportedError for resets if a backend was named that takes none.
        """
        require_choice("reset_to", reset_to, RESET_TO)
        if resets is not None:
            mask = SteppedMask.of(sequences, base.one_mask(mask), resets, reset_to)
        return self.keras_layer.call(self, sequences, initial_state, mask, training)

    def inner_loop(
        self, sequences: Tensor, initial_state: list[Tensor], mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Compute the loop over time. This overrides Keras's method.

        Returns
        -------
        last, outputs, states
            The last output ``[B, H]``, the outputs ``[B, T, H]`` (``[B, 1, H]`` without
            return_sequences), and the final states ``[B, H]``.
        """
        resets = mask if isinstance(mask, SteppedMask) else None
        mask = base.one_mask(mask) if resets is None else resets.mask
        if not self._fits(sequences, initial_state):
            if resets is not None:
                shapes = [tuple(each.shape) for each in (sequences, *initial_state)]
                raise ValueError(
                    f"the input and the states have shapes {shapes}, which do not fit a layer of "
                    f"{self.units} units for {self.cell.kernel.shape[0]} features"
                )
            last, outputs, states = self.keras_layer.inner_loop(
                self, sequences, initial_state, mask, training
            )
            return last, outputs, list(states)
        call = self._describe_call(sequences, training, mask is not None)
        choice = self._choose(call) if resets is None else self._choose_for_resets(call)
        self._remember(call, choice)
        if choice.backend == KERAS:
            last, outputs, states = self.keras_layer.inner_loop(
                self, sequences, initial_state, mask, training
            )
            return last, outputs, list(states)
        dtype = self.cell.compute_dtype
        x = keras.ops.cast(self._apply_dropout(sequences, training), dtype)
        if mask is not None:
            mask = keras.ops.cast(mask, "bool")
            mask = mask[:, :, 0] if len(mask.shape) == 3 else mask
        starts = None
        if self.go_backwards:
            x = keras.ops.flip(x, axis=1)
            mask = None if mask is None else keras.ops.flip(mask, axis=1)
        if resets is not None:
            starts = resets.in_order(mask, self.go_backwards)
        if choice.backend == _computing.FUSED and _computing.on_gpu():
            raise UnsupportedError(
                f"{choice.backend}: its kernels run on a CPU only, and Keras computes on a GPU; "
                f"use backend={KERAS!r}",
                Refusal.OTHER_DEVICE,
            )
        parts = map(keras.ops.convert_to_tensor, initial_state)
        start = tuple(keras.ops.cast(part, dtype) for part in parts)
        # The kernels read float32 weights even if they compute in bfloat16.
        as_they_are = choice.backend == _computing.FUSED
        if as_they_are and not _computing.becomes_program(x):
            as_they_are = not base.are_cast_faster(self.cell.weights)
        weights = base.Weights.of(self.cell, as_they_are)
        cell = self._recurrent_cell()
        y, states = _computing.compute(choice.backend, cell, x, start, weights, mask, starts)
        last = states[0]
        if mask is not None:
            shown, before = keras.ops.any(mask, axis=1), keras.ops.zeros_like(last)
            if self.zero_output_for_mask:
                shown = mask[:, -1]
            elif _THEIRS == "jax":  # There, Keras returns the state before the first valid step.
                before = start[0]
            last = keras.ops.where(shown[:, None], last, before)
            if self.return_sequences and not self.zero_output_for_mask:
                y = _repeat_last_output(y, mask, before)
        return last, y if self.return_sequences else last[:, None], [*states]


class SteppedMask(base.MaskWithResets):
    """Compute resets in the order of a backend's steps, with the operations of Keras."""

    @classmethod
    def of(cls, x: Tensor, mask: Tensor | None, resets: Any, reset_to: str) -> SteppedMask:
        """Check resets and return them with a mask. Raises ValueError if they do not fit x."""
        given = keras.ops.convert_to_tensor(resets)
        dtype = keras.backend.standardize_dtype(given.dtype)
        pairs = zip(given.shape, x.shape, strict=False)
        fits = len(given.shape) == 2 and all(None in pair or len({*pair}) == 1 for pair in pairs)
        if dtype != "bool" or not fits:
            raise ValueError(
                f"resets is {dtype} {tuple(given.shape)}; expected bool {tuple(x.shape[:2])}"
            )
        return cls(mask, given, reset_to)

    def in_order(self, mask: Tensor | None, go_backwards: bool) -> tuple[Tensor, str]:
        """Return before which of the steps, in the order of computation, sequences start over.

        mask: bool ``[B, T]`` in the order of computation, or None. The result is bool ``[B, T]``,
        and the state from which they start over.
        """
        first = keras.ops.flip(self.resets, axis=1) if go_backwards else self.resets
        if mask is not None:
            first = keras.ops.logical_and(first, mask)
        if go_backwards:  # A sequence that is read backwards starts over behind a reset.
            never = keras.ops.zeros_like(first[:, :1])
            first = keras.ops.concatenate([never, first[:, :-1]], axis=1)
        return first, self.reset_to


@keras.saving.register_keras_serializable(package="lstm_impl")
class LSTM(PeerLayer, keras.layers.LSTM):  # type: ignore[misc]  # Keras has no types
    """Compute ``keras.layers.LSTM`` with a backend of this library.

    Inputs, outputs, states, masks and weights are those of Keras's layer. ``explain()`` says which
    backend computes the layer, and why.

    Parameters
    ----------
    backend : str
        ``"auto"`` chooses by device and arguments. ``"keras"`` is Keras's own code. Any other value
        is the id of a backend that computes with Keras's backend: ``"torch"`` and
        ``"torch_fused_cpu"`` on PyTorch, and ``"jax_fused_cpu"``, ``"jax_scan"`` and
        ``"jax_scan+preproject"`` on JAX. This backend is used, or the layer raises an error.
    **others
        The arguments of Keras's layer.

    Raises
    ------
    UnsupportedError
        If the requested backend cannot compute a layer with these arguments.
    """

    keras_layer = keras.layers.LSTM


@keras.saving.register_keras_serializable(package="lstm_impl")
class GRU(PeerLayer, keras.layers.GRU):  # type: ignore[misc]
    """Compute ``keras.layers.GRU`` with a backend of this library.

    The arguments, the choice of a backend and the errors are those of ``lstm_impl.keras.LSTM``. A
    requested backend that computes only one form of the GRU (``reset_after``) refuses the other
    form.
    """

    keras_layer = keras.layers.GRU


def _repeat_last_output(y: Tensor, mask: Tensor, before: Tensor) -> Tensor:
    """Repeat the last valid output of ``y [B, T, H]`` in masked steps.

    Before the first valid step, the output is ``before [B, H]``.
    """
    steps = keras.ops.arange(y.shape[1], dtype="int32")
    last = _computing.cummax(keras.ops.where(mask, steps, -1))[:, :, None]
    taken = keras.ops.take_along_axis(y, keras.ops.maximum(last, 0), axis=1)
    return keras.ops.where(last >= 0, taken, before[:, None])


def _refuse(name: str, arguments: Arguments) -> None:
    """Raise UnsupportedError if a backend cannot compute a layer with the given arguments."""
    if reason := obstacle(name, arguments):
        text = f"backend={name!r} cannot compute this layer: {reason}"
        raise UnsupportedError(text, find_refusal_code(reason))


@functools.cache
def obstacle(name: str, arguments: Arguments) -> str:
    """Return why a backend cannot compute a layer with the given arguments, or an empty string."""
    if name not in _computing.NAMES:
        able = " or ".join(repr(each) for each in (AUTO, KERAS, *_computing.NAMES))
        return f"Keras runs on {_THEIRS} in this process, where backend is {able}"
    if reason := needs_keras(arguments):
        return f"the layer has {reason}; use backend={AUTO!r} or {KERAS!r}"
    if arguments.unroll:
        return f"the layer has unroll=True; leave it out, or use backend={KERAS!r}"
    if arguments.use_cudnn is True:
        return f"the layer has use_cudnn=True; leave it out, or use backend={KERAS!r}"
    if arguments.compute_dtype in PRECISIONS:
        return get_backend(name).refusal(arguments.spec())
    return ""


def _can_use_kernels(arguments: Arguments, call: LayerCall) -> bool:
    """Return whether the kernels can compute a call, however fast other code may be."""
    if needs_keras(arguments) or obstacle(_computing.FUSED, arguments):
        return False
    how = _computing.BINDING, _computing.load
    return not base.not_fused(call, arguments.compute_dtype, *how)


def choose(arguments: Arguments, call: LayerCall) -> Choice:
    """Choose for ``backend="auto"``: a backend of this library if it is faster, or Keras's code."""
    if reason := needs_keras(arguments):
        return Choice(KERAS, f"only Keras's own loop can: the layer has {reason}", (), True)
    fused = _computing.FUSED
    if reason := obstacle(_computing.BACKEND, replace(arguments, cell=DEFAULT)):
        return Choice(KERAS, f"it does what was requested: {reason}")
    why_not = base.not_fused(call, arguments.compute_dtype, _computing.BINDING, _computing.load)
    why_not = why_not or obstacle(fused, arguments)
    if not why_not:
        if _computing.loop_is_faster(call):
            return Choice(KERAS, "Keras's own loop takes less time for so few steps")
        return Choice(fused, "one call for all steps, and one for their gradient")
    passed_over = (f"{fused}: {why_not}",)
    if _THEIRS == "jax":
        reason = "its scan was at least as fast as ours on a CPU, and takes cuDNN on a GPU"
        if arguments.cell != DEFAULT:
            reason = "its own code is a scan, as ours is"
        return Choice(KERAS, reason, passed_over)
    if reason := obstacle(_computing.BACKEND, arguments):
        return Choice(KERAS, f"only Keras's own loop can: {_computing.BACKEND}: {reason}")
    if call.device == "gpu" and not arguments.use_cudnn:
        reason = "the layer has use_cudnn=False, and torch takes cuDNN on a GPU"
    elif call.traced and call.masked:
        reason = (
            "PyTorch records a program from this call, and packing by a mask would fix its lengths"
        )
    else:
        reason = "one call for all steps, where Keras loops in Python"
        return Choice(_computing.BACKEND, reason, passed_over)
    return Choice(KERAS, reason, passed_over)


def tune(*given: Any, **more: Any) -> list[Decision]:
    """Raise UnsupportedError, because backends can race only if Keras runs on TensorFlow."""
    raise UnsupportedError(
        f"lstm_impl.keras.tune races TensorFlow's backends, and Keras runs on {_THEIRS} here, "
        "where auto has only one backend to choose; layer.explain() names it"
    )


def export_litert(*given: Any, **more: Any) -> bytes:
    """Raise UnsupportedError, because LiteRT's converter reads only models of TensorFlow."""
    raise UnsupportedError(
        "lstm_impl.keras.export_litert converts a model on TensorFlow, and Keras runs on "
        f"{_THEIRS} here: save the model, and load it where KERAS_BACKEND=tensorflow"
    )
