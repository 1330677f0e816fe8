"""Prove that a model computes what the reference computes, on a workload's own shapes.

Outputs, final state and every gradient of the step are compared with the float64 reference, with
the workload's inputs and the model's weights (``comparison.py``); then on other networks and
special numbers (``networks.py``), two of which have bounds that follow from their own condition
(``rounding.py``). In half precision the pattern of the errors is examined. If
an optimizer updates the weights in the same step, the update is compared too. A step that leaves
gradients out is judged by what it computes, and its backend once by all of them.
``docs/equivalence.md`` says which wrong backends each of these stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

import lstm_impl.proof.comparison as comparison
from lstm_impl.call import Call, Results, Upstream
from lstm_impl.cell import DEFAULT
from lstm_impl.model import Model
from lstm_impl.optimizer import NumPyOptimizer
from lstm_impl.proof.comparison import Errors, error, requested_results, results_by_name
from lstm_impl.proof.judge import Judge, few_threads, numpy_judge
from lstm_impl.proof.kinds import describe_error
from lstm_impl.proof.networks import (
    ALMOST_INFINITE,
    SEVERAL,
    SparseNetwork,
    chosen_sequences,
    large_numbers,
    large_updates,
    not_finite,
    reached_by_nan,
    saturated,
    saturated_errors,
    separate_products,
    short_from_full_states,
    special_numbers,
)
from lstm_impl.proof.rounding import deviations
from lstm_impl.spec import Array, FloatArray, LSTMSpec
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, InputSets, Workload


@dataclass(frozen=True)
class GateResult:
    """Say whether a model passed the gate, and how far off each of its results is.

    judge: the name of what computed the results that count as right. errors: the error of each
    array by its name, relative to the size of the array. bounds: the largest error that is allowed,
    by the same names.
    """

    passed: bool
    judge: str
    errors: Mapping[str, float]
    bounds: Mapping[str, float]

    @classmethod
    def of(cls, judge: Judge, errors: Mapping[str, float], bounds: Mapping[str, float]) -> Self:
        """Make the result of the gate, which a model passes if each error is within its bound."""
        passed = all(off <= bounds[name] for name, off in errors.items())
        return cls(passed, judge.name, errors, bounds)

    def describe(self) -> str:
        """Return a sentence for each failed array, the worst first; or the largest error."""
        shares = {name: self.errors[name] / self.bounds[name] for name in self.errors}
        worst = sorted(shares, key=lambda name: -comparison.nan_as_infinity(shares[name]))
        if self.passed:
            name = worst[0]
            return (
                f"equal to the {self.judge}: largest error {self.errors[name]:.1e} of "
                f"{self.bounds[name]:.1e} allowed ({name})"
            )
        return "; ".join(
            describe_error(name, self.judge, self.errors[name], self.bounds[name])
            for name in worst
            if not shares[name] <= 1.0
        )


@dataclass(frozen=True)
class ComparedCall:
    """Hold one call that the gate judged, and everything on which its results depend.

    kind: with which the names of its errors begin, such as ``large``; empty for the workload's own
    network and inputs. weights, inputs, dstate: what the model was given. ours, theirs: the results
    of the model and of the judge, by name. allowed: how far each number may be off, by the name of
    the array: an array of the same shape, or one number for all.
    """

    kind: str
    weights: LSTMWeights
    inputs: Inputs
    dstate: LSTMState
    ours: Mapping[str, FloatArray]
    theirs: Mapping[str, FloatArray]
    allowed: Mapping[str, FloatArray | float]


def gate(
    model: Model,
    workload: Workload,
    seed: int = 0,
    judge: Judge | None = None,
    watch: Callable[[ComparedCall], object] | None = None,
) -> GateResult:
    """Compare ``model`` with the reference, or another judge, on ``workload``'s own shapes.

    If the workload has windows, the first two are compared, with the state carried between them,
    and a shorter last one. With an optimizer, the step that updates the weights computes all this
    from the weights that the model was given; they are set again in the end. The update must be the
    one that the optimizer's formula makes of the step's own gradients. The saturated network,
    special numbers, single products, large numbers, NaN and infinity follow, and for a stream
    several chunks by the step that is timed. A step that leaves gradients out is compared in what
    it computes, and all gradients of its backend once for each spec, on a few timesteps.

    For an approximate backend the errors of outputs and final state are root mean squares. They
    are compared with those of an emulation of int8, also on few timesteps from a large state.

    A model whose weights are fixed is compared with its own weights only.

    watch: is called with each call that was compared, except updates and streams.

    Raises UnsupportedError for what the backend cannot do.
    """
    spec, weights = model.spec, model.given_weights or model.get_weights()
    inputs = workload.inputs(spec, seed)
    if not workload.training:
        inputs = replace(inputs, masks=None)
    judged = _Comparison(model, workload, judge or numpy_judge(spec), watch)
    if model.backend.approximate:
        judged.compare_approximation(weights, inputs)
        return judged.result()
    windows = [inputs.window(part) for part in judged_parts(workload)]
    state = inputs.state
    for window in windows:
        if workload.optimizer is not None:
            judged.begin(weights)
        state = judged.compare_results(weights, replace(window, state=state))
    large, given = saturated(spec, weights, windows[0])
    judged.begin(large)
    judged.compare_saturated(large, given)
    for name, special, given in special_numbers(spec, weights, windows[0]):
        judged.begin(special)
        judged.compare_results(special, given, name)
    # The bounds of these networks follow from the rounding of an LSTM (``rounding.py``). Nobody has
    # derived them for another cell.
    if spec.cell == DEFAULT:
        for make in (separate_products, large_numbers):
            judged.compare_sparse(make(spec, windows[0], seed))
        judged.begin(weights)
        judged.compare_not_finite(weights, windows[0])
    if workload.optimizer is not None:
        judged.compare_updates(weights, seed)
    model.set_weights(weights)
    if workload.training and workload.gradients != "all":
        judged.keep(*_all_gradients(model, workload))
    if workload.streaming:
        judged.keep(*stream_errors(model, judged.judge, weights, workload, seed))
    # A conversion and its inverse can be wrong in the same way: read what was set.
    read_back = zip(model.get_weights().arrays(), weights.arrays(), strict=True)
    judged.errors["weights"] = max(error(ours, theirs) for ours, theirs in read_back)
    judged.bounds["weights"] = comparison.CONSTANT * spec.precision.roundoff
    return judged.result()


@dataclass
class _Comparison:
    """Compare a model with its judge, and keep the errors and bounds that were found so far.

    Where several errors have one name, keep the error that comes closest to its bound.
    """

    model: Model
    workload: Workload
    judge: Judge
    watch: Callable[[ComparedCall], object] | None = None
    errors: Errors = field(default_factory=dict)
    bounds: Errors = field(default_factory=dict)
    # What the judge computes for the first window.
    ordinary: Mapping[str, FloatArray] = field(default_factory=dict)

    def keep(self, found: Mapping[str, float], allowed: Mapping[str, float]) -> None:
        comparison.keep(self.errors, self.bounds, found, allowed)

    def result(self) -> GateResult:
        return GateResult.of(self.judge, self.errors, self.bounds)

    def begin(self, weights: LSTMWeights) -> None:
        """Set these weights and start the optimizer again."""
        self.model.set_weights(weights)
        if self.workload.optimizer is not None:
            self.model.start_optimizer(self.workload.optimizer)

    def compare_results(self, weights: LSTMWeights, inputs: Inputs, special: str = "") -> LSTMState:
        """Compare one call's results and return the final state, for the next window."""
        spec, optimizer = self.model.spec, self.workload.optimizer
        given = self._accepted(inputs)
        ours, theirs = self.results(weights, inputs)
        self.ordinary = self.ordinary or theirs
        timesteps = len(inputs.x)
        self.keep_errors(ours, theirs, timesteps, special)
        by_array = comparison.bounds(spec, self.workload.batch, timesteps, list(theirs))
        self._report(special, weights, given, None, ours, theirs, by_array)
        if optimizer is not None:
            changes = NumPyOptimizer(optimizer).changes(
                [ours[f"d{name}"] for name in weights.names()]
            )
            self.keep_update(weights, changes)
        if not special:
            self.keep(*comparison.gains(spec, ours, theirs, self.workload.batch, timesteps))
            # Could bfloat16 pass for this type, and are there enough numbers to tell?
            shown = [name for name in ("y", *spec.cell.states) if name in theirs]
            numbers = sum(theirs[name].size for name in shown)
            if spec.precision.roundoff == comparison.HALF and numbers >= comparison.ENOUGH_NUMBERS:
                coarse = self._judged(*comparison.rounded(weights, inputs))
                self.keep(*comparison.shared_errors(ours, theirs, coarse, comparison.COARSE))
        complete = all(name in theirs for name in spec.cell.states)
        return state_from(spec, theirs) if complete else given.state

    def compare_saturated(self, weights: LSTMWeights, inputs: Inputs) -> None:
        """Compare the results of the network with large weights."""
        ours, theirs = self.results(weights, inputs)
        found, allowed = saturated_errors(self.model.spec, ours, theirs)
        self.keep(found, allowed)
        by_array = {name.removeprefix("saturated "): most for name, most in allowed.items()}
        given = self._accepted(inputs)
        self._report("saturated", weights, given, None, ours, theirs, by_array)

    def _report(
        self,
        kind: str,
        weights: LSTMWeights,
        inputs: Inputs,
        dstate: LSTMState | None,
        ours: Mapping[str, FloatArray],
        theirs: Mapping[str, FloatArray],
        relative: Mapping[str, float],
    ) -> None:
        """Tell the watcher of a call whose bounds are relative to each array's largest value."""
        if self.watch is None:
            return
        allowed = {
            name: most * largest_finite(theirs[name], comparison.smallest_scale(name))
            for name, most in relative.items()
            if name in theirs
        }
        flow = self._flowing(dstate or final_gradient(inputs.state))
        self.watch(ComparedCall(kind, weights, inputs, flow, ours, theirs, allowed))

    def keep_errors(
        self,
        ours: Mapping[str, FloatArray],
        theirs: Mapping[str, FloatArray],
        timesteps: int,
        special: str = "",
    ) -> None:
        """Add the error and the bound of each array to the result of the gate.

        ours, theirs: the arrays of the backend and of the reference, by name. timesteps: how many
        were computed, with which the bounds grow. special: a word before the names, such as
        ``zeros``, for a network of special numbers.
        """
        found = comparison.compare(ours, theirs)
        allowed = comparison.bounds(self.model.spec, self.workload.batch, timesteps, list(found))
        before = f"{special} " if special else ""
        self.keep(*({before + name: each for name, each in of.items()} for of in (found, allowed)))

    def keep_update(self, before: LSTMWeights, changes: Sequence[FloatArray]) -> None:
        """Judge an update of the weights, and keep its error and its bound.

        before: the weights before the update. changes: what the optimizer's formula adds to each
        array of weights, in the order of ``LSTMWeights.arrays``.
        """
        model = self.model
        after, offset = model.get_weights(), model.backend.bias_offset
        off, most = comparison.update_error(model.spec, before, after, changes, offset)
        self.keep({"update": off}, {"update": most})

    def compare_updates(self, weights: LSTMWeights, seed: int) -> None:
        """Compare consecutive updating calls, each on its own inputs.

        Each must add what the formula makes of the call's own gradients and of the moments of that
        time. The gradients of the first three and of the last are compared with the judge's, for
        the weights of that time. A backend is judged by the whole run once for a spec, and by three
        calls after that.
        """
        spec, workload, model = self.model.spec, self.workload, self.model
        optimizer = workload.optimizer
        assert optimizer is not None
        key = (model.backend.name, model.device, spec, optimizer)
        calls = UPDATES if key in _long_runs_judged else LONG_RUN
        first = workload.first_window()
        given = [
            large_updates(spec, optimizer, weights, first.inputs(spec, seed + number))
            for number in range(UPDATES)
        ]
        weights = given[0][0]
        # The states are too large to be gradients, which ``final_gradient`` makes of them.
        nothing = spec.cell.state_type.zeros(spec, workload.batch)
        self.begin(weights)
        formula, before = NumPyOptimizer(optimizer), model.get_weights()
        for number in range(calls):
            inputs = given[number % UPDATES][1]
            if number >= UPDATES and number % 2:
                # All updates with one sign would carry the weights far away.
                inputs = replace(inputs, dy=-inputs.dy)
            inputs = self._quantized(inputs)
            ours = self.computed(inputs, nothing)
            if number < UPDATES or number == calls - 1:
                theirs = requested_results(self._judged(before, inputs, nothing), workload)
                kind = "updated" if number else ""
                self.keep_errors(ours, theirs, len(inputs.x), kind)
                if number and spec.precision.roundoff >= comparison.HALF:
                    stale = self._judged(weights, inputs, nothing)
                    self.keep(*comparison.shared_errors(ours, theirs, stale, comparison.STALE))
            changes = formula.changes([ours[f"d{name}"] for name in weights.names()])
            after = model.get_weights()
            self.keep_update(before, changes)
            before = after
        _long_runs_judged.add(key)

    def compare_approximation(self, weights: LSTMWeights, inputs: Inputs) -> None:
        """Add the errors of a quantised backend, relative to an emulation of int8, to the result.

        The backend is compared on the inputs of the workload, and on a few timesteps that begin
        with a large state. The second comparison is needed because an LSTM forgets its initial
        state.
        """
        spec = self.model.spec
        short = short_from_full_states(spec, inputs, min(comparison.SHORT, len(inputs.x)))
        for kind, given in (("quantised", inputs), ("short", short)):
            ours, theirs = self.results(weights, given)
            emulated = self._judged(*comparison.rounded_to_int8(weights, self._quantized(given)))
            self.keep(*comparison.emulated_errors(kind, ours, theirs, emulated))
            if given is inputs:
                self.keep(*comparison.approximate_errors(ours, theirs))

    def compare_sparse(self, network: SparseNetwork) -> None:
        """Compare each result of a sparse network; allow only the error that rounding explains."""
        spec = self.model.spec
        self.begin(network.weights)
        inputs, dstate = self._accepted(network.inputs), self._flowing(network.dstate)
        network = replace(network, inputs=inputs, dstate=dstate)
        whole = network.batch(spec)
        ours = self.computed(*whole)
        flowing = network.dstate if self.workload.training else None
        theirs = self.judge.run(network.weights, network.inputs, flowing)
        theirs = self._within_range(self._requested(theirs))
        with few_threads(spec, network.inputs.x.shape[1]):
            rounding: Mapping[str, FloatArray] = deviations(
                spec, network.weights, network.inputs, flowing
            )
        expected = network.spread(ours, theirs)
        found, allowed = comparison.sparse_errors(
            network.name, expected, network.spread(ours, rounding), ours, len(inputs.x)
        )
        failed = any(not found[name] <= allowed[name] for name in found)
        if failed and network.name == "large":
            # Many layers or timesteps with large weights may amplify rounding beyond the first
            # order, by which it is propagated. How far is seen by perturbing the network.
            seen = self._sensitivity(network, theirs, flowing)
            rounding = {name: np.maximum(rounding[name], far) for name, far in seen.items()}
            found, allowed = comparison.sparse_errors(
                network.name, expected, network.spread(ours, rounding), ours, len(inputs.x)
            )
        self.keep(found, allowed)
        if self.watch is not None:
            spread = network.spread(ours, rounding)
            most = {
                name: comparison.largest_by_rounding(
                    network.name, name, spread[name], len(inputs.x)
                )
                for name in expected
            }
            call = ComparedCall(network.name, network.weights, *whole, ours, expected, most)
            self.watch(call)

    def _within_range(self, theirs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return the results that the precision can hold.

        In float16 a gradient that flows back through many layers with large weights overflows in
        right backends too.
        """
        largest = float(np.finfo(np.float32).max)
        if self.model.spec.precision.compute == "float16":
            largest = float(np.finfo(np.float16).max) / SUMMANDS
        return {
            name: array
            for name, array in theirs.items()
            if float(np.max(np.abs(array), initial=0.0)) <= largest
        }

    def _sensitivity(
        self,
        network: SparseNetwork,
        theirs: Mapping[str, FloatArray],
        dstate: LSTMState | None,
    ) -> dict[str, FloatArray]:
        """Return how far results move if all numbers of a network are off by their rounding.

        Sequences of outputs and of gradients of the input have one value for each timestep, since
        errors grow along them. Other arrays have one value.
        """
        largest: dict[str, FloatArray] = {}
        rng = np.random.default_rng(0)
        u = self.model.spec.precision.roundoff

        def perturbed(array: FloatArray) -> FloatArray:
            wide = np.asarray(array, np.float64)
            return np.asarray(wide * (1.0 + u * rng.standard_normal(wide.shape)))

        for _ in range(PERTURBATIONS):
            inputs = network.inputs
            moved = replace(inputs, x=perturbed(inputs.x), state=inputs.state.map(perturbed))
            weights = network.weights.map(perturbed)
            results = self.judge.run(weights, moved, dstate and dstate.map(perturbed))
            for name, right in theirs.items():
                off = np.abs(np.asarray(results[name], np.float64) - right)
                axes = (1, 2) if name in ("y", "dx") else None
                far = np.broadcast_to(off.max(axis=axes, keepdims=True), off.shape)
                largest[name] = np.maximum(far, largest.get(name, 0.0))
        return largest

    def compare_not_finite(self, weights: LSTMWeights, inputs: Inputs) -> None:
        """Compare results for inputs with NaN and infinity, which ``Model.forward`` refuses.

        The sequence with NaN must have NaN where the reference has it, and nowhere else, unless the
        backend says that it hides NaN. The others must be as if they were alone. Gradients of
        weights are left out: they are sums over all sequences.
        """
        self.begin(weights)
        inputs = self._accepted(inputs)
        given, rows, step = not_finite(inputs)
        with np.errstate(invalid="ignore"):  # infinity minus infinity, in NumPy
            results = self.computed_unchecked(given)
        names = [n for n in ("y", "h", "c", "dx", "dh", "dc") if n in self._returned(results)]
        ours = {name: results[name] for name in names}
        if "y" not in ours:
            return  # a step of Keras returns only its loss, and no other call takes such inputs
        most = comparison.bounds(self.model.spec, 1, len(given.x), list(ours))
        for value, row in rows.items():
            # Padding after NaN may be zero, or NaN times zero.
            length = len(given.x) if given.lengths is None else int(given.lengths[row])
            mine: dict[str, FloatArray] = {
                name: ours[name][:, row] for name in ("y", "h", "c") if name in ours
            }
            mine["y"] = mine["y"][:length]
            if math.isinf(value):
                kind, right = "infinity", self._almost_infinite(weights, given, row)
            elif self.model.backend.hides_nan:
                continue
            else:
                kind, right = "nan", self._with_nan(row, step, length)
            right["y"] = right["y"][:length]
            right = {name: right[name] for name in mine}
            found = comparison.compare_not_finite(mine, right, infinite=kind == "infinity")
            self.keep(*comparison.named_errors(kind, found, most))
        if self.watch is not None:
            with np.errstate(invalid="ignore"):
                right = self._returned(numpy_judge(self.model.spec).run(weights, given, None))
            forward = {name: results[name] for name in right}
            self._report("not finite", weights, given, None, forward, right, most)
        others = np.setdiff1d(np.arange(given.x.shape[1]), list(rows.values()))
        if others.size:
            found = comparison.compare(
                {name: ours[name][:, others] for name in ours},
                {name: self.ordinary[name][:, others] for name in ours},
            )
            self.keep(*comparison.named_errors("spread", found, most))

    def _with_nan(self, row: int, step: int, length: int) -> dict[str, FloatArray]:
        """Return the right results of a sequence with NaN, from those without."""
        spec, y = self.model.spec, self.ordinary["y"][:length, row]
        state = np.full((spec.state_layers, spec.hidden_size), np.nan)
        return {"y": np.where(reached_by_nan(spec, y, step), np.nan, y), "h": state, "c": state}

    def _almost_infinite(
        self, weights: LSTMWeights, inputs: Inputs, row: int
    ) -> dict[str, FloatArray]:
        """Return the right results of a sequence with infinity."""
        one = chosen_sequences(inputs, np.array([row]))
        large = np.where(np.isinf(one.x), ALMOST_INFINITE, np.asarray(one.x, np.float64))
        found = self.judge.run(weights, replace(one, x=large), None)
        return {name: array[:, 0] for name, array in found.items()}

    def _accepted(self, inputs: Inputs) -> Inputs:
        """Return the inputs with what the backend takes: it may take no state, or return no y."""
        inputs, backend = self._quantized(inputs), self.model.backend
        if not backend.takes_state:
            inputs = replace(inputs, state=inputs.state.map(np.zeros_like))
        if backend.returned is not None and "y" not in backend.returned:
            inputs = replace(inputs, dy=np.zeros_like(inputs.dy))
        return inputs

    def _flowing(self, dstate: LSTMState) -> LSTMState:
        """Return the gradient of the final state, zero for a state that is not returned."""
        returned = self.model.backend.returned
        if returned is None:
            return dstate
        arrays = dstate.by_name().items()
        kept = (each if name in returned else np.zeros_like(each) for name, each in arrays)
        return type(dstate)(*kept)

    def _requested(self, theirs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return those of a judge's results that the model's step computes too."""
        return self._returned(requested_results(theirs, self.workload))

    def _returned(self, results: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Leave out what the backend does not return, and the gradient of a state it lacks."""
        backend, states = self.model.backend, self.model.spec.cell.states
        left_out: set[str] = set()
        if backend.returned is not None:
            left_out |= {"y", *states} - set(backend.returned)
        if not backend.takes_state:
            left_out |= {f"d{name}" for name in states}
        return {name: array for name, array in results.items() if name not in left_out}

    def _quantized(self, inputs: Inputs) -> Inputs:
        """Return the inputs with the state rounded to what the precision holds."""
        return replace(inputs, state=inputs.state.map(self.model.spec.quantize))

    def results(
        self, weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None = None
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Return the model's and the judge's results of the workload's step."""
        inputs = self._accepted(inputs)
        flow = self._flowing(dstate or final_gradient(inputs.state))
        ours = self._returned(self.computed(inputs, flow))
        theirs = self._judged(weights, inputs, flow)
        return ours, self._requested(theirs)

    def computed(self, inputs: Inputs, dstate: LSTMState) -> dict[str, FloatArray]:
        """Return the model's results of the workload's step."""
        model, workload = self.model, self.workload

        def swap(array: FloatArray) -> FloatArray:
            return np.swapaxes(array, 0, 1) if model.batch_major else array

        state = inputs.state
        x, lengths, masks = swap(inputs.x), inputs.lengths, inputs.masks
        gradients = None
        if workload.training:  # the step that will be timed, its own outputs too
            y, final, gradients = model.forward_and_gradients(
                x,
                swap(inputs.dy),
                state,
                dstate,
                lengths,
                masks=masks,
                optimizer=workload.optimizer,
                of=workload.gradients,
            )
            if gradients.x is not None:
                gradients = replace(gradients, x=swap(gradients.x))
        else:
            y, final = model.forward(x, state, lengths, masks=masks)
        return results_by_name(swap(y), final, gradients)

    def computed_unchecked(self, inputs: Inputs) -> Results:
        """Return the model's results for inputs that ``Model.forward`` refuses.

        They go to the function that is timed, without the check that ``computed`` makes of them.
        """
        model, workload = self.model, self.workload

        def place(array: Array | None, sequence: bool = False) -> Any:
            if array is None:
                return None
            swapped = model.batch_major and sequence
            return model._to_device(np.swapaxes(array, 0, 1) if swapped else array)

        state, flow = inputs.state, final_gradient(inputs.state)
        states = tuple(map(place, state))
        call = Call(place(inputs.x, True), states, place(inputs.lengths), place(inputs.masks))
        if not workload.training:
            return model._host_results(model._infer(call))
        upstream = Upstream(place(inputs.dy, True), tuple(map(place, flow)))
        if workload.optimizer is None:
            return model._host_results(model._train(workload.gradients, call, upstream))
        return model._host_results(
            model._train_and_update(workload.optimizer, workload.gradients, call, upstream)
        )

    def _judged(
        self, weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None = None
    ) -> dict[str, FloatArray]:
        flowing = dstate or final_gradient(inputs.state)
        return self.judge.run(weights, inputs, flowing if self.workload.training else None)


UPDATES = 3
"""Consecutive updating calls that are judged: the second has moments and weights that the first
left, and an update that is made in every second call only is missing in one of them."""

LONG_RUN = 12
"""Updating calls of a backend that are judged once. Some errors come late: Adam's bias correction
changes an update by 10% in the tenth, and a step that is traced again may lose its weights."""

_long_runs_judged: set[tuple[object, ...]] = set()
"""Backends whose long run was judged in this process, with device, spec and optimizer."""

SUMMANDS = 16
"""How much larger a summand of a gradient in float16 may be than the gradient itself."""

PERTURBATIONS = 2
"""Perturbed networks whose results show how far a network amplifies rounding."""

FEW = 3
"""Timesteps and sequences on which all gradients of a backend are judged, enough for any order."""

_all_judged: dict[tuple[object, ...], GateResult] = {}
"""The gate's results for steps with all gradients, by backend, device, spec and small workload."""


def _all_gradients(model: Model, workload: Workload) -> tuple[Errors, Errors]:
    """Return errors and bounds of a step with all gradients, on a small workload of this kind."""
    timesteps = min(FEW, workload.timesteps)
    small = replace(
        workload,
        batch=min(FEW, workload.batch),
        timesteps=timesteps,
        min_length=workload.min_length and min(workload.min_length, timesteps),
        window=None,
        optimizer=None,
        gradients="all",
    )
    if model.backend.refusal(model.spec, small):
        return {}, {}
    key = (model.backend.name, model.device, model.spec, small)
    if key not in _all_judged:
        _all_judged[key] = gate(model, small)
    return dict(_all_judged[key].errors), dict(_all_judged[key].bounds)


def largest_finite(array: FloatArray, least: float) -> float:
    """Return the largest magnitude of the finite numbers of an array, at least ``least``."""
    finite = np.isfinite(array)
    return float(np.max(np.abs(array), initial=least, where=finite))


LEAST_FLOW = (0.375, 0.25)
"""Smallest sizes of the gradients of the final states, h and c, which every type holds exactly.

Among a few numbers near zero, a step that ignores a gradient would differ by less than the bounds
of half precision. The two differ, so that a step that mixes them up is noticed."""


def final_gradient(state: LSTMState) -> LSTMState:
    """Return a gradient for the final state, no number of which is near zero.

    The gradient of each state has the numbers of another one, so that they cannot be mixed up.
    """

    def gradient(like: FloatArray, least: float) -> FloatArray:
        sizes = np.maximum(np.abs(like), np.asarray(least, like.dtype))
        return np.asarray(np.copysign(sizes, like))

    first, *others = state
    rotated = zip((*others, first), LEAST_FLOW, strict=False)
    return type(state)(*(gradient(like, least) for like, least in rotated))


def state_from(spec: LSTMSpec, results: Mapping[str, FloatArray]) -> LSTMState:
    """Return the state that results have by the names of the cell's states."""
    state: LSTMState = spec.cell.state_type(*(results[name] for name in spec.cell.states))
    return state


def judged_parts(workload: Workload) -> list[slice]:
    """Return the parts of a sequence to judge: the first two windows, and a shorter last one."""
    windows = workload.windows()
    last = windows[2:][-1:]
    shorter = [each for each in last if each.stop - each.start < windows[0].stop]
    return windows[:2] + shorter


def stream_errors(
    model: Model, judge: Judge, weights: LSTMWeights, workload: Workload, seed: int
) -> tuple[Errors, Errors]:
    """Return errors and bounds of the first chunks of a stream, named ``streamed NAME``."""
    step = model.prepare(workload)
    assert step.results is not None
    assert step.place is not None
    sets, numbers = InputSets(model.spec, workload, seed), range(1, 1 + SEVERAL)
    step.place(map(sets, numbers))
    outputs = []
    for _ in numbers:
        outputs.append(step.run())
        step.synchronize()
    ours = joined([step.results(each) for each in outputs])
    # The step begins with the state that ``prepare`` draws.
    begun = InputSets(model.spec, workload).first.state
    theirs = judge.run(weights, joined_inputs(sets, numbers, begun), None)
    pair = _compared(model.spec, workload, ours, theirs)
    found, allowed = ({f"streamed {name}": each for name, each in of.items()} for of in pair)
    return found, allowed


def joined(results: Sequence[Results]) -> dict[str, FloatArray]:
    """Return the results of consecutive calls as of one sequence: all outputs, the last state."""
    y = np.concatenate([each["y"] for each in results])
    return {**results[-1], "y": y}


def joined_inputs(sets: InputSets, numbers: Sequence[int], state: LSTMState) -> Inputs:
    """Return the inputs of consecutive calls as one sequence that begins with this state."""
    x = np.concatenate([sets(number).x for number in numbers])
    return replace(sets.first, x=x, state=state)


def _compared(
    spec: LSTMSpec,
    workload: Workload,
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
) -> tuple[Errors, Errors]:
    found = comparison.compare(ours, theirs)
    allowed = comparison.bounds(spec, workload.batch, len(theirs["y"]), list(found))
    more, most = comparison.gains(spec, ours, theirs, workload.batch)
    return found | more, allowed | most
