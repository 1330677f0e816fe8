"""An LSTM trained on several devices, each with its part of the batch: ``tf.distribute``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_impl.backend import Backend
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.model import Optimizer, TensorFlowModel, TracedSteps
from lstm_impl.call import Call, Tensor
from lstm_impl.spec import Array, FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs

OPTIMIZER = "sgd"
"""One sum a weight: what the update costs is not measured here."""


def share(inputs: Inputs, replica: int, replicas: int) -> Inputs:
    """One replica's sequences of a batch: the same number for each, in order."""
    batch = inputs.x.shape[1]
    if batch % replicas:
        below = batch // replicas * replicas
        takes = f"{below} or {below + replicas}" if below else str(replicas)
        raise UnsupportedError(
            f"a batch of {batch} cannot be shared out equally among {replicas} replicas; "
            f"take {takes}"
        )
    size = batch // replicas
    part = slice(replica * size, (replica + 1) * size)
    state = LSTMState(inputs.state.h[:, part], inputs.state.c[:, part])
    lengths = None if inputs.lengths is None else inputs.lengths[part]
    masks = None if inputs.masks is None else inputs.masks[:, :, part]
    return Inputs(inputs.x[:, part], inputs.dy[:, part], state, lengths, masks)


def check(backend: Backend) -> TensorFlowBackend:
    """Raise UnsupportedError unless a backend is one whose steps ``tf.distribute`` can share."""
    if not isinstance(backend, TensorFlowBackend):
        raise UnsupportedError(
            f"{backend.name} is no layer of TensorFlow's ops, which tf.distribute could train; "
            "keras, while_loop+hoisted, fused_cpu and cudnn are"
        )
    return backend


class DataParallel:
    """A model under a strategy, and its training step."""

    def __init__(
        self, backend: Backend, spec: LSTMSpec, weights: LSTMWeights, device: str, strategy: Any
    ) -> None:
        import tensorflow as tf

        check(backend)
        self._tf, self._strategy = tf, strategy
        self.replicas: int = strategy.num_replicas_in_sync
        with strategy.scope():
            model = backend.build(spec, weights, device)
        assert isinstance(model, TensorFlowModel), "a TensorFlowBackend builds one"
        self.model = model
        gradients = self._gradients
        # Compiled by itself: XLA has no place for a collective that waits for other machines.
        xla = check(backend).xla
        self._own = tf.function(gradients, jit_compile=True, autograph=False) if xla else gradients
        self._optimizer = Optimizer(OPTIMIZER, model.variables)
        default = strategy is tf.distribute.get_strategy()
        self._devices: Sequence[str] = (
            [model.tf_device] if default else strategy.extended.worker_devices
        )

    # -- what a step works on

    def place(self, inputs: Inputs, dstate: LSTMState) -> tuple[Any, ...]:
        """A batch on the devices, each replica's part on its own: what ``step`` takes."""
        parts = [share(inputs, number, self.replicas) for number in range(self.replicas)]
        back = replace(inputs, state=dstate)
        flowing = [share(back, number, self.replicas).state for number in range(self.replicas)]

        def spread(arrays: Sequence[Array]) -> Any:
            def value(context: Any) -> Tensor:
                number = context.replica_id_in_sync_group
                with self._tf.device(self._devices[number % len(self._devices)]):
                    # identity: a constant made on the host may stay there until an op moves it
                    tensor = self._tf.constant(arrays[number])
                    return self._tf.identity(self._tf.cast(tensor, self.model.compute_dtype))

            return self._strategy.experimental_distribute_values_from_function(value)

        return (
            spread([part.x for part in parts]),
            spread([part.state.h for part in parts]),
            spread([part.state.c for part in parts]),
            spread([part.dy for part in parts]),
            spread([state.h for state in flowing]),
            spread([state.c for state in flowing]),
        )

    # -- the step

    def step(self) -> Any:
        """A traced function of what ``place`` gives, that updates the weights once."""
        tf = self._tf

        def replica(*arrays: Tensor) -> Sequence[Tensor]:
            gradients = self._own(*arrays)
            if self.replicas > 1:
                context = tf.distribute.get_replica_context()
                gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            self._optimizer.apply(gradients)
            return gradients

        def run(*placed: Any) -> Any:
            return self._strategy.run(replica, args=placed)

        return tf.function(run, autograph=False)

    def _gradients(self, *arrays: Tensor) -> list[Tensor]:
        """Of the weights alone, as a training step of a whole model asks for them."""
        x, h, c, *upstream = arrays
        _, _, gradients = TracedSteps(self.model).train("weights", Call(x, h, c), *upstream)
        return list(gradients)

    # -- what can be proven of it

    def gradients(self, returned: Any) -> list[LSTMWeights]:
        """What a step returned, in canonical form: of each replica of this process."""
        locally = [self._strategy.experimental_local_results(each) for each in returned]
        return [self._canonical(arrays, True) for arrays in zip(*locally, strict=True)]

    def weights(self) -> list[LSTMWeights]:
        """The weights of each replica of this process."""
        locally = [self._strategy.experimental_local_results(each) for each in self.model.variables]
        return [self._canonical(arrays, False) for arrays in zip(*locally, strict=True)]

    def _canonical(self, arrays: Sequence[Tensor], gradient: bool) -> LSTMWeights:
        model = self.model
        found: list[FloatArray] = [np.asarray(each.numpy(), np.float64) for each in arrays]
        weights: LSTMWeights = model.backend.unpack(model.spec, found, gradient=gradient)
        return weights
