"""The gate: time a backend only after it has computed what the reference computes.

The comparison is in ``lstm_impl.proof``; ``docs/equivalence.md`` derives its bounds. This module
chooses the judge, keeps its answers, and judges what a step computed in its last timed calls.
"""

import contextlib
import functools
import hashlib
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.machine.writing import ResultWriteError, write_bytes
from bench.worker.timing import JudgedCalls
from lstm_impl import proof
from lstm_impl.backend import Backend
from lstm_impl.model import Model
from lstm_impl.optimizer import LEARNING_RATE, NumPyOptimizer
from lstm_impl.proof import GateResult, Judge, comparison, judged_parts, numpy_judge
from lstm_impl.proof.check import SEVERAL, continued_stream
from lstm_impl.registry import get_backend
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, InputSets, Workload

REFERENCE_OPERATIONS = 2e11
"""Most operations for the NumPy reference: with 45 Gflop/s on two cores more take over 5 s."""

REFERENCE_BYTES = 2 * 2**30
"""Most bytes of the reference, which keeps every gate and state; a framework judges larger
cases."""

JUDGES = ("while_loop+hoisted", "torch", "jax_scan")
"""Float64 backends that may judge large cases; the first that is available on the CPU does."""

UPDATE_ALLOWANCE = 20 * LEARNING_RATE
"""Error that updates of the weights may add: for a gradient near zero, Adam moves a weight by the
learning rate in the direction of a sign that rounding decides."""

MOST_UPDATE_ERROR = 0.25
"""Largest relative error (root mean square) of the updates of timed steps, if rounding explains it.
For an update that is not made it is 1."""


def gate(model: Model, workload: Workload, seed: int = 0, judge: Judge | None = None) -> GateResult:
    """Call ``lstm_impl.proof.gate`` with the judge for this size, unless one is given."""
    at_once = _judged_at_once(workload) if workload.streaming else workload
    judge = judge or choose_judge(model.spec, at_once)
    return proof.gate(model, workload, seed, _with_cache(judge, model.spec))


def gate_timed(
    model: Model, workload: Workload, seed: int, last: JudgedCalls, judge: Judge | None = None
) -> GateResult:
    """Compare the results of timed calls with the reference.

    seed: of ``Model.prepare``. For windows these are the results of the last one and the final
    state; for a stream, what it computes from the state that the timed calls left
    (``proof.check.continued_stream``). With an optimizer the calls are the first after
    ``Step.restart``, and the model has the weights that they left.
    """
    spec, weights = model.spec, model.given_weights or model.get_weights()
    found: dict[str, float] = {}
    allowed: dict[str, float] = {}
    if workload.streaming:
        judge = judge or choose_judge(spec, _judged_at_once(workload))
        found, allowed = continued_stream(
            judge, spec, weights, workload, seed, last.inputs, last.results
        )
        return GateResult.of(judge, found, allowed)
    judge = judge or choose_judge(spec, workload)
    digest = hashlib.sha256(f"{judge.name} {spec} {workload} {seed} {last.inputs}".encode())
    for array in weights.arrays():
        digest.update(np.ascontiguousarray(array).tobytes())
    answer = _cached(
        digest.hexdigest(),
        lambda: _expected_results(judge, spec, weights, workload, seed, last.inputs),
    )
    for number, ours in enumerate(last.results):
        theirs = comparison.requested_results(_results_of_call(answer, number), workload)
        if model.backend.approximate:
            comparison.keep(found, allowed, *comparison.approximate_errors(ours, theirs))
            continue
        missing = [name for name in theirs if name not in ours]
        if model.steps_return_loss and workload.optimizer and len(missing) == len(theirs):
            continue  # its weights are judged instead
        theirs = {name: array for name, array in theirs.items() if name not in missing}
        off = dict.fromkeys(missing, math.inf) | comparison.compare(ours, theirs)
        most = comparison.bounds(spec, workload.batch, workload.timesteps, list(off))
        if workload.optimizer is not None:
            most = {name: bound + UPDATE_ALLOWANCE for name, bound in most.items()}
        for pair in ((off, most), comparison.gains(spec, ours, theirs, workload.batch)):
            comparison.keep(found, allowed, *pair)
    if workload.optimizer is not None:
        left = _results_of_call(answer, len(last.results))
        found["update"], allowed["update"] = _weight_error(spec, weights, model.get_weights(), left)
    return GateResult.of(judge, found, allowed)


