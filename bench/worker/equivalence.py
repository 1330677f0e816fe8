"""Pass a backend through the gate: time it only after it computes what the reference computes.

``lstm_impl.proof`` compares, and ``docs/equivalence.md`` derives the bounds. This module chooses
the judge and caches its answers. It also judges what a step computed in timed calls.
"""

import contextlib
import functools
import hashlib
import io
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine.writing import ResultWriteError, write_bytes
from bench.worker import timing
from bench.worker.kept_results import (
    FEWEST_KEPT,
    SLOT_NUMBERS,
    SLOTS,
    JudgedCalls,
    Selection,
    by_sequence,
)
from lstm_impl import proof
from lstm_impl.backend import Backend
from lstm_impl.call import Results
from lstm_impl.model import Model
from lstm_impl.optimizer import LEARNING_RATE, NumPyOptimizer
from lstm_impl.proof import GateResult, Judge, comparison, make_numpy_judge, select_judged_parts
from lstm_impl.proof.check import select_state
from lstm_impl.proof.networks import SEVERAL
from lstm_impl.registry import get_backend
from lstm_impl.spec import FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, InputSets, Workload

REFERENCE_OPERATIONS = 2e11
"""The NumPy reference computes at most this many operations.

At 45 Gflop/s on two cores, more take over 5 s.
"""

REFERENCE_BYTES = 2 * 2**30
"""The NumPy reference keeps every gate and state, and may take at most this many bytes.

A framework judges larger cases.
"""

SEQUENCE_OPERATIONS = 1e10
"""The operations that the reference may spend on the sequences kept from timed calls: 0.25 s, once
for each group and session.

All slots together then have about as many sequences as one call.
"""

SEQUENCE_BYTES = 2**28
"""The bytes that the reference may take for these sequences."""

COMPLETE_OPERATIONS, STEP_OPERATIONS = 8e10, 4e6
"""The operations that the reference may spend on completely kept results: 2 s. A timestep of a
small network takes some 100 us in Python, a time in which a large product does ``STEP_OPERATIONS``.
"""

COMPLETE_BYTES = 2**26
"""The bytes of the results that are kept completely of one step."""

JUDGES = ("while_loop+hoisted", "torch", "jax_scan")
"""The float64 backends that may judge large cases.

The first one that is available on the CPU does.
"""

UPDATE_ALLOWANCE = 20 * LEARNING_RATE
"""The error that updates of the weights may add.

For a gradient near zero, Adam moves a weight by the learning rate in the direction of a sign that
rounding decides.
"""

MOST_UPDATE_ERROR = 0.25
"""The largest accepted relative error (root mean square) of the updates of timed steps, provided
that rounding explains it.

If the update is not made at all, the error is 1.
"""


def gate(model: Model, workload: Workload, seed: int = 0, judge: Judge | None = None) -> GateResult:
    """Call ``lstm_impl.proof.gate`` with the judge for this size, unless one is given.

    Raises UnsupportedError for a backend that declares to take or return less than others.
    ``lstm_impl.check`` leaves out what such a backend does not have. Here, it would get a time for
    less work.
    """
    backend = model.backend
    if not backend.takes_state or backend.returned is not None:
        raise UnsupportedError(
            f"{backend.name} takes no initial state or does not return all results, so it gets no "
            "time; lstm_impl.check can judge what it does return"
        )
    at_once = _judged_at_once(workload) if workload.streaming else workload
    judge = judge or choose_judge(model.spec, at_once)
    return proof.gate(model, workload, seed, _with_cache(judge, model.spec))


