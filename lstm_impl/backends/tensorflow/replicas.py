"""Run ``:replicas``: a backend's model on several devices, each with its part of the batch.

``tf.distribute.MirroredStrategy`` keeps the weights on every GPU, and adds up their gradients with
an all-reduce. On a CPU, two logical devices share the cores.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.availability import Availability
from lstm_impl.backends.tensorflow import model
from lstm_impl.backends.tensorflow.model import TensorFlowModel, TracedSteps
from lstm_impl.backends.variants import VariantBackend, VariantModel, make_variant
from lstm_impl.call import Call, Outputs, RawGradients, Request, Results, Tensor, Upstream
from lstm_impl.evidence import Evidence, Profile
from lstm_impl.model import Model, TrainingArguments
from lstm_impl.spec import FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Workload

LOGICAL_CPUS = 2
"""The number of logical devices into which a CPU is divided."""


def count_devices(kind: str) -> int:
    """Return how many devices of a kind can hold a replica.

    If TensorFlow has not started in this process, this creates the logical CPUs.
    """
    import tensorflow as tf

    if kind != "cpu":
        return len(tf.config.list_physical_devices("GPU"))
    (cpu,) = tf.config.list_physical_devices("CPU")
    if not tf.config.get_logical_device_configuration(cpu):
        logical = [tf.config.LogicalDeviceConfiguration()] * LOGICAL_CPUS
        with contextlib.suppress(RuntimeError):  # TensorFlow raises this if it has already started.
            tf.config.set_logical_device_configuration(cpu, logical)
    return len(tf.config.get_logical_device_configuration(cpu) or (cpu,))


@functools.cache
def shared_strategy(kind: str) -> Any:
    """Return the strategy of this process. The all-reduces of a second one would clash with it."""
    import tensorflow as tf

    names = [f"{kind}:{number}" for number in range(count_devices(kind))]
    return tf.distribute.MirroredStrategy(names)


class ReplicatedModel(VariantModel):
    """Share a model's inputs, outputs and steps among the replicas of a strategy."""

    inner: TensorFlowModel

    def _open(self, weights: LSTMWeights) -> None:
        self._strategy = shared_strategy(self.device.partition(":")[0])
        self._shared: dict[str | None, Any] = {}
        self._tf = self.inner._tf

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        """Place each replica's part of a batch ``[_, B, _]`` on its device. Others stay whole."""
        replicas = self._strategy.num_replicas_in_sync
        if array.ndim != 3:
            return self.inner._to_device(array)
        if array.shape[1] < replicas:
            raise UnsupportedError(
                f"{replicas} replicas cannot share a batch of {array.shape[1]}; expected at least "
                f"{replicas} sequences"
            )
        parts = np.array_split(array, replicas, axis=1)
        devices, place = self._strategy.extended.worker_devices, self.inner._to_device

        def part(context: Any) -> Tensor:
            number = context.replica_id_in_sync_group
            with self._tf.device(devices[number]):
                return place(parts[number])

        return self._strategy.experimental_distribute_values_from_function(part)

    def _lend(self, array: FloatArray) -> Tensor:
        return self._to_device(array)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        """Join the parts of a batch. Weights and their gradients must be equal in all replicas."""
        parts = [each.numpy() for each in self._strategy.experimental_local_results(tensor)]
        if parts[0].ndim == 3:
            return np.concatenate(parts, axis=1)
        if not all(np.array_equal(each, parts[0], equal_nan=True) for each in parts):
            raise ArithmeticError("the replicas' weights or gradients differ; expected equal ones")
        return np.asarray(parts[0])

    def get_weights(self) -> LSTMWeights:
        return self._host_weights(self.inner.variables, gradient=False)

    def _host_weights(self, raw: Any, gradient: bool = True) -> LSTMWeights:
        return Model._host_weights(self, raw, gradient)

    def _host_results(self, raw: Outputs | RawGradients) -> Results:
        return Model._host_results(self, raw)

    def forward(self, *given: Any, **more: Any) -> tuple[FloatArray, LSTMState]:
        return Model.forward(self, *given, **more)

    def _forward_and_gradients(
        self, given: TrainingArguments
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        return Model._forward_and_gradients(self, given)

    def _infer(self, call: Call) -> Outputs:
        return Outputs(*self._step(None)(call.x, *call.states))

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        given = (call.x, *call.states, *upstream.flat)
        return RawGradients.of(*self._step(gradients)(*given))

    def _trace_ahead(self, request: Request) -> None:
        call = request.call
        upstream = () if request.upstream is None else request.upstream.flat
        arguments = (call.x, *call.states, *upstream)
        self._step(request.gradients).get_concrete_function(*arguments)

    def _step(self, gradients: str | None) -> Any:
        """Return the traced step of all replicas. ``gradients`` is None in inference."""
        if gradients in self._shared:
            return self._shared[gradients]
        tf, strategy = self._tf, self._strategy

        count = len(self.spec.cell.states)

        def compute(x: Tensor, *rest: Tensor) -> Any:
            call, upstream = Call(x, rest[:count]), rest[count:]
            if gradients is None:
                return self.inner.network(call, training=False)
            flowing = Upstream(upstream[0], upstream[1:])
            return TracedSteps(self.inner).train(gradients, call, flowing)

        own: Callable[..., Any] = compute
        if (
            self.inner.backend.xla
        ):  # It is compiled alone, because XLA cannot compile the all-reduce.
            own = tf.function(compute, jit_compile=True, autograph=False)

        def replica(*arrays: Tensor) -> Any:
            found = own(*arrays)
            if gradients is None:
                return found
            context = tf.distribute.get_replica_context()
            return *found[:2], context.all_reduce(tf.distribute.ReduceOp.SUM, list(found[2]))

        def run(*placed: Any) -> Any:
            return strategy.run(replica, args=placed)

        self._shared[gradients] = tf.function(run, autograph=False)
        return self._shared[gradients]

    def evidence(self, workload: Workload) -> Evidence:
        step = self._warmed(workload)
        found = model.profile(step.run, step.synchronize)
        replicas = {"replicas": self._strategy.num_replicas_in_sync}
        return replace(found, details={**found.details, **replicas})

    def _profiled(self, workload: Workload) -> Profile:
        step = self._warmed(workload)
        events = model.timeline(model.record(step.run, step.synchronize))
        return Profile("TensorFlow's profiler", tuple(events), 1.0)


class ReplicatedBackend(VariantBackend):
    """Run a backend on all GPUs of the machine, or on two logical CPUs."""

    variant_model = ReplicatedModel

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        with shared_strategy(device.partition(":")[0]).scope():
            return super()._build(spec, weights, device, batch_major)

    def availability(self, device: str = "cpu") -> Availability:
        if not (found := super().availability(device)):
            return found
        if device not in ("cpu", "gpu:0"):
            return Availability(False, "replicas use all GPUs; use --device gpu:0")
        if count_devices(device.partition(":")[0]) < 2:
            reason = "replicas need at least two GPUs, and TensorFlow sees fewer"
            if device == "cpu":
                reason = (
                    "TensorFlow has already started in this process with one CPU; name replicas "
                    "before none, as in --variant replicas,none"
                )
            return Availability(False, reason)
        return found

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None and (workload.batch_major or workload.min_length is not None):
            return "replicas share time-major batches of sequences of one length"
        return super().refusal(spec, workload)


replicated = functools.partial(make_variant, ReplicatedBackend, "replicas")
