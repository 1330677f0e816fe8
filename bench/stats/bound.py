"""What holds a case back: from its roofs, its padding and, if there is one, its profile.

A case is bound by what takes more than half of its step. Without a profile that is known only of
what has a roof: the least time that a part of the step can take. So the rule never says that a part
is small, and says "not known" wherever no part that it knows of is large. ``docs/why.md`` argues
the thresholds. Operators of a profile are distinguished by their names, which frameworks choose:
``_MklMatMul`` is TensorFlow's, ``aten::addmm`` PyTorch's, ``dot`` XLA's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lstm_impl.profile import Profile, by_name, covered

MOST_OF_IT = 0.5
"""Of a step: of two parts only one can take more than half. What takes less cannot, if it cost
nothing at all, make the step twice as fast (Amdahl 1967), and is no answer to "why so slow?"."""

EXCESS = 1.5
"""Times the multiplications that a step needs, from which on it is said to make too many. Those of
padded or unneeded gradients are some more; the next whole number is twice as many."""

MUCH_PADDING = 1 / 3
"""Of the timesteps: without padding, a step that is bound by it would take two thirds at most."""

FROM_PYTHON = "called from Python"
"""How a launch roof's owner ends where a Python program starts each operator."""

LAUNCHES, HOST, CHAIN, PRODUCTS, MEMORY, PADDING, COPIES, GATES, WAITING, NOT_KNOWN = (
    *("launches", "host", "chain", "products", "memory", "padding", "copies", "gates", "waiting"),
    "not known",
)


NOTHING = "nothing"
"""Of a profile: the part of a step in which no operator ran."""


@dataclass(frozen=True)
class Bound:
    """What takes most of a step, and which part of it; ``NOT_KNOWN`` with the largest part known.

    share: 0 to 1, of a roof possibly more. of: the part whose share that is, where ``kind`` is not
    itself a part that was looked at. parts: all that were. times: how often it makes the
    multiplications that a step needs, 1 where that is not known. profiled: whether a profile says
    it.
    """

    kind: str
    share: float = 0.0
    of: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    times: float = 1.0
    profiled: bool = False


_ROOFS = {CHAIN: "of_chain", PRODUCTS: "of_matmul", MEMORY: "of_bandwidth"}


def bound(
    figures: Mapping[str, float],
    owners: Mapping[str, str],
    valid: float = 1.0,
    shares: Mapping[str, float] | None = None,
) -> Bound:
    """What a case is bound by.

    figures: of its roofs, by the names of a result file (``of_chain`` and its like are parts of the
    step). owners: whose the roofs are, by the same names. valid: part of the timesteps that are no
    padding. shares: by a profile, as ``shares`` returns them.
    """
    needed, ran = figures.get("operations", 0.0), figures.get("operations_ran", 0.0)
    # How many times the multiplications that are needed were made, where it is too many.
    times = ran / needed if needed > 0 and ran >= EXCESS * needed else 1.0
    parts = {
        kind: figures[name] * (1.0 if kind == MEMORY else times)
        for kind, name in _ROOFS.items()
        if name in figures
    }
    starting = HOST if owners.get("of_launch", "").endswith(FROM_PYTHON) else LAUNCHES
    if "of_launch" in figures:
        parts[starting] = figures["of_launch"]
    if (busy := figures.get("processors_busy", 1.0)) < 1.0:
        parts[WAITING] = 1.0 - busy
    if shares is not None:
        seen = {starting if kind == NOTHING else kind: share for kind, share in shares.items()}
        largest = _largest(seen)
        if seen[largest] > MOST_OF_IT:
            return _profiled(largest, seen[largest], parts, {**parts, **seen}, times)
    largest = _largest(parts)
    share = parts.get(largest, 0.0)
    if share > MOST_OF_IT:
        return Bound(largest, share, largest, parts, times)
    if 0.0 < valid <= 1.0 - MUCH_PADDING:
        # Padding, if what is valid takes less than half, and with it more.
        computed = {kind: parts[kind] / valid for kind in (CHAIN, PRODUCTS) if kind in parts}
        padded = _largest(computed)
        if computed.get(padded, 0.0) > MOST_OF_IT:
            return Bound(PADDING, 1.0 - valid, padded, {**parts, PADDING: 1.0 - valid})
    return Bound(NOT_KNOWN, share, largest, parts, times) if largest else Bound(NOT_KNOWN)


