"""The gate: a backend is timed only after it has computed what the reference computes.

Outputs, final state and every gradient of the step are compared with the float64 reference on the
case's own shapes, inputs and weights. The error of an array is its largest deviation over the
reference's largest magnitude. The bound is derived from the precision, the number of timesteps and
the sizes (see ``bounds``); ``docs/equivalence.md`` has the derivation and what it catches. What
these numbers cannot show, a saturated network (``saturated.py``) and, in half precision, the look
of the errors (``structure.py``) do. Where an optimizer updates the weights in the same step, what
that step adds to them is judged too. A step that leaves gradients out is judged by what it
computes, and its backend once by all of them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import threadpoolctl

from bench.measuring import saturated, structure
from bench.measuring.judged import Judged
from lstm_impl import reference
from lstm_impl.backend import Backend, Model, get_backend, input_seed
from lstm_impl.optimizer import BETA2, LEARNING_RATE, NumPyOptimizer
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.state import LSTMGradients, LSTMState
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Inputs, Workload, differentiated

CONSTANT = 4.0
"""Safety over the random-walk model: a maximum over many elements lies about four standard
deviations out. The largest share of a bound that any backend was seen to use is 0.6, in half
precision over one timestep; 0.1 is usual (``docs/equivalence.md``)."""

CEILING = 0.125
"""No precision is too coarse to be judged: mixing up gates or dropping a bias moves outputs by more
than this, so a bound above it would certify nothing."""

SMALLEST_SCALE = 0.1
"""Outputs and gradients of such a network are about this large or larger. An array whose largest
value is smaller has few elements that happen to cancel; its error is not relative to the rest."""

REFERENCE_OPERATIONS = 2e11
"""The NumPy reference does about 45 Gflop/s on two cores: above this it would take over 5 s."""

REFERENCE_BYTES = 2 * 2**30
"""The reference keeps every gate and state in float64; above this a framework judges instead."""

SHARED_PRODUCT = 1e8
"""Operations of a timestep's products, some 5 ms on one core, from which on several threads are
worth it. Smaller ones are shared out all the same by NumPy's OpenBLAS, whose threads then wait for
one another in a busy loop: beside a thread pool that keeps the other core, 960 timesteps of 2e6
operations took 13 s with two threads and 0.5 s with one."""

JUDGES = ("while_loop+hoisted", "torch", "jax_scan")
"""Float64 backends that may judge large cases, the first that is available on the CPU."""

Errors = dict[str, float]


@dataclass(frozen=True)
class GateResult:
    """What the gate found: each array's error and its bound, by name, and who judged."""

    passed: bool
    judge: str
    errors: Mapping[str, float]
    bounds: Mapping[str, float]

    def describe(self) -> str:
        """One line a failed array, the worst first; or the largest share of a bound used."""
        shares = {name: self.errors[name] / self.bounds[name] for name in self.errors}
        worst = sorted(shares, key=lambda name: -_order(shares[name]))
        if self.passed:
            name = worst[0]
            return (
                f"equal to the {self.judge}: largest error {self.errors[name]:.1e} of "
                f"{self.bounds[name]:.1e} allowed ({name})"
            )
        return "; ".join(
            _complaint(name, self.judge, self.errors[name], self.bounds[name])
            for name in worst
            if not shares[name] <= 1.0
        )


def _complaint(name: str, judge: str, found: float, allowed: float) -> str:
    """What is wrong, by the kind of check that the name begins with."""
    kind, _, array = name.partition(" ")
    numbers = f"{found:.2e}, {allowed:.2e} allowed"
    if kind == "saturated":
        return (
            f"with kernels and inputs 8 times as large {array} differs from the {judge}, relative "
            f"root mean square {numbers}"
        )
    if kind == "whole":
        return f"{array} as a whole is not as large as that of the {judge}: off by {numbers}"
    if kind == "unit":
        return f"a unit of {array} is not as large as that of the {judge}: off by {numbers}"
    if "bfloat16" in name:
        return f"it seems to compute in bfloat16: {name} {numbers}"
    return (
        f"{name} differs from the {judge} by {found:.2e} of its largest value, "
        f"{allowed:.2e} allowed"
    )