def select_results(spec: LSTMSpec, workload: Workload, judged: int) -> Selection:
    """Return which results of timed calls to keep, so that judging them takes little time.

    judged: the seed of the sets of inputs whose results are judged.
    """
    operations = 2.0 * spec.parameter_count * workload.timesteps * (3 if workload.training else 1)
    features = _features(spec)
    # The number of sequences, over all slots, that may be computed together.
    held = 8 * workload.timesteps * features
    most = min(SEQUENCE_OPERATIONS / operations, SEQUENCE_BYTES / held)
    each = timing.CONSECUTIVE if workload.streaming else 1
    slots = int(min(SLOTS, max(FEWEST_KEPT, most / each)))
    rows = int(min(workload.batch, max(1, most / (each * slots))))
    complete = 0
    if workload.training:  # The gradients of the weights depend on all sequences together.
        steps = workload.timesteps * spec.state_layers * STEP_OPERATIONS
        width = spec.input_size + spec.output_size
        size = 4 * (spec.parameter_count + workload.batch * workload.timesteps * width)
        complete = int(
            min(
                slots,
                COMPLETE_OPERATIONS / (workload.batch * operations + steps),
                COMPLETE_BYTES / size,
            )
        )
        complete = max(1, complete)
    if workload.optimizer is not None and workload.window is not None:
        # The results come from the last window, whose weights all sequences have updated.
        slots = complete
    return Selection(slots, complete, workload.batch, rows, judged)


def gate_timed(
    model: Model,
    workload: Workload,
    seed: int,
    last: JudgedCalls,
    kept: Sequence[JudgedCalls] = (),
    judge: Judge | None = None,
) -> GateResult:
    """Compare the results of timed calls with the reference.

    seed: the seed of the sets of inputs whose results are judged. last: the calls after the blocks.
    With windows, each result is that of the last window with the final state. With a stream, the
    first call leaves the state for the others. With an optimizer, the calls are the first after
    ``Step.restart``, and the model has the weights that they left. kept: results of calls in blocks
    and between them, as ``select_results`` selects them.
    """
    timed = _Timed(model, workload, seed, judge)
    if workload.streaming:
        return timed.judge_stream([*kept, last])
    timed.judge_last(last)
    timed.judge_kept(kept)
    return timed.result()


