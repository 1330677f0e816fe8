"""Variants of backends: the same models, given other inputs, batches of them, or int8 weights.

``:forward`` times ``model.forward``, NumPy's arrays in and out; ``:denormal`` a state that has
decayed into float32's denormal numbers, where many processors are slow; ``:padded``, ``:batches``
and ``:buckets`` sequences of different lengths in batches; ``:int8`` inference after dynamic
quantisation, by PyTorch, ONNX Runtime or the kernels of ``fused_cpu``.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lstm_impl import reference
from lstm_impl.availability import Availability
from lstm_impl.backend import Backend
from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.backends.onnx.runtime import OnnxRuntime, OnnxRuntimeModel
from lstm_impl.backends.others.numpy_fused import NumPyFused, NumPyFusedModel
from lstm_impl.backends.torch.lstm import Torch, TorchLSTMModel, trained_parameters
from lstm_impl.call import (
    Call,
    Outputs,
    RawGradients,
    Request,
    Results,
    Step,
    Tensor,
    Upstream,
)
from lstm_impl.cell import DEFAULT
from lstm_impl.evidence import Profile
from lstm_impl.model import Model, batch_and_timesteps, checked_lengths, checked_state, given_step
from lstm_impl.proof.comparison import collect_results
from lstm_impl.registry import get_backend
from lstm_impl.spec import Array, FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, InputSets, Workload


class VariantModel(Model):
    """A model that wraps the backend's own, ``inner``, which does what the variant leaves alone."""

    def __init__(self, backend: VariantBackend, inner: Model) -> None:
        self.inner = inner
        self.steps_return_loss = inner.steps_return_loss
        super().__init__(backend, inner.spec, inner.device, inner.batch_major, inner.given_weights)

    @property
    def given_weights(self) -> LSTMWeights | None:
        """The user's weights, by which results are judged."""
        return self.inner.given_weights

    @given_weights.setter
    def given_weights(self, weights: LSTMWeights | None) -> None:
        self.inner.given_weights = weights

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        return self.inner._to_device(array)

    def _lend(self, array: FloatArray) -> Tensor:
        return self.inner._lend(array)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        return self.inner._to_host(tensor)

    def _infer(self, call: Call) -> Outputs:
        return self.inner._infer(call)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        return self.inner._train(gradients, call, upstream)

    def _host_weights(self, raw: Any, gradient: bool = True) -> LSTMWeights:
        return self.inner._host_weights(raw, gradient)

    def _host_results(self, raw: Outputs | RawGradients) -> Results:
        return self.inner._host_results(raw)

    def get_weights(self) -> LSTMWeights:
        return self.inner.get_weights()

    def _set_weights(self, weights: LSTMWeights) -> None:
        self.inner._set_weights(weights)

    def synchronize(self) -> None:
        self.inner.synchronize()

    def _trace_ahead(self, request: Request) -> None:
        self.inner._trace_ahead(request)

    def evidence(self, workload: Workload) -> Mapping[str, Any]:
        return self.inner.evidence(workload)

    def _profiled(self, workload: Workload) -> Profile:
        return self.inner._profiled(workload)

    def forward(
        self,
        x: npt.ArrayLike,
        state: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_to: str = "zeros",
    ) -> tuple[FloatArray, LSTMState]:
        self._refuse_call("inference", masks, resets=resets)
        how: Any = {"resets": resets, "reset_to": reset_to}
        return self.inner.forward(x, state, lengths, masks=masks, **how)

    def forward_and_gradients(
        self,
        x: npt.ArrayLike,
        dy: npt.ArrayLike,
        state: LSTMState | None = None,
        dstate: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_to: str = "zeros",
        optimizer: str | None = None,
        of: str = "all",
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        self._refuse_call("training", masks, optimizer, resets)
        given = x, dy, state, dstate, lengths
        more: Any = {"resets": resets, "reset_to": reset_to, "optimizer": optimizer, "of": of}
        return self.inner.forward_and_gradients(*given, masks=masks, **more)

    def _refuse_call(
        self,
        mode: str,
        masks: npt.ArrayLike | None = None,
        optimizer: str | None = None,
        resets: npt.ArrayLike | None = None,
    ) -> None:
        """Raise UnsupportedError if the variant refuses masks, an optimizer or resets."""
        dropout, rate = 0.0 if masks is None else 0.5, 0.0 if resets is None else 1.0
        self._refuse(Workload(1, 1, mode, dropout=dropout, optimizer=optimizer, reset_rate=rate))


class VariantBackend(Backend):
    """A backend whose models wrap those of ``inner``. It says of itself what ``inner`` says.

    variant: what follows the colon in its name.
    """

    variant_model: ClassVar[type[VariantModel]]

    def __init__(self, inner: Backend, variant: str) -> None:
        self.inner = inner
        self.variant = variant
        described = {name: getattr(inner, name) for name in Backend.__annotations__}
        vars(self).update(described, options=inner.options, number=inner.number)

    @property
    def name(self) -> str:
        return f"{self.inner.name}:{self.variant}"

    @property
    def hides_nan(self) -> bool:
        return self.inner.hides_nan

    def availability(self, device: str = "cpu") -> Availability:
        return self.inner.availability(device)

    def use_threads(self, count: int) -> None:
        self.inner.use_threads(count)
        vars(self)["threads"] = self.inner.threads

    def cell_refusal(self, spec: LSTMSpec) -> str:
        return self.inner.cell_refusal(spec)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None:
            if workload.streaming or workload.window is not None:
                return f"{self.variant} takes complete sequences"
            if workload.optimizer is not None or workload.dropout:
                return f"{self.variant} is measured without an optimizer and without dropout"
            if workload.reset_rate:
                return f"{self.variant} is measured on sequences that never start over"
        return self.inner.refusal(spec, workload)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        return self.inner.missing_evidence(evidence, device)

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        return self.inner.pack(spec, weights)

    def unpack(
        self, spec: LSTMSpec, arrays: Sequence[FloatArray], gradient: bool = False
    ) -> LSTMWeights:
        return self.inner.unpack(spec, arrays, gradient)

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        inner = self.inner._build(spec, weights, device, batch_major)
        return self.variant_model(self, inner)


def make_variant(change: type[VariantBackend], variant: str, backend: str) -> Backend:
    """Make a variant of this name of the backend with this id."""
    return change(get_backend(backend), variant)


# -- denormal numbers

DENORMAL = 1e-39
"""Size of the state: in the middle of float32's denormal numbers, 1.4e-45 to 1.2e-38."""

FORGET_BIAS = 4.0
"""A forget gate of 0.982: over 100 timesteps a state falls to a sixth, and stays denormal."""

RECURRENT = 0.05
"""Factor of a random recurrent kernel, so small that no state grows."""

LOOSE = 0.01
"""Relative error allowed: denormal numbers near 1e-40 have five digits, less rounding in each
step."""


def decaying(weights: LSTMWeights) -> LSTMWeights:
    """Return weights with the same input kernels whose state decays slowly without an input."""

    def cell(of: LayerWeights) -> LayerWeights:
        bias = np.zeros_like(of.bias)
        hidden = len(bias) // 4
        bias[hidden : 2 * hidden] = FORGET_BIAS
        return LayerWeights(of.kernel, RECURRENT * of.recurrent_kernel, bias)

    return LSTMWeights(tuple(tuple(map(cell, layer)) for layer in weights.layers))


class DenormalModel(VariantModel):
    """A model whose step has a zero input, and a denormal state and gradients."""

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        self._refuse(workload)
        inputs = self.inputs(workload, seed)
        step = given_step(self.inner, inputs, workload.mode, workload.gradients)
        # The gate judges the model: denormal numbers have too few digits for its bounds.
        return replace(step, results=None, place_results=None, overwritten=None)

    def inputs(self, workload: Workload, seed: int = 0) -> Inputs:
        """Make a zero input, and output gradients as small as the state, so that both decay."""
        rng = np.random.default_rng(seed)
        silent = workload.inputs(self.spec, seed)

        def small(like: FloatArray) -> FloatArray:
            return (DENORMAL * rng.uniform(0.5, 1.5, like.shape)).astype(np.float32)

        state = LSTMState(small(silent.state.h), small(silent.state.c))
        return replace(silent, x=np.zeros_like(silent.x), dy=small(silent.dy), state=state)

    def evidence(self, workload: Workload) -> Mapping[str, Any]:
        """Add whether the backend keeps denormal outputs or flushes them to zero.

        Raises ArithmeticError if they are neither the reference's nor zero.
        """
        given = self.inputs(workload)
        ours, _ = self.inner.forward(self._swapped(given.x), given.state, given.lengths)
        theirs, _ = reference.forward(
            self.spec, self.get_weights(), given.x, given.state, given.lengths
        )
        off = np.abs(self._swapped(ours).astype(np.float64) - theirs)
        kept = bool(ours.any())
        if kept and off.max() > LOOSE * np.abs(theirs).max():
            raise ArithmeticError("its denormal outputs are neither the reference's nor zero")
        made = "kept" if kept else "flushed to zero"
        return {**super().evidence(workload), "denormals": made}


class DenormalBackend(VariantBackend):
    """The backend with a denormal state and weights with which it decays slowly."""

    variant_model = DenormalModel

    def cell_refusal(self, spec: LSTMSpec) -> str:
        if spec.cell != DEFAULT:
            return f"the state decays by the forget gate of an lstm, not in a {spec.cell.name}"
        return super().cell_refusal(spec)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if reason := self.cell_refusal(spec):
            return reason
        if spec.dtype != "float32" or spec.num_layers > 1 or spec.bidirectional:
            return "the state decays in one layer in one direction, in float32"
        return super().refusal(spec, workload)

    def build(
        self,
        spec: LSTMSpec,
        weights: LSTMWeights,
        device: str = "cpu",
        *,
        batch_major: bool = False,
    ) -> Model:
        return super().build(spec, decaying(weights), device, batch_major=batch_major)


# -- the call of a user


class ForwardModel(VariantModel):
    """A model whose step is ``forward``, from NumPy's arrays to NumPy's arrays."""

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        self._refuse(workload)
        step, sets = self.inner.prepare(workload, seed), InputSets(self.spec, workload, seed)
        placed: list[tuple[FloatArray, LSTMState, Any]] = []
        turns: list[Iterator[tuple[FloatArray, LSTMState, Any]]] = []

        def place(given: Iterable[Inputs]) -> None:
            placed[:] = [
                (np.ascontiguousarray(self._swapped(each.x)), each.state, each.lengths)
                for each in given
            ]
            turns[:] = [itertools.cycle(placed)]

        def overwritten(inputs: Inputs, position: int) -> list[str]:
            x, state, lengths = placed[position]
            pairs: dict[str, tuple[Array, Array]] = {
                "x": (x, self._swapped(inputs.x)),
            }
            states = zip(self.spec.cell.states, state, inputs.state, strict=True)
            pairs |= {f"{name}0": (now, then) for name, now, then in states}
            if inputs.lengths is not None:
                pairs["lengths"] = lengths, inputs.lengths
            return [name for name, (now, then) in pairs.items() if not np.array_equal(now, then)]

        def run() -> Outputs:
            y, state = self.inner.forward(*next(turns[0]))
            return Outputs(y, tuple(state))

        def results(found: Outputs) -> Results:
            states = dict(zip(self.spec.cell.states, found.states, strict=True))
            return {"y": self._swapped(found.y), **states}

        def use(numbers: Sequence[int]) -> None:
            place(map(sets, numbers))

        place([sets.first])
        return replace(
            step, run=run, use=use, results=results, place=place, overwritten=overwritten
        )


class ForwardBackend(VariantBackend):
    """The backend by the call that a user of this library makes."""

    variant_model = ForwardModel

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None and workload.training:
            return "forward only infers"
        return super().refusal(spec, workload)


# -- batches of sequences whose lengths differ

BATCH = 16
"""Sequences of a batch."""

BUCKETS = 4
"""Buckets of as many sequences each."""


@dataclass(frozen=True)
class Batch:
    """The indices of some sequences of a workload, and the timesteps to which they are padded."""

    timesteps: int
    rows: npt.NDArray[np.intp]

    def of(self, inputs: Inputs) -> Inputs:
        """Return these sequences' inputs."""
        part, rows = slice(0, self.timesteps), self.rows
        state = inputs.state.map(lambda array: array[:, rows])
        lengths = None if inputs.lengths is None else inputs.lengths[rows]
        return Inputs(inputs.x[part, rows], inputs.dy[part, rows], state, lengths, None)


def batches(policy: str, lengths: npt.NDArray[np.integer]) -> list[Batch]:
    """Put sequences into batches, padded to the longest of all, of each batch, or of a bucket.

    They arrive in a random order, the same for each policy; buckets have similar lengths. If the
    same lengths are given in another order, the batches have the same lengths in the same order:
    arrays of a new shape in each call would have to be compiled.
    """
    ranked = np.argsort(-lengths, kind="stable")
    arrived = ranked[np.random.default_rng(0).permutation(len(lengths))]
    groups = [arrived]
    if policy == "buckets":
        groups = np.array_split(arrived[np.argsort(lengths[arrived], kind="stable")], BUCKETS)
    found = []
    for group in groups:
        for start in range(0, len(group), BATCH):
            rows = group[start : start + BATCH]
            longest = lengths[rows if policy == "batches" else group].max()
            found.append(Batch(int(longest), rows))
    return found


def merged(parts: Sequence[Batch], results: Sequence[Results], timesteps: int) -> Results:
    """Merge the results of batches; gradients of weights are summed."""
    complete: dict[str, FloatArray] = {}
    total = sum(len(part.rows) for part in parts)
    for name, first in results[0].items():
        arrays = [each[name] for each in results]
        if name not in ("y", "dx", "h", "c", "dh", "dc"):
            complete[name] = np.sum(arrays, axis=0)
            continue
        steps = timesteps if name in ("y", "dx") else len(first)
        complete[name] = np.zeros((steps, total, first.shape[2]), first.dtype)
        for part, array in zip(parts, arrays, strict=True):
            complete[name][: len(array), part.rows] = array
    return complete


class BatchedModel(VariantModel):
    """A model whose step works on all batches of a workload, one after the other."""

    backend: VariantBackend

    def _parts(self, inputs: Inputs) -> list[Batch]:
        timesteps, batch = inputs.x.shape[:2]
        lengths = np.full(batch, timesteps) if inputs.lengths is None else inputs.lengths
        return batches(self.backend.variant, lengths)

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        self._refuse(workload)
        sets = InputSets(self.spec, workload, seed)
        parts: list[Batch] = []
        steps: list[Step] = []

        def place(given: Iterable[Inputs]) -> None:
            nonlocal parts
            (inputs,) = given
            parts = self._parts(inputs)
            steps[:] = [
                given_step(self.inner, part.of(inputs), workload.mode, workload.gradients)
                for part in parts
            ]

        def overwritten(inputs: Inputs, position: int) -> list[str]:
            found: dict[str, None] = {}
            for part, step in zip(parts, steps, strict=True):
                assert step.overwritten is not None
                found |= dict.fromkeys(step.overwritten(part.of(inputs), position))
            return [*found]

        def use(numbers: Sequence[int]) -> None:
            place(map(sets, numbers))

        def run() -> tuple[list[Batch], list[Any]]:
            # The next inputs have other lengths, and so other batches.
            return parts, [step.run() for step in steps]

        def results(raw: tuple[list[Batch], list[Any]]) -> Results:
            batches, outputs = raw
            found = [self._host_results(each) for each in outputs]
            return merged(batches, found, workload.timesteps)

        def trace() -> None:
            for step in steps:
                step.trace()

        place([sets.first])
        return Step(
            run,
            self.synchronize,
            trace,
            use,
            results,
            place_results=self._place_results,
            place=place,
            overwritten=overwritten,
        )

    def forward(
        self,
        x: npt.ArrayLike,
        state: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_to: str = "zeros",
    ) -> tuple[FloatArray, LSTMState]:
        self._refuse_call("inference", masks, resets=resets)
        found = self._in_batches(x, None, state, None, lengths)
        return self._swapped(found["y"]), self._collect_state(found)

    def forward_and_gradients(
        self,
        x: npt.ArrayLike,
        dy: npt.ArrayLike,
        state: LSTMState | None = None,
        dstate: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_to: str = "zeros",
        optimizer: str | None = None,
        of: str = "all",
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        self._refuse_call("training", masks, optimizer, resets)
        found = self._in_batches(x, dy, state, dstate, lengths, of)
        names = self.get_weights().names()
        gradients = LSTMGradients(
            self._swapped(found["dx"]) if "dx" in found else None,
            LSTMWeights.from_arrays(self.spec, [found[f"d{name}"] for name in names]),
            self._collect_state(found, "d") if "dh" in found else None,
        )
        return self._swapped(found["y"]), self._collect_state(found), gradients

    def _collect_state(self, results: Results, prefix: str = "") -> LSTMState:
        """Return the states among results; with the prefix ``d`` their gradients."""
        cell = self.spec.cell
        made: LSTMState = cell.state_type(*(results[prefix + name] for name in cell.states))
        return made

    def _in_batches(
        self,
        x: npt.ArrayLike,
        dy: npt.ArrayLike | None,
        state: LSTMState | None,
        dstate: LSTMState | None,
        lengths: npt.ArrayLike | None,
        of: str = "all",
    ) -> Results:
        """Return the results by name; dy: None in inference; of: what is differentiated."""
        batch, timesteps = batch_and_timesteps(np.shape(x), self.batch_major)
        swap = self._swapped
        inputs = Inputs(
            swap(np.asarray(x)),
            swap(np.asarray(x if dy is None else dy)),
            checked_state(self.spec, "state", state, batch),
            checked_lengths(lengths, batch, timesteps),
            None,
        )
        back = replace(inputs, state=checked_state(self.spec, "dstate", dstate, batch))
        parts, found = self._parts(inputs), []
        for part in parts:
            given, gradients = part.of(inputs), None
            if dy is None:
                y, final = self.inner.forward(swap(given.x), given.state, given.lengths)
            else:
                flowing = part.of(back).state
                y, final, gradients = self.inner.forward_and_gradients(
                    swap(given.x), swap(given.dy), given.state, flowing, given.lengths, of=of
                )
            results = collect_results(swap(y), final, gradients)
            if "dx" in results:
                results["dx"] = swap(results["dx"])
            found.append(results)
        return merged(parts, found, timesteps)


class BatchedBackend(VariantBackend):
    """The backend on a workload's sequences in batches; the variant says how they are padded."""

    variant_model = BatchedModel


forward = functools.partial(make_variant, ForwardBackend, "forward")
denormal = functools.partial(make_variant, DenormalBackend, "denormal")
padded = functools.partial(make_variant, BatchedBackend, "padded")
batched = functools.partial(make_variant, BatchedBackend, "batches")
buckets = functools.partial(make_variant, BatchedBackend, "buckets")


# -- dynamic quantisation to int8


class Int8Backend(Backend):
    """Share what quantised backends have in common.

    quantised_cells: the names of the cells that it computes in int8.
    """

    devices = ("cpu",)
    approximate = True
    quantised_cells: ClassVar[tuple[str, ...]] = (DEFAULT.name,)

    def cell_refusal(self, spec: LSTMSpec) -> str:
        if spec.cell.name in self.quantised_cells:
            return ""
        names = ", ".join(self.quantised_cells)
        return f"in int8 it computes the cell {names} only, not {spec.cell.name}"

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        """Why it cannot compute ``spec`` (on ``workload``), or an empty string."""
        if reason := self.cell_refusal(spec):
            return reason
        if spec.dtype != "float32":
            return f"float32 weights are rounded to int8, not {spec.dtype}"
        if workload is None:
            return ""
        if workload.training or workload.dropout:
            return "a quantised network only infers, without dropout"
        if workload.window is not None or workload.streaming:
            return "the error of a quantised network is known for complete sequences only"
        return ""


class TorchInt8Model(TorchLSTMModel):
    """``torch.ao.quantization.quantize_dynamic``'s module, with the weights at that time."""

    def _set_weights(self, weights: LSTMWeights) -> None:
        super()._set_weights(weights)
        self.module = self._quantised()

    def _quantised(self) -> Any:
        torch = self._torch
        module = self._new_module(self.spec.input_size, self.spec.num_layers)
        # The float32 parameters are kept in ``parameters``; the module's own are copied from them.
        with torch.no_grad():
            for ours, kept in zip(trained_parameters(module), self.parameters, strict=True):
                ours.copy_(kept)
        with warnings.catch_warnings():
            # PyTorch announces that these functions move to a package of their own.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="torch.ao")
            model = torch.nn.Sequential(module)
            made = torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM}, torch.qint8)
        return made[0]


