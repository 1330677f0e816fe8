"""Run ``fused_cpu``: a layer over the entire sequence in one op of this library, on a CPU.

The kernels are C++ (``lstm_impl/native``) and are compiled on first use. Inference keeps nothing.
Training keeps the gates and the cell states. The backward pass is one op for dz of all steps and
the gradients of the weights, and another op for the gradient of the input, which is called only if
that is requested.

Outside a graph, a training step calls the ops one by one, because calling an op takes some
microseconds and calling a graph takes a hundred. In all other contexts, TensorFlow uses the
registered gradients of the ops.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import lstm_impl.backends.fused_cpu.library as fused_cpu_library
from lstm_impl.availability import Availability
from lstm_impl.backends.fused_cpu.c_interface import (
    CELLS,
    FROM_INITIAL,
    FROM_ZEROS,
    STEP,
    KernelModel,
)
from lstm_impl.backends.tensorflow.backend import (
    FirstStepBits,
    FirstSteps,
    PaddingMask,
    TensorFlowBackend,
)
from lstm_impl.backends.tensorflow.loops import WhileLoop
from lstm_impl.backends.tensorflow.model import TensorFlowModel
from lstm_impl.backends.tensorflow.second_gradient import with_gradient
from lstm_impl.call import (
    Call,
    LSTMOutputs,
    Outputs,
    RawGradients,
    Request,
    States,
    Tensor,
    Tensors,
    Upstream,
)
from lstm_impl.cell import DEFAULT, Cell, get_cell
from lstm_impl.model import Model
from lstm_impl.spec import FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.weights import LayerWeights, LSTMWeights
from lstm_impl.workload import select_differentiated

__all__ = ["FusedCpu", "ops"]


class FusedModel(KernelModel, TensorFlowModel):
    """Call the ops directly. A graph is used only with an optimizer, or if the user traces one."""

    def network(self, call: Call, training: bool) -> Outputs:
        # Unlike in other backends, nothing is transposed, because the ops take either layout.
        with self._tf.device(self.tf_device):
            return self._network.forward(call, self._values(), keep=training)[0]

    @functools.cached_property
    def _network(self) -> Network:
        return Network(self.spec, self.batch_major)

    @functools.cached_property
    def _borrowed(self) -> tuple[Any, Any]:
        # Both are looked up only once, because each lookup takes a microsecond.
        dtype = np.dtype(self.compute_dtype.as_numpy_dtype)
        return dtype, self._tf.experimental.dlpack.from_dlpack

    def _lend(self, array: FloatArray) -> Tensor:
        # The ops read memory of any alignment, so the array need not be copied.
        dtype, from_dlpack = self._borrowed
        if array.dtype == dtype and array.flags.carray:
            return from_dlpack(array.__dlpack__())
        return self._to_device(array)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        # asarray would return a read-only array. Each output has memory of its own, so this is no
        # copy.
        found: npt.NDArray[np.generic] = tensor.__array__()
        return found

    def _infer(self, call: Call) -> Outputs:
        return self._network.forward(call, self._handles, keep=False)[0]

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        outputs, kept = self._network.forward(call, self._handles, keep=True)
        inputs, weights = self._network.backward(call, self._handles, kept, upstream, gradients)
        return RawGradients.of(outputs, select_differentiated(gradients, *inputs), weights)

    def synchronize(self) -> None:
        # Unless ops are asynchronous, an eager op on a CPU has finished when it returns.
        # Synchronizing devices would take as long as a small op.
        if self._tf.config.experimental.get_synchronous_execution():
            return
        super().synchronize()

    def _trace_ahead(self, request: Request) -> None:
        if request.optimizer is not None:
            super()._trace_ahead(request)

    @functools.cached_property
    def _handles(self) -> Tensors:
        """The handles of the variables, which the ops read outside a graph."""
        return [variable.handle for variable in self.variables]

    def _values(self) -> Tensors:
        # The weights are not cast to the compute type, because the ops take them as they are.
        return [self._tf.convert_to_tensor(each) for each in self.variables]


class FusedCpu(fused_cpu_library.KernelBackend, TensorFlowBackend):
    """Run ``LstmImplFusedLstm`` forward and ``LstmImplFusedLstmGrad`` backward."""

    strategy = "fused_cpu"
    summary = "a fused op of our own in C++, compiled on first use"
    model = FusedModel
    binding = fused_cpu_library.TENSORFLOW
    flags = ()
    bf32 = True
    bf16x3 = True
    cells = tuple(CELLS)
    takes_resets = True

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if any(op.startswith("LstmImplFusedLstm") for op in evidence.get("ops", {})):
            return ""
        return "no fused op ran; the profiler saw " + (", ".join(evidence.get("ops", {})) or "none")

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        ops()  # This compiles them now, so that the first call does not.
        return super()._build(spec, weights, device, batch_major)

    def to_layout(self, cell: LayerWeights) -> tuple[FloatArray, ...]:
        kernel, recurrent_kernel, *biases = cell
        return kernel, recurrent_kernel, biases[0] if len(biases) == 1 else np.stack(biases)

    def from_layout(self, arrays: Sequence[FloatArray], gradient: bool) -> LayerWeights:
        kernel, recurrent_kernel, bias = arrays
        return LayerWeights(kernel, recurrent_kernel, *(bias if bias.ndim == 2 else [bias]))

    def stack(self, spec: LSTMSpec, call: Call, parameters: Tensors, training: bool) -> Outputs:
        return Network(spec, batch_major=False).forward(call, parameters, keep=training)[0]


class Network:
    """Run layers and directions of fused ops forward and backward."""

    def __init__(self, spec: LSTMSpec, batch_major: bool) -> None:
        self._num_layers = spec.num_layers
        self._directions = spec.num_directions
        self._states = len(spec.cell.states)
        self._batch_major = batch_major
        self._layers = [
            FusedLayer(
                row,
                row % self._directions == 1,
                batch_major,
                spec.dtype,
                spec.precision.variable,
                spec.cell,
            )
            for row in range(spec.state_layers)
        ]

    def forward(self, call: Call, parameters: Tensors, keep: bool) -> tuple[Outputs, list[Kept]]:
        """Compute the outputs and the final states, and keep what ``backward`` needs."""
        if len(self._layers) == 1 and not keep:
            y, h, c = self._layers[0].infer(call, parameters)
            return Outputs(y, (h, c) if self._states == 2 else (h,)), []
        x = call.x
        states: list[States] = []
        kept: list[Kept] = []
        for number in range(self._num_layers):
            if number and call.masks is not None:
                x = x * self._mask(call.masks, number)
            own = call._replace(x=x)
            of_layer = []
            for row in self._rows(number):
                cell = parameters[3 * row : 3 * row + 3]
                if keep:
                    made, needed = self._layers[row].train(own, cell)
                    kept.append(needed)
                else:
                    made = self._layers[row].infer(own, cell)
                of_layer.append(made.y)
                states.append((made.h, made.c)[: self._states])
            x = _join(of_layer, 2)
        return Outputs(x, tuple(_join(each, 0) for each in zip(*states, strict=True))), kept

    def backward(
        self,
        call: Call,
        parameters: Tensors,
        kept: Sequence[Kept],
        upstream: Upstream,
        gradients: str,
    ) -> tuple[Tensors, list[Tensor]]:
        """Compute the gradients of x, of the states and of the parameters.

        Gradients of x and of the states are None if ``gradients``, one of ``GRADIENTS``, does not
        request them. What was kept may be overwritten.
        """
        import tensorflow as tf

        dy, of_state = upstream.dy, gradients == "all"
        weights: list[Tensor] = []
        states: list[Tensors] = []
        for number in reversed(range(self._num_layers)):
            parts = [dy] if self._directions == 1 else tf.split(dy, 2, axis=2)
            of_input = number > 0 or gradients != "weights"
            found = []
            for row, part in zip(self._rows(number), parts, strict=True):
                cell, flow = parameters[3 * row : 3 * row + 3], upstream._replace(dy=part)
                layer = self._layers[row]
                found.append(layer.backward(kept[row], cell, flow, of_input, of_state, last=True))
            weights = [each for _, of_cell in found for each in of_cell] + weights
            states = [inputs[1:] for inputs, _ in found] + states
            dy = found[0][0][0]
            if len(found) == 2 and of_input:
                dy = dy + found[1][0][0]
            if number and call.masks is not None:
                dy = dy * self._mask(call.masks, number)
        if not of_state:
            return (dy, *[None] * self._states), weights
        return (dy, *(_join(each, 0) for each in zip(*states, strict=True))), weights

    def _rows(self, number: int) -> range:
        """Return the rows of a layer in the state: one for each direction."""
        return range(number * self._directions, (number + 1) * self._directions)

    def _mask(self, masks: Tensor, number: int) -> Tensor:
        """Return the dropout mask of a layer's input. The masks are time-major."""
        import tensorflow as tf

        mask = masks[number - 1]
        return tf.transpose(mask, [1, 0, 2]) if self._batch_major else mask