class _Timed:
    """Judges the results of a model's timed calls and keeps the errors and bounds found so far."""

    def __init__(self, model: Model, workload: Workload, seed: int, judge: Judge | None) -> None:
        self.model = model
        self.workload = workload
        self.spec = model.spec
        self.weights = model.given_weights or model.get_weights()
        self.judge = judge or choose_judge(model.spec, workload)
        self.selection = select_results(model.spec, workload, seed)
        self.sets = InputSets(model.spec, workload, seed)
        self.errors: dict[str, float] = {}
        self.bounds: dict[str, float] = {}
        self._facts = hashlib.sha256(f"{self.judge.name} {self.spec} {workload} {seed}".encode())
        for array in self.weights.arrays():
            self._facts.update(np.ascontiguousarray(array).tobytes())

    def result(self) -> GateResult:
        return GateResult.of(self.judge, self.errors, self.bounds)

    def keep(self, found: Mapping[str, float], allowed: Mapping[str, float]) -> None:
        comparison.keep_worst(self.errors, self.bounds, found, allowed)

    def answer(
        self, what: object, ask: Callable[[], dict[str, FloatArray]]
    ) -> dict[str, FloatArray]:
        """Return an answer of the judge that depends only on the case and on ``what``."""
        digest = self._facts.copy()
        digest.update(repr(what).encode())
        return _find_answer(digest.hexdigest(), ask)

    def expected(self, numbers: Sequence[int]) -> dict[str, FloatArray]:
        """Return what consecutive calls compute, in the form of ``_expected_results``."""
        return self.answer(
            tuple(numbers),
            lambda: _expected_results(
                self.judge, self.spec, self.weights, self.workload, self.sets, numbers
            ),
        )

    def judge_last(self, last: JudgedCalls) -> None:
        """Judge the calls after the blocks.

        With an optimizer, also judge the weights that these calls left.
        """
        if self.workload.optimizer is None:
            for number, ours in zip(last.inputs, last.results, strict=True):
                self.compare(ours, _results_of_call(self.expected((number,)), 0))
            return
        answer = self.expected(last.inputs)
        for call, ours in enumerate(last.results):
            self.compare(ours, _results_of_call(answer, call))
        left = _results_of_call(answer, len(last.results))
        off, most = _weight_error(self.spec, self.weights, self.model.get_weights(), left)
        self.keep({"update": off}, {"update": most})

    def compare(self, ours: Results, theirs: Mapping[str, FloatArray]) -> None:
        """Compare the complete results of one call with the reference."""
        model, workload, spec = self.model, self.workload, self.spec
        theirs = comparison.select_requested_results(theirs, workload)
        if model.backend.approximate:
            self.keep(*comparison.measure_approximate_errors(ours, theirs))
            return
        missing = [name for name in theirs if name not in ours]
        if model.steps_return_loss and workload.optimizer and len(missing) == len(theirs):
            return  # Its weights are judged instead.
        theirs = {name: array for name, array in theirs.items() if name not in missing}
        off = dict.fromkeys(missing, math.inf) | comparison.compare(ours, theirs)
        most = comparison.compute_bounds(spec, workload.batch, workload.timesteps, list(off))
        if workload.optimizer is not None:
            most = {name: bound + UPDATE_ALLOWANCE for name, bound in most.items()}
        self.keep(off, most)
        self.keep(*comparison.measure_gains(spec, ours, theirs, workload.batch))

    def judge_kept(self, kept: Sequence[JudgedCalls]) -> None:
        """Judge the results of blocks.

        Some results are judged completely, and others only in the sequences that were kept.
        """
        partial: dict[int, Results] = {}
        for each in kept:
            (number,), (ours,) = each.inputs, each.results
            slot = number // SLOT_NUMBERS
            if self.selection.is_complete(slot):
                self.compare(ours, _results_of_call(self.expected((number,)), 0))
            else:
                partial[slot] = ours
        if partial:
            self.compare_sequences(partial)

    def compare_sequences(self, partial: Mapping[int, Results]) -> None:
        """Compare the kept sequences of each slot with the reference.

        The reference computes all slots together.
        """
        selection, rows = self.selection, self.selection.rows
        slots = range(selection.complete + 1, selection.slots + 1)
        alone = replace(self.workload, optimizer=None, batch=rows * len(slots))
        judge = choose_judge(self.spec, alone) if rows * len(slots) > self.workload.batch else None

        def ask() -> dict[str, FloatArray]:
            parts = [
                self.sets(selection.numbers(slot)[0]).sequences(selection.sequences(slot))
                for slot in slots
            ]
            inputs = Inputs.joined(parts)
            _, found = _run_windows(judge or self.judge, self.spec, self.weights, alone, inputs)
            return dict(by_sequence(found))

        answer = comparison.select_requested_results(
            self.answer((selection, "sequences"), ask), alone
        )
        if self.model.steps_return_loss and self.workload.optimizer and not any(partial.values()):
            return
        columns = np.concatenate(
            [np.arange(rows) + rows * (slot - slots.start) for slot in partial]
        )
        ours: dict[str, FloatArray] = {}
        for name in answer:
            arrays = [each.get(name) for each in partial.values()]
            if any(array is None for array in arrays):
                self.keep({name: math.inf}, {name: 1.0})
            else:
                ours[name] = _joined(arrays)
        self.keep_sequences(ours, {name: answer[name][:, columns] for name in ours}, answer)

    def keep_sequences(
        self,
        ours: Mapping[str, FloatArray],
        theirs: Mapping[str, FloatArray],
        scale: Mapping[str, FloatArray],
    ) -> None:
        """Record the errors of sequences, relative to the largest values in ``scale``."""
        if self.model.backend.approximate:
            self.keep(*comparison.measure_approximate_errors(ours, theirs))
            return
        sizes = {
            name: max(
                comparison.find_smallest_scale(name), float(np.max(np.abs(array), initial=0.0))
            )
            for name, array in scale.items()
        }
        off = {
            name: comparison.measure_error(ours[name], theirs[name], sizes[name]) for name in ours
        }
        most = comparison.compute_bounds(
            self.spec, self.workload.batch, self.workload.timesteps, list(off)
        )
        self.keep(off, most)

    def judge_stream(self, kept: Sequence[JudgedCalls]) -> GateResult:
        """Judge consecutive calls of a stream, each from the state that the previous call left."""
        names = ("y", *self.spec.cell.states)
        inputs, ours = [], []
        for calls in kept:
            slot = calls.inputs[0] // SLOT_NUMBERS
            rows = self.selection.sequences(slot or 1)
            # The last calls are kept completely, and the same number of sequences of them is
            # judged.
            found = [each if slot else self.selection.part(1, each) for each in calls.results]
            for number, before, after in zip(calls.inputs[1:], found[:-1], found[1:], strict=True):
                given = self.sets(number).sequences(rows)
                if any(
                    name not in each or each[name].shape[1:] != given.state.h.shape[1:]
                    for name in names
                    for each in (before, after)
                ):
                    self.keep(dict.fromkeys(names, math.inf), dict.fromkeys(names, 1.0))
                    return self.result()
                inputs.append(replace(given, state=select_state(self.spec, before)))
                ours.append(after)
        found_joined = {name: _joined([each[name] for each in ours]) for name in names}
        theirs = self.judge.run(self.weights, Inputs.joined(inputs), None)
        self.keep_sequences(found_joined, theirs, theirs)
        self.keep(*comparison.measure_gains(self.spec, found_joined, theirs, self.workload.batch))
        return self.result()


