"""What every TensorFlow backend shares: placing arrays, stacking layers and directions, gradients.

A strategy supplies ``layer``: one direction of one layer over time. What stands here knows nothing
of how that loops. TensorFlow is imported when a model is built, never before.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lstm_impl import cuda
from lstm_impl.backend import (
    Availability,
    Backend,
    Model,
    RawGradients,
    Tensor,
)
from lstm_impl.backends import tensorflow_evidence
from lstm_impl.backends.hlo import describe_hlo
from lstm_impl.optimizer import BETA1, BETA2, EPSILON, LEARNING_RATE
from lstm_impl.spec import FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.weights import LayerWeights, LSTMWeights
from lstm_impl.workload import OPTIMIZERS, Workload, differentiated

INSTALL_CPU = "pip install 'lstm-benchmark-suite[cpu]'"
INSTALL_GPU = "pip install 'tensorflow[and-cuda]'"

Arrays = Sequence[FloatArray]
Tensors = Sequence[Tensor]

_numbers = itertools.count()


@dataclass(frozen=True)
class Padding:
    """Which steps of right-padded sequences are valid.

    lengths ``[B]``; mask ``[T, B, 1]`` bool, false on padding.
    """

    lengths: Tensor
    mask: Tensor

    @classmethod
    def of(cls, x: Tensor, lengths: Tensor) -> Padding:
        """The padding of ``x [T, B, in]``."""
        import tensorflow as tf

        steps = tf.range(tf.shape(x)[0], dtype=lengths.dtype)
        return cls(lengths, (steps[:, None] < lengths[None, :])[:, :, None])


def reverse_time(sequence: Tensor, padding: Padding | None) -> Tensor:
    """``sequence [T, B, F]`` with each sequence's valid steps in reverse, padding left in place.

    For layers that can only go forward.
    """
    import tensorflow as tf

    if padding is None:
        return tf.reverse(sequence, [0])
    return tf.reverse_sequence(sequence, padding.lengths, seq_axis=0, batch_axis=1)


def tensorflow_availability(device: str) -> Availability:
    """Whether TensorFlow is installed and can use ``device``."""
    if importlib.util.find_spec("tensorflow") is None:
        return Availability(
            False, "TensorFlow is not installed", INSTALL_CPU if device == "cpu" else INSTALL_GPU
        )
    return cuda.available_to("TensorFlow", device, INSTALL_GPU, _look)


def _look() -> cuda.View:
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    built_with = str(build.get("cuda_version", "")) if build["is_cuda_build"] else ""
    return cuda.View(
        tf.__version__,
        len(tf.config.list_physical_devices("GPU")),
        cuda.parse_version(built_with) if built_with else None,
    )


class TensorFlowBackend(Backend):
    """A backend whose layer is made of TensorFlow ops.

    dynamic: one trace serves every number of timesteps; else each has its own. Each batch has its
        own in any case: a user's function that is traced with tensors knows its batch, and a graph
        that has to ask for it at run time takes longer, a small one much longer.
    """

    framework = "tensorflow"
    optimizers = OPTIMIZERS
    flags: ClassVar[tuple[str, ...]] = ("xla",)
    dynamic: ClassVar[bool] = True

    @property
    def xla(self) -> bool:
        """Whether the step is compiled by XLA (``jit_compile=True``)."""
        return "xla" in self.options

    def availability(self, device: str = "cpu") -> Availability:
        kind = device.partition(":")[0]
        if kind not in self.devices:
            return Availability(False, f"{self.strategy} runs on {' and '.join(self.devices)} only")
        return tensorflow_availability(device)

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        return TensorFlowModel(self, spec, device, batch_major, weights)

    # -- what a strategy says

    def layer(
        self,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        parameters: Tensors,
        padding: Padding | None,
        reverse: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One direction of one layer: outputs ``[T, B, H]``, final h and c ``[B, H]``.

        x ``[T, B, in]``; parameters as ``to_layout`` orders them, in the compute type. With
        ``reverse`` it reads each sequence's valid steps from the last to the first; outputs stand
        at the step they belong to, and are zero on padding.
        """
        raise UnsupportedError(f"{self.name} computes no layer of its own")

    def to_layout(self, cell: LayerWeights) -> Arrays:
        """A cell's canonical weights as the arrays this backend keeps and trains."""
        return tuple(cell)

    def from_layout(self, arrays: Arrays, gradient: bool) -> LayerWeights:
        """Canonical weights, or their gradients, from arrays in this backend's layout."""
        return LayerWeights(*arrays)

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        """All variables' values: each cell's ``to_layout``, layer by layer."""
        return [
            array for layer in weights.layers for cell in layer for array in self.to_layout(cell)
        ]

    def unpack(self, spec: LSTMSpec, arrays: Arrays, gradient: bool = False) -> LSTMWeights:
        """The inverse of ``pack``; with ``gradient``, for gradients of the variables."""
        size = len(arrays) // spec.state_layers
        cells = [
            self.from_layout(arrays[k : k + size], gradient) for k in range(0, len(arrays), size)
        ]
        directions = spec.num_directions
        return LSTMWeights(
            tuple(tuple(cells[k : k + directions]) for k in range(0, len(cells), directions))
        )

    def stack(
        self,
        spec: LSTMSpec,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        parameters: Tensors,
        lengths: Tensor | None,
        masks: Tensor | None,
        training: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The whole network, time-major: outputs ``[T, B, D*H]``, final h and c ``[L*D, B, H]``."""
        import tensorflow as tf

        padding = None if lengths is None else Padding.of(x, lengths)
        size = len(parameters) // spec.state_layers
        h_last, c_last = [], []
        for layer in range(spec.num_layers):
            if layer and masks is not None:
                x = x * masks[layer - 1]
            outputs = []
            for direction in range(spec.num_directions):
                row = layer * spec.num_directions + direction
                y, h_row, c_row = self.layer(
                    x,
                    h[row],
                    c[row],
                    parameters[row * size : (row + 1) * size],
                    padding,
                    reverse=direction == 1,
                )
                outputs.append(y)
                h_last.append(h_row)
                c_last.append(c_row)
            x = outputs[0] if len(outputs) == 1 else tf.concat(outputs, axis=-1)
        return x, tf.stack(h_last), tf.stack(c_last)


class Optimizer:
    """TensorFlow's fused ops, ``ResourceApplyGradientDescent`` and ``ResourceApplyAdam``.

    One op a variable, in a graph and under XLA alike, is the least that an update can cost, and it
    is the same for every backend of TensorFlow, whose LSTMs are to be compared. Keras's optimizers
    compute the same in a dozen ops a variable, which were no slower on three small variables; but
    theirs would be another update than PyTorch's and JAX's, the epsilon being added elsewhere. The
    op adds it there too, so it is given one that is scaled: see ``adam_scales``.
    """

    def __init__(self, name: str, variables: Sequence[Any]) -> None:
        import tensorflow as tf

        self._tf = tf
        self._name = name
        self._variables = variables
        self._moments: list[tuple[Any, Any]] = []
        if name == "adam":
            # 64 bits: TensorFlow keeps 32-bit integers of a GPU's graph in the host's memory.
            self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._moments = [
                (tf.Variable(zeros, trainable=False), tf.Variable(zeros, trainable=False))
                for zeros in map(tf.zeros_like, variables)
            ]

    def restart(self) -> None:
        """No moments, no steps taken."""
        if self._moments:
            self._step.assign(0)
        for each in itertools.chain.from_iterable(self._moments):
            each.assign(self._tf.zeros_like(each))

    def apply(self, gradients: Tensors) -> None:
        """Update the variables; to be called in a graph, once."""
        tf = self._tf
        if self._name == "sgd":
            for variable, gradient in zip(self._variables, gradients, strict=True):
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=variable.handle,
                    alpha=tf.constant(LEARNING_RATE, variable.dtype),
                    delta=gradient,
                )
            return
        dtype = self._variables[0].dtype
        step = tf.cast(self._step.assign_add(1), dtype)
        beta1, beta2 = tf.constant(BETA1, dtype), tf.constant(BETA2, dtype)
        power1, power2 = tf.pow(beta1, step), tf.pow(beta2, step)
        for variable, (m, v), gradient in zip(
            self._variables, self._moments, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=power1,
                beta2_power=power2,
                lr=tf.constant(LEARNING_RATE, dtype),
                beta1=beta1,
                beta2=beta2,
                epsilon=EPSILON * tf.sqrt(1.0 - power2),
                grad=gradient,
            )


class TensorFlowModel(Model):
    """Variables on a device and the traced functions over them.

    ``model(x, state)`` is a plain differentiable function of tensors, to be used inside a
    ``tf.function`` and a ``tf.GradientTape`` of the user's own; ``model.variables`` is what to
    train.
    """

    backend: TensorFlowBackend

    def __init__(
        self,
        backend: TensorFlowBackend,
        spec: LSTMSpec,
        device: str,
        batch_major: bool,
        weights: LSTMWeights,
    ) -> None:
        import tensorflow as tf

        super().__init__(backend, spec, device, batch_major)
        self._tf = tf
        self._tf_device = "/CPU:0" if device == "cpu" else f"/GPU:{cuda.gpu_index(device)}"
        self.compute_dtype = tf.as_dtype(spec.precision.compute)
        self.variable_dtype = tf.as_dtype(spec.precision.variable)
        if device != "cpu" and spec.dtype in ("float32", "tf32"):
            self._set_tf32()
        with tf.device(self._tf_device):
            self.variables = self._make_variables(weights)
        self._functions: dict[tuple[Any, ...], Any] = {}
        self._optimizers: dict[str, Optimizer] = {}

    def _make_variables(self, weights: LSTMWeights) -> list[Any]:
        tf = self._tf
        return [
            tf.Variable(tf.cast(array, self.variable_dtype), name=f"lstm_{number}")
            for number, array in enumerate(self.backend.pack(self.spec, weights))
        ]

    # -- the tensor face

    def __call__(
        self,
        x: Tensor,
        state: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
        masks: Tensor | None = None,
        training: bool = True,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs ``[T, B, D*H]`` and the final ``(h, c)`` of tensors, differentiable.

        x ``[T, B, in]`` (or batch-major, if so built); state ``(h, c)``, each ``[L*D, B, H]``,
        zeros if None; training only matters to a backend that has an inference mode of its own.

        Under XLA, forward and backward are each compiled as a whole (a loop compiled alone cannot
        be differentiated from outside); the backward pass computes the forward one again.
        """
        tf = self._tf
        x = tf.convert_to_tensor(x, self.compute_dtype)
        if state is None:
            batch = tf.shape(x)[0 if self.batch_major else 1]
            zeros = tf.zeros(
                [self.spec.state_layers, batch, self.spec.hidden_size], self.compute_dtype
            )
            state = (zeros, zeros)
        h, c = state
        if not self.backend.xla:
            y, h, c = self._call(x, h, c, lengths, masks, training)
            return y, (h, c)

        @tf.custom_gradient
        def compiled(x: Tensor, h: Tensor, c: Tensor) -> tuple[Any, Callable[..., Any]]:
            # Outside a graph the user's tape would record the compiled loop itself, which cannot
            # be differentiated from there: init_scope pauses it.
            with tf.init_scope() if tf.executing_eagerly() else contextlib.nullcontext():
                outputs = self._infer(x, h, c, lengths, masks)

            def backward(
                dy: Tensor, dh: Tensor, dc: Tensor, variables: Tensors | None = None
            ) -> Any:
                raw = self._train("all", x, h, c, lengths, masks, dy, dh, dc)
                inputs = [raw.dx, raw.dh, raw.dc]
                by_variable = {
                    id(variable): gradient
                    for variable, gradient in zip(self.variables, raw.weights, strict=True)
                }
                return inputs, [by_variable[id(variable)] for variable in variables or ()]

            return outputs, backward

        y, h, c = compiled(x, h, c)
        return y, (h, c)

    def _call(
        self,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        lengths: Tensor | None,
        masks: Tensor | None,
        training: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tf = self._tf
        with tf.device(self._tf_device):
            # read once, not in every turn of a loop
            parameters = [
                tf.cast(tf.convert_to_tensor(variable), self.compute_dtype)
                for variable in self.variables
            ]
            if self.batch_major:
                x = tf.transpose(x, [1, 0, 2])
            y, h, c = self.backend.stack(self.spec, x, h, c, parameters, lengths, masks, training)
            return (tf.transpose(y, [1, 0, 2]) if self.batch_major else y), h, c

    # -- traced functions

    def _inference_body(
        self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._call(x, h, c, lengths, masks, training=masks is not None)

    def _training_body(
        self,
        gradients: str,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        lengths: Tensor | None,
        masks: Tensor | None,
        dy: Tensor,
        dh: Tensor,
        dc: Tensor,
    ) -> tuple[Any, ...]:
        tf = self._tf
        inputs = differentiated(gradients, x, h, c)
        with tf.device(self._tf_device), tf.GradientTape() as tape:
            tape.watch(inputs)
            y, h_last, c_last = self._call(x, h, c, lengths, masks, training=True)
        # Gradients written by hand, and those of a loop, have ops for every input. Of an input that
        # is not asked for nothing reads them, and TensorFlow prunes them, in a loop too.
        of_inputs, of_weights = tape.gradient(
            [y, h_last, c_last],
            [inputs, self.variables],
            output_gradients=[dy, dh, dc],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return (y, h_last, c_last), of_inputs, of_weights

    def _updating_body(self, optimizer: Optimizer) -> Callable[..., tuple[Any, ...]]:
        def body(gradients: str, *args: Tensor) -> tuple[Any, ...]:
            results = self._training_body(gradients, *args)
            with self._tf.device(self._tf_device):
                optimizer.apply(results[-1])
            return results

        return body

    def _function(
        self,
        gradients: str | None,
        x: Tensor,
        lengths: Tensor | None,
        masks: Tensor | None,
        optimizer: str | None = None,
    ) -> Any:
        """The traced step: one for each combination of optional inputs, and of shapes if static.

        gradients: None for inference.
        """
        key: tuple[Any, ...] = (gradients, lengths is not None, masks is not None, optimizer)
        batch = x.shape[0 if self.batch_major else 1]
        key = (*key, batch) if self.backend.dynamic else (*key, *x.shape)
        if key not in self._functions:
            tf = self._tf
            body: Callable[..., tuple[Any, ...]] = self._inference_body
            if gradients is not None:
                training = self._training_body
                if optimizer is not None:
                    training = self._updating_body(self._optimizers[optimizer])
                body = functools.partial(training, gradients)

            def step(
                x: Tensor, h: Tensor, c: Tensor, optional: dict[str, Tensor], *rest: Tensor
            ) -> Any:
                return body(x, h, c, optional.get("lengths"), optional.get("masks"), *rest)

            # A name of its own shows in profiles; and TensorFlow, which tells functions apart by
            # their code, would else warn of retracing when many models are built.
            kind = optimizer or ("infer" if gradients is None else "train")
            name = f"{self.backend.name}_{kind}_{next(_numbers)}"
            step.__code__ = step.__code__.replace(co_name=re.sub(r"\W", "_", name))
            self._functions[key] = tf.function(
                step,
                input_signature=self._signature(
                    batch, lengths is not None, masks is not None, gradients is not None
                )
                if self.backend.dynamic
                else None,
                jit_compile=True if self.backend.xla else None,
                autograph=False,
            )
        return self._functions[key]

    def _signature(self, batch: int, lengths: bool, masks: bool, training: bool) -> list[Any]:
        tf, spec = self._tf, self.spec
        outer = [batch, None] if self.batch_major else [None, batch]

        def sequence(features: int) -> Any:
            return tf.TensorSpec([*outer, features], self.compute_dtype)

        state = tf.TensorSpec([spec.state_layers, batch, spec.hidden_size], self.compute_dtype)
        optional = {}
        if lengths:
            optional["lengths"] = tf.TensorSpec([batch], tf.int32)
        if masks:
            optional["masks"] = tf.TensorSpec(
                [spec.num_layers - 1, None, batch, spec.output_size], self.compute_dtype
            )
        signature = [sequence(spec.input_size), state, state, optional]
        return signature + ([sequence(spec.output_size), state, state] if training else [])

    @staticmethod
    def _optional(lengths: Tensor | None, masks: Tensor | None) -> dict[str, Tensor]:
        optional = {}
        if lengths is not None:
            optional["lengths"] = lengths
        if masks is not None:
            optional["masks"] = masks
        return optional

    # -- what Model asks for

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        tf = self._tf
        with tf.device(self._tf_device):
            if np.issubdtype(array.dtype, np.integer):
                return tf.constant(array, tf.int32)
            # identity: a constant made on the host may stay there until an op moves it
            return tf.identity(tf.cast(tf.constant(array), self.compute_dtype))

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        return np.asarray(tensor.numpy())

    def _infer(
        self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        with self._tf.device(self._tf_device):
            y, h, c = self._function(None, x, lengths, masks)(
                x, h, c, self._optional(lengths, masks)
            )
        return y, h, c

    def _train(
        self,
        gradients: str,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        lengths: Tensor | None,
        masks: Tensor | None,
        dy: Tensor,
        dh: Tensor,
        dc: Tensor,
    ) -> RawGradients:
        with self._tf.device(self._tf_device):
            return RawGradients.of(
                *self._function(gradients, x, lengths, masks)(
                    x, h, c, self._optional(lengths, masks), dy, dh, dc
                )
            )

    def _start_optimizer(self, name: str) -> None:
        with self._tf.device(self._tf_device):
            if name not in self._optimizers:
                self._optimizers[name] = Optimizer(name, self.variables)
            self._optimizers[name].restart()

    def _train_and_update(
        self,
        optimizer: str,
        gradients: str,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        lengths: Tensor | None,
        masks: Tensor | None,
        dy: Tensor,
        dh: Tensor,
        dc: Tensor,
    ) -> RawGradients:
        with self._tf.device(self._tf_device):
            return RawGradients.of(
                *self._function(gradients, x, lengths, masks, optimizer)(
                    x, h, c, self._optional(lengths, masks), dy, dh, dc
                )
            )

    def _trace_ahead(
        self, gradients: str | None, *args: Tensor, optimizer: str | None = None
    ) -> None:
        x, h, c, lengths, masks, *rest = args
        with self._tf.device(self._tf_device):
            self._function(gradients, x, lengths, masks, optimizer).get_concrete_function(
                x, h, c, self._optional(lengths, masks), *rest
            )

    def evidence(self, workload: Workload) -> dict[str, Any]:
        """Ops and kernels of one step by the profiler; for XLA what was compiled, too."""
        window = workload.windows()[0]
        one = replace(workload, timesteps=window.stop, window=None)
        step = self.prepare(one)
        step.run()
        step.synchronize()
        found = tensorflow_evidence.profile(step.run, step.synchronize)
        if self.backend.xla:
            found["hlo"] = self._compiled(one)
        return found

    def _compiled(self, workload: Workload) -> dict[str, Any]:
        inputs = workload.inputs(self.spec)

        def place(array: FloatArray) -> Tensor:
            return self._to_device(np.swapaxes(array, 0, 1) if self.batch_major else array)

        x, h, c = place(inputs.x), self._to_device(inputs.state.h), self._to_device(inputs.state.c)
        lengths = None if inputs.lengths is None else self._to_device(inputs.lengths)
        masks = None if inputs.masks is None else self._to_device(inputs.masks)
        arguments = [x, h, c, self._optional(lengths, masks)]
        gradients = workload.gradients if workload.training else None
        if gradients is not None:
            arguments += [place(inputs.dy), h, c]
        function = self._function(gradients, x, lengths, masks, workload.optimizer)
        with self._tf.device(self._tf_device):
            text = function.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
        return describe_hlo(text)

    def trace_count(self) -> int:
        """How many graphs have been traced for this model so far."""
        return sum(
            function.experimental_get_tracing_count() for function in self._functions.values()
        )

    def _host_weights(self, raw: Tensors) -> LSTMWeights:
        arrays = [self._host_float(gradient) for gradient in raw]
        return self.backend.unpack(self.spec, arrays, gradient=True)

    def get_weights(self) -> LSTMWeights:
        arrays = [self._host_float(variable) for variable in self.variables]
        return self.backend.unpack(self.spec, arrays)

    def _set_weights(self, weights: LSTMWeights) -> None:
        tf = self._tf
        for variable, array in zip(
            self.variables, self.backend.pack(self.spec, weights), strict=True
        ):
            variable.assign(tf.cast(array, self.variable_dtype))

    def synchronize(self) -> None:
        self._tf.test.experimental.sync_devices()

    def _set_tf32(self) -> None:
        self._tf.config.experimental.enable_tensor_float_32_execution(self.spec.dtype == "tf32")