def _results_of_call(answer: Mapping[str, FloatArray], number: int) -> dict[str, FloatArray]:
    before = f"{number} "
    return {
        name.removeprefix(before): array
        for name, array in answer.items()
        if name.startswith(before)
    }


def _judged_at_once(workload: Workload) -> Workload:
    """Return the part of a stream that is judged at once."""
    return replace(workload, timesteps=SEVERAL * workload.timesteps)


def _expected_results(
    judge: Judge,
    spec: LSTMSpec,
    weights: LSTMWeights,
    workload: Workload,
    seed: int,
    numbers: Sequence[int],
) -> dict[str, FloatArray]:
    """Return what consecutive calls compute on these sets of inputs, named by call, as ``0 y``.

    With an optimizer, ``3 kernel`` is a weight after three calls, and ``3 error kernel`` how far
    rounding may have moved it.
    """
    sets = InputSets(spec, workload, seed)
    optimizer = NumPyOptimizer(workload.optimizer) if workload.optimizer else None
    parts, zero = workload.windows(), LSTMState.zeros(spec, workload.batch)
    names = weights.names()
    squares = [np.zeros(array.shape) for array in weights.arrays()]
    answer: dict[str, FloatArray] = {}
    for call, number in enumerate(numbers):
        inputs = sets(number)
        if not workload.training:
            inputs = replace(inputs, masks=None)
        elif optimizer is not None and call % 2:
            inputs = replace(inputs, dy=-inputs.dy)  # Model.prepare
        state = inputs.state
        found: dict[str, FloatArray] = {}
        for part in parts:
            needed = workload.training and (optimizer is not None or part == parts[-1])
            window = replace(inputs.window(part), state=state)
            found = judge.run(weights, window, zero if needed else None)
            state = LSTMState(found["h"], found["c"])
            if optimizer is None:
                continue
            gradients = [found[f"d{name}"] for name in names]
            changes = optimizer.changes(gradients)
            # Largest error of each, relative to its largest value.
            off = comparison.bounds(
                spec, workload.batch, parts[0].stop, [f"d{name}" for name in names]
            )
            for square, gradient, most in zip(squares, gradients, off.values(), strict=True):
                square += _update_error(optimizer.name, gradient, most) ** 2
            pairs = zip(weights.arrays(), changes, strict=True)
            weights = LSTMWeights.from_arrays(spec, [old + change for old, change in pairs])
        answer |= {f"{call} {name}": array for name, array in found.items()}
    if optimizer is not None:
        answer |= weights.named(f"{len(numbers)} ")
        answer |= {
            f"{len(numbers)} error {name}": np.sqrt(square)
            for name, square in zip(names, squares, strict=True)
        }
    return answer


def _update_error(optimizer: str, gradient: FloatArray, off: float) -> FloatArray:
    """Return the error of an update if the gradient is off by ``off`` of its largest value.

    Adam may step the other way where the gradient is smaller than its error.
    """
    most = off * max(float(np.max(np.abs(gradient), initial=0.0)), comparison.SMALLEST_SCALE)
    if optimizer == "sgd":
        return np.full(gradient.shape, LEARNING_RATE * most)
    size = np.maximum(np.abs(np.asarray(gradient, np.float64)), most)
    return np.asarray(LEARNING_RATE * 2.0 * most / size)


