"""Change backends into variants, which are the same models with other inputs or calls.

- ``:forward`` times ``model.forward``, from NumPy arrays to NumPy arrays.
- ``:denormal`` uses a state that has decayed into float32's denormal numbers, on which many
  processors are slow.
- ``:padded``, ``:batches`` and ``:buckets`` take sequences of different lengths in batches.
- ``:int8`` infers after dynamic quantisation by PyTorch, by ONNX Runtime or for the kernels of
  ``fused_cpu``.
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
from lstm_impl.model import (
    NO_RESETS,
    Model,
    TrainingArguments,
    batch_and_timesteps,
    check_lengths,
    check_state,
    make_step_on_inputs,
)
from lstm_impl.proof.comparison import collect_results
from lstm_impl.registry import get_backend
from lstm_impl.spec import Array, FloatArray, LSTMSpec, Refusal, RefusalReason
from lstm_impl.weights import LayerWeights, LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, InputSets, Workload


class VariantModel(Model):
    """Wrap the backend's own model, ``inner``, which does whatever the variant does not change."""

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

    def _forward_and_gradients(
        self, given: TrainingArguments
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        self._refuse_call("training", given.masks, given.optimizer, given.resets)
        return given.train(self.inner)

    def _refuse_call(
        self,
        mode: str,
        masks: npt.ArrayLike | None = None,
        optimizer: str | None = None,
        resets: npt.ArrayLike | None = None,
    ) -> None:
        """Raise UnsupportedError if the variant does not take masks, an optimizer or resets."""
        dropout, rate = 0.0 if masks is None else 0.5, 0.0 if resets is None else 1.0
        self._refuse(Workload(1, 1, mode, dropout=dropout, optimizer=optimizer, reset_rate=rate))


class VariantBackend(Backend):
    """Wrap a backend so that its models become a variant. It describes itself as ``inner`` does.

    Parameters
    ----------
    inner
        The backend.
    variant
        The name of the variant, which follows the colon in the id.
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
                return f"{self.variant} takes only complete sequences"
            if workload.optimizer is not None or workload.dropout:
                return f"{self.variant} is measured without an optimizer and without dropout"
            if workload.reset_rate:
                text = f"{self.variant} is measured on sequences that never start over"
                return RefusalReason(text, Refusal.NO_RESETS)
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
    """Make the variant of this name of the backend with this id."""
    return change(get_backend(backend), variant)


# -- denormal numbers

DENORMAL = 1e-39
"""The size of the numbers in the state. It is in the middle of float32's denormal numbers, which
reach from 1.4e-45 to 1.2e-38."""

FORGET_BIAS = 4.0
"""The bias of the forget gate, which makes the gate 0.982. Over 100 timesteps a state falls to a
sixth of its size, and stays denormal."""

RECURRENT = 0.05
"""The factor of a random recurrent kernel. It is so small that no state grows."""

LOOSE = 0.01
"""The largest relative error of denormal outputs. Denormal numbers near 1e-40 have five digits, and
lose some in the rounding of each step."""


def decaying(weights: LSTMWeights) -> LSTMWeights:
    """Return weights whose state decays slowly. The input kernels stay the same."""

    def cell(of: LayerWeights) -> LayerWeights:
        bias = np.zeros_like(of.bias)
        hidden = len(bias) // 4
        bias[hidden : 2 * hidden] = FORGET_BIAS
        return LayerWeights(of.kernel, RECURRENT * of.recurrent_kernel, bias)

    return LSTMWeights(tuple(tuple(map(cell, layer)) for layer in weights.layers))


class DenormalModel(VariantModel):
    """Time a step whose input is zero, and whose state and gradients are denormal."""

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        self._refuse(workload)
        inputs = self.inputs(workload, seed)
        step = make_step_on_inputs(self.inner, inputs, workload.mode, workload.gradients)
        # The gate judges the model instead, because denormal numbers have too few digits for its
        # bounds.
        return replace(step, results=None, place_results=None, overwritten=None)

    def inputs(self, workload: Workload, seed: int = 0) -> Inputs:
        """Make zero inputs, and output gradients as small as the state, so that both decay."""
        rng = np.random.default_rng(seed)
        silent = workload.inputs(self.spec, seed)

        def small(like: FloatArray) -> FloatArray:
            return (DENORMAL * rng.uniform(0.5, 1.5, like.shape)).astype(np.float32)

        state = LSTMState(small(silent.state.h), small(silent.state.c))
        return replace(silent, x=np.zeros_like(silent.x), dy=small(silent.dy), state=state)

    def evidence(self, workload: Workload) -> Mapping[str, Any]:
        """Add whether the backend keeps denormal outputs or flushes them to zero.

        Raises
        ------
        ArithmeticError
            If the outputs are neither those of the reference nor zero.
        """
        given = self.inputs(workload)
        ours, _ = self.inner.forward(self._swapped(given.x), given.state, given.lengths)
        theirs, _ = reference.forward(
            self.spec, self.get_weights(), given.x, given.state, given.lengths
        )
        off = np.abs(self._swapped(ours).astype(np.float64) - theirs)
        kept = bool(ours.any())
        if kept and off.max() > LOOSE * np.abs(theirs).max():
            raise ArithmeticError(
                "the denormal outputs are wrong; expected those of the reference, or zeros"
            )
        made = "kept" if kept else "flushed to zero"
        return {**super().evidence(workload), "denormals": made}


class DenormalBackend(VariantBackend):
    """Give a backend a denormal state, and weights with which the state decays slowly."""

    variant_model = DenormalModel

    def cell_refusal(self, spec: LSTMSpec) -> str:
        if spec.cell != DEFAULT:
            text = f"the state decays by the forget gate of an lstm, which {spec.cell.name} has not"
            return RefusalReason(text, Refusal.NO_CELL)
        return super().cell_refusal(spec)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if reason := self.cell_refusal(spec):
            return reason
        if spec.dtype != "float32" or spec.num_layers > 1 or spec.bidirectional:
            return "the state decays only in one layer in one direction, in float32"
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
    """Time ``forward``, from NumPy arrays to NumPy arrays."""

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
    """Time the call that a user of this library makes."""

    variant_model = ForwardModel

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None and workload.training:
            text = "forward only infers; it computes no gradients"
            return RefusalReason(text, Refusal.NO_GRADIENTS)
        return super().refusal(spec, workload)


# -- batches of sequences with different lengths

BATCH = 16
"""The number of sequences in a batch."""

BUCKETS = 4
"""The number of buckets, which have equally many sequences."""


@dataclass(frozen=True)
class Batch:
    """Hold a bucket: the indices of its sequences in the workload, and their padded length."""

    timesteps: int
    rows: npt.NDArray[np.intp]

    def of(self, inputs: Inputs) -> Inputs:
        """Return the inputs of these sequences."""
        part, rows = slice(0, self.timesteps), self.rows
        state = inputs.state.map(lambda array: array[:, rows])
        lengths = None if inputs.lengths is None else inputs.lengths[rows]
        return Inputs(inputs.x[part, rows], inputs.dy[part, rows], state, lengths, None)


def batches(policy: str, lengths: npt.NDArray[np.integer]) -> list[Batch]:
    """Divide sequences into batches, and pad each batch to the length that the policy requires.

    A batch is padded to the longest sequence of all (``padded``), of the batch (``batches``), or of
    a bucket (``buckets``). Sequences arrive in a random order, which is the same for all policies.
    Buckets hold sequences of similar lengths. If the same lengths are given in another order, the
    batches have the same lengths in the same order. Otherwise each call would have arrays of new
    shapes, for which some backends would have to compile.
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
    """Merge the results of batches. The gradients of weights are added."""
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
    """Time a step over all batches of a workload, one after the other."""

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
                make_step_on_inputs(self.inner, part.of(inputs), workload.mode, workload.gradients)
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
            # The next inputs have other lengths, and therefore other batches.
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
        found = self._compute_in_batches(x, None, state, None, lengths)
        return self._swapped(found["y"]), self._collect_state(found)

    def _forward_and_gradients(
        self, given: TrainingArguments
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        self._refuse_call("training", given.masks, given.optimizer, given.resets)
        found = self._compute_in_batches(*given[:5], given.of)
        names = self.get_weights().names()
        gradients = LSTMGradients(
            self._swapped(found["dx"]) if "dx" in found else None,
            LSTMWeights.from_arrays(self.spec, [found[f"d{name}"] for name in names]),
            self._collect_state(found, "d") if "dh" in found else None,
        )
        return self._swapped(found["y"]), self._collect_state(found), gradients

    def _collect_state(self, results: Results, prefix: str = "") -> LSTMState:
        """Return the states among results, or with the prefix ``d`` their gradients."""
        cell = self.spec.cell
        made: LSTMState = cell.state_type(*(results[prefix + name] for name in cell.states))
        return made

    def _compute_in_batches(
        self,
        x: npt.ArrayLike,
        dy: npt.ArrayLike | None,
        state: LSTMState | None,
        dstate: LSTMState | None,
        lengths: npt.ArrayLike | None,
        of: str = "all",
    ) -> Results:
        """Compute the batches one by one, and return the merged results by name.

        ``dy`` is None in inference. ``of`` says what is differentiated.
        """
        batch, timesteps = batch_and_timesteps(np.shape(x), self.batch_major)
        swap = self._swapped
        inputs = Inputs(
            swap(np.asarray(x)),
            swap(np.asarray(x if dy is None else dy)),
            check_state(self.spec, "state", state, batch),
            check_lengths(lengths, batch, timesteps),
            None,
        )
        back = replace(inputs, state=check_state(self.spec, "dstate", dstate, batch))
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
    """Compute a workload's sequences in batches, which the variant's name says how to pad."""

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
        text = f"in int8 it computes the cell {names} only, not {spec.cell.name}"
        return RefusalReason(text, Refusal.NO_CELL)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        """Return why the backend cannot compute a network, or an empty string."""
        if reason := self.cell_refusal(spec):
            return reason
        if spec.dtype != "float32":
            text = f"only float32 weights can be rounded to int8, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        if workload is None:
            return ""
        if workload.training or workload.dropout:
            text = "a quantised network only infers, without dropout; it computes no gradients"
            return RefusalReason(text, Refusal.NO_GRADIENTS)
        if workload.reset_rate and not self.takes_resets:
            return NO_RESETS
        if workload.window is not None or workload.streaming:
            return "the error of a quantised network is known for complete sequences only"
        return ""


class TorchInt8Model(TorchLSTMModel):
    """Run a module of ``torch.ao.quantization.quantize_dynamic``, made when weights are set."""

    def _set_weights(self, weights: LSTMWeights) -> None:
        super()._set_weights(weights)
        self.module = self._quantised()

    def _quantised(self) -> Any:
        torch = self._torch
        module = self._new_module(self.spec.input_size, self.spec.num_layers)
        # ``parameters`` keeps the float32 parameters. The module's own are copies of them.
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
    """Run graphs with ``DynamicQuantizeLSTM``, which ONNX Runtime's ``quantize_dynamic`` makes."""

    def graph(self, lengths: bool = False, masks: bool = False) -> bytes:
        """Serialise the ONNX model with quantised LSTM operators."""
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
    """Keep int8 weights with a scale for each column, packed for the kernels."""

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
"""What the summaries of quantised backends add."""


class TorchInt8(Int8Backend, Torch):
    """Quantise PyTorch's LSTM."""

    strategy = "torch:int8"
    summary = f"{Torch.summary}, {QUANTISED}"
    model = TorchInt8Model


class OnnxRuntimeInt8(Int8Backend, OnnxRuntime):
    """Quantise ONNX Runtime's LSTM operator."""

    strategy = "onnxruntime:int8"
    summary = f"{OnnxRuntime.summary}, {QUANTISED}"
    model = OnnxRuntimeInt8Model


class NumPyFusedInt8(Int8Backend, NumPyFused):
    """Quantise the weights of ``fused_cpu``'s kernels."""

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
    """Return the quantised backend of the same runtime as the float32 backend with this id."""
    return _INT8[backend]()
