"""Find what limits a case, from a profile of its operators.

Operators are classified by their names, which frameworks choose: ``_MklMatMul`` is TensorFlow's,
``aten::addmm`` is PyTorch's, and ``dot`` is XLA's.
"""

import re
from collections.abc import Mapping

from bench.stats import bound
from lstm_impl.evidence import Profile, by_name, covered

NOTHING = "nothing"
"""The part of a step in which no operator ran."""

OVERHEAD = "overhead"
"""Operators that only call others. Their own time is the time of starting those."""

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
        bound.PRODUCTS,
        re.compile(
            r"mat_?mul|gemm|gemv|\bdot|(?<![a-z])(add|b|badd)?b?mm(?![a-z])|linear|lstm|rnn|conv(?!ert)",
            re.I,
        ),
    ),
    (
        bound.COPIES,
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
    """Return ``products``, ``copies``, ``overhead``, or for all other operators ``gates``."""
    return next((found for found, pattern in _KINDS if pattern.search(name)), bound.GATES)


def shares(profile: Profile, seconds: float) -> dict[str, float]:
    """Return the parts of a step by kind. The rest is ``NOTHING``.

    Operators that run in parallel share the time that they cover. If the profiler made them slower
    than the step, their time counts as the whole step.

    seconds: the time of the step without a profiler.
    """
    spent = dict.fromkeys((bound.PRODUCTS, bound.COPIES, bound.GATES, OVERHEAD), 0.0)
    for name, each in by_name(profile.events).items():
        spent[kind(name)] += each.seconds
    del spent[OVERHEAD]
    computed = sum(spent.values())
    if computed <= 0.0:
        return {**spent, NOTHING: 1.0}
    work = [each for each in profile.events if kind(each.name) != OVERHEAD]
    # Only own time counts: an operator that covers the time of others, such as a loop, is in none
    # of them.
    busy = min(covered(work), computed) / profile.steps
    step = max(seconds, busy)
    parts = {name: value * busy / computed / step for name, value in spent.items()}
    return {**parts, NOTHING: max(0.0, 1.0 - busy / step)}


def profiled_bound(
    figures: Mapping[str, float],
    owners: Mapping[str, str],
    valid: float,
    profile: Mapping[str, float],
) -> bound.Bound:
    """Return what a case is bound by: what takes most in its profile, or else what its roofs say.

    figures, owners, valid: see ``bound``. profile: the result of ``shares``.
    """
    of_roofs = bound.bound(figures, owners, valid)
    roofs, launching = of_roofs.parts, bound.starting(owners)
    seen = {launching if each == NOTHING else each: share for each, share in profile.items()}
    largest = max(seen, key=seen.__getitem__)
    share = seen[largest]
    if share <= bound.MOST_OF_IT:
        return of_roofs
    parts = {**roofs, **seen}
    if largest in (bound.HOST, bound.LAUNCHES) and roofs.get(bound.WAITING, 0.0) > bound.MOST_OF_IT:
        return bound.Bound(bound.WAITING, roofs[bound.WAITING], bound.WAITING, parts, profiled=True)
    if largest == bound.PRODUCTS and roofs.get(bound.CHAIN, 0.0) > max(
        bound.MOST_OF_IT, roofs.get(bound.PRODUCTS, 0.0)
    ):
        largest, share = bound.CHAIN, roofs[bound.CHAIN]
    return bound.Bound(largest, share, largest, parts, of_roofs.times, profiled=True)
