"""``cudnn``: TensorFlow's fused cuDNN op, the whole network in one call, on an NVIDIA GPU.

The parameters are one flat buffer in cuDNN's layout, packed once and trained as it is. cuDNN has
two biases a gate, which are added; the input one stays zero and gets no gradient, since training
both would double the effective bias step.

Options name three costs that Keras's layer always pays: ``+lengths`` passes sequence lengths even
where every sequence is full; ``+repack`` keeps canonical weights and packs them in every step;
``+training`` asks for the training mode, which keeps what a backward pass needs, in inference too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lstm_impl.backends.tensorflow_backend import Arrays, TensorFlowBackend, Tensors
from lstm_impl.call import Call, Outputs, Tensor
from lstm_impl.layouts import cudnn_pack, cudnn_sizes, cudnn_unpack
from lstm_impl.spec import FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

OWN_MASKS = "cuDNN draws its own dropout masks, which no other backend can be given"


class Cudnn(TensorFlowBackend):
    """``CudnnRNNV2``, or ``CudnnRNNV3`` with sequence lengths."""

    strategy = "cudnn"
    summary = "TensorFlow's cuDNN op, parameters packed once"
    flags = ("lengths", "repack", "training")
    devices = ("gpu",)
    elsewhere = "cuDNN runs on NVIDIA GPUs only"

    @classmethod
    def variants(cls) -> tuple[str, ...]:
        return (
            "cudnn",
            "cudnn+lengths",
            "cudnn+repack",
            "cudnn+training",
            "cudnn+lengths+repack+training",
        )

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if "mixed" in spec.dtype and "repack" not in self.options:
            return "one packed buffer cannot be float32 and computed in half; use cudnn+repack"
        if spec.precision.compute == "bfloat16":
            return "TensorFlow's cuDNN op computes in float16, float32 and float64 only"
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
        # the two biases are added, so each has the gradient of their sum
        return cudnn_unpack(spec, arrays[0], "second" if gradient else "sum")

    def stack(self, spec: LSTMSpec, call: Call, parameters: Tensors, training: bool) -> Outputs:
        import tensorflow as tf

        x, h, c, lengths, masks = call
        if masks is not None:
            raise UnsupportedError(f"{self.name}: {OWN_MASKS}")
        if "repack" in self.options:
            buffer = pack_tensors(spec, parameters)
        else:
            buffer = keep_input_biases(spec, parameters[0])
        arguments = {
            "input": x,
            "input_h": h,
            "input_c": c,
            "params": buffer,
            "rnn_mode": "lstm",
            "input_mode": "linear_input",
            "direction": "bidirectional" if spec.bidirectional else "unidirectional",
            "is_training": training or "training" in self.options,
        }
        if lengths is None and "lengths" not in self.options:
            y, h, c, *_ = tf.raw_ops.CudnnRNNV2(**arguments)
            return Outputs(y, h, c)
        if lengths is None:
            shape = tf.shape(x)
            lengths = tf.fill([shape[1]], shape[0])
        y, h, c, *_ = tf.raw_ops.CudnnRNNV3(**arguments, sequence_lengths=lengths, time_major=True)
        return Outputs(y, h, c)


def keep_input_biases(spec: LSTMSpec, buffer: Tensor) -> Tensor:
    """``buffer``, with no gradient for the input biases, which are to stay zero."""
    import tensorflow as tf

    matrices, biases = cudnn_sizes(spec)

    @tf.custom_gradient
    def identity(buffer: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def backward(gradient: Tensor) -> Tensor:
            of_matrices, of_biases = tf.split(gradient, [matrices, biases])
            pairs = tf.reshape(of_biases, [-1, 2, 4 * spec.hidden_size])
            trained = pairs * tf.constant([[[0.0], [1.0]]], gradient.dtype)
            return tf.concat([of_matrices, tf.reshape(trained, [-1])], axis=0)

        return tf.identity(buffer), backward

    return identity(buffer)


def pack_tensors(spec: LSTMSpec, parameters: Tensors) -> Tensor:
    """Canonical tensors as one cuDNN buffer, in the graph: what ``cudnn_pack`` does in NumPy."""
    import tensorflow as tf

    matrices, biases = [], []
    for k in range(0, len(parameters), 3):
        kernel, recurrent_kernel, bias = parameters[k : k + 3]
        for matrix in (kernel, recurrent_kernel):
            # [n, 4H] holds the four gates side by side; cuDNN wants each as [H, n], one by one:
            # the rows of the transpose are exactly that.
            matrices.append(tf.reshape(tf.transpose(matrix), [-1]))
        biases += [tf.zeros_like(bias), bias]
    return tf.concat([*matrices, *biases], axis=0)
