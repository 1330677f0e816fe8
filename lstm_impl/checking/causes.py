"""Name the likely causes of wrong results.

Each known mistake is computed in float64 (``mistakes.py``). A mistake is a likely cause if its
results are those that the target returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

import lstm_impl.proof.comparison as comparison
from lstm_impl.checking.deviation import find_wrong_numbers
from lstm_impl.checking.mistakes import MISTAKES, KnownMistake, Results, Situation
from lstm_impl.proof.check import ComparedCall
from lstm_impl.proof.comparison import ResultKind, classify_result
from lstm_impl.spec import PRECISIONS, FloatArray, LSTMSpec

UNEXPLAINED = 0.5
"""The largest part of an array's error that a mistake may leave unexplained, as a ratio of root
mean squares. The limit is high because in half precision the rounding errors, which no mistake
explains, are a large part of the whole error."""

NEXT_BEST = 3.0
"""How close another mistake must come to the best one to be named too. Its remaining error may be
this many times the best one's, plus ``UNEXPLAINED / 20``."""

MOST_DETAILS = 3
"""The most variants of one mistake that are listed."""

WELL_CONDITIONED = ("", "zeros", "repeats", "separate")
"""The networks on which a mistake that fits one call must fit the other calls too. The networks
with saturated gates and with large numbers are left out: they can amplify a small difference
between the mistake in the target and our imitation of it."""

SPREAD = 0.2
"""The part of an array's numbers that must be wrong before a coarser type is named as the cause. A
coarser type changes nearly all numbers, whereas most other mistakes change some."""

COARSER = ("float32", "tf32", "float16", "bfloat16")
"""The precisions that are recognised by the size of their errors, from the finest to the coarsest.
"""


@dataclass(frozen=True)
class Cause:
    """Hold one likely cause of wrong results.

    Attributes
    ----------
    name
        The name of the mistake, which is stable and appears in JSON.
    details
        The variants of the mistake that fit the results.
    sentence
        The cause in words.
    remaining
        The part of the error that the mistake leaves unexplained, from 0 to 1.
    """

    name: str
    details: tuple[str, ...]
    sentence: str
    remaining: float


def name_causes(
    spec: LSTMSpec, calls: Sequence[ComparedCall], wrong: Sequence[ComparedCall]
) -> list[Cause]:
    """Return the known mistakes whose results match those of the target, the best match first.

    Parameters
    ----------
    spec
        The network that was checked.
    calls
        All calls of this network, in the order in which they were made.
    wrong
        The calls among them that have numbers out of bounds.
    """
    if not wrong:
        return []

    def order(call: ComparedCall) -> tuple[bool, bool, int]:
        return _is_backward(call), call.kind == "saturated", _find_position(call, calls)

    # Wrong outputs lead to wrong gradients. So gradients are explained only where all outputs are
    # right.
    ordered = sorted(wrong, key=order)
    first = ordered[0]
    backward = _is_backward(first)
    for call in ordered[:MOST_CALLS]:
        if _is_backward(call) is backward and (causes := _find_known_mistakes(spec, call, calls)):
            return causes
    causes = list(_find_coarser_type(spec, first, calls))
    if not causes and backward:
        listed = ", ".join(_select_unexplained_arrays(first))
        sentence = f"The forward pass is right and the backward pass is wrong: {listed}."
        causes = [Cause("wrong backward pass", (listed,), sentence, 1.0)]
    return causes


MOST_CALLS = 3
"""The most wrong calls that are tried. One is not enough: if the target keeps a state from call to
call, the first call cannot be explained, because nobody knows what was computed before it."""


def _find_known_mistakes(
    spec: LSTMSpec, call: ComparedCall, calls: Sequence[ComparedCall]
) -> list[Cause]:
    """Return the known mistakes that fit this call and do not contradict the others."""
    found: list[tuple[KnownMistake, str, float]] = []
    for mistake in MISTAKES:
        if mistake.backward is _is_backward(call):
            found += [
                (mistake, detail, remaining)
                for detail, remaining in _find_fitting_variants(mistake, spec, call, calls)
                if _fits_other_calls(mistake, detail, spec, call, calls)
            ]
    return _merge_variants(found)


