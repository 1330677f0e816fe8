"""Share what all PyTorch backends have in common: placing arrays, gradients and evidence."""

import abc
import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import lstm_impl.cuda as cuda
from lstm_impl.availability import Package
from lstm_impl.backend import Backend
from lstm_impl.backends.torch.framework import TORCH
from lstm_impl.call import Call, Outputs, RawGradients, States, Tensor, Tensors, Upstream
from lstm_impl.cell import DEFAULT
from lstm_impl.evidence import Event, Evidence, Profile, most
from lstm_impl.model import Model, name_resets
from lstm_impl.optimizer import BETA1, BETA2, EPSILON, LEARNING_RATE
from lstm_impl.spec import UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import OPTIMIZERS, Workload, select_differentiated

STEP_BY_STEP = "PyTorch's operators, step by step"
"""The implementation of a model that uses no library's LSTM."""

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
"""The operators of matrix products, whose operations are counted. The operations of oneDNN's and
cuDNN's LSTMs are not known."""

FRAMES = "ProfilerStep"
"""The prefix of the profiler's own events."""


class TorchBackend(Backend):
    """Compute with PyTorch."""

    framework = "torch"
    packages: ClassVar[tuple[Package, ...]] = (TORCH.package,)
    gpu = TORCH.gpu
    optimizers = OPTIMIZERS


