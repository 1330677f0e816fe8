"""``keras``: what ``keras.layers.LSTM`` does by default on this device, the layer users start from.

One Keras layer for each layer and direction, with Keras's own variables. Keras is batch-major, so
time-major data are transposed in the graph. On a GPU it uses cuDNN if seven conditions hold, and
else a loop, without a word: the evidence says which.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from lstm_impl.backends.stacking import through_layers
from lstm_impl.backends.tensorflow_backend import TensorFlowBackend
from lstm_impl.backends.tensorflow_model import TensorFlowModel
from lstm_impl.call import Call, Outputs, Tensor
from lstm_impl.model import Model
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights


class Keras(TensorFlowBackend):
    """``keras.layers.LSTM``; ``+unroll`` is its own argument, ``+xla`` compiles the step."""

    strategy = "keras"
    summary = "keras.layers.LSTM as it is"
    flags: ClassVar[tuple[str, ...]] = ("unroll", "xla")

    @classmethod
    def variants(cls) -> tuple[str, ...]:
        return ("keras", "keras+unroll", "keras+xla")

    @property
    def dynamic(self) -> bool:  # type: ignore[override]
        """An unrolled layer needs the number of timesteps when it is traced."""
        return "unroll" not in self.options

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        return KerasModel(self, spec, device, batch_major, weights)


class KerasModel(TensorFlowModel):
    """Keras's layers, their variables shown as the model's."""

    def _make_variables(self, weights: LSTMWeights) -> list[Any]:
        import keras

        spec = self.spec
        policy = {"tf32": "float32"}.get(spec.dtype, spec.dtype)
        self._layers = [
            keras.layers.LSTM(
                spec.hidden_size,
                return_sequences=True,
                return_state=True,
                unroll="unroll" in self.backend.options,
                go_backwards=direction == 1,
                # all are overwritten; Keras's own, an orthogonal one, has no bfloat16
                kernel_initializer="zeros",
                recurrent_initializer="zeros",
                dtype=policy,
            )
            for _ in range(spec.num_layers)
            for direction in range(spec.num_directions)
        ]
        for layer, cell in zip(self._layers, weights.cells(), strict=True):
            layer.build((None, None, cell.kernel.shape[0]))
            for variable, array in zip(layer.trainable_variables, cell, strict=True):
                variable.assign(array)
        return [variable.value for layer in self._layers for variable in layer.trainable_variables]

    def network(self, call: Call, training: bool) -> Outputs:
        tf, spec = self._tf, self.spec
        with tf.device(self.tf_device):
            x, _, _, lengths, masks = call
            if not self.batch_major:
                x = tf.transpose(x, [1, 0, 2])
            if masks is not None:
                between = range(spec.num_layers - 1)
                masks = [tf.transpose(masks[number], [1, 0, 2]) for number in between]
            valid = None
            if lengths is not None:
                steps = tf.range(tf.shape(x)[1], dtype=lengths.dtype)
                valid = steps[None, :] < lengths[:, None]

            def layer(row: int, x: Tensor, h: Tensor, c: Tensor, reverse: bool) -> Outputs:
                y, h, c = self._layers[row](x, initial_state=[h, c], mask=valid, training=training)
                if reverse:  # Keras leaves the outputs in the order they were computed
                    y = tf.reverse(y, [1])
                if valid is not None:  # Keras repeats the last valid output on padding
                    y = tf.where(valid[:, :, None], y, tf.zeros_like(y))
                return Outputs(y, h, c)

            join = functools.partial(tf.concat, axis=-1)
            batch_major = call._replace(x=x, masks=masks)
            y, h, c = through_layers(spec, batch_major, layer, join, tf.stack)
            return Outputs(y if self.batch_major else tf.transpose(y, [1, 0, 2]), h, c)
