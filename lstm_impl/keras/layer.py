"""Define the Keras layers: Keras's arguments, weights, masks and states with a backend's
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
from lstm_impl.call import Call, Outputs, States, Tensor, Tensors, Upstream
from lstm_impl.cell import DEFAULT, Cell, Recurrence, get_cell
from lstm_impl.keras.base import (
    SIGMOID,
    TANH,
    BackendLayer,
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

GRU_RESET_BEFORE = get_cell("gru_reset_before")

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


class TensorFlowLayer(BackendLayer):
    """Compute a recurrent layer of Keras on TensorFlow by a backend of this library."""

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
        return self.keras_layer.call(self, sequences, initial_state, mask, training)

    def _at_once(self, x: Tensor, initial_state: Any) -> Any:
        """Compute by one call of the fused op, which no tape records."""
        dtype, cell = self.cell.compute_dtype, self._recurrent_cell()
        states: tuple[Tensor, ...]
        if initial_state is None:
            states = (_zeros(x.shape[0], self.units, dtype),) * len(cell.states)
        else:
            states = tuple(
                tf.expand_dims(keras.ops.convert_to_tensor(each, dtype), 0)
                for each in initial_state
            )
        layer = FusedLayer(reverse=self.go_backwards, batch_major=True, cell=cell)
        # The op reads an LSTM's variables itself. Those of a GRU have another order of gates.
        handles = _handles(self.cell) if cell == DEFAULT else ()
        y, *last = layer.infer(Call(x, states), handles or _weights(self.cell, as_they_are=True))
        if not self.return_sequences:
            y = tf.squeeze(last[0], 0)
        elif self.go_backwards:
            y = tf.reverse(y, [1])
        if not self.return_state:
            return y
        return (y, *(tf.squeeze(each, 0) for each in last[: len(states)]))

    def inner_loop(
        self, sequences: Tensor, initial_state: list[Tensor], mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Compute the last output ``[B, H]``, outputs ``[B, T, H]`` (``[B, 1, H]`` without
        return_sequences) and final states, as Keras's method does.
        """
        mask = one_mask(mask)
        given = sequences, initial_state, mask, training
        # TensorFlow's loop of Keras raises for a batch that is known to be empty.
        is_empty = self.backend == AUTO and sequences.shape[0] == 0
        if is_empty or not self._fits(sequences, initial_state):
            last, outputs, states = self.keras_layer.inner_loop(self, *given)
            return last, outputs, list(states)
        picked = self._chosen(sequences, mask, training)
        if picked.backend == KERAS:  # named, it may choose cuDNN; from auto, it is the loop
            keras_layer = keras.layers.RNN if self.backend == AUTO else self.keras_layer
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
        """Compute by a backend of this library: last output, outputs and final states."""
        sequences = self._dropped(tf.cast(sequences, self.cell.compute_dtype), training)
        # A stateful layer's state is a variable, assigned to before the gradient is computed.
        states = tuple(tf.convert_to_tensor(keras.ops.convert_to_tensor(part)) for part in state)
        core = self._core(picked.backend)
        is_fused = isinstance(core.backend, FusedCpu)
        # The fused op reads and writes either layout; a mask's outputs are filled time-major.
        batch_major = is_fused and mask is None
        x = sequences if batch_major else tf.transpose(sequences, [1, 0, 2])
        valid = steps = None
        if mask is not None:  # [B, T] or [B, T, 1] of any type
            mask = tf.cast(mask, tf.bool)
            valid = tf.transpose(mask[:, :, 0] if mask.shape.rank == 3 else mask)
            steps = tf.expand_dims(valid, 2)
        # The fused op takes weights in float32, and two biases in one array. So does the function
        # in its place in graphs that may be saved.
        weights = _weights(self.cell, as_they_are=is_fused)
        inputs = LayerInputs(x, states, weights if is_fused else weights.parameters)
        how = training, batch_major, picked.portable
        y, states = core(inputs, steps, self.go_backwards, *how)
        if valid is not None and self.go_backwards:
            valid = tf.reverse(valid, [0])
        last = states[0]
        if valid is not None:
            # Before the first valid step the state is the initial one and the output zero.
            some = valid[-1] if self.zero_output_for_mask else tf.reduce_any(valid, axis=0)
            last = tf.where(tf.expand_dims(some, 1), last, tf.zeros_like(last))
        if not self.return_sequences:
            return last, tf.expand_dims(last, 1), *states
        if self.go_backwards:
            y = tf.reverse(y, [1 if batch_major else 0])
        if valid is not None and not self.zero_output_for_mask:
            y = repeat_last(y, valid)
        return last, y if batch_major else tf.transpose(y, [1, 0, 2]), *states

    def _core(self, name: str) -> LayerCore:
        if name not in self._memory.cores:
            backend = self._memory.backend or choice.requested_backend(name, self._arguments())
            assert isinstance(backend, TensorFlowBackend)
            how = choice.in_layer(backend), self.cell.compute_dtype, self._recurrent_cell()
            self._memory.cores[name] = LayerCore(*how)
        return self._memory.cores[name]


