"""Define the Keras layers for Keras on TensorFlow.

They have the arguments, weights, masks and states of Keras's layers, and a backend of this library
computes them. Keras's loop is the specification on all devices, for any pattern of the mask. A
masked step keeps the state. Its output is that of the last valid step, or zero before the first
valid step. With ``zero_output_for_mask``, the output of a masked step is zero.
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
from lstm_impl.backends.tensorflow.backend import PaddingMask, TensorFlowBackend
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
    is_in_forward_mode,
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
    MaskWithResets,
    Weights,
    are_cast_faster,
    has_mixed_weights,
    one_mask,
    outside_autocast,
)
from lstm_impl.keras.choice import AUTO, FUSED_CPU, KERAS, Arguments, Choice, LayerCall, Sizes
from lstm_impl.model import NO_RESETS, name_resets
from lstm_impl.registry import get_backend
from lstm_impl.spec import LSTMSpec, UnsupportedError, find_refusal_code, require_choice
from lstm_impl.tuning import Decision, TunedMachine, load, machine
from lstm_impl.tuning.models import find_gpu_name
from lstm_impl.workload import RESET_TO

GRU_RESET_BEFORE = get_cell("gru_reset_before")

KERAS_STEPS = ("one_step_on_data", "multi_step_on_data", "multi_step_on_iterator")
"""The beginnings of the names of the graphs that Keras traces for ``fit`` and its other methods."""

MOST_PICKED = 1_000
"""The largest number of calls whose choice is remembered. Outside a graph, sizes can differ without
end."""


class _Memory(CallMemory):
    """Hold what a layer remembers: traced functions, and the choice for each call."""

    def __init__(self, backend: Backend | None, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.backend = backend
        self.sizes = sizes
        self.decisions: list[Decision] | None = None
        self.picked: dict[tuple[Arguments, LayerCall], Choice] = {}
        self.cores: dict[str, LayerCore] = {}
        self.availability: dict[tuple[str, str], Availability] = {}


class TensorFlowLayer(BackendLayer):
    """Compute a recurrent layer of Keras with a backend of this library on TensorFlow."""

    _tanh = (*TANH, tf.tanh)
    _sigmoid = (*SIGMOID, tf.sigmoid)
    _memory: _Memory

    def _begin(self, name: str) -> str:
        """Use the backend of the given name, and return its canonical id."""
        arguments = self._arguments()
        if name == AUTO:
            choice.check_auto(arguments)
        backend = None if name == AUTO else choice.requested_backend(name, arguments)
        self._memory = _Memory(backend)
        has_gpu = bool(tf.config.list_logical_devices("GPU"))
        self.supports_jit = choice.supports_jit(backend, arguments, has_gpu)
        return AUTO if backend is None else backend.name

    def _expect(self, sizes: Sizes) -> None:
        """Choose again with the present decisions.

        ``sizes`` are used where those of a call are unknown.
        """
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
        """Choose a backend, or raise UnsupportedError or UnavailableError if there is none."""
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
        # Attributes such as unroll may have changed since the backend was requested.
        if reason := choice.obstacle(backend, arguments):
            text = f"backend={self.backend!r} cannot compute this layer: {reason}"
            raise UnsupportedError(text, find_refusal_code(reason))
        if call.compiled and not choice.can_be_compiled(backend):
            raise UnsupportedError(
                f"backend={self.backend!r} cannot compute this call: {choice.NOT_COMPILED}"
            )
        if not (available := self._available(backend.name, call.device)):
            raise UnavailableError(
                f"backend={self.backend!r} cannot run here: {available}. To let the layer pick "
                "another, set its attribute backend to 'auto' and compile the model again",
                available.refusal,
                reason=str(available),
            )
        return Choice(backend.name, "it was requested by name")

    def _by_race(self, arguments: Arguments, call: LayerCall, fused: Availability) -> Choice:
        """Choose the fastest backend of a race on such a call, or else by the rule."""
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
        """Return this machine in the form in which decisions record it."""
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
        """Return the device on which new ops are placed, ``gpu`` or ``cpu``."""
        if not tf.config.list_logical_devices("GPU"):
            return "cpu"
        # In a graph, this is the device of tf.device. It is empty without one, which means the GPU.
        return "cpu" if "CPU" in tf.zeros([]).device.upper() else "gpu"

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

        Outside a graph, a call that one fused op can compute is that op and nothing else.

        resets: bool ``[B, T]``. A sequence starts over before a step that is True, which is where
        an episode begins. No gradient flows past it. A reset at a masked step changes nothing.
        reset_to: the state from which it starts over, ``zeros``, or ``initial_state``.

        Raises UnsupportedError for resets if a backend was named that takes none.
        """
        require_choice("reset_to", reset_to, RESET_TO)
        if resets is not None:
            mask = TensorFlowMask.of(sequences, one_mask(mask), resets, reset_to)
            return self.keras_layer.call(self, sequences, initial_state, mask, training)
        more = self.stateful or (training and self.dropout) or one_mask(mask) is not None
        usual = sequences.dtype == self.cell.compute_dtype and 0 not in sequences.shape
        usual = usual and isinstance(initial_state, list | tuple | None)
        usual = usual and self._fits(sequences, initial_state or ())
        alone = tf.executing_eagerly() and usual and not (more or recorded())
        if alone and self._chosen(sequences, None, training).backend == FUSED_CPU:
            return self._at_once(sequences, initial_state)
        return self.keras_layer.call(self, sequences, initial_state, mask, training)

    def _at_once(self, x: Tensor, initial_state: Any) -> Any:
        """Compute the layer with one call of the fused op, which no tape records."""
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
        # The op reads the variables of an LSTM itself. Those of a GRU have another order of gates.
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
        """Compute the loop over time. This overrides Keras's method.

        Returns
        -------
        last, outputs, states
            The last output ``[B, H]``, the outputs ``[B, T, H]`` (``[B, 1, H]`` without
            return_sequences), and the final states ``[B, H]``.
        """
        if isinstance(mask, TensorFlowMask):
            picked = self._choose_for_resets(self._chosen(sequences, mask.mask, training))
            last, outputs, *states = self._by(picked, sequences, initial_state, mask, training)
            return last, outputs, states
        mask = one_mask(mask)
        given = sequences, initial_state, mask, training
        # On TensorFlow, Keras's loop raises an error for a batch that is known to be empty.
        is_empty = self.backend == AUTO and sequences.shape[0] == 0
        if is_empty or not self._fits(sequences, initial_state):
            last, outputs, states = self.keras_layer.inner_loop(self, *given)
            return last, outputs, list(states)
        picked = self._chosen(sequences, mask, training)
        if picked.backend == KERAS:  # If it was requested, it may use cuDNN.
            keras_layer = keras.layers.RNN if self.backend == AUTO else self.keras_layer
            last, outputs, states = keras_layer.inner_loop(self, *given)
            return last, outputs, list(states)
        last, outputs, *states = self._by(picked, *given)
        return last, outputs, states

    def _chosen(self, sequences: Tensor, mask: Tensor, training: bool) -> Choice:
        """Choose a backend for this call, and remember the choice."""
        traced = not tf.executing_eagerly()
        how = self._device(), bool(training), traced, traced and compiled_by_xla()
        sizes: choice.Shape = sequences.shape
        in_step = traced and _in_keras_step()
        call = LayerCall(*how, *sizes, mask is not None, recorded(), in_step)
        picked = self._choose(call)
        self._remember(call, picked)
        return picked

    def _choose_for_resets(self, picked: Choice) -> Choice:
        """Return what computes a call with resets. Raises UnsupportedError for a named backend."""
        if self.backend == KERAS or not (
            self.backend == AUTO or get_backend(self.backend).takes_resets
        ):
            raise UnsupportedError(
                f"backend={self.backend!r} cannot compute this call: {NO_RESETS}"
            )
        if self.backend != AUTO or (picked.backend == FUSED_CPU and not picked.portable):
            return picked
        self._require_loop_with_resets()
        return Choice("static_unroll" if self.unroll else LOOP, "it takes resets")

    def _by(
        self, picked: Choice, sequences: Tensor, state: list[Tensor], mask: Any, training: bool
    ) -> tuple[Tensor, ...]:
        """Compute the last output, the outputs and the final states with the chosen backend."""
        resets = mask if isinstance(mask, TensorFlowMask) else None
        mask = mask if resets is None else resets.mask
        sequences = self._apply_dropout(tf.cast(sequences, self.cell.compute_dtype), training)
        # The state of a stateful layer is a variable, which changes before the gradient is
        # computed.
        states = tuple(tf.convert_to_tensor(keras.ops.convert_to_tensor(part)) for part in state)
        core = self._core(picked.backend)
        is_fused = isinstance(core.backend, FusedCpu)
        # The fused op takes both layouts. With a mask, outputs are filled in the time-major one.
        batch_major = is_fused and mask is None and resets is None
        x = sequences if batch_major else tf.transpose(sequences, [1, 0, 2])
        valid = steps = None
        if mask is not None:  # [B, T] or [B, T, 1] of any type
            mask = tf.cast(mask, tf.bool)
            valid = tf.transpose(mask[:, :, 0] if mask.shape.rank == 3 else mask)
            steps = tf.expand_dims(valid, 2)
        # The fused op takes float32 weights, and two biases in one array. So does the function that
        # stands for it in graphs that may be saved.
        weights = _weights(self.cell, as_they_are=is_fused)
        inputs = LayerInputs(x, states, weights if is_fused else weights.parameters)
        how = training, batch_major, picked.portable
        if resets is None:
            y, states = core(inputs, steps, self.go_backwards, *how)
        else:
            direction = self.go_backwards, self._recurrent_cell()
            y, states = resets.compute(core.backend, inputs, valid, *direction, training)
        if valid is not None and self.go_backwards:
            valid = tf.reverse(valid, [0])
        last = states[0]
        if valid is not None:
            # Before the first valid step, the state is the initial one and the output is zero.
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
    """Compute ``keras.layers.LSTM`` with a backend of this library.

    Inputs, outputs, states, masks and weights are those of Keras's layer. ``explain()`` says which
    backend computes the layer, and why.

    Parameters
    ----------
    backend : str
        ``"auto"`` chooses by device, arguments and call, and uses Keras's own loop for what no
        backend computes. ``"keras"`` is Keras's own code. Any other value is the id of a TensorFlow
        backend, such as ``"while_loop+hoisted"`` or ``"cudnn"``. This backend is used, or the layer
        raises an error.
    **others
        The arguments of Keras's layer.

    Raises
    ------
    UnsupportedError
        If the requested backend cannot compute a layer with these arguments.
    UnavailableError
        When the layer is called, if the requested backend cannot run on this machine. The error
        comes this late so that a model that was trained with ``"cudnn"`` can be loaded everywhere,
        and its ``backend`` changed.
    """

    keras_layer = keras.layers.LSTM


