"""Fresh processes that a command asks one after the other, told as they go."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from bench.machine import fresh


def asked_in_turn(
    module: str, questions: Sequence[object], *, quiet: bool = False
) -> list[Any] | None:
    """What ``python -m MODULE --answer`` makes of each question, each in a process of its own.

    None if one died, which is told. quiet: what the processes print goes nowhere.
    """
    answers = []
    for number, question in enumerate(questions, start=1):
        print(f"process {number} of {len(questions)}", file=sys.stderr)
        found = fresh.ask(["-m", module, "--answer"], question, quiet=quiet)
        if isinstance(found, fresh.Died):
            ended = "took too long" if found.code is None else fresh.ending(found.code)
            said = found.said or "it said nothing"
            print(f"error: a measuring process {ended}: {said}", file=sys.stderr)
            return None
        answers.append(found)
    return answers
