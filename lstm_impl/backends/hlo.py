"""What XLA compiled, counted from the text of a compiled module (HLO).

Text in, plain data out: no framework is imported here, and any that prints HLO may use it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from lstm_impl.evidence import most

# "%name = type opcode(operands)": the type may be a tuple, with /*index=5*/ comments in it, and
# ends in a bracket; opcodes are lower case.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = .*?[\])}] ([a-z][a-z0-9-]*)\(", re.MULTILINE)
_TARGET = re.compile(r'custom_call_target="([^"]+)"')


def describe_hlo(text: str) -> dict[str, Any]:
    """How many of each instruction there are; loops, fusions and calls of libraries apart."""
    instructions = Counter(_INSTRUCTION.findall(text))
    return {
        "fusions": instructions["fusion"],
        "loops": instructions["while"],
        "matrix_products": instructions["dot"],
        "custom_calls": most(Counter(_TARGET.findall(text))),
        "instructions": most(instructions),
    }