@keras.saving.register_keras_serializable(package="lstm_impl")
class GRU(TensorFlowLayer, keras.layers.GRU):  # type: ignore[misc]
    """Compute ``keras.layers.GRU`` with a backend of this library.

    The arguments, the choice of a backend and the errors are those of ``lstm_impl.keras.LSTM``. A
    requested backend that computes only one form of the GRU (``reset_after``) refuses the other
    form.
    """

    keras_layer = keras.layers.GRU


LOOP = "while_loop"
"""What computes a call with resets where the fused op does not: TensorFlow can differentiate it any
number of times, and save it."""


class TensorFlowMask(MaskWithResets):
    """Compute a layer with resets by TensorFlow."""

    @classmethod
    def of(cls, x: Tensor, mask: Tensor | None, resets: Any, reset_to: str) -> TensorFlowMask:
        """Check resets and return them with a mask. Raises ValueError if they do not fit x."""
        given = tf.convert_to_tensor(resets)
        if given.dtype != tf.bool or not given.shape.is_compatible_with(x.shape[:2]):
            raise ValueError(
                f"resets is {given.dtype.name} {given.shape}; expected bool {x.shape[:2]}"
            )
        return cls(mask, given, reset_to)

    def compute(
        self,
        backend: TensorFlowBackend,
        inputs: LayerInputs,
        valid: Tensor | None,
        reverse: bool,
        cell: Cell,
        training: bool,
    ) -> Outputs:
        """Compute one layer. inputs: time-major. valid: the mask as bool ``[T, B]``, or None."""
        x, states, parameters = inputs
        resets = name_resets(tf.transpose(self.resets), self.reset_to)
        if isinstance(backend, FusedCpu):
            call = Call(x, tuple(each[None] for each in states), valid, None, *resets)
            layer = FusedLayer(reverse=reverse, cell=cell)
            keep = training or recorded()
            made = layer.train(call, parameters)[0] if keep else layer.infer(call, parameters)
            y, *last = made
            return Outputs(y, tuple(each[0] for each in last[: len(states)]))
        padding = None if valid is None else PaddingMask(None, valid[:, :, None])
        call = Call(x, states, None, None, *resets)
        return backend.layer(call, parameters, padding, reverse, cell)


