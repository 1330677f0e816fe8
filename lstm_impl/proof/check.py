"""Prove that a model computes what the reference computes, on a workload's own shapes.

The gate compares outputs, the final state and every gradient of the step with the float64
reference, on the workload's inputs with the model's weights (``comparison.py``). It then compares
other networks and special numbers (``networks.py``). The bounds for two of these networks follow
from how the networks amplify rounding errors (``rounding.py``). In half precision, the gate also
examines the pattern of the errors. If an optimizer updates the weights in the same step, the update
is compared too. A step that leaves out some gradients is judged by what it computes, and its
backend is judged once by all gradients. ``docs/equivalence.md`` lists which wrong backends each of
these comparisons stops.
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
from lstm_impl.proof.comparison import (
    Errors,
    collect_results,
    measure_error,
    select_requested_results,
)
from lstm_impl.proof.judge import Judge, limit_threads, make_numpy_judge
from lstm_impl.proof.kinds import describe_error
from lstm_impl.proof.networks import (
    ALMOST_INFINITE,
    SEVERAL,
    SparseNetwork,
    compare_saturated_results,
    enlarge_updates,
    find_nan_outputs,
    insert_not_finite,
    make_network_of_large_numbers,
    make_network_of_separate_products,
    make_reset_patterns,
    make_special_networks,
    name_saturated_error,
    saturate_network,
    select_sequences,
    shorten_from_full_states,
)
from lstm_impl.spec import Array, FloatArray, LSTMSpec
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, InputSets, Workload


@dataclass(frozen=True)
class GateResult:
    """Hold whether a model passed the gate, and how large the error of each result is.

    Attributes
    ----------
    passed
        Whether each error is within its bound.
    judge
        The name of what computed the results that count as right.
    errors
        The error of each array, by the name of the error. Most are relative to the size of the
        array.
    bounds
        The largest error that is allowed, by the same names.
    """

    passed: bool
    judge: str
    errors: Mapping[str, float]
    bounds: Mapping[str, float]

    @classmethod
    def of(cls, judge: Judge, errors: Mapping[str, float], bounds: Mapping[str, float]) -> Self:
        """Make the result of the gate. The model passes if each error is within its bound."""
        passed = all(off <= bounds[name] for name, off in errors.items())
        return cls(passed, judge.name, errors, bounds)

    def describe(self) -> str:
        """Describe each failed comparison, the worst first, or else the largest error."""
        shares = {name: self.errors[name] / self.bounds[name] for name in self.errors}
        worst = sorted(shares, key=lambda name: -comparison.replace_nan_by_infinity(shares[name]))
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

    Attributes
    ----------
    kind
        The word with which the names of its errors begin, such as ``large``. It is empty for the
        workload's own network and inputs.
    weights, inputs, dstate
        What the model was given: weights, inputs and the gradient of the final state.
    ours, theirs
        The results of the model and of the judge, by name.
    allowed
        How far each number may be off, by the name of the array. It is an array of the same shape,
        or one number for all.
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
    """Compare a model with the reference, or with another judge, on a workload's own shapes.

    The gate compares, in this order:

    1. The workload's own inputs. If the workload has windows, the first two are compared, with the
       state carried between them, and the last one if it is shorter. With an optimizer, the step
       that updates the weights computes all results, each time from the weights that the model was
       given.
    2. Resets at special places, if sequences of the workload start over. What follows has none.
    3. The saturated network, special numbers, separate products, large numbers, NaN and infinity.
    4. Updates of the weights, which must be those that the optimizer's formula makes of the step's
       own gradients.
    5. For a step that leaves out gradients: all gradients of its backend, once for each spec, on a
       few timesteps.
    6. For a stream: several chunks, computed by the step that is timed.

    In the end the model has its original weights again. A model whose weights cannot be changed is
    compared only with its own weights. An approximate backend is compared by the root mean squares
    of the errors of its outputs and final state. Their bounds come from an emulation of int8, which
    is also compared on few timesteps from a large state.

    Parameters
    ----------
    model
        The model to judge.
    workload
        The sizes, the mode, and what the step computes.
    seed
        The seed of the inputs and of the other networks.
    judge
        What computes the right results. By default, it is the float64 reference.
    watch
        A function that is called with each compared call, except updates and streams.

    Raises
    ------
    UnsupportedError
        If the backend cannot compute the workload.
    """
    spec, weights = model.spec, model.given_weights or model.get_weights()
    inputs = workload.inputs(spec, seed)
    if not workload.training:
        inputs = replace(inputs, masks=None)
    judged = _Comparison(model, workload, judge or make_numpy_judge(spec), watch)
    if model.backend.approximate:
        judged.compare_approximation(weights, inputs)
        return judged.make_result()
    windows = [inputs.window(part) for part in select_judged_parts(workload)]
    state = inputs.state
    for window in windows:
        if workload.optimizer is not None:
            judged.begin(weights)
        state = judged.compare_results(weights, replace(window, state=state))
    for name, given in make_reset_patterns(windows[0]):
        judged.begin(weights)
        judged.compare_results(weights, given, f"reset {name}")
    # What follows shows other mistakes, in sequences that never start over.
    plain = windows[0].without_resets()
    large, given = saturate_network(spec, weights, plain)
    judged.begin(large)
    judged.compare_saturated(large, given)
    for name, special, given in make_special_networks(spec, weights, plain):
        judged.begin(special)
        judged.compare_results(special, given, name)
    # The bounds of these networks follow from the rounding errors of an LSTM (``rounding.py``).
    # Nobody has derived them for another cell.
    if spec.cell == DEFAULT:
        for make in (make_network_of_separate_products, make_network_of_large_numbers):
            judged.compare_sparse(make(spec, plain, seed))
        judged.begin(weights)
        judged.compare_not_finite(weights, plain)
    if workload.optimizer is not None:
        judged.compare_updates(weights, seed)
    model.set_weights(weights)
    if workload.training and workload.gradients != "all":
        judged.keep(*_compare_all_gradients(model, workload))
    if workload.streaming:
        judged.keep(*measure_stream_errors(model, judged.judge, weights, workload, seed))
    # A conversion of weights and its inverse can be wrong in the same way, so what was set is read
    # back.
    read_back = zip(model.get_weights().arrays(), weights.arrays(), strict=True)
    judged.errors["weights"] = max(measure_error(ours, theirs) for ours, theirs in read_back)
    judged.bounds["weights"] = comparison.CONSTANT * spec.precision.roundoff
    return judged.make_result()


@dataclass
class _Comparison:
    """Compare a model with its judge, and keep the errors and bounds that were found so far.

    If several errors have the same name, the one that comes closest to its bound is kept.
    """

    model: Model
    workload: Workload
    judge: Judge
    watch: Callable[[ComparedCall], object] | None = None
    errors: Errors = field(default_factory=dict)
    bounds: Errors = field(default_factory=dict)
    # The judge's results for the first window, if its sequences never start over.
    ordinary: Mapping[str, FloatArray] = field(default_factory=dict)

    def keep(self, found: Mapping[str, float], allowed: Mapping[str, float]) -> None:
        comparison.keep_worst(self.errors, self.bounds, found, allowed)

    def make_result(self) -> GateResult:
        return GateResult.of(self.judge, self.errors, self.bounds)

    def begin(self, weights: LSTMWeights) -> None:
        """Set the weights of the model, and restart its optimizer."""
        self.model.set_weights(weights)
        if self.workload.optimizer is not None:
            self.model.start_optimizer(self.workload.optimizer)

    def compare_results(self, weights: LSTMWeights, inputs: Inputs, special: str = "") -> LSTMState:
        """Compare one call's results, and return the state with which the next window begins."""
        spec, optimizer = self.model.spec, self.workload.optimizer
        given = self._replace_ignored_inputs(inputs)
        ours, theirs = self.compute_both(weights, inputs)
        if inputs.resets is None:
            self.ordinary = self.ordinary or theirs
        timesteps = len(inputs.x)
        self.keep_errors(ours, theirs, timesteps, special)
        by_array = comparison.compute_bounds(spec, self.workload.batch, timesteps, list(theirs))
        self._report_to_watcher(special, weights, given, None, ours, theirs, by_array)
        if optimizer is not None:
            changes = NumPyOptimizer(optimizer).changes(
                [ours[comparison.name_gradient(name)] for name in weights.names()]
            )
            self.keep_update(weights, changes)
        if not special:
            self.keep(*comparison.measure_gains(spec, ours, theirs, self.workload.batch, timesteps))
            # Could a bfloat16 computation pass for this type, and are there enough numbers to tell
            # them apart?
            shown = [name for name in ("y", *spec.cell.states) if name in theirs]
            numbers = sum(theirs[name].size for name in shown)
            if spec.precision.roundoff == comparison.HALF and numbers >= comparison.ENOUGH_NUMBERS:
                coarse = self._compute_judge_results(
                    *comparison.round_inputs_to_bfloat16(weights, inputs)
                )
                self.keep(
                    *comparison.measure_shared_errors(ours, theirs, coarse, comparison.COARSE)
                )
        complete = all(name in theirs for name in spec.cell.states)
        return select_state(spec, theirs) if complete else given.state

    def compare_saturated(self, weights: LSTMWeights, inputs: Inputs) -> None:
        """Compare the results of the network with large weights and inputs."""
        ours, theirs = self.compute_both(weights, inputs)
        found, allowed = compare_saturated_results(self.model.spec, ours, theirs)
        self.keep(found, allowed)
        by_array = {
            name: allowed[kind]
            for name in theirs
            if (kind := name_saturated_error(name)) in allowed
        }
        given = self._replace_ignored_inputs(inputs)
        self._report_to_watcher("saturated", weights, given, None, ours, theirs, by_array)

    def _report_to_watcher(
        self,
        kind: str,
        weights: LSTMWeights,
        inputs: Inputs,
        dstate: LSTMState | None,
        ours: Mapping[str, FloatArray],
        theirs: Mapping[str, FloatArray],
        relative: Mapping[str, float],
    ) -> None:
        """Report a call to the watcher. Its bounds are relative to each array's maximum."""
        if self.watch is None:
            return
        allowed = {
            name: most * find_largest_finite(theirs[name], comparison.find_smallest_scale(name))
            for name, most in relative.items()
            if name in theirs
        }
        flow = self._mask_final_gradient(dstate or make_final_gradient(inputs.state))
        self.watch(ComparedCall(kind, weights, inputs, flow, ours, theirs, allowed))

    def keep_errors(
        self,
        ours: Mapping[str, FloatArray],
        theirs: Mapping[str, FloatArray],
        timesteps: int,
        special: str = "",
    ) -> None:
        """Add the error and the bound of each array to the result of the gate.

        Parameters
        ----------
        ours, theirs
            The results of the model and of the judge, by name.
        timesteps
            The number of timesteps, with which the bounds grow.
        special
            The word before each name, such as ``zeros``, in a network of special numbers.
        """
        found = comparison.compare(ours, theirs)
        allowed = comparison.compute_bounds(
            self.model.spec, self.workload.batch, timesteps, list(found)
        )
        before = f"{special} " if special else ""
        self.keep(*({before + name: each for name, each in of.items()} for of in (found, allowed)))

    def keep_update(self, before: LSTMWeights, changes: Sequence[FloatArray]) -> None:
        """Judge an update of the weights, and keep its error and its bound.

        Parameters
        ----------
        before
            The weights before the update.
        changes
            What the optimizer's formula adds to each array, in the order of ``LSTMWeights.arrays``.
        """
        model = self.model
        after, offset = model.get_weights(), model.backend.bias_offset
        off, most = comparison.measure_update_error(model.spec, before, after, changes, offset)
        self.keep({"update": off}, {"update": most})

    def compare_updates(self, weights: LSTMWeights, seed: int) -> None:
        """Compare consecutive calls that update the weights, each on its own inputs.

        Each call must add what the optimizer's formula makes of the call's own gradients and of the
        moments so far. The gradients of the first three calls and of the last one are compared with
        the judge's, for the weights of that time. A backend is judged by ``LONG_RUN`` calls once
        for each spec, and by ``UPDATES`` calls after that.
        """
        spec, workload, model = self.model.spec, self.workload, self.model
        optimizer = workload.optimizer
        assert optimizer is not None
        key = (model.backend.name, model.device, spec, optimizer)
        calls = UPDATES if key in _long_runs_judged else LONG_RUN
        first = workload.first_window()
        given = [
            enlarge_updates(spec, optimizer, weights, first.inputs(spec, seed + number))
            for number in range(UPDATES)
        ]
        weights = given[0][0]
        # The states are too large to be gradients, which ``make_final_gradient`` would make of
        # them.
        nothing = spec.cell.state_type.zeros(spec, workload.batch)
        self.begin(weights)
        formula, before = NumPyOptimizer(optimizer), model.get_weights()
        for number in range(calls):
            inputs = given[number % UPDATES][1]
            if number >= UPDATES and number % 2:
                # If all updates had the same sign, the weights would move far away.
                inputs = replace(inputs, dy=-inputs.dy)
            inputs = self._quantize_state(inputs)
            ours = self.compute(inputs, nothing)
            if number < UPDATES or number == calls - 1:
                theirs = select_requested_results(
                    self._compute_judge_results(before, inputs, nothing), workload
                )
                kind = "updated" if number else ""
                self.keep_errors(ours, theirs, len(inputs.x), kind)
                if number and spec.precision.roundoff >= comparison.HALF:
                    stale = self._compute_judge_results(weights, inputs, nothing)
                    self.keep(
                        *comparison.measure_shared_errors(ours, theirs, stale, comparison.STALE)
                    )
            changes = formula.changes(
                [ours[comparison.name_gradient(name)] for name in weights.names()]
            )
            after = model.get_weights()
            self.keep_update(before, changes)
            before = after
        _long_runs_judged.add(key)

    def compare_approximation(self, weights: LSTMWeights, inputs: Inputs) -> None:
        """Compare a quantised backend with the reference, within bounds from an emulation of int8.

        The backend is compared on the inputs of the workload, and on a few timesteps that begin
        with a large state. The second comparison is needed because an LSTM forgets its initial
        state.
        """
        spec = self.model.spec
        short = shorten_from_full_states(spec, inputs, min(comparison.SHORT, len(inputs.x)))
        for kind, given in (("quantised", inputs), ("short", short)):
            ours, theirs = self.compute_both(weights, given)
            emulated = self._compute_judge_results(
                *comparison.round_to_int8(weights, self._quantize_state(given))
            )
            self.keep(*comparison.measure_emulated_errors(kind, ours, theirs, emulated))
            if given is inputs:
                self.keep(*comparison.measure_approximate_errors(ours, theirs))

    def compare_sparse(self, network: SparseNetwork) -> None:
        """Compare the results of a sparse network, and allow only what rounding explains."""
        spec = self.model.spec
        self.begin(network.weights)
        inputs, dstate = (
            self._replace_ignored_inputs(network.inputs),
            self._mask_final_gradient(network.dstate),
        )
        network = replace(network, inputs=inputs, dstate=dstate)
        whole = network.batch(spec)
        ours = self.compute(*whole)
        flowing = network.dstate if self.workload.training else None
        theirs = self.judge.run(network.weights, network.inputs, flowing)
        theirs = self._select_representable(self._select_requested(theirs))
        with limit_threads(spec, network.inputs.x.shape[1]):
            rounding: Mapping[str, FloatArray] = self.judge.estimate(
                spec, network.weights, network.inputs, flowing
            )
        expected = network.spread(ours, theirs)
        found, allowed = comparison.measure_sparse_errors(
            network.name, expected, network.spread(ours, rounding), ours, len(inputs.x)
        )
        failed = any(not found[name] <= allowed[name] for name in found)
        if failed and network.name == "large":
            # With large weights, many layers or timesteps can amplify rounding errors beyond the
            # first order, by which they are propagated. Perturbing the network shows how far.
            seen = self._measure_sensitivity(network, theirs, flowing)
            rounding = {name: np.maximum(rounding[name], far) for name, far in seen.items()}
            found, allowed = comparison.measure_sparse_errors(
                network.name, expected, network.spread(ours, rounding), ours, len(inputs.x)
            )
        self.keep(found, allowed)
        if self.watch is not None:
            spread = network.spread(ours, rounding)
            most = {
                name: comparison.limit_rounding_error(
                    network.name, name, spread[name], len(inputs.x)
                )
                for name in expected
            }
            call = ComparedCall(network.name, network.weights, *whole, ours, expected, most)
            self.watch(call)

    def _select_representable(self, theirs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return the results that the precision can represent.

        In float16, a gradient that flows back through many layers with large weights overflows even
        in right backends.
        """
        largest = float(np.finfo(np.float32).max)
        if self.model.spec.precision.compute == "float16":
            largest = float(np.finfo(np.float16).max) / SUMMANDS
        return {
            name: array
            for name, array in theirs.items()
            if float(np.max(np.abs(array), initial=0.0)) <= largest
        }

    def _measure_sensitivity(
        self,
        network: SparseNetwork,
        theirs: Mapping[str, FloatArray],
        dstate: LSTMState | None,
    ) -> dict[str, FloatArray]:
        """Return how far the results move if all numbers are perturbed by their rounding.

        Outputs and gradients of the input have one value for each timestep, because errors grow
        along the sequence. Other arrays have one value.
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
        """Compare the results for inputs with NaN and infinity, which ``Model.forward`` refuses.

        The sequence with NaN must have NaN exactly where the reference has it, unless the backend
        declares that it hides NaN. The other sequences must have the results that they have alone.
        Gradients of weights are left out, because they are sums over all sequences.
        """
        self.begin(weights)
        inputs = self._replace_ignored_inputs(inputs)
        if self.workload.reset_rate:  # no call without resets was compared so far
            self.ordinary = self._select_requested(self._compute_judge_results(weights, inputs))
        given, rows, step = insert_not_finite(inputs)
        with np.errstate(invalid="ignore"):  # NumPy warns about infinity minus infinity.
            results = self.compute_unchecked(given)
        names = [
            n for n in ("y", "h", "c", "dx", "dh", "dc") if n in self._select_returned(results)
        ]
        ours = {name: results[name] for name in names}
        if "y" not in ours:
            # A step of Keras returns only its loss, and its other calls do not take such inputs.
            return
        most = comparison.compute_bounds(self.model.spec, 1, len(given.x), list(ours))
        for value, row in rows.items():
            # After the NaN, padding may hold zeros, or NaN times zero.
            length = len(given.x) if given.lengths is None else int(given.lengths[row])
            mine: dict[str, FloatArray] = {
                name: ours[name][:, row] for name in ("y", "h", "c") if name in ours
            }
            mine["y"] = mine["y"][:length]
            if math.isinf(value):
                kind, right = "infinity", self._compute_almost_infinite(weights, given, row)
            elif self.model.backend.hides_nan:
                continue
            else:
                kind, right = "nan", self._insert_nan(row, step, length)
            right["y"] = right["y"][:length]
            right = {name: right[name] for name in mine}
            found = comparison.compare_not_finite(mine, right, infinite=kind == "infinity")
            self.keep(*comparison.name_errors(kind, found, most))
        if self.watch is not None:
            with np.errstate(invalid="ignore"):
                right = self._select_returned(
                    make_numpy_judge(self.model.spec).run(weights, given, None)
                )
            forward = {name: results[name] for name in right}
            self._report_to_watcher("not finite", weights, given, None, forward, right, most)
        others = np.setdiff1d(np.arange(given.x.shape[1]), list(rows.values()))
        if others.size:
            found = comparison.compare(
                {name: ours[name][:, others] for name in ours},
                {name: self.ordinary[name][:, others] for name in ours},
            )
            self.keep(*comparison.name_errors("spread", found, most))

    def _insert_nan(self, row: int, step: int, length: int) -> dict[str, FloatArray]:
        """Return the right results of a sequence with NaN, from its results without NaN."""
        spec, y = self.model.spec, self.ordinary["y"][:length, row]
        state = np.full((spec.state_layers, spec.hidden_size), np.nan)
        return {"y": np.where(find_nan_outputs(spec, y, step), np.nan, y), "h": state, "c": state}

    def _compute_almost_infinite(
        self, weights: LSTMWeights, inputs: Inputs, row: int
    ) -> dict[str, FloatArray]:
        """Return the right results of a sequence with infinity."""
        one = select_sequences(inputs, np.array([row]))
        large = np.where(np.isinf(one.x), ALMOST_INFINITE, np.asarray(one.x, np.float64))
        found = self.judge.run(weights, replace(one, x=large), None)
        return {name: array[:, 0] for name, array in found.items()}

    def _replace_ignored_inputs(self, inputs: Inputs) -> Inputs:
        """Put zeros in place of inputs that the backend does not take."""
        inputs, backend = self._quantize_state(inputs), self.model.backend
        if not backend.takes_state:
            inputs = replace(inputs, state=inputs.state.map(np.zeros_like))
        if backend.returned is not None and "y" not in backend.returned:
            inputs = replace(inputs, dy=np.zeros_like(inputs.dy))
        return inputs

    def _mask_final_gradient(self, dstate: LSTMState) -> LSTMState:
        """Return the gradient of the final state, with zeros for a state that is not returned."""
        returned = self.model.backend.returned
        if returned is None:
            return dstate
        arrays = dstate.by_name().items()
        kept = (each if name in returned else np.zeros_like(each) for name, each in arrays)
        return type(dstate)(*kept)

    def _select_requested(self, theirs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Select the results of a judge that the model's step computes too."""
        return self._select_returned(select_requested_results(theirs, self.workload))

    def _select_returned(self, results: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Leave out results that the backend does not return, and gradients it cannot have."""
        backend, states = self.model.backend, self.model.spec.cell.states
        left_out: set[str] = set()
        if backend.returned is not None:
            left_out |= {"y", *states} - set(backend.returned)
        if not backend.takes_state:
            left_out |= set(map(comparison.name_gradient, states))
        return {name: array for name, array in results.items() if name not in left_out}

    def _quantize_state(self, inputs: Inputs) -> Inputs:
        """Round the initial state to what the precision can represent."""
        return replace(inputs, state=inputs.state.map(self.model.spec.quantize))

    def compute_both(
        self, weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None = None
    ) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Return the results of the workload's step from the model and from the judge."""
        inputs = self._replace_ignored_inputs(inputs)
        flow = self._mask_final_gradient(dstate or make_final_gradient(inputs.state))
        ours = self._select_returned(self.compute(inputs, flow))
        theirs = self._compute_judge_results(weights, inputs, flow)
        return ours, self._select_requested(theirs)

    def compute(self, inputs: Inputs, dstate: LSTMState) -> dict[str, FloatArray]:
        """Compute the workload's step with the model, and return its results."""
        model, workload = self.model, self.workload

        def swap(array: FloatArray) -> FloatArray:
            return np.swapaxes(array, 0, 1) if model.batch_major else array

        state = inputs.state
        x, lengths = swap(inputs.x), inputs.lengths
        how: dict[str, Any] = {"masks": inputs.masks}
        if inputs.resets is not None:
            resets = inputs.resets.T if model.batch_major else inputs.resets
            how |= {"resets": resets, "reset_to": inputs.reset_to}
        gradients = None
        # The step that will be timed computes these results, including its own outputs.
        if workload.training:
            y, final, gradients = model.forward_and_gradients(
                x,
                swap(inputs.dy),
                state,
                dstate,
                lengths,
                optimizer=workload.optimizer,
                of=workload.gradients,
                **how,
            )
            if gradients.x is not None:
                gradients = replace(gradients, x=swap(gradients.x))
        else:
            y, final = model.forward(x, state, lengths, **how)
        return collect_results(swap(y), final, gradients)

    def compute_unchecked(self, inputs: Inputs) -> Results:
        """Compute the workload's step on inputs that ``Model.forward`` refuses.

        The inputs go directly to the function that is timed, without the checks that
        ``Model.forward`` makes.
        """
        model, workload = self.model, self.workload

        def place(array: Array | None, sequence: bool = False) -> Any:
            if array is None:
                return None
            swapped = model.batch_major and sequence
            return model._to_device(np.swapaxes(array, 0, 1) if swapped else array)

        state, flow = inputs.state, make_final_gradient(inputs.state)
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

    def _compute_judge_results(
        self, weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None = None
    ) -> dict[str, FloatArray]:
        flowing = dstate or make_final_gradient(inputs.state)
        return self.judge.run(weights, inputs, flowing if self.workload.training else None)


UPDATES = 3
"""The number of consecutive updating calls that are judged. The second call has the moments and
weights that the first one left. If a backend updates only in every second call, one of the three
shows it."""

LONG_RUN = 12
"""The number of updating calls in the long run by which a backend is judged once. Some errors come
late: Adam's bias correction still changes the tenth update by 10%, and a step that is traced again
may lose its weights."""

_long_runs_judged: set[tuple[object, ...]] = set()
"""The backends whose long run was judged in this process, with device, spec and optimizer."""

SUMMANDS = 16
"""How many times as large as a gradient in float16 the terms of its sum may be."""

PERTURBATIONS = 2
"""The number of perturbed networks whose results show how far a network amplifies rounding."""

FEW = 3
"""The number of timesteps and of sequences on which all gradients of a backend are judged. Three of
each are enough to show that they are in the wrong order."""

_all_judged: dict[tuple[object, ...], GateResult] = {}
"""The gate's results for steps with all gradients, by backend, device, spec and small workload."""


def _compare_all_gradients(model: Model, workload: Workload) -> tuple[Errors, Errors]:
    """Return the errors and bounds of a small step with all gradients."""
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


def find_largest_finite(array: FloatArray, least: float) -> float:
    """Return the largest magnitude of the finite numbers of an array, but at least ``least``."""
    finite = np.isfinite(array)
    return float(np.max(np.abs(array), initial=least, where=finite))


LEAST_FLOW = (0.375, 0.25)
"""The smallest magnitudes of the gradients of the final states h and c. All types represent them
exactly.

Among a few numbers near zero, a step that ignores a gradient would differ by less than the bounds
of half precision. The two magnitudes differ, so that a step that exchanges the gradients is found.
"""


def make_final_gradient(state: LSTMState) -> LSTMState:
    """Return a gradient of the final state that has no number near zero.

    The gradient of each state is made from the numbers of another state. So a step that uses a
    state in place of its gradient is found.
    """

    def gradient(like: FloatArray, least: float) -> FloatArray:
        sizes = np.maximum(np.abs(like), np.asarray(least, like.dtype))
        return np.asarray(np.copysign(sizes, like))

    first, *others = state
    rotated = zip((*others, first), LEAST_FLOW, strict=False)
    return type(state)(*(gradient(like, least) for like, least in rotated))


def select_state(spec: LSTMSpec, results: Mapping[str, FloatArray]) -> LSTMState:
    """Return the state among results, by the names of the cell's states."""
    state: LSTMState = spec.cell.state_type(*(results[name] for name in spec.cell.states))
    return state


def select_judged_parts(workload: Workload) -> list[slice]:
    """Return the first two windows of a sequence, and the last one if it is shorter."""
    windows = workload.windows()
    last = windows[2:][-1:]
    shorter = [each for each in last if each.stop - each.start < windows[0].stop]
    return windows[:2] + shorter


def measure_stream_errors(
    model: Model, judge: Judge, weights: LSTMWeights, workload: Workload, seed: int
) -> tuple[Errors, Errors]:
    """Compare a stream's first chunks, and return errors and bounds such as ``streamed y``."""
    step = model.prepare(workload)
    assert step.results is not None
    assert step.place is not None
    sets, numbers = InputSets(model.spec, workload, seed), range(1, 1 + SEVERAL)
    step.place(map(sets, numbers))
    outputs = []
    for _ in numbers:
        outputs.append(step.run())
        step.synchronize()
    ours = join_results([step.results(each) for each in outputs])
    # The step begins with the state that ``prepare`` draws.
    begun = InputSets(model.spec, workload).first.state
    theirs = judge.run(weights, join_inputs(sets, numbers, begun), None)
    pair = _compare_stream(model.spec, workload, ours, theirs)
    found, allowed = ({f"streamed {name}": each for name, each in of.items()} for of in pair)
    return found, allowed


def join_results(results: Sequence[Results]) -> dict[str, FloatArray]:
    """Join the results of consecutive calls: take all outputs and the last state."""
    y = np.concatenate([each["y"] for each in results])
    return {**results[-1], "y": y}


def join_inputs(sets: InputSets, numbers: Sequence[int], state: LSTMState) -> Inputs:
    """Join the inputs of consecutive calls to one sequence that begins with this state."""
    x = np.concatenate([sets(number).x for number in numbers])
    resets = None
    if sets.first.resets is not None:
        parts = (sets(number).resets for number in numbers)
        resets = np.concatenate([each for each in parts if each is not None])
    return replace(sets.first, x=x, state=state, resets=resets)


def _compare_stream(
    spec: LSTMSpec,
    workload: Workload,
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
) -> tuple[Errors, Errors]:
    found = comparison.compare(ours, theirs)
    allowed = comparison.compute_bounds(spec, workload.batch, len(theirs["y"]), list(found))
    more, most = comparison.measure_gains(spec, ours, theirs, workload.batch)
    return found | more, allowed | most
