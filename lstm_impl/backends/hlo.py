"""Count what XLA compiled, from the text of a compiled module (HLO)."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any, NamedTuple

from lstm_impl.evidence import most

# "%name = type opcode(operands)": the type may be a tuple, with /*index=5*/ comments in it, and
# ends in a bracket; opcodes are lower case.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = .*?[\])}] ([a-z][a-z0-9-]*)\(", re.MULTILINE)
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
# "%body.1 (arg: (s32[], f32[4])) -> (s32[], f32[4]) {", or the ENTRY.
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
"""Instructions that start no kernel."""

OF_XLA = "hlo_op"
"""The profiler's key for the instruction of a module that XLA compiled."""


class ProfiledEvent(NamedTuple):
    """An event of TensorFlow's profiler or JAX's."""

    plane: str
    line: str
    name: str
    start: float
    seconds: float
    instruction: str = ""


def describe_hlo(text: str) -> dict[str, Any]:
    """Count each kind of instruction, with loops, fusions and calls of libraries."""
    instructions = Counter(_INSTRUCTION.findall(text))
    return {
        "fusions": instructions["fusion"],
        "loops": instructions["while"],
        "matrix_products": instructions["dot"],
        "custom_calls": most(Counter(_TARGET.findall(text))),
        "instructions": most(instructions),
    }


def instruction_kind(instruction: str) -> str:
    """Return the kind of an instruction: ``dot`` for ``dot.12``."""
    return instruction.rstrip("0123456789.") or instruction


def launches(text: str) -> int | None:
    """Return how many kernels a call of the module starts, with all iterations of its loops."""
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
    except (KeyError, RecursionError):  # what the text does not show
        return None


def _computations(text: str) -> tuple[str, dict[str, list[str]]]:
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
    """Return a loop's iterations, by the compiler or by its condition: loops here begin at 0."""
    if match := _TRIPS.search(line):
        return int(match[1])
    lines = computations[condition]
    fused = [dict(_CALLED.findall(each)).get("calls", "") for each in lines]
    text = "\n".join([*lines, *(each for name in fused for each in computations.get(name, ()))])
    bounds = {int(each) for each in _BOUND.findall(text)}
    if len(bounds) != 1:
        raise KeyError("how often a loop turns")
    return bounds.pop()
