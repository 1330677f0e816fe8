"""Wrong backends, each of which must get no time, or the time of an honest one.

All compute with NumPy on a simulated clock: the products of the input, the recurrence, the backward
pass, an update and a copy to the host take the seconds given here, and nothing else takes any. So
the time of an honest backend is known, and the speed of this machine does not matter.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bench.case.cases import Case
from bench.render.messages import reason_line
from bench.worker import equivalence, group
from bench.worker.group import Bench, Measured, Unmeasured, measure_group
from bench.worker.timing import Clock, TimingPlan
from lstm_impl import LSTMSpec, LSTMWeights, Model, Step, Workload
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients, Results, Tensor, Upstream
from lstm_impl.optimizer import BETA1, BETA2, EPSILON, LEARNING_RATE, NumPyOptimizer
from lstm_impl.proof.check import GateResult
from lstm_impl.proof.networks import SEVERAL
from lstm_impl.workload import InputSets
from tests.bench.worker.scripted_backends import TIMED as TIMED_WORKLOADS
from tests.lstm_impl.lstm_states import NAMES, get_state, replace_states, scale_state
from tests.lstm_impl.rounded_model import RoundedModel

PRODUCT, RECURRENCE, BACKWARD, UPDATE, COPY = 2e-4, 1e-4, 6e-4, 1e-4, 2e-6
"""Seconds of the input's product, the recurrence, all gradients, an update and a copied array."""

SPEC = LSTMSpec(3, 4)
INFERENCE, TRAINING = Workload(4, 6), Workload(4, 6, "training")
ADAM, SGD = (replace(TRAINING, optimizer=name) for name in ("adam", "sgd"))
WINDOWS = Workload(4, 12, "training", window=3, optimizer="adam")
STREAM = Workload(2, 1, "streaming")
DEEP = LSTMSpec(3, 4, num_layers=2)
LARGE = Workload(64, 6)
STREAMS = (
    STREAM,
    Workload(1, 3, "streaming", batch_major=True),
    Workload(1, 2, "streaming", period=0.001),
)


class Honest(NumPyModel):
    """A model of NumPy whose work moves the clock ``now``."""

    now = 0.0

    def spend(self, seconds: float) -> None:
        type(self).now += seconds

    def _infer(self, call: Call) -> Outputs:
        self.spend(PRODUCT + RECURRENCE)
        return super()._infer(call)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        self.spend(PRODUCT + RECURRENCE + BACKWARD)
        return super()._train(gradients, call, upstream)

    def _train_and_update(
        self, optimizer: str, gradients: str, call: Call, upstream: Upstream
    ) -> RawGradients:
        self.spend(UPDATE)
        return super()._train_and_update(optimizer, gradients, call, upstream)

    def _to_host(self, tensor: Tensor) -> Any:
        self.spend(COPY)
        return super()._to_host(tensor)


def seconds(workload: Workload) -> float:
    """Return the seconds of an honest step."""
    work = PRODUCT + RECURRENCE
    if workload.training:
        work += BACKWARD
    if workload.optimizer is not None:
        work += UPDATE
    return work * len(workload.windows())


class Returning(Honest):
    """A model whose step returns what ``returned`` makes of the results of its n-th call."""

    def returned(self, raw: Any, number: int) -> Any:
        raise NotImplementedError

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        step, calls = super().prepare(workload, seed), itertools.count()
        self.seen: list[Any] = []
        return replace(step, run=lambda: self.returned(step.run(), next(calls)))


# -- weights and optimizers


class StaleWeights(Honest):
    """Computes with the given weights, and updates others."""

    def _set_weights(self, weights: LSTMWeights) -> None:
        super()._set_weights(weights)
        self.packed = weights

    def _train_and_update(self, *arguments: Any) -> RawGradients:
        packed = self.packed
        try:
            return super()._train_and_update(*arguments)
        finally:
            self.packed = packed

    def _train(self, *arguments: Any) -> RawGradients:
        updated, self._weights = self._weights, self.packed
        try:
            return super()._train(*arguments)
        finally:
            self._weights = updated


class StaleRecurrentKernel(StaleWeights):
    """The same for the recurrent kernel alone."""

    def _train(self, *arguments: Any) -> RawGradients:
        fresh, stale = self._weights, self.packed
        mixed = [
            replace(new, recurrent_kernel=old.recurrent_kernel)
            for new, old in zip(fresh.cells(), stale.cells(), strict=True)
        ]
        packed, self.packed = stale, LSTMWeights.from_cells(self.spec, mixed)
        try:
            return super()._train(*arguments)
        finally:
            self.packed = packed


