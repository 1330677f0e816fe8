"""Operators by what they do: products, moving numbers, computing number by number.

By their names, which frameworks choose: ``_MklMatMul`` is TensorFlow's, ``aten::addmm`` PyTorch's,
``dot`` XLA's. This room knows a profile as ``lstm_impl`` records it.
"""

from __future__ import annotations

import re
from collections import defaultdict

from bench.stats.bound import COPIES, GATES, PRODUCTS, Shares
from lstm_impl import Profile
from lstm_impl.profile import by_name, covered

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


def shares(profile: Profile, seconds: float) -> Shares:
    """Parts of a step that takes ``seconds`` when nobody watches it.

    Operators that run side by side share the time that they cover. Where watching made them slower
    than the whole step is, their time is taken for all of it.
    """
    spent: defaultdict[str, float] = defaultdict(float)
    for name, each in by_name(profile.events).items():
        spent[kind(name)] += each.seconds
    spent.pop(OVERHEAD, None)
    computed = sum(spent.values())
    if computed <= 0.0:
        return Shares(0.0, 0.0, 0.0, 1.0)
    work = [each for each in profile.events if kind(each.name) != OVERHEAD]
    # Own time alone: what covers the time of others, such as a loop, is in none of them.
    busy = min(covered(work), computed) / profile.steps
    whole = max(seconds, busy)
    scale = busy / computed / whole
    parts = {name: value * scale for name, value in spent.items()}
    return Shares(
        parts.get(PRODUCTS, 0.0),
        parts.get(COPIES, 0.0),
        parts.get(GATES, 0.0),
        max(0.0, 1.0 - busy / whole),
    )
