"""Run ``jax_cudnn``: cuDNN's LSTM called from JAX by ``jax.experimental.rnn``, on an NVIDIA GPU."""

from collections.abc import Sequence
from typing import Any

from lstm_impl.backends.jax.model import JaxBackend
from lstm_impl.call import Call, Outputs, Tensors
from lstm_impl.cuda import OWN_MASKS
from lstm_impl.layouts import cudnn_pack, cudnn_unpack
from lstm_impl.spec import FloatArray, LSTMSpec, Refusal, RefusalReason, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload


class JaxCudnn(JaxBackend):
    """Compute the network with one call of ``jax.experimental.rnn.lstm``."""

    strategy = "jax_cudnn"
    summary = "jax.experimental.rnn: cuDNN's LSTM called from JAX"
    devices = ("gpu",)
    elsewhere = "cuDNN runs on NVIDIA GPUs only"
    batch_first = True

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.dtype not in ("float32", "tf32"):
            text = f"JAX's cuDNN layer takes float32 only (TF32 products or not), not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        if workload is not None and workload.dropout and workload.training:
            return OWN_MASKS
        return super().refusal(spec, workload)

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        return [cudnn_pack(spec, weights)]

    def unpack(
        self, spec: LSTMSpec, arrays: Sequence[FloatArray], gradient: bool = False
    ) -> LSTMWeights:
        # cuDNN adds its two biases, so each of them has the gradient of the sum.
        return cudnn_unpack(spec, arrays[0], "second" if gradient else "sum")

    def network(self, spec: LSTMSpec, parameters: Tensors, call: Call) -> Outputs:
        import jax.numpy as jnp
        from jax import lax
        from jax.experimental import rnn

        x, (h, c), lengths, masks, *_ = call
        if masks is not None:  # A forward pass outside training may be given masks too.
            raise UnsupportedError(f"{self.name}: {OWN_MASKS}")
        (weights,) = parameters
        if lengths is None:
            lengths = jnp.full(x.shape[0], x.shape[1], jnp.int32)
        # The layer computes with TF32 for lax's precision HIGH, and with float32 for HIGHEST.
        wanted: Any = lax.Precision.HIGH if spec.dtype == "tf32" else lax.Precision.HIGHEST
        sizes, dropout = (spec.input_size, spec.hidden_size, spec.num_layers), 0.0
        how = (*sizes, dropout, spec.bidirectional, wanted)
        y, h, c = rnn.lstm(x, h, c, weights, lengths, *how)
        return Outputs(y, (h, c))
