"""What a comparison holds: a row a case, means, what only one side has, and the gate's word.

What it is to fail on is a rule as a person types it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.case.cases import Case
from bench.cli.command_line import UsageError
from bench.comparing import crossover
from bench.machine.fields import printable
from bench.render.messages import Unmeasured
from bench.stats.comparison import Comparison, Verdict, holm


@dataclass(frozen=True)
class Row:
    """One shared case: new against base.

    heading: under which it is shown; base_label, new_label: what the two sides are called;
    base_s, new_s: seconds per step, the median of each side's processes' medians, as everywhere;
        their quotient is not the ratio, which ``comparison`` makes process by process;
    reasons: why its ratio is INVALID: what spoils one of its sides, or the ratio alone. What is
        doubtful in the times alone is no reason.
    """

    heading: str
    base_label: str
    new_label: str
    base_case: Case
    case: Case
    base_s: float
    new_s: float
    comparison: Comparison
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mean:
    """The geometric mean over the cases that two sides share; invalid: how many are INVALID."""

    base_label: str
    new_label: str
    cases: int
    invalid: int
    comparison: Comparison


@dataclass(frozen=True)
class OneSided:
    """A case that only one side has, and why the other has not, as far as its files say."""

    label: str
    case: Case
    why: str


@dataclass(frozen=True)
class Difference:
    """What differs between the environments of two sides: name, base, new; possibly nothing."""

    base_label: str
    new_label: str
    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Rule:
    """A ``--fail-on`` rule: slower by more than ``threshold`` (0.05 is 5%); None: just SLOWER."""

    text: str
    threshold: float | None

    @property
    def beyond(self) -> str:
        """The threshold, in words."""
        return "" if self.threshold is None else f" by more than {100 * self.threshold:g}%"


@dataclass(frozen=True)
class Gate:
    """What a rule found: the rows that broke it, of all that were judged together.

    unclear: how many of these are UNCLEAR, and so pass without being known not to be slower.
    """

    rule: Rule
    judged: int
    unclear: int
    failed: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """A comparison, ready to be shown."""

    title: str
    finding: str = ""  # why there is nothing to compare, and what to do
    rows: tuple[Row, ...] = ()
    means: tuple[Mean, ...] = ()
    one_sided: tuple[OneSided, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    gate: Gate | None = None
    maps: tuple[crossover.Map, ...] = ()
    no_map: str = ""  # why two devices have no map, and what would make one
    list_unmeasured: bool = False  # as asked, not only how many they are
    over_time: bool = False  # whether SLOWER is a change for the worse, of which CI is warned
    opening: tuple[str, ...] = ()  # what is to be known before the first table


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
