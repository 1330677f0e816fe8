"""The traced steps of a TensorFlow model: inference, gradients, and gradients with an update.

One graph for each combination of what is asked for, and of shapes where a backend needs them.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lstm_impl.call import Call, Outputs, Request, Tensor, Tensors
from lstm_impl.optimizer import BETA1, BETA2, EPSILON, LEARNING_RATE
from lstm_impl.workload import differentiated

if TYPE_CHECKING:
    from lstm_impl.backends.tensorflow.model import TensorFlowModel

_numbers = itertools.count()


class TracedSteps:
    """The steps of one model, each traced when it is first needed."""

    def __init__(self, model: TensorFlowModel) -> None:
        import tensorflow as tf

        self._tf = tf
        self._model = model
        self._functions: dict[tuple[Any, ...], Any] = {}
        self._optimizers: dict[str, Optimizer] = {}

    def start(self, optimizer: str) -> None:
        """Make an optimizer of the model's variables, or start it anew."""
        with self._tf.device(self._model.tf_device):
            if optimizer not in self._optimizers:
                self._optimizers[optimizer] = Optimizer(optimizer, self._model.variables)
            self._optimizers[optimizer].restart()

    def run(self, request: Request) -> Any:
        """Outputs, or the arguments of ``RawGradients.of``."""
        with self._tf.device(self._model.tf_device):
            return self._function(request)(*_arguments(request))

    def trace(self, request: Request) -> Any:
        """The concrete function of such a step, traced and not run."""
        with self._tf.device(self._model.tf_device):
            return self._function(request).get_concrete_function(*_arguments(request))

    def optimized_hlo(self, request: Request) -> str:
        """The text of what XLA compiles such a step to."""
        with self._tf.device(self._model.tf_device):
            ir = self._function(request).experimental_get_compiler_ir(*_arguments(request))
            return str(ir(stage="optimized_hlo"))

    def count(self) -> int:
        """How many graphs have been traced so far."""
        return sum(each.experimental_get_tracing_count() for each in self._functions.values())

    # -- what is traced

    def _infer(self, call: Call) -> Outputs:
        return self._model.network(call, training=call.masks is not None)

    def train(self, gradients: str, call: Call, *upstream: Tensor) -> tuple[Any, ...]:
        """Outputs, and gradients of the inputs that are asked for and of the weights, as ops."""
        tf, model = self._tf, self._model
        inputs = differentiated(gradients, call.x, call.h, call.c)
        with tf.device(model.tf_device), tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model.network(call, training=True)
        # Gradients written by hand, and those of a loop, have ops for every input. Of an input that
        # is not asked for nothing reads them, and TensorFlow prunes them, in a loop too.
        of_inputs, of_weights = tape.gradient(
            list(outputs),
            [inputs, model.variables],
            output_gradients=list(upstream),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return outputs, of_inputs, of_weights

    def _train_and_update(
        self, optimizer: Optimizer, gradients: str, call: Call, *upstream: Tensor
    ) -> tuple[Any, ...]:
        results = self.train(gradients, call, *upstream)
        with self._tf.device(self._model.tf_device):
            optimizer.apply(results[-1])
        return results

    # -- tracing

    def _function(self, request: Request) -> Any:
        gradients, call, _, optimizer = request
        model, backend = self._model, self._model.backend
        optional = (call.lengths is not None, call.masks is not None)
        batch = call.x.shape[0 if model.batch_major else 1]
        sizes = (batch,) if backend.dynamic else tuple(call.x.shape)
        key = (gradients, *optional, optimizer, *sizes)
        if key not in self._functions:
            body: Callable[..., tuple[Any, ...]] = self._infer
            if gradients is not None:
                body = functools.partial(self.train, gradients)
                if optimizer is not None:
                    started = self._optimizers[optimizer]
                    body = functools.partial(self._train_and_update, started, gradients)

            def step(call: dict[str, Tensor], *upstream: Tensor) -> Any:
                return body(Call(**call), *upstream)

            # A name of its own shows in profiles; and TensorFlow, which tells functions apart by
            # their code, would else warn of retracing when many models are built.
            kind = optimizer or ("infer" if gradients is None else "train")
            name = f"{backend.name}_{kind}_{next(_numbers)}"
            step.__code__ = step.__code__.replace(co_name=re.sub(r"\W", "_", name))
            signature = self._signature(batch, *optional, gradients is not None)
            self._functions[key] = self._tf.function(
                step,
                input_signature=signature if backend.dynamic else None,
                jit_compile=True if backend.xla else None,
                autograph=False,
            )
        return self._functions[key]

    def _signature(self, batch: int, lengths: bool, masks: bool, training: bool) -> list[Any]:
        """Of ``_arguments``."""
        tf, model, spec = self._tf, self._model, self._model.spec
        outer = [batch, None] if model.batch_major else [None, batch]

        def sequence(features: int) -> Any:
            return tf.TensorSpec([*outer, features], model.compute_dtype)

        state = tf.TensorSpec([spec.state_layers, batch, spec.hidden_size], model.compute_dtype)
        call = {"x": sequence(spec.input_size), "h": state, "c": state}
        if lengths:
            call["lengths"] = tf.TensorSpec([batch], tf.int32)
        if masks:
            between = [spec.num_layers - 1, None, batch, spec.output_size]
            call["masks"] = tf.TensorSpec(between, model.compute_dtype)
        return [call, *([sequence(spec.output_size), state, state] if training else [])]


def _arguments(request: Request) -> tuple[Any, ...]:
    """Of a step: the call by name, since a signature cannot say None, and what flows back."""
    return request.call.given(), *(request.upstream or ())


class Optimizer:
    """TensorFlow's fused ops, ``ResourceApplyGradientDescent`` and ``ResourceApplyAdam``.

    One op a variable, in a graph and under XLA alike, is the least that an update can cost, and it
    is the same for every backend of TensorFlow, whose LSTMs are to be compared. Keras's optimizers
    compute the same in a dozen ops a variable, which were no slower on three small variables; but
    theirs would be another update than PyTorch's and JAX's, the epsilon being added elsewhere. The
    op adds it there too, so it is given one that is scaled by the correction of the root.
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