def _find_position(call: ComparedCall, calls: Sequence[ComparedCall]) -> int:
    """Return the position of a call among all calls."""
    return next(number for number, each in enumerate(calls) if each is call)


def _is_backward(call: ComparedCall) -> bool:
    """Return whether this call has right outputs and states, and only its gradients are wrong."""
    return all(_is_gradient(call, name) for name in _select_unexplained_arrays(call))


def _is_gradient(call: ComparedCall, name: str) -> bool:
    """Return whether a result of a call is a gradient."""
    states = tuple(call.inputs.state.by_name())
    return classify_result(name, states) is not ResultKind.FORWARD


def _select_earlier_calls(
    call: ComparedCall, calls: Sequence[ComparedCall]
) -> Sequence[ComparedCall]:
    """Return the calls that were made before this one."""
    return calls[: _find_position(call, calls)]


def _select_unexplained_arrays(call: ComparedCall) -> list[str]:
    """Return the arrays that a cause must explain.

    These are the wrong gradients. If an output or a state is wrong, they are all outputs and states
    instead.
    """
    off = [
        name
        for name in call.theirs
        if name in call.allowed
        and (
            np.shape(call.ours[name]) != np.shape(call.theirs[name])
            or find_wrong_numbers(call.ours[name], call.theirs[name], call.allowed[name]).any()
        )
    ]
    if not all(_is_gradient(call, name) for name in off):
        return [name for name in call.theirs if not _is_gradient(call, name)]
    return [name for name in call.theirs if name in off]


def _select_compared_arrays(call: ComparedCall, names: Sequence[str]) -> list[str]:
    """Return the arrays in which a mistake is compared with the target: all of the same pass."""
    backward = all(_is_gradient(call, name) for name in names)
    return [
        name
        for name in call.theirs
        if _is_gradient(call, name) is backward and name in call.allowed
    ]


def _compute_tolerance(
    spec: LSTMSpec, call: ComparedCall, name: str, made: FloatArray
) -> FloatArray:
    """Return how far each number of the target may be from the number that a mistake produces."""
    timesteps, batch = call.inputs.x.shape[:2]
    (relative,) = comparison.compute_bounds(spec, batch, timesteps, [name]).values()
    finite = np.isfinite(made)
    scale = np.max(np.abs(made), initial=comparison.find_smallest_scale(name), where=finite)
    return np.asarray(np.maximum(call.allowed[name], relative * scale))


def _measure_remaining_error(
    spec: LSTMSpec, call: ComparedCall, made: Results, names: Sequence[str]
) -> float | None:
    """Return how much of the error remains if a known mistake explains the rest.

    Returns
    -------
    float or None
        The largest ratio of root mean squares over the arrays, or None if the target's numbers are
        not those that the mistake produces.
    """
    worst = 0.0
    for name in names:
        mine, right = np.asarray(call.ours[name]), np.asarray(call.theirs[name])
        imitation = made.get(name)
        if imitation is None or np.shape(imitation) != mine.shape:
            return None
        imitation = np.asarray(imitation, np.float64)
        if find_wrong_numbers(
            mine, imitation, _compute_tolerance(spec, call, name, imitation)
        ).any():
            return None
        off = find_wrong_numbers(mine, right, call.allowed[name])
        off &= np.isfinite(mine) & np.isfinite(right) & np.isfinite(imitation)
        if off.any():
            before = float(np.sqrt(np.mean((mine - right)[off] ** 2)))
            after = float(np.sqrt(np.mean((mine - imitation)[off] ** 2)))
            worst = max(worst, after / before)
    return worst if worst <= UNEXPLAINED else None


def _find_fitting_variants(
    mistake: KnownMistake, spec: LSTMSpec, call: ComparedCall, calls: Sequence[ComparedCall]
) -> Iterator[tuple[str, float]]:
    """Yield the variants of a mistake that fit a call, and the part of the error that remains."""
    names = _select_compared_arrays(call, _select_unexplained_arrays(call))
    situation = Situation(spec, call, _select_earlier_calls(call, calls), mistake.backward)
    for detail, made in mistake.compute(situation):
        remaining = _measure_remaining_error(spec, call, made, names)
        if remaining is not None:
            yield detail, remaining