class TorchModel(Model):
    """Hold parameters on a device, and run ``network`` forward and backward."""

    autocast: ClassVar[bool] = True

    def _open(self, weights: LSTMWeights) -> None:
        import torch

        spec, device = self.spec, self.device
        self._torch = torch
        self.torch_device = torch.device(
            "cpu" if device == "cpu" else f"cuda:{cuda.gpu_index(device)}"
        )
        self.compute_dtype = getattr(torch, spec.precision.compute)
        self.variable_dtype = getattr(torch, spec.precision.variable)
        self._optimizers: dict[str, Any] = {}
        self.parameters = self._made(weights)
        self._set_weights(weights)

    # -- what a strategy supplies

    @abc.abstractmethod
    def network(self, call: Call) -> Outputs:
        """Compute the outputs, in the model's layout, and the final states ``[L*D, B, H]``."""

    def _made(self, weights: LSTMWeights) -> list[Tensor]:
        """Make the parameters with any values, because the weights are set afterwards."""
        like = {"dtype": self.variable_dtype, "device": self.torch_device}
        packed = self.backend.pack(self.spec, weights)
        return [self._torch.empty(each.shape, **like).requires_grad_() for each in packed]

    def trained(self, masks: Tensor | None) -> Tensors:
        """Return the parameters that ``network`` uses. With masks, these may be other ones."""
        return self.parameters

    # -- for users of PyTorch

    def __call__(
        self,
        x: Tensor,
        state: States | None = None,
        lengths: Tensor | None = None,
        masks: Tensor | None = None,
        *,
        resets: Tensor | None = None,
        reset_to: str = "zeros",
    ) -> tuple[Tensor, States]:
        """Compute the outputs and the final states of tensors, differentiably.

        Parameters
        ----------
        x
            The input ``[T, B, in]``, or batch-major if the model was built so, in the compute type
            and on the model's device.
        state
            The states ``(h, c)``, ``[L*D, B, H]`` each, or None for zeros.
        lengths
            The valid timesteps ``[B]``, on the host.
        masks
            As in ``Model.forward``.
        resets, reset_to
            As in ``Model.forward``, but the array ``[T, B]`` is always time-major.

        Returns
        -------
        tuple
            The outputs ``[T, B, D*H]``, and the final states.
        """
        if state is None:
            batch = x.shape[0 if self.batch_major else 1]
            zeros = x.new_zeros((self.spec.state_layers, batch, self.spec.hidden_size))
            state = (zeros,) * len(self.spec.cell.states)
        self._refuse_resets(resets, reset_to)
        call = Call(x, tuple(state), lengths, masks, *name_resets(resets, reset_to))
        with self.precision():
            y, states = self.network(call)
        return y, states

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which PyTorch computes with the spec's precision."""
        if self.spec.dtype in ("float32", "tf32", "bf32"):
            # The setting belongs to the process, and models of these precisions may alternate.
            set_products(self.spec.dtype, self.device)
        if self.autocast and "mixed" in self.spec.dtype:
            return self._torch.autocast(  # type: ignore[no-any-return]
                self.torch_device.type, dtype=self.compute_dtype
            )
        return contextlib.nullcontext()

    # -- what Model needs

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        torch = self._torch
        if np.issubdtype(array.dtype, np.integer):
            # Lengths stay on the host, because packing a padded batch reads them there.
            return torch.tensor(array, dtype=torch.int64)
        if array.dtype == np.bool_:
            return torch.tensor(array, device=self.torch_device)
        # NumPy copies the array. PyTorch would copy a large array with its threads, which then spin
        # for milliseconds and slow down the threads of whatever computes next.
        copied = torch.empty(array.shape, dtype=getattr(torch, array.dtype.name))
        np.copyto(copied.numpy(), array)
        return copied.to(self.torch_device, self.compute_dtype)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        tensor = tensor.detach().cpu()
        if tensor.dtype == self._torch.bfloat16:
            tensor = tensor.float()  # NumPy has no bfloat16.
        return np.array(tensor.numpy())

    def _infer(self, call: Call) -> Outputs:
        with self._torch.inference_mode(), self.precision():
            return self.network(call)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        # The tensors are detached, because the state of the previous window must carry no gradient.
        x, *states = (tensor.detach() for tensor in (call.x, *call.states))
        inputs = select_differentiated(gradients, x, *states)
        for tensor in inputs:
            tensor.requires_grad_()
        with self.precision():
            outputs = self.network(call._replace(x=x, states=tuple(states)))
        wanted = [*inputs, *self.trained(call.masks)]
        found = self._torch.autograd.grad(outputs.flat, wanted, upstream.flat)
        count = len(inputs)
        detached = Outputs.from_flat(tensor.detach() for tensor in outputs.flat)
        return RawGradients.of(detached, found[:count], list(found[count:]))

    def _start_optimizer(self, name: str) -> None:
        optim = self._torch.optim
        # The optimizers are made as users make them, so PyTorch chooses between a fused one and a
        # loop.
        if name == "sgd":
            self._optimizers[name] = optim.SGD(self.parameters, lr=LEARNING_RATE)
        else:
            self._optimizers[name] = optim.Adam(
                self.parameters, lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPSILON
            )

    def _train_and_update(
        self, optimizer: str, gradients: str, call: Call, upstream: Upstream
    ) -> RawGradients:
        raw = self._train(gradients, call, upstream)
        # This is what ``backward`` would leave in .grad.
        for parameter, gradient in zip(self.parameters, raw.weights, strict=True):
            parameter.grad = gradient
        self._optimizers[optimizer].step()
        return raw

    def get_weights(self) -> LSTMWeights:
        return self._host_weights(self.parameters, gradient=False)

    def _set_weights(self, weights: LSTMWeights) -> None:
        torch = self._torch
        with torch.no_grad():
            for parameter, array in zip(
                self.parameters, self.backend.pack(self.spec, weights), strict=True
            ):
                parameter.copy_(torch.tensor(array))

    def synchronize(self) -> None:
        if self.torch_device.type == "cuda":
            self._torch.cuda.synchronize(self.torch_device)

    def implementation(self, ops: Mapping[str, int]) -> str:
        """Return which LSTM ran, judged by the recorded operators."""
        if any("cudnn_rnn" in op for op in ops):
            return "cuDNN"
        if any("mkldnn_rnn_layer" in op for op in ops):
            return "oneDNN"
        return STEP_BY_STEP

    def evidence(self, workload: Workload) -> Evidence:
        """Return how often each operator of one step ran, and on a GPU also each kernel."""
        found = counted(self._recorded(workload))
        ran = self.implementation(found.ops or {})
        details: dict[str, Any] = {"device": self.device, "implementation": ran}
        # PyTorch has no other GRU for a CPU, so its own operators are no fallback there.
        if ran == STEP_BY_STEP and (self.spec.cell == DEFAULT or self.device != "cpu"):
            details["fallback"] = ran
        if ran == "oneDNN":
            details["primitives"] = most(primitives(self._warmed(workload).run))
        return replace(found, details=details)

    def _profiled(self, workload: Workload) -> Profile:
        events = timeline(self._recorded(workload))
        return Profile("PyTorch's profiler", tuple(events))

    def _recorded(self, workload: Workload) -> list[Any]:
        step = self._warmed(workload)
        return record(step.run, step.synchronize, self.torch_device.type == "cuda")


