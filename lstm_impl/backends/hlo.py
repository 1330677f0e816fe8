"""Count what XLA compiled, from the text of a compiled module (HLO)."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any, NamedTuple

from lstm_impl.evidence import most

# An instruction is "%name = type opcode(operands)". Its type may be a tuple that contains comments
# such as /*index=5*/, and it ends in a bracket. Opcodes are lower case.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = .*?[\])}] ([a-z][a-z0-9-]*)\(", re.MULTILINE)
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
# A computation begins with "%body.1 (arg: (s32[], f32[4])) -> (s32[], f32[4]) {" or with ENTRY.
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) (?:\(.*)?\{$")
_CALLED = re.compile(r"\b(to_apply|condition|body|calls)=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\s*\{\s*"n":\s*"?(\d+)"?')
_BOUND = re.compile(r"= [su](?:32|64)\[\](?:\{\})? constant\((\d+)\)")

_FREE = frozenset(
    {
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
        *("opt-barrier", "partition-id", "replica-id", "call", "while"),
    }
)
"""Instructions that start no kernel of their own."""

OF_XLA = "hlo_op"
"""The key under which profilers store the instruction of a module that XLA compiled."""


class ProfiledEvent(NamedTuple):
    """Hold one event of TensorFlow's or JAX's profiler."""

    plane: str
    line: str
    name: str
    start: float
    seconds: float
    instruction: str = ""


def describe_hlo(text: str) -> dict[str, Any]:
    """Count a module's kinds of instructions, loops, fusions and library calls."""
    instructions = Counter(_INSTRUCTION.findall(text))
    return {
        "fusions": instructions["fusion"],
        "loops": instructions["while"],
        "matrix_products": instructions["dot"],
        "custom_calls": most(Counter(_TARGET.findall(text))),
        "instructions": most(instructions),
    }


def instruction_kind(instruction: str) -> str:
    """Return the kind of an instruction, such as ``dot`` for ``dot.12``."""
    return instruction.rstrip("0123456789.") or instruction


def launches(text: str) -> int | None:
    """Return how many kernels one call of the module starts, with all iterations of its loops.

    The result is None if the text does not show how often a loop runs.
    """
    entry, computations = _computations(text)

    @functools.cache
    def started(name: str) -> int:
        lines = computations[name]
        return sum(by(opcode, line) for line in lines for opcode in _INSTRUCTION.findall(line))

    def by(opcode: str, line: str) -> int:
        called = dict(_CALLED.findall(line))
        if opcode == "call":
            return started(called["to_apply"])
        if opcode == "while":
            turns = _trips(line, called["condition"], computations)
            return turns * (started(called["condition"]) + started(called["body"]))
        return int(opcode not in _FREE)

    try:
        return started(entry)
    except (KeyError, RecursionError):  # The text does not show it.
        return None


def _computations(text: str) -> tuple[str, dict[str, list[str]]]:
    """Return the name of the entry computation, and the lines of each computation by its name."""
    entry = ""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            lines = found[match[2]] = []
            entry = match[2] if match[1] else entry
        else:
            lines.append(line)
    return entry, found


def _trips(line: str, condition: str, computations: dict[str, list[str]]) -> int:
    """Return the number of a loop's iterations.

    The compiler may have written it down. Otherwise, it is the only constant in the loop's
    condition, because loops begin at 0 here.
    """
    if match := _TRIPS.search(line):
        return int(match[1])
    lines = computations[condition]
    fused = [dict(_CALLED.findall(each)).get("calls", "") for each in lines]
    text = "\n".join([*lines, *(each for name in fused for each in computations.get(name, ()))])
    bounds = {int(each) for each in _BOUND.findall(text)}
    if len(bounds) != 1:
        raise KeyError("the text does not say how often a loop runs")
    return bounds.pop()
