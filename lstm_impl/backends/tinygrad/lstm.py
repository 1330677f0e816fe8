"""Run ``tinygrad``: a loop over time of tinygrad's operators, each step compiled by clang once.

tinygrad has no operator for a loop. ``TinyJit`` records the kernels of a complete call when it is
made for the second time, and replays them from the third call on. Each timestep is realized
separately, so that every timestep runs the same few kernels, however long the sequence is.
"""

from __future__ import annotations

import functools
import math
import os
import re
import shutil
import subprocess
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lstm_impl.availability import AVAILABLE, Availability, Package
from lstm_impl.backend import Backend
from lstm_impl.backends.recurrence import make_recurrence
from lstm_impl.backends.tinygrad.framework import TINYGRAD
from lstm_impl.call import Call, Outputs, RawGradients, States, Tensor, Tensors, Upstream
from lstm_impl.cell import Operations
from lstm_impl.evidence import Evidence
from lstm_impl.model import Model, Stream
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload, select_differentiated

DEVICE = "CPU"
"""tinygrad's name of the device. Without a name, tinygrad takes the first device that works."""

RECORDED_AFTER = 2
"""The number of calls after which ``TinyJit`` replays a function: one runs it, and one records it.
"""

ALIGNMENT = 64
"""The alignment of memory in bytes: the size of a CPU's widest vector, which is AVX-512's."""

FEW = 16
"""The most tensors that one kernel joins. In tinygrad 0.14, a kernel on a CPU has at most 63
arguments, and a kernel with a hundred arguments takes long to compile."""


def sigmoid(x: Tensor) -> Tensor:
    """Return the logistic function of a tensor, computed with an exponential that cannot overflow.

    In tinygrad 0.14, the gradient of ``Tensor.sigmoid`` is NaN where ``exp(-x)`` overflows, which
    is below -88 in float32.
    """
    exponential = (x < 0).where(x, -x).exp()
    return (x < 0).where(exponential, 1) / (1 + exponential)


