"""``flashrnn``: FlashRNN's CUDA and Triton kernels (Pöppel et al., arXiv 2412.07752)."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import lstm_impl.cuda as cuda
from lstm_impl.availability import AVAILABLE, Availability, Package
from lstm_impl.backends.stacking import through_layers
from lstm_impl.backends.torch.model import TorchBackend, TorchModel
from lstm_impl.call import Call, Outputs, Tensor
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

INSTALL = "pip install flashrnn"

MULTIPLE = 16
"""The fused kernel cuts the hidden size into tiles of 16: its constraints leave nothing else."""

TRITON_SIZES = (16, 32, 64)
"""A power of 2, at least 16 for ``tl.dot``; over 64 the matrix does not fit, as its README says."""

OLDEST_GPU = (8, 0)


class FlashRNNModel(TorchModel):
    """Layers stacked over FlashRNN's recurrent kernel, batch-major."""

    backend: FlashRNN
    autocast = False  # the weights are cast once, before the loop

    def network(self, call: Call) -> Outputs:
        import flashrnn

        torch = self._torch
        x, h, c, lengths, masks = call
        parameters = [parameter.to(self.compute_dtype) for parameter in self.parameters]
        x = x if self.batch_major else x.transpose(0, 1)
        batch, timesteps, _ = x.shape
        valid = turned = None
        if lengths is not None:
            lengths, steps = lengths.to(x.device), torch.arange(timesteps, device=x.device)
            valid = (steps[None, :] < lengths[:, None])[:, :, None]
            # Valid steps from the last to the first, padding where it is.
            backwards = lengths[:, None] - 1 - steps[None, :]
            turned = torch.where(valid[:, :, 0], backwards, steps)[:, :, None]

        def reversed_(sequence: Tensor) -> Tensor:
            if turned is None:
                return sequence.flip(1)
            return sequence.gather(1, turned.expand_as(sequence))

        def layer(row: int, x: Tensor, h: Tensor, c: Tensor, reverse: bool) -> Outputs:
            kernel, recurrent, bias = parameters[3 * row : 3 * row + 3]
            x = reversed_(x) if reverse else x
            states, last = flashrnn.flashrnn(
                (x @ kernel).reshape(batch, timesteps, 4, 1, self.spec.hidden_size),
                recurrent,
                bias,
                states=torch.stack((h, c))[:, :, None, None, :],  # [state, B, 1, head, H]
                function="lstm",
                backend=self.backend.kernel,
                dtype=self.spec.precision.compute,
            )
            y = states[0, :, :, 0]  # of [state, B, T, head, H]
            h, c = last[:, :, 0, 0]
            if lengths is not None:
                h, c = states[:, torch.arange(batch, device=x.device), lengths - 1, 0]
                y = torch.where(valid, y, torch.zeros_like(y))
            return Outputs(reversed_(y) if reverse else y, h, c)

        inside = Call(x, h, c, lengths, None if masks is None else masks.transpose(1, 2))
        join = functools.partial(torch.cat, dim=-1)
        # FlashRNN compiles for, and runs on, PyTorch's current device.
        gpu = self.torch_device.type == "cuda"
        with torch.cuda.device(self.torch_device) if gpu else contextlib.nullcontext():
            y, h, c = through_layers(self.spec, inside, layer, join, torch.stack)
        return Outputs(y if self.batch_major else y.transpose(0, 1), h, c)


class FlashRNN(TorchBackend):
    """The fused CUDA kernel, or with an option another of the package's."""

    strategy = "flashrnn"
    framework = "flashrnn"
    summary = "FlashRNN's fused CUDA kernel over a PyTorch input product"
    model = FlashRNNModel
    flags = ("alternating", "triton")
    devices = ("gpu",)
    elsewhere = "FlashRNN's kernels run on NVIDIA GPUs only"
    packages = (Package("flashrnn", "FlashRNN", INSTALL), *TorchBackend.packages)
    listed = ("", "+alternating", "+triton")

    def conflict(self) -> str:
        if len(self.options) > 1:
            return "+alternating and +triton are two kernels; choose one"
        return ""

    @property
    def kernel(self) -> str:
        """The package's name for the kernel."""
        if "triton" in self.options:
            return "triton_fused"
        return "cuda" if "alternating" in self.options else "cuda_fused"

    # Of each cell: the kernel [in, 4H], R [4, 1, H, H] (gate, head, to, from) and the bias
    # [4, 1, H], gates i, f, g, o, one head.

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        gates = (4, 1, spec.hidden_size)
        arrays: list[FloatArray] = []
        for cell in weights.cells():
            recurrent = np.ascontiguousarray(cell.recurrent_kernel.T).reshape(*gates, -1)
            arrays += [cell.kernel, recurrent, cell.bias.reshape(gates)]
        return arrays

    def unpack(
        self, spec: LSTMSpec, arrays: Sequence[FloatArray], gradient: bool = False
    ) -> LSTMWeights:
        hidden = spec.hidden_size
        flat = list(arrays)
        flat[1::3] = [np.ascontiguousarray(r.reshape(4 * hidden, hidden).T) for r in arrays[1::3]]
        flat[2::3] = [bias.reshape(-1) for bias in arrays[2::3]]
        return LSTMWeights.from_arrays(spec, flat)

    def tools(self, device: str) -> Availability:
        import torch

        capability = torch.cuda.get_device_capability(cuda.gpu_index(device))
        if capability < OLDEST_GPU:
            has, needs = (".".join(map(str, version)) for version in (capability, OLDEST_GPU))
            needed = f"a GPU of compute capability {needs} (Ampere) or later, not {has}"
            return Availability(False, f"FlashRNN needs {needed}")
        if "triton" in self.options:
            return Package("triton", "Triton", "pip install triton").availability(device)
        home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
        if shutil.which("nvcc") is None and not (Path(home) / "bin" / "nvcc").exists():
            return Availability(
                False,
                "FlashRNN compiles its kernels with nvcc, which is not found; install the CUDA "
                "toolkit of PyTorch's CUDA version, or set CUDA_HOME",
            )
        if shutil.which(os.environ.get("CXX") or "g++") is None:
            reason = "FlashRNN needs a C++ compiler next to nvcc"
            return Availability(False, reason, "apt-get install g++")
        return AVAILABLE

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.dtype == "float64":
            return "FlashRNN computes in float32, float16 and bfloat16, not in float64"
        if self.kernel == "cuda":
            return super().refusal(spec, workload)
        if spec.dtype == "float32":
            return (
                f"FlashRNN's {self.kernel} kernel computes float32 products in TF32; "
                "ask for the dtype tf32, or for flashrnn+alternating"
            )
        if self.kernel == "cuda_fused" and spec.hidden_size % MULTIPLE:
            return (
                f"FlashRNN's fused kernel needs a hidden size that is a multiple of {MULTIPLE}, "
                f"not {spec.hidden_size}; flashrnn+alternating takes any"
            )
        if self.kernel == "triton_fused" and spec.hidden_size not in TRITON_SIZES:
            sizes = ", ".join(map(str, TRITON_SIZES))
            return f"FlashRNN's Triton kernel takes hidden sizes {sizes}, not {spec.hidden_size}"
        return super().refusal(spec, workload)