class Optimizer(NumPyOptimizer):
    """Adam with another formula."""

    beta1, beta2, rate, decay, corrected, forgetful = BETA1, BETA2, LEARNING_RATE, 0.0, True, False

    def changes(self, gradients: Any) -> list[Any]:
        wide = [np.asarray(each, np.float64) for each in gradients]
        if self.name == "sgd":
            return [-self.rate * each for each in wide]
        self._step += 1
        if not self._moments or self.forgetful:
            self._moments = [(np.zeros_like(each), np.zeros_like(each)) for each in wide]
        found = []
        for number, (gradient, (m, v)) in enumerate(zip(wide, self._moments, strict=True)):
            m = self.beta1 * m + (1 - self.beta1) * gradient
            v = self.beta2 * v + (1 - self.beta2) * gradient * gradient
            self._moments[number] = m, v
            first = 1 - self.beta1**self._step if self.corrected else 1.0
            second = 1 - self.beta2**self._step if self.corrected else 1.0
            found.append(-self.rate * (m / first) / (np.sqrt(v / second) + EPSILON))
        return found


def optimizing(**changed: Any) -> type[Honest]:
    """A model whose optimizer has other constants."""
    kind = type("Changed", (Optimizer,), changed)

    class Optimized(Honest):
        def _start_optimizer(self, name: str) -> None:
            self._optimizers[name] = kind(name)

    return Optimized


class ForgetsMoments(Honest):
    """Its optimizer starts again in each call."""

    def _train_and_update(self, optimizer: str, *arguments: Any) -> RawGradients:
        self._start_optimizer(optimizer)
        return super()._train_and_update(optimizer, *arguments)


def leaving(change: Callable[[LSTMWeights, LSTMWeights, int], LSTMWeights]) -> type[Honest]:
    """A model whose n-th update leaves other weights, by those before it and the right ones."""

    class Leaving(Honest):
        updates = 0

        def _start_optimizer(self, name: str) -> None:
            super()._start_optimizer(name)
            self.updates = 0

        def _train_and_update(self, *arguments: Any) -> RawGradients:
            before = self._weights
            raw = super()._train_and_update(*arguments)
            self.updates += 1
            self._weights = change(before, self._weights, self.updates)
            return raw

    return Leaving


def to_float16(array: Any) -> Any:
    return array.astype(np.float16).astype(np.float32)


class Accumulates(Honest):
    """Adds the gradients of all calls since the start."""

    total: LSTMWeights | None = None

    def _start_optimizer(self, name: str) -> None:
        super()._start_optimizer(name)
        self.total = None

    def _train(self, *arguments: Any) -> RawGradients:
        raw = super()._train(*arguments)
        if self.total is not None:
            pairs = zip(raw.weights.arrays(), self.total.arrays(), strict=True)
            raw = replace(
                raw, weights=LSTMWeights.from_arrays(self.spec, [a + b for a, b in pairs])
            )
        if self._optimizers:
            self.total = raw.weights
        return raw


class Clips(Honest):
    """Updates with gradients clipped to a norm of 1."""

    def _train_and_update(
        self, optimizer: str, gradients: str, call: Call, upstream: Upstream
    ) -> RawGradients:
        self.spend(UPDATE)
        raw = self._train(gradients, call, upstream)
        norm = max(1.0, float(np.sqrt(sum(np.sum(each**2) for each in raw.weights.arrays()))))
        clipped = [each / norm for each in raw.weights.arrays()]
        changes = self._optimizers[optimizer].changes(clipped)
        pairs = zip(self._weights.arrays(), changes, strict=True)
        new = [self.spec.quantize(old + change) for old, change in pairs]
        self._weights = LSTMWeights.from_arrays(self.spec, new)
        return raw


# -- work done later


class LateGradients(Honest):
    """Computes the forward pass when it is called, and gradients when its results are copied."""

    keeps = True
    weights_only = False

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        step = super().prepare(workload, seed)
        known: dict[int, tuple[Any, Results]] = {}

        def run() -> Any:
            before = self.now
            raw = step.run()
            early = PRODUCT + RECURRENCE + (BACKWARD / 2 if self.weights_only else 0)
            type(self).now = before + early
            return raw

        def results(raw: Any) -> Results:
            assert step.results is not None
            found = step.results(raw)
            if id(raw) not in known:
                self.spend(BACKWARD / 2 if self.weights_only else BACKWARD)
            if self.keeps:
                known[id(raw)] = raw, found
            return found

        return replace(step, run=run, results=results)


class LateWeights(LateGradients):
    """The same, only for the gradients of the weights."""

    weights_only = True


class LateEachTime(LateGradients):
    """The same, again for each copy."""

    keeps = False


# -- memory


