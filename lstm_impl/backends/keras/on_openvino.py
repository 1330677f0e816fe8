"""``keras_openvino``: ``keras.layers.LSTM`` on Keras's OpenVINO backend, for inference on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lstm_impl.backends.keras.cells import make_layers, through_keras
from lstm_impl.backends.keras.environment import PACKAGE, VARIABLE, KerasThree
from lstm_impl.backends.others.openvino import OpenVINOBackend, OpenVINOModel
from lstm_impl.call import Call, Outputs, Tensor
from lstm_impl.weights import LSTMWeights


class KerasOpenVINOModel(OpenVINOModel):
    """Keras's layers, called with parameters."""

    def network(self, call: Call) -> Outputs:
        from keras.src.backend.openvino.core import OpenVINOKerasTensor

        inside = Call(*(None if each is None else OpenVINOKerasTensor(each) for each in call))

        def run(row: int, x: Tensor, h: Tensor, c: Tensor, valid: Tensor | None) -> Any:
            return self._layers[row](x, initial_state=[h, c], mask=valid)

        y, h, c = through_keras(self.spec, inside, run, self.batch_major)
        return Outputs(y.output, h.output, c.output)

    def _set_weights(self, weights: LSTMWeights) -> None:
        import keras

        super()._set_weights(weights)
        self._layers = make_layers(keras, self.spec, weights)


class KerasOpenVINO(KerasThree, OpenVINOBackend):
    """``keras.layers.LSTM``."""

    strategy = "keras_openvino"
    environment: ClassVar[Mapping[str, str]] = {VARIABLE: "openvino"}
    summary = "keras.layers.LSTM on Keras's OpenVINO backend, inference only"
    model = KerasOpenVINOModel
    packages = (*OpenVINOBackend.packages, PACKAGE)
