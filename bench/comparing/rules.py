"""What a comparison is to fail on: the rule as a person types it, and its verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.comparing.comparison import Gate, Row, Rule
from bench.disk.fields import printable
from bench.judging.verdict import Verdict, holm
from bench.telling.command_line import UsageError


def judge(rule: Rule, rows: Sequence[Row]) -> Gate:
    """Which rows break the rule, with the number of rows accounted for (Holm).

    Without a threshold a row must also have the verdict SLOWER: what is slower by less than 2%
    for certain is the SAME.
    """
    p_values = [row.comparison.p_slower(rule.threshold or 0.0) for row in rows]
    failed = [
        row
        for row, rejected in zip(rows, holm(p_values), strict=True)
        if rejected and (rule.threshold is not None or row.comparison.verdict is Verdict.SLOWER)
    ]
    unclear = sum(row.comparison.verdict is Verdict.UNCLEAR for row in rows)
    return Gate(rule, len(rows), unclear, tuple(failed))


def parse_rule(text: str) -> Rule:
    """The ``--fail-on`` rule ``slower`` or ``slower:5%``.

    Raises UsageError for anything else.
    """
    found = re.fullmatch(r"slower(?::(\d+(?:\.\d+)?)%)?", text)
    if found is None:
        raise UsageError(
            f"--fail-on {printable(text)!r}: expected slower, or slower:5% (by more than 5%)"
        )
    return Rule(text, None if found[1] is None else float(found[1]) / 100)
