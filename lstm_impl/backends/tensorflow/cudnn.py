"""Run ``cudnn``: TensorFlow's fused cuDNN op, one call for the network, on an NVIDIA GPU.

The parameters are one flat buffer in cuDNN's layout, which is packed once and trained in this form.
Each gate has two biases. Those of an LSTM are added; the input bias stays zero and gets no
gradient. A GRU uses both.

The options name costs that Keras's layer always has. ``+lengths`` passes sequence lengths even if
all sequences are full. ``+repack`` keeps canonical weights and packs them in every step.
``+training`` uses the training mode in inference too. Without lengths, the op tries several of
cuDNN's algorithms in its first call at a shape. With lengths, or with ``+untuned``, it uses the
standard algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lstm_impl.backends.tensorflow.backend import Arrays, TensorFlowBackend
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.cuda import OWN_MASKS
from lstm_impl.layouts import cudnn_pack, cudnn_sizes, cudnn_unpack
from lstm_impl.spec import FloatArray, LSTMSpec, Refusal, RefusalReason, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

TUNING = "TF_CUDNN_RNN_USE_AUTOTUNE"
"""TensorFlow's environment variable that lets the op try several algorithms. It is read once."""


class Cudnn(TensorFlowBackend):
    """Compute with ``CudnnRNNV2``, or with ``CudnnRNNV3`` if there are sequence lengths."""

    strategy = "cudnn"
    summary = "TensorFlow's cuDNN op, parameters packed once"
    flags = ("lengths", "repack", "training", "untuned")
    isolated = True
    cells = ("lstm", "gru")
    devices = ("gpu",)
    elsewhere = "cuDNN runs on NVIDIA GPUs only"
    listed = ("", "+lengths", "+repack", "+training", "+untuned", "+lengths+repack+training")

    @property
    def environment(self) -> Mapping[str, str]:  # type: ignore[override]  # by option
        return {TUNING: "0"} if "untuned" in self.options else {}

    def conflict(self) -> str:
        if {"lengths", "untuned"} <= set(self.options):
            return "with lengths, TensorFlow's op is never tuned; leave +untuned out"
        return ""

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if "mixed" in spec.dtype and "repack" not in self.options:
            text = (
                "one packed buffer cannot be stored in float32 and computed in half precision; "
                "use cudnn+repack"
            )
            return RefusalReason(text, Refusal.NO_DTYPE)
        if workload is not None and workload.dropout and workload.training:
            return OWN_MASKS
        return super().refusal(spec, workload)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if evidence.get("cudnn"):
            return ""
        ran = ", ".join(evidence.get("kernels", {})) or "no kernel at all"
        return f"no cuDNN kernel ran on {device}; the profiler saw {ran}"

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        if "repack" in self.options:
            return weights.arrays()
        return [cudnn_pack(spec, weights)]

    def unpack(self, spec: LSTMSpec, arrays: Arrays, gradient: bool = False) -> LSTMWeights:
        if "repack" in self.options:
            return LSTMWeights.from_arrays(spec, arrays)
        # The two biases of an LSTM are added, so each of them has the gradient of their sum.
        return cudnn_unpack(spec, arrays[0], "second" if gradient else "sum")

    def stack(self, spec: LSTMSpec, call: Call, parameters: Tensors, training: bool) -> Outputs:
        import tensorflow as tf

        x, states, lengths, masks, *_ = call
        if masks is not None:
            raise UnsupportedError(f"{self.name}: {OWN_MASKS}")
        if "repack" in self.options:
            buffer = pack_tensors(spec, parameters)
        elif _has_two_biases(spec):
            (buffer,) = parameters
        else:
            buffer = keep_input_biases(spec, parameters[0])
        arguments = {
            "input": x,
            "input_h": states[0],
            # The op ignores the cell state of a GRU, and does not check its shape.
            "input_c": states[1] if len(states) > 1 else tf.zeros([], x.dtype),
            "params": buffer,
            "rnn_mode": spec.cell.name,
            "input_mode": "linear_input",
            "direction": "bidirectional" if spec.bidirectional else "unidirectional",
            "is_training": training or "training" in self.options,
        }
        if lengths is None and "lengths" not in self.options:
            return Outputs.from_flat(tf.raw_ops.CudnnRNNV2(**arguments)[: 1 + len(states)])
        if lengths is None:
            shape = tf.shape(x)
            lengths = tf.fill([shape[1]], shape[0])
        kept = tf.raw_ops.CudnnRNNV3(**arguments, sequence_lengths=lengths, time_major=True)
        return Outputs.from_flat(kept[: 1 + len(states)])


def _has_two_biases(spec: LSTMSpec) -> bool:
    """Return whether both of cuDNN's biases are parameters of the cell."""
    return "recurrent_bias" in spec.cell.parameters


def keep_input_biases(spec: LSTMSpec, buffer: Tensor) -> Tensor:
    """Return the buffer, without a gradient for the input biases, which stay zero."""
    import tensorflow as tf

    matrices, biases = cudnn_sizes(spec)

    @tf.custom_gradient
    def identity(buffer: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def backward(gradient: Tensor) -> Tensor:
            of_matrices, of_biases = tf.split(gradient, [matrices, biases])
            pairs = tf.reshape(of_biases, [-1, 2, spec.gate_columns])
            trained = pairs * tf.constant([[[0.0], [1.0]]], gradient.dtype)
            return tf.concat([of_matrices, tf.reshape(trained, [-1])], axis=0)

        return tf.identity(buffer), backward

    return identity(buffer)


def pack_tensors(spec: LSTMSpec, parameters: Tensors) -> Tensor:
    """Pack canonical tensors into cuDNN's buffer in the graph, as ``cudnn_pack`` does in NumPy."""
    import tensorflow as tf

    matrices, biases = [], []
    size = len(spec.cell.parameters)
    for k in range(0, len(parameters), size):
        kernel, recurrent_kernel, *own = parameters[k : k + size]
        for matrix in (kernel, recurrent_kernel):
            # [n, G*H] has the gates side by side. cuDNN takes each gate as [H, n], one after the
            # other, which are the rows of the transpose.
            matrices.append(tf.reshape(tf.transpose(matrix), [-1]))
        biases += own if _has_two_biases(spec) else [tf.zeros_like(own[0]), own[0]]
    return tf.concat([*matrices, *biases], axis=0)
