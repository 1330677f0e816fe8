"""Name the likely causes of wrong results: known mistakes whose results are those of the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

import lstm_impl.proof.comparison as comparison
from lstm_impl.checking.deviation import wrong_numbers
from lstm_impl.checking.mistakes import MISTAKES, KnownMistake, Results, Situation
from lstm_impl.proof.check import ComparedCall
from lstm_impl.proof.comparison import array_kind
from lstm_impl.spec import PRECISIONS, FloatArray, LSTMSpec

UNEXPLAINED = 0.5
"""Part of an array's error that may remain after a mistake explains it, root mean squares. In half
precision a mistake is seen among rounding errors that are a large part of the whole."""

NEXT_BEST = 3.0
"""Mistakes that explain nearly as much as the best one are named too: within this factor of what
remains, plus ``UNEXPLAINED / 20``."""

MOST_DETAILS = 3
"""Variants of one mistake that are listed."""

WELL_CONDITIONED = ("", "zeros", "repeats", "separate")
"""Networks on which a mistake that fits one call must fit the others. The network of large numbers
and the saturated one may amplify the difference between a mistake and its imitation."""

SPREAD = 0.2
"""Part of an array's numbers that must be off before its errors can be those of a coarser type."""

COARSER = ("float32", "tf32", "float16", "bfloat16")
"""Precisions whose errors are recognised, the finest first."""


@dataclass(frozen=True)
class Cause:
    """A likely cause.

    name: that of the mistake. details: the variants that fit. sentence: in words. remaining: part
    of the error that it leaves unexplained.
    """

    name: str
    details: tuple[str, ...]
    sentence: str
    remaining: float


def name_causes(
    spec: LSTMSpec, calls: Sequence[ComparedCall], wrong: Sequence[ComparedCall]
) -> list[Cause]:
    """Return the known mistakes that make what the target made, the best first.

    calls: all calls of a network, in order. wrong: those of them that have numbers out of bounds.
    """
    if not wrong:
        return []

    def order(call: ComparedCall) -> tuple[bool, bool, int]:
        return _is_backward(call), call.kind == "saturated", _place(call, calls)

    # Wrong outputs make wrong gradients: those are explained only where all outputs are right.
    ordered = sorted(wrong, key=order)
    first = ordered[0]
    backward = _is_backward(first)
    for call in ordered[:MOST_CALLS]:
        if _is_backward(call) is backward and (causes := _known(spec, call, calls)):
            return causes
    causes = list(_coarser_type(spec, first, calls))
    if not causes and backward:
        listed = ", ".join(_explained(first))
        sentence = f"The forward pass is right and the backward pass is wrong: {listed}."
        causes = [Cause("wrong backward pass", (listed,), sentence, 1.0)]
    return causes


MOST_CALLS = 3
"""Wrong calls that are tried. A state that is kept from call to call cannot be explained in the
first one: what was computed before is not known there."""


def _known(spec: LSTMSpec, call: ComparedCall, calls: Sequence[ComparedCall]) -> list[Cause]:
    """Return the known mistakes that fit this call and do not contradict the others."""
    found: list[tuple[KnownMistake, str, float]] = []
    for mistake in MISTAKES:
        if mistake.backward is _is_backward(call):
            found += [
                (mistake, detail, remaining)
                for detail, remaining in _fitting(mistake, spec, call, calls)
                if _fits_elsewhere(mistake, detail, spec, call, calls)
            ]
    return _joined(found)


def _place(call: ComparedCall, calls: Sequence[ComparedCall]) -> int:
    return next(number for number, each in enumerate(calls) if each is call)


def _is_backward(call: ComparedCall) -> bool:
    """Return whether only gradients of this call are wrong."""
    return all(name.startswith("d") for name in _explained(call))


def _earlier(call: ComparedCall, calls: Sequence[ComparedCall]) -> Sequence[ComparedCall]:
    return calls[: _place(call, calls)]


def _explained(call: ComparedCall) -> list[str]:
    """Return the arrays that a cause must explain: outputs and states if any of them is wrong."""
    off = [
        name
        for name in call.theirs
        if name in call.allowed
        and (
            np.shape(call.ours[name]) != np.shape(call.theirs[name])
            or wrong_numbers(call.ours[name], call.theirs[name], call.allowed[name]).any()
        )
    ]
    if any(array_kind(name) == "forward" for name in off):
        return [name for name in call.theirs if array_kind(name) == "forward"]
    return [name for name in call.theirs if name in off]


def _compared(call: ComparedCall, names: Sequence[str]) -> list[str]:
    """Return the arrays in which a mistake and a target are compared: all of the same pass."""
    backward = all(name.startswith("d") for name in names)
    return [
        name for name in call.theirs if name.startswith("d") is backward and name in call.allowed
    ]


def _tolerance(spec: LSTMSpec, call: ComparedCall, name: str, made: FloatArray) -> FloatArray:
    """Return how far the target may be from what a mistake makes."""
    timesteps, batch = call.inputs.x.shape[:2]
    (relative,) = comparison.bounds(spec, batch, timesteps, [name]).values()
    finite = np.isfinite(made)
    scale = np.max(np.abs(made), initial=comparison.smallest_scale(name), where=finite)
    return np.asarray(np.maximum(call.allowed[name], relative * scale))