def gate(model: Model, workload: Workload, seed: int = 0, judge: Judge | None = None) -> GateResult:
    """Compare ``model`` with the reference on ``workload``'s own shapes.

    A stream cut into windows is compared over its first two windows, state carried from one to the
    other, and the shorter last one if there is one: the windows between are the same computation.
    In inference mode the gradients are not part of the work and are not compared. The judge is the
    one that fits the size, unless one is given.

    With an optimizer it is the updating step that computes all this, each time from the weights
    that the model was given, which it has again in the end. The update must be the formula's for
    the step's own gradients, which are those of the reference within their bounds.

    Last comes the saturated network, in the first window's number of timesteps.

    A step that does not differentiate everything is compared in what it computes. That its backend
    could compute the rest is judged too, once for each spec, on a few timesteps of a few sequences.
    """
    spec, weights = model.spec, model.given_weights or model.get_weights()
    inputs = workload.inputs(spec, seed)
    if not workload.training:
        inputs = Inputs(inputs.x, inputs.dy, inputs.state, inputs.lengths, None)
    parts = _parts(workload)
    errors: Errors = {}
    bounds_: Errors = {}
    state = inputs.state
    judge = judge or choose_judge(spec, workload)

    def keep(found: Mapping[str, float], allowed: Mapping[str, float]) -> None:
        for name, off in found.items():
            if name not in errors or not off / allowed[name] <= errors[name] / bounds_[name]:
                errors[name], bounds_[name] = off, allowed[name]

    def start(these: LSTMWeights) -> None:
        model.set_weights(these)  # without what the steps before have added
        if workload.optimizer is not None:
            model.start_optimizer(workload.optimizer)

    for part in parts:
        if workload.optimizer is not None:
            start(weights)
        given = replace(inputs, state=state)
        ours, theirs = _results(model, judge, weights, given, part, workload)
        found = compare(ours, theirs)
        allowed = bounds(spec, workload.batch, part.stop - part.start, list(found))
        if workload.optimizer is not None:
            gradients = [ours[f"d{name}"] for name in weights.names()]
            found["update"], allowed["update"] = update_error(
                spec, workload.optimizer, weights, model.get_weights(), gradients
            )
        keep(found, allowed)
        keep(*structure.gains(spec, ours, theirs))
        if structure.may_be_coarser(spec, theirs):
            coarse_weights, coarse_inputs = structure.rounded(weights, given)
            dstate = final_gradient(coarse_inputs.state) if workload.training else None
            coarse = _judged(judge, spec, coarse_weights, coarse_inputs, part, dstate)
            keep(*structure.coarseness(ours, theirs, coarse))
        state = LSTMState(theirs["h"], theirs["c"])
    large, given = saturated.saturated(spec, weights, inputs, parts[0])
    start(large)
    keep(
        *saturated.errors(
            spec, *_results(model, judge, large, given, parts[0], workload), SMALLEST_SCALE
        )
    )
    model.set_weights(weights)
    if workload.training and workload.gradients != "all":
        keep(*_everything(model, workload))
    # A conversion and its inverse could be wrong alike: the weights must come back as they went in.
    read_back = zip(model.get_weights().arrays(), weights.arrays(), strict=True)
    errors["weights"] = max(error(ours, theirs) for ours, theirs in read_back)
    bounds_["weights"] = CONSTANT * spec.precision.roundoff
    passed = all(errors[name] <= bounds_[name] for name in errors)
    return GateResult(passed, judge.name, errors, bounds_)


FEW = 3
"""Timesteps and sequences on which all gradients of a backend are judged: as few as show an order
of time and of sequences."""

_all_judged: dict[tuple[object, ...], GateResult] = {}
"""What the gate said of steps with all gradients, by backend, device, spec and small workload."""


