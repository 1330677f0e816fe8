"""``openvino``: OpenVINO's ``LSTMSequence``, one operation a layer, for inference on a CPU.

Both directions are one operation, and it takes lengths. The operation is batch-major, with the
direction on an axis of its own, so time-major data are transposed in the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_impl.backends.openvino_model import OpenVINOBackend, OpenVINOModel
from lstm_impl.call import Call, Outputs
from lstm_impl.spec import FloatArray


class OpenVINOLSTMModel(OpenVINOModel):
    """The network as OpenVINO's operations."""

    def network(self, call: Call) -> Outputs:
        from openvino import opset16 as opset

        spec = self.spec
        directions = spec.num_directions
        x, h, c, lengths, masks = call

        def transposed(node: Any, axes: list[int]) -> Any:
            return opset.transpose(node, np.array(axes)).output(0)

        if not self.batch_major:
            x = transposed(x, [1, 0, 2])
        batch, timesteps = (x.get_partial_shape()[axis].get_length() for axis in (0, 1))
        if lengths is None:
            lengths = opset.constant(np.full(batch, timesteps, np.int32)).output(0)
        # From [L*D, B, H], each layer's rows as [B, D, H].
        rows = [
            [
                transposed(each, [1, 0, 2])
                for each in opset.split(state, 0, spec.num_layers).outputs()
            ]
            for state in (h, c)
        ]
        last: tuple[list[Any], list[Any]] = ([], [])
        for number, cells in enumerate(self._weights.layers):
            if number and masks is not None:
                mask = opset.gather(masks, np.array(number - 1), np.array(0)).output(0)
                x = opset.multiply(x, transposed(mask, [1, 0, 2])).output(0)
            # [D, 4H, in], [D, 4H, H] and [D, 4H], its gates in the order f, i, g, o.
            w, r, b = (
                np.stack([_gates(array) for array in arrays]) for arrays in zip(*cells, strict=True)
            )
            direction = "bidirectional" if directions == 2 else "forward"
            layer = opset.lstm_sequence(
                x, rows[0][number], rows[1][number], lengths, w, r, b, spec.hidden_size, direction
            )
            # [B, D, T, H] to [B, T, D*H]
            y = transposed(layer.output(0), [0, 2, 1, 3])
            shape = np.array([batch, timesteps, spec.output_size])
            x = opset.reshape(y, shape, special_zero=False).output(0)
            for states, output in zip(last, layer.outputs()[1:], strict=True):
                states.append(transposed(output, [1, 0, 2]))
        h, c = (opset.concat(states, 0).output(0) for states in last)
        return Outputs(x if self.batch_major else transposed(x, [1, 0, 2]), h, c)


class OpenVINO(OpenVINOBackend):
    """One ``LSTMSequence`` a layer.

    Option ``+throughput`` compiles for many calls at once: the cores are shared out among them, and
    one call at a time, which is what is measured, gets its share.
    """

    strategy = "openvino"
    summary = "OpenVINO's LSTMSequence, inference only"
    model = OpenVINOLSTMModel
    flags = ("throughput",)
    listed = ("", "+throughput")


def _gates(array: FloatArray) -> FloatArray:
    """``[n, 4H]`` or ``[4H]`` in the order i, f, g, o as ``[4H, n]`` or ``[4H]`` in f, i, g, o."""
    i, f, g, o = np.split(array.T.astype(np.float32), 4)
    return np.ascontiguousarray(np.concatenate([f, i, g, o]))