def _remaining(
    spec: LSTMSpec, call: ComparedCall, made: Results, names: Sequence[str]
) -> float | None:
    """Return the part of the error that remains, or None if the target is not what was made."""
    worst = 0.0
    for name in names:
        mine, right = np.asarray(call.ours[name]), np.asarray(call.theirs[name])
        imitation = made.get(name)
        if imitation is None or np.shape(imitation) != mine.shape:
            return None
        imitation = np.asarray(imitation, np.float64)
        if wrong_numbers(mine, imitation, _tolerance(spec, call, name, imitation)).any():
            return None
        off = wrong_numbers(mine, right, call.allowed[name])
        off &= np.isfinite(mine) & np.isfinite(right) & np.isfinite(imitation)
        if off.any():
            before = float(np.sqrt(np.mean((mine - right)[off] ** 2)))
            after = float(np.sqrt(np.mean((mine - imitation)[off] ** 2)))
            worst = max(worst, after / before)
    return worst if worst <= UNEXPLAINED else None


def _fitting(
    mistake: KnownMistake, spec: LSTMSpec, call: ComparedCall, calls: Sequence[ComparedCall]
) -> Iterator[tuple[str, float]]:
    names = _compared(call, _explained(call))
    situation = Situation(spec, call, _earlier(call, calls), mistake.backward)
    for detail, made in mistake.compute(situation):
        remaining = _remaining(spec, call, made, names)
        if remaining is not None:
            yield detail, remaining


def _fits_elsewhere(
    mistake: KnownMistake,
    detail: str,
    spec: LSTMSpec,
    first: ComparedCall,
    calls: Sequence[ComparedCall],
) -> bool:
    """Return whether the mistake fits the other calls of this network too.

    A variant that a call does not have, such as an earlier state for the first call, is no
    objection.
    """
    if mistake.occasional:
        return True
    backward = mistake.backward
    for call in calls:
        if call is first or call.kind not in WELL_CONDITIONED:
            continue
        if call.theirs.keys() != first.theirs.keys():
            continue  # of a step with other gradients, which may be right
        names = [
            name
            for name in call.theirs
            if name.startswith("d") is backward and name in call.allowed
        ]
        situation = Situation(spec, call, _earlier(call, calls), backward)
        variants = [made for each, made in mistake.compute(situation) if each == detail]
        fits = (_matches(spec, call, made, names) for made in variants)
        if variants and not any(fits):
            return False
    return True


def _matches(spec: LSTMSpec, call: ComparedCall, made: Results, names: Sequence[str]) -> bool:
    for name in names:
        mine, imitation = np.asarray(call.ours[name]), made.get(name)
        if imitation is None or np.shape(imitation) != mine.shape:
            return False
        imitation = np.asarray(imitation, np.float64)
        # The bound of a network with few products holds for the right weights, not for others.
        allowed = 4.0 * _tolerance(spec, call, name, imitation)
        if wrong_numbers(mine, imitation, allowed).any():
            return False
    return True


def _joined(found: Sequence[tuple[KnownMistake, str, float]]) -> list[Cause]:
    if not found:
        return []
    best = min(remaining for _, _, remaining in found)
    most = NEXT_BEST * best + UNEXPLAINED / 20.0
    by_mistake: dict[str, list[tuple[KnownMistake, str, float]]] = {}
    for each in found:
        if each[2] <= most:
            by_mistake.setdefault(each[0].name, []).append(each)
    causes = []
    for name, entries in by_mistake.items():
        ordered = sorted(entries, key=lambda entry: entry[2])
        details = tuple(dict.fromkeys(detail for _, detail, _ in ordered))[:MOST_DETAILS]
        sentence = ordered[0][0].sentence.format(detail=", or ".join(details))
        causes.append(Cause(name, details, sentence, ordered[0][2]))
    return sorted(causes, key=lambda cause: cause.remaining)


def name_rounding(spec: LSTMSpec) -> Cause:
    """Return the cause of errors that are too large as a whole, while each is within its bound."""
    sentence = (
        f"It computes with fewer digits: taken together, the errors are larger than those of "
        f"{spec.dtype}."
    )
    return Cause("lower precision", (spec.dtype,), sentence, 1.0)


def _coarser_type(
    spec: LSTMSpec, call: ComparedCall, calls: Sequence[ComparedCall]
) -> Iterator[Cause]:
    """Yield the finest precision that explains errors of many small sizes."""
    own = spec.precision.roundoff
    if call.kind not in ("", "repeats", "separate"):
        return
    ordinary = [each for each in calls if each.kind in ("", "repeats")]
    shares = [
        float(np.mean(wrong_numbers(call.ours[name], call.theirs[name], call.allowed[name] / 4.0)))
        for name in call.theirs
        if name in call.allowed and np.shape(call.ours[name]) == np.shape(call.theirs[name])
    ]
    if not shares or max(shares) < SPREAD:
        return
    for name in COARSER:
        if PRECISIONS[name].roundoff <= own:
            continue
        if all(_is_within(replace(spec, dtype=name), each) for each in ordinary):
            sentence = f"It computes with fewer digits: the errors have the size of {name}'s."
            yield Cause("lower precision", (name,), sentence, 1.0)
            return


def _is_within(spec: LSTMSpec, call: ComparedCall) -> bool:
    timesteps, batch = call.inputs.x.shape[:2]
    errors: Mapping[str, float] = comparison.compare(call.ours, call.theirs)
    most = comparison.bounds(spec, batch, timesteps, list(errors))
    return all(off <= most[name] for name, off in errors.items())