@functools.lru_cache(maxsize=16)
def _zeros(batch: int, units: int, dtype: str) -> Tensor:
    """Return a zero initial state ``[1, B, H]`` for calls outside a graph, on the CPU."""
    with tf.device("/CPU:0"):
        return tf.zeros([1, batch, units], dtype)


def _plain_variables(cell: Any, as_they_are: bool = False) -> list[Any]:
    """Return TensorFlow's own variables of a cell, or an empty list.

    The list is empty if the cell does not have three variables, or if their values cannot be read
    directly: Keras casts them, replaces them in a ``StatelessScope``, or distributes them. With
    ``as_they_are``, the casts of float32 variables in a layer that computes in bfloat16 are left
    out.
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
    """Return the handles of the plain variables, which the fused op reads outside a graph."""
    values = _plain_variables(cell, as_they_are=True)
    for each in values:
        variable_accessed(each)  # tf.recompute_grad needs to know which variables were read.
    return [each.handle for each in values]


def _weights(cell: Any, as_they_are: bool = False) -> Weights:
    """Return the current weights of a cell.

    Plain variables are read without Keras's casts to the type that they already have.
    ``as_they_are`` is that of ``_plain_variables``.
    """
    values = _plain_variables(cell, as_they_are)
    if values and (as_they_are or all(each.dtype == cell.compute_dtype for each in values)):
        return Weights.in_canonical_order(cell, *map(tf.convert_to_tensor, values))
    return Weights.of(cell)


def _in_keras_step() -> bool:
    """Return whether the present graph is part of Keras's train, test or predict function.

    Keras never exports these functions. They have no public mark, but Keras 3 gives them fixed
    names (``keras/src/backend/tensorflow/trainer.py``).
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
    """Compute one layer with a backend, differentiably, in the graphs that the backend needs."""

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
        """Compute the outputs and the final states.

        Parameters
        ----------
        inputs
            The inputs. Their parameters are ``Weights`` for ``fused_cpu``, and otherwise
            ``Weights.parameters``.
        mask
            Bool ``[T, B, 1]`` of any pattern, or None. A step that is False keeps the state and has
            a zero output.
        reverse
            Whether the steps are read from the last to the first. Each output stays at its step.
        training
            Whether to prepare for a gradient. A gradient may be requested in any case.
        batch_major
            Whether x and y are ``[B, T, ...]``, which only ``fused_cpu`` takes.
        portable
            Whether the graph may be saved. It then contains a function that ``fused_cpu`` replaces.
        """
        if is_in_forward_mode(inputs.flat):
            return self._forward_mode(inputs, mask, reverse, batch_major)
        if portable:
            return self._portable(inputs, mask, reverse, batch_major)
        if isinstance(self.backend, FusedCpu):
            keep = training or recorded()
            return by_fused_op(inputs, mask, reverse, keep, batch_major, self._cell)
        if self.backend.xla:
            return self._compiled(inputs, mask, reverse)
        # A loop has hundreds of ops, so it is traced. A fused op is a few ops in any case.
        loop = isinstance(self.backend, LoopBackend)
        if loop and self.backend.dynamic and tf.executing_eagerly():
            return self._traced(inputs, mask, reverse)
        return self._direct(inputs, mask, reverse)

    def _forward_mode(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool, batch_major: bool
    ) -> Outputs:
        """Compute with an unrolled loop, which has a forward-mode derivative."""
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
        """Compute with a function of TensorFlow's ops, for a graph that may be saved.

        In a process that has loaded the library, ``graph_optimizer.cc`` replaces the function by
        the fused op.
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
        # In a graph, an index copies its operand, and these ops do not. The op takes two states.
        # The only state of a GRU is passed for both.
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
        """Compute any mask with a backend that takes only right-padded sequences, forwards."""
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
            # cuDNN takes no empty sequence, so one step of it is computed and not used.
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
        """Compute a network of one layer with the backend, whose layout the parameters get."""
        if isinstance(self.backend, BlockLSTM):
            kernel, recurrent_kernel, bias = parameters
            parameters = tf.concat([kernel, recurrent_kernel], axis=0), bias
        units = states[0].shape[-1]
        spec = LSTMSpec(x.shape[-1], units, dtype=self._dtype, cell=self._cell)
        # The mode is always training, because Keras may request a gradient with training=False too.
        call = Call(x, tuple(each[None] for each in states), lengths)
        y, last = self.backend.stack(spec, call, parameters, training=True)
        return Outputs(y, tuple(each[0] for each in last))

    def _with_second_gradient(
        self, inputs: LayerInputs, mask: Tensor | None, reverse: bool
    ) -> Outputs:
        """Compute with a backend whose gradient is an op that has no gradient itself."""

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
        """Compile the forward and the backward pass with XLA.

        Both are compiled because a compiled loop cannot be differentiated from outside.
        """
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
        by_hand = None  # This is the backend if it has a hand-written gradient.
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
    """Compute a layer with the fused op, which takes a mask with any steps left out.

    With ``keep``, the op keeps what a gradient needs. Without it, a gradient computes the forward
    pass again, which needs less memory and more time.
    """
    layer = FusedLayer(reverse=reverse, batch_major=batch_major, cell=cell)
    # Outside a graph, an index such as h[None] takes several times as long.
    states = tuple(tf.expand_dims(each, 0) for each in inputs.states)
    call = Call(inputs.x, states, None if mask is None else tf.squeeze(mask, 2))
    given = inputs.parameters
    y, *last = layer.train(call, given)[0] if keep else layer.infer(call, given)
    return Outputs(y, tuple(tf.squeeze(each, 0) for each in last[: len(states)]))


PORTABLE = "fused_lstm_impl:2:"
"""The mark of a function that the fused op may replace, which ``graph_optimizer.cc`` reads. Its
arguments and results have the names and the order of those of the op."""


class PortableSizes(NamedTuple):
    """Hold the known sizes of a layer. TensorFlow Lite needs all of them."""

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
    """Return a marked function of TensorFlow's ops that computes a layer.

    The functions of all cells have the arguments and results of the op. That of a GRU does not read
    c, and returns an empty one. The graph optimizer recognizes a function by a digest of its body.
    A known number of timesteps would be a constant in the body and change the digest, so the number
    is left open.

    Parameters
    ----------
    dtype
        The type of the arguments.
    reverse, batch_major
        As in ``LayerCore``.
    masked
        Whether the function takes a mask.
    sizes
        The known sizes.
    weight_dtype
        The type of the weights if it is different. The function then casts them, which the op in
        its place does not need.
    cell
        The recurrent cell.
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
        # TensorFlow requires a different text for each function.
        experimental_attributes={"api_implements": f"{PORTABLE}{uuid.uuid4().hex}"},
    )