def _everything(
    model: Model, workload: Workload
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Errors and bounds of a step with all gradients, on a small workload of the same kind."""
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
    key = (model.backend.name, model.device, model.spec, small)
    if key not in _all_judged:
        _all_judged[key] = gate(model, small, judge=numpy_judge(model.spec))
    return _all_judged[key].errors, _all_judged[key].bounds


FOLLOWED = 20 * LEARNING_RATE
"""More that results may be off after updates of the weights: where a gradient is nearly zero, Adam
moves a weight by the learning rate in the direction of its sign, which is rounding's."""

MOVED = 0.25
"""How far what a timed step has added to the weights may be from what the optimizer's formula adds,
by its root mean square, for the same reason. An update that is not made is off by 1."""


def gate_last(
    model: Model,
    workload: Workload,
    seed: int,
    number: int,
    ours: Mapping[str, FloatArray],
    judge: Judge | None = None,
) -> GateResult:
    """Compare what a step computed when it was timed with the reference.

    seed: of ``Model.prepare``. number: which set of inputs it worked on. ours: ``Step.results`` of
    the call. It is compared with all that the step works through, window after window: the last
    one's results, and the final state. With an optimizer the call must have been the first after
    ``Step.restart``, and the model's weights be those that it left; the reference makes the same
    updates by the formula.
    """
    spec, weights = model.spec, model.given_weights or model.get_weights()
    judge = judge or choose_judge(spec, workload)
    digest = hashlib.sha256(f"{judge.name} {spec} {workload} {seed} {number}".encode())
    for array in weights.arrays():
        digest.update(np.ascontiguousarray(array).tobytes())
    theirs = _recalled(
        digest.hexdigest(), lambda: _worked_through(judge, spec, weights, workload, seed, number)
    )
    followed = LSTMWeights.from_arrays(spec, [theirs[f"left {name}"] for name in weights.names()])
    theirs = {name: array for name, array in theirs.items() if not name.startswith("left ")}
    theirs = asked_for(theirs, workload)
    missing = [name for name in theirs if name not in ours]
    found = dict.fromkeys(missing, math.inf)
    theirs = {name: array for name, array in theirs.items() if name not in missing}
    found |= compare(ours, theirs)
    allowed = bounds(spec, workload.batch, workload.timesteps, list(found))
    more, most = structure.gains(spec, ours, theirs)
    found, allowed = found | more, allowed | most
    if workload.optimizer is not None:
        allowed = {name: bound + FOLLOWED for name, bound in allowed.items()}
        found["update"] = _moved(weights, model.get_weights(), followed)
        allowed["update"] = MOVED
    passed = all(found[name] <= allowed[name] for name in found)
    return GateResult(passed, judge.name, found, allowed)


def _worked_through(
    judge: Judge, spec: LSTMSpec, weights: LSTMWeights, workload: Workload, seed: int, number: int
) -> dict[str, FloatArray]:
    """What a step computes in the end, and the weights that it leaves, as ``left NAME``."""
    inputs = workload.inputs(spec, input_seed(seed, number))
    if not workload.training:
        inputs = replace(inputs, masks=None)
    optimizer = NumPyOptimizer(workload.optimizer) if workload.optimizer else None
    parts, state, zero = workload.windows(), inputs.state, LSTMState.zeros(spec, workload.batch)
    found: dict[str, FloatArray] = {}
    for part in parts:
        needed = workload.training and (optimizer is not None or part == parts[-1])
        found = named(*judge.run(weights, inputs, part, state, zero if needed else None))
        state = LSTMState(found["h"], found["c"])
        if optimizer is not None:
            changes = optimizer.changes([found[f"d{name}"] for name in weights.names()])
            pairs = zip(weights.arrays(), changes, strict=True)
            weights = LSTMWeights.from_arrays(spec, [old + change for old, change in pairs])
    left = zip(weights.names(), weights.arrays(), strict=True)
    return found | {f"left {name}": array for name, array in left}


def _moved(before: LSTMWeights, after: LSTMWeights, expected: LSTMWeights) -> float:
    """How far the weights' way is from the one expected, relative to it: root mean squares."""

    def flat(weights: LSTMWeights) -> FloatArray:
        return np.concatenate([np.ravel(each).astype(np.float64) for each in weights.arrays()])

    way = flat(expected) - flat(before)
    off = flat(after) - flat(expected)
    if not np.all(np.isfinite(off)):
        return math.inf
    return float(np.sqrt(np.mean(off**2) / np.mean(way**2)))


def bounds(spec: LSTMSpec, batch: int, timesteps: int, names: list[str]) -> Errors:
    """The largest allowed relative error of each array.

    Rounding errors are modelled as independent (Higham & Mary 2019): a sum of n products is off by
    about sqrt(n) units of roundoff (one unit if products are accumulated in float32, as all half
    precision units do), the recurrence adds such an error at each of T steps and neither the gates
    nor a network with random weights amplify it, so it grows as sqrt(T); each further layer feeds
    on the one below. The gradient of a weight is also a sum over B*T steps. The result is
    multiplied by ``CONSTANT`` and never above ``CEILING``.
    """
    u = spec.precision.roundoff
    single = 2.0**-24
    fan_in = max(spec.input_size, spec.output_size) + spec.hidden_size + 1
    # Half and TF32 round each factor once (u) and accumulate in float32; but sums over time are
    # kept in the compute type by some backends, so those count with u.
    per_step = u * math.sqrt(fan_in) if u <= single else u + single * math.sqrt(fan_in)
    forward = per_step * math.sqrt(timesteps) * math.sqrt(spec.num_layers)
    tf32 = spec.dtype == "tf32"
    sums = (single if tf32 else u) * math.sqrt(batch * timesteps if u <= single else timesteps)
    by_kind = {
        "forward": forward,
        "flow": 2.0 * forward,
        "weight": 2.0 * forward + sums,
    }
    return {name: min(CEILING, CONSTANT * by_kind[_kind(name)]) for name in names}


def _kind(name: str) -> str:
    if name in ("y", "h", "c"):
        return "forward"
    return "flow" if name in ("dx", "dh", "dc") else "weight"


def compare(ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]) -> Errors:
    """The error of each array: its largest deviation over the reference's largest magnitude."""
    return {name: error(ours[name], theirs[name], SMALLEST_SCALE) for name in theirs}


