"""What an error says, in one line, whatever it is and whatever it does when it is asked.

It imports nothing: a process that is to hold one framework and no more reads errors too.
"""

from __future__ import annotations

LONGEST = 300
"""Letters of a line: a framework's message can be a whole program."""

_LOOKED_AT = 100_000
"""Letters of the text that are searched for its first lines; some are megabytes."""


def one_line(error: BaseException) -> str:
    """The first thing that an error says: a framework's goes on for pages."""
    lines = [line.strip() for line in _text(error)[:_LOOKED_AT].splitlines() if line.strip()]
    # "Graph execution error:" alone says nothing.
    text = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    text = text or "it said nothing"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        # Its own code runs here and may raise anything: that is about the words, not the case.
        return "it cannot be put into words: asking for its text raises an error too"
