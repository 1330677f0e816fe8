"""Define the Keras layer: Keras's arguments, weights, masks and states with a backend's
computation.

Keras's loop is the specification on all devices: a masked step keeps the state and repeats the last
output, with zeros before the first valid step (or is zero, with ``zero_output_for_mask``), for any
pattern of the mask.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph
from tensorflow.python.ops.resource_variable_ops import ResourceVariable, variable_accessed

import lstm_impl.keras.choice as choice
from lstm_impl.availability import Availability, UnavailableError
from lstm_impl.backend import Backend
from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.fused_cpu.backend import FusedCpu, FusedLayer, compiled_by_xla, loaded
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.block_lstm import BlockLSTM
from lstm_impl.backends.tensorflow.loops import (
    Carry,
    LayerInputs,
    LoopBackend,
    Slices,
    StaticUnroll,
    StepFunction,
    TimeLoop,
    WhileLoop,
    by_loop,
)
from lstm_impl.backends.tensorflow.second_gradient import (
    in_forward_mode,
    own,
    recorded,
    twice_differentiable,
)
from lstm_impl.call import Call, LSTMOutputs, Tensor, Tensors, Upstream
from lstm_impl.keras.base import (
    SIGMOID,
    TANH,
    BackendLSTM,
    CallMemory,
    Weights,
    are_cast_faster,
    has_mixed_weights,
    one_mask,
    outside_autocast,
)
from lstm_impl.keras.choice import AUTO, FUSED_CPU, KERAS, Arguments, Choice, LayerCall, Sizes
from lstm_impl.registry import get_backend
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.tuning import Decision, TunedMachine, load, machine
from lstm_impl.tuning.models import find_gpu_name

KERAS_STEPS = ("one_step_on_data", "multi_step_on_data", "multi_step_on_iterator")
"""Beginnings of the names of the graphs that Keras traces for ``fit`` and its other methods."""

MOST_PICKED = 1_000
"""Calls of which is kept what computes them: outside a graph sizes can differ without end."""


class _Memory(CallMemory):
    """What a layer keeps: traced functions, and the choice for each call."""

    def __init__(self, backend: Backend | None, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.backend = backend
        self.sizes = sizes
        self.decisions: list[Decision] | None = None
        self.picked: dict[tuple[Arguments, LayerCall], Choice] = {}
        self.cores: dict[str, LayerCore] = {}
        self.availability: dict[tuple[str, str], Availability] = {}


@keras.saving.register_keras_serializable(package="lstm_impl")
class LSTM(BackendLSTM):
    """``keras.layers.LSTM`` computed by a backend of this library.

    All arguments of Keras's layer, and

    backend: ``"auto"``, which picks by device, arguments and call, and takes Keras's own loop for
        what nothing else computes; ``"keras"``, which is Keras's own code; or the id of a
        TensorFlow backend, such as ``"while_loop+hoisted"`` or ``"cudnn"``, which then is used or
        raises. ``explain()`` says what computes the layer, and why.

    Input ``[batch, time, feature]``; outputs, state, masks and weights are those of Keras's layer.

    Raises UnsupportedError, with the reason, where a named backend cannot compute a layer with
    these arguments; UnavailableError, when called, where it cannot run on this machine (so that a
    model which was trained with ``"cudnn"`` can be loaded anywhere, and its ``backend`` changed).
    """

    _tanh = (*TANH, tf.tanh)
    _sigmoid = (*SIGMOID, tf.sigmoid)
    _memory: _Memory

    def _begin(self, name: str) -> str:
        """Use the backend of this name, and return its canonical id."""
        arguments = self._arguments()
        if name == AUTO:
            choice.check_auto(arguments)
        backend = None if name == AUTO else choice.requested_backend(name, arguments)
        self._memory = _Memory(backend)
        has_gpu = bool(tf.config.list_logical_devices("GPU"))
        self.supports_jit = choice.supports_jit(backend, arguments, has_gpu)
        return AUTO if backend is None else backend.name

    def _expect(self, sizes: Sizes) -> None:
        """Choose again, with the decisions known now; ``sizes`` hold where none are known."""
        self._memory = _Memory(self._memory.backend, sizes)

    def _note(self) -> str:
        if self.supports_jit:
            return "compile(jit_compile=True) may compile the whole model by XLA"
        return (
            "the model is not compiled by XLA: supports_jit is False, it cannot compile these ops"
        )

    # -- the choice

    def _call_to_come(self, training: bool) -> LayerCall:
        sizes = self._memory.sizes
        masked = sizes is not None and sizes.min_length is not None
        features = int(self.cell.kernel.shape[0]) if self.built else None
        return LayerCall(
            self._device(), training, True, False, None, None, features, masked, keras_step=True
        )

    def _choose(self, call: LayerCall) -> Choice:
        """Choose a backend. Raises UnsupportedError or UnavailableError if there is none."""
        backend = self._memory.backend
        arguments = self._arguments()
        if backend is None:
            picked = self._memory.picked
            if (arguments, call) not in picked:
                if len(picked) >= MOST_PICKED:
                    picked.clear()
                found = self._by_race(arguments, call, self._fused())
                if found.backend == FUSED_CPU and not (ready := loaded()):
                    found = self._by_race(arguments, call, ready)
                    if ready is library.BEING_COMPILED:
                        return found
                picked[arguments, call] = found
            return picked[arguments, call]
        # Attributes such as unroll may have been set since the backend was named.
        if reason := choice.obstacle(backend, arguments):
            raise UnsupportedError(f"backend={self.backend!r} cannot compute this layer: {reason}")
        if call.compiled and not choice.can_be_compiled(backend):
            raise UnsupportedError(
                f"backend={self.backend!r} cannot compute this call: {choice.NOT_COMPILED}"
            )
        if not (available := self._available(backend.name, call.device)):
            raise UnavailableError(
                f"backend={self.backend!r} cannot run here: {available}. To let the layer pick "
                "another, set its attribute backend to 'auto' and compile the model again"
            )
        return Choice(backend.name, "it was requested by name")

    def _by_race(self, arguments: Arguments, call: LayerCall, fused: Availability) -> Choice:
        """Return the fastest in a race on such a call, if there was one; else the rule's pick."""
        rule = choice.choose(arguments, call, fused)
        if rule.fallback or arguments.use_cudnn is True:
            return rule
        if self._memory.decisions is None:
            self._memory.decisions = load()
        if not self._memory.decisions:
            return rule
        requested = choice.request(arguments, call, self._machine(), self._memory.sizes)
        found = choice.decision(requested, self._memory.decisions) if requested else None
        return (choice.raced_choice(found, arguments, call, rule) if found else None) or rule

    def _machine(self) -> TunedMachine:
        """Return the machine as decisions record it."""
        device = "cpu" if self._device() == "cpu" else "gpu:0"
        return machine.describe_machine(device, find_gpu_name(device))

    def _fused(self) -> Availability:
        """Return whether the fused op can run on this machine."""
        return self._available(FUSED_CPU, "cpu")

    def _available(self, name: str, device: str) -> Availability:
        known = self._memory.availability
        if (name, device) not in known:
            known[name, device] = get_backend(name).availability(device)
        return known[name, device]

    @staticmethod
    def _device() -> str:
        """Return where new ops are placed: ``gpu`` or ``cpu``."""
        if not tf.config.list_logical_devices("GPU"):
            return "cpu"
        # In a graph this is the device of tf.device, or empty, which means the GPU.
        return "cpu" if "CPU" in tf.zeros([]).device.upper() else "gpu"

    # -- the computation

    def call(
        self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        """Compute as Keras's method does, outside a graph by the fused op alone where it can be."""
        more = self.stateful or (training and self.dropout) or one_mask(mask) is not None
        usual = sequences.dtype == self.cell.compute_dtype and 0 not in sequences.shape
        usual = usual and isinstance(initial_state, list | tuple | None)
        usual = usual and self._fits(sequences, initial_state or ())
        alone = tf.executing_eagerly() and usual and not (more or recorded())
        if alone and self._chosen(sequences, None, training).backend == FUSED_CPU:
            return self._at_once(sequences, initial_state)
        return super().call(sequences, initial_state, mask, training)

    def _at_once(self, x: Tensor, initial_state: Any) -> Any:
        """Compute by one call of the fused op, which no tape records."""
        dtype = self.cell.compute_dtype
        if initial_state is None:
            h = c = _zeros(x.shape[0], self.units, dtype)
        else:
            h, c = (
                tf.expand_dims(keras.ops.convert_to_tensor(each, dtype), 0)
                for each in initial_state
            )
        layer = FusedLayer(reverse=self.go_backwards, batch_major=True)
        y, h, c = layer.infer(Call(x, (h, c)), _handles(self.cell) or _weights(self.cell))
        if not self.return_sequences:
            y = tf.squeeze(h, 0)
        elif self.go_backwards:
            y = tf.reverse(y, [1])
        return (y, tf.squeeze(h, 0), tf.squeeze(c, 0)) if self.return_state else y

    def inner_loop(
        self, sequences: Tensor, initial_state: list[Tensor], mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Compute the last output ``[B, H]``, outputs ``[B, T, H]`` (``[B, 1, H]`` without
        return_sequences) and final state, as Keras's method does.
        """
        mask = one_mask(mask)
        given = sequences, initial_state, mask, training
        # TensorFlow's loop of Keras raises for a batch that is known to be empty.
        is_empty = self.backend == AUTO and sequences.shape[0] == 0
        if is_empty or not self._fits(sequences, initial_state):
            last, outputs, states = keras.layers.LSTM.inner_loop(self, *given)
            return last, outputs, list(states)
        picked = self._chosen(sequences, mask, training)
        if picked.backend == KERAS:  # named, it may choose cuDNN; from auto, it is the loop
            keras_layer = keras.layers.RNN if self.backend == AUTO else keras.layers.LSTM
            last, outputs, states = keras_layer.inner_loop(self, *given)
            return last, outputs, list(states)
        last, outputs, *states = self._by(picked, *given)
        return last, outputs, states

    def _chosen(self, sequences: Tensor, mask: Tensor, training: bool) -> Choice:
        """Choose what computes this call, and remember it."""
        traced = not tf.executing_eagerly()
        how = self._device(), bool(training), traced, traced and compiled_by_xla()
        sizes: choice.Shape = sequences.shape
        in_step = traced and _in_keras_step()
        call = LayerCall(*how, *sizes, mask is not None, recorded(), in_step)
        picked = self._choose(call)
        self._remember(call, picked)
        return picked

    def _by(
        self, picked: Choice, sequences: Tensor, state: list[Tensor], mask: Tensor, training: bool
    ) -> tuple[Tensor, ...]:
        """Compute by a backend of this library: last output, outputs and final h and c."""
        sequences = self._dropped(tf.cast(sequences, self.cell.compute_dtype), training)
        # A stateful layer's state is a variable, assigned to before the gradient is computed.
        h, c = (tf.convert_to_tensor(keras.ops.convert_to_tensor(part)) for part in state)
        core = self._core(picked.backend)
        # The fused op reads and writes either layout; a mask's outputs are filled time-major.
        batch_major = isinstance(core.backend, FusedCpu) and mask is None
        x = sequences if batch_major else tf.transpose(sequences, [1, 0, 2])
        valid = steps = None
        if mask is not None:  # [B, T] or [B, T, 1] of any type
            mask = tf.cast(mask, tf.bool)
            valid = tf.transpose(mask[:, :, 0] if mask.shape.rank == 3 else mask)
            steps = tf.expand_dims(valid, 2)
        # The fused op takes weights in float32. So does the function in its place in graphs
        # that may be saved.
        as_they_are = isinstance(core.backend, FusedCpu)
        inputs = LayerInputs(x, h, c, *_weights(self.cell, as_they_are))
        how = training, batch_major, picked.portable
        y, h, c = core(inputs, steps, self.go_backwards, *how)
        if valid is not None and self.go_backwards:
            valid = tf.reverse(valid, [0])
        last = h
        if valid is not None:
            # Before the first valid step the state is the initial one and the output zero.
            some = valid[-1] if self.zero_output_for_mask else tf.reduce_any(valid, axis=0)
            last = tf.where(tf.expand_dims(some, 1), h, tf.zeros_like(h))
        if not self.return_sequences:
            return last, tf.expand_dims(last, 1), h, c
        if self.go_backwards:
            y = tf.reverse(y, [1 if batch_major else 0])
        if valid is not None and not self.zero_output_for_mask:
            y = repeat_last(y, valid)
        return last, y if batch_major else tf.transpose(y, [1, 0, 2]), h, c

    def _core(self, name: str) -> LayerCore:
        if name not in self._memory.cores:
            backend = self._memory.backend or choice.requested_backend(name, self._arguments())
            assert isinstance(backend, TensorFlowBackend)
            self._memory.cores[name] = LayerCore(choice.in_layer(backend), self.cell.compute_dtype)
        return self._memory.cores[name]


@functools.lru_cache(maxsize=16)
def _zeros(batch: int, units: int, dtype: str) -> Tensor:
    """Return the initial state ``[1, B, H]`` of calls outside a graph, on the CPU."""
    with tf.device("/CPU:0"):
        return tf.zeros([1, batch, units], dtype)


def _plain_variables(cell: Any, as_they_are: bool = False) -> list[Any]:
    """Return a cell's variables as TensorFlow has them.

    as_they_are: also those of float32 in a layer that computes in bfloat16, which Keras would cast.

    Empty if it has not three, or their values are not read as they are: cast to another type,
    replaced in a ``StatelessScope`` of Keras, or distributed.
    """
    variables = (cell.kernel, cell.recurrent_kernel, cell.bias) if cell.use_bias else ()

    def read() -> list[Any]:
        return [each.value for each in variables]

    if as_they_are and variables and has_mixed_weights(cell):
        if tf.executing_eagerly() and are_cast_faster(variables):
            return []
        values = outside_autocast(read)
    else:
        values = read()
    return values if all(isinstance(each, ResourceVariable) for each in values) else []


def _handles(cell: Any) -> Tensors:
    """Return the handles of plain variables, which the fused op reads outside a graph."""
    values = _plain_variables(cell, as_they_are=True)
    for each in values:
        variable_accessed(each)  # tf.recompute_grad asks which variables were read
    return [each.handle for each in values]


def _weights(cell: Any, as_they_are: bool = False) -> Weights:
    """Return the current weights; plain ones without Keras's casts to the type that they have.

    as_they_are: see ``_plain_variables``.
    """
    values = _plain_variables(cell, as_they_are)
    if values and (as_they_are or all(each.dtype == cell.compute_dtype for each in values)):
        return Weights(*map(tf.convert_to_tensor, values))
    return Weights.of(cell)


def _in_keras_step() -> bool:
    """Return whether the graph being traced is part of Keras's train, test or predict function.

    Keras traces what it exports without these. Neither has a public mark, but Keras 3 names the
    functions (``keras/src/backend/tensorflow/trainer.py``).
    """
    graph = tf.compat.v1.get_default_graph()
    while isinstance(graph, FuncGraph):
        if graph.name.startswith(KERAS_STEPS):
            return True
        graph = graph.outer_graph
    return False


FORWARD_MODE = (
    "forward-mode differentiation (tf.autodiff.ForwardAccumulator) in a graph needs the number of "
    "timesteps when it is traced: give the function an input of known shape, or enter the "
    "accumulator outside of the graph"
)


class LayerCore:
    """Compute one layer by ``backend``, differentiable, in the graphs that the backend needs."""

    def __init__(self, backend: TensorFlowBackend, compute_dtype: str) -> None:
        self.backend = backend
        self._dtype = compute_dtype
        self._functions: dict[tuple[object, ...], Any] = {}

    def __call__(
        self,
        inputs: LayerInputs,
        mask: Tensor | None,
        reverse: bool,
        training: bool = True,
        batch_major: bool = False,
        portable: bool = False,
    ) -> LSTMOutputs:
        """Compute the outputs for ``inputs``.

        mask ``[T, B, 1]`` bool, any pattern: a step that is False keeps the state and has zero
        output. With ``reverse`` the steps are read from the last to the first; outputs stand at
        the step they belong to. training: whether to be prepared for a gradient, which may be
        requested in any case. batch_major: x and y are ``[B, T, ...]``, by ``fused_cpu`` alone.
        portable: in a graph that may be saved, by a function whose place ``fused_cpu`` takes.
        """
        if in_forward_mode(inputs):
            inputs = LayerInputs(*(tf.cast(each, self._dtype) for each in inputs))
            if batch_major:
                time_major = inputs._replace(x=tf.transpose(inputs.x, [1, 0, 2]))
                y, h, c = self(time_major, mask, reverse, training)
                return LSTMOutputs(tf.transpose(y, [1, 0, 2]), h, c)
            if inputs.x.shape[0] is None:
                raise UnsupportedError(FORWARD_MODE)
            return by_loop(StaticUnroll(), inputs, mask, reverse)
        if portable:
            return self._portable(inputs, mask, reverse, batch_major)
        if isinstance(self.backend, FusedCpu):
            return by_fused_op(inputs, mask, reverse, training or recorded(), batch_major)
        if self.backend.xla:
            return self._compiled(inputs, mask, reverse)
        # A fused op is a few ops in any case; a loop has hundreds.
        loop = isinstance(self.backend, LoopBackend)
        if loop and self.backend.dynamic and tf.executing_eagerly():
            return self._traced(inputs, mask, reverse)
        return self._direct(inputs, mask, reverse)

    def _portable(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool, batch_major: bool
    ) -> LSTMOutputs:
        """Compute by a function of TensorFlow's ops, for a graph that may be saved.

        ``graph_optimizer.cc`` puts the fused op in its place where the library is loaded.
        """
        x, h, c, *parameters = inputs
        batch = x.shape[0 if batch_major else 1]
        types = x.dtype, parameters[0].dtype
        key = ("portable", reverse, batch_major, mask is not None, *types, batch, *x.shape[2:])
        if key not in self._functions:
            sizes = PortableSizes(batch, x.shape[2], parameters[1].shape[0])
            self._functions[key] = portable_function(
                x.dtype, reverse, batch_major, mask is not None, sizes, parameters[0].dtype
            )
        padding = tf.zeros([0], tf.int32) if mask is None else mask[:, :, 0]
        # In a graph an index copies, and these ops do not.
        given = x, tf.expand_dims(h, 0), tf.expand_dims(c, 0), *parameters, padding
        y, h_last, c_last = self._functions[key](*given)
        y.set_shape([*x.shape[:2], parameters[1].shape[0]])
        h_last, c_last = tf.squeeze(h_last, 0), tf.squeeze(c_last, 0)
        h_last.set_shape(h.shape)
        c_last.set_shape(c.shape)
        return LSTMOutputs(y, h_last, c_last)

    # -- by the backend's ops, here

    def _direct(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> LSTMOutputs:
        if isinstance(self.backend, LoopBackend):
            return by_loop(self.backend, inputs, mask, reverse)
        if isinstance(self.backend, BlockLSTM):
            return self._with_second_gradient(inputs, mask, reverse)
        return self._right_padded(inputs, mask, reverse)

    def _right_padded(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> LSTMOutputs:
        """Compute any mask by a backend that only takes right-padded sequences, forward."""
        x, h, c, *parameters = inputs
        if reverse:
            x = tf.reverse(x, [0])
        if mask is None:
            y, h, c = self._stack(x, h, c, parameters, None)
        else:
            valid = mask[:, :, 0]
            if reverse:
                valid = tf.reverse(valid, [0])
            lengths = tf.reduce_sum(tf.cast(valid, tf.int32), axis=0)
            # cuDNN takes no empty sequence: one step is computed and unused.
            y, h_last, c_last = self._stack(
                take_steps(x, valid_steps(valid)), h, c, parameters, tf.maximum(lengths, 1)
            )
            number = tf.cumsum(tf.cast(valid, tf.int32), axis=0) - 1
            y = take_steps(y, tf.maximum(number, 0))
            y = tf.where(valid[:, :, None], y, tf.zeros_like(y))
            some = lengths[:, None] > 0
            h, c = tf.where(some, h_last, h), tf.where(some, c_last, c)
        return LSTMOutputs(tf.reverse(y, [0]) if reverse else y, h, c)

    def _stack(
        self, x: Tensor, h: Tensor, c: Tensor, parameters: Tensors, lengths: Tensor | None
    ) -> LSTMOutputs:
        """Compute the backend's network of one layer, with parameters in its own layout."""
        if isinstance(self.backend, BlockLSTM):
            kernel, recurrent_kernel, bias = parameters
            parameters = tf.concat([kernel, recurrent_kernel], axis=0), bias
        spec = LSTMSpec(x.shape[-1], h.shape[-1], dtype=self._dtype)
        # Training mode always: in Keras a gradient may be requested with training=False too.
        call = Call(x, (h[None], c[None]), lengths)
        y, (h, c) = self.backend.stack(spec, call, parameters, training=True)
        return LSTMOutputs(y, h[0], c[0])

    def _with_second_gradient(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool
    ) -> LSTMOutputs:
        """Compute by a backend whose gradient is an op without a gradient."""

        def forward(inputs: Tensors, masks: Tensors) -> tuple[LSTMOutputs, Any]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(inputs)
                outputs = self._right_padded(LayerInputs(*inputs), _only(masks), reverse)
            return outputs, (tape, inputs, outputs)

        def backward(kept: Any, inputs: Tensors, masks: Tensors, upstream: Tensors) -> Tensors:
            tape, watched, outputs = kept
            return _gradient(tape, outputs, watched, upstream)

        return _twice_differentiable(forward, backward, inputs, mask, reverse)

    # -- traced once, for calls outside a graph

    def _traced(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> LSTMOutputs:
        masks = () if mask is None else (mask,)
        key = ("direct", reverse, bool(masks))
        if key not in self._functions:

            def direct(inputs: LayerInputs, masks: Tensors) -> LSTMOutputs:
                return self._direct(inputs, _only(masks), reverse)

            def any_batch_and_time(tensor: Tensor) -> Any:
                sizes = [None] * (len(tensor.shape) - 1) + [tensor.shape[-1]]
                return tf.TensorSpec(sizes, tensor.dtype)

            weights = (tf.TensorSpec(each.shape, each.dtype) for each in inputs[3:])
            of_inputs = LayerInputs(*map(any_batch_and_time, inputs[:3]), *weights)
            signature = [of_inputs, tuple(map(any_batch_and_time, masks))]
            self._functions[key] = tf.function(direct, signature, autograph=False)
        return LSTMOutputs(*self._functions[key](inputs, masks))

    # -- compiled by XLA

    def _compiled(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> LSTMOutputs:
        """Compile forward and backward: a compiled loop cannot be differentiated from outside."""
        forward, backward = self._compiled_pair(mask is not None, reverse)
        return _twice_differentiable(
            lambda inputs, masks: forward(LayerInputs(*inputs), masks),
            lambda kept, inputs, masks, upstream: backward(
                own(kept), LayerInputs(*inputs), masks, tuple(upstream)
            ),
            inputs,
            mask,
            reverse,
        )

    def _compiled_pair(self, masked: bool, reverse: bool) -> tuple[Any, Any]:
        by_hand = None  # the backend, if it has the hand-written gradient
        if isinstance(self.backend, LoopBackend) and "hoisted" in self.backend.options:
            by_hand = self.backend

        def forward(inputs: LayerInputs, masks: Tensors) -> tuple[LSTMOutputs, Tensors]:
            mask = _only(masks)
            if by_hand is not None:
                outputs, residuals = by_hand.forward_with_residuals(inputs, mask, reverse)
                return LSTMOutputs(*outputs.flat), residuals
            return self._direct(inputs, mask, reverse), ()

        def backward(kept: Any, inputs: LayerInputs, masks: Tensors, upstream: Tensors) -> Tensors:
            mask = _only(masks)
            if by_hand is not None:
                flow = Upstream(upstream[0], tuple(upstream[1:]))
                return by_hand.backward_from_residuals(kept, inputs, mask, reverse, flow)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = self._direct(inputs, mask, reverse)
            return _gradient(tape, outputs, inputs, upstream)

        key = ("compiled", reverse, masked)
        if key not in self._functions:
            compiled = functools.partial(tf.function, jit_compile=True, autograph=False)
            self._functions[key] = compiled(forward), compiled(backward)
        pair: tuple[Any, Any] = self._functions[key]
        return pair


def _twice_differentiable(
    forward: Callable[[Tensors, Tensors], tuple[LSTMOutputs, Any]],
    backward: Callable[[Any, Tensors, Tensors, Tensors], Tensors],
    inputs: LayerInputs,
    mask: Tensor | None,
    reverse: bool,
) -> LSTMOutputs:
    def plain(*given: Tensor) -> LSTMOutputs:
        count = len(inputs)
        return by_loop(WhileLoop(), LayerInputs(*given[:count]), _only(given[count:]), reverse)

    masks = () if mask is None else (mask,)
    return LSTMOutputs(*twice_differentiable(plain, forward, backward, inputs, masks))


def _only(masks: Tensors) -> Tensor | None:
    return masks[0] if masks else None


def _gradient(tape: Any, targets: Tensors, sources: Tensors, upstream: Tensors) -> Tensors:
    gradients: Tensors = tape.gradient(list(targets), list(sources), list(upstream))
    return gradients


def by_fused_op(
    inputs: LayerInputs, mask: Tensor | None, reverse: bool, keep: bool, batch_major: bool = False
) -> LSTMOutputs:
    """Return the outputs by the fused op, which takes any mask as it is.

    keep: whether to keep what a gradient needs; without, it computes the forward pass again.
    """
    x, h, c, *parameters = inputs
    layer = FusedLayer(reverse=reverse, batch_major=batch_major)
    # Indices such as h[None] take several times as long outside a graph.
    states = tf.expand_dims(h, 0), tf.expand_dims(c, 0)
    call = Call(x, states, None if mask is None else tf.squeeze(mask, 2))
    y, h, c = layer.train(call, parameters)[0] if keep else layer.infer(call, parameters)
    return LSTMOutputs(y, tf.squeeze(h, 0), tf.squeeze(c, 0))


PORTABLE = "fused_lstm_impl:2:"
"""The mark of a function that the fused op may take the place of, as ``graph_optimizer.cc`` reads
it: its arguments and results have the names and the order of the op's."""


class PortableSizes(NamedTuple):
    """Sizes of a layer, as far as they are known; TensorFlow Lite needs them all."""

    batch: int | None = None
    inputs: int | None = None
    units: int | None = None


def portable_function(
    dtype: tf.DType,
    reverse: bool,
    batch_major: bool,
    masked: bool,
    sizes: PortableSizes = PortableSizes(),  # noqa: B008
    weight_dtype: tf.DType | None = None,
) -> Any:
    """Return a function of TensorFlow's ops, with the mark, that computes a layer.

    dtype: the type of all arguments. weight_dtype: the type of the weights, if it is another. The
    function then casts them, and the op in its place does not.

    The graph optimizer recognizes the function by a digest of its body. The number of timesteps
    would be a constant of the body that changes what the body computes, so it is not known.
    """
    batch, inputs, units = sizes
    gates = None if units is None else 4 * units
    state = [1, batch, units]
    x = [batch, None, inputs] if batch_major else [None, batch, inputs]
    weights = [inputs, gates], [units, gates], [gates]
    given = [tf.TensorSpec(shape, dtype) for shape in (x, state, state)]
    given += [tf.TensorSpec(shape, weight_dtype or dtype) for shape in weights]
    padding = tf.TensorSpec([None, batch], tf.bool) if masked else tf.TensorSpec([0], tf.int32)
    return tf.function(
        functools.partial(by_tensorflow, reverse=reverse, batch_major=batch_major),
        input_signature=[*given, padding],
        autograph=False,
        # TensorFlow wants another text for each function.
        experimental_attributes={"api_implements": f"{PORTABLE}{uuid.uuid4().hex}"},
    )


class PortableLoop(WhileLoop):
    """``tf.while_loop``, whose output of no timestep has the batch and the units of the state."""

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        """Run the step over time, as ``LoopBackend.scan`` says."""
        loop = TimeLoop(sequences, outputs, reverse)
        carry, arrays = loop.run(step, carry, loop.empty(), 0, loop.timesteps)
        return carry, tuple(map(_stacked, arrays, outputs))


def _stacked(array: tf.TensorArray, like: Tensor) -> Tensor:
    """Return the elements of an array, each of the shape of ``like``, as one tensor."""
    if tf.executing_eagerly() or like.shape.is_fully_defined():
        return array.stack()
    # An array of unknown shapes cannot stack no element.
    stacked = tf.raw_ops.TensorListStack(
        input_handle=array.flow, element_shape=tf.shape(like), element_dtype=like.dtype
    )
    stacked.set_shape([None, *like.shape])
    return stacked


def by_tensorflow(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    padding: Tensor,
    reverse: bool,
    batch_major: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what the fused op computes by a loop of TensorFlow's ops."""
    if batch_major:
        x = tf.transpose(x, [1, 0, 2])
    mask = padding[:, :, None] if padding.dtype == tf.bool else None
    # A cast to the same type adds nothing to a graph.
    weights = [tf.cast(each, x.dtype) for each in (kernel, recurrent_kernel, bias)]
    inputs = LayerInputs(x, h[0], c[0], *weights)
    y, h, c = by_loop(PortableLoop(), inputs, mask, reverse)
    return tf.transpose(y, [1, 0, 2]) if batch_major else y, h[None], c[None]


# -- masks, in the order in which steps are read


def valid_steps(valid: Tensor) -> Tensor:
    """Return the steps ``[T, B]`` of each sequence: its valid ones first, then the masked ones."""
    return tf.argsort(tf.cast(~valid, tf.int32), axis=0, stable=True)


def take_steps(sequence: Tensor, steps: Tensor) -> Tensor:
    """Return ``sequence [T, B, ...]`` at ``steps [T, B]`` of each sequence."""
    column = tf.broadcast_to(tf.range(tf.shape(steps)[1])[None, :], tf.shape(steps))
    taken = tf.gather_nd(sequence, tf.stack([steps, column], axis=-1))
    taken.set_shape(sequence.shape)
    return taken


def repeat_last(y: Tensor, valid: Tensor) -> Tensor:
    """Repeat the last valid output of ``y [T, B, H]`` in masked steps, with zeros before it."""
    number = tf.cumsum(tf.cast(valid, tf.int32), axis=0) - 1
    last = take_steps(valid_steps(valid), tf.maximum(number, 0))
    return tf.where((number >= 0)[:, :, None], take_steps(y, last), tf.zeros_like(y))