def error(ours: npt.ArrayLike, theirs: npt.ArrayLike, smallest: float = 0.0) -> float:
    """max|ours - theirs| / max|theirs|, or ``smallest`` if that is larger; infinite for NaN or
    another shape."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or not np.all(np.isfinite(a)):
        return math.inf
    scale = float(np.max(np.abs(b), initial=smallest))
    deviation = float(np.max(np.abs(a - b), initial=0.0))
    if scale == 0.0:
        return 0.0 if deviation == 0.0 else math.inf
    return deviation / scale


def update_error(
    spec: LSTMSpec,
    optimizer: str,
    before: LSTMWeights,
    after: LSTMWeights,
    gradients: Sequence[FloatArray],
) -> tuple[float, float]:
    """How far an optimizer's first update is from its formula for these gradients, and how far it
    may be: of the array of weights where it uses up most of that.

    Relative to the largest change, or to that of a gradient of ``SMALLEST_SCALE``. Changes are
    small beside weights, so most of the bound is the rounding of the weights to which they are
    added; the rest is Adam's ``1 - BETA2**step``, which loses digits.
    """
    u = 2.0**-53 if spec.precision.variable == "float64" else 2.0**-24
    worst = (0.0, 1.0)
    changes = NumPyOptimizer(optimizer).changes(gradients)
    for old, new, change in zip(before.arrays(), after.arrays(), changes, strict=True):
        smallest = LEARNING_RATE * SMALLEST_SCALE
        moved = np.asarray(new, np.float64) - np.asarray(old, np.float64)
        found = error(moved, change, smallest)
        scale = float(np.max(np.abs(change), initial=smallest))
        share = float(np.max(np.abs(new), initial=0.0)) / scale + 1.0 / (1.0 - BETA2)
        allowed = min(CEILING, CONSTANT * u * share)
        if not found / allowed <= worst[0] / worst[1]:
            worst = (found, allowed)
    return worst


def named(
    y: FloatArray, state: LSTMState, gradients: LSTMGradients | None
) -> dict[str, FloatArray]:
    """All results by the names the gate reports: y, h, c, dx, dh, dc, dlayer0.forward.kernel."""
    arrays: dict[str, FloatArray] = {"y": y, "h": state.h, "c": state.c}
    if gradients is not None:
        if gradients.x is not None:
            arrays["dx"] = gradients.x
        if gradients.state is not None:
            arrays |= {"dh": gradients.state.h, "dc": gradients.state.c}
        arrays |= {
            f"d{name}": array
            for name, array in zip(
                gradients.weights.names(), gradients.weights.arrays(), strict=True
            )
        }
    return arrays


# -- the judge


@dataclass(frozen=True)
class Judge:
    """Whose results count as right: a name for the record, and how it computes them.

    run: from weights, inputs, the part of them that is meant, the initial state, and the gradient
        that flows into the final state; without one, no gradients.
    """

    name: str
    run: Callable[
        [LSTMWeights, Inputs, slice, LSTMState, LSTMState | None],
        tuple[FloatArray, LSTMState, LSTMGradients | None],
    ]


def few_threads(spec: LSTMSpec, batch: int) -> contextlib.AbstractContextManager[object]:
    """While it lasts, NumPy's products take one thread if those of a timestep are small."""
    rows = max(spec.input_size, spec.output_size) + spec.hidden_size
    if 2.0 * batch * rows * 4 * spec.hidden_size >= SHARED_PRODUCT:
        return contextlib.nullcontext()
    one: contextlib.AbstractContextManager[object]
    one = threadpoolctl.threadpool_limits(1, user_api="blas")
    return one


