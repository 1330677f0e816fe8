"""Why a case takes as long as it does: one sentence, from what binds it and who is faster.

What would help is named with the ratio that was measured on the same work; what is no more than
worth a try says so. This room knows the report's rows and makes plain strings, which each format
still has to make harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.stats.bound import (
    CHAIN,
    COPIES,
    GATES,
    HOST,
    LAUNCHES,
    MEMORY,
    NOT_KNOWN,
    PADDING,
    PRODUCTS,
    WAITING,
    Bound,
)
from bench.stats.bridges import all_doubts
from bench.stats.rows import Row
from bench.stats.verdict import Verdict

FEWER = 0.5
"""Times the launches of a case: who starts no more than these goes another way through time."""

UNTRIED: Mapping[tuple[str, str], tuple[str, ...]] = {
    (LAUNCHES, "cpu"): ("partial_unroll@10", "fused_cpu"),
    (LAUNCHES, "gpu"): ("partial_unroll@10", "cudnn"),
    (HOST, "cpu"): ("torch", "fused_cpu"),
    (HOST, "gpu"): ("torch", "cudnn"),
    (CHAIN, "cpu"): ("fused_cpu",),
    (CHAIN, "gpu"): ("cudnn",),
}
"""What is made to need less of what binds a case on a kind of device: worth a try where nobody that
was measured helps."""

PARTS = {
    LAUNCHES: "starting its operators",
    HOST: "calling its operators from Python",
    CHAIN: "the chain of products",
    PRODUCTS: "its products",
    MEMORY: "moving its data",
    WAITING: "waiting",
}
"""As they are called where none of them is most of a step."""


def sentence(row: Row) -> str:
    """``bound by launches: ...``, ``not known: ...``; empty for what was not measured."""
    if row.bound is None:
        return ""
    if row.invalid:
        return "not known: what was measured of it is INVALID"
    told = explained(row.bound, row.roofs)
    helps = helped(row)
    return f"{told}; {helps}" if helps else told


def explained(bound: Bound, figures: Mapping[str, float]) -> str:
    """What binds a case, and how that is known. figures: of its roofs."""
    if bound.kind == NOT_KNOWN and not bound.of:
        return "not known: no roofs are recorded"
    if bound.kind == NOT_KNOWN:
        return (
            f"not known: of what has a roof most goes to {PARTS[bound.of]}, at least "
            f"{bound.share:.0%} of the step, and nothing is known to take more than half"
        )
    if bound.kind == PADDING:
        computed = bound.parts[bound.of] / (1.0 - bound.share)
        return (
            f"bound by padding: {bound.share:.0%} of the timesteps are padding, and with them "
            f"{PARTS[bound.of]} would take {computed:.0%} of the step"
        )
    words = _PROFILED if bound.profiled else _BY_ROOFS
    told = words.get(bound.kind, _BY_ROOFS.get(bound.kind, ""))
    if bound.kind == CHAIN and bound.share >= 1.0:
        told = _ABOVE_CHAIN
    elif bound.times > 1.0 and bound.kind in (CHAIN, PRODUCTS):
        told = _TOO_MANY
    launches = f"{figures.get('launches', 0.0):,.0f}"
    return told.format(part=f"{bound.share:.0%}", times=f"{bound.times:.1f}", launches=launches)


_BY_ROOFS = {
    LAUNCHES: "bound by launches: starting as many operators ({launches}) that do nothing takes "
    "{part} of the step",
    HOST: "bound by the host: calling as many operators ({launches}) that do nothing from Python "
    "takes {part} of the step",
    CHAIN: "bound by the chain of products: those that wait for one another take {part} of the "
    "step at the best that was seen here",
    PRODUCTS: "bound by products: they take {part} of the step at the best rate that was seen here",
    MEMORY: "bound by memory: moving its data once takes {part} of the step at the best bandwidth "
    "that was seen here",
    WAITING: "bound by waiting: for {part} of the step no processor computes",
}
_PROFILED = {
    LAUNCHES: "bound by launches: for {part} of the step no operator was at work",
    HOST: "bound by the host: for {part} of the step no operator was at work, which Python calls",
    PRODUCTS: "bound by products: {part} of the step by its profile",
    COPIES: "bound by copies: {part} of the step by its profile moves, transposes, cuts and joins",
    GATES: "bound by gates: {part} of the step by its profile is computed number by number",
}
_ABOVE_CHAIN = (
    "bound by the chain of products: it is as fast as those that wait for one another at the best "
    "that was seen here ({part})"
)
_TOO_MANY = (
    "bound by products: it makes {times} times the multiplications that the step needs, {part} of "
    "the step at the best that was seen here"
)


# What would help


def helper(row: Row, ranked: Sequence[Row]) -> Row | None:
    """The fastest of those of a group that may help, if it takes less time than the row.

    Against launches that is only who starts far fewer; against all else, whoever is faster.
    ranked: by time.
    """
    bound = row.bound
    if bound is None or bound.kind == NOT_KNOWN:
        return None
    for other in ranked:
        if other is row:
            return None
        if bound.kind in (LAUNCHES, HOST) and not _starts_fewer(other, row):
            continue
        if not all_doubts(other, row):
            return other
    return None


def _starts_fewer(other: Row, row: Row) -> bool:
    one, many = other.roofs.get("launches"), row.roofs.get("launches")
    return one is not None and many is not None and one <= FEWER * many


def untried(row: Row, group: Sequence[Row]) -> tuple[str, ...]:
    """Backends that are worth a try and not in the group, measured or not."""
    if row.bound is None:
        return ()
    there = {other.case.backend for other in group}
    kind = row.case.device.partition(":")[0]
    return tuple(each for each in UNTRIED.get((row.bound.kind, kind), ()) if each not in there)


def helped(row: Row) -> str:
    """Who was faster on the same work; or else what is worth a try; or nothing."""
    ratio = row.helper_ratio
    if row.helper is not None and ratio is not None and ratio.verdict is Verdict.FASTER:
        around = f"{ratio.ratio.low:.2f}–{ratio.ratio.high:.2f}"
        return (
            f"{row.helper.case.backend} takes {ratio.ratio.mid:.2f} of its time on the same work "
            f"({around}, FASTER)"
        )
    if row.untried:
        return f"not measured on this work, but worth a try: {' or '.join(row.untried)}"
    return ""