class PortableLoop(WhileLoop):
    """Run ``tf.while_loop`` without constants that depend on the number of units.

    For zero timesteps, the empty output still has the batch and the units of the state.
    """

    def make_recurrence(self, recurrent: Tensors, cell: Cell) -> Recurrence:
        """Return the product with the recurrent kernel for the equations of a cell."""
        if cell != GRU_RESET_BEFORE:  # Only this cell multiplies some gates separately.
            return super().make_recurrence(recurrent, cell)
        kernels = tf.split(recurrent[0], len(cell.gates), axis=-1)

        def multiply(h: Tensor, gates: range | None = None) -> Tensor:
            chosen = kernels if gates is None else kernels[gates.start : gates.stop]
            return tf.concat([tf.matmul(h, each) for each in chosen], axis=-1)

        return multiply

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        """Run a step over time, as ``LoopBackend.scan`` documents."""
        loop = TimeLoop(sequences, outputs, reverse)
        carry, arrays = loop.run(step, carry, loop.empty(), 0, loop.timesteps)
        return carry, tuple(map(_stacked, arrays, outputs))


def _stacked(array: tf.TensorArray, like: Tensor) -> Tensor:
    """Stack the elements of an array, each of which has the shape of ``like``."""
    if tf.executing_eagerly() or like.shape.is_fully_defined():
        return array.stack()
    # An array of elements of unknown shape cannot be stacked if it is empty.
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
    """Compute the results of the fused op with a loop of TensorFlow's ops."""
    if batch_major:
        x = tf.transpose(x, [1, 0, 2])
    mask = padding[:, :, None] if padding.dtype == tf.bool else None
    # A cast to the same type adds no op to a graph.
    weights = Weights(*(tf.cast(each, x.dtype) for each in (kernel, recurrent_kernel, bias)))
    states = tuple(each[0] for each in (h, c)[: len(cell.states)])
    inputs = LayerInputs(x, states, weights.parameters)
    y, last = by_loop(PortableLoop(), inputs, mask, reverse, cell)
    made = [each[None] for each in last]
    if len(made) == 1:
        # For a GRU, the op returns an empty c. This reads c, so that no argument is unused.
        made.append(tf.concat([h[:0], c[:0]], axis=0))
    return tf.transpose(y, [1, 0, 2]) if batch_major else y, made[0], made[1]


# -- masks, in the order in which steps are read


def valid_steps(valid: Tensor) -> Tensor:
    """Return the order of the steps ``[T, B]`` that puts valid steps before masked ones."""
    return tf.argsort(tf.cast(~valid, tf.int32), axis=0, stable=True)


def take_steps(sequence: Tensor, steps: Tensor) -> Tensor:
    """Return the elements of ``sequence [T, B, ...]`` at the steps ``[T, B]``."""
    column = tf.broadcast_to(tf.range(tf.shape(steps)[1])[None, :], tf.shape(steps))
    taken = tf.gather_nd(sequence, tf.stack([steps, column], axis=-1))
    taken.set_shape(sequence.shape)
    return taken


def repeat_last(y: Tensor, valid: Tensor) -> Tensor:
    """Repeat the last valid output of ``y [T, B, H]`` in masked steps.

    Before the first valid step, the output is zero.
    """
    number = tf.cumsum(tf.cast(valid, tf.int32), axis=0) - 1
    last = take_steps(valid_steps(valid), tf.maximum(number, 0))
    return tf.where((number >= 0)[:, :, None], take_steps(y, last), tf.zeros_like(y))
