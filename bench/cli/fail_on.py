"""Parse ``--fail-on``."""

from __future__ import annotations

import re

from bench.cli.command_line import UsageError
from bench.machine.fields import printable
from bench.stats.pairs import Rule


def parse_rule(text: str) -> Rule:
    """Parse the ``--fail-on`` rule ``slower`` or ``slower:5%``. Raises UsageError."""
    found = re.fullmatch(r"slower(?::(\d+(?:\.\d+)?)%)?", text)
    if found is None:
        raise UsageError(
            f"--fail-on {printable(text)!r}: expected slower, or slower:5% (by more than 5%)"
        )
    return Rule(text, None if found[1] is None else float(found[1]) / 100)