def _join(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Concatenate tensors, unless there is only one."""
    if len(tensors) == 1:
        return tensors[0]
    import tensorflow as tf

    return tf.concat(tensors, axis)


logger = logging.getLogger(__name__)

NOT_COMPILED = (
    "XLA cannot compile the op of fused_cpu; leave jit_compile=True out, or use "
    "while_loop+hoisted+xla"
)
"""The reason why XLA cannot be used."""

NO_SECOND_GRADIENT = (
    "the gradient of fused_cpu is an op without a gradient of its own, and tf.vectorized_map drops "
    "the loop that has one; use while_loop+hoisted for a second gradient there"
)
"""The reason why a second gradient cannot be computed inside ``tf.vectorized_map``."""


class Kept(NamedTuple):
    """Hold what a layer keeps for its gradient: its call and the outputs of its op."""

    call: Call
    y: Tensor
    gates: Tensor
    cells: Tensor
    hidden: Tensor


BY_PRODUCTS = ("bf32", "bf16x3")
"""Precisions of float32 numbers that are attributes of the ops, since only products differ."""


class FusedLayer:
    """Compute one direction of one layer with the ops, and keep what never changes between calls.

    The parameters are the kernel ``[in, G*H]``, the recurrent kernel ``[H, G*H]`` and the bias
    ``[G*H]``, where G is the number of the cell's gates. Outside a graph they are the handles of
    variables. The bias of a cell that has two is ``[2, G*H]``. A call's lengths are integers
    ``[B]``, or a bool mask ``[T, B]`` that is False where a step is left out, or None.

    Parameters
    ----------
    row
        Which row of a call's states ``[rows, B, H]`` belongs to this layer and direction.
    reverse
        Whether the steps are read from the last to the first. Each output still stands at its step.
    batch_major
        Whether input and output are batch-major.
    dtype
        The precision, one of ``PRECISIONS``.
    weight_dtype
        The type of the parameters and of their gradients: the type of the call's tensors, or
        float32.
    cell
        What a timestep computes.
    """

    def __init__(
        self,
        row: int = 0,
        reverse: bool = False,
        batch_major: bool = False,
        dtype: str = "float32",
        weight_dtype: str = "float32",
        cell: Cell = DEFAULT,
    ) -> None:
        module = ops()
        self._inference = module.lstm_impl_fused_lstm
        self._training = module.lstm_impl_fused_lstm_training
        self._gradient = module.lstm_impl_fused_lstm_grad
        self._input_gradient = module.lstm_impl_fused_lstm_input_grad
        self._states = len(cell.states)
        self._reverse, self._batch_major = reverse, batch_major
        self._layout: dict[str, Any] = {"batch_major": True} if batch_major else {}
        if number := CELLS[cell.name]:
            self._layout["cell"] = number
        # Each attribute of an op takes half a microsecond, even if it has its default value.
        given = {"row": row, "reverse": reverse}
        self._attributes = {name: each for name, each in given.items() if each} | self._layout
        self._forward = self._attributes | ({dtype: True} if dtype in BY_PRODUCTS else {})
        self._of_input = self._layout | ({"reverse": True} if reverse else {})
        of_weights = {} if weight_dtype == "float32" else {"G": weight_dtype}
        self._backward = self._attributes | of_weights

    def infer(self, call: Call, parameters: Tensors) -> LSTMOutputs:
        """Compute the outputs ``[T, B, H]`` and the final states ``[1, B, H]``, and keep nothing.

        A GRU has no c. Its op returns an empty tensor ``[0, B, H]`` in that place.
        """
        check_not_compiled()
        read = (call.x, *_fill_second_state(call.states), *parameters, self._padding(call))
        return LSTMOutputs(*self._inference(*read, **self._forward))

    def train(self, call: Call, parameters: Tensors) -> tuple[LSTMOutputs, Kept]:
        """Compute what ``infer`` computes, and keep what ``backward`` needs."""
        check_not_compiled()
        padding = self._padding(call)
        read = (call.x, *_fill_second_state(call.states), *parameters, padding)
        y, h, c, *kept = self._training(*read, **self._forward)
        if call.resets is not None or call.restarts is not None:
            call = call._replace(lengths=padding, resets=None, restarts=None)
        return LSTMOutputs(y, h, c), Kept(call, y, *kept)

    def _padding(self, call: Call) -> Tensor:
        """Return the padding as the ops take it, with the bits of resets if the call has some."""
        if call.resets is None and call.restarts is None:
            return as_padding(call.lengths)
        return step_bits(call, self._reverse, self._batch_major)

    def backward(
        self,
        kept: Kept,
        parameters: Tensors,
        upstream: Upstream,
        of_input: bool = True,
        of_state: bool = True,
        last: bool = False,
    ) -> tuple[Tensors, list[Tensor]]:
        """Compute the gradients of x, of the states (``[1, B, H]`` each) and of the parameters.

        The states of ``upstream`` have as many rows as those of the call. ``last`` says that what
        was kept is not needed again and may be overwritten.
        """
        x, states, padding, *_ = kept.call
        flow = upstream.dy, *_fill_second_state(upstream.dstates)
        padding = as_padding(padding)
        read = (x, *_fill_second_state(states), parameters[1], padding, *kept[1:], *flow)
        how = self._backward
        dz, dh, dc, *weights = self._gradient(*read, state=of_state, overwrite=last, **how)
        dx = None
        if of_input:
            dx = self._input_gradient(x, parameters[0], padding, dz, **self._of_input)
        dstates = (dh, dc) if of_state else (None, None)
        return (dx, *dstates[: self._states]), weights


def _fill_second_state(states: States) -> States:
    """Return two states, because the ops take two. They do not read the second state of a GRU."""
    return states if len(states) == 2 else (states[0], states[0])


def step_bits(call: Call, reverse: bool, batch_major: bool) -> Tensor:
    """Return a call's lengths and resets as the bits ``[T, B]`` that the kernels read, uint8.

    batch_major: whether x is. The resets are time-major.
    """
    import tensorflow as tf

    valid = None
    if call.lengths is not None:
        given = tf.convert_to_tensor(call.lengths)
        valid = given[:, :, None] if given.dtype == tf.bool else None
        if valid is None:
            x = tf.transpose(call.x, [1, 0, 2]) if batch_major else call.x
            valid = PaddingMask.of(x, given).mask
    first = FirstSteps.of(call, valid, reverse)
    assert first is not None  # a caller asks only for a call with resets
    bit = FROM_INITIAL if first.to_initial else FROM_ZEROS
    there = STEP if valid is None else tf.cast(valid, tf.uint8)
    return (tf.cast(first.steps, tf.uint8) * bit + there)[:, :, 0]


def as_padding(padding: Tensor | None) -> Tensor:
    """Convert padding to the type that the ops take: int32, bool, or uint8 with bits."""
    import tensorflow as tf

    if padding is None:
        # The tensor must belong to the graph that is being traced, because the gradient of a loop
        # cannot capture tensors from outside.
        return _no_padding() if tf.executing_eagerly() else tf.zeros([0], tf.int32)
    padding = tf.convert_to_tensor(padding)
    has_steps = padding.dtype in (tf.bool, tf.uint8)
    return padding if has_steps else tf.cast(padding, tf.int32)


@functools.cache
def _no_padding() -> Tensor:
    """Make an empty tensor only once, because that takes as long as a small op."""
    import tensorflow as tf

    with tf.device("/CPU:0"):
        return tf.zeros([0], tf.int32)


def check_not_compiled() -> None:
    """Raise UnsupportedError if XLA compiles the graph that is being traced."""
    if compiled_by_xla():
        raise UnsupportedError(f"fused_cpu: {NOT_COMPILED}")


def compiled_by_xla() -> bool:
    """Return whether XLA compiles the graph that is being traced."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    # TensorFlow has no public function for this. Its own loops call this one before they are built.
    from tensorflow.python.ops import control_flow_util

    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def loaded() -> Availability:
    """Return whether the library is loaded. Compile it in the background if there is none."""
    instead = "TensorFlow's own ops compute"
    return fused_cpu_library.ready(fused_cpu_library.TENSORFLOW, ops, instead)


@functools.cache
def ops() -> Any:
    """Return a module with the ops, and compile them first if necessary."""
    import tensorflow as tf

    module = fused_cpu_library.load(fused_cpu_library.TENSORFLOW)

    def refuse(op: Any, *upstream: Tensor) -> Any:
        raise UnsupportedError(NO_SECOND_GRADIENT)

    tf.RegisterGradient("LstmImplFusedLstm")(_gradient_of_inference)
    tf.RegisterGradient("LstmImplFusedLstmTraining")(
        lambda op, *upstream: _gradient(op, [op.outputs[0], *op.outputs[3:]], upstream[:3])
    )
    for kind in ("Grad", "InputGrad"):
        tf.RegisterGradient(f"LstmImplFusedLstm{kind}")(refuse)
    return module


def _gradient_of_inference(op: Any, *upstream: Tensor) -> list[Tensor | None]:
    """Compute the forward pass again, because inference kept nothing, and then its gradients."""
    names = "row", "reverse", "batch_major", *BY_PRODUCTS, "cell"
    given = {name: op.get_attr(name) for name in names}
    y, _, _, *kept = ops().lstm_impl_fused_lstm_training(*op.inputs, **given)
    return _gradient(op, [y, *kept], upstream)


def _gradient(op: Any, kept: Tensors, upstream: Tensors) -> list[Tensor | None]:
    """Return the gradients of a forward op's inputs. Second gradients come from a plain loop."""
    import tensorflow as tf

    x, h, c, *parameters, padding = op.inputs
    row, reverse, batch_major = map(op.get_attr, ("row", "reverse", "batch_major"))
    names = {number: name for name, number in CELLS.items()}
    cell = get_cell(names[op.get_attr("cell")])
    layer = FusedLayer(0, reverse, batch_major, weight_dtype=parameters[0].dtype.name, cell=cell)
    count = len(cell.states)
    # Outside a graph, slicing takes longer than the op itself, so a single row is not sliced.
    states = [each if each.shape[0] == 1 else each[row : row + 1] for each in (h, c)[:count]]
    call = Call(x, tuple(states), padding)
    flow = Upstream(upstream[0], tuple(upstream[1 : 1 + count]))
    (dx, *dstates), weights = layer.backward(Kept(call, *kept), parameters, flow)

    def plain(x: Tensor, *rest: Tensor) -> Tensors:
        states, parameters, padding = rest[:count], rest[count:-1], rest[-1]
        kernel, recurrent_kernel, bias = (tf.cast(each, x.dtype) for each in parameters)
        biases = [bias] if bias.shape.rank == 1 else [bias[0], bias[1]]
        x = tf.transpose(x, [1, 0, 2]) if batch_major else x
        mask, first = _steps(x, padding)
        own = Call(x, tuple(state[0] for state in states))
        arrays = [kernel, recurrent_kernel, *biases]
        y, final = WhileLoop().plain_layer(own, arrays, mask, reverse, first, cell)
        y = tf.transpose(y, [1, 0, 2]) if batch_major else y
        return (y, *(state[None] for state in final))

    inputs, outputs = [x, *states, *parameters], flow.flat
    found = with_gradient(plain, inputs, outputs, [*dstates, *weights], 1, [padding])
    dstates, weights = found[:count], found[count:]
    # This is a call of its own, so that a graph that does not need dx does not compute it.
    (dx,) = with_gradient(plain, inputs, outputs, [dx], 0, [padding])
    if (rows := h.shape[0]) > 1:
        around = [[row, rows - row - 1], [0, 0], [0, 0]]
        dstates = [tf.pad(each, around) for each in dstates]
    # A GRU does not read c, so its gradient is None.
    return [dx, *dstates, *[None] * (2 - count), *weights, None]


def _steps(x: Tensor, padding: Tensor) -> tuple[Tensor | None, FirstStepBits | None]:
    """Return an op's padding as a mask ``[T, B, 1]``, and where sequences start over.

    Each of them is None if there is none.
    """
    import tensorflow as tf

    if padding.shape == [0]:
        return None, None
    if padding.dtype == tf.uint8:
        bits = padding[:, :, None]
        mask = tf.bitwise.bitwise_and(bits, tf.constant(STEP, tf.uint8)) > 0
        return mask, FirstStepBits(bits)
    mask = padding[:, :, None] if padding.dtype == tf.bool else PaddingMask.of(x, padding).mask
    return mask, None