class OnnxRuntimeInt8Model(OnnxRuntimeModel):
    """Sessions of graphs with ``DynamicQuantizeLSTM``, by ONNX Runtime's ``quantize_dynamic``."""

    def graph(self, lengths: bool = False, masks: bool = False) -> bytes:
        """Serialise the ONNX model with its LSTM operators quantised."""
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "int8.onnx"
            quantize_dynamic(
                onnx.load_from_string(super().graph(lengths, masks)),
                place,
                op_types_to_quantize=["LSTM"],
                per_channel=True,
                weight_type=QuantType.QInt8,
            )
            return place.read_bytes()


class NumPyFusedInt8Model(NumPyFusedModel):
    """Weights in int8, a scale for each column, packed for the kernels."""

    kernel_type = c_interface.TYPES["int8"]

    def _set_weights(self, weights: LSTMWeights) -> None:
        super()._set_weights(weights)
        self._packed = []
        for row, addresses in enumerate(self._addresses):
            inputs, _ = self._arrays[self._parameters * row].shape
            sizes = 1, 1, inputs, self.spec.hidden_size
            layer = c_interface.KernelLayer(*sizes, type=self.kernel_type, cell=self._cell)
            packed = self._kernels.pack(layer, *addresses)
            self._packed.append(packed)
            self._addresses[row] = packed.ctypes.data, *[0] * (self._parameters - 1)


QUANTISED = "dynamically quantised to int8"


class TorchInt8(Int8Backend, Torch):
    """PyTorch's LSTM, quantised."""

    strategy = "torch:int8"
    summary = f"{Torch.summary}, {QUANTISED}"
    model = TorchInt8Model


class OnnxRuntimeInt8(Int8Backend, OnnxRuntime):
    """ONNX Runtime's LSTM operator, quantised."""

    strategy = "onnxruntime:int8"
    summary = f"{OnnxRuntime.summary}, {QUANTISED}"
    model = OnnxRuntimeInt8Model


class NumPyFusedInt8(Int8Backend, NumPyFused):
    """The kernels of ``fused_cpu``, with int8 weights."""

    strategy = "numpy_fused:int8"
    summary = f"{NumPyFused.summary}, {QUANTISED}"
    model = NumPyFusedInt8Model
    quantised_cells = tuple(c_interface.CELLS)


_INT8: Mapping[str, type[Int8Backend]] = {
    "torch": TorchInt8,
    "onnxruntime": OnnxRuntimeInt8,
    "numpy_fused": NumPyFusedInt8,
}


def int8(backend: str) -> Backend:
    """The quantised backend of the same runtime as the float32 backend with this id."""
    return _INT8[backend]()