@keras.saving.register_keras_serializable(package="lstm_impl")
class LSTM(TensorFlowLayer, keras.layers.LSTM):  # type: ignore[misc]  # Keras has no types
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

    keras_layer = keras.layers.LSTM


@keras.saving.register_keras_serializable(package="lstm_impl")
class GRU(TensorFlowLayer, keras.layers.GRU):  # type: ignore[misc]
    """``keras.layers.GRU`` computed by a backend of this library.

    The arguments, the choice of a backend and the errors are those of ``lstm_impl.keras.LSTM``.
    ``reset_after`` is Keras's argument; a named backend that computes one form of the GRU only
    refuses the other form.
    """

    keras_layer = keras.layers.GRU


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
        return Weights.in_canonical_order(cell, *map(tf.convert_to_tensor, values))
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

    def __init__(
        self, backend: TensorFlowBackend, compute_dtype: str, cell: Cell = DEFAULT
    ) -> None:
        self.backend = backend
        self._dtype = compute_dtype
        self._cell = cell
        self._functions: dict[tuple[object, ...], Any] = {}

    def __call__(
        self,
        inputs: LayerInputs,
        mask: Tensor | None,
        reverse: bool,
        training: bool = True,
        batch_major: bool = False,
        portable: bool = False,
    ) -> Outputs:
        """Compute the outputs for ``inputs``.

        mask ``[T, B, 1]`` bool, any pattern: a step that is False keeps the state and has zero
        output. With ``reverse`` the steps are read from the last to the first; outputs stand at
        the step they belong to. training: whether to be prepared for a gradient, which may be
        requested in any case. batch_major: x and y are ``[B, T, ...]``, by ``fused_cpu`` alone.
        portable: in a graph that may be saved, by a function whose place ``fused_cpu`` takes.

        The parameters of ``inputs`` are ``Weights`` for ``fused_cpu``, else their ``parameters``.
        """
        if in_forward_mode(inputs.flat):
            return self._forward_mode(inputs, mask, reverse, batch_major)
        if portable:
            return self._portable(inputs, mask, reverse, batch_major)
        if isinstance(self.backend, FusedCpu):
            keep = training or recorded()
            return by_fused_op(inputs, mask, reverse, keep, batch_major, self._cell)
        if self.backend.xla:
            return self._compiled(inputs, mask, reverse)
        # A fused op is a few ops in any case; a loop has hundreds.
        loop = isinstance(self.backend, LoopBackend)
        if loop and self.backend.dynamic and tf.executing_eagerly():
            return self._traced(inputs, mask, reverse)
        return self._direct(inputs, mask, reverse)

    def _forward_mode(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool, batch_major: bool
    ) -> Outputs:
        """Compute by an unrolled loop, which has a derivative in forward mode."""
        x, states, parameters = inputs
        if isinstance(parameters, Weights):
            parameters = parameters.parameters
        x, *rest = (tf.cast(each, self._dtype) for each in (x, *states, *parameters))
        if batch_major:
            x = tf.transpose(x, [1, 0, 2])
        if x.shape[0] is None:
            raise UnsupportedError(FORWARD_MODE)
        given = LayerInputs.from_flat([x, *rest], self._cell)
        y, states = by_loop(StaticUnroll(), given, mask, reverse, self._cell)
        return Outputs(tf.transpose(y, [1, 0, 2]) if batch_major else y, states)

    def _portable(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool, batch_major: bool
    ) -> Outputs:
        """Compute by a function of TensorFlow's ops, for a graph that may be saved.

        ``graph_optimizer.cc`` puts the fused op in its place where the library is loaded.
        """
        x, states, parameters = inputs
        batch = x.shape[0 if batch_major else 1]
        types = x.dtype, parameters[0].dtype
        key = ("portable", reverse, batch_major, mask is not None, *types, batch, *x.shape[2:])
        if key not in self._functions:
            sizes = PortableSizes(batch, x.shape[2], parameters[1].shape[0])
            how = reverse, batch_major, mask is not None, sizes, parameters[0].dtype, self._cell
            self._functions[key] = portable_function(x.dtype, *how)
        padding = tf.zeros([0], tf.int32) if mask is None else mask[:, :, 0]
        # In a graph an index copies, and these ops do not. The op has two states; that of a GRU
        # stands in the place of both.
        both = [tf.expand_dims(each, 0) for each in (*states, *states)[:2]]
        y, *last = self._functions[key](x, *both, *parameters, padding)
        y.set_shape([*x.shape[:2], parameters[1].shape[0]])
        final = []
        for before, after in zip(states, last, strict=False):
            final.append(tf.squeeze(after, 0))
            final[-1].set_shape(before.shape)
        return Outputs(y, tuple(final))

    # -- by the backend's ops, here

    def _direct(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        if isinstance(self.backend, LoopBackend):
            return by_loop(self.backend, inputs, mask, reverse, self._cell)
        if isinstance(self.backend, BlockLSTM):
            return self._with_second_gradient(inputs, mask, reverse)
        return self._right_padded(inputs, mask, reverse)

    def _right_padded(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        """Compute any mask by a backend that only takes right-padded sequences, forward."""
        x, states, parameters = inputs
        if reverse:
            x = tf.reverse(x, [0])
        if mask is None:
            y, states = self._stack(x, states, parameters, None)
        else:
            valid = mask[:, :, 0]
            if reverse:
                valid = tf.reverse(valid, [0])
            lengths = tf.reduce_sum(tf.cast(valid, tf.int32), axis=0)
            # cuDNN takes no empty sequence: one step is computed and unused.
            y, last = self._stack(
                take_steps(x, valid_steps(valid)), states, parameters, tf.maximum(lengths, 1)
            )
            number = tf.cumsum(tf.cast(valid, tf.int32), axis=0) - 1
            y = take_steps(y, tf.maximum(number, 0))
            y = tf.where(valid[:, :, None], y, tf.zeros_like(y))
            some = lengths[:, None] > 0
            pairs = zip(last, states, strict=True)
            states = tuple(tf.where(some, after, before) for after, before in pairs)
        return Outputs(tf.reverse(y, [0]) if reverse else y, states)

    def _stack(
        self, x: Tensor, states: States, parameters: Tensors, lengths: Tensor | None
    ) -> Outputs:
        """Compute the backend's network of one layer, with parameters in its own layout."""
        if isinstance(self.backend, BlockLSTM):
            kernel, recurrent_kernel, bias = parameters
            parameters = tf.concat([kernel, recurrent_kernel], axis=0), bias
        units = states[0].shape[-1]
        spec = LSTMSpec(x.shape[-1], units, dtype=self._dtype, cell=self._cell)
        # Training mode always: in Keras a gradient may be requested with training=False too.
        call = Call(x, tuple(each[None] for each in states), lengths)
        y, last = self.backend.stack(spec, call, parameters, training=True)
        return Outputs(y, tuple(each[0] for each in last))

    def _with_second_gradient(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool
    ) -> Outputs:
        """Compute by a backend whose gradient is an op without a gradient."""

        def forward(inputs: Tensors, masks: Tensors) -> tuple[Tensors, Any]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(inputs)
                given = LayerInputs.from_flat(inputs, self._cell)
                outputs = self._right_padded(given, _only(masks), reverse).flat
            return outputs, (tape, inputs, outputs)

        def backward(kept: Any, inputs: Tensors, masks: Tensors, upstream: Tensors) -> Tensors:
            tape, watched, outputs = kept
            return _gradient(tape, outputs, watched, upstream)

        return self._twice_differentiable(forward, backward, inputs, mask, reverse)

    # -- traced once, for calls outside a graph

    def _traced(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        masks = () if mask is None else (mask,)
        key = ("direct", reverse, bool(masks))
        if key not in self._functions:

            def direct(inputs: LayerInputs, masks: Tensors) -> Outputs:
                return self._direct(inputs, _only(masks), reverse)

            def any_batch_and_time(tensor: Tensor) -> Any:
                sizes = [None] * (len(tensor.shape) - 1) + [tensor.shape[-1]]
                return tf.TensorSpec(sizes, tensor.dtype)

            weights = tuple(tf.TensorSpec(each.shape, each.dtype) for each in inputs.parameters)
            states = tuple(map(any_batch_and_time, inputs.states))
            of_inputs = LayerInputs(any_batch_and_time(inputs.x), states, weights)
            signature = [of_inputs, tuple(map(any_batch_and_time, masks))]
            self._functions[key] = tf.function(direct, signature, autograph=False)
        return Outputs(*self._functions[key](inputs, masks))

    # -- compiled by XLA

    def _compiled(self, inputs: LayerInputs, mask: Tensor | None, reverse: bool) -> Outputs:
        """Compile forward and backward: a compiled loop cannot be differentiated from outside."""
        forward, backward = self._compiled_pair(mask is not None, reverse)
        return self._twice_differentiable(
            lambda inputs, masks: forward(tuple(inputs), masks),
            lambda kept, inputs, masks, upstream: backward(
                own(kept), tuple(inputs), masks, tuple(upstream)
            ),
            inputs,
            mask,
            reverse,
        )

    def _compiled_pair(self, masked: bool, reverse: bool) -> tuple[Any, Any]:
        by_hand = None  # the backend, if it has the hand-written gradient
        if isinstance(self.backend, LoopBackend) and "hoisted" in self.backend.options:
            by_hand = self.backend
        cell = self._cell

        def forward(flat: Tensors, masks: Tensors) -> tuple[Tensors, Tensors]:
            inputs, mask = LayerInputs.from_flat(flat, cell), _only(masks)
            if by_hand is not None:
                outputs, residuals = by_hand.forward_with_residuals(
                    inputs, mask, reverse, cell=cell
                )
                return outputs.flat, residuals
            return self._direct(inputs, mask, reverse).flat, ()

        def backward(kept: Any, flat: Tensors, masks: Tensors, upstream: Tensors) -> Tensors:
            inputs, mask = LayerInputs.from_flat(flat, cell), _only(masks)
            if by_hand is not None:
                flow = Upstream(upstream[0], tuple(upstream[1:]))
                return by_hand.backward_from_residuals(
                    kept, inputs, mask, reverse, flow, cell=cell
                ).flat
            with tf.GradientTape() as tape:
                tape.watch(flat)
                outputs = self._direct(inputs, mask, reverse)
            return _gradient(tape, outputs.flat, flat, upstream)

        key = ("compiled", reverse, masked)
        if key not in self._functions:
            compiled = functools.partial(tf.function, jit_compile=True, autograph=False)
            self._functions[key] = compiled(forward), compiled(backward)
        pair: tuple[Any, Any] = self._functions[key]
        return pair

    def _twice_differentiable(
        self,
        forward: Callable[[Tensors, Tensors], tuple[Tensors, Any]],
        backward: Callable[[Any, Tensors, Tensors, Tensors], Tensors],
        inputs: LayerInputs,
        mask: Tensor | None,
        reverse: bool,
    ) -> Outputs:
        flat, cell = inputs.flat, self._cell

        def plain(*given: Tensor) -> Tensors:
            again = LayerInputs.from_flat(given[: len(flat)], cell)
            return by_loop(WhileLoop(), again, _only(given[len(flat) :]), reverse, cell).flat

        masks = () if mask is None else (mask,)
        return Outputs.from_flat(twice_differentiable(plain, forward, backward, flat, masks))


def _only(masks: Tensors) -> Tensor | None:
    return masks[0] if masks else None


def _gradient(tape: Any, targets: Tensors, sources: Tensors, upstream: Tensors) -> Tensors:
    gradients: Tensors = tape.gradient(list(targets), list(sources), list(upstream))
    return gradients


def by_fused_op(
    inputs: LayerInputs,
    mask: Tensor | None,
    reverse: bool,
    keep: bool,
    batch_major: bool = False,
    cell: Cell = DEFAULT,
) -> Outputs:
    """Return the outputs by the fused op, which takes any mask as it is.

    keep: whether to keep what a gradient needs; without, it computes the forward pass again.
    """
    layer = FusedLayer(reverse=reverse, batch_major=batch_major, cell=cell)
    # Indices such as h[None] take several times as long outside a graph.
    states = tuple(tf.expand_dims(each, 0) for each in inputs.states)
    call = Call(inputs.x, states, None if mask is None else tf.squeeze(mask, 2))
    given = inputs.parameters
    y, *last = layer.train(call, given)[0] if keep else layer.infer(call, given)
    return Outputs(y, tuple(tf.squeeze(each, 0) for each in last[: len(states)]))


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
    cell: Cell = DEFAULT,
) -> Any:
    """Return a function of TensorFlow's ops, with the mark, that computes a layer.

    dtype: the type of all arguments. weight_dtype: the type of the weights, if it is another. The
    function then casts them, and the op in its place does not. cell: what a timestep computes. The
    functions of all cells have the arguments and results of the op. That of a GRU reads no c, and
    returns an empty one.

    The graph optimizer recognizes the function by a digest of its body. The number of timesteps
    would be a constant of the body that changes what the body computes, so it is not known.
    """
    batch, inputs, units = sizes
    gates = None if units is None else len(cell.gates) * units
    state = [1, batch, units]
    x = [batch, None, inputs] if batch_major else [None, batch, inputs]
    bias = [2, gates] if "recurrent_bias" in cell.parameters else [gates]
    weights = [inputs, gates], [units, gates], bias
    given = [tf.TensorSpec(shape, dtype) for shape in (x, state, state)]
    given += [tf.TensorSpec(shape, weight_dtype or dtype) for shape in weights]
    padding = tf.TensorSpec([None, batch], tf.bool) if masked else tf.TensorSpec([0], tf.int32)
    return tf.function(
        functools.partial(by_tensorflow, reverse=reverse, batch_major=batch_major, cell=cell),
        input_signature=[*given, padding],
        autograph=False,
        # TensorFlow wants another text for each function.
        experimental_attributes={"api_implements": f"{PORTABLE}{uuid.uuid4().hex}"},
    )


class PortableLoop(WhileLoop):
    """``tf.while_loop``, whose output of no timestep has the batch and the units of the state.

    Its ops have no constant that depends on the number of units.
    """

    def make_recurrence(self, recurrent: Tensors, cell: Cell) -> Recurrence:
        """Return the product with the recurrent kernel that the equations of ``cell`` call."""
        if cell != GRU_RESET_BEFORE:  # which alone multiplies a part of the gates
            return super().make_recurrence(recurrent, cell)
        kernels = tf.split(recurrent[0], len(cell.gates), axis=-1)

        def multiply(h: Tensor, gates: range | None = None) -> Tensor:
            chosen = kernels if gates is None else kernels[gates.start : gates.stop]
            return tf.concat([tf.matmul(h, each) for each in chosen], axis=-1)

        return multiply

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
    cell: Cell = DEFAULT,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what the fused op computes by a loop of TensorFlow's ops."""
    if batch_major:
        x = tf.transpose(x, [1, 0, 2])
    mask = padding[:, :, None] if padding.dtype == tf.bool else None
    # A cast to the same type adds nothing to a graph.
    weights = Weights(*(tf.cast(each, x.dtype) for each in (kernel, recurrent_kernel, bias)))
    states = tuple(each[0] for each in (h, c)[: len(cell.states)])
    inputs = LayerInputs(x, states, weights.parameters)
    y, last = by_loop(PortableLoop(), inputs, mask, reverse, cell)
    made = [each[None] for each in last]
    if len(made) == 1:
        # The op returns an empty c of a GRU. This reads c, so that no argument is unused.
        made.append(tf.concat([h[:0], c[:0]], axis=0))
    return tf.transpose(y, [1, 0, 2]) if batch_major else y, made[0], made[1]


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