class RemembersProduct(Honest):
    """Keeps the input's product by the input's identity."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.known: dict[Any, Any] = {}

    def key(self, call: Call) -> Any:
        return id(call.x)

    def saved(self, call: Call) -> float:
        return PRODUCT

    def look_up(self, call: Call) -> None:
        key = self.key(call)
        if key in self.known:
            self.spend(-self.saved(call))
        self.known[key] = call  # kept alive, so that no other array has its identity

    def _infer(self, call: Call) -> Outputs:
        self.look_up(call)
        return super()._infer(call)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        self.look_up(call)
        return super()._train(gradients, call, upstream)


class RemembersProductByValue(RemembersProduct):
    """Keeps the input's product by the input's numbers."""

    def key(self, call: Call) -> Any:
        return np.asarray(call.x).tobytes()


class RemembersResults(RemembersProduct):
    """Keeps its results by the numbers of all inputs."""

    def key(self, call: Call) -> Any:
        return b"".join(np.asarray(each).tobytes() for each in (call.x, *call.states))

    def saved(self, call: Call) -> float:
        return 0.99 * (PRODUCT + RECURRENCE)


class RemembersTheLast(RemembersResults):
    """Keeps only the last result, for the calls of one block."""

    def _infer(self, call: Call) -> Outputs:
        self.known = {key: self.known[key] for key in list(self.known)[-1:]}
        return super()._infer(call)


# -- special numbers


class RaisesForgetBias(Honest):
    """Adds one to the forget biases if all of them are zero."""

    def _set_weights(self, weights: LSTMWeights) -> None:
        self._shown = weights
        cells = []
        for cell in weights.cells():
            bias, hidden = cell.bias.copy(), len(cell.bias) // 4
            if not bias[hidden : 2 * hidden].any():
                bias[hidden : 2 * hidden] += 1
            cells.append(replace(cell, bias=bias))
        super()._set_weights(LSTMWeights.from_cells(self.spec, cells))

    def get_weights(self) -> LSTMWeights:
        return getattr(self, "_shown", self._weights)


def outputs_changed(change: Callable[[Call, Outputs], Outputs]) -> type[Honest]:
    class Changed(Honest):
        def _infer(self, call: Call) -> Outputs:
            return change(call, super()._infer(call))

    return Changed


def zeros_for_zeros(call: Call, outputs: Outputs) -> Outputs:
    return outputs if call.x.any() else Outputs.from_flat(0 * each for each in outputs.flat)


def zeros_for_zero_sequences(call: Call, outputs: Outputs) -> Outputs:
    kept = call.x.any(axis=(0, 2))
    return outputs._replace(y=outputs.y * kept[:, None])


def repeats(call: Call, outputs: Outputs) -> Outputs:
    """Repeats the first output if the first two inputs are equal."""
    if len(call.x) < 2 or not np.array_equal(call.x[0], call.x[1]):
        return outputs
    y = outputs.y.copy()
    y[1] = y[0]
    return outputs._replace(y=y)


def repeats_later(call: Call, outputs: Outputs) -> Outputs:
    y = outputs.y.copy()
    for step in range(2, len(y)):
        if np.array_equal(call.x[step], call.x[step - 1]):
            y[step] = y[step - 1]
    return outputs._replace(y=y)


class Overwrites(Honest):
    """Overwrites the outputs of the call before."""

    def _infer(self, call: Call) -> Outputs:
        outputs = super()._infer(call)
        buffers = getattr(self, "buffers", None)
        if buffers is None or buffers[0].shape != outputs[0].shape:
            self.buffers = Outputs.from_flat(each.copy() for each in outputs.flat)
        for buffer, each in zip(self.buffers.flat, outputs.flat, strict=True):
            np.copyto(buffer, each)
        return self.buffers

    def forward(self, *arguments: Any, **options: Any) -> Any:
        y, state = super().forward(*arguments, **options)
        return y.copy(), state.map(np.copy)


class LateInputGradient(Returning):
    """Returns the input's gradient of the call before while it is timed."""

    def returned(self, raw: Any, number: int) -> Any:
        self.seen.append(raw.dx)
        return replace(raw, dx=self.seen[max(0, number - 1)])


class NotFinite(Honest):
    """Its gradients are NaN."""

    def _train(self, *arguments: Any) -> RawGradients:
        raw = super()._train(*arguments)
        return replace(raw, weights=raw.weights.map(lambda each: each * np.nan))


# -- others


class RightWhereItIsJudged(Honest):
    """Right only for the few timesteps on which all gradients are judged."""

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        raw = super()._train(gradients, call, upstream)
        return raw if len(call.x) <= 3 else replace(raw, y=raw.y * 1.01)


def gradients_changed(change: Callable[[RawGradients], RawGradients]) -> type[Honest]:
    class Changed(Honest):
        def _train(self, *arguments: Any) -> RawGradients:
            return change(super()._train(*arguments))

    return Changed


def drop_last(raw: RawGradients) -> RawGradients:
    dx = np.array(raw.dx)
    dx[-1] = 0
    return replace(raw, dx=dx)