def _weight_error(
    spec: LSTMSpec, before: LSTMWeights, after: LSTMWeights, left: Mapping[str, FloatArray]
) -> tuple[float, float]:
    """Return the relative error of the weights' change, and the largest allowed: root mean squares.

    left: the expected weights by name, and the error of each by rounding of gradients, as ``error
    NAME``. Rounding of the weights is added to that.
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
    """Return the NumPy reference, or if that takes too long a float64 backend proven against it."""
    timesteps = max(part.stop - part.start for part in judged_parts(workload))
    rows = workload.batch * timesteps
    operations = 2.0 * spec.parameter_count * rows * (3 if workload.training else 1)
    features = sum(
        spec.num_directions * (6 * spec.hidden_size + spec.layer_input_size(layer))
        for layer in range(spec.num_layers)
    )
    if operations > REFERENCE_OPERATIONS or 8 * rows * features > REFERENCE_BYTES:
        for name in JUDGES:
            backend = get_backend(name)
            double = replace(spec, dtype="float64")
            if backend.availability("cpu") and not backend.refusal(double, workload):
                prove(name, double)
                return _framework_judge(backend, double)
    return numpy_judge(spec)


@functools.cache
def prove(name: str, spec: LSTMSpec) -> None:
    """Check a float64 judge on two sequences of four timesteps. Raises RuntimeError if it fails."""
    model = get_backend(name).build(spec, LSTMWeights.random(spec, seed=1), "cpu")
    workload = Workload(batch=2, timesteps=4, mode="training")
    result = gate(model, workload, seed=1, judge=numpy_judge(spec))
    if not result.passed:
        raise RuntimeError(f"{name} cannot judge in float64: {result.describe()}")


def _framework_judge(backend: Backend, spec: LSTMSpec) -> Judge:
    def run(
        weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None
    ) -> dict[str, FloatArray]:
        model = backend.build(spec, weights, "cpu")
        x, dy, state = inputs.x, inputs.dy, inputs.state
        lengths, masks = inputs.lengths, inputs.masks
        if dstate is None:
            return comparison.results_by_name(*model.forward(x, state, lengths, masks=masks), None)
        return comparison.results_by_name(
            *model.forward_and_gradients(x, dy, state, dstate, lengths, masks=masks)
        )

    return Judge(f"float64 {backend.name} (itself equal to the NumPy reference)", run)


_answers: dict[str, dict[str, FloatArray]] = {}
"""Recent answers of judges by everything that they depend on: all backends of a group are judged on
the same numbers."""

CACHE_BYTES = 2**29
"""Most bytes of kept answers. A case needs three to eight, of some megabytes together; the largest
of any suite have 100 MB each, and are computed again for each backend."""


def _with_cache(judge: Judge, spec: LSTMSpec) -> Judge:
    """Return the judge with a cache of its answers."""

    def run(
        weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None
    ) -> dict[str, FloatArray]:
        digest = hashlib.sha256(f"{judge.name} {spec} {inputs.x.shape}".encode())
        given = (inputs.x, inputs.dy, inputs.state.h, inputs.state.c, inputs.lengths, inputs.masks)
        flowing = (None, None) if dstate is None else (dstate.h, dstate.c)
        for array in (*weights.arrays(), *given, *flowing):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return _cached(digest.hexdigest(), lambda: judge.run(weights, inputs, dstate))

    return Judge(judge.name, run)


def _cached(key: str, ask: Callable[[], dict[str, FloatArray]]) -> dict[str, FloatArray]:
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


LARGEST_FOLDER = 2**29
"""Most bytes that the processes of a session share in temporary files, which may be in memory. The
answer for a training step of 64 x 25 x 512 has 30 MB."""

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class SharedFolder:
    """A folder in which processes of a session share results: a file a key, digest first."""

    folder: Path

    def find(self, key: str) -> bytes | None:
        """Return what was kept under a key if it is complete and unchanged, or None."""
        try:
            data = (self.folder / key).read_bytes()
        except OSError:
            return None
        return data[_DIGEST:] if hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST] else None

    def keep(self, key: str, data: bytes) -> None:
        """Keep data if there is space; a failure to write is ignored."""
        with contextlib.suppress(OSError, ResultWriteError):
            held = sum(path.stat().st_size for path in self.folder.iterdir())
            if held + len(data) <= LARGEST_FOLDER:
                write_bytes(self.folder / key, hashlib.sha256(data).digest() + data)


_shared: SharedFolder | None = None


def share_answers(folder: SharedFolder | None) -> None:
    """Share judges' answers with other processes through a folder of the session."""
    global _shared
    _shared = folder
