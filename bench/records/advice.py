"""Advice in the options of the command that was run.

Files hold that of the process that measured, which is pytest's.
"""

from __future__ import annotations

MORE_TIME = "give it more time: --lstm-budget SECONDS"
"""What helps where samples are few or did not settle."""

_OF_RUN = {"--lstm-budget SECONDS": "--seconds TIME", "--lstm-threads": "--threads"}
_OF_ASK = {"--seconds TIME": "--budget TIME --again", "--threads": "bench.run with --threads"}


def worded_for_ask(advice: str) -> str:
    """Return advice for ``bench.run`` in the options of ``bench.ask``."""
    for theirs, ours in _OF_ASK.items():
        advice = advice.replace(theirs, ours)
    return advice


def worded(advice: str, managed: bool) -> str:
    """The advice for who ran ``bench.run`` (managed) or pytest."""
    if managed and "--lstm-" in advice:
        for theirs, ours in _OF_RUN.items():
            advice = advice.replace(theirs, ours)
    return advice
