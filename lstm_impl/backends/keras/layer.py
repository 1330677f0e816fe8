"""Run ``keras`` and ``tf_keras``: ``LSTM`` and ``GRU`` of Keras 3 and Keras 2 in TensorFlow."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from lstm_impl.availability import Package
from lstm_impl.backends.keras.cells import PACKAGE, KerasThree, calling, make_layers, through_keras
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.legacy_rnn import INSTALL_TF_KERAS
from lstm_impl.backends.tensorflow.model import TensorFlowModel
from lstm_impl.call import Call, Outputs
from lstm_impl.evidence import Evidence
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload


class LayerModel(TensorFlowModel):
    """Run Keras's layers, whose variables are the model's variables."""

    backend: KerasBackend

    def _make_variables(self, weights: LSTMWeights) -> list[Any]:
        keras = importlib.import_module(self.backend.module)
        self._layers = make_layers(keras, self.spec, weights, **self.backend.arguments())
        variables = [each for layer in self._layers for each in layer.trainable_variables]
        # Keras 3 wraps TensorFlow's variables, whereas Keras 2 uses them directly.
        return [each if isinstance(each, self._tf.Variable) else each.value for each in variables]

    def evidence(self, workload: Workload) -> Evidence:
        found = super().evidence(workload)
        if self.device == "cpu" or found["cudnn"] or self.backend.options:
            return found
        by_name = {"fallback": "Keras's loop in place of cuDNN"}
        return replace(found, details={**found.details, **by_name})

    def network(self, call: Call, training: bool) -> Outputs:
        run = calling(self._layers, training=training)
        with self._tf.device(self.tf_device):
            return through_keras(self.spec, call, run, self.batch_major)


class KerasBackend(TensorFlowBackend):
    """Compute with a version of Keras whose layers are made of TensorFlow's ops."""

    module: ClassVar[str]
    model = LayerModel

    @property
    def dynamic(self) -> bool:  # type: ignore[override]
        """Return whether tracing may leave the number of timesteps unknown.

        Unrolling needs a known number.
        """
        return "unroll" not in self.options

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the layers, except those that all layers have."""
        return {"unroll": "unroll" in self.options}


class Keras(KerasThree, KerasBackend):
    """Compute with ``keras.layers.LSTM`` and ``keras.layers.GRU``.

    The option ``+unroll`` is an argument of the layers. ``+loop`` is ``use_cudnn=False``, which
    runs the loop even on a GPU. ``+xla`` compiles the step. It implies the loop, because XLA cannot
    compile cuDNN's op (tensorflow/tensorflow #99385).
    """

    strategy = "keras"
    module = "keras"
    packages = (*TensorFlowBackend.packages, PACKAGE)
    summary = "keras.layers.LSTM or GRU as it is"
    flags: ClassVar[tuple[str, ...]] = ("unroll", "loop", "xla")
    listed = ("", "+unroll", "+loop", "+xla")

    @property
    def loops(self) -> bool:
        """Whether the options exclude cuDNN."""
        return bool({"unroll", "loop", "xla"} & set(self.options))

    def arguments(self) -> dict[str, Any]:
        loop = {"use_cudnn": False} if self.loops else {}
        return super().arguments() | loop

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if self.loops and evidence.get("cudnn"):
            return f"{self.name} is Keras's loop, and cuDNN's kernels ran"
        return ""


class TfKeras(KerasThree, KerasBackend):
    """Compute with ``LSTM`` and ``GRU`` of Keras 2. ``+unroll`` is an argument of theirs."""

    strategy = "tf_keras"
    module = "tf_keras"
    summary = "Keras 2's layer, tf_keras.layers.LSTM or GRU, as it is"
    flags: ClassVar[tuple[str, ...]] = ("unroll", "xla")
    packages = (
        Package("tf_keras", "the tf-keras package", INSTALL_TF_KERAS),
        *TensorFlowBackend.packages,
    )