def _joined(arrays: Sequence[FloatArray | None]) -> FloatArray:
    """Join results along the sequences.

    Arrays of different shapes give an array of a wrong shape.
    """
    found = [np.asarray(array) for array in arrays]
    shapes = {array.shape[:1] + array.shape[2:] for array in found}
    return np.concatenate(found, axis=1) if len(shapes) == 1 else np.empty(0)


def _run_windows(
    judge: Judge,
    spec: LSTMSpec,
    weights: LSTMWeights,
    workload: Workload,
    inputs: Inputs,
) -> tuple[LSTMState, dict[str, FloatArray]]:
    """Return the final state, and the last window's results, of a step that updates nothing."""
    parts, zero = workload.windows(), spec.cell.state_type.zeros(spec, inputs.x.shape[1])
    state, found = inputs.state, {}
    for part in parts:
        flowing = zero if workload.training and part == parts[-1] else None
        found = judge.run(weights, replace(inputs.window(part), state=state), flowing)
        state = select_state(spec, found)
    return state, found


def _results_of_call(answer: Mapping[str, FloatArray], number: int) -> dict[str, FloatArray]:
    before = f"{number} "
    return {
        name.removeprefix(before): array
        for name, array in answer.items()
        if name.startswith(before)
    }


def _judged_at_once(workload: Workload) -> Workload:
    """Return the part of a stream that the gate judges at once."""
    return replace(workload, timesteps=SEVERAL * workload.timesteps)


def _expected_results(
    judge: Judge,
    spec: LSTMSpec,
    weights: LSTMWeights,
    workload: Workload,
    sets: InputSets,
    numbers: Sequence[int],
) -> dict[str, FloatArray]:
    """Return what consecutive calls compute on these sets of inputs, named by call: ``0 y``.

    With an optimizer, ``3 kernel`` is a weight after three calls, and ``3 error kernel`` is how far
    rounding may have moved it.
    """
    optimizer = NumPyOptimizer(workload.optimizer) if workload.optimizer else None
    if optimizer is None:
        answer: dict[str, FloatArray] = {}
        for call, number in enumerate(numbers):
            _, found = _run_windows(judge, spec, weights, workload, sets(number))
            answer |= {f"{call} {name}": _shorten(spec, array) for name, array in found.items()}
        return answer
    parts, zero = workload.windows(), spec.cell.state_type.zeros(spec, workload.batch)
    names = weights.names()
    squares = [np.zeros(array.shape) for array in weights.arrays()]
    answer = {}
    for call, number in enumerate(numbers):
        inputs = sets(number)
        if call % 2:
            inputs = replace(inputs, dy=-inputs.dy)  # Model.prepare negates it, too.
        state = inputs.state
        for part in parts:
            found = judge.run(weights, replace(inputs.window(part), state=state), zero)
            state = select_state(spec, found)
            gradients = [found[f"d{name}"] for name in names]
            changes = optimizer.changes(gradients)
            # The largest error of each gradient, relative to its largest value.
            off = comparison.compute_bounds(
                spec, workload.batch, parts[0].stop, [f"d{name}" for name in names]
            )
            for square, gradient, most in zip(squares, gradients, off.values(), strict=True):
                square += _update_error(optimizer.name, gradient, most) ** 2
            pairs = zip(weights.arrays(), changes, strict=True)
            weights = LSTMWeights.from_arrays(spec, [old + change for old, change in pairs])
        answer |= {f"{call} {name}": array for name, array in found.items()}
    answer |= weights.label_arrays(f"{len(numbers)} ")
    answer |= {
        f"{len(numbers)} error {name}": np.sqrt(square)
        for name, square in zip(names, squares, strict=True)
    }
    return answer