def _fits_other_calls(
    mistake: KnownMistake,
    detail: str,
    spec: LSTMSpec,
    first: ComparedCall,
    calls: Sequence[ComparedCall],
) -> bool:
    """Return whether the mistake also fits the other calls of this network.

    Some calls do not have every variant. For example, the first call has no earlier state. Such a
    call does not count against the mistake.
    """
    if mistake.occasional:
        return True
    backward = mistake.backward
    for call in calls:
        if call is first or call.kind not in WELL_CONDITIONED:
            continue
        if call.theirs.keys() != first.theirs.keys():
            # This call computed other gradients, which may be right.
            continue
        names = [
            name
            for name in call.theirs
            if _is_gradient(call, name) is backward and name in call.allowed
        ]
        situation = Situation(spec, call, _select_earlier_calls(call, calls), backward)
        variants = [made for each, made in mistake.compute(situation) if each == detail]
        fits = (_matches(spec, call, made, names) for made in variants)
        if variants and not any(fits):
            return False
    return True


def _matches(spec: LSTMSpec, call: ComparedCall, made: Results, names: Sequence[str]) -> bool:
    """Return whether all arrays of a call are those that a mistake produces."""
    for name in names:
        mine, imitation = np.asarray(call.ours[name]), made.get(name)
        if imitation is None or np.shape(imitation) != mine.shape:
            return False
        imitation = np.asarray(imitation, np.float64)
        # The bound was computed for the right weights. A mistake changes them, so the bound is
        # relaxed.
        allowed = 4.0 * _compute_tolerance(spec, call, name, imitation)
        if find_wrong_numbers(mine, imitation, allowed).any():
            return False
    return True


def _merge_variants(found: Sequence[tuple[KnownMistake, str, float]]) -> list[Cause]:
    """Merge the variants of each mistake into one cause, and keep those that fit nearly best."""
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
    """Return the cause of errors that are too large as a whole although no single one is."""
    sentence = (
        f"The target computes with fewer digits: taken together, the errors are larger than those "
        f"of {spec.dtype}."
    )
    return Cause("lower precision", (spec.dtype,), sentence, 1.0)


def _find_coarser_type(
    spec: LSTMSpec, call: ComparedCall, calls: Sequence[ComparedCall]
) -> Iterator[Cause]:
    """Yield the finest coarser precision whose rounding errors are as large as those of the target.

    Only networks with ordinary numbers are used, because the others distort the size of rounding
    errors. At least ``SPREAD`` of the numbers of one array must exceed a quarter of their bound.
    """
    own = spec.precision.roundoff
    if call.kind not in ("", "repeats", "separate"):
        return
    ordinary = [each for each in calls if each.kind in ("", "repeats")]
    shares = [
        float(
            np.mean(
                find_wrong_numbers(call.ours[name], call.theirs[name], call.allowed[name] / 4.0)
            )
        )
        for name in call.theirs
        if name in call.allowed and np.shape(call.ours[name]) == np.shape(call.theirs[name])
    ]
    if not shares or max(shares) < SPREAD:
        return
    for name in COARSER:
        if PRECISIONS[name].roundoff <= own:
            continue
        if all(_is_within(replace(spec, dtype=name), each) for each in ordinary):
            sentence = f"The target computes with fewer digits: its errors are those of {name}."
            yield Cause("lower precision", (name,), sentence, 1.0)
            return


def _is_within(spec: LSTMSpec, call: ComparedCall) -> bool:
    """Return whether a call passes the bounds of a precision."""
    timesteps, batch = call.inputs.x.shape[:2]
    errors: Mapping[str, float] = comparison.compare(call.ours, call.theirs)
    most = comparison.compute_bounds(spec, batch, timesteps, list(errors))
    return all(off <= most[name] for name, off in errors.items())
