"""Advice that names an option, in the words of the command that was run.

Processes that measure are all pytest's, and say what its options are called; those that
``bench.run`` started are told to somebody who never saw these. Files hold what the process said, so
it is put right where they are read.
"""

from __future__ import annotations

MORE_TIME = "give it more time: --lstm-budget SECONDS"
"""What helps where samples are few or did not settle."""

_OF_RUN = {"--lstm-budget SECONDS": "--seconds TIME", "--lstm-threads": "--threads"}
"""Options of the pytest plugin, and what ``bench.run`` calls them."""


_OF_ASK = {"--seconds TIME": "--budget TIME --again", "--threads": "bench.run with --threads"}
"""What ``bench.run`` calls its options, and what does the same in ``bench.ask``."""


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