def reference_cost(spec: LSTMSpec, batch: int, timesteps: int, training: bool) -> tuple[float, int]:
    """Operations, and bytes kept, of the NumPy reference on these sizes."""
    operations = 2.0 * spec.parameter_count * batch * timesteps * (3 if training else 1)
    features = sum(
        spec.num_directions * (6 * spec.hidden_size + spec.layer_input_size(layer))
        for layer in range(spec.num_layers)
    )
    return operations, 8 * batch * timesteps * features


def choose_judge(spec: LSTMSpec, workload: Workload) -> Judge:
    """The NumPy reference, or a float64 backend proven against it where that takes too long."""
    timesteps = max(part.stop - part.start for part in _parts(workload))
    operations, kept = reference_cost(spec, workload.batch, timesteps, workload.training)
    if operations > REFERENCE_OPERATIONS or kept > REFERENCE_BYTES:
        for name in JUDGES:
            backend = get_backend(name)
            double = replace(spec, dtype="float64")
            if backend.availability("cpu") and not backend.refusal(double, workload):
                prove(name, double)
                return _framework_judge(backend, double)
    return numpy_judge(spec)


@functools.cache
def prove(name: str, spec: LSTMSpec) -> None:
    """Check a float64 judge against the reference: this network, two sequences, four steps.

    Raises RuntimeError, with the gate's words, if it is no judge.
    """
    model = get_backend(name).build(spec, LSTMWeights.random(spec, seed=1), "cpu")
    workload = Workload(batch=2, timesteps=4, mode="training")
    result = gate(model, workload, seed=1, judge=numpy_judge(spec))
    if not result.passed:
        raise RuntimeError(f"{name} cannot judge in float64: {result.describe()}")


def _framework_judge(backend: Backend, spec: LSTMSpec) -> Judge:
    def run(
        weights: LSTMWeights,
        inputs: Inputs,
        part: slice,
        state: LSTMState,
        dstate: LSTMState | None,
    ) -> tuple[FloatArray, LSTMState, LSTMGradients | None]:
        model = backend.build(spec, weights, "cpu")
        masks = None if inputs.masks is None else inputs.masks[:, part]
        if dstate is None:
            y, final = model.forward(inputs.x[part], state, inputs.lengths, masks=masks)
            return y, final, None
        return model.forward_and_gradients(
            inputs.x[part],
            inputs.dy[part],
            state,
            dstate,
            inputs.lengths,
            masks=masks,
        )

    return Judge(f"float64 {backend.name} (itself equal to the NumPy reference)", run)


def numpy_judge(spec: LSTMSpec) -> Judge:
    """The float64 NumPy reference."""

    def run(
        weights: LSTMWeights,
        inputs: Inputs,
        part: slice,
        state: LSTMState,
        dstate: LSTMState | None,
    ) -> tuple[FloatArray, LSTMState, LSTMGradients | None]:
        masks = None if inputs.masks is None else inputs.masks[:, part]
        with few_threads(spec, inputs.x.shape[1]):
            if dstate is None:
                y, final = reference.forward(
                    spec, weights, inputs.x[part], state, inputs.lengths, masks
                )
                return y, final, None
            return reference.forward_and_gradients(
                spec,
                weights,
                inputs.x[part],
                inputs.dy[part],
                state,
                dstate,
                inputs.lengths,
                masks,
            )

    return Judge("float64 NumPy reference", run)


def final_gradient(state: LSTMState) -> LSTMState:
    """A gradient that flows into the final state: any numbers that are not zero will do."""
    return LSTMState(h=state.c, c=state.h)