def _shorten(spec: LSTMSpec, array: FloatArray) -> FloatArray:
    """Return an answer in float32, at half its size, unless the network computes in float64.

    The conversion rounds the answer by at most half a unit of float32. The bounds are at least nine
    units.
    """
    return array if spec.precision.variable == "float64" else array.astype(np.float32)


def _update_error(optimizer: str, gradient: FloatArray, off: float) -> FloatArray:
    """Return the error of an update if the gradient is off by ``off`` of its largest value.

    Where the gradient is smaller than its error, Adam may step in the other direction.
    """
    most = off * max(float(np.max(np.abs(gradient), initial=0.0)), comparison.SMALLEST_SCALE)
    if optimizer == "sgd":
        return np.full(gradient.shape, LEARNING_RATE * most)
    size = np.maximum(np.abs(np.asarray(gradient, np.float64)), most)
    return np.asarray(LEARNING_RATE * 2.0 * most / size)


def _weight_error(
    spec: LSTMSpec, before: LSTMWeights, after: LSTMWeights, left: Mapping[str, FloatArray]
) -> tuple[float, float]:
    """Return the relative error of the change of the weights, and the largest accepted one.

    Both are root mean squares.

    left: the expected weights by name, and as ``error NAME`` the error of each weight that rounding
    of gradients can explain. The rounding of the weights themselves is added to that error.
    """

    def flat(arrays: Iterable[FloatArray]) -> FloatArray:
        return np.concatenate([np.ravel(each).astype(np.float64) for each in arrays])

    def size(array: FloatArray) -> float:
        return float(np.sqrt(np.mean(array**2)))

    names = before.names()
    start, expected = flat(before.arrays()), flat(left[name] for name in names)
    way, off = size(expected - start), flat(after.arrays()) - expected
    u = 2.0**-53 if spec.precision.variable == "float64" else 2.0**-24
    error = size(flat(left[f"error {name}"] for name in names)) + comparison.CONSTANT * u * size(
        start
    )
    found = size(off) / way if np.all(np.isfinite(off)) else math.inf
    return found, min(MOST_UPDATE_ERROR, error / way)


# -- the judge


def choose_judge(spec: LSTMSpec, workload: Workload) -> Judge:
    """Return the NumPy reference, or a proven float64 backend where NumPy would take too long.

    The backend has been proven against the NumPy reference.
    """
    timesteps = max(part.stop - part.start for part in select_judged_parts(workload))
    rows = workload.batch * timesteps
    operations = 2.0 * spec.parameter_count * rows * (3 if workload.training else 1)
    if operations > REFERENCE_OPERATIONS or 8 * rows * _features(spec) > REFERENCE_BYTES:
        for name in JUDGES:
            backend = get_backend(name)
            double = replace(spec, dtype="float64")
            if backend.availability("cpu") and not backend.refusal(double, workload):
                prove(name, double, workload.reset_to if workload.reset_rate else None)
                return _framework_judge(backend, double)
    return make_numpy_judge(spec)


def _features(spec: LSTMSpec) -> int:
    """Return how many numbers the reference keeps for one timestep of one sequence."""
    return sum(
        spec.num_directions * (6 * spec.hidden_size + spec.layer_input_size(layer))
        for layer in range(spec.num_layers)
    )


@functools.cache
def prove(name: str, spec: LSTMSpec, reset_to: str | None = None) -> None:
    """Check a float64 judge on two sequences of four timesteps. Raise RuntimeError if it fails.

    ``reset_to`` is the state to which sequences are reset, or None if they are not.
    """
    model = get_backend(name).build(spec, LSTMWeights.random(spec, seed=1), "cpu")
    workload = Workload(batch=2, timesteps=4, mode="training")
    if reset_to is not None:
        workload = replace(workload, reset_rate=0.25, reset_to=reset_to)
    result = gate(model, workload, seed=1, judge=make_numpy_judge(spec))
    if not result.passed:
        raise RuntimeError(f"{name} cannot judge in float64: {result.describe()}")


