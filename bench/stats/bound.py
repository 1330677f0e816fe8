"""Find what bounds a case from its roofs and its padding.

A case is bound by the part that takes more than half of its step. A roof is the least time that a
part can take, so the rule never says that a part is small, and says "not known" where no known part
is large. ``operators`` applies the same rule to profiles; ``docs/why.md`` argues the thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_OF_IT = 0.5
"""Of a step: only one of two parts can take more than half. A part that takes less cannot, if it
cost nothing at all, make the step twice as fast (Amdahl 1967)."""

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


@dataclass(frozen=True)
class Bound:
    """What takes most of a step, and which part of it; ``NOT_KNOWN`` with the largest part known.

    share: 0 to 1, of a roof possibly more. of: the part with that share, where ``kind`` itself is
    not a part. parts: the share of every part. times: how often the step makes the multiplications
    that it needs, 1 where that is not known. profiled: whether a profile says it.
    """

    kind: str
    share: float = 0.0
    of: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    times: float = 1.0
    profiled: bool = False


_ROOFS = {CHAIN: "of_chain", PRODUCTS: "of_matmul", MEMORY: "of_bandwidth"}


def starting(owners: Mapping[str, str]) -> str:
    """Return the kind of part that starting a step's operators is: ``HOST`` or ``LAUNCHES``."""
    return HOST if owners.get("of_launch", "").endswith(FROM_PYTHON) else LAUNCHES


def bound(figures: Mapping[str, float], owners: Mapping[str, str], valid: float = 1.0) -> Bound:
    """Return what a case is bound by.

    figures: of its roofs, by the names of a result file (``of_chain`` and its like are parts of the
    step). owners: whose the roofs are, by the same names. valid: the part of the timesteps that is
    no padding.
    """
    needed, ran = figures.get("operations", 0.0), figures.get("operations_ran", 0.0)
    times = ran / needed if needed > 0 and ran >= EXCESS * needed else 1.0
    parts = {
        kind: figures[name] * (1.0 if kind == MEMORY else times)
        for kind, name in _ROOFS.items()
        if name in figures
    }
    if "of_launch" in figures:
        parts[starting(owners)] = figures["of_launch"]
    if (busy := figures.get("processors_busy", 1.0)) < 1.0:
        parts[WAITING] = 1.0 - busy
    if not parts:
        return Bound(NOT_KNOWN)
    largest = max(parts, key=parts.__getitem__)
    if parts[largest] > MOST_OF_IT:
        return Bound(largest, parts[largest], largest, parts, times)
    # Padding, if what is valid takes less than half, and with it more.
    computed = [each for each in (CHAIN, PRODUCTS) if each in parts]
    padded = max(computed, key=parts.__getitem__, default="")
    if 0.0 < valid <= 1.0 - MUCH_PADDING and parts.get(padded, 0.0) / valid > MOST_OF_IT:
        return Bound(PADDING, 1.0 - valid, padded, {**parts, PADDING: 1.0 - valid}, times)
    return Bound(NOT_KNOWN, parts[largest], largest, parts, times)