def _largest(parts: Mapping[str, float]) -> str:
    return max(parts, key=parts.__getitem__, default="")


def _profiled(
    largest: str,
    share: float,
    roofs: Mapping[str, float],
    parts: Mapping[str, float],
    times: float,
) -> Bound:
    """What a profile shows to take more than half, with the roof that stands behind it."""
    if largest in (HOST, LAUNCHES) and roofs.get(WAITING, 0.0) > MOST_OF_IT:
        return Bound(WAITING, roofs[WAITING], WAITING, parts, profiled=True)
    if largest == PRODUCTS and roofs.get(CHAIN, 0.0) > max(MOST_OF_IT, roofs.get(PRODUCTS, 0.0)):
        largest, share = CHAIN, roofs[CHAIN]
    return Bound(largest, share, largest, parts, times, profiled=True)


OVERHEAD = "overhead"
"""What only calls others: its own time is that of starting them."""

_KINDS = (
    (
        OVERHEAD,
        re.compile(
            r"^(while|call|conditional|tuple|get-tuple-element|partitionedcall"
            r"|statefulpartitionedcall|(torch::)?autograd::.*|\w+Backward\d+|.*executor.*|thunk.*)$",
            re.I,
        ),
    ),
    (
        PRODUCTS,
        re.compile(
            r"mat_?mul|gemm|gemv|\bdot|(?<![a-z])(add|b|badd)?b?mm(?![a-z])|linear|lstm|rnn|conv(?!ert)",
            re.I,
        ),
    ),
    (
        COPIES,
        re.compile(
            r"transpos|cop(y|ies)|memcpy|memset|concat|(?<![a-z])cat(?![a-z])|split|slice|stack|pack"
            r"|unbind|gather|scatter|(?<![a-z])pad(?![a-z])|revers|(?<![a-z])flip|tile|tensorlist"
            r"|select|as_strided|view|reshape|expand|permute|narrow|clone|contiguous|broadcast(?!.*_)"
            r"|(?<![a-z])t(?![a-z])|empty|zeros|fill|readvariable|identity|detach|resize",
            re.I,
        ),
    ),
)


def kind(name: str) -> str:
    """``products``, ``copies``, ``overhead``, or ``gates`` for all that is none of them."""
    return next((found for found, pattern in _KINDS if pattern.search(name)), GATES)


def shares(profile: Profile, seconds: float) -> dict[str, float]:
    """Parts of a step that takes ``seconds`` without a profiler, by kind; the rest is ``NOTHING``.

    Operators that run in parallel share the time that they cover. Where the profiler made them
    slower than the whole step is, their time is taken for all of it.
    """
    spent = dict.fromkeys((PRODUCTS, COPIES, GATES, OVERHEAD), 0.0)
    for name, each in by_name(profile.events).items():
        spent[kind(name)] += each.seconds
    del spent[OVERHEAD]
    computed = sum(spent.values())
    if computed <= 0.0:
        return {**spent, NOTHING: 1.0}
    work = [each for each in profile.events if kind(each.name) != OVERHEAD]
    # Own time alone: what covers the time of others, such as a loop, is in none of them.
    busy = min(covered(work), computed) / profile.steps
    whole = max(seconds, busy)
    parts = {name: value * busy / computed / whole for name, value in spent.items()}
    return {**parts, NOTHING: max(0.0, 1.0 - busy / whole)}