def set_products(dtype: str, device: str) -> None:
    """Set whether float32 products, including recurrent ones, may round their factors.

    On a GPU they may round to TF32, and on a CPU oneDNN may round to bfloat16.
    """
    import torch

    allow = dtype == "tf32"
    if device == "cpu" and hasattr(torch.backends.mkldnn, "rnn"):  # PyTorch 2.9 has it.
        torch.backends.mkldnn.rnn.fp32_precision = "bf16" if dtype == "bf32" else "none"
    elif dtype == "bf32":
        raise UnsupportedError("bf32 is oneDNN's; it needs a CPU and PyTorch 2.9 or later")
    elif device == "cpu":
        return
    elif hasattr(torch.backends.cudnn, "rnn"):  # PyTorch 2.9 has it.
        precision = "tf32" if allow else "ieee"
        torch.backends.cudnn.rnn.fp32_precision = precision
        torch.backends.cuda.matmul.fp32_precision = precision
    else:
        torch.backends.cudnn.allow_tf32 = allow
        torch.backends.cuda.matmul.allow_tf32 = allow


# -- what oneDNN prints


def primitives(run: Callable[[], object]) -> Counter[str]:
    """Count oneDNN's primitives in a call, such as ``rnn brgemm:avx512_core_bf16``.

    oneDNN prints them with their instruction sets to the standard output of the process, whatever
    ``sys.stdout`` is.
    """
    import torch

    mkldnn, before = torch.backends.mkldnn, os.dup(1)
    with tempfile.TemporaryFile("w+") as file:
        os.dup2(file.fileno(), 1)
        try:
            with mkldnn.verbose(mkldnn.VERBOSE_ON):
                run()
        finally:
            os.dup2(before, 1)
            os.close(before)
        file.seek(0)
        lines = [line.split(",") for line in file]
    # A line is onednn_verbose,v1,primitive,exec,cpu,rnn,brgemm:avx512_core,forward_inference,...
    return Counter(" ".join(each[5:7]) for each in lines if each[2:4] == ["primitive", "exec"])


# -- what the profiler records


def record(run: Callable[[], Tensor], synchronize: Callable[[], None], gpu: bool) -> list[Any]:
    """Return the profiler's events (``FunctionEvent``) of one call of ``run``."""
    # Otherwise the profiler's library prints lines to standard error.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities, with_flops=True) as recorded:
        run()
        synchronize()
    return [each for each in recorded.events() or () if not each.name.startswith(FRAMES)]


def counted(events: Iterable[Any]) -> Evidence:
    """Count what ran.

    Launches are the operators that no other operator called. Operations are those of ``PRODUCTS``.
    """
    ops: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    launches, operations = 0, 0.0
    for event in events:
        name = str(event.name)
        if _ran_on_gpu(event):
            kernels[name] += 1
            continue
        ops[name] += 1
        launches += event.cpu_parent is None
        operations += float(event.flops or 0) if name in PRODUCTS else 0.0
    found = Evidence("torch profiler", ops, kernels, launches=launches, launched_by="python")
    return replace(found, operations=operations or None)


def timeline(events: Iterable[Any]) -> list[Event]:
    """Return the events, each with its thread or with the GPU that ran it."""
    found = []
    for event in events:
        track = f"GPU {event.device_index}" if _ran_on_gpu(event) else f"thread {event.thread}"
        span = event.time_range  # This is in microseconds.
        found.append(
            Event(str(event.name), span.start * 1e-6, (span.end - span.start) * 1e-6, track)
        )
    return found


def _ran_on_gpu(event: Any) -> bool:
    """Return whether an event ran on a GPU."""
    return "CUDA" in str(getattr(event, "device_type", ""))