def tanh(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent of a tensor. ``Tensor.tanh`` overflows as ``sigmoid`` does."""
    return 2 * sigmoid(2 * x) - 1


def split(tensor: Tensor, parts: int) -> Sequence[Tensor]:
    """Divide the last axis of a tensor into equal parts."""
    return tensor.chunk(parts, dim=-1)  # type: ignore[no-any-return]


OPERATIONS = Operations(sigmoid, tanh, split)
"""tinygrad's functions for the equations of a cell."""


class Recording:
    """Replay the recorded kernels of a call, and know who still holds its results.

    A recording has one place in memory for its results. A model therefore replays a recording only
    when nobody holds the results of its last call. Otherwise the model makes another recording.
    """

    def __init__(self, compute: Callable[..., list[Tensor]], tensors: Tensors) -> None:
        import tinygrad

        self._run = tinygrad.TinyJit(compute)
        self._held: list[weakref.ref[Any]] = []
        # The memory planner of tinygrad 0.14 reuses memory while a later kernel still reads a view
        # of it, and every timestep reads views.
        with tinygrad.Context(NO_MEMORY_PLANNER=1):
            for _ in range(RECORDED_AFTER):
                self._run(*tensors)

    @property
    def free(self) -> bool:
        """Whether nobody holds the results of the last call."""
        return all(each() is None for each in self._held)

    @property
    def linear(self) -> Any:
        """The kernels, in the order in which they run."""
        return self._run.captured.linear

    def replay(self, tensors: Tensors) -> list[Tensor]:
        """Run the recorded kernels on other tensors of the same shapes, and return the results.

        The results are in the memory of the recording, so they are valid until the next replay.
        """
        # The recording keeps its results itself. The caller gets other objects that share the
        # memory.
        found = [type(each)(each.uop) for each in self._run(*tensors)]
        self._held = [weakref.ref(each) for each in found]
        return found


class TinygradModel(Model):
    """Keep the weights as tinygrad's tensors, and recordings for each kind and shape of a call."""

    def _open(self, weights: LSTMWeights) -> None:
        import tinygrad

        self._tinygrad = tinygrad
        self._dtype = getattr(tinygrad.dtypes, self.spec.precision.compute)
        self._recorded: dict[Any, list[Recording]] = {}
        self._set_weights(weights)

    # -- what Model needs

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        whole = np.issubdtype(array.dtype, np.integer)
        dtype = self._tinygrad.dtypes.int32 if whole else self._dtype
        # The array is copied, because tinygrad may read its memory until the tensor is realized.
        return self._tinygrad.Tensor(np.array(array), dtype=dtype, device=DEVICE).realize()

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        return np.array(tensor.numpy())

    def get_weights(self) -> LSTMWeights:
        return self._host_weights(self._parameters, gradient=False)

    def _set_weights(self, weights: LSTMWeights) -> None:
        arrays = self.backend.pack(self.spec, weights)
        self._parameters = [self._to_device(np.asarray(array)) for array in arrays]

    def synchronize(self) -> None:
        self._tinygrad.Device[DEVICE].synchronize()

    def _infer(self, call: Call) -> Outputs:
        found = self._run(None, call, ())
        return Outputs.from_flat(found)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        found = self._run(gradients, call, upstream.flat)
        states = 1 + len(call.states)
        inputs = len(select_differentiated(gradients, call.x, *call.states))
        outputs = Outputs.from_flat(found[:states])
        rest = found[states:]
        return RawGradients.of(outputs, rest[:inputs], rest[inputs:])

    def _run(self, gradients: str | None, call: Call, upstream: Tensors) -> list[Tensor]:
        """Return the results of a call from a recording of its kind and shape."""
        given = call.by_name(self.spec.cell.states)
        key = gradients, tuple((name, each.shape) for name, each in given.items())
        tensors = [*given.values(), *upstream, *self._parameters]
        recordings = self._recorded.setdefault(key, [])
        free = next((each for each in recordings if each.free), None)
        if free is None:
            compute = functools.partial(self._compute, gradients, tuple(given), len(upstream))
            free = Recording(compute, tensors)
            recordings.append(free)
        return free.replay(tensors)

    def _compute(
        self, gradients: str | None, names: Sequence[str], flowing: int, *tensors: Tensor
    ) -> list[Tensor]:
        """Compute one call. ``tensors`` are those of the names, upstream, and parameters."""
        given = dict(zip(names, tensors, strict=False))
        call = Call.from_names(self.spec.cell.states, **given)
        upstream, parameters = tensors[len(given) :][:flowing], tensors[len(given) + flowing :]
        network = TinygradNetwork(self.spec, self.batch_major, call, parameters)
        y, states = network.forward()
        if gradients is None:
            return [y, *states]
        dy, *dstates = upstream
        dx, initial, weights = network.backward(dy, tuple(dstates), gradients)
        return [y, *states, *select_differentiated(gradients, dx, *initial), *weights]

    def evidence(self, workload: Workload) -> Evidence:
        """Return the kernels that a step replays, and how often each of them runs."""
        self._warmed(workload)
        request = Stream(self, workload.first_window()).request()
        given = request.call.by_name(self.spec.cell.states)
        key = request.gradients, tuple((name, each.shape) for name, each in given.items())
        kernels = Counter(_kernels(self._recorded[key][0].linear))
        device = self._tinygrad.Device[DEVICE]
        details = {"device": self.device, "compiler": type(device.compiler).__name__}
        return Evidence("tinygrad's recorded call", kernels, details=details)


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""The codes of a terminal's colours, which tinygrad writes into the names of kernels."""


def _kernels(linear: Any) -> Iterator[str]:
    """Yield the name of each kernel of a recorded call, in the order in which they run."""
    for each in linear.toposort():
        if each.op.name == "CALL" and each.src[0].op.name == "PROGRAM":
            yield _COLOURS.sub("", str(each.src[0].arg.name))


class LayerDirection:
    """Compute one direction of one layer, and keep what its backward pass needs.

    Parameters
    ----------
    spec
        The network.
    parameters
        The arrays of the cell.
    states
        The initial states, ``[B, H]`` each.
    valid
        For each timestep, a tensor ``[B, 1]`` that tells which sequences have not ended; or None if
        all have T timesteps.
    reverse
        Whether steps are read from the last to the first.
    """

    def __init__(
        self,
        spec: LSTMSpec,
        parameters: Tensors,
        states: States,
        valid: Tensors | None,
        reverse: bool,
    ) -> None:
        self._spec = spec
        self._kernel, recurrent_kernel, self._bias, *second = parameters
        self._recurrent = [recurrent_kernel, *second]
        self._multiply = make_recurrence(self._recurrent)
        self._states = states
        self._valid = valid
        self._reverse = reverse
        self._projected: list[Tensor] = []
        self._before: list[States] = []
        self._x: Tensor = None

    def forward(self, x: Tensor) -> tuple[list[Tensor], States]:
        """Return the output of each timestep and the final states, for an input ``[T, B, in]``."""
        self._x = x
        self._projected = steps(x @ self._kernel + self._bias)
        count = len(self._projected)
        states, outputs = self._states, [self._states[0]] * count
        self._before = [states] * count
        for t in self._order():
            self._before[t] = states
            outputs[t], states = self._step(t, self._projected[t], states)
            type(x).realize(outputs[t], *states)
        return outputs, states

    def _order(self) -> Sequence[int]:
        """Return the timesteps in the order in which they are computed."""
        order = range(len(self._projected))
        return order[::-1] if self._reverse else order

    def _step(self, t: int, projected: Tensor, before: States) -> tuple[Tensor, States]:
        """Return the output and the states after timestep t, which are not realized yet."""
        after = self._spec.cell.equations(OPERATIONS, projected, self._multiply, before)
        if self._valid is None:
            return after[0], after
        valid = self._valid[t]
        pairs = zip(after, before, strict=True)
        return valid.where(after[0], 0), tuple(valid.where(new, old) for new, old in pairs)

    def backward(self, dy: Tensors, dstates: States) -> tuple[Tensor, States, list[Tensor]]:
        """Return the gradients of the input, of the initial states, and of the parameters.

        Each timestep is computed again, and tinygrad differentiates it. ``dy`` holds the gradient
        of each output ``[B, H]``, and ``dstates`` the gradients of the final states.
        """
        make = type(self._x)
        recurrent = self._recurrent
        sums = [make.zeros_like(each).contiguous().realize() for each in recurrent]
        d_projected = [dy[0]] * len(dy)
        for t in reversed(self._order()):
            projected, before = self._projected[t], self._before[t]
            y, after = self._step(t, projected, before)
            loss = (y * dy[t]).sum()
            for state, gradient in zip(after, dstates, strict=True):
                loss = loss + (state * gradient).sum()
            found = loss.gradient(projected, *before, *recurrent)
            d_projected[t], flowing = found[0], found[1 : 1 + len(before)]
            own = found[1 + len(before) :]
            sums = [total + each for total, each in zip(sums, own, strict=True)]
            dstates = tuple(each.contiguous() for each in flowing)
            d_projected[t] = d_projected[t].contiguous()
            sums = [each.contiguous() for each in sums]
            make.realize(d_projected[t], *dstates, *sums)
        flat = stacked(d_projected).flatten(0, 1)
        dx = (flat @ self._kernel.transpose(0, 1)).reshape(self._x.shape).contiguous()
        d_kernel = (self._x.flatten(0, 1).transpose(0, 1) @ flat).contiguous()
        d_bias = flat.sum(axis=0).contiguous()
        make.realize(dx, d_kernel, d_bias)
        return dx, dstates, [d_kernel, sums[0], d_bias, *sums[1:]]


class TinygradNetwork:
    """Compute all layers of one call: the forward pass, and the backward pass over what it kept."""

    def __init__(self, spec: LSTMSpec, batch_major: bool, call: Call, parameters: Tensors) -> None:
        self._spec = spec
        self._swaps = batch_major
        self._call = call
        self._parameters = parameters
        self._layers: list[list[LayerDirection]] = []

    def _swapped(self, tensor: Tensor) -> Tensor:
        """Convert a tensor from the user's layout to time-major, or back."""
        return tensor.transpose(0, 1).contiguous().realize() if self._swaps else tensor

    def _valid(self) -> list[Tensor] | None:
        """Return for each timestep which sequences have not ended, ``[B, 1]``, or None."""
        lengths = self._call.lengths
        if lengths is None:
            return None
        timesteps = self._call.x.shape[1 if self._swaps else 0]
        numbers = type(lengths).arange(timesteps).to(DEVICE).reshape(timesteps, 1, 1)
        return steps(numbers < lengths.reshape(1, -1, 1))

    def forward(self) -> tuple[Tensor, States]:
        """Return the outputs in the layout of the input, and the final states."""
        spec, call = self._spec, self._call
        x, valid, last = self._swapped(call.x), self._valid(), list[States]()
        rows = list(zip(*map(steps, call.states), strict=True))
        each = len(spec.cell.parameters)
        for layer in range(spec.num_layers):
            if layer and call.masks is not None:
                x = (x * steps(call.masks)[layer - 1]).contiguous().realize()
            directions, outputs = [], []
            for direction in range(spec.num_directions):
                row = layer * spec.num_directions + direction
                parameters = self._parameters[each * row : each * (row + 1)]
                made = LayerDirection(spec, parameters, rows[row], valid, direction == 1)
                found, states = made.forward(x)
                directions.append(made)
                outputs.append(stacked(found))
                last.append(states)
            self._layers.append(directions)
            x = outputs[0]
            if len(outputs) > 1:
                x = x.cat(*outputs[1:], dim=-1).contiguous().realize()
        states = tuple(stacked(state) for state in zip(*last, strict=True))
        return self._swapped(x), states

    def backward(
        self, dy: Tensor, dstates: States, gradients: str
    ) -> tuple[Tensor, States, list[Tensor]]:
        """Return the gradients of x, of the initial states, and of all parameters."""
        spec, hidden = self._spec, self._spec.hidden_size
        rows = list(zip(*map(steps, dstates), strict=True))
        upstream = self._swapped(dy)
        initial: list[States] = [()] * len(rows)
        weights: list[list[Tensor]] = [[]] * len(rows)
        for layer in reversed(range(spec.num_layers)):
            parts = []
            for direction, made in enumerate(self._layers[layer]):
                row = layer * spec.num_directions + direction
                own = upstream[:, :, direction * hidden : (direction + 1) * hidden]
                dx, initial[row], weights[row] = made.backward(steps(own), rows[row])
                parts.append(dx)
            upstream = functools.reduce(lambda left, right: left + right, parts)
            if layer and self._call.masks is not None:
                upstream = upstream * steps(self._call.masks)[layer - 1]
            upstream = upstream.contiguous().realize()
        states = tuple(stacked(state) for state in zip(*initial, strict=True))
        return self._swapped(upstream), states, [each for row in weights for each in row]


def steps(tensor: Tensor) -> list[Tensor]:
    """Return the parts of a tensor along its first axis.

    The parts are views of memory that need no kernel of their own. A slice that is not realized
    would become a part of the kernel that reads it, so that each timestep would need another
    kernel.

    Kernels of tinygrad read vectors from memory that must be aligned to their size, and crash
    otherwise. A part whose size is no multiple of ``ALIGNMENT`` is therefore padded, and kernels
    read only its beginning.
    """
    count, *shape = tensor.shape
    numbers = math.prod(shape)
    padding = -numbers % (ALIGNMENT // tensor.dtype.itemsize)
    flat = tensor.reshape(count, numbers)
    whole = (flat.pad((None, (0, padding))) if padding else flat).contiguous().realize()
    views = [whole[t].contiguous().realize() for t in range(count)]
    return [view[:numbers].reshape(*shape) for view in views]


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors on a new first axis, joining a few at a time."""
    parts = list(tensors)
    first = parts[0]
    parts = [
        type(first).stack(*parts[start : start + FEW]).contiguous().realize()
        for start in range(0, len(parts), FEW)
    ]
    while len(parts) > 1:
        groups = (parts[start : start + FEW] for start in range(0, len(parts), FEW))
        parts = [group[0].cat(*group[1:], dim=0).contiguous().realize() for group in groups]
    return parts[0]


@functools.cache
def is_clang(command: str) -> bool:
    """Return whether a command is clang."""
    if shutil.which(command) is None:
        return False
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    return "clang" in done.stdout


class Tinygrad(Backend):
    """Loop over time with tinygrad's operators on the CPU."""

    strategy = "tinygrad"
    framework = "tinygrad"
    model = TinygradModel
    summary = "a loop of tinygrad's operators, whose recorded kernels are replayed"
    devices = ("cpu",)
    elsewhere = "tinygrad's kernels are compiled for the CPU here, not for a GPU"
    packages: ClassVar[tuple[Package, ...]] = (TINYGRAD.package,)
    cells = None  # The backend needs nothing but the equations of a cell.

    def tools(self, device: str) -> Availability:
        command = os.environ.get("CC", "clang")
        if is_clang(command):
            return AVAILABLE
        reason = "tinygrad compiles its kernels with clang, which is not installed"
        if command != "clang":
            reason = f"tinygrad compiles its kernels with clang, and CC={command} is not clang"
        return Availability(False, f"{reason}; install it, or set CC to its name", "CC=clang-19")

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.dtype not in ("float32", "float64"):
            text = f"tinygrad is given float32 and float64 only, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        return super().refusal(spec, workload)
