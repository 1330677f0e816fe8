"""Find what limits a case, from its roofs and its padding.

A case is bound by the part that takes more than half of its step. A roof is the least time that a
part can take. The rule therefore never says that a part is small, and it says "not known" if no
known part is large. ``operators`` applies the same rule to profiles, and ``docs/why.md`` gives
reasons for the thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_OF_IT = 0.5
"""The share of a step above which a part binds the step.

With a smaller part removed, the step would be less than twice as fast (Amdahl 1967). Only one part
can be larger than half.
"""

EXCESS = 1.5
"""A step makes too many multiplications if it makes this many times the necessary ones.

Padding and unneeded gradients add a few, and repeated products at least double them.
"""

MUCH_PADDING = 1 / 3
"""The share of padded timesteps from which padding may bind a step.

Without this padding, two thirds of the time remain.
"""

FROM_PYTHON = "called from Python"
"""The end of the owner of a launch roof if a Python program starts each operator."""

LAUNCHES, HOST, CHAIN, PRODUCTS, MEMORY, PADDING, COPIES, GATES, WAITING, NOT_KNOWN = (
    *("launches", "host", "chain", "products", "memory", "padding", "copies", "gates", "waiting"),
    "not known",
)


@dataclass(frozen=True)
class Bound:
    """The part that takes most of a step, or ``NOT_KNOWN`` together with the largest known part.

    share: the share of the step, from 0 to 1; of a roof possibly more. of: the part that has this
    share, if ``kind`` itself is not a part. parts: the share of every part. times: how many times
    the necessary multiplications the step makes, 1 if that is unknown. profiled: whether the result
    comes from a profile.
    """

    kind: str
    share: float = 0.0
    of: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    times: float = 1.0
    profiled: bool = False


_ROOFS = {CHAIN: "of_chain", PRODUCTS: "of_matmul", MEMORY: "of_bandwidth"}


def starting(owners: Mapping[str, str]) -> str:
    """Return the kind of part to which starting operators belongs: ``HOST`` or ``LAUNCHES``."""
    return HOST if owners.get("of_launch", "").endswith(FROM_PYTHON) else LAUNCHES


def bound(figures: Mapping[str, float], owners: Mapping[str, str], valid: float = 1.0) -> Bound:
    """Return what a case is bound by.

    figures: the figures of its roofs, by the names of a result file. ``of_chain`` and the like are
    shares of the step. owners: the libraries of the roofs, by the same names. valid: the share of
    timesteps that are not padding.
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
    # A case is bound by padding if its valid timesteps take less than half, and all timesteps take
    # more.
    computed = [each for each in (CHAIN, PRODUCTS) if each in parts]
    padded = max(computed, key=parts.__getitem__, default="")
    if 0.0 < valid <= 1.0 - MUCH_PADDING and parts.get(padded, 0.0) / valid > MOST_OF_IT:
        return Bound(PADDING, 1.0 - valid, padded, {**parts, PADDING: 1.0 - valid}, times)
    return Bound(NOT_KNOWN, parts[largest], largest, parts, times)
