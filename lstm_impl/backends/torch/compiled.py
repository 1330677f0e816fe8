"""Run ``torch_compile``: a loop over the cell, compiled by ``torch.compile`` (Inductor)."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sysconfig
import types
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.availability import AVAILABLE, Availability, Package
from lstm_impl.backends.stacking import through_layers
from lstm_impl.backends.torch.loop import Step, looped, make_step
from lstm_impl.backends.torch.model import TorchBackend, TorchModel
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.spec import Refusal
from lstm_impl.weights import LSTMWeights


class TorchCompileModel(TorchModel):
    """Keep canonical weights, and a compiled function for each shape and kind of call."""

    autocast = False  # The weights are cast once, before the loop.

    def _made(self, weights: LSTMWeights) -> list[Tensor]:
        with quiet_compiler():
            importlib.import_module("torch._inductor.compile_fx")
        self._compiled: dict[Hashable, Any] = {}
        return super()._made(weights)

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        if np.issubdtype(array.dtype, np.integer):
            return self._torch.tensor(array, dtype=self._torch.int64, device=self.torch_device)
        return super()._to_device(array)

    def network(self, call: Call) -> Outputs:
        optional = tuple(each is not None for each in call[2:])
        kind = (*optional, self._torch.is_inference_mode_enabled())
        step = make_step(self.spec.cell)
        if "cell" in self.backend.options:
            key = (call.states[0].shape[1], *kind)
            first = key not in self._compiled
            compiled = self._compile(key, step)
            with quiet_compiler() if first else contextlib.nullcontext():
                return self._loop(compiled, call, self.parameters)

        def network(call: Call, parameters: Tensors) -> Outputs:
            return self._loop(step, call, parameters)

        compiled = self._compile((*call.x.shape, *kind), network)
        return Outputs(*compiled(call, self.parameters))

    def _compile(self, key: Hashable, function: Callable[..., Any]) -> Any:
        if key not in self._compiled:
            self._compiled[key] = compiled_anew(function)
        return self._compiled[key]

    def _loop(self, step: Step, call: Call, parameters: Tensors) -> Outputs:
        torch = self._torch
        parameters = [parameter.to(self.compute_dtype) for parameter in parameters]
        x, lengths = call.x, call.lengths
        if self.batch_major:
            x = x.transpose(0, 1)
        valid = None
        if lengths is not None:
            steps = torch.arange(x.shape[0], device=x.device)
            valid = (steps[:, None] < lengths[None, :])[:, :, None]

        size = len(parameters) // self.spec.state_layers

        def layer(row: int, own: Call, reverse: bool) -> Outputs:
            part = parameters[row * size : (row + 1) * size]
            return looped(step, own, part, valid, reverse)

        def join(outputs: list[Tensor]) -> Tensor:
            return torch.cat(outputs, dim=-1)

        y, states = through_layers(self.spec, call._replace(x=x), layer, join, torch.stack)
        return Outputs(y.transpose(0, 1) if self.batch_major else y, states)

    def implementation(self, ops: Mapping[str, int]) -> str:
        if any(op.startswith("Torch-Compiled Region") for op in ops):
            return "compiled by Inductor"
        return super().implementation(ops)


def compiled_anew(function: Callable[..., Any]) -> Any:
    """Compile a function, with a code object of its own."""
    import torch

    # The compiler keeps its results with a function's code object, and gives up after a few
    # versions. Therefore each model and shape gets a code object of its own.
    own = types.FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return torch.compile(own, fullgraph=True, dynamic=False)


class TorchCompile(TorchBackend):
    """Compile an entire loop over time, or with ``+cell`` only one step of it."""

    strategy = "torch_compile"
    summary = "a loop over the cell in PyTorch, unrolled and compiled by Inductor"
    model = TorchCompileModel
    flags = ("cell",)
    listed = ("", "+cell")
    takes_resets = True
    cells = None

    def tools(self, device: str) -> Availability:
        return compiler_availability(device)


def compiler_availability(device: str) -> Availability:
    """Return whether this machine has what Inductor needs to compile for a device."""
    triton = Package("triton", "torch.compile needs Triton on a GPU, which", "pip install triton")
    if device != "cpu" and not (installed := triton.availability(device)):
        return installed
    needs = "torch.compile needs"
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        found = f"{compiler} is not installed (the variable CXX can name another compiler)"
        reason = f"{needs} a C++ compiler, and {found}"
        return Availability(False, reason, "apt-get install g++", Refusal.NO_COMPILER)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not headers.exists():
        reason = f"{needs} Python's headers, and {headers} does not exist"
        return Availability(False, reason, "apt-get install python3-dev", Refusal.NO_COMPILER)
    return AVAILABLE


def frozen(lstm: Tensor, *given: Tensor) -> Any:
    """Compile an ``nn.LSTM`` as a function of x, h and c, with its weights as constants."""
    import torch

    def network(x: Tensor, h: Tensor, c: Tensor) -> Tensors:
        y, state = lstm(x, (h, c))
        return [y, *state]

    made = compiled_anew(network)
    with quiet_compiler():
        inductor = importlib.import_module("torch._inductor.config")
        # Without this permission, the compiler leaves such a module as it is.
        with inductor.patch(freezing=True), torch._dynamo.config.patch(allow_rnn=True):
            made(*given)
    return made


@contextlib.contextmanager
def quiet_compiler() -> Iterator[None]:
    """Hide the warnings that PyTorch's compiler gives about itself."""
    with warnings.catch_warnings():
        # Importing the compiler uses torch.jit, which PyTorch has deprecated.
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        # The compiler reads .grad of every input of a function, even if it is no leaf.
        warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf")
        yield