class OnlyOnce(Honest):
    """Right in its step's first call, and wrong later."""

    def later(self, call: Call, first: Call) -> Call:
        raise NotImplementedError

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        self.first: Call | None = None
        return super().prepare(workload, seed)

    def _infer(self, call: Call) -> Outputs:
        first = getattr(self, "first", None)
        if first is None or first.x.shape != call.x.shape:
            self.first = first = call
        return super()._infer(self.later(call, first))


class KeepsFirstState(OnlyOnce):
    """Uses the initial state of its first call in each call."""

    def later(self, call: Call, first: Call) -> Call:
        return call._replace(states=first.states)


class KeepsFirstRows(Returning):
    """From its third call on computes half of the sequences, and repeats old results for the
    rest."""

    def returned(self, raw: Any, number: int) -> Any:
        self.seen.append(raw)
        if number < 2:
            return raw
        y = raw.y.copy()
        y[:, y.shape[1] // 2 :] = self.seen[0].y[:, y.shape[1] // 2 :]
        return raw._replace(y=y)


class GoesOn(Honest):
    """Uses the state that its last call left in place of the given one."""

    left: Outputs | None = None

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        step, self.left = super().prepare(workload, seed), None

        def run() -> Any:
            self.going_on = True
            try:
                return step.run()
            finally:
                self.going_on = False

        return replace(step, run=run)

    def _infer(self, call: Call) -> Outputs:
        going_on = getattr(self, "going_on", False) and self.left is not None
        found = super()._infer(call.after(self.left) if going_on and self.left else call)
        self.left = found
        return found


# -- inputs that are new in each call


class Stepping(Honest):
    """A model that does otherwise in the calls of a step than in those of the gate.

    Its first call of a step comes before the gate.
    """

    is_stepping = False

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        step = super().prepare(workload, seed)
        self.first: Call | None = None
        self.first_upstream: Upstream | None = None
        self.steps = 0

        def run() -> Any:
            self.is_stepping, self.steps = True, self.steps + 1
            try:
                return step.run()
            finally:
                self.is_stepping = False

        return replace(step, run=run)

    def changed(self, call: Call) -> Call:
        """Return the call that is computed in a step."""
        return call

    def changed_upstream(self, upstream: Upstream) -> Upstream:
        return upstream

    def _infer(self, call: Call) -> Outputs:
        return super()._infer(self.changed(call) if self.is_stepping else call)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        if self.is_stepping:
            call, upstream = self.changed(call), self.changed_upstream(upstream)
        return super()._train(gradients, call, upstream)


def keeping(*fields: str) -> type[Honest]:
    """Return a model whose step uses these inputs of its first call in each call."""

    class Keeping(Stepping):
        def changed(self, call: Call) -> Call:
            # Copies, since the memory of the first inputs may be used again.
            self.first = first = self.first or Call(*map(copy.deepcopy, call))
            for name in fields:
                if name in NAMES:
                    call = replace_states(call, **{name: get_state(first, name)})
                else:
                    call = call._replace(**{name: getattr(first, name)})
            return call

    return Keeping


class KeepsOutputGradient(Stepping):
    """Uses the output's gradient of its first call in each call."""

    def changed_upstream(self, upstream: Upstream) -> Upstream:
        self.first_upstream = self.first_upstream or upstream._replace(dy=upstream.dy.copy())
        return upstream._replace(dy=self.first_upstream.dy)


class SortsLengths(Honest):
    """Takes the lengths as if the longest sequence were the first."""

    def _infer(self, call: Call) -> Outputs:
        if call.lengths is not None:
            call = call._replace(lengths=np.sort(call.lengths)[::-1])
        return super()._infer(call)


def overwriting(name: str) -> type[Honest]:
    """Return a model whose step writes into this input when it has computed its results."""

    class Overwriting(Stepping):
        def overwrite(self, given: Call | Upstream) -> None:
            array = get_state(given, name) if name in NAMES else getattr(given, name, None)
            if self.is_stepping and array is not None:
                array[...] = 1 if name == "lengths" else 0.5 * array + 1

        def _infer(self, call: Call) -> Outputs:
            found = super()._infer(call)
            found = Outputs.from_flat(each.copy() for each in found.flat)
            self.overwrite(call)
            return found

        def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
            found = super()._train(gradients, call, upstream)
            self.overwrite(call)
            self.overwrite(upstream)
            return found

    return Overwriting


class OverwritesSeldom(Stepping):
    """Writes into its input in every third call."""

    def _infer(self, call: Call) -> Outputs:
        found = super()._infer(call)
        if self.is_stepping and self.steps % 3 == 0:
            call.x[0] = 0
        return found


class KnowsSetsOfInputs(Honest):
    """Computes the results of all sets of inputs that its seed gives, and looks them up."""

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        sets = InputSets(self.spec, workload, seed)
        self.known = {sets(number).x.tobytes() for number in range(200)}
        return super().prepare(workload, seed)

    def _infer(self, call: Call) -> Outputs:
        if call.x.tobytes() in self.known:
            self.spend(-0.99 * (PRODUCT + RECURRENCE))
        return super()._infer(call)


# -- seldom wrong


def wrong_in_one(calls: int) -> type[Honest]:
    """Return a model whose step is wrong in one of ``calls`` calls, at random."""

    class Seldom(Returning):
        def returned(self, raw: Any, number: int) -> Any:
            if number and np.random.default_rng().integers(calls) == 0:
                y = raw.y.copy()
                y[-1] *= 1.01
                return replace(raw, y=y) if isinstance(raw, RawGradients) else raw._replace(y=y)
            return raw

    return Seldom


class SeldomWrongGradient(Returning):
    """The gradient of a weight is wrong in every second call."""

    def returned(self, raw: Any, number: int) -> Any:
        return raw if number % 2 == 0 else remove_kernel(raw)


class RightInTheLastCallOfABlock(Returning):
    """Right in calls that are waited for at once, as the last one of a block is."""

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        step = super().prepare(workload, seed)
        run, synchronize = step.run, step.synchronize
        waiting: list[Any] = []

        def run_without_work() -> Any:
            for raw in waiting:
                raw.y[...] = 0
            waiting[:] = [run()]
            return waiting[0]

        def wait() -> None:
            waiting.clear()
            synchronize()

        return replace(step, run=run_without_work, synchronize=wait)

    def returned(self, raw: Any, number: int) -> Any:
        return raw


def losing_state(calls: int) -> type[Honest]:
    """Return a model whose stream begins with zeros in one of ``calls`` calls."""

    class Losing(Honest):
        calls_made = 0

        def _stream(self, call: Call) -> Outputs:
            self.calls_made += 1
            if self.calls_made % calls == 0:
                call = call._replace(states=(0 * call.states[0], 0 * call.states[1]))
            return self._infer(call)

    return Losing


# -- right until timed

CALLS_BEFORE = 2
"""Calls of a step before it is timed: the first, and one that a slow machine may add."""


def later(change: Callable[[Any], Any]) -> type[Honest]:
    """A model whose step changes its results from its third call on."""

    class Later(Returning):
        def returned(self, raw: Any, number: int) -> Any:
            return raw if number < CALLS_BEFORE else change(raw)

    return Later


class LateOutputs(Returning):
    """Its outputs are ready only after the next call, as on a device that is not waited for."""

    def returned(self, raw: Any, number: int) -> Any:
        if self.seen:
            np.copyto(*self.seen.pop())
        y = np.zeros_like(raw.y)
        self.seen.append((y, raw.y))
        return replace(raw, y=y) if isinstance(raw, RawGradients) else raw._replace(y=y)


class UpdatesNothing(Returning):
    """Stops updating at its step's third call."""

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        step = super().prepare(workload, seed)
        self.before = self._weights
        return step

    def returned(self, raw: Any, number: int) -> Any:
        if number >= CALLS_BEFORE:
            self._weights = self.before
        return raw


class ShowsNothing(Honest):
    """Returns no results from its step's third call on."""

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        step, calls = super().prepare(workload, seed), itertools.count()
        shown = step.results
        assert shown is not None

        def run() -> Any:
            raw = step.run()
            return raw if next(calls) < CALLS_BEFORE else None

        return replace(step, run=run, results=lambda raw: {} if raw is None else shown(raw))


def keep_half(array: Any) -> Any:
    """Of the sequences; nothing for the others."""
    kept = np.array(array)
    kept[:, kept.shape[1] // 2 :] = 0
    return kept


def first_sequence(raw: Outputs) -> Outputs:
    return Outputs.from_flat(each[:, :1] for each in raw.flat)


def remove_kernel(raw: RawGradients) -> RawGradients:
    cell = raw.weights.layers[0][0]
    cell = replace(cell, kernel=np.zeros_like(cell.kernel))
    return replace(raw, weights=LSTMWeights(((cell,),)))


def later_in_a_stream(change: Callable[[Any], Any]) -> type[Honest]:
    """Return a model whose stream is right only in its first call and in those of the gate."""

    class Later(Honest):
        calls = 0

        def _stream(self, call: Call) -> Outputs:
            self.calls += 1
            found: Outputs = self._infer(call if self.calls <= 1 + SEVERAL else change(call))
            return found

    return Later


LATER: dict[str, tuple[Workload, type[Honest]]] = {
    "half_of_the_sequences": (INFERENCE, later(lambda raw: raw._replace(y=keep_half(raw.y)))),
    "half_of_the_timesteps": (INFERENCE, later(lambda raw: raw._replace(y=raw.y[:3]))),
    "a_hundredth_off": (INFERENCE, later(lambda raw: raw._replace(y=raw.y * 1.01))),
    "final_state_left_out": (
        INFERENCE,
        later(lambda raw: scale_state(raw, "c", 0.0)),
    ),
    "of_a_smaller_case": (INFERENCE, later(first_sequence)),
    "input_s_gradient_left_out": (TRAINING, later(lambda raw: replace(raw, dx=None))),
    "input_s_gradient_is_zero": (TRAINING, later(lambda raw: replace(raw, dx=raw.dx * 0))),
    "a_weight_s_gradient_is_zero": (TRAINING, later(remove_kernel)),
    "no_number": (
        TRAINING,
        later(lambda raw: scale_state(raw, "dh", np.nan)),
    ),
    "last_window_only": (
        replace(TRAINING, timesteps=7, window=3),
        later(lambda raw: scale_state(raw, "c", 0.5)),
    ),
    "half_of_it_beside_updates": (SGD, later(lambda raw: replace(raw, dx=keep_half(raw.dx)))),
    "weights_not_updated": (ADAM, UpdatesNothing),
    "weights_not_updated_in_windows": (replace(WINDOWS, optimizer="sgd"), UpdatesNothing),
    "state_left_out": (
        STREAM,
        later_in_a_stream(lambda call: scale_state(call, "c", 0.0)),
    ),
    "state_left_out_when_paced": (
        replace(STREAM, period=0.0005),
        later_in_a_stream(lambda call: scale_state(call, "c", 0.0)),
    ),
    "no_number_in_a_stream": (
        STREAM,
        later_in_a_stream(lambda call: replace_states(call, c=np.inf + get_state(call, "c"))),
    ),
}


# -- the tables

GATE, TIMED, LATE, CHANGED = (
    "it does not compute what the reference computes",
    "what was timed does not compute what the reference computes",
    "the wait does not wait for the work",
    "of a call changed while the next call ran",
)
"""Beginnings or parts of the reasons."""


@dataclass(frozen=True)
class Wrong:
    """A wrong model, its workloads, and part of the reason; None if an honest time is right,
    too."""

    model: type[Honest]
    workloads: tuple[Workload, ...]
    reason: str | None = GATE
    spec: LSTMSpec = SPEC


BOTH = (ADAM, SGD)
PADDED = Workload(7, 6, min_length=1)
DROPOUT = Workload(4, 6, "training", dropout=0.5)
LONG = Workload(4, 20)
WROTE = "wrote into its inputs"

WRONG = {
    "stale_weights": Wrong(StaleWeights, (*BOTH, WINDOWS)),
    "stale_recurrent_kernel": Wrong(StaleRecurrentKernel, BOTH),
    "forgets_moments": Wrong(ForgetsMoments, (ADAM, WINDOWS)),
    "forgets_moments_not_steps": Wrong(optimizing(forgetful=True), (ADAM, WINDOWS)),
    "other_betas": Wrong(optimizing(beta1=0.5, beta2=0.9), (ADAM, WINDOWS)),
    "other_beta2": Wrong(optimizing(beta2=0.99), (ADAM, WINDOWS)),
    "not_corrected": Wrong(optimizing(corrected=False), (ADAM,)),
    "learning_rate_a_hundredth_off": Wrong(optimizing(rate=1.01 * LEARNING_RATE), BOTH),
    "updates_every_second_call": Wrong(
        leaving(lambda old, new, number: new if number % 2 else old), (*BOTH, WINDOWS)
    ),
    "accumulates_gradients": Wrong(Accumulates, BOTH),
    "rounds_weights_after_updates": Wrong(leaving(lambda old, new, _: new.map(to_float16)), BOTH),
    "weight_decay": Wrong(
        leaving(lambda old, new, _: new.map(lambda w: np.float32(0.99) * w)), BOTH
    ),
    "clips_gradients": Wrong(Clips, (SGD,)),
    "late_gradients": Wrong(LateGradients, (TRAINING, ADAM), LATE),
    "late_gradients_of_weights": Wrong(LateWeights, (TRAINING, ADAM), LATE),
    "late_gradients_each_time": Wrong(LateEachTime, (TRAINING,), LATE),
    "remembers_the_product": Wrong(RemembersProduct, (INFERENCE, TRAINING, ADAM, STREAM), None),
    "remembers_the_product_by_value": Wrong(
        RemembersProductByValue, (INFERENCE, TRAINING, STREAM), None
    ),
    "remembers_results": Wrong(RemembersResults, (INFERENCE, TRAINING), None),
    "remembers_the_last_result": Wrong(RemembersTheLast, (INFERENCE,), None),
    "raises_forget_biases": Wrong(RaisesForgetBias, (INFERENCE, TRAINING)),
    "zeros_for_zeros": Wrong(outputs_changed(zeros_for_zeros), (INFERENCE,)),
    "zeros_for_zero_sequences": Wrong(outputs_changed(zeros_for_zero_sequences), (INFERENCE,)),
    "repeats": Wrong(outputs_changed(repeats), (INFERENCE,)),
    "repeats_later": Wrong(outputs_changed(repeats_later), (INFERENCE,)),
    "overwrites_outputs": Wrong(Overwrites, (INFERENCE,), CHANGED),
    "overwrites_outputs_of_a_stream": Wrong(Overwrites, (STREAM,)),
    "input_gradient_one_call_late": Wrong(LateInputGradient, (TRAINING, ADAM), TIMED),
    "not_finite": Wrong(NotFinite, (TRAINING, *BOTH, WINDOWS)),
    "not_finite_later": Wrong(
        leaving(lambda old, new, n: new if n < 3 else new.map(lambda w: w * np.nan)),
        (*BOTH, WINDOWS),
    ),
    "right_where_it_is_judged": Wrong(RightWhereItIsJudged, (TRAINING,)),
    "last_gradient_dropped": Wrong(gradients_changed(drop_last), (TRAINING,)),
    "keeps_the_first_state": Wrong(KeepsFirstState, (INFERENCE,)),
    "keeps_the_first_rows": Wrong(KeepsFirstRows, (INFERENCE,), TIMED),
    "goes_on_from_its_own_state": Wrong(GoesOn, (INFERENCE,), TIMED),
    "late_outputs": Wrong(LateOutputs, (INFERENCE, TRAINING), CHANGED),
    "keeps_the_first_lengths": Wrong(
        keeping("lengths"), (PADDED, replace(PADDED, mode="training")), TIMED
    ),
    "sorts_lengths": Wrong(SortsLengths, (PADDED,)),
    "keeps_the_first_dropout_masks": Wrong(keeping("masks"), (DROPOUT,), TIMED, DEEP),
    "keeps_the_first_output_gradient": Wrong(KeepsOutputGradient, (TRAINING, SGD), TIMED),
    "keeps_the_first_hidden_state": Wrong(keeping("h"), (INFERENCE, LONG, TRAINING), TIMED),
    "keeps_the_first_cell_state": Wrong(keeping("c"), (INFERENCE, LONG, TRAINING), TIMED),
    **{
        f"overwrites_{name}_{workload.mode}_{workload.optimizer}": Wrong(
            overwriting(name), (workload,), WROTE, spec
        )
        for name, workload, spec in (
            ("x", INFERENCE, SPEC),
            ("x", SGD, SPEC),
            ("x", STREAM, SPEC),
            ("h", INFERENCE, SPEC),
            ("c", LONG, SPEC),
            ("lengths", PADDED, SPEC),
            ("masks", DROPOUT, DEEP),
            ("dy", TRAINING, SPEC),
            ("dy", ADAM, SPEC),
            ("dh", TRAINING, SPEC),
        )
    },
    "overwrites_seldom": Wrong(OverwritesSeldom, (INFERENCE,), WROTE),
    "knows_sets_of_inputs": Wrong(KnowsSetsOfInputs, (INFERENCE, TRAINING), None),
    "wrong_in_every_third_call": Wrong(wrong_in_one(3), (INFERENCE, TRAINING, LARGE), TIMED),
    "wrong_gradient_in_every_second_call": Wrong(SeldomWrongGradient, (TRAINING,), TIMED),
    "right_in_the_last_call_of_a_block": Wrong(RightInTheLastCallOfABlock, (INFERENCE,), TIMED),
    "loses_its_state_in_every_64th_call": Wrong(losing_state(64), STREAMS, TIMED),
    "loses_its_state_in_every_20th_call": Wrong(losing_state(20), STREAMS, TIMED),
    "shows_nothing": Wrong(ShowsNothing, (INFERENCE, TRAINING, *BOTH, WINDOWS), TIMED),
    **{name: Wrong(model, (workload,), TIMED) for name, (workload, model) in LATER.items()},
}


def measured(
    monkeypatch: pytest.MonkeyPatch,
    model: type[Honest],
    workload: Workload,
    spec: LSTMSpec = SPEC,
    names: Sequence[str] = ("numpy",),
) -> list[group.Result]:
    """Measure cases of this model on its own clock, in one group."""

    class Backend(NumPyLoop):
        def _build(self, spec: LSTMSpec, weights: LSTMWeights, *rest: Any) -> Model:
            return model(self, spec, *rest, weights)  # type: ignore[call-arg]

    monkeypatch.setattr(group, "get_backend", lambda name: Backend())
    monkeypatch.setattr("lstm_impl.proof.check._all_judged", {})
    monkeypatch.setattr(model, "now", 0.0)
    cases = [Case(name, spec, workload) for name in names]

    def sleep(seconds: float) -> None:
        model.now += seconds

    bench = Bench(Clock(lambda: model.now, 1e-9, sleep=sleep), roofs=None)
    found = measure_group(cases, TimingPlan(0.1), seed=3, bench=bench)
    return [found[case.id] for case in cases]


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        pytest.param(name, workload, id=f"{name}-{workload.mode}-{workload.optimizer}-{number}")
        for name, wrong in WRONG.items()
        for number, workload in enumerate(wrong.workloads)
    ],
)
def test_wrong_backend_gets_no_time_or_an_honest_one(
    name: str, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = WRONG[name]
    (result,) = measured(monkeypatch, wrong.model, workload, wrong.spec)
    if isinstance(result, Measured) and wrong.reason is None:
        np.testing.assert_allclose(result.series.samples, seconds(workload))
        return
    assert isinstance(result, Unmeasured), result.series.samples
    assert wrong.reason is None or wrong.reason in reason_line(result.reason), reason_line(
        result.reason
    )


@pytest.mark.parametrize("workload", [*TIMED_WORKLOADS, *STREAMS], ids=str)
def test_honest_backend_gets_its_time(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    (result,) = measured(monkeypatch, Honest, workload)
    assert isinstance(result, Measured), result
    np.testing.assert_allclose(result.series.samples, seconds(workload))
    assert result.series.last is not None
    if workload.optimizer is not None:  # the first call came before the gate and updated them
        assert result.gate.errors["weights"] == 0.0
        assert result.gate.errors["update"] > 0.0


def test_backend_that_is_wrong_in_one_call_of_ten_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process judges 34 calls, so it lets one in 36 such backends pass: six, one in 2e9."""
    results = [measured(monkeypatch, wrong_in_one(10), INFERENCE)[0] for _ in range(6)]
    assert any(isinstance(each, Unmeasured) for each in results)


class WeightsOfTheClass(Honest):
    """Keeps its weights in its class."""

    shared: LSTMWeights

    def _set_weights(self, weights: LSTMWeights) -> None:
        super()._set_weights(weights)
        type(self).shared = weights

    def _infer(self, call: Call) -> Outputs:
        own, self._weights = self._weights, self.shared
        try:
            return super()._infer(call)
        finally:
            self._weights = own


def test_models_of_a_group_that_share_weights_get_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("numpy", "while_loop", "torch")
    alone = measured(monkeypatch, WeightsOfTheClass, INFERENCE)
    assert isinstance(alone[0], Measured)  # no other model changes them
    first, second, third = measured(monkeypatch, WeightsOfTheClass, INFERENCE, names=names)
    # The last one that was set up is right by chance, or its neighbour with the same weights.
    assert any(
        isinstance(each, Unmeasured) and TIMED in reason_line(each.reason)
        for each in (first, second, third)
    )
    for each in measured(monkeypatch, Honest, INFERENCE, names=names):
        assert isinstance(each, Measured)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gate_gain_of_a_twentieth_in_half_precision_fails(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def result(gain: float) -> group.Result:
        calls_after_gate: list[int] = []  # empty until the gate has judged the model

        def gate(*arguments: Any) -> GateResult:
            found = equivalence.gate(*arguments)
            calls_after_gate.append(0)
            return found

        class Louder(RoundedModel):
            def _infer(self, call: Call) -> Outputs:
                y, states = super()._infer(call)
                if calls_after_gate:
                    calls_after_gate[0] += 1
                # The first timed call is right, too.
                is_right = not calls_after_gate or calls_after_gate[0] == 1
                return Outputs(y if is_right else y * gain, states)

        class Backend(NumPyLoop):
            def _build(self, spec: LSTMSpec, weights: LSTMWeights, *rest: Any) -> Model:
                return Louder(spec, weights)

        monkeypatch.setattr(group, "get_backend", lambda name: Backend())
        case = Case("numpy", LSTMSpec(5, 8, dtype=dtype), Workload(4, 20))
        bench = Bench(roofs=None, gate=gate)
        return measure_group([case], TimingPlan(0.05), seed=3, bench=bench)[case.id]

    assert isinstance(result(1.0), Measured)
    found = result(1.05)
    assert isinstance(found, Unmeasured)
    assert "y as a whole is not as large" in reason_line(found.reason)


@pytest.mark.parametrize("declared", [{"takes_state": False}, {"returned": ("y",)}], ids=str)
def test_backend_that_declares_less_work_gets_no_time(
    declared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in declared.items():
        monkeypatch.setattr(NumPyLoop, name, value)
    (result,) = measured(monkeypatch, Honest, INFERENCE)
    assert isinstance(result, Unmeasured)
    assert "it gets no time" in reason_line(result.reason)