def _framework_judge(backend: Backend, spec: LSTMSpec) -> Judge:
    def run(
        weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None
    ) -> dict[str, FloatArray]:
        model = backend.build(spec, weights, "cpu")
        x, dy, state = inputs.x, inputs.dy, inputs.state
        lengths, how = inputs.lengths, {"masks": inputs.masks}
        more: Any = how | {"resets": inputs.resets, "reset_to": inputs.reset_to}
        if dstate is None:
            return comparison.collect_results(*model.forward(x, state, lengths, **more), None)
        return comparison.collect_results(
            *model.forward_and_gradients(x, dy, state, dstate, lengths, **more)
        )

    return Judge(f"float64 {backend.name} (itself equal to the NumPy reference)", run)


_answers: dict[str, dict[str, FloatArray]] = {}
"""Recent answers of judges, by everything that they depend on.

All backends of a group are judged by the same numbers.
"""

CACHE_BYTES = 2**29
"""The cached answers take at most this many bytes.

A case needs three to eight answers, which together take a few megabytes. The largest answers of any
suite take 100 MB each and are computed again for each backend.
"""


def _with_cache(judge: Judge, spec: LSTMSpec) -> Judge:
    """Return the judge with a cache of its answers."""

    def find_key(what: str, weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None) -> str:
        digest = hashlib.sha256(f"{what} {inputs.x.shape} {inputs.reset_to}".encode())
        given = (inputs.x, inputs.dy, *inputs.state, inputs.lengths, inputs.masks, inputs.resets)
        flowing = (None,) if dstate is None else tuple(dstate)
        for array in (*weights.arrays(), *given, *flowing):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def run(
        weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None
    ) -> dict[str, FloatArray]:
        key = find_key(f"{judge.name} {spec}", weights, inputs, dstate)
        return _find_answer(key, lambda: judge.run(weights, inputs, dstate))

    def estimate(
        of: LSTMSpec, weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None
    ) -> dict[str, FloatArray]:
        key = find_key(f"deviations {of}", weights, inputs, dstate)
        return _find_answer(key, lambda: judge.estimate(of, weights, inputs, dstate))

    return Judge(judge.name, run, estimate)


def _find_answer(key: str, ask: Callable[[], dict[str, FloatArray]]) -> dict[str, FloatArray]:
    """Return the judge's answer from this process, from the session, or computed now."""
    if key not in _answers:
        answer = None
        if _shared and (data := _shared.find(key)) is not None:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                answer = dict(arrays)
        if answer is None:
            answer = ask()
            if _shared:
                np.savez(body := io.BytesIO(), **answer)  # type: ignore[arg-type]
                _shared.keep(key, body.getvalue())
        _answers[key] = answer
        while len(_answers) > 1 and _size(_answers) > CACHE_BYTES:
            del _answers[next(iter(_answers))]
        return answer
    return _answers[key]


def _size(answers: Mapping[str, Mapping[str, FloatArray]]) -> int:
    return sum(array.nbytes for answer in answers.values() for array in answer.values())


LARGEST_FOLDER = 2**32
"""The most bytes that the processes of a session share in temporary files.

A part of the suite ``precision-cpu``, three of its seven shapes, filled 431 MB. What does not fit,
each process computes again.
"""

LARGEST_SHARE = 0.25
"""The largest part of the free space that these files take, since they may be in memory."""

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class SharedFolder:
    """A folder in which the processes of a session share results.

    Each key has a file, which begins with the digest of its content.
    """

    folder: Path

    def find(self, key: str) -> bytes | None:
        """Return what is stored under a key, or None if it is missing, incomplete or changed."""
        try:
            data = (self.folder / key).read_bytes()
        except OSError:
            return None
        return data[_DIGEST:] if hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST] else None

    def keep(self, key: str, data: bytes) -> None:
        """Store data under a key if there is space. Failures to write are ignored."""
        with contextlib.suppress(OSError, ResultWriteError):
            held = sum(path.stat().st_size for path in self.folder.iterdir())
            space = held + shutil.disk_usage(self.folder).free
            if held + len(data) <= min(LARGEST_FOLDER, LARGEST_SHARE * space):
                write_bytes(self.folder / key, hashlib.sha256(data).digest() + data)


_shared: SharedFolder | None = None


def share_answers(folder: SharedFolder | None) -> None:
    """Share the judges' answers with other processes through a folder of the session."""
    global _shared
    _shared = folder
