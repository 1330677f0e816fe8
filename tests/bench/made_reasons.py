"""Make reasons as files of earlier versions hold them: with their sentences."""

from collections.abc import Mapping

from bench.machine.reasons import Reason
from bench.records.reasons import read_reason


def recorded(code: str, text: str, advice: str, values: Mapping[str, object] = {}) -> Reason:
    """Return a reason of a file of schema 2, which pytest wrote."""
    return read_reason(code, values, text, advice, managed=False)