def _results(
    model: Model,
    judge: Judge,
    weights: LSTMWeights,
    inputs: Inputs,
    part: slice,
    workload: Workload,
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    def swap(array: FloatArray) -> FloatArray:
        return np.swapaxes(array, 0, 1) if model.batch_major else array

    # Both get the very same numbers: what the precision can hold of the state.
    quantize = model.spec.quantize
    state = LSTMState(quantize(inputs.state.h), quantize(inputs.state.c))
    inputs = replace(inputs, state=state)
    masks = None if inputs.masks is None else inputs.masks[:, part]
    x = swap(inputs.x[part])
    gradients = None
    if workload.training:  # the step that will be timed, its own outputs too
        y, final, gradients = model.forward_and_gradients(
            x,
            swap(inputs.dy[part]),
            state,
            final_gradient(state),
            inputs.lengths,
            masks=masks,
            optimizer=workload.optimizer,
            of=workload.gradients,
        )
        if gradients.x is not None:
            gradients = replace(gradients, x=swap(gradients.x))
    else:
        y, final = model.forward(x, state, inputs.lengths, masks=masks)
    dstate = final_gradient(state) if workload.training else None
    theirs = _judged(judge, model.spec, weights, inputs, part, dstate)
    return named(swap(y), final, gradients), asked_for(theirs, workload)


def asked_for(theirs: Mapping[str, FloatArray], workload: Workload) -> dict[str, FloatArray]:
    """Of all that a judge computes, what the workload's step is asked for."""
    flow = ("dx", "dh", "dc")
    left_out = set(flow) - set(differentiated(workload.gradients, *flow))
    return {name: array for name, array in theirs.items() if name not in left_out}


_remembered: dict[str, dict[str, FloatArray]] = {}
"""What the judge said last, by everything that it depends on: the backends of one group are judged
one after the other on the same numbers."""

REMEMBERED_BYTES = 2**29
"""Of what the judge said. A case asks it three to eight times, which is some megabytes of answers;
the largest in any suite are 100 MB each, and are judged anew for each backend rather than kept."""


def _judged(
    judge: Judge,
    spec: LSTMSpec,
    weights: LSTMWeights,
    inputs: Inputs,
    part: slice,
    dstate: LSTMState | None,
) -> dict[str, FloatArray]:
    state = inputs.state
    digest = hashlib.sha256(f"{judge.name} {spec} {part} {dstate is not None}".encode())
    flowing = () if dstate is None else (dstate.h, dstate.c)
    optional = [array for array in (inputs.lengths, inputs.masks) if array is not None]
    optional += flowing
    for array in (*weights.arrays(), inputs.x, inputs.dy, state.h, state.c, *optional):
        digest.update(np.ascontiguousarray(array).tobytes())
    return _recalled(
        digest.hexdigest(), lambda: named(*judge.run(weights, inputs, part, state, dstate))
    )


def _recalled(key: str, ask: Callable[[], dict[str, FloatArray]]) -> dict[str, FloatArray]:
    """What the judge said before under this key, here or in the session, or says now."""
    if key not in _remembered:
        kept = _session.find(key) if _session else None
        if kept is None:
            kept = ask()
            if _session:
                _session.keep(key, kept)
        _remembered[key] = kept
        while len(_remembered) > 1 and _size(_remembered) > REMEMBERED_BYTES:
            del _remembered[next(iter(_remembered))]
        return kept
    return _remembered[key]


def _size(answers: Mapping[str, Mapping[str, FloatArray]]) -> int:
    return sum(array.nbytes for answer in answers.values() for array in answer.values())


_session: Judged | None = None


def share_answers(folder: Path | None) -> None:
    """Keep what judges say in a folder, and take from it what another process has kept there.

    None: no longer. The folder is for one session: its processes run the same code.
    """
    global _session
    _session = None if folder is None else Judged(folder)


def _parts(workload: Workload) -> list[slice]:
    windows = workload.windows()
    parts = windows[:2]
    last = windows[-1]
    if len(windows) > 2 and last.stop - last.start != windows[0].stop - windows[0].start:
        parts.append(last)
    return parts


def _order(share: float) -> float:
    return math.inf if math.isnan(share) else share
